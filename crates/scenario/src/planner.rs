//! A file to a plan: follows the cluster through the steps, so that every name can be checked and every probe listed.

use crate::decode::{Field, Fields, Reader};
use crate::expect::{Cast, Expectations, Line, Pointless};
use crate::fault::Fault;
use crate::file::{self, Head, Loader};
use crate::matrix;
use crate::object::{Meaning, Object, ObjectId, Origin, Skipped};
use crate::plan::{Operation, Plan, Probe, Step};
use crate::pod::{ADDRESSES_ANNOTATION, Pod, pods_of};
use crate::problem::Problem;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_api::document::{Document, Position, read};
use tortie_net::{Cidr, Family};

/// Label of every namespace: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(crate) const FIELDS: [&str; 11] = [
    "scenario",
    "name",
    "about",
    "nodes",
    "families",
    "pools",
    "pods",
    "namespaces",
    "outside",
    "objects",
    "steps",
];

pub(crate) const STEP_FIELDS: [&str; 9] =
    ["name", "apply", "delete", "setLabels", "addPods", "deletePods", "fault", "expect", "matrix"];

/// Reads a scenario and what it refers to: a plan, or everything that is wrong.
pub fn load(source: &str, text: &str, loader: &dyn Loader) -> Result<Plan, Vec<Problem>> {
    let parsed = read(source, &matrix::indent_tables(text));
    let mut problems: Vec<Problem> =
        parsed.errors.into_iter().map(|e| Problem::new(&e.source_name, e.position, e.message)).collect();
    let mut documents = parsed.documents.into_iter();
    let start = Position { line: 1, column: 1 };
    let Some(document) = documents.next() else {
        if problems.is_empty() {
            problems.push(Problem::new(&source.into(), start, "the file holds no scenario"));
        }
        return Err(problems);
    };
    if let Some(second) = documents.next() {
        let message = "a file holds one scenario; here begins a second document";
        problems.push(Problem::new(&second.source, second.position(), message));
    }
    let document = Arc::new(document);
    let reader = Reader::new(&document);
    let mut planner = Planner {
        document: &document,
        loader,
        nodes: 0,
        problems: &mut problems,
        pods: Vec::new(),
        objects: BTreeMap::new(),
        workloads: BTreeSet::new(),
        skipped: Vec::new(),
        unplaced: 0,
        namespace_labels: BTreeMap::new(),
        pools: Vec::new(),
        fixed: Vec::new(),
    };
    let plan = reader.root().fields(&FIELDS).map(|fields| planner.plan(&fields));
    problems.extend(reader.into_problems());
    problems.sort_by(|a, b| (&a.source, a.position).cmp(&(&b.source, b.position)));
    problems.dedup();
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(problems),
    }
}

struct Planner<'a> {
    document: &'a Arc<Document>,
    loader: &'a dyn Loader,
    nodes: usize,
    problems: &'a mut Vec<Problem>,
    pods: Vec<Pod>,
    objects: BTreeMap<ObjectId, Object>,
    /// Workloads whose pods run.
    workloads: BTreeSet<ObjectId>,
    skipped: Vec<Skipped>,
    /// Pods that were put where there was room.
    unplaced: usize,
    namespace_labels: BTreeMap<String, BTreeMap<String, String>>,
    /// The scenario's or the lab's own; IPPools among the objects come on top.
    pools: Vec<Cidr>,
    /// Fixed addresses that have not been compared with the pools yet: IPPools may come after the pods.
    fixed: Vec<Fixed>,
}

/// A pod's fixed addresses, and where the file gives them.
struct Fixed {
    pod: String,
    addresses: Vec<IpAddr>,
    source: Arc<str>,
    position: Position,
}

/// What a list of operations comes to: objects before pods.
#[derive(Default)]
struct Operations {
    objects: Vec<Operation>,
    pods: Vec<Operation>,
}

impl Operations {
    fn applied(&self, id: &ObjectId) -> bool {
        self.objects.iter().any(|o| matches!(o, Operation::Apply(object) if object.id == *id))
    }
}

