//! What the node's configuration says about rules.

/// What happens to traffic from a workload to this host that the workload's egress policy allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointToHost {
    /// Dropped, unless it belongs to a connection that the host opened. Calico's default.
    #[default]
    Drop,
    /// Left to the host's other rules.
    Return,
    /// Accepted. In nftables the same as `Return`: an accept in one table does not overrule another table.
    Accept,
}

/// How often a `Log` rule writes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRate {
    /// Packets per second, over time.
    pub per_second: u32,
    /// Packets at once.
    pub burst: u32,
}

/// Settings of the renderer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names of workload interfaces start with one of these (`InterfacePrefix`).
    pub interface_prefixes: Vec<String>,
    /// `DefaultEndpointToHostAction`.
    pub endpoint_to_host: EndpointToHost,
    /// The one bit of the packet mark that a `Pass` uses inside an endpoint's chain.
    pub pass_mark: u32,
    /// UDP port of VXLAN (`VXLANPort`).
    pub vxlan_port: u16,
    /// Workloads may send VXLAN (`AllowVXLANPacketsFromWorkloads`).
    pub allow_vxlan_from_workloads: bool,
    /// Workloads may send IPIP (`AllowIPIPPacketsFromWorkloads`).
    pub allow_ipip_from_workloads: bool,
    /// Drop packets that connection tracking calls invalid (not `DisableConntrackInvalidCheck`).
    pub drop_invalid: bool,
    /// Start of the log line of a `Log` rule (`LogPrefix`).
    pub log_prefix: String,
    /// Limit of a `Log` rule (`LogActionRateLimit`); `None` logs every packet.
    pub log_rate: Option<LogRate>,
    /// Honour the source prefixes that an endpoint may use besides its own addresses (`WorkloadSourceSpoofing=Any`).
    pub workload_source_spoofing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interface_prefixes: vec![tortie_model::names::DEFAULT_INTERFACE_PREFIX.to_owned()],
            endpoint_to_host: EndpointToHost::default(),
            pass_mark: 0x2_0000,
            vxlan_port: 4789,
            allow_vxlan_from_workloads: false,
            allow_ipip_from_workloads: false,
            drop_invalid: true,
            log_prefix: "calico-packet".to_owned(),
            log_rate: Some(LogRate { per_second: 10, burst: 20 }),
            workload_source_spoofing: false,
        }
    }
}
