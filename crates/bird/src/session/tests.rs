//! Who peers with whom.

use super::*;
use crate::input::Configuration;
use crate::{Filter, PrefixCommunities};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tortie_selector::Selector;

fn node(n: u8, labels: &[&str]) -> Node {
    Node {
        labels: labels.iter().map(|l| ((*l).to_owned(), String::new())).collect(),
        ipv4: Some(Ipv4Addr::new(10, 0, 0, n)),
        ipv6: Some(format!("fd00::{n}").parse().unwrap()),
        ..Node::default()
    }
}

fn cluster(nodes: &[(&str, Node)]) -> Input {
    let nodes: BTreeMap<String, Node> =
        nodes.iter().map(|(n, node)| ((*n).to_owned(), node.clone())).collect();
    Input { node: nodes.keys().next().cloned().unwrap_or_default(), nodes, ..Input::default() }
}

fn at(input: &Input, node: &str) -> Input {
    Input { node: node.to_owned(), ..input.clone() }
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

fn address(text: &str, as_number: u32) -> PeerTarget {
    let (address, port) = crate::parse_peer_address(text).unwrap();
    PeerTarget::Address { address, port, as_number }
}

/// The sessions of a node in short: name, `as` where it is not the cluster's, `passive`, `rr`.
fn show(input: &Input, node: &str) -> String {
    let (sessions, problems) = sessions(&at(input, node));
    let mut lines: Vec<String> = sessions
        .iter()
        .map(|s| {
            let mut line = s.name();
            if s.peer_as != 64512 {
                line += &format!(" as {}", s.peer_as);
            }
            if s.passive {
                line += " passive";
            }
            if let Some(cluster) = s.reflector_cluster {
                line += &format!(" rr {cluster}");
            }
            line
        })
        .collect();
    lines.extend(problems.iter().map(|p| format!("! {p}")));
    lines.join("\n")
}

#[test]
fn mesh_in_both_families() {
    let mut input = cluster(&[("a", node(1, &[])), ("b", node(2, &[])), ("c", node(3, &[]))]);
    input.nodes.get_mut("c").unwrap().ipv6 = None;
    input.nodes.get_mut("c").unwrap().as_number = Some(65003);
    assert_eq!(
        show(&input, "a"),
        "Mesh_10_0_0_2 passive\nMesh_10_0_0_3 as 65003 passive\nMesh_fd00__2 passive"
    );
    assert_eq!(show(&input, "b"), "Mesh_10_0_0_1\nMesh_10_0_0_3 as 65003 passive\nMesh_fd00__1");
    assert_eq!(show(&input, "c"), "Mesh_10_0_0_1\nMesh_10_0_0_2");
    assert_eq!(show(&input, "unknown"), "");
    input.configuration.mesh = false;
    assert_eq!(show(&input, "a"), "");
}

#[test]
fn addresses_are_compared_as_text_as_calico_does() {
    let input = cluster(&[("a", node(9, &[])), ("b", node(10, &[]))]);
    // "10.0.0.9" is above "10.0.0.10".
    assert_eq!(show(&input, "a"), "Mesh_10_0_0_10\nMesh_fd00__10");
    assert_eq!(show(&input, "b"), "Mesh_10_0_0_9 passive\nMesh_fd00__9 passive");
}

#[test]
fn global_and_node_peerings() {
    let mut input = cluster(&[("a", node(1, &["rack1"])), ("b", node(2, &["rack2"]))]);
    input.configuration.mesh = false;
    let peer = |nodes: PeerNodes, target: PeerTarget| Peer { nodes, ..Peer::new(target) };
    input.peers = [
        ("1", peer(PeerNodes::Selected(selector("has(rack1)")), address("192.168.0.1", 65001))),
        ("2", peer(PeerNodes::Node("b".into()), address("192.168.0.2:1790", 65002))),
        ("3", peer(PeerNodes::All, address("[fd00:9::1]:180", 65003))),
        // Hidden by the global one of the same address and port.
        ("4", peer(PeerNodes::Node("a".into()), address("[fd00:9::1]:180", 65004))),
    ]
    .map(|(name, peer)| (name.to_owned(), peer))
    .into();
    assert_eq!(show(&input, "a"), "Global_fd00_9__1_port_180 as 65003\nNode_192_168_0_1 as 65001");
    assert_eq!(show(&input, "b"), "Global_fd00_9__1_port_180 as 65003\nNode_192_168_0_2_port_1790 as 65002");
}

#[test]
fn route_reflectors_leave_the_mesh_and_are_peered_back() {
    let mut input = cluster(&[("a", node(1, &[])), ("b", node(2, &[])), ("r", node(9, &["rr"]))]);
    input.nodes.get_mut("r").unwrap().reflector_cluster = Some(Ipv4Addr::new(1, 0, 0, 1));
    assert_eq!(show(&input, "r"), "");
    let to_reflector = Peer {
        nodes: PeerNodes::Selected(selector("!has(rr)")),
        ..Peer::new(PeerTarget::Nodes(selector("has(rr)")))
    };
    input.peers.insert("rr".into(), to_reflector);
    assert_eq!(show(&input, "a"), "Mesh_10_0_0_2 passive\nMesh_fd00__2 passive\nNode_10_0_0_9\nNode_fd00__9");
    assert_eq!(
        show(&input, "r"),
        "Node_10_0_0_1 rr 1.0.0.1\nNode_10_0_0_2 rr 1.0.0.1\nNode_fd00__1 rr 1.0.0.1\nNode_fd00__2 rr 1.0.0.1"
    );
    input.peers.get_mut("rr").unwrap().reverse = false;
    assert_eq!(show(&input, "r"), "");
}

#[test]
fn reflectors_of_one_cluster_are_not_clients_of_each_other() {
    let mut input = cluster(&[("r1", node(1, &["rr"])), ("r2", node(2, &["rr"])), ("r3", node(3, &["rr"]))]);
    for (name, id) in [("r1", 1), ("r2", 1), ("r3", 2)] {
        input.nodes.get_mut(name).unwrap().reflector_cluster = Some(Ipv4Addr::new(id, 0, 0, 0));
        input.nodes.get_mut(name).unwrap().ipv6 = None;
    }
    input.peers.insert("all".into(), Peer::new(PeerTarget::Nodes(selector("has(rr)"))));
    assert_eq!(show(&input, "r1"), "Global_10_0_0_2\nGlobal_10_0_0_3 rr 1.0.0.0");
}

#[test]
fn a_peering_with_a_nodes_address_is_mutual_and_replaces_the_mesh() {
    let mut input = cluster(&[("a", node(1, &[])), ("b", node(2, &[]))]);
    input.configuration.listen_port = Some(1790);
    let peer = Peer { nodes: PeerNodes::Node("a".into()), ..Peer::new(address("10.0.0.2", 64512)) };
    input.peers.insert("p".into(), peer);
    assert_eq!(show(&input, "a"), "Mesh_fd00__2 passive\nNode_10_0_0_2_port_1790");
    assert_eq!(show(&input, "b"), "Mesh_fd00__1\nNode_10_0_0_1_port_1790");
    // Another AS means another router.
    input.peers.insert("p".into(), Peer::new(address("10.0.0.2", 65000)));
    assert_eq!(show(&input, "a"), "Global_10_0_0_2 as 65000 passive\nMesh_fd00__2 passive");
    assert_eq!(show(&input, "b"), "Mesh_10_0_0_1\nMesh_fd00__1");
}

#[test]
fn sessions_without_their_password_stay_down() {
    let mut input = cluster(&[("a", node(1, &[])), ("b", node(2, &[]))]);
    let secret = |name: &str| SecretRef { name: name.to_owned(), key: "pw".to_owned() };
    input.configuration.mesh_password = Some(secret("mesh"));
    input
        .peers
        .insert("p".into(), Peer { password: Some(secret("p")), ..Peer::new(address("192.168.0.1", 65001)) });
    assert_eq!(
        show(&input, "a"),
        "! BGPConfiguration default: spec.nodeMeshPassword: secret mesh has no key pw; its sessions are down until that is changed\n\
         ! BGPPeer p: spec.password: secret p has no key pw; its sessions are down until that is changed"
    );
    input.secrets.insert(secret("mesh"), "m".into());
    input.secrets.insert(secret("p"), "a\"b".into());
    assert_eq!(
        show(&input, "a"),
        "Mesh_10_0_0_2 passive\nMesh_fd00__2 passive\n\
         ! BGPPeer p: spec.password: key pw of secret p cannot be written in BIRD's configuration; its sessions are down until that is changed"
    );
    assert_eq!(input.wanted_secrets().count(), 2);
}

#[test]
fn missing_filters_are_reported() {
    let mut input = cluster(&[("a", node(1, &[]))]);
    input.filters.insert("there".into(), Filter::default());
    let filters = vec!["there".to_owned(), "gone".to_owned()];
    input.peers.insert("p".into(), Peer { filters, ..Peer::new(address("192.168.0.1", 65001)) });
    assert_eq!(
        show(&input, "a"),
        "Global_192_168_0_1 as 65001\n! BGPPeer p: spec.filters: there is no BGPFilter gone; it is left out"
    );
}

#[test]
fn next_hops() {
    let mut input = cluster(&[("a", node(1, &[]))]);
    let mut next_hop = |mode, as_number| {
        input
            .peers
            .insert("p".into(), Peer { next_hop: mode, ..Peer::new(address("192.168.0.1", as_number)) });
        sessions(&input).0[0].next_hop
    };
    assert_eq!(next_hop(NextHopMode::KeepExternal, 65001), NextHopMode::Keep);
    assert_eq!(next_hop(NextHopMode::KeepExternal, 64512), NextHopMode::Auto);
    assert_eq!(next_hop(NextHopMode::Keep, 64512), NextHopMode::Keep);
    assert_eq!(next_hop(NextHopMode::Own, 65001), NextHopMode::Own);
}

#[test]
fn identity() {
    let mut input = cluster(&[("kube-master", node(1, &[]))]);
    assert_eq!(input.router_id(), Ipv4Addr::new(10, 0, 0, 1));
    input.router_id = crate::RouterId::Hash;
    // As Calico computes it.
    assert_eq!(input.router_id(), Ipv4Addr::new(25, 79, 212, 8));
    input.router_id = crate::RouterId::NodeIp;
    input.nodes.clear();
    assert_eq!(input.router_id(), Ipv4Addr::new(25, 79, 212, 8));
}

proptest! {
    /// Whatever the labels, ports and reflectors: if a node has a session to another, the other has one back to it,
    /// and they agree about AS numbers; of a mesh session exactly one end is passive; names are unique.
    #[test]
    fn sessions_are_mutual(
        nodes in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 2..6),
        mesh: bool,
        peerings in proptest::collection::vec((0..4usize, 0..4usize), 0..4),
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let mut input = cluster(&[]);
        for (n, (x, y, reflects, v4, own_as)) in nodes.iter().enumerate() {
            let mut labels = Vec::new();
            labels.extend(x.then_some("x"));
            labels.extend(y.then_some("y"));
            let mut node = node(n as u8 + 1, &labels);
            node.reflector_cluster = reflects.then_some(Ipv4Addr::new(1, 1, 1, 1));
            node.as_number = own_as.then_some(65000 + n as u32);
            if !v4 {
                node.ipv4 = None;
            }
            input.nodes.insert(names[n].to_owned(), node);
        }
        input.configuration = Configuration { mesh, communities: Vec::<PrefixCommunities>::new(), ..Configuration::default() };
        let selectors = ["all()", "has(x)", "has(y)", "has(x) && !has(y)"];
        for (n, (near, far)) in peerings.iter().enumerate() {
            let nodes = PeerNodes::Selected(selector(selectors[*near]));
            let peer = Peer { nodes, ..Peer::new(PeerTarget::Nodes(selector(selectors[*far]))) };
            input.peers.insert(format!("p{n}"), peer);
        }
        for (name, node) in &input.nodes {
            let (mine, _) = sessions(&at(&input, name));
            let unique: BTreeSet<String> = mine.iter().map(Session::name).collect();
            prop_assert_eq!(unique.len(), mine.len());
            for session in mine {
                let (other, _) =
                    input.nodes.iter().find(|(_, n)| n.addresses().any(|a| a == session.peer)).unwrap();
                let own = node.address(session.family()).unwrap();
                let (theirs, _) = sessions(&at(&input, other));
                let back = theirs.iter().find(|s| s.peer == own);
                prop_assert!(back.is_some(), "{} of {} has no counterpart on {}", session.name(), name, other);
                let back = back.unwrap();
                prop_assert_eq!((back.peer_as, back.local_as), (session.local_as, session.peer_as));
                if session.kind == SessionKind::Mesh {
                    prop_assert!(session.passive != back.passive);
                }
            }
        }
    }
}
