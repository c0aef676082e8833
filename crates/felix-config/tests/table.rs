//! The table against itself and against the reference document.

use std::collections::{BTreeMap, BTreeSet};
use tortie_felix_config::{Config, Host, Kind, PARAMETERS, Parameter, TextForm, Value, describe, document};

/// A machine without files.
struct Bare;

impl Host for Bare {
    fn name(&self) -> String {
        "bare".to_owned()
    }
    fn exists(&self, _path: &str) -> bool {
        false
    }
    fn find_program(&self, _name: &str) -> Option<String> {
        None
    }
}

fn count(good: impl Fn(&Parameter) -> bool) -> usize {
    PARAMETERS.iter().filter(|parameter| good(parameter)).count()
}

#[test]
fn the_table_has_every_parameter() {
    assert_eq!(PARAMETERS.len(), 218);
    assert_eq!(count(|p| p.local), 19, "local");
    assert_eq!(count(|p| p.fatal), 22, "fatal");
    assert_eq!(count(|p| p.required), 40, "required");
    let mut groups = BTreeMap::new();
    for parameter in PARAMETERS {
        *groups.entry(parameter.group).or_insert(0) += 1;
    }
    let sizes =
        ["Datastore", "Every dataplane", "iptables", "nftables", "eBPF", "WireGuard"].map(|g| groups[g]);
    assert_eq!(sizes, [18, 51, 12, 5, 46, 12]);
}

#[test]
fn names_and_fields_are_unique_and_fields_are_named_after_their_parameters() {
    let names: BTreeSet<String> = PARAMETERS.iter().map(|p| p.name.to_lowercase()).collect();
    assert_eq!(names.len(), PARAMETERS.len());
    let fields: Vec<&str> = PARAMETERS.iter().map(|p| p.field).filter(|field| !field.is_empty()).collect();
    assert_eq!(fields.iter().collect::<BTreeSet<_>>().len(), fields.len());
    let mut renamed: Vec<(&str, &str)> = PARAMETERS
        .iter()
        .filter(|p| !p.field.is_empty() && !p.field.eq_ignore_ascii_case(p.name))
        .map(|p| (p.name, p.field))
        .collect();
    renamed.sort_unstable();
    assert_eq!(
        renamed,
        [
            ("BPFConntrackCleanupMode", "bpfConntrackMode"),
            ("EndpointReportingDelaySecs", "endpointReportingDelay"),
            ("ExternalNodesCIDRList", "externalNodesList"),
            ("IpInIpEnabled", "ipipEnabled"),
            ("IpInIpMtu", "ipipMTU"),
            ("IptablesLockProbeIntervalMillis", "iptablesLockProbeInterval"),
            ("IptablesPostWriteCheckIntervalSecs", "iptablesPostWriteCheckInterval"),
            ("NetlinkTimeoutSecs", "netlinkTimeout"),
            ("ReportingIntervalSecs", "reportingInterval"),
            ("ReportingTTLSecs", "reportingTTL"),
            ("UsageReportingInitialDelaySecs", "usageReportingInitialDelay"),
            ("UsageReportingIntervalSecs", "usageReportingInterval"),
            ("WireguardPersistentKeepAlive", "wireguardKeepAlive"),
        ]
    );
}

#[test]
fn every_default_that_is_written_is_one_that_parses() {
    for parameter in PARAMETERS.iter().filter(|p| !p.default.is_empty()) {
        let value = parameter.default_value();
        // The zero value appears only where the default's text says it.
        let zero = matches!(parameter.default, "false" | "0");
        assert_eq!(value == parameter.kind.zero(), zero, "{}: {value:?}", parameter.name);
    }
}

#[test]
fn every_parameter_is_documented_in_a_sentence() {
    for parameter in PARAMETERS {
        assert!(parameter.documentation.len() > 10, "{}", parameter.name);
        assert!(parameter.documentation.ends_with('.'), "{}", parameter.name);
        assert_eq!(parameter.variable(), format!("FELIX_{}", parameter.name));
    }
}

#[test]
fn getters_answer_with_the_type_of_their_kind() {
    for parameter in PARAMETERS {
        let expected = match parameter.kind {
            Kind::Bool => "bool",
            Kind::OptionalBool => "Option<bool>",
            Kind::Int { .. } => "i64",
            Kind::Seconds | Kind::Millis => "Duration",
            Kind::Text(_) | Kind::OneOf(_) | Kind::File { .. } | Kind::Program => "&str",
            Kind::Pattern => "Option<&str>",
            Kind::InterfacePatterns | Kind::Interfaces | Kind::InterfaceFilters | Kind::Endpoints => {
                "&[String]"
            }
            Kind::Ipv4 | Kind::Ipv6 => "Option<IpAddr>",
            Kind::Cidrs => "&[Cidr]",
            Kind::HostPorts => "&[HostPort]",
            Kind::PortRange => "PortRange",
            Kind::PortRanges => "&[PortRange]",
            Kind::TableRange => "TableRange",
            Kind::TableRanges => "&[TableRange]",
            Kind::KeyValues => "&BTreeMap<String, String>",
            Kind::KeyDurations => "&BTreeMap<String, Span>",
            Kind::Mark => "u32",
            Kind::Dscp => "Dscp",
        };
        assert_eq!(parameter.rust_type, expected, "{}", parameter.name);
    }
}

#[test]
fn parameters_are_found_in_any_case() {
    assert_eq!(describe("bpfenabled").map(|p| p.name), Some("BPFEnabled"));
    assert_eq!(describe("BPFENABLED").map(|p| p.kind), Some(Kind::Bool));
    assert_eq!(describe("EtcdAddr").map(|p| p.kind), Some(Kind::Text(TextForm::Authority)));
    assert!(describe("BPFEnable").is_none());
}

#[test]
fn defaults_ask_the_machine_for_its_name_only() {
    let config = Config::defaults(&Bare);
    assert_eq!(config.felix_hostname(), "bare");
    assert_eq!(config.dataplane_driver(), "calico-iptables-plugin");
    assert_eq!(config.iptables_mark_mask(), 0xffff_0000);
    assert_eq!(config.failsafe_inbound_host_ports().len(), 9);
    assert_eq!(config.vxlan_enabled(), None);
    assert_eq!(config.route_refresh_interval().as_secs(), 90);
    assert_eq!(config.iptables_lock_probe_interval().as_millis(), 50);
    assert_eq!(config.interface_exclude(), ["^kube-ipvs0$"]);
    assert_eq!(config.bpf_psnat_ports().to_string(), "20000:29999");
    assert_eq!(config.bpf_conntrack_timeouts().get("TCPFinsSeen").map(String::as_str), Some("Auto"));
    assert_eq!(config.istio_dscp_mark().number(), 23);
    assert_eq!(config.device_route_source_address(), None);
    assert_eq!(config.get("natoutgoingaddress").map(|s| &s.value), Some(&Value::Nothing));
}

#[test]
fn the_reference_document_is_up_to_date() {
    // To write it again: UPDATE_EXPECT=1 cargo test -p tortie-felix-config
    expect_test::expect_file!["../../../docs/config-felix.md"].assert_eq(&document());
}
