//! The shape of a lab: what `up` was asked for, handed to the sandbox as JSON.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use tortie_net::Cidr;

/// Most nodes of one lab: node numbers are the last octet of addresses.
pub(crate) const MAX_NODES: usize = 200;

/// Where the nodes' data live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Datastore {
    /// Tortie's own store, served to all nodes by a process of the lab.
    #[default]
    Embedded,
    /// A real etcd in the router's namespace.
    Etcd,
    /// The API of a real Kubernetes: etcd and kube-apiserver, for which `kubectl` works too.
    Kubernetes,
}

/// Who gives pods their network, where kubelets run them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cni {
    /// Tortie's plugin and agent.
    #[default]
    Tortie,
    /// The CNI project's bridge, without any policy: what tests must fail on.
    Bridge,
    /// Nobody, until somebody installs something.
    None,
}

/// What real nodes are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kubelets {
    /// Without controller manager, scheduler and kube-proxy: pods name their node.
    pub(crate) lean: bool,
    pub(crate) cni: Cni,
    /// The unpacked images.
    pub(crate) images: PathBuf,
}

/// How the nodes are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FabricKind {
    /// Two layer-2 segments with a router between them.
    #[default]
    Routed,
    /// One layer-2 segment; the router leads outside only.
    Flat,
}

impl fmt::Display for Datastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
            Self::Kubernetes => "kubernetes",
        })
    }
}

impl fmt::Display for FabricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::Flat => "flat",
        })
    }
}

/// What a lab is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabSpec {
    /// Name of the lab.
    pub(crate) name: String,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// Number of nodes.
    pub(crate) nodes: usize,
    pub(crate) datastore: Datastore,
    pub(crate) fabric: FabricKind,
    /// Address pools of pods.
    pub(crate) pools: Vec<Cidr>,
    /// The CNI plugin to execute.
    pub(crate) cni_bin: PathBuf,
    /// Variables for every agent, over the lab's own.
    pub(crate) agent_env: Vec<(String, String)>,
    /// Run agents and BIRD; without, the lab is a bare fabric.
    pub(crate) agents: bool,
    /// Where Kubernetes' programs lie, if the lab runs any.
    #[serde(default)]
    pub(crate) kube_bin: Option<PathBuf>,
    /// Every node has a kubelet and containerd of its own, and pods are theirs.
    #[serde(default)]
    pub(crate) kubelets: Option<Kubelets>,
    /// Go down with the command that started it.
    pub(crate) tied: bool,
}

impl LabSpec {
    /// Name of a lab unless another is given.
    pub(crate) const DEFAULT_NAME: &str = "lab";

    /// The lab's own pools.
    pub(crate) fn default_pools() -> Vec<Cidr> {
        ["10.65.0.0/16", "fd65::/64"].iter().filter_map(|p| p.parse().ok()).collect()
    }

    /// What differs from another shape, in words; `None` if a lab of one shape serves as the other.
    pub(crate) fn difference(&self, wanted: &Self) -> Option<String> {
        let pools = |s: &Self| s.pools.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let env =
            |s: &Self| s.agent_env.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
        let kubelets = |s: &Self| match &s.kubelets {
            None => "no".to_owned(),
            Some(k) => format!("{:?}{}", k.cni, if k.lean { ", lean" } else { "" }),
        };
        let facts = [
            ("--nodes", self.nodes.to_string(), wanted.nodes.to_string()),
            ("--datastore", self.datastore.to_string(), wanted.datastore.to_string()),
            ("--kubernetes", kubelets(self), kubelets(wanted)),
            ("--fabric", self.fabric.to_string(), wanted.fabric.to_string()),
            ("--pool", pools(self), pools(wanted)),
            ("--agent-env", env(self), env(wanted)),
        ];
        let differing: Vec<String> = facts
            .into_iter()
            .filter(|(_, is, asked)| is != asked)
            .map(|(flag, is, asked)| format!("{flag} is {is:?}, asked for {asked:?}"))
            .collect();
        (!differing.is_empty()).then(|| differing.join("; "))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three nodes, all defaults.
    pub(crate) fn spec() -> LabSpec {
        LabSpec {
            name: "a".into(),
            dir: "/x".into(),
            nodes: 3,
            datastore: Datastore::Embedded,
            fabric: FabricKind::Routed,
            pools: LabSpec::default_pools(),
            cni_bin: "/cni".into(),
            agent_env: vec![],
            agents: true,
            kube_bin: None,
            kubelets: None,
            tied: false,
        }
    }

    #[test]
    fn a_difference_names_the_flag() {
        let spec = spec();
        assert_eq!(spec.pools.len(), 2);
        assert_eq!(spec.difference(&spec), None);
        let other = LabSpec { nodes: 5, fabric: FabricKind::Flat, tied: true, ..spec.clone() };
        assert_eq!(
            spec.difference(&other).unwrap(),
            "--nodes is \"3\", asked for \"5\"; --fabric is \"routed\", asked for \"flat\""
        );
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<LabSpec>(&text).unwrap(), spec);
    }
}
