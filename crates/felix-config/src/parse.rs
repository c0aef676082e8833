//! From text to values.
//!
//! Accepts and refuses exactly what Felix does: these texts stand in clusters' configuration already.

mod lists;
mod numbers;
mod text;

use crate::{Host, Kind, TextForm, Value};
use std::net::IpAddr;
use tortie_net::{Family, Port, PortRange};

/// Text that is no value of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Neither true nor false.
    #[error("expected true or false; also 1, yes, y, t and 0, no, n, f")]
    Bool,
    /// No whole number.
    #[error("expected a whole number, as 10 or 0x0a")]
    Integer,
    /// A number out of its range.
    #[error("the number must be from {min} to {max}")]
    Range {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// No number.
    #[error("expected a number, as 10 or 1.5")]
    Number,
    /// Text of another form.
    #[error("expected {0}")]
    Form(TextForm),
    /// None of the words.
    #[error("expected one of {}", .0.join(", "))]
    OneOf(&'static [&'static str]),
    /// No file there.
    #[error("there is no such file")]
    NoFile,
    /// No such program.
    #[error("no such program was found beside this one or on the search path")]
    NoProgram,
    /// No regular expression.
    #[error("no regular expression: {0}")]
    Pattern(String),
    /// No interface.
    #[error("{0:?} is no interface name, and no regular expression between slashes")]
    Interface(String),
    /// No address of the family.
    #[error("expected an {0} address")]
    Address(Family),
    /// No network.
    #[error("{0:?} is no CIDR and no address")]
    Cidr(String),
    /// No URL of a server.
    #[error("{0:?} is no URL of the form http(s)://host:port")]
    Endpoint(String),
    /// No failsafe port.
    #[error("{0:?} is no port: write 22, udp:53, tcp:10.0.0.0/8:22 or tcp:[fd00::/8]:22")]
    HostPort(String),
    /// No port or range.
    #[error("{0:?} is no port and no range first:last")]
    Port(String),
    /// No range of tables.
    #[error("expected a range of routing tables within 1-250, as 1-100")]
    TableRange,
    /// No ranges of tables.
    #[error(
        "expected ranges of routing tables, as 1-100,200-250, from 1 to 4294967295 and at most 65535 in all"
    )]
    TableRanges,
    /// No pair.
    #[error("{0:?} is not of the form key=value")]
    KeyValue(String),
    /// No duration.
    #[error("{0:?} is no duration, as 90s or 1m30s")]
    Duration(String),
    /// No mark.
    #[error("expected a 32-bit number with at least two bits set, as 0xffff0000")]
    Mark,
    /// No code point.
    #[error("expected a number from 0 to 63 or a name as EF, AF11, CS1")]
    Dscp,
}

/// The value that the text stands for. `none` has no meaning here.
pub(crate) fn parse(kind: &Kind, raw: &str, host: &dyn Host) -> Result<Value, ParseError> {
    Ok(match kind {
        Kind::Bool | Kind::OptionalBool => Value::Bool(numbers::boolean(raw)?),
        Kind::Int { min, max } => Value::Int(numbers::integer_within(raw, *min, *max)?),
        Kind::Seconds => Value::Duration(numbers::time(raw, 1e9)?),
        Kind::Millis => Value::Duration(numbers::time(raw, 1e6)?),
        Kind::Mark => Value::Mark(numbers::mark(raw)?),
        Kind::Dscp => Value::Dscp(numbers::dscp(raw)?),
        Kind::Text(form) => Value::Text(if text::has_form(*form, raw) {
            raw.to_owned()
        } else {
            return Err(ParseError::Form(*form));
        }),
        Kind::OneOf(words) => {
            let word = words.iter().find(|word| word.to_lowercase() == raw.to_lowercase());
            Value::Text((*word.ok_or(ParseError::OneOf(words))?).to_owned())
        }
        Kind::File { must_exist } => {
            if *must_exist && !raw.is_empty() && !host.exists(raw) {
                return Err(ParseError::NoFile);
            }
            Value::Text(raw.to_owned())
        }
        Kind::Program => Value::Text(host.find_program(raw).ok_or(ParseError::NoProgram)?),
        Kind::Pattern => {
            text::check_pattern(raw)?;
            Value::Text(raw.to_owned())
        }
        Kind::InterfacePatterns => Value::Texts(text::interface_patterns(raw)?),
        Kind::Interfaces => Value::Texts(lists::interfaces(raw, text::is_interface)?),
        Kind::InterfaceFilters => Value::Texts(lists::interfaces(raw, text::is_interface_filter)?),
        Kind::Ipv4 => Value::Address(address(raw, Family::V4)?),
        Kind::Ipv6 => Value::Address(address(raw, Family::V6)?),
        Kind::Cidrs => Value::Cidrs(lists::cidrs(raw)?),
        Kind::Endpoints => Value::Texts(lists::endpoints(raw)?),
        Kind::HostPorts => Value::HostPorts(lists::host_ports(raw)?),
        Kind::PortRange => Value::PortRange(port_range(raw)?),
        Kind::PortRanges => Value::PortRanges(raw.split(',').map(port_range).collect::<Result<_, _>>()?),
        Kind::TableRange => Value::TableRange(lists::table_range(raw)?),
        Kind::TableRanges => Value::TableRanges(lists::table_ranges(raw)?),
        Kind::KeyValues => Value::KeyValues(lists::key_values(raw)?),
        Kind::KeyDurations => Value::KeyDurations(lists::key_durations(raw)?),
    })
}

/// An address of the family; an IPv4 address inside an IPv6 one counts as IPv4.
fn address(raw: &str, family: Family) -> Result<IpAddr, ParseError> {
    let address = raw.parse::<IpAddr>().map_err(|_| ParseError::Address(family))?.to_canonical();
    if Family::of(address) == family { Ok(address) } else { Err(ParseError::Address(family)) }
}

fn port_range(raw: &str) -> Result<PortRange, ParseError> {
    let digits = raw.bytes().all(|b| b.is_ascii_digit() || b == b':');
    match raw.parse::<Port>() {
        Ok(Port::Range(range)) if digits => Ok(range),
        _ => Err(ParseError::Port(raw.to_owned())),
    }
}
