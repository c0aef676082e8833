//! Rules as users wrote them to rules over sets.
//!
//! A rule that cannot be converted fails closed: an Allow or Log rule is left out, any other becomes "deny all" in its
//! place, because what it was meant to keep out is not known.

use crate::diagnostic::{Direction, Part, Problem, RuleProblem};
use crate::lean::{LeanRule, Match};
use crate::sets::Definition;
use crate::update::{Action, Icmp, Rule, SetId, Side};
use hashbrown::HashMap;
use tortie_net::{Cidr, Family, Port, PortRange, Protocol};
use tortie_selector::{ParseError, Selector};

/// Converts rules. Remembers parsed selectors until told to forget, because many rules share one.
#[derive(Debug, Default)]
pub(crate) struct Converter {
    parsed: HashMap<Box<str>, Selector>,
}

/// What a list of rules became.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    pub(crate) rules: Vec<Rule>,
    /// The sets that the rules refer to; with repetitions.
    pub(crate) sets: Vec<Definition>,
    pub(crate) problems: Vec<Problem>,
}

/// One side of a user's rule.
#[derive(Default)]
struct Peer<'a> {
    nets: &'a [Cidr],
    not_nets: &'a [Cidr],
    selector: Option<&'a str>,
    not_selector: Option<&'a str>,
    ports: &'a [Port],
    not_ports: &'a [Port],
    service: Option<&'a str>,
}

#[derive(Default)]
struct Peers<'a> {
    source: Peer<'a>,
    destination: Peer<'a>,
}

impl<'a> Peers<'a> {
    fn of(&mut self, part: Part) -> &mut Peer<'a> {
        match part {
            Part::Source => &mut self.source,
            Part::Destination => &mut self.destination,
        }
    }
}

impl Converter {
    /// Converts the rules of one direction.
    pub(crate) fn rules(&mut self, direction: Direction, rules: &[LeanRule]) -> Converted {
        let mut out = Converted { rules: Vec::with_capacity(rules.len()), ..Converted::default() };
        for (index, rule) in rules.iter().enumerate() {
            let index = index as u32;
            let sets_before = out.sets.len();
            let converted = self.rule(rule, index, &mut out.sets);
            match converted {
                Ok(rule) => out.rules.push(rule),
                Err(problem) => {
                    out.sets.truncate(sets_before);
                    out.problems.push(Problem::Rule { direction, index, problem });
                    if !matches!(rule.action, Some(Action::Allow | Action::Log)) {
                        out.rules.push(deny_all(index));
                    }
                }
            }
        }
        out
    }

    fn rule(&mut self, rule: &LeanRule, index: u32, sets: &mut Vec<Definition>) -> Result<Rule, RuleProblem> {
        let mut out = Rule { action: rule.action.unwrap_or(Action::Deny), ..deny_all(index) };
        let mut peers = Peers::default();
        for part in &rule.matches {
            match part {
                Match::Unusable(problem) => return Err(RuleProblem::clone(problem)),
                Match::IpVersion(version) => {
                    let family = Family::from_version(*version);
                    out.family = Some(family.ok_or(RuleProblem::IpVersion { version: (*version).into() })?);
                }
                Match::Protocol { protocol, negated: false } => out.protocol = Some(*protocol),
                Match::Protocol { protocol, negated: true } => out.not_protocol = Some(*protocol),
                Match::Icmp { kind, code, negated } => {
                    let kind = kind.ok_or(RuleProblem::IcmpCode { code: code.unwrap_or_default() })?;
                    let icmp = Some(Icmp { kind, code: *code });
                    if *negated { out.not_icmp = icmp } else { out.icmp = icmp }
                }
                Match::Nets { part, negated: false, nets } => peers.of(*part).nets = nets,
                Match::Nets { part, negated: true, nets } => peers.of(*part).not_nets = nets,
                Match::Selector { part, negated: false, text } => peers.of(*part).selector = Some(text),
                Match::Selector { part, negated: true, text } => peers.of(*part).not_selector = Some(text),
                Match::Ports { part, negated: false, ports } => peers.of(*part).ports = ports,
                Match::Ports { part, negated: true, ports } => peers.of(*part).not_ports = ports,
                Match::Service { part, service } => peers.of(*part).service = Some(service),
            }
        }
        if out.family.is_none() {
            // ICMP is of one family.
            out.family = Family::ALL.into_iter().find(|&family| out.protocol == Some(Protocol::icmp(family)));
        }
        out.source = self.side(Part::Source, &peers.source, out.protocol, sets)?;
        out.destination = self.side(Part::Destination, &peers.destination, out.protocol, sets)?;
        Ok(out)
    }

