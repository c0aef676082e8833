//! Laws that hold whatever the policies are.

use super::fixture::*;
use crate::State;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tortie_model::{Change, Key};
use tortie_net::Family;

const ENDS: [&str; 7] = ["x/web", "x/api", "x/db", "y/web", "node1", "node2", "world"];
const PORTS: [&str; 5] = ["80/tcp", "81/tcp", "53/udp", "80/udp", "icmp"];

fn selector() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "all()",
        "app == 'web'",
        "app in {'api', 'db'}",
        "!has(app)",
        "pcns.team == 'b'",
        "has(absent)",
        "app != 'web'",
    ])
}

fn rule() -> impl Strategy<Value = Json> {
    let field = |name: &'static str, values: Vec<Json>| {
        prop::option::weighted(0.25, prop::sample::select(values)).prop_map(move |v| v.map(|v| (name, v)))
    };
    let nets =
        || vec![json!(["10.0.1.0/24"]), json!(["fd00:2::/32", "10.0.2.0/24"]), json!(["203.0.113.0/24"])];
    let ports = || vec![json!([80]), json!(["http"]), json!(["dns", "81:90"]), json!([53, 80])];
    (
        prop::sample::select(vec!["allow", "deny", "pass", "log"]),
        selector(),
        selector(),
        (
            field("protocol", vec![json!("TCP"), json!("UDP"), json!("ICMP"), json!("ICMPv6")]),
            field("ip_version", vec![json!(4), json!(6)]),
            field("src_nets", nets()),
            field("!src_nets", nets()),
            field("dst_nets", nets()),
            field("dst_ports", ports()),
            field("!dst_ports", ports()),
            field("!src_selector", vec![json!("app == 'web'"), json!("!has(app)")]),
        ),
    )
        .prop_map(|(action, src, dst, fields)| {
            let mut rule = json!({"action": action, "src_selector": src, "dst_selector": dst});
            let (a, b, c, d, e, f, g, h) = fields;
            for (name, value) in [a, b, c, d, e, f, g, h].into_iter().flatten() {
                rule[name] = value;
            }
            rule
        })
}

fn policy() -> impl Strategy<Value = Json> {
    let rules = || prop::collection::vec(rule(), 0..4);
    let types =
        prop::sample::select(vec![json!(["ingress"]), json!(["egress"]), json!(["ingress", "egress"])]);
    let order = prop::sample::select(vec![json!(null), json!(1), json!(2.5)]);
    let tier = prop::sample::select(vec!["default", "early"]);
    (selector(), types, order, tier, rules(), rules()).prop_map(
        |(selector, types, order, tier, inbound, outbound)| {
            json!({"selector": selector, "types": types, "order": order, "tier": tier,
            "inbound_rules": inbound, "outbound_rules": outbound})
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<Json>> {
    prop::collection::vec(policy(), 0..5)
}

fn state_with(policies: &[Json]) -> State {
    let mut state = cluster();
    let early = tortie_model::Value::Tier(of(json!({"order": 5})));
    put(&mut state, Key::Tier("early".into()), early);
    for (i, policy) in policies.iter().enumerate() {
        put_policy(&mut state, &format!("p{i}"), policy.clone());
    }
    state
}

/// The verdict of every flow.
fn table(state: &State) -> Vec<(String, Family, bool)> {
    let mut table = Vec::new();
    for from in ENDS {
        for to in ENDS {
            for port in PORTS {
                for family in Family::ALL {
                    let flow = format!("{from} -> {to}:{port}");
                    table.push((flow.clone(), family, decide(state, &flow, family).is_allowed()));
                }
            }
        }
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

    #[test]
    fn a_policy_that_selects_nothing_changes_nothing(policies in policies(), mut extra in policy()) {
        let mut state = state_with(&policies);
        let before = table(&state);
        extra["selector"] = json!("app == 'nobody'");
        put_policy(&mut state, "extra", extra);
        prop_assert_eq!(table(&state), before);
    }

    #[test]
    fn a_policy_that_comes_and_goes_leaves_no_trace(policies in policies(), extra in policy()) {
        let mut state = state_with(&policies);
        let before = table(&state);
        put_policy(&mut state, "extra", extra);
        state.apply(&Change { key: Key::Policy(global("extra")), value: None }).unwrap();
        prop_assert_eq!(table(&state), before);
    }

    #[test]
    fn the_order_of_changes_does_not_matter(policies in policies()) {
        let forwards = state_with(&policies);
        let mut backwards = state_with(&[]);
        for (i, policy) in policies.iter().enumerate().rev() {
            put_policy(&mut backwards, &format!("p{i}"), policy.clone());
        }
        prop_assert_eq!(table(&forwards), table(&backwards));
    }

    /// With allow rules alone, as in Kubernetes' NetworkPolicy, order and grouping mean nothing.
    #[test]
    fn allow_rules_commute(mut policies in policies()) {
        for policy in &mut policies {
            policy["tier"] = json!("default");
            for list in ["inbound_rules", "outbound_rules"] {
                for rule in policy[list].as_array_mut().unwrap() {
                    rule["action"] = json!("allow");
                }
            }
        }
        let before = table(&state_with(&policies));
        let mut reversed = policies.clone();
        reversed.reverse();
        for policy in &mut reversed {
            policy["order"] = json!(null);
            for list in ["inbound_rules", "outbound_rules"] {
                policy[list].as_array_mut().unwrap().reverse();
            }
        }
        prop_assert_eq!(table(&state_with(&reversed)), before);
    }

    #[test]
    fn log_rules_change_no_verdict(policies in policies()) {
        let mut silent = policies.clone();
        for policy in &mut silent {
            for list in ["inbound_rules", "outbound_rules"] {
                policy[list].as_array_mut().unwrap().retain(|r| r["action"] != "log");
            }
        }
        prop_assert_eq!(table(&state_with(&silent)), table(&state_with(&policies)));
    }

    #[test]
    fn an_allow_of_everything_in_front_opens_everything(policies in policies()) {
        let mut state = state_with(&policies);
        let all = json!([{"action": "allow"}]);
        put_policy(&mut state, "first", json!({"tier": "early", "order": -1, "selector": "all()",
            "inbound_rules": all.clone(), "outbound_rules": all}));
        for (flow, family, allowed) in table(&state) {
            prop_assert!(allowed, "{} {}", flow, family);
        }
    }

    /// What denies is always said, and nothing is judged after it.
    #[test]
    fn a_denial_is_the_last_step(policies in policies()) {
        let state = state_with(&policies);
        for (flow, family, allowed) in table(&state) {
            let decision = decide(&state, &flow, family);
            let denials = decision.steps.iter().filter(|s| s.verdict == crate::Verdict::Deny).count();
            prop_assert_eq!(denials, usize::from(!allowed));
            prop_assert_eq!(decision.steps.last().map(|s| s.verdict), Some(decision.verdict));
            prop_assert!(!decision.to_string().is_empty());
        }
    }
}
