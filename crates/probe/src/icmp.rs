//! Refusals: what a TCP reset or an ICMP error says.

use std::fmt;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use tortie_net::Family;

/// How a packet was actively refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// A TCP reset.
    TcpReset,
    /// An SCTP abort.
    SctpAbort,
    /// An ICMP or ICMPv6 error.
    Icmp(IcmpError),
}

/// An ICMP or ICMPv6 error by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IcmpError {
    /// ICMP or ICMPv6.
    pub family: Family,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcpReset => f.write_str("tcp reset"),
            Self::SctpAbort => f.write_str("sctp abort"),
            Self::Icmp(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.family, self.kind, self.code) {
            (Family::V4, 3, 0) | (Family::V6, 1, 0) => "network unreachable",
            (Family::V4, 3, 1) | (Family::V6, 1, 3) => "host unreachable",
            (Family::V4, 3, 2) => "protocol unreachable",
            (Family::V4, 3, 3) | (Family::V6, 1, 4) => "port unreachable",
            (Family::V4, 3, 9) => "network prohibited",
            (Family::V4, 3, 10) => "host prohibited",
            (Family::V4, 3, 13) | (Family::V6, 1, 1) => "administratively prohibited",
            (Family::V6, 1, 5) => "source address prohibited",
            (Family::V6, 1, 6) => "route rejected",
            (Family::V4, 11, _) | (Family::V6, 3, _) => "time exceeded",
            (family, kind, code) => return write!(f, "{family} icmp type {kind} code {code}"),
        };
        write!(f, "icmp {name}")
    }
}

/// An error report from a socket's error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) error: IcmpError,
    /// Who sent the ICMP error.
    pub(crate) sender: Option<IpAddr>,
}

/// The next ICMP error in a socket's error queue. Reports of other origin (the local kernel) are skipped.
pub(crate) fn next_report(socket: impl AsFd) -> Option<Report> {
    const SO_EE_ORIGIN_ICMP: u8 = 2;
    const SO_EE_ORIGIN_ICMP6: u8 = 3;
    let fd = socket.as_fd().as_raw_fd();
    loop {
        let mut control = nix::cmsg_space!([u8; 128]);
        let mut quoted = [0; 128];
        let mut buffers = [IoSliceMut::new(&mut quoted)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut control), flags) {
            Ok(message) => message,
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        };
        for control in message.cmsgs().ok()? {
            let (family, error, sender) = match control {
                ControlMessageOwned::Ipv4RecvErr(error, sender) => {
                    let sender =
                        sender.map(|s| IpAddr::from(Ipv4Addr::from(s.sin_addr.s_addr.to_ne_bytes())));
                    (Family::V4, error, sender)
                }
                ControlMessageOwned::Ipv6RecvErr(error, sender) => {
                    (Family::V6, error, sender.map(|s| IpAddr::from(Ipv6Addr::from(s.sin6_addr.s6_addr))))
                }
                _ => continue,
            };
            if matches!(error.ee_origin, SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6) {
                let error = IcmpError { family, kind: error.ee_type, code: error.ee_code };
                return Some(Report { error, sender });
            }
        }
    }
}
