//! What the fabric reads of a Node resource.

use super::routes::RefKind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tortie_net::{Cidr, Family};

/// Metadata of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMetadata {
    /// IPv4 address and its subnet's length, `192.0.2.1/24`; or empty.
    pub ipv4: String,
    /// IPv6 address and its subnet's length; or empty.
    pub ipv6: String,
    /// AS number in decimal; or empty.
    pub as_number: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// An address, and the subnet that it is in.
pub(super) type Interface = (IpAddr, Cidr);

/// A node.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) metadata: Option<NodeMetadata>,
    v4: Option<Interface>,
    v6: Option<Interface>,
    bgp: [Option<IpAddr>; 2],
    addresses: Vec<IpAddr>,
    tunnels: Vec<(RefKind, IpAddr)>,
}

impl Node {
    /// Reads a Node resource. What cannot be read counts as not there.
    pub(super) fn read(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let bgp = Family::ALL.map(|family| interface(text(bgp_field(family))).filter(|i| is_of(family, i)));
        let [mut v4, mut v6] = bgp;
        if v4.is_none() && v6.is_none() {
            [v4, v6] = Family::ALL.map(|family| listed_address(object, family));
        }
        let mut node = Self {
            metadata: metadata(object),
            v4,
            v6,
            bgp: bgp.map(|interface| interface.map(|(addr, _)| addr)),
            addresses: Vec::new(),
            tunnels: Vec::new(),
        };
        if node.v4.is_none() && node.v6.is_none() {
            // Nothing can be sent to it.
            return node;
        }
        node.addresses =
            addresses(object).filter_map(|(_, text)| interface(text)).map(|(addr, _)| addr).collect();
        let tunnels = [
            (RefKind::Ipip, "/spec/bgp/ipv4IPIPTunnelAddr"),
            (RefKind::Vxlan, "/spec/ipv4VXLANTunnelAddr"),
            (RefKind::Vxlan, "/spec/ipv6VXLANTunnelAddr"),
            (RefKind::Wireguard, "/spec/wireguard/interfaceIPv4Address"),
            (RefKind::Wireguard, "/spec/wireguard/interfaceIPv6Address"),
        ];
        node.tunnels =
            tunnels.into_iter().filter_map(|(kind, at)| Some((kind, text(at).parse().ok()?))).collect();
        node
    }

    /// Its own addresses, each once.
    pub(super) fn hosts(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let main = [self.v4, self.v6].into_iter().flatten().map(|(addr, _)| addr);
        let all: BTreeSet<_> =
            main.chain(self.addresses.iter().copied()).filter(|a| !a.is_unspecified()).collect();
        all.into_iter()
    }

    /// The addresses of its tunnels.
    pub(super) fn tunnels(&self) -> impl Iterator<Item = (RefKind, IpAddr)> + '_ {
        self.tunnels.iter().copied()
    }

    /// Its main address of a family, and the subnet.
    pub(super) fn interface(&self, family: Family) -> Option<Interface> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Its address in its BGP settings.
    pub(super) fn bgp_address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.bgp[0],
            Family::V6 => self.bgp[1],
        }
    }
}

fn bgp_field(family: Family) -> &'static str {
    match family {
        Family::V4 => "/spec/bgp/ipv4Address",
        Family::V6 => "/spec/bgp/ipv6Address",
    }
}

/// `None` for a node with BGP settings that say nothing: it is being set up.
fn metadata(object: &Value) -> Option<NodeMetadata> {
    let bgp = object.pointer("/spec/bgp").and_then(Value::as_object);
    let says_something = |value: &Value| !(value.is_null() || value.as_str() == Some(""));
    if bgp.is_some_and(|bgp| !bgp.values().any(says_something)) {
        return None;
    }
    let address = |family| {
        let bgp = object.pointer(bgp_field(family)).and_then(Value::as_str).unwrap_or_default();
        // Without a length it would be unclear what is meant.
        let bgp = Some(bgp).filter(|text| text.contains('/')).and_then(interface);
        let found = bgp.or_else(|| listed_address(object, family));
        found.map(|(addr, subnet)| format!("{addr}/{}", subnet.len())).unwrap_or_default()
    };
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    Some(NodeMetadata {
        ipv4: address(Family::V4),
        ipv6: address(Family::V6),
        as_number: bgp.and_then(|bgp| as_number(bgp.get("asNumber")?)).unwrap_or_default(),
        labels: labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
    })
}

/// A number, or two of 16 bits with a dot between.
fn as_number(value: &Value) -> Option<String> {
    if let Some(number) = value.as_u64() {
        return Some(number.to_string());
    }
    let text = value.as_str()?;
    let number = match text.split_once('.') {
        Some((high, low)) => u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?),
        None => text.parse().ok()?,
    };
    Some(number.to_string())
}

/// The first listed address of a family, internal ones first.
fn listed_address(object: &Value, family: Family) -> Option<Interface> {
    let first = |wanted: &str| {
        addresses(object)
            .filter(|(kind, _)| *kind == wanted)
            .find_map(|(_, text)| interface(text).filter(|interface| is_of(family, interface)))
    };
    first("InternalIP").or_else(|| first("ExternalIP"))
}

fn addresses(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    let listed = object.pointer("/spec/addresses").and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(|entry| {
        let kind = entry.get("type").and_then(Value::as_str).unwrap_or_default();
        Some((kind, entry.get("address")?.as_str()?))
    })
}

/// `192.0.2.1/24`, or an address alone.
fn interface(text: &str) -> Option<Interface> {
    let subnet: Cidr = text.parse().ok()?;
    let addr = text.split('/').next()?.parse().ok()?;
    Some((addr, subnet))
}

fn is_of(family: Family, interface: &Interface) -> bool {
    interface.1.family() == family
}
