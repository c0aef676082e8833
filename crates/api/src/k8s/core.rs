//! Pods, namespaces, service accounts, nodes.

use super::Meta;
use crate::meta::{is_default, null_as_default};
use serde::{Deserialize, Serialize};

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Pod {
    pub metadata: Meta,
    #[serde(deserialize_with = "null_as_default")]
    pub spec: PodSpec,
    #[serde(deserialize_with = "null_as_default")]
    pub status: PodStatus,
}

/// What a pod is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct PodSpec {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub node_name: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub host_network: bool,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub service_account_name: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub hostname: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub subdomain: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub init_containers: Vec<Container>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Container {
    pub name: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ports: Vec<ContainerPort>,
    /// `Always` makes an init container a sidecar.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_policy: Option<String>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct ContainerPort {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub host_port: i64,
    pub container_port: i64,
    /// `TCP` (also when empty), `UDP`, `SCTP`.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub protocol: String,
    #[serde(rename = "hostIP", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub host_ip: String,
}

/// What became of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct PodStatus {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub phase: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub conditions: Vec<Condition>,
    #[serde(rename = "hostIP", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub host_ip: String,
    #[serde(rename = "podIP", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub pod_ip: String,
    #[serde(rename = "podIPs", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub pod_ips: Vec<PodIp>,
}

/// One address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct PodIp {
    #[serde(deserialize_with = "null_as_default")]
    pub ip: String,
}

/// A condition of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Condition {
    #[serde(rename = "type")]
    pub condition_type: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub reason: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub message: String,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Namespace {
    pub metadata: Meta,
}

/// A service account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct ServiceAccount {
    pub metadata: Meta,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Node {
    pub metadata: Meta,
    #[serde(deserialize_with = "null_as_default")]
    pub spec: NodeSpec,
    #[serde(deserialize_with = "null_as_default")]
    pub status: NodeStatus,
}

/// What a node is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct NodeSpec {
    #[serde(rename = "podCIDR", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub pod_cidr: String,
    #[serde(rename = "podCIDRs", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub pod_cidrs: Vec<String>,
}

/// What a node reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct NodeStatus {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub addresses: Vec<NodeAddress>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub conditions: Vec<Condition>,
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct NodeAddress {
    #[serde(rename = "type")]
    pub address_type: String,
    pub address: String,
}
