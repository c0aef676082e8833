//! The nftables driver: brings the kernel's table `inet calico` to what `rules` wants, over netlink.
//!
//! [`Driver::apply`] writes what changed in one transaction; [`Driver::resync`] reads the whole table and finds what differs. Nothing
//! outside the table is touched, and nothing here decides what a rule should be.
//!
//! Synchronous; a driver belongs to one thread. The socket belongs to the network namespace in which it was opened.

mod channel;
mod commit;
mod counters;
mod driver;
mod error;
mod plan;
mod refused;
mod resync;

pub use counters::RuleCounter;
pub use driver::{ApplyReport, Driver};
pub use error::{ApplyError, ChannelError, OpenError, ResyncError};
pub use refused::Refusal;
pub use resync::ResyncReport;
pub use tortie_nft::Item;
