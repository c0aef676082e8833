//! Fields of the messages.

use crate::engine::Status;
use crate::port::{Entry, Event, Op, Precondition, StoreError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;

/// The other side sent what makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Writing of fields, chained.
pub(super) trait Put {
    fn kind(&mut self, kind: u8) -> &mut Self;
    fn flag(&mut self, flag: bool) -> &mut Self;
    fn number32(&mut self, number: u32) -> &mut Self;
    fn number(&mut self, number: u64) -> &mut Self;
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self;
    fn text(&mut self, text: &str) -> &mut Self;
    fn list<T>(&mut self, items: &[T], put: for<'a> fn(&'a mut Self, &T) -> &'a mut Self) -> &mut Self;
}

impl Put for BytesMut {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.put_u8(kind);
        self
    }

    fn flag(&mut self, flag: bool) -> &mut Self {
        self.kind(u8::from(flag))
    }

    fn number32(&mut self, number: u32) -> &mut Self {
        self.put_u32_le(number);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.put_u64_le(number);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.put_u32_le(bytes.len() as u32);
        self.put_slice(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn list<T>(&mut self, items: &[T], put: for<'a> fn(&'a mut Self, &T) -> &'a mut Self) -> &mut Self {
        self.number32(items.len() as u32);
        for item in items {
            put(self, item);
        }
        self
    }
}

/// Reading of fields.
pub(super) struct Take {
    rest: Bytes,
}

const CUT: Malformed = Malformed("it is cut off");

impl Take {
    pub(super) fn new(frame: Bytes) -> Self {
        Self { rest: frame }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.rest.try_get_u8().map_err(|_| CUT)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn number32(&mut self) -> Result<u32, Malformed> {
        self.rest.try_get_u32_le().map_err(|_| CUT)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        self.rest.try_get_u64_le().map_err(|_| CUT)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.number32()? as usize;
        if length > self.rest.len() {
            return Err(CUT);
        }
        Ok(self.rest.split_to(length))
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        self.str().map(|text| (*text).to_owned())
    }

    fn str(&mut self) -> Result<Arc<str>, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(super) fn list<T>(
        &mut self,
        take: fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.number32()? as usize;
        // Every item has a byte at least: a false count cannot reserve more than the frame is long.
        let mut items = Vec::with_capacity(count.min(self.rest.len()));
        for _ in 0..count {
            items.push(take(self)?);
        }
        Ok(items)
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("it is too long")) }
    }
}

pub(super) fn put_entry<'a>(out: &'a mut BytesMut, entry: &Entry) -> &'a mut BytesMut {
    out.text(&entry.key).number(entry.revision).bytes(&entry.value)
}

pub(super) fn take_entry(input: &mut Take) -> Result<Entry, Malformed> {
    Ok(Entry { key: input.str()?, revision: input.number()?, value: input.bytes()? })
}

pub(super) fn put_event<'a>(out: &'a mut BytesMut, event: &Event) -> &'a mut BytesMut {
    match event {
        Event::Put(entry) => put_entry(out.kind(0), entry),
        Event::Delete { key, revision } => out.kind(1).text(key).number(*revision),
    }
}

pub(super) fn take_event(input: &mut Take) -> Result<Event, Malformed> {
    match input.byte()? {
        0 => Ok(Event::Put(take_entry(input)?)),
        1 => Ok(Event::Delete { key: input.str()?, revision: input.number()? }),
        _ => Err(Malformed("unknown event")),
    }
}

fn put_precondition(out: &mut BytesMut, when: Precondition) -> &mut BytesMut {
    match when {
        Precondition::Any => out.kind(0),
        Precondition::Absent => out.kind(1),
        Precondition::Revision(revision) => out.kind(2).number(revision),
    }
}

fn take_precondition(input: &mut Take) -> Result<Precondition, Malformed> {
    match input.byte()? {
        0 => Ok(Precondition::Any),
        1 => Ok(Precondition::Absent),
        2 => Ok(Precondition::Revision(input.number()?)),
        _ => Err(Malformed("unknown precondition")),
    }
}

