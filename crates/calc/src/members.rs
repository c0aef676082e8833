//! The members of one set: a multiset, of which a dataplane sees the distinct members that no other covers.

use crate::update::{Member, SetKind};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use tortie_net::{Cidr, Family, Protocol};

/// The members of a set, and what changed since it was last told.
#[derive(Debug)]
pub(crate) struct Members {
    counted: Counted,
    /// `true` for members that came, `false` for those that went. `None` until the set was told as a whole.
    untold: Option<BTreeMap<Member, bool>>,
}

/// How often each member was contributed.
#[derive(Debug)]
enum Counted {
    Nets(Nets),
    AddrPorts(BTreeMap<(IpAddr, Protocol, u16), u32>),
}

impl Members {
    pub(crate) fn new(kind: SetKind) -> Self {
        let counted = match kind {
            SetKind::Net => Counted::Nets(Nets::default()),
            SetKind::AddrPort => Counted::AddrPorts(BTreeMap::new()),
        };
        Self { counted, untold: None }
    }

    /// Counts one contribution more. A member of the other kind is ignored.
    pub(crate) fn insert(&mut self, member: Member) {
        let Self { counted, untold } = self;
        match (counted, member) {
            (Counted::Nets(nets), Member::Net(cidr)) => nets.insert(cidr, &mut |c, on| note(untold, c, on)),
            (Counted::AddrPorts(counts), Member::AddrPort(addr, protocol, port)) => {
                let count = counts.entry((addr, protocol, port)).or_default();
                *count += 1;
                if *count == 1 {
                    note(untold, member, true);
                }
            }
            _ => {}
        }
    }

    /// Counts one contribution less.
    pub(crate) fn remove(&mut self, member: Member) {
        let Self { counted, untold } = self;
        match (counted, member) {
            (Counted::Nets(nets), Member::Net(cidr)) => nets.remove(cidr, &mut |c, on| note(untold, c, on)),
            (Counted::AddrPorts(counts), Member::AddrPort(addr, protocol, port)) => {
                let gone = decrement(counts, &(addr, protocol, port));
                if gone {
                    note(untold, member, false);
                }
            }
            _ => {}
        }
    }

    /// All members, sorted. From now on changes are noted.
    pub(crate) fn tell_all(&mut self) -> Vec<Member> {
        self.untold = Some(BTreeMap::new());
        self.all()
    }

    /// All members, sorted.
    pub(crate) fn all(&self) -> Vec<Member> {
        match &self.counted {
            Counted::Nets(nets) => nets.uncovered().map(Member::Net).collect(),
            Counted::AddrPorts(counts) => {
                counts.keys().map(|&(a, proto, p)| Member::AddrPort(a, proto, p)).collect()
            }
        }
    }

    /// Added and removed members since the last time, each sorted.
    pub(crate) fn tell_changes(&mut self) -> (Vec<Member>, Vec<Member>) {
        let untold = self.untold.as_mut().map(std::mem::take).unwrap_or_default();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (member, on) in untold {
            if on { added.push(member) } else { removed.push(member) }
        }
        (added, removed)
    }
}

/// A member comes or goes; coming and going in turn cancel out.
fn note(untold: &mut Option<BTreeMap<Member, bool>>, member: Member, on: bool) {
    if let Some(untold) = untold
        && untold.remove(&member).is_none()
    {
        untold.insert(member, on);
    }
}

/// True if that was the last.
fn decrement<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) -> bool {
    match counts.get_mut(key) {
        Some(1) => counts.remove(key).is_some(),
        Some(count) => {
            *count -= 1;
            false
        }
        None => false,
    }
}

/// CIDRs with counts. Kernel intervals must not overlap, so those inside another stay hidden.
#[derive(Debug, Default)]
struct Nets {
    /// Sorted by family, first address, length: what lies inside a CIDR follows it directly.
    counts: BTreeMap<Cidr, u32>,
    /// How many distinct CIDRs there are of each length: the only lengths a covering CIDR can have.
    lengths: SmallVec<[(Family, u8, u32); 2]>,
}

impl Nets {
    fn insert(&mut self, cidr: Cidr, on: &mut impl FnMut(Member, bool)) {
        let count = self.counts.entry(cidr).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        match self.lengths.iter_mut().find(|(f, len, _)| (*f, *len) == (cidr.family(), cidr.len())) {
            Some((.., n)) => *n += 1,
            None => self.lengths.push((cidr.family(), cidr.len(), 1)),
        }
        if !self.covered(cidr) {
            on(Member::Net(cidr), true);
            self.largest_inside(cidr, |inner| on(Member::Net(inner), false));
        }
    }

