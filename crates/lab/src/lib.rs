//! `tortie lab`: a Calico cluster on one machine, without Kubernetes, containers or, where user namespaces are
//! allowed, root.
//!
//! One sandbox of namespaces holds a lab; its supervisor builds and owns everything inside and answers the commands. The host's own
//! network is never touched. Nothing of the product may depend on this crate.

mod apply;
mod args;
mod bench;
mod cni;
mod commands;
mod control;
mod datastore;
mod dirs;
mod enforce;
mod fabric;
mod faults;
mod glob;
mod guard;
mod interrupt;
mod kube;
mod lab;
mod matrix;
mod node;
mod objects;
mod outside;
mod pods;
mod process;
mod records;
mod request;
mod reuse;
mod router;
mod routes;
mod run;
mod sandbox;
mod seed;
mod spec;
mod supervisor;
mod table;
mod terminal;
mod truth;

pub use args::Args;

use std::process::ExitCode;

/// Runs `tortie lab`. The process must not have started threads yet: user namespaces are entered.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    commands::run(args)
}
