//! Releasing: blocks first, then handles, so that no address is ever taken without a handle that names it.

use crate::datastore::{Versioned, delete, put, put_block};
use crate::facts::Facts;
use crate::writer::{Lost, PendingRelease, RETRIES, Writer};
use crate::{DatastoreError, HandleId, Release, ReleaseError, keys};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tortie_blocks::{Block, count_in_block, is_handle_empty};
use tortie_model::value::IpamHandle;
use tortie_net::{Cidr, Family};
use tortie_store::{Op, Precondition};

/// What a release will write.
#[derive(Default)]
struct Planned {
    blocks: BTreeMap<Cidr, Block>,
    /// Handles as they will be.
    handles: BTreeMap<HandleId, IpamHandle>,
    /// Addresses per handle.
    addresses: BTreeMap<HandleId, Vec<IpAddr>>,
}

impl Writer {
    /// Serves all requests of a batch. Each has another handle.
    pub(crate) async fn release_batch(&mut self, batch: Vec<PendingRelease>) {
        let handles: BTreeSet<HandleId> = batch.iter().map(|p| p.query.clone()).collect();
        match self.release_handles(&handles).await {
            Ok(mut released) => {
                for pending in batch {
                    let addresses = released.remove(&pending.query).unwrap_or_default();
                    pending.answer(Ok(addresses));
                }
            }
            Err(lost) if batch.len() == 1 => {
                for pending in batch {
                    pending.answer(Err(lost.clone().into()));
                }
            }
            // One bad handle must not keep the others.
            Err(_) => {
                for pending in batch {
                    let released = self.release_handle(&pending.query).await;
                    pending.answer(released.map_err(ReleaseError::from));
                }
            }
        }
    }

    /// Releases all addresses of one handle.
    pub(crate) async fn release_handle(&mut self, handle: &HandleId) -> Result<Vec<IpAddr>, Lost> {
        let mut released = self.release_handles(&BTreeSet::from([handle.clone()])).await?;
        Ok(released.remove(handle).unwrap_or_default())
    }

    /// Releases all addresses of some handles in one write.
    pub(crate) async fn release_handles(
        &mut self,
        handles: &BTreeSet<HandleId>,
    ) -> Result<BTreeMap<HandleId, Vec<IpAddr>>, Lost> {
        let result = self.try_release_handles(handles).await;
        if result.is_err() {
            // What was written is unknown.
            self.distrust_blocks();
            for handle in handles {
                self.cache.handles.remove(handle);
            }
        } else {
            for handle in handles {
                self.recent.remove(handle);
            }
        }
        result
    }

    async fn try_release_handles(
        &mut self,
        handles: &BTreeSet<HandleId>,
    ) -> Result<BTreeMap<HandleId, Vec<IpAddr>>, Lost> {
        let facts = self.facts().await?;
        let mut released: BTreeMap<HandleId, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut lost_key = String::new();
        for _ in 0..RETRIES {
            self.own_blocks().await?;
            for handle in handles {
                match self.cache.handles.get(handle).cloned() {
                    Some(record) => self.visit_blocks_of(&record).await?,
                    None => self.reload_handle(handle).await?,
                }
            }
            let planned = self.plan_release(handles, &facts);
            // A store without transactions may do part of a lost attempt, so what was seen then counts too.
            for (handle, addresses) in &planned.addresses {
                released.entry(handle.clone()).or_default().extend(addresses);
            }
            let touched: Vec<Cidr> = planned.blocks.keys().copied().collect();
            let Some(key) = self.write_release(planned).await? else {
                self.leave_unselected(&touched, &facts).await;
                return Ok(released.into_iter().map(|(h, a)| (h, a.into_iter().collect())).collect());
            };
            self.reload(&key).await?;
            lost_key = key;
        }
        Err(Lost::Contention { key: lost_key, attempts: RETRIES })
    }

    fn plan_release(&self, handles: &BTreeSet<HandleId>, facts: &Facts) -> Planned {
        let (now, cooldown) = (self.now(), facts.config.ip_cooldown_seconds);
        let mut planned = Planned::default();
        for block in self.cache.blocks() {
            let cidr = block.value.cidr();
            for handle in handles {
                let current = planned.blocks.get(&cidr).unwrap_or(&block.value);
                let held = current.held_by(handle);
                if held.is_empty() {
                    continue;
                }
                let block = planned.blocks.entry(cidr).or_insert_with(|| block.value.clone());
                block.release_handle(handle, now, cooldown);
                planned.addresses.entry(handle.clone()).or_default().extend(held);
            }
        }
        for handle in handles.iter().filter(|h| self.cache.handles.contains_key(h)) {
            planned.handles.insert(handle.clone(), IpamHandle::default());
        }
        planned
    }

    /// Writes blocks, then handles. Blocks that nobody owns and nobody uses are deleted, and so are empty handles.
    /// Answers the key of a lost race.
    async fn write_release(&mut self, planned: Planned) -> Result<Option<String>, DatastoreError> {
        let Planned { mut blocks, mut handles, .. } = planned;
        let mut ops: Vec<Op> = Vec::with_capacity(blocks.len() + handles.len());
        blocks.retain(|cidr, _| self.cache.block(*cidr).is_some());
        for (cidr, block) in &mut blocks {
            let revision = self.cache.block(*cidr).map(|known| known.revision).unwrap_or_default();
            block.count_write();
            ops.push(if is_abandoned(block) {
                delete(keys::block(*cidr), revision)
            } else {
                put_block(block, Precondition::Revision(revision))
            });
        }
        handles.retain(|handle, _| self.cache.handles.contains_key(handle));
        for (handle, record) in &handles {
            let revision = self.cache.handles.get(handle).map(|known| known.revision).unwrap_or_default();
            ops.push(if is_handle_empty(record) {
                delete(keys::handle(handle), revision)
            } else {
                put(keys::handle(handle), record, Precondition::Revision(revision))
            });
        }
        let written = self.datastore.commit(ops).await?;
        let mut revisions = written.revisions.into_iter();
        for ((cidr, block), revision) in blocks.into_iter().zip(revisions.by_ref()) {
            if is_abandoned(&block) {
                self.cache.forget_block(cidr);
            } else {
                self.cache.wrote_block(block, revision);
            }
        }
        for ((handle, value), revision) in handles.into_iter().zip(revisions) {
            if is_handle_empty(&value) {
                self.cache.handles.remove(&handle);
            } else {
                self.cache.handles.insert(handle, Versioned { value, revision });
            }
        }
        Ok(written.lost)
    }

