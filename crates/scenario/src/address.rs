//! Who has which address: that of the lab for nodes and outside hosts, and made-up but steady ones for pods.

use crate::pod::Pod;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tortie_net::{Cidr, Family};

/// Pools of pods unless a scenario says otherwise.
pub const DEFAULT_POOLS: [&str; 2] = ["10.65.0.0/16", "fd65::/64"];

/// What the lab itself uses, whatever its fabric: its datastore's place, two segments of nodes, and what is outside.
pub(crate) const FABRIC: [&str; 8] = [
    "172.31.0.0/24",
    "fd00:31::/64",
    "172.31.1.0/24",
    "172.31.2.0/24",
    "203.0.113.0/24",
    "fd00:31:1::/64",
    "fd00:31:2::/64",
    "2001:db8:113::/64",
];

/// Size of the ranges in which a node's pods get made-up addresses.
const NODE_RANGE: u32 = 64;

/// `node1` ...
pub fn node_name(number: usize) -> String {
    format!("node{number}")
}

/// IPv4 and IPv6 address of a node in the lab's routed fabric: the first half of the nodes, rounded up, is on segment
/// 1, the others on segment 2.
pub fn node_addresses(number: usize, nodes: usize) -> [IpAddr; 2] {
    let segment = if number > nodes.div_ceil(2) { 2 } else { 1 };
    let host = u8::try_from(number).unwrap_or(u8::MAX).saturating_add(10);
    [
        Ipv4Addr::new(172, 31, segment, host).into(),
        Ipv6Addr::new(0xfd00, 0x31, segment.into(), 0, 0, 0, 0, decimal(host)).into(),
    ]
}

/// IPv4 and IPv6 address of the outside host with this index, from 0, in the lab.
pub fn outside_addresses(index: usize) -> [IpAddr; 2] {
    let host = u8::try_from(index).unwrap_or(u8::MAX).saturating_add(2);
    [
        Ipv4Addr::new(203, 0, 113, host).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, decimal(host)).into(),
    ]
}

/// The group whose hexadecimal digits read as this number.
fn decimal(number: u8) -> u16 {
    u16::from_str_radix(&number.to_string(), 16).unwrap_or(u16::from(number))
}

/// Gives addresses to pods: fixed ones where a pod asks for them, else the next free one of the node's part of the
/// first pool of each family.
#[derive(Clone, Debug)]
pub struct Addressing {
    pools: Vec<Cidr>,
    taken: BTreeSet<IpAddr>,
}

impl Addressing {
    /// Addresses from these pools.
    pub fn new(pools: &[Cidr]) -> Self {
        Self { pools: pools.to_vec(), taken: BTreeSet::new() }
    }

    /// Keeps addresses from being given to others.
    pub fn reserve(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.taken.extend(addresses);
    }

    /// The addresses of a pod, IPv4 first. A full or missing pool gives none.
    pub fn assign(&mut self, pod: &Pod) -> Vec<IpAddr> {
        if !pod.addresses.is_empty() {
            self.taken.extend(&pod.addresses);
            let mut fixed = pod.addresses.clone();
            fixed.sort();
            return fixed;
        }
        let given: Vec<IpAddr> = Family::ALL.into_iter().filter_map(|f| self.next(f, pod.node)).collect();
        self.taken.extend(&given);
        given
    }

    /// Takes addresses back.
    pub fn release(&mut self, addresses: &[IpAddr]) {
        for addr in addresses {
            self.taken.remove(addr);
        }
    }

    fn next(&self, family: Family, node: usize) -> Option<IpAddr> {
        let pool = self.pools.iter().find(|p| p.family() == family)?;
        let start = NODE_RANGE.saturating_mul(u32::try_from(node).unwrap_or(0)).saturating_add(1);
        let candidates = (start..start.saturating_add(NODE_RANGE * 1024)).map(|i| offset(pool.addr(), i));
        candidates.take_while(|a| pool.contains(*a)).find(|a| !self.taken.contains(a))
    }
}

fn offset(base: IpAddr, by: u32) -> IpAddr {
    match base {
        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits().wrapping_add(by)).into(),
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits().wrapping_add(by.into())).into(),
    }
}
