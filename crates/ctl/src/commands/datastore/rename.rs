//! Nodes may have other names in Kubernetes than in the datastore that they come from: whatever names a node follows.

use super::file::{IpamPart, Pair};
use crate::client::{metadata_mut, text};
use serde_json::Value;
use std::collections::BTreeMap;
use tortie_model::{Key, Value as ModelValue};

/// Names of nodes: old to new.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeNames(BTreeMap<String, String>);

/// How handles of a node's own addresses begin; the name of the node follows.
const TUNNEL_HANDLES: [&str; 5] = [
    "ipip-tunnel-addr-",
    "vxlan-tunnel-addr-",
    "vxlan-v6-tunnel-addr-",
    "wireguard-tunnel-addr-",
    "wireguard-v6-tunnel-addr-",
];
/// How settings of one node are named.
const OF_NODE: &str = "node.";

impl NodeNames {
    /// Notes the name that a Node has in Kubernetes, and gives it that name. Fails with the node's name if it has none.
    pub(super) fn adopt(&mut self, node: &mut Value) -> Result<(), String> {
        let old = text(node, "/metadata/name").to_owned();
        let references = node.pointer("/spec/orchRefs").and_then(Value::as_array);
        let new = references
            .into_iter()
            .flatten()
            .filter(|reference| text(reference, "/orchestrator") == "k8s")
            .map(|reference| text(reference, "/nodeName").to_owned())
            .rfind(|name| !name.is_empty());
        let Some(new) = new else { return Err(old) };
        metadata_mut(node).insert("name".to_owned(), new.clone().into());
        self.0.insert(old, new);
        Ok(())
    }

    /// Renames settings of one node.
    pub(super) fn settings(&self, object: &mut Value) {
        let new = text(object, "/metadata/name").strip_prefix(OF_NODE).and_then(|node| self.0.get(node));
        if let Some(name) = new.map(|node| format!("{OF_NODE}{node}")) {
            metadata_mut(object).insert("name".to_owned(), name.into());
        }
    }

    /// The pair of a key of address management with new names in key and value; none for another key.
    pub(super) fn pair(&self, key: &Key, value: ModelValue) -> Option<Pair> {
        let (key, value) = match (key.clone(), value) {
            (Key::BlockAffinity { host, affinity_type, cidr }, value) => {
                let host = if affinity_type == "host" { self.of(&host) } else { host };
                (Key::BlockAffinity { host, affinity_type, cidr }, value)
            }
            (Key::IpamHandle(handle), value) => (Key::IpamHandle(self.handle(&handle)), value),
            (key @ Key::Block(_), ModelValue::Block(block)) => {
                let mut block = block.as_ref().clone();
                if let Some(node) = block.affinity.as_deref().and_then(|owner| owner.strip_prefix("host:")) {
                    block.affinity = Some(format!("host:{}", self.of(node)));
                }
                for attribute in &mut block.attributes {
                    attribute.handle_id = attribute.handle_id.as_deref().map(|handle| self.handle(handle));
                    for owner in [&mut attribute.active_owner_attrs, &mut attribute.alternate_owner_attrs] {
                        if let Some(node) = owner.get("node").map(|node| self.of(node)) {
                            owner.insert("node".into(), node);
                        }
                    }
                }
                (key, ModelValue::Block(block.into()))
            }
            other => other,
        };
        Some(Pair { key: key.to_path()?, value: value.to_json(), ttl: 0 })
    }

    fn of(&self, node: &str) -> String {
        self.0.get(node).map_or(node, String::as_str).to_owned()
    }

    fn handle(&self, handle: &str) -> String {
        let tunnel = TUNNEL_HANDLES.iter().find_map(|prefix| Some((prefix, handle.strip_prefix(prefix)?)));
        tunnel.map_or_else(|| handle.to_owned(), |(prefix, node)| format!("{prefix}{}", self.of(node)))
    }
}

impl IpamPart {
    /// Adds a pair where it belongs.
    pub(super) fn add(&mut self, key: &Key, pair: Pair) {
        match key {
            Key::BlockAffinity { .. } => self.block_affinities.push(pair),
            Key::Block(_) => self.blocks.push(pair),
            Key::IpamHandle(_) => self.handles.push(pair),
            Key::IpamConfig => self.config = Some(pair),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names() -> NodeNames {
        let mut names = NodeNames::default();
        let mut node = json!({"metadata": {"name": "old"}, "spec": {"orchRefs": [
            {"orchestrator": "mesos", "nodeName": "x"}, {"orchestrator": "k8s", "nodeName": "new"},
        ]}});
        names.adopt(&mut node).unwrap();
        assert_eq!(text(&node, "/metadata/name"), "new");
        names
    }

    #[test]
    fn a_node_needs_a_name_in_kubernetes() {
        let mut node = json!({"metadata": {"name": "a"}, "spec": {"orchRefs": [{"orchestrator": "x", "nodeName": "b"}]}});
        assert_eq!(NodeNames::default().adopt(&mut node), Err("a".to_owned()));
    }

    #[test]
    fn settings_follow_their_node() {
        for (name, expected) in
            [("node.old", "node.new"), ("node.other", "node.other"), ("default", "default")]
        {
            let mut object = json!({"metadata": {"name": name}});
            names().settings(&mut object);
            assert_eq!(text(&object, "/metadata/name"), expected);
        }
    }

    #[test]
    fn addresses_follow_their_node() {
        let pair = |key: &str, value: Value| {
            let key = Key::from_path(key).unwrap();
            names().pair(&key, ModelValue::parse(&key, value.to_string().as_bytes()).unwrap()).unwrap()
        };
        let affinity = pair("/calico/ipam/v2/host/old/ipv4/block/10.0.0.0-30", json!({"state": "confirmed"}));
        assert_eq!(affinity.key, "/calico/ipam/v2/host/new/ipv4/block/10.0.0.0-30");
        let virtual_owner = "/calico/ipam/v2/virtual/old/ipv4/block/10.0.0.0-30";
        assert_eq!(pair(virtual_owner, json!({"state": "confirmed"})).key, virtual_owner);
        let handle =
            pair("/calico/ipam/v2/handle/vxlan-v6-tunnel-addr-old", json!({"block": {}, "deleted": false}));
        assert_eq!(handle.key, "/calico/ipam/v2/handle/vxlan-v6-tunnel-addr-new");
        let block = pair(
            "/calico/ipam/v2/assignment/ipv6/block/fd00::-126",
            json!({
                "cidr": "fd00::/126", "affinity": "host:old", "allocations": [0, null, null, null], "unallocated": [1, 2, 3],
                "attributes": [{"handle_id": "ipip-tunnel-addr-old", "secondary": {"node": "old", "type": "t"}}],
            }),
        );
        assert_eq!(block.value["affinity"], json!("host:new"));
        assert_eq!(
            block.value["attributes"],
            json!([{"handle_id": "ipip-tunnel-addr-new", "secondary": {"node": "new", "type": "t"}}])
        );
    }
}
