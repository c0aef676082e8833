//! Breaking things on purpose, in the words of scenarios.

use crate::lab::Lab;
use anyhow::{Context as _, anyhow, bail};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A fault, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; the agent stays dead until `restart-agent`.
    KillAgent(usize),
    /// SIGKILL if it runs, then start.
    RestartAgent(usize),
    /// SIGKILL; BIRD is started again at once.
    KillBird(usize),
    /// Pull the node's cable.
    Cut(usize),
    /// Plug it in again.
    Heal(usize),
    /// SIGKILL; the store is started again at once.
    KillStore,
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| {
            word.strip_prefix("node")
                .unwrap_or(word)
                .parse::<usize>()
                .with_context(|| format!("{word:?} is no node"))
        };
        Ok(match words.as_slice() {
            ["kill-agent", n] => Self::KillAgent(number(n)?),
            ["restart-agent", n] => Self::RestartAgent(number(n)?),
            ["kill-bird", n] => Self::KillBird(number(n)?),
            ["cut", n] => Self::Cut(number(n)?),
            ["heal", n] => Self::Heal(number(n)?),
            ["kill-store"] => Self::KillStore,
            _ => bail!(
                "{text:?} is no fault: expected kill-agent N, restart-agent N, kill-bird N, cut N, heal N or kill-store"
            ),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillAgent(n) => write!(f, "kill-agent {n}"),
            Self::RestartAgent(n) => write!(f, "restart-agent {n}"),
            Self::KillBird(n) => write!(f, "kill-bird {n}"),
            Self::Cut(n) => write!(f, "cut {n}"),
            Self::Heal(n) => write!(f, "heal {n}"),
            Self::KillStore => f.write_str("kill-store"),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_written_as_they_are_read() {
        for text in ["kill-agent 2", "restart-agent 1", "kill-bird 3", "cut 1", "heal 1", "kill-store"] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!("cut node3".parse::<Fault>().unwrap(), Fault::Cut(3));
        for bad in ["", "kill-agent", "kill-agent x", "explode 1", "kill-store 1"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
