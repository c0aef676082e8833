//! The calculation: model changes in, ordered dataplane updates out. Pure; no clock, no I/O.
//!
//! ```text
//!   Change ──► items, labels, slices ──► sets and their members ─────────┐
//!         └──► local endpoints x policy selectors ──► active policies ───┼──► flush ──► Vec<Update>
//!              profiles in use ──► active profiles ── rules use sets ────┤
//!              tiers, orders ──► policies of each endpoint, in order ────┘
//! ```
//!
//! * Output depends on the current state alone, never on the path that led to it.
//! * Changes are taken in at a cost proportional to what they affect, and only noted; [`Calc::flush`] works out what a
//!   dataplane must be told, so that any number of changes between two flushes costs one update per object.
//! * Nothing is told before the datastore has been read completely: half of the policies is not a policy.
//! * What is missing or broken fails closed, for its own object only, and is reported by [`Calc::diagnostics`].

mod convert;
mod diagnostic;
pub mod fabric;
mod keyed;
mod lean;
mod local;
mod members;
mod services;
mod sets;
mod told;
pub mod update;
mod view;

pub use diagnostic::{Diagnostic, Direction, Part, Problem, RuleProblem, Subject};
pub use update::Update;
pub use view::{AppliedPolicy, AppliedTier, Counts, EndpointId, Stage};

use local::Local;
use services::Slice;
use sets::{Definition, Item, Sets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tortie_model::value::{HostEndpoint, IpPool, NetworkSet, StringMap, WorkloadEndpoint};
use tortie_model::{Change, Key, Value};
use tortie_net::{Cidr, Family};
use tortie_selector::Selector;

/// Settings that are fixed for the life of a calculation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalcConfig {
    /// Name of this node: its endpoints are the local ones.
    pub node: String,
    /// Also tell staged policies, and list them among the policies of endpoints. They must not be enforced: who asks
    /// for them looks at the kind, and treats a tier that has no others as passing.
    pub staged: bool,
    /// Where the labels of profiles are read.
    pub profile_labels: ProfileLabels,
    /// Tell the set [`ISTIO_WORKLOADS`].
    pub istio_ambient: bool,
}

/// The set of the addresses of all workloads in Istio's ambient mesh.
pub const ISTIO_WORKLOADS: &str = "all-istio-weps";

/// Pods that are in the mesh by their own label, or by their namespace's and not out of it by their own. Network sets
/// of such namespaces have no orchestrator.
const IN_ISTIO: &str = "projectcalico.org/orchestrator == 'k8s' && (pcns.istio.io/dataplane-mode == 'ambient' \
     && istio.io/dataplane-mode != 'none' || istio.io/dataplane-mode == 'ambient')";

/// Where the labels that a profile gives to its endpoints are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileLabels {
    /// [`Key::ProfileLabels`].
    #[default]
    Key,
    /// `spec.labelsToApply` of the Profile resource.
    Resource,
}

/// The calculation of one node.
#[derive(Debug)]
pub struct Calc {
    config: CalcConfig,
    sets: Sets,
    local: Local,
    pools: Pools,
    wrong_types: BTreeSet<Key>,
    in_sync: bool,
    told_in_sync: bool,
}

#[derive(Debug, Default)]
struct Pools {
    now: BTreeMap<Cidr, Arc<IpPool>>,
    told: BTreeMap<Cidr, Arc<IpPool>>,
    dirty: BTreeSet<Cidr>,
}

impl Calc {
    /// A calculation that knows nothing yet.
    pub fn new(config: CalcConfig) -> Self {
        let mut sets = Sets::default();
        if config.istio_ambient
            && let Ok(selector) = Selector::parse(IN_ISTIO)
        {
            sets.acquire(Definition::Fixed { name: ISTIO_WORKLOADS, selector });
        }
        Self {
            local: Local::new(config.staged),
            config,
            sets,
            pools: Pools::default(),
            wrong_types: BTreeSet::new(),
            in_sync: false,
            told_in_sync: false,
        }
    }

