//! Judges objects before they are stored: every problem at once, with the field and what would be right.
//!
//! Three layers, as in Calico: *form* (types, formats and structure, which the agent demands too), *schema* (what the
//! definitions of the kinds add: enumerations, limits, rules between fields) and *client* (what only writers check).
//! One table per kind says all three, and the defaults. Must not look at other objects.

mod address;
mod bgp;
mod config;
mod endpoint;
mod felix;
pub(crate) mod format;
mod judge;
mod metadata;
mod pattern;
mod policy;
mod read;
mod schema;
mod status;
#[cfg(test)]
mod tests;

use crate::Map;
use crate::document::Document;
pub(crate) use judge::similar;
pub use pattern::check as check_pattern;
use schema::{Report, Schema};
use serde_json::Value;
use std::fmt;

/// Something wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path of the field, as [`Document::locate`] takes it.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Which layers to check beside the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Enumerations, limits and rules between fields.
    pub schema: bool,
    /// What only writers check: reserved names, unknown fields, fields that are given by the system.
    pub client: bool,
}

impl Options {
    /// All layers.
    pub const ALL: Self = Self { schema: true, client: true };
}

/// Everything that is wrong with a document; empty if it may be stored.
///
/// Kubernetes' own kinds are only checked for their types: their API server judges them.
pub fn validate(document: &Document) -> Vec<Problem> {
    validate_value(&document.value, Options::ALL)
}

/// Everything that the chosen layers find wrong with an object.
pub fn validate_value(value: &Value, options: Options) -> Vec<Problem> {
    let problem =
        |path: &str, message: &str| vec![Problem { path: path.to_owned(), message: message.to_owned() }];
    let Value::Object(object) = value else {
        return problem("", "an object with apiVersion and kind is needed");
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("");
    let (kind, version) = (text("kind"), text("apiVersion"));
    if kind.is_empty() {
        return problem("kind", "is missing; say what this is, as GlobalNetworkPolicy");
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if group != crate::v3::GROUP && !version.is_empty() {
        return kubernetes(kind, value);
    }
    let Some(schema) = schema_of(kind) else {
        return problem(
            "kind",
            &format!("{kind:?} is no kind of {}{}", crate::v3::API_VERSION, suggest(kind)),
        );
    };
    let mut report = if is_defined(kind) { Report::new(options) } else { Report::without_schema(options) };
    if options.client && version != crate::v3::API_VERSION {
        report.form("apiVersion", format!("is {version:?}; write {}", crate::v3::API_VERSION));
    }
    judge::check_top(object, &mut report);
    // What would be stored is judged, defaults among it.
    let mut whole = object.clone();
    let mut part = |name: &str, schema: &Schema| {
        let given = match object.get(name) {
            None | Some(Value::Null) => &Value::Object(Map::new()),
            Some(value) => value,
        };
        let mut stored = read::stored(given, schema, name, &mut report);
        schema::fill_defaults(&mut stored, schema);
        judge::judge(&stored, schema, name, &mut report);
        whole.insert(name.to_owned(), stored);
    };
    part("metadata", &metadata::METADATA);
    part("spec", schema);
    if let Some(status) = status_of(kind)
        && object.get("status").is_some_and(|s| !s.is_null())
    {
        part("status", status);
    }
    metadata::check(kind, &whole, &mut report);
    if kind == "Tier" {
        policy::system_tier(&whole, &mut report);
    }
    if kind == "FelixConfiguration" {
        felix::scope(&whole, &mut report);
    }
    let mut problems = report.into_problems();
    problems.sort();
    problems.dedup();
    problems
}

/// The object as a typed client would write it after reading it, which loses unknown fields, with the defaults of the
/// schema.
pub fn as_stored(value: &Value) -> Value {
    let kind = value["kind"].as_str().unwrap_or("");
    let (Some(schema), Value::Object(object)) = (schema_of(kind), value) else { return value.clone() };
    let mut whole = object.clone();
    let mut nobody = Report::new(Options { schema: false, client: false });
    for (name, schema) in [("spec", Some(schema)), ("status", status_of(kind))] {
        let (Some(schema), Some(given @ Value::Object(_))) = (schema, object.get(name)) else { continue };
        let mut stored = read::stored(given, schema, name, &mut nobody);
        read::typed(&mut stored, schema);
        if is_defined(kind) {
            schema::fill_defaults(&mut stored, schema);
        }
        whole.insert(name.to_owned(), stored);
    }
    whole.into()
}

/// False for the kinds that Kubernetes never sees in this form: there is no definition with rules for them.
fn is_defined(kind: &str) -> bool {
    !matches!(kind, "Node" | "WorkloadEndpoint" | "Profile")
}

/// Fills in what the schema of the kind fills in; what is there is kept.
pub fn fill_defaults(value: &mut Value) {
    let kind = value["kind"].as_str().unwrap_or("").to_owned();
    if let (Some(schema), Value::Object(object)) = (schema_of(&kind), value)
        && let Some(spec) = object.get_mut("spec")
    {
        schema::fill_defaults(spec, schema);
    }
}

/// Turns numbers and booleans into text where a kind of projectcalico.org has text.
pub fn coerce(value: &mut Value) {
    if value["apiVersion"] != crate::v3::API_VERSION {
        return;
    }
    let Some(schema) = schema_of(value["kind"].as_str().unwrap_or("")) else { return };
    let Value::Object(object) = value else { return };
    if let Some(spec) = object.get_mut("spec") {
        schema::coerce(spec, schema);
    }
    if let Some(metadata) = object.get_mut("metadata") {
        schema::coerce(metadata, &metadata::METADATA);
    }
}

/// Fills in what a client does when it creates an object, beside [`fill_defaults`]: the types of a policy, the label
/// with its tier, the block size and uses of a pool.
pub fn prepare_for_create(value: &mut Value) {
    fill_defaults(value);
    let kind = value["kind"].as_str().unwrap_or("").to_owned();
    match kind.as_str() {
        "NetworkPolicy" | "GlobalNetworkPolicy" | "StagedNetworkPolicy" | "StagedGlobalNetworkPolicy" => {
            policy::prepare(value);
        }
        "IPPool" => address::prepare_pool(value),
        "FelixConfiguration" => {
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.entry("floatingIPs").or_insert_with(|| "Disabled".into());
            }
        }
        _ => {}
    }
}

/// Table of a kind's spec and rules.
fn schema_of(kind: &str) -> Option<&'static Schema> {
    Some(match kind {
        "NetworkPolicy" => &policy::NETWORK_POLICY,
        "GlobalNetworkPolicy" => &policy::GLOBAL_NETWORK_POLICY,
        "StagedNetworkPolicy" => &policy::STAGED_NETWORK_POLICY,
        "StagedGlobalNetworkPolicy" => &policy::STAGED_GLOBAL_NETWORK_POLICY,
        "StagedKubernetesNetworkPolicy" => &policy::STAGED_KUBERNETES_NETWORK_POLICY,
        "Tier" => &policy::TIER,
        "Profile" => &policy::PROFILE,
        "NetworkSet" | "GlobalNetworkSet" => &address::NETWORK_SET,
        "IPPool" => &address::IP_POOL,
        "IPReservation" => &address::IP_RESERVATION,
        "IPAMConfiguration" | "IPAMConfig" => &address::IPAM_CONFIGURATION,
        "BlockAffinity" => &address::BLOCK_AFFINITY,
        "HostEndpoint" => &endpoint::HOST_ENDPOINT,
        "WorkloadEndpoint" => &endpoint::WORKLOAD_ENDPOINT,
        "Node" => &endpoint::NODE,
        "BGPConfiguration" => &bgp::BGP_CONFIGURATION,
        "BGPPeer" => &bgp::BGP_PEER,
        "BGPFilter" => &bgp::BGP_FILTER,
        "CalicoNodeStatus" => &config::CALICO_NODE_STATUS,
        "ClusterInformation" => &config::CLUSTER_INFORMATION,
        "KubeControllersConfiguration" => &config::KUBE_CONTROLLERS,
        "FelixConfiguration" => &felix::FELIX,
        _ => return None,
    })
}

