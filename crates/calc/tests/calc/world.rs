//! Makers of model objects, and a calculation with a dataplane behind it.

use crate::dataplane::Dataplane;
use std::collections::BTreeMap;
use std::sync::Arc;
use tortie_calc::{Calc, CalcConfig};
use tortie_model::value::{
    EndpointPort, HostEndpoint, NetworkSet, Policy, ProfileRules, Rule, Tier, WorkloadEndpoint,
};
use tortie_model::{Change, Key, PolicyId, PolicyKind, ResourceKey, Value, WorkloadId};
use tortie_net::Protocol;

pub(crate) const NODE: &str = "n1";

/// All there is in a datastore.
pub(crate) type State = BTreeMap<Key, Value>;

/// A calculation, and what it has told.
pub(crate) struct World {
    pub(crate) calc: Calc,
    pub(crate) dataplane: Dataplane,
}

impl World {
    pub(crate) fn new(config: CalcConfig) -> Self {
        Self { calc: Calc::new(config), dataplane: Dataplane::default() }
    }

    pub(crate) fn in_sync() -> Self {
        let mut world = Self::new(config());
        world.calc.on_in_sync();
        world
    }

    /// In sync with these objects.
    pub(crate) fn with(objects: impl IntoIterator<Item = (Key, Value)>) -> Self {
        let mut world = Self::in_sync();
        world.set(objects);
        world
    }

    /// Adds or changes objects, and flushes.
    pub(crate) fn set(&mut self, objects: impl IntoIterator<Item = (Key, Value)>) {
        for (key, value) in objects {
            self.calc.on_change(Change { key, value: Some(value) });
        }
        self.flush();
    }

    /// Removes objects, and flushes.
    pub(crate) fn remove(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            self.calc.on_change(Change { key, value: None });
        }
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        let mut updates = Vec::new();
        self.calc.flush(&mut updates);
        self.dataplane.apply(updates);
    }

    /// Tiers of the workload `name` in short form.
    pub(crate) fn workload(&self, name: &str) -> String {
        let (_, workload) =
            self.dataplane.workloads.iter().find(|(id, _)| id.workload == name).expect("a known workload");
        show_tiers(&workload.tiers)
    }
}

/// `tier(D): ingress a b; egress c`, one tier after the other.
pub(crate) fn show_tiers(tiers: &[tortie_calc::update::EndpointTier]) -> String {
    let names = |ids: &[PolicyId]| ids.iter().map(|id| id.name.clone()).collect::<Vec<_>>().join(" ");
    let tiers = tiers.iter().map(|t| {
        format!(
            "{}({:?}): ingress {}; egress {}",
            t.name,
            t.default_action,
            names(&t.ingress),
            names(&t.egress)
        )
    });
    tiers.collect::<Vec<_>>().join(" | ")
}

