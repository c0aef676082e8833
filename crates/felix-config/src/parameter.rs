//! What the table says about one parameter.
//!
//! Only description: how text becomes a value is in `parse`.

use crate::Value;
use crate::parse::parse;
use crate::sources::AnyHost;
use std::fmt;

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name, as in the configuration file.
    pub name: &'static str,
    /// The field of FelixConfiguration that sets it; empty if none does.
    pub field: &'static str,
    /// The form of its value.
    pub kind: Kind,
    /// The default as text; empty for the zero value.
    pub default: &'static str,
    /// `none` is no value for it.
    pub required: bool,
    /// A value that cannot be parsed stops the agent; otherwise the default takes its place.
    pub fatal: bool,
    /// Only the environment and the file may set it, for it is needed before the datastore can be read.
    pub local: bool,
    /// The heading it stands under in the reference document.
    pub group: &'static str,
    /// What it does.
    pub documentation: &'static str,
    /// The Rust type that its getter answers with.
    pub rust_type: &'static str,
}

impl Parameter {
    /// The environment variable that sets it. Its case does not matter.
    pub fn variable(&self) -> String {
        format!("FELIX_{}", self.name)
    }

    /// The default, parsed.
    pub fn default_value(&self) -> Value {
        if self.default.is_empty() {
            return self.kind.zero();
        }
        // A test parses every default of the table.
        parse(&self.kind, self.default, &AnyHost).unwrap_or_else(|_| self.kind.zero())
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    pub(crate) const fn local(mut self) -> Self {
        self.local = true;
        self
    }

    pub(crate) const fn described(
        mut self,
        group: &'static str,
        documentation: &'static str,
        rust_type: &'static str,
    ) -> Self {
        self.group = group;
        self.documentation = documentation.trim_ascii();
        self.rust_type = rust_type;
        self
    }
}

/// A parameter to which the table adds the rest.
pub(crate) const fn p(
    name: &'static str,
    field: &'static str,
    kind: Kind,
    default: &'static str,
) -> Parameter {
    Parameter {
        name,
        field,
        kind,
        default,
        required: false,
        fatal: false,
        local: false,
        group: "",
        documentation: "",
        rust_type: "",
    }
}

/// The form of a parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// True, false, or left open.
    OptionalBool,
    /// A whole number.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A time in seconds, with decimals.
    Seconds,
    /// A time in milliseconds, with decimals.
    Millis,
    /// Text of some form.
    Text(TextForm),
    /// One of these words; written in any case, kept in this one.
    OneOf(&'static [&'static str]),
    /// A path of a file.
    File {
        /// The file must be there.
        must_exist: bool,
    },
    /// A program that must be found.
    Program,
    /// A regular expression.
    Pattern,
    /// Interface names, or regular expressions between slashes, with commas.
    InterfacePatterns,
    /// Interface names with commas.
    Interfaces,
    /// Interface names, in which `+` may stand for any rest, with commas.
    InterfaceFilters,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// CIDRs or addresses with commas.
    Cidrs,
    /// URLs of servers with commas.
    Endpoints,
    /// Ports with protocol and network, with commas.
    HostPorts,
    /// A port or a range of ports.
    PortRange,
    /// Ports and ranges of ports with commas.
    PortRanges,
    /// A range of routing tables.
    TableRange,
    /// Ranges of routing tables.
    TableRanges,
    /// `key=value` with commas.
    KeyValues,
    /// `key=duration` with commas.
    KeyDurations,
    /// Bits of the packet mark.
    Mark,
    /// A differentiated services code point.
    Dscp,
}

/// What text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// One line.
    Line,
    /// `host:port`.
    Authority,
    /// A host name.
    Hostname,
    /// A host name or an address of either family.
    HostAddress,
    /// Beginnings of interface names with commas.
    InterfacePrefixes,
    /// An interface name, in which `+` may stand for any rest.
    InterfaceFilter,
    /// A number per unit of time.
    Rate,
    /// A DNS label that leaves room for Calico's prefix.
    Region,
}

