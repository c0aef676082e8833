//! Output depends on the current state alone, and every step on the way is safe.

use crate::dataplane::Dataplane;
use crate::world::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tortie_calc::update::{Member, SetId};
use tortie_model::value::Rule;
use tortie_model::{Change, Key, Value};
use tortie_net::{Cidr, Protocol};
use tortie_selector::{Layered, Selector};

const SELECTORS: [&str; 10] = [
    "all()",
    "has(a)",
    "a == 'x'",
    "a != 'x'",
    "a == 'x' && b == 'y'",
    "a in {'x', 'y'} || has(b)",
    "!has(b)",
    "b not in {'x'}",
    "a == 'x' && a == 'y'",
    "a = 'broken'",
];

fn labels() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let value = || prop::option::of(prop::sample::select(vec!["x", "y"]));
    (value(), value()).prop_map(|(a, b)| a.map(|v| ("a", v)).into_iter().chain(b.map(|v| ("b", v))).collect())
}

fn selector() -> impl Strategy<Value = &'static str> {
    // Some much more often than others, so that objects change without changing all of themselves.
    prop_oneof![2 => prop::sample::select(vec!["all()", "has(a)"]), 3 => prop::sample::select(SELECTORS.to_vec())]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let action = prop::sample::select(vec!["allow", "deny", "pass", "log"]);
    let plain = (action, selector(), prop::option::of(selector())).prop_map(|(action, src, not)| Rule {
        src_selector: src.to_owned(),
        not_src_selector: not.unwrap_or_default().to_owned(),
        ..rule(action)
    });
    let named =
        (prop::option::of(selector()), prop::sample::select(vec!["http", "80"])).prop_map(|(dst, port)| {
            Rule {
                protocol: Some(Protocol::TCP.into()),
                dst_selector: dst.unwrap_or_default().to_owned(),
                dst_ports: vec![port.parse().expect("a port")],
                ..rule("allow")
            }
        });
    let service = any::<bool>().prop_map(|source| {
        let mut rule = rule("allow");
        let (name, namespace) = if source {
            (&mut rule.src_service, &mut rule.src_service_ns)
        } else {
            (&mut rule.dst_service, &mut rule.dst_service_ns)
        };
        "web".clone_into(name);
        "ns".clone_into(namespace);
        rule
    });
    prop::collection::vec(prop_oneof![3 => plain, 1 => named, 1 => service], 0..3)
}

fn object() -> impl Strategy<Value = (Key, Value)> {
    let name = || prop::sample::select(vec!["k", "l", "m"]);
    let node = || prop::sample::select(vec![NODE, NODE, "n2"]);
    let profiles = || prop::collection::vec(prop::sample::select(vec!["p", "q"]), 0..3);
    let ports = prop::sample::select(vec![
        vec![],
        vec![("http", Protocol::TCP, 80)],
        vec![("http", Protocol::UDP, 81)],
    ]);
    let nets = prop::collection::vec(
        prop::sample::select(vec![
            "10.0.0.0/24",
            "10.0.0.0/31",
            "10.0.0.2/32",
            "0.0.0.0/0",
            "fd00::/64",
            "fd00::2/128",
        ]),
        0..4,
    );
    let order = || prop::option::of(prop::sample::select(vec![-1.0, 0.0, 10.0]));
    let policy = (
        name(),
        selector(),
        order(),
        rules(),
        prop::sample::select(vec!["default", "t"]),
        any::<[bool; 4]>(),
    );
    prop_oneof![
        4 => (node(), name(), 1..4u8, labels(), profiles(), ports)
            .prop_map(|(node, name, n, labels, profiles, ports)| workload_with(node, name, n, &labels, &profiles, &ports)),
        1 => (node(), name(), 1..3u8, labels(), profiles())
            .prop_map(|(node, name, n, labels, profiles)| host(node, name, n, &labels, &profiles)),
        2 => (name(), nets, labels()).prop_map(|(name, nets, labels)| network_set(name, &nets, &labels)),
        4 => policy.prop_map(|(name, selector, order, rules, tier, [ingress, staged, pre_dnat, hint])| {
            let (key, value) = policy_with(name, |p| {
                p.selector = selector.into();
                p.order = order;
                p.inbound_rules = rules;
                p.tier = tier.into();
                p.pre_dnat = pre_dnat && ingress;
                p.types = vec![if ingress { "ingress" } else { "egress" }.to_owned()];
                p.performance_hints = if hint && staged { vec!["AssumeNeededOnEveryNode".to_owned()] } else { vec![] };
            });
            let Key::Policy(mut id) = key else { unreachable!("a policy has a policy's key") };
            if staged && !hint {
                id.kind = tortie_model::PolicyKind::StagedGlobalNetworkPolicy;
            }
            (Key::Policy(id), value)
        }),
        1 => (prop::sample::select(vec!["default", "t"]), order(), any::<bool>())
            .prop_map(|(name, order, pass)| tier(name, order, if pass { "Pass" } else { "Deny" })),
        2 => (prop::sample::select(vec!["p", "q"]), rules(), labels(), 0..2usize)
            .prop_map(|(name, rules, labels, which)| profile(name, rules, &labels)[which].clone()),
        1 => (name(), prop::sample::select(vec!["web", "other"]), 1..4u8, 80..82u16)
            .prop_map(|(name, service, n, port)| slice(name, service, &[&format!("10.0.0.{n}"), "fd00::9"], &[port])),
    ]
}

