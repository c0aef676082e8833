//! The changes of one collection.

use crate::api::Request;
use crate::failure::{Failure, Status};
use crate::kinds::Kind;
use crate::lines::{self, Line};
use crate::object::{self, Seen};
use crate::read;
use crate::store::{Inner, report};
use crate::watching::{ABSENT, REFUSED};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tortie_causes::chain;
use tortie_store::{Entry, Event, StoreError};

/// How long the server is asked to keep a stream, in seconds; more for some, so that not all end at once.
const SECONDS: u64 = 240;
const SPREAD: u64 = 60;
/// How long a stream may stay silent beyond that before it counts as dead.
const GRACE: Duration = Duration::from_secs(30);
/// A stream that ends sooner than that has not done its work, and the next one waits.
const SHORT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// How often a collection is tried that may not be read.
const REFUSED_INTERVAL: Duration = Duration::from_secs(5);

/// What becomes of asking for a stream.
pub(crate) enum Opened {
    Body(Incoming),
    /// There is no such collection.
    Absent,
    /// We may not read it.
    Refused,
}

/// What a stream tells.
pub(crate) enum Batch {
    /// Changes, and the revision up to which all are told.
    Events(Vec<Event>, u64),
    /// Nothing more has changed up to this revision.
    Mark(u64),
}

type Sender = mpsc::Sender<(usize, Result<Batch, StoreError>)>;

/// A stream of one collection.
pub(crate) struct Stream {
    inner: Arc<Inner>,
    kind: Arc<Kind>,
    namespace: String,
    prefix: String,
    mark: u64,
}

impl Stream {
    pub(crate) fn new(
        inner: Arc<Inner>,
        kind: Arc<Kind>,
        namespace: String,
        prefix: String,
        mark: u64,
    ) -> Self {
        Self { inner, kind, namespace, prefix, mark }
    }

    fn limit(&self) -> u64 {
        SECONDS + self.mark % SPREAD
    }

    async fn failed(&self, failure: Failure) -> StoreError {
        let path = self.kind.collection(&self.namespace);
        if let Failure::Expired(_) = failure {
            // What is still known is known to the server only; the present is safe.
            let oldest = read::revision_of(&self.inner, &path).await.unwrap_or(self.mark.saturating_add(1));
            return StoreError::Compacted { requested: self.mark, oldest };
        }
        self.inner.failed(failure, &format!("watch of {path}"))
    }

