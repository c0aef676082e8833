//! The embedded store: one file, one writing thread, any number of readers and watches.
//!
//! Writes that wait at the same time share one transaction of the file (and one sync), yet each is atomic by itself and
//! takes its own revision. Reads go to the last committed state and wait for nobody.
//!
//! It must not know about sockets or processes, nor what keys and values mean.

mod expiry;
mod file;
mod history;
mod queue;
pub(crate) mod tables;
mod watching;
mod writer;

pub(crate) use file::create_with;
pub use watching::EngineWatch;

use crate::port::{BoxFuture, Entry, List, Op, Store, StoreError, Watch};
use bytes::Bytes;
use history::History;
use queue::{Job, Queue};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tables::{DATA, Position};
use tokio::sync::{oneshot, watch};

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk: it survives a loss of power.
    #[default]
    Disk,
    /// The kernel has it: it survives the sudden death of the process, not that of the machine.
    Process,
}

/// How to run an [`Engine`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The file; made if there is none.
    pub path: PathBuf,
    /// When a write counts as done.
    pub durability: Durability,
    /// Changes kept for watches from an old revision.
    pub history: u64,
    /// Memory for pages of the file, in bytes.
    pub cache_bytes: usize,
    /// How often a watch reports progress when nothing changes.
    pub idle_progress: Duration,
}

impl EngineConfig {
    /// The usual settings for a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::Disk,
            history: 10_000,
            cache_bytes: 32 << 20,
            idle_progress: Duration::from_secs(5),
        }
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading or writing failed.
    #[error("cannot {doing} the store file {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is a file without content.
    #[error(
        "store file {path} is empty: it was cut off or made by something else; restore a backup, or remove it to start anew"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Another program's file.
    #[error("{path} is not a store file; choose another path")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Made by another version.
    #[error("store file {path} has a format that this version does not know ({found})")]
    Format {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: String,
    },
    /// The content is broken.
    #[error("store file {path} is damaged ({reason}); restore a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is broken.
        reason: String,
    },
    /// Somebody has it open.
    #[error("store file {path} is in use by another process")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The database library refuses.
    #[error("store file {path} cannot be used")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// No thread for writing.
    #[error("cannot start the writing thread of the store")]
    Thread(#[source] std::io::Error),
}

/// Figures about a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Present revision.
    pub revision: u64,
    /// Oldest revision that can be watched from.
    pub compacted: u64,
    /// Number of keys.
    pub keys: u64,
    /// Changes in the log.
    pub log: u64,
    /// Running watches.
    pub watches: u64,
    /// Commits accepted since the start.
    pub commits: u64,
    /// Transactions of the file that they took.
    pub batches: u64,
    /// Commits refused because a precondition was not true, since the start.
    pub conflicts: u64,
}

/// The embedded store in this process. Clones share it; the file is free again when the last clone and the last watch
/// are gone.
#[derive(Clone, Debug)]
pub struct Engine {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    db: Database,
    path: PathBuf,
    endpoint: String,
    queue: Queue,
    history: History,
    counters: Counters,
    failure: OnceLock<String>,
    /// Turns true when nothing more will be written.
    ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    batches: AtomicU64,
    conflicts: AtomicU64,
}

