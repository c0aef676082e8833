//! The crate against the real kernel, each test in namespaces of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly, too")]

mod batch;
mod conntrack;
mod links;
mod monitor;
mod namespaces;
mod pods;
mod programs;
mod routes;
