//! One rule against one packet: what of it does not match.

use crate::packet::Packet;
use crate::state::{State, ranges};
use std::fmt;
use std::net::IpAddr;
use tortie_model::value;
use tortie_net::{Cidr, Family, Port, Protocol};
use tortie_selector::Selector;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Deny,
    Pass,
    Log,
}

/// An end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// One reason for which a rule does not match a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The rule is for the other family.
    Family(Family),
    /// The rule's nets on this side have no prefix of the packet's family.
    NoNetOfFamily(Side, Family),
    /// Another protocol.
    Protocol(Protocol),
    /// The protocol is the one that the rule excludes.
    NotProtocol(Protocol),
    /// Another ICMP type or code.
    Icmp {
        /// Wanted type.
        kind: u8,
        /// Wanted code.
        code: Option<u8>,
    },
    /// The ICMP type (and code) that the rule excludes.
    NotIcmp,
    /// The address is in none of these prefixes.
    Nets(Side, Vec<Cidr>),
    /// The address is in this excluded prefix.
    NotNets(Side, Cidr),
    /// Nothing at the address is selected.
    Selector(Side, String),
    /// Something at the address is selected, and the rule excludes it.
    NotSelector(Side, String),
    /// The port is none of these.
    Ports(Side, Vec<Port>),
    /// The port is this excluded one.
    NotPorts(Side, Port),
    /// The address (on the destination side: and port) is not behind this service, `namespace/name`.
    Service(Side, String),
    /// The rule cannot be read and so is left out.
    Unreadable(String),
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(items: &[T]) -> String {
            items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        match self {
            Self::Family(family) => write!(f, "the rule is for {family}"),
            Self::NoNetOfFamily(side, family) => write!(f, "its {side} nets have no {family} prefix"),
            Self::Protocol(wanted) => write!(f, "the protocol is not {wanted}"),
            Self::NotProtocol(excluded) => write!(f, "the protocol is {excluded}, which it excludes"),
            Self::Icmp { kind, code: None } => write!(f, "the message is not ICMP type {kind}"),
            Self::Icmp { kind, code: Some(code) } => {
                write!(f, "the message is not ICMP type {kind} code {code}")
            }
            Self::NotIcmp => f.write_str("the ICMP type is one that it excludes"),
            Self::Nets(side, nets) => write!(f, "the {side} is not in {}", list(nets)),
            Self::NotNets(side, net) => write!(f, "the {side} is in {net}, which it excludes"),
            Self::Selector(side, selector) => write!(f, "the {side} is not selected by {selector}"),
            Self::NotSelector(side, selector) => {
                write!(f, "the {side} is selected by {selector}, which it excludes")
            }
            Self::Ports(side, ports) => write!(f, "the {side} port is not {}", list(ports)),
            Self::NotPorts(side, port) => write!(f, "the {side} port is {port}, which it excludes"),
            Self::Service(side, service) => write!(f, "the {side} is not behind service {service}"),
            Self::Unreadable(problem) => write!(f, "the rule cannot be read: {problem}"),
        }
    }
}

/// A rule with its selectors read.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) action: Action,
    value: value::Rule,
    plain: Plain,
    source: Selectors,
    destination: Selectors,
    broken: Option<String>,
}

/// What a rule says of the packet itself.
#[derive(Clone, Copy, Debug, Default)]
struct Plain {
    family: Option<Family>,
    protocol: Option<Protocol>,
    not_protocol: Option<Protocol>,
    /// Type and code.
    icmp: Option<(u8, Option<u8>)>,
    /// Type and code.
    not_icmp: Option<(u8, Option<u8>)>,
}

/// Selectors of one side. With a positive one, the negative one is part of it: the rule looks for *one thing* at the
/// address that the first selects and the second does not.
#[derive(Clone, Debug, Default)]
struct Selectors {
    positive: Option<Selector>,
    negative: Option<Selector>,
}

/// All that a rule says about one side.
struct SideMatch<'r> {
    side: Side,
    addr: IpAddr,
    port: Option<u16>,
    selectors: &'r Selectors,
    nets: &'r [Cidr],
    not_nets: &'r [Cidr],
    ports: &'r [Port],
    not_ports: &'r [Port],
    /// Namespace and name.
    service: (&'r str, &'r str),
}