    fn remove(&mut self, cidr: Cidr, on: &mut impl FnMut(Member, bool)) {
        if !decrement(&mut self.counts, &cidr) {
            return;
        }
        for (f, len, n) in &mut self.lengths {
            if (*f, *len) == (cidr.family(), cidr.len()) {
                *n -= 1;
            }
        }
        self.lengths.retain(|(.., n)| *n > 0);
        if !self.covered(cidr) {
            self.largest_inside(cidr, |inner| on(Member::Net(inner), true));
            on(Member::Net(cidr), false);
        }
    }

    /// True if a shorter CIDR covers it.
    fn covered(&self, cidr: Cidr) -> bool {
        self.lengths.iter().any(|&(family, len, _)| {
            family == cidr.family()
                && len < cidr.len()
                && Cidr::new(cidr.addr(), len).is_some_and(|outer| self.counts.contains_key(&outer))
        })
    }

    /// CIDRs inside this one that would be visible without it.
    fn largest_inside(&self, cidr: Cidr, mut visit: impl FnMut(Cidr)) {
        if cidr.is_host() {
            return;
        }
        let inside = (Bound::Excluded(cidr), Bound::Included(Cidr::host(cidr.last())));
        let inside = self.counts.range(inside).map(|(&inner, _)| inner);
        uncovered(inside).for_each(&mut visit);
    }

    fn uncovered(&self) -> impl Iterator<Item = Cidr> + '_ {
        uncovered(self.counts.keys().copied())
    }
}

/// Of sorted CIDRs, those that lie in none of the others.
fn uncovered(sorted: impl Iterator<Item = Cidr>) -> impl Iterator<Item = Cidr> {
    let mut last: Option<Cidr> = None;
    sorted.filter(move |&cidr| {
        let visible = last.is_none_or(|outer| !outer.covers(cidr));
        if visible {
            last = Some(cidr);
        }
        visible
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn cidr() -> impl Strategy<Value = Cidr> {
        let v4 = (0..8u32, 28..=32u8).prop_map(|(a, len)| Cidr::new(IpAddr::V4((a * 2).into()), len));
        let v6 = (0..8u128, 124..=128u8).prop_map(|(a, len)| Cidr::new(IpAddr::V6((a * 2).into()), len));
        prop_oneof![v4, v6, Just(Some(Cidr::any(Family::V4)))].prop_map(|c| c.expect("a valid length"))
    }

    proptest! {
        #[test]
        fn told_members_are_the_distinct_uncovered_ones(
            start in prop::collection::vec(cidr(), 0..8),
            steps in prop::collection::vec((any::<bool>(), cidr(), any::<bool>()), 0..40),
        ) {
            let mut members = Members::new(SetKind::Net);
            let mut contributed = start;
            for &cidr in &contributed {
                members.insert(Member::Net(cidr));
            }
            let mut told: BTreeSet<Member> = members.tell_all().into_iter().collect();
            for (add, cidr, tell) in steps {
                if add {
                    members.insert(Member::Net(cidr));
                    contributed.push(cidr);
                } else if let Some(at) = contributed.iter().position(|&c| c == cidr) {
                    members.remove(Member::Net(cidr));
                    contributed.swap_remove(at);
                }
                if !tell {
                    continue;
                }
                let (added, removed) = members.tell_changes();
                for member in removed {
                    prop_assert!(told.remove(&member));
                }
                for member in added {
                    prop_assert!(told.insert(member));
                }
                let expected = contributed.iter().filter(|c| !contributed.iter().any(|o| o != *c && o.covers(**c)));
                let expected: BTreeSet<Member> = expected.map(|&c| Member::Net(c)).collect();
                prop_assert_eq!(&told, &expected);
                prop_assert_eq!(members.all(), expected.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn addresses_with_ports_are_counted() {
        let mut members = Members::new(SetKind::AddrPort);
        let member = Member::AddrPort("fd00::1".parse().unwrap(), Protocol::TCP, 80);
        members.insert(member);
        members.insert(member);
        assert_eq!(members.tell_all(), [member]);
        members.remove(member);
        assert_eq!(members.tell_changes(), (vec![], vec![]));
        members.remove(member);
        assert_eq!(members.tell_changes(), (vec![], vec![member]));
        members.remove(member);
        members.insert(member);
        members.remove(member);
        assert_eq!(members.tell_changes(), (vec![], vec![]));
    }
}
