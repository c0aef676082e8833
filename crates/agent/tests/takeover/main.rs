//! Nodes as Calico leaves them, with pods that talk, are taken over by the real agent. Needs root.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod felix;
mod node;

use felix::Mode;
use node::{Node, OLD_ADDRESSES, PORT};
use std::time::Duration;
use tortie_probe::{Flood, Flow, Hold, Listeners, Proto};
use tortie_test_netns::isolated;

/// What holds whichever way Felix filtered.
fn taken_over(mode: Mode) {
    let mut node = Node::new();
    felix::install(&node, mode);
    let before = felix::of_others(&node, mode);

    let listeners = Listeners::new().unwrap();
    listeners.add(&node.web, PORT, Proto::Tcp).unwrap();
    let flows = |from: &tortie_probe::Host, proto| -> Vec<Flow> {
        let to = &node.web;
        let flow = |addr: &std::net::IpAddr| Flow {
            from: from.clone(),
            to: to.clone(),
            addr: *addr,
            port: PORT,
            proto,
        };
        to.addresses().iter().map(flow).collect()
    };
    assert!(node.reaches(&node.friend) && !node.reaches(&node.foe), "Felix's rules work");
    let allowed = Hold::start(&flows(&node.friend, Proto::Tcp), Duration::from_secs(5)).unwrap();
    let sent_again = node.retransmissions();
    let forbidden: Vec<Flow> =
        [Proto::Tcp, Proto::Udp, Proto::Icmp].into_iter().flat_map(|p| flows(&node.foe, p)).collect();
    let flood = Flood::start(&forbidden, 2000).unwrap();

    node.start_agent();
    node.wait("the agent is ready and Felix's leftovers are gone", || {
        node.status().is_some_and(|s| s.ready && s.problems.is_empty()) && node.leftovers().is_empty()
    });
    assert!(node.reaches(&node.friend) && !node.reaches(&node.foe), "our rules work");
    assert_eq!(felix::of_others(&node, mode), before, "what is not Felix's is as it was");
    assert!(node.run("nft", &["list", "table", "inet", "calico"]).contains("cali"));

    // A pod that Calico attached is detached: nothing of it stays.
    node.wait("addresses are compared with pods", || node.can_attach());
    assert_eq!(node.missing(), Vec::<String>::new(), "addresses of living pods, and those of tunnels");
    node.del("old");
    assert!(node.link("old").is_none());
    let routes = node.run("ip", &["route"]) + &node.run("ip", &["-6", "route"]);
    assert!(!OLD_ADDRESSES.iter().any(|a| routes.contains(a)), "{routes}");
    assert!(node.holder_of("old").is_empty(), "released");

    // And a new one gets what nobody has.
    let addresses = node.add("new");
    assert_eq!(addresses.len(), 2);
    assert!(!addresses.iter().any(|a| Node::in_use().contains(a)), "{addresses:?}");
    assert!(node.link("new").is_some());

    // An agent that starts again has nothing to take over.
    node.restart_agent();
    node.wait("the agent is ready again", || node.status().is_some_and(|s| s.ready) && node.can_attach());
    assert_eq!(node.missing(), Vec::<String>::new());

    let report = flood.stop().unwrap();
    assert!(report.sent > 1000, "{report:?}");
    assert!(report.arrived.is_empty(), "{:?}", report.arrived);
    // Nothing was lost: an application cannot have noticed, and TCP had nothing to send again.
    let again = node.retransmissions();
    let report = allowed.stop().unwrap();
    let disturbed: Vec<_> = report.disturbed(Duration::MAX).collect();
    assert!(disturbed.is_empty(), "{disturbed:?}");
    assert_eq!(again, sent_again, "{report:?}");
}

#[test]
fn iptables_over_nftables() {
    isolated(|| taken_over(Mode::IptablesNft));
}

#[test]
fn iptables_legacy() {
    isolated(|| taken_over(Mode::IptablesLegacy));
}

#[test]
fn nftables() {
    isolated(|| taken_over(Mode::Nftables));
}

/// Where forwarded packets are dropped unless a rule of Felix's lets them pass, that rule stays until it is not needed.
#[test]
fn what_pods_need_stays() {
    isolated(|| {
        let mut node = Node::new();
        felix::install(&node, Mode::IptablesNft);
        for program in ["iptables-nft", "ip6tables-nft"] {
            node.run(program, &["-P", "FORWARD", "DROP"]);
        }
        let listeners = Listeners::new().unwrap();
        listeners.add(&node.web, PORT, Proto::Tcp).unwrap();
        node.start_agent();
        node.wait("the problem is told", || {
            node.status().is_some_and(|s| s.ready && s.problems.iter().any(|p| p.name == "PredecessorStays"))
        });
        assert!(node.reaches(&node.friend) && !node.reaches(&node.foe));
        assert!(!node.leftovers().is_empty());
        for program in ["iptables-nft", "ip6tables-nft"] {
            node.run(program, &["-P", "FORWARD", "ACCEPT"]);
        }
        node.wait("the problem is over", || {
            node.leftovers().is_empty() && node.status().is_some_and(|s| s.problems.is_empty())
        });
        assert!(node.reaches(&node.friend) && !node.reaches(&node.foe));
    });
}

/// Who puts the rules back is told of, and not fought.
#[test]
fn felix_still_runs() {
    isolated(|| {
        let mut node = Node::new();
        felix::install(&node, Mode::Nftables);
        node.start_agent();
        node.wait("Felix's leftovers are gone", || node.leftovers().is_empty());
        felix::install(&node, Mode::Nftables);
        node.wait("they are removed once more", || node.leftovers().is_empty());
        felix::install(&node, Mode::Nftables);
        node.wait("the problem is told", || {
            node.status().is_some_and(|s| s.problems.iter().any(|p| p.name == "PredecessorRuns"))
        });
        assert!(!node.leftovers().is_empty(), "no third time so soon");
    });
}
