//! A watch, on a stream of its own.

use crate::error::Failure;
use crate::messages::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchRequestKind, WatchResponse, path,
};
use crate::pool::Pool;
use crate::range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tortie_store::{BoxFuture, Event, StoreError, Watch, WatchItem};

/// After a sign that the store has moved on, progress is asked for this much later: its changes are on their way, and
/// more of them may come.
const ASK_SOON: Duration = Duration::from_millis(10);
/// Progress is asked for at least this often.
const ASK_IDLE: Duration = Duration::from_secs(5);

/// A running watch of an [`EtcdStore`](crate::EtcdStore).
pub struct EtcdWatch {
    pool: Arc<Pool>,
    answers: Streaming<WatchResponse>,
    /// Keeps the stream open, and asks for progress.
    requests: mpsc::Sender<WatchRequest>,
    prefix: String,
    requested: u64,
    /// Everything up to here has been delivered.
    cursor: u64,
    /// Changes of a response that is not complete yet.
    fragments: Vec<Event>,
    /// Highest revision that any answer to the store has shown.
    latest: Arc<watch::Sender<u64>>,
    latest_seen: watch::Receiver<u64>,
    asks_for_progress: bool,
    ask: Pin<Box<Sleep>>,
    ready: Option<WatchItem>,
}

impl EtcdWatch {
    /// Starts a watch; answers it with the revision of the member.
    pub(crate) async fn start(
        pool: Arc<Pool>,
        latest: Arc<watch::Sender<u64>>,
        asks_for_progress: bool,
        prefix: &str,
        revision: u64,
    ) -> Result<(Self, u64), StoreError> {
        let doing = format!("watch {prefix}");
        let (key, range_end) = range::of_prefix(prefix);
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: range::signed(revision.saturating_add(1)),
            progress_notify: true,
            fragment: true,
        };
        // The sending side of the last attempt is the one that counts.
        let sender = Mutex::new(None);
        let requests = || {
            let (requests, receiver) = mpsc::channel(4);
            let create = WatchRequest { request: Some(WatchRequestKind::Create(create.clone())) };
            requests.try_send(create).expect("the channel is new");
            *sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(requests);
            ReceiverStream::new(receiver)
        };
        let answers = pool.streaming(&doing, path::WATCH, requests).await?;
        let requests = sender.into_inner().unwrap_or_else(PoisonError::into_inner);
        let latest_seen = latest.subscribe();
        let mut watch = Self {
            answers,
            requests: requests.expect("the stream was opened with one"),
            prefix: prefix.to_owned(),
            requested: revision,
            cursor: revision,
            fragments: Vec::new(),
            latest,
            latest_seen,
            asks_for_progress,
            ask: Box::pin(tokio::time::sleep(ASK_IDLE)),
            ready: None,
            pool,
        };
        let limit = watch.pool.config().attempt_timeout;
        let created = match tokio::time::timeout(limit, watch.created()).await {
            Ok(created) => created?,
            Err(_) => return Err(watch.ended(format!("no answer within {limit:?}"))),
        };
        Ok((watch, created))
    }

    /// If nothing can have happened between the start and the present, says so at once.
    pub(crate) fn first_report(&mut self, shown: u64) {
        if shown <= self.requested {
            self.ready = Some(WatchItem::Progress(self.requested));
        }
    }

    async fn created(&mut self) -> Result<u64, StoreError> {
        loop {
            let response = self.answers.message().await;
            let response = self.accept(response)?;
            if response.created {
                return Ok(range::of_header(response.header.as_ref()));
            }
        }
    }

    /// A response that is not the end.
    fn accept(&self, response: Result<Option<WatchResponse>, Status>) -> Result<WatchResponse, StoreError> {
        let response = match response {
            Ok(Some(response)) => response,
            Ok(None) => return Err(self.ended("the member closed the stream".to_owned())),
            Err(status) => return Err(self.pool.refused(&self.doing(), Failure::of(&status))),
        };
        if response.compact_revision > 0 {
            let oldest = range::revision(response.compact_revision);
            return Err(StoreError::Compacted { requested: self.cursor, oldest });
        }
        if !response.canceled {
            return Ok(response);
        }
        // The reason is the text of one of etcd's errors, without its code.
        let reason = response.cancel_reason;
        if ["ermission", "auth", "user name is empty"].iter().any(|word| reason.contains(word)) {
            return Err(self.pool.refused(&self.doing(), Failure::Denied(reason)));
        }
        Err(self.ended(format!("the store ended it: {reason}")))
    }

    async fn advance(&mut self) -> Result<WatchItem, StoreError> {
        if let Some(ready) = self.ready.take() {
            return Ok(ready);
        }
        loop {
            let asks = self.asks_for_progress;
            // A response that has arrived in part stays in the stream when another branch is taken.
            tokio::select! {
                response = self.answers.message() => {
                    let response = self.accept(response)?;
                    if let Some(item) = self.item(response) {
                        return Ok(item);
                    }
                }
                () = self.ask.as_mut(), if asks => self.ask_for_progress(),
                // The sender is held by this watch: the channel never closes.
                _ = self.latest_seen.changed(), if asks => self.store_moved_on(),
            }
        }
    }

    fn item(&mut self, response: WatchResponse) -> Option<WatchItem> {
        let (fragment, reported) = (response.fragment, range::of_header(response.header.as_ref()));
        let is_report = response.events.is_empty() && !fragment && self.fragments.is_empty();
        if is_report {
            // A report that was overtaken by changes says less than they did.
            let news = !response.created && reported >= self.cursor;
            self.cursor = self.cursor.max(reported);
            return news.then_some(WatchItem::Progress(reported));
        }
        self.fragments.extend(response.events.into_iter().filter_map(range::event));
        if fragment || self.fragments.is_empty() {
            return None;
        }
        let events = std::mem::take(&mut self.fragments);
        self.cursor = events.last().map_or(self.cursor, Event::revision);
        let cursor = self.cursor;
        self.latest.send_if_modified(|latest| {
            let newer = cursor > *latest;
            *latest = cursor.max(*latest);
            newer
        });
        Some(WatchItem::Events(events))
    }

    fn ask_for_progress(&mut self) {
        let request = WatchRequest { request: Some(WatchRequestKind::Progress(WatchProgressRequest {})) };
        // If earlier questions still wait to be sent, one more would not help.
        let _ = self.requests.try_send(request);
        self.ask.as_mut().reset(Instant::now() + ASK_IDLE);
    }

    fn store_moved_on(&mut self) {
        let soon = Instant::now() + ASK_SOON;
        if *self.latest_seen.borrow_and_update() > self.cursor && self.ask.deadline() > soon {
            self.ask.as_mut().reset(soon);
        }
    }

    fn doing(&self) -> String {
        format!("watch {}", self.prefix)
    }

    fn ended(&self, reason: String) -> StoreError {
        StoreError::Unavailable { endpoint: self.pool.name().to_owned(), doing: self.doing(), reason }
    }
}

impl Watch for EtcdWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchItem, StoreError>> {
        Box::pin(self.advance())
    }
}
