//! What others do to our table is repaired; what is not ours is left alone.

use crate::apply::everything;
use crate::build::*;
use crate::netns::{Node, in_netns, list, nft, run};
use tortie_calc::Update;

const FOREIGN: &str = "
table ip mine {
    set s {
        type ipv4_addr
        elements = { 1.2.3.4 }
    }
    chain c {
        type filter hook forward priority 5; policy accept;
        ip saddr @s counter accept
    }
}
table inet calico2 {
    chain cali-FORWARD-from {
        counter
    }
}
";

fn repaired(edit: &str) {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        let before = list();
        nft(edit);
        assert_ne!(list(), before, "{edit}");
        assert!(!node.driver.resync(&mut node.desired).unwrap().is_equal(), "{edit}");
        let report = node.update(&[]);
        assert!(report.refused.is_empty(), "{edit}: {:?}", report.refused);
        node.settle();
        node.assert_equal();
    });
}

#[test]
fn edits_of_our_table() {
    for edit in [
        "flush chain inet calico cali-fw-cali2",
        "insert rule inet calico cali-FORWARD-from accept",
        "add rule inet calico cali-from-wl-dispatch accept",
        "add rule inet calico cali-INPUT ip saddr { 1.1.1.1, 2.2.2.2 } counter accept comment \"mine\"",
        "delete element inet calico cali40s-hosts { 10.0.0.1 }",
        "add element inet calico cali40s-hosts { 6.6.6.6 }",
        "add element inet calico cali41s-nets { 6.6.6.0/24, 7.7.7.1-7.7.7.9 }",
        "delete element inet calico cali41s-nets { 10.1.0.0/16 }",
        "flush set inet calico cali41s-nets",
        "delete element inet calico cali-from-wl-dispatch { cali2 }",
        "add element inet calico cali-from-wl-dispatch { eth7 : accept }",
        "add element inet calico cali-ports-80.443 { 22 }",
        "add chain inet calico mine { type filter hook output priority 0; policy drop; }; add rule inet calico mine accept",
        "add set inet calico mine { type ipv4_addr; flags timeout; }",
        "flush table inet calico",
        "delete table inet calico",
        "add chain inet calico cali-INPUT { policy drop; }",
        "add table inet calico { flags dormant; }",
        "delete table inet calico; add table inet calico; add set inet calico cali40s-hosts { type inet_service; }",
        "delete table inet calico; add table inet calico; add chain inet calico cali-pri-kns.default { type filter hook input priority 0; }; add chain inet calico x; add rule inet calico x drop",
        "delete chain inet calico cali-FORWARD-to; add chain inet calico cali-FORWARD-to { type filter hook forward priority 7; }",
    ] {
        let edit = edit.replace("; add ", "\nadd ");
        repaired(&edit);
    }
}

#[test]
fn an_edit_that_keeps_the_comment_is_seen() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        let rules = run("nft -a list chain inet calico cali-pri-kns.default");
        let handle = rules.lines().find(|l| l.contains("accept")).unwrap().split("handle ").nth(1).unwrap();
        nft(&format!(
            "replace rule inet calico cali-pri-kns.default handle {handle} counter drop comment \"Profile kns.default ingress 0\""
        ));
        assert!(!node.driver.resync(&mut node.desired).unwrap().is_equal());
        node.update(&[]);
        node.assert_equal();
    });
}

#[test]
fn a_change_on_top_of_an_edit_repairs_what_it_meets() {
    in_netns(|| {
        let mut node = Node::new();
        node.update(&everything());
        nft(
            "delete element inet calico cali40s-hosts { 10.0.0.1 }\nadd element inet calico cali40s-hosts { 9.9.9.9 }",
        );
        // The deletion finds nothing: the driver reads the table again and then writes what differs.
        let report = node.update(&[Update::SetDelta {
            id: set("s:hosts"),
            added: vec![],
            removed: net_members(&["10.0.0.1"]),
        }]);
        assert!(report.resynced && report.refused.is_empty(), "{report:?}");
        node.assert_equal();
        nft("delete table inet calico");
        let report = node.update(&[Update::SetDelta {
            id: set("s:hosts"),
            added: net_members(&["10.0.0.7"]),
            removed: vec![],
        }]);
        assert!(report.resynced && report.refused.is_empty(), "{report:?}");
        node.assert_equal();
    });
}

#[test]
fn other_tables_are_not_touched() {
    in_netns(|| {
        nft(FOREIGN);
        let foreign = || run("nft -a list table ip mine") + &run("nft -a list table inet calico2");
        let before = foreign();
        let mut node = Node::new();
        node.update(&everything());
        nft("delete table inet calico");
        node.driver.resync(&mut node.desired).unwrap();
        node.update(&[]);
        nft("insert rule inet calico cali-FORWARD-from accept");
        let mut node = Node::new();
        node.update(&everything()[..3]);
        node.settle();
        assert_eq!(foreign(), before);
    });
}
