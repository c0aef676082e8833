//! One allocation block: which of its addresses are taken, by whom, and in which order the free ones go out.
//!
//! A free address is taken from the head of the queue of free ordinals and comes back at its tail, so that an
//! address rests as long as possible before it is used again. With a cooldown it first stays allocated to nobody
//! until the time is over.

use crate::arithmetic::{nth_address, ordinal_of, size_of};
use crate::{HandleId, Owner, Reservations, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use tortie_model::value::{AllocationAttribute, AllocationBlock, StringMap};
use tortie_net::Cidr;

/// Handle under which addresses of a Windows node's blocks are set aside; a block with nothing else is empty.
const WINDOWS_RESERVED: &str = "windows-reserved-ipam-handle";

/// Most host bits that a block may have: 65,536 addresses. Calico's pools allow 12.
const MAX_HOST_BITS: u8 = 16;

/// A block whose parts agree with each other.
///
/// Invariants: `allocations` has one entry per address; every index points into `attributes`; every ordinal is either
/// allocated or once in `unallocated`.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    data: AllocationBlock,
}

/// Why something is no usable block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The prefix is too short to be listed address by address.
    #[error("block {block} is larger than {} addresses", 1u32 << MAX_HOST_BITS)]
    TooLarge {
        /// The block.
        block: Cidr,
    },
    /// `allocations` has the wrong length.
    #[error("block {block}: `allocations` has {found} entries where the prefix has {expected} addresses")]
    Length {
        /// The block.
        block: Cidr,
        /// Entries found.
        found: usize,
        /// Addresses of the prefix.
        expected: usize,
    },
    /// An allocation refers to attributes that are not there.
    #[error("block {block}: `allocations[{ordinal}]` refers to `attributes[{index}]`, which does not exist")]
    Attribute {
        /// The block.
        block: Cidr,
        /// Position in `allocations`.
        ordinal: usize,
        /// The missing index.
        index: usize,
    },
}

/// Who gets an address: a handle to find it by, and attributes that say more (`pod`, `namespace`, `node`, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The handle.
    pub handle: Option<HandleId>,
    /// Attributes of the owner.
    pub attrs: StringMap,
}

/// One allocated address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allocation<'a> {
    /// The address.
    pub addr: IpAddr,
    /// Who has it.
    pub attribute: &'a AllocationAttribute,
    /// Sequence number of the block when it was taken; 0 in old data.
    pub sequence: u64,
}

impl Allocation<'_> {
    /// The handle, if there is one.
    pub fn handle(&self) -> Option<HandleId> {
        self.attribute.handle_id.as_deref().map(HandleId::new)
    }

    /// An attribute of the owner.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attribute.active_owner_attrs.get(name).map(String::as_str)
    }

    /// True if it was released and only waits for the end of its cooldown.
    pub fn is_cooling(&self) -> bool {
        self.attribute.released_at.is_some()
    }
}

/// The owner in words: the pod if it is known, else what it is, else the handle.
impl fmt::Display for Allocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.attribute.released_at {
            return write!(f, "nobody since {at}, but still cooling down");
        }
        match (self.attr("namespace"), self.attr("pod")) {
            (Some(namespace), Some(pod)) => write!(f, "pod {namespace}/{pod}")?,
            _ => match (self.attr("type"), self.handle()) {
                (Some(kind), _) => f.write_str(kind)?,
                (None, Some(handle)) => return write!(f, "handle {handle}"),
                (None, None) => return f.write_str("an owner without handle"),
            },
        }
        if let Some(node) = self.attr("node") {
            write!(f, " on node {node}")?;
        }
        self.handle().map_or(Ok(()), |handle| write!(f, " (handle {handle})"))
    }
}

/// Why a wanted address was not assigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// Not in this block.
    #[error("address {addr} is not in block {block}")]
    Outside {
        /// The address.
        addr: IpAddr,
        /// The block.
        block: Cidr,
    },
    /// Somebody has it.
    #[error("address {addr} is taken by {by}")]
    Taken {
        /// The address.
        addr: IpAddr,
        /// Its owner, in words.
        by: String,
        /// The owner's handle.
        handle: Option<HandleId>,
    },
}