    /// Takes in a change. Repeated, coalesced, reordered and needless ones are all right.
    pub fn on_change(&mut self, change: Change) {
        let Change { key, value } = change;
        let broken = match (&key, &value) {
            (_, None) => false,
            (Key::WorkloadEndpoint(_), Some(Value::WorkloadEndpoint(_)))
            | (Key::HostEndpoint { .. }, Some(Value::HostEndpoint(_)))
            | (Key::Policy(_), Some(Value::Policy(_)))
            | (Key::Tier(_), Some(Value::Tier(_)))
            | (Key::ProfileRules(_), Some(Value::ProfileRules(_)))
            | (Key::ProfileLabels(_), Some(Value::ProfileLabels(_)))
            | (Key::NetworkSet(_), Some(Value::NetworkSet(_)))
            | (Key::IpPool(_), Some(Value::IpPool(_)))
            | (Key::Resource(_), Some(Value::Resource(_))) => false,
            (
                Key::WorkloadEndpoint(_)
                | Key::HostEndpoint { .. }
                | Key::Policy(_)
                | Key::Tier(_)
                | Key::ProfileRules(_)
                | Key::ProfileLabels(_)
                | Key::NetworkSet(_)
                | Key::IpPool(_)
                | Key::Resource(_),
                Some(_),
            ) => true,
            _ => return,
        };
        if broken {
            self.wrong_types.insert(key.clone());
        } else {
            self.wrong_types.remove(&key);
        }
        self.dispatch(key, value.filter(|_| !broken));
    }

    /// The datastore has been read completely.
    pub fn on_in_sync(&mut self) {
        self.in_sync = true;
    }

    /// Tells what has changed since the last flush, in an order that is safe to apply (see [`update`]).
    ///
    /// Tells nothing before [`Calc::on_in_sync`]; the first flush after it ends with [`Update::InSync`].
    pub fn flush(&mut self, out: &mut Vec<Update>) {
        if !self.in_sync {
            return;
        }
        self.pools.flush_changes(out);
        let rules = self.local.flush_rules(&mut self.sets);
        self.sets.flush_changes(out);
        out.extend(rules.changes);
        let removed_endpoints = self.local.flush_endpoints(out);
        out.extend(removed_endpoints);
        out.extend(rules.removals);
        self.sets.flush_removals(out);
        self.pools.flush_removals(out);
        if !self.told_in_sync {
            self.told_in_sync = true;
            out.push(Update::InSync);
        }
    }

