//! What others have, as the real `iptables` and `nft` make it, is seen and removed piece by piece.

use crate::netns::{exec, in_netns, nft, run};
use tortie_kernel_nft::{Filters, Removal, RemoveError, TableFamily, TableRef, legacy};
use tortie_net::Family;
use tortie_test_netns::ip_set;

fn is_theirs(name: &str) -> bool {
    name.starts_with("cali-")
}

fn filter(family: TableFamily) -> TableRef {
    TableRef { family, name: "filter".into() }
}

/// A chain of theirs with a set, a jump to it, a marked rule; and the same of somebody else.
fn both(program: &str, set: &str) {
    for line in [
        "-N cali-FORWARD",
        "-A cali-FORWARD -m comment --comment cali:AbCdEf0123456789 -m set --match-set SET src -j ACCEPT",
        "-N KUBE-FORWARD",
        "-A KUBE-FORWARD -m comment --comment kubernetes -j ACCEPT",
        "-I FORWARD -j KUBE-FORWARD",
        "-I FORWARD -m comment --comment cali:wUHhoiAYhphO9Mso -j cali-FORWARD",
        "-A FORWARD -m comment --comment cali:S93hcgKJrXEqnTfs -m mark --mark 0x10000/0x10000 -j ACCEPT",
        "-A FORWARD -s 192.0.2.1 -j DROP",
    ] {
        let line = line.replace("SET", set);
        let line = if program.starts_with("ip6") { line.replace("192.0.2.1", "2001:db8::1") } else { line };
        let words: Vec<&str> = [program].into_iter().chain(line.split_whitespace()).collect();
        exec(&words);
    }
}

#[test]
fn rules_and_chains_of_iptables_over_nftables() {
    in_netns(|| {
        let cases = [
            ("iptables-nft", Family::V4, TableFamily::Ip, "cali40s:a", "10.0.0.0/8"),
            ("ip6tables-nft", Family::V6, TableFamily::Ip6, "cali60s:a", "fd00::/8"),
        ];
        for (program, family, table, set, net) in cases {
            ip_set(set, family, &[net]);
            both(program, set);
            let mut filters = Filters::open().unwrap();
            let table = filter(table);
            assert!(filters.tables().unwrap().contains(&table));
            let chains = filters.chains().unwrap();
            let of = chains.iter().filter(|c| c.table == table);
            let base: Vec<_> = of.clone().filter(|c| c.hook.is_some()).map(|c| &*c.name).collect();
            assert_eq!(base, ["FORWARD"], "{program}");
            assert!(!of.clone().any(|c| c.drops));
            let rules = filters.rules(&table, "FORWARD").unwrap();
            let jumps: Vec<_> = rules.iter().map(|r| r.jump.as_deref()).collect();
            assert_eq!(jumps, [Some("cali-FORWARD"), Some("KUBE-FORWARD"), None, None], "{program}");
            let comments: Vec<_> = rules.iter().map(|r| r.comment.as_deref()).collect();
            assert_eq!(
                comments,
                [Some("cali:wUHhoiAYhphO9Mso"), None, Some("cali:S93hcgKJrXEqnTfs"), None],
                "{program}"
            );

            // A chain to which a rule jumps stays, and with it everything else of the removal.
            let mut removal = Removal::default();
            removal.rule(&rules[2]);
            removal.rules_of(&table, "cali-FORWARD");
            removal.chain(&table, "cali-FORWARD");
            assert!(matches!(filters.remove(&removal), Err(RemoveError::Busy)), "{program}");
            assert_eq!(filters.rules(&table, "FORWARD").unwrap().len(), 4);
            assert!(matches!(filters.remove_ip_set(set), Err(RemoveError::Busy)));

            let mut removal = Removal::default();
            removal.rule(&rules[0]);
            removal.rule(&rules[2]);
            removal.rules_of(&table, "cali-FORWARD");
            removal.chain(&table, "cali-FORWARD");
            filters.remove(&removal).unwrap();
            let left = run(&format!("{program} -S"));
            assert!(!left.contains("cali"), "{left}");
            assert!(left.contains("-A FORWARD -j KUBE-FORWARD") && left.contains("kubernetes"), "{left}");
            assert!(left.contains("/32 -j DROP") || left.contains("/128 -j DROP"), "{left}");

            // The kernel lets go of the set a moment after the rule.
            assert_eq!(filters.ip_sets().unwrap(), [set]);
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while let Err(error) = filters.remove_ip_set(set) {
                assert!(
                    matches!(error, RemoveError::Busy) && std::time::Instant::now() < deadline,
                    "{error}"
                );
                std::thread::yield_now();
            }
            assert!(filters.ip_sets().unwrap().is_empty());
            filters.remove_ip_set(set).unwrap();
        }
    });
}

#[test]
fn tables_of_any_family() {
    in_netns(|| {
        for family in ["ip", "ip6", "arp"] {
            nft(&format!(
                "table {family} calico {{\n chain filter {{\n type filter hook input priority 0; policy drop;\n}}\n}}\n\
                 table {family} kube-proxy {{\n}}\n"
            ));
        }
        let mut filters = Filters::open().unwrap();
        let mut removal = Removal::default();
        for table in filters.tables().unwrap().iter().filter(|t| &*t.name == "calico") {
            removal.table(table);
        }
        assert!(filters.chains().unwrap().iter().all(|c| c.drops));
        filters.remove(&removal).unwrap();
        assert_eq!(
            run("nft list tables"),
            "table ip kube-proxy\ntable ip6 kube-proxy\ntable arp kube-proxy\n"
        );
        // A second time there is no such table.
        assert!(matches!(filters.remove(&removal), Err(RemoveError::Refused { .. })));
        filters.remove(&Removal::default()).unwrap();
    });
}

#[test]
fn the_older_iptables() {
    in_netns(|| {
        assert_eq!(legacy::tables(&is_theirs).unwrap(), [], "looking makes no table");
        for (program, family, set, net) in [
            ("iptables-legacy", Family::V4, "cali40s:a", "10.0.0.0/8"),
            ("ip6tables-legacy", Family::V6, "cali60s:a", "fd00::/8"),
        ] {
            ip_set(set, family, &[net]);
            both(program, set);
            run(&format!("{program} -N LAST"));
            run(&format!("{program} -A KUBE-FORWARD -p tcp --dport 80 -j LAST"));
            run(&format!("{program} -A LAST -j REJECT"));
            run(&format!("{program} -P FORWARD DROP"));
            let before = run(&format!("{program}-save -t filter"));
            let seen = legacy::tables(&is_theirs).unwrap();
            let seen: Vec<_> = seen.iter().filter(|t| t.family == family).collect();
            assert_eq!(seen[0].chains, ["cali-FORWARD"]);
            assert!(seen[0].forward_drops);
            let marked = |comment: &str| comment.starts_with("cali:");
            // The jump, the marked rule, and the chain's head, rule and end.
            assert_eq!(legacy::remove(family, "filter", &is_theirs, &marked).unwrap(), 5);
            let after = run(&format!("{program}-save -t filter"));
            let kept = |text: &str| -> Vec<String> {
                let lines = text.lines().filter(|l| !l.contains("cali") && !l.starts_with('#'));
                lines.map(|l| l.split(" [").next().unwrap_or_default().to_owned()).collect()
            };
            assert_eq!(kept(&after), kept(&before));
            assert!(!after.contains("cali"), "{after}");
            assert_eq!(legacy::remove(family, "filter", &is_theirs, &marked).unwrap(), 0, "nothing is left");
            Filters::open().unwrap().remove_ip_set(set).unwrap();
        }
    });
}
