//! Reserved addresses: never assigned automatically, though a pod may still ask for one by name.

use crate::arithmetic::{address, number, size_of};
use std::net::IpAddr;
use tortie_net::Cidr;

/// A set of reserved prefixes.
///
/// Invariant: sorted and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    prefixes: Vec<Cidr>,
}

impl Reservations {
    /// Number of addresses that are reserved in a prefix.
    pub fn count_in(&self, prefix: Cidr) -> u128 {
        if self.covering(prefix).is_some() {
            return size_of(prefix);
        }
        self.inside(prefix).fold(0, |sum: u128, r| sum.saturating_add(size_of(r)))
    }

    /// True if the address is reserved.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.covering(Cidr::host(addr)).is_some()
    }

    /// True if some address of the prefix is reserved.
    pub fn touches(&self, prefix: Cidr) -> bool {
        self.covering(prefix).is_some() || self.inside(prefix).next().is_some()
    }

    /// True if every address of the prefix is reserved, be it by several reservations together.
    pub fn covers(&self, prefix: Cidr) -> bool {
        !self.prefixes.is_empty() && self.count_in(prefix) == size_of(prefix)
    }

    /// The one reservation that covers a whole prefix.
    pub(crate) fn covering(&self, prefix: Cidr) -> Option<Cidr> {
        // Disjoint and sorted: only the last one that begins at or before the prefix can cover it, and a wider
        // prefix with the same address sorts before a narrower one.
        let end = self.prefixes.partition_point(|r| *r <= prefix);
        self.prefixes[..end].last().copied().filter(|r| r.covers(prefix))
    }

    /// Reservations that lie within a prefix.
    fn inside(&self, prefix: Cidr) -> impl Iterator<Item = Cidr> + '_ {
        let start = self.prefixes.partition_point(|r| *r < prefix);
        self.prefixes[start..].iter().copied().take_while(move |r| prefix.covers(*r))
    }

    /// The reservations, sorted, without those inside others.
    pub fn iter(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.prefixes.iter().copied()
    }
}

impl FromIterator<Cidr> for Reservations {
    fn from_iter<I: IntoIterator<Item = Cidr>>(prefixes: I) -> Self {
        let mut all: Vec<Cidr> = prefixes.into_iter().collect();
        all.sort_unstable();
        let mut prefixes: Vec<Cidr> = Vec::with_capacity(all.len());
        for prefix in all {
            if !prefixes.last().is_some_and(|last| last.covers(prefix)) {
                prefixes.push(prefix);
            }
        }
        Self { prefixes }
    }
}

/// The first address after a prefix; `None` at the end of the family.
pub(crate) fn after(prefix: Cidr) -> Option<IpAddr> {
    address(prefix.family(), number(prefix.last()).checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn set(prefixes: &[&str]) -> Reservations {
        prefixes.iter().map(|p| p.parse().unwrap()).collect()
    }

    #[test]
    fn several_may_cover_together() {
        let r = set(&["10.0.0.0/27", "10.0.0.32/28", "10.0.0.48/28", "10.0.0.3/32", "fd00::/64"]);
        assert!(r.covers("10.0.0.0/26".parse().unwrap()));
        assert!(!r.covers("10.0.0.0/25".parse().unwrap()));
        assert!(r.touches("10.0.0.0/8".parse().unwrap()));
        assert!(r.contains("10.0.0.63".parse().unwrap()));
        assert!(!r.contains("10.0.0.64".parse().unwrap()));
        assert!(r.covers("fd00::40/122".parse().unwrap()));
        assert!(!Reservations::default().covers("10.0.0.0/26".parse().unwrap()));
    }

    proptest! {
        /// The answers equal those of asking each address of a small space.
        #[test]
        fn equals_the_sets_of_addresses(
            prefixes in proptest::collection::vec((0u32..256, 24u8..=32), 0..8),
            query in (0u32..256, 24u8..=32),
        ) {
            let cidr = |(n, len)| Cidr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), len).unwrap();
            let list: Vec<Cidr> = prefixes.into_iter().map(cidr).collect();
            let set: Reservations = list.iter().copied().collect();
            let query = cidr(query);
            let members: Vec<IpAddr> = (0..256)
                .map(|n| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)))
                .filter(|a| query.contains(*a) && list.iter().any(|p| p.contains(*a)))
                .collect();
            prop_assert_eq!(set.count_in(query), members.len() as u128);
            prop_assert_eq!(set.touches(query), !members.is_empty());
            prop_assert_eq!(set.covers(query), members.len() as u128 == size_of(query));
        }
    }
}
