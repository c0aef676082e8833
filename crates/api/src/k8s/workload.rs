//! Kinds that make pods.

use super::{LabelSelector, Meta, PodSpec};
use crate::meta::{is_default, null_as_default};
use serde::{Deserialize, Serialize};

/// Deployment, StatefulSet, DaemonSet, ReplicaSet or Job; for a CronJob the job inside, see [`Workload::from_value`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// `Deployment`, ...
    pub kind: String,
    /// Metadata.
    pub metadata: Meta,
    /// The body.
    #[serde(deserialize_with = "null_as_default")]
    pub spec: WorkloadSpec,
}

/// How many pods, and what they look like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadSpec {
    /// Number of pods of Deployment, StatefulSet, ReplicaSet; absent is 1.
    #[serde(skip_serializing_if = "is_default")]
    pub replicas: Option<u32>,
    /// Number of pods of a Job at a time; absent is 1.
    #[serde(skip_serializing_if = "is_default")]
    pub parallelism: Option<u32>,
    /// The pods it owns.
    #[serde(skip_serializing_if = "is_default")]
    pub selector: Option<LabelSelector>,
    /// What a pod looks like.
    #[serde(deserialize_with = "null_as_default")]
    pub template: PodTemplate,
}

/// What a pod of a workload looks like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: Meta,
    /// Body of the pods.
    #[serde(deserialize_with = "null_as_default")]
    pub spec: PodSpec,
}

/// Kinds that [`Workload`] can hold.
pub const WORKLOAD_KINDS: [&str; 6] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];

impl Workload {
    /// Reads an object of one of [`WORKLOAD_KINDS`]. A CronJob is read as a Job of its name.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut workload = Self::deserialize(value)?;
        if workload.kind == "CronJob"
            && let Some(spec) = value.pointer("/spec/jobTemplate/spec")
        {
            workload.spec = WorkloadSpec::deserialize(spec)?;
        }
        Ok(workload)
    }

    /// How many pods it wants, `nodes` being the number of nodes that a DaemonSet would use.
    pub fn pods(&self, nodes: u32) -> u32 {
        match self.kind.as_str() {
            "DaemonSet" => nodes,
            "Job" | "CronJob" => self.spec.parallelism.unwrap_or(1),
            _ => self.spec.replicas.unwrap_or(1),
        }
    }
}
