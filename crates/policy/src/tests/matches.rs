//! Every match of a rule, one at a time.

use super::fixture::*;
use crate::{Packet, State};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tortie_model::{Key, Value};
use tortie_net::{Family, Protocol};

/// True if an ingress rule of `x/db` with these fields matches the flow.
fn matches(state: &State, rule: &Json, flow: &str, family: Family) -> bool {
    matches_packet(state, rule, &packet(flow, family))
}

fn matches_packet(state: &State, rule: &Json, packet: &Packet) -> bool {
    let mut state = state.clone();
    let mut rule = rule.clone();
    rule["action"] = json!("deny");
    put_policy(
        &mut state,
        "p",
        json!({"selector": "app == 'db'", "types": ["ingress"], "inbound_rules": [rule, {"action": "allow"}]}),
    );
    !state.evaluate(packet).is_allowed()
}

/// The rule matches the flow in exactly these families.
fn check(state: &State, rule: Json, flow: &str, in_families: &[Family]) {
    for family in Family::ALL {
        assert_eq!(
            matches(state, &rule, flow, family),
            in_families.contains(&family),
            "{rule} {flow} {family}"
        );
    }
}

const WEB: &str = "x/web -> x/db:80/tcp";
const BOTH: &[Family] = &Family::ALL;
const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const NONE: &[Family] = &[];

#[test]
fn protocols_and_families() {
    let state = cluster();
    for (rule, flow, families) in [
        (json!({}), WEB, BOTH),
        (json!({"protocol": "TCP"}), WEB, BOTH),
        (json!({"protocol": 6}), WEB, BOTH),
        (json!({"protocol": "UDP"}), WEB, NONE),
        (json!({"!protocol": "TCP"}), WEB, NONE),
        (json!({"!protocol": "UDP"}), WEB, BOTH),
        (json!({"ip_version": 4}), WEB, V4),
        (json!({"ip_version": 6}), WEB, V6),
        (json!({"protocol": "ICMP"}), "x/web -> x/db:icmp", V4),
        (json!({"protocol": "ICMPv6"}), "x/web -> x/db:icmp", V6),
        (json!({"protocol": "TCP"}), "x/web -> x/db:icmp", NONE),
    ] {
        check(&state, rule, flow, families);
    }
}

#[test]
fn icmp_types_and_codes() {
    let state = cluster();
    let ping = "x/web -> x/db:icmp";
    for (rule, families) in [
        (json!({"protocol": "ICMP", "icmp_type": 8}), V4),
        (json!({"protocol": "ICMP", "icmp_type": 8, "icmp_code": 0}), V4),
        (json!({"protocol": "ICMP", "icmp_type": 8, "icmp_code": 1}), NONE),
        (json!({"protocol": "ICMP", "icmp_type": 0}), NONE),
        (json!({"protocol": "ICMPv6", "icmp_type": 128, "icmp_code": 0}), V6),
        (json!({"protocol": "ICMP", "!icmp_type": 8}), NONE),
        (json!({"protocol": "ICMP", "!icmp_type": 3}), V4),
        (json!({"protocol": "ICMP", "!icmp_type": 8, "!icmp_code": 1}), V4),
        (json!({"protocol": "ICMP", "!icmp_type": 8, "!icmp_code": 0}), NONE),
    ] {
        check(&state, rule, ping, families);
    }
    check(&state, json!({"icmp_type": 8}), WEB, NONE);
}

