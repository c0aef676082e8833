//! Order, tiers, actions, staged policies, types.

use super::fixture::*;
use crate::InvalidObject;
use serde_json::json;
use std::sync::Arc;
use tortie_model::{Change, Key, PolicyId, PolicyKind, Value};
use tortie_net::Family;

const FLOW: &str = "x/web -> x/db:80/tcp";

fn verdict(state: &crate::State) -> String {
    let [v4, v6] = Family::ALL.map(|f| decide(state, FLOW, f).verdict);
    assert_eq!(v4, v6);
    v4.to_string()
}

fn ingress(order: Option<f64>, action: &str) -> serde_json::Value {
    json!({"selector": "app == 'db'", "types": ["ingress"], "order": order, "inbound_rules": [{"action": action}]})
}

#[test]
fn the_lowest_order_decides_and_names_break_ties() {
    for (policies, wanted) in [
        (vec![("a", Some(2.0), "deny"), ("b", Some(1.0), "allow")], "allow"),
        (vec![("a", Some(1.0), "deny"), ("b", Some(2.0), "allow")], "deny"),
        (vec![("a", None, "deny"), ("b", Some(1e9), "allow")], "allow"),
        (vec![("b", Some(1.0), "deny"), ("a", Some(1.0), "allow")], "allow"),
        (vec![("b", None, "deny"), ("a", None, "allow")], "allow"),
        (vec![("a", Some(-1.0), "deny"), ("b", Some(0.0), "allow")], "deny"),
    ] {
        let mut state = cluster();
        for (name, order, action) in &policies {
            put_policy(&mut state, name, ingress(*order, action));
        }
        assert_eq!(verdict(&state), wanted, "{policies:?}");
    }
}

#[test]
fn equal_orders_compare_name_then_namespace_then_kind() {
    let kinds = [PolicyKind::GlobalNetworkPolicy, PolicyKind::NetworkPolicy];
    let mut state = cluster();
    for (kind, namespace, action) in [(kinds[1], "x", "deny"), (kinds[0], "", "allow")] {
        let id = PolicyId { kind, namespace: namespace.into(), name: "same".into() };
        put(&mut state, Key::Policy(id), Value::Policy(Arc::new(of(ingress(Some(1.0), action)))));
    }
    assert_eq!(verdict(&state), "allow", "no namespace sorts before one");
}

#[test]
fn a_policy_without_a_matching_rule_denies_unless_a_later_one_allows() {
    let mut state = cluster();
    put_policy(&mut state, "a", json!({"selector": "app == 'db'", "types": ["ingress"]}));
    assert_eq!(verdict(&state), "deny");
    put_policy(&mut state, "b", ingress(None, "allow"));
    assert_eq!(verdict(&state), "allow");
}

#[test]
fn types_say_in_which_directions_a_policy_applies() {
    for (types, wanted) in [
        (json!(["ingress"]), "deny"),
        (json!(["egress"]), "allow"),
        (json!([]), "deny"),
        (json!(["Ingress"]), "deny"),
    ] {
        let mut state = cluster();
        put_policy(&mut state, "a", json!({"selector": "app == 'db'", "types": types}));
        assert_eq!(verdict(&state), wanted, "{types}");
    }
    // An egress rule of a policy that is for ingress is not looked at.
    let mut state = cluster();
    put_policy(
        &mut state,
        "a",
        json!({"selector": "app == 'web'", "types": ["ingress"], "outbound_rules": [{"action": "deny"}]}),
    );
    assert_eq!(verdict(&state), "allow");
}

#[test]
fn tiers_in_order() {
    let tier =
        |order: serde_json::Value, default: &str| of(json!({"order": order, "defaultAction": default}));
    let in_tier = |tier: &str, rules: serde_json::Value| json!({"tier": tier, "selector": "app == 'db'", "types": ["ingress"], "inbound_rules": rules});
    let allow = || json!([{"action": "allow"}]);
    let deny = || json!([{"action": "deny"}]);
    let pass = || json!([{"action": "pass"}, {"action": "deny"}]);
    let none = || json!([]);
    // (rules in tier early, its default action, rules in tier default) -> verdict
    for (early, default_action, late, wanted) in [
        (allow(), "Deny", deny(), "allow"),
        (deny(), "Deny", allow(), "deny"),
        (pass(), "Deny", allow(), "allow"),
        (pass(), "Deny", deny(), "deny"),
        (none(), "Deny", allow(), "deny"),
        (none(), "", allow(), "deny"),
        (none(), "Pass", allow(), "allow"),
        (none(), "Pass", deny(), "deny"),
        (json!([{"action": "next-tier"}]), "Deny", allow(), "allow"),
        (json!([{"action": "log"}]), "Deny", allow(), "deny"),
        (json!([{"action": "log"}, {"action": "Pass"}]), "Deny", allow(), "allow"),
    ] {
        let mut state = cluster();
        put(&mut state, Key::Tier("early".into()), Value::Tier(tier(json!(10), default_action)));
        put_policy(&mut state, "z", in_tier("early", early.clone()));
        put_policy(&mut state, "a", in_tier("", late.clone()));
        assert_eq!(verdict(&state), wanted, "{early} {default_action} {late}");
    }
    // Pass in the last tier: profiles.
    let mut state = cluster();
    put_policy(&mut state, "a", in_tier("default", pass()));
    assert_eq!(verdict(&state), "allow");
    // A tier without an order is last.
    put(&mut state, Key::Tier("late".into()), Value::Tier(tier(json!(null), "Deny")));
    put_policy(&mut state, "b", in_tier("late", deny()));
    assert_eq!(verdict(&state), "deny");
    put_policy(&mut state, "a", in_tier("default", allow()));
    assert_eq!(verdict(&state), "allow");
    // A tier that does not exist comes after all that do, and denies.
    let mut state = cluster();
    put_policy(&mut state, "a", in_tier("absent", none()));
    assert_eq!(verdict(&state), "deny");
    put_policy(&mut state, "b", in_tier("default", allow()));
    assert_eq!(verdict(&state), "allow");
}