/// One address to release, with what the caller believes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The address.
    pub addr: IpAddr,
    /// Refuse if another handle has it.
    pub handle: Option<HandleId>,
    /// Refuse if it was released and assigned again since.
    pub sequence: Option<u64>,
}

/// What a release did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Addresses that nobody had.
    pub not_allocated: Vec<IpAddr>,
    /// Number of addresses released per handle.
    pub by_handle: BTreeMap<HandleId, usize>,
    /// Number of addresses released.
    pub count: usize,
}

/// Why a release was refused. Nothing was released.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// Not in this block.
    #[error("address {addr} is not in block {block}")]
    Outside {
        /// The address.
        addr: IpAddr,
        /// The block.
        block: Cidr,
    },
    /// The address changed hands since the caller looked.
    #[error(
        "address {addr} was assigned again (sequence number {actual}, not {requested}); look again before releasing it"
    )]
    StaleSequence {
        /// The address.
        addr: IpAddr,
        /// What the caller believed.
        requested: u64,
        /// What is true.
        actual: u64,
    },
    /// The address belongs to another handle.
    #[error("address {addr} belongs to handle {actual:?}, not {requested:?}")]
    OtherHandle {
        /// The address.
        addr: IpAddr,
        /// What the caller believed.
        requested: HandleId,
        /// What is true; empty if it has no handle.
        actual: String,
    },
}

impl Block {
    /// A new block with all addresses free.
    ///
    /// `sequence` must be larger than that of any block of the same prefix before it, so that a release meant for the
    /// old block is refused: nanoseconds since 1970.
    pub fn new(cidr: Cidr, owner: &Owner, sequence: u64, now: Timestamp) -> Result<Self, BlockError> {
        let size = checked_size(cidr)?;
        Ok(Self {
            data: AllocationBlock {
                cidr,
                affinity: Some(owner.to_string()),
                affinity_claim_time: Some(now.to_string()),
                allocations: vec![None; size],
                unallocated: (0..size).collect(),
                attributes: Vec::new(),
                sequence_number: sequence,
                sequence_number_for_allocation: BTreeMap::new(),
                deleted: false,
                host_affinity: None,
            },
        })
    }

    /// A block from the datastore. A queue of free ordinals that disagrees with the allocations is repaired:
    /// allocations win, and ordinals that were in neither are free again.
    pub fn from_stored(mut data: AllocationBlock) -> Result<Self, BlockError> {
        let block = data.cidr;
        let expected = checked_size(block)?;
        if data.allocations.len() != expected {
            return Err(BlockError::Length { block, found: data.allocations.len(), expected });
        }
        for (ordinal, index) in data.allocations.iter().enumerate() {
            if let Some(index) = index.filter(|i| *i >= data.attributes.len()) {
                return Err(BlockError::Attribute { block, ordinal, index });
            }
        }
        let mut missing: Vec<bool> = data.allocations.iter().map(Option::is_none).collect();
        data.unallocated.retain(|ordinal| missing.get_mut(*ordinal).is_some_and(std::mem::take));
        data.unallocated.extend(missing.iter().enumerate().filter(|(_, m)| **m).map(|(ordinal, _)| ordinal));
        Ok(Self { data })
    }

    /// The block as it is stored.
    pub fn as_stored(&self) -> &AllocationBlock {
        &self.data
    }

    /// The block's prefix.
    pub fn cidr(&self) -> Cidr {
        self.data.cidr
    }

    /// Its owner, if it has one.
    pub fn owner(&self) -> Option<Owner> {
        self.data.affinity.as_deref().and_then(Owner::parse)
    }

    /// When its owner claimed it; old blocks do not say.
    pub fn claimed_at(&self) -> Option<Timestamp> {
        self.data.affinity_claim_time.as_deref().and_then(|t| t.parse().ok())
    }

