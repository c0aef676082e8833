//! Transcripts of `tortie ctl` on the embedded store and on a real etcd: exit status, streams, and what is stored.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;
mod ipam;
mod migration;
mod node;
mod transcripts;
