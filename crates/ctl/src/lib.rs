//! The command line client: what people ask a node or a datastore.
//!
//! Results go to stdout through one writer, everything else to stderr.

pub mod calicoctl;
pub mod client;
mod commands;
pub mod crds;
pub mod debug;
pub mod node;
pub mod output;
pub mod policy;
pub mod resources;
pub mod template;

pub use commands::Surroundings;
