//! What goes over the socket between a store process and its users.
//!
//! Each direction carries frames: a little endian `u32` length, then that many bytes: a `u64` request id, a `u8` kind,
//! and the fields of the kind. Numbers are little endian, strings and bytes have a `u32` length before them, lists a
//! `u32` count. The first frame each way is a hello. Requests are answered in any order, by id; a watch is answered by
//! any number of frames with the id of its request.
//!
//! A watch sends at most [`WINDOW`] items ahead of what its receiver has taken; the receiver grants more by
//! [`Request::Grant`]. A slow receiver so stops its own watch only.
//!
//! Values are slices of the frame they came in: nothing is copied twice. Decoding must never panic, whatever the bytes.

mod codec;

use crate::engine::Status;
use crate::port::{Entry, Event, Op, StoreError};
use bytes::{BufMut, Bytes, BytesMut};
use codec::{Put, Take};

pub(crate) use codec::Malformed;

/// Version of the protocol; both sides must have the same.
pub(crate) const VERSION: u32 = 1;
/// First word of a hello.
pub(crate) const HELLO: u32 = 0x7453_7254;
/// Items that a watch may be ahead of its receiver.
pub(crate) const WINDOW: u32 = 32;
/// Longest frame: the largest commit and then some.
pub(crate) const MAX_FRAME: usize = 24 << 20;
/// A list is cut into frames of about this size.
pub(crate) const LIST_PART: usize = 256 << 10;
/// Length field of a frame.
pub(crate) const LENGTH: usize = 4;

/// From the user to the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Hello {
        version: u32,
    },
    Get {
        key: String,
    },
    List {
        prefix: String,
    },
    Commit {
        ops: Vec<Op>,
    },
    Watch {
        prefix: String,
        revision: u64,
    },
    /// The receiver of the watch with this id has taken so many items more.
    Grant {
        items: u32,
    },
    /// The watch with this id is not wanted any more.
    Cancel,
    Status,
    Compact {
        revision: u64,
    },
    /// Write a copy to this path (as seen by the store process).
    Backup {
        path: String,
    },
}

/// From the store to the user.
#[derive(Debug)]
pub(crate) enum Response {
    Hello {
        version: u32,
    },
    Entry(Option<Entry>),
    /// A part of a list; more follow unless it is the last.
    Part {
        entries: Vec<Entry>,
        revision: u64,
        last: bool,
    },
    /// A commit's revision, or the present one for what has no other answer.
    Revision(u64),
    Watching,
    Events(Vec<Event>),
    Progress(u64),
    Status(Status),
    Error(StoreError),
}

/// A frame of one message, with its length field.
pub(crate) fn frame(id: u64, fill: impl FnOnce(&mut BytesMut) -> &mut BytesMut) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    out.put_u32_le(0);
    out.put_u64_le(id);
    fill(&mut out);
    let length = (out.len() - LENGTH) as u32;
    out[..LENGTH].copy_from_slice(&length.to_le_bytes());
    out.freeze()
}

/// Splits the first whole frame off what was read, if there is one; the result owns no more memory than it needs.
pub(crate) fn split_frame(read: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = read.first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_FRAME {
        return Err(Malformed("a frame is too long"));
    }
    if read.len() < LENGTH + length {
        read.reserve(LENGTH + length - read.len());
        return Ok(None);
    }
    let frame = read.split_to(LENGTH + length);
    Ok(Some(Bytes::copy_from_slice(&frame[LENGTH..])))
}

impl Request {
    pub(crate) fn encode(&self, id: u64) -> Bytes {
        frame(id, |out| match self {
            Self::Hello { version } => out.kind(0).number32(HELLO).number32(*version),
            Self::Get { key } => out.kind(1).text(key),
            Self::List { prefix } => out.kind(2).text(prefix),
            Self::Commit { ops } => out.kind(3).list(ops, codec::put_op),
            Self::Watch { prefix, revision } => out.kind(4).text(prefix).number(*revision),
            Self::Grant { items } => out.kind(5).number32(*items),
            Self::Cancel => out.kind(6),
            Self::Status => out.kind(7),
            Self::Compact { revision } => out.kind(8).number(*revision),
            Self::Backup { path } => out.kind(9).text(path),
        })
    }