impl Engine {
    /// Opens or makes the store.
    pub fn open(config: EngineConfig) -> Result<Self, OpenError> {
        let EngineConfig { path, durability, history, cache_bytes, idle_progress } = config;
        let db = file::open(&path, durability, cache_bytes)?;
        let database_error = |source| OpenError::Database { path: path.clone(), source: Box::new(source) };
        let (position, expiry) = load(&db).map_err(database_error)?;
        let shared = Arc::new(Shared {
            db,
            endpoint: format!("file {}", path.display()),
            path: path.clone(),
            queue: Queue::default(),
            history: History::new(position.revision),
            counters: Counters::default(),
            failure: OnceLock::new(),
            ended: watch::Sender::new(false),
        });
        let writer = writer::Writer::new(shared.clone(), position, expiry, history, idle_progress);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Self { handle: Arc::new(Handle { shared, thread: Some(thread) }) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared().path
    }

    /// The value of one key.
    pub fn read(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let shared = self.shared();
        let read = || -> Result<Option<Entry>, redb::Error> {
            let data = shared.db.begin_read()?.open_table(DATA)?;
            Ok(data.get(key)?.map(|guard| entry(key, guard.value())))
        };
        read().map_err(|error| shared.broken(&format!("get {key}"), error))
    }

    /// All keys that start with `prefix`, as of one revision.
    pub fn read_all(&self, prefix: &str) -> Result<List, StoreError> {
        let shared = self.shared();
        let read = || -> Result<List, redb::Error> {
            let txn = shared.db.begin_read()?;
            let revision = tables::position(&txn)?.revision;
            let mut entries = Vec::new();
            for row in txn.open_table(DATA)?.range(prefix..)? {
                let (key, value) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                entries.push(entry(key.value(), value.value()));
            }
            Ok(List { entries, revision, unread: Vec::new() })
        };
        read().map_err(|error| shared.broken(&format!("list {prefix}"), error))
    }

    /// Hands a commit to the writer; `reply` is called on the writer's thread and must not block.
    pub fn submit(&self, ops: Vec<Op>, reply: impl FnOnce(Result<u64, StoreError>) + Send + 'static) {
        if let Err(error) = check(&ops) {
            return reply(Err(error));
        }
        let refused = self.shared().queue.push(Job::Commit { ops, reply: Box::new(reply) });
        if let Err((job, reason)) = refused {
            self.refuse(job, "commit", reason);
        }
    }

    fn refuse(&self, job: Job, doing: &str, reason: &str) {
        let reason = self.shared().failure.get().map_or(reason, String::as_str);
        job.refuse(self.shared().unavailable(doing, reason));
    }

    /// Changes of keys under `prefix` after `revision`.
    pub fn subscribe(&self, prefix: &str, revision: u64) -> Result<EngineWatch, StoreError> {
        EngineWatch::new(self.shared().clone(), prefix, revision)
    }

    /// Forgets the changes up to `revision` (at most the present one): watches cannot start before it any more.
    pub async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let reply = Box::new(move |result| drop(reply.send(result)));
        if let Err((job, reason)) = self.shared().queue.push(Job::Compact { revision, reply }) {
            self.refuse(job, "compact", reason);
        }
        self.answer("compact", answer).await.map(|_| ())
    }

    /// Figures.
    pub fn status(&self) -> Result<Status, StoreError> {
        let shared = self.shared();
        let read = || -> Result<Status, redb::Error> {
            let txn = shared.db.begin_read()?;
            let Position { revision, compacted, log_len } = tables::position(&txn)?;
            let keys = txn.open_table(DATA)?.len()?;
            let counters = &shared.counters;
            Ok(Status {
                revision,
                compacted,
                keys,
                log: log_len,
                watches: shared.history.watches() as u64,
                commits: counters.commits.load(Ordering::Relaxed),
                batches: counters.batches.load(Ordering::Relaxed),
                conflicts: counters.conflicts.load(Ordering::Relaxed),
            })
        };
        read().map_err(|error| shared.broken("status", error))
    }

    /// Waits until the store can write no more, and says why. The file must be opened anew then.
    pub async fn failed(&self) -> String {
        let mut ended = self.shared().ended.subscribe();
        // The sender lives in `shared`: this ends only with the writer.
        let _ = ended.wait_for(|ended| *ended).await;
        self.shared().failure.get().cloned().unwrap_or_else(|| "closed".to_owned())
    }

    /// A consistent view of the tables.
    pub(crate) fn snapshot(&self) -> Result<redb::ReadTransaction, redb::Error> {
        Ok(self.shared().db.begin_read()?)
    }