#[test]
fn a_tier_whose_policies_select_others_is_skipped() {
    let mut state = cluster();
    put(&mut state, Key::Tier("early".into()), Value::Tier(of(json!({"order": 1}))));
    put_policy(&mut state, "a", json!({"tier": "early", "selector": "app == 'nobody'"}));
    assert_eq!(verdict(&state), "allow");
}

#[test]
fn staged_policies_do_nothing() {
    let mut state = cluster();
    let staged = |kind| PolicyId { kind, namespace: String::new(), name: "s".into() };
    for kind in PolicyKind::ALL.into_iter().filter(|k| k.is_staged()) {
        put(&mut state, Key::Policy(staged(kind)), Value::Policy(Arc::new(of(ingress(Some(1.0), "deny")))));
    }
    assert_eq!(verdict(&state), "allow");
    put_policy(&mut state, "real", ingress(Some(9.0), "deny"));
    assert_eq!(verdict(&state), "deny");
}

#[test]
fn policies_for_host_endpoints_only_do_not_touch_workloads() {
    for field in ["untracked", "pre_dnat"] {
        let mut state = cluster();
        let mut policy = ingress(None, "deny");
        policy[field] = json!(true);
        policy["apply_on_forward"] = json!(true);
        put_policy(&mut state, "a", policy);
        assert_eq!(verdict(&state), "allow", "{field}");
    }
}

#[test]
fn unreadable_objects_fail_closed() {
    // A policy whose selector cannot be read counts as deleted, and says so.
    let mut state = cluster();
    put_policy(&mut state, "a", ingress(None, "deny"));
    let bad = Change {
        key: Key::Policy(global("a")),
        value: Some(Value::Policy(Arc::new(of(json!({"selector": "app ==", "types": ["ingress"]}))))),
    };
    assert!(matches!(state.apply(&bad), Err(InvalidObject::Selector { .. })));
    assert_eq!(verdict(&state), "allow");
    let wrong = Change { key: Key::Policy(global("a")), value: Some(Value::Ready(true)) };
    assert!(matches!(state.apply(&wrong), Err(InvalidObject::Type { .. })));
    // A rule that cannot be read: allow is left out, all else denies.
    for (rules, wanted) in [
        (json!([{"action": "allow", "src_selector": "a =="}, {"action": "allow"}]), "allow"),
        (json!([{"action": "allow", "src_selector": "a =="}]), "deny"),
        (json!([{"action": "deny", "src_selector": "a =="}, {"action": "allow"}]), "deny"),
        (json!([{"action": "pass", "src_selector": "a =="}, {"action": "allow"}]), "deny"),
        (json!([{"action": "log", "src_selector": "a =="}, {"action": "allow"}]), "allow"),
        (json!([{"action": "perhaps"}, {"action": "allow"}]), "deny"),
        (json!([{"action": "allow", "icmp_code": 1}, {"action": "allow"}]), "allow"),
        (json!([{"action": "deny", "ip_version": 5}, {"action": "allow"}]), "deny"),
        (json!([{"action": "allow", "ip_version": 260}, {"action": "allow"}]), "allow"),
        (json!([{"action": "deny", "icmp_type": 256}, {"action": "allow"}]), "deny"),
        (json!([{"action": "allow", "protocol": "foo"}]), "deny"),
        (json!([{"action": "deny", "!protocol": 0}, {"action": "allow"}]), "deny"),
        (json!([{}]), "allow"),
    ] {
        let mut state = cluster();
        put_policy(
            &mut state,
            "a",
            json!({"selector": "app == 'db'", "types": ["ingress"], "inbound_rules": rules}),
        );
        assert_eq!(verdict(&state), wanted, "{rules}");
    }
}
