//! What a scenario comes to: what to do and what to expect, with nothing left to decide.

use crate::fault::Fault;
use crate::object::{Object, ObjectId, Skipped};
use crate::pod::{Listen, Pod};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_api::document::Position;
use tortie_net::{Cidr, Family, Protocol};

/// A scenario, ready to be executed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file it was read from.
    pub source: Arc<str>,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Families that are probed.
    pub families: Vec<Family>,
    /// Pools of pods.
    pub pools: Vec<Cidr>,
    /// True if the scenario gives its own pools.
    pub own_pools: bool,
    /// Hosts beyond the router.
    pub outside: Vec<Outside>,
    /// What to do before the first step: namespaces and service accounts, objects, pods.
    pub setup: Vec<Operation>,
    /// The steps.
    pub steps: Vec<Step>,
    /// Documents that mean nothing to policy.
    pub skipped: Vec<Skipped>,
}

/// A host beyond the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Its name in the scenario.
    pub name: String,
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// True if the scenario gives its addresses.
    pub own_addresses: bool,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Write an object.
    Apply(Object),
    /// Delete an object.
    Delete {
        /// Which.
        id: ObjectId,
        /// Its path in a store that is not Kubernetes.
        path: String,
    },
    /// Start a pod.
    AddPod(Pod),
    /// Give a running pod these labels, annotations and ports.
    ChangePod(Pod),
    /// Stop a pod: `namespace/name`.
    DeletePod(String),
    /// Break or mend something.
    Fault(Fault),
}

/// One step: what to do, and what to expect when it is enforced.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Where it stands in the scenario.
    pub position: Position,
    /// What to do, in this order.
    pub operations: Vec<Operation>,
    /// What to expect then; ordered by source, destination, port, family.
    pub probes: Vec<Probe>,
}

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who connects.
    pub from: Peer,
    /// To whom.
    pub to: Peer,
    /// On which port.
    pub port: ProbePort,
    /// Over which family.
    pub family: Family,
    /// What is to happen.
    pub expected: Expected,
    /// The line that decided this.
    pub line: Position,
}

/// An end of a probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A pod: `namespace/name`.
    Pod(String),
    /// A node, from 1.
    Node(usize),
    /// A host beyond the router.
    Outside(String),
}

/// What a probe is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbePort {
    /// A port. On a node nobody may listen there yet: the prober does.
    Port(u16, Protocol),
    /// An echo request.
    Icmp,
}

/// What is to happen to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expected {
    /// It is answered.
    Allow,
    /// It is not answered, or refused.
    Deny,
    /// It is refused: by TCP RST or ICMP.
    Reject,
    /// It is not sent.
    Skip,
}

/// What happened to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Observed {
    /// It was answered.
    Allow,
    /// Silence.
    Deny,
    /// It was refused.
    Reject,
}

impl Expected {
    /// True if what happened is as expected.
    pub fn accepts(self, observed: Observed) -> bool {
        match self {
            Self::Allow => observed == Observed::Allow,
            Self::Deny => observed != Observed::Allow,
            Self::Reject => observed == Observed::Reject,
            Self::Skip => true,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Skip => "skip",
        })
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => f.write_str(name),
            Self::Node(number) => write!(f, "node:{number}"),
            Self::Outside(name) => write!(f, "outside:{name}"),
        }
    }
}

impl fmt::Display for ProbePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port, protocol) => write!(f, "{port}/{}", protocol.to_string().to_ascii_lowercase()),
            Self::Icmp => f.write_str("icmp"),
        }
    }
}

impl fmt::Display for Probe {
    /// `shop/web-0 -> shop/api-1:80/tcp ipv4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}:{} {}", self.from, self.to, self.port, self.family)
    }
}
