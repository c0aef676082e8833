//! Policy as packets meet it, in both families.

use crate::build::*;
use crate::lab::{Lab, Ns, packet};
use crate::netns::{Node, exec, in_netns, run};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use tortie_calc::Update;
use tortie_calc::update::{Action, Icmp, Rule, Side};
use tortie_net::Protocol;
use tortie_rules::{Config, EndpointToHost, Source};

const OPEN: [&str; 1] = ["open"];

fn side() -> Side {
    Side::default()
}

fn tcp(port: u16) -> Rule {
    let destination = Side { ports: ports(&[(port, port)]), ..side() };
    Rule { protocol: Some(Protocol::TCP), destination, ..rule(Action::Allow) }
}

/// Workload `n` as the lab attaches it, with a tier of policies.
pub(crate) fn known(n: usize, ingress: &[&str], egress: &[&str]) -> Update {
    let addresses: Vec<String> =
        (1..=4).flat_map(|i| [format!("10.65.{n}.{i}"), format!("fd65:{n}::{i}")]).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let tiers = vec![tier("default", Action::Deny, ingress, egress)];
    workload(&format!("w{n}"), endpoint(&format!("cali{n}"), &addresses, &OPEN), tiers)
}

pub(crate) fn open() -> Update {
    profile(OPEN[0], vec![rule(Action::Allow)], vec![rule(Action::Allow)])
}

/// A UDP and a TCP packet from workload 1 to workload 2 in each family.
fn all_kinds(sport: u16, dport: u16) -> [crate::lab::Packet; 4] {
    [
        packet(Protocol::UDP, "10.65.1.1", sport, "10.65.2.1", dport),
        packet(Protocol::TCP, "10.65.1.1", sport, "10.65.2.1", dport),
        packet(Protocol::UDP, "fd65:1::1", sport, "fd65:2::1", dport),
        packet(Protocol::TCP, "fd65:1::1", sport, "fd65:2::1", dport),
    ]
}

#[test]
fn unknown_is_closed_known_is_as_policy_says() {
    in_netns(|| {
        let mut lab = Lab::new(Config::default(), 2);
        lab.update(&[]);
        assert_eq!(lab.probe(1, &all_kinds(1000, 80)).len(), 0, "nobody is known");
        lab.update(&[open(), known(1, &[], &[])]);
        assert_eq!(lab.probe(1, &all_kinds(1001, 80)).len(), 0, "the receiver is not known");
        lab.update(&[known(2, &[], &[])]);
        assert_eq!(lab.probe(1, &all_kinds(1002, 80)).len(), 4, "profiles allow");
        lab.update(&[policy("p", vec![tcp(80)], vec![]), known(2, &["p"], &[])]);
        let passed = lab.probe(1, &all_kinds(1003, 80));
        assert_eq!(passed.len(), 2);
        assert!(passed.iter().all(|p| p.protocol == Protocol::TCP));
        assert_eq!(lab.probe(1, &all_kinds(1004, 81)).len(), 0);
        lab.update(&[policy("q", vec![], vec![]), known(1, &[], &["q"])]);
        assert_eq!(lab.probe(1, &all_kinds(1005, 80)).len(), 0, "egress of the sender denies");
        assert_eq!(lab.probe(2, &[packet(Protocol::UDP, "10.65.2.1", 9, "10.65.1.1", 9)]).len(), 1);
        let counters = lab.node.driver.counters(&lab.node.desired).unwrap();
        let of = |source: &str| counters.iter().find(|c| c.source.to_string() == source).unwrap().packets;
        assert_eq!(of("NetworkPolicy ns/p ingress 0"), 2);
        assert_eq!(
            of("unknown workload interface"),
            4,
            "by the sender's side; the receiver's side has its own"
        );
        assert!(counters.iter().any(|c| matches!(c.source, Source::TierEnd(_)) && c.packets > 0));
        lab.update(&[Update::WorkloadRemove(wid("w2"))]);
        assert_eq!(lab.probe(2, &[packet(Protocol::UDP, "10.65.2.1", 8, "10.65.1.1", 9)]).len(), 0);
    });
}

#[test]
fn sources_that_are_not_the_workloads() {
    in_netns(|| {
        let mut lab = Lab::new(Config::default(), 2);
        lab.update(&[open(), known(1, &[], &[]), known(2, &[], &[])]);
        lab.workloads[0].sh("ip addr add 10.65.1.99/32 dev eth0\nip addr add fd65:1::99/128 dev eth0 nodad");
        for (from, to) in [("10.65.1.99", "10.65.2.1"), ("fd65:1::99", "fd65:2::1")] {
            assert!(!lab.passes(1, packet(Protocol::UDP, from, 1000, to, 80)), "{from}");
        }
        for (from, to) in [("10.65.1.4", "10.65.2.1"), ("fd65:1::4", "fd65:2::1")] {
            assert!(lab.passes(1, packet(Protocol::UDP, from, 1000, to, 80)), "{from}");
            assert!(!lab.passes(1, packet(Protocol::UDP, from, 1000, to, 4789)), "VXLAN from {from}");
        }
    });
}

