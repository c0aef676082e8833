//! Breaking things on purpose, in the words of scenarios.

use crate::lab::Lab;
use anyhow::anyhow;
use std::sync::Arc;
use tortie_scenario::Fault;

impl Lab {
    /// Makes it happen; answers in words what was done.
    pub(crate) async fn fault(self: &Arc<Self>, fault: Fault) -> anyhow::Result<String> {
        match fault {
            Fault::KillAgent(n) => {
                self.node(&n.to_string())?.agent()?.kill(true).await;
                Ok(format!("the agent of node{n} is dead and stays so until `restart-agent {n}`"))
            }
            Fault::RestartAgent(n) => {
                let agent = self.node(&n.to_string())?.agent()?;
                agent.kill(true).await;
                agent.resume().await;
                Ok(format!("the agent of node{n} was killed and starts again"))
            }
            Fault::KillBird(n) if !self.node(&n.to_string())?.speaks_bgp() => {
                Ok(format!("node{n} has no BIRD that could be killed: the lab is without BGP"))
            }
            Fault::KillBird(n) => {
                self.node(&n.to_string())?.bird()?.kill(false).await;
                Ok(format!("BIRD of node{n} was killed and starts again"))
            }
            Fault::Cut(n) => {
                self.connect(n, false).await?;
                Ok(format!("node{n} is cut off"))
            }
            Fault::Heal(n) => {
                self.connect(n, true).await?;
                Ok(format!("node{n} is joined again"))
            }
            Fault::KillStore => {
                self.store.process.kill(false).await;
                Ok("the store was killed and starts again".to_owned())
            }
            Fault::RestartNode(n) => {
                self.lose_power(n).await?;
                Ok(format!("node{n} lost all that it did not have on a disk, and starts again"))
            }
        }
    }

    async fn connect(self: &Arc<Self>, number: usize, connected: bool) -> anyhow::Result<()> {
        let node = Arc::clone(self.node(&number.to_string())?);
        let lab = Arc::clone(self);
        tokio::task::spawn_blocking(move || lab.fabric.set_connected(&node.net, connected))
            .await
            .map_err(|e| anyhow!("{e}"))?
    }
}
