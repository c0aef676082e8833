//! Names, labels and annotations.

use super::format::{self, MAX_LABEL, MAX_NAME, is_dns_label, is_subdomain};
use super::schema::{
    Report, Schema, anything, boolean, field, given, integer, list_of, object as table, text as any_text,
    texts, time,
};
use super::{object, text};
use crate::Map;

/// All annotations of an object together, in bytes.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// The fields that users write.
pub(super) static METADATA: Schema = table(&[
    field("name", any_text()),
    field("generateName", any_text()),
    field("namespace", any_text()),
    field("labels", texts()),
    field("annotations", texts()),
    // What the datastore writes.
    field("uid", any_text()),
    field("resourceVersion", any_text()),
    field("selfLink", any_text()),
    field("generation", integer()),
    field("creationTimestamp", time()),
    given("deletionTimestamp", time()),
    given("deletionGracePeriodSeconds", integer()),
    field("finalizers", list_of(&any_text())),
    field("ownerReferences", list_of(&OWNER)),
    field("managedFields", anything()),
]);

const OWNER: Schema = table(&[
    field("apiVersion", any_text()),
    field("kind", any_text()),
    field("name", any_text()),
    field("uid", any_text()),
    given("controller", boolean()),
    given("blockOwnerDeletion", boolean()),
]);

/// Checks the metadata of an object of a kind.
pub(super) fn check(kind: &str, value: &Map, report: &mut Report) {
    let Some(metadata) = object(value, "metadata") else {
        report.form("metadata.name", "is missing");
        return;
    };
    let name = text(metadata, "name");
    if name.is_empty() {
        report.form("metadata.name", "is missing");
    } else {
        check_name(kind, name, report);
    }
    if let Some(map) = object(metadata, "labels") {
        labels(map, "metadata.labels", report);
        if matches!(kind, "NetworkSet" | "GlobalNetworkSet") && map.contains_key(crate::v3::LABEL_NAMESPACE) {
            let path = format!("metadata.labels[{}]", crate::v3::LABEL_NAMESPACE);
            report.form(path, "is set by the system; remove it");
        }
    }
    if let Some(map) = object(metadata, "annotations") {
        annotations(map, "metadata.annotations", report);
    }
    let namespaced = crate::v3::by_kind(kind).is_some_and(|k| k.namespaced);
    if !namespaced && !text(metadata, "namespace").is_empty() {
        report.client("metadata.namespace", format!("{kind} is not in a namespace; remove it"));
    }
}

fn check_name(kind: &str, name: &str, report: &mut Report) {
    let path = "metadata.name";
    let max = if kind == "Tier" { MAX_LABEL } else { MAX_NAME };
    if name.len() > max {
        report.form(path, format!("has {} characters, at most {max} are allowed", name.len()));
    }
    if !is_subdomain(name) {
        report.form(path, format::Format::Name.check(name).err().unwrap_or_default());
        return;
    }
    let labels = name.split('.').count();
    let good = match kind {
        "Tier" => labels == 1,
        "NetworkPolicy" | "StagedNetworkPolicy" => {
            let converted = ["knp.default.", "ossg.default."].iter().any(|prefix| {
                name.strip_prefix(prefix).is_some_and(|rest| rest.split('.').all(is_dns_label))
            });
            labels <= 2 || converted
        }
        "GlobalNetworkPolicy" | "StagedGlobalNetworkPolicy" => labels <= 2,
        _ => true,
    };
    if !good {
        let allowed = if kind == "Tier" { "no \".\" is allowed" } else { "at most one \".\" is allowed" };
        report.form(path, format!("{name:?} is not a name of a {kind}: {allowed}"));
    }
    if matches!(kind, "IPAMConfiguration" | "KubeControllersConfiguration" | "ClusterInformation")
        && name != "default"
    {
        report.client(path, format!("there is only one {kind}, named default"));
    }
    if kind == "Profile" && name == "projectcalico-default-allow" {
        report.client(path, "is a profile of the system and cannot be written");
    }
}

/// Keys and values of labels.
pub(super) fn labels(map: &Map, path: &str, report: &mut Report) {
    for (key, value) in map {
        let path = format!("{path}[{key}]");
        if let Err(message) = format::qualified_name(key) {
            report.form(&*path, message);
        }
        // Another type was refused while it was read.
        if let Some(Err(message)) = value.as_str().map(format::label_value) {
            report.form(path, message);
        }
    }
}

/// Keys and size of annotations.
pub(super) fn annotations(map: &Map, path: &str, report: &mut Report) {
    let mut size = 0;
    for (key, value) in map {
        if let Err(message) = format::qualified_name(&key.to_ascii_lowercase()) {
            report.form(format!("{path}[{key}]"), message);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        report.form(path, format!("has {size} bytes, at most {MAX_ANNOTATIONS} are allowed"));
    }
}
