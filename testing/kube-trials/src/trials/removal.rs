//! The product comes and goes: installed by its manifest, updated, removed, installed again where pods of before still run,
//! removed for good. Pods talk all the time, and in the end a node is as it was before.

pub(super) mod installed;
mod picture;

use crate::pods::{Pod, create_all, events, start_all};
use crate::probe::Probe;
use crate::{Context, Shape, Trial, wait};
use anyhow::{Context as _, Result, bail, ensure};
use installed::{Backend, Manifest};
use picture::Picture;
use serde_json::json;
use std::collections::BTreeSet;

/// A cluster in which nothing is installed, with a network that routes no pod's address.
const ROUTED: Shape = Shape { cni: "none", flags: &["--bare"], own: true, ..Shape::FULL };

/// The same, with nodes that are neighbours: what a mesh of BGP can do with.
const FLAT: Shape = Shape { flags: &["--bare", "--fabric", "flat"], ..ROUTED };

pub(crate) const BGP: Trial = Trial {
    name: "removal-bgp",
    about: "kubectl apply, rollout restart, delete, apply again and delete: pods talk all the time, nodes are clean in the end (BGP)",
    shape: FLAT,
    run: |cx| run(cx, "tortie.yaml", Backend::Bgp),
};

pub(crate) const VXLAN: Trial = Trial {
    name: "removal-vxlan",
    about: "the same with VXLAN",
    shape: ROUTED,
    run: |cx| run(cx, "tortie.yaml", Backend::Vxlan),
};

pub(crate) const STORAGE: Trial = Trial {
    name: "removal-crd-v1",
    about: "the same with objects in crd.projectcalico.org/v1",
    shape: FLAT,
    run: |cx| run(cx, "tortie-crd-v1.yaml", Backend::Bgp),
};

fn run(cx: &mut Context, manifest: &str, backend: Backend) -> Result<()> {
    let nodes = 1..=cx.cluster.shape.nodes;
    // What needs a network would come and go as it likes.
    cx.cluster.kubectl(&["-n", "kube-system", "delete", "deployments", "--all", "--ignore-not-found"])?;
    let before: Vec<Picture> = nodes.clone().map(|n| Picture::take(&cx.cluster, n)).collect::<Result<_>>()?;
    installed::import(cx)?;
    let manifest = Manifest::write(cx, manifest, backend)?;
    manifest.apply(cx).context("install")?;

    let specs = [
        cx.pod("server").server().on(1),
        cx.pod("guarded").server().on(1),
        cx.pod("near").on(1),
        cx.pod("far").on(2),
        cx.pod("far-server").server().on(2),
    ];
    let pods = start_all(cx, &specs)?;
    let [server, guarded, near, far, far_server] = pods.as_slice() else { bail!("five pods were started") };
    guard(cx)?;
    wait::until_true("the policy to hold", wait::seconds(30), || refused(far, guarded))?;
    let mut steady = Vec::new();
    for (from, to) in [(near, server), (far, server), (near, far_server)] {
        steady.extend(Probe::all(from, to)?);
    }
    let forbidden = Probe::connect(far, first(guarded)?)?;

    cx.say("rollout restart");
    cx.cluster.kubectl(&["-n", "calico-system", "rollout", "restart", "ds/calico-node"])?;
    Manifest::rolled_out(cx)?;
    forbidden.wait_for_more(3)?;
    forbidden.must_fail().context("the policy during the update")?;
    quiet(&mut steady).context("during the update")?;

    cx.say("delete -f");
    manifest.delete(cx)?;
    wait::until_true("nothing to forbid anything", wait::seconds(30), || Ok(!refused(far, guarded)?))?;
    nodes_are_free(cx)?;
    quiet(&mut steady).context("during the removal")?;
    refusal_is_told(cx)?;

    cx.say("apply -f again, while the pods run");
    let addresses: BTreeSet<_> = pods.iter().flat_map(|pod| pod.ips.clone()).collect();
    manifest.apply(cx).context("install again")?;
    guard(cx)?;
    wait::until_true("the policy to hold again", wait::seconds(60), || refused(far, guarded))?;
    let waited = Pod::ready(cx, "late").context("a pod that waited for a network")?;
    ensure!(
        waited.ips.iter().all(|ip| !addresses.contains(ip)),
        "an address was given twice: {:?}",
        waited.ips
    );
    for (from, to) in [(near, server), (far, server), (near, far_server), (&waited, far_server)] {
        wait::until_true("old pods to talk", wait::seconds(60), || Ok(from.must_reach(to, true).is_ok()))?;
    }
    // BGP has no gap; with VXLAN the nodes' ends are made known again.
    for probe in std::mem::take(&mut steady) {
        let failed = probe.stop().iter().filter(|a| a.failure.is_some()).count();
        ensure!(failed < 100, "pods could not talk for {failed} attempts during the second installation");
    }

    cx.say("delete -f, and then the pods");
    let mut again = Probe::all(far, server)?;
    manifest.delete(cx)?;
    quiet(&mut again).context("during the second removal")?;
    drop(again);
    another_network(cx)?;
    for pod in pods.iter().chain([&waited]) {
        pod.delete()?;
    }
    cx.kubectl(&["delete", "pod", "successor", "--wait=true"])?;
    cx.cluster.sh(1, "rm /etc/cni/net.d/99-bridge.conflist; ip link delete cni0")?;
    for (node, before) in nodes.zip(&before) {
        wait::until_true(&format!("node{node} to be as before"), wait::seconds(40), || {
            let differs = Picture::take(&cx.cluster, node)?.since(before);
            ensure!(differs.is_empty(), "{}", differs.join(", "));
            Ok(true)
        })?;
    }
    Ok(())
}

