//! Which endpoints are judged, where, and by what when no policy selects them.

use super::fixture::*;
use crate::{HostAction, Packet};
use expect_test::expect;
use serde_json::json;
use std::sync::Arc;
use tortie_model::{Change, Key, Value};
use tortie_net::{Family, Protocol};

fn deny_all() -> serde_json::Value {
    json!({"selector": "all()", "types": ["ingress", "egress"]})
}

#[test]
fn without_policy_profiles_decide() {
    let mut state = cluster();
    expect(
        &state,
        "allow x/web -> x/db:80/tcp
         allow y/web -> x/web:53/udp
         allow x/web -> world:icmp
         allow world -> x/web:80/tcp",
    );
    put_profile(
        &mut state,
        "kns.x",
        json!([
            {"action": "log"},
            {"action": "deny", "src_selector": "app == 'db'"},
            {"action": "pass", "src_selector": "app == 'api'"},
            {"action": "allow"},
        ]),
        json!([{"action": "allow", "protocol": "udp"}]),
    );
    expect(
        &state,
        "deny  x/web -> y/web:80/tcp
         allow x/web -> y/web:53/udp
         deny  x/db -> x/web:53/udp
         deny  x/api -> x/web:53/udp
         allow y/web -> x/web:80/tcp",
    );
}

#[test]
fn missing_profile_and_no_profile_deny() {
    let mut state = cluster();
    state.apply(&Change { key: Key::ProfileRules("kns.x".into()), value: None }).unwrap();
    expect(&state, "deny y/web -> x/web:80/tcp\n deny x/web -> y/web:80/tcp");
    let endpoint = json!({"state": "active", "ipv4_nets": ["10.0.1.1/32"], "ipv6_nets": ["fd00:1::1/128"]});
    put(
        &mut state,
        Key::WorkloadEndpoint(workload_id("x/web", 1)),
        Value::WorkloadEndpoint(Arc::new(of(endpoint))),
    );
    expect(&state, "deny y/web -> x/web:80/tcp");
    put_policy(&mut state, "a", json!({"selector": "!has(app)", "inbound_rules": [{"action": "allow"}]}));
    expect(&state, "allow y/web -> x/web:80/tcp");
}

#[test]
fn an_endpoint_that_is_down_is_cut_off() {
    let mut state = cluster();
    let endpoint = json!({"state": "inactive", "ipv4_nets": ["10.0.1.1/32"], "ipv6_nets": ["fd00:1::1/128"],
        "profile_ids": ["kns.x"]});
    put(
        &mut state,
        Key::WorkloadEndpoint(workload_id("x/web", 1)),
        Value::WorkloadEndpoint(Arc::new(of(endpoint))),
    );
    expect(&state, "deny y/web -> x/web:80/tcp\n deny x/web -> y/web:80/tcp\n allow node1 -> x/web:80/tcp");
}

#[test]
fn both_ends_must_agree() {
    let mut state = cluster();
    put_policy(
        &mut state,
        "egress",
        json!({"selector": "app == 'web'", "types": ["egress"], "outbound_rules": [
            {"action": "allow", "dst_selector": "app in {'api', 'db'}"}]}),
    );
    put_policy(
        &mut state,
        "ingress",
        json!({"selector": "app == 'db'", "types": ["ingress"], "inbound_rules": [
            {"action": "allow", "src_selector": "app == 'api'"}]}),
    );
    expect(
        &state,
        "allow x/web -> x/api:80/tcp
         deny  x/web -> x/db:80/tcp
         deny  x/web -> y/web:80/tcp
         allow x/api -> x/db:80/tcp
         allow x/db -> x/web:80/tcp
         deny  x/web -> world:80/tcp",
    );
    let steps = decide(&state, "x/web -> x/db:80/tcp", Family::V4).steps;
    assert_eq!(steps.len(), 2, "egress allowed, ingress denied");
}

