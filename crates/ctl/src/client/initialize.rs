//! What every datastore holds before anything else: information about the cluster, and the tiers.

use super::{Client, ClientError, prepare};
use serde_json::{Value, json};
use tortie_api::v3::{self, ResourceType};

/// Name, order and default action of the tiers that every cluster has.
pub(super) const TIERS: [(&str, u32, &str); 3] =
    [("default", 1_000_000, "Deny"), ("kube-admin", 1_000, "Pass"), ("kube-baseline", 10_000_000, "Pass")];

/// The one ClusterInformation.
pub(crate) const CLUSTER: &str = "default";

pub(super) fn kind(name: &str) -> &'static ResourceType {
    v3::by_kind(name).expect("a kind of the table")
}

impl Client {
    /// Makes what is missing. Repeating it changes nothing.
    pub async fn ensure_initialized(&self) -> Result<(), ClientError> {
        self.ensure_cluster_information().await?;
        for (name, order, action) in TIERS {
            let tier = json!({
                "kind": "Tier",
                "apiVersion": v3::API_VERSION,
                "metadata": {"name": name},
                "spec": {"order": order, "defaultAction": action},
            });
            match self.get(kind("Tier"), "", name).await {
                Err(ClientError::NotFound(_)) => match self.create(kind("Tier"), tier).await {
                    Ok(_) | Err(ClientError::Exists(_)) => {}
                    Err(error) => return Err(error),
                },
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn ensure_cluster_information(&self) -> Result<(), ClientError> {
        let kind = kind("ClusterInformation");
        match self.cluster_information().await? {
            None => {
                let information = json!({
                    "kind": kind.kind,
                    "apiVersion": v3::API_VERSION,
                    "metadata": {"name": CLUSTER},
                    "spec": {"clusterGUID": new_guid()?, "datastoreReady": true},
                });
                match self.create_unprotected(kind, information).await {
                    Ok(_) | Err(ClientError::Exists(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Some(mut information) => {
                let spec = super::part_mut(&mut information, "spec");
                let mut changed = false;
                if spec.get("clusterGUID").and_then(Value::as_str).unwrap_or("").is_empty() {
                    spec.insert("clusterGUID".to_owned(), new_guid()?.into());
                    changed = true;
                }
                if spec.get("datastoreReady").is_none_or(Value::is_null) {
                    spec.insert("datastoreReady".to_owned(), true.into());
                    changed = true;
                }
                if changed {
                    self.update_unprotected(kind, information).await?;
                }
                Ok(())
            }
        }
    }

    /// What the datastore says about the cluster, if it was ever written to.
    pub async fn cluster_information(&self) -> Result<Option<Value>, ClientError> {
        match self.get(kind("ClusterInformation"), "", CLUSTER).await {
            Ok(information) => Ok(Some(information)),
            Err(ClientError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says whether components may use the datastore.
    pub async fn set_ready(&self, ready: bool) -> Result<(), ClientError> {
        self.ensure_initialized().await?;
        let kind = kind("ClusterInformation");
        let mut information = self.get(kind, "", CLUSTER).await?;
        super::part_mut(&mut information, "spec").insert("datastoreReady".to_owned(), ready.into());
        self.update_unprotected(kind, information).await.map(drop)
    }
}

/// Identity of a cluster: 32 hexadecimal digits.
fn new_guid() -> Result<String, ClientError> {
    Ok(prepare::new_uid()?.replace('-', ""))
}
