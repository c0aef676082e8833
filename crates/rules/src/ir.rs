//! The words of the rule language: matches, statements, chains, sets.
//!
//! A match stands for itself: it says what it needs (the family before an address, the protocol before a port) through
//! other matches before it in the same rule. Backends translate one by one and decide nothing.

use std::fmt;
use std::sync::Arc;
use tortie_model::PolicyId;
use tortie_net::{Cidr, Family, PortRange, Protocol};

/// Name of a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(pub Arc<str>);

/// Name of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(pub Arc<str>);

impl From<String> for ChainName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&str> for ChainName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for SetName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&str> for SetName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Direction of a rule, seen from the endpoint that it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// An end of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Source.
    Source,
    /// Destination.
    Destination,
}

/// Which interface of the packet, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Towards {
    /// The one it came in by.
    In,
    /// The one it leaves by.
    Out,
}

/// States of connection tracking, a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CtState(pub u32);

impl CtState {
    /// Belongs to no connection and opens none.
    pub const INVALID: Self = Self(1);
    /// Belongs to a known connection, or is an error message about one.
    pub const ESTABLISHED_OR_RELATED: Self = Self(2 | 4);
}

/// What of a packet is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An address.
    Address(End, Family),
    /// (address, protocol, port) of one end.
    AddressProtocolPort(End, Family),
    /// A port.
    Port(End),
    /// The protocol.
    Protocol,
}

impl Key {
    /// Shape of an empty set that this key can be looked up in.
    pub fn empty_shape(self) -> SetShape {
        match self {
            Self::Address(_, family) => SetShape::Addresses { family, prefixes: false },
            Self::AddressProtocolPort(_, family) => SetShape::AddressProtocolPorts { family },
            Self::Port(_) => SetShape::Ports { ranges: false },
            Self::Protocol => SetShape::Protocols,
        }
    }
}

/// A condition. All conditions of a rule must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// The packet is of this family.
    Family(Family),
    /// The interface's name starts with this.
    InterfacePrefix(Towards, Arc<str>),
    /// The protocol is (or is not) this.
    Protocol {
        /// The protocol.
        protocol: Protocol,
        /// Is not.
        negated: bool,
    },
    /// An address lies (or does not lie) in a prefix. Needs `Family` before it.
    Net {
        /// Which address.
        end: End,
        /// The prefix.
        net: Cidr,
        /// Does not lie.
        negated: bool,
    },
    /// A port lies (or does not lie) in a range. Needs a protocol with ports before it.
    Port {
        /// Which port.
        end: End,
        /// The range.
        range: PortRange,
        /// Does not lie.
        negated: bool,
    },
    /// Something is (or is not) in a set.
    Lookup {
        /// What is looked up.
        key: Key,
        /// Where.
        set: SetName,
        /// Is not.
        negated: bool,
    },
    /// The ICMP type. Needs the family's ICMP before it.
    IcmpType {
        /// Whose ICMP: the numbers differ.
        family: Family,
        /// The type.
        value: u8,
        /// Another type than this.
        negated: bool,
    },
    /// The ICMP code. Needs a type before it.
    IcmpCode {
        /// Whose ICMP.
        family: Family,
        /// The code.
        value: u8,
        /// Another code than this.
        negated: bool,
    },
    /// The connection tracking state is one of these.
    Conntrack(CtState),
    /// All bits of the mark are clear.
    MarkClear(u32),
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Let through; ends this base chain.
    Accept,
    /// Drop.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Into a chain, and back to the next rule at its end.
    Jump(ChainName),
    /// Into a chain, and at its end back to the caller of this one.
    Goto(ChainName),
}

/// What a rule does, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Statement {
    /// Count packets and bytes.
    Count,
    /// Go on only as long as the rate is not exceeded.
    Limit {
        /// Packets per second.
        per_second: u32,
        /// Packets at once.
        burst: u32,
    },
    /// Write a line to the kernel log.
    Log {
        /// Start of the line.
        prefix: Arc<str>,
    },
    /// Set bits of the packet mark.
    SetMark(u32),
    /// Clear bits of the packet mark.
    ClearMark(u32),
    /// Go where a verdict map sends this interface; go on if it is not there.
    Dispatch(Towards, SetName),
    /// Replace the source by the address of the outgoing interface, with a random port.
    Masquerade,
    /// Decide.
    Verdict(Verdict),
}

/// Where a rule comes from: the key of its counter, and the comment that an operator reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A rule of a policy, by its index in the user's list.
    Policy(Arc<PolicyId>, Direction, u32),
    /// A rule of a profile.
    Profile(Arc<str>, Direction, u32),
    /// The jump to a policy.
    ToPolicy(Arc<PolicyId>),
    /// The jump to a profile.
    ToProfile(Arc<str>),
    /// The end of a tier whose default is to deny.
    TierEnd(Arc<str>),
    /// Part of every configuration; the text says what it is for.
    Fixed(&'static str),
    /// Nothing to say.
    Plain,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Conditions.
    pub matches: Vec<Match>,
    /// What is done when all hold.
    pub statements: Vec<Statement>,
    /// Where it comes from.
    pub source: Source,
}

/// Where a packet's way through the kernel enters a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// Last before it leaves; here it is source NAT.
    PostroutingNat,
}

/// A base chain's place. The policy is always accept: what is not ours is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base {
    /// The hook.
    pub hook: Hook,
    /// The priority there.
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: ChainName,
    /// Its place, if packets enter it by themselves.
    pub base: Option<Base>,
    /// What it belongs to, for operators.
    pub comment: Arc<str>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// What kind of things a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetShape {
    /// Addresses of one family.
    Addresses {
        /// The family.
        family: Family,
        /// Some member is more than one address.
        prefixes: bool,
    },
    /// (address, protocol, port).
    AddressProtocolPorts {
        /// The family.
        family: Family,
    },
    /// Ports.
    Ports {
        /// Some member is more than one port.
        ranges: bool,
    },
    /// Protocols.
    Protocols,
    /// Interface names, each with a chain to jump to.
    Interfaces,
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// Addresses.
    Net(Cidr),
    /// (address, protocol, port).
    AddressProtocolPort(std::net::IpAddr, Protocol, u16),
    /// Ports.
    Ports(PortRange),
    /// A protocol.
    Protocol(Protocol),
    /// Traffic of this interface jumps to this chain.
    Interface(Arc<str>, ChainName),
}
