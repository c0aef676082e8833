//! The report of ipam check, which `ipam release --from-report` reads: Calico's names.

use crate::client;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// All that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) version: String,
    #[serde(rename = "clusterGUID")]
    pub(crate) cluster_guid: String,
    pub(crate) datastore_locked: bool,
    pub(crate) cluster_information_revision: String,
    pub(crate) cluster_type: String,
    /// By address.
    #[serde(deserialize_with = "or_default")]
    pub(crate) allocations: BTreeMap<String, Vec<Allocation>>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub(crate) leaked_handles: Vec<Leak>,
}

/// An allocated address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Allocation {
    pub(crate) ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sequence_number: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) pod: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) node: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub(super) purpose: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) creation_timestamp: String,
    pub(crate) in_use: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) borrowed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cooling_down: bool,
    pub(super) owners: Option<Vec<String>>,
}

/// A handle without addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Leak {
    #[serde(rename = "ID", alias = "id")]
    pub(crate) id: String,
    /// Identity in Kubernetes.
    #[serde(rename = "UID", alias = "uid")]
    pub(crate) uid: Option<String>,
    #[serde(rename = "Revision", alias = "revision")]
    pub(crate) revision: String,
}

/// Go writes what is empty as null.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

impl Report {
    /// Notes which cluster this is about, and in which state.
    pub(super) fn describe(&mut self, information: &Value) {
        let text = |pointer: &str| client::text(information, pointer).to_owned();
        self.cluster_guid = text("/spec/clusterGUID");
        self.cluster_type = text("/spec/clusterType");
        self.cluster_information_revision = text("/metadata/resourceVersion");
        self.datastore_locked = information["spec"]["datastoreReady"] == serde_json::json!(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_the_original_are_read() {
        let text = r#"{"version": "v3.33.0", "clusterGUID": "g", "allocations": {"10.0.0.1": [{"ip": "10.0.0.1",
            "handle": "h", "sequenceNumber": 3, "inUse": false, "owners": null}]},
            "leakedHandles": [{"ID": "a", "UID": null, "Revision": "7"}]}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!(report.leaked_handles, [Leak { id: "a".into(), uid: None, revision: "7".into() }]);
        assert_eq!(report.allocations["10.0.0.1"][0].sequence_number, Some(3));
        let empty: Report = serde_json::from_str(r#"{"allocations": null, "leakedHandles": null}"#).unwrap();
        assert!(empty.allocations.is_empty());
    }
}
