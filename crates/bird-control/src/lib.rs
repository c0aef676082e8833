//! The socket side of talking to BIRD: connect, ask, time-outs. What replies mean is in `tortie-bird`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tortie_bird::{ProtocolState, Reply, ReplyError, parse_protocols};

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
}

impl Birdc {
    /// Connects and waits for the greeting.
    pub async fn connect(socket: &Path) -> Result<Self, BirdError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| BirdError::Connect { socket: socket.to_owned(), source })?;
        let mut birdc = Self { stream, buffer: String::new() };
        birdc.reply("connect").await?;
        Ok(birdc)
    }

    /// Checks and takes a configuration file without a restart; sessions that did not change are not disturbed.
    pub async fn configure(&mut self, file: &Path) -> Result<(), BirdError> {
        self.ask(&format!("configure check \"{}\"", file.display())).await?;
        self.ask(&format!("configure \"{}\"", file.display())).await.map(drop)
    }

    /// All protocols and their states.
    pub async fn protocols(&mut self) -> Result<Vec<ProtocolState>, BirdError> {
        Ok(parse_protocols(&self.ask("show protocols").await?))
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
