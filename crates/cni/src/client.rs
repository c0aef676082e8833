//! One question to the agent over its unix socket, with the network namespace beside it.

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, connect, sendmsg, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use tortie_agent_api::{ApiError, Request, Response, code, encode_frame, read_frame};

/// The runtime gives up after minutes; the agent answers in milliseconds or says why not.
const ANSWER_SECONDS: i64 = 60;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum AskError {
    /// Nobody listens.
    NoAgent(io::Error),
    /// The connection broke or timed out.
    Broken(io::Error),
}

impl AskError {
    /// The error as CNI sees it.
    pub(crate) fn into_error(self, socket: &Path) -> ApiError {
        match self {
            Self::NoAgent(e) => ApiError {
                code: code::TRY_AGAIN,
                message: format!("the node agent is not running: connect {}: {e}", socket.display()),
                details: "see whether the node's calico-node (tortie agent) pod or service is up; the runtime tries again".to_owned(),
            },
            Self::Broken(e) => ApiError {
                code: code::TRY_AGAIN,
                message: format!("the node agent at {} did not answer: {e}", socket.display()),
                details: "it was restarted or is overloaded; its log says more; the runtime tries again".to_owned(),
            },
        }
    }
}

/// Asks and waits for the answer.
pub(crate) fn ask(socket: &Path, request: &Request, netns: Option<File>) -> Result<Response, AskError> {
    let mut stream = open(socket).map_err(AskError::NoAgent)?;
    send(&mut stream, request, netns).map_err(AskError::Broken)?;
    match read_frame(&mut stream) {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Err(AskError::Broken(io::ErrorKind::UnexpectedEof.into())),
        Err(e) => Err(AskError::Broken(e)),
    }
}

fn open(path: &Path) -> io::Result<UnixStream> {
    let fd: OwnedFd = crate::stream_socket()?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
    Ok(UnixStream::from(fd))
}

fn send(stream: &mut UnixStream, request: &Request, netns: Option<File>) -> io::Result<()> {
    let bytes = encode_frame(request)?;
    let raw: Vec<i32> = netns.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &control[..0] } else { &control[..] };
    let sent =
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    stream.write_all(&bytes[sent..])
}
