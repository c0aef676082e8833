//! However the state came about, the table is the same; and what changed is marked, and nothing else.

use crate::build::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use tortie_calc::Update;
use tortie_calc::update::{Action, Member, Rule, SetKind, Side};
use tortie_model::PolicyId;
use tortie_rules::{Config, Desired, Dirty, Element, Set, SetChange, Table};

/// The state in a plain form: what the last update of each kind said.
#[derive(Default)]
struct Plain {
    sets: BTreeMap<String, HashSet<Member>>,
    policies: BTreeMap<PolicyId, Update>,
    workloads: BTreeMap<String, Update>,
    pools: BTreeMap<String, Update>,
}

impl Plain {
    fn updates(&self) -> Vec<Update> {
        let sets = self.sets.iter().map(|(id, members)| Update::Set {
            id: set(id),
            kind: SetKind::Net,
            members: members.iter().copied().collect(),
        });
        sets.chain(self.policies.values().cloned())
            .chain(self.workloads.values().cloned())
            .chain(self.pools.values().cloned())
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Vec<u8>),
    Delta(u8, Vec<u8>, Vec<u8>),
    SetRemove(u8),
    Policy(u8, Vec<(u8, u8)>),
    PolicyRemove(u8),
    Workload(u8, u8, Vec<u8>),
    WorkloadRemove(u8),
    Pool(u8, bool),
    PoolRemove(u8),
    Render,
}

fn member(n: u8) -> Member {
    let nets = ["10.0.0.1", "10.0.0.2", "10.1.0.0/16", "fd00::1", "fd00::2", "fd01::/32"];
    Member::Net(nets[usize::from(n) % nets.len()].parse().unwrap())
}

fn small() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..6, 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3, small()).prop_map(|(s, m)| Step::Set(s, m)),
        (0u8..3, small(), small()).prop_map(|(s, a, r)| Step::Delta(s, a, r)),
        (0u8..3).prop_map(Step::SetRemove),
        (0u8..3, prop::collection::vec((0u8..3, 0u8..4), 0..4)).prop_map(|(p, r)| Step::Policy(p, r)),
        (0u8..3).prop_map(Step::PolicyRemove),
        (0u8..3, 0u8..3, prop::collection::vec(0u8..3, 0..3)).prop_map(|(w, i, p)| Step::Workload(w, i, p)),
        (0u8..3).prop_map(Step::WorkloadRemove),
        (0u8..3, any::<bool>()).prop_map(|(p, m)| Step::Pool(p, m)),
        (0u8..3).prop_map(Step::PoolRemove),
        Just(Step::Render),
    ]
}

