//! BIRD's configuration from the datastore's objects, and the language of BIRD's control socket.
//!
//! * [`Input`]: what routing depends on, typed; a [`Collector`] makes it from projectcalico.org/v3 objects;
//! * [`sessions`]: who peers with whom, from the view of one node;
//! * [`render`]: the text of `bird.conf` (BIRD 2, one daemon for both families);
//! * [`Reply`] and what is read from it: the language of the control socket of a running BIRD.
//!
//! Sessions, their names and what is told to whom are Calico's, whose nodes may be on the other end. Pure: no file,
//! no socket; `tortie-bird-control` talks to the daemon.

mod collect;
mod filter;
mod input;
mod render;
mod reply;
mod session;
mod text;
mod v3;

pub use collect::Collector;
pub use filter::{Action, CidrMatch, Filter, MatchOperator, Operation, PeerType, Rule};
pub use input::{
    BindMode, ClusterRoutes, Community, Configuration, Encapsulation, Input, LogSeverity, NextHopMode, Node,
    Peer, PeerNodes, PeerTarget, Pool, PrefixCommunities, Priorities, RouterId, SecretRef, SourceAddress,
};
pub use render::render;
pub use reply::{
    ProtocolState, Reply, ReplyError, RouteCount, parse_greeting, parse_protocols, parse_route_counts, quote,
};
pub use session::{Session, SessionKind, sessions};
pub use v3::{FieldError, parse_peer_address};

/// Something in the input that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Kind and name of the object.
    pub object: String,
    /// What is wrong with it, and what is done about it.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.object, self.reason)
    }
}
