//! The socket side of talking to BIRD: connect, ask, time-outs. What replies mean is in `tortie-bird`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tortie_bird::{
    ProtocolState, Reply, ReplyError, RouteCount, parse_greeting, parse_protocols, parse_route_counts, quote,
};

/// Patience with one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asking BIRD failed.
#[derive(Debug, thiserror::Error)]
pub enum BirdError {
    /// Nobody listens.
    #[error("BIRD does not listen on {}", socket.display())]
    Connect {
        /// The control socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to BIRD broke during {command:?}")]
    Io {
        /// What was asked.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// No answer in time.
    #[error("BIRD did not answer {command:?} in {} s", PATIENCE.as_secs())]
    Silent {
        /// What was asked.
        command: String,
    },
    /// It answered nonsense.
    #[error(transparent)]
    Nonsense(#[from] ReplyError),
    /// The name of a file cannot be told to it.
    #[error("{} cannot be told to BIRD: its commands know no quotes within names", file.display())]
    FileName {
        /// The file.
        file: PathBuf,
    },
    /// It refused.
    #[error("BIRD refused {command:?}: {reason}")]
    Refused {
        /// What was asked.
        command: String,
        /// BIRD's words.
        reason: String,
    },
}

/// A connection to BIRD's control socket.
#[derive(Debug)]
pub struct Birdc {
    stream: UnixStream,
    buffer: String,
    version: String,
}

impl Birdc {
    /// Connects and waits for the greeting.
    pub async fn connect(socket: &Path) -> Result<Self, BirdError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| BirdError::Connect { socket: socket.to_owned(), source })?;
        let mut birdc = Self { stream, buffer: String::new(), version: String::new() };
        let greeting = birdc.reply("connect").await?;
        parse_greeting(&greeting).unwrap_or_default().clone_into(&mut birdc.version);
        Ok(birdc)
    }

    /// The daemon's version, from its greeting.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Checks and takes a configuration file without a restart; sessions that did not change are not disturbed.
    pub async fn configure(&mut self, file: &Path) -> Result<(), BirdError> {
        self.configure_check(file).await?;
        self.ask(&format!("configure {}", quoted(file)?)).await.map(drop)
    }

    /// Checks a configuration file and leaves the running one alone.
    pub async fn configure_check(&mut self, file: &Path) -> Result<(), BirdError> {
        self.ask(&format!("configure check {}", quoted(file)?)).await.map(drop)
    }

    /// All protocols and their states.
    pub async fn protocols(&mut self) -> Result<Vec<ProtocolState>, BirdError> {
        Ok(parse_protocols(&self.ask("show protocols").await?))
    }

    /// Number of routes of each table.
    pub async fn route_counts(&mut self) -> Result<Vec<RouteCount>, BirdError> {
        Ok(parse_route_counts(&self.ask("show route table all count").await?))
    }

    /// One command.
    pub async fn ask(&mut self, command: &str) -> Result<Reply, BirdError> {
        self.stream
            .write_all(format!("{command}\n").as_bytes())
            .await
            .map_err(|source| BirdError::Io { command: command.to_owned(), source })?;
        let reply = self.reply(command).await?;
        match reply.error() {
            Some(reason) => Err(BirdError::Refused { command: command.to_owned(), reason }),
            None => Ok(reply),
        }
    }

    async fn reply(&mut self, command: &str) -> Result<Reply, BirdError> {
        let read = async {
            loop {
                if let Some(reply) = Reply::take(&mut self.buffer)? {
                    return Ok(reply);
                }
                let mut chunk = [0; 4096];
                let io = |source| BirdError::Io { command: command.to_owned(), source };
                match self.stream.read(&mut chunk).await.map_err(io)? {
                    0 => return Err(io(io::ErrorKind::UnexpectedEof.into())),
                    n => self.buffer.push_str(&String::from_utf8_lossy(chunk.get(..n).unwrap_or_default())),
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .map_err(|_| BirdError::Silent { command: command.to_owned() })?
    }
}

fn quoted(file: &Path) -> Result<String, BirdError> {
    file.to_str().and_then(quote).ok_or_else(|| BirdError::FileName { file: file.to_owned() })
}
