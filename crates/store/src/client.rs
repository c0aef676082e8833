//! Use of a store process over its socket.
//!
//! One connection carries all calls and watches; it comes back by itself. Calls while it is away wait a moment and then
//! fail with [`StoreError::Unavailable`]; a watch ends with its connection, and the caller lists again.

mod link;
mod watching;

pub use watching::ClientWatch;

use crate::engine::Status;
use crate::port::{BoxFuture, Entry, List, Op, Store, StoreError, Watch};
use crate::wire::{MAX_FRAME, Request, Response};
use link::{Down, Link, State};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How to reach a store process.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The socket.
    pub socket: PathBuf,
    /// How long a call waits for a connection.
    pub connect_timeout: Duration,
    /// How long a call waits for its answer.
    pub call_timeout: Duration,
}

impl ClientConfig {
    /// The usual settings.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            connect_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(5),
        }
    }
}

/// A user of a store process. Clones share the connection.
#[derive(Clone, Debug)]
pub struct EmbeddedClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    endpoint: Arc<str>,
    state: watch::Receiver<State>,
    keeper: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl EmbeddedClient {
    /// Connects with the usual settings.
    pub async fn connect(socket: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::connect_with(ClientConfig::new(socket)).await
    }

    /// Connects; fails if the store does not answer within the time for a connection.
    pub async fn connect_with(config: ClientConfig) -> Result<Self, StoreError> {
        let client = Self::start(config);
        client.link("connect").await?;
        Ok(client)
    }

    /// Does not wait for the store: calls fail until it is there. Needs a runtime.
    pub fn start(config: ClientConfig) -> Self {
        let endpoint: Arc<str> = format!("unix socket {}", config.socket.display()).into();
        let (sender, state) = watch::channel(State::Down(Down::never()));
        let keeper = tokio::spawn(link::keep(config.socket.clone(), endpoint.clone(), sender)).abort_handle();
        Self { inner: Arc::new(Inner { config, endpoint, state, keeper }) }
    }

    /// Figures of the store.
    pub async fn status(&self) -> Result<Status, StoreError> {
        match self.call("status", &Request::Status).await? {
            Response::Status(status) => Ok(status),
            other => Err(self.unexpected("status", &other)),
        }
    }

    /// Forgets the changes up to `revision`: watches cannot start before it any more.
    pub async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.revision("compact", &Request::Compact { revision }).await.map(|_| ())
    }

    /// Has the store process write a copy of the store to `path` (a path of its own, with no file there); answers the
    /// revision of the copy.
    pub async fn backup(&self, path: &Path) -> Result<u64, StoreError> {
        let Some(path) = path.to_str() else {
            let reason = format!("the path {} is not UTF-8", path.display());
            return Err(StoreError::Invalid { doing: "backup".to_owned(), reason });
        };
        self.revision("backup", &Request::Backup { path: path.to_owned() }).await
    }

    async fn revision(&self, doing: &str, request: &Request) -> Result<u64, StoreError> {
        match self.call(doing, request).await? {
            Response::Revision(revision) => Ok(revision),
            other => Err(self.unexpected(doing, &other)),
        }
    }

    async fn call(&self, doing: &str, request: &Request) -> Result<Response, StoreError> {
        let link = self.link(doing).await?;
        let answer = self.within(doing, link.call(request)).await?.ok_or_else(|| self.lost(doing, &link))?;
        match answer {
            Response::Error(error) => Err(error),
            other => Ok(other),
        }
    }

    async fn within<T>(&self, doing: &str, answer: impl Future<Output = T>) -> Result<T, StoreError> {
        let limit = self.inner.config.call_timeout;
        let answer = timeout(limit, answer).await;
        answer.map_err(|_| {
            self.unavailable(doing, format!("no answer within {limit:?}; the outcome is unknown"))
        })
    }

    /// The connection, waited for if it is away.
    async fn link(&self, doing: &str) -> Result<Arc<Link>, StoreError> {
        let mut state = self.inner.state.clone();
        let up = async {
            loop {
                let down = match &*state.borrow_and_update() {
                    State::Up(link) => return Ok(link.clone()),
                    State::Down(down) => down.clone(),
                };
                if down.denied {
                    return Err(down);
                }
                if state.changed().await.is_err() {
                    return Err(down);
                }
            }
        };
        match timeout(self.inner.config.connect_timeout, up).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(down)) => Err(self.down(doing, down)),
            Err(_) => {
                let down = match &*self.inner.state.borrow() {
                    State::Up(link) => return Ok(link.clone()),
                    State::Down(down) => down.clone(),
                };
                Err(self.down(doing, down))
            }
        }
    }

    fn down(&self, doing: &str, down: Down) -> StoreError {
        if down.denied {
            let (endpoint, doing) = (self.inner.endpoint.to_string(), doing.to_owned());
            return StoreError::Denied { endpoint, doing, reason: down.reason.to_string() };
        }
        self.unavailable(doing, down.reason.to_string())
    }

    fn lost(&self, doing: &str, link: &Link) -> StoreError {
        self.unavailable(doing, format!("{}; the outcome is unknown", link.end()))
    }

    fn unavailable(&self, doing: &str, reason: String) -> StoreError {
        let (endpoint, doing) = (self.inner.endpoint.to_string(), doing.to_owned());
        StoreError::Unavailable { endpoint, doing, reason }
    }

    fn unexpected(&self, doing: &str, answer: &Response) -> StoreError {
        let reason = format!("{doing} was answered by {answer:?}").chars().take(200).collect();
        StoreError::Corrupt { endpoint: self.inner.endpoint.to_string(), reason }
    }
}

// === impl Store ===

impl Store for EmbeddedClient {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            let doing = format!("get {key}");
            match self.call(&doing, &Request::Get { key: key.to_owned() }).await? {
                Response::Entry(entry) => Ok(entry),
                other => Err(self.unexpected(&doing, &other)),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            let doing = format!("list {prefix}");
            match self.call(&doing, &Request::List { prefix: prefix.to_owned() }).await? {
                // The link has put the parts together.
                Response::Part { entries, revision, .. } => {
                    Ok(List { entries, revision, unread: Vec::new() })
                }
                other => Err(self.unexpected(&doing, &other)),
            }
        })
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let request = Request::Commit { ops };
            if request.size() > MAX_FRAME {
                let reason = format!("a commit has at most {} bytes", crate::engine::MAX_COMMIT);
                return Err(StoreError::Invalid { doing: "commit".to_owned(), reason });
            }
            self.revision("commit", &request).await
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let doing = format!("watch {prefix}");
            let link = self.link(&doing).await?;
            let request = Request::Watch { prefix: prefix.to_owned(), revision };
            let started = self.within(&doing, link.watch(&request)).await?;
            let (answer, items, ticket) = started.ok_or_else(|| self.lost(&doing, &link))?;
            match answer {
                Response::Watching => {
                    let endpoint = self.inner.endpoint.clone();
                    Ok(Box::new(ClientWatch::new(items, ticket, endpoint, prefix)) as Box<dyn Watch>)
                }
                Response::Error(error) => Err(error),
                other => Err(self.unexpected(&doing, &other)),
            }
        })
    }
}
