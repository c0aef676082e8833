//! What BGP depends on, collected from the model, and BIRD's configuration made of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use tortie_bird::{Input, Node, Peer, PeerTarget, Pool};
use tortie_model::{Change, Key, Value};
use tortie_net::Cidr;
use tortie_selector::Selector;

/// Calico's default AS number.
const DEFAULT_AS: u32 = 64512;

/// The collected objects.
pub(crate) struct Routing {
    input: Input,
    /// Blocks with the node that they belong to.
    blocks: BTreeMap<Cidr, String>,
    pools: BTreeMap<Cidr, Pool>,
    dirty: bool,
    last: String,
}

impl Routing {
    pub(crate) fn new(node: &str, interface_prefix: &str) -> Self {
        Self {
            input: Input {
                node: node.to_owned(),
                nodes: BTreeMap::new(),
                peers: BTreeMap::new(),
                pools: Vec::new(),
                blocks: Vec::new(),
                mesh: true,
                default_as: DEFAULT_AS,
                listen_port: 179,
                interface_prefix: interface_prefix.to_owned(),
            },
            blocks: BTreeMap::new(),
            pools: BTreeMap::new(),
            dirty: true,
            last: String::new(),
        }
    }

    /// Takes what matters to BGP; the rest is ignored.
    pub(crate) fn on_change(&mut self, change: &Change) {
        match (&change.key, &change.value) {
            (Key::Block(cidr), Some(Value::Block(block))) => {
                let owner = block.affinity.as_deref().and_then(|a| a.strip_prefix("host:"));
                match owner.filter(|_| !block.deleted) {
                    Some(owner) => {
                        self.dirty |= self.blocks.insert(*cidr, owner.to_owned()).as_deref() != Some(owner)
                    }
                    None => self.dirty |= self.blocks.remove(cidr).is_some(),
                }
            }
            (Key::Block(cidr), None) => self.dirty |= self.blocks.remove(cidr).is_some(),
            (Key::IpPool(cidr), Some(Value::IpPool(pool))) => {
                let pool = Pool { cidr: *cidr, export: !pool.disable_bgp_export };
                self.dirty |= self.pools.insert(*cidr, pool) != Some(pool);
            }
            (Key::IpPool(cidr), None) => self.dirty |= self.pools.remove(cidr).is_some(),
            (Key::Resource(key), value) => {
                let object = match value {
                    Some(Value::Resource(object)) => Some(&**object),
                    _ => None,
                };
                self.on_resource(&key.kind, &key.name, object);
            }
            _ => {}
        }
    }

    fn on_resource(&mut self, kind: &str, name: &str, object: Option<&serde_json::Value>) {
        match kind {
            "Node" => match object.map(node) {
                Some(node) => {
                    self.dirty |= self.input.nodes.insert(name.to_owned(), node.clone()) != Some(node)
                }
                None => self.dirty |= self.input.nodes.remove(name).is_some(),
            },
            "BGPPeer" => match object.and_then(peer) {
                Some(peer) => {
                    self.dirty |= self.input.peers.insert(name.to_owned(), peer.clone()) != Some(peer)
                }
                None => self.dirty |= self.input.peers.remove(name).is_some(),
            },
            "BGPConfiguration" if name == "default" => {
                let spec = object.and_then(|o| o.get("spec"));
                let number = |field: &str| spec?.get(field)?.as_u64();
                self.input.mesh =
                    spec.and_then(|s| s.get("nodeToNodeMeshEnabled")?.as_bool()).unwrap_or(true);
                self.input.default_as =
                    number("asNumber").and_then(|n| n.try_into().ok()).unwrap_or(DEFAULT_AS);
                self.input.listen_port = number("listenPort").and_then(|n| n.try_into().ok()).unwrap_or(179);
                self.dirty = true;
            }
            _ => {}
        }
    }

    /// The configuration, if it is another than the last one.
    pub(crate) fn render(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let node = &self.input.node;
        self.input.blocks = self.blocks.iter().filter(|(_, owner)| *owner == node).map(|(b, _)| *b).collect();
        self.input.pools = self.pools.values().copied().collect();
        let text = tortie_bird::render(&self.input);
        if text == self.last {
            return None;
        }
        self.last.clone_from(&text);
        Some(text)
    }

