//! What BGP depends on, collected from the model, and BIRD's configuration made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tortie_bird::{Collector, Encapsulation, Node, Pool};
use tortie_model::value::IpPool;
use tortie_model::{Change, Key, Value};
use tortie_net::Cidr;

/// The collected objects.
pub(crate) struct Routing {
    objects: Collector,
    /// Blocks with the node that they belong to.
    blocks: BTreeMap<Cidr, String>,
    pools: BTreeMap<Cidr, Pool>,
    dirty: bool,
    last: String,
}

impl Routing {
    pub(crate) fn new(node: &str, interface_prefix: &str) -> Self {
        let mut objects = Collector::new(node);
        interface_prefix.clone_into(&mut objects.input.interface_prefix);
        Self { objects, blocks: BTreeMap::new(), pools: BTreeMap::new(), dirty: true, last: String::new() }
    }

    /// Takes what matters to BGP; the rest is ignored.
    pub(crate) fn on_change(&mut self, change: &Change) {
        match (&change.key, &change.value) {
            (Key::Block(cidr), Some(Value::Block(block))) => {
                let owner = block.affinity.as_deref().and_then(|a| a.strip_prefix("host:"));
                match owner.filter(|_| !block.deleted) {
                    Some(owner) => {
                        self.dirty |= self.blocks.insert(*cidr, owner.to_owned()).as_deref() != Some(owner);
                    }
                    None => self.dirty |= self.blocks.remove(cidr).is_some(),
                }
            }
            (Key::Block(cidr), None) => self.dirty |= self.blocks.remove(cidr).is_some(),
            (Key::IpPool(cidr), Some(Value::IpPool(pool))) => {
                let pool = bgp_pool(*cidr, pool);
                self.dirty |= self.pools.insert(*cidr, pool) != Some(pool);
            }
            (Key::IpPool(cidr), None) => self.dirty |= self.pools.remove(cidr).is_some(),
            (Key::Resource(key), value) => {
                let object = match value {
                    Some(Value::Resource(object)) => Some(&**object),
                    _ => None,
                };
                self.dirty |= self.objects.update(&key.kind, &key.name, object);
            }
            _ => {}
        }
    }

    /// Networks of others that pools hold by mistake.
    pub(crate) fn set_foreign(&mut self, foreign: Vec<Cidr>) {
        if self.objects.input.foreign != foreign {
            self.objects.input.foreign = foreign;
            self.dirty = true;
        }
    }

    /// Whether pods have had addresses of a network.
    pub(crate) fn has_blocks_in(&self, network: Cidr) -> bool {
        self.blocks.keys().any(|block| block.overlaps(network))
    }

    /// The configuration, if it is another than the last one.
    pub(crate) fn render(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let input = &mut self.objects.input;
        input.blocks =
            self.blocks.iter().filter(|(_, owner)| **owner == input.node).map(|(b, _)| *b).collect();
        input.pools = self.pools.values().copied().collect();
        let (text, problems) = tortie_bird::render(input);
        for problem in self.objects.problems().chain(&problems) {
            tracing::warn!(%problem, "BGP ignores an object or part of it");
        }
        if text == self.last {
            return None;
        }
        self.last.clone_from(&text);
        Some(text)
    }

    /// Blocks that other nodes tell this one of: their node exists, both have an address of the family, and the block's
    /// pool is exported.
    pub(crate) fn remote_blocks(&self) -> Vec<Cidr> {
        let input = &self.objects.input;
        let own = input.nodes.get(&input.node);
        self.blocks
            .iter()
            .filter(|(block, owner)| {
                let reachable = |n: &Node| n.address(block.family()).is_some();
                **owner != input.node
                    && input.nodes.get(*owner).is_some_and(reachable)
                    && own.is_some_and(reachable)
            })
            .map(|(block, _)| *block)
            .collect()
    }

    /// Pools whose blocks are reached through VXLAN.
    pub(crate) fn tunnelled(&self) -> BTreeSet<Cidr> {
        let vxlan = |(_, pool): &(&Cidr, &Pool)| pool.encapsulation == Encapsulation::Vxlan;
        self.pools.iter().filter(vxlan).map(|(cidr, _)| *cidr).collect()
    }

    /// Blocks and pools, of all nodes.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Cidr> {
        self.blocks.keys().chain(self.pools.keys()).copied()
    }

    /// This node's addresses.
    pub(crate) fn own_addresses(&self) -> Vec<IpAddr> {
        self.objects.input.own().addresses().collect()
    }
}

fn bgp_pool(cidr: Cidr, pool: &IpPool) -> Pool {
    let on = |mode: &str| matches!(mode, "always" | "cross-subnet");
    let encapsulation = match (on(&pool.vxlan_mode), on(&pool.ipip_mode)) {
        (true, _) => Encapsulation::Vxlan,
        (false, true) => Encapsulation::Ipip,
        (false, false) => Encapsulation::None,
    };
    Pool { cidr, export: !pool.disable_bgp_export, encapsulation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;
    use tortie_model::ResourceKey;

    #[test]
    fn collects_what_calico_writes() {
        let mut routing = Routing::new("n1", "cali");
        let mut put = |kind: &str, name: &str, object: serde_json::Value| {
            let key = ResourceKey { kind: kind.to_owned(), namespace: String::new(), name: name.to_owned() };
            routing.on_change(&Change {
                key: Key::Resource(key),
                value: Some(Value::Resource(Arc::new(object))),
            });
        };
        put(
            "Node",
            "n1",
            json!({"spec": {"bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64"}}}),
        );
        put("Node", "n2", json!({"spec": {"bgp": {"ipv4Address": "10.0.0.2/24"}}}));
        put("BGPPeer", "p", json!({"spec": {"peerIP": "[fd00::9]:1790", "asNumber": 65001}}));
        put("BGPPeer", "bad", json!({"spec": {"peerIP": "nonsense"}}));
        assert_eq!(routing.own_addresses(), ["10.0.0.1", "fd00::1"].map(|a| a.parse::<IpAddr>().unwrap()));
        let text = routing.render().unwrap();
        for want in ["protocol bgp Mesh_10_0_0_2 ", "protocol bgp Global_fd00__9_port_1790 "] {
            assert!(text.contains(want), "{want}\n{text}");
        }
        assert_eq!(routing.render(), None);
    }
}