impl Rule {
    /// Reads a rule. One that cannot be read fails closed: an allow or log rule matches nothing, any other denies all,
    /// because what it was to keep out is not known.
    pub(crate) fn read(value: &value::Rule) -> Self {
        let (action, mut problem) = match &*value.action.to_ascii_lowercase() {
            "" | "allow" => (Action::Allow, None),
            "deny" => (Action::Deny, None),
            "pass" | "next-tier" => (Action::Pass, None),
            "log" => (Action::Log, None),
            _ => (Action::Deny, Some(format!("unknown action {:?}", value.action))),
        };
        let mut selectors = |positive: &str, negative: &str| {
            Selectors::read(positive, negative).unwrap_or_else(|error| {
                problem.get_or_insert(error);
                Selectors::default()
            })
        };
        let source = selectors(&value.src_selector, &value.not_src_selector);
        let destination = selectors(&value.dst_selector, &value.not_dst_selector);
        let plain = Plain::read(value).unwrap_or_else(|error| {
            problem.get_or_insert(error);
            Plain::default()
        });
        match (problem, action) {
            (None, _) => Self { action, value: value.clone(), plain, source, destination, broken: None },
            (Some(problem), Action::Allow | Action::Log) => Self {
                action,
                value: value.clone(),
                plain: Plain::default(),
                source: Selectors::default(),
                destination: Selectors::default(),
                broken: Some(problem),
            },
            (Some(_), Action::Deny | Action::Pass) => Self {
                action: Action::Deny,
                value: value::Rule::default(),
                plain: Plain::default(),
                source: Selectors::default(),
                destination: Selectors::default(),
                broken: None,
            },
        }
    }

    /// True if the rule matches the packet.
    pub(crate) fn matches(&self, state: &State, packet: &Packet) -> bool {
        self.misses(state, packet).is_empty()
    }

    /// Everything for which the rule does not match the packet; nothing if it matches.
    pub(crate) fn misses(&self, state: &State, packet: &Packet) -> Vec<Miss> {
        if let Some(problem) = &self.broken {
            return vec![Miss::Unreadable(problem.clone())];
        }
        let rule = &self.value;
        let mut misses = Vec::new();
        let family = packet.family();
        let plain = self.plain;
        // ICMP belongs to IPv4 and ICMPv6 to IPv6, also where the rule does not say so.
        let implied = Family::ALL.into_iter().find(|f| plain.protocol == Some(Protocol::icmp(*f)));
        if let Some(wanted) = plain.family.or(implied).filter(|w| *w != family) {
            misses.push(Miss::Family(wanted));
        }
        if let Some(wanted) = plain.protocol.filter(|p| *p != packet.protocol) {
            misses.push(Miss::Protocol(wanted));
        }
        if let Some(excluded) = plain.not_protocol.filter(|p| *p == packet.protocol) {
            misses.push(Miss::NotProtocol(excluded));
        }
        let icmp = packet.icmp.filter(|_| packet.protocol == Protocol::icmp(family));
        let is = |kind: u8, code: Option<u8>| {
            icmp.is_some_and(|(k, c)| k == kind && code.is_none_or(|code| code == c))
        };
        if let Some((kind, code)) = plain.icmp.filter(|(kind, code)| !is(*kind, *code)) {
            misses.push(Miss::Icmp { kind, code });
        }
        if plain.not_icmp.is_some_and(|(kind, code)| is(kind, code)) {
            misses.push(Miss::NotIcmp);
        }
        let source = SideMatch {
            side: Side::Source,
            addr: packet.src,
            port: packet.source_port(),
            selectors: &self.source,
            nets: &rule.src_nets,
            not_nets: &rule.not_src_nets,
            ports: &rule.src_ports,
            not_ports: &rule.not_src_ports,
            service: (&rule.src_service_ns, &rule.src_service),
        };
        let destination = SideMatch {
            side: Side::Destination,
            addr: packet.dst,
            port: packet.destination_port(),
            selectors: &self.destination,
            nets: &rule.dst_nets,
            not_nets: &rule.not_dst_nets,
            ports: &rule.dst_ports,
            not_ports: &rule.not_dst_ports,
            service: (&rule.dst_service_ns, &rule.dst_service),
        };
        source.misses(state, packet, plain.protocol, &mut misses);
        destination.misses(state, packet, plain.protocol, &mut misses);
        misses
    }
}

// === impl Selectors ===

