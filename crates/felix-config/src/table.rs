//! Every parameter: the one place to add, change or look up one. tidy: table
//!
//! Names, forms and defaults are Felix's, for they are what operators and FelixConfiguration write. An entry makes the
//! parameter's getter on [`Config`] too; the getter's comment is the reference document's text.

use crate::parameter::{Kind, Parameter, TextForm, p};
use crate::value::FromValue;
use crate::{Config, Dscp, HostPort, Span, TableRange};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;
use tortie_net::{Cidr, PortRange};

const MAX: i64 = i64::MAX;
const BOOL: Kind = Kind::Bool;
const OPTIONAL_BOOL: Kind = Kind::OptionalBool;
const INT: Kind = int(i64::MIN, MAX);
const SECONDS: Kind = Kind::Seconds;
const MILLIS: Kind = Kind::Millis;
const STRING: Kind = Kind::Text(TextForm::Line);
const AUTHORITY: Kind = Kind::Text(TextForm::Authority);
const HOSTNAME: Kind = Kind::Text(TextForm::Hostname);
const HOST_ADDRESS: Kind = Kind::Text(TextForm::HostAddress);
const INTERFACE_PREFIXES: Kind = Kind::Text(TextForm::InterfacePrefixes);
const INTERFACE_FILTER: Kind = Kind::Text(TextForm::InterfaceFilter);
const LOG_RATE: Kind = Kind::Text(TextForm::Rate);
const REGION: Kind = Kind::Text(TextForm::Region);
const FILE: Kind = Kind::File { must_exist: false };
const EXISTING_FILE: Kind = Kind::File { must_exist: true };
const PROGRAM: Kind = Kind::Program;
const PATTERN: Kind = Kind::Pattern;
const INTERFACE_PATTERNS: Kind = Kind::InterfacePatterns;
const INTERFACE_FILTERS: Kind = Kind::InterfaceFilters;
const IPV4: Kind = Kind::Ipv4;
const IPV6: Kind = Kind::Ipv6;
const CIDRS: Kind = Kind::Cidrs;
const ENDPOINTS: Kind = Kind::Endpoints;
const HOST_PORTS: Kind = Kind::HostPorts;
const PORT_RANGE: Kind = Kind::PortRange;
const PORT_RANGES: Kind = Kind::PortRanges;
const TABLE_RANGE: Kind = Kind::TableRange;
const TABLE_RANGES: Kind = Kind::TableRanges;
const KEY_VALUES: Kind = Kind::KeyValues;
const KEY_DURATIONS: Kind = Kind::KeyDurations;
const MARK: Kind = Kind::Mark;
const DSCP: Kind = Kind::Dscp;

const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

const fn one_of(words: &'static [&'static str]) -> Kind {
    Kind::OneOf(words)
}

/// The place in [`PARAMETERS`] of the parameter of this name, whatever its case.
pub(crate) fn find(name: &str) -> Option<usize> {
    static PLACES: LazyLock<HashMap<String, usize>> = LazyLock::new(|| {
        PARAMETERS
            .iter()
            .enumerate()
            .map(|(index, parameter)| (parameter.name.to_lowercase(), index))
            .collect()
    });
    PLACES.get(&name.to_lowercase()).copied()
}

