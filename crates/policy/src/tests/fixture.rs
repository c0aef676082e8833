//! A small cluster, and short ways to change it and to ask it.

use crate::{Decision, Node, Packet, State};
use serde_json::{Value as Json, json};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_model::value::{Policy, ProfileRules, Rule, StringMap};
use tortie_model::{Change, Key, PolicyId, PolicyKind, ResourceKey, Value, WorkloadId};
use tortie_net::{Family, Protocol};

/// Two nodes. Namespace `x` (team=a) has `web` and `api` on node 1 and `db` on node 2; namespace `y` (team=b) has
/// `web` on node 2. All of node `n` have addresses `10.0.n.i` and `fd00:n::i`; nodes are `192.0.2.n` and `fd99::n`.
pub(super) fn cluster() -> State {
    let mut state = State::new();
    for n in [1, 2] {
        let addresses = [format!("192.0.2.{n}"), format!("fd99::{n}")].map(|a| a.parse().unwrap());
        state.set_node(&format!("node{n}"), Some(Node::with_addresses(addresses)));
    }
    put(&mut state, Key::Tier("default".into()), Value::Tier(of(json!({"order": 1000000}))));
    for (namespace, team) in [("x", "a"), ("y", "b")] {
        let labels: StringMap = of(json!({"pcns.team": team, "pcns.projectcalico.org/name": namespace}));
        let profile = format!("kns.{namespace}");
        put(&mut state, Key::ProfileLabels(profile.clone()), Value::ProfileLabels(Arc::new(labels)));
        put_profile(&mut state, &profile, json!([{"action": "allow"}]), json!([{"action": "allow"}]));
    }
    put_pod(&mut state, "x/web", 1, 1);
    put_pod(&mut state, "x/api", 1, 2);
    put_pod(&mut state, "x/db", 2, 3);
    put_pod(&mut state, "y/web", 2, 4);
    state
}

pub(super) fn of<T: serde::de::DeserializeOwned>(json: Json) -> T {
    serde_json::from_value(json).unwrap()
}

pub(super) fn put(state: &mut State, key: Key, value: Value) {
    state.apply(&Change { key, value: Some(value) }).unwrap();
}

pub(super) fn workload_id(pod: &str, node: u8) -> WorkloadId {
    let (host, orchestrator) = (format!("node{node}"), "k8s".to_owned());
    WorkloadId { host, orchestrator, workload: pod.to_owned(), endpoint: "eth0".to_owned() }
}

/// A pod with labels `app=<name>`, and ports `http` 80/TCP and `dns` 53/UDP.
pub(super) fn put_pod(state: &mut State, pod: &str, node: u8, index: u8) {
    let (namespace, name) = pod.split_once('/').unwrap();
    let endpoint = json!({
        "state": "active", "name": format!("cali{name}"), "profile_ids": [format!("kns.{namespace}")],
        "ipv4_nets": [format!("10.0.{node}.{index}/32")], "ipv6_nets": [format!("fd00:{node}::{index}/128")],
        "labels": {"app": name, "projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "k8s"},
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "dns", "protocol": "UDP", "port": 53}],
    });
    put(
        state,
        Key::WorkloadEndpoint(workload_id(pod, node)),
        Value::WorkloadEndpoint(Arc::new(of(endpoint))),
    );
}

pub(super) fn global(name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::GlobalNetworkPolicy, namespace: String::new(), name: name.to_owned() }
}

pub(super) fn put_policy(state: &mut State, name: &str, policy: Json) {
    let policy: Policy = of(policy);
    put(state, Key::Policy(global(name)), Value::Policy(Arc::new(policy)));
}

pub(super) fn put_profile(state: &mut State, name: &str, inbound: Json, outbound: Json) {
    let rules = |rules: Json| of::<Vec<Rule>>(rules);
    let profile = ProfileRules { inbound_rules: rules(inbound), outbound_rules: rules(outbound) };
    put(state, Key::ProfileRules(name.to_owned()), Value::ProfileRules(Arc::new(profile)));
}

pub(super) fn put_host(state: &mut State, node: u8, name: &str, endpoint: Json) {
    let key = Key::HostEndpoint { host: format!("node{node}"), id: name.to_owned() };
    put(state, key, Value::HostEndpoint(Arc::new(of(endpoint))));
}

pub(super) fn put_resource(state: &mut State, kind: &str, name: &str, value: Json) {
    let (namespace, name) = name.split_once('/').unwrap();
    let key = ResourceKey { kind: kind.into(), namespace: namespace.into(), name: name.into() };
    put(state, Key::Resource(key), Value::Resource(Arc::new(value)));
}

/// Address of a pod of [`cluster`], of `node1`, `node2`, or of `world`.
pub(super) fn addr(name: &str, family: Family) -> IpAddr {
    let (v4, v6) = match name {
        "x/web" => ("10.0.1.1", "fd00:1::1"),
        "x/api" => ("10.0.1.2", "fd00:1::2"),
        "x/db" => ("10.0.2.3", "fd00:2::3"),
        "y/web" => ("10.0.2.4", "fd00:2::4"),
        "node1" => ("192.0.2.1", "fd99::1"),
        "node2" => ("192.0.2.2", "fd99::2"),
        "world" => ("203.0.113.7", "2001:db8::7"),
        other => panic!("no {other} here"),
    };
    if family == Family::V4 { v4 } else { v6 }.parse().unwrap()
}

/// `x/web -> x/api:80/tcp`, `... -> world:icmp`.
pub(super) fn packet(text: &str, family: Family) -> Packet {
    let (from, to) = text.split_once(" -> ").unwrap();
    let (to, port) = to.split_once(':').unwrap();
    let (from, to) = (addr(from, family), addr(to, family));
    if port == "icmp" {
        return Packet::echo(from, to);
    }
    let (port, protocol) = port.split_once('/').unwrap();
    Packet::to_port(from, to, protocol.parse::<Protocol>().unwrap(), port.parse().unwrap())
}

pub(super) fn decide(state: &State, text: &str, family: Family) -> Decision {
    state.evaluate(&packet(text, family))
}

/// Each line is `allow|deny FROM -> TO:PORT/PROTOCOL`; it must hold in both families.
pub(super) fn expect(state: &State, table: &str) {
    for family in Family::ALL {
        expect_in(state, family, table);
    }
}

pub(super) fn expect_in(state: &State, family: Family, table: &str) {
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (wanted, flow) = line.split_once(char::is_whitespace).unwrap();
        let decision = decide(state, flow.trim(), family);
        assert_eq!(decision.verdict.to_string(), wanted, "{line} in {family}: {decision}");
    }
}
