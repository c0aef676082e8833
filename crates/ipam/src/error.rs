//! Why addresses were not assigned or released.
//!
//! The errors are shared by all requests of a batch, hence the `Arc`s.

use crate::{HandleId, PoolRef};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_blocks::{PoolUsage, SelectError};
use tortie_net::{Cidr, Family};
use tortie_store::StoreError;

/// The datastore failed, or holds something that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatastoreError {
    /// A call failed.
    #[error("cannot {doing}")]
    Call {
        /// What was being done.
        doing: String,
        /// Why not.
        source: Arc<StoreError>,
    },
    /// A value makes no sense.
    #[error("{key} holds no valid {what}: {reason}")]
    Malformed {
        /// Path.
        key: String,
        /// What should be there.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl DatastoreError {
    pub(crate) fn call(doing: impl Into<String>) -> impl FnOnce(StoreError) -> Self {
        let doing = doing.into();
        move |source| Self::Call { doing, source: Arc::new(source) }
    }

    /// True if the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_transient())
    }
}

/// Why a request got no addresses. None of its addresses is assigned, unless the datastore failed: then the same
/// request may be repeated, or its handle released.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AssignError {
    /// The handle cannot be stored.
    #[error("{handle:?} is no handle: it must be a name without slashes, <network>.<container id>")]
    Handle {
        /// The handle.
        handle: HandleId,
    },
    /// There are no pools to choose from.
    #[error(transparent)]
    Pools(#[from] SelectError),
    /// A pool was asked for by a name that does not exist.
    #[error("the requested IPPool {pool} does not exist{}", list(" (there are: ", known, ")"))]
    UnknownPool {
        /// The pool as asked for.
        pool: PoolRef,
        /// Names of all pools.
        known: Vec<String>,
    },
    /// No pool suits node, namespace and use.
    #[error("no IPPool of family {family} may be used on node {node}{}{}", if *node_known { "" } else { " (which has no Node object, so no labels)" }, list(": ", rejected, ""))]
    NoMatch {
        /// The family.
        family: Family,
        /// This node.
        node: String,
        /// The node's object exists.
        node_known: bool,
        /// The pools and why they do not suit.
        rejected: Vec<String>,
    },
    /// All suitable pools are full.
    #[error("no free address of family {family}{}{}; add an IPPool or delete pods", if *strict { " in blocks of this node, and strictAffinity forbids borrowing" } else { "" }, list(": ", pools, ""))]
    Full {
        /// The family.
        family: Family,
        /// How full the pools are.
        pools: Vec<PoolUsage>,
        /// Borrowing from other nodes was not allowed.
        strict: bool,
    },
    /// The node owns as many blocks as it may.
    #[error(
        "node {node} has no free address of family {family} and owns {limit} blocks already, the most that maxBlocksPerHost allows"
    )]
    BlockLimit {
        /// The family.
        family: Family,
        /// This node.
        node: String,
        /// The limit.
        limit: usize,
    },
    /// The node may not claim blocks by itself.
    #[error(
        "node {node} has no free address of family {family}, and claiming blocks is disabled (autoAllocateBlocks of the IPAM configuration)"
    )]
    NoAutoAllocate {
        /// The family.
        family: Family,
        /// This node.
        node: String,
    },
    /// A wanted address lies in no enabled pool.
    #[error("the requested address {addr} is not in an enabled IPPool")]
    NotInPool {
        /// The address.
        addr: IpAddr,
    },
    /// A wanted address lies in a pool for other purposes.
    #[error(
        "the requested address {addr} is in IPPool {pool}, whose allowedUses do not include {intended_use}"
    )]
    NotAllowed {
        /// The address.
        addr: IpAddr,
        /// The pool.
        pool: String,
        /// The use.
        intended_use: &'static str,
    },
    /// A wanted address belongs to somebody.
    #[error("the requested address {addr} is taken by {by}")]
    Taken {
        /// The address.
        addr: IpAddr,
        /// The owner, in words.
        by: String,
    },
    /// A wanted address lies in another node's block.
    #[error(
        "the requested address {addr} is in block {block} of {owner}, and strictAffinity forbids borrowing it"
    )]
    NotAffine {
        /// The address.
        addr: IpAddr,
        /// The block.
        block: Cidr,
        /// Its owner.
        owner: String,
    },
    /// Others changed the same data again and again.
    #[error("gave up after {attempts} lost races for {key}; too many nodes compete, try again later")]
    Contention {
        /// Where it happened last.
        key: String,
        /// How often.
        attempts: usize,
    },
    /// The datastore failed.
    #[error(transparent)]
    Datastore(#[from] DatastoreError),
    /// The writer is gone.
    #[error("address management has stopped")]
    Stopped,
}

/// Why addresses were not released.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The handle cannot have been stored.
    #[error("{handle:?} is no handle: it must be a name without slashes, <network>.<container id>")]
    Handle {
        /// The handle.
        handle: HandleId,
    },
    /// A belief of the caller is wrong.
    #[error(transparent)]
    Refused(#[from] tortie_blocks::ReleaseError),
    /// Others changed the same data again and again.
    #[error("gave up after {attempts} lost races for {key}; too many nodes compete, try again later")]
    Contention {
        /// Where it happened last.
        key: String,
        /// How often.
        attempts: usize,
    },
    /// The datastore failed.
    #[error(transparent)]
    Datastore(#[from] DatastoreError),
    /// The writer is gone.
    #[error("address management has stopped")]
    Stopped,
}

impl AssignError {
    /// True if the same request may succeed later without anything being changed by people.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Datastore(error) => error.is_transient(),
            Self::Contention { .. } => true,
            _ => false,
        }
    }
}

/// Joins items with semicolons between a head and a tail; nothing for no items.
fn list<T: ToString>(head: &str, items: &[T], tail: &str) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("{head}{}{tail}", items.join("; "))
}
