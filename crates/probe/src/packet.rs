//! The bytes on the wire: nonces, echo requests, SYN segments, and the identity line of a listener.
//!
//! Every payload of ours begins with one of two marks and carries numbers that tell who sent it and why.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use tortie_net::Family;

/// Begins what a probe or a held flow sends.
pub(crate) const PROBE_MARK: [u8; 8] = *b"tortiePR";
/// Begins what a flood sends.
pub(crate) const FLOOD_MARK: [u8; 8] = *b"tortieFL";
/// The length of a payload: the mark and two numbers.
pub(crate) const PAYLOAD: usize = 24;
const ICMP_HEADER: usize = 8;
pub(crate) const TCP_HEADER: usize = 20;

/// What a payload says: which run (or flood) sent it, and a number within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Nonce {
    pub(crate) run: u64,
    pub(crate) number: u64,
}

pub(crate) fn payload(mark: [u8; 8], nonce: Nonce) -> [u8; PAYLOAD] {
    let mut bytes = [0; PAYLOAD];
    bytes[..8].copy_from_slice(&mark);
    bytes[8..16].copy_from_slice(&nonce.run.to_be_bytes());
    bytes[16..].copy_from_slice(&nonce.number.to_be_bytes());
    bytes
}

pub(crate) fn parse_payload(mark: [u8; 8], bytes: &[u8]) -> Option<Nonce> {
    let (found, rest) = bytes.split_first_chunk::<8>()?;
    let (run, rest) = rest.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    (*found == mark).then_some(Nonce { run: u64::from_be_bytes(*run), number: u64::from_be_bytes(*number) })
}

/// The line by which a listener says who it is.
pub(crate) fn identity(host: &str, port: u16) -> String {
    format!("{host} {port}\n")
}

/// The host in an identity line, which must be complete.
pub(crate) fn parse_identity(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    line.split_once(' ').map(|(host, _)| host)
}

/// The identifier of an echo request.
///
/// Connection tracking tells echo flows apart by it, remembers an answered one for half a minute, and lets what looks like more of
/// the same pass whatever policy says now. So no two probes in a row share one, and floods keep to the other half.
fn identifier(mark: [u8; 8], nonce: Nonce) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const HALF: u16 = 0x8000;
    if mark == FLOOD_MARK { HALF | nonce.number as u16 } else { NEXT.fetch_add(1, Ordering::Relaxed) & !HALF }
}

/// An echo request for a raw socket. The kernel adds the ICMPv6 checksum.
pub(crate) fn echo_request(family: Family, mark: [u8; 8], nonce: Nonce) -> [u8; ICMP_HEADER + PAYLOAD] {
    let mut bytes = [0; ICMP_HEADER + PAYLOAD];
    bytes[0] = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    bytes[4..6].copy_from_slice(&identifier(mark, nonce).to_be_bytes());
    bytes[6..8].copy_from_slice(&((nonce.number >> 16) as u16).to_be_bytes());
    bytes[ICMP_HEADER..].copy_from_slice(&payload(mark, nonce));
    if family == Family::V4 {
        let sum = checksum(0, &bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// The ICMP part of what a raw socket receives: IPv4 comes with its header.
pub(crate) fn transport_part(family: Family, bytes: &[u8]) -> Option<&[u8]> {
    match family {
        Family::V4 => bytes.get(usize::from(bytes.first()? & 0x0f) * 4..),
        Family::V6 => Some(bytes),
    }
}

/// The nonce of an echo reply to one of our requests.
pub(crate) fn parse_echo_reply(family: Family, mark: [u8; 8], bytes: &[u8]) -> Option<Nonce> {
    let reply = match family {
        Family::V4 => 0,
        Family::V6 => 129,
    };
    let part = transport_part(family, bytes)?;
    if *part.first()? != reply {
        return None;
    }
    parse_payload(mark, part.get(ICMP_HEADER..)?)
}

/// A SYN segment that carries a nonce as data, for a raw socket bound to `from`.
///
/// Data in a SYN is legal (RFC 9293, 3.4) and ignored by a receiver without fast open.
pub(crate) fn syn(
    from: IpAddr,
    to: IpAddr,
    from_port: u16,
    to_port: u16,
    nonce: Nonce,
) -> [u8; TCP_HEADER + PAYLOAD] {
    const PROTOCOL: u32 = 6;
    const SYN: u8 = 0x02;
    let mut bytes = [0; TCP_HEADER + PAYLOAD];
    bytes[0..2].copy_from_slice(&from_port.to_be_bytes());
    bytes[2..4].copy_from_slice(&to_port.to_be_bytes());
    bytes[4..8].copy_from_slice(&(nonce.number as u32).to_be_bytes());
    bytes[12] = (TCP_HEADER as u8 / 4) << 4;
    bytes[13] = SYN;
    bytes[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    bytes[TCP_HEADER..].copy_from_slice(&payload(FLOOD_MARK, nonce));
    let pseudo = sum(&octets(from)) + sum(&octets(to)) + PROTOCOL + bytes.len() as u32;
    let sum = checksum(pseudo, &bytes);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

/// The Internet checksum (RFC 1071) of `bytes` and what has been summed up before.
fn checksum(before: u32, bytes: &[u8]) -> u16 {
    let mut sum = before + sum(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
