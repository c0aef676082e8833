//! The agent as a process of its own, for tests that need one in a network namespace.

use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;

#[derive(clap::Parser)]
struct Agent {
    #[command(flatten)]
    args: tortie_agent::Args,
}

fn main() -> ExitCode {
    tortie_agent::run(Agent::parse().args).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