fn state() -> impl Strategy<Value = State> {
    prop::collection::vec(object(), 0..12).prop_map(|objects| objects.into_iter().collect())
}

/// States of which each has much of the one before.
fn states() -> impl Strategy<Value = Vec<State>> {
    let step =
        (prop::collection::vec(object(), 0..5), prop::collection::vec(any::<prop::sample::Index>(), 0..3));
    (state(), prop::collection::vec(step, 0..5)).prop_map(|(first, steps)| {
        let mut states = vec![first];
        for (new, gone) in steps {
            let mut state = states.last().cloned().unwrap_or_default();
            for index in gone {
                if !state.is_empty() {
                    let key = state.keys().nth(index.index(state.len())).cloned();
                    key.and_then(|key| state.remove(&key));
                }
            }
            state.extend(new);
            states.push(state);
        }
        states
    })
}

/// The changes that lead from one state to another.
fn difference(from: &State, to: &State) -> Vec<Change> {
    let gone = from.keys().filter(|k| !to.contains_key(k)).map(|k| Change { key: k.clone(), value: None });
    let new = to.iter().filter(|(k, v)| from.get(k) != Some(v));
    gone.chain(new.map(|(k, v)| Change { key: k.clone(), value: Some(v.clone()) })).collect()
}

fn from_scratch(state: &State) -> Dataplane {
    World::with(state.clone()).dataplane
}

/// How the changes from state to state are fed in.
#[derive(Clone, Copy, Debug)]
struct Path {
    /// Flush after each change, not only after each state.
    split: bool,
    /// Flush only at the end.
    squash: bool,
    /// Go through the empty state between two states.
    insert_empty: bool,
    /// In the reverse order of keys.
    reverse_keys: bool,
    /// Each change twice, and deletes of what is not there.
    repeat: bool,
    /// In sync after this many states.
    in_sync_after: usize,
}

fn path() -> impl Strategy<Value = Path> {
    (any::<[bool; 5]>(), 0..3usize).prop_map(
        |([split, squash, insert_empty, reverse_keys, repeat], in_sync_after)| Path {
            split,
            squash,
            insert_empty,
            reverse_keys,
            repeat,
            in_sync_after,
        },
    )
}

fn walk(states: &[State], path: Path) -> Dataplane {
    let mut world = World::new(config());
    let mut current = State::new();
    let empty = State::new();
    let between = path.insert_empty.then_some(&empty);
    let steps = states.iter().flat_map(|s| between.into_iter().chain([s]));
    for (i, state) in steps.enumerate() {
        if i == path.in_sync_after {
            world.calc.on_in_sync();
        }
        let mut changes = difference(&current, state);
        if path.reverse_keys {
            changes.reverse();
        }
        for change in changes {
            if path.repeat {
                world.calc.on_change(Change { key: change.key.clone(), value: None });
                world.calc.on_change(change.clone());
            }
            world.calc.on_change(change);
            if path.split {
                world.flush();
            }
        }
        current.clone_from(state);
        if !path.squash {
            world.flush();
            if world.dataplane.in_sync {
                assert_eq!(world.dataplane, from_scratch(&current));
            }
        }
    }
    world.calc.on_in_sync();
    world.flush();
    world.dataplane
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 3 / 2))]

    #[test]
    fn the_path_does_not_matter(states in states(), path in path(), reverse: bool) {
        let mut states = states;
        if reverse {
            states.reverse();
        }
        let last = states.last().cloned().unwrap_or_default();
        prop_assert_eq!(walk(&states, path), from_scratch(&last));
        states.push(State::new());
        let nothing = Dataplane { in_sync: true, ..Dataplane::default() };
        prop_assert_eq!(walk(&states, path), nothing);
    }

    #[test]
    fn shuffled_changes_give_the_same(state in state(), seed in prop::collection::vec(any::<u32>(), 12)) {
        let mut objects: Vec<_> = state.clone().into_iter().collect();
        let mut seed = seed.into_iter().cycle();
        objects.sort_by_cached_key(|_| seed.next());
        let shuffled = World::with(objects);
        let sorted = World::with(state);
        prop_assert_eq!(shuffled.dataplane, sorted.dataplane);
        prop_assert_eq!(shuffled.calc.diagnostics(), sorted.calc.diagnostics());
        prop_assert_eq!(shuffled.calc.active_policies(), sorted.calc.active_policies());
    }

    #[test]
    fn sets_and_orders_equal_a_naive_calculation(state in state()) {
        let told = from_scratch(&state);
        let naive = Naive::new(&state);
        for selector in SELECTORS.iter().filter_map(|s| Selector::parse(s).ok()) {
            if let Some((_, members)) = told.sets.get(&SetId(selector.unique_id().into())) {
                prop_assert_eq!(members, &naive.members(&selector));
            }
        }
        for (id, workload) in &told.workloads {
            let labels = naive.labels(&workload.endpoint.labels, &workload.endpoint.profile_ids);
            let expected = naive.ingress_policies(&labels);
            let got: Vec<_> = workload.tiers.iter().flat_map(|t| t.ingress.iter().map(|id| id.name.clone())).collect();
            prop_assert_eq!(got, expected, "{}", id);
        }
    }
}

