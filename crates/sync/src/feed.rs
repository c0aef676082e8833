//! The task that keeps list and watch of a store going.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
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
            capacity: 64,
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// Starts the task. It ends when the receiver is dropped.
pub fn spawn(store: Arc<dyn Store>, config: FeedConfig) -> mpsc::Receiver<Feed> {
    let (to, from) = mpsc::channel(config.capacity);
    tokio::spawn(run(store, config, to));
    from
}

async fn run(store: Arc<dyn Store>, config: FeedConfig, to: mpsc::Sender<Feed>) {
    let mut pause = config.first_pause;
    // Where a lost watch may be resumed without listing again.
    let mut resume: Option<u64> = None;
    while !to.is_closed() {
        let error = match session(&*store, &config, &to, &mut resume, &mut pause).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if !matches!(error, StoreError::Unavailable { .. }) {
            resume = None;
        }
        tracing::warn!(error = %error, pause_ms = pause.as_millis() as u64, "datastore watch lost, trying again");
        if to.send(Feed::Lost(error)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(config.longest_pause);
    }
}

/// One list+watch. `Ok` when the reader is gone.
async fn session(
    store: &dyn Store,
    config: &FeedConfig,
    to: &mpsc::Sender<Feed>,
    resume: &mut Option<u64>,
    pause: &mut Duration,
) -> Result<(), StoreError> {
    let resumed = match *resume {
        Some(revision) => store.watch(&config.prefix, revision).await.ok().map(|w| (w, revision)),
        None => None,
    };
    let mut watch: Box<dyn Watch> = match resumed {
        Some((watch, revision)) => {
            // Tells the reader that the store is back.
            if to.send(Feed::Progress(revision)).await.is_err() {
                return Ok(());
            }
            watch
        }
        None => {
            let list = store.list(&config.prefix).await?;
            let revision = list.revision;
            let watch = store.watch(&config.prefix, revision).await?;
            *resume = Some(revision);
            if to.send(Feed::Snapshot(list)).await.is_err() {
                return Ok(());
            }
            watch
        }
    };
    loop {
        let item = tokio::select! {
            item = watch.next() => item?,
            () = to.closed() => return Ok(()),
        };
        *pause = config.first_pause;
        let feed = match item {
            WatchItem::Events(events) => {
                if let Some(
                    Event::Put(tortie_store::Entry { revision, .. }) | Event::Delete { revision, .. },
                ) = events.last()
                {
                    *resume = Some(*revision);
                }
                Feed::Events(events)
            }
            WatchItem::Progress(revision) => {
                *resume = Some(resume.unwrap_or(0).max(revision));
                Feed::Progress(revision)
            }
        };
        if to.send(feed).await.is_err() {
            return Ok(());
        }
    }
}
