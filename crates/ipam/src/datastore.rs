//! Typed reads and writes of IPAM's objects.

use crate::{DatastoreError, HandleId, keys};
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tortie_blocks::{Block, Owner};
use tortie_model::value::{AllocationBlock, BlockAffinity, IpamHandle};
use tortie_net::{Cidr, Family};
use tortie_store::{Entry, Op, Precondition, Store, StoreError};

/// States of an affinity.
pub(crate) mod state {
    /// The owner wants the block; others ignore this.
    pub(crate) const PENDING: &str = "pending";
    /// The block is the owner's.
    pub(crate) const CONFIRMED: &str = "confirmed";
    /// The block is being given up.
    pub(crate) const PENDING_DELETION: &str = "pendingDeletion";
}

/// True if the affinity stands; old data has no state.
pub(crate) fn is_confirmed(affinity: &BlockAffinity) -> bool {
    affinity.state.is_empty() || affinity.state == state::CONFIRMED
}

/// A value and the revision it was read or written at.
#[derive(Clone, Debug)]
pub(crate) struct Versioned<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

/// What a commit did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Revisions of the writes that were done, in their order: all of them, or those before the lost one if the store
    /// has no transactions, or none.
    pub(crate) revisions: Vec<u64>,
    /// The key whose condition was not true.
    pub(crate) lost: Option<String>,
}

/// A list of blocks.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Blocks that can be used.
    pub(crate) blocks: Vec<Versioned<Block>>,
    /// Prefixes of blocks that exist but cannot be used: malformed, or half-way deleted.
    pub(crate) unusable: Vec<Cidr>,
}

/// The datastore, in IPAM's terms.
#[derive(Clone)]
pub(crate) struct Datastore {
    store: Arc<dyn Store>,
}

