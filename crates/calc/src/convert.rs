//! Rules as users wrote them to rules over sets.
//!
//! A rule that cannot be converted fails closed: an Allow or Log rule is left out, any other becomes "deny all" in its
//! place, because what it was meant to keep out is not known.

use crate::diagnostic::{Direction, Part, Problem, RuleProblem};
use crate::sets::Definition;
use crate::update::{Action, Icmp, Rule, SetId, Side};
use hashbrown::HashMap;
use tortie_model::value;
use tortie_net::{Cidr, Family, Port, PortRange, Protocol};
use tortie_selector::{ParseError, Selector};

/// Converts rules. Remembers parsed selectors, because many rules share one.
#[derive(Debug, Default)]
pub(crate) struct Converter {
    parsed: HashMap<Box<str>, Selector>,
}

/// Parsed selectors to remember.
const MAX_PARSED: usize = 4096;

/// What a list of rules became.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    pub(crate) rules: Vec<Rule>,
    /// The sets that the rules refer to; with repetitions.
    pub(crate) sets: Vec<Definition>,
    pub(crate) problems: Vec<Problem>,
}

/// One side of a user's rule.
struct Peer<'a> {
    part: Part,
    nets: &'a [Cidr],
    not_nets: &'a [Cidr],
    selector: &'a str,
    not_selector: &'a str,
    ports: &'a [Port],
    not_ports: &'a [Port],
    service: &'a str,
    service_namespace: &'a str,
}

impl Converter {
    /// Converts the rules of one direction.
    pub(crate) fn rules(&mut self, direction: Direction, rules: &[value::Rule]) -> Converted {
        let mut out = Converted { rules: Vec::with_capacity(rules.len()), ..Converted::default() };
        for (index, rule) in rules.iter().enumerate() {
            let index = index as u32;
            let action = action(&rule.action);
            let sets_before = out.sets.len();
            let converted = match action {
                Some(action) => self.rule(rule, action, index, &mut out.sets),
                None => Err(RuleProblem::Action { action: rule.action.clone() }),
            };
            match converted {
                Ok(rule) => out.rules.push(rule),
                Err(problem) => {
                    out.sets.truncate(sets_before);
                    out.problems.push(Problem::Rule { direction, index, problem });
                    if !matches!(action, Some(Action::Allow | Action::Log)) {
                        out.rules.push(deny_all(index));
                    }
                }
            }
        }
        out
    }

    fn rule(
        &mut self,
        rule: &value::Rule,
        action: Action,
        index: u32,
        sets: &mut Vec<Definition>,
    ) -> Result<Rule, RuleProblem> {
        let protocol = rule.protocol;
        let source = Peer {
            part: Part::Source,
            nets: &rule.src_nets,
            not_nets: &rule.not_src_nets,
            selector: &rule.src_selector,
            not_selector: &rule.not_src_selector,
            ports: &rule.src_ports,
            not_ports: &rule.not_src_ports,
            service: &rule.src_service,
            service_namespace: &rule.src_service_ns,
        };
        let destination = Peer {
            part: Part::Destination,
            nets: &rule.dst_nets,
            not_nets: &rule.not_dst_nets,
            selector: &rule.dst_selector,
            not_selector: &rule.not_dst_selector,
            ports: &rule.dst_ports,
            not_ports: &rule.not_dst_ports,
            service: &rule.dst_service,
            service_namespace: &rule.dst_service_ns,
        };
        Ok(Rule {
            action,
            family: family(rule)?,
            protocol,
            not_protocol: rule.not_protocol,
            icmp: icmp(rule.icmp_type, rule.icmp_code)?,
            not_icmp: icmp(rule.not_icmp_type, rule.not_icmp_code)?,
            source: self.side(&source, protocol, sets)?,
            destination: self.side(&destination, protocol, sets)?,
            index,
        })
    }

    fn side(
        &mut self,
        peer: &Peer<'_>,
        protocol: Option<Protocol>,
        sets: &mut Vec<Definition>,
    ) -> Result<Side, RuleProblem> {
        let (selector, not_selector) = self.selectors(peer)?;
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
        if !peer.service.is_empty() {
            let service = format!("{}/{}", peer.service_namespace, peer.service);
            let with_ports = matches!(peer.part, Part::Destination);
            let id = use_set(Definition::Service { service, with_ports });
            if with_ports { side.addr_port_sets.push(id) } else { side.sets.push(id) }
        }
        Ok(side)
    }

    /// The positive and the negative selector. If there are both they become one smaller positive one; the negative one
    /// alone must stay, because it also matches what is no endpoint.
    fn selectors(&mut self, peer: &Peer<'_>) -> Result<(Option<Selector>, Option<Selector>), RuleProblem> {
        let mut parse = |text: &str, negated: bool| match text {
            "" => Ok(None),
            text => match self.parse(text) {
                Ok(selector) => Ok(Some(selector)),
                Err(error) => Err(RuleProblem::Selector { part: peer.part, negated, error }),
            },
        };
        let positive = parse(peer.selector, false)?;
        let negative = parse(peer.not_selector, true)?;
        if positive.is_some() && negative.is_some() {
            let both = format!("({}) && (!({}))", peer.selector, peer.not_selector);
            return Ok((parse(&both, false)?, None));
        }
        Ok((positive, negative))
    }

    fn parse(&mut self, text: &str) -> Result<Selector, ParseError> {
        if let Some(selector) = self.parsed.get(text) {
            return Ok(selector.clone());
        }
        let selector = Selector::parse(text)?;
        if self.parsed.len() >= MAX_PARSED {
            self.parsed.clear();
        }
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

fn action(text: &str) -> Option<Action> {
    match text.to_ascii_lowercase().as_str() {
        "" | "allow" => Some(Action::Allow),
        "deny" => Some(Action::Deny),
        "pass" | "next-tier" => Some(Action::Pass),
        "log" => Some(Action::Log),
        _ => None,
    }
}

/// The family that the rule asks for, or that its protocol implies.
fn family(rule: &value::Rule) -> Result<Option<Family>, RuleProblem> {
    match rule.ip_version {
        Some(version) => Family::from_version(version).map(Some).ok_or(RuleProblem::IpVersion { version }),
        None => Ok(Family::ALL.into_iter().find(|&family| rule.protocol == Some(Protocol::icmp(family)))),
    }
}

fn icmp(kind: Option<u8>, code: Option<u8>) -> Result<Option<Icmp>, RuleProblem> {
    match (kind, code) {
        (Some(kind), code) => Ok(Some(Icmp { kind, code })),
        (None, None) => Ok(None),
        (None, Some(code)) => Err(RuleProblem::IcmpCode { code }),
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