    /// Its sequence number.
    pub fn sequence(&self) -> u64 {
        self.data.sequence_number
    }

    /// Number of addresses.
    pub fn size(&self) -> usize {
        self.data.allocations.len()
    }

    /// Number of addresses that can still be assigned.
    pub fn free(&self, reserved: &Reservations) -> usize {
        if !reserved.touches(self.data.cidr) {
            return self.data.unallocated.len();
        }
        self.free_addresses().filter(|(_, addr)| !reserved.contains(*addr)).count()
    }

    /// Number of addresses in use or cooling down.
    pub fn used(&self) -> usize {
        self.size() - self.data.unallocated.len()
    }

    /// True if no address is in use, other than those that Windows sets aside.
    pub fn is_empty(&self) -> bool {
        self.data.allocations.iter().flatten().all(|index| {
            self.data
                .attributes
                .get(*index)
                .and_then(|a| a.handle_id.as_deref())
                .is_some_and(|h| h.eq_ignore_ascii_case(WINDOWS_RESERVED))
        })
    }

    /// All allocations in order of address, including those that cool down.
    pub fn allocations(&self) -> impl Iterator<Item = Allocation<'_>> {
        self.data.allocations.iter().enumerate().filter_map(|(ordinal, index)| {
            Some(Allocation {
                addr: nth_address(self.data.cidr, ordinal as u128)?,
                attribute: self.data.attributes.get((*index)?)?,
                sequence: self.allocation_sequence(ordinal),
            })
        })
    }

    /// The allocation of one address.
    pub fn allocation(&self, addr: IpAddr) -> Option<Allocation<'_>> {
        let ordinal = self.ordinal(addr)?;
        let index = self.data.allocations.get(ordinal).copied().flatten()?;
        let attribute = self.data.attributes.get(index)?;
        Some(Allocation { addr, attribute, sequence: self.allocation_sequence(ordinal) })
    }

    /// Allocations whose owner is on another node than the block's, or on no known node: others need a route of their
    /// own to them.
    pub fn non_affine(&self) -> impl Iterator<Item = Allocation<'_>> {
        let owner = self.owner();
        self.allocations().filter(move |a| match &owner {
            Some(owner) => a.attr("node") != Some(owner.name()),
            None => true,
        })
    }

    /// Addresses that a handle holds.
    pub fn held_by(&self, handle: &HandleId) -> Vec<IpAddr> {
        let indices = self.indices_of(handle);
        if indices.is_empty() {
            return Vec::new();
        }
        self.data
            .allocations
            .iter()
            .enumerate()
            .filter(|(_, index)| index.is_some_and(|i| indices.contains(&i)))
            .filter_map(|(ordinal, _)| nth_address(self.data.cidr, ordinal as u128))
            .collect()
    }

    /// The addresses that would be assigned next, at most `count`: those first that were free for the longest time.
    pub fn peek_next(&self, count: usize, reserved: &Reservations) -> Vec<IpAddr> {
        self.pick_next(count, reserved).into_iter().map(|(_, addr)| addr).collect()
    }

    /// Assigns up to `count` addresses, those first that were free for the longest time.
    pub fn assign_next(&mut self, count: usize, holder: &Holder, reserved: &Reservations) -> Vec<IpAddr> {
        let picked = self.pick_next(count, reserved);
        self.take(&picked, holder);
        picked.into_iter().map(|(_, addr)| addr).collect()
    }

    /// Assigns one particular address, reserved or not.
    pub fn assign(&mut self, addr: IpAddr, holder: &Holder) -> Result<(), AssignError> {
        let ordinal = self.ordinal(addr).ok_or(AssignError::Outside { addr, block: self.data.cidr })?;
        if let Some(allocation) = self.allocation(addr) {
            return Err(AssignError::Taken { addr, by: allocation.to_string(), handle: allocation.handle() });
        }
        self.take(&[(ordinal, addr)], holder);
        Ok(())
    }

    /// Releases addresses, or none of them if one of the caller's beliefs is wrong. An address that is free already,
    /// or cooling down, is no error.
    pub fn release(
        &mut self,
        wanted: &[Release],
        now: Timestamp,
        cooldown_seconds: u32,
    ) -> Result<Released, ReleaseError> {
        let mut result = Released::default();
        let mut ordinals = BTreeSet::new();
        for release in wanted {
            let addr = release.addr;
            let ordinal = self.ordinal(addr).ok_or(ReleaseError::Outside { addr, block: self.data.cidr })?;
            let actual = self.allocation_sequence(ordinal);
            if let Some(requested) = release.sequence.filter(|s| *s != actual) {
                return Err(ReleaseError::StaleSequence { addr, requested, actual });
            }
            let Some(allocation) = self.allocation(addr).filter(|a| !a.is_cooling()) else {
                result.not_allocated.push(addr);
                continue;
            };
            let handle = allocation.handle();
            if let Some(requested) = release.handle.clone().filter(|h| Some(h) != handle.as_ref()) {
                let actual = handle.map(|h| h.to_string()).unwrap_or_default();
                return Err(ReleaseError::OtherHandle { addr, requested, actual });
            }
            if ordinals.insert(ordinal) {
                result.count += 1;
                if let Some(handle) = handle {
                    *result.by_handle.entry(handle).or_default() += 1;
                }
            }
        }
        self.cool(&ordinals, now);
        self.collect(now, cooldown_seconds);
        Ok(result)
    }

    /// Releases all addresses of a handle; answers how many.
    pub fn release_handle(&mut self, handle: &HandleId, now: Timestamp, cooldown_seconds: u32) -> usize {
        let indices = self.indices_of(handle);
        let ordinals: BTreeSet<usize> = self
            .data
            .allocations
            .iter()
            .enumerate()
            .filter(|(_, index)| index.is_some_and(|i| indices.contains(&i)))
            .map(|(ordinal, _)| ordinal)
            .collect();
        self.cool(&ordinals, now);
        self.collect(now, cooldown_seconds);
        ordinals.len()
    }

    /// Frees addresses whose cooldown is over and drops attributes that nothing refers to. True if that changed
    /// the block.
    pub fn collect(&mut self, now: Timestamp, cooldown_seconds: u32) -> bool {
        let over: Vec<bool> =
            self.data.attributes.iter().map(|a| is_cooldown_over(a, now, cooldown_seconds)).collect();
        let mut used = vec![false; over.len()];
        let mut changed = false;
        for (ordinal, slot) in self.data.allocations.iter_mut().enumerate() {
            let Some(index) = *slot else { continue };
            if over.get(index).copied().unwrap_or_default() {
                *slot = None;
                self.data.unallocated.push(ordinal);
                self.data.sequence_number_for_allocation.remove(&ordinal.to_string());
                changed = true;
            } else if let Some(used) = used.get_mut(index) {
                *used = true;
            }
        }
        if used.iter().all(|u| *u) {
            return changed;
        }
        let mut kept = 0..;
        let renumbered: Vec<Option<usize>> = used.iter().map(|u| u.then(|| kept.next()).flatten()).collect();
        let mut keep = used.into_iter();
        self.data.attributes.retain(|_| keep.next().unwrap_or_default());
        for slot in &mut self.data.allocations {
            *slot = slot.and_then(|index| renumbered.get(index).copied().flatten());
        }
        true
    }

    /// True if released addresses wait for the end of their cooldown.
    pub fn is_cooling(&self) -> bool {
        self.data.attributes.iter().any(|a| a.released_at.is_some())
    }

    /// Takes the block from its owner: nobody assigns from it automatically, unless borrowing is allowed.
    pub fn disown(&mut self) {
        self.data.affinity = None;
        self.data.affinity_claim_time = None;
    }

    /// Counts a write. Call it once for every time the block is stored after its creation.
    pub fn count_write(&mut self) {
        self.data.sequence_number = self.data.sequence_number.wrapping_add(1);
    }

    fn ordinal(&self, addr: IpAddr) -> Option<usize> {
        ordinal_of(self.data.cidr, addr).and_then(|o| usize::try_from(o).ok())
    }

    fn allocation_sequence(&self, ordinal: usize) -> u64 {
        self.data.sequence_number_for_allocation.get(&ordinal.to_string()).copied().unwrap_or_default()
    }

    fn pick_next(&self, count: usize, reserved: &Reservations) -> Vec<(usize, IpAddr)> {
        let restricted = reserved.touches(self.data.cidr);
        let free = self.free_addresses().filter(|(_, addr)| !restricted || !reserved.contains(*addr));
        free.take(count).collect()
    }

    fn free_addresses(&self) -> impl Iterator<Item = (usize, IpAddr)> + '_ {
        let cidr = self.data.cidr;
        self.data.unallocated.iter().filter_map(move |o| Some((*o, nth_address(cidr, *o as u128)?)))
    }

    fn indices_of(&self, handle: &HandleId) -> Vec<usize> {
        let is_handle = |a: &AllocationAttribute| a.handle_id.as_deref().is_some_and(|h| handle.is(h));
        self.data.attributes.iter().enumerate().filter(|(_, a)| is_handle(a)).map(|(i, _)| i).collect()
    }

    /// Gives free ordinals to a holder. Equal attributes are stored once.
    fn take(&mut self, picked: &[(usize, IpAddr)], holder: &Holder) {
        if picked.is_empty() {
            return;
        }
        let attribute = AllocationAttribute {
            handle_id: holder.handle.as_ref().map(ToString::to_string),
            active_owner_attrs: holder.attrs.clone(),
            ..AllocationAttribute::default()
        };
        let index = self.data.attributes.iter().position(|a| *a == attribute).unwrap_or_else(|| {
            self.data.attributes.push(attribute);
            self.data.attributes.len() - 1
        });
        self.data.unallocated.retain(|ordinal| !picked.iter().any(|(p, _)| p == ordinal));
        self.point_to(picked.iter().map(|(ordinal, _)| *ordinal), index);
    }

    /// Takes ordinals from their holders and starts their cooldown.
    fn cool(&mut self, ordinals: &BTreeSet<usize>, now: Timestamp) {
        if ordinals.is_empty() {
            return;
        }
        self.data.attributes.push(AllocationAttribute {
            released_at: Some(now.to_string()),
            ..AllocationAttribute::default()
        });
        let index = self.data.attributes.len() - 1;
        self.point_to(ordinals.iter().copied(), index);
    }

    fn point_to(&mut self, ordinals: impl Iterator<Item = usize>, index: usize) {
        for ordinal in ordinals {
            if let Some(slot) = self.data.allocations.get_mut(ordinal) {
                *slot = Some(index);
                self.data
                    .sequence_number_for_allocation
                    .insert(ordinal.to_string(), self.data.sequence_number);
            }
        }
    }
}

fn checked_size(block: Cidr) -> Result<usize, BlockError> {
    if block.family().bits() - block.len() > MAX_HOST_BITS {
        return Err(BlockError::TooLarge { block });
    }
    usize::try_from(size_of(block)).map_err(|_| BlockError::TooLarge { block })
}

/// Times are stored in whole seconds, so a cooldown is over only when a second more than its length has passed.
/// A time that cannot be read does not keep an address from use for ever.
fn is_cooldown_over(attribute: &AllocationAttribute, now: Timestamp, cooldown_seconds: u32) -> bool {
    let Some(released_at) = &attribute.released_at else { return false };
    cooldown_seconds == 0
        || released_at
            .parse::<Timestamp>()
            .map_or(true, |at| now.seconds_since(at) > i64::from(cooldown_seconds))
}

#[cfg(test)]
mod tests;
