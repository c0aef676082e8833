//! The agent's unix socket: frames in, answers out, one task per connection.
//!
//! The only place that looks at peers: root and the agent's own user may do everything, others may ask for status.

use anyhow::{Context, Result};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tortie_agent_api::{ApiError, MAX_FRAME, Request, Response, code, encode_frame};

/// Who answers.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request; `netns` is the descriptor that came with it.
    fn answer(&self, request: Request, netns: Option<OwnedFd>) -> impl Future<Output = Response> + Send;
}

/// Binds the socket (replacing a leftover of a dead agent) and serves it until the runtime ends.
pub(crate) fn serve(path: &Path, service: Arc<impl Service>) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("another agent is serving {} already", path.display());
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let service = service.clone();
                    tokio::spawn(async move {
                        if let Err(error) = connection(stream, &*service).await {
                            tracing::debug!(%error, "local connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept on the agent's socket failed");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    });
    Ok(())
}

async fn connection(mut stream: UnixStream, service: &impl Service) -> std::io::Result<()> {
    let peer = stream.peer_cred()?;
    let trusted = peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw();
    let mut reader = Reader::default();
    while let Some((bytes, netns)) = reader.frame(&stream).await? {
        let mut undo = None;
        let response = match serde_json::from_slice::<Request>(&bytes) {
            Ok(request) if trusted || matches!(request, Request::NodeStatus | Request::CniStatus) => {
                if let Request::Add(args) = &request {
                    undo = Some(Request::Del(args.clone()));
                }
                service.answer(request, netns).await
            }
            Ok(_) => {
                refuse(code::INVALID_ENVIRONMENT, format!("user {} may only ask for status", peer.uid()))
            }
            Err(e) => refuse(code::DECODE, format!("request cannot be understood: {e}")),
        };
        if let Err(error) = stream.write_all(&encode_frame(&response)?).await {
            // Nobody has heard that the pod is attached, so nobody might ever detach it.
            if let (Some(undo), Response::Added(_)) = (undo, response) {
                tracing::warn!(%error, "nobody takes the answer to an ADD; it is undone");
                service.answer(undo, None).await;
            }
            return Err(error);
        }
    }
    Ok(())
}

fn refuse(code: u32, message: String) -> Response {
    Response::Error(ApiError { code, message, details: String::new() })
}

/// Collects frames and the descriptors that come with them.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
    netns: Option<OwnedFd>,
}

impl Reader {
    async fn frame(&mut self, stream: &UnixStream) -> std::io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        loop {
            if let Some(head) = self.bytes.first_chunk::<4>() {
                let len = u32::from_le_bytes(*head) as usize;
                if len > MAX_FRAME {
                    return Err(std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        format!("frame of {len} bytes"),
                    ));
                }
                if self.bytes.len() >= 4 + len {
                    let rest = self.bytes.split_off(4 + len);
                    let frame = std::mem::replace(&mut self.bytes, rest).split_off(4);
                    return Ok(Some((frame, self.netns.take())));
                }
            }
            stream.readable().await?;
            match stream.try_io(Interest::READABLE, || self.receive(stream.as_raw_fd())) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn receive(&mut self, fd: i32) -> std::io::Result<usize> {
        let mut chunk = [0u8; 8192];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 4]);
        let (len, received) = {
            let mut slices = [IoSliceMut::new(&mut chunk)];
            let message = recvmsg::<()>(fd, &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
            let mut received = Vec::new();
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(fds) = control {
                    received.extend(fds);
                }
            }
            (message.bytes, received)
        };
        for raw in received {
            #[expect(
                unsafe_code,
                reason = "the kernel has just given us this descriptor, and nobody else knows it"
            )]
            // SAFETY: recvmsg put a new descriptor into this process; it is owned from here on.
            let owned = unsafe { OwnedFd::from_raw_fd(raw) };
            self.netns = Some(owned);
        }
        self.bytes.extend_from_slice(&chunk[..len]);
        Ok(len)
    }
}
