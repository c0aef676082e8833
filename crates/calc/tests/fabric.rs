//! The fabric: cases with a known answer, and the law that only the current state counts.

use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tortie_calc::fabric::{
    Encapsulation, Fabric, FabricConfig, FabricUpdate, NodeMetadata, PoolKind, Route, RouteKinds,
    RouteSource, Vtep, WireguardPeer,
};
use tortie_model::value::{IpPool, Wireguard, WorkloadEndpoint};
use tortie_model::{Change, Key, ResourceKey, Value, WorkloadId};
use tortie_net::{Cidr, Family};

type State = BTreeMap<Key, Value>;

/// What a dataplane would have.
#[derive(Debug, Default, PartialEq)]
struct Dataplane {
    encapsulation: Option<Encapsulation>,
    nodes: BTreeMap<Arc<str>, Arc<NodeMetadata>>,
    wireguard: BTreeMap<(Family, Arc<str>), Arc<WireguardPeer>>,
    vteps: BTreeMap<Arc<str>, Arc<Vtep>>,
    routes: BTreeMap<Cidr, Arc<Route>>,
}

impl Dataplane {
    fn apply(&mut self, updates: Vec<FabricUpdate>) {
        for update in updates {
            match update {
                FabricUpdate::Encapsulation(now) => assert_ne!(self.encapsulation.replace(now), Some(now)),
                FabricUpdate::Node(name, node) => {
                    assert_ne!(self.nodes.insert(name, node.clone()), Some(node));
                }
                FabricUpdate::NodeRemove(name) => assert!(self.nodes.remove(&name).is_some()),
                FabricUpdate::Wireguard(family, name, peer) => {
                    assert_ne!(self.wireguard.insert((family, name), peer.clone()), Some(peer));
                }
                FabricUpdate::WireguardRemove(family, name) => {
                    assert!(self.wireguard.remove(&(family, name)).is_some());
                }
                FabricUpdate::Vtep(name, vtep) => {
                    assert_ne!(self.vteps.insert(name, vtep.clone()), Some(vtep));
                }
                FabricUpdate::VtepRemove(name) => assert!(self.vteps.remove(&name).is_some()),
                FabricUpdate::Route(dst, route) => {
                    assert_ne!(self.routes.insert(dst, route.clone()), Some(route));
                }
                FabricUpdate::RouteRemove(dst) => assert!(self.routes.remove(&dst).is_some()),
            }
        }
    }

    /// A route in short form.
    fn route(&self, dst: &str) -> String {
        let Some(route) = self.routes.get(&cidr(dst)) else {
            return String::new();
        };
        let kinds = [
            (RouteKinds::REMOTE_WORKLOAD, "remote-workload"),
            (RouteKinds::REMOTE_HOST, "remote-host"),
            (RouteKinds::LOCAL_WORKLOAD, "local-workload"),
            (RouteKinds::LOCAL_HOST, "local-host"),
            (RouteKinds::REMOTE_TUNNEL, "remote-tunnel"),
            (RouteKinds::LOCAL_TUNNEL, "local-tunnel"),
        ];
        let mut words: Vec<String> = kinds
            .iter()
            .filter(|(k, _)| route.kinds.contains(*k))
            .map(|(_, name)| (*name).to_owned())
            .collect();
        words.push(format!("{:?}", route.pool));
        words.extend(route.node.as_ref().map(|node| format!("node={node}")));
        words.extend(route.node_address.map(|addr| format!("via={addr}")));
        let flags = [
            (route.same_subnet, "same-subnet"),
            (route.nat_outgoing, "nat"),
            (route.local_workload, "here"),
            (route.borrowed, "borrowed"),
            (route.tunnels.ipip, "ipip"),
            (route.tunnels.vxlan, "vxlan"),
            (route.tunnels.wireguard, "wireguard"),
        ];
        words.extend(flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()));
        words.join(" ")
    }
}

struct World {
    fabric: Fabric,
    dataplane: Dataplane,
}

impl World {
    fn new(config: FabricConfig) -> Self {
        let mut fabric = Fabric::new(config);
        fabric.on_in_sync();
        Self { fabric, dataplane: Dataplane::default() }
    }

    fn with(objects: impl IntoIterator<Item = (Key, Value)>) -> Self {
        let mut world = Self::new(config());
        world.set(objects);
        world
    }

    fn set(&mut self, objects: impl IntoIterator<Item = (Key, Value)>) {
        for (key, value) in objects {
            self.fabric.on_change(&Change { key, value: Some(value) });
        }
        self.flush();
    }

