//! A watch inside the process: a cursor over the history.

use super::Shared;
use super::history::{Signal, Slice, SliceBuilder};
use super::tables::{self, LOG, Position};
use crate::port::{BoxFuture, Entry, Event, StoreError, Watch, WatchItem};
use bytes::Bytes;
use redb::ReadableDatabase;
use std::sync::Arc;
use tokio::sync::watch;

/// A running watch of an [`Engine`](super::Engine).
#[derive(Debug)]
pub struct EngineWatch {
    shared: Arc<Shared>,
    prefix: Arc<str>,
    signals: watch::Receiver<Signal>,
    ended: watch::Receiver<bool>,
    /// Everything up to here has been delivered.
    cursor: u64,
    /// Last progress that was reported, and the count of ticks then.
    reported: (u64, u64),
    /// There may be changes after the cursor of which no signal tells.
    behind: bool,
}

impl EngineWatch {
    pub(super) fn new(shared: Arc<Shared>, prefix: &str, revision: u64) -> Result<Self, StoreError> {
        let prefix: Arc<str> = prefix.into();
        let signals = shared.history.subscribe(&prefix);
        let ended = shared.ended.subscribe();
        let tick = signals.borrow().tick;
        let watch =
            Self { shared, prefix, signals, ended, cursor: revision, reported: (0, tick), behind: true };
        // The file is asked, not memory: memory may reach back further than the log, and what is committed is known there
        // a moment later. So the answer does not depend on what happens to be in memory, and a list can always be
        // followed.
        let position = watch.position().map_err(|error| watch.shared.broken("watch", error))?;
        let oldest = match revision {
            // A revision that is yet to come belongs to another file: nothing can be promised from there.
            _ if revision > position.revision => position.revision,
            // Too old is said at once, not with the first item.
            _ if revision < position.compacted => position.compacted,
            _ => return Ok(watch),
        };
        Err(StoreError::Compacted { requested: revision, oldest })
    }

    fn position(&self) -> Result<Position, redb::Error> {
        tables::position(&self.shared.db.begin_read()?)
    }

    /// What follows the cursor.
    fn slice(&self) -> Result<Slice, StoreError> {
        if let Some(slice) = self.shared.history.after(self.cursor, &self.prefix) {
            return Ok(slice);
        }
        let from_log = self.slice_of_log().map_err(|error| self.shared.broken("watch", error))?;
        from_log.map_err(|oldest| StoreError::Compacted { requested: self.cursor, oldest })
    }

    /// What follows the cursor, from the file; or the oldest revision that it still has.
    fn slice_of_log(&self) -> Result<Result<Slice, u64>, redb::Error> {
        let txn = self.shared.db.begin_read()?;
        let oldest = tables::compacted(&txn)?;
        if self.cursor < oldest {
            return Ok(Err(oldest));
        }
        let mut slice = SliceBuilder::default();
        let mut last = self.cursor;
        for row in txn.open_table(LOG)?.range((self.cursor + 1, 0)..)? {
            let (position, change) = row?;
            let (revision, _) = position.value();
            let (key, value) = change.value();
            last = revision;
            if !key.starts_with(&*self.prefix) {
                continue;
            }
            if slice.is_full_before(revision) {
                return Ok(Ok(slice.cut()));
            }
            let key = key.into();
            slice.push(match value {
                Some(value) => Event::Put(Entry { key, value: Bytes::copy_from_slice(value), revision }),
                None => Event::Delete { key, revision },
            });
        }
        // This view of the file is younger than the subscription: there will be a signal of what it lacks.
        Ok(Ok(slice.end(last)))
    }

    async fn advance(&mut self) -> Result<WatchItem, StoreError> {
        loop {
            if let Some(item) = self.poll_item()? {
                return Ok(item);
            }
            let ended = tokio::select! {
                changed = self.signals.changed() => changed.is_err(),
                _ = self.ended.wait_for(|ended| *ended) => true,
            };
            if ended {
                // What was acknowledged before the end is still delivered.
                return self.poll_item()?.ok_or_else(|| self.gone());
            }
        }
    }

    /// The next item if there is one now.
    fn poll_item(&mut self) -> Result<Option<WatchItem>, StoreError> {
        loop {
            let signal = *self.signals.borrow_and_update();
            if self.behind || signal.changed > self.cursor {
                let first = self.behind;
                let slice = self.slice()?;
                self.cursor = self.cursor.max(slice.upto);
                self.behind = slice.more;
                if !slice.events.is_empty() {
                    return Ok(Some(WatchItem::Events(slice.events)));
                }
                if first && !self.behind {
                    return Ok(Some(self.report(self.cursor, signal.tick)));
                }
                continue;
            }
            let (revision, tick) = self.reported;
            if signal.progress > revision || signal.tick != tick {
                // No signal of a change beyond the cursor: there is none up to the progress.
                self.cursor = self.cursor.max(signal.progress);
                return Ok(Some(self.report(self.cursor, signal.tick)));
            }
            return Ok(None);
        }
    }

    fn report(&mut self, revision: u64, tick: u64) -> WatchItem {
        self.reported = (revision, tick);
        WatchItem::Progress(revision)
    }

    fn gone(&self) -> StoreError {
        let reason = self.shared.failure.get().map_or("the store was closed", String::as_str);
        self.shared.unavailable(&format!("watch {}", self.prefix), reason)
    }
}

impl Watch for EngineWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchItem, StoreError>> {
        Box::pin(self.advance())
    }
}