impl Datastore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    pub(crate) async fn block(&self, cidr: Cidr) -> Result<Option<Versioned<Block>>, DatastoreError> {
        let key = keys::block(cidr);
        let Some(entry) = self.get(&key).await? else { return Ok(None) };
        let data: AllocationBlock = parse(&entry, "block")?;
        if data.deleted {
            return Ok(None);
        }
        let value = Block::from_stored(data).map_err(|e| DatastoreError::Malformed {
            key,
            what: "block",
            reason: e.to_string(),
        })?;
        Ok(Some(Versioned { value, revision: entry.revision }))
    }

    /// All blocks of a family, whosever they are.
    pub(crate) async fn blocks(&self, family: Family) -> Result<Blocks, DatastoreError> {
        let mut result = Blocks::default();
        for entry in self.list(&keys::blocks(family)).await? {
            let Some(cidr) = keys::parse_block(&entry.key) else {
                tracing::warn!(key = %entry.key, "not the path of a block");
                continue;
            };
            let parsed = parse::<AllocationBlock>(&entry, "block").and_then(|data| {
                let deleted = data.deleted;
                let block = Block::from_stored(data).map_err(|e| DatastoreError::Malformed {
                    key: entry.key.to_string(),
                    what: "block",
                    reason: e.to_string(),
                })?;
                Ok((!deleted).then_some(block))
            });
            match parsed {
                Ok(Some(value)) => result.blocks.push(Versioned { value, revision: entry.revision }),
                Ok(None) => result.unusable.push(cidr),
                Err(error) => {
                    tracing::warn!(%error, "block is left alone");
                    result.unusable.push(cidr);
                }
            }
        }
        Ok(result)
    }

    pub(crate) async fn affinity(
        &self,
        owner: &Owner,
        cidr: Cidr,
    ) -> Result<Option<Versioned<BlockAffinity>>, DatastoreError> {
        self.get(&keys::affinity(owner, cidr)).await?.map(|entry| parse_affinity(&entry)).transpose()
    }

    /// All affinities of a node.
    pub(crate) async fn affinities(
        &self,
        owner: &Owner,
    ) -> Result<Vec<(Cidr, Versioned<BlockAffinity>)>, DatastoreError> {
        let entries = self.list(&keys::affinities(owner.name())).await?;
        Ok(entries
            .iter()
            .filter_map(|entry| {
                let cidr = keys::parse_affinity(&entry.key)?;
                match parse_affinity(entry) {
                    Ok(affinity) => Some((cidr, affinity)),
                    Err(error) => {
                        tracing::warn!(%error, "affinity is left alone");
                        None
                    }
                }
            })
            .collect())
    }

    pub(crate) async fn handle(
        &self,
        id: &HandleId,
    ) -> Result<Option<Versioned<IpamHandle>>, DatastoreError> {
        let Some(entry) = self.get(&keys::handle(id)).await? else { return Ok(None) };
        Ok(Some(Versioned { value: parse(&entry, "handle")?, revision: entry.revision }))
    }

    /// All handles of the cluster.
    pub(crate) async fn handles(&self) -> Result<Vec<(HandleId, Versioned<IpamHandle>)>, DatastoreError> {
        let entries = self.list(keys::HANDLES).await?;
        Ok(entries
            .iter()
            .filter_map(|entry| {
                let id = keys::parse_handle(&entry.key)?;
                let value =
                    parse(entry, "handle").map_err(|error| tracing::warn!(%error, "handle is left alone"));
                Some((id, Versioned { value: value.ok()?, revision: entry.revision }))
            })
            .collect())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Entry>, DatastoreError> {
        self.store.get(key).await.map_err(DatastoreError::call(format!("read {key}")))
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Entry>, DatastoreError> {
        let list = self.store.list(prefix).await.map_err(DatastoreError::call(format!("list {prefix}")))?;
        Ok(list.entries)
    }

    /// Writes all or nothing (or, on stores without transactions, a prefix and perhaps what has the kind of the first one that is
    /// missing); a false condition is no error.
    pub(crate) async fn commit(&self, ops: Vec<Op>) -> Result<Written, DatastoreError> {
        if self.store.has_transactions() && ops.len() > 1 {
            let count = ops.len();
            let doing =
                format!("write {} keys, {} and others", count, ops.first().map(Op::key).unwrap_or_default());
            return match self.store.commit(ops).await {
                Ok(revision) => Ok(Written { revisions: vec![revision; count], lost: None }),
                Err(StoreError::Conflict { key, .. }) => {
                    Ok(Written { revisions: Vec::new(), lost: Some(key) })
                }
                Err(error) => Err(DatastoreError::call(doing)(error)),
            };
        }
        let mut written = Written::default();
        let mut ops = ops.into_iter().peekable();
        while let Some(first) = ops.next() {
            // Neighbours of one kind do not depend on each other: the handles of a batch, the blocks of both families. What is
            // written beside a lost one is not counted, and read again when its revision turns out to be another.
            let kind = Kind::of(&first);
            let mut together = vec![first];
            together.extend(std::iter::from_fn(|| ops.next_if(|op| kind.is_some() && Kind::of(op) == kind)));
            let names: Vec<String> = together.iter().map(|op| op.key().to_owned()).collect();
            let outcomes = join_all(together.into_iter().map(|op| self.write(op))).await;
            for (key, outcome) in names.into_iter().zip(outcomes) {
                match outcome? {
                    Some(revision) => written.revisions.push(revision),
                    None => {
                        written.lost = Some(key);
                        return Ok(written);
                    }
                }
            }
        }
        Ok(written)
    }

    /// One write; answers its revision, or nothing if its condition is not true.
    pub(crate) async fn write(&self, op: Op) -> Result<Option<u64>, DatastoreError> {
        let doing = format!("write {}", op.key());
        match self.store.commit(vec![op]).await {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(DatastoreError::call(doing)(error)),
        }
    }
}

/// What may be written in any order among itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Handle,
    Block,
}

impl Kind {
    fn of(op: &Op) -> Option<Self> {
        if op.key().starts_with(keys::HANDLES) {
            Some(Self::Handle)
        } else {
            keys::parse_block(op.key()).map(|_| Self::Block)
        }
    }
}

pub(crate) fn put<T: serde::Serialize>(key: String, value: &T, when: Precondition) -> Op {
    let value = serde_json::to_vec(value).expect("IPAM's types have string keys only").into();
    Op::Put { key, value, when, ttl: None }
}

pub(crate) fn put_block(block: &Block, when: Precondition) -> Op {
    put(keys::block(block.cidr()), block.as_stored(), when)
}

pub(crate) fn delete(key: String, revision: u64) -> Op {
    Op::Delete { key, when: Precondition::Revision(revision) }
}

pub(crate) fn put_affinity(owner: &Owner, cidr: Cidr, state: &str, when: Precondition) -> Op {
    let value = BlockAffinity { state: state.to_owned(), deleted: false };
    put(keys::affinity(owner, cidr), &value, when)
}

/// Old affinities have no value at all.
fn parse_affinity(entry: &Entry) -> Result<Versioned<BlockAffinity>, DatastoreError> {
    let value =
        if entry.value.is_empty() { BlockAffinity::default() } else { parse(entry, "block affinity")? };
    Ok(Versioned { value, revision: entry.revision })
}

pub(crate) fn parse<T: DeserializeOwned>(entry: &Entry, what: &'static str) -> Result<T, DatastoreError> {
    serde_json::from_slice(&entry.value).map_err(|e| DatastoreError::Malformed {
        key: entry.key.to_string(),
        what,
        reason: e.to_string(),
    })
}