/// Table of a kind's status.
fn status_of(kind: &str) -> Option<&'static Schema> {
    Some(match kind {
        "Node" => &status::NODE,
        "Tier" | "IPPool" => &status::CONDITIONS,
        "CalicoNodeStatus" => &status::CALICO_NODE_STATUS,
        "KubeControllersConfiguration" => &status::KUBE_CONTROLLERS,
        _ => return None,
    })
}

fn suggest(kind: &str) -> String {
    match crate::v3::lookup(kind) {
        Some(known) => format!("; did you mean {}?", known.kind),
        None => similar(kind, crate::v3::RESOURCES.iter().map(|r| r.kind))
            .map(|known| format!("; did you mean {known}?"))
            .unwrap_or_default(),
    }
}

/// Types of the Kubernetes kinds that are read here.
fn kubernetes(kind: &str, value: &Value) -> Vec<Problem> {
    fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<Problem> {
        match T::deserialize(value) {
            Ok(_) => Vec::new(),
            Err(error) => vec![Problem { path: String::new(), message: error.to_string() }],
        }
    }
    use crate::k8s;
    match kind {
        "Pod" => typed::<k8s::Pod>(value),
        "Namespace" => typed::<k8s::Namespace>(value),
        "ServiceAccount" => typed::<k8s::ServiceAccount>(value),
        "Service" => typed::<k8s::Service>(value),
        "EndpointSlice" => typed::<k8s::EndpointSlice>(value),
        "NetworkPolicy" => typed::<k8s::NetworkPolicy>(value),
        "ClusterNetworkPolicy" => typed::<k8s::ClusterNetworkPolicy>(value),
        _ => Vec::new(),
    }
}

/// Text of a field, empty if it is none.
fn text<'m>(map: &'m Map, key: &str) -> &'m str {
    map.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Elements of a list, none if it is none.
fn list<'m>(map: &'m Map, key: &str) -> &'m [Value] {
    map.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A nested object.
fn object<'m>(map: &'m Map, key: &str) -> Option<&'m Map> {
    map.get(key).and_then(Value::as_object)
}

fn truth(map: &Map, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// True if the field is there and not null.
fn has(map: &Map, key: &str) -> bool {
    map.get(key).is_some_and(|v| !v.is_null())
}
