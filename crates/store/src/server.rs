//! The store process: an [`Engine`] on a unix socket.
//!
//! Only root and the user that runs the store may use it. No user of the store can slow down another: replies and
//! watches of a connection are bounded, and a connection that does not read stops itself only.

mod connection;

use crate::engine::{Engine, EngineConfig, OpenError};
use connection::Connection;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at the same time, at most.
const MAX_CONNECTIONS: usize = 4096;

/// How to run a store process.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The store itself.
    pub engine: EngineConfig,
    /// Where to listen. A socket that nobody serves any more is replaced.
    pub socket: PathBuf,
}

impl ServeConfig {
    /// The usual settings.
    pub fn new(file: impl Into<PathBuf>, socket: impl Into<PathBuf>) -> Self {
        Self { engine: EngineConfig::new(file), socket: socket.into() }
    }
}

/// Why a store process ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The file cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Somebody serves on the socket.
    #[error("another store is served on {socket}; stop it or choose another socket")]
    SocketInUse {
        /// The socket.
        socket: PathBuf,
    },
    /// Something else is at the socket's path.
    #[error("{socket} exists and is not a socket; remove it or choose another path")]
    NotASocket {
        /// The path.
        socket: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {socket}")]
    Listen {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store cannot write any more; a new start may help when the cause (a full disk) is gone.
    #[error("the store on {path} failed: {reason}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// Opens the store and serves it until `shutdown` is ready or the store fails.
pub async fn serve(config: ServeConfig, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let path = config.engine.path.clone();
    let opened = tokio::task::spawn_blocking(move || Engine::open(config.engine)).await;
    let engine = opened.map_err(|error| ServeError::Failed { path, reason: error.to_string() })??;
    serve_engine(engine, &config.socket, shutdown).await
}

/// Serves an open store until `shutdown` is ready or the store fails.
pub async fn serve_engine(
    engine: Engine,
    socket: &Path,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = Listening::new(socket).await?;
    tracing::info!(socket = %socket.display(), file = %engine.path().display(), "store is served");
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            reason = engine.failed() => {
                return Err(ServeError::Failed { path: engine.path().into(), reason });
            }
            accepted = listener.accept(&places) => {
                let Some((stream, place)) = accepted else { continue };
                let engine = engine.clone();
                connections.spawn(async move {
                    Connection::run(stream, engine).await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The listening socket; its file goes with it.
struct Listening {
    listener: UnixListener,
    socket: PathBuf,
}

impl Listening {
    async fn new(socket: &Path) -> Result<Self, ServeError> {
        clear_way(socket).await?;
        let listen_error = |source| ServeError::Listen { socket: socket.into(), source };
        let listener = UnixListener::bind(socket).map_err(listen_error)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(listen_error)?;
        Ok(Self { listener, socket: socket.into() })
    }

    /// The next user that is allowed, with its place among the connections.
    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
        let stream = match self.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of descriptors, most likely: others must go first.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                return None;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => Some((stream, place)),
            Err(_) => {
                tracing::warn!("refused a connection: there are {MAX_CONNECTIONS} already");
                None
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The lock on the store's file keeps a successor from listening before this process is done with it.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Removes what a dead store process left at the path.
async fn clear_way(socket: &Path) -> Result<(), ServeError> {
    use std::os::unix::fs::FileTypeExt;
    let listen_error = |source| ServeError::Listen { socket: socket.into(), source };
    match std::fs::symlink_metadata(socket) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(listen_error(source)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NotASocket { socket: socket.into() });
        }
        Ok(_) => {}
    }
    if UnixStream::connect(socket).await.is_ok() {
        return Err(ServeError::SocketInUse { socket: socket.into() });
    }
    std::fs::remove_file(socket).map_err(listen_error)
}
