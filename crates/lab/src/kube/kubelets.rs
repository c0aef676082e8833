//! Real nodes of a lab: started together, from images that are copied into the sandbox once.

use super::control_plane::CLUSTER_RANGES;
use super::network;
use super::node::{Common, KubeNode, copy, images_dir};
use crate::cni;
use crate::datastore::Datastore;
use crate::dirs::LabDir;
use crate::fabric::Fabric;
use crate::node::Node;
use crate::spec::{Cni, LabSpec};
use crate::supervisor::Sink;
use anyhow::{Context as _, anyhow};
use futures_util::future::try_join_all;
use std::path::Path;
use std::sync::Arc;
use tortie_net::Cidr;

/// Starts containerd, kubelet and kube-proxy on all nodes, if the lab is to have real ones.
pub(crate) async fn start(
    spec: &LabSpec,
    dir: &LabDir,
    fabric: &Fabric,
    nodes: &[Arc<Node>],
    store: &Datastore,
    sink: &Sink,
) -> anyhow::Result<Vec<KubeNode>> {
    let (Some(kubelets), Some(control)) = (&spec.kubelets, &store.control) else { return Ok(Vec::new()) };
    sink.progress("images").await;
    copy(&["-a"], &kubelets.images, &images_dir()).await?;
    let bridge = kubelets.cni == Cni::Bridge;
    if bridge {
        network::route_bridges(fabric)?;
    }
    sink.progress("containerd and kubelets").await;
    let labs = dir.path().parent().context("the lab's directory is in one of all labs")?;
    let binaries = spec.kube_bin.clone().context("nobody said where Kubernetes' programs are")?;
    let ranges: Vec<Cidr> =
        spec.families.texts(&CLUSTER_RANGES).iter().filter_map(|r| r.parse().ok()).collect();
    let common = |node: &Node| Common {
        lab: spec.name.clone(),
        binaries: binaries.clone(),
        pods: if bridge { ranges.clone() } else { spec.pools.clone() },
        plugins: network::plugins((kubelets.cni != Cni::None).then_some(spec.cni_bin.as_path())),
        network: match kubelets.cni {
            Cni::Bridge => {
                let list = network::bridge(node.net.number, spec.families);
                Some(("10-bridge.conflist".to_owned(), list.to_string()))
            }
            Cni::Tortie => {
                let list = cni::configuration(&node.agent_socket(), &node.cni_journal());
                Some(("10-calico.conflist".to_owned(), network::with_portmap(list).to_string()))
            }
            Cni::None => None,
        },
        families: spec.families,
        proxy: (!kubelets.lean).then_some(kubelets.proxy),
    };
    let starts = nodes.iter().map(|node| {
        let common = common(node);
        async move {
            start_one(node, labs, &common, control)
                .await
                .with_context(|| format!("cannot start {}", node.name()))
        }
    });
    try_join_all(starts).await
}

async fn start_one(
    node: &Node,
    labs: &Path,
    common: &Common,
    control: &super::control_plane::ControlPlane,
) -> anyhow::Result<KubeNode> {
    let mut real = KubeNode::make(&node.net, &node.netns, node.dir(), labs, common).await?;
    node.space.set(real.space.clone()).map_err(|_| anyhow!("{} was started twice", node.name()))?;
    real.start(&node.net, control, common).await?;
    Ok(real)
}
