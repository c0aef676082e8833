//! A real node that loses its power: processes, interfaces, routes, packet filters and control groups are gone, files are not.

use super::cgroups;
use crate::fabric::Fabric;
use crate::lab::Lab;
use crate::process::in_netns;
use anyhow::{Context as _, anyhow, bail};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_kernel_net::NetNs;

/// How long the kernel may take to end a node's processes.
const PATIENCE: Duration = Duration::from_secs(10);

impl Lab {
    /// Ends all of a real node at once, and starts it as after a power failure.
    pub(crate) async fn lose_power(self: &Arc<Self>, number: usize) -> anyhow::Result<()> {
        let node = Arc::clone(self.node(&number.to_string())?);
        let Some(real) = self.kubelets.iter().find(|k| k.space.node == node.name()) else {
            bail!(
                "{} is a network namespace and nothing else: only real nodes (`lab up --kubernetes`) can lose power",
                node.name()
            );
        };
        let first = real.space.first_process()?;
        // The first of them is the node's namespaces: with it goes all that runs there. The others must not come back before all
        // is gone.
        for (_, process) in &real.processes {
            process.kill(true).await;
        }
        for (_, process) in node.processes() {
            process.kill(true).await;
        }
        wait_for_end(first).await?;
        real.space.forget();
        let name = node.name().to_owned();
        clear_run(&node.dir().join("run")).with_context(|| format!("cannot clear {name}"))?;
        let netns = node.netns.clone();
        let (lab, of) = (self.spec.name.clone(), name.clone());
        tokio::task::spawn_blocking(move || cgroups::renew(&lab, &of).and_then(|()| Fabric::clear(&netns)))
            .await
            .map_err(|e| anyhow!("{e}"))?
            .with_context(|| format!("cannot clear {name}"))?;
        flush_filters(&node.netns).await.with_context(|| format!("cannot clear {name}"))?;
        for (_, process) in &real.processes {
            process.resume().await;
        }
        for (_, process) in node.processes() {
            process.resume().await;
        }
        Ok(())
    }
}

/// Waits until a process has ended; the kernel ends a namespace's first process last.
async fn wait_for_end(process: i32) -> anyhow::Result<()> {
    let path = format!("/proc/{process}");
    let deadline = Instant::now() + PATIENCE;
    while Path::new(&path).exists() {
        if Instant::now() >= deadline {
            bail!("process {process} does not end");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// `/run` of a machine is empty when it starts.
fn clear_run(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Removes everybody's packet filters: kube-proxy's, too.
async fn flush_filters(netns: &NetNs) -> anyhow::Result<()> {
    let flushed = in_netns(netns, || {
        tokio::process::Command::new("nft")
            .args(["flush", "ruleset"])
            .env("PATH", crate::process::PATH)
            .stdin(std::process::Stdio::null())
            .output()
    })
    .await?;
    let output = flushed.await.context("nft cannot be run")?;
    if output.status.success() {
        return Ok(());
    }
    Err(anyhow!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned())).context("nft flush ruleset")
}