pub(super) fn put_op<'a>(out: &'a mut BytesMut, op: &Op) -> &'a mut BytesMut {
    match op {
        Op::Put { key, value, when, ttl } => {
            let out = put_precondition(out.kind(0).text(key), *when).bytes(value).flag(ttl.is_some());
            match ttl {
                None => out,
                Some(ttl) => out.number(ttl.as_secs()).number32(ttl.subsec_nanos()),
            }
        }
        Op::Delete { key, when } => put_precondition(out.kind(1).text(key), *when),
    }
}

/// At least the length of an encoded write.
pub(super) fn op_size(op: &Op) -> usize {
    let value = if let Op::Put { value, .. } = op { value.len() } else { 0 };
    op.key().len() + value + 32
}

pub(super) fn take_op(input: &mut Take) -> Result<Op, Malformed> {
    match input.byte()? {
        0 => {
            let (key, when, value) = (input.text()?, take_precondition(input)?, input.bytes()?);
            let ttl = input.flag()?.then(|| take_duration(input)).transpose()?;
            Ok(Op::Put { key, value, when, ttl })
        }
        1 => Ok(Op::Delete { key: input.text()?, when: take_precondition(input)? }),
        _ => Err(Malformed("unknown write")),
    }
}

fn take_duration(input: &mut Take) -> Result<Duration, Malformed> {
    let (seconds, nanos) = (input.number()?, input.number32()?);
    if nanos >= 1_000_000_000 {
        return Err(Malformed("a time has too many nanoseconds"));
    }
    Ok(Duration::new(seconds, nanos))
}

pub(super) fn put_status<'a>(out: &'a mut BytesMut, status: &Status) -> &'a mut BytesMut {
    let Status { revision, compacted, keys, log, watches, commits, batches, conflicts } = *status;
    out.number(revision).number(compacted).number(keys).number(log);
    out.number(watches).number(commits).number(batches).number(conflicts)
}

pub(super) fn take_status(input: &mut Take) -> Result<Status, Malformed> {
    Ok(Status {
        revision: input.number()?,
        compacted: input.number()?,
        keys: input.number()?,
        log: input.number()?,
        watches: input.number()?,
        commits: input.number()?,
        batches: input.number()?,
        conflicts: input.number()?,
    })
}

pub(super) fn put_error<'a>(out: &'a mut BytesMut, error: &StoreError) -> &'a mut BytesMut {
    match error {
        StoreError::Conflict { key, current: None } => out.kind(0).text(key).flag(false),
        StoreError::Conflict { key, current: Some(current) } => {
            put_entry(out.kind(0).text(key).flag(true), current)
        }
        StoreError::Compacted { requested, oldest } => out.kind(1).number(*requested).number(*oldest),
        StoreError::Unavailable { endpoint, doing, reason } => {
            out.kind(2).text(endpoint).text(doing).text(reason)
        }
        StoreError::Denied { endpoint, doing, reason } => out.kind(3).text(endpoint).text(doing).text(reason),
        StoreError::Invalid { doing, reason } => out.kind(4).text(doing).text(reason),
        StoreError::Corrupt { endpoint, reason } => out.kind(5).text(endpoint).text(reason),
    }
}

pub(super) fn take_error(input: &mut Take) -> Result<StoreError, Malformed> {
    Ok(match input.byte()? {
        0 => {
            let key = input.text()?;
            let current = input.flag()?.then(|| take_entry(input)).transpose()?;
            StoreError::Conflict { key, current }
        }
        1 => StoreError::Compacted { requested: input.number()?, oldest: input.number()? },
        2 => StoreError::Unavailable { endpoint: input.text()?, doing: input.text()?, reason: input.text()? },
        3 => StoreError::Denied { endpoint: input.text()?, doing: input.text()?, reason: input.text()? },
        4 => StoreError::Invalid { doing: input.text()?, reason: input.text()? },
        5 => StoreError::Corrupt { endpoint: input.text()?, reason: input.text()? },
        _ => return Err(Malformed("unknown error")),
    })
}