impl Plain {
    fn read(value: &value::Rule) -> Result<Self, String> {
        let family = match value.ip_version {
            None => None,
            Some(4) => Some(Family::V4),
            Some(6) => Some(Family::V6),
            Some(_) => return Err("the IP version is neither 4 nor 6".to_owned()),
        };
        let protocol = |written: &Option<value::WrittenProtocol>| {
            written.as_ref().map(|p| p.protocol().map_err(|error| error.to_string())).transpose()
        };
        let icmp = |kind: Option<i64>, code: Option<i64>| {
            let small = |n: i64| u8::try_from(n).map_err(|_| format!("{n} is no type or code of ICMP"));
            match (kind, code) {
                (None, None) => Ok(None),
                (None, Some(_)) => Err("an ICMP code needs a type".to_owned()),
                (Some(kind), code) => Ok(Some((small(kind)?, code.map(small).transpose()?))),
            }
        };
        Ok(Self {
            family,
            protocol: protocol(&value.protocol)?,
            not_protocol: protocol(&value.not_protocol)?,
            icmp: icmp(value.icmp_type, value.icmp_code)?,
            not_icmp: icmp(value.not_icmp_type, value.not_icmp_code)?,
        })
    }
}

impl Selectors {
    fn read(positive: &str, negative: &str) -> Result<Self, String> {
        let parse = |text: &str| match text {
            "" => Ok(None),
            text => Selector::parse(text).map(Some).map_err(|e| e.to_string()),
        };
        let (first, second) = (parse(positive)?, parse(negative)?);
        if first.is_some() && second.is_some() {
            return Ok(Self { positive: parse(&format!("({positive}) && !({negative})"))?, negative: None });
        }
        Ok(Self { positive: first, negative: second })
    }
}

// === impl SideMatch ===

impl SideMatch<'_> {
    fn misses(&self, state: &State, packet: &Packet, protocol: Option<Protocol>, misses: &mut Vec<Miss>) {
        let (side, family) = (self.side, packet.family());
        let of_family =
            |nets: &[Cidr]| nets.iter().copied().filter(|n| n.family() == family).collect::<Vec<_>>();
        for (nets, excluded) in [(self.nets, false), (self.not_nets, true)] {
            let mine = of_family(nets);
            let hit = mine.iter().find(|n| n.contains(self.addr));
            match hit {
                // A list for the other family only makes the rule one for the other family only.
                None if mine.is_empty() && !nets.is_empty() => misses.push(Miss::NoNetOfFamily(side, family)),
                None if !nets.is_empty() && !excluded => misses.push(Miss::Nets(side, mine)),
                Some(net) if excluded => misses.push(Miss::NotNets(side, *net)),
                _ => {}
            }
        }
        if let Some(selector) = &self.selectors.positive
            && !state.selects_address(selector, self.addr)
        {
            misses.push(Miss::Selector(side, selector.to_string()));
        }
        if let Some(selector) = &self.selectors.negative
            && state.selects_address(selector, self.addr)
        {
            misses.push(Miss::NotSelector(side, selector.to_string()));
        }
        if !self.ports.is_empty() && !self.ports.iter().any(|p| self.is_port(p, state, packet, protocol)) {
            misses.push(Miss::Ports(side, self.ports.to_vec()));
        }
        if let Some(excluded) = self.not_ports.iter().find(|p| self.is_port(p, state, packet, protocol)) {
            misses.push(Miss::NotPorts(side, excluded.clone()));
        }
        let (namespace, name) = self.service;
        if !name.is_empty() {
            // Destinations are matched with their port, sources by their address.
            let port = match (side, self.port) {
                (Side::Source, _) => Some(None),
                (Side::Destination, Some(port)) => Some(Some((packet.protocol, port))),
                (Side::Destination, None) => None,
            };
            if !port.is_some_and(|port| state.serves(self.service, self.addr, port)) {
                misses.push(Miss::Service(side, format!("{namespace}/{name}")));
            }
        }
    }

    /// A named port is one that something at this address, selected by the rule, declares with the packet's protocol.
    fn is_port(&self, port: &Port, state: &State, packet: &Packet, protocol: Option<Protocol>) -> bool {
        let Some(number) = self.port else { return false };
        match port {
            Port::Range(_) => ranges(std::slice::from_ref(port)).any(|r| r.contains(number)),
            Port::Named(name) => {
                protocol.is_none_or(|p| p == packet.protocol)
                    && state.has_named_port(
                        name,
                        self.selectors.positive.as_ref(),
                        (self.addr, packet.protocol, number),
                    )
            }
        }
    }
}
