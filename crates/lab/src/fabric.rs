//! The network around the nodes: two layer-2 segments, a router between, and hosts outside beyond it.
//!
//! ```text
//!   node1  node3 ...      node2 ...          world ...
//!     |      |              |                  |
//!   [  seg1 (br0) ]      [ seg2 (br0) ]     [ outside (br0) ]
//!         |                  |                  |
//!       seg1               seg2              outside
//!         +---------------- router ---------------+
//! ```
//! Every box is a network namespace bound under `/run/netns`. The sandbox's own namespace hangs on the router by a cable of its own:
//! a datastore that is reached over the network lives there. The `flat` fabric has no `seg2`.
//! Addresses are fixed by position; [`Plan`] says which, [`Fabric`] makes it so.

mod build;
mod plan;

pub(crate) use build::{Fabric, HOME, namespace};
pub(crate) use plan::{AS_NUMBER, NodeNet, Plan};
