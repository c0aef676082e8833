//! Rules of policies and profiles.
//!
//! A rule of the calculation is a conjunction in which some parts are alternatives (numbered ports or a named port; not this ICMP type). One
//! rule here holds no alternatives, so it becomes as many rules as there are combinations, one family at a time where an address
//! or an ICMP message is looked at.

use crate::config::Config;
use crate::constants::{Constants, merged, widest};
use crate::ir::{Direction, End, Key, Match, Rule, SetName, Source, Statement, Verdict};
use std::sync::Arc;
use tortie_calc::update::{self, Action, Icmp, SetId};
use tortie_model::PolicyId;
use tortie_net::{Cidr, Family, PortRange, Protocol};

/// Whose rules these are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    Policy(Arc<PolicyId>),
    Profile(Arc<str>),
}

/// Finds the name of the set that holds the members of an id in a family.
pub(crate) type NameOf<'a> = &'a dyn Fn(&SetId, Family) -> SetName;

/// Renders the rules of one direction. The second part is the sets that they bring along.
pub(crate) fn rules(
    owner: &Owner,
    direction: Direction,
    list: &[update::Rule],
    config: &Config,
    name_of: NameOf<'_>,
) -> (Vec<Rule>, Constants) {
    let mut r = Renderer { config, name_of, constants: Constants::default(), out: Vec::new() };
    for rule in list {
        let source = match owner {
            Owner::Policy(id) => Source::Policy(id.clone(), direction, rule.index),
            Owner::Profile(name) => Source::Profile(name.clone(), direction, rule.index),
        };
        let statements = r.statements(rule.action, matches!(owner, Owner::Profile(_)));
        r.rule(rule, &statements, &source);
    }
    (r.out, r.constants)
}

/// True if some packet may leave a chain of these rules with the pass mark.
pub(crate) fn may_pass(list: &[update::Rule]) -> bool {
    list.iter().any(|r| r.action == Action::Pass)
}

struct Renderer<'a> {
    config: &'a Config,
    name_of: NameOf<'a>,
    constants: Constants,
    out: Vec<Rule>,
}

