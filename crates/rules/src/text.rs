//! Rules as text, close to how `nft` writes them. For tests, logs and dumps of state; nothing reads it.

use crate::ir::{
    Chain, CtState, Direction, Element, End, Key, Match, Rule, Source, Statement, Towards, Verdict,
};
use crate::{Set, SetShape, Table};
use std::fmt::{Display, Formatter, Result, Write as _};
use tortie_net::{Family, PortRange};

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "!= " } else { "" }
}

fn addr(end: End) -> &'static str {
    match end {
        End::Source => "saddr",
        End::Destination => "daddr",
    }
}

fn port(end: End) -> &'static str {
    match end {
        End::Source => "sport",
        End::Destination => "dport",
    }
}

fn interface(towards: Towards) -> &'static str {
    match towards {
        Towards::In => "iifname",
        Towards::Out => "oifname",
    }
}

fn range(range: PortRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Address(end, family) => write!(f, "{} {}", ip(family), addr(end)),
            Self::AddressProtocolPort(end, family) => {
                write!(f, "{} {} . meta l4proto . th {}", ip(family), addr(end), port(end))
            }
            Self::Port(end) => write!(f, "th {}", port(end)),
            Self::Protocol => f.write_str("meta l4proto"),
        }
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let icmp = |family| if family == Family::V4 { "icmp" } else { "icmpv6" };
        match self {
            Self::Family(family) => write!(f, "meta nfproto {family}"),
            Self::InterfacePrefix(towards, prefix) => write!(f, "{} \"{prefix}*\"", interface(*towards)),
            Self::Protocol { protocol, negated } => write!(f, "meta l4proto {}{protocol}", not(*negated)),
            Self::Net { end, net, negated } => {
                write!(f, "{} {} {}{net}", ip(net.family()), addr(*end), not(*negated))
            }
            Self::Port { end, range: r, negated } => {
                write!(f, "th {} {}{}", port(*end), not(*negated), range(*r))
            }
            Self::Lookup { key, set, negated } => write!(f, "{key} {}@{set}", not(*negated)),
            Self::IcmpType { family, value, negated } => {
                write!(f, "{} type {}{value}", icmp(*family), not(*negated))
            }
            Self::IcmpCode { family, value, negated } => {
                write!(f, "{} code {}{value}", icmp(*family), not(*negated))
            }
            Self::Conntrack(CtState::ESTABLISHED_OR_RELATED) => f.write_str("ct state established,related"),
            Self::Conntrack(CtState::INVALID) => f.write_str("ct state invalid"),
            Self::Conntrack(CtState(bits)) => write!(f, "ct state {bits:#x}"),
            Self::MarkClear(bits) => write!(f, "meta mark & {bits:#x} == 0"),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Count => f.write_str("counter"),
            Self::Limit { per_second, burst } => write!(f, "limit {per_second}/second burst {burst}"),
            Self::Log { prefix } => write!(f, "log {prefix:?}"),
            Self::SetMark(bits) => write!(f, "mark |= {bits:#x}"),
            Self::ClearMark(bits) => write!(f, "mark &= ~{bits:#x}"),
            Self::Dispatch(towards, map) => write!(f, "{} vmap @{map}", interface(*towards)),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl Direction {
    /// `ingress` or `egress`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl Display for Source {
    /// The comment of the rule; empty if there is nothing to say.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Policy(id, direction, index) => write!(f, "{id} {} {index}", direction.as_str()),
            Self::Profile(name, direction, index) => {
                write!(f, "Profile {name} {} {index}", direction.as_str())
            }
            Self::ToPolicy(id) => write!(f, "{id}"),
            Self::ToProfile(name) => write!(f, "Profile {name}"),
            Self::TierEnd(tier) => write!(f, "end of tier {tier}"),
            Self::Fixed(text) => f.write_str(text),
            Self::Plain => Ok(()),
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut line = String::new();
        for m in &self.matches {
            let _ = write!(line, "{m} ");
        }
        for s in &self.statements {
            let _ = write!(line, "{s} ");
        }
        let comment = self.source.to_string();
        if !comment.is_empty() {
            let _ = write!(line, "# {comment}");
        }
        f.write_str(line.trim_end())
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "chain {}", self.name)?;
        if let Some(base) = self.base {
            write!(f, " hook {:?} priority {}", base.hook, base.priority)?;
        }
        if !self.comment.is_empty() {
            write!(f, " # {}", self.comment)?;
        }
        for rule in &self.rules {
            write!(f, "\n  {rule}")?;
        }
        Ok(())
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Net(net) if net.is_host() => write!(f, "{}", net.addr()),
            Self::Net(net) => write!(f, "{net}"),
            Self::AddressProtocolPort(addr, protocol, port) => write!(f, "{addr} . {protocol} . {port}"),
            Self::Ports(r) => f.write_str(&range(*r)),
            Self::Protocol(protocol) => write!(f, "{protocol}"),
            Self::Interface(name, chain) => write!(f, "{name} : jump {chain}"),
        }
    }
}

impl Display for SetShape {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Addresses { family, prefixes: false } => write!(f, "{family} addresses"),
            Self::Addresses { family, prefixes: true } => write!(f, "{family} prefixes"),
            Self::AddressProtocolPorts { family } => write!(f, "{family} address . protocol . port"),
            Self::Ports { ranges: false } => f.write_str("ports"),
            Self::Ports { ranges: true } => f.write_str("port ranges"),
            Self::Protocols => f.write_str("protocols"),
            Self::Interfaces => f.write_str("interface : verdict"),
        }
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut elements: Vec<&Element> = self.elements().iter().collect();
        elements.sort();
        let elements: Vec<String> = elements.into_iter().map(ToString::to_string).collect();
        write!(f, "{} {{ {} }}", self.shape(), elements.join(", "))
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (name, set) in self.sets() {
            writeln!(f, "set {name} {set}")?;
        }
        for chain in self.chains().values() {
            writeln!(f, "{chain}")?;
        }
        Ok(())
    }
}