#[test]
fn nets() {
    let state = cluster();
    for (rule, families) in [
        (json!({"src_nets": ["10.0.1.0/24"]}), V4),
        (json!({"src_nets": ["10.0.9.0/24", "10.0.1.1/32"]}), V4),
        (json!({"src_nets": ["10.0.9.0/24"]}), NONE),
        (json!({"src_nets": ["10.0.1.0/24", "fd00:1::/32"]}), BOTH),
        (json!({"src_nets": ["10.0.9.0/24", "fd00:1::/32"]}), V6),
        (json!({"dst_nets": ["fd00:2::/32"]}), V6),
        (json!({"src_nets": ["0.0.0.0/0", "::/0"]}), BOTH),
        (json!({"!src_nets": ["10.0.9.0/24", "fd00:9::/32"]}), BOTH),
        (json!({"!src_nets": ["10.0.1.0/24", "fd00:9::/32"]}), V6),
        (json!({"!dst_nets": ["10.0.2.3/32"]}), NONE),
        // Prefixes of one family make the rule one for that family, also when negated.
        (json!({"!src_nets": ["10.0.9.0/24"]}), V4),
        (json!({"!src_nets": ["0.0.0.0/0"]}), NONE),
        (json!({"src_nets": ["10.0.0.0/8"], "!src_nets": ["10.0.9.0/24"]}), V4),
        (json!({"src_nets": ["10.0.0.0/8"], "!src_nets": ["10.0.1.0/24"]}), NONE),
        (json!({"src_nets": ["10.0.0.0/8", "fd00::/16"], "dst_nets": ["10.0.0.0/8"]}), V4),
    ] {
        check(&state, rule, WEB, families);
    }
}

#[test]
fn selectors() {
    let mut state = cluster();
    for (rule, flow, families) in [
        (json!({"src_selector": "app == 'web'"}), WEB, BOTH),
        (json!({"src_selector": "app == 'api'"}), WEB, NONE),
        (json!({"src_selector": "pcns.team == 'a'"}), WEB, BOTH),
        (json!({"src_selector": "pcns.team == 'a'"}), "y/web -> x/db:80/tcp", NONE),
        (json!({"src_selector": "app == 'web' && pcns.team == 'b'"}), "y/web -> x/db:80/tcp", BOTH),
        (json!({"src_selector": "all()"}), WEB, BOTH),
        // Nothing is selected at an address that belongs to nothing.
        (json!({"src_selector": "all()"}), "world -> x/db:80/tcp", NONE),
        (json!({"src_selector": "!has(app)"}), "world -> x/db:80/tcp", NONE),
        (json!({"!src_selector": "app == 'web'"}), "world -> x/db:80/tcp", BOTH),
        (json!({"!src_selector": "app == 'web'"}), WEB, NONE),
        (json!({"!src_selector": "app == 'api'"}), WEB, BOTH),
        (json!({"src_selector": "has(app)", "!src_selector": "app == 'web'"}), WEB, NONE),
        (json!({"src_selector": "has(app)", "!src_selector": "app == 'api'"}), WEB, BOTH),
        (json!({"src_selector": "has(app)", "!src_selector": "app == 'api'"}), "world -> x/db:80/tcp", NONE),
        (json!({"dst_selector": "app == 'db'"}), WEB, BOTH),
        (json!({"dst_selector": "app == 'web'"}), WEB, NONE),
        (json!({"!dst_selector": "app == 'db'"}), WEB, NONE),
    ] {
        check(&state, rule, flow, families);
    }
    // Own labels hide those of profiles.
    put(
        &mut state,
        Key::ProfileLabels("kns.x".into()),
        Value::ProfileLabels(Arc::new(of(json!({"app": "profile", "zone": "z"})))),
    );
    check(&state, json!({"src_selector": "app == 'web' && zone == 'z'"}), WEB, BOTH);
    check(&state, json!({"src_selector": "app == 'profile'"}), WEB, NONE);
}