    fn remove(&mut self, key: Key) {
        self.fabric.on_change(&Change { key, value: None });
        self.flush();
    }

    fn flush(&mut self) {
        let mut updates = Vec::new();
        self.fabric.flush(&mut updates);
        self.dataplane.apply(updates);
    }
}

fn config() -> FabricConfig {
    FabricConfig { node: "n1".to_owned(), routes: true, vteps: true, source: RouteSource::CalicoIpam }
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a CIDR")
}

fn node(name: &str, spec: serde_json::Value) -> (Key, Value) {
    let key = ResourceKey { kind: "Node".to_owned(), namespace: String::new(), name: name.to_owned() };
    let object = json!({"metadata": {"name": name, "labels": {"zone": "a"}}, "spec": spec});
    (Key::Resource(key), Value::Resource(Arc::new(object)))
}

fn plain_node(name: &str, v4: &str, v6: &str) -> (Key, Value) {
    node(name, json!({"bgp": {"ipv4Address": v4, "ipv6Address": v6}}))
}

fn pool(text: &str, ipip: &str, vxlan: &str, nat: bool) -> (Key, Value) {
    let object = json!({"cidr": text, "ipip_mode": ipip, "vxlan_mode": vxlan, "masquerade": nat});
    let pool: IpPool = serde_json::from_value(object).expect("a pool");
    (Key::IpPool(pool.cidr), Value::IpPool(Arc::new(pool)))
}

/// A block with the given ordinals in use by nodes.
fn block(text: &str, affinity: Option<&str>, used: &[(usize, &str)]) -> (Key, Value) {
    let mut allocations = vec![json!(null); 8];
    let mut attributes = Vec::new();
    for (ordinal, node) in used {
        allocations[*ordinal] = json!(attributes.len());
        attributes.push(json!({"secondary": {"node": node}}));
    }
    let object = json!({"cidr": text, "affinity": affinity, "allocations": allocations, "attributes": attributes,
        "unallocated": [], "strictAffinity": false});
    (Key::Block(cidr(text)), Value::Block(Arc::new(serde_json::from_value(object).expect("a block"))))
}

fn workload(host: &str, name: &str, nets: &[&str]) -> (Key, Value) {
    let id = WorkloadId {
        host: host.to_owned(),
        orchestrator: "k8s".to_owned(),
        workload: name.to_owned(),
        endpoint: "eth0".to_owned(),
    };
    let (v4, v6): (Vec<Cidr>, Vec<Cidr>) =
        nets.iter().map(|n| cidr(n)).partition(|n| n.family() == Family::V4);
    let endpoint = WorkloadEndpoint { ipv4_nets: v4, ipv6_nets: v6, ..WorkloadEndpoint::default() };
    (Key::WorkloadEndpoint(id), Value::WorkloadEndpoint(Arc::new(endpoint)))
}

fn host_config(host: &str, name: &str, value: &str) -> (Key, Value) {
    (Key::HostConfig { host: host.to_owned(), name: name.to_owned() }, Value::Config(value.to_owned()))
}

