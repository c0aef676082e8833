//! The fabric between nodes: which addresses are where, and how packets get there. Pure; no clock, no I/O.
//!
//! Independent of policy: it reads nodes, pools, IPAM blocks, addresses of workloads and configuration of nodes, and
//! tells routes, VXLAN endpoints, WireGuard peers, metadata of nodes, and which encapsulations pools ask for. As in
//! [`Calc`](crate::Calc), output depends on the current state alone, and nothing is told before the datastore has been
//! read completely.
//!
//! One flush is in this order: `Encapsulation`, `Node`, `Wireguard`, `Vtep`, `Route`, then removals of routes, VXLAN
//! endpoints, WireGuard peers and nodes: a route is told after the endpoint that it needs and removed before it.

mod node;
mod routes;

pub use node::NodeMetadata;
pub use routes::{PoolKind, Route, RouteKinds, Tunnels};

use crate::lean::Texts;
use crate::told::Told;
use node::Node;
use routes::{PoolFacts, RefKind, Routes};
use sha1::{Digest, Sha1};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_model::value::{AllocationBlock, Wireguard};
use tortie_model::{Change, Key, Value, WorkloadId};
use tortie_net::{Cidr, Family};

/// Settings that are fixed for the life of a fabric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FabricConfig {
    /// Name of this node.
    pub node: String,
    /// Tell routes.
    pub routes: bool,
    /// Tell VXLAN endpoints.
    pub vteps: bool,
    /// Where the places of addresses are read.
    pub source: RouteSource,
}

/// Where the places of workloads' addresses are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteSource {
    /// IPAM blocks; and the addresses of local workloads.
    #[default]
    CalicoIpam,
    /// The addresses of all workloads.
    WorkloadIps,
}

/// What a dataplane is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FabricUpdate {
    /// The encapsulations that pools ask for.
    Encapsulation(Encapsulation),
    /// A node appeared or changed.
    Node(Arc<str>, Arc<NodeMetadata>),
    /// A node is gone.
    NodeRemove(Arc<str>),
    /// A node's WireGuard peer of a family appeared or changed.
    Wireguard(Family, Arc<str>, Arc<WireguardPeer>),
    /// A node's WireGuard peer of a family is gone.
    WireguardRemove(Family, Arc<str>),
    /// A node's VXLAN endpoint appeared or changed.
    Vtep(Arc<str>, Arc<Vtep>),
    /// A node's VXLAN endpoint is gone.
    VtepRemove(Arc<str>),
    /// A route appeared or changed.
    Route(Cidr, Arc<Route>),
    /// A route is gone.
    RouteRemove(Cidr),
}

/// Encapsulations that at least one pool asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encapsulation {
    /// IP in IP, for IPv4.
    pub ipip: bool,
    /// VXLAN for IPv4.
    pub vxlan_v4: bool,
    /// VXLAN for IPv6.
    pub vxlan_v6: bool,
}

/// A WireGuard peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireguardPeer {
    /// Its key, in base64.
    pub public_key: String,
    /// Address of its interface.
    pub address: Option<IpAddr>,
}

/// A node's end of VXLAN tunnels, by family. At least one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// For IPv4 workloads.
    pub v4: Option<VtepEnd>,
    /// For IPv6 workloads.
    pub v6: Option<VtepEnd>,
}

/// What is needed to send to a VXLAN endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VtepEnd {
    /// MAC of the tunnel's interface, as configured.
    pub mac: String,
    /// Address of the tunnel's interface, as configured.
    pub address: String,
    /// Address of the node, where the outer packets go.
    pub parent: IpAddr,
}

