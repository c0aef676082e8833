//! Ports as policies write them: a number, a range `first:last`, or the name of a container port.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// An inclusive range of port numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port; never below `first`.
    pub last: u16,
}

impl PortRange {
    /// A single port.
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// True if `port` lies in the range.
    pub fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

/// A port in a policy rule. JSON: a number, `"first:last"` or `"name"` (Calico's `numorstring.Port`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// One number or a range of numbers.
    Range(PortRange),
    /// A named container port.
    Named(String),
}

/// Text that is no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a port: {reason}")]
pub struct PortParseError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Port {
    /// A single numbered port.
    pub fn number(port: u16) -> Self {
        Self::Range(PortRange::single(port))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl FromStr for Port {
    type Err = PortParseError;

    fn from_str(text: &str) -> Result<Self, PortParseError> {
        let err = |reason| PortParseError { text: text.to_owned(), reason };
        let number = |t: &str| {
            if t.is_empty() || !t.bytes().all(|b| b.is_ascii_digit()) {
                return Err(err("expected a number"));
            }
            t.parse::<u16>().map_err(|_| err("port numbers end at 65535"))
        };
        if let Some((first, last)) = text.split_once(':') {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(err("the first port of a range must not be above its last"));
            }
            return Ok(Self::Range(PortRange { first, last }));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self::number(number(text)?));
        }
        let named = !text.is_empty()
            && text.len() <= 128
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if named {
            Ok(Self::Named(text.to_owned()))
        } else {
            Err(err("expected a number, first:last, or the name of a port"))
        }
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Range(r) if r.first == r.last => s.serialize_u16(r.first),
            other => s.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Port;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number, a range \"first:last\" or a port name")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Port, E> {
                u16::try_from(v).map(Port::number).map_err(|_| E::custom(format!("port {v} is above 65535")))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Port, E> {
                u16::try_from(v).map(Port::number).map_err(|_| E::custom(format!("{v} is not a port number")))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Port, E> {
                v.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, want) in [
            ("80", Port::number(80)),
            ("1:65535", Port::Range(PortRange { first: 1, last: 65535 })),
            ("http", Port::Named("http".into())),
        ] {
            let port: Port = text.parse().unwrap();
            assert_eq!(port, want);
            assert_eq!(port.to_string(), text);
        }
        for bad in ["", "65536", "2:1", "1:x", "+1:2", "a b"] {
            assert!(bad.parse::<Port>().is_err(), "{bad}");
        }
    }
}