pub(crate) fn config() -> CalcConfig {
    CalcConfig { node: NODE.to_owned(), ..CalcConfig::default() }
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub(crate) fn workload_id(host: &str, name: &str) -> WorkloadId {
    WorkloadId {
        host: host.to_owned(),
        orchestrator: "k8s".to_owned(),
        workload: name.to_owned(),
        endpoint: "eth0".to_owned(),
    }
}

/// A workload with one address of each family ending in `number`.
pub(crate) fn workload(host: &str, name: &str, number: u8, labels: &[(&str, &str)]) -> (Key, Value) {
    workload_with(host, name, number, labels, &[], &[])
}

pub(crate) fn workload_with(
    host: &str,
    name: &str,
    number: u8,
    labels: &[(&str, &str)],
    profiles: &[&str],
    ports: &[(&str, Protocol, u16)],
) -> (Key, Value) {
    let endpoint = WorkloadEndpoint {
        state: "active".to_owned(),
        name: format!("cali{name}"),
        profile_ids: profiles.iter().map(|p| (*p).to_owned()).collect(),
        ipv4_nets: vec![format!("10.0.0.{number}/32").parse().expect("an address")],
        ipv6_nets: vec![format!("fd00::{number:x}/128").parse().expect("an address")],
        labels: map(labels),
        ports: endpoint_ports(ports),
        ..WorkloadEndpoint::default()
    };
    (Key::WorkloadEndpoint(workload_id(host, name)), Value::WorkloadEndpoint(Arc::new(endpoint)))
}

fn endpoint_ports(ports: &[(&str, Protocol, u16)]) -> Vec<EndpointPort> {
    ports
        .iter()
        .map(|&(name, protocol, port)| EndpointPort {
            name: name.to_owned(),
            protocol: protocol.into(),
            port,
        })
        .collect()
}

pub(crate) fn host(
    host: &str,
    id: &str,
    number: u8,
    labels: &[(&str, &str)],
    profiles: &[&str],
) -> (Key, Value) {
    let endpoint = HostEndpoint {
        name: "eth0".to_owned(),
        expected_ipv4_addrs: vec![format!("192.0.2.{number}").parse().expect("an address")],
        expected_ipv6_addrs: vec![format!("2001:db8::{number:x}").parse().expect("an address")],
        labels: map(labels),
        profile_ids: profiles.iter().map(|p| (*p).to_owned()).collect(),
        ..HostEndpoint::default()
    };
    (Key::HostEndpoint { host: host.to_owned(), id: id.to_owned() }, Value::HostEndpoint(Arc::new(endpoint)))
}

pub(crate) fn network_set(name: &str, nets: &[&str], labels: &[(&str, &str)]) -> (Key, Value) {
    let nets = nets.iter().map(|n| n.parse().expect("a CIDR")).collect();
    let set = NetworkSet { nets, labels: map(labels), profile_ids: Vec::new() };
    (Key::NetworkSet(name.to_owned()), Value::NetworkSet(Arc::new(set)))
}

pub(crate) fn policy_id(name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::GlobalNetworkPolicy, namespace: String::new(), name: name.to_owned() }
}

pub(crate) fn policy(name: &str, selector: &str, inbound: Vec<Rule>) -> (Key, Value) {
    policy_with(name, |p| {
        p.selector = selector.into();
        p.inbound_rules = inbound;
    })
}

pub(crate) fn policy_with(name: &str, change: impl FnOnce(&mut Policy)) -> (Key, Value) {
    let mut policy = Policy { tier: "default".to_owned(), selector: "all()".to_owned(), ..Policy::default() };
    change(&mut policy);
    (Key::Policy(policy_id(name)), Value::Policy(Arc::new(policy)))
}

pub(crate) fn tier(name: &str, order: Option<f64>, default_action: &str) -> (Key, Value) {
    (Key::Tier(name.to_owned()), Value::Tier(Tier { order, default_action: default_action.to_owned() }))
}

pub(crate) fn profile(name: &str, inbound: Vec<Rule>, labels: &[(&str, &str)]) -> [(Key, Value); 2] {
    let rules = ProfileRules { inbound_rules: inbound, outbound_rules: vec![rule("allow")] };
    [
        (Key::ProfileRules(name.to_owned()), Value::ProfileRules(Arc::new(rules))),
        (Key::ProfileLabels(name.to_owned()), Value::ProfileLabels(Arc::new(map(labels)))),
    ]
}

pub(crate) fn slice(name: &str, service: &str, addresses: &[&str], ports: &[u16]) -> (Key, Value) {
    let object = serde_json::json!({
        "metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": addresses}],
        "ports": ports.iter().map(|p| serde_json::json!({"port": p})).collect::<Vec<_>>(),
    });
    let key = ResourceKey {
        kind: "KubernetesEndpointSlice".to_owned(),
        namespace: "ns".to_owned(),
        name: name.to_owned(),
    };
    (Key::Resource(key), Value::Resource(Arc::new(object)))
}

pub(crate) fn rule(action: &str) -> Rule {
    Rule { action: action.to_owned(), ..Rule::default() }
}

pub(crate) fn allow_from(selector: &str) -> Rule {
    Rule { src_selector: selector.to_owned(), ..rule("allow") }
}
