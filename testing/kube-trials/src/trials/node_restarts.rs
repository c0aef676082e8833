//! A node loses its power: its pods come back in new sandboxes, what the old ones held is released, and no pod talks before its
//! policy is enforced.

use crate::pods::{Pod, start_all};
use crate::{Context, Shape, Trial, leaks, wait};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

pub(crate) const TRIAL: Trial = Trial {
    name: "node-restarts",
    about: "a node starts again with its pods: new sandboxes, old addresses released, policy before the first packet",
    shape: Shape::LEAN,
    run,
};

fn run(cx: &mut Context) -> Result<()> {
    let server = cx.pod("server").server().on(2).start()?;
    cx.cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "prison", "namespace": cx.namespace},
        "spec": {"podSelector": {"matchLabels": {"kept": "in"}}, "policyTypes": ["Egress"]},
    }))?;
    // From their first moment on they try; the log tells.
    let tries = server
        .addresses()
        .iter()
        .map(|to| format!("nc -z -w 1 {} {} && echo reached {to}", to.ip(), to.port()))
        .collect::<Vec<_>>()
        .join("; ");
    let script = format!("echo tried; while :; do {tries}; sleep 0.1; done");
    let specs = [
        cx.pod("prisoner").label("kept", "in").script(&script).on(1),
        cx.pod("free").script(&script).on(1),
        cx.pod("listens").server().on(1),
        cx.pod("ends").script("sleep 2").with("/spec/restartPolicy", json!("Never")).on(1),
    ];
    let before = start_all(cx, specs.split_last().map_or(&[], |(_, running)| running))?;
    specs.iter().try_for_each(|ends| ends.create())?;
    wait::until_true("a pod to end by itself", wait::seconds(60), || {
        let pod = crate::pods::get(cx, "ends")?.unwrap_or_default();
        Ok(pod.pointer("/status/phase").and_then(|p| p.as_str()) == Some("Succeeded"))
    })?;
    let peer = cx.pod("peer").on(2).start()?;
    for round in 0..2 {
        cx.say(&format!("node1 loses its power{}", if round > 0 { ", once more" } else { "" }));
        let boots = boots(cx, &before)?;
        cx.cluster.fault("restart-node 1")?;
        wait::until_true("the node's pods to run again", wait::seconds(120), || {
            let now = self::boots(cx, &before)?;
            Ok(now.iter().zip(&boots).all(|(now, then)| now > then))
        })?;
        let after: Vec<Pod> = before.iter().map(|p| Pod::ready(cx, &p.name)).collect::<Result<_>>()?;
        for (pod, old) in after.iter().zip(&before) {
            ensure!(pod.uid == old.uid, "{} is another pod now", pod.name);
        }
        let listens = after.last().context("three pods run")?;
        for to in listens.addresses() {
            wait::until_true(&format!("{to} to answer"), wait::seconds(30), || peer.reaches(to))?;
        }
        wait::until_true("the free pod to reach the server by both families", wait::seconds(30), || {
            let log = cx.kubectl(&["logs", "free"])?;
            Ok(server.addresses().iter().all(|to| log.contains(&format!("reached {to}"))))
        })?;
        let log = cx.kubectl(&["logs", "prisoner"])?;
        ensure!(log.contains("tried"), "the prisoner has not tried: {log}");
        ensure!(!log.contains("reached"), "the prisoner talked before its policy was enforced: {log}");
        leaks::none(&cx.cluster)?;
    }
    Ok(())
}

/// How often the pods' containers were started again.
fn boots(cx: &Context, pods: &[Pod]) -> Result<Vec<u64>> {
    pods.iter()
        .map(|pod| {
            let object = crate::pods::get(cx, &pod.name)?.unwrap_or_default();
            let count = object.pointer("/status/containerStatuses/0/restartCount");
            count.and_then(|c| c.as_u64()).with_context(|| format!("{} has no container", pod.name))
        })
        .collect()
}
