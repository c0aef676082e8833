//! Scenario files: a cluster, objects, steps, and after each step who reaches whom.
//!
//! * [`load`] reads a file and everything it refers to, and answers a [`Plan`] or all that is wrong with it;
//! * a [`Plan`] says, step by step, what to do ([`Operation`]) and what to expect ([`Probe`]): it is complete, who
//!   executes it decides nothing;
//! * [`test`] executes it without a cluster: objects go through the conversion of a real cluster and the reference
//!   evaluator answers the probes;
//! * [`Report`] is what came of it, as a table, JSON or JUnit.
//!
//! Pure: files come through a [`Loader`], time through a closure.

mod address;
mod decode;
mod expect;
mod fault;
mod file;
mod matrix;
mod object;
mod plan;
mod planner;
mod pod;
mod pool;
mod problem;
mod report;
mod schema;
mod test;
#[cfg(test)]
mod tests;

pub use address::{Addressing, DEFAULT_POOLS, node_addresses, node_name, outside_addresses};
pub use fault::Fault;
pub use file::{Loader, Source};
pub use object::{Object, ObjectId, Skipped, document_object};
pub use plan::{Expected, Observed, Operation, Outside, Peer, Plan, Probe, ProbePort, Step};
pub use planner::load;
pub use pod::{Listen, Pod, WorkloadError, pods_of};
pub use pool::{PoolError, PoolParseError, check_pools, fabric, parse_pool};
pub use problem::Problem;
pub use report::{Difference, Format, Report, ScenarioReport, StepReport};
pub use schema::schema;
pub use test::{seed, test};
