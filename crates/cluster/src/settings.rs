//! The settings of one node, collected from everything that may set them.

use std::collections::BTreeMap;
use std::sync::Arc;
use tortie_felix_config::{Config, Host, Problem, Source, Sources};
use tortie_model::convert::Problems;
use tortie_model::convert::v3::felix_parameters;
use tortie_model::{Change, Key, ResourceKey, Value};
use tortie_selector::Selector;

/// The settings that a node sees: its environment and file, the cluster's FelixConfigurations, its Node and the
/// ClusterInformation.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    node: String,
    /// Environment and file.
    local: Sources,
    cluster: BTreeMap<String, String>,
    host: BTreeMap<String, String>,
    selecting: BTreeMap<String, Selecting>,
    labels: Option<BTreeMap<String, String>>,
    ready: Option<bool>,
    changed: bool,
}

/// A FelixConfiguration that picks its nodes.
#[derive(Clone, Debug, PartialEq)]
struct Selecting {
    selector: Option<Selector>,
    created: String,
    settings: BTreeMap<String, String>,
}

impl NodeSettings {
    /// With what is known without a datastore.
    pub fn new(node: &str, local: Sources) -> Self {
        Self {
            node: node.to_owned(),
            local,
            cluster: BTreeMap::new(),
            host: BTreeMap::new(),
            selecting: BTreeMap::new(),
            labels: None,
            ready: None,
            changed: true,
        }
    }

    /// Whether an object at this path may say something about settings.
    pub fn reads(path: &str) -> bool {
        let kinds = ["FelixConfiguration", "ClusterInformation", "Node"];
        tortie_api::v3::parse_path(path).is_some_and(|(kind, ..)| kinds.contains(&kind.kind))
    }

    /// Forgets what the datastore said, before all of it is told again.
    pub fn clear(&mut self) {
        *self = Self::new(&self.node, self.local.clone());
    }

