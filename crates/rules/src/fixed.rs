//! The chains that every node has: base chains, dispatch, workload to host, NAT.

use crate::config::{Config, EndpointToHost};
use crate::ir::{
    Base, Chain, ChainName, CtState, End, Hook, Key, Match, Rule, SetName, Source, Statement, Towards,
    Verdict,
};
use tortie_model::names::nftables as names;
use tortie_net::{Family, PortRange, Protocol};

/// Priority of filters.
const FILTER: i32 = 0;
/// Priority of source NAT.
const SRCNAT: i32 = 100;

/// ICMPv6 types by which a workload finds its neighbours and joins groups: multicast listener queries, reports and
/// dones, router solicitations, neighbour solicitations and advertisements, MLDv2 reports.
pub(crate) const NEIGHBOUR_DISCOVERY: [u8; 7] = [130, 131, 132, 133, 135, 136, 143];

/// Map from interface to chain.
pub(crate) fn dispatch(towards: Towards) -> SetName {
    dispatch_name(towards).into()
}

fn dispatch_name(towards: Towards) -> &'static str {
    match towards {
        Towards::In => names::FROM_WORKLOAD_DISPATCH,
        Towards::Out => names::TO_WORKLOAD_DISPATCH,
    }
}

/// All fixed chains.
pub(crate) fn chains(config: &Config) -> Vec<Chain> {
    let from = ChainName::from(names::FROM_WORKLOAD_DISPATCH);
    let to = ChainName::from(names::TO_WORKLOAD_DISPATCH);
    let each = |towards, target: &ChainName| each_prefix(config, towards, target);
    vec![
        base(names::FORWARD_FROM, Hook::Forward, FILTER, each(Towards::In, &from)),
        base(names::FORWARD_TO, Hook::Forward, FILTER + 1, each(Towards::Out, &to)),
        input(config, false),
        base(names::INPUT_HOST, Hook::Input, FILTER + 1, after_policy(config)),
        base(
            names::POSTROUTING,
            Hook::PostroutingNat,
            SRCNAT + 10,
            vec![rule(Vec::new(), jump(&names::NAT_OUTGOING.into()))],
        ),
        dispatch_chain(Towards::In),
        dispatch_chain(Towards::Out),
        // An interface that nobody knows yet finds its neighbours, but nothing beyond them.
        plain(names::WORKLOAD_TO_HOST, vec![neighbours(&[]), rule(Vec::new(), jump(&from))]),
        plain(names::NEIGHBOURS, NEIGHBOUR_DISCOVERY.map(|t| rule(icmp_type(t), Verdict::Accept)).into()),
        plain(names::NAT_OUTGOING, Family::ALL.map(masquerade).into()),
    ]
}

/// What comes to this host. With tunnels, VXLAN is taken from the cluster's nodes only: whoever else could send it would
/// put packets of his making behind every policy.
pub(crate) fn input(config: &Config, tunnels: bool) -> Chain {
    let mut rules = each_prefix(config, Towards::In, &names::WORKLOAD_TO_HOST.into());
    if tunnels {
        rules.extend(Family::ALL.map(|family| foreign_tunnel(config, family)));
    }
    base(names::INPUT, Hook::Input, FILTER, rules)
}

fn foreign_tunnel(config: &Config, family: Family) -> Rule {
    let port = PortRange::single(config.vxlan_port);
    let ends = names::ip_set(family, names::TUNNEL_ENDS, true).into();
    counted_drop(
        vec![
            Match::Family(family),
            Match::Protocol { protocol: Protocol::UDP, negated: false },
            Match::Port { end: End::Destination, range: port, negated: false },
            Match::Lookup { key: Key::Address(End::Source, family), set: ends, negated: true },
        ],
        "VXLAN from a host that is no node",
    )
}

fn each_prefix(config: &Config, towards: Towards, target: &ChainName) -> Vec<Rule> {
    let prefixes = config.interface_prefixes.iter();
    prefixes.map(|p| rule(vec![Match::InterfacePrefix(towards, p.as_str().into())], jump(target))).collect()
}

fn base(name: &str, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), base: Some(Base { hook, priority }), comment: "".into(), rules }
}

fn plain(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), base: None, comment: "".into(), rules }
}

fn rule(matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule { matches, statements: vec![Statement::Verdict(verdict)], source: Source::Plain }
}

fn jump(chain: &ChainName) -> Verdict {
    Verdict::Jump(chain.clone())
}

fn counted_drop(matches: Vec<Match>, why: &'static str) -> Rule {
    Rule {
        matches,
        statements: vec![Statement::Count, Statement::Verdict(Verdict::Drop)],
        source: Source::Fixed(why),
    }
}

/// Into the interface's chain; what comes back from there, or is not there, is dropped.
fn dispatch_chain(towards: Towards) -> Chain {
    let name = dispatch_name(towards);
    let go = Rule {
        matches: Vec::new(),
        statements: vec![Statement::Dispatch(towards, name.into())],
        source: Source::Plain,
    };
    plain(name, vec![go, counted_drop(Vec::new(), "unknown workload interface")])
}

fn icmpv6() -> [Match; 2] {
    [Match::Family(Family::V6), Match::Protocol { protocol: Protocol::ICMPV6, negated: false }]
}

fn icmp_type(value: u8) -> Vec<Match> {
    icmpv6().into_iter().chain([Match::IcmpType { family: Family::V6, value, negated: false }]).collect()
}

/// One test for all packets that are not ICMPv6.
fn neighbours(before: &[Match]) -> Rule {
    rule([before, &icmpv6()].concat(), jump(&names::NEIGHBOURS.into()))
}

/// Workload to host, after the workload's policy let it through.
fn after_policy(config: &Config) -> Vec<Rule> {
    if config.endpoint_to_host != EndpointToHost::Drop {
        return Vec::new();
    }
    let mut rules = Vec::new();
    for prefix in &config.interface_prefixes {
        let workload = Match::InterfacePrefix(Towards::In, prefix.as_str().into());
        let established = Match::Conntrack(CtState::ESTABLISHED_OR_RELATED);
        rules.push(rule(vec![workload.clone(), established], Verdict::Accept));
        rules.push(neighbours(std::slice::from_ref(&workload)));
        rules.push(counted_drop(vec![workload], "DefaultEndpointToHostAction is Drop"));
    }
    rules
}

/// From a pool with masquerade to what is in no pool.
fn masquerade(family: Family) -> Rule {
    let lookup = |end, id, negated| {
        let set = names::ip_set(family, id, true).into();
        Match::Lookup { key: Key::Address(end, family), set, negated }
    };
    Rule {
        matches: vec![
            Match::Family(family),
            lookup(End::Source, names::MASQUERADE_POOLS, false),
            lookup(End::Destination, names::ALL_POOLS, true),
        ],
        statements: vec![Statement::Count, Statement::Masquerade],
        source: Source::Fixed("NAT outgoing"),
    }
}
