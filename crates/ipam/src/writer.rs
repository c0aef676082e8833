//! The task that owns the node's blocks: takes commands, forms batches, keeps the cache true.

use crate::cache::Cache;
use crate::datastore::{Datastore, Versioned};
use crate::facts::{Facts, Foreign, Freshness, Moment};
use crate::reconcile::{Mark, Reconciled};
use crate::{AssignError, AssignRequest, DatastoreError, HandleId, Release, ReleaseError, keys};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tortie_blocks::{Owner, PoolUsage, Timestamp};
use tortie_net::{Cidr, Family};
use tortie_store::Store;

/// How often a lost race is run again.
pub(crate) const RETRIES: usize = 100;

/// Requests that one transaction serves. Each writes a handle and at most two blocks; etcd's limit is 128 writes.
const BATCH: usize = 32;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What the writer must know.
#[derive(Clone)]
pub struct Settings {
    /// Name of this node.
    pub node: String,
    /// The time.
    pub clock: Clock,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("node", &self.node).finish_non_exhaustive()
    }
}

type Reply<T> = oneshot::Sender<T>;

/// What the writer is asked to do.
pub(crate) enum Command {
    Assign {
        request: Box<AssignRequest>,
        reply: Reply<Result<Vec<IpAddr>, AssignError>>,
    },
    ReleaseHandle {
        handle: HandleId,
        reply: Reply<Result<Vec<IpAddr>, ReleaseError>>,
    },
    ReleaseAddresses {
        addresses: Vec<Release>,
        reply: Reply<Result<Vec<IpAddr>, ReleaseError>>,
    },
    Mark {
        reply: Reply<Mark>,
    },
    Reconcile {
        mark: Mark,
        live: BTreeSet<HandleId>,
        in_use: BTreeSet<IpAddr>,
        reply: Reply<Result<Reconciled, ReleaseError>>,
    },
    ReleaseEmptyBlocks {
        reply: Reply<Result<Vec<Cidr>, ReleaseError>>,
    },
    Usage {
        reply: Reply<Result<Vec<PoolUsage>, ReleaseError>>,
    },
    Facts {
        reply: Reply<Result<Arc<Facts>, ReleaseError>>,
    },
}

/// A request of a batch with the place for its answer.
pub(crate) struct Pending<Q, E> {
    pub(crate) query: Q,
    pub(crate) reply: Reply<Result<Vec<IpAddr>, E>>,
}

impl<Q, E> Pending<Q, E> {
    /// Answers; a caller that has gone away is no concern of ours.
    pub(crate) fn answer(self, answer: Result<Vec<IpAddr>, E>) {
        let _ = self.reply.send(answer);
    }
}

pub(crate) type PendingAssign = Pending<Box<AssignRequest>, AssignError>;
pub(crate) type PendingRelease = Pending<HandleId, ReleaseError>;

/// Why a step failed: races or the datastore.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    Contention { key: String, attempts: usize },
    Datastore(DatastoreError),
}

impl From<DatastoreError> for Lost {
    fn from(error: DatastoreError) -> Self {
        Self::Datastore(error)
    }
}

impl From<Lost> for AssignError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Contention { key, attempts } => Self::Contention { key, attempts },
            Lost::Datastore(error) => Self::Datastore(error),
        }
    }
}

impl From<Lost> for ReleaseError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Contention { key, attempts } => Self::Contention { key, attempts },
            Lost::Datastore(error) => Self::Datastore(error),
        }
    }
}

