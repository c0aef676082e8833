//! Host endpoints.

use super::fixture::*;
use crate::{Interface, Node, State};
use serde_json::{Value as Json, json};
use tortie_net::Family;

fn with_host(endpoint: Json) -> State {
    let mut state = cluster();
    put_host(&mut state, 1, "h", endpoint);
    state
}

fn star() -> Json {
    json!({"name": "*", "labels": {"role": "node"}})
}

fn policy(extra: Json) -> Json {
    let mut policy = json!({"selector": "role == 'node'"});
    for (key, value) in extra.as_object().unwrap() {
        policy[key] = value.clone();
    }
    policy
}

#[test]
fn local_traffic_needs_policy_or_profile_except_failsafes() {
    let mut state = with_host(star());
    expect(
        &state,
        "deny  world -> node1:80/tcp
         allow world -> node1:22/tcp
         allow world -> node1:68/udp
         deny  world -> node1:22/udp
         deny  node1 -> world:80/tcp
         allow node1 -> world:53/udp
         deny  node1 -> world:22/tcp
         deny  node1 -> node2:80/tcp
         allow node2 -> world:80/tcp
         allow x/web -> node1:80/tcp
         allow node1 -> x/web:80/tcp",
    );
    put_policy(
        &mut state,
        "p",
        policy(json!({"inbound_rules": [{"action": "allow", "protocol": "TCP", "dst_ports": [80]}],
            "outbound_rules": [{"action": "allow"}]})),
    );
    expect(&state, "allow world -> node1:80/tcp\n deny world -> node1:81/tcp\n allow node1 -> x/db:80/tcp");
    let mut state = with_host(json!({"name": "*", "profile_ids": ["kns.x"]}));
    expect(&state, "allow world -> node1:80/tcp\n allow node1 -> node2:80/tcp");
    state.settings.failsafe_inbound.clear();
    put_policy(&mut state, "p", json!({"selector": "pcns.team == 'a'", "types": ["ingress"]}));
    expect(&state, "deny world -> node1:22/tcp");
}

#[test]
fn forwarded_traffic_is_free_unless_a_policy_applies_on_forward() {
    let mut state = with_host(star());
    expect(&state, "allow world -> x/web:80/tcp\n allow x/web -> world:80/tcp\n allow x/web -> y/web:80/tcp");
    put_policy(&mut state, "p", policy(json!({"inbound_rules": [{"action": "deny"}]})));
    expect(&state, "allow world -> x/web:80/tcp");
    put_policy(
        &mut state,
        "p",
        policy(json!({"apply_on_forward": true, "types": ["ingress"], "inbound_rules": [
            {"action": "allow", "protocol": "TCP"}]})),
    );
    expect(
        &state,
        "allow world -> x/web:80/tcp
         deny  world -> x/web:80/udp
         deny  y/web -> x/web:22/udp
         allow x/web -> world:80/udp
         allow x/web -> x/api:80/udp
         deny  world -> node1:80/udp",
    );
    // The pod's own policy still has to allow it.
    put_policy(&mut state, "q", json!({"selector": "app == 'web'", "types": ["ingress"]}));
    expect(&state, "deny world -> x/web:80/tcp");
}

#[test]
fn pre_dnat_policy_comes_first_and_does_not_deny_by_default() {
    let mut state = with_host(json!({"name": "*", "labels": {"role": "node"}, "profile_ids": ["kns.x"]}));
    put_policy(
        &mut state,
        "p",
        policy(json!({"pre_dnat": true, "apply_on_forward": true, "types": ["ingress"], "inbound_rules": [
            {"action": "deny", "src_nets": ["203.0.113.7/32", "2001:db8::7/128"], "protocol": "TCP"}]})),
    );
    expect(
        &state,
        "deny  world -> x/web:80/tcp
         deny  world -> node1:80/tcp
         allow world -> node1:22/tcp
         allow world -> x/web:80/udp
         allow y/web -> x/web:80/tcp
         allow x/web -> world:80/tcp",
    );
    // An allow there skips the host's other policy.
    put_policy(
        &mut state,
        "p",
        policy(json!({"pre_dnat": true, "apply_on_forward": true, "types": ["ingress"],
            "inbound_rules": [{"action": "allow"}]})),
    );
    put_policy(
        &mut state,
        "q",
        policy(
            json!({"apply_on_forward": true, "types": ["ingress"], "inbound_rules": [{"action": "deny"}]}),
        ),
    );
    expect(&state, "allow world -> x/web:80/tcp\n allow world -> node1:80/tcp");
}

#[test]
fn untracked_policy_needs_an_interface() {
    let untracked = || {
        policy(json!({"untracked": true, "apply_on_forward": true, "types": ["ingress"],
        "inbound_rules": [{"action": "deny"}]}))
    };
    let mut named = with_host(json!({"name": "eth0", "labels": {"role": "node"}, "profile_ids": ["kns.x"]}));
    put_policy(&mut named, "p", untracked());
    expect(&named, "deny world -> node1:80/tcp\n deny world -> x/web:80/tcp\n allow world -> node1:22/tcp");
    let mut star = with_host(json!({"name": "*", "labels": {"role": "node"}, "profile_ids": ["kns.x"]}));
    put_policy(&mut star, "p", untracked());
    expect(&star, "allow world -> node1:80/tcp");
}

#[test]
fn the_endpoint_of_an_interface() {
    let open = |name: &str| json!({"name": name, "profile_ids": ["kns.x"]});
    let mut state = cluster();
    put_host(&mut state, 1, "a", json!({"name": "eth1"}));
    expect(&state, "allow world -> node1:80/tcp");
    put_host(&mut state, 1, "b", json!({"name": "*"}));
    expect(&state, "deny world -> node1:80/tcp");
    put_host(&mut state, 1, "c", json!({"expected_ipv4_addrs": ["192.0.2.1"], "profile_ids": ["kns.x"]}));
    expect(&state, "allow world -> node1:80/tcp");
    put_host(&mut state, 1, "e", json!({"name": "eth0"}));
    expect(&state, "deny world -> node1:80/tcp");
    put_host(&mut state, 1, "d", open("eth0"));
    expect(&state, "allow world -> node1:80/tcp");
    let addresses = Family::ALL.map(|f| addr("node1", f)).to_vec();
    let interfaces = vec![Interface { name: "bond0".into(), addresses }];
    state.set_node("node1", Some(Node { interfaces }));
    put_host(&mut state, 1, "a", json!({"name": "bond0"}));
    expect(&state, "deny world -> node1:80/tcp");
}