/// The calculation of the fabric, from one node's point of view.
#[derive(Debug)]
pub struct Fabric {
    config: FabricConfig,
    texts: Texts,
    nodes: BTreeMap<Arc<str>, Node>,
    host_config: BTreeMap<(Arc<str>, TunnelSetting), String>,
    wireguard: BTreeMap<Arc<str>, Wireguard>,
    pools: BTreeMap<Cidr, (Cidr, PoolFacts)>,
    blocks: BTreeMap<Cidr, Vec<(Cidr, Arc<str>)>>,
    workloads: BTreeMap<WorkloadId, Vec<Cidr>>,
    routes: Routes,
    dirty_nodes: BTreeSet<Arc<str>>,
    dirty_wireguard: BTreeSet<Arc<str>>,
    told_nodes: Told<Arc<str>, NodeMetadata>,
    told_vteps: Told<Arc<str>, Vtep>,
    told_wireguard: Told<(Family, Arc<str>), WireguardPeer>,
    told_encapsulation: Option<Encapsulation>,
    in_sync: bool,
}

/// Configuration of a node's VXLAN interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TunnelSetting {
    Address(Family),
    Mac(Family),
}

impl TunnelSetting {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "IPv4VXLANTunnelAddr" => Some(Self::Address(Family::V4)),
            "IPv6VXLANTunnelAddr" => Some(Self::Address(Family::V6)),
            "VXLANTunnelMACAddr" => Some(Self::Mac(Family::V4)),
            "VXLANTunnelMACAddrV6" => Some(Self::Mac(Family::V6)),
            _ => None,
        }
    }
}

impl Fabric {
    /// A fabric that knows nothing yet.
    pub fn new(config: FabricConfig) -> Self {
        Self {
            routes: Routes::new(config.node.as_str().into()),
            config,
            texts: Texts::default(),
            nodes: BTreeMap::new(),
            host_config: BTreeMap::new(),
            wireguard: BTreeMap::new(),
            pools: BTreeMap::new(),
            blocks: BTreeMap::new(),
            workloads: BTreeMap::new(),
            dirty_nodes: BTreeSet::new(),
            dirty_wireguard: BTreeSet::new(),
            told_nodes: Told::default(),
            told_vteps: Told::default(),
            told_wireguard: Told::default(),
            told_encapsulation: None,
            in_sync: false,
        }
    }

    /// Takes in a change. A value that does not belong to its key counts as deleted.
    pub fn on_change(&mut self, change: &Change) {
        let Change { key, value } = change;
        match key {
            Key::Resource(key) if key.kind == "Node" => {
                let node = match value {
                    Some(Value::Resource(object)) => Some(Node::read(object)),
                    _ => None,
                };
                self.set_node(&key.name, node);
            }
            Key::HostConfig { host, name } => {
                if let Some(setting) = TunnelSetting::from_name(name) {
                    let node = self.texts.share(host);
                    self.dirty_nodes.insert(node.clone());
                    match value {
                        Some(Value::Config(text)) => self.host_config.insert((node, setting), text.clone()),
                        _ => self.host_config.remove(&(node, setting)),
                    };
                }
            }
            Key::Wireguard(name) => {
                let node = self.texts.share(name);
                self.dirty_wireguard.insert(node.clone());
                match value {
                    Some(Value::Wireguard(wireguard)) => self.wireguard.insert(node, wireguard.clone()),
                    _ => self.wireguard.remove(&node),
                };
            }
            Key::IpPool(cidr) => {
                let pool = match value {
                    Some(Value::IpPool(pool)) => Some((pool.cidr, PoolFacts::new(pool))),
                    _ => None,
                };
                self.set_pool(*cidr, pool);
            }
            Key::Block(cidr) if self.config.routes && self.config.source == RouteSource::CalicoIpam => {
                let routes = match value {
                    Some(Value::Block(block)) => self.routes_of_block(block),
                    _ => Vec::new(),
                };
                self.set_block(*cidr, routes);
            }
            Key::WorkloadEndpoint(id) if self.is_routed(id) => {
                let nets = match value {
                    Some(Value::WorkloadEndpoint(endpoint)) => endpoint.nets().collect(),
                    _ => Vec::new(),
                };
                self.set_workload(id, nets);
            }
            _ => {}
        }
    }

    /// The datastore has been read completely.
    pub fn on_in_sync(&mut self) {
        self.in_sync = true;
    }

