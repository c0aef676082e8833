//! What components read: Calico's syncers, by their names.

use tortie_api::{k8s, v3};

/// Blocks of addresses.
const BLOCKS: &str = "/calico/ipam/v2/assignment/";
/// Which node has which block.
const AFFINITIES: &str = "/calico/ipam/v2/host/";

/// What a component reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSet {
    /// Name.
    pub name: &'static str,
    /// Kinds of projectcalico.org/v3.
    calico: &'static [&'static str],
    /// Kinds of Kubernetes.
    kubernetes: &'static [&'static str],
    /// Other paths, by how they begin.
    paths: &'static [&'static str],
}

/// All there is.
pub const EVERYTHING: SyncSet = SyncSet { name: "everything", calico: &[], kubernetes: &[], paths: &["/"] };

/// What policy and routes of a node depend on.
pub const FELIX: SyncSet = SyncSet {
    name: "felix",
    calico: &[
        "ClusterInformation",
        "FelixConfiguration",
        "GlobalNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "GlobalNetworkSet",
        "IPPool",
        "Node",
        "Profile",
        "WorkloadEndpoint",
        "NetworkPolicy",
        "StagedNetworkPolicy",
        "StagedKubernetesNetworkPolicy",
        "NetworkSet",
        "Tier",
        "HostEndpoint",
        "BGPConfiguration",
        "BGPPeer",
        "LiveMigration",
    ],
    kubernetes: KUBERNETES,
    paths: &[BLOCKS],
};

/// Kubernetes' kinds that mean something to policy. Pods are endpoints, namespaces and service accounts profiles.
const KUBERNETES: &[&str] = &[
    "Pod",
    "Namespace",
    "ServiceAccount",
    "NetworkPolicy",
    "ClusterNetworkPolicy",
    "Service",
    "EndpointSlice",
];

/// What BGP depends on.
pub const BGP: SyncSet = SyncSet {
    name: "bgp",
    calico: &["IPPool", "BGPConfiguration", "Node", "BGPPeer", "BGPFilter"],
    kubernetes: &[],
    paths: &[AFFINITIES],
};

/// What the addresses of a node's tunnels depend on.
pub const TUNNEL_IP_ALLOCATION: SyncSet =
    SyncSet { name: "tunnel-ip-allocation", calico: &["IPPool", "Node"], kubernetes: &[], paths: &[] };

/// Questions about the state of nodes.
pub const NODE_STATUS: SyncSet =
    SyncSet { name: "node-status", calico: &["CalicoNodeStatus"], kubernetes: &[], paths: &[] };

/// What our agent reads, which is both a Felix and the one who configures BGP. It takes routes from blocks.
pub const AGENT: SyncSet = SyncSet {
    name: "agent",
    calico: &[
        "ClusterInformation",
        "FelixConfiguration",
        "GlobalNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "GlobalNetworkSet",
        "IPPool",
        "Node",
        "Profile",
        "WorkloadEndpoint",
        "NetworkPolicy",
        "StagedNetworkPolicy",
        "StagedKubernetesNetworkPolicy",
        "NetworkSet",
        "Tier",
        "HostEndpoint",
        "BGPConfiguration",
        "BGPPeer",
        "BGPFilter",
        "LiveMigration",
        "CalicoNodeStatus",
    ],
    kubernetes: KUBERNETES,
    paths: &[BLOCKS],
};

impl SyncSet {
    /// Whether a path belongs to the set.
    pub fn covers(&self, path: &str) -> bool {
        if self.paths.iter().any(|prefix| path.starts_with(prefix)) {
            return true;
        }
        match (v3::parse_path(path), k8s::parse_path(path)) {
            (Some((kind, ..)), _) => self.calico.contains(&kind.kind),
            (None, Some((kind, ..))) => self.kubernetes.contains(&kind.kind),
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_a_set_is_known_and_covered() {
        for set in [FELIX, BGP, TUNNEL_IP_ALLOCATION, NODE_STATUS, AGENT] {
            for kind in set.calico {
                assert!(set.covers(&v3::by_kind(kind).unwrap().path("ns", "x")), "{kind}");
            }
            for kind in set.kubernetes {
                assert!(set.covers(&k8s::by_kind(kind).unwrap().path("ns", "x")), "{kind}");
            }
            for path in set.paths {
                assert!(set.covers(&format!("{path}x")));
            }
            assert!(!set.covers("/calico/ipam/v2/handle/x") && !set.covers("/elsewhere"), "{}", set.name);
        }
        assert!(EVERYTHING.covers("/elsewhere"));
        let pool = v3::by_kind("IPPool").unwrap().path("", "p");
        assert!(!NODE_STATUS.covers(&pool));
    }

    #[test]
    fn the_agent_reads_all_that_felix_reads() {
        assert!(FELIX.calico.iter().chain(BGP.calico).all(|kind| AGENT.calico.contains(kind)));
        assert!(FELIX.kubernetes == AGENT.kubernetes && FELIX.paths == AGENT.paths);
    }
}
