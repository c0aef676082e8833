//! Any datastore, as one stream: snapshot, then changes, with an explicit mark of what is complete.
//!
//! * [`spawn`] keeps a list+watch of one store going and never gives up: it lists, watches, and after any loss lists
//!   again. It sends [`Feed`] items over a bounded channel.
//! * [`SyncSet`] names what a component reads; the rest never reaches it, but still moves its revision on.
//! * [`View`] turns feed items into a minimal sequence of per-key changes: a second snapshot becomes the difference
//!   to what is known, stale and repeated events are dropped, and a local write can be applied ahead of its event.
//!
//! Only a snapshot may conclude that something is gone without an event; that is what makes it safe to lose events.

mod feed;
mod sets;
mod view;

pub use feed::{Feed, FeedConfig, Relist, spawn};
pub use sets::{AGENT, BGP, EVERYTHING, FELIX, NODE_STATUS, SyncSet, TUNNEL_IP_ALLOCATION};
pub use view::{Delta, View};
