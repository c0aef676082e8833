//! From nothing to a network by `kubectl apply -f`: on a fabric that learns pods' routes by BGP, and on one that drops pods' packets.

use super::removal::installed::{Backend, Manifest, import};
use super::vxlan;
use crate::ask::{From, node, world};
use crate::pods::{PORT, Pod, start_all};
use crate::{Context, Shape, Trial, wait};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

pub(crate) const BGP: Trial = Trial {
    name: "manifest-bgp",
    about: "the manifest on a cluster without a network: pods are routed by way of the fabric's router, which is a BGP peer",
    shape: Shape {
        cni: "none",
        flags: &["--bare", "--pool", "10.244.0.0/16", "--pool", "fd00:244::/64"],
        own: true,
        ..Shape::FULL
    },
    run: |cx| run(cx, Backend::Bgp),
};

pub(crate) const VXLAN: Trial = Trial {
    name: "manifest-vxlan",
    about: "the manifest with calico_backend vxlan, on a fabric that drops what pods send each other outside of tunnels",
    shape: Shape {
        // The pools of the manifest: the fabric must know whose packets to drop.
        flags: &["--bare", "--encapsulation", "vxlan", "--pool", "10.244.0.0/16", "--pool", "fd00:244::/64"],
        ..BGP.shape
    },
    run: |cx| run(cx, Backend::Vxlan),
};

fn run(cx: &mut Context, backend: Backend) -> Result<()> {
    let nodes = 1..=cx.cluster.shape.nodes;
    for number in nodes.clone() {
        let said = condition(cx, number, "Ready")?;
        ensure!(said.0 != "True", "node{number} is ready without a network");
    }
    import(cx)?;
    Manifest::write(cx, "tortie.yaml", backend)?.apply(cx)?;
    if backend == Backend::Bgp {
        cx.cluster.apply(&peers(cx)?)?;
    }
    for number in nodes {
        wait::until_true(
            &format!("node{number} to be as a node with a network is"),
            wait::seconds(60),
            || is_up(cx, number, backend).map(|()| true),
        )?;
    }
    let specs = [
        cx.pod("server").server().on(2),
        cx.pod("guarded").server().on(2),
        cx.pod("far").on(1),
        cx.pod("near").on(2),
    ];
    let pods = start_all(cx, &specs)?;
    let [server, guarded, far, near] = pods.as_slice() else { bail!("four pods were started") };
    policy_and_services(cx, guarded, far, server)?;
    for to in server.addresses() {
        From::Pod(far).must_reach_as(cx, to, &far.ips)?;
        From::Pod(near).must_reach_as(cx, to, &near.ips)?;
        From::Node(1).must_reach(cx, to)?;
        // Hosts outside know the way to pods from the router, and are known to them by their own addresses.
        From::World.must_reach_as(cx, to, &world(cx)?)?;
    }
    let blocks = cx.cluster.list(&["ipamblocks.projectcalico.org"])?;
    ensure!(blocks.len() >= 4, "two nodes with pods of both families have {} blocks", blocks.len());
    if backend == Backend::Vxlan {
        vxlan::only_tunnels(cx)?;
    }
    Ok(())
}

/// Status and reason of a node's condition.
fn condition(cx: &Context, number: usize, kind: &str) -> Result<(String, String)> {
    let object =
        cx.cluster.get(&["node", &cx.cluster.node_name(number)])?.context("there is no such node")?;
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|c| c.get("type").is_some_and(|t| t == kind));
    let text = |field: &str| found.and_then(|c| c.get(field)?.as_str()).unwrap_or_default().to_owned();
    Ok((text("status"), text("reason")))
}

/// What the start of the agent leaves on its node.
fn is_up(cx: &Context, number: usize, backend: Backend) -> Result<()> {
    let (ready, _) = condition(cx, number, "Ready")?;
    ensure!(ready == "True", "it is not ready");
    let unavailable = condition(cx, number, "NetworkUnavailable")?;
    ensure!(
        unavailable == ("False".to_owned(), "CalicoIsUp".to_owned()),
        "NetworkUnavailable is {unavailable:?}"
    );
    let object = cx.cluster.get(&["node", &cx.cluster.node_name(number)])?.unwrap_or_default();
    let noted = |name: &str| {
        let value = object.pointer("/metadata/annotations")?.get(format!("projectcalico.org/{name}"))?;
        value.as_str()?.split('/').next()?.parse::<IpAddr>().ok()
    };
    let own = node(cx, number)?;
    for name in ["IPv4Address", "IPv6Address"] {
        let address = noted(name).with_context(|| format!("no annotation {name}"))?;
        ensure!(own.contains(&address), "{name} is {address}, none of {own:?}");
    }
    let tunnels = ["IPv4VXLANTunnelAddr", "IPv6VXLANTunnelAddr"].map(noted);
    let wanted = backend == Backend::Vxlan;
    ensure!(tunnels.iter().all(|t| t.is_some() == wanted), "tunnels have the addresses {tunnels:?}");
    Ok(())
}

/// Sessions of each node with the router, by the gateways of its segment.
fn peers(cx: &Context) -> Result<Value> {
    let mut all = Vec::new();
    for number in 1..=cx.cluster.shape.nodes {
        let name = cx.cluster.node_name(number);
        for version in ["-4", "-6"] {
            let text =
                cx.cluster.lab(&["exec", &name, "--", "ip", version, "-o", "route", "show", "default"])?;
            let gateway = text.split_whitespace().skip_while(|word| *word != "via").nth(1);
            let gateway = gateway.with_context(|| format!("{name} has no default route: {text:?}"))?;
            all.push(json!({
                "apiVersion": "projectcalico.org/v3", "kind": "BGPPeer",
                "metadata": {"name": format!("router-{name}{version}")},
                "spec": {"nodeSelector": format!("kubernetes.io/hostname == '{name}'"),
                    "peerIP": gateway, "asNumber": 64512},
            }));
        }
    }
    Ok(all.into())
}

fn policy_and_services(cx: &Context, guarded: &Pod, far: &Pod, server: &Pod) -> Result<()> {
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "guard", "namespace": cx.namespace},
        "spec": {"podSelector": {"matchLabels": {"name": guarded.name}}, "policyTypes": ["Ingress"]},
    });
    for to in guarded.addresses() {
        From::Pod(far).must_reach(cx, to)?;
    }
    cx.cluster.apply(&json!([policy, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server", "namespace": cx.namespace},
        "spec": {"selector": {"name": server.name}, "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"port": 80, "targetPort": PORT}]},
    }]))?;
    for to in guarded.addresses() {
        From::Pod(far).must_not_reach(cx, to)?;
        From::World.must_not_reach(cx, to)?;
    }
    let service =
        cx.cluster.get(&["service", "server", "-n", &cx.namespace])?.context("there is no service")?;
    let addresses = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    for address in addresses.into_iter().flatten().filter_map(|a| a.as_str()?.parse().ok()) {
        From::Pod(far).must_reach_as(cx, SocketAddr::new(address, 80), &far.ips)?;
    }
    Ok(())
}
