//! Judges Kubernetes' objects as their API server would: what it refuses is a problem, with what would be right.
//!
//! For places without an API server. Must not refuse what an API server accepts: kinds that are not known here pass,
//! null is absence, and unknown fields are problems only in network policies, whose fields are all known.

mod form;
mod policy;
mod port;
mod selector;
#[cfg(test)]
mod tests;

use crate::Map;
use crate::validate::Problem;
use serde_json::Value;
use std::sync::LazyLock;

/// Everything that an API server would refuse in an object; empty if it would accept it.
pub fn validate(object: &Value) -> Vec<Problem> {
    let mut report = Report::default();
    let Value::Object(object) = object else {
        report.say("", "an object with apiVersion and kind is needed");
        return report.problems;
    };
    let kind = report.text("kind", object.get("kind")).unwrap_or("");
    let version = report.text("apiVersion", object.get("apiVersion")).unwrap_or("");
    if kind.is_empty() && report.problems.is_empty() {
        report.say("kind", "is missing; say what this is, as NetworkPolicy");
    }
    let Some(known) = KINDS.iter().find(|known| known.kind == kind) else { return report.problems };
    if is_foreign(version) {
        return report.problems;
    }
    if report.problems.is_empty() && version != known.version {
        let what = if version.is_empty() { "is missing".to_owned() } else { format!("is {version:?}") };
        report.say("apiVersion", format!("{what}; write {} for a {kind}", known.version));
    }
    metadata(known, object, &mut report);
    if kind == "Service" {
        service(object, &mut report);
    }
    match known.pods {
        Pods::None => {}
        Pods::Is => pod_spec("spec", object.get("spec"), &mut report),
        Pods::At(path) => template(path, object, &mut report),
    }
    if kind == "NetworkPolicy" {
        policy::check(object, &mut report);
    }
    report.problems.sort();
    report.problems.dedup();
    report.problems
}

/// Where a kind says what its pods are like.
enum Pods {
    None,
    /// The object is a pod.
    Is,
    /// The path of the template.
    At(&'static [&'static str]),
}

struct Kind {
    kind: &'static str,
    version: &'static str,
    pods: Pods,
}

const fn kind(version: &'static str, kind: &'static str, pods: Pods) -> Kind {
    Kind { kind, version, pods }
}

const TEMPLATE: &[&str] = &["spec", "template"];

/// The kinds that are judged. All of them have subdomains of DNS for names.
const KINDS: &[Kind] = &[
    kind("v1", "Pod", Pods::Is),
    kind("v1", "Namespace", Pods::None),
    kind("v1", "Node", Pods::None),
    kind("v1", "Service", Pods::None),
    kind("v1", "ServiceAccount", Pods::None),
    kind("v1", "ReplicationController", Pods::At(TEMPLATE)),
    kind("apps/v1", "Deployment", Pods::At(TEMPLATE)),
    kind("apps/v1", "ReplicaSet", Pods::At(TEMPLATE)),
    kind("apps/v1", "StatefulSet", Pods::At(TEMPLATE)),
    kind("apps/v1", "DaemonSet", Pods::At(TEMPLATE)),
    kind("batch/v1", "Job", Pods::At(TEMPLATE)),
    kind("batch/v1", "CronJob", Pods::At(&["spec", "jobTemplate", "spec", "template"])),
    kind("discovery.k8s.io/v1", "EndpointSlice", Pods::None),
    kind("networking.k8s.io/v1", "NetworkPolicy", Pods::None),
];

/// True for the versions of others, whose kinds may have the names of Kubernetes' own.
fn is_foreign(version: &str) -> bool {
    version.split_once('/').is_some_and(|(group, _)| group.contains('.') && !group.ends_with(".k8s.io"))
}

fn metadata(kind: &Kind, object: &Map, report: &mut Report) {
    let metadata = report.object("metadata", object.get("metadata")).unwrap_or(&NOTHING);
    let name = report.text("metadata.name", metadata.get("name"));
    let prefix = report.text("metadata.generateName", metadata.get("generateName")).unwrap_or("");
    let is_name = if kind.kind == "Namespace" { form::label_name } else { form::subdomain };
    match name.unwrap_or("") {
        "" if !prefix.is_empty() => {}
        "" if name.is_some() || metadata.get("name").is_none_or(Value::is_null) => {
            report.say("metadata.name", "is missing; every object has a name, or generateName");
        }
        "" => {}
        name => report.form("metadata.name", name, is_name),
    }
    if !prefix.is_empty() {
        // What is appended begins with a letter or digit, so the prefix may end with a hyphen.
        let whole = prefix.strip_suffix('-').map_or_else(|| prefix.to_owned(), |start| format!("{start}a"));
        report.form("metadata.generateName", &whole, is_name);
    }
    // A namespace in an object without one is dropped.
    if !matches!(kind.kind, "Namespace" | "Node")
        && let Some(namespace) = report.text("metadata.namespace", metadata.get("namespace"))
        && !namespace.is_empty()
    {
        report.form("metadata.namespace", namespace, form::label_name);
    }
    labels_and_annotations("metadata", metadata, report);
}

