//! Information about the cluster, and its tiers: what every client makes sure of before it writes anything else.

use crate::object::{ObjectError, Place, part, text};
use serde_json::{Value, json};
use tortie_store::{Store, StoreError};

pub use crate::object::new_uid;

/// The version of Calico whose formats are written; clients and cluster must agree on it.
pub const CALICO_VERSION: &str = "v3.33.0";

/// Name of the one ClusterInformation.
pub const CLUSTER: &str = "default";

/// Name, order and default action of the tiers that every cluster has.
pub const TIERS: [(&str, u32, &str); 3] =
    [("default", 1_000_000, "Deny"), ("kube-admin", 1_000, "Pass"), ("kube-baseline", 10_000_000, "Pass")];

/// What a component tells about the cluster that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Version of Calico; empty: nothing is said about it. Only nodes say it.
    pub version: String,
    /// What kind of cluster this is, words with commas between; added to the words that are there.
    pub cluster_type: String,
}

/// Makes ClusterInformation and the tiers, as far as they are missing. Tries all of it, and answers the first error.
pub async fn ensure_initialized(store: &dyn Store, identity: &Identity) -> Result<(), ObjectError> {
    let mut outcome = ensure_information(store, identity).await;
    for (name, order, action) in TIERS {
        let spec = json!({"order": order, "defaultAction": action});
        let made = match Place::new("Tier", name).create(store, spec).await {
            // Who may not make tiers finds them made by somebody who may.
            Err(ObjectError::Store { source: error @ StoreError::Denied { .. }, .. }) => {
                tracing::warn!(tier = name, %error, "a tier cannot be made; if it is missing, another client must make it");
                Ok(())
            }
            other => other,
        };
        outcome = outcome.and(made);
    }
    outcome
}

/// The ClusterInformation, if there is one.
pub async fn cluster_information(store: &dyn Store) -> Result<Option<Value>, ObjectError> {
    place().get(store).await
}

/// Whether components may use the datastore. While it is migrated they may not.
pub fn is_ready(information: Option<&Value>) -> bool {
    information.and_then(|i| i.pointer("/spec/datastoreReady")).and_then(Value::as_bool).unwrap_or(true)
}

fn place() -> Place {
    Place::new("ClusterInformation", CLUSTER)
}

async fn ensure_information(store: &dyn Store, identity: &Identity) -> Result<(), ObjectError> {
    let change = |stored: Option<&Value>| {
        let mut wanted = stored.cloned().unwrap_or_else(|| place().object(json!({})));
        fill(&mut wanted, identity)?;
        Ok(Some(wanted).filter(|wanted| stored != Some(wanted)))
    };
    place().edit(store, change).await.map(drop)
}

/// Adds what is missing.
fn fill(information: &mut Value, identity: &Identity) -> Result<(), ObjectError> {
    let version = text(information, "/spec/calicoVersion");
    if !version.is_empty() && !identity.version.is_empty() && version != identity.version {
        tracing::info!(before = version, now = identity.version, "the cluster's version changes");
    }
    let types = joined(text(information, "/spec/clusterType"), &identity.cluster_type);
    let spec = part(information, "spec");
    if spec.get("clusterGUID").and_then(Value::as_str).unwrap_or("").is_empty() {
        let guid = new_uid().map_err(ObjectError::Random)?.replace('-', "");
        spec.insert("clusterGUID".to_owned(), guid.into());
    }
    if !types.is_empty() {
        spec.insert("clusterType".to_owned(), types.into());
    }
    if !identity.version.is_empty() {
        spec.insert("calicoVersion".to_owned(), identity.version.clone().into());
    }
    if spec.get("datastoreReady").is_none_or(Value::is_null) {
        spec.insert("datastoreReady".to_owned(), true.into());
    }
    Ok(())
}

/// The words that are there, followed by the others.
fn joined(stored: &str, more: &str) -> String {
    let mut words: Vec<&str> = stored.split(',').filter(|word| !word.is_empty()).collect();
    for word in more.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let identity = Identity { version: "v9".to_owned(), cluster_type: "k8s,bgp,kdd".to_owned() };
        let mut information = place().object(json!({"clusterType": "typha,k8s", "datastoreReady": false}));
        fill(&mut information, &identity).unwrap();
        let spec = &information["spec"];
        assert_eq!(spec["clusterType"], "typha,k8s,bgp,kdd");
        assert_eq!(spec["calicoVersion"], "v9");
        assert_eq!(spec["datastoreReady"], false);
        assert_eq!(spec["clusterGUID"].as_str().unwrap().len(), 32);
        let before = information.clone();
        fill(&mut information, &Identity::default()).unwrap();
        assert_eq!(information, before);
        assert!(!is_ready(Some(&information)));
        assert!(is_ready(None));
    }
}
