//! What a document means: an object to store, pods to run, or nothing.

use crate::decode::describe;
use crate::problem::Problem;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use tortie_api::admit::admit;
use tortie_api::document::{Document, Position};
use tortie_api::v3::ResourceType;
use tortie_api::validate::Problem as Refusal;
use tortie_api::{k8s, v3};
use tortie_model::convert::Converter;

/// An object's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// `networking.k8s.io`, `projectcalico.org`; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// An object to store.
#[derive(Clone, Debug)]
pub struct Object {
    /// Identity.
    pub id: ObjectId,
    /// Path in a store that is not Kubernetes.
    pub path: String,
    /// The object, with its namespace filled in.
    pub value: Value,
    /// Where it was read; none for objects that a scenario only implies.
    pub(crate) origin: Option<Origin>,
}

/// A document for which a lab has no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub id: ObjectId,
    /// Why.
    pub reason: String,
}

/// A place in a document: objects may stand in a scenario or in a file of their own.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) document: Arc<Document>,
    /// Path of the object in the document; empty for all of it.
    pub(crate) prefix: String,
}

/// What a document means.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    Stored(Object),
    Workload { id: ObjectId, value: Value, origin: Origin },
    Skipped(Skipped),
}

impl Origin {
    pub(crate) fn locate(&self, field: &str) -> Position {
        match (self.prefix.is_empty(), field.is_empty()) {
            (true, _) => self.document.locate(field),
            (false, true) => self.document.locate(&self.prefix),
            (false, false) => self.document.locate(&format!("{}.{field}", self.prefix)),
        }
    }

    pub(crate) fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem::new(&self.document.source, self.locate(field), message)
    }
}

/// Groups of which the lab knows kinds, or at least expects some in a manifest.
fn kind_of(group: &str, kind: &str) -> Option<&'static ResourceType> {
    match group {
        v3::GROUP | "crd.projectcalico.org" => v3::by_kind(kind),
        "" if kind == "Node" => None,
        _ => k8s::by_kind(kind).filter(|r| group_of(r.api_version) == group),
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn is_workload(group: &str, kind: &str) -> bool {
    match kind {
        "Pod" => group.is_empty(),
        _ => matches!(group, "apps" | "batch") && k8s::WORKLOAD_KINDS.contains(&kind),
    }
}

/// The object to store that a Kubernetes or projectcalico.org document stands for; `None` for workloads and for kinds
/// that mean nothing to policy.
pub fn document_object(document: &Document) -> Result<Option<Object>, Vec<Problem>> {
    let origin = Origin { document: Arc::new(document.clone()), prefix: String::new() };
    let mut problems = Vec::new();
    let meaning = meaning(&document.value, origin, &mut problems);
    match meaning {
        _ if !problems.is_empty() => Err(problems),
        Some(Meaning::Stored(object)) => Ok(Some(object)),
        _ => Ok(None),
    }
}

/// What a document means; what it lacks becomes problems.
pub(crate) fn meaning(value: &Value, origin: Origin, problems: &mut Vec<Problem>) -> Option<Meaning> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let before = problems.len();
    let group = group_of(&version).to_owned();
    let resource = kind_of(&group, &kind);
    let workload = is_workload(&group, &kind);
    // What is skipped need not have a name (a kustomization.yaml among manifests).
    let meant = resource.is_some() || workload || matches!(&*group, v3::GROUP | "crd.projectcalico.org");
    let nameless = if meant { name.as_str() } else { "none needed" };
    for (field, found) in
        [("kind", kind.as_str()), ("apiVersion", version.as_str()), ("metadata.name", nameless)]
    {
        if found.is_empty() {
            problems.push(origin.problem(field, lacks(value, field)));
        }
    }
    if problems.len() > before {
        return None;
    }
    let mut namespace = text("/metadata/namespace");
    if resource.is_some_and(|r| r.namespaced) || workload {
        if namespace.is_empty() {
            "default".clone_into(&mut namespace);
        }
    } else if resource.is_some() {
        namespace.clear();
    }
    let id = ObjectId { group, kind, namespace, name };
    let mut value = value.clone();
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        if id.namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".to_owned(), id.namespace.clone().into());
        }
    }
    match resource {
        _ if workload => {
            let refused = admit(&mut value);
            let admitted = refused.is_empty();
            problems.extend(said(&id, &origin, refused));
            // Nobody can say which pods it asks for.
            admitted.then_some(Meaning::Workload { id, value, origin })
        }
        Some(resource) => {
            if id.group == "crd.projectcalico.org"
                && let Some(fields) = value.as_object_mut()
            {
                fields.insert("apiVersion".to_owned(), v3::API_VERSION.into());
            }
            let refused = admit(&mut value);
            let admitted = refused.is_empty();
            problems.extend(said(&id, &origin, refused));
            let path = resource.path(&id.namespace, &id.name);
            let object = Object { id, path, value, origin: Some(origin) };
            // What is refused would only be found wrong a second time.
            if admitted {
                problems.extend(object.problems());
            }
            Some(Meaning::Stored(object))
        }
        None if matches!(&*id.group, v3::GROUP | "crd.projectcalico.org") => {
            problems.push(origin.problem("kind", format!("{version} has no kind {}", id.kind)));
            None
        }
        None => {
            let reason = format!("{version} {} means nothing to policy", id.kind);
            Some(Meaning::Skipped(Skipped { id, reason }))
        }
    }
}

