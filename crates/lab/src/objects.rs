//! What a document means to the lab: an object to store, pods to run, or nothing.

use serde_json::{Map, Value};
use tortie_api::{k8s, v3};
use tortie_scenario::ObjectId;

/// What to do with a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Keep it at this path.
    Stored {
        id: ObjectId,
        path: String,
        /// With the namespace filled in.
        object: Value,
    },
    /// Run pods.
    Workload { id: ObjectId, object: Value },
    /// The lab has no use for it.
    Skipped { id: ObjectId, reason: String },
}

/// Kinds that run pods.
pub(crate) fn is_workload(kind: &str) -> bool {
    kind == "Pod" || k8s::WORKLOAD_KINDS.contains(&kind)
}

/// What a document means; an error says what it lacks.
pub(crate) fn meaning(object: Value) -> Result<Meaning, String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let mut namespace = text("/metadata/namespace");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if kind.is_empty() {
        return Err("kind is missing".to_owned());
    }
    if version.is_empty() {
        return Err(format!("{kind} {name}: apiVersion is missing"));
    }
    let calico = group == v3::GROUP || group == "crd.projectcalico.org";
    let kubernetes = matches!(
        group,
        "" | "apps" | "batch" | "networking.k8s.io" | "discovery.k8s.io" | "policy.networking.k8s.io"
    );
    let resource = if calico {
        v3::by_kind(&kind)
    } else if kubernetes && !(kind == "Node" && group.is_empty()) {
        k8s::by_kind(&kind)
    } else {
        None
    };
    let workload = kubernetes && is_workload(&kind);
    // What is skipped need not have a name (a kustomization.yaml among manifests).
    if name.is_empty() && (calico || resource.is_some() || workload) {
        return Err(format!("{kind}: metadata.name is missing"));
    }
    if resource.is_some_and(|r| r.namespaced) || workload {
        if namespace.is_empty() {
            "default".clone_into(&mut namespace);
        }
    } else {
        namespace.clear();
    }
    let group = if calico { v3::GROUP } else { group }.to_owned();
    let id = ObjectId { group, kind, namespace, name };
    let object = with_namespace(object, &id.namespace);
    if workload {
        return Ok(Meaning::Workload { id, object });
    }
    match resource {
        Some(r) if calico => {
            Ok(Meaning::Stored { path: r.path(&id.namespace, &id.name), object: as_v3(object), id })
        }
        Some(r) => Ok(Meaning::Stored { path: r.path(&id.namespace, &id.name), object, id }),
        None if calico => Err(format!("{id}: {version} has no kind {}", id.kind)),
        None => Ok(Meaning::Skipped { reason: format!("{version} {} means nothing to a lab", id.kind), id }),
    }
}

/// The same object at its own path, for deleting by kind and name; the word may be a kind, plural or short name.
pub(crate) fn by_name(word: &str, name: &str) -> Result<Meaning, String> {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    if let Some(kind) = k8s::WORKLOAD_KINDS
        .iter()
        .chain(&["Pod"])
        .find(|k| k.eq_ignore_ascii_case(word) || format!("{k}s").eq_ignore_ascii_case(word))
    {
        let version = if *kind == "Pod" { "v1" } else { "apps/v1" };
        return meaning(stub(version, kind, namespace, name));
    }
    let (group, word) = match word.split_once('.') {
        Some((word, group)) => (Some(group), word),
        None => (None, word),
    };
    // A word that means something to both is Kubernetes', as with kubectl.
    let kubernetes = k8s::lookup(word).filter(|_| group.is_none_or(|g| !g.contains(v3::GROUP)));
    let found =
        kubernetes.or_else(|| v3::lookup(word).filter(|_| group.is_none_or(|g| g.contains(v3::GROUP))));
    match found {
        Some(r) => meaning(stub(r.api_version, r.kind, namespace, name)),
        None => Err(format!("no kind {word:?}; for Calico's own say e.g. networkpolicy.{}", v3::GROUP)),
    }
}

fn stub(version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    serde_json::json!({
        "apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace},
    })
}

fn with_namespace(mut object: Value, namespace: &str) -> Value {
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        if namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    }
    object
}

/// An object of the storage group is one of the user-facing group.
fn as_v3(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), v3::API_VERSION.into());
    }
    object
}

/// Fields that the system owns: they survive an apply and do not make an object different.
const SYSTEM_FIELDS: [&str; 4] = ["uid", "creationTimestamp", "resourceVersion", "generation"];

