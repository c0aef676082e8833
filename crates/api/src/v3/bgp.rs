//! BGP: configuration, peers, filters.

use crate::meta::null_as_default;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

kind! {
    BgpConfiguration = "BGPConfiguration": BgpConfigurationSpec;
    BgpPeer = "BGPPeer": BgpPeerSpec;
    BgpFilter = "BGPFilter": BgpFilterSpec;
}

/// The number of an autonomous system; JSON: a number, read from `"64512"` and `"1.2"` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsNumber(pub u32);

/// Text that is no AS number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an AS number: expected a number up to 4294967295, or two up to 65535 as high.low")]
pub struct AsNumberParseError {
    /// The text as given.
    pub text: String,
}

body! {
    /// BGP of the cluster, or of one node.
    pub struct BgpConfigurationSpec {
        /// Log level of BIRD.
        log_severity_screen: String,
        /// Every node peers with every other.
        node_to_node_mesh_enabled: Option<bool>,
        /// The cluster's AS.
        as_number: Option<AsNumber>,
        /// Load balancer ranges to advertise.
        #[serde(rename = "serviceLoadBalancerIPs")]
        service_load_balancer_ips: Vec<CidrBlock>,
        /// External ranges to advertise.
        #[serde(rename = "serviceExternalIPs")]
        service_external_ips: Vec<CidrBlock>,
        /// Cluster ranges to advertise.
        #[serde(rename = "serviceClusterIPs")]
        service_cluster_ips: Vec<CidrBlock>,
        /// `Enabled`, `Disabled`.
        service_load_balancer_aggregation: Option<String>,
        /// Communities by name.
        communities: Vec<Community>,
        /// Communities of prefixes.
        prefix_advertisements: Vec<PrefixAdvertisement>,
        /// Port of BIRD.
        listen_port: u16,
        /// Password of the mesh.
        node_mesh_password: Option<BgpPassword>,
        /// Graceful restart time of the mesh.
        node_mesh_max_restart_time: Option<String>,
        /// `None`, `NodeIP`.
        bind_mode: Option<String>,
        /// Interfaces that BIRD must not look at.
        ignored_interfaces: Vec<String>,
        /// Address at which workloads reach the node's BIRD.
        #[serde(rename = "localWorkloadPeeringIPV4")]
        local_workload_peering_ipv4: String,
        /// Address at which workloads reach the node's BIRD.
        #[serde(rename = "localWorkloadPeeringIPV6")]
        local_workload_peering_ipv6: String,
        /// Who programs routes to other nodes' blocks.
        program_cluster_routes: Option<String>,
        /// Metric of routes.
        ipv4_normal_route_priority: Option<i64>,
        /// Metric of routes.
        ipv6_normal_route_priority: Option<i64>,
    }
}

body! {
    /// A range.
    pub struct CidrBlock {
        /// The range.
        cidr: String,
    }
}

body! {
    /// A community with a name.
    pub struct Community {
        /// Name.
        name: String,
        /// `a:b` or `a:b:c`.
        value: String,
    }
}

body! {
    /// Communities of a prefix.
    pub struct PrefixAdvertisement {
        /// The prefix.
        cidr: String,
        /// Names or values.
        communities: Vec<String>,
    }
}

body! {
    /// Where a password stands.
    pub struct BgpPassword {
        /// Key of a secret.
        secret_key_ref: Option<serde_json::Value>,
    }
}