    /// What is wrong with the objects known now, sorted by object. Problems of a policy's rules are known from the
    /// flush that makes it active.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all: Vec<_> = self.local.diagnostics().collect();
        all.extend(
            self.wrong_types
                .iter()
                .map(|key| Diagnostic { subject: Subject::Key(key.clone()), problem: Problem::WrongType }),
        );
        all.sort_by(|a, b| a.subject.cmp(&b.subject));
        all
    }

    fn dispatch(&mut self, key: Key, value: Option<Value>) {
        match (key, value) {
            (Key::WorkloadEndpoint(id), value) => {
                let endpoint = match value {
                    Some(Value::WorkloadEndpoint(endpoint)) => Some(endpoint),
                    _ => None,
                };
                let item_key =
                    format!("w\n{}\n{}\n{}\n{}", id.host, id.orchestrator, id.workload, id.endpoint);
                match &endpoint {
                    Some(e) => self.sets.set_item(workload_item(item_key, e), &e.labels, &e.profile_ids),
                    None => self.sets.remove_item(&item_key),
                }
                if id.host == self.config.node {
                    self.local.set_workload(id, endpoint, &self.sets);
                }
            }
            (Key::HostEndpoint { host, id }, value) => {
                let endpoint = match value {
                    Some(Value::HostEndpoint(endpoint)) => Some(endpoint),
                    _ => None,
                };
                let item_key = format!("h\n{host}\n{id}");
                match &endpoint {
                    Some(e) => self.sets.set_item(host_item(item_key, e), &e.labels, &e.profile_ids),
                    None => self.sets.remove_item(&item_key),
                }
                if host == self.config.node {
                    self.local.set_host(id, endpoint, &self.sets);
                }
            }
            (Key::NetworkSet(name), value) => {
                let item_key = format!("n\n{name}");
                match value {
                    Some(Value::NetworkSet(s)) => {
                        self.sets.set_item(network_set_item(item_key, &s), &s.labels, &s.profile_ids);
                    }
                    _ => self.sets.remove_item(&item_key),
                }
            }
            (Key::Policy(id), Some(Value::Policy(policy))) => self.local.set_policy(&id, Some(&policy)),
            (Key::Policy(id), _) => self.local.set_policy(&id, None),
            (Key::Tier(name), Some(Value::Tier(tier))) => self.local.set_tier(&name, Some(tier)),
            (Key::Tier(name), _) => self.local.set_tier(&name, None),
            (Key::ProfileRules(name), Some(Value::ProfileRules(rules))) => {
                self.local.set_profile(&name, Some(&rules));
            }
            (Key::ProfileRules(name), _) => self.local.set_profile(&name, None),
            (Key::ProfileLabels(name), value) if self.config.profile_labels == ProfileLabels::Key => {
                match value {
                    Some(Value::ProfileLabels(labels)) => self.set_profile_labels(&name, &labels),
                    _ => self.set_profile_labels(&name, &StringMap::new()),
                }
            }
            (Key::IpPool(cidr), Some(Value::IpPool(pool))) => self.pools.set(cidr, Some(pool)),
            (Key::IpPool(cidr), _) => self.pools.set(cidr, None),
            (Key::Resource(key), value) => {
                let object = match &value {
                    Some(Value::Resource(object)) => Some(&**object),
                    _ => None,
                };
                match key.kind.as_str() {
                    "KubernetesEndpointSlice" | "EndpointSlice" => {
                        let slice = object.map(|object| Slice::read(&key.namespace, object));
                        self.sets.set_slice(&format!("{}/{}", key.namespace, key.name), slice);
                    }
                    "Profile" if self.config.profile_labels == ProfileLabels::Resource => {
                        let labels = object.map(labels_to_apply).unwrap_or_default();
                        self.set_profile_labels(&key.name, &labels);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn set_profile_labels(&mut self, name: &str, labels: &StringMap) {
        // The order matters not: who starts to use a profile later takes the labels from the sets.
        self.sets.set_parent(name, labels);
        self.local.set_parent(name, labels);
    }
}

impl Pools {
    fn set(&mut self, cidr: Cidr, pool: Option<Arc<IpPool>>) {
        match pool {
            Some(pool) => self.now.insert(cidr, pool),
            None => self.now.remove(&cidr),
        };
        self.dirty.insert(cidr);
    }

    fn flush_changes(&mut self, out: &mut Vec<Update>) {
        for cidr in &self.dirty {
            if let Some(pool) = self.now.get(cidr)
                && self.told.get(cidr) != Some(pool)
            {
                self.told.insert(*cidr, pool.clone());
                out.push(Update::Pool(pool.clone()));
            }
        }
    }

    fn flush_removals(&mut self, out: &mut Vec<Update>) {
        for cidr in std::mem::take(&mut self.dirty) {
            if !self.now.contains_key(&cidr) && self.told.remove(&cidr).is_some() {
                out.push(Update::PoolRemove(cidr));
            }
        }
    }
}

/// Addresses only: a workload does not own the rest of its prefix.
fn workload_item(key: String, endpoint: &WorkloadEndpoint) -> Item {
    let nets = endpoint.nets().map(|net| Cidr::host(net.addr())).collect();
    Item { key: key.into(), nets, ports: endpoint.ports.clone().into() }
}

fn host_item(key: String, endpoint: &HostEndpoint) -> Item {
    let addresses = endpoint.expected_ipv4_addrs.iter().chain(&endpoint.expected_ipv6_addrs);
    let nets = addresses.map(|&addr| Cidr::host(addr)).collect();
    Item { key: key.into(), nets, ports: endpoint.ports.clone().into() }
}

/// Kernel intervals cannot express a /0, so it becomes its two halves.
fn network_set_item(key: String, set: &NetworkSet) -> Item {
    let nets = set.nets.iter().flat_map(|&net| match net.is_any().then(|| halves(net.family())) {
        Some(halves) => halves.into_iter().flatten().collect::<Vec<_>>(),
        None => vec![net],
    });
    Item { key: key.into(), nets: nets.collect(), ports: Box::default() }
}

fn halves(family: Family) -> [Option<Cidr>; 2] {
    let any = Cidr::any(family);
    [Cidr::new(any.addr(), 1), Cidr::new(any.last(), 1)]
}

fn labels_to_apply(profile: &serde_json::Value) -> StringMap {
    let labels = profile.pointer("/spec/labelsToApply").and_then(serde_json::Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}
