//! The settings in force, for everybody who lives by them.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;
use tortie_cluster::felix::{Config, Problem, Setting, Source, Value};
use tortie_runtime::logging::LogLevel;

/// Parameters that take effect at once.
const LIVE: &[&str] = &[
    "LogSeverityScreen",
    "HealthEnabled",
    "HealthHost",
    "HealthPort",
    "PrometheusMetricsEnabled",
    "PrometheusMetricsHost",
    "PrometheusMetricsPort",
    "IPForwarding",
    "NftablesRefreshInterval",
    "DataplaneWatchdogTimeout",
];

/// What Tortie never does: such parameters are kept when they switch it off.
const NEVER: &[&str] = &[
    "LogFilePath",
    "LogSeverityFile",
    "LogSeveritySys",
    "ReportingIntervalSecs",
    "EndpointReportingEnabled",
    "UsageReportingEnabled",
    "XDPEnabled",
    "GenericXDPEnabled",
    "BPFEnabled",
    "WireguardEnabled",
    "WireguardEnabledV6",
    "PrometheusGoMetricsEnabled",
    "PrometheusProcessMetricsEnabled",
    "PrometheusWireGuardMetricsEnabled",
];

/// Parameters of the eBPF dataplane, and the like, are of no interest while it is off.
const SILENT_GROUPS: &[&str] = &["Datastore", "Identity of cluster and node", "Run time"];

/// The settings in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Current {
    pub(crate) felix: Config,
    /// What is wrong with settings, and what is not supported.
    pub(crate) problems: Vec<String>,
    /// Nobody may use the datastore.
    pub(crate) paused: bool,
}

impl Current {
    pub(crate) fn new(felix: Config, problems: &[Problem], paused: bool) -> Self {
        let mut lines: Vec<String> = problems.iter().map(|problem| format!("setting {problem}")).collect();
        lines.extend(unsupported(&felix));
        Self { felix, problems: lines, paused }
    }

    pub(crate) fn log_level(&self) -> LogLevel {
        self.felix.log_severity_screen().parse().unwrap_or_default()
    }

    /// Where probes are answered, if they are.
    pub(crate) fn health(&self) -> Option<Result<SocketAddr, String>> {
        let felix = &self.felix;
        felix.health_enabled().then(|| address("Health", felix.health_host(), felix.health_port()))
    }

    /// Where metrics are told, if they are.
    pub(crate) fn metrics(&self) -> Option<Result<SocketAddr, String>> {
        let felix = &self.felix;
        let wanted =
            || address("PrometheusMetrics", felix.prometheus_metrics_host(), felix.prometheus_metrics_port());
        felix.prometheus_metrics_enabled().then(wanted)
    }

    /// How often the kernel is compared with what should be there; never, if nothing.
    pub(crate) fn refresh(&self) -> Option<Duration> {
        Some(self.felix.nftables_refresh_interval()).filter(|d| !d.is_zero())
    }

    /// How long the engine may be silent.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        Some(self.felix.dataplane_watchdog_timeout()).filter(|d| !d.is_zero())
    }

    /// Beginning of the names of workloads' interfaces.
    pub(crate) fn interface_prefix(&self) -> &str {
        self.felix.interface_prefixes().next().unwrap_or(tortie_model::names::DEFAULT_INTERFACE_PREFIX)
    }

    /// The dataplane that goes with these settings.
    pub(crate) fn dataplane(&self, node: &str) -> tortie_dataplane::Config {
        tortie_dataplane::Config::new(node, &self.felix)
    }
}

fn address(parameter: &str, host: &str, port: i64) -> Result<SocketAddr, String> {
    let port = u16::try_from(port).map_err(|_| format!("{parameter}Port {port} is no port"))?;
    match host {
        "" => Ok((IpAddr::from([0u16; 8]), port).into()),
        "localhost" => Ok((IpAddr::from([127, 0, 0, 1]), port).into()),
        _ => {
            let found =
                (host, port).to_socket_addrs().map_err(|e| format!("{parameter}Host {host:?}: {e}"))?;
            found.into_iter().next().ok_or_else(|| format!("{parameter}Host {host:?} has no address"))
        }
    }
}

