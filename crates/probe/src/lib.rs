//! Packets between network namespaces: who can reach whom, really.
//!
//! One process owns the sockets of all hosts: each is made inside its host's namespace and used from a few threads with
//! epoll, so that thousands of probes at once need neither processes nor threads of their own.
//!
//! - [`Listeners`] answer on the hosts' ports and say who they are.
//! - [`run`] probes: one connection attempt, datagram or echo request each, repeated before a surprising or negative
//!   result is believed.
//! - [`Flood`] sends forbidden packets without pause and proves that not one arrived.
//! - [`Hold`] keeps allowed connections busy and measures interruptions.
//!
//! Nothing here knows policies or expectations beyond a single probe's; it must not configure the network.

mod flood;
mod flow;
mod hold;
mod icmp;
mod listen;
mod outcome;
mod packet;
mod poller;
mod run;
mod sniff;
mod socket;

pub use flood::{Arrival, Flood, FloodError, FloodReport};
pub use flow::{Answerer, Expect, Flow, Host, Probe, Proto};
pub use hold::{HeldFlow, Hold, HoldError, HoldReport};
pub use icmp::{IcmpError, Rejection};
pub use listen::{ListenError, Listeners};
pub use outcome::{Outcome, Verdict};
pub use run::{Options, RunError, run};
pub use socket::{raise_file_limit, sctp_supported};
