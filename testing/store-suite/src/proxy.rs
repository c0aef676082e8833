//! A way to a store that can be cut, blocked and slowed down.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the way does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It lets everything through.
    Open,
    /// Connections end, new ones are not answered.
    Cut,
    /// Connections stand, but nothing gets through.
    Silent,
    /// Every piece of data takes so long.
    Slow(Duration),
}

/// Where the store is.
#[derive(Clone, Debug)]
pub enum Target {
    /// A port of this machine.
    Port(u16),
    /// A socket.
    Socket(PathBuf),
}

/// The way to a store. It ends with this value.
pub struct Proxy {
    way: watch::Sender<Way>,
    /// How often the way was cut: connections of before end.
    cuts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

enum Listener {
    Port(TcpListener),
    Socket(UnixListener),
}

impl Listener {
    async fn accept(&self) -> Box<dyn Stream> {
        match self {
            Self::Port(listener) => Box::new(listener.accept().await.unwrap().0),
            Self::Socket(listener) => Box::new(listener.accept().await.unwrap().0),
        }
    }
}

impl Proxy {
    /// A way through a port of its own, which it answers.
    pub async fn on_port(target: Target) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (Self::start(target, Listener::Port(listener)), port)
    }

    /// A way through a socket of its own.
    pub fn on_socket(target: Target, socket: PathBuf) -> Self {
        Self::start(target, Listener::Socket(UnixListener::bind(socket).unwrap()))
    }

    fn start(target: Target, listener: Listener) -> Self {
        let (way, seen) = watch::channel(Way::Open);
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = cuts.clone();
        let task = tokio::spawn(async move {
            loop {
                let near = listener.accept().await;
                // A connection that is not wanted ends at once.
                if *seen.borrow() == Way::Cut {
                    continue;
                }
                tokio::spawn(connection(near, target.clone(), seen.clone(), counted.clone()));
            }
        });
        Self { way, cuts, task }
    }

    /// Changes what it does.
    pub fn set(&self, way: Way) {
        if way == Way::Cut {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
        self.way.send_replace(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(
    near: Box<dyn Stream>,
    target: Target,
    mut way: watch::Receiver<Way>,
    cuts: Arc<AtomicU64>,
) {
    let far: std::io::Result<Box<dyn Stream>> = match target {
        Target::Port(port) => TcpStream::connect(("127.0.0.1", port)).await.map(|s| Box::new(s) as _),
        Target::Socket(path) => UnixStream::connect(path).await.map(|s| Box::new(s) as _),
    };
    // The store is away: so is the connection.
    let Ok(far) = far else { return };
    let born = cuts.load(Ordering::Relaxed);
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let (there_way, back_way) = (way.clone(), way.clone());
    let cut = async { while cuts.load(Ordering::Relaxed) == born && way.changed().await.is_ok() {} };
    tokio::select! {
        () = cut => {}
        () = pipe(near_read, far_write, there_way) => {}
        () = pipe(far_read, near_write, back_way) => {}
    }
}

async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: watch::Receiver<Way>,
) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut chunk).await {
        if way.wait_for(|way| *way != Way::Silent).await.is_err() {
            return;
        }
        let now = *way.borrow();
        if let Way::Slow(pause) = now {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(&chunk[..len]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}
