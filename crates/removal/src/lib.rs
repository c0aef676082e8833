//! What stays on a node when the product is removed from its cluster, and how it goes in the end.
//!
//! Pods that run keep their network: interfaces, routes, tunnels and their way out. A [`Mark`] says that this is so, and
//! what belongs to it. The plugin reads it on every call, and [`finish`] takes everything away when the last pod is gone.
//! The contract is `docs/design/removal.md`.
//!
//! Nothing here decides whether a node was removed: that is the agent's business.

mod configurations;
mod finish;
mod mark;

pub use configurations::{Configurations, ListError};
pub use finish::{Places, finish, forget, workloads};
pub use mark::{Mark, MarkError, MarkLock};
