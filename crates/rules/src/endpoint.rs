//! The two chains of a workload endpoint.

use crate::config::Config;
use crate::constants::{Constants, widest};
use crate::ir::{Chain, ChainName, CtState, Direction, End, Match, Rule, Source, Statement, Verdict};
use crate::policy::Owner;
use std::sync::Arc;
use tortie_calc::update::{Action, EndpointTier, LocalWorkload};
use tortie_model::names::nftables as names;
use tortie_model::{PolicyId, WorkloadId};
use tortie_net::{Cidr, Family, PortRange, Protocol};

const IPIP: Protocol = Protocol(4);

/// Chain of an interface in one direction.
pub(crate) fn chain_name(direction: Direction, interface: &str) -> ChainName {
    match direction {
        Direction::Ingress => names::to_workload(interface),
        Direction::Egress => names::from_workload(interface),
    }
    .into()
}

/// Chain of the rules of a policy or a profile in one direction.
pub(crate) fn rules_chain_name(owner: &Owner, direction: Direction) -> ChainName {
    match (owner, direction) {
        (Owner::Policy(id), Direction::Ingress) => names::policy_ingress(id),
        (Owner::Policy(id), Direction::Egress) => names::policy_egress(id),
        (Owner::Profile(name), Direction::Ingress) => names::profile_ingress(name),
        (Owner::Profile(name), Direction::Egress) => names::profile_egress(name),
    }
    .into()
}

/// Policies of a tier in one direction.
pub(crate) fn policies(tier: &EndpointTier, direction: Direction) -> &[PolicyId] {
    match direction {
        Direction::Ingress => &tier.ingress,
        Direction::Egress => &tier.egress,
    }
}

/// A chain, the sets it brings along, and whose rules it jumps to.
pub(crate) struct Rendered {
    pub(crate) chain: Chain,
    pub(crate) constants: Constants,
    pub(crate) owners: Vec<(ChainName, Owner)>,
}

/// Renders the chain of `workload` in one direction. `may_pass` says if a policy has a `Pass` in this direction.
pub(crate) fn chain(
    id: &WorkloadId,
    workload: &LocalWorkload,
    direction: Direction,
    config: &Config,
    may_pass: &dyn Fn(&PolicyId) -> bool,
) -> Rendered {
    let name = chain_name(direction, &workload.endpoint.name);
    let chain = Chain { name, base: None, comment: id.to_string().into(), rules: Vec::new() };
    let mut b = Builder { config, direction, chain, constants: Constants::default(), owners: Vec::new() };
    if workload.endpoint.state == "active" {
        b.preamble(workload);
        if b.tiers(&workload.tiers, may_pass) {
            b.profiles(&workload.endpoint.profile_ids);
            b.rule(Vec::new(), vec![Statement::Count, DROP], Source::Fixed("no profile matched"));
        }
    } else {
        b.rule(Vec::new(), vec![Statement::Count, DROP], Source::Fixed("endpoint is not active"));
    }
    Rendered { chain: b.chain, constants: b.constants, owners: b.owners }
}

const DROP: Statement = Statement::Verdict(Verdict::Drop);
const ACCEPT: Statement = Statement::Verdict(Verdict::Accept);

struct Builder<'a> {
    config: &'a Config,
    direction: Direction,
    chain: Chain,
    constants: Constants,
    owners: Vec<(ChainName, Owner)>,
}

impl Builder<'_> {
    fn rule(&mut self, matches: Vec<Match>, statements: Vec<Statement>, source: Source) {
        self.chain.rules.push(Rule { matches, statements, source });
    }

    fn preamble(&mut self, workload: &LocalWorkload) {
        if self.direction == Direction::Egress {
            for family in Family::ALL {
                self.own_source(workload, family);
            }
        }
        self.rule(vec![Match::Conntrack(CtState::ESTABLISHED_OR_RELATED)], vec![ACCEPT], Source::Plain);
        if self.config.drop_invalid {
            self.rule(vec![Match::Conntrack(CtState::INVALID)], vec![Statement::Count, DROP], Source::Plain);
        }
        if self.direction == Direction::Egress {
            if !self.config.allow_vxlan_from_workloads {
                let range = PortRange::single(self.config.vxlan_port);
                self.rule(
                    vec![
                        Match::Protocol { protocol: Protocol::UDP, negated: false },
                        Match::Port { end: End::Destination, range, negated: false },
                    ],
                    vec![Statement::Count, DROP],
                    Source::Fixed("VXLAN from a workload"),
                );
            }
            if !self.config.allow_ipip_from_workloads {
                self.rule(
                    vec![Match::Protocol { protocol: IPIP, negated: false }],
                    vec![Statement::Count, DROP],
                    Source::Fixed("IPIP from a workload"),
                );
            }
        }
    }

    /// Drops what does not come from one of the endpoint's own addresses.
    fn own_source(&mut self, workload: &LocalWorkload, family: Family) {
        let endpoint = &workload.endpoint;
        let spoofed: &[Cidr] =
            if self.config.workload_source_spoofing { &endpoint.allow_spoofed_source_ips } else { &[] };
        let own = widest(endpoint.nets().chain(spoofed.iter().copied()), family);
        let mut matches = vec![Match::Family(family)];
        if family == Family::V6 {
            // Link-local addresses are not ours to assign; they reach no further than this host.
            matches.extend(link_local().map(|net| Match::Net { end: End::Source, net, negated: true }));
        }
        matches.extend(self.constants.no_net(End::Source, family, &own));
        self.rule(matches, vec![Statement::Count, DROP], Source::Fixed("not the workload's address"));
    }

    /// The tiers that have policies in this direction. False if nothing can come after them.
    fn tiers(&mut self, tiers: &[EndpointTier], may_pass: &dyn Fn(&PolicyId) -> bool) -> bool {
        for tier in tiers {
            let policies = policies(tier, self.direction);
            if policies.is_empty() {
                continue;
            }
            let mark = self.config.pass_mark;
            let passing = policies.iter().any(may_pass);
            if passing {
                self.rule(Vec::new(), vec![Statement::ClearMark(mark)], Source::Plain);
            }
            let mut guard = Vec::new();
            for id in policies {
                let id = Arc::new(id.clone());
                self.jump(guard.clone(), Owner::Policy(id.clone()), Source::ToPolicy(id.clone()));
                if guard.is_empty() && may_pass(&id) {
                    guard.push(Match::MarkClear(mark));
                }
            }
            if tier.default_action != Action::Pass {
                self.rule(guard, vec![Statement::Count, DROP], Source::TierEnd(tier.name.clone()));
                if !passing {
                    return false;
                }
            }
        }
        true
    }

    fn profiles(&mut self, profiles: &[String]) {
        for name in profiles {
            let name: Arc<str> = name.as_str().into();
            self.jump(Vec::new(), Owner::Profile(name.clone()), Source::ToProfile(name));
        }
    }

    fn jump(&mut self, matches: Vec<Match>, owner: Owner, source: Source) {
        let target = rules_chain_name(&owner, self.direction);
        self.rule(matches, vec![Statement::Verdict(Verdict::Jump(target.clone()))], source);
        self.owners.push((target, owner));
    }
}

fn link_local() -> Option<Cidr> {
    Cidr::new(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10)
}
