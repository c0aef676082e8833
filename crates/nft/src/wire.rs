//! Netlink messages and attributes, written and read.
//!
//! Reading never trusts a length: what does not fit ends the iteration.

use crate::consts::*;

const NLA_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Length of the header of a netlink message.
pub(crate) const HEADER: usize = 16;
/// Length of the netfilter header after it.
pub(crate) const NFGENMSG: usize = 4;

fn padded(len: usize) -> usize {
    (len + 3) & !3
}

/// The type of an nftables message.
pub(crate) fn nft_type(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

/// Bytes of messages under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// Writes one message; its length is filled in afterwards.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        family: u8,
        resource: u16,
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self.0.extend_from_slice(&seq.to_ne_bytes());
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&[family, 0]);
        self.0.extend_from_slice(&resource.to_be_bytes());
        body(self);
        let len = (self.0.len() - start) as u32;
        self.patch(start, &len.to_ne_bytes());
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let len = (value.len() + 4) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(padded(self.0.len()), 0);
    }

    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let len = (value.len() + 5) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.0.resize(padded(self.0.len()), 0);
    }

    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NLA_NESTED).to_ne_bytes());
        body(self);
        let len = (self.0.len() - start) as u16;
        self.patch(start, &len.to_ne_bytes());
    }

    /// The value wrapped as `NFTA_DATA_VALUE`.
    pub(crate) fn value(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |w| w.bytes(NFTA_DATA_VALUE, value));
    }

    /// The verdict wrapped as `NFTA_DATA_VERDICT`.
    pub(crate) fn verdict(&mut self, kind: u16, code: i32, chain: Option<&str>) {
        self.nest(kind, |w| {
            w.nest(NFTA_DATA_VERDICT, |w| {
                w.bytes(NFTA_VERDICT_CODE, &code.to_be_bytes());
                if let Some(chain) = chain {
                    w.text(NFTA_VERDICT_CHAIN, chain);
                }
            });
        });
    }
}

/// The attributes in some bytes: type without flags, and content.
#[derive(Clone, Debug)]
pub(crate) struct Attrs<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?);
        let content = self.0.get(4..len)?;
        self.0 = self.0.get(padded(len)..).unwrap_or_default();
        Some((kind & NLA_TYPE_MASK, content))
    }
}

pub(crate) fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

pub(crate) fn be64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.first_chunk()?))
}

/// Text up to its terminating zero.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    std::str::from_utf8(bytes.get(..end)?).ok()
}

/// One received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) payload: &'a [u8],
}

/// The messages in a received datagram.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Received<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let len = u32::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let message = Received {
            kind: u16::from_ne_bytes(*self.0.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*self.0.get(6..)?.first_chunk()?),
            payload: self.0.get(HEADER..len)?,
        };
        self.0 = self.0.get(padded(len)..).unwrap_or_default();
        Some(message)
    }
}
