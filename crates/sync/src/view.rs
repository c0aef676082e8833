//! What is known of the datastore: each key with the revision of its last change.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use tortie_store::{Entry, Event, List};

/// A change of one key; `None` when it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Path.
    pub key: Arc<str>,
    /// Value now.
    pub value: Option<Bytes>,
    /// Revision of the change.
    pub revision: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    revision: u64,
    /// False after a deletion that was applied ahead of its event: remembered until the event's revision has passed.
    exists: bool,
}

/// Keys and revisions; values are not kept.
#[derive(Debug, Default)]
pub struct View {
    known: HashMap<Arc<str>, Known>,
    revision: u64,
    /// Events come in order for each key only: what they say of the revision counts for their keys alone.
    unordered: bool,
}

impl View {
    /// A view of a store, which keeps all changes in order or not ([`tortie_store::Store::is_ordered`]).
    pub fn new(is_ordered: bool) -> Self {
        Self { unordered: !is_ordered, ..Self::default() }
    }

    /// Revision up to which everything is known.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Number of keys that exist.
    pub fn len(&self) -> usize {
        self.known.values().filter(|k| k.exists).count()
    }

    /// True if no key exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a complete list: the difference to what is known, deletions last. Of what the list could not read, it
    /// concludes nothing.
    pub fn snapshot(&mut self, list: List) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let mut next: HashMap<Arc<str>, Known> = HashMap::with_capacity(list.entries.len());
        for entry in list.entries {
            let before = self.known.remove(&entry.key);
            // A local write ahead of the list stands: its event is still to come.
            let ahead = before.filter(|k| k.revision > entry.revision && k.revision > list.revision);
            if let Some(known) = ahead {
                next.insert(entry.key, known);
                continue;
            }
            next.insert(entry.key.clone(), Known { revision: entry.revision, exists: true });
            if before.is_none_or(|k| k.revision != entry.revision || !k.exists) {
                deltas.push(Delta { key: entry.key, value: Some(entry.value), revision: entry.revision });
            }
        }
        for (key, known) in self.known.drain() {
            let unread = list.unread.iter().any(|beginning| key.starts_with(beginning.as_str()));
            if known.revision > list.revision || unread {
                next.insert(key, known);
            } else if known.exists {
                deltas.push(Delta { key, value: None, revision: list.revision });
            }
        }
        self.known = next;
        self.revision = list.revision;
        deltas
    }

    /// Takes events in order of revision; drops those that are not news.
    pub fn events(&mut self, events: Vec<Event>) -> Vec<Delta> {
        let mut deltas = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Put(Entry { key, value, revision }) => {
                    if self.record(&key, revision, true) {
                        deltas.push(Delta { key, value: Some(value), revision });
                    }
                    self.seen(revision);
                }
                Event::Delete { key, revision } => {
                    let existed = self.known.get(&key).is_some_and(|k| k.exists);
                    if self.record(&key, revision, false) && existed {
                        deltas.push(Delta { key: key.clone(), value: None, revision });
                    }
                    if self.known.get(&key).is_some_and(|k| !k.exists && k.revision <= revision) {
                        self.known.remove(&key);
                    }
                    self.seen(revision);
                }
            }
        }
        deltas
    }

    fn seen(&mut self, revision: u64) {
        if !self.unordered {
            self.revision = self.revision.max(revision);
        }
    }

    /// Everything up to `revision` has been seen.
    pub fn progress(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// Takes a write of our own that the store has accepted at `revision`, before its event arrives. Older events of
    /// the key are then ignored. `None` if something newer is known already.
    pub fn ahead(&mut self, key: &str, value: Option<Bytes>, revision: u64) -> Option<Delta> {
        let key: Arc<str> = key.into();
        self.record(&key, revision, value.is_some()).then_some(Delta { key, value, revision })
    }

    fn record(&mut self, key: &Arc<str>, revision: u64, exists: bool) -> bool {
        match self.known.get_mut(key) {
            Some(known) if known.revision >= revision => false,
            Some(known) => {
                *known = Known { revision, exists };
                true
            }
            None => {
                self.known.insert(key.clone(), Known { revision, exists });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
