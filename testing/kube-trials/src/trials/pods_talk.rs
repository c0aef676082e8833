//! Pods reach each other, on one node and across nodes, until a policy forbids it.

use crate::{Context, Shape, Trial, probe::Probe, wait};
use anyhow::{Result, ensure};
use serde_json::json;

pub(crate) const TRIAL: Trial = Trial {
    name: "pods-talk",
    about: "pods reach each other in both families, on a node and across nodes, until a policy forbids it",
    shape: Shape::LEAN,
    run,
};

fn run(cx: &mut Context) -> Result<()> {
    let pods = crate::pods::start_all(
        cx,
        &[cx.pod("server").server().on(1), cx.pod("near").on(1), cx.pod("far").on(2)],
    )?;
    let [server, near, far] = pods.as_slice() else { unreachable!("three pods were started") };
    ensure!(server.ips.len() == 2, "the server has {:?}, not an address of each family", server.ips);
    for client in [near, far] {
        for to in server.addresses() {
            wait::until_true(&format!("{} to reach {to}", client.name), wait::seconds(20), || {
                client.reaches(to)
            })?;
        }
    }
    let probes = [Probe::all(near, server)?, Probe::all(far, server)?];
    for probe in probes.iter().flatten() {
        probe.wait_for_more(10)?;
    }
    for probe in probes.into_iter().flatten() {
        probe.must_not_fail()?;
    }
    cx.cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "none", "namespace": cx.namespace},
        "spec": {"podSelector": {"matchLabels": {"name": "server"}}, "policyTypes": ["Ingress"]},
    }))?;
    for client in [near, far] {
        for to in server.addresses() {
            wait::until_true(&format!("{} to be refused at {to}", client.name), wait::seconds(20), || {
                Ok(!client.reaches(to)?)
            })?;
        }
    }
    Ok(())
}
