//! What probes find.

use std::time::Duration;

use tortie_net::Family;
use tortie_probe::{
    Answerer, Expect, Host, IcmpError, ListenError, Options, Probe, Proto, Rejection, Verdict, run,
    sctp_supported,
};
use tortie_test_netns::{Node, isolated};

use crate::network::{Network, combinations};

fn quick() -> Options {
    Options {
        timeout: Duration::from_millis(200),
        max_timeout: Duration::from_millis(400),
        ..Options::default()
    }
}

fn verdicts(probes: &[Probe], options: &Options) -> Vec<Verdict> {
    run(probes, options).unwrap().into_iter().map(|outcome| outcome.verdict).collect()
}

/// A rule that matches what a probe of this kind sends.
fn matcher(family: Family, proto: Proto) -> String {
    let (nfproto, icmp) = match family {
        Family::V4 => ("ipv4", "icmp type echo-request"),
        Family::V6 => ("ipv6", "icmpv6 type echo-request"),
    };
    match proto {
        Proto::Icmp => icmp.to_owned(),
        proto => format!("meta nfproto {nfproto} {proto} dport 80"),
    }
}

#[test]
fn all_is_allowed_without_rules() {
    isolated(|| {
        let network = Network::new(3);
        let mut probes = Vec::new();
        for (family, proto) in combinations() {
            for from in 0..3 {
                for to in 0..3 {
                    probes.push(network.probe(from, to, family, proto).expecting(Expect::Allow));
                }
            }
        }
        let outcomes = run(&probes, &Options::default()).unwrap();
        for (probe, outcome) in probes.iter().zip(outcomes) {
            assert_eq!(outcome.verdict, Verdict::Allowed, "{probe}");
        }
    });
}

#[test]
fn silence_refusal_and_nothing_else() {
    isolated(|| {
        let network = Network::new(2);
        let icmp = |family, v4: (u8, u8), v6: (u8, u8)| {
            let (kind, code) = if family == Family::V4 { v4 } else { v6 };
            Verdict::Rejected(Rejection::Icmp(IcmpError { family, kind, code }))
        };
        for (family, proto) in combinations() {
            let rule = matcher(family, proto);
            let mut actions = vec![
                ("drop", Verdict::Denied),
                ("reject", icmp(family, (3, 3), (1, 4))),
                ("reject with icmpx type admin-prohibited", icmp(family, (3, 13), (1, 1))),
                ("reject with icmpx type host-unreachable", icmp(family, (3, 1), (1, 3))),
            ];
            if proto == Proto::Tcp {
                actions.push(("reject with tcp reset", Verdict::Rejected(Rejection::TcpReset)));
            }
            for (action, expected) in actions {
                network.forward(&format!("{rule} {action}"));
                let all: Vec<_> = combinations().collect();
                let probes: Vec<_> = all.iter().map(|(f, p)| network.probe(0, 1, *f, *p)).collect();
                let found = verdicts(&probes, &quick());
                for (combination, verdict) in all.into_iter().zip(found) {
                    let wanted = if combination == (family, proto) { &expected } else { &Verdict::Allowed };
                    assert_eq!(verdict, *wanted, "{combination:?} under {rule} {action}");
                }
            }
        }
    });
}

#[test]
fn an_answer_that_is_dropped_on_its_way_back_is_silence() {
    isolated(|| {
        let network = Network::new(2);
        network.forward("ip saddr 10.0.1.2 drop\n ip6 saddr fd00:1::2 drop");
        let probes: Vec<_> =
            combinations().map(|(f, p)| network.probe(0, 1, f, p).expecting(Expect::Deny)).collect();
        for (probe, outcome) in probes.iter().zip(run(&probes, &quick()).unwrap()) {
            assert_eq!((outcome.verdict, outcome.tries), (Verdict::Denied, 2), "{probe}");
        }
    });
}

