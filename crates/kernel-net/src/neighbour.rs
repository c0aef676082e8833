//! Neighbour entries: static ARP and ND, proxies, and forwarding entries of tunnels and bridges.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use tortie_net::{Family, Mac};

use crate::{LinkIndex, wire};

/// A neighbour entry of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// The interface.
    pub link: LinkIndex,
    /// What it says.
    pub entry: NeighbourEntry,
    /// Whether it stays until it is removed. Otherwise the kernel verifies it now and then, and forgets it
    /// if nobody answers.
    pub permanent: bool,
}

/// What a neighbour entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourEntry {
    /// An address has this link-layer address (none while the kernel is still asking).
    Resolved {
        /// The address.
        ip: IpAddr,
        /// Its link-layer address.
        mac: Option<Mac>,
    },
    /// This host answers requests for an address in somebody else's name.
    Proxy {
        /// The address.
        ip: IpAddr,
    },
    /// Frames to a link-layer address go to a tunnel end (or, in a bridge, to the interface).
    Forward {
        /// The link-layer address.
        mac: Mac,
        /// The tunnel's other end.
        to: Option<IpAddr>,
    },
}

/// Restricts a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourFilter {
    /// Only this interface.
    pub link: Option<LinkIndex>,
    /// Only this family; not for [`NeighbourFilter::forward`].
    pub family: Option<Family>,
    /// Proxy entries in place of resolved ones.
    pub proxy: bool,
    /// Forwarding entries in place of resolved ones.
    pub forward: bool,
}

impl Neighbour {
    /// A permanent entry.
    pub fn permanent(link: LinkIndex, ip: IpAddr, mac: Mac) -> Self {
        Self { link, entry: NeighbourEntry::Resolved { ip, mac: Some(mac) }, permanent: true }
    }

    /// An entry as if the neighbour had just answered: right for now, and verified by the kernel later.
    pub fn reachable(link: LinkIndex, ip: IpAddr, mac: Mac) -> Self {
        Self { permanent: false, ..Self::permanent(link, ip, mac) }
    }

    /// A proxy entry.
    pub fn proxy(link: LinkIndex, ip: IpAddr) -> Self {
        Self { link, entry: NeighbourEntry::Proxy { ip }, permanent: true }
    }

    /// A permanent forwarding entry of a tunnel.
    pub fn forward(link: LinkIndex, mac: Mac, to: IpAddr) -> Self {
        Self { link, entry: NeighbourEntry::Forward { mac, to: Some(to) }, permanent: true }
    }

    pub(crate) fn to_message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        let header = &mut message.header;
        header.ifindex = self.link.0;
        header.state = if self.permanent { NeighbourState::Permanent } else { NeighbourState::Reachable };
        let destination = |ip: IpAddr| NeighbourAttribute::Destination(ip.into());
        match &self.entry {
            NeighbourEntry::Resolved { ip, mac } => {
                header.family = wire::af(Some(Family::of(*ip)));
                message.attributes.push(destination(*ip));
                message
                    .attributes
                    .extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())));
            }
            NeighbourEntry::Proxy { ip } => {
                header.family = wire::af(Some(Family::of(*ip)));
                header.flags = NeighbourFlags::Proxy;
                message.attributes.push(destination(*ip));
            }
            NeighbourEntry::Forward { mac, to } => {
                header.family = AddressFamily::Bridge;
                header.flags = NeighbourFlags::Own;
                message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
                message.attributes.extend(to.map(destination));
            }
        }
        message
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        const HEADER: usize = 12;
        const NDA_DST: u16 = 1;
        const NDA_LLADDR: u16 = 2;
        // struct ndmsg: family, padding (3), index (4), state (2), flags, type
        let [family, _, _, _, i0, i1, i2, i3, s0, s1, flags, _] = *payload.first_chunk::<HEADER>()?;
        let (mut ip, mut mac) = (None, None);
        for nla in wire::attributes(payload, HEADER) {
            match nla.kind() {
                NDA_DST => ip = wire::ip(nla.value()),
                NDA_LLADDR => mac = nla.value().try_into().ok().map(Mac),
                _ => {}
            }
        }
        let entry = if family == u8::from(AddressFamily::Bridge) {
            NeighbourEntry::Forward { mac: mac?, to: ip }
        } else {
            wire::family(family)?;
            if NeighbourFlags::from_bits_retain(flags).contains(NeighbourFlags::Proxy) {
                NeighbourEntry::Proxy { ip: ip? }
            } else {
                NeighbourEntry::Resolved { ip: ip?, mac }
            }
        };
        let state = u16::from_ne_bytes([s0, s1]);
        // The kernel keeps no state for proxies: they stay until removed.
        let permanent = state & u16::from(NeighbourState::Permanent) != 0
            || matches!(entry, NeighbourEntry::Proxy { .. });
        Some(Self { link: LinkIndex(u32::from_ne_bytes([i0, i1, i2, i3])), entry, permanent })
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            NeighbourEntry::Resolved { ip, mac: Some(mac) } => write!(f, "neighbour {ip} at {mac}")?,
            NeighbourEntry::Resolved { ip, mac: None } => write!(f, "neighbour {ip}")?,
            NeighbourEntry::Proxy { ip } => write!(f, "proxy neighbour {ip}")?,
            NeighbourEntry::Forward { mac, to: Some(to) } => write!(f, "forwarding of {mac} to {to}")?,
            NeighbourEntry::Forward { mac, to: None } => write!(f, "forwarding of {mac}")?,
        }
        write!(f, " on interface {}", self.link)
    }
}

impl NeighbourFilter {
    pub(crate) fn to_request(self) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = if self.forward { AddressFamily::Bridge } else { wire::af(self.family) };
        if self.proxy {
            message.header.flags = NeighbourFlags::Proxy;
        }
        // The forwarding table's listing takes the interface elsewhere; it is filtered by `matches` alone.
        if let Some(link) = self.link.filter(|_| !self.forward) {
            message.attributes.push(NeighbourAttribute::IfIndex(link.0));
        }
        RouteNetlinkMessage::GetNeighbour(message)
    }

    pub(crate) fn matches(&self, neighbour: &Neighbour) -> bool {
        let kind = match &neighbour.entry {
            NeighbourEntry::Resolved { ip, .. } => !self.proxy && !self.forward && self.of_family(*ip),
            NeighbourEntry::Proxy { ip } => self.proxy && self.of_family(*ip),
            NeighbourEntry::Forward { .. } => self.forward,
        };
        kind && self.link.is_none_or(|l| l == neighbour.link)
    }

    fn of_family(&self, ip: IpAddr) -> bool {
        self.family.is_none_or(|f| f == Family::of(ip))
    }
}
