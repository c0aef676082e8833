//! Sets in the kernel: what a shape is there, elements as keys, keys as elements.
//!
//! A set with prefixes or ranges is an *interval* set: an element is a start key, and a second key, marked as an end, that is the first one after
//! it. An interval that reaches the end of the space has no end key.

use crate::consts::*;
use crate::lower::address_bytes;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_net::{Cidr, Family, PortRange, Protocol};
use tortie_rules::{Element, SetShape};

/// Bytes of a key.
pub type KeyBytes = SmallVec<[u8; 24]>;

/// Length of an interface name's key.
const IFNAMSIZ: usize = 16;

/// A set's properties in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `NFT_SET_…`
    pub flags: u32,
    /// Type for `nft`'s listing.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_len: u32,
    /// Type of a map's data.
    pub data_type: Option<u32>,
}

/// Byte order of a key, for `nft`'s listing.
pub(crate) enum KeyOrder {
    Host = 1,
    Network = 2,
}

/// What a shape is in the kernel.
pub fn spec(shape: SetShape) -> Spec {
    let interval = |yes| if yes { NFT_SET_INTERVAL } else { 0 };
    let set = |flags, key_type, key_len| Spec { flags, key_type, key_len, data_type: None };
    match shape {
        SetShape::Addresses { family, prefixes } => {
            let (key_type, key_len) = address_type(family);
            set(interval(prefixes), key_type, key_len)
        }
        SetShape::AddressProtocolPorts { family } => {
            let (address, len) = address_type(family);
            let key_type = (address << TYPE_BITS | TYPE_INET_PROTOCOL) << TYPE_BITS | TYPE_INET_SERVICE;
            set(0, key_type, len + 4 + 4)
        }
        SetShape::Ports { ranges } => set(interval(ranges), TYPE_INET_SERVICE, 2),
        SetShape::Protocols => set(0, TYPE_INET_PROTOCOL, 1),
        SetShape::Interfaces => Spec {
            flags: NFT_SET_MAP,
            key_type: TYPE_IFNAME,
            key_len: IFNAMSIZ as u32,
            data_type: Some(NFT_DATA_VERDICT),
        },
    }
}

pub(crate) fn key_order(shape: SetShape) -> KeyOrder {
    match shape {
        SetShape::Interfaces => KeyOrder::Host,
        _ => KeyOrder::Network,
    }
}

fn address_type(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (TYPE_IPADDR, 4),
        Family::V6 => (TYPE_IP6ADDR, 16),
    }
}

/// An element as the kernel has it: one key of a set. An interval is two of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawElement {
    /// The key.
    pub key: KeyBytes,
    /// The first key after an interval, rather than an element's own.
    pub is_end: bool,
    /// What a verdict map says: code and chain.
    pub verdict: Option<(i32, Option<Arc<str>>)>,
    /// Has something that our elements never have: a timeout, an upper key, other data.
    pub is_odd: bool,
}

impl RawElement {
    fn start(key: &[u8]) -> Self {
        Self { key: KeyBytes::from_slice(key), is_end: false, verdict: None, is_odd: false }
    }

    fn end(key: &[u8]) -> Self {
        Self { is_end: true, ..Self::start(key) }
    }
}

/// The next key of the same length; `None` after the last.
fn successor(key: &[u8]) -> Option<KeyBytes> {
    let mut next = KeyBytes::from_slice(key);
    for byte in next.iter_mut().rev() {
        let (value, overflow) = byte.overflowing_add(1);
        *byte = value;
        if !overflow {
            return Some(next);
        }
    }
    None
}

fn predecessor(key: &[u8]) -> Option<KeyBytes> {
    let mut previous = KeyBytes::from_slice(key);
    for byte in previous.iter_mut().rev() {
        let (value, overflow) = byte.overflowing_sub(1);
        *byte = value;
        if !overflow {
            return Some(previous);
        }
    }
    None
}

fn interface_key(name: &str) -> KeyBytes {
    let mut key = KeyBytes::from_slice(name.as_bytes());
    key.resize(IFNAMSIZ, 0);
    key
}