#[test]
fn network_sets_and_host_endpoints_are_selected_by_their_addresses() {
    let mut state = cluster();
    let set = json!({"nets": ["203.0.113.0/24", "2001:db8::/32"], "labels": {"kind": "world"}});
    put(&mut state, Key::NetworkSet("world".into()), Value::NetworkSet(Arc::new(of(set))));
    let flow = "world -> x/db:80/tcp";
    check(&state, json!({"src_selector": "kind == 'world'"}), flow, BOTH);
    check(&state, json!({"src_selector": "kind == 'world'"}), WEB, NONE);
    check(&state, json!({"!src_selector": "kind == 'world'"}), flow, NONE);
    let set = json!({"nets": ["203.0.113.0/24"], "labels": {"kind": "inner"}, "profile_ids": ["kns.y"]});
    put(&mut state, Key::NetworkSet("y/inner".into()), Value::NetworkSet(Arc::new(of(set))));
    check(&state, json!({"src_selector": "kind == 'inner' && pcns.team == 'b'"}), flow, V4);
    // Two things at one address: one of them must satisfy the whole of both selectors.
    check(&state, json!({"src_selector": "has(kind)", "!src_selector": "kind == 'inner'"}), flow, BOTH);
    check(&state, json!({"src_selector": "kind == 'inner' && kind == 'world'"}), flow, NONE);
    put_host(
        &mut state,
        2,
        "h",
        json!({"name": "*", "labels": {"role": "node"},
        "expected_ipv4_addrs": ["192.0.2.1"], "expected_ipv6_addrs": ["fd99::1"], "profile_ids": ["kns.x"]}),
    );
    check(&state, json!({"src_selector": "role == 'node'"}), "node1 -> x/db:80/tcp", BOTH);
}

#[test]
fn ports() {
    let state = cluster();
    for (rule, flow, families) in [
        (json!({"protocol": "TCP", "dst_ports": [80]}), WEB, BOTH),
        (json!({"protocol": "TCP", "dst_ports": [81, "70:80"]}), WEB, BOTH),
        (json!({"protocol": "TCP", "dst_ports": [81, "82:90"]}), WEB, NONE),
        (json!({"protocol": "UDP", "dst_ports": [80]}), WEB, NONE),
        (json!({"protocol": "TCP", "!dst_ports": [80]}), WEB, NONE),
        (json!({"protocol": "TCP", "!dst_ports": ["81:90"]}), WEB, BOTH),
        (json!({"protocol": "TCP", "src_ports": ["40000:40001"]}), WEB, BOTH),
        (json!({"protocol": "TCP", "src_ports": [80]}), WEB, NONE),
        (json!({"protocol": "TCP", "!src_ports": [40000]}), WEB, NONE),
        (json!({"dst_ports": ["0:65535"]}), "x/web -> x/db:icmp", NONE),
        (json!({"!dst_ports": ["0:65535"]}), "x/web -> x/db:icmp", BOTH),
    ] {
        check(&state, rule, flow, families);
    }
}

#[test]
fn named_ports_are_those_of_the_endpoint_at_that_end() {
    let state = cluster();
    for (rule, flow, families) in [
        (json!({"protocol": "TCP", "dst_ports": ["http"]}), WEB, BOTH),
        (json!({"protocol": "TCP", "dst_ports": ["http"]}), "x/web -> x/db:81/tcp", NONE),
        (json!({"protocol": "TCP", "dst_ports": ["http", 81]}), "x/web -> x/db:81/tcp", BOTH),
        (json!({"protocol": "TCP", "dst_ports": ["none"]}), WEB, NONE),
        (json!({"protocol": "TCP", "dst_ports": ["dns"]}), "x/web -> x/db:53/tcp", NONE),
        (json!({"protocol": "UDP", "dst_ports": ["dns"]}), "x/web -> x/db:53/udp", BOTH),
        (json!({"dst_ports": ["dns"]}), "x/web -> x/db:53/udp", BOTH),
        (json!({"dst_ports": ["dns"]}), "x/web -> x/db:53/tcp", NONE),
        (json!({"protocol": "TCP", "!dst_ports": ["http"]}), WEB, NONE),
        (json!({"protocol": "TCP", "!dst_ports": ["http"]}), "x/web -> x/db:81/tcp", BOTH),
        (json!({"protocol": "TCP", "dst_ports": ["http"], "dst_selector": "app == 'db'"}), WEB, BOTH),
        (json!({"protocol": "TCP", "dst_ports": ["http"], "dst_selector": "app == 'web'"}), WEB, NONE),
    ] {
        check(&state, rule, flow, families);
    }
    // In an egress rule the name is the destination's.
    let mut state = cluster();
    put_policy(
        &mut state,
        "p",
        json!({"selector": "app == 'web'", "types": ["egress"], "outbound_rules": [
            {"action": "allow", "protocol": "TCP", "dst_ports": ["http"]}]}),
    );
    expect(
        &state,
        "allow x/web -> x/db:80/tcp
         deny  x/web -> x/db:81/tcp
         deny  x/web -> world:80/tcp",
    );
    // A named source port.
    let state = cluster();
    let web = addr("x/web", Family::V4);
    let from_http =
        Packet { src_port: 80, ..Packet::to_port(web, addr("x/db", Family::V4), Protocol::TCP, 1) };
    assert!(matches_packet(&state, &json!({"protocol": "TCP", "src_ports": ["http"]}), &from_http));
    check(&state, json!({"protocol": "TCP", "src_ports": ["http"]}), WEB, NONE);
}

