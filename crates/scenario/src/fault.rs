//! Breaking things on purpose, in words.

use std::fmt;
use std::str::FromStr;

/// A fault, or its end. Nodes are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
    /// The node loses its power and starts again.
    RestartNode(usize),
}

/// Text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no fault: expected kill-agent N, restart-agent N, kill-bird N, cut N, heal N, kill-store or restart-node N"
)]
pub struct FaultParseError {
    text: String,
}

impl Fault {
    /// The node it happens to.
    pub fn node(self) -> Option<usize> {
        match self {
            Self::KillAgent(n)
            | Self::RestartAgent(n)
            | Self::KillBird(n)
            | Self::Cut(n)
            | Self::Heal(n)
            | Self::RestartNode(n) => Some(n),
            Self::KillStore => None,
        }
    }
}

impl FromStr for Fault {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        let err = || FaultParseError { text: text.to_owned() };
        let words: Vec<&str> = text.split_whitespace().collect();
        let number =
            |word: &str| word.strip_prefix("node").unwrap_or(word).parse::<usize>().map_err(|_| err());
        Ok(match words.as_slice() {
            ["kill-agent", n] => Self::KillAgent(number(n)?),
            ["restart-agent", n] => Self::RestartAgent(number(n)?),
            ["kill-bird", n] => Self::KillBird(number(n)?),
            ["cut", n] => Self::Cut(number(n)?),
            ["heal", n] => Self::Heal(number(n)?),
            ["kill-store"] => Self::KillStore,
            ["restart-node", n] => Self::RestartNode(number(n)?),
            _ => return Err(err()),
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
            Self::RestartNode(n) => write!(f, "restart-node {n}"),
        }
    }
}
