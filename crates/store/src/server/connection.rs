//! One user of the store.

use crate::backup;
use crate::engine::Engine;
use crate::port::{StoreError, Watch, WatchItem};
use crate::wire::{self, Malformed, Request, Response, WINDOW};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

/// Requests that may be unanswered, or answered and not yet read by the other side.
const MAX_IN_FLIGHT: usize = 256;
/// Lists being made or sent at the same time; a list may be long.
const MAX_LISTS: usize = 4;
/// Watches of one connection.
const MAX_WATCHES: usize = 4096;

pub(super) struct Connection {
    engine: Engine,
    outbox: Outbox,
    in_flight: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    watches: HashMap<u64, RunningWatch>,
    tasks: JoinSet<()>,
}

struct RunningWatch {
    window: Arc<Semaphore>,
    task: AbortHandle,
}

/// Frames on their way out. The queue has no bound of its own: every frame in it holds a place among the requests in
/// flight or in the window of a watch, and those are bounded.
#[derive(Clone)]
struct Outbox(mpsc::UnboundedSender<Outgoing>);

struct Outgoing {
    frame: Bytes,
    /// Given back when the frame has been written.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Outbox {
    fn send(&self, frame: Bytes, place: Option<Arc<OwnedSemaphorePermit>>) {
        // A closed queue means a closed connection: nobody waits for the answer.
        let _ = self.0.send(Outgoing { frame, _place: place });
    }
}

impl Connection {
    pub(super) async fn run(stream: UnixStream, engine: Engine) {
        let refused = refused(&stream);
        let (input, output) = stream.into_split();
        let (outbox, queue) = mpsc::unbounded_channel();
        let writing = write(output, queue);
        let mut connection = Self {
            engine,
            outbox: Outbox(outbox),
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            lists: Arc::new(Semaphore::new(MAX_LISTS)),
            watches: HashMap::new(),
            tasks: JoinSet::new(),
        };
        let reading = async move {
            let ended = match refused {
                Some(error) => {
                    tracing::warn!(%error, "refused a connection");
                    connection.outbox.send(Response::Error(error).encode(0), None);
                    Ok(())
                }
                None => connection.read(input).await,
            };
            if let Err(malformed) = ended {
                tracing::warn!(%malformed, "closed a connection");
                let reason = malformed.to_string();
                let error = StoreError::Invalid { doing: "request".to_owned(), reason };
                connection.outbox.send(Response::Error(error).encode(0), None);
            }
            // With `connection` go its watches and its end of the queue, and with that the writing ends.
        };
        tokio::join!(reading, writing);
    }

