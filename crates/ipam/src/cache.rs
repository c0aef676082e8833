//! What the writer remembers of the datastore.
//!
//! Nothing here is trusted: each write names the revision it builds on, and a lost race reads again.

use crate::HandleId;
use crate::datastore::Versioned;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tortie_blocks::{Block, Timestamp};
use tortie_model::value::IpamHandle;
use tortie_net::Cidr;

/// Blocks and handles with the revisions they were seen at.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// The node's blocks: affinity confirmed, block agrees.
    pub(crate) own: BTreeMap<Cidr, Versioned<Block>>,
    /// The node's affinities that must be claimed (again) before their blocks can be used.
    pub(crate) unconfirmed: BTreeSet<Cidr>,
    /// Blocks of others that the current batch looked at.
    pub(crate) visited: BTreeMap<Cidr, Versioned<Block>>,
    /// Those of `visited` from which the current batch may borrow, in the order to try them.
    pub(crate) borrowable: Vec<Cidr>,
    /// Handles. One that is missing here may well exist.
    pub(crate) handles: HashMap<HandleId, Versioned<IpamHandle>>,
}

impl Cache {
    /// A block, whosever it is.
    pub(crate) fn block(&self, cidr: Cidr) -> Option<&Versioned<Block>> {
        self.own.get(&cidr).or_else(|| self.visited.get(&cidr))
    }

    /// All blocks, own ones first.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Versioned<Block>> {
        self.own.values().chain(self.visited.values())
    }

    /// Takes over a block as it was written.
    pub(crate) fn wrote_block(&mut self, block: Block, revision: u64) {
        let cidr = block.cidr();
        let place = if self.own.contains_key(&cidr) { &mut self.own } else { &mut self.visited };
        place.insert(cidr, Versioned { value: block, revision });
    }

    pub(crate) fn forget_block(&mut self, cidr: Cidr) {
        self.own.remove(&cidr);
        self.visited.remove(&cidr);
    }

    /// Ends a batch: what belongs to others is looked at anew each time.
    pub(crate) fn end_batch(&mut self) {
        self.visited.clear();
        self.borrowable.clear();
    }

    /// Frees addresses whose cooldown is over. The next write of their block makes it known.
    pub(crate) fn collect(&mut self, now: Timestamp, cooldown_seconds: u32) {
        for block in self.own.values_mut().chain(self.visited.values_mut()) {
            block.value.collect(now, cooldown_seconds);
        }
    }
}
