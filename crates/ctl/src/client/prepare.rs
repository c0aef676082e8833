//! What is done to an object on its way into the datastore and out of it.

use super::{ClientError, ObjectName, metadata_mut, name_of, part_mut, text};
use serde_json::{Value, json};
use tortie_api::v3::{LABEL_NAMESPACE, LABEL_ORCHESTRATOR, LABEL_TIER, ResourceType};
use tortie_api::validate;
use tortie_model::convert::wep_name::WepName;

/// Where Calico notes the name of a policy as its user wrote it.
const METADATA_ANNOTATION: &str = "projectcalico.org/metadata";
/// Names of policies that were made from those of Kubernetes begin so.
const CONVERTED_PREFIX: &str = "knp.default.";

/// Kinds that belong to a tier.
pub(super) fn is_tiered(kind: &ResourceType) -> bool {
    matches!(
        kind.kind,
        "NetworkPolicy" | "GlobalNetworkPolicy" | "StagedNetworkPolicy" | "StagedGlobalNetworkPolicy"
    )
}

/// A fresh random UUID.
pub(super) fn new_uid() -> Result<String, ClientError> {
    tortie_cluster::new_uid().map_err(ClientError::Random)
}

/// Policies that were converted belong to Kubernetes.
pub(super) fn refuse_converted(
    kind: &ResourceType,
    id: &ObjectName,
    operation: &'static str,
) -> Result<(), ClientError> {
    if kind.kind == "NetworkPolicy" && id.name.starts_with(CONVERTED_PREFIX) {
        let reason = "it mirrors a policy of Kubernetes; kubernetes network policies must be managed through the kubernetes API";
        return Err(ClientError::unsupported(operation, id.clone(), reason));
    }
    Ok(())
}

/// Fills in what is not said, and refuses what is wrong.
pub(super) fn for_storage(kind: &ResourceType, mut object: Value) -> Result<Value, ClientError> {
    let mut problems = validate::validate_value(&object, validate::Options::ALL);
    if kind.kind == "IPPool" && problems.is_empty() {
        // Some rules are about what a pool is when its defaults are filled in.
        let mut filled = object.clone();
        fill(kind, &mut filled);
        problems = validate::validate_value(&filled, validate::Options::ALL);
    }
    match kind.kind {
        "WorkloadEndpoint" => name_workload(&mut object, &mut problems),
        "BGPConfiguration" => only_in_default(&object, &mut problems),
        _ => {}
    }
    let id = name_of(kind, &object);
    if id.name.is_empty() && problems.is_empty() {
        return Err(ClientError::invalid(id, "metadata.name", "is missing"));
    }
    if !problems.is_empty() {
        return Err(ClientError::wrong(id, &object, problems));
    }
    fill(kind, &mut object);
    Ok(object)
}

fn fill(kind: &ResourceType, object: &mut Value) {
    validate::prepare_for_create(object);
    match kind.kind {
        "Tier" => {
            default(object, "order", json!(1_000_000));
            default(object, "defaultAction", "Deny".into());
        }
        "IPPool" => default(object, "assignmentMode", "Automatic".into()),
        "FelixConfiguration" => felix(object),
        "KubeControllersConfiguration" => controllers(object),
        _ if is_tiered(kind) => note_name(object),
        _ => {}
    }
}

/// Notes the name of a policy at it, as all writers do.
pub(crate) fn note_name(policy: &mut Value) {
    let note = json!({"name": text(policy, "/metadata/name")}).to_string();
    let annotations = metadata_mut(policy).entry("annotations").or_insert_with(|| json!({}));
    annotations[METADATA_ANNOTATION] = note.into();
}

fn default(object: &mut Value, field: &str, value: Value) {
    let spec = part_mut(object, "spec");
    if spec.get(field).is_none_or(Value::is_null) {
        spec.insert(field.to_owned(), value);
    }
}

fn felix(object: &mut Value) {
    default(object, "floatingIPs", "Disabled".into());
    default(object, "bpfConnectTimeLoadBalancing", "TCP".into());
    default(object, "bpfHostNetworkedNATWithoutCTLB", "Enabled".into());
    // The older switch wins over its successors.
    if let Some(enabled) = object.pointer("/spec/bpfConnectTimeLoadBalancingEnabled").and_then(Value::as_bool)
    {
        let spec = part_mut(object, "spec");
        let balancing = if enabled { "Enabled" } else { "Disabled" };
        spec.insert("bpfConnectTimeLoadBalancing".to_owned(), balancing.into());
        spec.insert("bpfHostNetworkedNATWithoutCTLB".to_owned(), "Disabled".into());
    }
}

