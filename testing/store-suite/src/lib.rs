//! What every datastore must do, as tests over `Arc<dyn Store>`.
//!
//! [`conformance!`] and [`survival!`] make one test per case for a kind of store, given as a function that makes a fresh
//! [`Subject`]. A case fails by panicking, with the difference; it never waits for longer than [`PATIENCE`].
//!
//! It must not know how a store works inside: only the port, and the faults that can be done to a store from outside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a case fails by panicking")]

pub mod cases;
pub mod etcd;
pub mod kube;
pub mod proxy;
pub mod served;

use bytes::Bytes;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tortie_store::{BoxFuture, Event, Op, Precondition, Store, StoreError, Watch, WatchItem};

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A fresh store, and what can be done to it.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What can be done to it.
    pub faults: Box<dyn Faults>,
    /// True if nobody else writes to the store: then a commit has the revision after the last.
    pub alone: bool,
    /// Kept until the end: directories, processes.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// What can be done to a store from outside.
pub trait Faults: Send + Sync {
    /// Forgets the history up to a revision.
    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Another user of the same store, with a connection of its own if the store has connections.
    fn another(&self) -> BoxFuture<'_, Arc<dyn Store>>;

    /// Kills the store's process (SIGKILL). Only for [`survival!`].
    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { panic!("this store has no process") })
    }

    /// Starts the process again on the same data, and waits until it answers.
    fn start(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { panic!("this store has no process") })
    }
}

/// One test per case that every store must pass. The argument is an async function that makes a [`Subject`].
#[macro_export]
macro_rules! conformance {
    ($subject:path) => {
        $crate::cases! { $subject;
            basic::{
                a_key_comes_back, binary_values_come_back, an_empty_store_is_listed, prefixes_are_plain_strings,
                ten_thousand_keys_are_listed_in_order, a_long_list_is_of_one_revision, wrong_commits_are_refused,
                a_deletion_of_nothing_changes_nothing, keys_end_with_their_time_to_live,
            }
            writing::{
                conditions_are_exact, a_refused_commit_leaves_no_trace, no_update_is_lost_among_many_writers,
                one_of_many_creators_wins, commits_of_many_keys_are_never_seen_in_part,
            }
            watching::{
                a_watch_has_all_changes_in_order, a_watch_starts_where_a_list_ended,
                a_watch_sees_its_prefix_only, a_commit_arrives_in_one_piece, watches_see_every_writer,
                list_and_watch_agree_while_all_changes, a_revision_too_old_is_refused,
                a_running_watch_outlives_compaction, a_watch_may_be_dropped, a_large_commit_arrives,
            }
        }
    };
}

/// One test per case that stores must pass which write the keys of a commit one by one, forget no key by themselves,
/// and cannot be made to forget history.
#[macro_export]
macro_rules! plain_conformance {
    ($subject:path) => {
        $crate::cases! { $subject;
            basic::{
                a_key_comes_back, binary_values_come_back, an_empty_store_is_listed, prefixes_are_plain_strings,
                ten_thousand_keys_are_listed_in_order, a_long_list_is_of_one_revision, wrong_commits_are_refused,
                a_deletion_of_nothing_changes_nothing,
            }
            writing::{
                conditions_are_exact, no_update_is_lost_among_many_writers, one_of_many_creators_wins,
                a_commit_stops_at_its_first_error,
            }
            watching::{
                a_watch_has_all_changes_in_order, a_watch_starts_where_a_list_ended,
                a_watch_sees_its_prefix_only, watches_see_every_writer,
                list_and_watch_agree_while_all_changes, a_running_watch_outlives_compaction,
                a_watch_may_be_dropped, a_large_commit_arrives,
            }
        }
    };
}

/// One test per case for stores whose process can be killed, and which forget no key by themselves.
#[macro_export]
macro_rules! plain_survival {
    ($subject:path) => {
        $crate::cases! { $subject;
            survival::{
                acknowledged_writes_survive_a_kill, calls_end_while_the_store_is_away,
                a_watch_ends_with_the_store_and_goes_on_after,
            }
        }
    };
}