    /// Takes a change of the datastore, if it is about settings.
    pub fn on_change(&mut self, change: &Change) {
        let text = match &change.value {
            Some(Value::Config(text)) => Some(text.clone()),
            _ => None,
        };
        match &change.key {
            Key::GlobalConfig(name) => self.changed |= set(&mut self.cluster, name, text),
            Key::HostConfig { host, name } if *host == self.node => {
                self.changed |= set(&mut self.host, name, text);
            }
            Key::ReadyFlag => {
                let ready = match change.value {
                    Some(Value::Ready(ready)) => Some(ready),
                    _ => None,
                };
                self.changed |= std::mem::replace(&mut self.ready, ready) != ready;
            }
            Key::Resource(ResourceKey { kind, name, .. }) => {
                let object = match &change.value {
                    Some(Value::Resource(object)) => Some(object),
                    _ => None,
                };
                match kind.as_str() {
                    "Node" if *name == self.node => self.take_labels(object),
                    "FelixConfiguration" => self.take_selecting(name, object),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn take_labels(&mut self, node: Option<&Arc<serde_json::Value>>) {
        let labels = node.map(|node| {
            let labels = node.pointer("/metadata/labels").and_then(serde_json::Value::as_object);
            labels
                .into_iter()
                .flatten()
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                .collect()
        });
        if self.labels != labels {
            self.labels = labels;
            self.changed |= !self.selecting.is_empty();
        }
    }

    fn take_selecting(&mut self, name: &str, object: Option<&Arc<serde_json::Value>>) {
        let parsed = object.and_then(|object| {
            let object: tortie_api::v3::FelixConfiguration =
                serde_json::from_value(object.as_ref().clone()).ok()?;
            let selector = object.spec.0.get("nodeSelector").and_then(serde_json::Value::as_str);
            // The owner of a broken object learns of it from the conversion's problems.
            let settings = felix_parameters(&object.spec, &object.metadata.annotations, &mut Problems::new());
            Some(Selecting {
                selector: selector.filter(|s| !s.is_empty()).and_then(|s| Selector::parse(s).ok()),
                created: object.metadata.creation_timestamp.clone().unwrap_or_default(),
                settings,
            })
        });
        self.changed |= match parsed {
            Some(parsed) => self.selecting.insert(name.to_owned(), parsed.clone()).as_ref() != Some(&parsed),
            None => self.selecting.remove(name).is_some(),
        };
    }

    /// Whether anything changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// False while ClusterInformation says that nobody may use the datastore.
    pub fn is_ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// The version of Calico that the cluster has, empty if unknown.
    pub fn cluster_version(&self) -> &str {
        self.cluster.get("CalicoVersion").map_or("", String::as_str)
    }

    /// What is in force, and what is wrong.
    pub fn resolve(&self, host: &dyn Host) -> (Config, Vec<Problem>) {
        let mut sources = self.local.clone();
        sources.set(Source::DatastoreGlobal, self.cluster.clone());
        sources.set(Source::DatastorePerHost, self.host.clone());
        sources.set(Source::DatastorePerSelector, self.selected().cloned().unwrap_or_default());
        Config::resolve(&sources, host)
    }

    /// Of the FelixConfigurations that pick this node the oldest, so that a new one breaks nothing that works.
    fn selected(&self) -> Option<&BTreeMap<String, String>> {
        let labels = self.labels.as_ref()?;
        let picks = |s: &&Selecting| s.selector.as_ref().is_some_and(|selector| selector.evaluate(labels));
        let oldest = |(name, s): &(&String, &Selecting)| (s.created.clone(), (*name).clone());
        let found = self.selecting.iter().filter(|(_, s)| picks(s)).min_by_key(oldest);
        found.map(|(_, s)| &s.settings)
    }
}

/// Sets or removes; answers whether that made a difference.
fn set(map: &mut BTreeMap<String, String>, name: &str, text: Option<String>) -> bool {
    match text {
        Some(text) => map.insert(name.to_owned(), text.clone()).as_ref() != Some(&text),
        None => map.remove(name).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tortie_model::convert::{Converter, Options};

    struct Here;

    impl Host for Here {
        fn name(&self) -> String {
            "n1".to_owned()
        }

        fn exists(&self, _: &str) -> bool {
            false
        }

        fn find_program(&self, name: &str) -> Option<String> {
            Some(name.to_owned())
        }
    }

    struct Cluster {
        converter: Converter,
        settings: NodeSettings,
    }

    impl Cluster {
        fn new(environment: &[(&str, &str)]) -> Self {
            let mut local = Sources::new();
            let owned = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            local.set(Source::Environment, owned);
            Self { converter: Converter::new(Options::default()), settings: NodeSettings::new("n1", local) }
        }

        fn put(&mut self, kind: &str, name: &str, object: Option<serde_json::Value>) {
            let path = tortie_api::v3::by_kind(kind).unwrap().path("", name);
            let bytes = object.map(|o| serde_json::to_vec(&o).unwrap());
            for change in self.converter.entry(&path, bytes.as_deref()).0 {
                self.settings.on_change(&change);
            }
        }

        fn health_port(&self) -> (i64, Source) {
            let config = self.settings.resolve(&Here).0;
            (config.health_port(), config.get("HealthPort").unwrap().source)
        }
    }

    fn port(port: i64) -> Option<serde_json::Value> {
        Some(json!({"spec": {"healthPort": port}}))
    }

    #[test]
    fn the_strongest_source_wins_and_its_end_brings_the_next_back() {
        let mut cluster = Cluster::new(&[]);
        assert!(cluster.settings.take_changed());
        assert_eq!(cluster.health_port(), (9099, Source::Default));
        cluster.put("FelixConfiguration", "default", port(1));
        assert_eq!(cluster.health_port(), (1, Source::DatastoreGlobal));
        let selecting = |port: i64, created: &str| {
            Some(json!({
                "metadata": {"name": "x", "creationTimestamp": created},
                "spec": {"healthPort": port, "nodeSelector": "zone == 'a'"},
            }))
        };
        cluster.put("FelixConfiguration", "zone-a", selecting(2, "2026-01-02T00:00:00Z"));
        assert_eq!(cluster.health_port(), (1, Source::DatastoreGlobal), "the node has no labels yet");
        cluster.put("Node", "n1", Some(json!({"metadata": {"labels": {"zone": "a"}}, "spec": {}})));
        assert_eq!(cluster.health_port(), (2, Source::DatastorePerSelector));
        cluster.put("FelixConfiguration", "older", selecting(3, "2025-01-02T00:00:00Z"));
        assert_eq!(cluster.health_port(), (3, Source::DatastorePerSelector));
        cluster.put("FelixConfiguration", "node.n1", port(4));
        cluster.put("FelixConfiguration", "node.n2", port(99));
        assert_eq!(cluster.health_port(), (4, Source::DatastorePerHost));
        assert!(cluster.settings.take_changed());
        cluster.put("FelixConfiguration", "node.n1", port(4));
        assert!(!cluster.settings.take_changed(), "nothing new");
        cluster.put("FelixConfiguration", "node.n1", None);
        cluster.put("FelixConfiguration", "older", None);
        assert_eq!(cluster.health_port(), (2, Source::DatastorePerSelector));
        cluster.put("Node", "n1", Some(json!({"metadata": {"labels": {"zone": "b"}}, "spec": {}})));
        assert_eq!(cluster.health_port(), (1, Source::DatastoreGlobal));
        let mut local = Cluster::new(&[("healthport", "7")]);
        local.put("FelixConfiguration", "default", port(1));
        assert_eq!(local.health_port(), (7, Source::Environment));
    }

    #[test]
    fn the_ready_flag_is_ready_unless_it_says_no() {
        let mut cluster = Cluster::new(&[]);
        assert!(cluster.settings.is_ready());
        for (said, ready) in [(json!(false), false), (json!(true), true), (json!(null), true)] {
            let object = json!({"spec": {"datastoreReady": said, "calicoVersion": "v9"}});
            cluster.put("ClusterInformation", "default", Some(object));
            assert_eq!(cluster.settings.is_ready(), ready);
        }
        assert_eq!(cluster.settings.cluster_version(), "v9");
        cluster.settings.clear();
        assert_eq!(cluster.settings.cluster_version(), "");
    }
}
