//! The end: no policy any more, but pods' way out.

use crate::build::*;
use std::collections::BTreeSet;
use tortie_calc::Update;
use tortie_calc::update::{Action, Side};
use tortie_rules::{Config, Desired};

fn everything(masquerade: bool) -> Desired {
    let mut desired = Desired::new(Config::default());
    let from = Side { sets: vec![set("s:a")], ..Side::default() };
    for update in [
        net_set("s:a", &["10.0.0.1", "fd00::1"]),
        policy("p", vec![tortie_calc::update::Rule { source: from, ..rule(Action::Allow) }], vec![]),
        workload(
            "w",
            endpoint("cali1", &["10.65.0.1/32"], &[]),
            vec![tier("default", Action::Deny, &["p"], &[])],
        ),
        pool("10.65.0.0/16", masquerade),
        pool("fd65::/48", false),
        Update::InSync,
    ] {
        desired.on_update(&update);
    }
    desired.tunnel_ends(Some(&BTreeSet::from(["192.0.2.1".parse().unwrap()])));
    desired.render_dirty();
    desired
}

#[test]
fn the_way_out_stays() {
    let mut desired = everything(true);
    assert!(desired.give_up_policy());
    // Whatever is rendered afterwards.
    desired.render_dirty();
    let names: Vec<&str> = desired.table().chains().keys().map(|c| &*c.0).collect();
    assert_eq!(names, ["cali-POSTROUTING", "cali-nat-outgoing"]);
    assert!(desired.table().sets().keys().all(|s| s.0.contains("pools")), "{:?}", desired.table().sets());
    let text =
        desired.table().chains().values().fold(String::new(), |text, chain| format!("{text}{chain}\n"));
    assert!(text.contains("masquerade") && !text.contains("drop"), "{text}");
}

#[test]
fn without_masquerade_nothing_is_of_use() {
    assert!(!everything(false).give_up_policy());
    assert!(!Desired::new(Config::default()).give_up_policy());
}
