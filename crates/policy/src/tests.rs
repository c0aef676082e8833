//! Tests of the evaluator: one table per rule of the semantics, and laws that hold for any policy.

mod conform;
mod endpoints;
mod fixture;
mod hosts;
mod laws;
mod matches;
mod tiers;
