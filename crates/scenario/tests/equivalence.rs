//! Random Kubernetes policies, judged three ways: by a reading of Kubernetes' rules that knows nothing of this project,
//! by conversion and evaluator, and by conversion and evaluator of a Calico policy that says the same.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tortie_model::convert::Converter;
use tortie_net::{Cidr, Family, Protocol};
use tortie_policy::{Packet, State};
use tortie_scenario::seed;

type Labels = BTreeMap<&'static str, &'static str>;

struct Namespace {
    name: &'static str,
    labels: Labels,
}

struct Pod {
    namespace: usize,
    name: &'static str,
    labels: Labels,
    addresses: [&'static str; 2],
    /// Name, protocol, number.
    ports: Vec<(&'static str, Protocol, u16)>,
}

/// An end of a connection: a pod or an address outside.
#[derive(Clone, Copy)]
enum End {
    Pod(usize),
    Outside(&'static str),
}

#[derive(Clone, Debug)]
enum Select {
    All,
    Is(&'static str, &'static str),
    In(&'static str, Vec<&'static str>),
    NotIn(&'static str, Vec<&'static str>),
    Exists(&'static str),
    DoesNotExist(&'static str),
    Both(Box<Select>, Box<Select>),
}

#[derive(Clone, Debug)]
enum Peer {
    Pods(Select),
    Namespaces(Select),
    PodsIn(Select, Select),
    Block(&'static str, Vec<&'static str>),
}

#[derive(Clone, Debug)]
enum Numbers {
    Every,
    One(u16),
    Range(u16, u16),
    Named(&'static str),
}

#[derive(Clone, Debug)]
struct Port {
    protocol: Option<Protocol>,
    numbers: Numbers,
}

#[derive(Clone, Debug)]
struct Rule {
    peers: Vec<Peer>,
    ports: Vec<Port>,
}

#[derive(Clone, Debug)]
struct Policy {
    namespace: usize,
    pods: Select,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

fn namespaces() -> Vec<Namespace> {
    vec![
        Namespace { name: "x", labels: [("env", "prod"), ("kubernetes.io/metadata.name", "x")].into() },
        Namespace { name: "y", labels: [("env", "test"), ("kubernetes.io/metadata.name", "y")].into() },
        Namespace { name: "z", labels: [("kubernetes.io/metadata.name", "z")].into() },
    ]
}

fn pods() -> Vec<Pod> {
    let pod = |namespace, name, labels: &[(&'static str, &'static str)], addresses, http| Pod {
        namespace,
        name,
        labels: labels.iter().copied().collect(),
        addresses,
        ports: vec![("http", Protocol::TCP, http), ("dns", Protocol::UDP, 53)],
    };
    vec![
        pod(0, "a", &[("app", "a"), ("tier", "front")], ["10.65.0.1", "fd65::1"], 80),
        pod(0, "b", &[("app", "b")], ["10.65.0.2", "fd65::2"], 81),
        pod(1, "a", &[("app", "a")], ["10.65.1.1", "fd65::101"], 80),
        pod(1, "c", &[], ["10.65.1.2", "fd65::102"], 80),
        pod(2, "b", &[("app", "b"), ("tier", "back")], ["10.65.2.1", "fd65::201"], 81),
    ]
}

const OUTSIDE: [&str; 4] = ["203.0.113.10", "203.0.113.200", "2001:db8::10", "2001:db8::200"];

/// Protocol and destination port; 0 is an echo request.
const TARGETS: [(Protocol, u16); 5] = [
    (Protocol::TCP, 80),
    (Protocol::TCP, 81),
    (Protocol::TCP, 8080),
    (Protocol::UDP, 53),
    (Protocol::ICMP, 0),
];

// === what Kubernetes says ===

impl Select {
    fn selects(&self, labels: &Labels) -> bool {
        match self {
            Self::All => true,
            Self::Is(key, value) => labels.get(key) == Some(value),
            Self::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Self::NotIn(key, values) => !labels.get(key).is_some_and(|v| values.contains(v)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
            Self::Both(a, b) => a.selects(labels) && b.selects(labels),
        }
    }
}

fn address(end: End, family: Family, pods: &[Pod]) -> Option<IpAddr> {
    let texts: Vec<&str> = match end {
        End::Pod(i) => pods[i].addresses.to_vec(),
        End::Outside(text) => vec![text],
    };
    texts.into_iter().filter_map(|t| t.parse().ok()).find(|a| Family::of(*a) == family)
}

/// True if the peer of a policy in `namespace` is at this end.
fn is_peer(peer: &Peer, namespace: usize, end: End, addr: IpAddr) -> bool {
    let (namespaces, pods) = (namespaces(), pods());
    let within = |text: &str| text.parse::<Cidr>().is_ok_and(|c| c.contains(addr));
    match (peer, end) {
        (Peer::Block(cidr, except), _) => within(cidr) && !except.iter().any(|e| within(e)),
        (_, End::Outside(_)) => false,
        (Peer::Pods(select), End::Pod(i)) => {
            pods[i].namespace == namespace && select.selects(&pods[i].labels)
        }
        (Peer::Namespaces(select), End::Pod(i)) => select.selects(&namespaces[pods[i].namespace].labels),
        (Peer::PodsIn(ns, select), End::Pod(i)) => {
            ns.selects(&namespaces[pods[i].namespace].labels) && select.selects(&pods[i].labels)
        }
    }
}

fn is_port(port: &Port, destination: End, (protocol, number): (Protocol, u16)) -> bool {
    if port.protocol.unwrap_or(Protocol::TCP) != protocol {
        return false;
    }
    match (&port.numbers, destination) {
        (Numbers::Every, _) => true,
        (Numbers::One(n), _) => *n == number,
        (Numbers::Range(a, b), _) => (*a..=*b).contains(&number),
        (Numbers::Named(name), End::Pod(i)) => pods()[i].ports.contains(&(*name, protocol, number)),
        (Numbers::Named(_), End::Outside(_)) => false,
    }
}

/// True if the policies let a connection pass at one end, `own`, whose other end is `peer`.
fn passes(
    policies: &[Policy],
    ingress: bool,
    (own, peer): (usize, End),
    family: Family,
    target: (Protocol, u16),
) -> bool {
    let pods = pods();
    let destination = if ingress { End::Pod(own) } else { peer };
    let selecting =
        policies.iter().filter(|p| p.namespace == pods[own].namespace && p.pods.selects(&pods[own].labels));
    let mut lists = selecting
        .filter_map(|p| Some((p, (if ingress { &p.ingress } else { &p.egress }).as_ref()?)))
        .peekable();
    let Some(addr) = address(peer, family, &pods) else { return true };
    let matches = |p: &Policy, rule: &Rule| {
        (rule.peers.is_empty() || rule.peers.iter().any(|x| is_peer(x, p.namespace, peer, addr)))
            && (rule.ports.is_empty() || rule.ports.iter().any(|x| is_port(x, destination, target)))
    };
    lists.peek().is_none() || lists.any(|(p, rules)| rules.iter().any(|r| matches(p, r)))
}

fn kubernetes_says(policies: &[Policy], from: End, to: End, family: Family, target: (Protocol, u16)) -> bool {
    let egress = match from {
        End::Pod(own) => passes(policies, false, (own, to), family, target),
        End::Outside(_) => true,
    };
    let ingress = match to {
        End::Pod(own) => passes(policies, true, (own, from), family, target),
        End::Outside(_) => true,
    };
    egress && ingress
}

// === as documents ===

impl Select {
    fn to_kubernetes(&self) -> Value {
        let (mut labels, mut expressions) = (BTreeMap::new(), Vec::new());
        self.collect(&mut labels, &mut expressions);
        json!({"matchLabels": labels, "matchExpressions": expressions})
    }

    fn collect(&self, labels: &mut Labels, expressions: &mut Vec<Value>) {
        let mut add = |key: &str, operator: &str, values: &[&str]| {
            expressions.push(json!({"key": key, "operator": operator, "values": values}));
        };
        match self {
            Self::All => {}
            Self::Is(key, value) if !labels.contains_key(key) => {
                labels.insert(key, value);
            }
            Self::Is(key, value) => add(key, "In", &[value]),
            Self::In(key, values) => add(key, "In", values),
            Self::NotIn(key, values) => add(key, "NotIn", values),
            Self::Exists(key) => add(key, "Exists", &[]),
            Self::DoesNotExist(key) => add(key, "DoesNotExist", &[]),
            Self::Both(a, b) => {
                a.collect(labels, expressions);
                b.collect(labels, expressions);
            }
        }
    }

    fn to_calico(&self) -> String {
        let set = |values: &[&str]| values.iter().map(|v| format!("'{v}'")).collect::<Vec<_>>().join(", ");
        match self {
            Self::All => "all()".to_owned(),
            Self::Is(key, value) => format!("{key} == '{value}'"),
            Self::In(key, values) => format!("{key} in {{{}}}", set(values)),
            Self::NotIn(key, values) => format!("{key} not in {{{}}}", set(values)),
            Self::Exists(key) => format!("has({key})"),
            Self::DoesNotExist(key) => format!("!has({key})"),
            Self::Both(a, b) => format!("({}) && ({})", a.to_calico(), b.to_calico()),
        }
    }
}

impl Policy {
    fn to_kubernetes(&self, name: &str) -> Value {
        let peer = |peer: &Peer| match peer {
            Peer::Pods(s) => json!({"podSelector": s.to_kubernetes()}),
            Peer::Namespaces(s) => json!({"namespaceSelector": s.to_kubernetes()}),
            Peer::PodsIn(n, s) => {
                json!({"namespaceSelector": n.to_kubernetes(), "podSelector": s.to_kubernetes()})
            }
            Peer::Block(cidr, except) => json!({"ipBlock": {"cidr": cidr, "except": except}}),
        };
        let port = |port: &Port| {
            let mut out = match port.numbers {
                Numbers::Every => json!({}),
                Numbers::One(n) => json!({"port": n}),
                Numbers::Range(a, b) => json!({"port": a, "endPort": b}),
                Numbers::Named(name) => json!({"port": name}),
            };
            if let Some(protocol) = port.protocol {
                out["protocol"] = json!(protocol);
            }
            out
        };
        let rules = |rules: &Option<Vec<Rule>>, side: &str| {
            rules.as_ref().map(|rules| {
                let rule = |r: &Rule| {
                    json!({side: r.peers.iter().map(peer).collect::<Vec<_>>(), "ports": r.ports.iter().map(port).collect::<Vec<_>>()})
                };
                rules.iter().map(rule).collect::<Vec<_>>()
            })
        };
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespaces()[self.namespace].name},
            "spec": {"podSelector": self.pods.to_kubernetes(), "policyTypes": self.types(),
                "ingress": rules(&self.ingress, "from"), "egress": rules(&self.egress, "to")}})
    }

    fn to_calico(&self, name: &str) -> Value {
        let rules = |rules: &Option<Vec<Rule>>, side: &str| {
            rules.iter().flatten().flat_map(|r| calico_rules(r, side)).collect::<Vec<_>>()
        };
        json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespaces()[self.namespace].name},
            "spec": {"selector": self.pods.to_calico(), "types": self.types(),
                "ingress": rules(&self.ingress, "source"), "egress": rules(&self.egress, "destination")}})
    }

    fn types(&self) -> Vec<&'static str> {
        let ingress = self.ingress.is_some().then_some("Ingress");
        ingress.into_iter().chain(self.egress.is_some().then_some("Egress")).collect()
    }
}

/// One rule for each peer and port.
fn calico_rules(rule: &Rule, side: &str) -> Vec<Value> {
    let entity = |peer: &Peer| match peer {
        Peer::Pods(s) => json!({"selector": s.to_calico()}),
        Peer::Namespaces(s) => json!({"namespaceSelector": s.to_calico()}),
        Peer::PodsIn(n, s) => json!({"namespaceSelector": n.to_calico(), "selector": s.to_calico()}),
        Peer::Block(cidr, except) => json!({"nets": [cidr], "notNets": except}),
    };
    let peers: Vec<Value> =
        if rule.peers.is_empty() { vec![json!({})] } else { rule.peers.iter().map(entity).collect() };
    let ports: Vec<Option<&Port>> =
        if rule.ports.is_empty() { vec![None] } else { rule.ports.iter().map(Some).collect() };
    let mut rules = Vec::new();
    for peer in &peers {
        for port in &ports {
            let mut rule = json!({"action": "Allow", "source": {}, "destination": {}});
            rule[side] = peer.clone();
            if let Some(port) = port {
                rule["protocol"] = json!(port.protocol.unwrap_or(Protocol::TCP));
                match port.numbers {
                    Numbers::Every => {}
                    Numbers::One(n) => rule["destination"]["ports"] = json!([n]),
                    Numbers::Range(a, b) => rule["destination"]["ports"] = json!([format!("{a}:{b}")]),
                    Numbers::Named(name) => rule["destination"]["ports"] = json!([name]),
                }
            }
            rules.push(rule);
        }
    }
    rules
}

// === the evaluator's answer ===

fn write(converter: &mut Converter, state: &mut State, path: &str, object: &Value) {
    let (changes, problems) = converter.entry(path, Some(&serde_json::to_vec(object).expect("it is JSON")));
    assert!(problems.is_empty(), "{object}: {problems:?}");
    for change in &changes {
        state.apply(change).expect("it converts to what can be used");
    }
}

/// The cluster with these objects, each under its path.
fn cluster(objects: &[(String, Value)]) -> State {
    let (mut converter, mut state) = (Converter::default(), State::new());
    let kubernetes = |plural: &str, rest: String| format!("/tortie/kubernetes/{plural}/{rest}");
    for (path, object) in seed() {
        write(&mut converter, &mut state, &path, &object);
    }
    for ns in namespaces() {
        let object = json!({"metadata": {"name": ns.name, "labels": ns.labels}});
        write(&mut converter, &mut state, &kubernetes("namespaces", ns.name.to_owned()), &object);
        let path = kubernetes("serviceaccounts", format!("{}/default", ns.name));
        write(
            &mut converter,
            &mut state,
            &path,
            &json!({"metadata": {"name": "default", "namespace": ns.name}}),
        );
    }
    for pod in pods() {
        let namespace = namespaces()[pod.namespace].name;
        let port = |(name, protocol, number): &(&str, Protocol, u16)| json!({"name": name, "containerPort": number, "protocol": protocol});
        let object = json!({
            "metadata": {"name": pod.name, "namespace": namespace, "labels": pod.labels,
                "annotations": {"cni.projectcalico.org/podIPs": pod.addresses.join(",")}},
            "spec": {"nodeName": format!("node{}", pod.namespace), "serviceAccountName": "default",
                "containers": [{"ports": pod.ports.iter().map(port).collect::<Vec<_>>()}]},
        });
        write(&mut converter, &mut state, &kubernetes("pods", format!("{namespace}/{}", pod.name)), &object);
    }
    for (path, object) in objects {
        write(&mut converter, &mut state, path, object);
    }
    state
}

fn paths(
    policies: &[Policy],
    prefix: &str,
    document: impl Fn(&Policy, &str) -> Value,
) -> Vec<(String, Value)> {
    let entry = |(i, policy): (usize, &Policy)| {
        let name = format!("p{i}");
        (
            format!("{prefix}/networkpolicies/{}/{name}", namespaces()[policy.namespace].name),
            document(policy, &name),
        )
    };
    policies.iter().enumerate().map(entry).collect()
}

// === random policies ===

fn select() -> impl Strategy<Value = Select> {
    let simple = prop::sample::select(vec![
        Select::All,
        Select::Is("app", "a"),
        Select::Is("app", "b"),
        Select::Is("env", "prod"),
        Select::In("app", vec!["a", "b"]),
        Select::In("env", vec!["test"]),
        Select::In("kubernetes.io/metadata.name", vec!["y", "z"]),
        Select::NotIn("app", vec!["a"]),
        Select::NotIn("env", vec!["prod", "dev"]),
        Select::Exists("tier"),
        Select::Exists("env"),
        Select::DoesNotExist("tier"),
        Select::DoesNotExist("env"),
    ]);
    let simple = simple.boxed();
    prop_oneof![
        4 => simple.clone(),
        1 => (simple.clone(), simple).prop_map(|(a, b)| Select::Both(Box::new(a), Box::new(b))),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    let blocks = prop::sample::select(vec![
        Peer::Block("0.0.0.0/0", vec![]),
        Peer::Block("::/0", vec!["fd65::100/120"]),
        Peer::Block("10.65.0.0/16", vec!["10.65.0.0/24"]),
        Peer::Block("203.0.113.0/24", vec!["203.0.113.128/25"]),
        Peer::Block("2001:db8::10/128", vec![]),
    ]);
    prop_oneof![
        select().prop_map(Peer::Pods),
        select().prop_map(Peer::Namespaces),
        (select(), select()).prop_map(|(n, p)| Peer::PodsIn(n, p)),
        blocks,
    ]
}

fn port() -> impl Strategy<Value = Port> {
    let numbers = prop::sample::select(vec![
        Numbers::Every,
        Numbers::One(80),
        Numbers::One(53),
        Numbers::Range(80, 81),
        Numbers::Range(81, 65535),
        Numbers::Named("http"),
        Numbers::Named("dns"),
        Numbers::Named("nothing"),
    ]);
    let protocol = prop::sample::select(vec![None, Some(Protocol::TCP), Some(Protocol::UDP)]);
    (protocol, numbers).prop_map(|(protocol, numbers)| Port { protocol, numbers })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (prop::collection::vec(peer(), 0..3), prop::collection::vec(port(), 0..3));
    prop::collection::vec(rule.prop_map(|(peers, ports)| Rule { peers, ports }), 0..3)
}

fn policy() -> impl Strategy<Value = Policy> {
    let both = (rules(), rules(), 0..3_u8);
    (0..3_usize, select(), both).prop_map(|(namespace, pods, (ingress, egress, types))| Policy {
        namespace,
        pods,
        ingress: (types != 1).then_some(ingress),
        egress: (types != 0).then_some(egress),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]

    #[test]
    fn three_readings_agree(policies in prop::collection::vec(policy(), 0..6)) {
        let native = cluster(&paths(&policies, "/tortie/kubernetes", Policy::to_kubernetes));
        let calico = cluster(&paths(&policies, "/calico/resources/v3/projectcalico.org", Policy::to_calico));
        let pods = pods();
        let ends: Vec<End> = (0..pods.len()).map(End::Pod).chain(OUTSIDE.map(End::Outside)).collect();
        for (i, from) in ends.iter().enumerate() {
            for (j, to) in ends.iter().enumerate() {
                for (family, target) in Family::ALL.into_iter().flat_map(|f| TARGETS.map(|t| (f, t))) {
                    let (Some(src), Some(dst)) = (address(*from, family, &pods), address(*to, family, &pods)) else { continue };
                    if i == j {
                        continue;
                    }
                    let packet = match target {
                        (Protocol::ICMP, _) => Packet::echo(src, dst),
                        (protocol, port) => Packet::to_port(src, dst, protocol, port),
                    };
                    let wanted = kubernetes_says(&policies, *from, *to, family, target);
                    for (kind, state) in [("Kubernetes", &native), ("Calico", &calico)] {
                        let decision = state.evaluate(&packet);
                        prop_assert_eq!(decision.is_allowed(), wanted, "as {}'s: {}: {}", kind, packet, decision);
                    }
                }
            }
        }
    }
}