    async fn read(&mut self, mut input: OwnedReadHalf) -> Result<(), Malformed> {
        let mut read = BytesMut::with_capacity(16 << 10);
        loop {
            while let Some(frame) = wire::split_frame(&mut read)? {
                let (id, request) = Request::decode(frame)?;
                self.handle(id, request).await?;
            }
            match input.read_buf(&mut read).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection broke");
                    return Ok(());
                }
            }
        }
    }

    async fn handle(&mut self, id: u64, request: Request) -> Result<(), Malformed> {
        match request {
            Request::Grant { items } => return self.grant(id, items),
            Request::Cancel => {
                if let Some(watch) = self.watches.remove(&id) {
                    watch.task.abort();
                }
                return Ok(());
            }
            _ => {}
        }
        let place = self.in_flight.clone().acquire_owned().await;
        let place = Some(Arc::new(place.expect("the semaphore is never closed")));
        let outbox = self.outbox.clone();
        match request {
            Request::Hello { version: wire::VERSION } => {
                outbox.send(Response::Hello { version: wire::VERSION }.encode(id), place);
            }
            Request::Hello { version } => {
                let reason = format!("the store speaks version {}, not {version}", wire::VERSION);
                let error = StoreError::Invalid { doing: "connection".to_owned(), reason };
                outbox.send(Response::Error(error).encode(id), place);
            }
            Request::Get { key } => {
                let answer = self.engine.read(&key).map_or_else(Response::Error, Response::Entry);
                outbox.send(answer.encode(id), place);
            }
            Request::Commit { ops } => self.engine.submit(ops, move |result| {
                outbox.send(result.map_or_else(Response::Error, Response::Revision).encode(id), place);
            }),
            Request::List { prefix } => self.list(id, prefix, place),
            Request::Watch { prefix, revision } => self.watch(id, &prefix, revision, place),
            Request::Status => {
                let answer = self.engine.status().map_or_else(Response::Error, Response::Status);
                outbox.send(answer.encode(id), place);
            }
            Request::Compact { revision } => {
                let engine = self.engine.clone();
                self.spawn(async move {
                    let answer = engine.compact(revision).await.map(|()| revision);
                    outbox.send(answer.map_or_else(Response::Error, Response::Revision).encode(id), place);
                });
            }
            Request::Backup { path } => {
                let engine = self.engine.clone();
                self.spawn(async move {
                    let answer = blocking(move || backup::backup(&engine, &PathBuf::from(path))).await;
                    outbox.send(answer.map_or_else(Response::Error, Response::Revision).encode(id), place);
                });
            }
            Request::Grant { .. } | Request::Cancel => {}
        }
        Ok(())
    }

    fn list(&mut self, id: u64, prefix: String, place: Option<Arc<OwnedSemaphorePermit>>) {
        let (engine, outbox, lists) = (self.engine.clone(), self.outbox.clone(), self.lists.clone());
        self.spawn(async move {
            let list_place = Arc::new(lists.acquire_owned().await.expect("the semaphore is never closed"));
            let answer = blocking(move || {
                engine.read_all(&prefix).map(|list| Response::encode_list(id, &list.entries, list.revision))
            });
            match answer.await {
                Ok(frames) => {
                    for frame in frames {
                        outbox.send(frame, Some(list_place.clone()));
                    }
                }
                Err(error) => outbox.send(Response::Error(error).encode(id), place),
            }
        });
    }

    fn watch(&mut self, id: u64, prefix: &str, revision: u64, place: Option<Arc<OwnedSemaphorePermit>>) {
        self.watches.retain(|_, watch| !watch.task.is_finished());
        let started = if self.watches.len() >= MAX_WATCHES {
            let reason = format!("there are {MAX_WATCHES} watches on this connection already");
            Err(StoreError::Invalid { doing: format!("watch {prefix}"), reason })
        } else {
            self.engine.subscribe(prefix, revision)
        };
        let watch = match started {
            Ok(watch) => watch,
            Err(error) => return self.outbox.send(Response::Error(error).encode(id), place),
        };
        self.outbox.send(Response::Watching.encode(id), place);
        let window = Arc::new(Semaphore::new(WINDOW as usize));
        let task = self.spawn(pump(id, watch, window.clone(), self.outbox.clone()));
        self.watches.insert(id, RunningWatch { window, task });
    }

    fn grant(&mut self, id: u64, items: u32) -> Result<(), Malformed> {
        // A watch that has ended by itself is not in the map any more, or soon will not be.
        let Some(watch) = self.watches.get(&id) else { return Ok(()) };
        if watch.window.available_permits() + items as usize > WINDOW as usize {
            return Err(Malformed("a grant is larger than the window"));
        }
        watch.window.add_permits(items as usize);
        Ok(())
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task)
    }
}

/// Sends what a watch sees, as fast as the other side takes it.
async fn pump(id: u64, mut watch: impl Watch, window: Arc<Semaphore>, outbox: Outbox) {
    loop {
        window.acquire().await.expect("the semaphore is never closed").forget();
        let response = match watch.next().await {
            Ok(WatchItem::Events(events)) => Response::Events(events),
            Ok(WatchItem::Progress(revision)) => Response::Progress(revision),
            Err(error) => return outbox.send(Response::Error(error).encode(id), None),
        };
        outbox.send(response.encode(id), None);
    }
}

/// Writes frames, as many as wait in one go.
async fn write(mut output: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Outgoing>) {
    const TOGETHER: usize = 64;
    let mut batch = Vec::with_capacity(TOGETHER);
    let mut buffer = BytesMut::new();
    while queue.recv_many(&mut batch, TOGETHER).await > 0 {
        let written = match &batch[..] {
            [single] => output.write_all(&single.frame).await,
            many => {
                buffer.clear();
                for outgoing in many {
                    buffer.extend_from_slice(&outgoing.frame);
                }
                output.write_all(&buffer).await
            }
        };
        if written.is_err() {
            // The reading side sees the same end.
            return;
        }
        batch.clear();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(StoreError::Corrupt {
            endpoint: "store".to_owned(),
            reason: format!("a request panicked: {error}"),
        })
    })
}

/// Why the other side may not use the store.
fn refused(stream: &UnixStream) -> Option<StoreError> {
    // A socket pair has the credentials of this process.
    let own = UnixStream::pair().and_then(|(one, _other)| one.peer_cred());
    let reason = match (stream.peer_cred(), own) {
        (Ok(peer), Ok(own)) if may_use(peer.uid(), own.uid()) => return None,
        (Ok(peer), Ok(_)) => format!("user {} is neither root nor the user of the store", peer.uid()),
        (Err(error), _) | (_, Err(error)) => format!("the user is unknown: {error}"),
    };
    Some(StoreError::Denied { endpoint: "store".to_owned(), doing: "connect".to_owned(), reason })
}

fn may_use(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_may_use_the_store() {
        let cases =
            [(0, 1000, true), (1000, 1000, true), (0, 0, true), (1000, 0, false), (1001, 1000, false)];
        for (peer, own, expected) in cases {
            assert_eq!(may_use(peer, own), expected, "user {peer}, store run by {own}");
        }
    }
}
