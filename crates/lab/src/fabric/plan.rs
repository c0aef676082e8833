//! Who has which address: pure.

use crate::spec::FabricKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tortie_net::{Cidr, Family};

/// The autonomous system of nodes and router: Calico's default.
pub(crate) const AS_NUMBER: u32 = 64512;

/// First host number of a node on its segment.
const FIRST_NODE: u8 = 10;

/// First host number of outside hosts.
const FIRST_OUTSIDE: u8 = 2;

/// An interface's address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IfAddr {
    pub(crate) addr: IpAddr,
    pub(crate) len: u8,
}

impl std::fmt::Display for IfAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// A layer-2 segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its namespace, and the router's interface to it.
    pub(crate) name: &'static str,
    /// IPv4 prefix, up to the last octet.
    v4: [u8; 3],
    /// IPv6 prefix (/64), the first three groups.
    v6: [u16; 3],
}

impl Segment {
    /// The address of a host on the segment.
    pub(crate) fn host(&self, family: Family, number: u8) -> IfAddr {
        match family {
            Family::V4 => {
                let [a, b, c] = self.v4;
                IfAddr { addr: Ipv4Addr::new(a, b, c, number).into(), len: 24 }
            }
            Family::V6 => {
                let [a, b, c] = self.v6;
                // Written in decimal, so that fd00:31:1::11 and 172.31.1.11 are one host to the eye.
                let digits = u16::from_str_radix(&number.to_string(), 16).unwrap_or(u16::from(number));
                IfAddr { addr: Ipv6Addr::new(a, b, c, 0, 0, 0, 0, digits).into(), len: 64 }
            }
        }
    }

    /// The router's address.
    pub(crate) fn gateway(&self, family: Family) -> IfAddr {
        self.host(family, 1)
    }

    pub(crate) fn prefix(&self, family: Family) -> Cidr {
        let gateway = self.gateway(family);
        Cidr::new(gateway.addr, gateway.len).unwrap_or(Cidr::host(gateway.addr))
    }
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeNet {
    /// `node1` ...
    pub(crate) name: String,
    /// 1 ...
    pub(crate) number: usize,
    /// 1 or 2.
    pub(crate) segment: usize,
    /// IPv4, IPv6.
    pub(crate) addresses: [IfAddr; 2],
}

/// Addresses of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Segments of nodes.
    pub(crate) segments: Vec<Segment>,
    pub(crate) outside: Segment,
    /// Where the sandbox's own namespace is, with the datastore; the router has the first address.
    pub(crate) home: Segment,
    pub(crate) nodes: Vec<NodeNet>,
}

impl Plan {
    pub(crate) fn new(kind: FabricKind, nodes: usize) -> Self {
        let seg1 = Segment { name: "seg1", v4: [172, 31, 1], v6: [0xfd00, 0x31, 1] };
        let seg2 = Segment { name: "seg2", v4: [172, 31, 2], v6: [0xfd00, 0x31, 2] };
        let segments = match kind {
            FabricKind::Routed => vec![seg1, seg2],
            FabricKind::Flat => vec![seg1],
        };
        // Documentation ranges: RFC 5737 and RFC 3849.
        let outside = Segment { name: "outside", v4: [203, 0, 113], v6: [0x2001, 0xdb8, 0x113] };
        let home = Segment { name: "home", v4: [172, 31, 0], v6: [0xfd00, 0x31, 0] };
        let placed = (1..=nodes).map(|number| {
            let index = Self::segment_of(number, nodes, segments.len());
            let addresses = segments.get(index).map_or_else(
                || Family::ALL.map(|f| outside.host(f, 0)),
                |segment| Family::ALL.map(|f| segment.host(f, FIRST_NODE + number as u8)),
            );
            NodeNet { name: format!("node{number}"), number, segment: index + 1, addresses }
        });
        Self { nodes: placed.collect(), segments, outside, home }
    }

    /// The first half of the nodes, rounded up, shares the first segment: with three nodes both kinds of path exist.
    fn segment_of(number: usize, nodes: usize, segments: usize) -> usize {
        if segments > 1 && number > nodes.div_ceil(2) { 1 } else { 0 }
    }

    /// The segment of a node.
    pub(crate) fn segment(&self, node: &NodeNet) -> &Segment {
        self.segments.get(node.segment - 1).unwrap_or(&self.outside)
    }

    /// The addresses of the outside host with this index.
    pub(crate) fn outside_host(&self, index: usize) -> [IfAddr; 2] {
        let number = FIRST_OUTSIDE.saturating_add(u8::try_from(index).unwrap_or(u8::MAX));
        Family::ALL.map(|f| self.outside.host(f, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_have_a_near_and_a_far_neighbour() {
        let plan = Plan::new(FabricKind::Routed, 3);
        let segments: Vec<usize> = plan.nodes.iter().map(|n| n.segment).collect();
        assert_eq!(segments, [1, 1, 2]);
        let text: Vec<String> =
            plan.nodes.iter().flat_map(|n| n.addresses.iter().map(ToString::to_string)).collect();
        assert_eq!(
            text,
            [
                "172.31.1.11/24",
                "fd00:31:1::11/64",
                "172.31.1.12/24",
                "fd00:31:1::12/64",
                "172.31.2.13/24",
                "fd00:31:2::13/64"
            ]
        );
        assert_eq!(plan.outside_host(0).map(|a| a.to_string()), ["203.0.113.2/24", "2001:db8:113::2/64"]);
    }

    #[test]
    fn a_flat_fabric_has_one_segment() {
        let plan = Plan::new(FabricKind::Flat, 4);
        assert!(plan.nodes.iter().all(|n| n.segment == 1));
        assert_eq!(plan.segments.len(), 1);
    }

    #[test]
    fn addresses_are_distinct_and_inside_their_segment() {
        for kind in [FabricKind::Flat, FabricKind::Routed] {
            let plan = Plan::new(kind, crate::spec::MAX_NODES);
            let mut seen = std::collections::BTreeSet::new();
            for node in &plan.nodes {
                for a in node.addresses {
                    assert!(seen.insert(a.addr), "{} twice", a.addr);
                    assert!(plan.segment(node).prefix(Family::of(a.addr)).contains(a.addr));
                    assert!(plan.segments.iter().all(|s| s.gateway(Family::of(a.addr)).addr != a.addr));
                }
            }
            let segments = plan.segments.iter().chain([&plan.outside, &plan.home]);
            let prefixes: Vec<Cidr> = segments.flat_map(|s| Family::ALL.map(|f| s.prefix(f))).collect();
            // What scenario files are told to keep clear of.
            let told: Vec<Cidr> = tortie_scenario::fabric().collect();
            assert!(prefixes.iter().all(|own| told.contains(own)), "{prefixes:?}");
            for (i, a) in prefixes.iter().enumerate() {
                assert!(prefixes.iter().skip(i + 1).all(|b| !a.overlaps(*b)));
            }
        }
    }
}
