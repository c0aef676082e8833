//! One connection, and the task that brings it back.

use crate::port::{Entry, StoreError, WatchItem};
use crate::wire::{self, Malformed, Request, Response, WINDOW};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// First and longest pause between attempts to connect.
const RETRY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));
/// A store that accepts a connection must say hello within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether there is a connection.
#[derive(Clone, Debug)]
pub(super) enum State {
    Up(Arc<Link>),
    Down(Down),
}

/// Why there is none.
#[derive(Clone, Debug)]
pub(super) struct Down {
    pub(super) reason: Arc<str>,
    /// Trying again will not help.
    pub(super) denied: bool,
}

impl Down {
    pub(super) fn never() -> Self {
        Self { reason: "not connected yet".into(), denied: false }
    }

    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into().into(), denied: false }
    }
}

/// Keeps a connection until it is aborted.
pub(super) async fn keep(socket: PathBuf, endpoint: Arc<str>, state: watch::Sender<State>) {
    let mut pause = RETRY.0;
    loop {
        match greet(&socket).await {
            Ok((input, output)) => {
                tracing::debug!(%endpoint, "connected to the store");
                pause = RETRY.0;
                let (link, queue) = Link::new();
                let link = Arc::new(link);
                state.send_replace(State::Up(link.clone()));
                let reason = tokio::select! {
                    reason = read(input, &link) => reason,
                    reason = write(output, queue) => reason,
                };
                tracing::debug!(%endpoint, reason, "lost the store");
                state.send_replace(State::Down(Down::because(reason.clone())));
                link.close(reason);
            }
            Err(down) => drop(state.send_replace(State::Down(down))),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Connects and exchanges hellos.
async fn greet(socket: &Path) -> Result<(OwnedReadHalf, OwnedWriteHalf), Down> {
    let hello = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => " (is the store running, and is this its socket?)",
                std::io::ErrorKind::ConnectionRefused => " (the store is not running)",
                _ => "",
            };
            Down::because(format!("{error}{hint}"))
        })?;
        let (mut input, mut output) = stream.into_split();
        let broken = |error: std::io::Error| Down::because(error.to_string());
        output.write_all(&Request::Hello { version: wire::VERSION }.encode(0)).await.map_err(broken)?;
        let mut read = BytesMut::with_capacity(256);
        loop {
            let frame = wire::split_frame(&mut read).map_err(|error| Down::because(error.to_string()))?;
            if let Some(frame) = frame {
                return match Response::decode(frame) {
                    Ok((_, Response::Hello { version: wire::VERSION })) => Ok((input, output)),
                    Ok((_, Response::Error(error))) => {
                        let denied = matches!(error, StoreError::Denied { .. } | StoreError::Invalid { .. });
                        Err(Down { reason: error.to_string().into(), denied })
                    }
                    Ok(_) => Err(Down::because("the store did not say hello")),
                    Err(error) => Err(Down::because(error.to_string())),
                };
            }
            if input.read_buf(&mut read).await.map_err(broken)? == 0 {
                return Err(Down::because("the store closed the connection"));
            }
        }
    };
    tokio::time::timeout(HELLO_TIMEOUT, hello)
        .await
        .unwrap_or_else(|_| Err(Down::because("the store is silent")))
}

/// Requests that may wait to be sent; more of them wait outside the queue, each for its own time.
const MAX_UNSENT: usize = 256;

#[derive(Debug)]
struct Outgoing {
    frame: Bytes,
    /// Given back when the frame has been written.
    _place: Option<OwnedSemaphorePermit>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Has no bound of its own: calls need a place among the unsent, and a watch adds two short frames at most.
    outgoing: mpsc::UnboundedSender<Outgoing>,
    unsent: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    end: OnceLock<String>,
}

#[derive(Debug, Default)]
struct Waiting {
    closed: bool,
    last_id: u64,
    calls: HashMap<u64, Call>,
}

#[derive(Debug)]
enum Call {
    Once { reply: oneshot::Sender<Response>, parts: Vec<Entry> },
    Watch { started: Option<oneshot::Sender<Response>>, items: mpsc::Sender<Result<WatchItem, StoreError>> },
}

/// Items of a watch as they come in; closed when the connection ends.
pub(super) type Items = mpsc::Receiver<Result<WatchItem, StoreError>>;

/// A place among those who wait for answers; left when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    link: Arc<Link>,
    id: u64,
    cancel: bool,
}

