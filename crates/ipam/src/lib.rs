//! The address management of one node: assigns and releases addresses from blocks in the datastore.
//!
//! Each node has one writer, a task that owns the node's blocks. Requests that arrive while it writes are answered by
//! its next write together: one transaction for many pods. Nodes meet only where they want the same block, and there
//! compare-and-swap decides. Data and claim protocol are Calico's, so that both can work on one datastore.
//!
//! What holds at every moment, also after a crash between any two writes:
//! * an address belongs to one handle at most;
//! * an address that is taken is found through its handle (handles are written before blocks, and removed after);
//! * a request that is repeated with the same handle gets the same addresses.
//!
//! What a crash leaves behind (a handle without addresses, an affinity without block) is removed by
//! [`Ipam::reconcile`], which must be told which handles live. This crate does not know what a pod is.

mod acquire;
mod assign;
mod cache;
mod claim;
mod datastore;
mod error;
mod facts;
mod keys;
mod plan;
mod reconcile;
mod release;
mod request;
mod writer;

pub use error::{AssignError, DatastoreError, ReleaseError};
pub use facts::{Facts, Foreign};
pub use reconcile::{Mark, Reconciled};
pub use request::{AssignRequest, Counts, PoolRef};
pub use tortie_blocks::{AllowedUse, HandleId, PoolUsage, Release};
pub use writer::{Clock, Settings};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::{mpsc, oneshot, watch};
use tortie_net::Cidr;
use tortie_store::Store;
use writer::{Command, Writer};

/// Requests that may wait for the writer. Callers beyond that wait for a place.
const QUEUE: usize = 1024;

/// The node's addresses. Cheap to clone; the writer ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Ipam {
    queue: mpsc::Sender<Command>,
    foreign: watch::Sender<Arc<Foreign>>,
    sources: Arc<Mutex<BTreeMap<&'static str, Foreign>>>,
}

impl Ipam {
    /// Starts the writer of a node on the current tokio runtime.
    pub fn new(store: Arc<dyn Store>, node: impl Into<String>) -> Self {
        Self::with_settings(store, Settings { node: node.into(), clock: Arc::new(SystemTime::now) })
    }

    /// As [`Ipam::new`], with a clock of one's own.
    pub fn with_settings(store: Arc<dyn Store>, settings: Settings) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE);
        let (foreign, known) = watch::channel(Arc::default());
        tokio::spawn(Writer::new(store, settings, known).run(commands));
        Self { queue, foreign, sources: Arc::default() }
    }

    /// Says which addresses are others', though a pool may hold them, as far as one source knows: what it said before is
    /// forgotten. Holds for every request that is made later.
    pub fn set_foreign(&self, source: &'static str, foreign: Foreign) {
        let foreign = {
            // Nobody can leave the map half changed.
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            sources.insert(source, foreign);
            let mut all = Foreign::default();
            for one in sources.values() {
                all.networks.extend(&one.networks);
                all.addresses.extend(&one.addresses);
            }
            all
        };
        self.foreign.send_if_modified(|known| {
            let news = **known != foreign;
            if news {
                *known = Arc::new(foreign);
            }
            news
        });
    }

    /// Assigns the wanted addresses, IPv4 before IPv6: all of them, or none.
    ///
    /// Repeating a request that was answered, or that failed half-way because the datastore went away, gives the
    /// addresses that its handle holds already.
    pub async fn assign(&self, request: AssignRequest) -> Result<Vec<IpAddr>, AssignError> {
        if !request.handle.is_storable() {
            return Err(AssignError::Handle { handle: request.handle });
        }
        self.ask(|reply| Command::Assign { request: Box::new(request), reply })
            .await
            .ok_or(AssignError::Stopped)?
    }

    /// Releases all addresses of a handle and answers which they were. No addresses is no error.
    pub async fn release_by_handle(&self, handle: &HandleId) -> Result<Vec<IpAddr>, ReleaseError> {
        let handle = handle.clone();
        if !handle.is_storable() {
            return Err(ReleaseError::Handle { handle });
        }
        self.ask(|reply| Command::ReleaseHandle { handle, reply }).await.ok_or(ReleaseError::Stopped)?
    }

    /// Releases single addresses; answers those that were not assigned. Refused as a whole per block if a handle or a
    /// sequence number is given that is no longer true.
    pub async fn release_ips(&self, addresses: Vec<Release>) -> Result<Vec<IpAddr>, ReleaseError> {
        self.ask(|reply| Command::ReleaseAddresses { addresses, reply }).await.ok_or(ReleaseError::Stopped)?
    }

    /// A moment to compare with: take it before collecting the live handles for [`Ipam::reconcile`].
    pub async fn mark(&self) -> Result<Mark, ReleaseError> {
        self.ask(|reply| Command::Mark { reply }).await.ok_or(ReleaseError::Stopped)
    }

    /// Releases what this node's vanished containers left behind.
    ///
    /// `live` are the handles of all containers that existed at `mark`; handles that were assigned after it are left
    /// alone. Released are addresses that say they belong to a pod of this node and whose handle is not live;
    /// addresses of unknown purpose stay. A handle without addresses is removed when it was seen so in two calls.
    pub async fn reconcile(&self, mark: Mark, live: BTreeSet<HandleId>) -> Result<Reconciled, ReleaseError> {
        self.reconcile_sparing(mark, live, BTreeSet::new()).await
    }

    /// As [`Ipam::reconcile`]; a handle that holds one of the addresses `in_use` lives as well. For those who know that
    /// somebody has an address, and not by which container.
    pub async fn reconcile_sparing(
        &self,
        mark: Mark,
        live: BTreeSet<HandleId>,
        in_use: BTreeSet<IpAddr>,
    ) -> Result<Reconciled, ReleaseError> {
        self.ask(|reply| Command::Reconcile { mark, live, in_use, reply })
            .await
            .ok_or(ReleaseError::Stopped)?
    }

    /// Gives back the node's blocks that hold no address; answers which.
    pub async fn release_empty_blocks(&self) -> Result<Vec<Cidr>, ReleaseError> {
        self.ask(|reply| Command::ReleaseEmptyBlocks { reply }).await.ok_or(ReleaseError::Stopped)?
    }

    /// How full each pool is.
    pub async fn usage(&self) -> Result<Vec<PoolUsage>, ReleaseError> {
        self.ask(|reply| Command::Usage { reply }).await.ok_or(ReleaseError::Stopped)?
    }

    /// The pools, the node's labels and the settings as the writer sees them, with what is wrong with them.
    pub async fn facts(&self) -> Result<Arc<Facts>, ReleaseError> {
        self.ask(|reply| Command::Facts { reply }).await.ok_or(ReleaseError::Stopped)?
    }

    /// Sends a command and waits for its answer; `None` if the writer is gone.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
