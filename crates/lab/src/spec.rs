//! The shape of a lab: what `up` was asked for, handed to the sandbox as JSON.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use tortie_net::{Cidr, Family};

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

/// How pods' packets travel between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encapsulation {
    /// As they are: nodes and router learn routes by BGP.
    #[default]
    None,
    /// In VXLAN, without BGP: the fabric drops what it sees of one pod to another.
    Vxlan,
}

/// Address families of pods, Services and nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Families {
    /// Both.
    #[default]
    Dual,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

impl Families {
    /// In the order in which Kubernetes names them: IPv4 first.
    pub(crate) fn all(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |f| self.has(*f))
    }

    pub(crate) fn has(self, family: Family) -> bool {
        match self {
            Self::Dual => true,
            Self::Ipv4 => family == Family::V4,
            Self::Ipv6 => family == Family::V6,
        }
    }

    /// Those of some addresses that are of these families.
    pub(crate) fn of(self, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
        addresses.into_iter().filter(|a| self.has(Family::of(*a))).collect()
    }

    /// Those of some texts that are ranges or addresses of these families.
    pub(crate) fn texts(self, all: &[&'static str]) -> Vec<&'static str> {
        let is_v6 = |text: &str| text.contains(':');
        let family = |text: &str| if is_v6(text) { Family::V6 } else { Family::V4 };
        all.iter().copied().filter(|text| self.has(family(text))).collect()
    }
}

/// How kube-proxy makes Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProxyMode {
    #[default]
    Nftables,
    Iptables,
}

impl ProxyMode {
    /// The word of kube-proxy's configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// What real nodes are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kubelets {
    /// Without controller manager, scheduler and kube-proxy: pods name their node.
    pub(crate) lean: bool,
    pub(crate) cni: Cni,
    pub(crate) proxy: ProxyMode,
    /// Without our kinds and objects, as a cluster is before anything is installed.
    pub(crate) bare: bool,
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
    #[serde(default)]
    pub(crate) encapsulation: Encapsulation,
    #[serde(default)]
    pub(crate) families: Families,
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
    pub(crate) fn default_pools(families: Families) -> Vec<Cidr> {
        families.texts(&["10.65.0.0/16", "fd65::/64"]).iter().filter_map(|p| p.parse().ok()).collect()
    }

    /// What differs from another shape, in words; `None` if a lab of one shape serves as the other.
    pub(crate) fn difference(&self, wanted: &Self) -> Option<String> {
        let pools = |s: &Self| s.pools.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let env =
            |s: &Self| s.agent_env.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
        let kubelets = |s: &Self| match &s.kubelets {
            None => "no".to_owned(),
            Some(k) => {
                let words = [(k.lean, ", lean"), (k.bare, ", bare")];
                let words: String = words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
                format!("{:?}, {}{words}", k.cni, k.proxy.as_str())
            }
        };
        let facts = [
            ("--nodes", self.nodes.to_string(), wanted.nodes.to_string()),
            ("--datastore", self.datastore.to_string(), wanted.datastore.to_string()),
            ("--kubernetes", kubelets(self), kubelets(wanted)),
            ("--fabric", self.fabric.to_string(), wanted.fabric.to_string()),
            ("--encapsulation", format!("{:?}", self.encapsulation), format!("{:?}", wanted.encapsulation)),
            ("--families", format!("{:?}", self.families), format!("{:?}", wanted.families)),
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
            encapsulation: Encapsulation::None,
            families: Families::Dual,
            pools: LabSpec::default_pools(Families::Dual),
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
