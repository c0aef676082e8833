//! The order in which a node tries the blocks of a pool.
//!
//! Each node begins at its own place, derived from its name, and walks once around the pool. Nodes thus rarely want
//! the same block, and one node retrying wants the same block again.

use crate::arithmetic::{nth_address, number, size_of};
use crate::reservations::after;
use crate::{Pool, Reservations};
use tortie_net::Cidr;

/// FNV-1 of a node's name, 32 bits: the seed of its walks.
pub fn host_seed(host: &str) -> u32 {
    host.bytes().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte))
}

/// Spreads a seed over 64 bits, so that similar seeds begin far apart (the finaliser of SplitMix64).
fn spread(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A walk over all blocks of a pool, each once, beginning at a seeded place.
#[derive(Clone, Debug)]
pub struct Candidates {
    pool: Cidr,
    block_len: u8,
    count: u128,
    start: u128,
    /// Blocks passed since the start.
    passed: u128,
}

impl Candidates {
    /// The walk of a seed.
    pub fn new(pool: Cidr, block_len: u8, seed: u64) -> Self {
        let host_bits = pool.family().bits().saturating_sub(block_len);
        let count = if block_len < pool.len() {
            0
        } else {
            size_of(pool).checked_shr(host_bits.into()).unwrap_or(0).max(1)
        };
        let start = if count == 0 { 0 } else { u128::from(spread(seed)) % count };
        Self { pool, block_len, count, start, passed: 0 }
    }

    /// The walk of a node. Blocks of one address gain nothing from a node's own place, and nodes would compete for
    /// the same addresses: there `fresh`, something that differs each time, is the seed.
    pub fn for_host(pool: &Pool, host: &str, fresh: u64) -> Self {
        let single = pool.block_len == pool.cidr.family().bits();
        let seed = if single { fresh } else { u64::from(host_seed(host)) };
        Self::new(pool.cidr, pool.block_len, seed)
    }

    /// Where in the walk a block comes, counted from 0; `None` if it is no block of this walk.
    pub fn position(&self, block: Cidr) -> Option<u128> {
        if block.len() != self.block_len || !self.pool.covers(block) {
            return None;
        }
        let index = self.index_of(block);
        Some(if index >= self.start { index - self.start } else { index + (self.count - self.start) })
    }

    /// The next block that is not wholly reserved. Jumps over large reservations at once.
    pub fn next_outside(&mut self, reserved: &Reservations) -> Option<Cidr> {
        loop {
            let block = self.next()?;
            if let Some(reservation) = reserved.covering(block) {
                self.skip_past(block, reservation);
            } else if !reserved.covers(block) {
                return Some(block);
            }
        }
    }

    /// Moves on to the first block after `prefix`, which covers `block`, the one just returned.
    fn skip_past(&mut self, block: Cidr, prefix: Cidr) {
        let here = self.index_of(block);
        let beyond = match after(prefix).filter(|addr| self.pool.contains(*addr)) {
            Some(addr) => (number(addr) - number(self.pool.addr())) >> self.host_bits(),
            None => self.count,
        };
        self.passed = self.passed.saturating_add((beyond - here).saturating_sub(1)).min(self.count);
    }

    fn host_bits(&self) -> u8 {
        self.pool.family().bits().saturating_sub(self.block_len)
    }

    fn index_of(&self, block: Cidr) -> u128 {
        (number(block.addr()) - number(self.pool.addr()))
            .checked_shr(u32::from(self.host_bits()))
            .unwrap_or(0)
    }
}

impl Iterator for Candidates {
    type Item = Cidr;

    fn next(&mut self) -> Option<Cidr> {
        if self.passed >= self.count {
            return None;
        }
        let until_end = self.count - self.start;
        let index = if self.passed < until_end { self.start + self.passed } else { self.passed - until_end };
        self.passed += 1;
        let offset = index.checked_shl(u32::from(self.host_bits())).unwrap_or(0);
        Cidr::new(nth_address(self.pool, offset)?, self.block_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn fnv_of_known_names() {
        // The published test vectors of FNV-1, 32 bits.
        assert_eq!(host_seed(""), 0x811c_9dc5);
        assert_eq!(host_seed("a"), 0x050c_5d7e);
        assert_eq!(host_seed("foobar"), 0x31f0_b262);
    }

    #[test]
    fn huge_pools_and_odd_lengths() {
        let mut walk = Candidates::new(cidr("fd00::/8"), 122, 7);
        assert!(walk.next().is_some_and(|b| cidr("fd00::/8").covers(b) && b.len() == 122));
        assert!(Candidates::new(cidr("::/0"), 122, 7).next().is_some());
        assert_eq!(Candidates::new(cidr("10.0.0.0/26"), 24, 7).next(), None);
        assert_eq!(Candidates::new(cidr("10.0.0.0/26"), 26, 7).collect::<Vec<_>>(), [cidr("10.0.0.0/26")]);
        assert_eq!(Candidates::new(cidr("10.0.0.0/30"), 32, 7).count(), 4);
    }

    #[test]
    fn a_huge_reservation_is_one_step() {
        let pool = cidr("fd00::/48");
        let reserved: Reservations = [cidr("fd00::/49")].into_iter().collect();
        for seed in 0..50 {
            let block = Candidates::new(pool, 122, seed).next_outside(&reserved).unwrap();
            assert!(cidr("fd00:0:0:8000::/49").covers(block), "{block}");
        }
        let all: Reservations = [cidr("fd00::/16")].into_iter().collect();
        assert_eq!(Candidates::new(pool, 122, 3).next_outside(&all), None);
    }

    #[test]
    fn nodes_begin_apart() {
        let pool = cidr("10.0.0.0/16");
        let firsts: BTreeSet<Cidr> = (0..100)
            .filter_map(|n| Candidates::new(pool, 26, host_seed(&format!("node-{n}")).into()).next())
            .collect();
        assert!(firsts.len() > 90, "{} different first blocks of 100 nodes in 1024 blocks", firsts.len());
    }

    proptest! {
        #[test]
        fn every_block_once(seed: u64, extra in 0u8..=8, reserved in proptest::collection::vec((0u32..256, 24u8..=32), 0..6)) {
            let pool = cidr("10.0.0.0/24");
            let len = 24 + extra;
            let reserved: Reservations = reserved
                .into_iter()
                .map(|(n, len)| Cidr::new(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), len).unwrap())
                .collect();
            let walk: Vec<Cidr> = Candidates::new(pool, len, seed).collect();
            prop_assert_eq!(walk.len(), 1usize << extra);
            prop_assert_eq!(walk.iter().collect::<BTreeSet<_>>().len(), walk.len());
            let order = Candidates::new(pool, len, seed);
            for (n, block) in walk.iter().enumerate() {
                prop_assert_eq!(order.position(*block), Some(n as u128));
            }
            let mut skipping = Candidates::new(pool, len, seed);
            let outside: Vec<Cidr> = std::iter::from_fn(|| skipping.next_outside(&reserved)).collect();
            let want: Vec<Cidr> = walk.into_iter().filter(|b| !reserved.covers(*b)).collect();
            prop_assert_eq!(outside, want);
        }
    }
}
