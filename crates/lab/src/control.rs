//! What commands and the supervisor say to each other.
//!
//! Frames of JSON (the agent socket's codec) over a unix stream socket. A command sends one [`Request`] per
//! connection; the supervisor answers with any number of [`Event::Progress`] and [`Event::Item`], then one
//! [`Event::Done`] or [`Event::Failed`]. Closing the connection cancels what can be cancelled.

use crate::dirs::LabDir;
use crate::spec::LabSpec;
use anyhow::{Context as _, anyhow, bail};
use nix::sys::socket::{getsockopt, sockopt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tortie_agent_api::{MAX_FRAME, encode_frame, read_frame, write_frame};

/// What the supervisor tells while it works, and in the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// What is being done, for a person who waits.
    Progress {
        /// One line.
        message: String,
    },
    /// A part of the result, as soon as it is known.
    Item {
        /// Shape depends on the request.
        item: Value,
    },
    /// Finished.
    Done {
        /// Shape depends on the request.
        result: Value,
    },
    /// Did not work.
    Failed {
        /// The chain of errors, outermost first.
        chain: Vec<String>,
    },
}

impl Event {
    pub(crate) fn progress(message: impl Into<String>) -> Self {
        Self::Progress { message: message.into() }
    }

    pub(crate) fn of_result<T: Serialize>(result: anyhow::Result<T>) -> Self {
        match result.and_then(|r| Ok(serde_json::to_value(r)?)) {
            Ok(result) => Self::Done { result },
            Err(error) => Self::Failed { chain: error.chain().map(ToString::to_string).collect() },
        }
    }
}

/// Rebuilds an error from its chain.
fn from_chain(chain: Vec<String>) -> anyhow::Error {
    let mut links = chain.into_iter().rev();
    let innermost = anyhow!(links.next().unwrap_or_else(|| "unknown error".to_owned()));
    links.fold(innermost, |error, link| error.context(link))
}

/// The environment and place of a command to be run inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Name of the network namespace under `/run/netns`.
    pub(crate) netns: String,
    /// Variables to set.
    pub(crate) env: Vec<(String, String)>,
    /// The process whose other namespaces the place has, if it has any of its own.
    #[serde(default)]
    pub(crate) space: Option<i32>,
}

/// A connection of a command to the supervisor of a lab.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    lab: String,
}

impl Client {
    /// Connects to a lab; an error if it is not up.
    pub(crate) fn connect(dir: &LabDir) -> anyhow::Result<Self> {
        match Self::try_connect(dir)? {
            Some(client) => Ok(client),
            None => {
                bail!("no lab {:?} is up; start it with `tortie lab up{}`", dir.name(), name_flag(dir.name()))
            }
        }
    }

    /// Connects to a lab; `None` if it is not up.
    pub(crate) fn try_connect(dir: &LabDir) -> anyhow::Result<Option<Self>> {
        let path = dir.control_socket();
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Some(Self { stream, lab: dir.name().to_owned() })),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot connect to {}", path.display())),
        }
    }

    /// The supervisor's process id, as the kernel of the caller's pid namespace tells it.
    pub(crate) fn supervisor_pid(&self) -> anyhow::Result<i32> {
        let peer =
            getsockopt(&self.stream, sockopt::PeerCredentials).context("cannot ask who owns the socket")?;
        Ok(peer.pid())
    }

    /// Sends a request and passes on what comes before its result.
    pub(crate) fn call<T: DeserializeOwned>(
        &mut self,
        request: &crate::request::Request,
        on_event: &mut dyn FnMut(Event),
    ) -> anyhow::Result<T> {
        write_frame(&mut self.stream, request)
            .with_context(|| format!("cannot speak to lab {:?}", self.lab))?;
        self.answer(on_event)
    }

    /// Waits for the result of a request that has been sent.
    fn answer<T: DeserializeOwned>(&mut self, on_event: &mut dyn FnMut(Event)) -> anyhow::Result<T> {
        loop {
            match read_frame::<Event>(&mut self.stream) {
                Ok(Some(Event::Done { result })) => {
                    return serde_json::from_value(result)
                        .context("the lab's answer makes no sense; is it of another version?");
                }
                Ok(Some(Event::Failed { chain })) => return Err(from_chain(chain)),
                Ok(Some(event)) => on_event(event),
                Ok(None) => bail!("lab {:?} went down before it answered", self.lab),
                Err(e) => return Err(e).with_context(|| format!("lab {:?} stopped answering", self.lab)),
            }
        }
    }
}

/// ` --name X`, unless X is the default.
pub(crate) fn name_flag(name: &str) -> String {
    if name == LabSpec::DEFAULT_NAME { String::new() } else { format!(" --name {name}") }
}

/// Reads one frame; `None` at the end of the stream.
pub(crate) async fn read_async<T: DeserializeOwned>(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
) -> std::io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len).await {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_FRAME {
        return Err(std::io::Error::new(ErrorKind::InvalidData, format!("frame of {len} bytes is too long")));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).await?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// Writes one frame.
pub(crate) async fn write_async<T: Serialize>(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    message: &T,
) -> std::io::Result<()> {
    to.write_all(&encode_frame(message)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_chain() {
        let error = anyhow!("no route").context("cannot reach node2").context("step 3");
        let Event::Failed { chain } = Event::of_result::<()>(Err(error)) else { unreachable!() };
        assert_eq!(chain, ["step 3", "cannot reach node2", "no route"]);
        assert_eq!(format!("{:#}", from_chain(chain)), "step 3: cannot reach node2: no route");
    }
}
