//! What policy says: the reference evaluator over the objects of the lab's datastore.

use crate::lab::Lab;
use tortie_model::convert::{Converter, Diagnostic, Options};
use tortie_policy::{Node, State};
use tortie_store::Entry;

impl Lab {
    /// The evaluator's view of the datastore as it is now.
    pub(crate) async fn truth(&self) -> anyhow::Result<State> {
        let (entries, _) = self.store.records.list("/").await?;
        let mut state = state(&entries);
        for node in &self.nodes {
            state.set_node(node.name(), Some(Node::with_addresses(node.addresses())));
        }
        Ok(state)
    }
}

/// Objects that cannot be used count as absent, as they do for the agents.
fn state(entries: &[Entry]) -> State {
    let mut converter = Converter::new(Options::default());
    let mut state = State::new();
    for entry in entries {
        let (changes, _) = converter.entry(&entry.key, Some(&entry.value));
        for change in changes {
            if let Err(e) = state.apply(&change) {
                tracing::warn!("{}: {e}", entry.key);
            }
        }
    }
    state
}

/// What is wrong with an object that is about to be written.
pub(crate) fn judge(path: &str, object: &serde_json::Value) -> Vec<Diagnostic> {
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
