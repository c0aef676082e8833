//! Cleaning up after containers that vanished and after crashes.

use crate::datastore::{Versioned, delete, put_block};
use crate::writer::{Lost, Writer};
use crate::{HandleId, ReleaseError, keys};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use tortie_blocks::Block;
use tortie_net::{Cidr, Family};
use tortie_store::Precondition;

/// Handles per write.
const AT_ONCE: usize = 32;

/// A moment in the life of a node's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(crate) u64);

/// What a reconciliation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Addresses that were released, by handle.
    pub released: BTreeMap<HandleId, Vec<IpAddr>>,
    /// Handles without addresses that were removed.
    pub handles: Vec<HandleId>,
    /// Affinities without blocks that were removed.
    pub affinities: Vec<Cidr>,
    /// Addresses in use that no block knows of.
    pub unrecorded: Vec<IpAddr>,
}

impl Writer {
    pub(crate) async fn reconcile(
        &mut self,
        mark: Mark,
        mut live: BTreeSet<HandleId>,
        in_use: &BTreeSet<IpAddr>,
    ) -> Result<Reconciled, ReleaseError> {
        let mut done = Reconciled::default();
        self.distrust();
        let facts = self.facts().await?;
        self.own_blocks().await?;
        done.affinities = self.drop_unused_affinities().await?;
        let mut blocks = Vec::new();
        for family in Family::ALL {
            blocks.extend(self.datastore.blocks(family).await?.blocks);
        }
        let mut unrecorded = in_use.clone();
        for allocation in blocks.iter().flat_map(|b| b.value.allocations()) {
            if unrecorded.remove(&allocation.addr) && !allocation.is_cooling() {
                live.extend(allocation.handle());
            }
        }
        done.unrecorded = unrecorded.into_iter().collect();
        let gone = self.gone(&blocks, mark, &live);
        for handles in gone.chunks(AT_ONCE) {
            let handles: BTreeSet<HandleId> = handles.iter().cloned().collect();
            done.released.extend(self.release_handles(&handles).await?);
            self.cache.end_batch();
        }
        done.handles = self.drop_hollow_handles(&blocks, mark, &live).await?;
        self.write_collected(facts.config.ip_cooldown_seconds).await?;
        self.recent.retain(|_, at| *at > mark.0);
        for (handle, addresses) in &done.released {
            tracing::info!(%handle, ?addresses, "released addresses of a container that is gone");
        }
        Ok(done)
    }

    /// Handles of pods of this node that do not live. A handle that also has addresses on other nodes, or addresses
    /// that are not a pod's, is left alone as a whole.
    fn gone(&self, blocks: &[Versioned<Block>], mark: Mark, live: &BTreeSet<HandleId>) -> Vec<HandleId> {
        let mut found: BTreeMap<HandleId, bool> = BTreeMap::new();
        for allocation in blocks.iter().flat_map(|b| b.value.allocations()).filter(|a| !a.is_cooling()) {
            let Some(handle) = allocation.handle() else { continue };
            let ours = allocation.attr("node") == Some(self.owner.name()) && allocation.attr("pod").is_some();
            *found.entry(handle).or_insert(true) &= ours;
        }
        found.into_iter().filter(|(h, ours)| *ours && self.is_gone(h, mark, live)).map(|(h, _)| h).collect()
    }

    fn is_gone(&self, handle: &HandleId, mark: Mark, live: &BTreeSet<HandleId>) -> bool {
        !live.contains(handle) && self.recent.get(handle).is_none_or(|at| *at <= mark.0)
    }

    /// Removes handles that name only blocks in which they hold nothing.
    ///
    /// On a store without transactions such a handle may be one whose block is just being written, by this node or
    /// another. It is therefore removed only if the reconciliation before saw it so, and unchanged.
    async fn drop_hollow_handles(
        &mut self,
        blocks: &[Versioned<Block>],
        mark: Mark,
        live: &BTreeSet<HandleId>,
    ) -> Result<Vec<HandleId>, Lost> {
        let held: BTreeSet<HandleId> =
            blocks.iter().flat_map(|b| b.value.allocations()).filter_map(|a| a.handle()).collect();
        let seen = std::mem::take(&mut self.hollow);
        let mut hollow = HashMap::new();
        let mut removed = Vec::new();
        for (handle, record) in self.datastore.handles().await? {
            if held.contains(&handle) || !self.is_gone(&handle, mark, live) {
                continue;
            }
            if seen.get(&handle) == Some(&record.revision) {
                if self.datastore.write(delete(keys::handle(&handle), record.revision)).await?.is_some() {
                    self.cache.handles.remove(&handle);
                    removed.push(handle);
                }
            } else {
                hollow.insert(handle, record.revision);
            }
        }
        self.hollow = hollow;
        Ok(removed)
    }

    /// Removes own affinities that never became, or no longer are, a block of ours.
    async fn drop_unused_affinities(&mut self) -> Result<Vec<Cidr>, Lost> {
        let mut removed = Vec::new();
        for cidr in std::mem::take(&mut self.cache.unconfirmed) {
            let Some(affinity) = self.datastore.affinity(&self.owner, cidr).await? else { continue };
            let block = self.datastore.block(cidr).await?;
            if let Some(block) = block.filter(|b| b.value.owner().as_ref() == Some(&self.owner)) {
                let owner = self.owner.clone();
                if !block.value.is_empty() || !self.give_up(&owner, &block).await? {
                    self.cache.unconfirmed.insert(cidr);
                    continue;
                }
            } else {
                self.datastore.write(delete(keys::affinity(&self.owner, cidr), affinity.revision)).await?;
            }
            removed.push(cidr);
        }
        Ok(removed)
    }

    /// Writes own blocks in which a cooldown is over, so that others may use the addresses.
    async fn write_collected(&mut self, cooldown_seconds: u32) -> Result<(), Lost> {
        let now = self.now();
        let cooling: Vec<Versioned<Block>> =
            self.cache.own.values().filter(|b| b.value.is_cooling()).cloned().collect();
        for Versioned { mut value, revision } in cooling {
            if !value.collect(now, cooldown_seconds) {
                continue;
            }
            value.count_write();
            match self.datastore.write(put_block(&value, Precondition::Revision(revision))).await? {
                Some(revision) => self.cache.wrote_block(value, revision),
                None => self.reload(&keys::block(value.cidr())).await?,
            }
        }
        Ok(())
    }
}