#[test]
fn sets_named_ports_and_exceptions() {
    in_netns(|| {
        let mut lab = Lab::new(Config::default(), 2);
        let http = port_set("n:http", &[("10.65.2.1", Protocol::TCP, 80), ("fd65:2::1", Protocol::TCP, 81)]);
        let named = Rule {
            protocol: Some(Protocol::TCP),
            destination: Side { named_ports: vec![set("n:http")], ..side() },
            ..rule(Action::Allow)
        };
        let except = Rule {
            protocol: Some(Protocol::UDP),
            source: Side {
                nets: nets(&["10.65.0.0/16", "fd65::/16"]),
                not_nets: nets(&["10.65.1.2/31", "fd65:1::2/127"]),
                ..side()
            },
            ..rule(Action::Allow)
        };
        let ping = Rule {
            protocol: Some(Protocol::ICMPV6),
            icmp: Some(Icmp { kind: 128, code: None }),
            source: Side { sets: vec![set("s:some")], ..side() },
            ..rule(Action::Allow)
        };
        lab.update(&[
            open(),
            http,
            net_set("s:some", &["fd65:1::1", "fd65:1::2/127"]),
            policy("p", vec![named, except, ping], vec![]),
            known(1, &[], &[]),
            known(2, &["p"], &[]),
        ]);
        let t = |from, to, dport| packet(Protocol::TCP, from, 999, to, dport);
        let u = |from, to| packet(Protocol::UDP, from, 999, to, 7);
        let i = |from| packet(Protocol::ICMPV6, from, 128, "fd65:2::1", 0);
        let allowed = [
            t("10.65.1.1", "10.65.2.1", 80),
            t("fd65:1::1", "fd65:2::1", 81),
            u("10.65.1.1", "10.65.2.1"),
            u("10.65.1.4", "10.65.2.1"),
            u("fd65:1::1", "fd65:2::1"),
            u("fd65:1::4", "fd65:2::1"),
            i("fd65:1::1"),
            i("fd65:1::3"),
        ];
        let denied = [
            t("10.65.1.1", "10.65.2.1", 81),
            t("10.65.1.1", "10.65.2.2", 80),
            t("fd65:1::1", "fd65:2::1", 80),
            u("10.65.1.2", "10.65.2.1"),
            u("10.65.1.3", "10.65.2.1"),
            u("fd65:1::2", "fd65:2::1"),
            u("fd65:1::3", "fd65:2::1"),
            i("fd65:1::4"),
            packet(Protocol::ICMP, "10.65.1.1", 8, "10.65.2.1", 0),
        ];
        assert_eq!(lab.probe(1, &[&allowed[..], &denied[..]].concat()), allowed.into_iter().collect());
        // Membership changes at once, also into another kind of set and back.
        let delta = |added: &[&str], removed: &[&str]| Update::SetDelta {
            id: set("s:some"),
            added: net_members(added),
            removed: net_members(removed),
        };
        exec(&["conntrack", "-F"]);
        lab.update(&[delta(&["fd65:1::4"], &["fd65:1::2/127"])]);
        let pings = ["fd65:1::1", "fd65:1::2", "fd65:1::3", "fd65:1::4"].map(i);
        assert_eq!(lab.probe(1, &pings), [pings[0], pings[3]].into());
        lab.update(&[delta(&["fd65:1::/120"], &["fd65:1::4", "fd65:1::1"])]);
        assert_eq!(lab.probe(1, &pings).len(), 4);
    });
}

#[test]
fn established_connections_survive_policy_and_restart() {
    in_netns(|| {
        let mut lab = Lab::new(Config::default(), 2);
        lab.update(&[open(), policy("p", vec![tcp(80)], vec![]), known(1, &[], &[]), known(2, &["p"], &[])]);
        for (own, address) in [("10.65.1.1", "10.65.2.1"), ("fd65:1::1", "fd65:2::1")] {
            let server = lab.workloads[1].run(move || TcpListener::bind((address, 80)).unwrap());
            let mut client = lab.workloads[0].run(move || TcpStream::connect((address, 80)).unwrap());
            let (mut accepted, _) = server.accept().unwrap();
            for stream in [&client, &accepted] {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            }
            let mut ping = |client: &mut TcpStream| {
                client.write_all(b"?").unwrap();
                accepted.read_exact(&mut [0]).unwrap();
                accepted.write_all(b"!").unwrap();
                client.read_exact(&mut [0]).unwrap();
            };
            ping(&mut client);
            // Policy now denies all: what is open stays open, nothing new opens.
            lab.update(&[policy("p", vec![], vec![])]);
            ping(&mut client);
            assert!(!lab.passes(1, packet(Protocol::TCP, own, 5001, address, 80)));
            // A new agent, which learns its state step by step.
            lab.node = Node::new();
            lab.node.in_sync = false;
            lab.update(&[]);
            ping(&mut client);
            lab.update(&[open(), policy("p", vec![], vec![]), known(1, &[], &[])]);
            ping(&mut client);
            lab.node.in_sync = true;
            lab.update(&[known(2, &["p"], &[])]);
            ping(&mut client);
            lab.update(&[policy("p", vec![tcp(80)], vec![])]);
        }
    });
}

