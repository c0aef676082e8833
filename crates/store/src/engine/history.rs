//! Recent changes in memory, and who waits for them.
//!
//! A watch is a cursor, not a queue: it holds the revision it has delivered, and reads what comes after from here, or
//! from the log in the file when it has fallen far behind. A slow watch so costs nothing and blocks nobody; it ends
//! with [`StoreError::Compacted`](crate::StoreError::Compacted) once even the log has left it behind.

use crate::port::Event;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::watch;

/// Changes kept in memory, at most.
const RECENT_CHANGES: usize = 4096;
/// Bytes of keys and values kept in memory, at most (the newest change always stays).
const RECENT_BYTES: usize = 8 << 20;

/// One delivery: at most about this many changes and bytes, but always whole revisions.
pub(super) const DELIVERY_CHANGES: usize = 1024;
pub(super) const DELIVERY_BYTES: usize = 1 << 20;

/// What the watches of one prefix are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signal {
    /// Last revision that changed something under the prefix.
    pub(super) changed: u64,
    /// Revision up to which a watch may report progress.
    pub(super) progress: u64,
    /// Counts the reports due although nothing happened.
    pub(super) tick: u64,
}

/// A part of the history.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub(super) events: Vec<Event>,
    /// Everything up to this revision is in the slice.
    pub(super) upto: u64,
    /// True if there is more after it already.
    pub(super) more: bool,
}

#[derive(Debug)]
pub(super) struct History {
    recent: RwLock<Recent>,
    slots: Mutex<HashMap<Arc<str>, watch::Sender<Signal>>>,
}

#[derive(Debug)]
struct Recent {
    /// All changes after this revision are in `changes`.
    start: u64,
    /// Revision of the last commit that was made known.
    published: u64,
    changes: VecDeque<Event>,
    bytes: usize,
}

impl History {
    pub(super) fn new(revision: u64) -> Self {
        let recent = Recent { start: revision, published: revision, changes: VecDeque::new(), bytes: 0 };
        Self { recent: RwLock::new(recent), slots: Mutex::default() }
    }

    fn published(&self) -> u64 {
        self.recent.read().unwrap_or_else(PoisonError::into_inner).published
    }

    /// Number of running watches.
    pub(super) fn watches(&self) -> usize {
        self.slots().values().map(watch::Sender::receiver_count).sum()
    }

    pub(super) fn subscribe(&self, prefix: &Arc<str>) -> watch::Receiver<Signal> {
        self.slots().entry(prefix.clone()).or_default().subscribe()
    }

    /// Makes committed changes known and wakes those whom they concern.
    pub(super) fn publish(&self, events: Vec<Event>, revision: u64) {
        let mut slots = self.slots();
        slots.retain(|_, slot| slot.receiver_count() > 0);
        let concerned: Vec<_> = slots
            .iter()
            .filter(|(prefix, _)| events.iter().any(|event| event.key().starts_with(&***prefix)))
            .map(|(_, slot)| slot)
            .collect();
        self.recent.write().unwrap_or_else(PoisonError::into_inner).push(events, revision);
        for slot in concerned {
            slot.send_modify(|signal| signal.changed = revision);
        }
    }

    /// Lets every watch report how far it is; with `idle`, also if that is no news.
    pub(super) fn progress(&self, idle: bool) {
        let published = self.published();
        for slot in self.slots().values() {
            slot.send_modify(|signal| {
                signal.progress = published;
                signal.tick += u64::from(idle);
            });
        }
    }

    /// Changes under `prefix` after `revision`, or nothing if memory does not reach back so far.
    pub(super) fn after(&self, revision: u64, prefix: &str) -> Option<Slice> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner).after(revision, prefix)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Arc<str>, watch::Sender<Signal>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn push(&mut self, events: Vec<Event>, revision: u64) {
        self.bytes += events.iter().map(weight).sum::<usize>();
        self.changes.extend(events);
        self.published = revision;
        while self.changes.len() > RECENT_CHANGES || self.bytes > RECENT_BYTES && self.changes.len() > 1 {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= weight(&oldest);
            self.start = oldest.revision();
        }
    }

    fn after(&self, revision: u64, prefix: &str) -> Option<Slice> {
        if revision < self.start {
            return None;
        }
        let first = self.changes.partition_point(|event| event.revision() <= revision);
        let mut slice = SliceBuilder::default();
        for event in self.changes.range(first..).filter(|event| event.key().starts_with(prefix)) {
            if slice.is_full_before(event.revision()) {
                return Some(slice.cut());
            }
            slice.push(event.clone());
        }
        Some(slice.end(self.published.max(revision)))
    }
}

/// Collects whole revisions up to the size of one delivery.
#[derive(Debug, Default)]
pub(super) struct SliceBuilder {
    events: Vec<Event>,
    bytes: usize,
    last: u64,
}

impl SliceBuilder {
    pub(super) fn is_full_before(&self, revision: u64) -> bool {
        revision != self.last && (self.events.len() >= DELIVERY_CHANGES || self.bytes >= DELIVERY_BYTES)
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += weight(&event);
        self.last = event.revision();
        self.events.push(event);
    }

    /// The slice ends here because it is full.
    pub(super) fn cut(self) -> Slice {
        Slice { upto: self.last, events: self.events, more: true }
    }

    /// The slice has everything up to `revision`.
    pub(super) fn end(self, revision: u64) -> Slice {
        Slice { upto: revision, events: self.events, more: false }
    }
}

fn weight(event: &Event) -> usize {
    match event {
        Event::Put(entry) => entry.key.len() + entry.value.len() + 64,
        Event::Delete { key, .. } => key.len() + 64,
    }
}

#[cfg(test)]
mod tests;
