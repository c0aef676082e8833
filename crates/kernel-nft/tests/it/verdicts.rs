//! Random policies: the kernel's verdict on real packets is that of a naive evaluation of the same updates.

use crate::build::*;
use crate::lab::{Lab, Packet};
use crate::netns::{exec, in_netns};
use std::collections::BTreeMap;
use tortie_calc::Update;
use tortie_calc::update::{Action, ActivePolicy, EndpointTier, Icmp, Member, Rule, Side};
use tortie_model::PolicyId;
use tortie_net::{Cidr, Family, PortRange, Protocol};
use tortie_rules::Config;

/// Sets and policies as the updates told them. Obvious rather than quick.
#[derive(Default)]
pub(crate) struct Naive {
    sets: BTreeMap<String, Vec<Member>>,
    policies: BTreeMap<PolicyId, ActivePolicy>,
}

impl Naive {
    pub(crate) fn take(&mut self, update: &Update) {
        match update {
            Update::Set { id, members, .. } => {
                self.sets.insert(id.0.to_string(), members.clone());
            }
            Update::Policy(id, policy) => {
                self.policies.insert(id.clone(), (**policy).clone());
            }
            _ => {}
        }
    }

    /// The fate of a packet that opens a connection, by the ingress side of tiers and nothing after them.
    pub(crate) fn ingress_allows(&self, tiers: &[EndpointTier], p: &Packet) -> bool {
        'tiers: for tier in tiers.iter().filter(|t| !t.ingress.is_empty()) {
            for id in &tier.ingress {
                for rule in &self.policies[id].ingress {
                    if self.matches(rule, p) {
                        match rule.action {
                            Action::Allow => return true,
                            Action::Deny => return false,
                            Action::Pass => continue 'tiers,
                            Action::Log => {}
                        }
                    }
                }
            }
            if tier.default_action != Action::Pass {
                return false;
            }
        }
        false
    }

    fn matches(&self, r: &Rule, p: &Packet) -> bool {
        let family = Family::of(p.from);
        let is_icmp = p.protocol == Protocol::icmp(family);
        let icmp = |i: Icmp| {
            is_icmp && u16::from(i.kind) == p.sport && i.code.is_none_or(|c| u16::from(c) == p.dport)
        };
        let implied = Family::ALL.into_iter().find(|f| r.protocol == Some(Protocol::icmp(*f)));
        r.family.or(implied).is_none_or(|f| f == family)
            && r.protocol.is_none_or(|x| x == p.protocol)
            && r.not_protocol.is_none_or(|x| x != p.protocol)
            && r.icmp.is_none_or(icmp)
            && !r.not_icmp.is_some_and(icmp)
            && self.side(&r.source, p, p.from, p.sport)
            && self.side(&r.destination, p, p.to, p.dport)
    }

    fn side(&self, s: &Side, p: &Packet, addr: std::net::IpAddr, port: u16) -> bool {
        let family = Family::of(addr);
        let in_nets = |nets: &[Cidr]| nets.iter().any(|n| n.contains(addr));
        let of_family = |nets: &[Cidr]| nets.is_empty() || nets.iter().any(|n| n.family() == family);
        let members = |id: &tortie_calc::update::SetId| self.sets.get(&*id.0).into_iter().flatten();
        let in_set = |id| members(id).any(|m| matches!(m, Member::Net(n) if n.contains(addr)));
        let named = |id| members(id).any(|m| *m == Member::AddrPort(addr, p.protocol, port));
        let in_ports = |ports: &[PortRange]| p.protocol.has_ports() && ports.iter().any(|r| r.contains(port));
        of_family(&s.nets)
            && of_family(&s.not_nets)
            && (s.nets.is_empty() || in_nets(&s.nets))
            && !in_nets(&s.not_nets)
            && s.sets.iter().all(in_set)
            && !s.not_sets.iter().any(in_set)
            && (s.ports.is_empty() && s.named_ports.is_empty()
                || in_ports(&s.ports)
                || s.named_ports.iter().any(named))
            && !in_ports(&s.not_ports)
            && !s.not_named_ports.iter().any(named)
            && s.addr_port_sets.iter().all(named)
    }
}

/// A small generator of random choices, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn some<T: Clone>(&mut self, one_in: usize, list: &[T]) -> Vec<T> {
        if self.one_in(one_in) { (0..=self.below(3)).map(|_| self.pick(list)).collect() } else { Vec::new() }
    }

    fn maybe<T: Clone>(&mut self, one_in: usize, list: &[T]) -> Option<T> {
        self.one_in(one_in).then(|| self.pick(list))
    }
}

const NETS: [&str; 12] = [
    "0.0.0.0/0",
    "10.65.1.1",
    "10.65.1.2/31",
    "10.65.1.0/24",
    "10.65.2.1",
    "10.65.2.0/31",
    "::/0",
    "fd65:1::1",
    "fd65:1::2/127",
    "fd65:1::/64",
    "fd65:2::1",
    "fd65:2::/127",
];

fn side(d: &mut Dice) -> Side {
    let all = nets(&NETS);
    let ports = ports(&[(80, 80), (80, 82), (1000, 1001), (81, 0xffff), (0, 79)]);
    let [addresses, named] = [["s:a", "s:b", "s:c"], ["n:a", "n:b", "n:none"]].map(|ids| ids.map(set));
    Side {
        nets: d.some(4, &all),
        not_nets: d.some(6, &all),
        sets: d.some(5, &addresses).into_iter().take(1 + d.below(2)).collect(),
        not_sets: d.some(7, &addresses),
        ports: d.some(5, &ports),
        named_ports: d.some(7, &named),
        not_ports: d.some(9, &ports),
        not_named_ports: d.some(12, &named),
        addr_port_sets: d.some(14, &named),
    }
}

