//! No packet sees a gap: under a flood, everything allowed passes and nothing else does, whatever the driver does meanwhile.

use crate::build::*;
use crate::lab::Lab;
use crate::netns::{Node, exec, in_netns, nft};
use crate::packets::{known, open};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tortie_calc::Update;
use tortie_calc::update::{Action, Rule, Side};
use tortie_net::Protocol;
use tortie_rules::Config;

const ALLOWED: u16 = 80;
const FORBIDDEN: u16 = 81;

/// Counts the flood's packets before and after our chains.
const COUNT: &str = "
table inet count {
    counter allowed-seen { }
    counter allowed-passed { }
    counter forbidden-seen { }
    counter forbidden-passed { }
    chain before {
        type filter hook forward priority -20; policy accept;
        udp dport 80 counter name allowed-seen
        udp dport 81 counter name forbidden-seen
    }
    chain after {
        type filter hook forward priority 20; policy accept;
        udp dport 80 counter name allowed-passed
        udp dport 81 counter name forbidden-passed
    }
}
";

fn counted(name: &str) -> u64 {
    let text = exec(&["nft", "-j", "list", "counter", "inet", "count", name]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let objects = json["nftables"].as_array().unwrap();
    objects.iter().find_map(|o| o.get("counter")).unwrap()["packets"].as_u64().unwrap()
}

/// UDP to the allowed port from the set's members, by set and by an exception; all else is denied.
fn rules(order: bool) -> Vec<Rule> {
    let udp = |source| Rule {
        protocol: Some(Protocol::UDP),
        source,
        destination: Side { ports: ports(&[(ALLOWED, ALLOWED)]), ..Side::default() },
        ..rule(Action::Allow)
    };
    let some = udp(Side { sets: vec![set("s:some")], ..Side::default() });
    let other = udp(Side { nets: nets(&["192.0.2.1", "192.0.2.9", "2001:db8::1"]), ..Side::default() });
    let deny = Rule { source: Side { sets: vec![set("s:bad")], ..Side::default() }, ..rule(Action::Deny) };
    if order { vec![deny, some, other] } else { vec![other, rule(Action::Log), some, deny] }
}

fn state() -> Vec<Update> {
    vec![
        open(),
        net_set("s:some", &["10.65.1.1", "fd65:1::1"]),
        net_set("s:bad", &["203.0.113.0/24"]),
        policy("p", rules(true), vec![]),
        known(1, &[], &[]),
        known(2, &["p"], &[]),
    ]
}

fn delta(id: &str, added: &[&str], removed: &[&str]) -> Update {
    Update::SetDelta { id: set(id), added: net_members(added), removed: net_members(removed) }
}

/// One round of what a driver lives through; the state at the end is that at the beginning.
fn live(lab: &mut Lab, round: usize) {
    lab.update(&[delta("s:some", &["10.65.3.0/24", "fd65:3::/64"], &[])]);
    lab.update(&[policy("p", rules(false), vec![]), known(3, &["p"], &["q"]), policy("q", vec![], vec![])]);
    lab.update(&[
        delta("s:some", &["10.65.4.1"], &[]),
        delta("s:bad", &["203.0.113.0/25"], &["203.0.113.0/24"]),
    ]);
    lab.update(&[delta("s:some", &[], &["10.65.3.0/24", "fd65:3::/64", "10.65.4.1"])]);
    if round.is_multiple_of(3) {
        // A new agent learns everything anew.
        lab.node = Node::new();
        lab.node.in_sync = false;
        lab.update(&[]);
        lab.update(&state());
        lab.node.in_sync = true;
    }
    if round.is_multiple_of(7) {
        nft(
            "add element inet calico cali-from-wl-dispatch { eth9 : accept }\nadd rule inet calico cali-wl-to-host drop",
        );
        lab.node.driver.resync(&mut lab.node.desired).unwrap();
    }
    lab.update(&[
        Update::WorkloadRemove(wid("w3")),
        Update::PolicyRemove(pid("q")),
        policy("p", rules(true), vec![]),
        delta("s:bad", &["203.0.113.0/24"], &["203.0.113.0/25"]),
    ]);
}

#[test]
fn nothing_lost_and_nothing_let_through() {
    in_netns(|| {
        let mut lab = Lab::new(Config::default(), 2);
        nft(COUNT);
        lab.update(&state());
        let _receivers: Vec<UdpSocket> = lab.workloads[1].run(|| {
            let at = |(address, port): (&str, u16)| UdpSocket::bind((address, port)).unwrap();
            [("10.65.2.1", ALLOWED), ("fd65:2::1", ALLOWED)].map(at).into()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let senders: Vec<UdpSocket> = lab.workloads[0].run(|| {
            let to = |(from, to, port): (&str, &str, u16)| {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.connect((to, port)).unwrap();
                socket
            };
            [
                ("10.65.1.1", "10.65.2.1", ALLOWED),
                ("fd65:1::1", "fd65:2::1", ALLOWED),
                ("10.65.1.1", "10.65.2.1", FORBIDDEN),
                ("fd65:1::2", "fd65:2::1", FORBIDDEN),
            ]
            .map(to)
            .into()
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for socket in &senders {
                        // A full queue is the test's own limit, not a verdict.
                        sent.fetch_add(u64::from(socket.send(b"?").is_ok()), Ordering::Relaxed);
                    }
                }
            });
            for round in 0..40 {
                // Between two rounds there is traffic.
                let before = sent.load(Ordering::Relaxed);
                while sent.load(Ordering::Relaxed) < before + 100 {
                    std::thread::yield_now();
                }
                live(&mut lab, round);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let seen = || [counted("allowed-seen"), counted("forbidden-seen")];
        let mut last = seen();
        let mut passed = counted("allowed-passed");
        // The last packets may still be on their way: one that is lost never comes.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let now = (seen(), counted("allowed-passed"));
            let settled =
                now == (last, passed) && now.0.iter().sum::<u64>() >= sent.load(Ordering::Relaxed) / 2;
            (last, passed) = now;
            if settled && (passed == last[0] || Instant::now() > deadline) {
                break;
            }
        }
        assert!(last[0] > 4000 && last[1] > 4000, "{last:?}");
        assert_eq!(passed, last[0], "allowed packets that passed, of those that came");
        assert_eq!(counted("forbidden-passed"), 0, "of {} forbidden packets", last[1]);
    });
}
