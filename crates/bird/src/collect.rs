//! Input put together from objects as they come and go.

use crate::{Configuration, Filter, Input, Node, Peer, Problem};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use tortie_api::meta::Object;
use tortie_api::v3::{BgpConfigurationSpec, BgpFilterSpec, BgpPeerSpec, NodeSpec};

/// Prefix of the name of a configuration for one node.
const NODE_CONFIGURATION: &str = "node.";

/// An [`Input`] that follows projectcalico.org/v3 objects. Pools, blocks, service addresses and secrets are set in the
/// input itself: they are of other origins.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    /// The input so far.
    pub input: Input,
    configurations: BTreeMap<String, BgpConfigurationSpec>,
    problems: BTreeMap<(String, String), Vec<Problem>>,
}

impl Collector {
    /// Collects for a node.
    pub fn new(node: &str) -> Self {
        Self { input: Input { node: node.to_owned(), ..Input::default() }, ..Self::default() }
    }

    /// Takes an object, or takes it away; other kinds than `Node`, `BGPPeer`, `BGPFilter` and `BGPConfiguration` do not
    /// matter. True if the input is another now.
    pub fn update(&mut self, kind: &str, name: &str, object: Option<&Value>) -> bool {
        let mut problems = Vec::new();
        let changed = match kind {
            "Node" => {
                let object = read::<NodeSpec>(object, &mut problems);
                let node = object.map(|o| noted(Node::from_v3(&o), &mut problems));
                let mut changed = replace(&mut self.input.nodes, name, node);
                changed |= self.set_ports();
                changed
            }
            "BGPPeer" => {
                let object = read::<BgpPeerSpec>(object, &mut problems);
                let peer = object.and_then(|o| match Peer::from_v3(&o.spec) {
                    Ok(found) => Some(noted(found, &mut problems)),
                    Err(error) => {
                        problems.push(error.to_string());
                        None
                    }
                });
                replace(&mut self.input.peers, name, peer)
            }
            "BGPFilter" => {
                let is_gone = object.is_none();
                let filter = read::<BgpFilterSpec>(object, &mut problems)
                    .map(|o| noted(Filter::from_v3(&o.spec), &mut problems))
                    .or_else(|| (!is_gone).then(Filter::reject_all));
                replace(&mut self.input.filters, name, filter)
            }
            "BGPConfiguration" => {
                let object = read::<BgpConfigurationSpec>(object, &mut problems);
                replace(&mut self.configurations, name, object.map(|o| o.spec))
                    && self.configure(&mut problems)
            }
            _ => return false,
        };
        let key = (kind.to_owned(), name.to_owned());
        let named = |reason| Problem { object: format!("{kind} {name}"), reason };
        self.problems.insert(key, problems.into_iter().map(named).collect());
        changed
    }

    /// What of the objects is ignored. What the input as a whole lacks is told by [`crate::render`].
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    fn configure(&mut self, problems: &mut Vec<String>) -> bool {
        let own = format!("{NODE_CONFIGURATION}{}", self.input.node);
        let (default, node) = (self.configurations.get("default"), self.configurations.get(&own));
        let found = noted(Configuration::from_v3(default, node), problems);
        let mut changed = found != self.input.configuration;
        self.input.configuration = found;
        changed |= self.set_ports();
        changed
    }

    /// Nodes listen where their own configuration says.
    fn set_ports(&mut self) -> bool {
        let mut changed = false;
        for (name, node) in &mut self.input.nodes {
            let own = self.configurations.get(&format!("{NODE_CONFIGURATION}{name}"));
            let port = own.map(|c| c.listen_port).filter(|p| *p != 0);
            changed |= node.listen_port != port;
            node.listen_port = port;
        }
        changed
    }
}

/// An object in typed form; one that cannot be read is as none.
fn read<S: DeserializeOwned + Default>(
    object: Option<&Value>,
    problems: &mut Vec<String>,
) -> Option<Object<S>> {
    let parsed = serde_json::from_value(object?.clone());
    parsed.map_err(|e| problems.push(format!("cannot be read: {e}"))).ok()
}

