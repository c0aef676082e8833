//! The table of kinds: names, scope, path.

use std::fmt;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceType {
    /// `GlobalNetworkPolicy`.
    pub kind: &'static str,
    /// `globalnetworkpolicies`; also in paths.
    pub plural: &'static str,
    /// What users may say instead, besides kind and plural.
    pub short_names: &'static [&'static str],
    /// True if objects live in namespaces.
    pub namespaced: bool,
    /// Group and version.
    pub api_version: &'static str,
    /// What the paths of all kinds of its family begin with.
    pub prefix: &'static str,
}

const fn global(
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
) -> ResourceType {
    ResourceType {
        kind,
        plural,
        short_names,
        namespaced: false,
        api_version: super::API_VERSION,
        prefix: PATH_PREFIX,
    }
}

const fn namespaced(
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
) -> ResourceType {
    ResourceType {
        kind,
        plural,
        short_names,
        namespaced: true,
        api_version: super::API_VERSION,
        prefix: PATH_PREFIX,
    }
}

/// Every kind of projectcalico.org/v3 that has a path.
pub const RESOURCES: &[ResourceType] = &[
    global("BGPConfiguration", "bgpconfigurations", &["bgpconfig", "bgpconfigs"]),
    global("BGPFilter", "bgpfilters", &["bgpf", "bgpfs", "bf", "bfs"]),
    global("BGPPeer", "bgppeers", &["bgpp", "bgpps", "bp", "bps"]),
    global("BlockAffinity", "blockaffinities", &["affinity", "affinities"]),
    global("CalicoNodeStatus", "caliconodestatuses", &["nodestatus", "nodestatuses"]),
    global("ClusterInformation", "clusterinformations", &["clusterinfo", "clusterinfos"]),
    global("FelixConfiguration", "felixconfigurations", &["felixconfig", "felixconfigs"]),
    global("GlobalNetworkPolicy", "globalnetworkpolicies", &["gnp", "gnps", "cgnp"]),
    global("GlobalNetworkSet", "globalnetworksets", &["gnetsets", "gns"]),
    global("HostEndpoint", "hostendpoints", &["hep", "heps"]),
    global("IPAMConfig", "ipamconfigs", &[]),
    global("IPAMConfiguration", "ipamconfigurations", &["ipamconfig", "ipamconfigs"]),
    global("IPPool", "ippools", &["ipp", "ipps", "pool", "pools"]),
    global("IPReservation", "ipreservations", &["reservation", "reservations"]),
    global(
        "KubeControllersConfiguration",
        "kubecontrollersconfigurations",
        &["kubecontrollersconfig", "kubecontrollersconfigs", "kcc", "kccs"],
    ),
    namespaced("LiveMigration", "livemigrations", &[]),
    namespaced(
        "NetworkPolicy",
        "networkpolicies",
        &["policy", "np", "policies", "pol", "pols", "cnp", "caliconetworkpolicy"],
    ),
    namespaced("NetworkSet", "networksets", &["netset", "netsets"]),
    global("Node", "nodes", &["no", "nos"]),
    global("Profile", "profiles", &["pro", "pros"]),
    global("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", &["sgnp", "sgnps"]),
    namespaced(
        "StagedKubernetesNetworkPolicy",
        "stagedkubernetesnetworkpolicies",
        &["stagedkubernetespolicy", "sknp", "stagedkubernetespolicies", "skpol", "skpols"],
    ),
    namespaced(
        "StagedNetworkPolicy",
        "stagednetworkpolicies",
        &["stagedpolicy", "snp", "stagedpolicies", "spol", "spols"],
    ),
    global("Tier", "tiers", &[]),
    namespaced("WorkloadEndpoint", "workloadendpoints", &["wep", "weps"]),
];

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
    by_kind(word)
        .or_else(|| RESOURCES.iter().find(|r| r.short_names.iter().any(|s| is(s))))
        .or_else(|| RESOURCES.iter().find(|r| is(r.kind) || is(r.plural)))
}

/// Prefix of every path here.
pub const PATH_PREFIX: &str = "/calico/resources/v3/projectcalico.org/";

/// Kind, namespace and name of a path; the namespace is empty for cluster-wide kinds.
pub fn parse_path(path: &str) -> Option<(&'static ResourceType, &str, &str)> {
    split_path(path, PATH_PREFIX, by_plural)
}

pub(crate) fn split_path<'p>(
    path: &'p str,
    prefix: &str,
    by_plural: fn(&str) -> Option<&'static ResourceType>,
) -> Option<(&'static ResourceType, &'p str, &'p str)> {
    let mut parts = path.strip_prefix(prefix)?.split('/');
    let kind = by_plural(parts.next()?)?;
    let namespace = if kind.namespaced { parts.next()? } else { "" };
    let name = parts.next()?;
    let complete = parts.next().is_none() && !name.is_empty() && (!kind.namespaced || !namespace.is_empty());
    complete.then_some((kind, namespace, name))
}

impl ResourceType {
    /// Path of an object in a store that is not Kubernetes: `<prefix><plural>[/<namespace>]/<name>`.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{}{}/{namespace}/{name}", self.prefix, self.plural)
        } else {
            format!("{}{}/{name}", self.prefix, self.plural)
        }
    }

    /// Prefix of the paths of all objects of the kind, or of those in a namespace; ends with `/`.
    pub fn list_prefix(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced && !namespace.is_empty() => {
                format!("{}{}/{namespace}/", self.prefix, self.plural)
            }
            _ => format!("{}{}/", self.prefix, self.plural),
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}