fn labels_and_annotations(path: &str, metadata: &Map, report: &mut Report) {
    selector::labels(&format!("{path}.labels"), metadata.get("labels"), report);
    let path = format!("{path}.annotations");
    for (key, value) in report.object(&path, metadata.get("annotations")).unwrap_or(&NOTHING) {
        let path = format!("{path}[{key}]");
        report.form(&path, &key.to_ascii_lowercase(), form::label_key);
        if !value.is_null() && !value.is_string() {
            report.say(&path, format!("is {}; put it in quotes to make it text", describe(value)));
        }
    }
}

/// The template of a workload's pods, at a path of fields.
fn template(fields: &[&str], object: &Map, report: &mut Report) {
    let mut path = String::new();
    let mut here = object;
    for field in fields {
        if !path.is_empty() {
            path.push('.');
        }
        if *field == "template" {
            for count in ["replicas", "parallelism", "completions"] {
                report.count(&format!("{path}{count}"), here.get(count));
            }
        }
        path.push_str(field);
        let Some(next) = report.object(&path, here.get(*field)) else { return };
        here = next;
    }
    let of_metadata = format!("{path}.metadata");
    if let Some(metadata) = report.object(&of_metadata, here.get("metadata")) {
        labels_and_annotations(&of_metadata, metadata, report);
    }
    pod_spec(&format!("{path}.spec"), here.get("spec"), report);
}

/// Only the types of what policies and the lab read.
fn service(object: &Map, report: &mut Report) {
    let Some(spec) = report.object("spec", object.get("spec")) else { return };
    selector::labels("spec.selector", spec.get("selector"), report);
    for (i, port) in report.list("spec.ports", spec.get("ports")).iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let port = report.element(&path, port);
        report.integer(&format!("{path}.port"), port.get("port"));
        report.text(&format!("{path}.name"), port.get("name"));
        report.text(&format!("{path}.protocol"), port.get("protocol"));
    }
}

fn pod_spec(path: &str, spec: Option<&Value>, report: &mut Report) {
    let Some(spec) = report.object(path, spec) else { return };
    for field in ["serviceAccountName", "nodeName"] {
        report.text(&format!("{path}.{field}"), spec.get(field));
    }
    let of_network = format!("{path}.hostNetwork");
    report.typed(&of_network, spec.get("hostNetwork"), "true or false", Value::as_bool);
    for field in ["containers", "initContainers"] {
        let path = format!("{path}.{field}");
        for (i, container) in report.list(&path, spec.get(field)).iter().enumerate() {
            let path = format!("{path}[{i}]");
            let container = report.element(&path, container);
            port::of_container(&format!("{path}.ports"), container.get("ports"), report);
        }
    }
}

/// What absent and null objects are read as.
static NOTHING: LazyLock<Map> = LazyLock::new(Map::new);

/// What a value is, for messages.
fn describe(value: &Value) -> String {
    const SHOWN: usize = 60;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(text) if text.chars().count() > SHOWN => "a long text".to_owned(),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The problems so far, and access to fields that notes those of a wrong type.
#[derive(Default)]
struct Report {
    problems: Vec<Problem>,
}

impl Report {
    fn say(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), message: message.into() });
    }

    /// A text must have a form; a form says what would be right of a text without it.
    fn form(&mut self, path: &str, text: &str, form: fn(&str) -> Result<(), &'static str>) {
        if let Err(right) = form(text) {
            self.say(path, format!("{text:?} is not valid; {right}"));
        }
    }

    /// The value of a field as `read` reads it; none if it is absent or null.
    fn typed<'v, T>(
        &mut self,
        path: &str,
        value: Option<&'v Value>,
        wanted: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Option<T> {
        let value = value.filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.say(path, format!("is {}; write {wanted}", describe(value)));
        }
        read
    }

    fn object<'v>(&mut self, path: &str, value: Option<&'v Value>) -> Option<&'v Map> {
        self.typed(path, value, "an object", Value::as_object)
    }

    fn text<'v>(&mut self, path: &str, value: Option<&'v Value>) -> Option<&'v str> {
        self.typed(path, value, "text", Value::as_str)
    }

    fn integer(&mut self, path: &str, value: Option<&Value>) -> Option<i64> {
        self.typed(path, value, "a whole number", port::integer)
    }

    /// How many of something.
    fn count(&mut self, path: &str, value: Option<&Value>) {
        if let Some(count) = self.integer(path, value)
            && u32::try_from(count).is_err()
        {
            self.say(path, format!("{count} is no number of pods; write 0 or more"));
        }
    }

    /// The elements of a list; none if it is absent or null.
    fn list<'v>(&mut self, path: &str, value: Option<&'v Value>) -> &'v [Value] {
        self.typed(path, value, "a list", Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// An object in a list; null is an empty one.
    fn element<'v>(&mut self, path: &str, value: &'v Value) -> &'v Map {
        self.object(path, Some(value)).unwrap_or(&NOTHING)
    }

    /// No other fields than these.
    fn only(&mut self, path: &str, object: &Map, fields: &[&str]) {
        for name in object.keys().filter(|name| !fields.contains(&name.as_str())) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let right = match crate::validate::similar(name, fields.iter().copied()) {
                Some(field) => format!("did you mean {field}?"),
                None => format!("the fields are {}", fields.join(", ")),
            };
            self.say(&path, format!("there is no such field here; {right}"));
        }
    }
}