macro_rules! table {
    ($(group $group:literal { $(
        $(#[doc = $doc:literal])+
        $getter:ident -> $type:ty = $entry:expr;
    )+ })+) => {
        #[expect(non_camel_case_types, reason = "one variant for each getter, by its name")]
        enum Place { $($($getter,)+)+ }

        /// Every parameter, by group and name.
        pub static PARAMETERS: &[Parameter] = &[
            $($($entry.described($group, concat!($($doc),+), stringify!($type)),)+)+
        ];

        // === impl Config: the getters ===
        impl Config {
            $($(
                $(#[doc = $doc])+
                pub fn $getter(&self) -> $type {
                    FromValue::from_value(self.at(Place::$getter as usize))
                }
            )+)+
        }
    };
}

table! {
    group "Datastore" {
        /// Which datastore holds the cluster's state. Usually known from the environment, so rarely set here.
        datastore_type -> &str =
            p("DatastoreType", "", one_of(&["kubernetes", "etcdv3"]), "etcdv3").required().fatal().local();
        /// Host and port of etcd, when `EtcdEndpoints` is empty.
        etcd_addr -> &str = p("EtcdAddr", "", AUTHORITY, "127.0.0.1:2379").local();
        /// CA certificate that etcd's certificate must be signed by; needs the key and the certificate beside
        /// it.
        etcd_ca_file -> &str = p("EtcdCaFile", "", EXISTING_FILE, "").local();
        /// Certificate for TLS to etcd; needs the key and the CA file beside it.
        etcd_cert_file -> &str = p("EtcdCertFile", "", EXISTING_FILE, "").local();
        /// URLs of the etcd servers. Wins over `EtcdAddr` and `EtcdScheme`.
        etcd_endpoints -> &[String] = p("EtcdEndpoints", "", ENDPOINTS, "").local();
        /// Private key for TLS to etcd; needs the certificate and the CA file beside it.
        etcd_key_file -> &str = p("EtcdKeyFile", "", EXISTING_FILE, "").local();
        /// How to speak to the server in `EtcdAddr`.
        etcd_scheme -> &str = p("EtcdScheme", "", one_of(&["http", "https"]), "http").local();
        /// Name of this node in the datastore. Without it, the machine's host name in lower case.
        felix_hostname -> &str = p("FelixHostname", "", HOSTNAME, "").required().local();
        /// Host and port of Typha. Wins over `TyphaK8sServiceName`.
        typha_addr -> &str = p("TyphaAddr", "", AUTHORITY, "").local();
        /// CA certificate that Typha's certificate must be signed by. All of Typha's TLS parameters go
        /// together.
        typha_ca_file -> &str = p("TyphaCAFile", "", EXISTING_FILE, "").local();
        /// Common name that Typha's certificate must carry. With TLS, this or `TyphaURISAN` is needed.
        typha_cn -> &str = p("TyphaCN", "", STRING, "").local();
        /// Certificate for TLS to Typha. All of Typha's TLS parameters go together.
        typha_cert_file -> &str = p("TyphaCertFile", "", EXISTING_FILE, "").local();
        /// Namespace of the service in `TyphaK8sServiceName`.
        typha_k8s_namespace -> &str = p("TyphaK8sNamespace", "", STRING, "kube-system").required().local();
        /// Kubernetes service behind which Typha is found.
        typha_k8s_service_name -> &str = p("TyphaK8sServiceName", "", STRING, "").local();
        /// Private key for TLS to Typha. All of Typha's TLS parameters go together.
        typha_key_file -> &str = p("TyphaKeyFile", "", EXISTING_FILE, "").local();
        /// How long Typha may be silent before the connection counts as dead. Typha pings, so silence means
        /// trouble.
        typha_read_timeout -> Duration = p("TyphaReadTimeout", "", SECONDS, "30").local();
        /// URI name that Typha's certificate must carry. With TLS, this or `TyphaCN` is needed.
        typha_uri_san -> &str = p("TyphaURISAN", "", STRING, "").local();
        /// How long one write to Typha may take.
        typha_write_timeout -> Duration = p("TyphaWriteTimeout", "", SECONDS, "10").local();
    }

    group "Features" {
        /// Answers to feature detection that win over what was detected, as `SNATFullyRandom=true`. Any other
        /// value than true and false detects as usual.
        feature_detect_override -> &BTreeMap<String, String> =
            p("FeatureDetectOverride", "featureDetectOverride", KEY_VALUES, "");
        /// Switches for features in preview, as `Name=enabled`.
        feature_gates -> &BTreeMap<String, String> = p("FeatureGates", "featureGates", KEY_VALUES, "");
    }

    group "Run time" {
        /// Percentage by which Felix lets its heap grow between collections; -1 collects never. Kept for
        /// compatibility: Tortie has no collector.
        go_gc_threshold -> i64 = p("GoGCThreshold", "goGCThreshold", int(-1, MAX), "40");
        /// How many processors to use at once; -1 means as many as there are.
        go_max_procs -> i64 = p("GoMaxProcs", "goMaxProcs", int(-1, MAX), "-1");
        /// Soft limit of memory in MB; -1 means none. Kept for compatibility.
        go_memory_limit_mb -> i64 = p("GoMemoryLimitMB", "goMemoryLimitMB", int(-1, MAX), "-1");
    }

    group "Health" {
        /// Serve liveness and readiness over HTTP.
        health_enabled -> bool = p("HealthEnabled", "healthEnabled", BOOL, "false");
        /// Address to serve health on.
        health_host -> &str = p("HealthHost", "healthHost", HOST_ADDRESS, "localhost");
        /// TCP port to serve health on.
        health_port -> i64 = p("HealthPort", "healthPort", int(0, 65535), "9099");
        /// Longer (or shorter) watchdog time-outs of single components, by name. For machines under heavy
        /// load.
        health_timeout_overrides -> &BTreeMap<String, Span> =
            p("HealthTimeoutOverrides", "healthTimeoutOverrides", KEY_DURATIONS, "");
    }

    group "Logs" {
        /// At most so many log lines from rules with the action Log, as `10/second`. Units: second, minute,
        /// hour, day.
        log_action_rate_limit -> &str = p("LogActionRateLimit", "logActionRateLimit", LOG_RATE, "");
        /// How many lines may come at once before `LogActionRateLimit` bites.
        log_action_rate_limit_burst -> i64 =
            p("LogActionRateLimitBurst", "logActionRateLimitBurst", int(0, MAX), "5");
        /// Debug lines are written only from source files whose name matches.
        log_debug_filename_regex -> Option<&str> =
            p("LogDebugFilenameRegex", "logDebugFilenameRegex", PATTERN, "");
        /// File to log to; `none` for no file.
        log_file_path -> &str = p("LogFilePath", "logFilePath", FILE, "/var/log/calico/felix.log").fatal();
        /// Text in front of packets logged by rules. `%t` stands for the tier, `%k` for the policy's kind,
        /// `%n` for its name, `%p` for namespace and name.
        log_prefix -> &str = p("LogPrefix", "logPrefix", STRING, "calico-packet");
        /// Least severe lines that go to the log file.
        log_severity_file -> &str =
            p(
                "LogSeverityFile",
                "logSeverityFile",
                one_of(&["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"]),
                "INFO",
            );
        /// Least severe lines that go to standard output.
        log_severity_screen -> &str =
            p(
                "LogSeverityScreen",
                "logSeverityScreen",
                one_of(&["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"]),
                "INFO",
            );
        /// Least severe lines that go to syslog; `none` for no syslog.
        log_severity_sys -> &str =
            p(
                "LogSeveritySys",
                "logSeveritySys",
                one_of(&["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"]),
                "INFO",
            );
    }

    group "Metrics" {
        /// Report metrics of the language's run time.
        prometheus_go_metrics_enabled -> bool =
            p("PrometheusGoMetricsEnabled", "prometheusGoMetricsEnabled", BOOL, "true");
        /// CA certificate that clients of the metrics must be signed by.
        prometheus_metrics_ca_file -> &str =
            p("PrometheusMetricsCAFile", "prometheusMetricsCAFile", STRING, "");
        /// Certificate to serve metrics over TLS with.
        prometheus_metrics_cert_file -> &str =
            p("PrometheusMetricsCertFile", "prometheusMetricsCertFile", STRING, "");
        /// What is asked of the certificates of those who read metrics.
        prometheus_metrics_client_auth -> &str =
            p(
                "PrometheusMetricsClientAuth",
                "prometheusMetricsClientAuth",
                one_of(&["RequireAndVerifyClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven", "NoClientCert"]),
                "NoClientCert",
            );
        /// Serve metrics for Prometheus.
        prometheus_metrics_enabled -> bool =
            p("PrometheusMetricsEnabled", "prometheusMetricsEnabled", BOOL, "false");
        /// Address to serve metrics on; empty for all.
        prometheus_metrics_host -> &str =
            p("PrometheusMetricsHost", "prometheusMetricsHost", HOST_ADDRESS, "");
        /// Private key to serve metrics over TLS with.
        prometheus_metrics_key_file -> &str =
            p("PrometheusMetricsKeyFile", "prometheusMetricsKeyFile", STRING, "");
        /// TCP port to serve metrics on.
        prometheus_metrics_port -> i64 =
            p("PrometheusMetricsPort", "prometheusMetricsPort", int(0, 65535), "9091");
        /// Report metrics of the process: memory, files, processor time.
        prometheus_process_metrics_enabled -> bool =
            p("PrometheusProcessMetricsEnabled", "prometheusProcessMetricsEnabled", BOOL, "true");
        /// Report metrics of WireGuard's peers.
        prometheus_wireguard_metrics_enabled -> bool =
            p("PrometheusWireGuardMetricsEnabled", "prometheusWireGuardMetricsEnabled", BOOL, "true");
    }

    group "Every dataplane" {
        /// Let pods send IP-in-IP packets of their own. Otherwise they are dropped.
        allow_ipip_packets_from_workloads -> bool =
            p("AllowIPIPPacketsFromWorkloads", "allowIPIPPacketsFromWorkloads", BOOL, "false");
        /// Let pods send VXLAN packets of their own. Otherwise they are dropped.
        allow_vxlan_packets_from_workloads -> bool =
            p("AllowVXLANPacketsFromWorkloads", "allowVXLANPacketsFromWorkloads", BOOL, "false");
        /// Where the cgroup v2 hierarchy is mounted, if not in the usual place.
        cgroup_v2_path -> &str = p("CgroupV2Path", "cgroupV2Path", STRING, "");
        /// Whether the hooks go to the top of the kernel's chains (`insert`: nobody gets past them) or to the
        /// bottom (`append`).
        chain_insert_mode -> &str =
            p(
                "ChainInsertMode",
                "chainInsertMode",
                one_of(&["insert", "append"]),
                "insert",
            ).required().fatal();
        /// Program of an external dataplane. Only without `UseInternalDataplaneDriver`.
        dataplane_driver -> &str =
            p("DataplaneDriver", "dataplaneDriver", PROGRAM, "calico-iptables-plugin").required().fatal();
        /// How long the dataplane may be stuck before it counts as dead. `HealthTimeoutOverrides` replaces
        /// it.
        dataplane_watchdog_timeout -> Duration =
            p("DataplaneWatchdogTimeout", "dataplaneWatchdogTimeout", SECONDS, "90");
        /// What becomes of packets from a pod to its own host after the pod's policies: dropped, accepted, or
        /// returned to the host's own rules.
        default_endpoint_to_host_action -> &str =
            p(
                "DefaultEndpointToHostAction",
                "defaultEndpointToHostAction",
                one_of(&["DROP", "RETURN", "ACCEPT"]),
                "DROP",
            ).required().fatal();
        /// Number in the routing table that marks routes as ours.
        device_route_protocol -> i64 = p("DeviceRouteProtocol", "deviceRouteProtocol", INT, "3");
        /// Source address hint on IPv4 routes to local pods. Without it, the kernel chooses.
        device_route_source_address -> Option<IpAddr> =
            p("DeviceRouteSourceAddress", "deviceRouteSourceAddress", IPV4, "");
        /// Source address hint on IPv6 routes to local pods. Without it, the kernel chooses.
        device_route_source_address_ipv6 -> Option<IpAddr> =
            p("DeviceRouteSourceAddressIPv6", "deviceRouteSourceAddressIPv6", IPV6, "");
        /// Do not drop packets that connection tracking calls invalid. For hosts with asymmetric routes over
        /// several interfaces.
        disable_conntrack_invalid_check -> bool =
            p("DisableConntrackInvalidCheck", "disableConntrackInvalidCheck", BOOL, "false");
        /// Directory below which the state of each endpoint is written for the CNI plugin to wait on; `none`
        /// writes nothing.
        endpoint_status_path_prefix -> &str =
            p("EndpointStatusPathPrefix", "endpointStatusPathPrefix", FILE, "/var/run/calico");
        /// Hosts outside the cluster that may send tunnelled packets to this node.
        external_nodes_cidr_list -> &[Cidr] =
            p("ExternalNodesCIDRList", "externalNodesList", CIDRS, "").fatal();
        /// Ports of this host that stay reachable whatever policy says, so that a mistake does not lock
        /// everyone out.
        failsafe_inbound_host_ports -> &[HostPort] =
            p(
                "FailsafeInboundHostPorts",
                "failsafeInboundHostPorts",
                HOST_PORTS,
                "tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667",
            ).fatal();
        /// Ports elsewhere that this host can always reach whatever policy says.
        failsafe_outbound_host_ports -> &[HostPort] =
            p(
                "FailsafeOutboundHostPorts",
                "failsafeOutboundHostPorts",
                HOST_PORTS,
                "udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667",
            ).fatal();
        /// Program the floating addresses that pods ask for by annotation. Those of OpenStack are always
        /// programmed.
        floating_ips -> &str = p("FloatingIPs", "floatingIPs", one_of(&["Enabled", "Disabled"]), "Disabled");
        /// Switch forwarding on in the kernel. Only a host without any workloads can do without.
        ip_forwarding -> &str =
            p("IPForwarding", "ipForwarding", one_of(&["Enabled", "Disabled"]), "Enabled");
        /// Metric of an IPv4 route that must win for a moment, as in live migration. Lower wins: keep it
        /// below the normal one.
        ipv4_elevated_route_priority -> i64 =
            p("IPv4ElevatedRoutePriority", "ipv4ElevatedRoutePriority", int(1, 2147483646), "512");
        /// Metric of ordinary IPv4 routes. Lower wins.
        ipv4_normal_route_priority -> i64 =
            p("IPv4NormalRoutePriority", "ipv4NormalRoutePriority", int(1, 2147483646), "1024");
        /// Metric of an IPv6 route that must win for a moment, as in live migration. Lower wins: keep it
        /// below the normal one.
        ipv6_elevated_route_priority -> i64 =
            p("IPv6ElevatedRoutePriority", "ipv6ElevatedRoutePriority", int(1, 2147483646), "512");
        /// Metric of ordinary IPv6 routes. Lower wins.
        ipv6_normal_route_priority -> i64 =
            p("IPv6NormalRoutePriority", "ipv6NormalRoutePriority", int(1, 2147483646), "1024");
        /// Interfaces that are never host endpoints: names, or regular expressions between slashes.
        interface_exclude -> &[String] =
            p("InterfaceExclude", "interfaceExclude", INTERFACE_PATTERNS, "kube-ipvs0");
        /// Beginnings of the names of workloads' interfaces; every other interface is the host's. `cali` with
        /// Kubernetes, `tap` with OpenStack.
        interface_prefix -> &str =
            p("InterfacePrefix", "interfacePrefix", INTERFACE_PREFIXES, "cali").required().fatal();
        /// How often to look at all interfaces again; 0 never.
        interface_refresh_interval -> Duration =
            p("InterfaceRefreshInterval", "interfaceRefreshInterval", SECONDS, "90");
        /// Program IPv6 as well as IPv4.
        ipv6_support -> bool = p("Ipv6Support", "ipv6Support", BOOL, "true");
        /// Work together with Istio's ambient mode.
        istio_ambient_mode -> &str =
            p("IstioAmbientMode", "istioAmbientMode", one_of(&["Disabled", "Enabled"]), "Disabled");
        /// DSCP value that marks packets on their way to Istio's tunnel. Must be used by nothing else.
        istio_dscp_mark -> Dscp = p("IstioDSCPMark", "istioDSCPMark", DSCP, "23");
        /// How long a route stays elevated after a live migration, so that the cluster's routes settle.
        live_migration_route_convergence_time -> Duration =
            p("LiveMigrationRouteConvergenceTime", "liveMigrationRouteConvergenceTime", SECONDS, "30");
        /// Answer ARP and neighbour discovery for pods and load balancer addresses that lie in the host's own
        /// subnet, so that neighbours reach them without BGP.
        local_subnet_l2_reachability -> &str =
            p(
                "LocalSubnetL2Reachability",
                "localSubnetL2Reachability",
                one_of(&["Disabled", "PodsAndLoadBalancers"]),
                "Disabled",
            );
        /// How often to announce these addresses again; 0 only once.
        local_subnet_l2_reachability_refresh_interval -> Duration =
            p(
                "LocalSubnetL2ReachabilityRefreshInterval",
                "localSubnetL2ReachabilityRefreshInterval",
                SECONDS,
                "120",
            );
        /// Interfaces whose MTU counts when the MTU of pods is found out. Must not match pods' own.
        mtu_iface_pattern -> Option<&str> =
            p(
                "MTUIfacePattern",
                "mtuIfacePattern",
                PATTERN,
                "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)",
            );
        /// Source address of packets that leave pools with natOutgoing. Without it, the address of the
        /// interface they leave by.
        nat_outgoing_address -> Option<IpAddr> = p("NATOutgoingAddress", "natOutgoingAddress", IPV4, "");
        /// Where packets from pools with natOutgoing keep their own address: in pools only, or also on hosts
        /// of the cluster.
        nat_outgoing_exclusions -> &str =
            p(
                "NATOutgoingExclusions",
                "natOutgoingExclusions",
                one_of(&["IPPoolsOnly", "IPPoolsAndHostIPs"]),
                "IPPoolsOnly",
            );
        /// Source ports for natOutgoing. Without it, the kernel's choice.
        nat_port_range -> PortRange = p("NATPortRange", "natPortRange", PORT_RANGE, "");
        /// Host interfaces that take part in nftables' flowtable.
        nftables_flowtable_data_iface_pattern -> Option<&str> =
            p("NFTablesFlowTableDataIfacePattern", "nftablesFlowTableDataIfacePattern", PATTERN, "");
        /// Which established connections bypass the rules through nftables' flowtable.
        nftables_flowtable_offload -> &str =
            p(
                "NFTablesFlowTableOffload",
                "nftablesFlowTableOffload",
                one_of(&["All", "Disabled"]),
                "Disabled",
            );
        /// Whether nftables is used instead of iptables; `Auto` follows kube-proxy.
        nftables_mode -> &str =
            p("NFTablesMode", "nftablesMode", one_of(&["Enabled", "Disabled", "Auto"]), "Auto");
        /// How long the kernel may take to answer over netlink.
        netlink_timeout -> Duration = p("NetlinkTimeoutSecs", "netlinkTimeout", SECONDS, "10");
        /// Directory for the sockets over which policy is given to application-layer proxies. Empty for none.
        policy_sync_path_prefix -> &str = p("PolicySyncPathPrefix", "policySyncPathPrefix", FILE, "");
        /// Which routes to other nodes' pods are programmed here and not by BGP: those of IP-in-IP pools, of
        /// pools without encapsulation, both, none. Routes of VXLAN pools always are. Must agree with the
        /// field of this name in BGPConfiguration.
        program_cluster_routes -> &str =
            p(
                "ProgramClusterRoutes",
                "programClusterRoutes",
                one_of(&["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"]),
                "EnabledIPIPOnly",
            );
        /// Remove routes to pods' interfaces that others made.
        remove_external_routes -> bool = p("RemoveExternalRoutes", "removeExternalRoutes", BOOL, "true");
        /// Do not start without the file that tells the MTU.
        require_mtu_file -> bool = p("RequireMTUFile", "requireMTUFile", BOOL, "false");
        /// How often to compare all routes with the kernel's; 0 never.
        route_refresh_interval -> Duration = p("RouteRefreshInterval", "routeRefreshInterval", SECONDS, "90");
        /// Where routes come from: address blocks of IPAM, or the addresses of each workload.
        route_source -> &str =
            p("RouteSource", "routeSource", one_of(&["WorkloadIPs", "CalicoIPAM"]), "CalicoIPAM");
        /// Leave routing tables alone: policy only.
        route_sync_disabled -> bool = p("RouteSyncDisabled", "routeSyncDisabled", BOOL, "false");
        /// Routing tables that may be used, at most up to 250. Replaced by `RouteTableRanges`.
        route_table_range -> TableRange = p("RouteTableRange", "routeTableRange", TABLE_RANGE, "").fatal();
        /// Routing tables that may be used, at most 65535 in all.
        route_table_ranges -> &[TableRange] =
            p("RouteTableRanges", "routeTableRanges", TABLE_RANGES, "").fatal();
        /// What becomes of packets to service addresses that no service has, which would else circle between
        /// node and router.
        service_loop_prevention -> &str =
            p(
                "ServiceLoopPrevention",
                "serviceLoopPrevention",
                one_of(&["Drop", "Reject", "Disabled"]),
                "Drop",
            );
        /// Experiment: let packets between a pod and its sidecar skip the stack.
        sidecar_acceleration_enabled -> bool =
            p("SidecarAccelerationEnabled", "sidecarAccelerationEnabled", BOOL, "false");
        /// Program the dataplane in this process, not by `DataplaneDriver`.
        use_internal_dataplane_driver -> bool =
            p("UseInternalDataplaneDriver", "useInternalDataplaneDriver", BOOL, "true");
        /// Whether pods may ask, by annotation, to send from addresses that are not theirs.
        workload_source_spoofing -> &str =
            p("WorkloadSourceSpoofing", "workloadSourceSpoofing", one_of(&["Disabled", "Any"]), "Disabled");
    }

    group "iptables" {
        /// How often to compare all IP sets with the kernel's; 0 never.
        ipsets_refresh_interval -> Duration =
            p("IpsetsRefreshInterval", "ipsetsRefreshInterval", SECONDS, "90");
        /// Which iptables is used. Changing it on a running node leaves the other's rules behind until a
        /// reboot.
        iptables_backend -> &str =
            p("IptablesBackend", "iptablesBackend", one_of(&["legacy", "nft", "auto"]), "auto");
        /// What becomes of packets that policy allows: accepted at once, or returned to the host's own rules.
        iptables_filter_allow_action -> &str =
            p(
                "IptablesFilterAllowAction",
                "iptablesFilterAllowAction",
                one_of(&["ACCEPT", "RETURN"]),
                "ACCEPT",
            ).required().fatal();
        /// What becomes of packets that policy denies: dropped silently, or rejected with an answer.
        iptables_filter_deny_action -> &str =
            p(
                "IptablesFilterDenyAction",
                "iptablesFilterDenyAction",
                one_of(&["DROP", "REJECT"]),
                "DROP",
            ).required().fatal();
        /// How long to wait between attempts to get iptables' lock.
        iptables_lock_probe_interval -> Duration =
            p("IptablesLockProbeIntervalMillis", "iptablesLockProbeInterval", MILLIS, "50");
        /// What becomes of packets that policy before DNAT allows: accepted at once, or returned to the
        /// host's own rules.
        iptables_mangle_allow_action -> &str =
            p(
                "IptablesMangleAllowAction",
                "iptablesMangleAllowAction",
                one_of(&["ACCEPT", "RETURN"]),
                "ACCEPT",
            ).required().fatal();
        /// Bits of the packet mark that may be used with iptables. Nobody else on the host may use them.
        iptables_mark_mask -> u32 =
            p("IptablesMarkMask", "iptablesMarkMask", MARK, "0xffff0000").required().fatal();
        /// Only packets leaving by this interface get natOutgoing's source address.
        iptables_nat_outgoing_interface_filter -> &str =
            p(
                "IptablesNATOutgoingInterfaceFilter",
                "iptablesNATOutgoingInterfaceFilter",
                INTERFACE_FILTER,
                "",
            );
        /// How long after a write to look whether another program undid it; 0 never.
        iptables_post_write_check_interval -> Duration =
            p("IptablesPostWriteCheckIntervalSecs", "iptablesPostWriteCheckInterval", SECONDS, "5");
        /// How often to compare all rules with the kernel's; 0 never.
        iptables_refresh_interval -> Duration =
            p("IptablesRefreshInterval", "iptablesRefreshInterval", SECONDS, "180");
        /// Ports of Kubernetes' node port services, needed beside kube-proxy's ipvs mode.
        kube_node_port_ranges -> &[PortRange] =
            p("KubeNodePortRanges", "kubeNodePortRanges", PORT_RANGES, "30000:32767");
        /// How many members an IP set can have. Without meaning for nftables.
        max_ipset_size -> i64 = p("MaxIpsetSize", "maxIpsetSize", INT, "1048576").required();
    }

    group "nftables" {
        /// What becomes of packets that policy allows: accepted at once, or returned to the host's own rules.
        nftables_filter_allow_action -> &str =
            p(
                "NftablesFilterAllowAction",
                "nftablesFilterAllowAction",
                one_of(&["ACCEPT", "RETURN"]),
                "ACCEPT",
            ).required().fatal();
        /// What becomes of packets that policy denies: dropped silently, or rejected with an answer.
        nftables_filter_deny_action -> &str =
            p(
                "NftablesFilterDenyAction",
                "nftablesFilterDenyAction",
                one_of(&["DROP", "REJECT"]),
                "DROP",
            ).required().fatal();
        /// What becomes of packets that policy before DNAT allows: accepted at once, or returned to the
        /// host's own rules.
        nftables_mangle_allow_action -> &str =
            p(
                "NftablesMangleAllowAction",
                "nftablesMangleAllowAction",
                one_of(&["ACCEPT", "RETURN"]),
                "ACCEPT",
            ).required().fatal();
        /// Bits of the packet mark that may be used with nftables. Nobody else on the host may use them.
        nftables_mark_mask -> u32 =
            p("NftablesMarkMask", "nftablesMarkMask", MARK, "0xffff0000").required().fatal();
        /// How often to compare all rules with the kernel's; 0 never.
        nftables_refresh_interval -> Duration =
            p("NftablesRefreshInterval", "nftablesRefreshInterval", SECONDS, "180");
    }

    group "eBPF" {
        /// How programs are attached to interfaces. Each choice falls back to the next older one where the
        /// kernel lacks it.
        bpf_attach_type -> &str =
            p("BPFAttachType", "bpfAttachType", one_of(&["Netkit", "TCX", "TC"]), "Netkit").required();
        /// Set to `all` to keep logs of the connect-time load balancer when `BPFLogFilters` is set.
        bpf_ctlb_log_filter -> &str = p("BPFCTLBLogFilter", "bpfCTLBLogFilter", one_of(&["all"]), "");
        /// For which protocols services are resolved when a socket connects.
        bpf_connect_time_load_balancing -> &str =
            p(
                "BPFConnectTimeLoadBalancing",
                "bpfConnectTimeLoadBalancing",
                one_of(&["TCP", "Enabled", "Disabled"]),
                "TCP",
            ).required();
        /// Old switch of the connect-time load balancer; `BPFConnectTimeLoadBalancing` replaces it.
        bpf_connect_time_load_balancing_enabled -> bool =
            p("BPFConnectTimeLoadBalancingEnabled", "bpfConnectTimeLoadBalancingEnabled", BOOL, "");
        /// Who removes expired connections: a program in the kernel, or this process.
        bpf_conntrack_cleanup_mode -> &str =
            p(
                "BPFConntrackCleanupMode",
                "bpfConntrackMode",
                one_of(&["Auto", "Userspace", "BPFProgram"]),
                "Auto",
            );
        /// How much the program says that removes expired connections.
        bpf_conntrack_log_level -> &str =
            p("BPFConntrackLogLevel", "bpfConntrackLogLevel", one_of(&["off", "debug"]), "off").required();
        /// When connections expire, by their state: durations, or `Auto` to take Linux' own.
        bpf_conntrack_timeouts -> &BTreeMap<String, String> =
            p(
                "BPFConntrackTimeouts",
                "bpfConntrackTimeouts",
                KEY_VALUES,
                "CreationGracePeriod=10s,TCPSynSent=20s,TCPEstablished=1h,TCPFinsSeen=Auto,TCPResetSeen=40s,UDPTimeout=60s,GenericTimeout=10m,ICMPTimeout=5s",
            );
        /// Clients that are answered through the node they came in by, even in `dsr` mode.
        bpf_dsr_optout_cidrs -> &[Cidr] = p("BPFDSROptoutCIDRs", "bpfDSROptoutCIDRs", CIDRS, "");
        /// Host interfaces that carry traffic to and from the network, where programs are attached.
        bpf_data_iface_pattern -> Option<&str> =
            p(
                "BPFDataIfacePattern",
                "bpfDataIfacePattern",
                PATTERN,
                "^((en|wl|ww|sl|ib)[Popsx].*|(eth|wlan|wwan|bond).*)",
            );
        /// Interfaces on which generic receive offload is switched off. Must not match pods' own.
        bpf_disable_gro_for_ifaces -> Option<&str> =
            p("BPFDisableGROForIfaces", "bpfDisableGROForIfaces", PATTERN, "");
        /// Forbid eBPF to unprivileged users, who could look into the maps else.
        bpf_disable_unprivileged -> bool =
            p("BPFDisableUnprivileged", "bpfDisableUnprivileged", BOOL, "true");
        /// Use the eBPF dataplane.
        bpf_enabled -> bool = p("BPFEnabled", "bpfEnabled", BOOL, "false");
        /// Check on host interfaces that packets come from where answers would go.
        bpf_enforce_rpf -> &str =
            p("BPFEnforceRPF", "bpfEnforceRPF", one_of(&["Disabled", "Strict", "Loose"]), "Loose").required();
        /// Destinations that services never translate, as a DNS cache on the node.
        bpf_exclude_cidrs_from_nat -> &[Cidr] =
            p("BPFExcludeCIDRsFromNAT", "bpfExcludeCIDRsFromNAT", CIDRS, "");
        /// Size of the buffer in which events reach this process.
        bpf_export_buffer_size_mb -> i64 =
            p("BPFExportBufferSizeMB", "bpfExportBufferSizeMB", INT, "1").required();
        /// Mark on connections from outside to a local service, for the host's routing rules.
        bpf_ext_to_service_connmark -> i64 =
            p("BPFExtToServiceConnmark", "bpfExtToServiceConnmark", INT, "0");
        /// How packets from outside reach a service's pod on another node and come back: through the first
        /// node both ways, or back directly.
        bpf_external_service_mode -> &str =
            p(
                "BPFExternalServiceMode",
                "bpfExternalServiceMode",
                one_of(&["tunnel", "dsr"]),
                "tunnel",
            ).required();
        /// Interfaces whose packets Linux' connection tracking must still see; `+` at the end stands for any
        /// rest.
        bpf_force_track_packets_from_ifaces -> &[String] =
            p(
                "BPFForceTrackPacketsFromIfaces",
                "bpfForceTrackPacketsFromIfaces",
                INTERFACE_FILTERS,
                "docker+",
            );
        /// Keep packets of pods and services out of Linux' connection tracking.
        bpf_host_conntrack_bypass -> bool =
            p("BPFHostConntrackBypass", "bpfHostConntrackBypass", BOOL, "false");
        /// Resolve services for the host itself packet by packet, without the connect-time load balancer.
        bpf_host_networked_nat_without_ctlb -> &str =
            p(
                "BPFHostNetworkedNATWithoutCTLB",
                "bpfHostNetworkedNATWithoutCTLB",
                one_of(&["Enabled", "Disabled"]),
                "Enabled",
            ).required();
        /// How long to wait for the missing fragments of a packet; 0 for the built-in value.
        bpf_ip_frag_timeout -> Duration = p("BPFIPFragTimeout", "bpfIPFragTimeout", SECONDS, "0");
        /// Put fragments from outside together that arrive out of order. Needs a kernel newer than 5.10.
        bpf_ip_fragment_reassembly_enabled -> bool =
            p("BPFIPFragmentReassemblyEnabled", "bpfIPFragmentReassemblyEnabled", BOOL, "true");
        /// Whether the kernel's strict hardening of compiled programs, which costs speed, is lowered (`Auto`)
        /// or left (`Strict`).
        bpf_jit_hardening -> &str =
            p("BPFJITHardening", "bpfJITHardening", one_of(&["Auto", "Strict"]), "Auto").required();
        /// Port on which load balancers ask whether this node has endpoints of a service; 0 for none.
        bpf_kube_proxy_healthz_port -> i64 =
            p("BPFKubeProxyHealthzPort", "bpfKubeProxyHealthzPort", INT, "10256");
        /// Remove the rules that kube-proxy left. Only where it runs no longer.
        bpf_kube_proxy_iptables_cleanup_enabled -> bool =
            p("BPFKubeProxyIptablesCleanupEnabled", "bpfKubeProxyIptablesCleanupEnabled", BOOL, "true");
        /// Least time between two updates of services. Longer saves work, shorter is quicker.
        bpf_kube_proxy_min_sync_period -> Duration =
            p("BPFKubeProxyMinSyncPeriod", "bpfKubeProxyMinSyncPeriod", SECONDS, "1");
        /// Tunnels made by others (without link-layer addresses) that carry pods' traffic.
        bpf_l3_iface_pattern -> Option<&str> = p("BPFL3IfacePattern", "bpfL3IfacePattern", PATTERN, "");
        /// Packet filters, by interface (or `all`, `weps`, `heps`), that say what the programs log.
        bpf_log_filters -> &BTreeMap<String, String> = p("BPFLogFilters", "bpfLogFilters", KEY_VALUES, "");
        /// How much the programs say, in the kernel's trace pipe.
        bpf_log_level -> &str =
            p("BPFLogLevel", "bpfLogLevel", one_of(&["off", "info", "debug"]), "off").required();
        /// How many endpoints a service with consistent hashing may have; sets the size of its table.
        bpf_maglev_max_endpoints_per_service -> i64 =
            p("BPFMaglevMaxEndpointsPerService", "bpfMaglevMaxEndpointsPerService", int(1, 3000), "100");
        /// How many services may use consistent hashing.
        bpf_maglev_max_services -> i64 =
            p("BPFMaglevMaxServices", "bpfMaglevMaxServices", int(1, 3000), "100");
        /// Room for connections. Changing it disturbs those that exist.
        bpf_map_size_conntrack -> i64 =
            p("BPFMapSizeConntrack", "bpfMapSizeConntrack", INT, "512000").required();
        /// Room for connections that wait to be removed.
        bpf_map_size_conntrack_cleanup_queue -> i64 =
            p("BPFMapSizeConntrackCleanupQueue", "bpfMapSizeConntrackCleanupQueue", INT, "100000").required();
        /// Whether the room for connections doubles when it is nearly full.
        bpf_map_size_conntrack_scaling -> &str =
            p(
                "BPFMapSizeConntrackScaling",
                "bpfMapSizeConntrackScaling",
                one_of(&["Disabled", "DoubleIfFull"]),
                "DoubleIfFull",
            ).required();
        /// Room for members of IP sets, over all selectors of all policies.
        bpf_map_size_ipsets -> i64 = p("BPFMapSizeIPSets", "bpfMapSizeIPSets", INT, "1048576").required();
        /// Room for interfaces of this host, pods' included.
        bpf_map_size_if_state -> i64 = p("BPFMapSizeIfState", "bpfMapSizeIfState", INT, "1000").required();
        /// Room for clients that stay with their endpoint.
        bpf_map_size_nat_affinity -> i64 =
            p("BPFMapSizeNATAffinity", "bpfMapSizeNATAffinity", INT, "65536").required();
        /// Room for endpoints of services.
        bpf_map_size_nat_backend -> i64 =
            p("BPFMapSizeNATBackend", "bpfMapSizeNATBackend", INT, "262144").required();
        /// Room for services: each port, node port and external address takes one.
        bpf_map_size_nat_frontend -> i64 =
            p("BPFMapSizeNATFrontend", "bpfMapSizeNATFrontend", INT, "65536").required();
        /// Room for connections per processor; if not 0, used instead of `BPFMapSizeConntrack`.
        bpf_map_size_per_cpu_conntrack -> i64 =
            p("BPFMapSizePerCPUConntrack", "bpfMapSizePerCpuConntrack", INT, "0");
        /// Room for routes: one for each pod, a few for each host.
        bpf_map_size_route -> i64 = p("BPFMapSizeRoute", "bpfMapSizeRoute", INT, "262144").required();
        /// Source address of the host's own packets through a tunnel: the tunnel's, or the host's.
        bpf_overlay_host_source_ip -> &str =
            p(
                "BPFOverlayHostSourceIP",
                "bpfOverlayHostSourceIP",
                one_of(&["TunnelAddress", "HostAddress"]),
                "TunnelAddress",
            ).required();
        /// Ports to choose from when two connections collide on their source port.
        bpf_psnat_ports -> PortRange = p("BPFPSNATPorts", "bpfPSNATPorts", PORT_RANGE, "20000:29999");
        /// Keep a readable account of each policy program.
        bpf_policy_debug_enabled -> bool = p("BPFPolicyDebugEnabled", "bpfPolicyDebugEnabled", BOOL, "true");
        /// Measure the time that programs take.
        bpf_profiling -> &str =
            p("BPFProfiling", "bpfProfiling", one_of(&["Disabled", "Enabled"]), "Disabled").required();
        /// Hand packets straight to the pod's side of its interface. Quicker, but captures on the host's side
        /// do not see them.
        bpf_redirect_to_peer -> &str =
            p(
                "BPFRedirectToPeer",
                "bpfRedirectToPeer",
                one_of(&["Disabled", "Enabled", "L2Only"]),
                "Enabled",
            ).required();
    }

    group "Windows" {
        /// Open Windows' firewall for the metrics ports.
        windows_manage_firewall_rules -> &str =
            p(
                "WindowsManageFirewallRules",
                "windowsManageFirewallRules",
                one_of(&["Enabled", "Disabled"]),
                "Disabled",
            );
    }

    group "OpenStack" {
        /// How long to wait before an endpoint's state is reported. OpenStack only.
        endpoint_reporting_delay -> Duration =
            p("EndpointReportingDelaySecs", "endpointReportingDelay", SECONDS, "1");
        /// Report the state of endpoints into the datastore. OpenStack only.
        endpoint_reporting_enabled -> bool =
            p("EndpointReportingEnabled", "endpointReportingEnabled", BOOL, "false");
        /// Server of cloud-init's metadata for OpenStack's machines; `none` for no translation to it.
        metadata_addr -> &str = p("MetadataAddr", "metadataAddr", HOSTNAME, "127.0.0.1").fatal();
        /// Port of the server in `MetadataAddr`.
        metadata_port -> i64 = p("MetadataPort", "metadataPort", int(0, 65535), "8775").fatal();
        /// OpenStack region of this node; the same as in Neutron's settings.
        openstack_region -> &str = p("OpenstackRegion", "openstackRegion", REGION, "").fatal();
        /// How often this node reports that it is alive; 0 never. OpenStack needs it.
        reporting_interval -> Duration = p("ReportingIntervalSecs", "reportingInterval", SECONDS, "30");
        /// How long such a report stands.
        reporting_ttl -> Duration = p("ReportingTTLSecs", "reportingTTL", SECONDS, "90");
    }

    group "XDP" {
        /// Use XDP also where the network card's driver lacks it. No quicker than iptables.
        generic_xdp_enabled -> bool = p("GenericXDPEnabled", "genericXDPEnabled", BOOL, "false");
        /// Let XDP drop what untracked policy denies, where it can.
        xdp_enabled -> bool = p("XDPEnabled", "xdpEnabled", BOOL, "true");
        /// How often to compare XDP's state with the kernel's; 0 never.
        xdp_refresh_interval -> Duration = p("XDPRefreshInterval", "xdpRefreshInterval", SECONDS, "90");
    }

    group "VXLAN" {
        /// Make (or do not make) the IPv4 VXLAN device, whatever the pools say. Unset: as the pools need.
        vxlan_enabled -> Option<bool> = p("VXLANEnabled", "vxlanEnabled", OPTIONAL_BOOL, "");
        /// MTU of the IPv4 VXLAN device; 0 finds it out.
        vxlan_mtu -> i64 = p("VXLANMTU", "vxlanMTU", INT, "0");
        /// MTU of the IPv6 VXLAN device; 0 finds it out.
        vxlan_mtu_v6 -> i64 = p("VXLANMTUV6", "vxlanMTUV6", INT, "0");
        /// UDP port of VXLAN.
        vxlan_port -> i64 = p("VXLANPort", "vxlanPort", INT, "4789");
        /// VXLAN network number.
        vxlan_vni -> i64 = p("VXLANVNI", "vxlanVNI", INT, "4096");
    }

    group "IP-in-IP" {
        /// Make (or do not make) the IP-in-IP device, whatever the pools say. Unset: as the pools need.
        ipip_enabled -> Option<bool> = p("IpInIpEnabled", "ipipEnabled", OPTIONAL_BOOL, "");
        /// MTU of the IP-in-IP device; 0 finds it out.
        ipip_mtu -> i64 = p("IpInIpMtu", "ipipMTU", INT, "0");
    }

    group "WireGuard" {
        /// Encrypt IPv4 between nodes with WireGuard.
        wireguard_enabled -> bool = p("WireguardEnabled", "wireguardEnabled", BOOL, "false");
        /// Encrypt IPv6 between nodes with WireGuard.
        wireguard_enabled_v6 -> bool = p("WireguardEnabledV6", "wireguardEnabledV6", BOOL, "false");
        /// Encrypt packets between the hosts themselves, too.
        wireguard_host_encryption_enabled -> bool =
            p("WireguardHostEncryptionEnabled", "wireguardHostEncryptionEnabled", BOOL, "false");
        /// Name of the IPv4 WireGuard device.
        wireguard_interface_name -> &str =
            p(
                "WireguardInterfaceName",
                "wireguardInterfaceName",
                INTERFACE_FILTER,
                "wireguard.cali",
            ).required();
        /// Name of the IPv6 WireGuard device.
        wireguard_interface_name_v6 -> &str =
            p(
                "WireguardInterfaceNameV6",
                "wireguardInterfaceNameV6",
                INTERFACE_FILTER,
                "wg-v6.cali",
            ).required();
        /// UDP port of IPv4 WireGuard.
        wireguard_listening_port -> i64 = p("WireguardListeningPort", "wireguardListeningPort", INT, "51820");
        /// UDP port of IPv6 WireGuard.
        wireguard_listening_port_v6 -> i64 =
            p("WireguardListeningPortV6", "wireguardListeningPortV6", INT, "51821");
        /// MTU of the IPv4 WireGuard device; 0 finds it out.
        wireguard_mtu -> i64 = p("WireguardMTU", "wireguardMTU", INT, "0");
        /// MTU of the IPv6 WireGuard device; 0 finds it out.
        wireguard_mtu_v6 -> i64 = p("WireguardMTUV6", "wireguardMTUV6", INT, "0");
        /// How often to send a packet on an idle tunnel; 0 never.
        wireguard_persistent_keep_alive -> Duration =
            p("WireguardPersistentKeepAlive", "wireguardKeepAlive", SECONDS, "0");
        /// Priority of the routing rule that sends packets into the tunnel.
        wireguard_routing_rule_priority -> i64 =
            p("WireguardRoutingRulePriority", "wireguardRoutingRulePriority", INT, "99");
        /// Let several threads receive packets of a WireGuard device.
        wireguard_threading_enabled -> bool =
            p("WireguardThreadingEnabled", "wireguardThreadingEnabled", BOOL, "false");
    }

    group "Flows" {
        /// Log everything the flow collector sees.
        flow_logs_collector_debug_trace -> bool =
            p("FlowLogsCollectorDebugTrace", "flowLogsCollectorDebugTrace", BOOL, "false");
        /// How often flows are sent on.
        flow_logs_flush_interval -> Duration =
            p("FlowLogsFlushInterval", "flowLogsFlushInterval", SECONDS, "300");
        /// Server to which flows are sent.
        flow_logs_goldmane_server -> &str = p("FlowLogsGoldmaneServer", "flowLogsGoldmaneServer", STRING, "");
        /// Offer flows on a unix socket of the node.
        flow_logs_local_reporter -> &str =
            p("FlowLogsLocalReporter", "flowLogsLocalReporter", one_of(&["Enabled", "Disabled"]), "Disabled");
        /// Whether flows that go on are judged again when policies change.
        flow_logs_policy_evaluation_mode -> &str =
            p(
                "FlowLogsPolicyEvaluationMode",
                "flowLogsPolicyEvaluationMode",
                one_of(&["None", "Continuous"]),
                "Continuous",
            );
    }

    group "AWS" {
        /// Whether the source and destination check of this EC2 instance is changed. Off, it lets pods'
        /// packets through unencapsulated.
        aws_src_dst_check -> &str =
            p(
                "AWSSrcDstCheck",
                "awsSrcDstCheck",
                one_of(&["DoNothing", "Enable", "Disable"]),
                "DoNothing",
            ).required();
    }

    group "Debugging and tests" {
        /// cgroup to which the connect-time load balancer is attached. For development.
        debug_bpf_cgroup_v2 -> &str = p("DebugBPFCgroupV2", "", STRING, "").local();
        /// File for a profile of processor time.
        debug_cpu_profile_path -> &str =
            p("DebugCPUProfilePath", "", FILE, "/tmp/felix-cpu-<timestamp>.pprof");
        /// Wait for slow logs instead of dropping lines.
        debug_disable_log_dropping -> bool =
            p("DebugDisableLogDropping", "debugDisableLogDropping", BOOL, "false");
        /// Address to serve profiles on.
        debug_host -> &str = p("DebugHost", "debugHost", HOST_ADDRESS, "localhost");
        /// File for a profile of memory, written on a signal.
        debug_memory_profile_path -> &str = p("DebugMemoryProfilePath", "debugMemoryProfilePath", FILE, "");
        /// Crash after this long. For tests.
        debug_panic_after -> Duration = p("DebugPanicAfter", "", SECONDS, "0");
        /// TCP port to serve profiles on; 0 for none. Not to be reachable from outside.
        debug_port -> i64 = p("DebugPort", "debugPort", int(0, 65535), "");
        /// Hang the calculation after this long. For tests of the watchdog.
        debug_simulate_calc_graph_hang_after -> Duration =
            p("DebugSimulateCalcGraphHangAfter", "debugSimulateCalcGraphHangAfter", SECONDS, "0");
        /// Provoke a data race. For tests.
        debug_simulate_data_race -> bool = p("DebugSimulateDataRace", "", BOOL, "false");
        /// Delay every write to the dataplane. For tests.
        debug_simulate_dataplane_apply_delay -> Duration =
            p("DebugSimulateDataplaneApplyDelay", "debugSimulateDataplaneApplyDelay", SECONDS, "0");
        /// Hang the dataplane after this long. For tests of the watchdog.
        debug_simulate_dataplane_hang_after -> Duration =
            p("DebugSimulateDataplaneHangAfter", "debugSimulateDataplaneHangAfter", SECONDS, "0");
    }

    group "Usage reports" {
        /// Felix's report of version and cluster size to its makers. Tortie reports nothing.
        usage_reporting_enabled -> bool = p("UsageReportingEnabled", "usageReportingEnabled", BOOL, "true");
        /// How long Felix waits before its first report.
        usage_reporting_initial_delay -> Duration =
            p("UsageReportingInitialDelaySecs", "usageReportingInitialDelay", SECONDS, "300");
        /// How often Felix reports.
        usage_reporting_interval -> Duration =
            p("UsageReportingIntervalSecs", "usageReportingInterval", SECONDS, "86400");
    }

    group "Identity of cluster and node" {
        /// Version that the cluster was set up with, from ClusterInformation.
        calico_version -> &str = p("CalicoVersion", "", STRING, "");
        /// Identity of the cluster, from ClusterInformation.
        cluster_guid -> &str = p("ClusterGUID", "", STRING, "baddecaf");
        /// What the cluster runs on, comma-separated, from ClusterInformation.
        cluster_type -> &str = p("ClusterType", "", STRING, "");
        /// Address of this node's IPv4 VXLAN device, from its Node.
        ipv4_vxlan_tunnel_addr -> Option<IpAddr> = p("IPv4VXLANTunnelAddr", "", IPV4, "");
        /// Address of this node's IPv6 VXLAN device, from its Node.
        ipv6_vxlan_tunnel_addr -> Option<IpAddr> = p("IPv6VXLANTunnelAddr", "", IPV6, "");
        /// Address of this node's IP-in-IP device, from its Node.
        ipip_tunnel_addr -> Option<IpAddr> = p("IpInIpTunnelAddr", "", IPV4, "");
        /// MAC address of this node's IPv4 VXLAN device, from its Node.
        vxlan_tunnel_mac_addr -> &str = p("VXLANTunnelMACAddr", "", STRING, "");
        /// MAC address of this node's IPv6 VXLAN device, from its Node.
        vxlan_tunnel_mac_addr_v6 -> &str = p("VXLANTunnelMACAddrV6", "", STRING, "");
        /// Product that the cluster was set up with, from ClusterInformation.
        variant -> &str = p("Variant", "", STRING, "Calico");
    }
}
