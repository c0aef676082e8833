//! Installed again where pods of before still run: their addresses are taken again before anybody else gets them, and
//! before their nodes' blocks are missed.
//!
//! A removal takes the blocks along, but not the pods' annotations, which say who has which address. Every agent that
//! starts on a node that was removed writes down all of them, also those of other nodes: the first does the work, the
//! others find it done.

use crate::startup::Started;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_causes::chain;
use tortie_ipam::{AssignError, AssignRequest, Counts, HandleId, Ipam};
use tortie_store::Store;

/// Pause before a failure is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long the pools are waited for; without them there is nothing to take addresses from.
const POOLS: Duration = Duration::from_secs(30);

/// A pod with addresses.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    namespace: String,
    name: String,
    container: String,
    addresses: Vec<IpAddr>,
}

/// Takes the addresses of all running pods, as long as that needs.
pub(crate) async fn restore(store: Arc<dyn Store>, node: &str, mut started: watch::Receiver<Started>) {
    tracing::info!(
        "this network was removed and is installed again: pods that still run keep their addresses"
    );
    let pools = started.wait_for(|started| started.problem.is_none());
    if !matches!(tokio::time::timeout(POOLS, pools).await, Ok(Ok(_))) {
        tracing::warn!("the node is not ready yet; addresses of running pods are not taken");
        return;
    }
    while let Err(error) = take(&store, node).await {
        tracing::warn!(error, "addresses of running pods cannot be taken yet; trying again");
        tokio::time::sleep(RETRY).await;
    }
}

async fn take(store: &Arc<dyn Store>, node: &str) -> Result<(), String> {
    let list = store.list("/tortie/kubernetes/pods/").await.map_err(|e| chain(&e))?;
    let mut nodes: BTreeMap<String, Vec<Holder>> = BTreeMap::new();
    for entry in &list.entries {
        let pod: Option<Value> = serde_json::from_slice(&entry.value).ok();
        if let Some((node, holder)) = pod.as_ref().and_then(holder) {
            nodes.entry(node).or_default().push(holder);
        }
    }
    // Own ones first: others begin with theirs, and nobody is in the way of another.
    let mut order: Vec<(String, Vec<Holder>)> = nodes.into_iter().collect();
    order.sort_by_key(|(name, _)| name != node);
    let mut taken = 0;
    for (node, holders) in order {
        let ipam = Ipam::new(store.clone(), node.clone());
        for holder in holders {
            match ipam.assign(request(&node, &holder)).await {
                Ok(_) => taken += 1,
                Err(AssignError::Datastore(error)) if error.is_transient() => return Err(chain(&error)),
                Err(error) => {
                    let pod = format!("{}/{}", holder.namespace, holder.name);
                    tracing::warn!(pod, addresses = ?holder.addresses, error = %chain(&error),
                        "a running pod has an address that cannot be taken for it; delete the pod, or make a pool of its network");
                }
            }
        }
    }
    tracing::info!(pods = taken, "addresses of running pods are taken");
    Ok(())
}

/// A pod that runs, with the node on which it does.
fn holder(pod: &Value) -> Option<(String, Holder)> {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).map(str::to_owned);
    if matches!(text("/status/phase").as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let annotations = pod.pointer("/metadata/annotations")?;
    let annotation = |name: &str| annotations.get(name)?.as_str().filter(|text| !text.is_empty());
    let addresses = annotation("cni.projectcalico.org/podIPs")?.split(',');
    let addresses: Vec<IpAddr> =
        addresses.filter_map(|text| text.split('/').next()?.trim().parse().ok()).collect();
    let holder = Holder {
        namespace: text("/metadata/namespace")?,
        name: text("/metadata/name")?,
        container: annotation("cni.projectcalico.org/containerID")?.to_owned(),
        addresses,
    };
    (!holder.addresses.is_empty()).then_some((text("/spec/nodeName")?, holder))
}

fn request(node: &str, holder: &Holder) -> AssignRequest {
    let handle = HandleId::of_container("k8s-pod-network", &holder.container);
    let of = |v4: bool| holder.addresses.iter().filter(|a| a.is_ipv4() == v4).count();
    AssignRequest {
        counts: Counts { v4: of(true), v6: of(false) },
        wanted: holder.addresses.clone(),
        ..AssignRequest::for_pod(handle, node, &holder.namespace, &holder.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(phase: &str, ips: &str) -> Value {
        json!({
            "metadata": {"namespace": "shop", "name": "web", "annotations": {
                "cni.projectcalico.org/podIPs": ips, "cni.projectcalico.org/containerID": "c1",
            }},
            "spec": {"nodeName": "n1"},
            "status": {"phase": phase},
        })
    }

    #[test]
    fn who_has_which_address() {
        let (node, found) = holder(&pod("Running", "10.65.0.1/32,fd65::1/128")).unwrap();
        assert_eq!(node, "n1");
        let request = request(&node, &found);
        assert_eq!(request.wanted, ["10.65.0.1", "fd65::1"].map(|a| a.parse::<IpAddr>().unwrap()));
        assert_eq!((request.counts, request.handle), (Counts { v4: 1, v6: 1 }, "k8s-pod-network.c1".into()));
        assert_eq!(holder(&pod("Succeeded", "10.65.0.1/32")), None, "it has no interface any more");
        assert_eq!(holder(&pod("Running", "")), None);
        assert_eq!(holder(&json!({"metadata": {"name": "host"}, "spec": {"nodeName": "n1"}})), None);
    }
}