    async fn answer(
        &self,
        doing: &str,
        answer: oneshot::Receiver<Result<u64, StoreError>>,
    ) -> Result<u64, StoreError> {
        answer.await.unwrap_or_else(|_| Err(self.shared().unavailable(doing, "the store was closed")))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
        // The writer never waits for anything but the queue and the disk. It may itself drop the last handle, in a reply.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.shared.path.display(), "the writing thread of the store panicked");
        }
    }
}

impl Shared {
    fn unavailable(&self, doing: &str, reason: impl Into<String>) -> StoreError {
        let (endpoint, doing) = (self.endpoint.clone(), doing.to_owned());
        StoreError::Unavailable { endpoint, doing, reason: reason.into() }
    }

    /// An error of the file, as a caller sees it.
    fn broken(&self, doing: &str, error: redb::Error) -> StoreError {
        let endpoint = self.endpoint.clone();
        match error {
            redb::Error::Corrupted(reason) => StoreError::Corrupt { endpoint, reason },
            other => self.unavailable(doing, other.to_string()),
        }
    }
}

fn load(db: &Database) -> Result<(Position, expiry::Expiry), redb::Error> {
    let txn = db.begin_read()?;
    let position = tables::position(&txn)?;
    let mut expiry = expiry::Expiry::default();
    let (now, now_wall) = (std::time::Instant::now(), expiry::wall_now());
    for row in txn.open_table(tables::TTL)?.iter()? {
        let (key, value) = row?;
        let (deadline, ttl) = value.value();
        expiry.set(key.value().into(), now + expiry::remaining(deadline, ttl, now_wall));
    }
    Ok((position, expiry))
}

fn entry(key: &str, (revision, value): (u64, &[u8])) -> Entry {
    Entry { key: key.into(), value: Bytes::copy_from_slice(value), revision }
}

/// Longest key in bytes.
pub const MAX_KEY: usize = 8 << 10;
/// Largest commit: bytes of all keys and values.
pub const MAX_COMMIT: usize = 16 << 20;
/// Writes in one commit, at most.
pub const MAX_OPS: usize = 64 << 10;
/// Longest time to live.
const MAX_TTL: Duration = Duration::from_hours(10 * 365 * 24);

/// What can be said about a commit without looking at the data.
fn check(ops: &[Op]) -> Result<(), StoreError> {
    Op::check(ops)?;
    let invalid = |key: &str, reason: String| {
        let key: String = key.chars().take(64).collect();
        Err(StoreError::Invalid { doing: format!("write of {key:?}"), reason })
    };
    let first = ops.first().map_or("", Op::key);
    if ops.len() > MAX_OPS {
        return invalid(first, format!("a commit has at most {MAX_OPS} writes, this one has {}", ops.len()));
    }
    let mut bytes = 0;
    for op in ops {
        let key = op.key();
        if key.len() > MAX_KEY {
            return invalid(key, format!("a key has at most {MAX_KEY} bytes, this one has {}", key.len()));
        }
        bytes += key.len();
        if let Op::Put { value, ttl, .. } = op {
            bytes += value.len();
            if ttl.is_some_and(|ttl| ttl > MAX_TTL) {
                return invalid(key, "the time to live must be less than ten years".into());
            }
        }
    }
    if bytes > MAX_COMMIT {
        return invalid(first, format!("a commit has at most {MAX_COMMIT} bytes, this one has {bytes}"));
    }
    Ok(())
}

// === impl Store ===

impl Store for Engine {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move { self.read(key) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            let (engine, prefix) = (self.clone(), prefix.to_owned());
            // A long list takes milliseconds: too long for a thread that serves others.
            let list = tokio::task::spawn_blocking(move || engine.read_all(&prefix));
            list.await.unwrap_or_else(|error| Err(self.shared().unavailable("list", error.to_string())))
        })
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            // Nobody listens any more if the caller was dropped: the commit is made all the same.
            self.submit(ops, move |result| drop(reply.send(result)));
            self.answer("commit", answer).await
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let watch = self.subscribe(prefix, revision)?;
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }
}

#[cfg(test)]
mod tests;
