//! What every datastore holds before anything else, as `tortie-cluster` makes it.

use super::{Client, ClientError, ObjectName};
use serde_json::Value;
use tortie_api::v3::{self, ResourceType};
use tortie_cluster::{Identity, ObjectError};

pub(crate) use tortie_cluster::CLUSTER;
pub(super) use tortie_cluster::TIERS;

pub(super) fn kind(name: &str) -> &'static ResourceType {
    v3::by_kind(name).expect("a kind of the table")
}

impl Client {
    /// Makes what is missing. Repeating it changes nothing. The version and the kind of the cluster are said by nodes.
    pub async fn ensure_initialized(&self) -> Result<(), ClientError> {
        Ok(tortie_cluster::ensure_initialized(&**self.store(), &Identity::default()).await?)
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
        let kind = kind("ClusterInformation");
        let mut information = self.get(kind, "", CLUSTER).await?;
        super::part_mut(&mut information, "spec").insert("datastoreReady".to_owned(), ready.into());
        self.update_unprotected(kind, information).await.map(drop)
    }
}

impl From<ObjectError> for ClientError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Store { source, .. } => source.into(),
            ObjectError::Corrupt { object, reason } => Self::Corrupt { key: object, reason },
            ObjectError::Contended { .. } => Self::Conflict {
                object: ObjectName::new(kind("ClusterInformation"), "", CLUSTER),
                given: String::new(),
                found: String::new(),
            },
            ObjectError::Random(source) => Self::Random(source),
        }
    }
}