    /// Tells what has changed since the last flush.
    pub fn flush(&mut self, out: &mut Vec<FabricUpdate>) {
        if !self.in_sync {
            return;
        }
        let encapsulation = self.encapsulation();
        if self.told_encapsulation != Some(encapsulation) {
            self.told_encapsulation = Some(encapsulation);
            out.push(FabricUpdate::Encapsulation(encapsulation));
        }
        let mut removals = Vec::new();
        let dirty_nodes = std::mem::take(&mut self.dirty_nodes);
        for node in &dirty_nodes {
            let metadata = self.nodes.get(node).and_then(|n| n.metadata.clone());
            match self.told_nodes.tell(node, metadata) {
                Some(Some(metadata)) => out.push(FabricUpdate::Node(node.clone(), metadata)),
                Some(None) => removals.push(FabricUpdate::NodeRemove(node.clone())),
                None => {}
            }
        }
        for node in std::mem::take(&mut self.dirty_wireguard) {
            for family in Family::ALL {
                let peer = self.wireguard.get(&node).and_then(|w| WireguardPeer::new(family, w));
                match self.told_wireguard.tell(&(family, node.clone()), peer) {
                    Some(Some(peer)) => out.push(FabricUpdate::Wireguard(family, node.clone(), peer)),
                    Some(None) => removals.push(FabricUpdate::WireguardRemove(family, node.clone())),
                    None => {}
                }
            }
        }
        for node in &dirty_nodes {
            let vtep = self.vtep(node);
            match self.told_vteps.tell(node, vtep) {
                Some(Some(vtep)) => out.push(FabricUpdate::Vtep(node.clone(), vtep)),
                Some(None) => removals.push(FabricUpdate::VtepRemove(node.clone())),
                None => {}
            }
        }
        self.routes.flush(&self.nodes, out, &mut removals);
        removals.reverse();
        out.append(&mut removals);
    }

    // === inputs ===

    /// True if the place of a workload's addresses is read from the workload.
    fn is_routed(&self, id: &WorkloadId) -> bool {
        self.config.routes && (self.config.source == RouteSource::WorkloadIps || id.host == self.config.node)
    }

    fn set_node(&mut self, name: &str, node: Option<Node>) {
        let name = self.texts.share(name);
        if self.nodes.get(&name) == node.as_ref() {
            return;
        }
        self.dirty_nodes.insert(name.clone());
        if self.config.routes {
            if let Some(node) = &node {
                node.hosts().for_each(|addr| self.routes.add_host(Cidr::host(addr), &name));
                node.tunnels().for_each(|(kind, addr)| self.routes.add_ref(Cidr::host(addr), &name, kind));
            }
            if let Some(old) = self.nodes.get(&name) {
                old.hosts().for_each(|addr| self.routes.remove_host(Cidr::host(addr), &name));
                old.tunnels().for_each(|(kind, addr)| self.routes.remove_ref(Cidr::host(addr), &name, kind));
            }
            self.routes.touch_node(&name);
        }
        match node {
            Some(node) => self.nodes.insert(name, node),
            None => self.nodes.remove(&name),
        };
    }

    /// What counts is the prefix that the value says; its key is only its name.
    fn set_pool(&mut self, key: Cidr, pool: Option<(Cidr, PoolFacts)>) {
        if self.pools.get(&key) == pool.as_ref() {
            return;
        }
        let old = match pool {
            Some(pool) => self.pools.insert(key, pool),
            None => self.pools.remove(&key),
        };
        if self.config.routes {
            for (changed, _) in old.into_iter().chain(pool) {
                let now = self.pools.values().find(|(cidr, _)| *cidr == changed);
                self.routes.set_pool(changed, now.map(|(_, facts)| *facts));
            }
        }
    }

    /// The routes of a block: itself, to the node it is affine to; and addresses that other nodes have borrowed.
    fn routes_of_block(&mut self, block: &AllocationBlock) -> Vec<(Cidr, Arc<str>)> {
        let affinity = block.affinity.as_deref().unwrap_or_default();
        let host =
            affinity.strip_prefix("host:").or_else(|| affinity.strip_prefix("virtual:")).unwrap_or_default();
        let mut routes = BTreeMap::new();
        for (ordinal, attribute) in block.allocations.iter().enumerate() {
            let attribute = attribute.and_then(|at| block.attributes.get(at));
            let Some(node) = attribute.and_then(|a| a.active_owner_attrs.get("node")) else {
                continue;
            };
            if node != host
                && let Some(addr) = nth(block.cidr, ordinal)
            {
                routes.insert(Cidr::host(addr), self.texts.share(node));
            }
        }
        if !host.is_empty() {
            routes.insert(block.cidr, self.texts.share(host));
        }
        routes.into_iter().collect()
    }

