//! Nodes, as the agent needs them.

use crate::convert::{Problems, ip};
use crate::value::{Value, Wireguard};
use crate::{Change, Key};
use std::net::IpAddr;
use tortie_api::v3;

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
