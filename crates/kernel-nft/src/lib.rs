//! The nftables driver: brings the kernel's table `inet calico` to what `rules` wants, over netlink.
//!
//! [`Driver::apply`] writes what changed in one transaction; [`Driver::resync`] reads the whole table and finds what differs. Nothing
//! outside the table is touched, and nothing here decides what a rule should be. [`Filters`] sees what others have, and takes away what it
//! is told to.
//!
//! Synchronous; a driver belongs to one thread. The socket belongs to the network namespace in which it was opened.

mod channel;
mod commit;
mod counters;
mod driver;
mod error;
pub mod legacy;
mod plan;
mod refused;
mod removal;
mod resync;
mod shared;

pub use counters::RuleCounter;
pub use driver::{ApplyReport, Driver};
pub use error::{ApplyError, ChannelError, OpenError, ResyncError};
pub use refused::Refusal;
pub use removal::{RemoveTableError, remove_table};
pub use resync::ResyncReport;
pub use shared::{Filters, RemoveError};
pub use tortie_nft::Item;
pub use tortie_nft::shared::{Removal, SharedChain, SharedRule, TableFamily, TableRef};