/// Applies a step to the plain state, and answers the update that tells it.
fn update(plain: &mut Plain, step: &Step) -> Option<Update> {
    let pool_cidr = |p: u8| ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"][usize::from(p)];
    Some(match step {
        Step::Set(s, members) => {
            let members: HashSet<Member> = members.iter().map(|m| member(*m)).collect();
            plain.sets.insert(format!("s:{s}"), members.clone());
            Update::Set {
                id: set(&format!("s:{s}")),
                kind: SetKind::Net,
                members: members.into_iter().collect(),
            }
        }
        Step::Delta(s, added, removed) => {
            let members = plain.sets.get_mut(&format!("s:{s}"))?;
            let removed: Vec<Member> =
                removed.iter().map(|m| member(*m)).filter(|m| members.remove(m)).collect();
            let added: Vec<Member> =
                added.iter().map(|m| member(*m)).filter(|m| members.insert(*m)).collect();
            Update::SetDelta { id: set(&format!("s:{s}")), added, removed }
        }
        Step::SetRemove(s) => {
            plain.sets.remove(&format!("s:{s}"))?;
            Update::SetRemove(set(&format!("s:{s}")))
        }
        Step::Policy(p, rules) => {
            let rules: Vec<Rule> = rules
                .iter()
                .map(|(s, action)| {
                    let action =
                        [Action::Allow, Action::Deny, Action::Pass, Action::Log][usize::from(*action)];
                    let ports = if *s == 0 { ports(&[(80, 80), (443, 443)]) } else { Vec::new() };
                    Rule {
                        source: Side { sets: vec![set(&format!("s:{s}"))], ports, ..Side::default() },
                        ..rule(action)
                    }
                })
                .collect();
            let update = policy(&format!("p{p}"), rules.clone(), rules);
            plain.policies.insert(pid(&format!("p{p}")), update.clone());
            update
        }
        Step::PolicyRemove(p) => {
            let id = pid(&format!("p{p}"));
            plain.policies.remove(&id)?;
            Update::PolicyRemove(id)
        }
        Step::Workload(w, interface, policies) => {
            let names: Vec<String> = policies.iter().map(|p| format!("p{p}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let tiers = vec![tier("default", Action::Deny, &names, names.get(1..).unwrap_or_default())];
            let update = workload(
                &format!("w{w}"),
                endpoint(&format!("cali{interface}"), &["10.0.0.1"], &["x"]),
                tiers,
            );
            plain.workloads.insert(format!("w{w}"), update.clone());
            update
        }
        Step::WorkloadRemove(w) => {
            plain.workloads.remove(&format!("w{w}"))?;
            Update::WorkloadRemove(wid(&format!("w{w}")))
        }
        Step::Pool(p, masquerade) => {
            let update = pool(pool_cidr(*p), *masquerade);
            plain.pools.insert(pool_cidr(*p).into(), update.clone());
            update
        }
        Step::PoolRemove(p) => {
            plain.pools.remove(pool_cidr(*p))?;
            Update::PoolRemove(pool_cidr(*p).parse().unwrap())
        }
        Step::Render => return None,
    })
}

/// What a driver would believe that follows the dirty marks.
#[derive(Default)]
struct Mirror {
    chains: BTreeMap<String, String>,
    sets: BTreeMap<String, HashSet<Element>>,
}

impl Mirror {
    fn follow(&mut self, dirty: Dirty, table: &Table) {
        for name in dirty.chains {
            match table.chains().get(&name) {
                Some(chain) => self.chains.insert(name.to_string(), chain.to_string()),
                None => self.chains.remove(&name.to_string()),
            };
        }
        for (name, change) in dirty.sets {
            let wanted: Option<&Set> = table.sets().get(&name);
            match change {
                SetChange::Whole => match wanted {
                    Some(set) => self.sets.insert(name.to_string(), set.elements().clone()),
                    None => self.sets.remove(&name.to_string()),
                },
                SetChange::Elements { added, removed } => {
                    let set =
                        self.sets.get_mut(&name.to_string()).expect("a delta of a set that was never whole");
                    for gone in removed {
                        assert!(set.remove(&gone), "{name}: {gone} went but was not there");
                    }
                    for new in added {
                        assert!(set.insert(new.clone()), "{name}: {new} came but was there");
                    }
                    None
                }
            };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases))]

    #[test]
    fn any_way_gives_the_same_table(steps in prop::collection::vec(step(), 0..40)) {
        let (mut plain, mut mirror) = (Plain::default(), Mirror::default());
        let mut desired = Desired::new(Config::default());
        for step in &steps {
            match update(&mut plain, step) {
                Some(update) => desired.on_update(&update),
                None => {
                    desired.render_dirty();
                    let dirty = desired.take_dirty();
                    mirror.follow(dirty, desired.table());
                }
            }
        }
        desired.render_dirty();
        let dirty = desired.take_dirty();
        mirror.follow(dirty, desired.table());
        let mut fresh = Desired::new(Config::default());
        for update in plain.updates() {
            fresh.on_update(&update);
        }
        fresh.render_dirty();
        prop_assert_eq!(desired.table().to_string(), fresh.table().to_string());
        let chains: BTreeMap<String, String> =
            fresh.table().chains().iter().map(|(n, c)| (n.to_string(), c.to_string())).collect();
        prop_assert_eq!(mirror.chains, chains);
        let sets: BTreeMap<String, HashSet<Element>> =
            fresh.table().sets().iter().map(|(n, s)| (n.to_string(), s.elements().clone())).collect();
        prop_assert_eq!(mirror.sets, sets);
    }
}

#[test]
fn a_member_touches_only_its_set() {
    let mut desired = Desired::new(Config::default());
    let allow = Rule { source: Side { sets: vec![set("s:a")], ..Side::default() }, ..rule(Action::Allow) };
    for update in [
        net_set("s:a", &["10.0.0.1"]),
        policy("p", vec![allow], vec![]),
        workload("w", endpoint("cali1", &[], &[]), vec![tier("default", Action::Deny, &["p"], &[])]),
    ] {
        desired.on_update(&update);
    }
    desired.render_dirty();
    desired.take_dirty();
    let delta = |added: &[&str], removed: &[&str]| Update::SetDelta {
        id: set("s:a"),
        added: net_members(added),
        removed: net_members(removed),
    };
    desired.on_update(&delta(&["10.0.0.2"], &[]));
    desired.render_dirty();
    let dirty = desired.take_dirty();
    assert!(dirty.chains.is_empty());
    assert_eq!(dirty.sets.len(), 1);
    assert!(matches!(dirty.sets.values().next(), Some(SetChange::Elements { added, removed })
        if added.len() == 1 && removed.is_empty()));
    // A prefix needs a set of another kind: new name, and the rule follows.
    desired.on_update(&delta(&["10.1.0.0/16"], &["10.0.0.2"]));
    desired.render_dirty();
    let dirty = desired.take_dirty();
    assert_eq!(dirty.chains.len(), 1);
    let changed: Vec<String> = dirty.sets.keys().map(ToString::to_string).collect();
    assert_eq!(changed, ["cali40s-a", "cali41s-a"]);
    assert!(dirty.sets.values().all(|c| *c == SetChange::Whole));
    assert!(!desired.table().sets().keys().any(|n| n.to_string() == "cali40s-a"));
}

#[test]
fn in_sync_is_remembered() {
    let mut desired = Desired::new(Config::default());
    assert!(!desired.in_sync());
    desired.on_update(&Update::InSync);
    assert!(desired.in_sync());
}
