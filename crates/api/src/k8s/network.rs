//! Services and their endpoints.

use super::Meta;
use crate::IntOrString;
use crate::meta::{is_default, null_as_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Service {
    pub metadata: Meta,
    #[serde(deserialize_with = "null_as_default")]
    pub spec: ServiceSpec,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub status: ServiceStatus,
}

/// What a service is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct ServiceSpec {
    #[serde(rename = "type", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub service_type: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ports: Vec<ServicePort>,
    #[serde(rename = "clusterIP", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs", skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub cluster_ips: Vec<String>,
    #[serde(
        rename = "externalIPs",
        skip_serializing_if = "is_default",
        deserialize_with = "null_as_default"
    )]
    pub external_ips: Vec<String>,
    #[serde(
        rename = "loadBalancerIP",
        skip_serializing_if = "is_default",
        deserialize_with = "null_as_default"
    )]
    pub load_balancer_ip: String,
    /// `Cluster` (also when empty) or `Local`.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub external_traffic_policy: String,
    /// `Cluster` (also when empty) or `Local`.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub internal_traffic_policy: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub session_affinity: String,
    #[serde(skip_serializing_if = "is_default")]
    pub load_balancer_class: Option<String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub publish_not_ready_addresses: bool,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct ServicePort {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub name: String,
    /// `TCP` (also when empty), `UDP`, `SCTP`.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub protocol: String,
    pub port: u16,
    #[serde(skip_serializing_if = "is_default")]
    pub target_port: Option<IntOrString>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub node_port: u16,
}

/// What became of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct ServiceStatus {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub load_balancer: LoadBalancerStatus,
}

/// Addresses that a load balancer gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct LoadBalancerStatus {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An address that a load balancer gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct LoadBalancerIngress {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ip: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub hostname: String,
}

/// Label by which a slice names its service.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A part of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct EndpointSlice {
    pub metadata: Meta,
    /// `IPv4`, `IPv6`, `FQDN`.
    pub address_type: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub endpoints: Vec<Endpoint>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ports: Vec<SlicePort>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Endpoint {
    #[serde(deserialize_with = "null_as_default")]
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub conditions: EndpointConditions,
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub zone: Option<String>,
}

/// State of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct EndpointConditions {
    #[serde(skip_serializing_if = "is_default")]
    pub ready: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub serving: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub terminating: Option<bool>,
}

/// A port of a slice. Absent fields mean every port and TCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct SlicePort {
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub port: Option<u16>,
}
