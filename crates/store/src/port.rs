//! The port: get, list, watch, compare-and-swap.
//!
//! What every implementation promises (and `tortie-store-suite` checks):
//! - a key is a non-empty string; a prefix is a plain string prefix (`/a/b` covers `/a/bc`, `/a/b/` does not);
//! - one revision counter orders all changes; a commit that changes something takes exactly one revision;
//! - reads and lists see every write acknowledged before they were started;
//! - a watch delivers all changes after its revision, in order, each once; all changes of one revision under the
//!   prefix arrive in one [`WatchItem::Events`]; a store without transactions orders the changes of each kind of
//!   object, and brings those of different kinds as they come;
//! - no call hangs: it answers, or fails with [`StoreError::Unavailable`] after a few seconds. A commit that failed so
//!   may have happened: read before trying again.

use bytes::Bytes;
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A boxed future, so that the port can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path.
    pub key: Arc<str>,
    /// Value, usually JSON.
    pub value: Bytes,
    /// Revision of its last change.
    pub revision: u64,
}

/// A consistent list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Entries in key order.
    pub entries: Vec<Entry>,
    /// Revision of the store at which the list was true; a watch continues from here.
    pub revision: u64,
    /// Beginnings of keys that we are not permitted to read: of these the list says nothing. A watch ends as soon as
    /// one of them may be read, so that the next list is complete.
    pub unread: Vec<String>,
}

/// What must be true for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    Any,
    /// The key does not exist.
    Absent,
    /// The key's last change is this revision (0 = the key does not exist).
    Revision(u64),
}

/// A change seen by a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key has this value now.
    Put(Entry),
    /// The key is gone since `revision`.
    Delete {
        /// Path.
        key: Arc<str>,
        /// Revision of the deletion.
        revision: u64,
    },
}

/// An item of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// Changes in order of revision.
    Events(Vec<Event>),
    /// All changes up to this revision have been delivered (also sent when nothing in the prefix changed).
    Progress(u64),
}

/// A running watch. Dropping it ends the watch.
pub trait Watch: Send {
    /// The next item. An error ends the watch; the caller lists again and starts a new one.
    fn next(&mut self) -> BoxFuture<'_, Result<WatchItem, StoreError>>;
}

/// What can go wrong with a datastore.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The precondition of a write was not true.
    #[error("{key} was changed by another writer")]
    Conflict {
        /// Path.
        key: String,
        /// The entry as it is now, if the store knows it.
        current: Option<Entry>,
    },
    /// The revision to watch from is no longer known.
    #[error("revision {requested} has been compacted away (oldest is {oldest})")]
    Compacted {
        /// Revision asked for.
        requested: u64,
        /// Oldest revision that can be watched from.
        oldest: u64,
    },
    /// The datastore cannot be reached.
    #[error("datastore {endpoint} cannot be reached while doing {doing}: {reason}")]
    Unavailable {
        /// Where.
        endpoint: String,
        /// What was being done.
        doing: String,
        /// Why not.
        reason: String,
    },
    /// The credentials do not allow it.
    #[error("datastore {endpoint} refused {doing}: {reason}")]
    Denied {
        /// Where.
        endpoint: String,
        /// What was being done.
        doing: String,
        /// Why not.
        reason: String,
    },
    /// The request itself is wrong; it will never succeed as it is.
    #[error("invalid {doing}: {reason}")]
    Invalid {
        /// What was asked for.
        doing: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The stored data or an answer makes no sense.
    #[error("datastore {endpoint}: {reason}")]
    Corrupt {
        /// Where.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// True if the same call may succeed later without anything being changed by the caller.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Write a value.
    Put {
        /// Path.
        key: String,
        /// Value.
        value: Bytes,
        /// Condition.
        when: Precondition,
        /// Remove the key by itself after this time unless written again.
        ttl: Option<Duration>,
    },
    /// Remove a key; removing what is not there is no error under `Precondition::Any`.
    Delete {
        /// Path.
        key: String,
        /// Condition.
        when: Precondition,
    },
}

impl Op {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// Refuses what no store accepts: an empty key, a key that occurs twice, a time to live of nothing.
    pub fn check(ops: &[Self]) -> Result<(), StoreError> {
        let invalid = |key: &str, reason: &str| {
            Err(StoreError::Invalid { doing: format!("write of {key:?}"), reason: reason.to_owned() })
        };
        let mut keys = HashSet::with_capacity(ops.len());
        for op in ops {
            match op {
                _ if op.key().is_empty() => return invalid("", "a key must not be empty"),
                _ if !keys.insert(op.key()) => {
                    return invalid(op.key(), "the key occurs twice in one commit");
                }
                Self::Put { key, ttl: Some(Duration::ZERO), .. } => {
                    return invalid(key, "the time to live must be more than nothing");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The condition of the write.
    pub fn when(&self) -> Precondition {
        match self {
            Self::Put { when, .. } | Self::Delete { when, .. } => *when,
        }
    }
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// Revision of the change.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// A datastore.
pub trait Store: Send + Sync {
    /// False if [`Store::commit`] applies several writes one by one. The revision that it answers is then that of the
    /// last one only.
    fn has_transactions(&self) -> bool {
        true
    }

    /// True if a watch tells all changes in the order of their revisions. A store in which a prefix may span several
    /// resources, each with a stream of its own (Kubernetes), keeps that order for each key only, and then:
    /// - a list's revision is the least of those at which its parts were read; a watch from there tells again what
    ///   parts that were read later show already, deletions too;
    /// - [`WatchItem::Progress`] is told once every part has come that far: only that is a place to go on from;
    /// - when one part's history is gone the whole watch ends with [`StoreError::Compacted`].
    fn is_ordered(&self) -> bool {
        true
    }

    /// The value of one key.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// All keys that start with `prefix`, as of one revision.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>>;

    /// Applies all writes at once, or none of them; answers the new revision.
    ///
    /// A key may occur once only, and etcd takes at most 128 writes and 1.5 MiB in one commit unless it is told
    /// otherwise. When nothing changes (a deletion of nothing) the answer is the present revision.
    /// On a conflict the error names the first key whose precondition was not true. A store without multi-key
    /// transactions (Kubernetes) applies them in order and stops at the first error: order writes so that a prefix
    /// of them is harmless.
    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Changes of keys under `prefix` after `revision`, in order.
    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>>;
}