#[test]
fn blocks_in_pools_are_routed_to_their_nodes() {
    let mut world = World::with([
        plain_node("n1", "192.0.2.1/24", "2001:db8::1/64"),
        plain_node("n2", "192.0.2.2/24", "2001:db8::2/64"),
        plain_node("n3", "198.51.100.3/24", "2001:db8:1::3/64"),
        pool("10.0.0.0/16", "", "cross-subnet", true),
        pool("fd00::/48", "", "cross-subnet", false),
        block("10.0.1.0/29", Some("host:n1"), &[(1, "n1")]),
        block("10.0.2.0/29", Some("host:n2"), &[(1, "n2"), (2, "n1"), (3, "n3")]),
        block("10.0.3.0/29", Some("host:n3"), &[]),
        block("fd00::/125", Some("host:n2"), &[]),
        workload("n1", "a", &["10.0.1.1/32"]),
        workload("n1", "b", &["10.0.2.2/32"]),
        workload("n2", "c", &["10.0.2.1/32"]),
    ]);
    for (dst, want) in [
        ("10.0.0.0/16", "Vxlan nat"),
        ("192.0.2.1/32", "local-host None node=n1 via=192.0.2.1"),
        ("192.0.2.2/32", "remote-host None node=n2 via=192.0.2.2"),
        ("2001:db8::2/128", "remote-host None node=n2 via=2001:db8::2"),
        ("10.0.1.0/29", "local-workload Vxlan node=n1 via=192.0.2.1 same-subnet nat"),
        ("10.0.2.0/29", "remote-workload Vxlan node=n2 via=192.0.2.2 same-subnet nat"),
        ("10.0.3.0/29", "remote-workload Vxlan node=n3 via=198.51.100.3 nat"),
        ("fd00::/125", "remote-workload Vxlan node=n2 via=2001:db8::2 same-subnet"),
        ("10.0.1.1/32", "local-workload Vxlan node=n1 via=192.0.2.1 same-subnet nat here"),
        // Borrowed: the block is another node's.
        (
            "10.0.2.2/32",
            "remote-workload local-workload Vxlan node=n1 via=192.0.2.1 same-subnet nat here borrowed",
        ),
        ("10.0.2.3/32", "remote-workload Vxlan node=n3 via=198.51.100.3 nat borrowed"),
        // What other nodes have in blocks of their own needs no route of its own.
        ("10.0.2.1/32", ""),
    ] {
        assert_eq!(world.dataplane.route(dst), want, "{dst}");
    }

    // All that follows from a pool, a node or a block around follows its changes.
    world.set([pool("10.0.0.0/16", "always", "", false)]);
    assert_eq!(world.dataplane.route("10.0.2.0/29"), "remote-workload Ipip node=n2 via=192.0.2.2");
    world.set([plain_node("n2", "192.0.2.22/24", "")]);
    assert_eq!(world.dataplane.route("10.0.2.0/29"), "remote-workload Ipip node=n2 via=192.0.2.22");
    assert_eq!(world.dataplane.route("fd00::/125"), "remote-workload Vxlan node=n2");
    assert_eq!((world.dataplane.route("192.0.2.2/32"), world.dataplane.route("2001:db8::2/128")).0, "");
    world.set([block("10.0.2.0/29", Some("host:n1"), &[(2, "n1")])]);
    assert_eq!(world.dataplane.route("10.0.2.2/32"), "local-workload Ipip node=n1 via=192.0.2.1 here");
    world.remove(Key::IpPool(cidr("10.0.0.0/16")));
    assert_eq!(world.dataplane.route("10.0.1.0/29"), "local-workload None node=n1 via=192.0.2.1");
    world.set([plain_node("n1", "198.51.100.1/24", "")]);
    world.set([pool("10.0.0.0/16", "cross-subnet", "", false)]);
    assert_eq!(
        world.dataplane.route("10.0.3.0/29"),
        "remote-workload Ipip node=n3 via=198.51.100.3 same-subnet"
    );
}

#[test]
fn tunnels_have_routes_but_are_no_workloads() {
    let spec = json!({
        "bgp": {"ipv4Address": "192.0.2.2/24", "ipv4IPIPTunnelAddr": "10.0.1.1"},
        "ipv4VXLANTunnelAddr": "10.0.1.1",
        "wireguard": {"interfaceIPv4Address": "10.0.9.9"},
    });
    let world = World::with([
        node("n2", spec),
        pool("10.0.0.0/16", "always", "", false),
        block("10.0.1.0/29", Some("host:n2"), &[(1, "n2")]),
        block("10.0.9.9/32", Some("host:n2"), &[(0, "n2")]),
    ]);
    assert_eq!(world.dataplane.route("10.0.1.1/32"), "remote-tunnel Ipip node=n2 via=192.0.2.2 ipip vxlan");
    assert_eq!(
        world.dataplane.route("10.0.9.9/32"),
        "remote-workload remote-tunnel Ipip node=n2 via=192.0.2.2 wireguard"
    );
}

#[test]
fn routes_can_come_from_workloads() {
    let mut world = World::new(FabricConfig { source: RouteSource::WorkloadIps, ..config() });
    world.set([
        plain_node("n2", "192.0.2.2/24", ""),
        block("10.0.1.0/29", Some("host:n2"), &[]),
        workload("n2", "a", &["10.0.1.1/32", "fd00::1/128"]),
        workload("n2", "b", &["10.0.1.1/32"]),
    ]);
    assert_eq!(world.dataplane.route("10.0.1.0/29"), "");
    assert_eq!(world.dataplane.route("10.0.1.1/32"), "remote-workload None node=n2 via=192.0.2.2");
    world.remove(workload("n2", "a", &[]).0);
    assert_eq!(world.dataplane.route("fd00::1/128"), "");
    assert_ne!(world.dataplane.route("10.0.1.1/32"), "");
    world.remove(workload("n2", "b", &[]).0);
    assert_eq!(world.dataplane.route("10.0.1.1/32"), "");
}

