//! Finding room when the node's own blocks are full: claim, reclaim, borrow; and blocks of wanted addresses.

use crate::AssignError;
use crate::claim::Claim;
use crate::datastore::{Blocks, Versioned};
use crate::facts::Facts;
use crate::writer::{Lost, RETRIES, Writer};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tortie_blocks::{Block, Candidates, Pool, PoolUsage, Reservations};
use tortie_net::{Cidr, Family};

/// Most blocks to borrow from that are offered at once.
const BORROW_AT_ONCE: usize = 8;

/// What a walk over the candidates found.
enum Found {
    /// No block there yet.
    Unclaimed(Cidr),
    /// A block of ours that we did not know of.
    Ours(Cidr),
    /// None of these; but some blocks of others are empty.
    Empty(Vec<Versioned<Block>>),
}

impl Writer {
    /// Makes room for one more address in one of the pools: afterwards the cache has a block with a free address.
    pub(crate) async fn make_room(
        &mut self,
        facts: &Facts,
        family: Family,
        pools: &[Cidr],
        max_blocks: Option<usize>,
    ) -> Result<(), AssignError> {
        let pools: Vec<&Pool> = facts.pools.iter().filter(|p| p.enabled && pools.contains(&p.cidr)).collect();
        let in_pools = |cidr: Cidr| pools.iter().any(|p| p.cidr.covers(cidr));
        let unconfirmed: Vec<Cidr> =
            self.cache.unconfirmed.iter().copied().filter(|c| in_pools(*c)).collect();
        for cidr in unconfirmed {
            if self.claim(cidr).await? == Claim::Ours && self.has_room(cidr, &facts.reserved) {
                return Ok(());
            }
        }
        let node = || self.owner.name().to_owned();
        let owned = self.cache.own.keys().filter(|c| in_pools(**c)).count();
        let limit = facts.max_blocks(max_blocks);
        if owned >= limit {
            return Err(AssignError::BlockLimit { family, node: node(), limit });
        }
        if !facts.config.auto_allocate_blocks {
            return Err(AssignError::NoAutoAllocate { family, node: node() });
        }
        for _ in 0..RETRIES {
            let list = self.datastore.blocks(family).await?;
            if self.catch_up(&list, &facts.reserved, in_pools) {
                return Ok(());
            }
            let cidr = match self.search(facts, &pools, &list) {
                Found::Unclaimed(cidr) | Found::Ours(cidr) => cidr,
                Found::Empty(empty) => match self.reclaim(empty).await? {
                    Some(cidr) => cidr,
                    None => return self.borrow(facts, family, &pools, list),
                },
            };
            if self.claim(cidr).await? == Claim::Ours && self.has_room(cidr, &facts.reserved) {
                return Ok(());
            }
        }
        let key = crate::keys::blocks(family);
        Err(AssignError::Contention { key, attempts: RETRIES })
    }

    /// Takes over what others changed in own blocks; true if one of them has room now.
    fn catch_up(&mut self, list: &Blocks, reserved: &Reservations, in_pools: impl Fn(Cidr) -> bool) -> bool {
        let mut room = false;
        for block in &list.blocks {
            let cidr = block.value.cidr();
            let Some(own) = self.cache.own.get_mut(&cidr) else { continue };
            if own.revision != block.revision && block.value.owner().as_ref() == Some(&self.owner) {
                *own = block.clone();
                room |= in_pools(cidr) && block.value.free(reserved) > 0;
            }
        }
        room
    }

    fn has_room(&self, cidr: Cidr, reserved: &Reservations) -> bool {
        self.cache.own.get(&cidr).is_some_and(|b| b.value.free(reserved) > 0)
    }

