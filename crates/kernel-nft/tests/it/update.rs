//! Changes touch what changed, and nothing is removed too early.

use crate::apply::everything;
use crate::build::*;
use crate::netns::{Node, in_netns, list, run};
use tortie_calc::Update;
use tortie_calc::update::{Action, Rule, Side};
use tortie_kernel_nft::remove_table;
use tortie_net::Protocol;
use tortie_rules::Source;

fn delta(id: &str, added: &[&str], removed: &[&str]) -> Update {
    Update::SetDelta { id: set(id), added: net_members(added), removed: net_members(removed) }
}

#[test]
fn a_member_is_one_message() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        let report = node.update(&[delta("s:hosts", &["10.0.0.9"], &[])]);
        assert_eq!((report.transactions, report.messages), (1, 1));
        assert!(run("nft list set inet calico cali40s-hosts").contains("10.0.0.9"));
        let report = node.update(&[delta("s:hosts", &["fd00::9"], &["10.0.0.9"])]);
        assert_eq!((report.transactions, report.messages), (1, 2));
        node.assert_equal();
    });
}

#[test]
fn a_set_changes_its_kind_and_back() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        for (added, removed) in [
            (&["10.7.0.0/16"][..], &["10.0.0.2"][..]),
            (&["10.6.0.0/15"], &["10.7.0.0/16"]),
            (&["10.7.128.0/17", "10.7.0.0/17"], &["10.6.0.0/15"]),
            (&["10.0.0.2"], &["10.7.128.0/17", "10.7.0.0/17"]),
            // At once, while the other kind has not yet been removed.
            (&["10.7.0.0/16"], &["10.0.0.1"]),
            (&["10.0.0.1", "10.0.0.3"], &["10.7.0.0/16"]),
        ] {
            let report = node.update(&[delta("s:hosts", added, removed)]);
            assert!(report.refused.is_empty(), "{:?}", report.refused);
            assert_eq!(report.transactions, 1);
        }
        let text = list();
        assert!(text.contains("ip saddr @cali40s-hosts"), "{text}");
        assert!(text.contains("set cali41s-hosts"), "a set outlives its last user for a while: {text}");
        node.settle();
        assert!(!list().contains("set cali41s-hosts"));
        node.assert_equal();
    });
}

#[test]
fn rules_that_stay_keep_their_counters() {
    in_netns(|| {
        let tcp = |port| Rule {
            protocol: Some(Protocol::TCP),
            destination: Side { ports: ports(&[(port, port)]), ..Side::default() },
            ..rule(Action::Allow)
        };
        let base =
            workload("w", endpoint("cali1", &[], &[]), vec![tier("default", Action::Deny, &["p"], &[])]);
        let mut node = Node::new();
        node.update(&[policy("p", vec![tcp(1), tcp(2), tcp(3)], vec![]), base]);
        let handles = || -> Vec<(String, String)> {
            run("nft -a list ruleset")
                .lines()
                .filter(|l| l.contains("NetworkPolicy ns/p ingress"))
                .map(|l| {
                    let port = l.split("dport ").nth(1).unwrap().split(' ').next().unwrap();
                    (port.to_owned(), l.split("handle ").nth(1).unwrap().to_owned())
                })
                .collect()
        };
        let before = handles();
        // The index is part of what a rule is: of these, only the first keeps its own.
        let report = node.update(&[policy("p", vec![tcp(1), tcp(9), tcp(3), tcp(4)], vec![])]);
        assert_eq!(report.transactions, 1);
        let after = handles();
        assert_eq!(after.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(), ["1", "9", "3", "4"]);
        assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
        assert_ne!(before[1].1, after[1].1);
        node.assert_equal();
        let counters = node.driver.counters(&node.desired).unwrap();
        let of_policy =
            counters.iter().filter(|c| matches!(&c.source, Source::Policy(id, ..) if id.name == "p"));
        assert_eq!(of_policy.count(), 4);
        assert!(counters.iter().any(|c| matches!(&c.source, Source::TierEnd(tier) if &**tier == "default")));
    });
}

#[test]
fn what_goes_goes_completely() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&[]);
        let empty = list();
        node.update(&everything());
        let removals: Vec<Update> = everything()
            .into_iter()
            .rev()
            .filter_map(|update| {
                Some(match update {
                    Update::Set { id, .. } => Update::SetRemove(id),
                    Update::Policy(id, _) => Update::PolicyRemove(id),
                    Update::Profile(name, _) => Update::ProfileRemove(name),
                    Update::Workload(id, _) => Update::WorkloadRemove(id),
                    Update::Pool(pool) => Update::PoolRemove(pool.cidr),
                    _ => return None,
                })
            })
            .collect();
        node.update(&removals);
        node.settle();
        assert_eq!(list(), empty);
    });
}

#[test]
fn nothing_is_deleted_before_in_sync() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        let before = list();
        // The next agent knows nothing at first.
        let mut node = Node::new();
        node.in_sync = false;
        assert_eq!(node.update(&[]).transactions, 0);
        assert_eq!(list(), before);
        // It learns that one set is other than it was: what is new comes, what is old stays.
        let report = node.update(&[
            net_set("s:nets", &["10.0.0.0/15", "10.2.7.0/24", "192.0.2.0/24", "fd00::2"]),
            net_set("s:hosts", &["10.0.0.3"]),
        ]);
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        let nets = run("nft list set inet calico cali41s-nets");
        for part in ["10.0.0.0/15", "10.2.0.0/16", "192.0.2.0/24", "255.0.0.0/8"] {
            assert!(nets.contains(part), "{nets}");
        }
        let hosts = run("nft list set inet calico cali40s-hosts");
        for part in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            assert!(hosts.contains(part), "{hosts}");
        }
        // In sync, with one workload less and the sets as before.
        node.in_sync = true;
        let mut updates = everything();
        updates.retain(|u| !matches!(u, Update::Workload(id, _) if *id == wid("b")));
        node.update(&updates);
        node.settle();
        let after = list();
        assert!(!after.contains("cali2") && after.contains("cali-fw-cali0123456789a"), "{after}");
        node.assert_equal();
    });
}

#[test]
fn a_restart_with_equal_state_writes_nothing() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        node.settle();
        let before = list();
        let mut again = Node::new();
        let report = again.update(&everything());
        assert_eq!((report.transactions, report.resynced), (0, true));
        assert_eq!(list(), before);
    });
}

#[test]
fn policy_is_given_up_in_one_transaction_and_the_way_out_stays() {
    in_netns(|| {
        run("nft add table inet other");
        let mut node = Node::new();
        node.update(&everything());
        assert!(node.desired.give_up_policy());
        assert_eq!(node.driver.replace(&mut node.desired).unwrap().transactions, 1);
        let text = list();
        for gone in ["hook forward", "hook input", "cali40s-hosts", "dispatch"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        assert!(text.contains("masquerade") && text.contains("10.0.0.0/16"), "{text}");
        node.assert_equal();

        remove_table().unwrap();
        assert_eq!(run("nft list tables"), "table inet other\n");
        remove_table().unwrap();
    });
}
