//! `tortie debug`: looks inside, for developers and for comparison with other implementations.

mod convert;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};
use std::io::{BufRead, Write};
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
    /// Convert Kubernetes and projectcalico.org/v3 documents to keys and values of the model, as JSON lines
    Convert {
        /// The file; '-' for stdin
        #[arg(short, long)]
        filename: String,
    },
    /// Replay recorded updates through the calculation (not yet there)
    Replay {
        /// The recording
        file: String,
    },
}

/// What answers a suite: its name, questions, answers.
pub type Conform = fn(&str, &mut dyn BufRead, &mut dyn Write) -> Result<ExitCode>;

/// Runs the command.
pub fn run(args: Args, conform: Conform, out: &mut impl Write) -> Result<ExitCode> {
    match args.command {
        Command::Conform { suite } => {
            conform(&suite, &mut std::io::stdin().lock(), &mut std::io::BufWriter::new(out))
        }
        Command::Convert { filename } => {
            let mut out = std::io::BufWriter::new(out);
            convert::run(&filename, &mut std::io::stdin().lock(), &mut out, &mut std::io::stderr())
        }
        Command::Replay { file } => anyhow::bail!(
            "cannot replay {file:?}: this command is reserved for recordings of the calculation, which this version does not make; use `tortie lab` to run a scenario"
        ),
    }
}
