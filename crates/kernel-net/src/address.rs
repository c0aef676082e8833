//! Addresses of interfaces.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use tortie_net::Family;

use crate::{LinkIndex, Scope, wire};

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The interface.
    pub link: LinkIndex,
    /// The address itself.
    pub addr: IpAddr,
    /// The length of the prefix that is reachable on the link, in bits.
    pub prefix_len: u8,
    /// How far the address is valid; IPv6 derives it from the address.
    pub scope: Scope,
    /// Without duplicate address detection, so that an IPv6 address is usable at once.
    pub nodad: bool,
    /// Still under duplicate address detection (or failed in it) and not usable; ignored when adding.
    pub tentative: bool,
}

/// Restricts a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressFilter {
    /// Only this family.
    pub family: Option<Family>,
    /// Only this interface.
    pub link: Option<LinkIndex>,
}

impl Address {
    /// A globally valid address with the given prefix length, without duplicate address detection.
    pub fn new(link: LinkIndex, addr: IpAddr, prefix_len: u8) -> Self {
        let link_local = matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let scope = if link_local { Scope::LINK } else { Scope::UNIVERSE };
        Self { link, addr, prefix_len, scope, nodad: addr.is_ipv6(), tentative: false }
    }

    /// A /32 or /128.
    pub fn host(link: LinkIndex, addr: IpAddr) -> Self {
        Self::new(link, addr, Family::of(addr).bits())
    }

    pub(crate) fn to_message(&self) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = wire::af(Some(Family::of(self.addr)));
        message.header.prefix_len = self.prefix_len;
        message.header.scope = AddressScope::from(self.scope.0);
        message.header.index = self.link.0;
        if self.nodad {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes = vec![AddressAttribute::Local(self.addr), AddressAttribute::Address(self.addr)];
        message
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        const HEADER: usize = 8;
        const IFA_ADDRESS: u16 = 1;
        const IFA_LOCAL: u16 = 2;
        const IFA_FLAGS: u16 = 8;
        // struct ifaddrmsg: family, prefix length, flags, scope, index (4)
        let [family, prefix_len, flags, scope, index @ ..] = *payload.first_chunk::<HEADER>()?;
        wire::family(family)?;
        let (mut address, mut local, mut flags) = (None, None, u32::from(flags));
        for nla in wire::attributes(payload, HEADER) {
            match nla.kind() {
                IFA_ADDRESS => address = wire::ip(nla.value()),
                IFA_LOCAL => local = wire::ip(nla.value()),
                IFA_FLAGS => flags = wire::word(nla.value())?,
                _ => {}
            }
        }
        let flags = AddressFlags::from_bits_retain(flags);
        Some(Self {
            link: LinkIndex(u32::from_ne_bytes(index)),
            // On a point-to-point link IFA_ADDRESS is the other side; IPv6 has no IFA_LOCAL otherwise.
            addr: local.or(address)?,
            prefix_len,
            scope: Scope(scope),
            nodad: flags.contains(AddressFlags::Nodad),
            tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {}/{} of interface {}", self.addr, self.prefix_len, self.link)
    }
}

impl AddressFilter {
    pub(crate) fn to_request(self) -> RouteNetlinkMessage {
        let mut message = AddressMessage::default();
        message.header.family = wire::af(self.family);
        message.header.index = self.link.map_or(0, |l| l.0);
        RouteNetlinkMessage::GetAddress(message)
    }

    pub(crate) fn matches(&self, address: &Address) -> bool {
        self.family.is_none_or(|f| f == Family::of(address.addr))
            && self.link.is_none_or(|l| l == address.link)
    }
}
