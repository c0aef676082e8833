//! The conversation with rtnetlink: framing, sequence numbers, acknowledgements, dumps.
//!
//! Knows nothing of what the messages mean.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST};
use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::{KernelError, RequestError, TransportError, wire};

/// Length of a netlink message header.
const HEADER: usize = 16;
/// The kernel builds dump answers of at most 32 KiB; anything else is far smaller.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Error answers to a whole chunk of requests must fit into the socket's buffer at once.
const SOCKET_BUFFER: usize = 8 << 20;
/// The kernel's default limit of a socket's send buffer is about 200 KiB.
const CHUNK_BYTES: usize = 96 * 1024;
const CHUNK_MESSAGES: usize = 512;
/// How often a dump that was disturbed by a concurrent change is repeated before it is believed as it is.
const DUMP_TRIES: usize = 10;

const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Requests laid out for sending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Where each request starts.
    starts: Vec<usize>,
}

impl Frames {
    pub(crate) fn push(&mut self, message: RouteNetlinkMessage, flags: u16) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = self.bytes.len();
        let length = message.header.length as usize;
        self.bytes.resize(start + length.next_multiple_of(4), 0);
        message.serialize(&mut self.bytes[start..start + length]);
        self.starts.push(start);
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    fn start(&self, index: usize) -> usize {
        self.starts.get(index).copied().unwrap_or(self.bytes.len())
    }

    /// The end of the chunk of requests that starts with `first`.
    fn chunk_end(&self, first: usize) -> usize {
        let mut end = first + 1;
        while end < self.len()
            && end - first < CHUNK_MESSAGES
            && self.start(end + 1) - self.start(first) <= CHUNK_BYTES
        {
            end += 1;
        }
        end
    }

    fn patch(&mut self, index: usize, sequence: u32, flags: u16) {
        let start = self.start(index);
        let header = &mut self.bytes[start..start + HEADER];
        let old = u16::from_ne_bytes([header[6], header[7]]);
        header[6..8].copy_from_slice(&(old | flags).to_ne_bytes());
        header[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// One message as received.
#[derive(Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// Splits a received datagram into its messages. Stops at the first that is cut off.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Received<'a>> {
        let header: &[u8; HEADER] = self.0.first_chunk()?;
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = word(0) as usize;
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received { kind: half(4), flags: half(6), sequence: word(8), payload })
    }
}

