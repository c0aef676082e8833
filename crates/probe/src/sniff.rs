//! Seeing what arrives at a host: raw sockets behind its firewall.
//!
//! The kernel gives a raw socket a copy of each packet that is delivered to the host, after its own filtering and
//! whether or not anybody listens on the port. A socket filter keeps only packets that carry a flood's mark, so
//! nothing else can fill the buffer.

use std::io;

use socket2::{SockFilter, Socket};
use tortie_net::Family;

use crate::packet::{FLOOD_MARK, TCP_HEADER};
use crate::{Proto, socket};

/// Where the payload starts behind the transport header.
pub(crate) fn payload_offset(proto: Proto) -> Option<usize> {
    match proto {
        Proto::Tcp => Some(TCP_HEADER),
        Proto::Udp | Proto::Icmp => Some(8),
        Proto::Sctp => None,
    }
}

/// A sniffer in the namespace of the calling thread.
pub(crate) fn open(family: Family, proto: Proto) -> io::Result<Socket> {
    let Some(offset) = payload_offset(proto) else {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    };
    let socket = socket::open_raw(family, proto)?;
    socket.attach_filter(&filter(family, proto, offset as u32))?;
    socket::enlarge_receive_buffer(&socket)?;
    Ok(socket)
}

/// Accepts packets with the flood's mark: requests only, not the echo replies that carry the same payload.
fn filter(family: Family, proto: Proto, offset: u32) -> Vec<SockFilter> {
    // Classic BPF. The packet starts at the IPv4 header, but behind the IPv6 header.
    const LOAD_HEADER_LENGTH: u16 = 0xb1; // ldxb 4 * ([k] & 0xf)
    const LOAD_ZERO: u16 = 0x01; // ldx #k
    const LOAD_WORD: u16 = 0x40; // ld [x + k]
    const LOAD_BYTE: u16 = 0x50; // ldb [x + k]
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALL: u32 = u32::MAX;
    let [m0, m1, m2, m3, m4, m5, m6, m7] = FLOOD_MARK;
    let mark = [u32::from_be_bytes([m0, m1, m2, m3]), u32::from_be_bytes([m4, m5, m6, m7])];
    let skip_header = match family {
        Family::V4 => SockFilter::new(LOAD_HEADER_LENGTH, 0, 0, 0),
        Family::V6 => SockFilter::new(LOAD_ZERO, 0, 0, 0),
    };
    let mut program = vec![skip_header];
    if proto == Proto::Icmp {
        let request = if family == Family::V4 { 8 } else { 128 };
        program.push(SockFilter::new(LOAD_BYTE, 0, 0, 0));
        program.push(SockFilter::new(JUMP_IF_EQUAL, 0, 5, request));
    }
    program.extend([
        SockFilter::new(LOAD_WORD, 0, 0, offset),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, mark[0]),
        SockFilter::new(LOAD_WORD, 0, 0, offset + 4),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, mark[1]),
        SockFilter::new(RETURN, 0, 0, ALL),
        SockFilter::new(RETURN, 0, 0, 0),
    ]);
    program
}