impl Kind {
    /// The value that `none` stands for.
    pub fn zero(&self) -> Value {
        match self {
            Self::Bool => Value::Bool(false),
            Self::Int { .. } => Value::Int(0),
            Self::Seconds | Self::Millis => Value::Duration(crate::Span::default()),
            Self::Text(_) | Self::OneOf(_) | Self::File { .. } | Self::Program => Value::Text(String::new()),
            Self::PortRange => Value::PortRange(tortie_net::PortRange::single(0)),
            Self::TableRange => Value::TableRange(crate::TableRange::default()),
            Self::Mark => Value::Mark(0),
            Self::Dscp => Value::Dscp(crate::Dscp::Number(0)),
            Self::OptionalBool
            | Self::Pattern
            | Self::InterfacePatterns
            | Self::Interfaces
            | Self::InterfaceFilters
            | Self::Ipv4
            | Self::Ipv6
            | Self::Cidrs
            | Self::Endpoints
            | Self::HostPorts
            | Self::PortRanges
            | Self::TableRanges
            | Self::KeyValues
            | Self::KeyDurations => Value::Nothing,
        }
    }
}

impl fmt::Display for TextForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "one line of text",
            Self::Authority => "`host:port`",
            Self::Hostname => "a host name: letters, digits, `_`, `.`, `-`",
            Self::HostAddress => "a host name or an address, at most 64 characters",
            Self::InterfacePrefixes => {
                "interface names of at most 15 letters, digits, `_`, `-`, separated by commas"
            }
            Self::InterfaceFilter => {
                "an interface name of at most 15 characters; `+` at its end stands for any rest"
            }
            Self::Rate => "a number from 1 to 9999 per `second`, `minute`, `hour` or `day`, as `10/second`",
            Self::Region => "a DNS label of at most 46 lower-case letters, digits and `-`",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool | Self::OptionalBool => "true or false",
            Self::Int { min: i64::MIN, max: i64::MAX } => "a whole number",
            Self::Int { min, max: i64::MAX } => return write!(f, "a whole number from {min}"),
            Self::Int { min, max } => return write!(f, "a whole number from {min} to {max}"),
            Self::Seconds => "seconds, with decimals",
            Self::Millis => "milliseconds, with decimals",
            Self::Text(form) => return form.fmt(f),
            Self::OneOf(words) => return write!(f, "one of `{}`", words.join("`, `")),
            Self::File { must_exist: false } => "a path",
            Self::File { must_exist: true } => "the path of a file that exists",
            Self::Program => "a program that can be found",
            Self::Pattern => "a regular expression",
            Self::InterfacePatterns => {
                "interface names, or regular expressions between slashes, separated by commas"
            }
            Self::Interfaces => "interface names, separated by commas",
            Self::InterfaceFilters => {
                "interface names, separated by commas; `+` at an end stands for any rest"
            }
            Self::Ipv4 => "an IPv4 address",
            Self::Ipv6 => "an IPv6 address",
            Self::Cidrs => "CIDRs or addresses, separated by commas",
            Self::Endpoints => "URLs `http(s)://host:port`, separated by commas",
            Self::HostPorts => {
                "ports as `22`, `udp:53`, `tcp:10.0.0.0/8:22` or `tcp:[fd00::/8]:22`, separated by commas"
            }
            Self::PortRange => "a port, or a range `first:last`",
            Self::PortRanges => "ports or ranges `first:last`, separated by commas",
            Self::TableRange => "a range `first-last` within 1-250",
            Self::TableRanges => "ranges `first-last`, separated by commas, at most 65535 tables in all",
            Self::KeyValues => "`key=value` pairs, separated by commas",
            Self::KeyDurations => "`key=duration` pairs, separated by commas, durations as `1m30s`",
            Self::Mark => "a 32-bit number, as `0xffff0000`, with at least two bits set",
            Self::Dscp => "a number from 0 to 63, or a name as `EF`, `AF11`, `CS1`",
        })
    }
}
