//! Waiting until every node enforces what was written.

use crate::lab::Lab;
use crate::node::Node;
use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tortie_agent_api::{Request, Response};

/// How long nodes may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Lab {
    /// Waits until the kernel of every node whose agent is meant to run and that is not cut off enforces `revision`.
    pub(crate) async fn wait_enforced(&self, revision: u64) -> anyhow::Result<()> {
        let nodes = self.nodes.iter().filter(|n| n.has_agent() && self.fabric.is_connected(n.name()));
        let waits = join_all(nodes.map(|n| wait_for(n, revision, self.all_connected()))).await;
        waits.into_iter().collect()
    }

    /// Nodes that nobody waits for.
    pub(crate) fn absent(&self) -> Vec<String> {
        let away = |n: &&std::sync::Arc<Node>| !n.has_agent() || !self.fabric.is_connected(n.name());
        self.nodes.iter().filter(away).map(|n| n.name().to_owned()).collect()
    }

    /// Routes to a node that is cut off go away, rightly.
    fn all_connected(&self) -> bool {
        self.nodes.iter().all(|n| self.fabric.is_connected(n.name()))
    }
}

async fn wait_for(node: &Node, revision: u64, routes: bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let request = Request::WaitEnforced { revision, timeout_ms: left.as_millis() as u64, routes };
        let last = match tokio::time::timeout(left + Duration::from_secs(1), node.ask(&request)).await {
            Ok(Ok(Response::Enforced { reached: true, .. })) => return Ok(()),
            Ok(Ok(Response::Enforced { revision: at, missing_routes, .. })) => {
                let missing = if missing_routes.is_empty() {
                    String::new()
                } else {
                    format!(", without routes to {}", missing_routes.join(", "))
                };
                anyhow::anyhow!("{} enforces revision {at} of {revision}{missing}", node.name())
            }
            Ok(Ok(Response::Error(e))) => anyhow::anyhow!("{}: {}", node.name(), e.message),
            Ok(Ok(other)) => anyhow::anyhow!("{} answered {other:?}", node.name()),
            // The agent may just be starting.
            Ok(Err(e)) => e,
            Err(_) => anyhow::anyhow!("{} does not answer", node.name()),
        };
        if Instant::now() >= deadline {
            let why = match node.status().await {
                Ok(status) => {
                    status.reasons.into_iter().chain(status.warnings).collect::<Vec<_>>().join("; ")
                }
                Err(_) => node.last_words(),
            };
            return Err(
                last.context(format!("the change is not in force after {} s ({why})", PATIENCE.as_secs()))
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Node {
    /// Waits until the agent is ready and every BGP session stands.
    pub(crate) async fn wait_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = match self.status().await {
                Ok(status) => {
                    let down: Vec<&str> =
                        status.bgp.iter().filter(|s| s.state != "up").map(|s| s.name.as_str()).collect();
                    if status.ready && down.is_empty() && (!self.speaks_bgp() || !status.bgp.is_empty()) {
                        return Ok(());
                    }
                    if down.is_empty() {
                        format!("{}; {}", status.sync, status.reasons.join("; "))
                    } else {
                        format!("BGP sessions are not up: {}", down.join(", "))
                    }
                }
                Err(e) => format!("{e:#}"),
            };
            if Instant::now() >= deadline {
                let words = self.last_words();
                bail!("{} is not ready after {} s: {state}\n  {words}", self.name(), PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Lab {
    /// Waits until all nodes are ready.
    pub(crate) async fn wait_ready(&self) -> anyhow::Result<()> {
        let waits = join_all(self.nodes.iter().map(|n| n.wait_ready())).await;
        waits.into_iter().collect::<anyhow::Result<()>>().context("the nodes do not come up")
    }
}
