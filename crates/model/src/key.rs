//! Typed keys of the model.

mod affinity;
mod path;

pub use affinity::{
    LABEL_AFFINITY_TYPE, LABEL_HOSTNAME_HASH, LABEL_IP_VERSION, affinity_labels, hostname_hash,
};
pub use path::{affinities_prefix, bgp_peer_path, blocks_prefix, parse_bgp_peer_path};

use std::fmt;
use tortie_net::Cidr;

/// Identity of a workload endpoint: (host, orchestrator, workload, endpoint), e.g. `(n1, k8s, shop/web-1, eth0)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// Node name.
    pub host: String,
    /// `k8s`, `openstack`, `cni`, ...
    pub orchestrator: String,
    /// For Kubernetes `namespace/pod`.
    pub workload: String,
    /// Interface inside the workload, usually `eth0`.
    pub endpoint: String,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.orchestrator, self.workload, self.endpoint)
    }
}

/// The kinds of policy that a [`PolicyId`] can name. Spelt as the `kind` of the object the user wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// projectcalico.org/v3 GlobalNetworkPolicy.
    GlobalNetworkPolicy,
    /// policy.networking.k8s.io ClusterNetworkPolicy.
    KubernetesClusterNetworkPolicy,
    /// networking.k8s.io NetworkPolicy.
    KubernetesNetworkPolicy,
    /// projectcalico.org/v3 NetworkPolicy.
    NetworkPolicy,
    /// projectcalico.org/v3 StagedGlobalNetworkPolicy.
    StagedGlobalNetworkPolicy,
    /// projectcalico.org/v3 StagedKubernetesNetworkPolicy.
    StagedKubernetesNetworkPolicy,
    /// projectcalico.org/v3 StagedNetworkPolicy.
    StagedNetworkPolicy,
}

impl PolicyKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::GlobalNetworkPolicy,
        Self::KubernetesClusterNetworkPolicy,
        Self::KubernetesNetworkPolicy,
        Self::NetworkPolicy,
        Self::StagedGlobalNetworkPolicy,
        Self::StagedKubernetesNetworkPolicy,
        Self::StagedNetworkPolicy,
    ];

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Self::KubernetesClusterNetworkPolicy => "KubernetesClusterNetworkPolicy",
            Self::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            Self::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
            Self::StagedNetworkPolicy => "StagedNetworkPolicy",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == name)
    }

    /// True for kinds that are never enforced.
    pub fn is_staged(self) -> bool {
        matches!(
            self,
            Self::StagedGlobalNetworkPolicy | Self::StagedKubernetesNetworkPolicy | Self::StagedNetworkPolicy
        )
    }
}

/// Identity of a policy. `namespace` is empty for cluster-wide kinds.
///
/// The derived order is not the order of evaluation: that is (`order`, then `name/namespace/kind`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Kind of the object.
    pub kind: PolicyKind,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.as_str(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
        }
    }
}

/// Identity of a whole projectcalico.org/v3 or Kubernetes object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Kind, e.g. `Node`, `BGPPeer`, `KubernetesService`.
    pub kind: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// A key of the model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `/calico/v1/host/<h>/workload/<orch>/<wl>/endpoint/<ep>`.
    WorkloadEndpoint(WorkloadId),
    /// `/calico/v1/host/<h>/endpoint/<id>`.
    HostEndpoint {
        /// Node name.
        host: String,
        /// Name of the host endpoint.
        id: String,
    },
    /// `/calico/v1/policy/<Kind>/<Namespace>/<Name>`.
    Policy(PolicyId),
    /// `/calico/v1/policy/tier/<t>/metadata`.
    Tier(String),
    /// `/calico/v1/policy/profile/<p>/rules`.
    ProfileRules(String),
    /// `/calico/v1/policy/profile/<p>/labels`.
    ProfileLabels(String),
    /// `/calico/v1/netset/<name>`; the name is `namespace/name` for namespaced sets.
    NetworkSet(String),
    /// `/calico/v1/ipam/v{4,6}/pool/<cidr->`.
    IpPool(Cidr),
    /// `/calico/ipam/v2/assignment/ipv{4,6}/block/<cidr->`.
    Block(Cidr),
    /// `/calico/ipam/v2/{host,virtual}/<host>/ipv{4,6}/block/<cidr->`.
    BlockAffinity {
        /// Owner: a node name, or the name of a virtual owner.
        host: String,
        /// `host` or `virtual`.
        affinity_type: String,
        /// The block.
        cidr: Cidr,
    },
    /// `/calico/ipam/v2/handle/<id>`.
    IpamHandle(String),
    /// `/calico/ipam/v2/config`.
    IpamConfig,
    /// `/calico/v1/config/<p>`.
    GlobalConfig(String),
    /// `/calico/v1/host/<h>/config/<p>`.
    HostConfig {
        /// Node name.
        host: String,
        /// Parameter.
        name: String,
    },
    /// `/calico/v1/Ready`.
    ReadyFlag,
    /// `/calico/v1/host/<h>/wireguard`.
    Wireguard(String),
    /// `/calico/bgp/v1/global/<name>`.
    BgpGlobalConfig(String),
    /// `/calico/bgp/v1/host/<node>/<name>`.
    BgpNodeConfig {
        /// Node name.
        node: String,
        /// Parameter.
        name: String,
    },
    /// `/calico/felix/v2/<region>/host/<h>/status`: the agent lives. The region is `no-region` or `region-<name>`.
    AgentStatus {
        /// Region.
        region: String,
        /// Node name.
        host: String,
    },
    /// `/calico/felix/v2/<region>/host/<h>/last_reported_status`: the agent lived.
    LastAgentStatus {
        /// Region.
        region: String,
        /// Node name.
        host: String,
    },
    /// `/calico/felix/v2/<region>/host/<h>/workload/<orch>/<wl>/endpoint/<ep>`: what an agent made of an endpoint.
    WorkloadStatus {
        /// Region.
        region: String,
        /// The endpoint.
        id: WorkloadId,
    },
    /// `/calico/felix/v1/host/<h>/endpoint/<id>`: what an agent made of a host endpoint.
    HostEndpointStatus {
        /// Node name.
        host: String,
        /// Name of the host endpoint.
        id: String,
    },
    /// `/calico/resources/v3/projectcalico.org/<plural>[/<ns>]/<name>`.
    Resource(ResourceKey),
}