/// The definitions, applied one by one.
struct Naive<'a> {
    state: &'a State,
}

impl<'a> Naive<'a> {
    fn new(state: &'a State) -> Self {
        Self { state }
    }

    fn labels(&self, own: &BTreeMap<String, String>, profiles: &[String]) -> BTreeMap<String, String> {
        let inherited: Vec<_> = profiles
            .iter()
            .filter_map(|p| match self.state.get(&Key::ProfileLabels(p.clone())) {
                Some(Value::ProfileLabels(labels)) => Some(&**labels),
                _ => None,
            })
            .collect();
        let layered = Layered { own, inherited: inherited.as_slice() };
        let get = |k: &str| tortie_selector::Labels::get(&layered, k).map(|v| (k.to_owned(), v.to_owned()));
        ["a", "b"].into_iter().filter_map(get).collect()
    }

    fn members(&self, selector: &Selector) -> BTreeSet<Member> {
        let mut nets = BTreeSet::new();
        for value in self.state.values() {
            let (labels, profiles, own): (_, &[String], Vec<Cidr>) = match value {
                Value::WorkloadEndpoint(e) => (&e.labels, &e.profile_ids, e.nets().collect()),
                Value::HostEndpoint(e) => {
                    let addresses = e.expected_ipv4_addrs.iter().chain(&e.expected_ipv6_addrs);
                    (&e.labels, &e.profile_ids, addresses.map(|a| Cidr::host(*a)).collect())
                }
                Value::NetworkSet(s) => (&s.labels, &s.profile_ids, s.nets.clone()),
                _ => continue,
            };
            if selector.evaluate(&self.labels(labels, profiles)) {
                nets.extend(own);
            }
        }
        for (any, low, high) in [("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"), ("::/0", "::/1", "8000::/1")] {
            if nets.remove(&any.parse().expect("a CIDR")) {
                nets.extend([low, high].map(|half| half.parse::<Cidr>().expect("a CIDR")));
            }
        }
        let visible = nets.iter().filter(|n| !nets.iter().any(|o| o != *n && o.covers(**n)));
        visible.map(|n| Member::Net(*n)).collect()
    }

    /// Names of normal policies for traffic to a workload with these labels, over all tiers.
    fn ingress_policies(&self, labels: &BTreeMap<String, String>) -> Vec<String> {
        let mut found = Vec::new();
        for (key, value) in self.state {
            let (Key::Policy(id), Value::Policy(p)) = (key, value) else { continue };
            let selects = Selector::parse(&p.selector).is_ok_and(|s| s.evaluate(labels));
            if !selects || id.kind.is_staged() || p.pre_dnat || !p.types.contains(&"ingress".to_owned()) {
                continue;
            }
            let tier = match self.state.get(&Key::Tier(p.tier.clone())) {
                Some(Value::Tier(tier)) => Some(tier.order),
                _ => None,
            };
            let infinite = |order: Option<f64>| order.map_or(i64::MAX, |o| o as i64);
            let tier_rank = (tier.is_none(), infinite(tier.flatten()), p.tier.clone());
            let name = format!("{}/{}/{}", id.name, id.namespace, id.kind.as_str());
            found.push((tier_rank, infinite(p.order), name, id.name.clone()));
        }
        found.sort();
        found.into_iter().map(|(.., name)| name).collect()
    }
}
