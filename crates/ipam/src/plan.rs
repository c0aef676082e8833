//! Where the addresses of a batch come from: decided in memory, before anything is written.
//!
//! A request is placed whole or not at all. What is missing (a block to assign from, a block to look into) is
//! answered as a [`Shortage`]; the writer gets it and plans again.

use crate::cache::Cache;
use crate::facts::Facts;
use crate::{AssignError, AssignRequest};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tortie_blocks::{
    Block, HandleId, Pool, PoolQuery, Rejected, count_in_block, is_handle_empty, select_pools,
};
use tortie_model::value::IpamHandle;
use tortie_net::{Cidr, Family};

/// Why a request could not be placed.
#[derive(Clone, Debug)]
pub(crate) enum Shortage {
    /// No known block of these pools has room.
    Room { family: Family, pools: Vec<Cidr> },
    /// The block of a wanted address is not known.
    Block { addr: IpAddr },
    /// It cannot be done.
    Failed(AssignError),
}

impl Shortage {
    /// True if both lack room in the same pools.
    pub(crate) fn is_same_room(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Room { family: a, pools: p }, Self::Room { family: b, pools: q }) => a == b && p == q,
            _ => false,
        }
    }
}

impl<E: Into<AssignError>> From<E> for Shortage {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The writes of a batch.
pub(crate) struct Plan<'a> {
    node: &'a str,
    facts: &'a Facts,
    cache: &'a Cache,
    /// Blocks as they will be.
    pub(crate) blocks: BTreeMap<Cidr, Block>,
    /// Handles as they will be.
    pub(crate) handles: BTreeMap<HandleId, IpamHandle>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(node: &'a str, facts: &'a Facts, cache: &'a Cache) -> Self {
        Self { node, facts, cache, blocks: BTreeMap::new(), handles: BTreeMap::new() }
    }

    /// Places a request; answers its addresses, IPv4 first.
    pub(crate) fn place(&mut self, request: &AssignRequest) -> Result<Vec<IpAddr>, Shortage> {
        let mut picked = Picked::default();
        for family in Family::ALL {
            let held = self.held(&request.handle, family);
            let wanted = request.wanted_of(family);
            if wanted.is_empty() {
                self.pick_any(request, family, held, &mut picked)?;
            } else {
                for addr in wanted {
                    if !held.contains(&addr) {
                        picked.new.push((self.pick_wanted(request, addr)?, addr));
                    }
                    picked.all.push(addr);
                }
            }
        }
        let holder = request.holder();
        for (cidr, addr) in &picked.new {
            let block = self.change(*cidr).ok_or(Shortage::Block { addr: *addr })?;
            block.assign(*addr, &holder).map_err(taken)?;
        }
        self.record(request, &picked.all);
        Ok(picked.all)
    }

    /// Addresses that a handle holds already. A handle that is not known holds nothing: if it does exist, creating it
    /// will fail and make it known.
    fn held(&self, handle: &HandleId, family: Family) -> Vec<IpAddr> {
        if !self.cache.handles.contains_key(handle) {
            return Vec::new();
        }
        let loaded = self.cache.blocks().filter(|b| b.value.cidr().family() == family);
        loaded.flat_map(|b| self.current(&b.value).held_by(handle)).collect()
    }

    /// A block with what is planned so far.
    fn current<'b>(&'b self, block: &'b Block) -> &'b Block {
        self.blocks.get(&block.cidr()).unwrap_or(block)
    }

    /// A block to change.
    fn change(&mut self, cidr: Cidr) -> Option<&mut Block> {
        if !self.blocks.contains_key(&cidr) {
            self.blocks.insert(cidr, self.cache.block(cidr)?.value.clone());
        }
        self.blocks.get_mut(&cidr)
    }

    fn pick_any(
        &self,
        request: &AssignRequest,
        family: Family,
        held: Vec<IpAddr>,
        picked: &mut Picked,
    ) -> Result<(), Shortage> {
        let count = request.counts.of(family);
        let mut missing = count.saturating_sub(held.len());
        picked.all.extend(held.into_iter().take(count));
        if missing == 0 {
            return Ok(());
        }
        let facts = self.facts;
        let pools = self.pools(request, family)?;
        let borrowable: &[Cidr] = if facts.config.strict_affinity { &[] } else { &self.cache.borrowable };
        for cidr in self.cache.own.keys().chain(borrowable) {
            let Some(block) = self.cache.block(*cidr).filter(|_| pools.iter().any(|p| p.cidr.covers(*cidr)))
            else {
                continue;
            };
            for addr in self.current(&block.value).peek_next(missing, &facts.reserved) {
                picked.new.push((*cidr, addr));
                picked.all.push(addr);
                missing -= 1;
            }
            if missing == 0 {
                return Ok(());
            }
        }
        Err(Shortage::Room { family, pools: pools.iter().map(|p| p.cidr).collect() })
    }

