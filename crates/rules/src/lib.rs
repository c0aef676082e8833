//! Policy as chains of rules and sets of elements, whatever kernel facility carries them out.
//!
//! [`Desired`] takes the calculation's updates and keeps a [`Table`]: the chains and sets that should exist, and which of them changed
//! since a driver last asked. Its content is a function of the current state, never of the order of updates.
//!
//! Pure: this crate knows no netlink and no byte of nftables; names come from `model::names`.

mod config;
mod constants;
mod desired;
mod endpoint;
mod fixed;
mod ir;
mod policy;
mod table;
mod text;

pub use config::{Config, EndpointToHost, LogRate};
pub use desired::Desired;
pub use ir::{
    Base, Chain, ChainName, CtState, Direction, Element, End, Hook, Key, Match, Rule, SetName, SetShape,
    Source, Statement, Towards, Verdict,
};
pub use table::{Dirty, Set, SetChange, Table};