#[test]
fn workload_to_host_and_back() {
    for (action, open_to_host) in
        [(EndpointToHost::Drop, false), (EndpointToHost::Return, true), (EndpointToHost::Accept, true)]
    {
        in_netns(move || {
            let mut lab = Lab::new(Config { endpoint_to_host: action, ..Config::default() }, 1);
            run("ip addr add 10.0.0.1/32 dev lo");
            run("ip addr add fd00::1/128 dev lo nodad");
            lab.update(&[open(), policy("none", vec![], vec![]), known(1, &["none"], &[])]);
            for (host, from) in [("10.0.0.1", "10.65.1.1"), ("fd00::1", "fd65:1::1")] {
                for protocol in [Protocol::UDP, Protocol::TCP] {
                    let to_host = packet(protocol, from, 7000, host, 53);
                    assert_eq!(lab.passes(1, to_host), open_to_host, "{action:?} {to_host:?}");
                }
                // The host reaches its own workload whatever the workload's policy, and the answer comes back.
                let server = lab.workloads[0].run(move || UdpSocket::bind((from, 99)).unwrap());
                let client = UdpSocket::bind((host, 0)).unwrap();
                for socket in [&server, &client] {
                    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                }
                client.send_to(b"?", (from, 99)).unwrap();
                let (_, peer) = server.recv_from(&mut [0; 8]).unwrap();
                lab.workloads[0].run(move || server.send_to(b"!", peer).map(|_| ())).unwrap();
                client.recv_from(&mut [0; 8]).unwrap();
            }
            if open_to_host {
                lab.update(&[policy("closed", vec![], vec![]), known(1, &["none"], &["closed"])]);
                for (host, from) in [("10.0.0.1", "10.65.1.1"), ("fd00::1", "fd65:1::1")] {
                    let to_host = packet(Protocol::UDP, from, 7001, host, 54);
                    assert!(!lab.passes(1, to_host), "egress policy holds towards the host too: {to_host:?}");
                }
            }
        });
    }
}

#[test]
fn nat_outgoing() {
    in_netns(|| {
        let mut lab = Lab::new(Config::default(), 2);
        let world = Ns::new();
        lab.update(&[
            open(),
            known(1, &[], &[]),
            known(2, &[], &[]),
            pool("10.65.0.0/16", true),
            pool("fd65::/16", true),
            pool("198.51.100.0/24", false),
        ]);
        // The world has no route back to the pools: only what is masqueraded can be answered.
        run(&format!("ip link add out type veth peer name eth0 netns {}", world.tid()));
        for line in [
            "addr add 192.0.2.1/24 dev out",
            "addr add 2001:db8::1/64 dev out nodad",
            "link set out up",
            "route add 198.51.100.0/24 via 192.0.2.2",
        ] {
            run(&format!("ip {line}"));
        }
        world.sh("ip addr add 192.0.2.2/24 dev eth0
                  ip addr add 198.51.100.2/24 dev eth0
                  ip addr add 2001:db8::2/64 dev eth0 nodad
                  ip link set eth0 up");
        let seen_from = |receiver: &Ns, from: &'static str, to: &'static str| {
            let server = receiver.run(move || UdpSocket::bind((to, 7)).unwrap());
            server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            lab.workloads[0].run(move || UdpSocket::bind((from, 0)).unwrap().send_to(b"?", (to, 7)).unwrap());
            server.recv_from(&mut [0; 8]).unwrap().1.ip().to_string()
        };
        assert_eq!(seen_from(&world, "10.65.1.1", "192.0.2.2"), "192.0.2.1");
        assert_eq!(seen_from(&world, "fd65:1::1", "2001:db8::2"), "2001:db8::1");
        assert_eq!(
            seen_from(&world, "10.65.1.1", "198.51.100.2"),
            "10.65.1.1",
            "the destination is in a pool"
        );
        assert_eq!(seen_from(&lab.workloads[1], "10.65.1.1", "10.65.2.1"), "10.65.1.1");
        assert_eq!(seen_from(&lab.workloads[1], "fd65:1::1", "fd65:2::1"), "fd65:1::1");
    });
}
