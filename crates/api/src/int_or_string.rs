//! A number or a text, kept in the form in which it was written.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use tortie_net::{Port, PortParseError, Protocol, ProtocolParseError};

/// Kubernetes' `IntOrString` and Calico's `numorstring`: the JSON form survives a round trip.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntOrString {
    /// A JSON number.
    Int(i64),
    /// A JSON string.
    String(String),
}

impl IntOrString {
    /// The protocol that this names or numbers.
    pub fn to_protocol(&self) -> Result<Protocol, ProtocolParseError> {
        self.to_string().parse()
    }

    /// The port or range of ports that this names or numbers.
    pub fn to_port(&self) -> Result<Port, PortParseError> {
        self.to_string().parse()
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::String(text) => f.write_str(text),
        }
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<u16> for IntOrString {
    fn from(n: u16) -> Self {
        Self::Int(n.into())
    }
}

impl From<Protocol> for IntOrString {
    fn from(protocol: Protocol) -> Self {
        protocol.name().map_or(Self::Int(protocol.0.into()), Self::from)
    }
}

impl Serialize for IntOrString {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(n) => s.serialize_i64(*n),
            Self::String(text) => s.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = IntOrString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or text")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<IntOrString, E> {
                i64::try_from(v).map(IntOrString::Int).map_err(|_| E::custom(format!("{v} is too large")))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<IntOrString, E> {
                Ok(IntOrString::Int(v))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(v.to_owned()))
            }
        }
        d.deserialize_any(Visitor)
    }
}
