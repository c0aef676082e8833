//! Random policies, as users could write them: Kubernetes and Calico, over a small cluster.
//!
//! The same seed gives the same policies, so that a failure can be repeated.

use serde_json::{Value, json};

/// A small generator of random numbers (xorshift64*): good enough to choose policies, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn list(&mut self, most: u64, mut make: impl FnMut(&mut Self) -> Value) -> Vec<Value> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }
}

/// What policies may speak of.
#[derive(Clone, Debug)]
pub struct World {
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Prefixes of both families.
    pub nets: Vec<String>,
}

/// A datastore path with the object, or `None` for a deletion.
pub type Write = (String, Option<Value>);

const APPS: [&str; 3] = ["web", "api", "db"];
const TIERS: [&str; 2] = ["default", "security"];

/// A change of the policies: a policy of either kind appears, changes or goes, or a tier changes its end.
pub fn change(r: &mut Random, world: &World) -> Write {
    let namespace = r.pick(&world.namespaces);
    let name = format!("p{}", r.below(3));
    let gone = r.once_in(5);
    let calico = |plural: &str, rest: &str| format!("/calico/resources/v3/projectcalico.org/{plural}/{rest}");
    match r.below(10) {
        0..4 => {
            let path = format!("/tortie/kubernetes/networkpolicies/{namespace}/{name}");
            (path, (!gone).then(|| kubernetes_policy(r, world, &namespace, &name)))
        }
        4..7 => {
            let path = calico("networkpolicies", &format!("{namespace}/{name}"));
            let object = json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
                "metadata": {"name": name, "namespace": namespace}, "spec": calico_spec(r, world, false)});
            (path, (!gone).then_some(object))
        }
        7..9 => {
            let path = calico("globalnetworkpolicies", &name);
            let object = json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
                "metadata": {"name": name}, "spec": calico_spec(r, world, true)});
            (path, (!gone).then_some(object))
        }
        _ => (calico("tiers", "security"), Some(tier("security", 10, r.pick(&["Deny", "Pass"])))),
    }
}

/// A tier.
pub fn tier(name: &str, order: u32, default_action: &str) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": name},
        "spec": {"order": order, "defaultAction": default_action}})
}

fn labels(r: &mut Random) -> Value {
    match r.below(4) {
        0 => json!({}),
        1 => json!({"matchLabels": {"app": r.pick(&APPS)}}),
        2 => {
            json!({"matchExpressions": [{"key": "app", "operator": r.pick(&["In", "NotIn"]), "values": [r.pick(&APPS), r.pick(&APPS)]}]})
        }
        _ => {
            json!({"matchExpressions": [{"key": r.pick(&["app", "odd"]), "operator": r.pick(&["Exists", "DoesNotExist"])}]})
        }
    }
}

fn namespace_labels(r: &mut Random, world: &World) -> Value {
    match r.below(3) {
        0 => json!({}),
        1 => json!({"matchLabels": {"kubernetes.io/metadata.name": r.pick(&world.namespaces)}}),
        _ => json!({"matchLabels": {"team": r.pick(&["red", "blue"])}}),
    }
}

fn peer(r: &mut Random, world: &World) -> Value {
    match r.below(4) {
        0 => json!({"podSelector": labels(r)}),
        1 => json!({"namespaceSelector": namespace_labels(r, world)}),
        2 => json!({"podSelector": labels(r), "namespaceSelector": namespace_labels(r, world)}),
        _ => {
            let (cidr, inside) = r.pick(&[
                ("10.65.0.0/24", "10.65.0.2/32"),
                ("10.65.0.0/30", "10.65.0.1/32"),
                ("fd65::/120", "fd65::2/128"),
                ("0.0.0.0/0", "10.65.0.0/31"),
            ]);
            if r.once_in(2) {
                json!({"ipBlock": {"cidr": cidr, "except": [inside]}})
            } else {
                json!({"ipBlock": {"cidr": cidr}})
            }
        }
    }
}

fn kubernetes_port(r: &mut Random) -> Value {
    match r.below(5) {
        0 => json!({"port": 80}),
        1 => json!({"port": "http"}),
        2 => json!({"protocol": "UDP", "port": 53}),
        3 => json!({"port": 80, "endPort": 81}),
        _ => json!({"protocol": r.pick(&["TCP", "UDP"])}),
    }
}