fn first(pod: &Pod) -> Result<std::net::SocketAddr> {
    pod.addresses().first().copied().context("a pod without addresses")
}

/// Nobody reaches the pod of this name.
fn guard(cx: &Context) -> Result<()> {
    cx.cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "guard", "namespace": cx.namespace},
        "spec": {"podSelector": {"matchLabels": {"name": "guarded"}}, "policyTypes": ["Ingress"]},
    }))
}

fn refused(from: &Pod, to: &Pod) -> Result<bool> {
    for address in to.addresses() {
        if from.reaches(address)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// No probe has failed so far; they go on.
fn quiet(probes: &mut [Probe]) -> Result<()> {
    for probe in probes {
        probe.wait_for_more(3)?;
        if let Some(failed) = probe.attempts().iter().find(|a| a.failure.is_some()) {
            bail!("{probe:?} failed at {} ms: {:?}", failed.at, failed.failure);
        }
    }
    Ok(())
}

/// Kubernetes' nodes keep nobody away, and say nothing of a network any more, as far as the agents' rights lived long enough.
fn nodes_are_free(cx: &Context) -> Result<()> {
    let text = || Ok::<_, anyhow::Error>(json!(cx.cluster.list(&["nodes"])?).to_string());
    ensure!(!text()?.contains("network-unavailable"), "the nodes have a taint");
    let silent = wait::until_true("the nodes to say nothing of the network", wait::seconds(3), || {
        let text = text()?;
        Ok(!["projectcalico.org/IPv", "NetworkUnavailable"].iter().any(|word| text.contains(word)))
    });
    if silent.is_err() {
        cx.say("the nodes keep their annotations: the rights went earlier");
    }
    Ok(())
}

/// A pod that cannot start says why.
fn refusal_is_told(cx: &Context) -> Result<()> {
    create_all(cx, &[cx.pod("late").server().on(2)])?;
    let told = wait::until("an event of the pod that cannot start", wait::seconds(30), || {
        Ok(events(cx, "late")?.into_iter().find(|m| m.contains("network")))
    })?;
    for word in ["was removed", "calico-system", "install a network"] {
        ensure!(told.contains(word), "the event does not say {word:?}: {told}");
    }
    Ok(())
}

/// Another network takes over on the first node, though its file comes after ours; pods of before run on.
fn another_network(cx: &Context) -> Result<()> {
    let list = json!({"cniVersion": "1.0.0", "name": "successor", "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.199.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }]});
    cx.cluster.sh(1, &format!("cp -n /usr/lib/cni/bridge /usr/lib/cni/host-local /opt/cni/bin/; printf %s '{list}' > /etc/cni/net.d/99-bridge.conflist"))?;
    let pod = cx.pod("successor").on(1).start()?;
    ensure!(pod.ips.iter().any(|ip| ip.to_string().starts_with("10.199.1.")), "{:?}", pod.ips);
    let ours = cx.cluster.sh(1, "ls /etc/cni/net.d")?;
    ensure!(!ours.contains("calico"), "ours is still there: {ours}");
    Ok(())
}