impl Link {
    fn new() -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let unsent = Arc::new(Semaphore::new(MAX_UNSENT));
        (Self { outgoing, unsent, waiting: Mutex::default(), end: OnceLock::new() }, queue)
    }

    /// Sends a request and waits for the answer; nothing if the connection has ended or does so meanwhile.
    pub(super) async fn call(self: &Arc<Self>, request: &Request) -> Option<Response> {
        let place = self.place().await;
        let (reply, answer) = oneshot::channel();
        let ticket = self.enter(Call::Once { reply, parts: Vec::new() }, false)?;
        self.send(request.encode(ticket.id), place);
        answer.await.ok()
    }

    /// Starts a watch and waits for the first answer; nothing if the connection has ended or does so meanwhile.
    pub(super) async fn watch(self: &Arc<Self>, request: &Request) -> Option<(Response, Items, Ticket)> {
        let place = self.place().await;
        let (started, answer) = oneshot::channel();
        // One more than the window: the error that ends it needs no grant.
        let (items, receiver) = mpsc::channel(WINDOW as usize + 1);
        let ticket = self.enter(Call::Watch { started: Some(started), items }, true)?;
        self.send(request.encode(ticket.id), place);
        Some((answer.await.ok()?, receiver, ticket))
    }

    /// Why the connection ended.
    pub(super) fn end(&self) -> &str {
        self.end.get().map_or("the connection was lost", String::as_str)
    }

    fn enter(self: &Arc<Self>, call: Call, cancel: bool) -> Option<Ticket> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return None;
        }
        waiting.last_id += 1;
        let id = waiting.last_id;
        waiting.calls.insert(id, call);
        Some(Ticket { link: self.clone(), id, cancel })
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.unsent.clone().acquire_owned().await.ok()
    }

    fn send(&self, frame: Bytes, place: Option<OwnedSemaphorePermit>) {
        // If the connection is gone, so is the call of whoever waits for the answer.
        let _ = self.outgoing.send(Outgoing { frame, _place: place });
    }

    fn close(&self, reason: String) {
        let _ = self.end.set(reason);
        let mut waiting = self.waiting();
        waiting.closed = true;
        let calls = std::mem::take(&mut waiting.calls);
        drop(waiting);
        // Their ends of the channels close with this.
        drop(calls);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, id: u64, response: Response) -> Result<(), Malformed> {
        let mut waiting = self.waiting();
        // Whoever asked may have given up since.
        let Some(call) = waiting.calls.get_mut(&id) else { return Ok(()) };
        match (call, response) {
            (Call::Once { parts, .. }, Response::Part { entries, last: false, .. }) => {
                parts.extend(entries);
                Ok(())
            }
            (Call::Once { .. }, response) => {
                let Some(Call::Once { reply, mut parts }) = waiting.calls.remove(&id) else { return Ok(()) };
                let response = match response {
                    Response::Part { mut entries, revision, last } if !parts.is_empty() => {
                        parts.append(&mut entries);
                        Response::Part { entries: parts, revision, last }
                    }
                    other => other,
                };
                let _ = reply.send(response);
                Ok(())
            }
            (Call::Watch { started, items }, response) => {
                let item = match (started.take(), response) {
                    (Some(started), response) => {
                        let _ = started.send(response);
                        return Ok(());
                    }
                    (None, Response::Events(events)) => Ok(WatchItem::Events(events)),
                    (None, Response::Progress(revision)) => Ok(WatchItem::Progress(revision)),
                    (None, Response::Error(error)) => Err(error),
                    (None, _) => return Err(Malformed("an answer does not belong to a watch")),
                };
                match items.try_send(item) {
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        Err(Malformed("a watch sent more than its window"))
                    }
                    Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
                }
            }
        }
    }
}

impl Ticket {
    /// Lets the watch send so many items more.
    pub(super) fn grant(&self, items: u32) {
        self.link.send(Request::Grant { items }.encode(self.id), None);
    }

    /// Why the connection ended.
    pub(super) fn end(&self) -> &str {
        self.link.end()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.link.waiting().calls.remove(&self.id);
        if self.cancel {
            self.link.send(Request::Cancel.encode(self.id), None);
        }
    }
}

/// Takes answers until the connection ends; says why.
async fn read(mut input: OwnedReadHalf, link: &Link) -> String {
    let mut read = BytesMut::with_capacity(16 << 10);
    loop {
        let delivered = loop {
            match wire::split_frame(&mut read) {
                Ok(Some(frame)) => {
                    let delivered = match Response::decode(frame) {
                        // The store's last words about the connection itself.
                        Ok((0, Response::Error(error))) => return error.to_string(),
                        Ok((id, response)) => link.deliver(id, response),
                        Err(error) => Err(error),
                    };
                    if delivered.is_err() {
                        break delivered;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = delivered {
            return error.to_string();
        }
        match input.read_buf(&mut read).await {
            Ok(0) => return "the store closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// Sends requests until the connection ends; says why.
async fn write(mut output: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Outgoing>) -> String {
    const TOGETHER: usize = 64;
    let mut batch = Vec::with_capacity(TOGETHER);
    while queue.recv_many(&mut batch, TOGETHER).await > 0 {
        let written = match &batch[..] {
            [single] => output.write_all(&single.frame).await,
            many => {
                let frames: Vec<&[u8]> = many.iter().map(|outgoing| &*outgoing.frame).collect();
                output.write_all(&frames.concat()).await
            }
        };
        if let Err(error) = written {
            return error.to_string();
        }
        batch.clear();
    }
    "the connection is not used any more".to_owned()
}