/// One test per case for stores whose process can be killed.
#[macro_export]
macro_rules! survival {
    ($subject:path) => {
        $crate::cases! { $subject;
            survival::{
                acknowledged_writes_survive_a_kill, calls_end_while_the_store_is_away,
                a_watch_ends_with_the_store_and_goes_on_after, deadlines_survive_a_kill,
            }
        }
    };
}

/// Makes the tests of [`conformance!`] and [`survival!`].
#[doc(hidden)]
#[macro_export]
macro_rules! cases {
    ($subject:path; $($module:ident::{$($case:ident),* $(,)?})*) => {
        $(mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    // Nothing where the programs of a store may be missing.
                    let subject: Option<$crate::Subject> = $subject().await.into();
                    if let Some(subject) = subject {
                        $crate::cases::$module::$case(&subject).await;
                    }
                }
            )*
        })*
    };
}

// === Words that the cases share ===

/// Waits, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

/// A write without a condition.
pub fn put(key: &str, value: impl Into<Bytes>) -> Op {
    put_when(key, value, Precondition::Any)
}

/// A write with a condition.
pub fn put_when(key: &str, value: impl Into<Bytes>, when: Precondition) -> Op {
    Op::Put { key: key.to_owned(), value: value.into(), when, ttl: None }
}

/// A removal.
pub fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned(), when: Precondition::Any }
}

impl Subject {
    /// Commits what must succeed.
    pub async fn commit(&self, ops: Vec<Op>) -> u64 {
        soon("a commit", self.store.commit(ops)).await.unwrap()
    }

    /// Starts a watch that must start.
    pub async fn watch(&self, prefix: &str, revision: u64) -> Watching {
        Watching(soon("a watch", self.store.watch(prefix, revision)).await.unwrap())
    }

    /// The present revision.
    pub async fn revision(&self) -> u64 {
        soon("a list", self.store.list("/nothing/here")).await.unwrap().revision
    }

    /// The second commit came after the first, and right after it if nobody else writes.
    pub fn assert_next(&self, first: u64, second: u64) {
        if self.alone {
            assert_eq!(second, first + 1);
        } else {
            assert!(second > first, "{second} is not after {first}");
        }
    }

    /// As many, or fewer where each write is a request of its own.
    pub fn count(&self, many: usize, few: usize) -> usize {
        if self.store.has_transactions() { many } else { few }
    }

    /// Keys under a prefix.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let list = soon("a list", self.store.list(prefix)).await.unwrap();
        list.entries.iter().map(|entry| entry.key.to_string()).collect()
    }
}

/// A watch under test.
pub struct Watching(Box<dyn Watch>);

impl Watching {
    /// The next changes, without the reports in between.
    pub async fn changes(&mut self) -> Result<Vec<Event>, StoreError> {
        let changes = async {
            loop {
                if let WatchItem::Events(events) = self.0.next().await? {
                    assert!(!events.is_empty(), "an item without changes");
                    return Ok(events);
                }
            }
        };
        // Reports may keep coming while the changes do not.
        soon("a change", changes).await
    }

    /// So many changes; checks on the way that order and reports are right.
    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        soon(&format!("the arrival of {count} changes"), self.collect(count)).await
    }

    async fn collect(&mut self, count: usize) -> Vec<Event> {
        let (mut taken, mut reported) = (Vec::<Event>::new(), 0);
        while taken.len() < count {
            match self.0.next().await.unwrap() {
                WatchItem::Progress(revision) => {
                    assert!(revision >= reported, "progress went back from {reported} to {revision}");
                    reported = revision;
                }
                WatchItem::Events(events) => {
                    let first = events.first().unwrap().revision();
                    let last = taken.last().map_or(0, Event::revision);
                    assert!(first > last, "revision {first} in a new item after {last}");
                    assert!(first > reported, "revision {first} after progress {reported} was reported");
                    assert!(events.is_sorted_by_key(Event::revision), "out of order: {events:?}");
                    taken.extend(events);
                }
            }
        }
        assert_eq!(taken.len(), count, "more changes than there were: {taken:?}");
        taken
    }
}

/// Key and value of a change; no value for a removal.
pub fn brief(event: &Event) -> (&str, Option<&[u8]>) {
    match event {
        Event::Put(entry) => (&entry.key, Some(&entry.value)),
        Event::Delete { key, .. } => (key, None),
    }
}