fn controllers(object: &mut Value) {
    default(object, "prometheusMetricsPort", 9094.into());
    if let Some(Value::Object(node)) = object.pointer_mut("/spec/controllers/node") {
        node.entry("leakGracePeriod").or_insert_with(|| "15m0s".into());
        if let Some(Value::Array(templates)) =
            node.get_mut("hostEndpoint").and_then(|h| h.get_mut("templates"))
        {
            for template in templates.iter_mut().filter_map(Value::as_object_mut) {
                template.entry("nodeSelector").or_insert_with(|| "all()".into());
            }
        }
    }
    if let Some(Value::Object(balancer)) = object.pointer_mut("/spec/controllers/loadBalancer") {
        balancer.entry("assignIPs").or_insert_with(|| "AllServices".into());
    }
}

/// Settings of the whole mesh cannot be those of one node.
fn only_in_default(object: &Value, problems: &mut Vec<validate::Problem>) {
    if text(object, "/metadata/name") == "default" {
        return;
    }
    for field in [
        "nodeToNodeMeshEnabled",
        "asNumber",
        "serviceLoadBalancerIPs",
        "serviceExternalIPs",
        "serviceClusterIPs",
        "nodeMeshPassword",
        "nodeMeshMaxRestartTime",
    ] {
        let given = object["spec"].get(field).filter(|v| !v.is_null() && **v != json!([]));
        if given.is_some() {
            let message = format!("Cannot set {field} on a non default BGP Configuration");
            problems.push(validate::Problem { path: format!("spec.{field}"), message });
        }
    }
}

/// The name of a workload endpoint follows from its spec.
fn name_workload(object: &mut Value, problems: &mut Vec<validate::Problem>) {
    let field = |name: &str| text(object, &format!("/spec/{name}")).to_owned();
    let workload = match field("orchestrator").as_str() {
        "k8s" => field("pod"),
        "cni" => field("containerID"),
        "libnetwork" => "libnetwork".to_owned(),
        _ => field("workload"),
    };
    let parts = WepName {
        node: field("node"),
        orchestrator: field("orchestrator"),
        workload,
        endpoint: field("endpoint"),
    };
    let given = text(object, "/metadata/name").to_owned();
    match parts.to_name() {
        Ok(expected) if given.is_empty() => {
            problems.retain(|problem| problem.path != "metadata.name");
            metadata_mut(object).insert("name".to_owned(), expected.into());
        }
        Ok(expected) if given != expected => problems.push(validate::Problem {
            path: "metadata.name".to_owned(),
            message: format!("does not follow from the spec; expected {expected}, or leave it out"),
        }),
        Ok(_) => {}
        Err(error) => {
            problems.push(validate::Problem { path: "spec".to_owned(), message: error.to_string() });
        }
    }
    let (namespace, orchestrator) = (text(object, "/metadata/namespace").to_owned(), parts.orchestrator);
    let labels = metadata_mut(object).entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(LABEL_NAMESPACE.to_owned(), namespace.into());
        labels.insert(LABEL_ORCHESTRATOR.to_owned(), orchestrator.into());
    }
}

/// Gives the new state of an object the metadata of the stored one, but for labels and annotations.
pub(super) fn keep_identity(stored: &Value, object: &mut Value) {
    let mut metadata = stored["metadata"].as_object().cloned().unwrap_or_default();
    let given = metadata_mut(object);
    for key in ["labels", "annotations"] {
        match given.get(key) {
            Some(value) if !value.is_null() => metadata.insert(key.to_owned(), value.clone()),
            _ => metadata.shift_remove(key),
        };
    }
    *given = metadata;
    // A status is never the user's.
    if let (Some(status), Some(object)) = (stored.get("status"), object.as_object_mut()) {
        object.entry("status").or_insert_with(|| status.clone());
    }
}

/// The name as the user wrote it: noted at the object, or, by older writers, with its tier before it.
fn restore_name(object: &mut Value) {
    let tier = text(object, "/spec/tier");
    let in_default = tier.is_empty() || tier == "default";
    let metadata = metadata_mut(object);
    let noted = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
        .and_then(|annotations| annotations.shift_remove(METADATA_ANNOTATION));
    let name = match noted {
        Some(note) => serde_json::from_str::<Value>(note.as_str().unwrap_or(""))
            .ok()
            .and_then(|note| note["name"].as_str().map(str::to_owned)),
        None => metadata
            .get("name")
            .and_then(Value::as_str)
            .filter(|_| in_default)
            .and_then(|name| name.strip_prefix("default."))
            .map(str::to_owned),
    };
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        metadata.insert("name".to_owned(), name.into());
    }
}

/// Fills in what older writers left out.
pub(super) fn after_reading(kind: &ResourceType, object: &mut Value) {
    if is_tiered(kind) {
        restore_name(object);
        let labels = metadata_mut(object).entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.entry(LABEL_TIER).or_insert_with(|| "default".into());
        }
    }
    if kind.kind == "IPPool" {
        validate::prepare_for_create(object);
        default(object, "assignmentMode", "Automatic".into());
    }
}
