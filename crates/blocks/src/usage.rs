//! How full pools and blocks are.

use crate::arithmetic::size_of;
use crate::{Block, Pool, Reservations};
use std::fmt;
use tortie_net::Cidr;

/// Use of one block. `in_use` and `reserved` may overlap; only `available` says how many can still be assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockUsage {
    /// The block.
    pub cidr: Cidr,
    /// Its owner, as stored.
    pub affinity: Option<String>,
    /// Number of addresses.
    pub capacity: u128,
    /// Assigned or cooling down.
    pub in_use: u128,
    /// Reserved.
    pub reserved: u128,
    /// Neither.
    pub available: u128,
}

/// Use of one pool, counting also the space without blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// Name of the pool.
    pub name: String,
    /// Its prefix.
    pub cidr: Cidr,
    /// Number of addresses.
    pub capacity: u128,
    /// Assigned or cooling down.
    pub in_use: u128,
    /// Reserved.
    pub reserved: u128,
    /// Neither.
    pub available: u128,
    /// Its blocks in order of address.
    pub blocks: Vec<BlockUsage>,
}

impl BlockUsage {
    /// Counts a block.
    pub fn of(block: &Block, reserved: &Reservations) -> Self {
        Self {
            cidr: block.cidr(),
            affinity: block.as_stored().affinity.clone(),
            capacity: block.size() as u128,
            in_use: block.used() as u128,
            reserved: reserved.count_in(block.cidr()),
            available: block.free(reserved) as u128,
        }
    }
}

impl PoolUsage {
    /// Counts a pool with those of `blocks` that lie in it.
    pub fn of<'a>(pool: &Pool, blocks: impl IntoIterator<Item = &'a Block>, reserved: &Reservations) -> Self {
        let mut inside: Vec<BlockUsage> = blocks
            .into_iter()
            .filter(|b| pool.cidr.covers(b.cidr()))
            .map(|b| BlockUsage::of(b, reserved))
            .collect();
        inside.sort_by_key(|b| b.cidr);
        let taken: Reservations = inside.iter().map(|b| b.cidr).chain(reserved.iter()).collect();
        let capacity = size_of(pool.cidr);
        let outside_blocks = capacity - taken.count_in(pool.cidr);
        let sum = |count: fn(&BlockUsage) -> u128| inside.iter().map(count).fold(0u128, u128::saturating_add);
        Self {
            name: pool.name.clone(),
            cidr: pool.cidr,
            capacity,
            in_use: sum(|b| b.in_use),
            reserved: reserved.count_in(pool.cidr),
            available: sum(|b| b.available).saturating_add(outside_blocks),
            blocks: inside,
        }
    }
}

impl fmt::Display for PoolUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, cidr, capacity, in_use, reserved, available, blocks } = self;
        write!(
            f,
            "IPPool {name} ({cidr}): {in_use} of {capacity} addresses in use in {} blocks, {reserved} reserved, {available} available",
            blocks.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Holder, Owner, Timestamp};
    use serde_json::json;

    #[test]
    fn counts_space_with_and_without_blocks() {
        let pool =
            Pool::from_v3(&json!({"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/24"}})).unwrap();
        let mut block =
            Block::new("10.0.0.64/26".parse().unwrap(), &Owner::Host("n".into()), 1, Timestamp(0)).unwrap();
        block.assign_next(10, &Holder::default(), &Reservations::default());
        let elsewhere =
            Block::new("10.0.1.0/26".parse().unwrap(), &Owner::Host("n".into()), 1, Timestamp(0)).unwrap();
        // The first reservation covers two addresses in use and six free ones, the second lies outside all blocks.
        let reserved: Reservations =
            ["10.0.0.72/29", "10.0.0.0/28"].iter().map(|c| c.parse().unwrap()).collect();
        let usage = PoolUsage::of(&pool, [&block, &elsewhere], &reserved);
        assert_eq!((usage.capacity, usage.in_use, usage.reserved), (256, 10, 24));
        assert_eq!(usage.available, 256 - 24 - 10 + 2);
        assert_eq!(
            usage.to_string(),
            "IPPool p (10.0.0.0/24): 10 of 256 addresses in use in 1 blocks, 24 reserved, 224 available"
        );
    }
}
