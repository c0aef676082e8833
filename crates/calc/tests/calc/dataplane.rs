//! A dataplane that only remembers, and checks that each update is safe to apply where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tortie_calc::update::*;
use tortie_model::value::IpPool;
use tortie_model::{PolicyId, WorkloadId};
use tortie_net::Cidr;

/// What a dataplane would have programmed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dataplane {
    pub(crate) sets: BTreeMap<SetId, (SetKind, BTreeSet<Member>)>,
    pub(crate) policies: BTreeMap<PolicyId, Arc<ActivePolicy>>,
    pub(crate) profiles: BTreeMap<Arc<str>, Arc<ActivePolicy>>,
    pub(crate) workloads: BTreeMap<WorkloadId, Arc<LocalWorkload>>,
    pub(crate) hosts: BTreeMap<String, Arc<LocalHost>>,
    pub(crate) pools: BTreeMap<Cidr, Arc<IpPool>>,
    pub(crate) in_sync: bool,
}

impl Dataplane {
    /// Applies one flush.
    pub(crate) fn apply(&mut self, updates: Vec<Update>) {
        for update in updates {
            self.apply_one(update);
        }
        for (id, (_, members)) in &self.sets {
            let nets = members.iter().filter_map(net);
            for (a, b) in nets.clone().zip(nets.skip(1)) {
                assert!(!a.covers(b), "{id:?}: {a} covers {b}");
            }
        }
    }

    fn apply_one(&mut self, update: Update) {
        match update {
            Update::InSync => assert!(!std::mem::replace(&mut self.in_sync, true), "in sync twice"),
            Update::Set { id, kind, members } => {
                assert!(members.is_sorted(), "members of {id:?}");
                assert!(members.iter().all(|m| matches!(m, Member::Net(_)) == (kind == SetKind::Net)));
                let count = members.len();
                let members: BTreeSet<_> = members.into_iter().collect();
                assert_eq!(members.len(), count, "repeated members in {id:?}");
                assert!(self.sets.insert(id.clone(), (kind, members)).is_none(), "{id:?} exists already");
            }
            Update::SetDelta { id, added, removed } => {
                let (_, members) = self.sets.get_mut(&id).expect("a delta of a known set");
                assert!(!added.is_empty() || !removed.is_empty(), "an empty delta of {id:?}");
                for member in removed {
                    assert!(members.remove(&member), "{member:?} is not in {id:?}");
                }
                for member in added {
                    assert!(members.insert(member), "{member:?} is already in {id:?}");
                }
            }
            Update::SetRemove(id) => {
                let used =
                    self.policies.values().chain(self.profiles.values()).any(|p| sets_of(p).contains(&id));
                assert!(!used, "{id:?} is in use");
                assert!(self.sets.remove(&id).is_some(), "{id:?} is not known");
            }
            Update::Policy(id, policy) => {
                self.check_sets(&policy);
                assert_ne!(self.policies.insert(id, policy.clone()), Some(policy), "nothing new");
            }
            Update::PolicyRemove(id) => {
                assert!(
                    !self.tiers().any(|t| t.ingress.contains(&id) || t.egress.contains(&id)),
                    "{id} is in use"
                );
                assert!(self.policies.remove(&id).is_some(), "{id} is not known");
            }
            Update::Profile(name, profile) => {
                self.check_sets(&profile);
                assert_ne!(self.profiles.insert(name, profile.clone()), Some(profile), "nothing new");
            }
            Update::ProfileRemove(name) => {
                let in_workloads =
                    self.workloads.values().any(|w| w.endpoint.profile_ids.iter().any(|p| **p == *name));
                let in_hosts = self.hosts.values().any(|h| h.profiles.iter().any(|p| **p == *name));
                assert!(!in_workloads && !in_hosts, "{name} is in use");
                assert!(self.profiles.remove(&name).is_some(), "{name} is not known");
            }
            Update::Workload(id, workload) => {
                self.check_endpoint(workload.tiers.iter(), &workload.endpoint.profile_ids);
                assert_ne!(self.workloads.insert(id, workload.clone()), Some(workload), "nothing new");
            }
            Update::WorkloadRemove(id) => assert!(self.workloads.remove(&id).is_some(), "{id} is not known"),
            Update::Host(id, host) => {
                let tiers = [&host.tiers, &host.untracked, &host.pre_dnat, &host.forward];
                self.check_endpoint(tiers.into_iter().flatten(), &host.profiles);
                assert_ne!(self.hosts.insert(id, host.clone()), Some(host), "nothing new");
            }
            Update::HostRemove(id) => assert!(self.hosts.remove(&id).is_some(), "{id} is not known"),
            Update::Pool(pool) => {
                assert_ne!(self.pools.insert(pool.cidr, pool.clone()), Some(pool), "nothing new");
            }
            Update::PoolRemove(cidr) => assert!(self.pools.remove(&cidr).is_some(), "{cidr} is not known"),
            #[expect(
                unreachable_patterns,
                reason = "a later kind of update needs no check here to be remembered"
            )]
            _ => {}
        }
    }

    fn check_sets(&self, rules: &ActivePolicy) {
        for id in sets_of(rules) {
            assert!(self.sets.contains_key(&id), "{id:?} is not known");
        }
    }

    fn check_endpoint<'a>(&self, tiers: impl Iterator<Item = &'a EndpointTier>, profiles: &[String]) {
        for tier in tiers {
            assert!(!tier.ingress.is_empty() || !tier.egress.is_empty(), "an empty tier");
            for id in tier.ingress.iter().chain(&tier.egress) {
                assert!(self.policies.contains_key(id), "{id} is not known");
            }
        }
        for name in profiles {
            assert!(self.profiles.contains_key(name.as_str()), "{name} is not known");
        }
    }

    fn tiers(&self) -> impl Iterator<Item = &EndpointTier> {
        let hosts = self.hosts.values().flat_map(|h| [&h.tiers, &h.untracked, &h.pre_dnat, &h.forward]);
        self.workloads.values().map(|w| &w.tiers).chain(hosts).flatten()
    }

    /// The members of a set, as text.
    pub(crate) fn members(&self, id: &str) -> Vec<String> {
        let (_, members) = self.sets.get(&SetId(id.into())).expect("a known set");
        members.iter().map(text).collect()
    }
}

/// All sets that rules refer to.
pub(crate) fn sets_of(rules: &ActivePolicy) -> BTreeSet<SetId> {
    let sides = rules.ingress.iter().chain(&rules.egress).flat_map(|r| [&r.source, &r.destination]);
    let lists =
        sides.flat_map(|s| [&s.sets, &s.not_sets, &s.named_ports, &s.not_named_ports, &s.addr_port_sets]);
    lists.flatten().cloned().collect()
}

/// As Calico writes members, more or less.
pub(crate) fn text(member: &Member) -> String {
    match member {
        Member::Net(net) => net.to_string(),
        Member::AddrPort(addr, protocol, port) => {
            format!("{addr},{}:{port}", protocol.to_string().to_lowercase())
        }
    }
}

fn net(member: &Member) -> Option<Cidr> {
    match member {
        Member::Net(net) => Some(*net),
        Member::AddrPort(..) => None,
    }
}
