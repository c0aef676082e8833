//! Settings of the agent: the table of FelixConfiguration.

use super::format::Format;
use super::schema::{
    Default, Report, Schema, boolean, dscp, duration_text, field, formatted, given, integer, list_of,
    object as table, one_of, port, text as any_text, texts, within,
};
use super::{has, list, object, text};
use crate::{Map, duration};
use serde_json::Value;
use tortie_net::{Cidr, Family};

const SWITCH: Schema = one_of(&["Enabled", "Disabled"]);
const LOG_LEVEL: Schema = one_of(&["Trace", "Debug", "Info", "Warning", "Error", "Fatal"]).any_case();
/// So many routing tables may be given to the agent.
const MAX_TABLES: i64 = 0xffff;

const PROTO_PORT: Schema = table(&[
    field("protocol", any_text()),
    field("port", within(0, 65535)).always().required(),
    field("net", any_text()),
])
.check(|map, path, report| {
    let protocol = text(map, "protocol");
    if !["TCP", "UDP", "SCTP"].contains(&protocol) {
        report.client(format!("{path}.protocol"), format!("is {protocol:?}; write TCP, UDP or SCTP"));
    }
});

const ROUTE_TABLE_RANGE: Schema =
    table(&[field("min", integer()).always(), field("max", integer()).always()]).check(
        |map, path, report| {
            let (min, max) = bounds(map);
            if min < 1 || max < min || max > 250 {
                report.form(path, "must lie within 1 to 250, with min not above max");
            }
        },
    );

const ROUTE_TABLES: Schema = table(&[field("min", integer()).always(), field("max", integer()).always()])
    .check(|map, path, report| {
        let (min, max) = bounds(map);
        if min < 1 || max < min || max > 0xffff_ffff {
            report.form(path, "must lie within 1 to 4294967295, with min not above max");
        }
    });

const HEALTH_TIMEOUT: Schema = table(&[
    field("name", formatted(Format::HealthName)).always(),
    field("timeout", duration_text()).always().required(),
])
.check(|map, path, report| {
    if duration::parse(text(map, "timeout")).is_ok_and(|n| n < 0) {
        report.form(format!("{path}.timeout"), "must not be negative");
    }
});

const TIMEOUT: Schema = any_text().schema_format(Format::AutoDuration);
const CONNTRACK_TIMEOUTS: Schema = table(&[
    given("creationGracePeriod", TIMEOUT),
    given("tcpSynSent", TIMEOUT),
    given("tcpEstablished", TIMEOUT),
    given("tcpFinsSeen", TIMEOUT),
    given("tcpResetSeen", TIMEOUT),
    given("udpTimeout", TIMEOUT),
    given("genericTimeout", TIMEOUT),
    given("icmpTimeout", TIMEOUT),
]);

