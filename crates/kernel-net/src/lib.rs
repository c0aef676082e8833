//! The kernel's network configuration: namespaces, links, addresses, routes, neighbours, policy rules and sysctls.
//!
//! A thin, synchronous driver over rtnetlink. [`Netlink`] is a socket bound to the namespace in which it was opened;
//! [`Batch`] puts many changes into few system calls and reports errors item by item; [`Monitor`] reports changes made by
//! anybody; [`NetNs`] runs closures inside another namespace without ever moving the caller's thread; [`pod`] wires
//! a pod's interface to its node; [`conntrack`] forgets the connections of an address.
//!
//! Nothing here decides what ought to exist: callers plan, this crate touches the kernel and says what the kernel
//! answered. It must not depend on an async runtime, a datastore or the calculation.

mod address;
mod batch;
mod channel;
pub mod conntrack;
mod error;
mod link;
mod monitor;
mod neighbour;
mod netlink;
mod netns;
pub mod pod;
mod pool;
mod program;
mod route;
mod rule;
pub mod sysctl;
mod wire;

pub use address::{Address, AddressFilter};
pub use batch::{Batch, BatchReport};
pub use error::{
    Action, AddressError, DumpError, Failed, KernelError, LinkError, NeighbourError, RequestError,
    RouteError, RuleError, TransportError,
};
pub use link::{Link, LinkChange, LinkIndex, LinkRef, NewLink, NewLinkKind, VethPeer, Vxlan};
pub use monitor::{Change, Event, Groups, Monitor, MonitorError};
pub use neighbour::{Neighbour, NeighbourEntry, NeighbourFilter};
pub use netlink::{Netlink, OpenError};
pub use netns::{NetNs, NetNsError, NetNsId};
pub use nix::errno::Errno;
pub use program::{Direction, Program, ProgramError};
pub use route::{NextHop, Route, RouteFilter, RouteKind, RouteProtocol, Scope, TableId};
pub use rule::{Rule, RuleAction};

#[cfg(test)]
mod tests;
