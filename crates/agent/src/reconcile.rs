//! What a restart has to catch up with: DELs that came meanwhile, and addresses of containers that are gone.

mod strange;

use crate::attach::owner::Owner;
use crate::attachers::Attachers;
use crate::config::{Config, Datastore};
use crate::journal;
use crate::leave::Removal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_agent_api::CniArgs;
use tortie_causes::chain;
use tortie_ipam::{HandleId, Ipam};
use tortie_store::{List, Store, StoreError};

const PODS: &str = "/tortie/kubernetes/pods/";
/// Calico's own records of workloads, in etcd.
const ENDPOINTS: &str = "/calico/resources/v3/projectcalico.org/workloadendpoints/";

/// How often addresses are compared with pods.
const INTERVAL: Duration = Duration::from_mins(5);

/// How soon it is tried again before the first comparison, which pods wait for.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// How soon a locked datastore is looked at again.
const LOCKED_PAUSE: Duration = Duration::from_secs(5);

/// A container of this node, as its pod's record tells.
pub(crate) struct Recorded {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container_id: String,
    pub(crate) ips: Vec<IpAddr>,
}

impl Recorded {
    /// The handle of its addresses.
    pub(crate) fn handle(&self) -> HandleId {
        HandleId::of_container("k8s-pod-network", &self.container_id)
    }

    /// As if the runtime called DEL.
    pub(crate) fn args(&self) -> CniArgs {
        CniArgs {
            container_id: self.container_id.clone(),
            ifname: "eth0".to_owned(),
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            network: "k8s-pod-network".to_owned(),
            ..CniArgs::default()
        }
    }
}

/// Starts the task: after the first complete apply, then at intervals. The answer becomes true when addresses were compared.
pub(crate) fn spawn(
    config: Arc<Config>,
    store: Arc<dyn Store>,
    ipam: Ipam,
    attachers: Arc<Attachers>,
    removal: watch::Receiver<Removal>,
    mut in_sync: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let (told, compared) = watch::channel(false);
    tokio::spawn(async move {
        if in_sync.wait_for(|s| *s).await.is_err() {
            return;
        }
        let mut strangers = BTreeSet::new();
        loop {
            if attachers.paused() || removal.borrow().is_some() {
                // Nothing may be written; what is due is done later.
                tokio::time::sleep(LOCKED_PAUSE).await;
                continue;
            }
            replay(&config, &attachers).await;
            strangers = match catch_up(&config, &*store, &ipam, &attachers, &strangers).await {
                Ok(strangers) => {
                    told.send_replace(true);
                    strangers
                }
                Err(error) => {
                    tracing::warn!(%error, "addresses and interfaces could not be compared with pods; trying again later");
                    BTreeSet::new()
                }
            };
            tokio::time::sleep(if *told.borrow() { INTERVAL } else { FIRST_PAUSE }).await;
        }
    });
    compared
}

async fn replay(config: &Config, attachers: &Attachers) {
    for (path, args) in journal::read(&config.lib_dir.join(journal::DIRECTORY)) {
        match attachers.get().del(&args).await {
            Ok(()) => {
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "a DEL that is done cannot be forgotten");
                }
            }
            Err(error) => {
                tracing::warn!(container = %args.container_id, error = %error.message, "a remembered DEL failed; trying again later");
            }
        }
    }
}

/// Releases addresses of containers that are gone, and removes their interfaces if they were seen `before`: a pod that was deleted by
/// force ends a little later than its record. Answers whose interfaces were seen now.
async fn catch_up(
    config: &Config,
    store: &dyn Store,
    ipam: &Ipam,
    attachers: &Attachers,
    before: &BTreeSet<Owner>,
) -> Result<BTreeSet<Owner>, String> {
    let attacher = attachers.get();
    // In this order: what is attached in between is on record.
    let named = attacher.strangers(|_| false).await.map_err(|e| e.message)?;
    let pods = compare(config, store, ipam).await?;
    let live: BTreeSet<&str> = pods.iter().map(|p| p.container_id.as_str()).collect();
    let strangers: BTreeSet<Owner> =
        named.into_iter().filter(|owner| !live.contains(owner.container.as_str())).collect();
    for owner in strangers.intersection(before) {
        if let Err(error) = attacher.sweep(owner).await {
            tracing::warn!(error = %error.message, "an interface of nobody stays; trying again later");
        }
    }
    Ok(strangers)
}