impl Planner<'_> {
    fn plan(&mut self, fields: &Fields<'_>) -> Plan {
        let head = file::head(fields);
        self.nodes = head.nodes;
        self.namespace_labels.clone_from(&head.namespaces);
        self.pools.clone_from(&head.pools);
        let mut setup = Operations::default();
        for namespace in head.namespaces.keys() {
            self.ensure_namespace(namespace, &mut setup);
        }
        for field in fields.items("pods") {
            self.add_short_pod(&field, &mut setup);
        }
        if let Some(list) = fields.get("objects") {
            self.apply(&list, &mut setup);
        }
        self.check_fixed_addresses();
        let mut setup_operations = setup.objects;
        setup_operations.extend(setup.pods);
        let mut steps = Vec::new();
        if let Some(list) = fields.need("steps") {
            for field in list.items() {
                steps.extend(self.step(&field, &head));
            }
            if list.items().is_empty() {
                list.problem("a scenario needs at least one step");
            }
        }
        let Head { name, about, nodes, families, pools, own_pools, outside, .. } = head;
        Plan {
            source: self.document.source.clone(),
            name,
            about,
            nodes,
            families,
            pools,
            own_pools,
            outside,
            setup: setup_operations,
            steps,
            skipped: std::mem::take(&mut self.skipped),
        }
    }

    fn step(&mut self, field: &Field<'_>, head: &Head) -> Option<Step> {
        let fields = field.fields(&STEP_FIELDS)?;
        let name = fields.need("name").and_then(|n| n.text()).unwrap_or_default().to_owned();
        let mut operations = Operations::default();
        if let Some(list) = fields.get("apply") {
            self.apply(&list, &mut operations);
        }
        for item in fields.items("delete") {
            self.delete(&item, &mut operations);
        }
        if let Some(map) = fields.get("setLabels") {
            for (target, labels) in map.entries() {
                self.set_labels(target, &labels, &mut operations);
            }
        }
        for item in fields.items("addPods") {
            self.add_short_pod(&item, &mut operations);
        }
        for item in fields.items("deletePods") {
            match item.text() {
                Some(name) if self.pods.iter().any(|p| p.full_name() == name) => {
                    self.pods.retain(|p| p.full_name() != name);
                    operations.pods.push(Operation::DeletePod(name.to_owned()));
                }
                Some(name) => item.problem(format!("there is no pod {name} in this step")),
                None => {}
            }
        }
        self.check_fixed_addresses();
        let mut all = operations.objects;
        all.extend(operations.pods);
        if let Some(fault) = fields.get("fault")
            && let Some(parsed) = fault.parse::<Fault>()
        {
            match parsed.node() {
                Some(n) if !(1..=self.nodes).contains(&n) => {
                    fault.problem(format!("there is no node {n}: the scenario has {}", self.nodes));
                }
                _ => all.push(Operation::Fault(parsed)),
            }
        }
        let probes = self.probes(field, &fields, head);
        Some(Step { name, position: field.position(), operations: all, probes })
    }

    /// What the step's lines or tables come to.
    fn probes(&self, step: &Field<'_>, fields: &Fields<'_>, head: &Head) -> Vec<Probe> {
        let cast =
            Cast { pods: &self.pods, nodes: self.nodes, outside: &head.outside, families: &head.families };
        let mut expectations = Expectations::new(&cast);
        let (list, tables) = (fields.get("expect"), fields.get("matrix"));
        let place = match (&list, &tables) {
            (Some(_), Some(tables)) => {
                tables.problem("a step has either expect or matrix");
                return Vec::new();
            }
            (None, None) => {
                step.problem("the step expects nothing: give it expect or matrix");
                return Vec::new();
            }
            (Some(place), None) | (None, Some(place)) => place.clone(),
        };
        // What a line that cannot be read would have said is not known to be missing.
        let mut readable = list.as_ref().is_none_or(|l| l.value().is_array());
        for item in list.iter().flat_map(Field::items) {
            let Some(line) = item.parse::<Line>() else {
                readable = false;
                continue;
            };
            if let Err(pointless) = expectations.add(&line, item.position()) {
                item.problem(pointless.into_message());
            }
        }
        for table in
            tables.iter().flat_map(|t| if t.value().is_array() { t.items() } else { vec![t.clone()] })
        {
            add_table(&table, &mut expectations);
        }
        let missing = expectations.missing();
        if readable && !missing.is_empty() {
            place.problem(format!(
                "nothing says what becomes of {}; a first line like `deny * -> *` speaks of all pods",
                some_of(&missing)
            ));
        }
        expectations.into_probes()
    }

    // === objects ===

    fn apply(&mut self, list: &Field<'_>, operations: &mut Operations) {
        let mut meanings = file::objects(list, self.document, self.loader, self.problems);
        // What others live in comes first.
        meanings.sort_by_key(|m| match m {
            Meaning::Stored(o) if o.id.kind == "Namespace" => 0,
            Meaning::Stored(o) if o.id.kind == "ServiceAccount" => 1,
            _ => 2,
        });
        let mut seen = BTreeSet::new();
        for meaning in meanings {
            match meaning {
                Meaning::Stored(object) => {
                    if let (false, Some(origin)) = (seen.insert(object.id.clone()), &object.origin) {
                        self.problems
                            .push(origin.problem("metadata.name", format!("{} is there twice", object.id)));
                    }
                    self.put(object, operations);
                }
                Meaning::Workload { id, value, origin } => {
                    if !seen.insert(id.clone()) {
                        self.problems.push(origin.problem("metadata.name", format!("{id} is there twice")));
                    }
                    self.run(&id, &value, &origin, operations);
                }
                Meaning::Skipped(skipped) => self.skipped.push(skipped),
            }
        }
    }

    fn put(&mut self, mut object: Object, operations: &mut Operations) {
        if object.id.kind == "Namespace" {
            label_with_name(&mut object.value, &object.id.name);
        } else if !object.id.namespace.is_empty() {
            self.ensure_namespace(&object.id.namespace.clone(), operations);
        }
        self.objects.insert(object.id.clone(), object.clone());
        operations.objects.push(Operation::Apply(object));
    }

    /// Makes a namespace with its default service account, unless it is there.
    fn ensure_namespace(&mut self, name: &str, operations: &mut Operations) {
        let labels = self.namespace_labels.get(name).cloned().unwrap_or_default();
        let mut namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        label_with_name(&mut namespace, name);
        let object = Object::implied("Namespace", "", name, namespace);
        if !self.objects.contains_key(&object.id) {
            self.put(object, operations);
        }
    }

    fn ensure_account(&mut self, namespace: &str, name: &str, operations: &mut Operations) {
        self.ensure_namespace(namespace, operations);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace}});
        let object = Object::implied("ServiceAccount", namespace, name, account);
        if !self.objects.contains_key(&object.id) {
            self.put(object, operations);
        }
    }

    fn delete(&mut self, item: &Field<'_>, operations: &mut Operations) {
        let Some(fields) = item.fields(&["apiVersion", "kind", "namespace", "name"]) else { return };
        let (kind, name) =
            (fields.need("kind").and_then(|f| f.text()), fields.need("name").and_then(|f| f.text()));
        let (Some(kind), Some(name)) = (kind, name) else { return };
        let namespace = fields.text("namespace").unwrap_or_default();
        let version = fields.text("apiVersion");
        let is = |id: &ObjectId| {
            id.kind == kind
                && id.name == name
                && (id.namespace == namespace || (namespace.is_empty() && id.namespace == "default"))
                && version.is_none_or(|v| v.split_once('/').map_or("", |(group, _)| group) == id.group)
        };
        let pods: Vec<ObjectId> = self.pods.iter().filter(|p| p.owner.is_none()).map(pod_id).collect();
        let found: Vec<ObjectId> =
            self.objects.keys().chain(&self.workloads).chain(&pods).filter(|id| is(id)).cloned().collect();
        match found.as_slice() {
            [] => item.problem(format!("there is no {kind} {namespace}/{name} to delete").replace(" /", " ")),
            [id] if operations.applied(id) => {
                item.problem(format!("{id} is applied and deleted in the same step; make two of it"));
            }
            [id] => self.remove(&id.clone(), operations),
            _ => item.problem(format!("several groups have a {kind} {name}: say which by apiVersion")),
        }
    }

    fn remove(&mut self, id: &ObjectId, operations: &mut Operations) {
        if id.kind == "Namespace" && id.group.is_empty() {
            let within = |o: &ObjectId| o.namespace == id.name;
            let inner: Vec<ObjectId> = self.objects.keys().filter(|o| within(o)).cloned().collect();
            // Pods go before what holds them.
            let mut gone = Operations::default();
            self.remove_pods(|p| p.namespace == id.name, &mut gone);
            operations.objects.extend(gone.pods);
            self.workloads.retain(|w| !within(w));
            for inner in inner {
                self.remove(&inner, operations);
            }
        }
        if let Some(object) = self.objects.remove(id) {
            operations.objects.push(Operation::Delete { id: id.clone(), path: object.path });
        } else if self.workloads.remove(id) {
            self.remove_pods(|p| p.owner.as_ref() == Some(id), operations);
        } else {
            self.remove_pods(|p| p.owner.is_none() && pod_id(p) == *id, operations);
        }
    }

    fn remove_pods(&mut self, which: impl Fn(&Pod) -> bool, operations: &mut Operations) {
        for pod in self.pods.iter().filter(|p| which(p)) {
            operations.pods.push(Operation::DeletePod(pod.full_name()));
        }
        self.pods.retain(|p| !which(p));
    }

    fn set_labels(&mut self, target: &str, field: &Field<'_>, operations: &mut Operations) {
        let labels = field.string_map();
        if let Some(name) = target.strip_prefix("namespace:") {
            let found =
                self.objects.values().find(|o| o.id.kind == "Namespace" && o.id.name == name).cloned();
            let Some(mut namespace) = found else {
                field.problem(format!("there is no namespace {name}"));
                return;
            };
            if let Some(metadata) = namespace.value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                metadata.insert("labels".to_owned(), json!(labels));
            }
            self.put(namespace, operations);
            return;
        }
        match self.pods.iter_mut().find(|p| p.full_name() == target) {
            Some(pod) => {
                pod.labels = labels;
                operations.pods.push(Operation::ChangePod(pod.clone()));
            }
            None => {
                field
                    .problem(format!("there is no pod {target} in this step; a namespace is namespace:NAME"));
            }
        }
    }

    // === pods ===

    fn add_short_pod(&mut self, field: &Field<'_>, operations: &mut Operations) {
        let Some(pod) = file::pod(field, self.nodes) else { return };
        let at = field.fields(&file::POD_FIELDS).and_then(|f| f.get("addresses"));
        let position = at.map_or(field.position(), |f| f.position());
        self.fix(&pod, self.document.source.clone(), position);
        if let Err(message) = self.start(pod, operations) {
            field.problem(message);
        }
    }

    fn fix(&mut self, pod: &Pod, source: Arc<str>, position: Position) {
        if !pod.addresses.is_empty() {
            let (pod, addresses) = (pod.full_name(), pod.addresses.clone());
            self.fixed.push(Fixed { pod, addresses, source, position });
        }
    }

    /// A fixed address is one of a pool, as IPAM would have it.
    fn check_fixed_addresses(&mut self) {
        let is_pool = |id: &ObjectId| id.kind == "IPPool";
        let cidr = |o: &Object| o.value.pointer("/spec/cidr")?.as_str()?.parse::<Cidr>().ok();
        let more = self.objects.values().filter(|o| is_pool(&o.id)).filter_map(cidr);
        let pools: Vec<Cidr> = self.pools.iter().copied().chain(more).collect();
        for Fixed { pod, addresses, source, position } in std::mem::take(&mut self.fixed) {
            for address in addresses.iter().filter(|a| !pools.iter().any(|p| p.contains(**a))) {
                let pools = pools.iter().filter(|p| p.family() == Family::of(*address));
                let pools: Vec<String> = pools.map(ToString::to_string).collect();
                let message = format!(
                    "pod {pod} wants {address}, which is in no pool: choose one of {}, or add a pool",
                    pools.join(" or ")
                );
                self.problems.push(Problem::new(&source, position, message));
            }
        }
    }

    /// Starts the pods of a workload; of one that runs already, only what differs.
    fn run(&mut self, id: &ObjectId, value: &Value, origin: &Origin, operations: &mut Operations) {
        let wanted = match pods_of(id, value, self.nodes) {
            Ok(pods) => pods,
            Err(error) => {
                self.problems.push(origin.problem(error.field(), format!("{id}: {error}")));
                return;
            }
        };
        if wanted.is_empty() {
            self.skipped.push(Skipped {
                id: id.clone(),
                reason: "it asks for no pod with a network of its own".into(),
            });
        }
        if id.kind != "Pod" {
            self.workloads.insert(id.clone());
        }
        let names: BTreeSet<String> = wanted.iter().map(Pod::full_name).collect();
        self.remove_pods(|p| p.owner.as_ref() == Some(id) && !names.contains(&p.full_name()), operations);
        for pod in wanted {
            let at = origin.locate(&format!("metadata.annotations[{ADDRESSES_ANNOTATION}]"));
            self.fix(&pod, origin.document.source.clone(), at);
            let running =
                self.pods.iter_mut().find(|p| p.full_name() == pod.full_name() && p.owner == pod.owner);
            if let Some(running) = running {
                let changed = Pod { node: running.node, ..pod };
                if *running != changed {
                    *running = changed.clone();
                    operations.pods.push(Operation::ChangePod(changed));
                }
            } else if let Err(message) = self.start(pod, operations) {
                self.problems.push(origin.problem("metadata.name", message));
            }
        }
    }

    fn start(&mut self, mut pod: Pod, operations: &mut Operations) -> Result<(), String> {
        let name = pod.full_name();
        if self.pods.iter().any(|p| p.full_name() == name) {
            return Err(format!("there is a pod {name} already"));
        }
        if pod.node > self.nodes {
            return Err(format!("pod {name} wants node {}, the scenario has {}", pod.node, self.nodes));
        }
        let addresses = &pod.addresses;
        let same = |p: &&Pod| p.addresses.iter().any(|a| addresses.contains(a));
        if let Some(other) = self.pods.iter().find(same) {
            return Err(format!("pod {name} wants an address of {}", other.full_name()));
        }
        if pod.node == 0 {
            pod.node = self.unplaced % self.nodes.max(1) + 1;
            self.unplaced += 1;
        }
        self.ensure_account(&pod.namespace, "default", operations);
        self.ensure_account(&pod.namespace, pod.account(), operations);
        self.pods.push(pod.clone());
        operations.pods.push(Operation::AddPod(pod));
        Ok(())
    }
}

