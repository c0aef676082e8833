//! The text by feature; and BIRD itself must accept each of them.

use super::*;
use crate::input::{Peer, Pool};
use std::process::Command;
use tortie_selector::Selector;

fn node(n: u8) -> Node {
    Node {
        labels: [("rack".to_owned(), format!("r{}", n % 2))].into(),
        ipv4: Some(IpAddr::from([172, 31, 1, n])),
        ipv6: Some(format!("fd00:31:1::{n}").parse().unwrap()),
        as_number: None,
        reflector_cluster: None,
    }
}

fn input() -> Input {
    Input {
        node: "n1".into(),
        nodes: (1..=3).map(|n| (format!("n{n}"), node(n))).collect(),
        peers: BTreeMap::new(),
        pools: vec![
            Pool { cidr: "10.65.0.0/16".parse().unwrap(), export: true },
            Pool { cidr: "fd65::/64".parse().unwrap(), export: true },
            Pool { cidr: "10.66.0.0/16".parse().unwrap(), export: false },
        ],
        blocks: vec!["10.65.0.64/26".parse().unwrap(), "fd65::40/122".parse().unwrap()],
        mesh: true,
        default_as: 64512,
        listen_port: 179,
        interface_prefix: "cali".into(),
    }
}

/// Runs `bird -p` on the text; the tests need BIRD, as the product does.
fn accepted(text: &str) {
    let dir = std::env::temp_dir().join(format!(
        "tortie-bird-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&dir, text).unwrap();
    let out = Command::new("bird")
        .arg("-p")
        .arg("-c")
        .arg(&dir)
        .output()
        .expect("BIRD 2 is installed (package bird2)");
    std::fs::remove_file(&dir).unwrap();
    assert!(out.status.success(), "{}\n{text}", String::from_utf8_lossy(&out.stderr));
}

fn names(input: &Input) -> Vec<String> {
    let own = input.nodes.get(&input.node).cloned().unwrap_or_default();
    sessions(input, &own).into_keys().collect()
}

#[test]
fn mesh_in_both_families() {
    let input = input();
    let text = render(&input);
    accepted(&text);
    assert_eq!(
        names(&input),
        ["Mesh_172_31_1_2", "Mesh_172_31_1_3", "Mesh_fd00_31_1__2", "Mesh_fd00_31_1__3"]
    );
    for want in [
        "router id 172.31.1.1;",
        "route 10.65.0.64/26 blackhole;",
        "route fd65::40/122 blackhole;",
        "if net ~ [ 10.66.0.0/16+ ] then reject;",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
}

#[test]
fn nothing_known_yet() {
    let text = render(&Input { nodes: BTreeMap::new(), pools: vec![], blocks: vec![], ..input() });
    accepted(&text);
    assert!(!text.contains("protocol bgp"));
}

#[test]
fn one_side_of_a_mesh_session_is_passive() {
    for (a, b) in [("n1", "n2"), ("n2", "n1")] {
        let input = Input { node: a.into(), ..input() };
        let own = input.nodes[a].clone();
        let peer = input.nodes[b].ipv4.unwrap();
        let session = sessions(&input, &own).into_values().find(|s| s.peer == peer).unwrap();
        assert_eq!(session.passive, a == "n2");
    }
}

#[test]
fn configured_peers_by_node_selector_and_globally() {
    let target = |last: u8| PeerTarget::Address {
        address: IpAddr::from([172, 31, 9, last]),
        port: None,
        as_number: 65001,
    };
    let peer = |node: Option<&str>, selector: Option<&str>, target| Peer {
        node: node.map(str::to_owned),
        node_selector: selector.map(|s| Selector::parse(s).unwrap()),
        target,
        keep_next_hop: true,
    };
    let input = Input {
        mesh: false,
        peers: [
            ("a".to_owned(), peer(Some("n1"), None, target(1))),
            ("b".to_owned(), peer(Some("n2"), None, target(2))),
            ("c".to_owned(), peer(None, Some("rack == 'r1'"), target(3))),
            ("d".to_owned(), peer(None, Some("rack == 'r0'"), target(4))),
            (
                "e".to_owned(),
                peer(
                    None,
                    None,
                    PeerTarget::Address {
                        address: "fd00:9::1".parse().unwrap(),
                        port: Some(1790),
                        as_number: 65002,
                    },
                ),
            ),
        ]
        .into(),
        ..input()
    };
    assert_eq!(names(&input), ["Global_fd00_9__1_port_1790", "Node_172_31_9_1", "Node_172_31_9_3"]);
    let text = render(&input);
    accepted(&text);
    assert!(text.contains("neighbor fd00:9::1 port 1790 as 65002;") && text.contains("next hop keep;"));
}

#[test]
fn route_reflectors_leave_the_mesh_and_serve_clients() {
    let mut input = input();
    input.nodes.get_mut("n3").unwrap().reflector_cluster = Some(Ipv4Addr::new(1, 0, 0, 1));
    input.nodes.get_mut("n3").unwrap().labels.insert("rr".into(), "yes".into());
    input.peers.insert(
        "to-rr".into(),
        Peer {
            node: None,
            node_selector: None,
            target: PeerTarget::Nodes(Selector::parse("has(rr)").unwrap()),
            keep_next_hop: false,
        },
    );
    assert_eq!(
        names(&input),
        ["Mesh_172_31_1_2", "Mesh_fd00_31_1__2", "Node_172_31_1_3", "Node_fd00_31_1__3"]
    );
    let reflector = Input { node: "n3".into(), ..input };
    assert_eq!(
        names(&reflector),
        ["Node_172_31_1_1", "Node_172_31_1_2", "Node_fd00_31_1__1", "Node_fd00_31_1__2"]
    );
    let text = render(&reflector);
    accepted(&text);
    assert_eq!(text.matches("rr client;").count(), 4);
}

#[test]
fn own_as_port_and_a_node_without_ipv4() {
    let mut input = Input { listen_port: 1790, ..input() };
    let own = input.nodes.get_mut("n1").unwrap();
    own.ipv4 = None;
    own.as_number = Some(4_200_000_001);
    let text = render(&input);
    accepted(&text);
    assert_eq!(names(&input), ["Mesh_fd00_31_1__2", "Mesh_fd00_31_1__3"]);
    assert!(text.contains("as 4200000001;") && text.contains("port 1790 as 64512;"));
}