/// An open netlink socket with its buffer and the next sequence number.
pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Channel {
    pub(crate) fn open(groups: &[u32]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // The forced size takes CAP_NET_ADMIN; without it the system's limit applies.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
        }
        socket.bind_auto()?;
        if groups.is_empty() {
            socket.connect(&SocketAddr::new(0, 0))?;
        }
        for group in groups {
            socket.add_membership(*group)?;
        }
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        // Lets the kernel filter dumps. Kernels before 4.20 do not know it and answer with everything.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, sequence: 1, buffer: vec![0; RECEIVE_BUFFER] })
    }

    pub(crate) fn set_non_blocking(&self) -> io::Result<()> {
        self.socket.set_non_blocking(true)
    }

    /// Sends all requests and calls `on_data` with the index of the request for each message that the kernel returns.
    /// The refusals come back with the index of the refused request; all others succeeded.
    pub(crate) fn execute(
        &mut self,
        frames: &mut Frames,
        mut on_data: impl FnMut(usize, Received<'_>),
    ) -> Result<Vec<(usize, KernelError)>, TransportError> {
        let mut refused = Vec::new();
        let mut first = 0;
        while first < frames.len() {
            let end = frames.chunk_end(first);
            let base = self.sequence;
            self.sequence = self.sequence.wrapping_add((end - first) as u32);
            for index in first..end {
                // Errors are always answered; one acknowledgement tells that the kernel is through.
                let flags = if index + 1 == end { NLM_F_ACK } else { 0 };
                frames.patch(index, base.wrapping_add((index - first) as u32), flags);
            }
            self.send(&frames.bytes[frames.start(first)..frames.start(end)])?;
            let mut done = false;
            while !done {
                for message in Messages(self.receive()?) {
                    // Answers to an earlier exchange that broke off are of no interest.
                    let index = first + message.sequence.wrapping_sub(base) as usize;
                    if index >= end {
                        continue;
                    }
                    match message.kind {
                        NLMSG_ERROR => {
                            done |= index + 1 == end;
                            if let Some(error) = decode_error(message)? {
                                refused.push((index, error));
                            }
                        }
                        NLMSG_OVERRUN => return Err(TransportError::Overrun),
                        NLMSG_NOOP | NLMSG_DONE => {}
                        _ => on_data(index, message),
                    }
                }
            }
            first = end;
        }
        Ok(refused)
    }

    /// Asks for a listing and collects what `decode` makes of its messages.
    pub(crate) fn dump<T>(
        &mut self,
        request: &RouteNetlinkMessage,
        mut decode: impl FnMut(Received<'_>) -> Option<T>,
    ) -> Result<Vec<T>, RequestError> {
        let mut items = Vec::new();
        for _ in 0..DUMP_TRIES {
            items.clear();
            if self.dump_once(request, |message| items.extend(decode(message)))? {
                break;
            }
        }
        Ok(items)
    }

    /// False if the listing may be inconsistent because something changed meanwhile.
    fn dump_once(
        &mut self,
        request: &RouteNetlinkMessage,
        mut on_data: impl FnMut(Received<'_>),
    ) -> Result<bool, RequestError> {
        let mut frames = Frames::default();
        frames.push(request.clone(), NLM_F_DUMP);
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        frames.patch(0, sequence, 0);
        self.send(&frames.bytes)?;
        let mut consistent = true;
        loop {
            for message in Messages(self.receive()?) {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return match decode_error(message)? {
                            // A filter for something that does not exist matches nothing.
                            Some(KernelError { errno: Errno::ENOENT | Errno::ENODEV, .. }) | None => {
                                Ok(consistent)
                            }
                            Some(error) => Err(error.into()),
                        };
                    }
                    NLMSG_OVERRUN => return Err(TransportError::Overrun.into()),
                    NLMSG_NOOP => {}
                    _ => on_data(message),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), TransportError> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(TransportError::Send(e)),
            }
        }
    }

    /// One datagram.
    pub(crate) fn receive(&mut self) -> Result<&[u8], TransportError> {
        loop {
            let received = self.socket.recv(&mut self.buffer.as_mut_slice(), libc::MSG_TRUNC);
            match received {
                Ok(length) => {
                    return self
                        .buffer
                        .get(..length)
                        .ok_or_else(|| TransportError::Malformed(format!("a datagram of {length} bytes")));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Err(TransportError::Overrun),
                Err(e) => return Err(TransportError::Receive(e)),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The error in an acknowledgement, or at the end of a dump; `None` means success.
pub(crate) fn decode_error(message: Received<'_>) -> Result<Option<KernelError>, TransportError> {
    let Some((code, rest)) = message.payload.split_first_chunk::<4>() else {
        // The end of a dump may be empty.
        return match message.kind {
            NLMSG_DONE => Ok(None),
            _ => Err(TransportError::Malformed("an acknowledgement without an error number".into())),
        };
    };
    let code = i32::from_ne_bytes(*code);
    if code >= 0 {
        return Ok(None);
    }
    let attributes = if message.flags & NLM_F_ACK_TLVS == 0 {
        &[]
    } else if message.kind == NLMSG_DONE {
        rest
    } else {
        // The header of the refused request, and the request itself unless the answer is capped.
        let length = rest.first_chunk::<4>().map_or(HEADER, |l| u32::from_ne_bytes(*l) as usize);
        let skip = if message.flags & NLM_F_CAPPED == 0 { length.next_multiple_of(4) } else { HEADER };
        rest.get(skip..).unwrap_or_default()
    };
    Ok(Some(KernelError { errno: Errno::from_raw(-code), message: explanation(attributes) }))
}

fn explanation(attributes: &[u8]) -> Option<String> {
    wire::attributes(attributes, 0)
        .find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)
        .map(|nla| wire::text(nla.value()))
        .filter(|message| !message.is_empty())
}
