//! What can go wrong between a request and the kernel's answer.
//!
//! Each kind of object has its error type ([`LinkError`], [`RouteError`], ...), all of the same shape: what was being done,
//! to which object, and why it failed.

use std::fmt::{self, Debug, Display};
use std::io;

use nix::errno::Errno;

use crate::{Address, LinkRef, Neighbour, Route, Rule};

/// The kernel's refusal of one request: the error number and, where the kernel gives one, its explanation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KernelError {
    /// The error number.
    pub errno: Errno,
    /// The text of the extended acknowledgement.
    pub message: Option<String>,
}

impl Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The descriptions are sentences ("No such device"); our messages are lower case.
        let description = self.errno.desc();
        let mut chars = description.chars();
        if let Some(first) = chars.next() {
            write!(f, "{}{}", first.to_lowercase(), chars.as_str())?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {}", message.trim_end_matches('.'))?;
        }
        Ok(())
    }
}

/// The conversation with the kernel itself failed: nothing is known about the requests that were not yet answered.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The request could not be sent.
    #[error("cannot send a netlink request")]
    Send(#[source] io::Error),
    /// The answer could not be received.
    #[error("cannot receive a netlink answer")]
    Receive(#[source] io::Error),
    /// The receive buffer overflowed, answers are lost.
    #[error("netlink answers were lost because the receive buffer is full")]
    Overrun,
    /// The kernel's answer does not follow the protocol as we know it.
    #[error("malformed netlink answer: {0}")]
    Malformed(String),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The kernel was not reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl RequestError {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel(e) => Some(e.errno),
            Self::Transport(_) => None,
        }
    }
}

/// What was being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a new object.
    Add,
    /// Make a new object or overwrite the one with the same key.
    Replace,
    /// Change an existing object.
    Change,
    /// Remove an object.
    Delete,
    /// Look an object up.
    Get,
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Get => "look up",
        })
    }
}

/// An operation on one object failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}")]
pub struct Failed<T: Debug + Display> {
    /// What was being done.
    pub action: Action,
    /// The object as it was requested.
    pub object: Box<T>,
    /// Why it failed.
    #[source]
    pub source: RequestError,
}

/// An operation on an interface failed.
pub type LinkError = Failed<LinkRef>;
/// An operation on an address failed.
pub type AddressError = Failed<Address>;
/// An operation on a route failed.
pub type RouteError = Failed<Route>;
/// An operation on a neighbour entry failed.
pub type NeighbourError = Failed<Neighbour>;
/// An operation on a policy rule failed.
pub type RuleError = Failed<Rule>;

impl<T: Debug + Display> Failed<T> {
    pub(crate) fn new(action: Action, object: T, source: impl Into<RequestError>) -> Self {
        Self { action, object: Box::new(object), source: source.into() }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        self.source.errno()
    }

    /// Whether the object is there already.
    pub fn exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether the object (or the interface that it needs) is not there.
    pub fn is_missing(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL | Errno::ENXIO)
        )
    }
}

/// A listing failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {what}")]
pub struct DumpError {
    /// What was being listed.
    pub what: &'static str,
    /// Why it failed.
    #[source]
    pub source: RequestError,
}