/// Parameters that somebody set and that change nothing here.
fn unsupported(felix: &Config) -> Vec<String> {
    felix
        .iter()
        .filter(|(parameter, setting)| {
            let supported =
                LIVE.contains(&parameter.name) || tortie_dataplane::PARAMETERS.contains(&parameter.name);
            setting.source != Source::Default
                && setting.value != parameter.default_value()
                && !supported
                && !SILENT_GROUPS.contains(&parameter.group)
                && !(NEVER.contains(&parameter.name) && is_off(&setting.value))
        })
        .map(|(parameter, Setting { source, raw, .. })| {
            let raw = raw.as_deref().unwrap_or_default();
            format!(
                "setting {}={raw:?} from the {source} is not supported yet and has no effect",
                parameter.name
            )
        })
        .collect()
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Nothing | Value::Bool(false) | Value::Int(0) => true,
        Value::Text(text) => text.is_empty(),
        Value::Duration(span) => *span == tortie_cluster::felix::Span::default(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_cluster::felix::Sources;
    use tortie_runtime::felix::ThisMachine;

    fn with(settings: &[(&str, &str)]) -> Current {
        let mut sources = Sources::new();
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        sources.set(Source::DatastoreGlobal, settings);
        let (felix, problems) = Config::resolve(&sources, &ThisMachine);
        Current::new(felix, &problems, false)
    }

    #[test]
    fn what_has_no_effect_is_named_and_what_switches_off_what_is_not_there_is_not() {
        assert_eq!(with(&[]).problems, Vec::<String>::new());
        // What Calico's nodes write into every cluster.
        let usual = with(&[
            ("ReportingIntervalSecs", "0"),
            ("LogSeverityScreen", "Info"),
            ("FloatingIPs", "Disabled"),
            ("BPFConnectTimeLoadBalancing", "TCP"),
            ("BPFHostNetworkedNATWithoutCTLB", "Enabled"),
            ("DefaultEndpointToHostAction", "Return"),
            ("LogFilePath", "none"),
            ("UsageReportingEnabled", "false"),
            ("XDPEnabled", "false"),
            ("ClusterGUID", "0123"),
        ]);
        assert_eq!(usual.problems, Vec::<String>::new());
        let odd = with(&[
            ("BPFEnabled", "true"),
            ("HealthPort", "many"),
            ("Nonsense", "1"),
            ("FloatingIPs", "Enabled"),
        ]);
        for want in
            ["BPFEnabled=\"true\" from the datastore (global)", "HealthPort", "Nonsense", "FloatingIPs"]
        {
            assert_eq!(
                odd.problems.iter().filter(|p| p.contains(want)).count(),
                1,
                "{want}: {:?}",
                odd.problems
            );
        }
    }

    #[test]
    fn addresses_to_listen_on() {
        assert_eq!(with(&[]).health(), None);
        let current = with(&[
            ("HealthEnabled", "true"),
            ("PrometheusMetricsEnabled", "true"),
            ("PrometheusMetricsPort", "9999"),
        ]);
        assert_eq!(current.health().unwrap().unwrap().to_string(), "127.0.0.1:9099");
        assert_eq!(current.metrics().unwrap().unwrap().to_string(), "[::]:9999");
        let six = with(&[("HealthEnabled", "true"), ("HealthHost", "::1")]);
        assert_eq!(six.health().unwrap().unwrap().to_string(), "[::1]:9099");
        let lost = with(&[("HealthEnabled", "true"), ("HealthHost", "no-such-host.invalid")]);
        assert!(lost.health().unwrap().unwrap_err().contains("no-such-host.invalid"));
    }

    #[test]
    fn every_parameter_named_here_exists() {
        for name in LIVE.iter().chain(NEVER) {
            assert!(tortie_cluster::felix::describe(name).is_some(), "{name}");
        }
        for group in SILENT_GROUPS {
            assert!(tortie_cluster::felix::PARAMETERS.iter().any(|p| p.group == *group), "{group}");
        }
    }
}
