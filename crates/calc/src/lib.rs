//! The calculation: model changes in, ordered dataplane updates out. Pure; no clock, no I/O.

pub mod update;

pub use update::Update;
