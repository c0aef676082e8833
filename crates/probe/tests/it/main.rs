//! Probes, floods and held flows in real namespaces, both families, against rules of the kernel's firewall.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly, too")]

mod floods;
mod holds;
mod network;
mod probes;