/// Compares addresses with pods; answers the containers of this node that hold any.
async fn compare(config: &Config, store: &dyn Store, ipam: &Ipam) -> Result<Vec<Recorded>, String> {
    let mark = ipam.mark().await.map_err(|e| chain(&e))?;
    let list = store.list(PODS).await.map_err(|e| chain(&e))?;
    let pods = in_list(&list, &config.node);
    let live: BTreeSet<HandleId> = pods.iter().map(Recorded::handle).collect();
    let mut in_use = BTreeSet::new();
    for pod in objects(&list) {
        in_use.extend(addresses_of_pod(&pod));
    }
    // In Kubernetes they are the pods once more.
    if config.datastore != Datastore::Kubernetes {
        let endpoints = store.list(ENDPOINTS).await.map_err(|e| chain(&e))?;
        for endpoint in objects(&endpoints) {
            in_use.extend(addresses_of_endpoint(&endpoint));
        }
    }
    let done = ipam.reconcile_sparing(mark, live, in_use).await.map_err(|e| chain(&e))?;
    strange::set_aside(store, ipam, &done.unrecorded).await.map_err(|e| chain(&e))?;
    tracing::debug!(outcome = ?done, "addresses compared with pods");
    Ok(pods)
}

/// Containers of this node that hold addresses.
pub(crate) async fn recorded(store: &dyn Store, node: &str) -> Result<Vec<Recorded>, StoreError> {
    Ok(in_list(&store.list(PODS).await?, node))
}

fn objects(list: &List) -> impl Iterator<Item = Value> {
    list.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok())
}

fn in_list(list: &List, node: &str) -> Vec<Recorded> {
    objects(list)
        .filter_map(|pod| {
            if pod.pointer("/spec/nodeName")?.as_str()? != node {
                return None;
            }
            let metadata = pod.get("metadata")?;
            let annotations = metadata.get("annotations")?;
            let annotation = |name: &str| annotations.get(name)?.as_str().filter(|v| !v.is_empty());
            let ips = annotation("cni.projectcalico.org/podIPs")?;
            Some(Recorded {
                namespace: metadata.get("namespace")?.as_str()?.to_owned(),
                pod: metadata.get("name")?.as_str()?.to_owned(),
                container_id: annotation("cni.projectcalico.org/containerID")?.to_owned(),
                ips: ips.split(',').filter_map(address).collect(),
            })
        })
        .collect()
}

/// Addresses that a pod has, by whatever plugin it got them: an older Calico left no container in the pod's record, and
/// other networks leave nothing but the status.
fn addresses_of_pod(pod: &Value) -> Vec<IpAddr> {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let finished = ["Succeeded", "Failed"].contains(&text("/status/phase"));
    let on_host = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
    if finished || on_host {
        return Vec::new();
    }
    let annotation = |name: &str| text(&format!("/metadata/annotations/cni.projectcalico.org~1{name}"));
    let emptied = pod.pointer("/metadata/annotations/cni.projectcalico.org~1podIPs");
    if emptied.and_then(Value::as_str) == Some("") {
        // DEL has been here; the status tells of what was.
        return Vec::new();
    }
    let recorded = annotation("podIPs").split(',').chain([annotation("podIP"), text("/status/podIP")]);
    let told = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
    let told = told.filter_map(|ip| ip.get("ip")?.as_str());
    recorded.chain(told).filter_map(address).collect()
}

/// Addresses of a workload endpoint, where Calico keeps such objects.
fn addresses_of_endpoint(endpoint: &Value) -> Vec<IpAddr> {
    let networks = endpoint.pointer("/spec/ipNetworks").and_then(Value::as_array).into_iter().flatten();
    networks.filter_map(|network| address(network.as_str()?)).collect()
}

/// An address, with or without a length.
fn address(text: &str) -> Option<IpAddr> {
    text.trim().split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(addresses: Vec<IpAddr>) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pods_addresses_are_in_its_record_or_in_its_status() {
        let pod = json!({
            "metadata": {"annotations": {"cni.projectcalico.org/podIPs": "10.0.0.1/32,fd00::1/128"}},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]},
        });
        assert_eq!(texts(addresses_of_pod(&pod)), ["10.0.0.1", "fd00::1", "10.0.0.2", "10.0.0.2", "fd00::2"]);
        for (path, value) in
            [("/status/phase", json!("Succeeded")), ("/spec", json!({"nodeName": "n1", "hostNetwork": true}))]
        {
            let mut other = pod.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert!(addresses_of_pod(&other).is_empty(), "{path}");
        }
        let mut deleted = pod.clone();
        deleted["metadata"]["annotations"]["cni.projectcalico.org/podIPs"] = json!("");
        assert!(addresses_of_pod(&deleted).is_empty(), "the status is slower than DEL");
        assert!(addresses_of_pod(&json!({"spec": {"nodeName": "n1"}})).is_empty());
    }

    #[test]
    fn an_endpoints_addresses_are_its_networks() {
        let endpoint = json!({"spec": {"node": "n1", "ipNetworks": ["10.0.0.1/32", "fd00::1/128", "?"]}});
        assert_eq!(texts(addresses_of_endpoint(&endpoint)), ["10.0.0.1", "fd00::1"]);
    }
}