fn random_rule(d: &mut Dice) -> Rule {
    let protocols = [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6];
    let icmps = [(8, None), (8, Some(0)), (8, Some(1)), (128, None), (128, Some(0)), (13, None)]
        .map(|(kind, code)| Icmp { kind, code });
    Rule {
        family: d.maybe(8, &Family::ALL),
        protocol: d.maybe(2, &protocols),
        not_protocol: d.maybe(8, &protocols),
        icmp: d.maybe(10, &icmps),
        not_icmp: d.maybe(10, &icmps),
        source: if d.one_in(2) { side(d) } else { Side::default() },
        destination: if d.one_in(2) { side(d) } else { Side::default() },
        ..rule(d.pick(&[Action::Allow, Action::Allow, Action::Deny, Action::Pass, Action::Log]))
    }
}

/// Members of a set that do not overlap.
fn random_set(d: &mut Dice, id: &str) -> Update {
    let mut members: Vec<Cidr> = Vec::new();
    for net in (0..d.below(5)).map(|_| d.pick(&nets(&NETS))).collect::<Vec<_>>() {
        if !members.iter().any(|m| m.overlaps(net)) {
            members.push(net);
        }
    }
    Update::Set {
        id: set(id),
        kind: tortie_calc::update::SetKind::Net,
        members: members.into_iter().map(Member::Net).collect(),
    }
}

fn random_ports(d: &mut Dice, id: &str) -> Update {
    let addresses = ["10.65.1.1", "10.65.2.1", "fd65:1::1", "fd65:2::1"];
    let member =
        |d: &mut Dice| (d.pick(&addresses), d.pick(&[Protocol::TCP, Protocol::UDP]), d.pick(&[80, 81, 1000]));
    port_set(id, &(0..d.below(6)).map(|_| member(d)).collect::<Vec<_>>())
}

/// Packets from workload 1 to workload 2 that the rules can tell apart.
fn packets() -> Vec<Packet> {
    let mut all = Vec::new();
    for (from, to) in [("10.65.1", "10.65.2"), ("fd65:1:", "fd65:2:")] {
        let at =
            |net: &str, n: u8| if net.contains(':') { format!("{net}:{n}") } else { format!("{net}.{n}") };
        for (i, j) in [(1, 1), (2, 1), (3, 2), (1, 2)] {
            let (from, to) = (at(from, i), at(to, j));
            for (sport, dport) in [(1000, 80), (1001, 81), (1002, 83)] {
                all.push(crate::lab::packet(Protocol::TCP, &from, sport, &to, dport));
                all.push(crate::lab::packet(Protocol::UDP, &from, sport, &to, dport));
            }
            let (protocol, echo) =
                if from.contains(':') { (Protocol::ICMPV6, 128) } else { (Protocol::ICMP, 8) };
            all.push(crate::lab::packet(protocol, &from, echo, &to, 0));
        }
    }
    all
}

/// How many random states are tried; `TORTIE_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("TORTIE_SEEDS").map_or(40, |n| n.parse().expect("TORTIE_SEEDS is a number"))
}

#[test]
fn random_policies() {
    in_netns(|| {
        let mut lab = Lab::new(Config::default(), 2);
        let mut naive = Naive::default();
        let addresses = |n: usize| -> Vec<String> {
            (1..=4).flat_map(|i| [format!("10.65.{n}.{i}"), format!("fd65:{n}::{i}")]).collect()
        };
        let endpoint_of = |n: usize, profiles: &[&str]| {
            let addresses = addresses(n);
            endpoint(&format!("cali{n}"), &addresses.iter().map(String::as_str).collect::<Vec<_>>(), profiles)
        };
        lab.update(&[
            profile("open", vec![], vec![rule(Action::Allow)]),
            workload("w1", endpoint_of(1, &["open"]), vec![]),
        ]);
        let packets = packets();
        let (mut allowed, mut denied) = (0, 0);
        for seed in 0..seeds() {
            let mut d = Dice(seed);
            let mut updates: Vec<Update> = ["s:a", "s:b", "s:c"].map(|id| random_set(&mut d, id)).to_vec();
            updates.extend(["n:a", "n:b", "n:none"].map(|id| random_ports(&mut d, id)));
            for name in ["p", "q", "r"] {
                let rules = (0..=d.below(5)).map(|_| random_rule(&mut d)).collect();
                updates.push(policy(name, rules, vec![]));
            }
            let tiers = vec![
                tier("one", d.pick(&[Action::Deny, Action::Pass]), &["p", "q"][..=d.below(2)], &[]),
                tier("two", Action::Deny, &["r"], &[]),
            ];
            updates.push(workload("w2", endpoint_of(2, &[]), tiers.clone()));
            for update in &updates {
                naive.take(update);
            }
            lab.update(&updates);
            exec(&["conntrack", "-F"]);
            let passed = lab.probe(1, &packets);
            for packet in &packets {
                let want = naive.ingress_allows(&tiers, packet);
                *(if want { &mut allowed } else { &mut denied }) += 1;
                assert_eq!(
                    passed.contains(packet),
                    want,
                    "seed {seed}: {packet:?}\n{updates:#?}\n{}",
                    lab.node.desired.table()
                );
            }
        }
        lab.node.settle();
        lab.node.assert_equal();
        assert!(allowed > 100 && denied > 100, "{allowed} allowed, {denied} denied");
    });
}