/// The object to write over `current`: the wanted one with the system's fields; `None` if nothing would change.
pub(crate) fn update(current: &Value, wanted: &Value) -> Option<Value> {
    let mut merged = wanted.clone();
    let empty = Map::new();
    let old = current.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    if let Some(metadata) = merged.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SYSTEM_FIELDS {
            metadata.remove(field);
            if let Some(value) = old.get(field) {
                metadata.insert(field.to_owned(), value.clone());
            }
        }
    }
    (merged != *current).then_some(merged)
}

/// A new object gets what an API server would give it.
pub(crate) fn create(wanted: &Value) -> anyhow::Result<Value> {
    let mut object = wanted.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.insert("uid".to_owned(), new_uid()?.into());
        metadata.insert("creationTimestamp".to_owned(), timestamp(std::time::SystemTime::now()).into());
    }
    Ok(object)
}

/// A random UUID.
pub(crate) fn new_uid() -> anyhow::Result<String> {
    use anyhow::Context as _;
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .context("the kernel gives no random numbers")?;
    Ok(text.trim().to_owned())
}

/// RFC 3339 in UTC, seconds.
fn timestamp(time: std::time::SystemTime) -> String {
    let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days, for dates after 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, UNIX_EPOCH};

    fn doc(version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        stub(version, kind, namespace, name)
    }

    fn path(meaning: Result<Meaning, String>) -> String {
        match meaning.unwrap() {
            Meaning::Stored { path, .. } => path,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn kinds_of_the_same_name_are_told_apart_by_group() {
        let k8s = meaning(doc("networking.k8s.io/v1", "NetworkPolicy", "a", "p"));
        assert_eq!(path(k8s), "/tortie/kubernetes/networkpolicies/a/p");
        let calico = meaning(doc("projectcalico.org/v3", "NetworkPolicy", "a", "p"));
        assert_eq!(path(calico), "/calico/resources/v3/projectcalico.org/networkpolicies/a/p");
        let node = meaning(doc("projectcalico.org/v3", "Node", "", "n"));
        assert_eq!(path(node), "/calico/resources/v3/projectcalico.org/nodes/n");
    }

    #[test]
    fn a_missing_namespace_is_default_and_a_superfluous_one_is_dropped() {
        assert_eq!(path(meaning(doc("v1", "Service", "", "s"))), "/tortie/kubernetes/services/default/s");
        let Meaning::Stored { path, object, .. } = meaning(doc("v1", "Namespace", "x", "n")).unwrap() else {
            unreachable!()
        };
        assert_eq!(path, "/tortie/kubernetes/namespaces/n");
        assert!(object["metadata"].get("namespace").is_none());
    }

    #[test]
    fn workloads_run_and_the_rest_is_skipped() {
        for (version, kind) in [("v1", "Pod"), ("apps/v1", "Deployment"), ("batch/v1", "CronJob")] {
            assert!(matches!(meaning(doc(version, kind, "", "w")), Ok(Meaning::Workload { .. })), "{kind}");
        }
        for (version, kind) in [
            ("v1", "ConfigMap"),
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("v1", "Node"),
            ("example.com/v1", "Pod"),
        ] {
            assert!(matches!(meaning(doc(version, kind, "", "w")), Ok(Meaning::Skipped { .. })), "{kind}");
        }
        for broken in [
            json!({}),
            json!({"kind": "Pod"}),
            doc("v1", "Pod", "", ""),
            doc("projectcalico.org/v3", "Nonsense", "", "x"),
        ] {
            assert!(meaning(broken).is_err());
        }
    }

    #[test]
    fn names_are_understood_as_kubectl_does() {
        assert_eq!(path(by_name("netpol", "a/p")), "/tortie/kubernetes/networkpolicies/a/p");
        assert_eq!(
            path(by_name("gnp", "p")),
            "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/p"
        );
        assert_eq!(
            path(by_name("networkpolicies.projectcalico.org", "a/p")),
            "/calico/resources/v3/projectcalico.org/networkpolicies/a/p"
        );
        assert!(matches!(by_name("deployments", "a/b"), Ok(Meaning::Workload { .. })));
        assert!(by_name("spaceship", "x").is_err());
    }

    #[test]
    fn an_apply_keeps_what_the_system_wrote() {
        let wanted = doc("v1", "Namespace", "", "n");
        let created = create(&wanted).unwrap();
        assert!(created["metadata"]["uid"].is_string());
        assert_eq!(update(&created, &wanted), None);
        let mut changed = wanted.clone();
        changed["metadata"]["labels"] = json!({"a": "b"});
        let updated = update(&created, &changed).unwrap();
        assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);
        assert_eq!(updated["metadata"]["labels"]["a"], "b");
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_208_000, "2024-02-29T12:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