    /// Pools that a request may draw from.
    fn pools(&self, request: &AssignRequest, family: Family) -> Result<Vec<&'a Pool>, Shortage> {
        let facts = self.facts;
        let requested = facts.resolve(&request.pools, family).map_err(|pool| {
            let known = facts.pools.iter().map(|p| p.name.clone()).collect();
            Shortage::Failed(AssignError::UnknownPool { pool, known })
        })?;
        let query = PoolQuery {
            requested: &requested,
            namespace_labels: request.namespace_labels.as_ref(),
            intended_use: Some(request.intended_use),
            ..PoolQuery::for_workload(family, &facts.node_labels)
        };
        let selection = select_pools(&facts.pools, &query)?;
        if selection.pools.is_empty() {
            return Err(Shortage::Failed(AssignError::NoMatch {
                family,
                node: self.node.to_owned(),
                node_known: facts.node_known,
                rejected: selection.rejected.iter().map(Rejected::to_string).collect(),
            }));
        }
        Ok(selection.pools)
    }

    /// The block from which a wanted address can be assigned.
    fn pick_wanted(&self, request: &AssignRequest, addr: IpAddr) -> Result<Cidr, Shortage> {
        let pool = self.facts.pool_of(Cidr::host(addr)).ok_or(AssignError::NotInPool { addr })?;
        if !pool.allowed_uses.contains(&request.intended_use) {
            let (pool, intended_use) = (pool.name.clone(), request.intended_use.as_str());
            return Err(Shortage::Failed(AssignError::NotAllowed { addr, pool, intended_use }));
        }
        let known = self.cache.blocks().map(|b| &b.value).find(|b| b.cidr().contains(addr));
        let block = self.current(known.ok_or(Shortage::Block { addr })?);
        let cidr = block.cidr();
        if let Some(allocation) = block.allocation(addr) {
            return Err(Shortage::Failed(AssignError::Taken { addr, by: allocation.to_string() }));
        }
        if self.facts.config.strict_affinity && !self.cache.own.contains_key(&cidr) {
            let owner = block.owner().map_or_else(|| "nobody".to_owned(), |o| o.to_string());
            return Err(Shortage::Failed(AssignError::NotAffine { addr, block: cidr, owner }));
        }
        Ok(cidr)
    }

    /// Plans the handle of a placed request, if it has to change: each block with what the handle will hold there.
    ///
    /// What it says about blocks that are not known stays: too much is harmless, too little is a leak.
    fn record(&mut self, request: &AssignRequest, addresses: &[IpAddr]) {
        let handle = &request.handle;
        let known = self.cache.handles.get(handle).map(|h| &h.value).filter(|h| !h.deleted);
        let mut record = known.cloned().unwrap_or_default();
        for block in self.cache.blocks().map(|b| self.current(&b.value)) {
            let cidr = block.cidr();
            let involved = addresses.iter().any(|a| cidr.contains(*a));
            let stale = self.cache.own.contains_key(&cidr) && record.block.contains_key(&cidr.to_string());
            if involved || stale {
                count_in_block(&mut record, cidr, block.held_by(handle).len());
            }
        }
        if known != Some(&record) && !is_handle_empty(&record) {
            self.handles.insert(handle.clone(), record);
        }
    }
}

/// Addresses chosen for a request.
#[derive(Default)]
struct Picked {
    /// All of them, in the order of the answer.
    all: Vec<IpAddr>,
    /// Those that the handle does not hold yet, with their blocks.
    new: Vec<(Cidr, IpAddr)>,
}

fn taken(error: tortie_blocks::AssignError) -> Shortage {
    match error {
        tortie_blocks::AssignError::Taken { addr, by, .. } => {
            Shortage::Failed(AssignError::Taken { addr, by })
        }
        tortie_blocks::AssignError::Outside { addr, .. } => Shortage::Block { addr },
    }
}
