//! What is wanted arrives in the kernel, `nft` shows it, and a second driver agrees.

use crate::build::*;
use crate::netns::{Node, in_netns, list};
use tortie_calc::Update;
use tortie_calc::update::{Action, Icmp, Rule, Side};
use tortie_kernel_nft::Driver;
use tortie_net::{Family, Protocol};
use tortie_rules::EndpointToHost;

/// One of everything.
pub(crate) fn everything() -> Vec<Update> {
    let tcp = |destination| Rule { protocol: Some(Protocol::TCP), destination, ..rule(Action::Allow) };
    let side = Side::default;
    let icmp = |kind, code| Some(Icmp { kind, code });
    let rules = vec![
        rule(Action::Log),
        tcp(Side { ports: ports(&[(80, 80)]), ..side() }),
        tcp(Side { ports: ports(&[(8000, 8010)]), ..side() }),
        tcp(Side { ports: ports(&[(443, 443), (80, 80)]), ..side() }),
        tcp(Side { not_ports: ports(&[(443, 443), (6000, 0xffff)]), ..side() }),
        tcp(Side { not_ports: ports(&[(6000, 6063)]), ..side() }),
        tcp(Side { named_ports: vec![set("n:http")], ..side() }),
        tcp(Side { addr_port_sets: vec![set("n:http")], ..side() }),
        Rule { destination: Side { not_named_ports: vec![set("n:http")], ..side() }, ..rule(Action::Allow) },
        Rule { source: Side { ports: ports(&[(53, 53)]), ..side() }, ..rule(Action::Deny) },
        Rule {
            source: Side { sets: vec![set("s:hosts")], not_sets: vec![set("s:nets")], ..side() },
            ..rule(Action::Pass)
        },
        Rule { source: Side { nets: nets(&["10.0.0.0/8", "fd00::/8"]), ..side() }, ..rule(Action::Allow) },
        Rule {
            source: Side { nets: nets(&["0.0.0.0/0"]), not_nets: nets(&["10.0.0.0/9"]), ..side() },
            ..rule(Action::Allow)
        },
        Rule {
            destination: Side {
                nets: nets(&["10.0.0.0/8", "10.1.0.1", "192.168.0.0/17", "fd00::1", "fd00::2"]),
                ..side()
            },
            ..rule(Action::Allow)
        },
        Rule { not_protocol: Some(Protocol::UDP), ..rule(Action::Allow) },
        Rule { icmp: icmp(8, Some(0)), ..rule(Action::Allow) },
        Rule { not_icmp: icmp(3, Some(4)), ..rule(Action::Allow) },
        Rule { family: Some(Family::V6), ..rule(Action::Deny) },
    ];
    vec![
        net_set("s:hosts", &["10.0.0.1", "10.0.0.2", "fd00::1"]),
        net_set("s:nets", &["10.0.0.1", "10.1.0.0/16", "10.2.0.0/16", "255.0.0.0/8", "fd00::1", "ffff::/16"]),
        port_set("n:http", &[("10.0.0.1", Protocol::TCP, 80), ("fd00::1", Protocol::SCTP, 8080)]),
        policy("p", rules.clone(), rules),
        policy("q", vec![rule(Action::Allow)], vec![rule(Action::Allow)]),
        profile("kns.default", vec![rule(Action::Allow)], vec![rule(Action::Allow)]),
        workload(
            "a",
            endpoint("cali0123456789a", &["10.0.0.1", "fd00::1"], &["kns.default"]),
            vec![
                tier("first", Action::Pass, &["p"], &["p"]),
                tier("default", Action::Deny, &["p", "q"], &["p", "q"]),
            ],
        ),
        workload("b", endpoint("cali2", &["10.0.0.2"], &["kns.default"]), vec![]),
        pool("10.0.0.0/16", true),
        pool("fd00::/64", true),
    ]
}

#[test]
fn nothing_known_is_closed_and_adopted() {
    in_netns(|| {
        let mut node = Node::new();
        let report = node.update(&[]);
        assert_eq!(report.transactions, 1);
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        let text = list();
        assert!(text.contains("iifname \"cali*\" jump cali-from-wl-dispatch"), "{text}");
        assert_eq!(node.update(&[]).transactions, 0);
        node.assert_equal();
    });
}

#[test]
fn one_of_everything() {
    in_netns(|| {
        let mut node = Node::new();
        let report = node.update(&everything());
        println!("{}", list());
        assert!(report.refused.is_empty(), "{:#?}", report.refused);
        assert_eq!(report.transactions, 1);
        node.assert_equal();
    });
}

#[test]
fn endpoint_to_host() {
    in_netns(|| {
        let config = tortie_rules::Config { endpoint_to_host: EndpointToHost::Accept, ..Default::default() };
        let mut node = Node::with(config);
        node.update(&everything());
        node.assert_equal();
        // Another setting after a restart: one chain changes.
        let mut node = Node::new();
        let report = node.update(&everything());
        assert_eq!((report.transactions, report.messages), (1, 3));
        node.assert_equal();
    });
}

/// Where the socket's buffer is small, a load arrives in parts.
#[test]
fn in_parts() {
    in_netns(|| {
        let mut node = Node::new();
        node.driver = Driver::open().unwrap().with_max_transaction(8 << 10);
        let members: Vec<String> = (0..3000).map(|n| format!("10.3.{}.{}", n / 250, n % 250)).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let mut updates = everything();
        updates[0] = net_set("s:hosts", &members);
        let report = node.update(&updates);
        assert!(report.refused.is_empty(), "{:#?}", report.refused);
        assert!(report.transactions > report.bytes / (16 << 10), "{report:?}");
        node.assert_equal();
    });
}