#[test]
fn the_senders_own_firewall_denies() {
    isolated(|| {
        let network = Network::new(2);
        let sender = &network.hosts[0];
        let rules = "table inet t { chain out { type filter hook output priority 0\n \
                     meta l4proto { tcp, udp } drop\n icmp type echo-request drop\n icmpv6 type echo-request drop\n}\n}\n";
        network.node(0).nft(rules);
        let probes: Vec<_> = combinations().map(|(f, p)| network.probe(0, 1, f, p)).collect();
        assert_eq!(verdicts(&probes, &quick()), vec![Verdict::Denied; probes.len()], "{sender}");
    });
}

#[test]
fn a_wrong_host_and_a_closed_port() {
    isolated(|| {
        let network = Network::new(3);
        for family in Family::ALL {
            for proto in [Proto::Tcp, Proto::Udp] {
                let probe = network.probe(0, 1, family, proto);
                let to_other = Probe { answerer: Answerer::Host("h2".into()), ..probe.clone() };
                let to_any = Probe { answerer: Answerer::Anybody, ..probe.clone() };
                let to_several = Probe {
                    answerer: Answerer::OneOf(["h2".to_owned(), "h1".to_owned()].into()),
                    ..probe.clone()
                };
                let closed = Probe { port: 81, ..probe };
                let found = verdicts(&[to_other, to_any, to_several, closed], &quick());
                assert_eq!(
                    found[..3],
                    [Verdict::WrongAnswer("h1".into()), Verdict::Allowed, Verdict::Allowed]
                );
                assert!(matches!(found[3], Verdict::Rejected(_)), "{:?}", found[3]);
                assert!(found[3].meets(Expect::Reject) && found[3].meets(Expect::Deny));
            }
        }
    });
}

#[test]
fn a_connection_that_carries_nothing_is_not_a_denial() {
    isolated(|| {
        let network = Network::new(2);
        // The handshake passes, data does not.
        network.forward("tcp flags & (syn | psh) == psh drop");
        for family in Family::ALL {
            let probe = network.probe(0, 1, family, Proto::Tcp);
            let to_stranger = Probe { answerer: Answerer::Stranger, ..probe.clone() };
            assert_eq!(verdicts(&[to_stranger], &quick()), [Verdict::Allowed]);
            let found = verdicts(&[probe.expecting(Expect::Deny)], &quick());
            assert!(
                matches!(&found[0], Verdict::WrongAnswer(what) if what.contains("nothing came")),
                "{found:?}"
            );
        }
    });
}

#[test]
fn no_route_is_an_error_and_no_neighbour_is_silence() {
    isolated(|| {
        let network = Network::new(2);
        let bare = Node::new("bare");
        let host = Host::new("bare", bare.namespace().clone(), Vec::new());
        for (family, proto) in combinations() {
            let lost = Probe { from: host.clone(), ..network.probe(0, 1, family, proto) };
            let found = verdicts(&[lost], &quick());
            assert!(matches!(found[0], Verdict::Error(_)), "{proto} {family}: {found:?}");
        }
        // On the own link, but nobody there: the kernel asks once, waits for a second, and reports to itself.
        network.node(0).sysctl("net/ipv4/neigh/eth0/mcast_solicit", "1");
        network.node(0).sysctl("net/ipv6/neigh/eth0/mcast_solicit", "1");
        let absent = |(family, proto)| {
            let addr = if family == Family::V4 { "10.0.0.99" } else { "fd00:0::99" };
            Probe { addr: addr.parse().unwrap(), ..network.probe(0, 1, family, proto) }
                .expecting(Expect::Deny)
        };
        let probes: Vec<_> = combinations().map(absent).collect();
        let patient = Options { timeout: Duration::from_secs(4), ..quick() };
        assert_eq!(verdicts(&probes, &patient), vec![Verdict::Denied; probes.len()]);
    });
}

