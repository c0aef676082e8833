//! The driver against the kernel, each test in a network namespace of its own. Needs root.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

mod apply;
#[path = "../../../rules/tests/it/build.rs"]
mod build;
mod drift;
mod flood;
mod lab;
mod netns;
mod packets;
mod refused;
mod shared;
mod update;
mod verdicts;