    fn set_block(&mut self, cidr: Cidr, new: Vec<(Cidr, Arc<str>)>) {
        let old = self.blocks.remove(&cidr).unwrap_or_default();
        for (dst, node) in new.iter().filter(|route| !old.contains(route)) {
            self.routes.add_block(*dst, cidr, node);
        }
        for (dst, node) in old.iter().filter(|route| !new.contains(route)) {
            self.routes.remove_block(*dst, cidr, node);
        }
        if !new.is_empty() {
            self.blocks.insert(cidr, new);
        }
    }

    fn set_workload(&mut self, id: &WorkloadId, new: Vec<Cidr>) {
        let old = self.workloads.remove(id).unwrap_or_default();
        if old != new {
            let node = self.texts.share(&id.host);
            for cidr in &new {
                self.routes.add_ref(*cidr, &node, RefKind::Workload);
            }
            for cidr in &old {
                self.routes.remove_ref(*cidr, &node, RefKind::Workload);
            }
        }
        if !new.is_empty() {
            self.workloads.insert(id.clone(), new);
        }
    }

    // === outputs ===

    fn encapsulation(&self) -> Encapsulation {
        let vxlan = |family| self.pools.values().any(|(cidr, pool)| pool.vxlan && cidr.family() == family);
        Encapsulation {
            ipip: self.pools.values().any(|(_, pool)| pool.ipip),
            vxlan_v4: vxlan(Family::V4),
            vxlan_v6: vxlan(Family::V6),
        }
    }

    fn vtep(&self, node: &Arc<str>) -> Option<Vtep> {
        let end = |family| {
            let setting = |setting| self.host_config.get(&(node.clone(), setting)).cloned();
            let parent = self.nodes.get(node)?.bgp_address(family)?;
            let address = setting(TunnelSetting::Address(family))?;
            let mac = setting(TunnelSetting::Mac(family)).filter(|mac| !mac.is_empty());
            Some(VtepEnd { mac: mac.unwrap_or_else(|| vtep_mac(node, family)), address, parent })
        };
        let vtep = self.config.vteps.then(|| Vtep { v4: end(Family::V4), v6: end(Family::V6) })?;
        (vtep.v4.is_some() || vtep.v6.is_some()).then_some(vtep)
    }
}

impl WireguardPeer {
    fn new(family: Family, wireguard: &Wireguard) -> Option<Self> {
        let (key, address) = match family {
            Family::V4 => (&wireguard.public_key, wireguard.interface_ipv4_addr),
            Family::V6 => (&wireguard.public_key_v6, wireguard.interface_ipv6_addr),
        };
        (!key.is_empty()).then(|| Self { public_key: key.clone(), address })
    }
}

/// The MAC of a node's VXLAN interface unless configured: `66` and the first bytes of the SHA-1 of the node's name.
fn vtep_mac(node: &str, family: Family) -> String {
    let suffix = match family {
        Family::V4 => "",
        Family::V6 => "-v6",
    };
    let digest = Sha1::digest(format!("{node}{suffix}"));
    let bytes = digest.iter().take(5).map(|byte| format!(":{byte:02x}"));
    std::iter::once("66".to_owned()).chain(bytes).collect()
}

/// An address by its place in a prefix.
fn nth(cidr: Cidr, ordinal: usize) -> Option<IpAddr> {
    let addr = match cidr.addr() {
        IpAddr::V4(addr) => IpAddr::V4(u32::from(addr).checked_add(u32::try_from(ordinal).ok()?)?.into()),
        IpAddr::V6(addr) => IpAddr::V6(u128::from(addr).checked_add(ordinal as u128)?.into()),
    };
    cidr.contains(addr).then_some(addr)
}
