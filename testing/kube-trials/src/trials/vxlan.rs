//! Where the fabric knows no pods: everything between pods of different nodes is in VXLAN, Services too.

use crate::ask::{From, node, of_family};
use crate::pods::{PORT, start_all};
use crate::probe::Probe;
use crate::{Context, Shape, Trial};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

pub(crate) const TRIAL: Trial = Trial {
    name: "vxlan",
    about: "on a fabric that drops pods' packets, pods and Services work in tunnels, and nothing else is seen",
    shape: Shape { flags: &["--encapsulation", "vxlan"], ..Shape::FULL },
    run,
};

const SEGMENTS: [&str; 2] = ["seg1", "seg2"];

fn run(cx: &mut Context) -> Result<()> {
    let specs = [cx.pod("server").server().on(2), cx.pod("far").on(1), cx.pod("near").on(2)];
    let pods = start_all(cx, &specs)?;
    let [server, far, near] = pods.as_slice() else { unreachable!("three pods were started") };
    cx.cluster.apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server", "namespace": cx.namespace},
        "spec": {"selector": {"name": "server"}, "ipFamilyPolicy": "RequireDualStack", "type": "NodePort",
            "ports": [{"port": 80, "targetPort": PORT, "nodePort": 30090}]},
    }))?;
    let service =
        cx.cluster.get(&["service", "server", "-n", &cx.namespace])?.context("there is no service")?;
    let services = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    let services: Vec<IpAddr> =
        services.into_iter().flatten().filter_map(|a| a.as_str()?.parse().ok()).collect();
    ensure!(
        services.len() == 2 && server.ips.len() == 2,
        "not both families: {services:?}, {:?}",
        server.ips
    );
    for to in server.addresses() {
        From::Pod(far).must_reach_as(cx, to, &far.ips)?;
        From::Pod(near).must_reach_as(cx, to, &near.ips)?;
        // What a node sends into a tunnel comes from the tunnel's address.
        let own = node(cx, 1)?;
        let seen = From::Node(1).must_reach(cx, to)?;
        ensure!(!own.contains(&seen), "{to} sees node1 as {seen}, outside of the tunnel");
    }
    for address in services {
        From::Pod(far).must_reach_as(cx, SocketAddr::new(address, 80), &far.ips)?;
        From::Node(1).must_reach(cx, SocketAddr::new(address, 80))?;
        for number in [1, 2] {
            for own in of_family(&node(cx, number)?, address) {
                From::World.must_reach(cx, SocketAddr::new(own, 30090))?;
            }
        }
    }
    let before = tunnelled(cx)?;
    let probes = Probe::all(far, server)?;
    for probe in &probes {
        probe.wait_for_more(10)?;
    }
    for probe in probes {
        probe.must_not_fail()?;
    }
    only_tunnels(cx)?;
    let after = tunnelled(cx)?;
    // Two kinds of probes in two families, ten attempts each, several packets per attempt.
    ensure!(after >= before + 100, "only {} packets in tunnels were seen", after - before);
    cx.kubectl(&["delete", "services", "--all"])?;
    Ok(())
}

/// Whether the fabric has seen packets in tunnels, and none of pods outside of them.
pub(super) fn only_tunnels(cx: &Context) -> Result<()> {
    for segment in SEGMENTS {
        for family in ["ipv4", "ipv6"] {
            let count = counter(cx, segment, family)?;
            ensure!(count == 0, "{segment} saw {count} packets of pods in {family} outside of tunnels");
        }
    }
    ensure!(tunnelled(cx)? > 0, "no packet was in a tunnel");
    Ok(())
}

fn tunnelled(cx: &Context) -> Result<u64> {
    SEGMENTS.iter().map(|segment| counter(cx, segment, "vxlan")).sum()
}

/// A counter of a segment: packets.
fn counter(cx: &Context, segment: &str, name: &str) -> Result<u64> {
    let command = ["exec", segment, "--", "nft", "-j", "list", "counter", "bridge", "lab", name];
    let text = cx.cluster.lab(&command)?;
    let answer: Value = serde_json::from_str(&text).context("nft prints no JSON")?;
    let all = answer.get("nftables").and_then(Value::as_array);
    let found = all.into_iter().flatten().find_map(|o| o.pointer("/counter/packets")?.as_u64());
    found.with_context(|| format!("{segment} has no counter {name}: {text}"))
}