#[test]
fn a_pool_is_where_its_value_says() {
    let (_, small) = pool("10.0.0.0/30", "", "always", true);
    let (key, large) = pool("10.0.0.0/16", "", "always", true);
    let (other, _) = pool("10.1.0.0/16", "", "", false);
    let mut world = World::with([(key.clone(), small.clone())]);
    let routed = |world: &World| world.dataplane.routes.keys().map(Cidr::to_string).collect::<Vec<_>>();
    assert_eq!(routed(&world), ["10.0.0.0/30"]);
    world.set([(key.clone(), large)]);
    assert_eq!(routed(&world), ["10.0.0.0/16"]);
    world.set([(key.clone(), small.clone()), (other, small)]);
    world.remove(key);
    assert_eq!(routed(&world), ["10.0.0.0/30"], "the other one is still there");
}

#[test]
fn pools_for_services_are_no_pools_for_routes() {
    let (key, _) = pool("10.0.0.0/16", "", "always", true);
    let object = json!({"cidr": "10.0.0.0/16", "vxlan_mode": "always", "masquerade": true, "allowed_uses": ["LoadBalancer"]});
    let world = World::with([(key, Value::IpPool(Arc::new(serde_json::from_value(object).unwrap())))]);
    assert_eq!(world.dataplane.routes[&cidr("10.0.0.0/16")].pool, PoolKind::None);
}

#[test]
fn vteps_need_an_address_inside_and_one_outside() {
    let mut world = World::with([plain_node("n2", "192.0.2.2/24", "2001:db8::2/64")]);
    assert!(world.dataplane.vteps.is_empty());
    world.set([host_config("n2", "IPv4VXLANTunnelAddr", "10.0.1.1")]);
    let vtep = world.dataplane.vteps["n2"].clone();
    let v4 = vtep.v4.clone().expect("an IPv4 end");
    // sha1("n2") computed with sha1sum.
    assert_eq!((v4.mac.as_str(), v4.address.as_str()), ("66:40:24:34:76:fc", "10.0.1.1"));
    assert_eq!((v4.parent.to_string(), vtep.v6.is_none()), ("192.0.2.2".to_owned(), true));
    world.set([
        host_config("n2", "VXLANTunnelMACAddr", "66:00:00:00:00:01"),
        host_config("n2", "IPv6VXLANTunnelAddr", "fd00::1"),
    ]);
    let vtep = world.dataplane.vteps["n2"].clone();
    assert_eq!(vtep.v4.as_ref().map(|end| end.mac.as_str()), Some("66:00:00:00:00:01"));
    assert_ne!(vtep.v6.as_ref().map(|end| end.mac.as_str()), Some(v4.mac.as_str()));
    world.set([plain_node("n2", "", "")]);
    assert!(world.dataplane.vteps.is_empty());
}

#[test]
fn nodes_have_metadata() {
    let spec = json!({
        "bgp": {"ipv4Address": "192.0.2.1/24", "asNumber": "1.10"},
        "addresses": [
            {"type": "ExternalIP", "address": "2001:db8::9"},
            {"type": "InternalIP", "address": "2001:db8::1"},
            {"type": "Hostname", "address": "n1.example.com"},
        ],
    });
    let mut world =
        World::with([node("n1", spec), node("bare", json!({})), node("early", json!({"bgp": {}}))]);
    let n1 = world.dataplane.nodes["n1"].clone();
    assert_eq!(
        (n1.ipv4.as_str(), n1.ipv6.as_str(), n1.as_number.as_str()),
        ("192.0.2.1/24", "2001:db8::1/128", "65546")
    );
    assert_eq!(n1.labels.len(), 1);
    assert_eq!(world.dataplane.nodes["bare"].ipv4, "");
    assert!(!world.dataplane.nodes.contains_key("early"));
    // The address alone does not say which subnet it is in.
    world.set([node("n1", json!({"bgp": {"ipv4Address": "192.0.2.1"}}))]);
    assert_eq!(world.dataplane.nodes["n1"].ipv4, "");
    world.remove(node("n1", json!({})).0);
    assert!(!world.dataplane.nodes.contains_key("n1"));
}

