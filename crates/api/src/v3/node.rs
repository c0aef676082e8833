//! Nodes, as Calico records them.

use super::AsNumber;
use serde::{Deserialize, Serialize};

kind! {
    Node = "Node": NodeSpec;
    CalicoNodeStatus = "CalicoNodeStatus": CalicoNodeStatusSpec;
}

body! {
    /// Addresses of a node.
    pub struct NodeSpec {
        /// BGP.
        bgp: Option<NodeBgpSpec>,
        /// Tunnel address.
        #[serde(rename = "ipv4VXLANTunnelAddr")]
        ipv4_vxlan_tunnel_addr: String,
        /// Tunnel hardware address.
        #[serde(rename = "vxlanTunnelMACAddr")]
        vxlan_tunnel_mac_addr: String,
        /// Tunnel address.
        #[serde(rename = "ipv6VXLANTunnelAddr")]
        ipv6_vxlan_tunnel_addr: String,
        /// Tunnel hardware address.
        #[serde(rename = "vxlanTunnelMACAddrV6")]
        vxlan_tunnel_mac_addr_v6: String,
        /// Names that orchestrators know it by.
        orch_refs: Vec<OrchRef>,
        /// WireGuard.
        wireguard: Option<NodeWireguardSpec>,
        /// Addresses.
        addresses: Vec<NodeAddress>,
        /// Interfaces.
        interfaces: Vec<NodeInterface>,
    }
}

body! {
    /// BGP of a node.
    pub struct NodeBgpSpec {
        /// AS, where it is not the cluster's.
        as_number: Option<AsNumber>,
        /// Address, with its subnet perhaps.
        ipv4_address: String,
        /// Address, with its subnet perhaps.
        ipv6_address: String,
        /// Tunnel address.
        #[serde(rename = "ipv4IPIPTunnelAddr")]
        ipv4_ipip_tunnel_addr: String,
        /// Makes the node a route reflector.
        #[serde(rename = "routeReflectorClusterID")]
        route_reflector_cluster_id: String,
    }
}

body! {
    /// WireGuard of a node.
    pub struct NodeWireguardSpec {
        /// Tunnel address.
        #[serde(rename = "interfaceIPv4Address")]
        interface_ipv4_address: String,
        /// Tunnel address.
        #[serde(rename = "interfaceIPv6Address")]
        interface_ipv6_address: String,
    }
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// The address, with its subnet perhaps.
    pub address: String,
    /// `CalicoNodeIP`, `InternalIP`, `ExternalIP`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub address_type: String,
}

body! {
    /// An interface of a node.
    pub struct NodeInterface {
        /// Name.
        name: String,
        /// Addresses.
        addresses: Vec<String>,
    }
}

/// A name of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OrchRef {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// Who knows it by that.
    pub orchestrator: String,
}

body! {
    /// What a node reports.
    pub struct NodeStatus {
        /// Key of IPv4.
        wireguard_public_key: String,
        /// Key of IPv6.
        wireguard_public_key_v6: String,
        /// Prefixes that Kubernetes gave the node.
        #[serde(rename = "podCIDRs")]
        pod_cidrs: Vec<String>,
    }
}

body! {
    /// A question to a node about its BGP.
    pub struct CalicoNodeStatusSpec {
        /// The node.
        node: String,
        /// `Agent`, `BGP`, `Routes`.
        classes: Vec<String>,
        /// How often to answer; 0 is never.
        update_period_seconds: Option<u32>,
    }
}

impl Node {
    /// The status in typed form; empty where it is absent or odd.
    pub fn typed_status(&self) -> NodeStatus {
        self.status.as_ref().and_then(|s| NodeStatus::deserialize(s).ok()).unwrap_or_default()
    }
}
