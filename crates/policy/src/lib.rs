//! The reference evaluator: one packet against a state of the model, to a verdict and its reasons.
//!
//! It is the oracle of the tests and the voice that explains verdicts, so it is naive on purpose: it walks every
//! policy and every rule for every packet, in the order in which the semantics are told, and shares no code with the
//! calculation or the renderers. It must not become fast by becoming clever.
//!
//! * [`State`]: what the datastore says ([`State::apply`]) and where nodes are ([`State::set_node`]);
//! * [`State::evaluate`]: the way of a [`Packet`] through the cluster, to a [`Decision`];
//! * [`http`]: the methods and paths of a rule, for requests;
//! * [`conform`]: one packet against rules with their sets already calculated, for the conformance port.

pub mod conform;
mod decision;
mod evaluate;
mod host;
pub mod http;
mod packet;
mod rule;
mod state;
#[cfg(test)]
mod tests;

pub use decision::{Decision, Direction, HostPolicy, NearMiss, Point, Reason, Step, Verdict};
pub use packet::Packet;
pub use rule::{Miss, Side};
pub use state::{Failsafe, HostAction, Interface, InvalidObject, Node, Settings, State};
