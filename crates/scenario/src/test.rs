//! Executes a plan without a cluster: the conversion of a real one, and the reference evaluator in the kernel's place.

use crate::address::{Addressing, node_addresses, node_name};
use crate::fault::Fault;
use crate::plan::{Expected, Observed, Operation, Peer, Plan, Probe, ProbePort};
use crate::pod::Pod;
use crate::problem::Problem;
use crate::report::{Difference, ScenarioReport, StepReport};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tortie_api::document::Position;
use tortie_api::{k8s, v3};
use tortie_model::convert::Converter;
use tortie_net::Family;
use tortie_policy::{Decision, Node, Packet, State};

/// The objects that a new cluster holds, by path: the tiers that Calico's clients make when they first see a datastore.
pub fn seed() -> Vec<(String, Value)> {
    let tiers = [
        ("default", 1_000_000, "Deny"),
        ("kube-admin", 1_000, "Pass"),
        ("kube-baseline", 10_000_000, "Pass"),
    ];
    let tier = |(name, order, action): (&str, i32, &str)| {
        let path = v3::by_kind("Tier").map(|r| r.path("", name)).unwrap_or_default();
        let object = json!({"apiVersion": v3::API_VERSION, "kind": "Tier", "metadata": {"name": name},
            "spec": {"order": order, "defaultAction": action}});
        (path, object)
    };
    tiers.into_iter().map(tier).collect()
}

/// Asks the evaluator for every probe of a plan. `clock` tells the time since some moment.
pub fn test(plan: &Plan, clock: &dyn Fn() -> Duration) -> ScenarioReport {
    let mut cluster = Cluster::new(plan);
    for operation in &plan.setup {
        cluster.execute(operation, Position { line: 1, column: 1 });
    }
    let mut steps = Vec::new();
    for step in &plan.steps {
        let start = clock();
        for operation in &step.operations {
            cluster.execute(operation, step.position);
        }
        let mut report = StepReport::new(step);
        for probe in &step.probes {
            if !probe.expected.is_sent() {
                report.skipped += 1;
                continue;
            }
            report.probes += 1;
            let answer = cluster.probe(probe);
            let observed = match (answer.allowed, probe.expected) {
                (true, _) => Observed::Allow,
                // Policy says that a packet is dropped, not who else would have refused it.
                (false, Expected::Reject) => Observed::Reject,
                (false, _) => Observed::Deny,
            };
            if !probe.expected.accepts(observed) {
                report.differences.push(Difference::new(probe, observed, Some(answer.reason)));
            }
        }
        report.duration = clock().saturating_sub(start);
        steps.push(report);
    }
    let mut report = ScenarioReport::new(plan);
    report.steps = steps;
    report.problems = cluster.problems;
    report
}

struct Answer {
    allowed: bool,
    reason: String,
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        Self { allowed: decision.is_allowed(), reason: decision.to_string() }
    }
}

/// A running pod.
struct Running {
    pod: Pod,
    addresses: Vec<IpAddr>,
}

/// A cluster of which only the datastore and the addresses exist.
struct Cluster<'p> {
    plan: &'p Plan,
    converter: Converter,
    state: State,
    pods: BTreeMap<String, Running>,
    addressing: Addressing,
    cut: BTreeSet<usize>,
    problems: Vec<Problem>,
}

impl<'p> Cluster<'p> {
    fn new(plan: &'p Plan) -> Self {
        let mut addressing = Addressing::new(&plan.pools);
        let operations = plan.setup.iter().chain(plan.steps.iter().flat_map(|s| &s.operations));
        for operation in operations {
            if let Operation::AddPod(pod) = operation {
                addressing.reserve(pod.addresses.iter().copied());
            }
        }
        let mut state = State::new();
        for number in 1..=plan.nodes {
            let node = Node::with_addresses(node_addresses(number, plan.nodes));
            state.set_node(&node_name(number), Some(node));
        }
        let mut cluster = Self {
            plan,
            converter: Converter::default(),
            state,
            pods: BTreeMap::new(),
            addressing,
            cut: BTreeSet::new(),
            problems: Vec::new(),
        };
        for (path, object) in seed() {
            cluster.write(&path, Some(&object), Position { line: 1, column: 1 });
        }
        cluster
    }

