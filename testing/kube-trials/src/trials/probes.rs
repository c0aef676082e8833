//! Probes of the kubelet come from the pod's own node and pass whatever policies say.

use crate::pods::{PORT, get, start_all};
use crate::{Context, Shape, Trial, wait};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(crate) const BOTH: Trial = Trial {
    name: "probes",
    about: "HTTP, TCP, gRPC and exec probes pass although policies forbid everything",
    shape: Shape::LEAN,
    run,
};

pub(crate) const IPV6: Trial = Trial {
    name: "probes-ipv6",
    about: "the same in a cluster of IPv6 alone: kubelets probe a pod's first address",
    shape: Shape { flags: &["--families", "ipv6"], ..Shape::LEAN },
    run,
};

/// How long probes must go on passing: several of each kind.
const TIME: Duration = wait::seconds(8);

fn run(cx: &mut Context) -> Result<()> {
    cx.cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "nothing", "namespace": cx.namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }))?;
    let with = |name: &str, args: Value, probe: Value| {
        let mut probe = probe;
        if let Some(fields) = probe.as_object_mut() {
            fields.insert("periodSeconds".to_owned(), json!(1));
            fields.insert("failureThreshold".to_owned(), json!(5));
        }
        let container = "/spec/containers/0";
        let spec = cx.pod(name).with(&format!("{container}/args"), args);
        ["startupProbe", "livenessProbe", "readinessProbe"]
            .iter()
            .fold(spec, |spec, kind| spec.with(&format!("{container}/{kind}"), probe.clone()))
    };
    let netexec = json!(["netexec", format!("--http-port={PORT}")]);
    let pods = [
        with("http", netexec.clone(), json!({"httpGet": {"path": "/hostname", "port": PORT}})),
        with("tcp", netexec.clone(), json!({"tcpSocket": {"port": PORT}})),
        with("grpc", json!(["grpc-health-checking"]), json!({"grpc": {"port": 5000}})),
        with("exec", netexec, json!({"exec": {"command": ["true"]}})),
    ];
    let started = start_all(cx, &pods)?;
    let stranger = cx.pod("stranger").on(2).start()?;
    let began = Instant::now();
    while began.elapsed() < TIME {
        for pod in &started {
            let object = get(cx, &pod.name)?.unwrap_or_default();
            let state = object.pointer("/status/containerStatuses/0").cloned().unwrap_or_default();
            let restarts = state.get("restartCount").and_then(Value::as_u64);
            if restarts != Some(0) || state.get("ready") != Some(&json!(true)) {
                bail!("the kubelet does not reach pod {}: {state}", pod.name);
            }
        }
    }
    // The policy is in force: only the kubelet passes.
    for pod in started.iter().filter(|p| ["http", "tcp"].contains(&p.name.as_str())) {
        ensure!(!pod.ips.is_empty(), "{} has no address", pod.name);
        stranger.must_reach(pod, false)?;
    }
    Ok(())
}