/// The state of the task.
pub(crate) struct Writer {
    pub(crate) owner: Owner,
    pub(crate) datastore: Datastore,
    pub(crate) cache: Cache,
    clock: Clock,
    facts: Arc<Facts>,
    facts_at: Option<Moment>,
    /// What others have, and what of it the facts know.
    foreign: watch::Receiver<Arc<Foreign>>,
    own_at: Option<Moment>,
    fresh: Arc<Freshness>,
    _watches: JoinSet<()>,
    /// Assignments so far.
    pub(crate) assigned: u64,
    /// When handles were assigned, for those that a reconciliation might not know yet.
    pub(crate) recent: HashMap<HandleId, u64>,
    /// Handles without addresses, with the revision at which the last reconciliation saw them so.
    pub(crate) hollow: HashMap<HandleId, u64>,
}

impl Writer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        foreign: watch::Receiver<Arc<Foreign>>,
    ) -> Self {
        let (fresh, watches) = Freshness::watch(store.clone(), &settings.node);
        Self {
            owner: Owner::Host(settings.node),
            datastore: Datastore::new(store),
            cache: Cache::default(),
            clock: settings.clock,
            facts: Arc::default(),
            facts_at: None,
            foreign,
            own_at: None,
            fresh,
            _watches: watches,
            assigned: 0,
            recent: HashMap::new(),
            hollow: HashMap::new(),
        }
    }

    /// Serves commands until all callers are gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut waiting = Vec::with_capacity(BATCH);
        while commands.recv_many(&mut waiting, BATCH).await > 0 {
            self.serve(waiting.drain(..)).await;
        }
    }

    /// Assignments and releases of different handles may change places, so that each kind is one write.
    async fn serve(&mut self, commands: impl Iterator<Item = Command>) {
        let mut assigns: Vec<PendingAssign> = Vec::new();
        let mut releases: Vec<PendingRelease> = Vec::new();
        let mut handles: HashSet<HandleId> = HashSet::new();
        for command in commands {
            let handle = match &command {
                Command::Assign { request, .. } => Some(&request.handle),
                Command::ReleaseHandle { handle, .. } => Some(handle),
                _ => None,
            };
            if handle.is_none_or(|h| !handles.insert(h.clone())) {
                self.serve_batch(&mut releases, &mut assigns).await;
                handles.clear();
                handles.extend(handle.cloned());
            }
            match command {
                Command::Assign { request, reply } => assigns.push(Pending { query: request, reply }),
                Command::ReleaseHandle { handle, reply } => releases.push(Pending { query: handle, reply }),
                other => self.serve_alone(other).await,
            }
        }
        self.serve_batch(&mut releases, &mut assigns).await;
    }

    async fn serve_batch(&mut self, releases: &mut Vec<PendingRelease>, assigns: &mut Vec<PendingAssign>) {
        if !releases.is_empty() {
            self.release_batch(std::mem::take(releases)).await;
            self.cache.end_batch();
        }
        if !assigns.is_empty() {
            self.assign_batch(std::mem::take(assigns)).await;
            self.cache.end_batch();
        }
    }

    /// Callers that have gone away are no concern of ours.
    async fn serve_alone(&mut self, command: Command) {
        match command {
            Command::ReleaseAddresses { addresses, reply } => {
                let _ = reply.send(self.release_addresses(addresses).await);
            }
            Command::Mark { reply } => {
                let _ = reply.send(Mark(self.assigned));
            }
            Command::Reconcile { mark, live, in_use, reply } => {
                let _ = reply.send(self.reconcile(mark, live, &in_use).await);
            }
            Command::ReleaseEmptyBlocks { reply } => {
                let _ = reply.send(self.release_empty_blocks().await);
            }
            Command::Usage { reply } => {
                let _ = reply.send(self.usage().await);
            }
            Command::Facts { reply } => {
                let _ = reply.send(self.facts().await.map_err(ReleaseError::from));
            }
            Command::Assign { .. } | Command::ReleaseHandle { .. } => {}
        }
        self.cache.end_batch();
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from((self.clock)())
    }

    /// Nanoseconds since 1970.
    pub(crate) fn nanoseconds(&self) -> u64 {
        let since = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The facts, read again if they may have changed.
    pub(crate) async fn facts(&mut self) -> Result<Arc<Facts>, DatastoreError> {
        let moment = self.fresh.facts();
        // A sender that is gone has said all it had to say.
        if moment.is_none() || moment != self.facts_at || self.foreign.has_changed().unwrap_or(false) {
            let foreign = self.foreign.borrow_and_update().clone();
            self.facts_at = None;
            self.facts = Arc::new(Facts::load(&self.datastore, self.owner.name(), &foreign).await?);
            self.facts_at = moment;
        }
        Ok(self.facts.clone())
    }

    /// Own blocks, read again if the node's affinities may have changed.
    pub(crate) async fn own_blocks(&mut self) -> Result<(), Lost> {
        let moment = self.fresh.ownership();
        if moment.is_none() || moment != self.own_at {
            self.load_own().await?;
            self.own_at = moment;
        }
        Ok(())
    }

    /// Makes the next look at facts and own blocks read everything; false if that is what the last one did.
    pub(crate) fn distrust(&mut self) -> bool {
        let trusted = self.facts_at.is_some() || self.own_at.is_some() || !self.cache.own.is_empty();
        self.facts_at = None;
        self.distrust_blocks();
        trusted
    }

    pub(crate) fn distrust_blocks(&mut self) {
        self.own_at = None;
        self.cache.own.clear();
    }

    /// Reads one key again after a lost race.
    pub(crate) async fn reload(&mut self, key: &str) -> Result<(), DatastoreError> {
        if let Some(cidr) = keys::parse_block(key) {
            self.reload_block(cidr).await?;
        } else if let Some(handle) = keys::parse_handle(key) {
            self.reload_handle(&handle).await?;
        } else {
            self.distrust_blocks();
        }
        Ok(())
    }

    async fn reload_block(&mut self, cidr: Cidr) -> Result<(), DatastoreError> {
        let block = self.datastore.block(cidr).await?;
        let ours = self.cache.own.contains_key(&cidr);
        self.cache.forget_block(cidr);
        match block {
            Some(block) if ours && block.value.owner().as_ref() == Some(&self.owner) => {
                self.cache.own.insert(cidr, block);
            }
            other => {
                self.cache.visited.extend(other.map(|b| (cidr, b)));
                if ours {
                    self.own_at = None;
                }
            }
        }
        Ok(())
    }

    /// Reads a handle and the blocks that it names.
    pub(crate) async fn reload_handle(&mut self, handle: &HandleId) -> Result<(), DatastoreError> {
        let Some(record) = self.datastore.handle(handle).await? else {
            self.cache.handles.remove(handle);
            return Ok(());
        };
        self.visit_blocks_of(&record).await?;
        self.cache.handles.insert(handle.clone(), record);
        Ok(())
    }

    /// Makes the blocks of a handle known. A block that cannot be read is left out: nobody can change it anyway.
    pub(crate) async fn visit_blocks_of(
        &mut self,
        record: &Versioned<tortie_model::value::IpamHandle>,
    ) -> Result<(), DatastoreError> {
        let blocks: Vec<Cidr> = record.value.block.keys().filter_map(|text| text.parse().ok()).collect();
        for cidr in blocks {
            if self.cache.block(cidr).is_some() {
                continue;
            }
            match self.datastore.block(cidr).await {
                Ok(block) => self.cache.visited.extend(block.map(|b| (cidr, b))),
                Err(error @ DatastoreError::Malformed { .. }) => {
                    tracing::warn!(%error, "block of a handle is left alone");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn usage(&mut self) -> Result<Vec<PoolUsage>, ReleaseError> {
        let facts = self.facts().await?;
        let mut blocks = Vec::new();
        for family in Family::ALL {
            blocks.extend(self.datastore.blocks(family).await?.blocks.into_iter().map(|b| b.value));
        }
        Ok(facts.pools.iter().map(|p| PoolUsage::of(p, &blocks, &facts.reserved)).collect())
    }
}