/// What one end's port must be.
#[derive(Clone, Copy)]
enum PortChoice<'a> {
    Any,
    Numbers(&'a [PortRange]),
    Named(&'a SetId),
}

/// The alternatives of one end. Empty if nothing can match.
fn choices<'a>(side: &'a update::Side, numbers: &'a [PortRange]) -> Vec<PortChoice<'a>> {
    if side.ports.is_empty() && side.named_ports.is_empty() {
        return vec![PortChoice::Any];
    }
    let numbers = (!numbers.is_empty()).then_some(PortChoice::Numbers(numbers));
    numbers.into_iter().chain(side.named_ports.iter().map(PortChoice::Named)).collect()
}

fn looks_at_ports(side: &update::Side) -> bool {
    !(side.ports.is_empty()
        && side.named_ports.is_empty()
        && side.not_ports.is_empty()
        && side.not_named_ports.is_empty()
        && side.addr_port_sets.is_empty())
}

/// Port conditions that a packet without ports would pass by mistake, or on which its payload would be taken for a port.
fn needs_port_protocol(side: &update::Side, choice: PortChoice<'_>) -> bool {
    matches!(choice, PortChoice::Numbers(_)) || !side.not_ports.is_empty() || !side.not_named_ports.is_empty()
}

fn looks_at_addresses(side: &update::Side) -> bool {
    let update::Side {
        nets,
        not_nets,
        sets,
        not_sets,
        ports: _,
        named_ports: _,
        not_ports: _,
        not_named_ports,
        addr_port_sets,
    } = side;
    !(nets.is_empty()
        && not_nets.is_empty()
        && sets.is_empty()
        && not_sets.is_empty()
        && not_named_ports.is_empty()
        && addr_port_sets.is_empty())
}

/// True if the side leaves nothing of `family`: it lists prefixes, and all are of the other family.
fn excludes(side: &update::Side, family: Family) -> bool {
    let foreign = |nets: &[Cidr]| !nets.is_empty() && nets.iter().all(|n| n.family() != family);
    foreign(&side.nets) || foreign(&side.not_nets)
}

impl Renderer<'_> {
    fn statements(&self, action: Action, profile: bool) -> Vec<Statement> {
        let verdict = |v| Statement::Verdict(v);
        match action {
            Action::Allow => vec![Statement::Count, verdict(Verdict::Accept)],
            // There is nothing after the profiles to pass to.
            Action::Pass if profile => vec![Statement::Count, verdict(Verdict::Drop)],
            Action::Deny => vec![Statement::Count, verdict(Verdict::Drop)],
            Action::Pass => {
                vec![Statement::Count, Statement::SetMark(self.config.pass_mark), verdict(Verdict::Return)]
            }
            Action::Log => {
                let limit = self
                    .config
                    .log_rate
                    .map(|r| Statement::Limit { per_second: r.per_second, burst: r.burst });
                let log = Statement::Log { prefix: format!("{}: ", self.config.log_prefix).into() };
                [Statement::Count].into_iter().chain(limit).chain([log]).collect()
            }
        }
    }

    fn rule(&mut self, rule: &update::Rule, statements: &[Statement], source: &Source) {
        let ports = looks_at_ports(&rule.source) || looks_at_ports(&rule.destination);
        let never = rule.protocol.is_some() && rule.protocol == rule.not_protocol
            || ports && (rule.icmp.is_some() || rule.protocol.is_some_and(|p| !p.has_ports()));
        if never {
            return;
        }
        let (from, to) = (merged(&rule.source.ports), merged(&rule.destination.ports));
        for &from in &choices(&rule.source, &from) {
            for &to in &choices(&rule.destination, &to) {
                let one_family = rule.family.is_some()
                    || looks_at_addresses(&rule.source)
                    || looks_at_addresses(&rule.destination)
                    || matches!(from, PortChoice::Named(_))
                    || matches!(to, PortChoice::Named(_))
                    || rule.icmp.is_some()
                    || rule.not_icmp.is_some();
                if !one_family {
                    let matches = self.common(rule, None, rule.protocol, from, to);
                    self.push(matches, statements, source);
                    continue;
                }
                for family in Family::ALL {
                    if rule.family.is_none_or(|f| f == family) {
                        self.in_family(rule, family, from, to, statements, source);
                    }
                }
            }
        }
    }

    fn in_family(
        &mut self,
        rule: &update::Rule,
        family: Family,
        from: PortChoice<'_>,
        to: PortChoice<'_>,
        statements: &[Statement],
        source: &Source,
    ) {
        let icmp = Protocol::icmp(family);
        if excludes(&rule.source, family) || excludes(&rule.destination, family) {
            return;
        }
        let mut protocol = rule.protocol;
        if rule.icmp.is_some() {
            if protocol.is_some_and(|p| p != icmp) || rule.not_protocol == Some(icmp) {
                return;
            }
            protocol = Some(icmp);
        }
        let mut matches = self.common(rule, Some(family), protocol, from, to);
        if let Some(Icmp { kind, code }) = rule.icmp {
            matches.push(Match::IcmpType { family, value: kind, negated: false });
            matches.extend(code.map(|value| Match::IcmpCode { family, value, negated: false }));
        }
        // Nothing but this family's ICMP has a type that could be the forbidden one, and it has no ports.
        let ports = looks_at_ports(&rule.source) || looks_at_ports(&rule.destination);
        let Some(not) = rule.not_icmp.filter(|_| !ports && protocol.is_none_or(|p| p == icmp)) else {
            return self.push(matches, statements, source);
        };
        let mut is_icmp = matches.clone();
        if protocol.is_none() {
            matches.insert(1, Match::Protocol { protocol: icmp, negated: true });
            self.push(matches, statements, source);
            is_icmp.insert(1, Match::Protocol { protocol: icmp, negated: false });
        }
        let with = |extra: &[Match]| [&is_icmp, extra].concat();
        let other_type = with(&[Match::IcmpType { family, value: not.kind, negated: true }]);
        let other_code = not.code.map(|value| {
            with(&[
                Match::IcmpType { family, value: not.kind, negated: false },
                Match::IcmpCode { family, value, negated: true },
            ])
        });
        self.push(other_type, statements, source);
        if let Some(matches) = other_code {
            self.push(matches, statements, source);
        }
    }

    /// All but ICMP types, cheap conditions first. With a family, its match comes first of all.
    fn common(
        &mut self,
        rule: &update::Rule,
        family: Option<Family>,
        protocol: Option<Protocol>,
        from: PortChoice<'_>,
        to: PortChoice<'_>,
    ) -> Vec<Match> {
        let mut matches: Vec<Match> = family.map(Match::Family).into_iter().collect();
        matches.extend(protocol.map(|protocol| Match::Protocol { protocol, negated: false }));
        matches.extend(rule.not_protocol.map(|protocol| Match::Protocol { protocol, negated: true }));
        let ports = needs_port_protocol(&rule.source, from) || needs_port_protocol(&rule.destination, to);
        if ports && protocol.is_none() {
            matches.push(self.constants.has_ports());
        }
        let ends = [(End::Source, &rule.source, from), (End::Destination, &rule.destination, to)];
        for (end, side, choice) in ends {
            self.numbers(end, side, choice, &mut matches);
        }
        if let Some(family) = family {
            for (end, side, choice) in ends {
                self.addresses(end, family, side, choice, &mut matches);
            }
        }
        matches
    }

    fn numbers(&mut self, end: End, side: &update::Side, choice: PortChoice<'_>, matches: &mut Vec<Match>) {
        if let PortChoice::Numbers(ranges) = choice {
            matches.push(self.constants.ports(end, ranges, false));
        }
        let not = merged(&side.not_ports);
        if !not.is_empty() {
            matches.push(self.constants.ports(end, &not, true));
        }
    }

    fn addresses(
        &mut self,
        end: End,
        family: Family,
        side: &update::Side,
        choice: PortChoice<'_>,
        matches: &mut Vec<Match>,
    ) {
        let nets = widest(side.nets.iter().copied(), family);
        if !nets.is_empty() {
            matches.extend(self.constants.any_net(end, family, &nets));
        }
        let not_nets = widest(side.not_nets.iter().copied(), family);
        matches.extend(self.constants.no_net(end, family, &not_nets));
        let named = if let PortChoice::Named(id) = choice { Some(id) } else { None };
        let lookup =
            |key, id: &SetId, negated| Match::Lookup { key, set: (self.name_of)(id, family), negated };
        let address = Key::Address(end, family);
        let with_port = Key::AddressProtocolPort(end, family);
        matches.extend(side.sets.iter().map(|id| lookup(address, id, false)));
        matches.extend(named.into_iter().chain(&side.addr_port_sets).map(|id| lookup(with_port, id, false)));
        matches.extend(side.not_sets.iter().map(|id| lookup(address, id, true)));
        matches.extend(side.not_named_ports.iter().map(|id| lookup(with_port, id, true)));
    }

    fn push(&mut self, matches: Vec<Match>, statements: &[Statement], source: &Source) {
        self.out.push(Rule { matches, statements: statements.to_vec(), source: source.clone() });
    }
}
