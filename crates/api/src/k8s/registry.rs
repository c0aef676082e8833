//! The Kubernetes kinds that a store without Kubernetes keeps, and where.

use crate::v3::{ResourceType, split_path};

const fn kind(
    api_version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    namespaced: bool,
) -> ResourceType {
    ResourceType { kind, plural, short_names, namespaced, api_version, prefix: PATH_PREFIX }
}

/// Every Kubernetes kind that has a path in a store.
pub const RESOURCES: &[ResourceType] = &[
    kind("v1", "Pod", "pods", &["po"], true),
    kind("v1", "Namespace", "namespaces", &["ns"], false),
    kind("v1", "ServiceAccount", "serviceaccounts", &["sa"], true),
    kind("v1", "Service", "services", &["svc"], true),
    kind("v1", "Node", "nodes", &["no"], false),
    kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", &[], true),
    kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", &["netpol", "knp"], true),
    kind(
        "policy.networking.k8s.io/v1alpha2",
        "ClusterNetworkPolicy",
        "clusternetworkpolicies",
        &["kcnp"],
        false,
    ),
];

/// Prefix of every path here.
pub const PATH_PREFIX: &str = "/tortie/kubernetes/";

/// The kind with exactly this name.
pub fn by_kind(kind: &str) -> Option<&'static ResourceType> {
    RESOURCES.iter().find(|r| r.kind == kind)
}

/// The kind with this plural.
pub fn by_plural(plural: &str) -> Option<&'static ResourceType> {
    RESOURCES.iter().find(|r| r.plural == plural)
}

/// What a user means by a word: a kind, plural or short name in any case.
pub fn lookup(word: &str) -> Option<&'static ResourceType> {
    let is = |name: &str| name.eq_ignore_ascii_case(word);
    RESOURCES.iter().find(|r| is(r.kind) || is(r.plural) || r.short_names.iter().any(|s| is(s)))
}

/// Kind, namespace and name of a path; the namespace is empty for cluster-wide kinds.
pub fn parse_path(path: &str) -> Option<(&'static ResourceType, &str, &str)> {
    split_path(path, PATH_PREFIX, by_plural)
}