pub(super) static FELIX: Schema = table(&[
    given("nodeSelector", any_text().client_format(Format::Selector).max_len(1024)),
    given("useInternalDataplaneDriver", boolean()),
    field("dataplaneDriver", any_text()),
    field("dataplaneWatchdogTimeout", duration_text()),
    given("ipv6Support", boolean()),
    field("routeRefreshInterval", duration_text().schema_format(Format::PlainDuration)),
    field("interfaceRefreshInterval", duration_text().schema_format(Format::PlainDuration)),
    field("iptablesRefreshInterval", duration_text().schema_format(Format::PlainDuration)),
    field("iptablesPostWriteCheckInterval", duration_text().schema_format(Format::PlainDuration)),
    field("iptablesLockProbeInterval", duration_text().schema_format(Format::PlainDuration)),
    field("featureDetectOverride", formatted(Format::KeyValues).schema_format(Format::Switches)),
    field("featureGates", formatted(Format::KeyValues).schema_format(Format::Gates)),
    field("ipsetsRefreshInterval", duration_text().schema_format(Format::PlainDuration)),
    given("maxIpsetSize", integer()),
    given("iptablesBackend", one_of(&["Legacy", "NFT", "Auto"])),
    field("xdpRefreshInterval", duration_text().schema_format(Format::PlainDuration)),
    field("netlinkTimeout", duration_text().schema_format(Format::PlainDuration)),
    field("metadataAddr", any_text()),
    given("metadataPort", integer()),
    field("openstackRegion", formatted(Format::Region)),
    field("interfacePrefix", any_text()),
    field("interfaceExclude", any_text()),
    field("chainInsertMode", one_of(&["Insert", "Append"]).any_case()),
    field("defaultEndpointToHostAction", one_of(&["Drop", "Accept", "Return"]).any_case()),
    field("iptablesFilterAllowAction", one_of(&["Accept", "Return"]).any_case()),
    field("iptablesMangleAllowAction", one_of(&["Accept", "Return"]).any_case()),
    field("iptablesFilterDenyAction", one_of(&["Drop", "Reject"]).any_case()),
    field("logPrefix", any_text().schema_format(Format::LogPrefix)),
    given("logActionRateLimit", any_text().schema_format(Format::Rate)),
    given("logActionRateLimitBurst", integer().schema_range(0, 9999)),
    field("logFilePath", any_text()),
    field("logSeverityFile", LOG_LEVEL),
    field("logSeverityScreen", LOG_LEVEL),
    field("logSeveritySys", LOG_LEVEL),
    field("logDebugFilenameRegex", formatted(Format::Regex)),
    given("ipipEnabled", boolean()),
    given("ipipMTU", integer()),
    given("vxlanEnabled", boolean()),
    given("vxlanMTU", integer()),
    given("vxlanMTUV6", integer()),
    given("vxlanPort", integer()),
    given("vxlanVNI", integer()),
    given("allowVXLANPacketsFromWorkloads", boolean()),
    given("allowIPIPPacketsFromWorkloads", boolean()),
    field("reportingInterval", duration_text().schema_format(Format::PlainDuration)),
    field("reportingTTL", duration_text().schema_format(Format::PlainDuration)),
    given("endpointReportingEnabled", boolean()),
    field("endpointReportingDelay", duration_text().schema_format(Format::PlainDuration)),
    field("endpointStatusPathPrefix", any_text()),
    given("iptablesMarkMask", integer().schema_range(0, 4294967295)),
    given("disableConntrackInvalidCheck", boolean()),
    given("healthEnabled", boolean()),
    given("healthHost", any_text()),
    given("healthPort", integer()),
    field("healthTimeoutOverrides", list_of(&HEALTH_TIMEOUT)),
    given("prometheusMetricsEnabled", boolean()),
    field("prometheusMetricsHost", formatted(Format::ListenHost)),
    given("prometheusMetricsPort", integer()),
    given("prometheusGoMetricsEnabled", boolean()),
    given("prometheusProcessMetricsEnabled", boolean()),
    given("prometheusWireGuardMetricsEnabled", boolean()),
    given("prometheusMetricsCAFile", any_text()),
    given("prometheusMetricsCertFile", any_text()),
    given("prometheusMetricsKeyFile", any_text()),
    given(
        "prometheusMetricsClientAuth",
        one_of(&[
            "RequireAndVerifyClientCert",
            "RequireAnyClientCert",
            "VerifyClientCertIfGiven",
            "NoClientCert",
        ])
        .strict(),
    ),
    given("failsafeInboundHostPorts", list_of(&PROTO_PORT)),
    given("failsafeOutboundHostPorts", list_of(&PROTO_PORT)),
    given("kubeNodePortRanges", list_of(&port()).items(0, 7)),
    field("policySyncPathPrefix", any_text()),
    given("usageReportingEnabled", boolean()),
    field("usageReportingInitialDelay", duration_text().schema_format(Format::PlainDuration)),
    field("usageReportingInterval", duration_text().schema_format(Format::PlainDuration)),
    field("natPortRange", port()),
    field("natOutgoingAddress", formatted(Format::Ip).schema_format(Format::IpOf(Family::V4)).max_len(45)),
    given("natOutgoingExclusions", one_of(&["IPPoolsOnly", "IPPoolsAndHostIPs"]).strict()),
    field(
        "deviceRouteSourceAddress",
        formatted(Format::Ip).schema_format(Format::IpOf(Family::V4)).max_len(45),
    ),
    field(
        "deviceRouteSourceAddressIPv6",
        formatted(Format::Ip).schema_format(Format::IpOf(Family::V6)).max_len(45),
    ),
    given("deviceRouteProtocol", integer()),
    given("removeExternalRoutes", boolean()),
    given("programClusterRoutes", one_of(&["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"])),
    field("ipForwarding", SWITCH),
    given("externalNodesList", list_of(&any_text())),
    field("debugMemoryProfilePath", any_text()),
    given("debugDisableLogDropping", boolean()),
    field("debugSimulateCalcGraphHangAfter", duration_text().schema_format(Format::PlainDuration)),
    field("debugSimulateDataplaneHangAfter", duration_text().schema_format(Format::PlainDuration)),
    field("debugSimulateDataplaneApplyDelay", duration_text().schema_format(Format::PlainDuration)),
    given("debugHost", any_text()),
    given("debugPort", integer().range(0, 65535)),
    field("iptablesNATOutgoingInterfaceFilter", formatted(Format::InterfaceFilter)),
    given("sidecarAccelerationEnabled", boolean()),
    given("xdpEnabled", boolean()),
    given("genericXDPEnabled", boolean()),
    given("nftablesMode", one_of(&["Disabled", "Enabled", "Auto"])).default(Default::Text("Auto")),
    given("nftablesFlowTableOffload", one_of(&["All", "Disabled"])).default(Default::Text("Disabled")),
    field("nftablesFlowTableDataIfacePattern", formatted(Format::Regex)),
    field("nftablesRefreshInterval", duration_text()),
    field("nftablesFilterAllowAction", one_of(&["Accept", "Return"]).any_case()),
    field("nftablesMangleAllowAction", one_of(&["Accept", "Return"]).any_case()),
    field("nftablesFilterDenyAction", one_of(&["Drop", "Reject"]).any_case()),
    given("nftablesMarkMask", integer().schema_range(0, 4294967295)),
    given("bpfEnabled", boolean()),
    given("bpfOverlayHostSourceIP", one_of(&["TunnelAddress", "HostAddress"]).strict()),
    given("bpfDisableUnprivileged", boolean()),
    given("bpfJITHardening", one_of(&["Auto", "Strict"]).strict()),
    field("bpfLogLevel", one_of(&["Off", "Info", "Debug"]).any_case()).always(),
    field("bpfConntrackLogLevel", one_of(&["Off", "Debug"]).strict()),
    given("bpfConntrackMode", one_of(&["Auto", "Userspace", "BPFProgram"]).strict()),
    field("bpfConntrackTimeouts", CONNTRACK_TIMEOUTS),
    field("bpfIPFragTimeout", duration_text().schema_format(Format::PlainDuration)),
    given("bpfLogFilters", texts().format(Format::InterfaceKeys)),
    field("bpfCTLBLogFilter", any_text()),
    field("bpfDataIfacePattern", formatted(Format::Regex)),
    field("bpfL3IfacePattern", formatted(Format::Regex)),
    given("bpfConnectTimeLoadBalancingEnabled", boolean()),
    given("bpfConnectTimeLoadBalancing", one_of(&["TCP", "Enabled", "Disabled"]).strict()),
    given("bpfHostNetworkedNATWithoutCTLB", SWITCH.strict()),
    field("bpfExternalServiceMode", one_of(&["Tunnel", "DSR"]).any_case()),
    given("bpfDSROptoutCIDRs", list_of(&formatted(Format::Cidr))),
    given("bpfExtToServiceConnmark", integer().range(0, 4294967295)),
    given("bpfKubeProxyIptablesCleanupEnabled", boolean()),
    field("bpfKubeProxyMinSyncPeriod", duration_text().schema_format(Format::PlainDuration)),
    given("bpfKubeProxyHealthzPort", integer().range(0, 65535)),
    field("bpfPSNATPorts", port()),
    given("bpfMapSizeNATFrontend", integer()),
    given("bpfMapSizeNATBackend", integer()),
    given("bpfMapSizeNATAffinity", integer()),
    given("bpfMapSizeRoute", integer()),
    given("bpfMapSizeConntrack", integer()),
    given("bpfMapSizePerCpuConntrack", integer()),
    field("bpfMapSizeConntrackScaling", one_of(&["Disabled", "DoubleIfFull"]).any_case()),
    given("bpfMapSizeConntrackCleanupQueue", integer().range(1, i64::MAX)),
    given("bpfMapSizeIPSets", integer()),
    given("bpfMapSizeIfState", integer()),
    given("bpfHostConntrackBypass", boolean()),
    given("bpfIPFragmentReassemblyEnabled", boolean()),
    field("bpfEnforceRPF", one_of(&["Disabled", "Strict", "Loose"]).any_case()),
    given("bpfPolicyDebugEnabled", boolean()),
    given("bpfForceTrackPacketsFromIfaces", list_of(&formatted(Format::InterfaceFilter))),
    field("bpfDisableGROForIfaces", formatted(Format::Regex)),
    given("bpfExcludeCIDRsFromNAT", list_of(&formatted(Format::Cidr))),
    given("bpfExportBufferSizeMB", integer()),
    given("istioAmbientMode", SWITCH),
    field("istioDSCPMark", dscp()),
    field("cgroupV2Path", any_text()),
    given("flowLogsPolicyEvaluationMode", one_of(&["None", "Continuous"])),
    field("bpfRedirectToPeer", SWITCH),
    given("bpfAttachType", one_of(&["TC", "TCX", "Netkit"]).strict()),
    field("flowLogsFlushInterval", duration_text().schema_format(Format::PlainDuration)),
    given("flowLogsCollectorDebugTrace", boolean()),
    given("flowLogsGoldmaneServer", any_text()),
    given("flowLogsLocalReporter", one_of(&["Disabled", "Enabled"])),
    field("bpfProfiling", SWITCH),
    field("routeSource", one_of(&["WorkloadIPs", "CalicoIPAM"]).any_case()),
    given("routeTableRanges", list_of(&ROUTE_TABLES)),
    field("routeTableRange", ROUTE_TABLE_RANGE),
    given("routeSyncDisabled", boolean()),
    given("ipv4NormalRoutePriority", integer().range(1, 2147483646)),
    given("ipv4ElevatedRoutePriority", integer().range(1, 2147483646)),
    given("ipv6NormalRoutePriority", integer().range(1, 2147483646)),
    given("ipv6ElevatedRoutePriority", integer().range(1, 2147483646)),
    field("liveMigrationRouteConvergenceTime", duration_text().schema_format(Format::DecimalDuration)),
    given("wireguardEnabled", boolean()),
    given("wireguardEnabledV6", boolean()),
    given("wireguardThreadingEnabled", boolean()),
    given("wireguardListeningPort", integer().range(1, 65535)),
    given("wireguardListeningPortV6", integer().range(1, 65535)),
    given("wireguardRoutingRulePriority", integer().range(1, 32765)),
    field("wireguardInterfaceName", formatted(Format::Interface)),
    field("wireguardInterfaceNameV6", formatted(Format::Interface)),
    given("wireguardMTU", integer()),
    given("wireguardMTUV6", integer()),
    given("wireguardHostEncryptionEnabled", boolean()),
    field("wireguardKeepAlive", duration_text().schema_format(Format::PlainDuration)),
    given("awsSrcDstCheck", one_of(&["DoNothing", "Enable", "Disable"]).strict()),
    field("serviceLoopPrevention", one_of(&["Drop", "Reject", "Disabled"]).strict()),
    field("workloadSourceSpoofing", one_of(&["Disabled", "Any"]).strict()),
    field("mtuIfacePattern", formatted(Format::Regex)),
    given("floatingIPs", SWITCH),
    given("localSubnetL2Reachability", one_of(&["Disabled", "PodsAndLoadBalancers"]).strict()),
    field("localSubnetL2ReachabilityRefreshInterval", duration_text()),
    given("windowsManageFirewallRules", SWITCH.strict()),
    given("goGCThreshold", integer().range(-1, i64::MAX)),
    given("goMemoryLimitMB", integer().range(-1, i64::MAX)),
    given("goMaxProcs", integer().range(-1, i64::MAX)),
    given("requireMTUFile", boolean()),
    given("bpfMaglevMaxEndpointsPerService", integer().range(1, 3000)),
    given("bpfMaglevMaxServices", integer().range(1, 3000)),
])
.check(felix);