#[test]
fn nodes_and_their_pods() {
    let mut state = cluster();
    put_policy(&mut state, "deny", deny_all());
    expect(
        &state,
        "allow node1 -> x/web:80/tcp
         deny  node1 -> x/db:80/tcp
         deny  x/web -> node1:80/tcp
         deny  x/web -> node2:80/tcp
         deny  world -> x/web:80/tcp
         deny  x/web -> world:80/tcp
         allow x/web -> x/web:80/tcp
         allow node1 -> node1:80/tcp
         allow node1 -> node2:80/tcp
         allow node1 -> world:80/tcp
         allow world -> node1:80/tcp",
    );
    put_policy(
        &mut state,
        "allow-node-1",
        json!({"selector": "all()", "types": ["ingress"], "order": 1, "inbound_rules": [
            {"action": "allow", "src_nets": ["192.0.2.1/32", "fd99::1/128"]}]}),
    );
    expect(&state, "allow node1 -> x/db:80/tcp\n deny node2 -> x/web:80/tcp");
}

#[test]
fn a_pod_to_its_own_node_meets_the_endpoint_to_host_action() {
    let mut state = cluster();
    expect(&state, "allow x/web -> node1:80/tcp\n allow x/web -> node2:80/tcp");
    state.settings.endpoint_to_host = HostAction::Drop;
    expect(&state, "deny x/web -> node1:80/tcp\n allow x/web -> node2:80/tcp\n allow node1 -> x/web:80/tcp");
    put_policy(&mut state, "deny", deny_all());
    let web = addr("x/web", Family::V6);
    let node = addr("node1", Family::V6);
    let solicitation = Packet { icmp: Some((135, 0)), ..Packet::echo(web, node) };
    assert!(state.evaluate(&solicitation).is_allowed());
    assert!(!state.evaluate(&Packet::echo(web, node)).is_allowed());
}

#[test]
fn pods_may_not_encapsulate() {
    let mut state = cluster();
    let (web, db) = (addr("x/web", Family::V4), addr("x/db", Family::V4));
    let vxlan = Packet::to_port(web, db, Protocol::UDP, 4789);
    let ipip = Packet { src: web, dst: db, protocol: Protocol(4), src_port: 0, dst_port: 0, icmp: None };
    assert!(!state.evaluate(&vxlan).is_allowed());
    assert!(!state.evaluate(&ipip).is_allowed());
    expect(&state, "allow x/web -> x/db:4789/tcp\n allow world -> x/db:4789/udp");
    state.settings.allow_vxlan_from_workloads = true;
    state.settings.allow_ipip_from_workloads = true;
    assert!(state.evaluate(&vxlan).is_allowed());
    assert!(state.evaluate(&ipip).is_allowed());
}

#[test]
fn decisions_tell_their_reasons() {
    let mut state = cluster();
    put_policy(
        &mut state,
        "web",
        json!({"selector": "app == 'api'", "types": ["ingress"], "order": 2, "inbound_rules": [
            {"action": "deny", "src_selector": "app == 'db'"},
            {"action": "allow", "protocol": "TCP", "src_selector": "app == 'web'", "dst_ports": [80, "443:444"]}]}),
    );
    put_policy(&mut state, "other", json!({"selector": "app == 'api'", "types": ["ingress"], "order": 1}));
    let text = |flow| decide(&state, flow, Family::V4).to_string();
    expect!["allow by ingress of x/api (rule 2 of GlobalNetworkPolicy web in tier default)"]
        .assert_eq(&text("x/web -> x/api:80/tcp"));
    expect!["deny by ingress of x/api (rule 1 of GlobalNetworkPolicy web in tier default)"]
        .assert_eq(&text("x/db -> x/api:80/tcp"));
    expect!["deny by ingress of x/api (default deny of tier default: selected by GlobalNetworkPolicy other, GlobalNetworkPolicy web; no rule matched; nearest: rule 2 of GlobalNetworkPolicy web, but the destination port is not 80, 443:444)"]
        .assert_eq(&text("x/web -> x/api:81/tcp"));
    expect!["allow (a node may always reach its own pods)"].assert_eq(&text("node1 -> x/api:81/tcp"));
    expect!["allow by ingress of x/web (rule 1 of profile kns.x)"].assert_eq(&text("x/api -> x/web:81/tcp"));
}
