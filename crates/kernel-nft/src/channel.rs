//! The netlink socket: sends transactions, reads dumps.

use crate::error::{ChannelError, OpenError};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv, setsockopt, sockopt};
use std::os::fd::AsRawFd;
use tortie_nft::decode::{self, Answer, Decoded};

/// The kernel builds dump answers of at most 32 KiB each.
const RECEIVE_BUFFER: usize = 128 * 1024;
/// Room for one error per message of a large transaction.
const SOCKET_RECEIVE_BUFFER: usize = 8 << 20;
/// What the kernel keeps of the send buffer for itself, generously.
const SEND_OVERHEAD: usize = 1024;
/// How often a disturbed dump is repeated.
const DUMP_TRIES: usize = 20;

/// A socket to nf_tables of one network namespace.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    buffer: Vec<u8>,
    seq: u32,
}

impl Channel {
    pub(crate) fn open() -> Result<Self, OpenError> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(OpenError::Socket)?;
        socket.bind_auto().map_err(OpenError::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(OpenError::Socket)?;
        let option = |option| move |source| OpenError::Option { option, source };
        socket.set_ext_ack(true).map_err(option("NETLINK_EXT_ACK"))?;
        socket.set_cap_ack(true).map_err(option("NETLINK_CAP_ACK"))?;
        // Without privilege in the initial user namespace the limit of the system has to do.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &SOCKET_RECEIVE_BUFFER)
                .map_err(|e| option("SO_RCVBUF")(e.into()))?;
        }
        Ok(Self { socket, buffer: vec![0; RECEIVE_BUFFER], seq: 0 })
    }

    /// Makes room for a transaction of `wanted` bytes if that is possible, and answers how large one may be.
    pub(crate) fn send_limit(&self, wanted: usize) -> usize {
        let limit = || {
            let bytes = getsockopt(&self.socket, sockopt::SndBuf).unwrap_or(0);
            bytes.saturating_sub(SEND_OVERHEAD)
        };
        if wanted > limit() {
            // The kernel doubles the number.
            let size = wanted / 2 + 2 * SEND_OVERHEAD;
            if setsockopt(&self.socket, sockopt::SndBufForce, &size).is_err() {
                // A refusal leaves the buffer as it is, and the limit says how large that is.
                let _ = setsockopt(&self.socket, sockopt::SndBuf, &size);
            }
        }
        limit()
    }

    /// Sends a transaction, and answers all that the kernel says about it: it is done when the send returns.
    pub(crate) fn transact(&mut self, bytes: &[u8]) -> Result<Vec<Answer>, ChannelError> {
        self.drain()?;
        self.send(bytes)?;
        self.drain()
    }

    fn send(&self, bytes: &[u8]) -> Result<(), ChannelError> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let source = Errno::from_raw(e.raw_os_error().unwrap_or(0));
                    return Err(ChannelError::Send { bytes: bytes.len(), source });
                }
            }
        }
    }

    /// Reads what is there, without waiting.
    fn drain(&mut self) -> Result<Vec<Answer>, ChannelError> {
        let mut answers = Vec::new();
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(messages) => answers.extend(messages.into_iter().filter_map(|m| match m {
                    Decoded::Answer(answer) => Some(answer),
                    _ => None,
                })),
                Err(Errno::EAGAIN) => return Ok(answers),
                Err(e) => return Err(ChannelError::Receive(e)),
            }
        }
    }

    fn receive(&mut self, flags: MsgFlags) -> Result<Vec<Decoded>, Errno> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, flags) {
                Ok(n) => return Ok(decode::messages(self.buffer.get(..n).unwrap_or_default())),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Asks for something, again if the answer was disturbed. `None` if there is no such thing.
    pub(crate) fn ask(
        &mut self,
        what: &'static str,
        request: impl Fn(u32) -> Vec<u8>,
    ) -> Result<Option<Vec<Decoded>>, ChannelError> {
        self.repeat(what, request, Self::read_answer)
    }

    /// Sends a question and reads its answer, again if that was disturbed (`EINTR`). `None` if there is no such thing.
    pub(crate) fn repeat<T>(
        &mut self,
        what: &'static str,
        request: impl Fn(u32) -> Vec<u8>,
        mut read: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<Option<T>, ChannelError> {
        for _ in 0..DUMP_TRIES {
            self.seq = self.seq.wrapping_add(1).max(1);
            self.send(&request(self.seq))?;
            match read(self) {
                Ok(answer) => return Ok(Some(answer)),
                Err(Errno::ENOENT) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(source @ Errno::ENOBUFS) => return Err(ChannelError::Receive(source)),
                Err(source) => return Err(ChannelError::Refused { what, source }),
            }
        }
        Err(ChannelError::Unstable { what, tries: DUMP_TRIES })
    }

    /// One datagram, waiting for it.
    pub(crate) fn datagram(&mut self) -> Result<&[u8], Errno> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(n) => return Ok(self.buffer.get(..n).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads up to the end of a dump, or one single object. `EINTR` if the picture is not consistent.
    fn read_answer(&mut self) -> Result<Vec<Decoded>, Errno> {
        let (mut all, mut interrupted) = (Vec::new(), false);
        loop {
            for message in self.receive(MsgFlags::empty())? {
                match message {
                    Decoded::Interrupted => interrupted = true,
                    Decoded::Done(0) if interrupted => return Err(Errno::EINTR),
                    Decoded::Done(0) => return Ok(all),
                    Decoded::Done(code) => return Err(Errno::from_raw(code)),
                    Decoded::Answer(answer) => return Err(Errno::from_raw(answer.errno)),
                    single @ (Decoded::Generation(_) | Decoded::Table(..)) => return Ok(vec![single]),
                    other => all.push(other),
                }
            }
        }
    }
}
