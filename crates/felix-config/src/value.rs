//! Parsed values: their types, and their JSON.
//!
//! JSON has the shapes that Calico's own encoding has, so that values can be compared.

use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use tortie_net::{Cidr, Port, PortRange};

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing was chosen: an open switch, no address, no pattern, an absent list.
    Nothing,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A time.
    Duration(Span),
    /// Text, a path, a word, a regular expression.
    Text(String),
    /// A list of texts: URLs, interfaces, regular expressions.
    Texts(Vec<String>),
    /// An address.
    Address(IpAddr),
    /// Networks.
    Cidrs(Vec<Cidr>),
    /// Ports with protocol and network.
    HostPorts(Vec<HostPort>),
    /// A range of ports.
    PortRange(PortRange),
    /// Ranges of ports.
    PortRanges(Vec<PortRange>),
    /// A range of routing tables.
    TableRange(TableRange),
    /// Ranges of routing tables.
    TableRanges(Vec<TableRange>),
    /// Texts by key.
    KeyValues(BTreeMap<String, String>),
    /// Times by key.
    KeyDurations(BTreeMap<String, Span>),
    /// Bits of the packet mark.
    Mark(u32),
    /// A differentiated services code point.
    Dscp(Dscp),
}

/// A signed length of time in nanoseconds, as Go counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

impl Span {
    /// The length of time; nothing negative.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&tortie_api::duration::to_text(self.0))
    }
}

/// A port of a host that policy does not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The transport.
    pub protocol: Transport,
    /// The port.
    pub port: u16,
    /// Only to or from here.
    pub net: Option<Cidr>,
}

/// The transports that failsafe ports know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// An inclusive range of routing tables; 0 to 0 where none was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRange {
    /// Lowest table.
    pub first: u32,
    /// Highest table.
    pub last: u32,
}

/// A differentiated services code point, as a number or by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dscp {
    /// A number below 64.
    Number(u8),
    /// A name of the IANA registry and its number.
    Named(&'static str, u8),
}

impl Dscp {
    /// The number.
    pub fn number(self) -> u8 {
        match self {
            Self::Number(number) | Self::Named(_, number) => number,
        }
    }
}

// === impl Value: JSON ===

impl Value {
    /// JSON with durations in Go's text form.
    pub fn to_json(&self) -> Json {
        self.json(|span| json!(span.to_string()))
    }

    /// JSON with durations in nanoseconds.
    pub fn to_json_nanoseconds(&self) -> Json {
        self.json(|span| json!(span.0))
    }

    fn json(&self, time: impl Fn(Span) -> Json) -> Json {
        match self {
            Self::Nothing => Json::Null,
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::Duration(value) => time(*value),
            Self::Text(value) => json!(value),
            Self::Texts(values) => json!(values),
            Self::Address(value) => json!(value.to_string()),
            Self::Cidrs(values) => json!(values),
            Self::HostPorts(values) => values.iter().map(host_port).collect(),
            Self::PortRange(value) => port_range(*value),
            Self::PortRanges(values) => values.iter().map(|value| port_range(*value)).collect(),
            Self::TableRange(value) => table_range(value),
            Self::TableRanges(values) => values.iter().map(table_range).collect(),
            Self::KeyValues(values) => json!(values),
            Self::KeyDurations(values) => {
                values.iter().map(|(key, value)| (key.clone(), time(*value))).collect::<Map<_, _>>().into()
            }
            Self::Mark(value) => json!(value),
            Self::Dscp(Dscp::Number(number)) => json!(number),
            Self::Dscp(Dscp::Named(name, _)) => json!(name),
        }
    }
}

fn host_port(value: &HostPort) -> Json {
    let mut object = json!({"protocol": value.protocol.to_string(), "port": value.port});
    if let (Some(net), Some(object)) = (value.net, object.as_object_mut()) {
        object.insert("net".to_owned(), json!(net));
    }
    object
}

fn port_range(value: PortRange) -> Json {
    json!(Port::Range(value))
}

fn table_range(value: &TableRange) -> Json {
    json!({"Min": value.first, "Max": value.last})
}

// === Getters ===

static NO_TEXTS: BTreeMap<String, String> = BTreeMap::new();
static NO_DURATIONS: BTreeMap<String, Span> = BTreeMap::new();

/// What a getter answers with. A value of another type gives the zero of this one; a test holds the table's types and
/// kinds together.
pub(crate) trait FromValue<'a> {
    fn from_value(value: &'a Value) -> Self;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $result:expr, else $zero:expr;)+) => {
        $(impl<'a> FromValue<'a> for $type {
            fn from_value(value: &'a Value) -> Self {
                match value {
                    $pattern => $result,
                    _ => $zero,
                }
            }
        })+
    };
}

from_value! {
    bool: Value::Bool(v) => *v, else false;
    Option<bool>: Value::Bool(v) => Some(*v), else None;
    i64: Value::Int(v) => *v, else 0;
    u32: Value::Mark(v) => *v, else 0;
    Duration: Value::Duration(v) => v.duration(), else Self::ZERO;
    &'a str: Value::Text(v) => v, else "";
    Option<&'a str>: Value::Text(v) => Some(v), else None;
    &'a [String]: Value::Texts(v) => v, else &[];
    Option<IpAddr>: Value::Address(v) => Some(*v), else None;
    &'a [Cidr]: Value::Cidrs(v) => v, else &[];
    &'a [HostPort]: Value::HostPorts(v) => v, else &[];
    PortRange: Value::PortRange(v) => *v, else PortRange::single(0);
    &'a [PortRange]: Value::PortRanges(v) => v, else &[];
    TableRange: Value::TableRange(v) => *v, else Self::default();
    &'a [TableRange]: Value::TableRanges(v) => v, else &[];
    &'a BTreeMap<String, String>: Value::KeyValues(v) => v, else &NO_TEXTS;
    &'a BTreeMap<String, Span>: Value::KeyDurations(v) => v, else &NO_DURATIONS;
    Dscp: Value::Dscp(v) => *v, else Self::Number(0);
}
