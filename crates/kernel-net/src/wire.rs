//! Reading of attribute values, and the kernel's numbers of families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NlaBuffer, NlasIterator};
use netlink_packet_route::AddressFamily;
use tortie_net::{Cidr, Family};

/// The attributes of a message behind its fixed header. Decoders read only what they use: the kernel's messages
/// grow with every release, and an attribute that we do not know must not hide an object.
pub(crate) fn attributes(payload: &[u8], header: usize) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(payload.get(header..).unwrap_or_default()).flatten()
}

pub(crate) fn word(value: &[u8]) -> Option<u32> {
    value.first_chunk::<4>().map(|v| u32::from_ne_bytes(*v))
}

pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|v6| Ipv6Addr::from(v6).into())
}

/// A string attribute, with or without the closing zero byte.
pub(crate) fn text(value: &[u8]) -> String {
    let text = value.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// A prefix from its optional address (absent for /0) and length.
pub(crate) fn cidr(family: Family, addr: Option<IpAddr>, len: u8) -> Option<Cidr> {
    Cidr::new(addr.unwrap_or_else(|| Cidr::any(family).addr()), len)
}

pub(crate) fn af(family: Option<Family>) -> AddressFamily {
    match family {
        None => AddressFamily::Unspec,
        Some(Family::V4) => AddressFamily::Inet,
        Some(Family::V6) => AddressFamily::Inet6,
    }
}

pub(crate) fn family(af: u8) -> Option<Family> {
    Family::ALL.into_iter().find(|f| u8::from(self::af(Some(*f))) == af)
}
