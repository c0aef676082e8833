//! The condition by which the Kubernetes node tells its scheduler that pods have a network here.

use crate::attach::chain;
use crate::config::Config;
use crate::startup::Started;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_store::StoreError;
use tortie_store_kube::KubeStore;

/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long the end of the agent may wait for it.
const LAST: Duration = Duration::from_secs(2);

/// Writes the condition when the node is ready for the first time.
pub(crate) fn spawn(
    kube: Arc<KubeStore>,
    config: Arc<Config>,
    mut in_sync: watch::Receiver<bool>,
    mut started: watch::Receiver<Started>,
) {
    tokio::spawn(async move {
        if in_sync.wait_for(|s| *s).await.is_err() || started.wait_for(|s| s.problem.is_none()).await.is_err()
        {
            return;
        }
        while let Err(error) = write(&kube, &config, false).await {
            tracing::warn!(error = %chain(&error), "the node's NetworkUnavailable condition cannot be written; trying again");
            tokio::time::sleep(RETRY).await;
        }
        tracing::info!("the node's network is available");
    });
}

/// Takes it back when the agent is told to stop.
pub(crate) async fn stopped(kube: &KubeStore, config: &Config) {
    match tokio::time::timeout(LAST, write(kube, config, true)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "the node's condition cannot say that the agent is gone");
        }
        Err(_) => tracing::warn!("the node's condition cannot say that the agent is gone: no answer"),
    }
}

async fn write(kube: &KubeStore, config: &Config, unavailable: bool) -> Result<(), StoreError> {
    kube.set_node_condition(
        config.start.node.kubernetes_name(),
        &tortie_cluster::network_condition(unavailable),
    )
    .await
}
