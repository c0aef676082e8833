//! Which addresses may have tracked connections of somebody who is gone. A value: no clock, no socket, no thread.
//!
//! What is not known to be clean is not clean: a restart, a gap in what the datastore told, or an address of somebody
//! else's block costs a walk through the connection table, never a connection that changes its owner.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tortie_model::value::AllocationBlock;
use tortie_model::{Change, Key, Value};
use tortie_net::Cidr;

/// Free addresses of larger blocks are looked at when they are assigned, not before.
const MAX_SWEPT: usize = 1024;
/// Walks may take one part in so many of the time, unless a pod waits for them.
const REST: u32 = 20;
/// How far ahead of that they may be: many may follow each other at once, but not for long.
const AHEAD: Duration = Duration::from_secs(5);
/// Pause after a walk that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The number of a walk: whoever waits for it waits for this one or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// When the next walk may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing is to be done.
    Never,
    /// At this time.
    At(Duration),
}

/// What is known about addresses. Times are since an arbitrary origin.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    node: String,
    in_sync: bool,
    /// Blocks of this node.
    own: BTreeMap<Cidr, Arc<AllocationBlock>>,
    /// Addresses of endpoints on other nodes.
    remote: HashMap<Box<str>, Box<[IpAddr]>>,
    /// Free addresses of own blocks that nobody has had since they were looked through.
    clean: HashSet<IpAddr>,
    /// Addresses that were clean when the datastore told who has them next, and that container. It comes to take them: the news
    /// of its own assignment may be quicker than it is.
    promised: HashMap<IpAddr, Box<str>>,
    /// Addresses that were given to a container of this node and not taken back.
    taken: HashMap<IpAddr, Arc<str>>,
    /// What the next walk is for.
    dirty: HashSet<IpAddr>,
    /// What the walk under way is for.
    walking: HashSet<IpAddr>,
    /// Somebody waits for the next walk.
    urgent: bool,
    started: u64,
    ended: u64,
    /// The last walk that deleted all that it should.
    succeeded: u64,
    error: String,
    /// When the time that walks took would have been earned.
    earned: Duration,
    /// Not before this time after a failure.
    retry: Duration,
}