/// The first of many, and how many more there are.
fn some_of(all: &[String]) -> String {
    const SHOWN: usize = 3;
    let some = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => some,
        more => format!("{some}, and {more} more"),
    }
}

/// Adds the cells of a table. That some of the ports are not there in some of the cells is what tables are like; a
/// table that comes to nothing at all is a mistake.
fn add_table(table: &Field<'_>, expectations: &mut Expectations<'_>) {
    let (mut seen, mut probes, mut nothing) = (BTreeSet::new(), false, None);
    for (line, position) in matrix::lines(table) {
        match expectations.add(&line, position) {
            Ok(()) => probes = true,
            Err(Pointless::Nothing(message)) => nothing = nothing.or(Some(message)),
            Err(Pointless::Nobody(message)) => {
                if seen.insert((position.line, message.clone())) {
                    table.problem(format!("line {} of the file: {message}", position.line));
                }
            }
        }
    }
    if let (false, true, Some(message)) = (probes, seen.is_empty(), nothing) {
        table.problem(message);
    }
}

fn pod_id(pod: &Pod) -> ObjectId {
    ObjectId {
        group: String::new(),
        kind: "Pod".to_owned(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    }
}

/// What an API server does to every namespace.
fn label_with_name(namespace: &mut Value, name: &str) {
    let Some(metadata) = namespace.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(NAME_LABEL.to_owned(), name.into());
    }
}
