//! CIDRs with host bits cleared.

use crate::Family;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP prefix. Host bits are always zero; a bare address parses as /32 or /128.
///
/// Text form: `10.0.0.0/8`, `fd00::/64`. Ordered by family, then address, then prefix length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

/// Text that is no CIDR and no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an IP address or CIDR")]
pub struct CidrParseError {
    /// The text as given.
    pub text: String,
}

impl Cidr {
    /// The prefix `addr/len` with host bits cleared; `None` if `len` exceeds the family's bits.
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        IpNet::new(addr, len).ok().map(|n| Self(n.trunc()))
    }

    /// The /32 or /128 of one address.
    pub fn host(addr: IpAddr) -> Self {
        Self(IpNet::from(addr))
    }

    /// `0.0.0.0/0` or `::/0`.
    pub fn any(family: Family) -> Self {
        match family {
            Family::V4 => Self(IpNet::new_assert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)),
            Family::V6 => Self(IpNet::new_assert(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)),
        }
    }

    /// First address of the prefix.
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }

    /// Prefix length in bits.
    #[expect(clippy::len_without_is_empty, reason = "the length of a prefix; none is empty")]
    pub fn len(self) -> u8 {
        self.0.prefix_len()
    }

    /// True for a /0.
    pub fn is_any(self) -> bool {
        self.len() == 0
    }

    /// Last address of the prefix.
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// The family of the prefix.
    pub fn family(self) -> Family {
        Family::of(self.addr())
    }

    /// True for a /32 or /128.
    pub fn is_host(self) -> bool {
        self.len() == self.family().bits()
    }

    /// True if `addr` lies in the prefix.
    pub fn contains(self, addr: IpAddr) -> bool {
        self.0.contains(&addr)
    }

    /// True if every address of `other` lies in this prefix.
    pub fn covers(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// A prefix of IPv4 that is written in IPv6's form (`::ffff:10.0.0.0/104`) as one of IPv4; any other as it is.
    #[must_use]
    pub fn to_canonical(self) -> Self {
        const MAPPED: u8 = 96;
        match (self.addr().to_canonical(), self.len().checked_sub(MAPPED)) {
            (addr @ IpAddr::V4(_), Some(len)) if self.family() == Family::V6 => {
                Self::new(addr, len).unwrap_or(self)
            }
            _ => self,
        }
    }

    /// True if the two prefixes share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = CidrParseError;

    fn from_str(text: &str) -> Result<Self, CidrParseError> {
        let text_err = || CidrParseError { text: text.to_owned() };
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| text_err());
        let Some((addr, len)) = text.split_once('/') else { return address(text).map(Self::host) };
        let digits = !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit());
        let len = len.parse::<u8>().ok().filter(|_| digits).ok_or_else(text_err)?;
        IpNet::new(address(addr)?, len).map(|net| Self(net.trunc())).map_err(|_| text_err())
    }
}

impl From<IpAddr> for Cidr {
    fn from(addr: IpAddr) -> Self {
        Self::host(addr)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_masks_and_prints() {
        for (text, want) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::1/64", "fd00::/64"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), want);
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "a"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn containment() {
        let c: Cidr = "10.0.0.0/8".parse().unwrap();
        assert!(c.contains("10.255.0.1".parse().unwrap()));
        assert!(!c.contains("fd00::1".parse().unwrap()));
        assert!(c.covers("10.1.0.0/16".parse().unwrap()));
        assert!(!c.covers("0.0.0.0/0".parse().unwrap()));
        assert!(c.overlaps("0.0.0.0/0".parse().unwrap()));
        assert_eq!(c.last().to_string(), "10.255.255.255");
    }

    #[test]
    fn prefixes_in_ipv6s_form() {
        for (text, want) in [
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("::ffff:0:0/80", "::/80"),
            ("fd00::/8", "fd00::/8"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_canonical(), want.parse().unwrap(), "{text}");
        }
    }
}
