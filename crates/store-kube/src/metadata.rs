//! Metadata of users' objects, packed into an annotation of the custom resource (`crd.projectcalico.org/v1` only).
//!
//! Calico's rules: the annotation holds everything but namespace, revision and identity, and the name only of
//! policies; the custom resource itself keeps those labels and annotations that are Calico's own; the identity that
//! users see is derived from that of the custom resource, so that two APIs never show one identity for two objects.

use serde_json::{Map, Value};
use tortie_model::convert::k8s::converted_uid;

/// Where it is packed.
pub(crate) const METADATA: &str = "projectcalico.org/metadata";

const STORED: &str = "crd.projectcalico.org/v1";
const SHOWN: &str = "projectcalico.org/v3";

/// Fields in the order in which Go writes them.
const ORDER: [&str; 10] = [
    "name",
    "generateName",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
];

/// Why packed metadata cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    /// The annotation is no metadata.
    #[error("annotation {METADATA} is not understood: {0}")]
    Annotation(String),
}

fn is_ours(key: &str) -> bool {
    key.contains("projectcalico.org/") || key.contains("operator.tigera.io/")
}

fn kept(metadata: &Map<String, Value>, field: &str) -> Map<String, Value> {
    let entries = metadata.get(field).and_then(Value::as_object).into_iter().flatten();
    entries.filter(|(key, _)| is_ours(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Metadata of the custom resource for a user's object; `policy` kinds keep their name in the annotation.
pub(crate) fn pack(metadata: &Map<String, Value>, policy: bool) -> Map<String, Value> {
    let mut packed = Map::new();
    for field in ORDER {
        let value = match field {
            "name" if !policy => None,
            "creationTimestamp" => Some(metadata.get(field).cloned().unwrap_or(Value::Null)),
            "labels" | "annotations" => metadata.get(field).map(sorted),
            "ownerReferences" => metadata.get(field).map(|refs| owners(refs, &[SHOWN], STORED)),
            _ => metadata.get(field).cloned(),
        };
        if let Some(value) = value.filter(|value| !is_empty(value) || field == "creationTimestamp") {
            packed.insert(field.to_owned(), value);
        }
    }
    let mut annotations = kept(metadata, "annotations");
    annotations.insert(METADATA.to_owned(), Value::Object(packed).to_string().into());
    let mut stored = Map::new();
    for field in ["name", "namespace"] {
        if let Some(value) = metadata.get(field).filter(|value| !is_empty(value)) {
            stored.insert(field.to_owned(), value.clone());
        }
    }
    let labels = kept(metadata, "labels");
    if !labels.is_empty() {
        stored.insert("labels".to_owned(), labels.into());
    }
    stored.insert("annotations".to_owned(), annotations.into());
    stored
}

/// The user's metadata of a custom resource. The name is missing if the annotation does not hold it.
pub(crate) fn unpack(stored: &Map<String, Value>) -> Result<Map<String, Value>, MetadataError> {
    let mut annotations = stored.get("annotations").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut labels = stored.get("labels").and_then(Value::as_object).cloned().unwrap_or_default();
    let uid = stored.get("uid").and_then(Value::as_str).and_then(converted_uid);
    let packed = annotations.shift_remove(METADATA);
    let mut metadata = match &packed {
        None => stored.clone(),
        Some(text) => {
            let wrong = |reason: String| MetadataError::Annotation(reason);
            let text = text.as_str().ok_or_else(|| wrong("it is no text".to_owned()))?;
            serde_json::from_str::<Map<String, Value>>(text).map_err(|error| wrong(error.to_string()))?
        }
    };
    if packed.is_some() {
        for (field, merged) in [("labels", &mut labels), ("annotations", &mut annotations)] {
            if let Some(own) = metadata.get(field).and_then(Value::as_object) {
                merged.extend(own.clone());
            }
        }
        if let Some(refs) = metadata.get_mut("ownerReferences") {
            // Some were written before identities were converted.
            *refs = owners(refs, &[STORED, SHOWN], SHOWN);
        }
        if let Some(namespace) = stored.get("namespace") {
            metadata.insert("namespace".to_owned(), namespace.clone());
        }
        if metadata.get("creationTimestamp").is_none_or(is_empty)
            && let Some(time) = stored.get("creationTimestamp")
        {
            metadata.insert("creationTimestamp".to_owned(), time.clone());
        }
    }
    metadata.insert("labels".to_owned(), labels.into());
    metadata.insert("annotations".to_owned(), annotations.into());
    metadata.insert("uid".to_owned(), uid.unwrap_or_default().into());
    Ok(metadata)
}

/// In the usual order, without what is the server's business.
pub(crate) fn shown(mut metadata: Map<String, Value>) -> Map<String, Value> {
    let mut shown = Map::new();
    for field in ["name", "generateName", "namespace", "uid"].into_iter().chain(ORDER) {
        if field == "generation" {
            metadata.shift_remove(field);
        } else if let Some(value) = metadata.shift_remove(field).filter(|value| !is_empty(value)) {
            shown.insert(field.to_owned(), value);
        }
    }
    for field in ["resourceVersion", "managedFields", "selfLink"] {
        metadata.shift_remove(field);
    }
    shown.extend(metadata);
    shown
}

/// References to objects of Calico's other group, with their identity there.
fn owners(refs: &Value, from: &[&str], to: &str) -> Value {
    let mut refs = refs.clone();
    for reference in refs.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if !reference.get("apiVersion").and_then(Value::as_str).is_some_and(|v| from.contains(&v)) {
            continue;
        }
        reference.insert("apiVersion".to_owned(), to.into());
        if let Some(uid) = reference.get("uid").and_then(Value::as_str).and_then(converted_uid) {
            reference.insert("uid".to_owned(), uid.into());
        }
    }
    refs
}

fn sorted(map: &Value) -> Value {
    let Some(map) = map.as_object() else { return map.clone() };
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(entries.into_iter().collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const UID: &str = "41cb1fde-57e0-42b8-9b32-0a93f96ff1b5";

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn metadata_is_packed_as_calico_packs_it() {
        let metadata = map(json!({
            "name": "p", "namespace": "ns", "uid": UID, "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"z": "1", "projectcalico.org/tier": "t"},
            "annotations": {"note": "n", "operator.tigera.io/x": "y"},
            "ownerReferences": [{"apiVersion": SHOWN, "kind": "Tier", "name": "t", "uid": UID}, {"apiVersion": "v1", "uid": UID}],
        }));
        let stored = pack(&metadata, true);
        let packed = stored["annotations"][METADATA].as_str().unwrap();
        let converted = converted_uid(UID).unwrap();
        assert_eq!(
            packed,
            format!(
                r#"{{"name":"p","creationTimestamp":"2026-01-02T03:04:05Z","labels":{{"projectcalico.org/tier":"t","z":"1"}},"annotations":{{"note":"n","operator.tigera.io/x":"y"}},"ownerReferences":[{{"apiVersion":"{STORED}","kind":"Tier","name":"t","uid":"{converted}"}},{{"apiVersion":"v1","uid":"{UID}"}}]}}"#
            )
        );
        assert_eq!(stored["labels"], json!({"projectcalico.org/tier": "t"}));
        assert_eq!(stored["annotations"]["operator.tigera.io/x"], "y");
        assert!(stored["annotations"].get("note").is_none());
        assert_eq!((&stored["name"], &stored["namespace"]), (&json!("p"), &json!("ns")));
        assert_eq!((stored.get("uid"), stored.get("resourceVersion")), (None, None));
        // What nobody wrote by hand has nothing but the time, which Go cannot leave out.
        let empty = pack(&map(json!({"name": "b"})), false);
        assert_eq!(empty["annotations"], json!({METADATA: r#"{"creationTimestamp":null}"#}));
    }

    #[test]
    fn packed_metadata_wins_and_old_objects_have_none() {
        let old = map(
            json!({"name": "p", "uid": UID, "labels": {"a": "1"}, "managedFields": [1], "generation": 3, "resourceVersion": "9"}),
        );
        let seen = shown(unpack(&old).unwrap());
        assert_eq!(Value::from(seen), json!({"name": "p", "uid": converted_uid(UID), "labels": {"a": "1"}}));
        let mut both = old;
        both.insert(
            "annotations".into(),
            json!({METADATA: r#"{"creationTimestamp":null,"labels":{"a":"2","b":"3"}}"#, "kept": "x"}),
        );
        both.insert("creationTimestamp".into(), json!("t"));
        let seen = unpack(&both).unwrap();
        assert_eq!(seen["labels"], json!({"a": "2", "b": "3"}));
        assert_eq!(seen["annotations"], json!({"kept": "x"}));
        assert_eq!(seen["creationTimestamp"], "t");
        assert_eq!(seen.get("name"), None);
        for text in [json!("{"), json!("[]"), json!(7)] {
            both.insert("annotations".into(), json!({METADATA: text}));
            assert!(unpack(&both).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            labels in proptest::collection::btree_map("[a-z/.]{1,9}|projectcalico.org/[a-z]", "[a-z]{0,3}", 0..4),
            annotations in proptest::collection::btree_map("[a-z/.]{1,9}|operator.tigera.io/[a-z]", ".{0,5}", 0..4),
            finalizers in proptest::collection::vec("[a-z]{1,3}", 0..2),
            policy: bool,
        ) {
            let written = map(json!({
                "name": "n", "namespace": "ns", "labels": labels, "annotations": annotations, "finalizers": finalizers,
                "ownerReferences": [{"apiVersion": SHOWN, "uid": UID}],
            }));
            let mut stored = pack(&written, policy);
            stored.insert("uid".to_owned(), UID.into());
            let mut read = unpack(&stored).unwrap();
            if !policy {
                prop_assert_eq!(read.get("name"), None);
                read.insert("name".to_owned(), "n".into());
            }
            let mut expected = written;
            expected.insert("uid".to_owned(), converted_uid(UID).unwrap().into());
            prop_assert_eq!(Value::from(shown(read)), Value::from(shown(expected)));
        }
    }
}
