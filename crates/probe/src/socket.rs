//! Making sockets inside namespaces, and limits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tortie_net::Family;

use crate::Proto;

/// Files that one process may have open, where we are allowed to ask for them.
const WANTED_FILES: u64 = 1 << 20;

/// Raises this process' limit of open files as far as it may, and returns it.
pub fn raise_file_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if hard < WANTED_FILES && setrlimit(Resource::RLIMIT_NOFILE, WANTED_FILES, WANTED_FILES).is_ok() {
        return WANTED_FILES;
    }
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return hard;
    }
    soft
}

/// Whether this kernel has SCTP.
pub fn sctp_supported() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::SCTP)).is_ok()
}

fn domain(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    }
}

/// A non-blocking socket for a protocol, in the namespace of the calling thread. ICMP takes a raw socket.
pub(crate) fn open(family: Family, proto: Proto) -> io::Result<Socket> {
    let (kind, protocol) = match (proto, family) {
        (Proto::Tcp, _) => (Type::STREAM, Protocol::TCP),
        (Proto::Sctp, _) => (Type::STREAM, Protocol::SCTP),
        (Proto::Udp, _) => (Type::DGRAM, Protocol::UDP),
        (Proto::Icmp, Family::V4) => (Type::RAW, Protocol::ICMPV4),
        (Proto::Icmp, Family::V6) => (Type::RAW, Protocol::ICMPV6),
    };
    Socket::new(domain(family), kind.nonblocking(), Some(protocol))
}

/// A non-blocking raw socket for a protocol.
pub(crate) fn open_raw(family: Family, proto: Proto) -> io::Result<Socket> {
    let protocol = match (proto, family) {
        (Proto::Tcp, _) => Protocol::TCP,
        (Proto::Sctp, _) => Protocol::SCTP,
        (Proto::Udp, _) => Protocol::UDP,
        (Proto::Icmp, Family::V4) => Protocol::ICMPV4,
        (Proto::Icmp, Family::V6) => Protocol::ICMPV6,
    };
    Socket::new(domain(family), Type::RAW.nonblocking(), Some(protocol))
}

/// A socket for asking: reports ICMP errors, and leaves nothing behind when it is closed.
pub(crate) fn open_client(family: Family, proto: Proto) -> io::Result<Socket> {
    let socket = open(family, proto)?;
    match family {
        Family::V4 => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        Family::V6 => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    if matches!(proto, Proto::Tcp | Proto::Sctp) {
        // Closing resets: no TIME_WAIT piles up.
        socket.set_linger(Some(Duration::ZERO))?;
    }
    Ok(socket)
}

/// A listening socket on one address, which need not be there yet.
pub(crate) fn open_server(addr: IpAddr, port: u16, proto: Proto) -> io::Result<Socket> {
    const BACKLOG: i32 = 4096;
    let family = Family::of(addr);
    let socket = open(family, proto)?;
    match family {
        Family::V4 => socket.set_freebind_v4(true)?,
        Family::V6 => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    if matches!(proto, Proto::Tcp | Proto::Sctp) {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SocketAddr::new(addr, port).into())?;
    match proto {
        Proto::Tcp | Proto::Sctp => socket.listen(BACKLOG)?,
        // Bursts of datagrams must not be lost for want of space.
        Proto::Udp => enlarge_receive_buffer(&socket)?,
        Proto::Icmp => {}
    }
    Ok(socket)
}

pub(crate) fn enlarge_receive_buffer(socket: &Socket) -> io::Result<()> {
    const BYTES: usize = 4 << 20;
    // The forced size takes CAP_NET_ADMIN.
    if setsockopt(socket, sockopt::RcvBufForce, &BYTES).is_err() {
        socket.set_recv_buffer_size(BYTES)?;
    }
    Ok(())
}