    /// `position` is that of the step.
    fn execute(&mut self, operation: &Operation, position: Position) {
        match operation {
            Operation::Apply(object) => self.write(&object.path, Some(&object.value), position),
            Operation::Delete { path, .. } => self.write(path, None, position),
            Operation::AddPod(pod) => {
                let addresses = self.addressing.assign(pod);
                self.record(pod, addresses, position);
            }
            Operation::ChangePod(pod) => {
                if let Some(running) = self.pods.remove(&pod.full_name()) {
                    self.record(pod, running.addresses, position);
                }
            }
            Operation::DeletePod(name) => {
                if let Some(running) = self.pods.remove(name) {
                    self.addressing.release(&running.addresses);
                    self.write(&pod_path(&running.pod), None, position);
                }
            }
            // A dead agent goes on enforcing what it enforced; steps wait for it before they change anything.
            Operation::Fault(Fault::Cut(node)) => {
                self.cut.insert(*node);
            }
            Operation::Fault(Fault::Heal(node)) => {
                self.cut.remove(node);
            }
            Operation::Fault(_) => {}
        }
    }

    /// Stores the pod's object with its addresses, as the agent records them.
    fn record(&mut self, pod: &Pod, addresses: Vec<IpAddr>, position: Position) {
        let mut object = pod.to_object(&node_name(pod.node));
        let prefixes: Vec<String> =
            addresses.iter().map(|a| tortie_net::Cidr::host(*a).to_string()).collect();
        if let (Some(annotations), Some(first)) =
            (object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut), prefixes.first())
        {
            annotations.insert("cni.projectcalico.org/podIP".to_owned(), first.clone().into());
            annotations.insert("cni.projectcalico.org/podIPs".to_owned(), prefixes.join(",").into());
        }
        self.write(&pod_path(pod), Some(&object), position);
        self.pods.insert(pod.full_name(), Running { pod: pod.clone(), addresses });
    }

    fn write(&mut self, path: &str, object: Option<&Value>, position: Position) {
        let bytes = object.map(|o| o.to_string().into_bytes());
        let (changes, diagnostics) = self.converter.entry(path, bytes.as_deref());
        // Objects that somebody wrote were checked when the file was read; what is said now concerns what it implies.
        for diagnostic in diagnostics {
            self.problems.push(Problem::new(&self.plan.source, position, diagnostic.to_string()));
        }
        for change in &changes {
            if let Err(error) = self.state.apply(change) {
                self.problems.push(Problem::new(&self.plan.source, position, error.to_string()));
            }
        }
    }

    fn probe(&self, probe: &Probe) -> Answer {
        let (from, to) = (self.node_of(&probe.from), self.node_of(&probe.to));
        if from != to
            && let Some(node) = [from, to].into_iter().flatten().find(|n| self.cut.contains(n))
        {
            return Answer { allowed: false, reason: format!("deny ({} is cut off)", node_name(node)) };
        }
        let ends = (self.address(&probe.from, probe.family), self.address(&probe.to, probe.family));
        let (Some(src), Some(dst)) = ends else {
            return Answer {
                allowed: false,
                reason: format!("deny (no {} address: the pool is full)", probe.family),
            };
        };
        let packet = match probe.port {
            ProbePort::Port(port, protocol) => Packet::to_port(src, dst, protocol, port),
            ProbePort::Icmp => Packet::echo(src, dst),
        };
        self.state.evaluate(&packet).into()
    }

    fn node_of(&self, peer: &Peer) -> Option<usize> {
        match peer {
            Peer::Pod(name) => self.pods.get(name).map(|r| r.pod.node),
            Peer::Node(number) => Some(*number),
            Peer::Outside(_) => None,
        }
    }

    fn address(&self, peer: &Peer, family: Family) -> Option<IpAddr> {
        let addresses = match peer {
            Peer::Pod(name) => self.pods.get(name)?.addresses.clone(),
            Peer::Node(number) => node_addresses(*number, self.plan.nodes).to_vec(),
            Peer::Outside(name) => self.plan.outside.iter().find(|o| o.name == *name)?.addresses.clone(),
        };
        addresses.into_iter().find(|a| Family::of(*a) == family)
    }
}

fn pod_path(pod: &Pod) -> String {
    k8s::by_kind("Pod").map(|r| r.path(&pod.namespace, &pod.name)).unwrap_or_default()
}
