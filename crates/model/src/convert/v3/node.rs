//! Nodes, as the agent and BGP need them.

use crate::convert::{Problems, ip};
use crate::value::{AllocationBlock, BlockAffinity, Value, Wireguard};
use crate::{Change, Key};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_api::v3;
use tortie_net::Cidr;

/// Tunnel addresses and WireGuard of a node; every key is listed, without a value where the node has none.
pub fn felix_node(name: &str, node: Option<&v3::Node>, problems: &mut Problems) -> Vec<Change> {
    let mut changes = Vec::with_capacity(6);
    let mut setting = |parameter: &str, value: Option<String>| {
        changes.push(Change {
            key: Key::HostConfig { host: name.to_owned(), name: parameter.to_owned() },
            value: value.map(Value::Config),
        });
    };
    let spec = node.map(|n| &n.spec);
    let text = |get: fn(&v3::NodeSpec) -> &str| spec.map(get).unwrap_or_default();
    let ipip = text(|s| s.bgp.as_ref().map_or("", |b| b.ipv4_ipip_tunnel_addr.as_str()));
    let mut address = |text: &str, field: &str| -> Option<IpAddr> {
        let address = ip(text);
        if address.is_none() && !text.is_empty() {
            problems.dropped(field, format!("{text:?} is not an IP address"));
        }
        address
    };
    let mac = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
    let string = |address: Option<IpAddr>| address.map(|a| a.to_string());
    setting("IpInIpTunnelAddr", string(address(ipip, "spec.bgp.ipv4IPIPTunnelAddr")));
    let vxlan_v4 = text(|s| &s.ipv4_vxlan_tunnel_addr);
    setting("IPv4VXLANTunnelAddr", string(address(vxlan_v4, "spec.ipv4VXLANTunnelAddr")));
    setting("VXLANTunnelMACAddr", mac(text(|s| &s.vxlan_tunnel_mac_addr)));
    let vxlan_v6 = text(|s| &s.ipv6_vxlan_tunnel_addr);
    setting("IPv6VXLANTunnelAddr", string(address(vxlan_v6, "spec.ipv6VXLANTunnelAddr")));
    setting("VXLANTunnelMACAddrV6", mac(text(|s| &s.vxlan_tunnel_mac_addr_v6)));

    let status = node.map(v3::Node::typed_status).unwrap_or_default();
    let v4 = text(|s| s.wireguard.as_ref().map_or("", |w| w.interface_ipv4_address.as_str()));
    let v6 = text(|s| s.wireguard.as_ref().map_or("", |w| w.interface_ipv6_address.as_str()));
    let wireguard = Wireguard {
        interface_ipv4_addr: address(v4, "spec.wireguard.interfaceIPv4Address"),
        public_key: status.wireguard_public_key,
        interface_ipv6_addr: address(v6, "spec.wireguard.interfaceIPv6Address"),
        public_key_v6: status.wireguard_public_key_v6,
    };
    let value = if wireguard == Wireguard::default() { None } else { Some(Value::Wireguard(wireguard)) };
    changes.push(Change { key: Key::Wireguard(name.to_owned()), value });
    changes
}

/// BGP's settings of a node. Of a node that is there, addresses are listed even when empty: without a value the node
/// would be taken for gone.
pub fn bgp_node(name: &str, node: Option<&v3::Node>, problems: &mut Problems) -> Vec<Change> {
    let spec = node.map(|n| &n.spec);
    let bgp = spec.and_then(|s| s.bgp.as_ref());
    let mut address = |text: &str, field: &str| -> (String, Option<String>) {
        let parsed = text.split('/').next().and_then(ip).zip(text.parse::<Cidr>().ok());
        match parsed {
            Some((address, network)) => (address.to_string(), Some(network.to_string())),
            None => {
                if !text.is_empty() {
                    problems.dropped(field, format!("{text:?} is not an IP address or CIDR"));
                }
                (String::new(), None)
            }
        }
    };
    let (ipv4, network_v4) = address(bgp.map_or("", |b| &b.ipv4_address), "spec.bgp.ipv4Address");
    let (ipv6, network_v6) = address(bgp.map_or("", |b| &b.ipv6_address), "spec.bgp.ipv6Address");
    let wireguard = spec.and_then(|s| s.wireguard.as_ref());
    let there = |text: String| node.map(|_| text);
    [
        ("ip_addr_v4", there(ipv4)),
        ("ip_addr_v6", there(ipv6)),
        ("network_v4", network_v4),
        ("network_v6", network_v6),
        ("as_num", bgp.and_then(|b| b.as_number).map(|n| n.to_string())),
        ("rr_cluster_id", there(bgp.map_or(String::new(), |b| b.route_reflector_cluster_id.clone()))),
        ("wireguard_addr_v4", there(wireguard.map_or(String::new(), |w| w.interface_ipv4_address.clone()))),
        ("wireguard_addr_v6", there(wireguard.map_or(String::new(), |w| w.interface_ipv6_address.clone()))),
    ]
    .into_iter()
    .map(|(parameter, value)| Change {
        key: Key::BgpNodeConfig { node: name.to_owned(), name: parameter.to_owned() },
        value: value.map(Value::Config),
    })
    .collect()
}

/// Prefixes that Kubernetes gave a node, where they stand for its blocks; what is no CIDR is left out and reported.
pub fn pod_cidrs(node: &v3::Node, problems: &mut Problems) -> Vec<Cidr> {
    let mut cidrs = Vec::new();
    for (i, text) in node.typed_status().pod_cidrs.iter().enumerate() {
        match text.parse::<Cidr>() {
            Ok(cidr) if text.contains('/') => cidrs.push(cidr),
            _ => problems.dropped(&format!("status.podCIDRs[{i}]"), format!("{text:?} is not a CIDR")),
        }
    }
    cidrs
}

/// The block of a node, and the node's claim on it, that a prefix from Kubernetes stands for.
pub fn pod_cidr_block(name: &str, cidr: Cidr) -> [(Key, Value); 2] {
    let block = AllocationBlock {
        cidr,
        affinity: Some(format!("host:{name}")),
        affinity_claim_time: None,
        allocations: Vec::new(),
        unallocated: Vec::new(),
        attributes: Vec::new(),
        sequence_number: 0,
        sequence_number_for_allocation: std::collections::BTreeMap::new(),
        deleted: false,
        host_affinity: None,
    };
    let affinity = Key::BlockAffinity { host: name.to_owned(), affinity_type: "host".to_owned(), cidr };
    let claim = BlockAffinity { state: "confirmed".to_owned(), deleted: false };
    [(Key::Block(cidr), Value::Block(Arc::new(block))), (affinity, Value::BlockAffinity(claim))]
}
