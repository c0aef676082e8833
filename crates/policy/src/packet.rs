//! The first packet of a connection.

use std::fmt;
use std::net::IpAddr;
use tortie_net::{Family, Protocol};

/// The first packet of a connection, as policy sees it: after the destination NAT of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// Source address.
    pub src: IpAddr,
    /// Destination address; of the source's family.
    pub dst: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Source port; 0 where the protocol has no ports.
    pub src_port: u16,
    /// Destination port; 0 where the protocol has no ports.
    pub dst_port: u16,
    /// ICMP type and code; `None` for other protocols.
    pub icmp: Option<(u8, u8)>,
}

impl Packet {
    /// A source port that no policy speaks of by accident.
    pub const EPHEMERAL_PORT: u16 = 40000;

    /// A packet of a protocol with ports, from [`Packet::EPHEMERAL_PORT`].
    pub fn to_port(src: IpAddr, dst: IpAddr, protocol: Protocol, dst_port: u16) -> Self {
        Self { src, dst, protocol, src_port: Self::EPHEMERAL_PORT, dst_port, icmp: None }
    }

    /// An echo request of the addresses' family.
    pub fn echo(src: IpAddr, dst: IpAddr) -> Self {
        let family = Family::of(dst);
        let kind = match family {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        Self { src, dst, protocol: Protocol::icmp(family), src_port: 0, dst_port: 0, icmp: Some((kind, 0)) }
    }

    /// The packet's family.
    pub fn family(&self) -> Family {
        Family::of(self.dst)
    }

    /// Source port, if the protocol has ports.
    pub(crate) fn source_port(&self) -> Option<u16> {
        self.protocol.has_ports().then_some(self.src_port)
    }

    /// Destination port, if the protocol has ports.
    pub(crate) fn destination_port(&self) -> Option<u16> {
        self.protocol.has_ports().then_some(self.dst_port)
    }
}

impl fmt::Display for Packet {
    /// `10.65.0.1 -> 10.65.0.2:80/TCP`, `fd65::1 -> fd65::2 ICMPv6 type 128 code 0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> ", self.src)?;
        match (self.protocol.has_ports(), self.dst, self.icmp) {
            (true, IpAddr::V4(dst), _) => write!(f, "{dst}:{}/{}", self.dst_port, self.protocol),
            (true, IpAddr::V6(dst), _) => write!(f, "[{dst}]:{}/{}", self.dst_port, self.protocol),
            (false, dst, Some((kind, code))) => write!(f, "{dst} {} type {kind} code {code}", self.protocol),
            (false, dst, None) => write!(f, "{dst} protocol {}", self.protocol),
        }
    }
}