    /// About the length of the frame.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Commit { ops } => ops.iter().map(codec::op_size).sum(),
            _ => 0,
        }
    }

    pub(crate) fn decode(frame: Bytes) -> Result<(u64, Self), Malformed> {
        let mut input = Take::new(frame);
        let id = input.number()?;
        let request = match input.byte()? {
            0 if input.number32()? == HELLO => Self::Hello { version: input.number32()? },
            1 => Self::Get { key: input.text()? },
            2 => Self::List { prefix: input.text()? },
            3 => Self::Commit { ops: input.list(codec::take_op)? },
            4 => Self::Watch { prefix: input.text()?, revision: input.number()? },
            5 => Self::Grant { items: input.number32()? },
            6 => Self::Cancel,
            7 => Self::Status,
            8 => Self::Compact { revision: input.number()? },
            9 => Self::Backup { path: input.text()? },
            _ => return Err(Malformed("unknown request")),
        };
        input.end()?;
        Ok((id, request))
    }
}

impl Response {
    pub(crate) fn encode(&self, id: u64) -> Bytes {
        frame(id, |out| match self {
            Self::Hello { version } => out.kind(0).number32(HELLO).number32(*version),
            Self::Entry(None) => out.kind(1),
            Self::Entry(Some(entry)) => codec::put_entry(out.kind(2), entry),
            Self::Part { entries, revision, last } => {
                out.kind(3).number(*revision).flag(*last).list(entries, codec::put_entry)
            }
            Self::Revision(revision) => out.kind(4).number(*revision),
            Self::Watching => out.kind(5),
            Self::Events(events) => out.kind(6).list(events, codec::put_event),
            Self::Progress(revision) => out.kind(7).number(*revision),
            Self::Status(status) => codec::put_status(out.kind(8), status),
            Self::Error(error) => codec::put_error(out.kind(9), error),
        })
    }

    pub(crate) fn decode(frame: Bytes) -> Result<(u64, Self), Malformed> {
        let mut input = Take::new(frame);
        let id = input.number()?;
        let response = match input.byte()? {
            0 if input.number32()? == HELLO => Self::Hello { version: input.number32()? },
            1 => Self::Entry(None),
            2 => Self::Entry(Some(codec::take_entry(&mut input)?)),
            3 => {
                let (revision, last) = (input.number()?, input.flag()?);
                Self::Part { revision, last, entries: input.list(codec::take_entry)? }
            }
            4 => Self::Revision(input.number()?),
            5 => Self::Watching,
            6 => Self::Events(input.list(codec::take_event)?),
            7 => Self::Progress(input.number()?),
            8 => Self::Status(codec::take_status(&mut input)?),
            9 => Self::Error(codec::take_error(&mut input)?),
            _ => return Err(Malformed("unknown answer")),
        };
        input.end()?;
        Ok((id, response))
    }

    /// The frames of a list.
    pub(crate) fn encode_list(id: u64, entries: &[Entry], revision: u64) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let mut rest = entries;
        loop {
            let mut bytes = 0;
            let full = rest.iter().position(|entry| {
                bytes += entry.key.len() + entry.value.len() + 16;
                bytes > LIST_PART
            });
            // The entry that fills the part is in it: every part has at least one.
            let (part, after) = rest.split_at(full.map_or(rest.len(), |at| at + 1));
            let last = after.is_empty();
            frames
                .push(frame(id, |out| out.kind(3).number(revision).flag(last).list(part, codec::put_entry)));
            if last {
                return frames;
            }
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests;
