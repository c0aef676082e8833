//! Addresses as numbers: the n-th address of a prefix, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tortie_net::{Cidr, Family};

/// The address as a number; IPv4 in the low 32 bits.
pub(crate) fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// The address with this number in a family; `None` beyond the end of the family.
pub(crate) fn address(family: Family, number: u128) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(number).ok().map(|n| IpAddr::V4(Ipv4Addr::from(n))),
        Family::V6 => Some(IpAddr::V6(Ipv6Addr::from(number))),
    }
}

/// Number of addresses of a prefix; `::/0` saturates at `u128::MAX`.
pub fn size_of(prefix: Cidr) -> u128 {
    let host_bits = u32::from(prefix.family().bits() - prefix.len());
    1u128.checked_shl(host_bits).unwrap_or(u128::MAX)
}

/// The address at position `ordinal` of a prefix, counted from 0; `None` beyond its end.
pub fn nth_address(prefix: Cidr, ordinal: u128) -> Option<IpAddr> {
    if ordinal >= size_of(prefix) {
        return None;
    }
    address(prefix.family(), number(prefix.addr()).checked_add(ordinal)?)
}

/// The position of an address within a prefix; `None` if it lies outside.
pub fn ordinal_of(prefix: Cidr, addr: IpAddr) -> Option<u128> {
    prefix.contains(addr).then(|| number(addr) - number(prefix.addr()))
}

/// The block of length `len` that an address belongs to; `None` if the family has no such length.
pub fn block_of(addr: IpAddr, len: u8) -> Option<Cidr> {
    Cidr::new(addr, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("10.0.0.0/26", 64),
            ("10.0.0.1/32", 1),
            ("fd00::/122", 64),
            ("0.0.0.0/0", 1 << 32),
            ("::/1", 1 << 127),
            ("::/0", u128::MAX),
        ] {
            assert_eq!(size_of(cidr(text)), want, "{text}");
        }
    }

    #[test]
    fn the_ends_of_a_family() {
        assert_eq!(nth_address(cidr("255.255.255.192/26"), 63), Some("255.255.255.255".parse().unwrap()));
        assert_eq!(nth_address(cidr("255.255.255.192/26"), 64), None);
        assert_eq!(ordinal_of(cidr("10.0.0.0/26"), "10.0.0.64".parse().unwrap()), None);
        assert_eq!(ordinal_of(cidr("10.0.0.0/26"), "fd00::1".parse().unwrap()), None);
    }

    proptest! {
        #[test]
        fn ordinals_round_trip(addr: u128, len in 100u8..=128, v4: bool, ordinal: u16) {
            let prefix = if v4 {
                Cidr::new(IpAddr::V4(Ipv4Addr::from(addr as u32)), len - 96).unwrap()
            } else {
                Cidr::new(IpAddr::V6(Ipv6Addr::from(addr)), len).unwrap()
            };
            let ordinal = u128::from(ordinal) % size_of(prefix);
            let at = nth_address(prefix, ordinal).unwrap();
            prop_assert!(prefix.contains(at));
            prop_assert_eq!(ordinal_of(prefix, at), Some(ordinal));
            prop_assert_eq!(block_of(at, prefix.len()), Some(prefix));
        }
    }
}