    /// Gives up own blocks that became empty and whose pool no longer wants this node. The addresses are released
    /// whether that works or not.
    async fn leave_unselected(&mut self, touched: &[Cidr], facts: &Facts) {
        for cidr in touched {
            let wanted = facts.pool_of(*cidr).is_none_or(|pool| {
                pool.node_selector.parsed.as_ref().map_or(true, |s| s.evaluate(&facts.node_labels))
            });
            let Some(block) = self.cache.own.get(cidr).filter(|b| !wanted && b.value.is_empty()).cloned()
            else {
                continue;
            };
            let owner = self.owner.clone();
            if let Err(error) = self.give_up(&owner, &block).await {
                tracing::warn!(%cidr, %error, "cannot give up a block of a pool that does not select this node");
            }
        }
    }

    /// Releases single addresses; answers those that nobody had.
    pub(crate) async fn release_addresses(
        &mut self,
        addresses: Vec<Release>,
    ) -> Result<Vec<IpAddr>, ReleaseError> {
        let facts = self.facts().await?;
        self.own_blocks().await?;
        let mut by_block: BTreeMap<Cidr, Vec<Release>> = BTreeMap::new();
        let mut free = Vec::new();
        for release in addresses {
            match self.find_block_of(&facts, release.addr).await? {
                Some(cidr) => by_block.entry(cidr).or_default().push(release),
                None => free.push(release.addr),
            }
        }
        for (cidr, wanted) in by_block {
            let result = self.release_in_block(cidr, &wanted, &facts).await;
            if result.is_err() {
                self.cache.forget_block(cidr);
                self.distrust_blocks();
            }
            free.extend(result?);
        }
        Ok(free)
    }

    /// The block of an address, made known; `None` if there is none.
    async fn find_block_of(&mut self, facts: &Facts, addr: IpAddr) -> Result<Option<Cidr>, DatastoreError> {
        let known = self.cache.blocks().map(|b| b.value.cidr()).find(|c| c.contains(addr));
        if known.is_some() {
            return Ok(known);
        }
        // The pool may be disabled: its addresses are released all the same.
        let cidr = facts.pools.iter().find_map(|p| p.block_of(addr));
        let mut block = match cidr {
            Some(cidr) => self.datastore.block(cidr).await?,
            None => None,
        };
        if block.is_none() {
            let all = self.datastore.blocks(Family::of(addr)).await?.blocks;
            block = all.into_iter().find(|b| b.value.cidr().contains(addr));
        }
        Ok(block.map(|block| {
            let cidr = block.value.cidr();
            self.cache.visited.insert(cidr, block);
            cidr
        }))
    }

    async fn release_in_block(
        &mut self,
        cidr: Cidr,
        wanted: &[Release],
        facts: &Facts,
    ) -> Result<Vec<IpAddr>, ReleaseError> {
        let (now, cooldown) = (self.now(), facts.config.ip_cooldown_seconds);
        let mut lost_key = String::new();
        for _ in 0..RETRIES {
            let Some(known) = self.cache.block(cidr) else {
                return Ok(wanted.iter().map(|r| r.addr).collect());
            };
            let mut block = known.value.clone();
            let released = block.release(wanted, now, cooldown)?;
            if released.count == 0 {
                return Ok(released.not_allocated);
            }
            let mut planned = Planned::default();
            for handle in released.by_handle.keys() {
                self.reload_handle(handle).await?;
                let Some(record) = self.cache.handles.get(handle) else { continue };
                let mut record = record.value.clone();
                count_in_block(&mut record, cidr, block.held_by(handle).len());
                planned.handles.insert(handle.clone(), record);
            }
            planned.blocks.insert(cidr, block);
            let Some(key) = self.write_release(planned).await? else {
                self.leave_unselected(&[cidr], facts).await;
                return Ok(released.not_allocated);
            };
            self.reload(&key).await?;
            if self.cache.block(cidr).is_none() {
                self.reload(&keys::block(cidr)).await?;
            }
            lost_key = key;
        }
        Err(ReleaseError::Contention { key: lost_key, attempts: RETRIES })
    }

    /// Gives back the node's blocks that hold no address.
    pub(crate) async fn release_empty_blocks(&mut self) -> Result<Vec<Cidr>, ReleaseError> {
        let facts = self.facts().await?;
        self.distrust_blocks();
        self.own_blocks().await?;
        self.cache.collect(self.now(), facts.config.ip_cooldown_seconds);
        let owner = self.owner.clone();
        let empty: Vec<Versioned<Block>> =
            self.cache.own.values().filter(|b| b.value.is_empty()).cloned().collect();
        let mut released = Vec::new();
        for block in empty {
            if self.give_up(&owner, &block).await? {
                released.push(block.value.cidr());
            }
        }
        Ok(released)
    }
}

/// True if nothing would be lost with the block.
fn is_abandoned(block: &Block) -> bool {
    block.owner().is_none() && block.is_empty()
}
