//! Protocols as the model writes them: a number stays a number, a name a name.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use tortie_net::{Protocol, ProtocolParseError};

/// A protocol as it was written. Whether there is one of that name is asked when it is used, so that what one object
/// says survives, word for word, on its way to who judges it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WrittenProtocol {
    /// By number; 0 is no protocol.
    Number(u8),
    /// By name, in the letters of the model: lower case.
    Name(Box<str>),
}

impl WrittenProtocol {
    /// Reads a text: digits are a number, all else is a name.
    pub fn from_text(text: &str) -> Self {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Self::Number(number),
            _ => Self::Name(text.into()),
        }
    }

    /// With a name in lower case, as the model has them.
    #[must_use]
    pub fn lower_case(self) -> Self {
        match self {
            Self::Name(name) => Self::Name(name.to_lowercase().into()),
            number @ Self::Number(_) => number,
        }
    }

    /// The protocol, if there is one of that name or number.
    pub fn protocol(&self) -> Result<Protocol, ProtocolParseError> {
        match self {
            Self::Number(number @ 1..) => Ok(Protocol(*number)),
            Self::Number(0) => Err(ProtocolParseError { text: "0".to_owned() }),
            Self::Name(name) => name.parse(),
        }
    }

    /// True if it is this protocol.
    pub fn is(&self, protocol: Protocol) -> bool {
        self.protocol().is_ok_and(|own| own == protocol)
    }
}

impl From<Protocol> for WrittenProtocol {
    fn from(protocol: Protocol) -> Self {
        match protocol.name() {
            Some(name) => Self::Name(name.to_ascii_lowercase().into()),
            None => Self::Number(protocol.0),
        }
    }
}

impl fmt::Display for WrittenProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for WrittenProtocol {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => s.serialize_u8(*number),
            Self::Name(name) => s.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for WrittenProtocol {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = WrittenProtocol;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a protocol or a number from 0 to 255")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<WrittenProtocol, E> {
                let number = u8::try_from(v);
                number.map(WrittenProtocol::Number).map_err(|_| E::custom(format!("{v} is above 255")))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<WrittenProtocol, E> {
                Ok(WrittenProtocol::from_text(v))
            }
        }
        d.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_are_kept() {
        for (written, read, protocol) in [
            (json!(6), json!(6), Some(6)),
            (json!("6"), json!(6), Some(6)),
            (json!("017"), json!(17), Some(17)),
            (json!("tcp"), json!("tcp"), Some(6)),
            (json!("UDPLite"), json!("UDPLite"), Some(136)),
            (json!("foo"), json!("foo"), None),
            (json!("256"), json!("256"), None),
            (json!("+6"), json!("+6"), Some(6)),
            (json!(0), json!(0), None),
            (json!(""), json!(""), None),
        ] {
            let parsed: WrittenProtocol = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(json!(parsed), read, "{written}");
            assert_eq!(parsed.protocol().ok(), protocol.map(Protocol), "{written}");
        }
        for bad in [json!(256), json!(-1), json!(1.5), json!([])] {
            assert!(serde_json::from_value::<WrittenProtocol>(bad).is_err());
        }
        assert_eq!(WrittenProtocol::from(Protocol::SCTP).to_string(), "sctp");
        assert_eq!(WrittenProtocol::from(Protocol(47)), WrittenProtocol::Number(47));
        assert!(WrittenProtocol::from_text("ICMPv6").lower_case().is(Protocol::ICMPV6));
    }
}
