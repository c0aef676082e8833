//! Settings of the dataplane, out of Felix's parameters.

use crate::{OverlayConfig, VxlanConfig};
use tortie_rules::{EndpointToHost, LogRate};

/// Settings of the dataplane. Another one needs another [`crate::Dataplane`], which adopts what the first has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Prefix of workload interfaces.
    pub interface_prefix: String,
    /// What rules look like.
    pub rules: tortie_rules::Config,
    /// Tunnels between nodes.
    pub overlay: OverlayConfig,
}

/// Parameters that [`Config::new`] looks at.
pub const PARAMETERS: &[&str] = &[
    "InterfacePrefix",
    "DefaultEndpointToHostAction",
    "NftablesMarkMask",
    "VXLANPort",
    "VXLANVNI",
    "VXLANMTU",
    "VXLANMTUV6",
    "AllowVXLANPacketsFromWorkloads",
    "AllowIPIPPacketsFromWorkloads",
    "DisableConntrackInvalidCheck",
    "LogPrefix",
    "LogActionRateLimit",
    "LogActionRateLimitBurst",
    "WorkloadSourceSpoofing",
    "ProgramClusterRoutes",
];

impl Config {
    /// The dataplane of a node.
    pub fn new(node: &str, felix: &tortie_felix_config::Config) -> Self {
        let defaults = tortie_rules::Config::default();
        let vxlan_port = u16::try_from(felix.vxlan_port()).unwrap_or(defaults.vxlan_port);
        let mtu = |mtu: i64| u32::try_from(mtu).ok().filter(|mtu| *mtu > 0);
        let usual = VxlanConfig::default();
        let prefix =
            felix.interface_prefixes().next().unwrap_or(tortie_model::names::DEFAULT_INTERFACE_PREFIX);
        Self {
            interface_prefix: prefix.to_owned(),
            rules: tortie_rules::Config {
                interface_prefixes: felix.interface_prefixes().map(str::to_owned).collect(),
                endpoint_to_host: match felix.default_endpoint_to_host_action() {
                    "ACCEPT" => EndpointToHost::Accept,
                    "RETURN" => EndpointToHost::Return,
                    _ => EndpointToHost::Drop,
                },
                pass_mark: pass_mark(felix.nftables_mark_mask()).unwrap_or(defaults.pass_mark),
                vxlan_port,
                allow_vxlan_from_workloads: felix.allow_vxlan_packets_from_workloads(),
                allow_ipip_from_workloads: felix.allow_ipip_packets_from_workloads(),
                drop_invalid: !felix.disable_conntrack_invalid_check(),
                log_prefix: felix.log_prefix().to_owned(),
                log_rate: log_rate(felix).or(defaults.log_rate),
                workload_source_spoofing: felix.workload_source_spoofing() == "Any",
            },
            overlay: OverlayConfig {
                node: node.to_owned(),
                vxlan: VxlanConfig {
                    vni: u32::try_from(felix.vxlan_vni()).unwrap_or(usual.vni),
                    port: vxlan_port,
                    mtu_v4: mtu(felix.vxlan_mtu()),
                    mtu_v6: mtu(felix.vxlan_mtu_v6()),
                },
                direct: felix.programs_unencapsulated_cluster_routes(),
            },
        }
    }
}

/// The second bit that may be used: Felix's first is its accept mark, which our rules do without.
fn pass_mark(mask: u32) -> Option<u32> {
    let bits = || (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| mask & bit != 0);
    bits().nth(1).or_else(|| bits().next())
}

/// `10/minute`. The kernel is given packets per second; what is rarer becomes one per second.
fn log_rate(felix: &tortie_felix_config::Config) -> Option<LogRate> {
    let (count, unit) = felix.log_action_rate_limit().split_once('/')?;
    let seconds = match unit {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        _ => 86_400,
    };
    let per_second = (count.parse::<u32>().ok()? / seconds).max(1);
    let burst = u32::try_from(felix.log_action_rate_limit_burst()).unwrap_or(5);
    Some(LogRate { per_second, burst })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_felix_config::{Config as Felix, Host, Source, Sources};

    struct Nowhere;

    impl Host for Nowhere {
        fn name(&self) -> String {
            "n".to_owned()
        }

        fn exists(&self, _: &str) -> bool {
            false
        }

        fn find_program(&self, name: &str) -> Option<String> {
            Some(name.to_owned())
        }
    }

    fn with(settings: &[(&str, &str)]) -> Config {
        let mut sources = Sources::new();
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        sources.set(Source::Environment, settings);
        let (felix, problems) = Felix::resolve(&sources, &Nowhere);
        assert_eq!(problems, []);
        Config::new("n", &felix)
    }

    #[test]
    fn felixs_defaults_are_the_renderers() {
        let config = with(&[]);
        assert_eq!(config.rules, tortie_rules::Config::default());
        assert_eq!(config.overlay, OverlayConfig { node: "n".to_owned(), ..OverlayConfig::default() });
    }

    #[test]
    fn every_parameter_makes_a_difference() {
        for (parameter, settings) in PARAMETERS.iter().zip([
            &[("InterfacePrefix", "tap,cali")][..],
            &[("DefaultEndpointToHostAction", "Accept")],
            &[("NftablesMarkMask", "0xff00000")],
            &[("VXLANPort", "8472")],
            &[("VXLANVNI", "7")],
            &[("VXLANMTU", "1400")],
            &[("VXLANMTUV6", "1380")],
            &[("AllowVXLANPacketsFromWorkloads", "true")],
            &[("AllowIPIPPacketsFromWorkloads", "true")],
            &[("DisableConntrackInvalidCheck", "true")],
            &[("LogPrefix", "x")],
            &[("LogActionRateLimit", "90/second")],
            &[("LogActionRateLimitBurst", "9"), ("LogActionRateLimit", "600/minute")],
            &[("WorkloadSourceSpoofing", "Any")],
            &[("ProgramClusterRoutes", "Enabled")],
        ]) {
            assert!(settings.iter().any(|(name, _)| name == parameter), "{parameter}");
            assert!(tortie_felix_config::describe(parameter).is_some(), "{parameter}");
            assert_ne!(with(settings), with(&[]), "{parameter}");
        }
        assert_eq!(with(&[("InterfacePrefix", "tap,cali")]).interface_prefix, "tap");
        assert_eq!(pass_mark(0x8000_0000), Some(0x8000_0000));
        assert_eq!(pass_mark(0), None);
    }
}
