//! Connection tracking: forgets the connections of addresses that change hands.
//!
//! An entry outlives the workload whose packets made it. Whoever gets the address next would inherit it, and with it
//! the verdict on a connection that was established under another policy. This must not remove an entry that does not
//! name one of the addresses: a deletion without a tuple empties the whole table.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::channel::{Messages, Received, decode_error};
use crate::{KernelError, RequestError, TransportError, wire};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_NEW: u16 = NFNL_SUBSYS_CTNETLINK << 8;
const IPCTNL_MSG_CT_GET: u16 = IPCTNL_MSG_CT_NEW | 1;
const IPCTNL_MSG_CT_DELETE: u16 = IPCTNL_MSG_CT_NEW | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_DST: u16 = 4;
const NLA_F_NESTED: u16 = 1 << 15;

/// Length of the header that all messages of netfilter have (`nfgenmsg`).
const NFGENMSG: usize = 4;
/// The kernel builds dump answers of at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// The connections of addresses could not be forgotten, or not all.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel gives no socket.
    #[error("cannot open a netlink socket to connection tracking")]
    Socket(#[source] io::Error),
    /// The table could not be read.
    #[error("cannot list the tracked connections")]
    List(#[source] RequestError),
    /// Entries could not be deleted; the others are.
    #[error("cannot delete {failed} of {found} tracked connections")]
    Delete {
        /// How many are still there.
        failed: usize,
        /// How many there were.
        found: usize,
        /// Why the first of them is.
        #[source]
        source: RequestError,
    },
}

/// Deletes all entries of connection tracking, in whatever zone, that have one of the addresses as source or
/// destination of either direction; answers how many there were. Works on the namespace of the calling thread.
/// Walks the whole table once, for both families: ten milliseconds and more even if it is empty.
///
/// A kernel without connection tracking has no entries, which is no error.
pub fn flush_addresses(addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
    if addresses.is_empty() {
        return Ok(0);
    }
    let mut table = match Table::open() {
        Ok(table) => table,
        // A kernel without netfilter's netlink.
        Err(e) if e.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(0),
        Err(e) => return Err(ConntrackError::Socket(e)),
    };
    let wanted: HashSet<IpAddr> = addresses.iter().copied().collect();
    let found = match table.list(&wanted) {
        Ok(found) => found,
        // This is how netfilter answers for a subsystem that it does not have.
        Err(RequestError::Kernel(KernelError { errno: Errno::EINVAL, .. })) => return Ok(0),
        Err(source) => return Err(ConntrackError::List(source)),
    };
    let (mut deleted, mut failed, mut first) = (0, 0, None);
    for entry in &found {
        match table.request(|sequence| entry.deletion(sequence)) {
            Ok(()) => deleted += 1,
            // It ended by itself meanwhile.
            Err(RequestError::Kernel(KernelError { errno: Errno::ENOENT, .. })) => {}
            Err(source) => {
                failed += 1;
                first.get_or_insert(source);
            }
        }
    }
    match first {
        None => Ok(deleted),
        Some(source) => Err(ConntrackError::Delete { failed, found: found.len(), source }),
    }
}

/// The names by which the kernel finds an entry again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The kernel's number of the family.
    pub(crate) family: u8,
    /// Content of the original direction's tuple, as the kernel has put it.
    pub(crate) tuple: Vec<u8>,
    /// In network order.
    pub(crate) zone: Option<[u8; 2]>,
    /// In network order. Keeps a new connection with the same tuple from being taken for the old one.
    pub(crate) id: Option<[u8; 4]>,
}

impl Entry {
    /// Reads an entry if one of its addresses is wanted.
    pub(crate) fn decode(payload: &[u8], wanted: &HashSet<IpAddr>) -> Option<Self> {
        let family = *payload.first()?;
        let (mut tuple, mut zone, mut id, mut concerned) = (None, None, None, false);
        for attribute in wire::attributes(payload, NFGENMSG) {
            match attribute.kind() {
                CTA_TUPLE_ORIG => {
                    concerned |= names(attribute.value(), wanted);
                    tuple = Some(attribute);
                }
                CTA_TUPLE_REPLY => concerned |= names(attribute.value(), wanted),
                CTA_ZONE => zone = attribute.value().first_chunk().copied(),
                CTA_ID => id = attribute.value().first_chunk().copied(),
                _ => {}
            }
        }
        let tuple = tuple.filter(|tuple| concerned && !tuple.value().is_empty())?.value().to_vec();
        Some(Self { family, tuple, zone, id })
    }

    /// The request to delete it.
    pub(crate) fn deletion(&self, sequence: u32) -> Vec<u8> {
        let mut message = request(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, sequence, self.family);
        attribute(&mut message, CTA_TUPLE_ORIG | NLA_F_NESTED, &self.tuple);
        if let Some(zone) = &self.zone {
            attribute(&mut message, CTA_ZONE, zone);
        }
        if let Some(id) = &self.id {
            attribute(&mut message, CTA_ID, id);
        }
        finish(message)
    }
}

/// Whether source or destination of a tuple is wanted.
fn names(tuple: &[u8], wanted: &HashSet<IpAddr>) -> bool {
    wire::attributes(tuple, 0).filter(|part| part.kind() == CTA_TUPLE_IP).any(|part| {
        wire::attributes(part.value(), 0)
            .filter(|address| (CTA_IP_V4_SRC..=CTA_IP_V6_DST).contains(&address.kind()))
            .filter_map(|address| wire::ip(address.value()))
            .any(|address| wanted.contains(&address))
    })
}

/// The start of a request; its length is still to be filled in.
fn request(kind: u16, flags: u16, sequence: u32, family: u8) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    // The port is the kernel's business; version and resource of netfilter's header are zero.
    message.extend([0; 4]);
    message.extend([family, 0, 0, 0]);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(((value.len() + 4) as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let length = (message.len() as u32).to_ne_bytes();
    message[..4].copy_from_slice(&length);
    message
}

/// A socket to the table of one namespace.
struct Table {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Table {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, buffer: vec![0; RECEIVE_BUFFER], sequence: 0 })
    }

    /// Entries with one of the addresses.
    fn list(&mut self, wanted: &HashSet<IpAddr>) -> Result<Vec<Entry>, RequestError> {
        let all_families = u8::from(wire::af(None));
        let mut entries = Vec::new();
        self.exchange(
            |sequence| finish(request(IPCTNL_MSG_CT_GET, NLM_F_DUMP, sequence, all_families)),
            |message| entries.extend(Entry::decode(message.payload, wanted)),
        )?;
        Ok(entries)
    }

    /// A request that is answered by an acknowledgement.
    fn request(&mut self, message: impl FnOnce(u32) -> Vec<u8>) -> Result<(), RequestError> {
        self.exchange(message, |_| {})
    }

    /// Sends a request and reads up to the end of the answer.
    fn exchange(
        &mut self,
        message: impl FnOnce(u32) -> Vec<u8>,
        mut on_entry: impl FnMut(Received<'_>),
    ) -> Result<(), RequestError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.socket.send(&message(sequence), 0).map_err(TransportError::Send)?;
        loop {
            let length = match self.socket.recv(&mut self.buffer.as_mut_slice(), 0) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(TransportError::Receive(e).into()),
            };
            let received = self.buffer.get(..length).unwrap_or_default();
            for message in Messages(received).filter(|m| m.sequence == sequence) {
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return decode_error(message)?.map_or(Ok(()), |e| Err(e.into()));
                    }
                    IPCTNL_MSG_CT_NEW => on_entry(message),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