body! {
    /// A peering.
    pub struct BgpPeerSpec {
        /// The node; empty with an empty selector is every node.
        node: String,
        /// The nodes.
        node_selector: String,
        /// Address of the peer, with a port perhaps.
        #[serde(rename = "peerIP")]
        peer_ip: String,
        /// AS of the peer.
        as_number: AsNumber,
        /// AS to use towards the peer.
        #[serde(rename = "localASNumber")]
        local_as_number: Option<AsNumber>,
        /// Nodes that are the peers.
        peer_selector: String,
        /// Keep the next hop.
        keep_original_next_hop: bool,
        /// `Auto`, `Self`, `Keep`.
        next_hop_mode: Option<String>,
        /// Password.
        password: Option<BgpPassword>,
        /// `UseNodeIP`, `None`.
        source_address: String,
        /// Graceful restart time.
        max_restart_time: Option<String>,
        /// Keepalive time.
        keepalive_time: Option<String>,
        /// How often the own AS may stand in a path.
        #[serde(rename = "numAllowedLocalASNumbers")]
        num_allowed_local_as_numbers: Option<i32>,
        /// Hops of the TTL security mechanism.
        ttl_security: Option<u8>,
        /// Gateway by which the peer is reached.
        reachable_by: String,
        /// Filters in order.
        filters: Vec<String>,
        /// Workloads that are the peers.
        local_workload_selector: String,
        /// `Auto`, `Manual`.
        reverse_peering: Option<String>,
    }
}

body! {
    /// Filters of routes.
    pub struct BgpFilterSpec {
        /// Rules for IPv4 routes sent.
        export_v4: Vec<BgpFilterRule>,
        /// Rules for IPv4 routes received.
        import_v4: Vec<BgpFilterRule>,
        /// Rules for IPv6 routes sent.
        export_v6: Vec<BgpFilterRule>,
        /// Rules for IPv6 routes received.
        import_v6: Vec<BgpFilterRule>,
    }
}

/// A rule of a filter, of either family. `action` is always written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BgpFilterRule {
    /// `Accept`, `Reject`.
    #[serde(deserialize_with = "null_as_default")]
    pub action: String,
    /// The optional parts.
    #[serde(flatten)]
    pub matches: BgpFilterMatch,
}

impl std::ops::Deref for BgpFilterRule {
    type Target = BgpFilterMatch;
    fn deref(&self) -> &BgpFilterMatch {
        &self.matches
    }
}

body! {
    /// What a rule of a filter matches and does.
    pub struct BgpFilterMatch {
        /// The prefix.
        cidr: String,
        /// Limits of the prefix length.
        prefix_length: Option<PrefixLength>,
        /// `RemotePeers`.
        source: String,
        /// Interface, with `*` perhaps.
        interface: String,
        /// `Equal`, `NotEqual`, `In`, `NotIn`.
        match_operator: String,
        /// `eBGP`, `iBGP`.
        peer_type: String,
        /// Communities.
        communities: Option<CommunityMatch>,
        /// Beginning of the AS path.
        as_path_prefix: Vec<AsNumber>,
        /// Metric.
        priority: Option<i64>,
        /// What to change.
        operations: Vec<serde_json::Value>,
    }
}

body! {
    /// Limits of a prefix length.
    pub struct PrefixLength {
        /// Lowest.
        min: Option<i32>,
        /// Highest.
        max: Option<i32>,
    }
}

body! {
    /// Communities to match.
    pub struct CommunityMatch {
        /// The communities.
        values: Vec<String>,
    }
}

// === impl AsNumber ===

impl fmt::Display for AsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AsNumber {
    type Err = AsNumberParseError;

    fn from_str(text: &str) -> Result<Self, AsNumberParseError> {
        let err = || AsNumberParseError { text: text.to_owned() };
        match text.split_once('.') {
            None => text.parse().map(Self).map_err(|_| err()),
            Some((high, low)) => {
                let half = |t: &str| t.parse::<u16>().map_err(|_| err());
                Ok(Self(u32::from(half(high)?) << 16 | u32::from(half(low)?)))
            }
        }
    }
}

impl Serialize for AsNumber {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match crate::IntOrString::deserialize(d)? {
            crate::IntOrString::Int(n) => {
                u32::try_from(n).map(Self).map_err(|_| AsNumberParseError { text: n.to_string() })
            }
            crate::IntOrString::String(text) => text.parse(),
        }
        .map_err(serde::de::Error::custom)
    }
}