fn bounds(map: &Map) -> (i64, i64) {
    let bound = |key: &str| map.get(key).and_then(Value::as_i64).unwrap_or(0);
    (bound("min"), bound("max"))
}

fn felix(map: &Map, path: &str, report: &mut Report) {
    let at = |key: &str| format!("{path}.{key}");
    if has(map, "routeTableRange") && has(map, "routeTableRanges") {
        report.schema(at("routeTableRange"), "cannot be combined with routeTableRanges; use the latter");
    }
    let tables: i64 = list(map, "routeTableRanges")
        .iter()
        .filter_map(Value::as_object)
        .map(|range| {
            let (min, max) = bounds(range);
            (max - min + 1).max(0)
        })
        .sum();
    if tables > MAX_TABLES {
        report
            .form(at("routeTableRanges"), format!("hold {tables} tables, at most {MAX_TABLES} are allowed"));
    }
    for (i, port) in list(map, "kubeNodePortRanges").iter().enumerate() {
        let named = matches!(serde_json::from_value(port.clone()), Ok(tortie_net::Port::Named(_)));
        if named {
            report.form(format!("{path}.kubeNodePortRanges[{i}]"), "must be a number or a range");
        }
    }
    if list(map, "kubeNodePortRanges").len() > 7 {
        report.form(at("kubeNodePortRanges"), "at most 7 are allowed");
    }
    for (i, cidr) in list(map, "externalNodesList").iter().enumerate() {
        let path = format!("{path}.externalNodesList[{i}]");
        match cidr.as_str().map(str::parse::<Cidr>) {
            Some(Ok(cidr)) if cidr.family() == Family::V4 => {}
            Some(Ok(_)) => report.form(path, "must be of IPv4"),
            _ => report.form(path, "is not a CIDR"),
        }
    }
}

/// Settings of every node, or of one node by name, have no selector. `value` is the whole object.
pub(super) fn scope(value: &Map, report: &mut Report) {
    let name = object(value, "metadata").map_or("", |m| text(m, "name"));
    let selected = object(value, "spec").is_some_and(|spec| has(spec, "nodeSelector"));
    if selected && (name == "default" || name.starts_with("node.")) {
        report
            .schema("spec.nodeSelector", format!("cannot be set in {name:?}; give the object another name"));
    }
}
