//! One item that the kernel refuses hurts no other.

use crate::apply::everything;
use crate::build::*;
use crate::netns::{Node, in_netns, list, nft, run};
use tortie_calc::Update;
use tortie_calc::update::{Action, Rule, Side};
use tortie_kernel_nft::{ApplyError, ApplyReport, Item};

/// Prefixes inside prefixes, which the calculation never sends: the kernel refuses the inner ones.
#[test]
fn elements() {
    in_netns(|| {
        let mut node = Node::new();
        let mut members: Vec<String> =
            (0..1200).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect();
        members.extend(["10.0.7.0/25", "10.2.0.128/25", "10.4.7.4"].map(str::to_owned));
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let mut updates = everything();
        updates[1] = net_set("s:nets", &members);
        let report = node.update(&updates);
        // Which of two that overlap is refused depends on their order; it is one of them each time.
        assert_eq!(report.refused.len(), 3, "{:?}", report.refused);
        for refusal in &report.refused {
            assert!(matches!(&refusal.item, Item::Element(set, _) if &*set.0 == "cali41s-nets"), "{refusal}");
            assert_eq!(
                refusal.to_string().split(" of ").nth(1).unwrap().split(':').next(),
                Some("set cali41s-nets")
            );
        }
        let nets = run("nft list set inet calico cali41s-nets");
        assert_eq!(nets.matches("/24").count() + nets.matches("/25").count(), 1200, "{nets}");
        assert!(list().contains("chain cali-fw-cali2"));
        // Nothing more to do, and the refusals are remembered.
        let report = node.update(&[]);
        assert_eq!((report.transactions, report.refused.len()), (0, 3));
        // The reason goes away.
        let bad = ["10.0.7.0/25", "10.2.0.128/25", "10.4.7.4", "10.0.7.0/24", "10.2.0.0/24", "10.4.7.0/24"];
        let report =
            node.update(&[Update::SetDelta { id: set("s:nets"), added: vec![], removed: net_members(&bad) }]);
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        node.assert_equal();
    });
}

/// A set of addresses that is in truth one of named ports: what the rule loads does not fill the key.
fn bad() -> Rule {
    Rule { source: Side { sets: vec![set("n:http")], ..Side::default() }, ..rule(Action::Allow) }
}

fn assert_closed(report: &ApplyReport) {
    assert_eq!(report.refused.len(), 1, "{:?}", report.refused);
    let chain = report.refused[0].item.to_string();
    assert!(chain.starts_with("chain "), "{chain}");
    let chain = run(&format!("nft list chain inet calico {}", chain.trim_start_matches("chain ")));
    assert!(chain.contains("drop comment \"refused by the kernel\"") && !chain.contains("accept"), "{chain}");
    assert!(list().contains("jump cali-fw-cali2"), "the rest is there");
}

#[test]
fn a_chain_closes() {
    in_netns(|| {
        let mut updates = everything();
        updates.push(policy("bad", vec![rule(Action::Allow), bad()], vec![]));
        updates.push(workload(
            "c",
            endpoint("cali3", &["10.0.0.3"], &[]),
            vec![tier("t", Action::Deny, &["bad"], &[])],
        ));
        let mut node = Node::new();
        assert_closed(&node.update(&updates));
        let report = node.update(&[]);
        assert_eq!((report.transactions, report.refused.len()), (0, 1));
        // An update makes it good.
        let report = node.update(&[policy("bad", vec![rule(Action::Allow)], vec![])]);
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        node.assert_equal();
    });
}

#[test]
fn an_update_that_is_refused_closes() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        assert_closed(&node.update(&[policy("q", vec![bad()], vec![])]));
        let report = node.update(&[policy("q", vec![rule(Action::Allow)], vec![])]);
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        node.assert_equal();
    });
}

/// A set that must be of another kind under the same name while rules refer to it: only a new table helps.
#[test]
fn the_last_resort() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        let before = list();
        nft("flush chain inet calico cali-nat-outgoing
            delete set inet calico cali41masq-ipam-pools
            add set inet calico cali41masq-ipam-pools { type ipv4_addr . inet_service; }
            add rule inet calico cali-nat-outgoing ip saddr . tcp dport @cali41masq-ipam-pools accept");
        node.driver.resync(&mut node.desired).unwrap();
        node.in_sync = false;
        let error = node.driver.apply(&mut node.desired, false).unwrap_err();
        assert!(matches!(error, ApplyError::Stuck { .. }), "{error}");
        node.in_sync = true;
        let report = node.update(&[]);
        assert!(report.rebuilt && report.refused.is_empty(), "{report:?}");
        assert_eq!(list(), before);
        node.assert_equal();
    });
}
