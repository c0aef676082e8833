//! What policy says: the reference evaluator over the objects of the lab's datastore.

use crate::lab::Lab;
use crate::node::Node;
use crate::run::Cast;
use serde_json::Value;
use std::sync::Arc;
use tortie_model::convert::{Converter, Diagnostic, Options};
use tortie_policy::{Decision, Node as PolicyNode, State};
use tortie_scenario::Probe;
use tortie_store::Entry;

/// The evaluator with its conversion, following writes.
pub(crate) struct Model {
    pub(crate) state: State,
    converter: Converter,
}

impl Model {
    /// What a datastore says.
    pub(crate) fn of(entries: &[Entry], nodes: &[Arc<Node>]) -> Self {
        let mut model = Self { state: State::new(), converter: Converter::new(Options::default()) };
        for node in nodes {
            model.state.set_node(node.name(), Some(PolicyNode::with_addresses(node.addresses())));
        }
        for entry in entries {
            model.take(&entry.key, Some(&entry.value));
        }
        model
    }

    /// Follows a write, or with `None` a deletion.
    pub(crate) fn write(&mut self, path: &str, object: Option<&Value>) {
        let bytes = object.map(|o| o.to_string().into_bytes());
        self.take(path, bytes.as_deref());
    }

    /// Objects that cannot be used count as absent, as they do for the agents.
    fn take(&mut self, path: &str, value: Option<&[u8]>) {
        let (changes, _) = self.converter.entry(path, value);
        for change in changes {
            if let Err(e) = self.state.apply(&change) {
                tracing::warn!("{path}: {e}");
            }
        }
    }
}

impl Lab {
    /// The evaluator's view of the datastore as it is now.
    pub(crate) async fn truth(&self) -> anyhow::Result<State> {
        let (entries, _) = self.store.records.list("/").await?;
        Ok(Model::of(&entries, &self.nodes).state)
    }
}

/// What policy says of a probe.
pub(crate) fn decide(state: &State, cast: &Cast, probe: &Probe) -> Option<Decision> {
    Some(state.evaluate(&cast.packet(probe)?))
}

/// What is wrong with an object that is about to be written.
pub(crate) fn judge(path: &str, object: &Value) -> Vec<Diagnostic> {
    Converter::new(Options::default()).entry(path, Some(object.to_string().as_bytes())).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bad_selector_is_found_before_it_is_written() {
        let policy = |selector: &str| {
            json!({
                "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "p"},
                "spec": {"selector": selector, "types": ["Ingress"]},
            })
        };
        let path = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/p";
        assert!(judge(path, &policy("app == 'web'")).is_empty());
        assert!(judge(path, &policy("app === (")).iter().any(|d| d.fatal));
    }

    #[test]
    fn what_a_lab_starts_with_is_in_order() {
        let plan = crate::fabric::Plan::new(crate::spec::FabricKind::Routed, 3);
        for (path, object) in crate::seed::objects(&plan, &crate::spec::tests::spec()) {
            let found = judge(&path, &object);
            assert!(found.is_empty(), "{found:?}");
        }
    }
}
