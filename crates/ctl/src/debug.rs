//! `tortie debug`: looks inside, for developers and for comparison with other implementations.

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// `tortie debug ...`
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer JSON lines on stdin about one suite of behaviour
    Conform {
        /// The suite
        suite: String,
    },
}

/// Runs the command.
pub fn run(args: Args, out: &mut impl Write) -> Result<ExitCode> {
    match args.command {
        Command::Conform { suite } => {
            crate::conform::run(&suite, &mut std::io::stdin().lock(), &mut std::io::BufWriter::new(out))
        }
    }
}