#[test]
fn a_service_address_is_answered_by_its_backend() {
    isolated(|| {
        let network = Network::new(2);
        network.router.nft(
            "table inet nat { chain pre { type nat hook prerouting priority -100\n\
             ip daddr 10.96.0.1 tcp dport 8080 dnat ip to 10.0.1.2:80\n\
             ip6 daddr fd00:96::1 udp dport 8080 dnat ip6 to [fd00:1::2]:80\n}\n}\n",
        );
        let v4 = Probe {
            addr: "10.96.0.1".parse().unwrap(),
            port: 8080,
            ..network.probe(0, 1, Family::V4, Proto::Tcp)
        };
        let v6 = Probe {
            addr: "fd00:96::1".parse().unwrap(),
            port: 8080,
            ..network.probe(0, 1, Family::V6, Proto::Udp)
        };
        assert_eq!(verdicts(&[v4, v6], &Options::default()), [Verdict::Allowed, Verdict::Allowed]);
    });
}

#[test]
fn lost_datagrams_are_sent_again() {
    isolated(|| {
        let network = Network::new(2);
        let slow =
            Options { timeout: Duration::from_secs(2), max_timeout: Duration::from_secs(2), ..quick() };
        for family in Family::ALL {
            for proto in [Proto::Udp, Proto::Icmp] {
                network.forward(&format!("{} numgen inc mod 3 != 2 drop", matcher(family, proto)));
                let outcome = run(&[network.probe(0, 1, family, proto)], &slow).unwrap().remove(0);
                assert_eq!((outcome.verdict, outcome.tries), (Verdict::Allowed, 1), "{family} {proto}");
            }
        }
    });
}

#[test]
fn thousands_at_once_with_few_files() {
    isolated(|| {
        let network = Network::new(4);
        network.forward("ip daddr 10.0.3.2 drop\n ip6 daddr fd00:3::2 drop");
        let mut probes = Vec::new();
        for round in 0..500 {
            for (family, proto) in combinations() {
                for (to, expect) in [(1 + round % 2, Expect::Allow), (3, Expect::Deny)] {
                    probes.push(network.probe(0, to, family, proto).expecting(expect));
                }
            }
        }
        let options = Options { in_flight: 700, ..Options::default() };
        for (probe, outcome) in probes.iter().zip(run(&probes, &options).unwrap()) {
            let expected =
                if probe.expect == Some(Expect::Deny) { Verdict::Denied } else { Verdict::Allowed };
            assert_eq!(outcome.verdict, expected, "{probe}");
        }
    });
}

#[test]
fn listeners_come_and_go() {
    isolated(|| {
        let network = Network::new(2);
        let host = &network.hosts[1];
        let before = network.listeners.len();
        let taken = network.listeners.add(host, 80, Proto::Tcp).unwrap_err();
        assert!(taken.to_string().starts_with("cannot listen on h1, 10.0.1.2:80 tcp"), "{taken}");
        assert_eq!(network.listeners.len(), before);
        for proto in [Proto::Tcp, Proto::Udp] {
            let probe = network.probe(0, 1, Family::V6, proto);
            network.listeners.remove_port(host, 80, proto);
            let closed = verdicts(std::slice::from_ref(&probe), &quick());
            assert!(matches!(closed[0], Verdict::Rejected(_)), "{probe}: {closed:?}");
            network.listeners.add(host, 80, proto).unwrap();
            assert_eq!(verdicts(&[probe], &quick()), [Verdict::Allowed]);
        }
        network.listeners.remove(host);
        assert_eq!(network.listeners.len(), before / 2);
    });
}

#[test]
fn a_kernel_without_sctp_says_so() {
    isolated(|| {
        let network = Network::new(2);
        let added = network.listeners.add(&network.hosts[1], 80, Proto::Sctp);
        let found = verdicts(&[network.probe(0, 1, Family::V4, Proto::Sctp)], &quick());
        if sctp_supported() {
            added.unwrap();
            assert_eq!(found, [Verdict::Allowed]);
        } else {
            assert!(matches!(added, Err(ListenError::Unsupported { .. })));
            assert_eq!(found, [Verdict::Error("this kernel has no sctp".into())]);
        }
    });
}