#[test]
fn wireguard_peers_have_a_key() {
    let peer = |v4: &str, v6: &str| {
        let value =
            Wireguard { public_key: v4.to_owned(), public_key_v6: v6.to_owned(), ..Wireguard::default() };
        (Key::Wireguard("n2".to_owned()), Value::Wireguard(value))
    };
    let mut world = World::with([peer("a", "b")]);
    assert_eq!(world.dataplane.wireguard.len(), 2);
    world.set([peer("", "b")]);
    assert_eq!(world.dataplane.wireguard.keys().map(|(family, _)| *family).collect::<Vec<_>>(), [Family::V6]);
    world.remove(peer("", "").0);
    assert!(world.dataplane.wireguard.is_empty());
}

#[test]
fn pools_ask_for_encapsulation() {
    let mut world = World::with([]);
    assert_eq!(world.dataplane.encapsulation, Some(Encapsulation::default()));
    world.set([pool("10.0.0.0/16", "cross-subnet", "", false), pool("fd00::/48", "", "always", false)]);
    let want = Encapsulation { ipip: true, vxlan_v4: false, vxlan_v6: true };
    assert_eq!(world.dataplane.encapsulation, Some(want));
}

fn object() -> impl Strategy<Value = (Key, Value)> {
    let name = || prop::sample::select(vec!["n1", "n2", "n3"]);
    let dst = prop::sample::select(vec!["10.0.1.0/29", "10.0.2.0/29", "10.0.2.1/32", "fd00::/125"]);
    let used = prop::collection::vec((0..8usize, name()), 0..3);
    let nets = prop::collection::vec(
        prop::sample::select(vec!["10.0.1.1/32", "10.0.2.1/32", "192.0.2.1/32", "fd00::1/128"]),
        0..3,
    );
    let mode = || prop::sample::select(vec!["", "always", "cross-subnet"]);
    let v4 = prop::sample::select(vec!["", "192.0.2.1/24", "192.0.2.2/24", "198.51.100.1/24", "192.0.2.1"]);
    let v6 = prop::sample::select(vec!["", "fd00::1/64", "2001:db8::1/64"]);
    let tunnel = || prop::sample::select(vec!["", "10.0.1.1", "10.0.2.1"]);
    let setting = prop::sample::select(vec![
        "IPv4VXLANTunnelAddr",
        "IPv6VXLANTunnelAddr",
        "VXLANTunnelMACAddr",
        "Other",
    ]);
    prop_oneof![
        3 => (name(), v4, v6, tunnel(), tunnel()).prop_map(|(name, v4, v6, ipip, vxlan)| {
            node(name, json!({"bgp": {"ipv4Address": v4, "ipv6Address": v6, "ipv4IPIPTunnelAddr": ipip}, "ipv4VXLANTunnelAddr": vxlan,
                "addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}))
        }),
        2 => (prop::sample::select(vec!["10.0.0.0/16", "10.0.2.0/24", "fd00::/48"]), mode(), mode(), any::<bool>())
            .prop_map(|(cidr, ipip, vxlan, nat)| pool(cidr, ipip, vxlan, nat)),
        3 => (dst, prop::option::of(name()), used).prop_map(|(dst, node, used)| {
            block(dst, node.map(|n| format!("host:{n}")).as_deref(), &used)
        }),
        3 => (name(), prop::sample::select(vec!["a", "b"]), nets).prop_map(|(host, name, nets)| workload(host, name, &nets)),
        1 => (name(), setting, tunnel()).prop_map(|(host, name, value)| host_config(host, name, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 3 / 2))]

    #[test]
    fn the_path_does_not_matter(
        steps in prop::collection::vec((object(), any::<bool>(), any::<bool>()), 1..24),
        from_workloads: bool,
    ) {
        let source = if from_workloads { RouteSource::WorkloadIps } else { RouteSource::CalicoIpam };
        let config = FabricConfig { source, ..config() };
        let mut state = State::new();
        let mut world = World::new(config.clone());
        world.flush();
        for ((key, value), remove, flush) in steps {
            let value = (!remove).then_some(value);
            world.fabric.on_change(&Change { key: key.clone(), value: value.clone() });
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
            if flush {
                world.flush();
                let mut fresh = World::new(config.clone());
                fresh.set(state.clone());
                prop_assert_eq!(&world.dataplane, &fresh.dataplane);
            }
        }
        for key in state.into_keys() {
            world.fabric.on_change(&Change { key, value: None });
        }
        world.flush();
        let nothing = Dataplane { encapsulation: Some(Encapsulation::default()), ..Dataplane::default() };
        prop_assert_eq!(world.dataplane, nothing);
    }
}