    /// Walks over the candidates of the pools. Prefixes that meet an existing block of another size (the pool's block
    /// size was changed) are no candidates.
    fn search(&self, facts: &Facts, pools: &[&Pool], list: &Blocks) -> Found {
        let known: BTreeMap<Cidr, &Versioned<Block>> =
            list.blocks.iter().map(|b| (b.value.cidr(), b)).collect();
        let taken: Reservations = known.keys().chain(&list.unusable).copied().collect();
        let closed = facts.closed();
        let mut empty = Vec::new();
        for pool in pools {
            let mut walk = Candidates::for_host(pool, self.owner.name(), self.nanoseconds());
            // Wide reservations and foreign networks are jumped over.
            while let Some(cidr) = walk.next_outside(&closed) {
                if facts.foreign.touches(cidr) {
                    continue;
                }
                if !taken.touches(cidr) {
                    return Found::Unclaimed(cidr);
                }
                let Some(block) = known.get(&cidr) else { continue };
                let free = block.value.free(&facts.reserved) > 0;
                if free
                    && block.value.owner().as_ref() == Some(&self.owner)
                    && !self.cache.own.contains_key(&cidr)
                {
                    return Found::Ours(cidr);
                }
                if free && block.value.is_empty() && block.value.owner().is_some_and(|o| o != self.owner) {
                    empty.push((*block).clone());
                }
            }
        }
        Found::Empty(empty)
    }

    /// Takes an empty block from its owner; answers which is free now.
    async fn reclaim(&mut self, empty: Vec<Versioned<Block>>) -> Result<Option<Cidr>, Lost> {
        for block in empty {
            let Some(owner) = block.value.owner() else { continue };
            if self.is_ripe(&block.value) && self.give_up(&owner, &block).await? {
                return Ok(Some(block.value.cidr()));
            }
        }
        Ok(None)
    }

    /// Offers blocks of others to the plan: those that it does not know yet.
    fn borrow(
        &mut self,
        facts: &Facts,
        family: Family,
        pools: &[&Pool],
        list: Blocks,
    ) -> Result<(), AssignError> {
        let strict = facts.config.strict_affinity;
        let mut lenders: Vec<((usize, u128), Versioned<Block>)> = Vec::new();
        if !strict {
            let walks: Vec<Candidates> = pools
                .iter()
                .map(|p| Candidates::for_host(p, self.owner.name(), self.nanoseconds()))
                .collect();
            for block in &list.blocks {
                let cidr = block.value.cidr();
                let place =
                    pools.iter().zip(&walks).enumerate().find(|(_, (pool, _))| pool.cidr.covers(cidr));
                // Blocks of another size than the pool's come last.
                let place = place.map(|(n, (_, walk))| (n, walk.position(cidr).unwrap_or(u128::MAX)));
                let known = self.cache.own.contains_key(&cidr) || self.cache.borrowable.contains(&cidr);
                let usable = !known && block.value.free(&facts.reserved) > 0;
                if let Some(place) = place.filter(|_| usable) {
                    lenders.push((place, block.clone()));
                }
            }
        }
        if lenders.is_empty() {
            let blocks = || list.blocks.iter().map(|b| &b.value);
            let closed = facts.closed();
            let pools = pools.iter().map(|p| PoolUsage::of(p, blocks(), &closed)).collect();
            return Err(AssignError::Full { family, pools, strict });
        }
        lenders.sort_by_key(|(place, _)| *place);
        for (_, block) in lenders.into_iter().take(BORROW_AT_ONCE) {
            let cidr = block.value.cidr();
            self.cache.borrowable.push(cidr);
            self.cache.visited.insert(cidr, block);
        }
        Ok(())
    }

    /// Makes the block of a wanted address known, creating it if there is none.
    pub(crate) async fn load_block_of(&mut self, facts: &Facts, addr: IpAddr) -> Result<(), AssignError> {
        for _ in 0..RETRIES {
            let pool = facts.pool_of(Cidr::host(addr)).ok_or(AssignError::NotInPool { addr })?;
            let cidr = pool.block_of(addr).ok_or(AssignError::NotInPool { addr })?;
            let mut block = self.datastore.block(cidr).await?;
            if block.is_none() {
                let others = self.datastore.blocks(cidr.family()).await?.blocks;
                block = others.into_iter().find(|b| b.value.cidr().contains(addr));
            }
            if let Some(block) = block {
                self.cache.visited.insert(block.value.cidr(), block);
                return Ok(());
            }
            if self.claim(cidr).await? == Claim::Ours {
                return Ok(());
            }
        }
        Err(AssignError::Contention { key: crate::keys::blocks(Family::of(addr)), attempts: RETRIES })
    }
}