/// The keys of an element: the start, and in an interval set the end unless there is nothing after it.
pub fn keys(shape: SetShape, element: &Element) -> (RawElement, Option<RawElement>) {
    let interval = spec(shape).flags & NFT_SET_INTERVAL != 0;
    let pair = |first: &[u8], last: &[u8]| {
        let end = if interval { successor(last).map(|k| RawElement::end(&k)) } else { None };
        (RawElement::start(first), end)
    };
    match element {
        Element::Net(net) => pair(&address_bytes(net.addr()), &address_bytes(net.last())),
        Element::Ports(range) => pair(&range.first.to_be_bytes(), &range.last.to_be_bytes()),
        Element::Protocol(protocol) => (RawElement::start(&[protocol.0]), None),
        Element::AddressProtocolPort(addr, protocol, port) => {
            let mut key = KeyBytes::from_slice(&address_bytes(*addr));
            // Each field is padded to four bytes.
            key.extend([protocol.0, 0, 0, 0]);
            key.extend(port.to_be_bytes());
            key.extend([0, 0]);
            (RawElement::start(&key), None)
        }
        Element::Interface(name, chain) => {
            let mut raw = RawElement::start(&interface_key(name));
            raw.verdict = Some((NFT_JUMP, Some(chain.0.clone())));
            (raw, None)
        }
    }
}

/// What a dump of a set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// What could be ours.
    pub elements: Vec<Element>,
    /// What never is.
    pub odd: Vec<RawElement>,
}

/// Reads the elements of a set of a known shape.
pub fn read(shape: SetShape, raw: Vec<RawElement>) -> Content {
    if spec(shape).flags & NFT_SET_INTERVAL != 0 {
        return read_intervals(shape, raw);
    }
    let mut content = Content::default();
    for raw in raw {
        match read_key(shape, &raw) {
            Some(element) if !raw.is_odd && !raw.is_end => content.elements.push(element),
            _ => content.odd.push(raw),
        }
    }
    content
}

fn read_key(shape: SetShape, raw: &RawElement) -> Option<Element> {
    match shape {
        SetShape::Addresses { family, .. } => Some(Element::Net(Cidr::host(address(family, &raw.key)?))),
        SetShape::AddressProtocolPorts { family } => {
            let len = usize::from(family.bits()) / 8;
            let addr = address(family, raw.key.get(..len)?)?;
            let [protocol, 0, 0, 0, high, low, 0, 0] = *raw.key.get(len..)? else { return None };
            Some(Element::AddressProtocolPort(addr, Protocol(protocol), u16::from_be_bytes([high, low])))
        }
        SetShape::Ports { .. } => {
            let &[high, low] = raw.key.as_slice() else { return None };
            Some(Element::Ports(PortRange::single(u16::from_be_bytes([high, low]))))
        }
        SetShape::Protocols => match raw.key.as_slice() {
            [protocol] => Some(Element::Protocol(Protocol(*protocol))),
            _ => None,
        },
        SetShape::Interfaces => {
            let Some((NFT_JUMP, Some(chain))) = &raw.verdict else { return None };
            let name = crate::wire::text(&raw.key)?;
            let element = Element::Interface(name.into(), tortie_rules::ChainName(chain.clone()));
            (interface_key(name) == raw.key).then_some(element)
        }
    }
}

fn address(family: Family, key: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => Some(<[u8; 4]>::try_from(key).ok()?.into()),
        Family::V6 => Some(<[u8; 16]>::try_from(key).ok()?.into()),
    }
}

fn read_intervals(shape: SetShape, mut raw: Vec<RawElement>) -> Content {
    let mut content = Content::default();
    // Where one interval follows another at once, the end of the first has the key of the second's start.
    raw.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(b.is_end.cmp(&a.is_end)));
    let mut raw = raw.into_iter().peekable();
    while let Some(start) = raw.next() {
        if start.is_end {
            // `nft` puts one before everything else; it ends nothing and means nothing.
            if start.key.iter().any(|b| *b != 0) {
                content.odd.push(start);
            }
            continue;
        }
        let end = raw.next_if(|e| e.is_end);
        let last = match &end {
            Some(end) => predecessor(&end.key),
            None => Some(KeyBytes::from_elem(0xff, start.key.len())),
        };
        let odd = start.is_odd || end.as_ref().is_some_and(|e| e.is_odd);
        match last.and_then(|last| read_interval(shape, &start.key, &last)) {
            Some(element) if !odd => content.elements.push(element),
            _ => content.odd.extend([start].into_iter().chain(end)),
        }
    }
    content
}