    fn side(
        &mut self,
        part: Part,
        peer: &Peer<'_>,
        protocol: Option<Protocol>,
        sets: &mut Vec<Definition>,
    ) -> Result<Side, RuleProblem> {
        let (selector, not_selector) = self.selectors(part, peer)?;
        let mut use_set = |definition: Definition| {
            let id = definition.id();
            sets.push(definition);
            id
        };
        let (ports, named) = split_ports(peer.ports);
        let (not_ports, not_named) = split_ports(peer.not_ports);
        let mut side = Side {
            nets: peer.nets.to_vec(),
            not_nets: peer.not_nets.to_vec(),
            ports,
            not_ports,
            ..Side::default()
        };
        let known = matches!(protocol, None | Some(Protocol::TCP | Protocol::UDP | Protocol::SCTP));
        if let (false, Some(protocol), Some(name)) = (known, protocol, named.iter().chain(&not_named).next())
        {
            return Err(RuleProblem::NamedPort { part, name: (*name).to_owned(), protocol });
        }
        // A set of named ports already asks for the selector; numbers cannot. Negated names ask for the positive
        // selector too: the rule matches nothing else.
        let mut named_ports = |names: Vec<&str>| -> Vec<SetId> {
            let selector = selector.clone().unwrap_or_default();
            let set = |name: &str| Definition::NamedPort {
                selector: selector.clone(),
                protocol,
                name: name.to_owned(),
            };
            names.into_iter().map(|name| use_set(set(name))).collect()
        };
        let only_named = side.ports.is_empty() && !named.is_empty();
        side.named_ports = named_ports(named);
        side.not_named_ports = named_ports(not_named);
        if let Some(selector) = selector
            && !only_named
        {
            side.sets.push(use_set(Definition::Selector(selector)));
        }
        if let Some(selector) = not_selector {
            side.not_sets.push(use_set(Definition::Selector(selector)));
        }
        if let Some(service) = peer.service {
            let with_ports = part == Part::Destination;
            let id = use_set(Definition::Service { service: service.to_owned(), with_ports });
            if with_ports { side.addr_port_sets.push(id) } else { side.sets.push(id) }
        }
        Ok(side)
    }

    /// The positive and the negative selector. If there are both they become one smaller positive one; the negative one
    /// alone must stay, because it also matches what is no endpoint.
    fn selectors(
        &mut self,
        part: Part,
        peer: &Peer<'_>,
    ) -> Result<(Option<Selector>, Option<Selector>), RuleProblem> {
        let mut parse = |text: Option<&str>, negated: bool| {
            let parsed = text.map(|text| self.parse(text)).transpose();
            parsed.map_err(|error| RuleProblem::Selector { part, negated, error })
        };
        let positive = parse(peer.selector, false)?;
        let negative = parse(peer.not_selector, true)?;
        if let (Some(selector), Some(not_selector)) = (peer.selector, peer.not_selector) {
            let both = format!("({selector}) && (!({not_selector}))");
            return Ok((parse(Some(&both), false)?, None));
        }
        Ok((positive, negative))
    }

    /// Forgets parsed selectors.
    pub(crate) fn forget(&mut self) {
        self.parsed = HashMap::new();
    }

    fn parse(&mut self, text: &str) -> Result<Selector, ParseError> {
        if let Some(selector) = self.parsed.get(text) {
            return Ok(selector.clone());
        }
        let selector = Selector::parse(text)?;
        self.parsed.insert(text.into(), selector.clone());
        Ok(selector)
    }
}

/// A rule that denies everything.
pub(crate) fn deny_all(index: u32) -> Rule {
    Rule {
        action: Action::Deny,
        family: None,
        protocol: None,
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: Side::default(),
        destination: Side::default(),
        index,
    }
}

fn split_ports(ports: &[Port]) -> (Vec<PortRange>, Vec<&str>) {
    let (mut ranges, mut names) = (Vec::new(), Vec::new());
    for port in ports {
        match port {
            Port::Range(range) => ranges.push(*range),
            Port::Named(name) => names.push(name.as_str()),
        }
    }
    (ranges, names)
}
