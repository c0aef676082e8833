//! Roles of this node's workloads in live migrations.

use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tortie_model::value::{StringMap, WorkloadEndpoint};
use tortie_model::{Change, Key, ResourceKey, Value, WorkloadId};
use tortie_selector::Selector;

/// All there is to know about migrations now.
#[derive(Default)]
pub(super) struct Migrations {
    node: String,
    workloads: BTreeMap<WorkloadId, Arc<WorkloadEndpoint>>,
    migrations: BTreeMap<ResourceKey, Arc<Json>>,
    profiles: BTreeMap<String, StringMap>,
}

impl Migrations {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), ..Self::default() }
    }

    /// Takes in a change.
    pub(super) fn on_change(&mut self, change: &Change) {
        match (&change.key, &change.value) {
            (Key::WorkloadEndpoint(id), Some(Value::WorkloadEndpoint(endpoint))) if id.host == self.node => {
                self.workloads.insert(id.clone(), endpoint.clone());
            }
            (Key::WorkloadEndpoint(id), _) => {
                self.workloads.remove(id);
            }
            (Key::Resource(key), Some(Value::Resource(object))) if key.kind == "LiveMigration" => {
                self.migrations.insert(key.clone(), object.clone());
            }
            (Key::Resource(key), _) if key.kind == "LiveMigration" => {
                self.migrations.remove(key);
            }
            (Key::Resource(key), Some(Value::Resource(object))) if key.kind == "Profile" => {
                self.profiles.insert(key.name.clone(), labels(object));
            }
            (Key::Resource(key), _) if key.kind == "Profile" => {
                self.profiles.remove(&key.name);
            }
            _ => {}
        }
    }

    /// The role of each workload that has one. A target is no source.
    pub(super) fn roles(&self) -> BTreeMap<String, &'static str> {
        let (mut targets, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for migration in self.migrations.values() {
            let part = |pointer: &str| migration.pointer(pointer).filter(|p| !p.is_null());
            let source = match part("/spec/source/workload") {
                Some(workload) => Some((workload, false)),
                None => part("/spec/source/workloadEndpoint").map(|endpoint| (endpoint, true)),
            };
            let target = part("/spec/target/workloadEndpoint");
            let selector = part("/spec/target/selector").and_then(Json::as_str).filter(|s| !s.is_empty());
            let selector = selector.and_then(|s| Selector::parse(s).ok());
            for (id, endpoint) in &self.workloads {
                if source.is_some_and(|(named, whole)| names(named, id, whole)) {
                    sources.insert(id);
                }
                let selected = selector.as_ref().is_some_and(|s| s.evaluate(&self.labels_of(endpoint)));
                if selected || target.is_some_and(|named| names(named, id, true)) {
                    targets.insert(id);
                }
            }
        }
        let sources = sources.into_iter().map(|id| (id.to_string(), "SOURCE"));
        sources.chain(targets.into_iter().map(|id| (id.to_string(), "TARGET"))).collect()
    }

    /// Own labels, and those inherited from profiles; the first to have a label counts.
    fn labels_of(&self, endpoint: &WorkloadEndpoint) -> StringMap {
        let mut labels = endpoint.labels.clone();
        for inherited in endpoint.profile_ids.iter().filter_map(|name| self.profiles.get(name)) {
            for (key, value) in inherited {
                labels.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        labels
    }
}

fn labels(profile: &Json) -> StringMap {
    let pairs = profile.pointer("/spec/labelsToApply").and_then(Json::as_object).into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// True if an identifier names a workload. A pod moves between nodes, so its node does not count. `whole` says that the
/// identifier can name one endpoint of it.
fn names(named: &Json, id: &WorkloadId, whole: bool) -> bool {
    let text = |field: &str| named.get(field).and_then(Json::as_str).unwrap_or_default();
    let endpoint = if whole { text("endpointID") } else { "" };
    text("orchestratorID") == id.orchestrator
        && text("workloadID") == id.workload
        && (endpoint.is_empty() || endpoint == id.endpoint)
        && (id.orchestrator == "k8s" || text("hostname") == id.host)
}
