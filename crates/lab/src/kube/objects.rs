//! What a kubelet and controllers would write, where the lab stands in for them: nodes, the states of pods, the end of namespaces.

use super::client::Client;
use crate::fabric::NodeNet;
use crate::spec::Families;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tortie_net::{Cidr, Family};

/// How long a kubelet may take until its node is ready.
const PATIENCE: Duration = Duration::from_secs(40);

/// The API path of a node.
fn node_path(name: &str) -> String {
    format!("/api/v1/nodes/{name}")
}

/// The API path of a pod.
fn pod_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

impl Client {
    /// Makes a node known whose kubelet will say the rest, with the address ranges that a bridge gives its pods.
    pub(crate) async fn expect_node(&self, name: &str, ranges: &[Cidr]) -> anyhow::Result<()> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges},
        });
        self.create("/api/v1/nodes", &object).await?;
        Ok(())
    }

    /// Waits until a node's kubelet says that it is ready.
    pub(crate) async fn wait_node(&self, name: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let node = self.get(&node_path(name)).await?.unwrap_or_default();
            let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
            let ready =
                conditions.into_iter().flatten().find(|c| c.get("type").is_some_and(|t| t == "Ready"));
            if ready.is_some_and(|c| c.get("status").is_some_and(|s| s == "True")) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let said = ready.and_then(|c| c.get("message")).and_then(Value::as_str);
                bail!(
                    "{name} is not ready after {} s: {}",
                    PATIENCE.as_secs(),
                    said.unwrap_or("its kubelet is silent")
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Registers a node that is ready, as its kubelet would.
    pub(crate) async fn register_node(&self, node: &NodeNet, families: Families) -> anyhow::Result<()> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name, "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
            }},
        });
        self.create("/api/v1/nodes", &object).await?;
        let addresses: Vec<Value> = node
            .addresses
            .iter()
            .filter(|a| families.has(Family::of(a.addr)))
            .map(|a| json!({"type": "InternalIP", "address": a.addr}))
            .chain([json!({"type": "Hostname", "address": node.name})])
            .collect();
        let capacity = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
        let status = json!({"status": {
            "addresses": addresses,
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "LabReady",
                "message": "the lab runs this node",
                "lastHeartbeatTime": null,
                "lastTransitionTime": null,
            }],
            "nodeInfo": {
                "architecture": std::env::consts::ARCH, "bootID": "", "containerRuntimeVersion": "lab://0",
                "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "v0.0.0-lab", "machineID": "",
                "operatingSystem": "linux", "osImage": "tortie lab", "systemUUID": "",
            },
        }});
        let path = format!("{}/status", node_path(&node.name));
        self.patch(&path, &status).await.with_context(|| format!("cannot register {}", node.name))?;
        Ok(())
    }

    /// Tells that a pod runs with these addresses.
    pub(crate) async fn pod_runs(
        &self,
        namespace: &str,
        name: &str,
        node: IpAddr,
        addresses: &[IpAddr],
    ) -> anyhow::Result<()> {
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": null});
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
        let all: Vec<Value> = addresses.iter().map(|a| json!({"ip": a})).collect();
        let status = json!({"status": {
            "phase": "Running",
            "hostIP": node,
            "hostIPs": [{"ip": node}],
            "podIP": addresses.first(),
            "podIPs": all,
            "conditions": conditions,
        }});
        let path = format!("{}/status", pod_path(namespace, name));
        self.patch(&path, &status).await?;
        Ok(())
    }

    /// Removes a pod whose containers have ended, as its kubelet would.
    pub(crate) async fn pod_is_gone(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        self.delete(&pod_path(namespace, name)).await
    }

    /// Lets go of a namespace that is being deleted and empty, as the namespace controller would.
    pub(crate) async fn finish_namespace(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{name}");
        let Some(mut object) = self.get(&path).await? else { return Ok(()) };
        if object.pointer("/metadata/deletionTimestamp").is_none() {
            return Ok(());
        }
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("finalizers".to_owned(), json!([]));
        }
        self.put(&format!("{path}/finalize"), &object).await?;
        Ok(())
    }
}
