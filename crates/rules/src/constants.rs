//! Lists inside a rule: one value is matched in place, more become a set named by its content.

use crate::ir::{Element, End, Key, Match, SetName, SetShape};
use std::collections::{BTreeMap, HashSet};
use tortie_model::names::nftables as names;
use tortie_net::{Cidr, Family, PortRange, Protocol};

/// The sets that the rules of a chain bring along.
#[derive(Debug, Default)]
pub(crate) struct Constants(pub(crate) BTreeMap<SetName, (SetShape, HashSet<Element>)>);

impl Constants {
    /// The address lies in one of `nets`, which are of one family and not empty.
    pub(crate) fn any_net(&mut self, end: End, family: Family, nets: &[Cidr]) -> Option<Match> {
        match *nets {
            [net] if net.is_any() => None,
            [net] => Some(Match::Net { end, net, negated: false }),
            _ => Some(self.net_set(end, family, nets, false)),
        }
    }

    /// The address lies in none of `nets`, which are of one family.
    pub(crate) fn no_net(&mut self, end: End, family: Family, nets: &[Cidr]) -> Vec<Match> {
        const IN_PLACE: usize = 3;
        if nets.len() <= IN_PLACE {
            nets.iter().map(|&net| Match::Net { end, net, negated: true }).collect()
        } else {
            vec![self.net_set(end, family, nets, true)]
        }
    }

    fn net_set(&mut self, end: End, family: Family, nets: &[Cidr], negated: bool) -> Match {
        let prefixes = nets.iter().any(|n| !n.is_host());
        let text: Vec<String> = nets.iter().map(ToString::to_string).collect();
        // A CIDR is not legal in a name, so this is always a hash.
        let name =
            names::constant_set(&format!("cali{}-nets-", family.version()), &format!("{} ", text.join(" ")));
        let elements = nets.iter().map(|&n| Element::Net(n)).collect();
        let set = self.add(name, SetShape::Addresses { family, prefixes }, elements);
        Match::Lookup { key: Key::Address(end, family), set, negated }
    }

    /// The port lies in one of `ranges`, which are sorted, apart and not empty; or in none of them.
    pub(crate) fn ports(&mut self, end: End, ranges: &[PortRange], negated: bool) -> Match {
        if let [range] = *ranges {
            return Match::Port { end, range, negated };
        }
        let text = |r: &PortRange| {
            if r.first == r.last { r.first.to_string() } else { format!("{}_{}", r.first, r.last) }
        };
        let name = names::constant_set("cali-ports-", &ranges.iter().map(text).collect::<Vec<_>>().join("."));
        let shape = SetShape::Ports { ranges: ranges.iter().any(|r| r.first != r.last) };
        let set = self.add(name, shape, ranges.iter().map(|&r| Element::Ports(r)).collect());
        Match::Lookup { key: Key::Port(end), set, negated }
    }

    /// The protocol has ports; or it has none.
    pub(crate) fn has_ports(&mut self, negated: bool) -> Match {
        let elements = (0..=u8::MAX).map(Protocol).filter(|p| p.has_ports()).map(Element::Protocol).collect();
        let set = self.add("cali-port-protocols".to_owned(), SetShape::Protocols, elements);
        Match::Lookup { key: Key::Protocol, set, negated }
    }

    fn add(&mut self, name: String, shape: SetShape, elements: HashSet<Element>) -> SetName {
        let name = SetName::from(name);
        self.0.entry(name.clone()).or_insert((shape, elements));
        name
    }
}

/// The prefixes of one family, sorted, without those that lie in another one.
pub(crate) fn widest(nets: impl IntoIterator<Item = Cidr>, family: Family) -> Vec<Cidr> {
    let mut nets: Vec<Cidr> = nets.into_iter().filter(|n| n.family() == family).collect();
    nets.sort_unstable(); // by address, then length: whatever covers a prefix stands before it
    let mut kept: Vec<Cidr> = Vec::with_capacity(nets.len());
    for net in nets {
        if !kept.last().is_some_and(|k| k.covers(net)) {
            kept.push(net);
        }
    }
    kept
}

/// What is left of a prefix without others: as few prefixes as possible, in order.
pub(crate) fn without(net: Cidr, holes: &[Cidr]) -> Vec<Cidr> {
    if holes.iter().any(|hole| hole.covers(net)) {
        return Vec::new();
    }
    let inside: Vec<Cidr> = holes.iter().copied().filter(|hole| net.covers(*hole)).collect();
    let halves = (net.len() < net.family().bits() && !inside.is_empty())
        .then(|| {
            let lower = Cidr::new(net.addr(), net.len() + 1)?;
            Some([lower, Cidr::new(net.last(), net.len() + 1)?])
        })
        .flatten();
    match halves {
        Some(halves) => halves.into_iter().flat_map(|half| without(half, &inside)).collect(),
        None => vec![net],
    }
}

/// Port ranges sorted, with those that overlap or touch made one.
pub(crate) fn merged(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut sorted: Vec<PortRange> = ranges.iter().copied().filter(|r| r.first <= r.last).collect();
    sorted.sort_unstable_by_key(|r| (r.first, r.last));
    let mut kept: Vec<PortRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match kept.last_mut() {
            Some(k) if u32::from(range.first) <= u32::from(k.last) + 1 => k.last = k.last.max(range.last),
            _ => kept.push(range),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_prefix() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        let left = |net: &str, holes: &[&str]| -> Vec<String> {
            let holes: Vec<Cidr> = holes.iter().map(|h| cidr(h)).collect();
            without(cidr(net), &holes).iter().map(ToString::to_string).collect()
        };
        assert_eq!(left("10.0.0.0/8", &[]), ["10.0.0.0/8"]);
        assert_eq!(left("10.0.0.0/24", &["10.0.0.64/26"]), ["10.0.0.0/26", "10.0.0.128/25"]);
        assert_eq!(left("10.0.0.0/24", &["10.0.0.0/8"]), Vec::<String>::new());
        assert_eq!(left("10.0.0.0/31", &["10.0.0.1/32"]), ["10.0.0.0/32"]);
        assert_eq!(left("fd00::/126", &["fd00::1/128", "fd00::2/128"]), ["fd00::/128", "fd00::3/128"]);
        assert_eq!(left("10.0.0.0/24", &["fd00::/8"]), ["10.0.0.0/24"]);
    }

    #[test]
    fn covered_prefixes_go() {
        let nets = ["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "fd00::/8", "9.0.0.1", "11.0.0.0/8"];
        let kept = widest(nets.map(|n| n.parse().unwrap()), Family::V4);
        assert_eq!(format!("{kept:?}"), "[9.0.0.1/32, 10.0.0.0/8, 11.0.0.0/8]");
    }

    #[test]
    fn ranges_merge() {
        let r = |first, last| PortRange { first, last };
        assert_eq!(
            merged(&[r(80, 90), r(1, 2), r(85, 95), r(3, 3), r(0xffff, 0xffff), r(9, 8)]),
            [r(1, 3), r(80, 95), r(0xffff, 0xffff)]
        );
    }
}
