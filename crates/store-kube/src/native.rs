//! Objects of Kubernetes: pruned when they are read, changed by patches when they are written.
//!
//! A pruned object must never be written whole. What the writer changed is the difference between the pruned object
//! and the new one; only that becomes a patch.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tortie_api::k8s;
use tortie_api::v3::ResourceType;

/// What `kubectl apply` leaves for itself: a copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Metadata that belongs to the server.
const SERVERS: [&str; 8] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "selfLink",
];

/// The part of an object that anybody here reads.
pub(crate) fn prune(resource: &ResourceType, object: &Value) -> Result<Value, serde_json::Error> {
    let mut body = match resource.kind {
        "Pod" => slim::<k8s::Pod>(object),
        "Namespace" => slim::<k8s::Namespace>(object),
        "ServiceAccount" => slim::<k8s::ServiceAccount>(object),
        "Service" => slim::<k8s::Service>(object),
        "EndpointSlice" => slim::<k8s::EndpointSlice>(object),
        "NetworkPolicy" => slim::<k8s::NetworkPolicy>(object),
        "ClusterNetworkPolicy" => slim::<k8s::ClusterNetworkPolicy>(object),
        _ => slim::<k8s::Node>(object),
    }?;
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("resourceVersion");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(LAST_APPLIED);
            if annotations.is_empty() {
                metadata.shift_remove("annotations");
            }
        }
    }
    let mut value = Map::new();
    value.insert("apiVersion".to_owned(), resource.api_version.into());
    value.insert("kind".to_owned(), resource.kind.into());
    value.extend(body);
    Ok(value.into())
}

fn slim<T: Serialize + DeserializeOwned>(object: &Value) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::to_value(T::deserialize(object)?)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// A new object as the server takes it: without what is the server's, and without status.
pub(crate) fn create(mut object: Map<String, Value>) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVERS {
            metadata.shift_remove(field);
        }
    }
    object.shift_remove("status");
    object.into()
}

/// Patches that make an object the wanted one; for the object and for its status.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Patches {
    pub(crate) object: Option<Value>,
    pub(crate) status: Option<Value>,
}

/// What changes `full`, which was seen as `pruned`, into `wanted`.
pub(crate) fn patches(resource: &ResourceType, pruned: &Value, wanted: &Value, full: &Value) -> Patches {
    let Some(Value::Object(mut patch)) = difference(pruned, wanted, full) else {
        return Patches::default();
    };
    patch.shift_remove("apiVersion");
    patch.shift_remove("kind");
    if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVERS.into_iter().chain(["name", "namespace"]) {
            metadata.shift_remove(field);
        }
        if metadata.is_empty() {
            patch.shift_remove("metadata");
        }
    }
    let status = patch.shift_remove("status").map(|s| Map::from_iter([("status".to_owned(), s)]));
    let only_annotations = patch.keys().all(|key| key == "metadata")
        && patch
            .get("metadata")
            .and_then(Value::as_object)
            .is_none_or(|m| m.keys().all(|k| k == "annotations"));
    // Agents may write the status of pods and nothing else of them; annotations can go with it.
    if resource.kind == "Pod" && only_annotations {
        patch.extend(status.unwrap_or_default());
        return Patches { object: None, status: (!patch.is_empty()).then(|| patch.into()) };
    }
    Patches { object: (!patch.is_empty()).then(|| patch.into()), status: status.map(Value::from) }
}

/// A merge patch (RFC 7386) for what differs between `pruned` and `wanted` and is not so in `full` already.
fn difference(pruned: &Value, wanted: &Value, full: &Value) -> Option<Value> {
    if pruned == wanted || wanted == full {
        return None;
    }
    let (Value::Object(new), Value::Object(_)) = (wanted, full) else { return Some(wanted.clone()) };
    let empty = Map::new();
    let old = pruned.as_object().unwrap_or(&empty);
    let mut patch = Map::new();
    for (key, wanted) in new {
        let part = match (old.get(key), full.get(key)) {
            (Some(old), Some(full)) => difference(old, wanted, full),
            (None, Some(full)) => difference(&Value::Null, wanted, full),
            // Removed by somebody in between is impossible: both are of one revision.
            (_, None) => Some(wanted.clone()),
        };
        if let Some(part) = part {
            patch.insert(key.clone(), part);
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key) && full.get(*key).is_some()) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then(|| patch.into())
}

