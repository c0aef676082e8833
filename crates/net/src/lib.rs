//! Network values: address families, CIDRs, ports, protocols, MAC addresses.
//!
//! Plain data with text forms as Calico and Kubernetes write them. Nothing here touches a socket or the kernel.

mod cidr;
mod mac;
mod port;
mod protocol;

pub use cidr::{Cidr, CidrParseError};
pub use mac::{Mac, MacParseError};
pub use port::{Port, PortParseError, PortRange};
pub use protocol::{Protocol, ProtocolParseError};

use std::fmt;
use std::net::IpAddr;

/// An IP address family. A parameter everywhere, never a reason for a second copy of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Address length in bits: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The IP version number: 4 or 6.
    pub fn version(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// The family with this IP version number.
    pub fn from_version(version: u8) -> Option<Self> {
        match version {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}
