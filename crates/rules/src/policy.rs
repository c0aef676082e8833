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

/// What the port conditions of a rule need to know of the packet's protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// Nothing: there is no condition that a packet without ports would pass by mistake or fail by mistake.
    Whatever,
    /// It is known to have ports.
    Known,
    /// The rule must make sure that it has ports: the first bytes of anything else are no ports.
    Ensured,
    /// It has none, which is in no list of forbidden ports.
    None,
}

/// The cases that a rule falls into; none if it cannot match.
fn cases(
    rule: &update::Rule,
    protocol: Option<Protocol>,
    from: PortChoice<'_>,
    to: PortChoice<'_>,
) -> Vec<Ports> {
    let sides = [&rule.source, &rule.destination];
    let numbers = [from, to].iter().any(|c| matches!(c, PortChoice::Numbers(_)));
    let named = [from, to].iter().any(|c| matches!(c, PortChoice::Named(_)));
    let wanted = numbers || named || sides.iter().any(|s| !s.addr_port_sets.is_empty());
    let forbidden = sides.iter().any(|s| !(s.not_ports.is_empty() && s.not_named_ports.is_empty()));
    match protocol {
        Some(protocol) if protocol.has_ports() => vec![Ports::Known],
        Some(_) if wanted => Vec::new(),
        Some(_) => vec![Ports::Whatever],
        None if forbidden && !wanted => vec![Ports::Ensured, Ports::None],
        None if forbidden || numbers => vec![Ports::Ensured],
        // Members of sets name protocols with ports, so that nothing else is found there.
        None => vec![Ports::Whatever],
    }
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
        if rule.protocol.is_some() && rule.protocol == rule.not_protocol {
            return;
        }
        // ICMP belongs to IPv4 and ICMPv6 to IPv6, also where the rule does not say so.
        let implied = Family::ALL.into_iter().find(|f| rule.protocol == Some(Protocol::icmp(*f)));
        let only = rule.family.or(implied);
        let (from, to) = (merged(&rule.source.ports), merged(&rule.destination.ports));
        for &from in &choices(&rule.source, &from) {
            for &to in &choices(&rule.destination, &to) {
                let one_family = only.is_some()
                    || looks_at_addresses(&rule.source)
                    || looks_at_addresses(&rule.destination)
                    || matches!(from, PortChoice::Named(_))
                    || matches!(to, PortChoice::Named(_))
                    || rule.icmp.is_some()
                    || rule.not_icmp.is_some();
                if !one_family {
                    for ports in cases(rule, rule.protocol, from, to) {
                        let matches = self.common(rule, None, rule.protocol, ports, from, to);
                        self.push(matches, statements, source);
                    }
                    continue;
                }
                for family in Family::ALL {
                    if only.is_none_or(|f| f == family) {
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
        for ports in cases(rule, protocol, from, to) {
            let mut matches = self.common(rule, Some(family), protocol, ports, from, to);
            if let Some(Icmp { kind, code }) = rule.icmp {
                matches.push(Match::IcmpType { family, value: kind, negated: false });
                matches.extend(code.map(|value| Match::IcmpCode { family, value, negated: false }));
            }
            // Nothing but this family's ICMP has a type that could be the forbidden one.
            match rule.not_icmp {
                Some(not) if protocol.is_none_or(|p| p == icmp) && ports != Ports::Ensured => {
                    for matches in without_icmp(matches, not, family, protocol.is_none()) {
                        self.push(matches, statements, source);
                    }
                }
                _ => self.push(matches, statements, source),
            }
        }
    }

    /// All but ICMP types, cheap conditions first. With a family, its match comes first of all.
    fn common(
        &mut self,
        rule: &update::Rule,
        family: Option<Family>,
        protocol: Option<Protocol>,
        ports: Ports,
        from: PortChoice<'_>,
        to: PortChoice<'_>,
    ) -> Vec<Match> {
        let mut matches: Vec<Match> = family.map(Match::Family).into_iter().collect();
        matches.extend(protocol.map(|protocol| Match::Protocol { protocol, negated: false }));
        matches.extend(rule.not_protocol.map(|protocol| Match::Protocol { protocol, negated: true }));
        match ports {
            Ports::Ensured => matches.push(self.constants.has_ports(false)),
            Ports::None => matches.push(self.constants.has_ports(true)),
            Ports::Whatever | Ports::Known => {}
        }
        let forbid = matches!(ports, Ports::Known | Ports::Ensured);
        let ends = [(End::Source, &rule.source, from), (End::Destination, &rule.destination, to)];
        for (end, side, choice) in ends {
            self.numbers(end, side, choice, forbid, &mut matches);
        }
        if let Some(family) = family {
            for (end, side, choice) in ends {
                self.addresses(end, family, side, choice, forbid, &mut matches);
            }
        }
        matches
    }

    fn numbers(
        &mut self,
        end: End,
        side: &update::Side,
        choice: PortChoice<'_>,
        forbid: bool,
        matches: &mut Vec<Match>,
    ) {
        if let PortChoice::Numbers(ranges) = choice {
            matches.push(self.constants.ports(end, ranges, false));
        }
        let not = merged(&side.not_ports);
        if forbid && !not.is_empty() {
            matches.push(self.constants.ports(end, &not, true));
        }
    }

    fn addresses(
        &mut self,
        end: End,
        family: Family,
        side: &update::Side,
        choice: PortChoice<'_>,
        forbid: bool,
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
        if forbid {
            matches.extend(side.not_named_ports.iter().map(|id| lookup(with_port, id, true)));
        }
    }

    fn push(&mut self, matches: Vec<Match>, statements: &[Statement], source: &Source) {
        self.out.push(Rule { matches, statements: statements.to_vec(), source: source.clone() });
    }
}

/// The rules that together are `matches` without one kind of ICMP message. With `any_protocol`, other protocols are among what they match.
fn without_icmp(matches: Vec<Match>, not: Icmp, family: Family, any_protocol: bool) -> Vec<Vec<Match>> {
    let protocol = Protocol::icmp(family);
    let mut out = Vec::new();
    let mut is_icmp = matches;
    if any_protocol {
        let with = |negated| {
            let mut matches = is_icmp.clone();
            matches.insert(1, Match::Protocol { protocol, negated });
            matches
        };
        out.push(with(true));
        is_icmp = with(false);
    }
    let kind = |negated| Match::IcmpType { family, value: not.kind, negated };
    out.push([&is_icmp[..], &[kind(true)]].concat());
    if let Some(value) = not.code {
        let other_code = Match::IcmpCode { family, value, negated: true };
        out.push([&is_icmp[..], &[kind(false), other_code]].concat());
    }
    out
}
