//! Chains and sets as nftables netlink messages, and what the kernel answers as values again.
//!
//! * [`lower`]: a rule of `rules` as a list of kernel expressions ([`Expr`]), the form in which rules are compared;
//! * [`Batch`]: a transaction under construction, every message tagged with the [`Item`] it is about;
//! * [`request`] and [`decode`]: dumps and answers;
//! * [`diff`]: the least edit that turns one list of rules into another;
//! * [`set`]: what a set and its elements are in the kernel;
//! * [`ipset`]: the names of IP sets;
//! * [`shared`]: what others have in the kernel, as far as their leftovers are removed.
//!
//! Bytes in, bytes out: no socket is opened here. Source of the formats: `linux/netfilter/nf_tables.h`, `linux/netlink.h`.

mod batch;
pub mod consts;
pub mod decode;
pub mod diff;
mod expr;
pub mod ipset;
pub mod lower;
pub mod request;
pub mod set;
pub mod shared;
mod wire;

pub use batch::{Batch, Item, Message, Part};
pub use expr::{Data, Expr, KernelRule, Reg, RuleBody};