fn kubernetes_policy(r: &mut Random, world: &World, namespace: &str, name: &str) -> Value {
    let rules = |r: &mut Random, side: &str| {
        r.list(2, |r| {
            let mut rule = json!({});
            if !r.once_in(4) {
                rule[side] = Value::Array(r.list(2, |r| peer(r, world)));
            }
            if r.once_in(2) {
                rule["ports"] = Value::Array(r.list(2, kubernetes_port));
            }
            rule
        })
    };
    let mut spec = json!({"podSelector": labels(r)});
    if !r.once_in(3) {
        spec["policyTypes"] = r.pick(&[json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    }
    if r.once_in(2) {
        spec["ingress"] = Value::Array(rules(r, "from"));
    }
    if r.once_in(3) {
        spec["egress"] = Value::Array(rules(r, "to"));
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn selector(r: &mut Random) -> String {
    match r.below(5) {
        0 => "all()".to_owned(),
        1 => format!("app == '{}'", r.pick(&APPS)),
        2 => format!("app != '{}'", r.pick(&APPS)),
        3 => format!("app in {{'{}', '{}'}} || has(odd)", r.pick(&APPS), r.pick(&APPS)),
        _ => format!("!(app == '{}')", r.pick(&APPS)),
    }
}

fn entity(r: &mut Random, world: &World, ports: bool) -> Value {
    let mut side = json!({});
    match r.below(6) {
        0 => side["selector"] = json!(selector(r)),
        1 => side["notSelector"] = json!(selector(r)),
        2 => side["nets"] = json!([r.pick(&world.nets), r.pick(&world.nets)]),
        3 => side["notNets"] = json!([r.pick(&world.nets)]),
        4 => {
            side["selector"] = json!(selector(r));
            side["namespaceSelector"] = json!(r.pick(&["all()", "team == 'red'", "team != 'blue'"]));
        }
        _ => {}
    }
    if ports {
        match r.below(5) {
            0 => side["ports"] = json!([80]),
            1 => side["ports"] = json!(["http", 53]),
            2 => side["ports"] = json!(["80:81"]),
            3 => side["notPorts"] = json!([r.pick(&[json!(80), json!("http"), json!("50:80")])]),
            _ => {}
        }
    }
    side
}

fn calico_rule(r: &mut Random, world: &World) -> Value {
    let mut rule = json!({"action": r.pick(&["Allow", "Allow", "Deny", "Pass", "Log"])});
    match r.below(6) {
        0 => rule["protocol"] = json!("TCP"),
        1 => rule["protocol"] = json!("UDP"),
        2 => {
            let (protocol, version, echo) = r.pick(&[("ICMP", 4, 8), ("ICMPv6", 6, 128)]);
            rule["protocol"] = json!(protocol);
            rule["ipVersion"] = json!(version);
            if r.once_in(2) {
                rule[r.pick(&["icmp", "notICMP"])] = json!({"type": echo});
            }
        }
        3 => rule["notProtocol"] = json!(r.pick(&["TCP", "UDP"])),
        4 => rule["ipVersion"] = json!(r.pick(&[4, 6])),
        _ => {}
    }
    let ported = matches!(rule["protocol"].as_str(), Some("TCP" | "UDP"));
    rule["source"] = entity(r, world, false);
    rule["destination"] = entity(r, world, ported);
    rule
}

fn calico_spec(r: &mut Random, world: &World, global: bool) -> Value {
    let mut spec = json!({"selector": selector(r), "tier": r.pick(&TIERS)});
    if !r.once_in(4) {
        spec["order"] = json!(r.below(4) * 10);
    }
    if global && r.once_in(3) {
        spec["namespaceSelector"] = json!("team == 'red'");
    }
    let types = r.pick(&[json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    let has = |what: &str| types.as_array().is_some_and(|t| t.iter().any(|t| t == what));
    if has("Ingress") {
        spec["ingress"] = Value::Array(r.list(3, |r| calico_rule(r, world)));
    }
    if has("Egress") {
        spec["egress"] = Value::Array(r.list(3, |r| calico_rule(r, world)));
    }
    spec["types"] = types;
    spec
}
