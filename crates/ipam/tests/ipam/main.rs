//! Address management over real (embedded) stores: behaviour, crashes, competition.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod behaviour;
mod competition;
mod crash;
mod lab;
