//! The task that keeps list and watch of a store going.

use crate::sets::{EVERYTHING, SyncSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tortie_store::{Event, List, Store, StoreError, Watch, WatchItem};

/// An item of the feed.
#[derive(Debug)]
pub enum Feed {
    /// Everything that exists. What is not in it is gone.
    Snapshot(List),
    /// Changes after the snapshot.
    Events(Vec<Event>),
    /// Nothing is outstanding up to this revision.
    Progress(u64),
    /// The store cannot be read; what is known stays in force. A snapshot follows when it is back.
    Lost(StoreError),
}

/// What to read.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// Prefix of the keys.
    pub prefix: String,
    /// What of it.
    pub set: SyncSet,
    /// Asks for another snapshot.
    pub relist: Relist,
    /// Items that may wait for the reader.
    pub capacity: usize,
    /// First pause after a failure; doubles up to `longest_pause`.
    pub first_pause: Duration,
    /// Longest pause after a failure.
    pub longest_pause: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            prefix: "/".to_owned(),
            set: EVERYTHING,
            relist: Relist::default(),
            capacity: 64,
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// Asks a feed for another snapshot, for a reader that wants to begin anew. It shows every change that the feed has
/// told before it.
#[derive(Clone, Debug, Default)]
pub struct Relist(Arc<Notify>);

impl Relist {
    /// Asks. One snapshot may answer several requests.
    pub fn request(&self) {
        self.0.notify_one();
    }
}

/// Starts the task. It ends when the receiver is dropped.
pub fn spawn(store: Arc<dyn Store>, config: FeedConfig) -> mpsc::Receiver<Feed> {
    let (to, from) = mpsc::channel(config.capacity);
    tokio::spawn(run(store, config, to));
    from
}

/// Why a session ended.
enum End {
    /// The reader is gone.
    Reader,
    /// The reader wants another snapshot.
    Relist,
    /// The store.
    Lost(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Lost(error)
    }
}

async fn run(store: Arc<dyn Store>, config: FeedConfig, to: mpsc::Sender<Feed>) {
    let mut pause = config.first_pause;
    // Where a lost watch may be resumed without listing again.
    let mut resume: Option<u64> = None;
    while !to.is_closed() {
        let error = match session(&*store, &config, &to, &mut resume, &mut pause).await {
            End::Reader => return,
            End::Relist => {
                resume = None;
                continue;
            }
            End::Lost(error) => error,
        };
        if !matches!(error, StoreError::Unavailable { .. }) {
            resume = None;
        }
        tracing::warn!(set = config.set.name, error = %error, pause_ms = pause.as_millis() as u64, "datastore watch lost, trying again");
        if to.send(Feed::Lost(error)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(config.longest_pause);
    }
}

/// One list+watch, until something ends it.
async fn session(
    store: &dyn Store,
    config: &FeedConfig,
    to: &mpsc::Sender<Feed>,
    resume: &mut Option<u64>,
    pause: &mut Duration,
) -> End {
    match serve(store, config, to, resume, pause).await {
        Ok(()) => End::Reader,
        Err(end) => end,
    }
}

async fn serve(
    store: &dyn Store,
    config: &FeedConfig,
    to: &mpsc::Sender<Feed>,
    resume: &mut Option<u64>,
    pause: &mut Duration,
) -> Result<(), End> {
    let resumed = match *resume {
        Some(revision) => store.watch(&config.prefix, revision).await.ok().map(|w| (w, revision)),
        None => None,
    };
    let (mut watch, first): (Box<dyn Watch>, Feed) = match resumed {
        // Tells the reader that the store is back.
        Some((watch, revision)) => (watch, Feed::Progress(revision)),
        None => {
            let mut list = store.list(&config.prefix).await?;
            let revision = list.revision;
            let watch = store.watch(&config.prefix, revision).await?;
            *resume = Some(revision);
            list.entries.retain(|entry| config.set.covers(&entry.key));
            (watch, Feed::Snapshot(list))
        }
    };
    send(to, first).await?;
    loop {
        let item = tokio::select! {
            item = watch.next() => item?,
            () = config.relist.0.notified() => return Err(End::Relist),
            () = to.closed() => return Err(End::Reader),
        };
        *pause = config.first_pause;
        match item {
            WatchItem::Events(events) => {
                let last = events.last().map_or(0, Event::revision);
                // Where order is kept for each key only, another key's change before this one may still be to come.
                if store.is_ordered() {
                    *resume = Some(resume.unwrap_or(0).max(last));
                }
                pass_on(events, last, store.is_ordered(), config, to).await?;
            }
            WatchItem::Progress(revision) => {
                *resume = Some(resume.unwrap_or(0).max(revision));
                send(to, Feed::Progress(revision)).await?;
            }
        }
    }
}

/// Passes on what belongs to the set; of the rest, that it has been seen.
async fn pass_on(
    mut events: Vec<Event>,
    last: u64,
    ordered: bool,
    config: &FeedConfig,
    to: &mpsc::Sender<Feed>,
) -> Result<(), End> {
    events.retain(|event| config.set.covers(event.key()));
    let behind = events.last().is_none_or(|event| event.revision() < last);
    if !events.is_empty() {
        send(to, Feed::Events(events)).await?;
    }
    if ordered && behind && last > 0 {
        send(to, Feed::Progress(last)).await?;
    }
    Ok(())
}

async fn send(to: &mpsc::Sender<Feed>, item: Feed) -> Result<(), End> {
    to.send(item).await.map_err(|_| End::Reader)
}

#[cfg(test)]
mod tests;