fn read_interval(shape: SetShape, first: &[u8], last: &[u8]) -> Option<Element> {
    match shape {
        SetShape::Addresses { family, .. } => {
            let (first, last) = (address(family, first)?, address(family, last)?);
            (0..=family.bits())
                .filter_map(|len| Cidr::new(first, len))
                .find(|net| net.addr() == first && net.last() == last)
                .map(Element::Net)
        }
        SetShape::Ports { .. } => {
            let first = u16::from_be_bytes(first.try_into().ok()?);
            let last = u16::from_be_bytes(last.try_into().ok()?);
            (first <= last).then_some(Element::Ports(PortRange { first, last }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(shape: SetShape, elements: Vec<Element>) {
        let mut raw = Vec::new();
        for element in &elements {
            let (start, end) = keys(shape, element);
            assert_eq!(start.key.len(), spec(shape).key_len as usize);
            raw.extend([start].into_iter().chain(end));
        }
        raw.reverse();
        let mut content = read(shape, raw);
        let mut elements = elements;
        content.elements.sort();
        elements.sort();
        assert_eq!(content.elements, elements);
        assert!(content.odd.is_empty());
    }

    #[test]
    fn every_shape() {
        for family in Family::ALL {
            let host = |n: u8| match family {
                Family::V4 => IpAddr::from([10, 0, 0, n]),
                Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)]),
            };
            let hosts = (0..9).map(|n| Element::Net(Cidr::host(host(n)))).collect();
            round_trip(SetShape::Addresses { family, prefixes: false }, hosts);
            let ports =
                (0..9).map(|n| Element::AddressProtocolPort(host(n), Protocol::TCP, 0xff00 + u16::from(n)));
            round_trip(SetShape::AddressProtocolPorts { family }, ports.collect());
            round_trip(SetShape::Addresses { family, prefixes: true }, vec![Element::Net(Cidr::any(family))]);
        }
        let port = |first, last| Element::Ports(PortRange { first, last });
        round_trip(SetShape::Ports { ranges: false }, vec![port(0, 0), port(80, 80), port(0xffff, 0xffff)]);
        round_trip(
            SetShape::Ports { ranges: true },
            vec![port(0, 0), port(1, 79), port(80, 80), port(9000, 0xffff)],
        );
        round_trip(
            SetShape::Protocols,
            vec![Element::Protocol(Protocol::TCP), Element::Protocol(Protocol(255))],
        );
        round_trip(
            SetShape::Interfaces,
            vec![Element::Interface("cali0123456789a".into(), "cali-fw-x".into())],
        );
    }

    #[test]
    fn what_is_not_ours_is_odd() {
        let shape = SetShape::Addresses { family: Family::V4, prefixes: true };
        let raw = vec![
            RawElement::end(&[0, 0, 0, 0]),
            RawElement::start(&[10, 0, 0, 1]),
            RawElement::end(&[10, 0, 0, 4]),
            RawElement::start(&[10, 0, 0, 8]),
            RawElement::end(&[10, 0, 0, 12]),
        ];
        let content = read(shape, raw);
        assert_eq!(content.elements, [Element::Net("10.0.0.8/30".parse().unwrap())]);
        assert_eq!(content.odd.len(), 2, "10.0.0.1-10.0.0.3 is no prefix");
        let mut goto = RawElement::start(&interface_key("cali1"));
        goto.verdict = Some((NFT_GOTO, Some("x".into())));
        assert_eq!(read(SetShape::Interfaces, vec![goto]).odd.len(), 1);
    }

    proptest! {
        #[test]
        fn disjoint_prefixes(mut seeds in prop::collection::vec((any::<u128>(), 0u8..=128, any::<bool>()), 0..20)) {
            let mut nets: Vec<Cidr> = Vec::new();
            for (addr, len, v4) in seeds.drain(..) {
                let net = if v4 {
                    Cidr::new(IpAddr::from((addr as u32).to_be_bytes()), len % 33)
                } else {
                    Cidr::new(IpAddr::from(addr.to_be_bytes()), len)
                };
                nets.extend(net.filter(|n| !nets.iter().any(|o| o.overlaps(*n))));
            }
            for family in Family::ALL {
                let elements = nets.iter().filter(|n| n.family() == family).map(|n| Element::Net(*n)).collect();
                round_trip(SetShape::Addresses { family, prefixes: true }, elements);
            }
        }
    }
}