/// Why a field that every object has cannot be read.
fn lacks(object: &Value, field: &str) -> String {
    match object.pointer(&format!("/{}", field.replace('.', "/"))) {
        None | Some(Value::Null) => format!("the object lacks {field}"),
        Some(Value::String(_)) => format!("{field} of the object is empty"),
        Some(found) => format!("{field} of the object must be text, found {}", describe(found)),
    }
}

/// What an API server would refuse, with the name of the object and the path of the field.
fn said(id: &ObjectId, origin: &Origin, refused: Vec<Refusal>) -> Vec<Problem> {
    let wrong: BTreeSet<String> = refused.iter().filter(|p| !is_absence(p)).map(|p| p.path.clone()).collect();
    // What cannot be read is also missing: that is said once.
    refused
        .into_iter()
        .filter(|p| !is_absence(p) || !wrong.contains(&p.path))
        .map(|p| origin.problem(&p.path, format!("{id}: {}", sentence(&p.path, &p.message))))
        .collect()
}

fn is_absence(refusal: &Refusal) -> bool {
    refusal.message.starts_with("is missing")
}

/// A message about a field, with its path in front.
pub(crate) fn sentence(path: &str, message: &str) -> String {
    match path {
        "" => message.to_owned(),
        _ if message.starts_with("is ") => format!("{path} {message}"),
        _ => format!("{path}: {message}"),
    }
}

impl Object {
    /// A Kubernetes object that nobody wrote.
    pub(crate) fn implied(kind: &str, namespace: &str, name: &str, value: Value) -> Self {
        let resource = k8s::by_kind(kind);
        Self {
            id: ObjectId {
                group: resource.map(|r| group_of(r.api_version)).unwrap_or_default().to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            path: resource.map(|r| r.path(namespace, name)).unwrap_or_default(),
            value,
            origin: None,
        }
    }

    /// What a cluster would find wrong with the object when it converts it.
    fn problems(&self) -> Vec<Problem> {
        let Some(origin) = &self.origin else { return Vec::new() };
        let bytes = self.value.to_string().into_bytes();
        let (_, diagnostics) = Converter::default().entry(&self.path, Some(&bytes));
        let problem = |d: tortie_model::convert::Diagnostic| {
            let text = d.to_string();
            origin.problem(&d.field, text)
        };
        diagnostics.into_iter().map(problem).collect()
    }
}