/// Binds a patch to a revision.
pub(crate) fn at_revision(mut patch: Value, revision: u64) -> Value {
    if let Some(patch) = patch.as_object_mut() {
        let metadata = patch.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn kind(kind: &str) -> &'static ResourceType {
        k8s::by_kind(kind).unwrap()
    }

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "5", "managedFields": [{"manager": "kubelet"}],
                "annotations": {LAST_APPLIED: "{}", "a": "1"}},
            "spec": {"nodeName": "n", "volumes": [{"name": "v"}], "containers": [{"name": "c", "image": "i", "env": [{"name": "X"}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "qosClass": "BestEffort"},
        })
    }

    #[test]
    fn pods_are_small() {
        let pruned = prune(kind("Pod"), &pod()).unwrap();
        assert_eq!(
            pruned,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "ns", "uid": "u", "annotations": {"a": "1"}},
                "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
                "status": {"phase": "Running", "podIP": "10.0.0.1"},
            })
        );
        let wrong = json!({"metadata": {"name": "p"}, "spec": {"nodeName": 7}});
        assert!(prune(kind("Pod"), &wrong).is_err());
    }

    #[test]
    fn what_was_pruned_stays() {
        let (full, pod_kind) = (pod(), kind("Pod"));
        let pruned = prune(pod_kind, &full).unwrap();
        assert_eq!(patches(pod_kind, &pruned, &pruned, &full), Patches::default());
        let mut wanted = pruned.clone();
        wanted["metadata"]["annotations"]["cni.projectcalico.org/podIP"] = json!("10.0.0.2/32");
        let expected = json!({"metadata": {"annotations": {"cni.projectcalico.org/podIP": "10.0.0.2/32"}}});
        let found = patches(pod_kind, &pruned, &wanted, &full);
        assert_eq!(found, Patches { object: None, status: Some(expected) });
        let mut wanted = pruned.clone();
        wanted["metadata"].as_object_mut().unwrap().shift_remove("annotations");
        wanted["metadata"]["labels"] = json!({"app": "x"});
        wanted["status"]["phase"] = json!("Failed");
        let found = patches(pod_kind, &pruned, &wanted, &full);
        let expected = json!({"metadata": {"annotations": null, "labels": {"app": "x"}}});
        assert_eq!(
            found,
            Patches { object: Some(expected), status: Some(json!({"status": {"phase": "Failed"}})) }
        );
    }

    /// As the server applies it (RFC 7386).
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let fields = target.as_object_mut().unwrap();
        for (key, value) in patch {
            if value.is_null() {
                fields.shift_remove(key);
            } else {
                apply(fields.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..3u8).prop_map(Value::from)];
        let tree = leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|m| json!(m))
        });
        proptest::collection::btree_map("[abc]", tree, 0..4).prop_map(|m| json!(m))
    }

    /// Keeps about half of the fields.
    fn cut(value: &Value, bits: &mut u64) -> Value {
        let Value::Object(fields) = value else { return value.clone() };
        let mut kept = Map::new();
        for (key, value) in fields {
            *bits = bits.rotate_left(1);
            if *bits & 1 == 1 {
                kept.insert(key.clone(), cut(value, bits));
            }
        }
        kept.into()
    }

    /// True if everything of `part` is in `whole`.
    fn holds(whole: &Value, part: &Value) -> bool {
        match (whole, part) {
            (Value::Object(whole), Value::Object(part)) => {
                part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
            }
            _ => whole == part,
        }
    }

    proptest! {
        #[test]
        fn a_patch_makes_what_was_wanted(full in tree(), wanted in tree(), mut bits: u64) {
            let pruned = cut(&full, &mut bits);
            let mut patched = full.clone();
            if let Some(patch) = difference(&pruned, &wanted, &full) {
                apply(&mut patched, &patch);
            }
            prop_assert!(holds(&patched, &wanted), "{} from {} lacks {}", patched, full, wanted);
            // Nothing that the writer could not see is gone, unless something else took its place.
            for (key, value) in full.as_object().unwrap() {
                if pruned.get(key).is_none() && wanted.get(key).is_none() {
                    prop_assert_eq!(patched.get(key), Some(value));
                }
                if pruned.get(key).is_some() && wanted.get(key).is_none() {
                    prop_assert_eq!(patched.get(key), None);
                }
            }
        }
    }
}