impl Ledger {
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), ..Self::default() }
    }

    // === what the datastore tells

    /// Takes a change whose consequences for policy are in the kernel: what is forgotten before would be tracked again.
    pub(crate) fn on_change(&mut self, change: &Change) {
        match (&change.key, &change.value) {
            (Key::WorkloadEndpoint(id), value) if id.host != self.node => {
                let now: Box<[IpAddr]> = match value {
                    Some(Value::WorkloadEndpoint(endpoint)) => {
                        endpoint.nets().filter(|net| net.is_host()).map(Cidr::addr).collect()
                    }
                    _ => Box::default(),
                };
                self.remote(id.to_string().into(), now);
            }
            (Key::Block(cidr), Some(Value::Block(block))) if self.is_own(block) => {
                self.own.insert(*cidr, block.clone());
                self.promised.retain(|address, next| {
                    !cidr.contains(*address) || container(block, *address) == Some(&**next)
                });
                let given = |address: &IpAddr| cidr.contains(*address) && !is_free(block, *address);
                for address in self.clean.extract_if(given) {
                    if let Some(next) = container(block, address) {
                        self.promised.insert(address, next.into());
                    }
                }
                self.sweep(&block.clone());
            }
            (Key::Block(cidr), _) if self.own.remove(cidr).is_some() => {
                self.clean.retain(|address| !cidr.contains(*address));
                self.promised.retain(|address, _| !cidr.contains(*address));
            }
            _ => {}
        }
    }

    /// What existed has been told, and its policy is in the kernel.
    pub(crate) fn in_sync(&mut self) {
        self.in_sync = true;
        self.sweep_all();
    }

    /// Something may have happened that was never told.
    pub(crate) fn gap(&mut self) {
        self.clean.clear();
        self.promised.clear();
        self.sweep_all();
    }

    fn is_own(&self, block: &AllocationBlock) -> bool {
        let owner = block.affinity.as_deref().and_then(|a| a.strip_prefix("host:"));
        !block.deleted && owner == Some(self.node.as_str())
    }

    fn remote(&mut self, id: Box<str>, now: Box<[IpAddr]>) {
        let before =
            if now.is_empty() { self.remote.remove(&id) } else { self.remote.insert(id.clone(), now) };
        let now = self.remote.get(&id).map(|now| &**now).unwrap_or_default();
        self.dirty.extend(before.iter().flatten().filter(|address| !now.contains(address)));
    }

    fn sweep_all(&mut self) {
        for block in self.own.values().cloned().collect::<Vec<_>>() {
            self.sweep(&block);
        }
    }

    /// Free addresses of an own block shall be clean.
    fn sweep(&mut self, block: &AllocationBlock) {
        if !self.in_sync || block.allocations.len() > MAX_SWEPT {
            return;
        }
        for address in free(block) {
            let known = self.clean.contains(&address)
                || self.taken.contains_key(&address)
                || self.walking.contains(&address);
            if !known {
                self.dirty.insert(address);
            }
        }
    }

    // === pods of this node

    /// A container is going to get these addresses: none if they are clean, else the walk to wait for.
    pub(crate) fn take(&mut self, container: &Arc<str>, addresses: &[IpAddr]) -> Option<Ticket> {
        let mut ticket = None;
        for address in addresses {
            self.taken.insert(*address, container.clone());
            let promised = self.promised.remove(address).is_some_and(|next| *next == **container);
            if !self.clean.remove(address) && !promised {
                self.dirty.insert(*address);
                self.urgent = true;
                ticket = Some(Ticket(self.started + 1));
            }
        }
        ticket
    }

    /// A container's interface is gone, and its addresses are free; or already given to the next, who waits or has
    /// waited for a walk that began later.
    pub(crate) fn release(&mut self, container: &str, addresses: &[IpAddr]) {
        for address in addresses {
            if self.taken.get(address).is_some_and(|other| **other != *container) {
                continue;
            }
            self.taken.remove(address);
            self.clean.remove(address);
            self.promised.remove(address);
            self.dirty.insert(*address);
        }
    }

    /// The outcome of a walk, if there is one.
    pub(crate) fn outcome(&self, ticket: Ticket) -> Option<Result<(), String>> {
        if self.succeeded >= ticket.0 {
            return Some(Ok(()));
        }
        (self.ended >= ticket.0).then(|| Err(self.error.clone()))
    }

    // === walks

    /// When [`Ledger::begin`] will have something to do, as things are.
    pub(crate) fn due(&self) -> Due {
        match () {
            () if self.dirty.is_empty() || self.started > self.ended => Due::Never,
            () if self.urgent => Due::At(Duration::ZERO),
            () => Due::At(self.earned.saturating_sub(AHEAD).max(self.retry)),
        }
    }

    /// Begins a walk for these addresses, which must be followed by [`Ledger::end`].
    pub(crate) fn begin(&mut self, now: Duration) -> Option<Vec<IpAddr>> {
        match self.due() {
            Due::At(time) if time <= now => {}
            _ => return None,
        }
        self.urgent = false;
        self.started += 1;
        self.walking = std::mem::take(&mut self.dirty);
        Some(self.walking.iter().copied().collect())
    }

    /// The walk has ended; an error says why entries may be left.
    pub(crate) fn end(&mut self, now: Duration, took: Duration, outcome: Result<(), String>) {
        self.ended = self.started;
        self.earned = self.earned.max(now) + took * REST;
        let walked = std::mem::take(&mut self.walking);
        match outcome {
            Ok(()) => {
                self.succeeded = self.ended;
                let clean: Vec<IpAddr> =
                    walked.into_iter().filter(|address| self.is_idle(*address)).collect();
                self.clean.extend(clean);
            }
            Err(error) => {
                self.error = error;
                self.retry = now + RETRY;
                self.dirty.extend(walked);
            }
        }
    }

    /// Whether nobody has an address or may have had it since the walk began.
    fn is_idle(&self, address: IpAddr) -> bool {
        !self.dirty.contains(&address)
            && !self.taken.contains_key(&address)
            && self.own.values().any(|block| is_free(block, address))
    }
}

/// Addresses of a block that nobody has.
fn free(block: &AllocationBlock) -> impl Iterator<Item = IpAddr> + '_ {
    let all = (0..block.allocations.len()).filter(|ordinal| is_nobodys(block, *ordinal));
    all.filter_map(|ordinal| address(block.cidr, ordinal))
}

fn is_free(block: &AllocationBlock, wanted: IpAddr) -> bool {
    ordinal(block.cidr, wanted).is_some_and(|ordinal| is_nobodys(block, ordinal))
}

/// Free, or released and only not to be used again yet.
fn is_nobodys(block: &AllocationBlock, ordinal: usize) -> bool {
    let released =
        |attribute: usize| block.attributes.get(attribute).is_some_and(|a| a.released_at.is_some());
    block.allocations.get(ordinal).is_some_and(|holder| holder.is_none_or(released))
}

/// The container that has an address, by the name of its handle: `<network>.<container>`.
fn container(block: &AllocationBlock, wanted: IpAddr) -> Option<&str> {
    let ordinal = ordinal(block.cidr, wanted).filter(|ordinal| !is_nobodys(block, *ordinal))?;
    let attribute = block.attributes.get((*block.allocations.get(ordinal)?)?)?;
    attribute.handle_id.as_deref()?.rsplit('.').next()
}

fn address(block: Cidr, ordinal: usize) -> Option<IpAddr> {
    let address = match block.addr() {
        IpAddr::V4(first) => {
            Ipv4Addr::from(u32::from(first).checked_add(u32::try_from(ordinal).ok()?)?).into()
        }
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).checked_add(ordinal as u128)?).into(),
    };
    block.contains(address).then_some(address)
}

fn ordinal(block: Cidr, address: IpAddr) -> Option<usize> {
    match (block.addr(), address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            u32::from(address).checked_sub(first.into())?.try_into().ok()
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => {
            u128::from(address).checked_sub(first.into())?.try_into().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
