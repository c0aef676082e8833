//! `tortie node shutdown`: tells the scheduler that pods have no network here any more.
//!
//! The agent does so itself when it is told to stop; this is for manifests that were written for calico/node.

use anyhow::{Context, Result};
use std::process::ExitCode;
use std::time::Duration;
use tortie_cluster::network_condition;
use tortie_store_kube::{KubeConfig, KubeStore};

/// Patience with the API server: what ends has little time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the command.
pub(super) fn run() -> Result<ExitCode> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let backend = given("CALICO_NETWORKING_BACKEND").unwrap_or_default();
    let kubernetes = given("DATASTORE_TYPE").is_some_and(|kind| kind.eq_ignore_ascii_case("kubernetes"));
    if backend.eq_ignore_ascii_case("none") || !kubernetes {
        // Then the condition is not ours.
        return Ok(ExitCode::SUCCESS);
    }
    let node = match given("CALICO_K8S_NODE_REF").or_else(|| given("NODENAME")) {
        Some(name) => name,
        None => std::fs::read_to_string("/var/lib/calico/nodename")
            .context("NODENAME is not set and nodename was not written down")?
            .trim()
            .to_owned(),
    };
    let mut config = KubeConfig::from_environment(&given)?;
    config.timeout = PATIENCE;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(async {
        let kube = KubeStore::connect(config).await.context("connect to the API server")?;
        kube.set_node_condition(&node, &network_condition(true)).await.context("write the node's condition")
    })?;
    Ok(ExitCode::SUCCESS)
}
