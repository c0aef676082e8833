//! What a restart has to catch up with: DELs that came meanwhile, and addresses of containers that are gone.

use crate::attach::chain;
use crate::attachers::Attachers;
use crate::config::Config;
use crate::journal;
use crate::leave::Removal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_agent_api::CniArgs;
use tortie_ipam::{HandleId, Ipam};
use tortie_store::{Store, StoreError};

/// How often addresses are compared with pods.
const INTERVAL: Duration = Duration::from_mins(5);

/// How soon a locked datastore is looked at again.
const LOCKED_PAUSE: Duration = Duration::from_secs(5);

/// A container of this node, as its pod's record tells.
pub(crate) struct Recorded {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container_id: String,
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

/// Starts the task: after the first complete apply, then at intervals.
pub(crate) fn spawn(
    config: Arc<Config>,
    store: Arc<dyn Store>,
    ipam: Ipam,
    attachers: Arc<Attachers>,
    removal: watch::Receiver<Removal>,
    mut in_sync: watch::Receiver<bool>,
) {
    tokio::spawn(async move {
        if in_sync.wait_for(|s| *s).await.is_err() {
            return;
        }
        loop {
            if attachers.paused() || removal.borrow().is_some() {
                // Nothing may be written; what is due is done later.
                tokio::time::sleep(LOCKED_PAUSE).await;
                continue;
            }
            replay(&config, &attachers).await;
            if let Err(error) = compare(&config, &*store, &ipam).await {
                tracing::warn!(%error, "addresses could not be compared with pods; trying again later");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
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

async fn compare(config: &Config, store: &dyn Store, ipam: &Ipam) -> Result<(), String> {
    let mark = ipam.mark().await.map_err(|e| chain(&e))?;
    let pods = recorded(store, &config.node).await.map_err(|e| chain(&e))?;
    let live: BTreeSet<HandleId> = pods.iter().map(Recorded::handle).collect();
    let done = ipam.reconcile(mark, live).await.map_err(|e| chain(&e))?;
    tracing::debug!(outcome = ?done, "addresses compared with pods");
    Ok(())
}

/// Containers of this node that hold addresses.
pub(crate) async fn recorded(store: &dyn Store, node: &str) -> Result<Vec<Recorded>, StoreError> {
    let list = store.list("/tortie/kubernetes/pods/").await?;
    Ok(list
        .entries
        .iter()
        .filter_map(|entry| {
            let pod: Value = serde_json::from_slice(&entry.value).ok()?;
            if pod.pointer("/spec/nodeName")?.as_str()? != node {
                return None;
            }
            let metadata = pod.get("metadata")?;
            let annotations = metadata.get("annotations")?;
            let annotation = |name: &str| annotations.get(name)?.as_str().filter(|v| !v.is_empty());
            annotation("cni.projectcalico.org/podIPs")?;
            Some(Recorded {
                namespace: metadata.get("namespace")?.as_str()?.to_owned(),
                pod: metadata.get("name")?.as_str()?.to_owned(),
                container_id: annotation("cni.projectcalico.org/containerID")?.to_owned(),
            })
        })
        .collect())
}
