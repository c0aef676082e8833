//! Kubernetes' network policies.

use super::{LabelSelector, Meta};
use crate::IntOrString;
use crate::meta::{is_default, null_as_default};
use serde::{Deserialize, Serialize};

/// networking.k8s.io/v1 NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct NetworkPolicy {
    pub metadata: Meta,
    #[serde(deserialize_with = "null_as_default")]
    pub spec: NetworkPolicySpec,
}

/// Which pods, and what may reach them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// The pods; empty is every pod of the namespace.
    #[serde(deserialize_with = "null_as_default")]
    pub pod_selector: LabelSelector,
    /// Allowed sources.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ingress: Vec<IngressRule>,
    /// Allowed destinations.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub egress: Vec<EgressRule>,
    /// `Ingress`, `Egress`; empty is `Ingress`, and `Egress` if there are rules for it.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub policy_types: Vec<String>,
}

/// Allowed sources. Empty lists mean any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// Ports of the selected pods.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ports: Vec<PolicyPort>,
    /// Sources.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub from: Vec<Peer>,
}

/// Allowed destinations. Empty lists mean any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EgressRule {
    /// Ports of the destinations.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ports: Vec<PolicyPort>,
    /// Destinations.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub to: Vec<Peer>,
}

/// A port, a range, or a named port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyPort {
    /// `TCP` (also when absent), `UDP`, `SCTP`.
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: Option<String>,
    /// Number or name; absent is every port.
    #[serde(skip_serializing_if = "is_default")]
    pub port: Option<IntOrString>,
    /// Last port of a range.
    #[serde(skip_serializing_if = "is_default")]
    pub end_port: Option<i64>,
}

/// Who is at the other end: pods, namespaces, both, or addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Peer {
    /// Pods; of the policy's own namespace unless namespaces are selected too.
    #[serde(skip_serializing_if = "is_default")]
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub ip_block: Option<IpBlock>,
}

/// A range with holes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpBlock {
    /// The range.
    pub cidr: String,
    /// The holes.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub except: Vec<String>,
}

/// policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct ClusterNetworkPolicy {
    pub metadata: Meta,
    #[serde(deserialize_with = "null_as_default")]
    pub spec: ClusterNetworkPolicySpec,
}

/// An administrator's policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterNetworkPolicySpec {
    /// `Admin` or `Baseline`.
    #[serde(deserialize_with = "null_as_default")]
    pub tier: String,
    /// Lower comes first.
    pub priority: i64,
    /// Which pods.
    #[serde(deserialize_with = "null_as_default")]
    pub subject: ClusterSubject,
    /// Rules for traffic to the pods.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub ingress: Vec<ClusterIngressRule>,
    /// Rules for traffic from the pods.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub egress: Vec<ClusterEgressRule>,
}

/// Pods of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterSubject {
    /// Every pod of these namespaces.
    #[serde(skip_serializing_if = "is_default")]
    pub namespaces: Option<LabelSelector>,
    /// These pods.
    #[serde(skip_serializing_if = "is_default")]
    pub pods: Option<NamespacedPods>,
}

/// Pods in namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamespacedPods {
    /// The namespaces.
    #[serde(deserialize_with = "null_as_default")]
    pub namespace_selector: LabelSelector,
    /// The pods in them.
    #[serde(deserialize_with = "null_as_default")]
    pub pod_selector: LabelSelector,
}

/// A rule for traffic to the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterIngressRule {
    /// For messages.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub name: String,
    /// `Accept`, `Deny`, `Pass`.
    pub action: String,
    /// Sources.
    #[serde(deserialize_with = "null_as_default")]
    pub from: Vec<ClusterPeer>,
    /// Protocols and ports; empty is any.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub protocols: Vec<ClusterProtocol>,
}

/// A rule for traffic from the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterEgressRule {
    /// For messages.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub name: String,
    /// `Accept`, `Deny`, `Pass`.
    pub action: String,
    /// Destinations.
    #[serde(deserialize_with = "null_as_default")]
    pub to: Vec<ClusterPeer>,
    /// Protocols and ports; empty is any.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub protocols: Vec<ClusterProtocol>,
}

/// Who is at the other end. Exactly one field is set; `networks` only in egress rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPeer {
    /// Every pod of these namespaces.
    #[serde(skip_serializing_if = "is_default")]
    pub namespaces: Option<LabelSelector>,
    /// These pods.
    #[serde(skip_serializing_if = "is_default")]
    pub pods: Option<NamespacedPods>,
    /// These ranges.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub networks: Vec<String>,
}

/// A protocol with a port, or a named port. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterProtocol {
    /// TCP.
    #[serde(skip_serializing_if = "is_default")]
    pub tcp: Option<ClusterPorts>,
    /// UDP.
    #[serde(skip_serializing_if = "is_default")]
    pub udp: Option<ClusterPorts>,
    /// SCTP.
    #[serde(skip_serializing_if = "is_default")]
    pub sctp: Option<ClusterPorts>,
    /// A named port of the destination, of whatever protocol.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub destination_named_port: String,
}

/// Ports of a protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterPorts {
    /// Absent is every port.
    #[serde(skip_serializing_if = "is_default")]
    pub destination_port: Option<ClusterPort>,
}

/// A port or a range. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPort {
    /// The port.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub number: i64,
    /// The range.
    #[serde(skip_serializing_if = "is_default")]
    pub range: Option<ClusterPortRange>,
}

/// A range of ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPortRange {
    /// First port.
    pub start: i64,
    /// Last port.
    pub end: i64,
}