fn noted<T>((value, errors): (T, Vec<crate::FieldError>), problems: &mut Vec<String>) -> T {
    problems.extend(errors.iter().map(ToString::to_string));
    value
}

/// Sets or removes an entry; true if that changed anything.
fn replace<T: PartialEq>(map: &mut BTreeMap<String, T>, name: &str, value: Option<T>) -> bool {
    match value {
        Some(value) if map.get(name) == Some(&value) => false,
        Some(value) => {
            map.insert(name.to_owned(), value);
            true
        }
        None => map.remove(name).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_come_change_and_go() {
        let mut collector = Collector::new("n1");
        let node =
            json!({"metadata": {"labels": {"rack": "a"}}, "spec": {"bgp": {"ipv4Address": "10.0.0.1/24"}}});
        assert!(collector.update("Node", "n1", Some(&node)));
        assert!(!collector.update("Node", "n1", Some(&node)));
        assert!(!collector.update("Pod", "p", Some(&node)));
        assert!(collector.update(
            "BGPPeer",
            "p",
            Some(&json!({"spec": {"peerIP": "10.0.0.9", "asNumber": 65001}}))
        ));
        assert!(collector.update(
            "BGPFilter",
            "f",
            Some(&json!({"spec": {"importV4": [{"action": "Accept"}]}}))
        ));
        assert_eq!(collector.problems().count(), 0);
        assert_eq!(collector.input.own().ipv4, Some([10, 0, 0, 1].into()));
        for (kind, name) in [("Node", "n1"), ("BGPPeer", "p"), ("BGPFilter", "f")] {
            assert!(collector.update(kind, name, None));
            assert!(!collector.update(kind, name, None));
        }
        assert_eq!(collector.input, Input { node: "n1".into(), ..Input::default() });
    }

    #[test]
    fn configurations_of_cluster_and_nodes() {
        let mut collector = Collector::new("n1");
        let own = json!({"spec": {"listenPort": 1790, "logSeverityScreen": "Debug"}});
        collector.update("BGPConfiguration", "node.n2", Some(&own));
        assert!(collector.update("Node", "n2", Some(&json!({"spec": {}}))));
        assert_eq!(collector.input.nodes["n2"].listen_port, Some(1790));
        assert!(collector.update("BGPConfiguration", "default", Some(&json!({"spec": {"asNumber": 65000}}))));
        assert_eq!(collector.input.configuration.as_number, 65000);
        assert!(!collector.update("BGPConfiguration", "other", Some(&json!({"spec": {"asNumber": 65001}}))));
        assert!(collector.update("BGPConfiguration", "node.n2", None));
        assert_eq!(collector.input.nodes["n2"].listen_port, None);
        assert!(collector.update("BGPConfiguration", "default", None));
        assert_eq!(collector.input.configuration, Configuration::default());
    }

    #[test]
    fn what_cannot_be_used_is_reported_and_closed() {
        let mut collector = Collector::new("n1");
        collector.update("BGPPeer", "p", Some(&json!({"spec": {"peerIP": "10.0.0.9"}})));
        assert!(collector.update("BGPPeer", "p", Some(&json!({"spec": {"peerIP": "tor"}}))));
        assert!(collector.input.peers.is_empty());
        assert!(collector.update("BGPFilter", "f", Some(&json!({"spec": {"importV4": 7}}))));
        assert_eq!(collector.input.filters["f"], Filter::reject_all());
        let problems: Vec<String> = collector.problems().map(ToString::to_string).collect();
        assert!(problems[0].starts_with("BGPFilter f: cannot be read: "), "{problems:?}");
        assert_eq!(
            problems[1],
            "BGPPeer p: spec.peerIP: \"tor\" is no address, with a port perhaps; the peering is left out"
        );
        collector.update("BGPPeer", "p", None);
        collector.update("BGPFilter", "f", None);
        assert_eq!(collector.problems().count(), 0);
    }
}
