//! Watches: one stream per collection, merged.
//!
//! A stream that the server ends is continued where it was. Whatever cannot be continued ends the whole watch with an
//! error, because only a list can tell what was missed.

mod stream;

use crate::failure::Failure;
use crate::positions::Marks;
use crate::read;
use crate::store::Inner;
use std::sync::Arc;
use stream::{Batch, Opened, Stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tortie_store::{BoxFuture, StoreError, Watch, WatchItem};

/// Items that may wait for the reader, of all streams together.
const CAPACITY: usize = 32;

/// Position of a collection that does not exist: it is listed when it comes to be.
pub(crate) const ABSENT: u64 = u64::MAX;

/// Position of a collection that may not be read: as soon as it may be, the watch ends, since only a list can tell what
/// is in it and what is no more.
pub(crate) const REFUSED: u64 = u64::MAX - 1;

/// What to watch, and after which revision.
pub(crate) struct Start {
    pub(crate) prefix: String,
    pub(crate) revision: u64,
}

/// A running watch.
pub(crate) struct KubeWatch {
    inner: Arc<Inner>,
    /// For the positions, if there are several streams.
    id: Option<u64>,
    marks: Marks,
    /// What was delivered last, as the reader reckons it.
    revision: u64,
    reported: u64,
    from: mpsc::Receiver<(usize, Result<Batch, StoreError>)>,
    /// Kept so that a watch of nothing waits and does not end.
    _to: mpsc::Sender<(usize, Result<Batch, StoreError>)>,
    _streams: JoinSet<()>,
}

/// Opens all streams; fails if one cannot be opened.
pub(crate) async fn start(inner: Arc<Inner>, start: Start) -> Result<KubeWatch, StoreError> {
    let Start { prefix, revision } = start;
    let scopes = inner.scopes(&prefix);
    let several = scopes.len() > 1;
    let known = several.then(|| inner.positions(|p| p.at(&prefix, revision))).flatten();
    let mut marks = known.unwrap_or_else(|| vec![revision; scopes.len()]);
    let mut opening = JoinSet::new();
    for (index, ((kind, namespace), mark)) in scopes.into_iter().zip(&marks).enumerate() {
        let refused = read::is_whole(&prefix) && inner.is_unread(&kind);
        let mark = if refused { REFUSED } else { *mark };
        let mut stream = Stream::new(inner.clone(), kind, namespace, prefix.clone(), mark);
        opening.spawn(async move { (index, stream.open().await.map(|opened| (stream, opened))) });
    }
    let (to, from) = mpsc::channel(CAPACITY);
    let mut streams = JoinSet::new();
    while let Some(opened) = opening.join_next().await {
        let (index, opened) = opened.map_err(|error| {
            inner.failed(Failure::Away(error.to_string()), &format!("watch of {prefix:?}"))
        })?;
        let (stream, opened) = opened?;
        let position = match &opened {
            Opened::Body(_) => None,
            Opened::Absent => Some(ABSENT),
            Opened::Refused => Some(REFUSED),
        };
        if let Some((mark, position)) = marks.get_mut(index).zip(position) {
            *mark = position;
        }
        streams.spawn(stream.run(opened, index, to.clone()));
    }
    let id = several.then(|| inner.positions(|p| p.open(&prefix, revision, &marks)));
    Ok(KubeWatch { inner, id, marks, revision, reported: revision, from, _to: to, _streams: streams })
}

impl KubeWatch {
    async fn item(&mut self) -> Result<WatchItem, StoreError> {
        loop {
            let Some((index, batch)) = self.from.recv().await else {
                return Err(self.inner.failed(Failure::Away("it has ended".to_owned()), "watch"));
            };
            let (events, mark) = match batch? {
                Batch::Events(events, mark) => (events, mark),
                Batch::Mark(mark) => (Vec::new(), mark),
            };
            if let Some(position) = self.marks.get_mut(index) {
                *position = mark;
            }
            let complete = self.marks.iter().copied().min().unwrap_or(0);
            let progress = complete > self.reported && complete < REFUSED;
            match events.last() {
                Some(last) => self.revision = last.revision(),
                None if progress => self.revision = self.revision.max(complete),
                None => {}
            }
            if let Some(id) = self.id {
                self.inner.positions(|p| p.moved(id, self.revision, &self.marks));
            }
            if !events.is_empty() {
                return Ok(WatchItem::Events(events));
            }
            if progress {
                self.reported = complete;
                return Ok(WatchItem::Progress(complete));
            }
        }
    }
}

impl Watch for KubeWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchItem, StoreError>> {
        Box::pin(self.item())
    }
}