#[test]
fn services() {
    let mut state = cluster();
    let slice = |addresses: Json, port: Json| {
        json!({"metadata": {"labels": {"kubernetes.io/service-name": "svc"}},
            "endpoints": [{"addresses": addresses}, {"addresses": ["not.an.address"]}], "ports": [port]})
    };
    let http = || json!({"port": 80, "protocol": "TCP"});
    put_resource(
        &mut state,
        "KubernetesEndpointSlice",
        "x/s4",
        slice(json!(["10.0.2.3", "10.0.1.1"]), http()),
    );
    put_resource(
        &mut state,
        "KubernetesEndpointSlice",
        "x/s6",
        slice(json!(["fd00:2::3", "fd00:1::1"]), http()),
    );
    for (rule, flow, families) in [
        (json!({"dst_service": "svc", "dst_service_ns": "x"}), WEB, BOTH),
        (json!({"dst_service": "svc", "dst_service_ns": "x"}), "x/web -> x/db:81/tcp", NONE),
        (json!({"dst_service": "svc", "dst_service_ns": "x"}), "x/web -> x/db:80/udp", NONE),
        (json!({"dst_service": "svc", "dst_service_ns": "x"}), "x/web -> x/db:icmp", NONE),
        (json!({"dst_service": "svc", "dst_service_ns": "y"}), WEB, NONE),
        (json!({"dst_service": "other", "dst_service_ns": "x"}), WEB, NONE),
        // Sources are matched by address alone.
        (json!({"src_service": "svc", "src_service_ns": "x"}), "x/web -> x/db:81/udp", BOTH),
        (json!({"src_service": "svc", "src_service_ns": "x"}), "x/web -> x/db:icmp", BOTH),
        (json!({"src_service": "svc", "src_service_ns": "x"}), "x/api -> x/db:80/tcp", NONE),
    ] {
        check(&state, rule, flow, families);
    }
    // "All ports" is no port.
    put_resource(&mut state, "KubernetesEndpointSlice", "x/s4", slice(json!(["10.0.2.3"]), json!({})));
    check(&state, json!({"dst_service": "svc", "dst_service_ns": "x"}), WEB, V6);
}

#[test]
fn all_matches_of_a_rule_must_hold() {
    let state = cluster();
    let all = json!({"protocol": "TCP", "src_nets": ["10.0.1.0/24"], "src_selector": "app == 'web'",
        "dst_selector": "app == 'db'", "dst_ports": [80], "!src_selector": "app == 'api'", "ip_version": 4});
    check(&state, all.clone(), WEB, V4);
    for (field, other) in [
        ("protocol", json!("UDP")),
        ("src_nets", json!(["10.0.9.0/24"])),
        ("src_selector", json!("app == 'db'")),
        ("dst_selector", json!("app == 'web'")),
        ("dst_ports", json!([81])),
        ("!src_selector", json!("app == 'web'")),
        ("ip_version", json!(6)),
    ] {
        let mut rule = all.clone();
        rule[field] = other;
        check(&state, rule, WEB, NONE);
    }
}
