//! Network namespaces for tests: run a test inside a fresh one, and build small networks of several in a few lines.
//!
//! Everything here panics when the kernel refuses: a test that cannot have its network has failed.
//! The network of the machine on which the tests run is never touched.

#![expect(clippy::panic, clippy::unwrap_used, reason = "failing loudly is what a test helper is for")]

mod ip_set;
mod isolated;
mod node;

pub use ip_set::ip_set;
pub use isolated::isolated;
pub use node::{Node, wire};
