//! IPAM decisions: what a block holds, which pool and block an address comes from, who owns what.
//!
//! * [`Block`]: a checked allocation block, with assignment, release, cooldown and ownership;
//! * [`Pool`] and [`select_pools`]: which pools an automatic assignment may use, and why not the others;
//! * [`Candidates`]: the order in which a node looks for a block of its own in a pool;
//! * [`Reservations`]: addresses that are never assigned automatically;
//! * [`PoolUsage`]: how full a pool is.
//!
//! Everything works on the JSON types of `tortie_model::value`, which are Calico's, so that both can share a
//! datastore. Pure: time, sequence numbers and labels come in as arguments; the engine in `tortie-ipam` talks to a
//! datastore.

mod arithmetic;
mod block;
mod candidates;
mod handle;
mod owner;
mod pool;
mod reservations;
mod select;
mod timestamp;
mod usage;

pub use arithmetic::{block_of, nth_address, ordinal_of, size_of};
pub use block::{Allocation, AssignError, Block, BlockError, Holder, Release, ReleaseError, Released};
pub use candidates::{Candidates, host_seed};
pub use handle::{HandleId, count_in_block, held_count, is_handle_empty};
pub use owner::Owner;
pub use pool::{AllowedUse, Overlap, Pool, PoolError, PoolSelector, overlapping_pools};
pub use reservations::Reservations;
pub use select::{PoolQuery, RejectReason, Rejected, SelectError, Selection, select_pools};
pub use timestamp::{Timestamp, TimestampParseError};
pub use usage::{BlockUsage, PoolUsage};