    /// Begins after the mark.
    pub(crate) async fn open(&mut self) -> Result<Opened, StoreError> {
        match self.mark {
            ABSENT => return Ok(Opened::Absent),
            REFUSED => return Ok(Opened::Refused),
            _ => {}
        }
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            self.kind.collection(&self.namespace),
            self.mark,
            self.limit()
        );
        match self.inner.api.stream(&Request::get(path)).await {
            Ok(body) => Ok(Opened::Body(body)),
            Err(Failure::NoKind) => Ok(Opened::Absent),
            Err(Failure::Denied(_)) if read::is_whole(&self.prefix) => {
                let served = read::is_served(&self.inner, &self.kind).await;
                Ok(if served { Opened::Refused } else { Opened::Absent })
            }
            Err(failure) => Err(self.failed(failure).await),
        }
    }

    /// Tells everything until something cannot be told, or nobody listens.
    pub(crate) async fn run(mut self, mut opened: Opened, index: usize, to: Sender) {
        if matches!(opened, Opened::Absent) {
            opened = match self.appearance(index, &to).await {
                Ok(Some(body)) => Opened::Body(body),
                Ok(None) => return,
                Err(error) => return drop(to.send((index, Err(error))).await),
            };
        }
        loop {
            let open = match opened {
                Opened::Body(body) => body,
                Opened::Refused => return self.permission(index, &to).await,
                // The definition was removed, and all objects with it: a list tells that best.
                Opened::Absent => {
                    let error = StoreError::Compacted { requested: self.mark, oldest: self.mark };
                    return drop(to.send((index, Err(error))).await);
                }
            };
            let began = Instant::now();
            if let Err(error) = self.follow(open, index, &to).await {
                return drop(to.send((index, Err(error))).await);
            }
            if to.is_closed() {
                return;
            }
            if began.elapsed() < SHORT {
                tokio::time::sleep(PAUSE).await;
            }
            opened = match self.open().await {
                Ok(opened) => opened,
                Err(error) => return drop(to.send((index, Err(error))).await),
            };
        }
    }

    /// Waits until the collection may be read, and ends the watch then. What is known of it stays meanwhile.
    async fn permission(&mut self, index: usize, to: &Sender) {
        let path = self.kind.collection(&self.namespace);
        let interval = REFUSED_INTERVAL.min(self.inner.api.config().absent_interval);
        tracing::warn!(
            kind = self.kind.kind,
            api = self.kind.api_version,
            "the kind may not be read; what is known of it stays"
        );
        // For a reader that goes on from here later.
        self.mark = REFUSED;
        if to.send((index, Ok(Batch::Mark(REFUSED)))).await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = to.closed() => return,
            }
            let Ok(revision) = read::revision_of(&self.inner, &path).await else { continue };
            // It takes both verbs.
            let watch = format!("{path}?watch=1&resourceVersion={revision}&timeoutSeconds=1");
            if self.inner.api.stream(&Request::get(watch)).await.is_ok() {
                break;
            }
        }
        tracing::info!(kind = self.kind.kind, api = self.kind.api_version, "the kind may be read now");
        let error = StoreError::Invalid {
            doing: format!("watch of {path}"),
            reason: "it may be read now, and everything is read anew".to_owned(),
        };
        // Nobody may be listening any more.
        let _ = to.send((index, Err(error))).await;
    }

    /// Waits until the collection exists, tells what is in it, and begins to watch it.
    async fn appearance(&mut self, index: usize, to: &Sender) -> Result<Option<Incoming>, StoreError> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.inner.api.config().absent_interval) => {}
                () = to.closed() => return Ok(None),
            }
            let listed = read::collection(&self.inner, &self.kind, &self.namespace, &self.prefix, None).await;
            let (mut entries, revision) = match listed {
                Ok(Some(listed)) => listed,
                Ok(None) => continue,
                // It is there, and another list will say that we may not read it.
                Err(failure) => return Err(self.failed(failure).await),
            };
            tracing::info!(kind = self.kind.kind, api = self.kind.api_version, "the kind is installed now");
            entries.sort_by_key(|entry| entry.revision);
            let events: Vec<Event> = entries.into_iter().map(Event::Put).collect();
            self.mark = revision;
            if to.send((index, Ok(Batch::Events(events, revision)))).await.is_err() {
                return Ok(None);
            }
            return match self.open().await? {
                Opened::Body(body) => Ok(Some(body)),
                Opened::Absent | Opened::Refused => {
                    Err(StoreError::Compacted { requested: self.mark, oldest: self.mark })
                }
            };
        }
    }

    /// Tells the changes of one answer, until it ends.
    async fn follow(&mut self, mut body: Incoming, index: usize, to: &Sender) -> Result<(), StoreError> {
        let mut buffer = BytesMut::new();
        let silence = Duration::from_secs(self.limit()) + GRACE;
        loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(silence, body.frame()) => frame,
                () = to.closed() => return Ok(()),
            };
            let frame = match frame {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => {
                    tracing::debug!(kind = self.kind.kind, error = %chain(&error), "stream of changes broke off");
                    return Ok(());
                }
                Err(_) => {
                    tracing::warn!(kind = self.kind.kind, "stream of changes is silent, asking anew");
                    return Ok(());
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            buffer.extend_from_slice(&data);
            let before = self.mark;
            // What came before an error is told first.
            let (events, end) = self.lines(&mut buffer);
            let batch = match events {
                events if !events.is_empty() => Some(Batch::Events(events, self.mark)),
                _ if self.mark > before => Some(Batch::Mark(self.mark)),
                _ => None,
            };
            if let Some(batch) = batch
                && to.send((index, Ok(batch))).await.is_err()
            {
                return Ok(());
            }
            if let Some(failure) = end {
                return match failure {
                    // The server asks to begin again.
                    Failure::Away(text) | Failure::Busy { text, .. } => {
                        tracing::debug!(kind = self.kind.kind, text, "stream of changes ends with an error");
                        Ok(())
                    }
                    failure => Err(self.failed(failure).await),
                };
            }
        }
    }

    /// Takes the complete lines of the buffer.
    fn lines(&mut self, buffer: &mut BytesMut) -> (Vec<Event>, Option<Failure>) {
        let mut events = Vec::new();
        while let Some(line) = lines::next(buffer) {
            match line.and_then(|line| self.change(line)) {
                Ok(event) => events.extend(event),
                Err(failure) => return (events, Some(failure)),
            }
        }
        (events, None)
    }

    fn change(&mut self, line: Line) -> Result<Option<Event>, Failure> {
        if line.change == "ERROR" {
            let status = Status::deserialize(line.object)
                .map_err(|error| Failure::Corrupt(format!("an error is no status ({error})")))?;
            return Err(Failure::of_event(status));
        }
        let revision = object::revision(&line.object)
            .ok_or_else(|| Failure::Corrupt("a change has no resourceVersion".to_owned()))?;
        let told = revision <= self.mark;
        self.mark = self.mark.max(revision);
        if line.change == "BOOKMARK" || told {
            return Ok(None);
        }
        let place = object::place(&line.object);
        let event = match (line.change.as_str(), object::decode(&self.kind, line.object)) {
            ("DELETED", Ok(Seen::Entry(key, _) | Seen::Gone(key))) | (_, Ok(Seen::Gone(key))) => {
                Event::Delete { key: key.into(), revision }
            }
            (_, Ok(Seen::Nothing)) => return Ok(None),
            (_, Ok(Seen::Entry(key, value))) => Event::Put(Entry { key: key.into(), value, revision }),
            (_, Err(error)) => {
                report(&self.kind, &place, &error);
                // It is as if it were not there any more.
                match object::key(&self.kind, &place) {
                    Ok(key) => Event::Delete { key: key.into(), revision },
                    Err(_) => return Ok(None),
                }
            }
        };
        Ok(event.key().starts_with(self.prefix.as_str()).then_some(event))
    }
}