    /// Blocks of other nodes that exist and have an address of the block's family.
    pub(crate) fn remote_blocks(&self) -> Vec<Cidr> {
        let own = self.input.nodes.get(&self.input.node);
        self.blocks
            .iter()
            .filter(|(block, owner)| {
                let reachable = |n: &Node| n.address(block.family()).is_some();
                **owner != self.input.node
                    && self.input.nodes.get(*owner).is_some_and(reachable)
                    && own.is_some_and(reachable)
            })
            .map(|(block, _)| *block)
            .collect()
    }

    /// This node's addresses.
    pub(crate) fn own_addresses(&self) -> Vec<IpAddr> {
        self.input
            .nodes
            .get(&self.input.node)
            .map(|n| n.ipv4.into_iter().chain(n.ipv6).collect())
            .unwrap_or_default()
    }
}

/// A Node as BGP sees it; addresses may carry their subnet's length.
fn node(object: &serde_json::Value) -> Node {
    let bgp = object.pointer("/spec/bgp");
    let address = |field: &str| -> Option<IpAddr> {
        let text = bgp?.get(field)?.as_str()?;
        text.split('/').next()?.parse().ok()
    };
    let labels = object.pointer("/metadata/labels").and_then(|l| l.as_object());
    Node {
        labels: labels
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect(),
        ipv4: address("ipv4Address"),
        ipv6: address("ipv6Address"),
        as_number: bgp.and_then(|b| b.get("asNumber")).and_then(as_number),
        reflector_cluster: bgp.and_then(|b| b.get("routeReflectorClusterID")?.as_str()?.parse().ok()),
    }
}

/// A BGPPeer; `None` (and a log line) if it cannot be used.
fn peer(object: &serde_json::Value) -> Option<Peer> {
    let spec = object.get("spec")?;
    let name = object.pointer("/metadata/name").and_then(|n| n.as_str()).unwrap_or_default();
    let text = |field: &str| spec.get(field).and_then(|v| v.as_str()).filter(|t| !t.is_empty());
    let selector = |field: &str| match text(field).map(Selector::parse) {
        Some(Err(error)) => {
            tracing::warn!(peer = name, field, %error, "BGPPeer ignored: its selector cannot be read");
            Err(())
        }
        Some(Ok(selector)) => Ok(Some(selector)),
        None => Ok(None),
    };
    let node_selector = selector("nodeSelector").ok()?;
    let target = match selector("peerSelector").ok()? {
        Some(nodes) => PeerTarget::Nodes(nodes),
        None => {
            let (address, port) = peer_address(text("peerIP")?)?;
            PeerTarget::Address {
                address,
                port,
                as_number: spec.get("asNumber").and_then(as_number).unwrap_or(DEFAULT_AS),
            }
        }
    };
    Some(Peer {
        node: text("node").map(str::to_owned),
        node_selector,
        target,
        keep_next_hop: spec.get("keepOriginalNextHop").and_then(serde_json::Value::as_bool).unwrap_or(false),
    })
}

/// `10.0.0.1`, `10.0.0.1:1790`, `fd00::1`, `[fd00::1]:1790`.
fn peer_address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((address, None));
    }
    let socket: std::net::SocketAddr = text.parse().ok()?;
    Some((socket.ip(), Some(socket.port())))
}

/// A number, or `high.low` in text.
fn as_number(value: &serde_json::Value) -> Option<u32> {
    if let Some(n) = value.as_u64() {
        return n.try_into().ok();
    }
    let text = value.as_str()?;
    match text.split_once('.') {
        Some((high, low)) => {
            Some((u32::from(high.parse::<u16>().ok()?) << 16) | u32::from(low.parse::<u16>().ok()?))
        }
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_calico_writes() {
        let n = node(&json!({"metadata": {"labels": {"rack": "a"}},
            "spec": {"bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64", "asNumber": "1.10"}}}));
        assert_eq!((n.ipv4, n.ipv6), (Some("10.0.0.1".parse().unwrap()), Some("fd00::1".parse().unwrap())));
        assert_eq!(n.as_number, Some(65546));
        let p = peer(&json!({"metadata": {"name": "p"}, "spec": {"peerIP": "[fd00::9]:1790", "asNumber": 65001, "nodeSelector": "rack == 'a'"}})).unwrap();
        assert_eq!(
            p.target,
            PeerTarget::Address { address: "fd00::9".parse().unwrap(), port: Some(1790), as_number: 65001 }
        );
        assert!(peer(&json!({"spec": {"peerIP": "10.0.0.1", "nodeSelector": "(("}})).is_none());
        assert!(peer(&json!({"spec": {"peerIP": "nonsense"}})).is_none());
    }
}
