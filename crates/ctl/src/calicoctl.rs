//! `tortie ctl`, also `calicoctl` and `kubectl-calico`: arguments as Calico's client takes them, and dispatch.

mod args;
mod dispatch;
mod switches;

use crate::commands::{Failure, Surroundings};
use args::Command;
use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser};
use dispatch::dispatch;
use std::io::Write;
use std::process::ExitCode;
pub(crate) use switches::truth;

/// Manage Calico network and security policy, endpoints and nodes
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Set the log level (panic, fatal, error, warn, info, debug)
    #[arg(short, long, global = true, default_value = "panic")]
    log_level: String,
    /// The name of the kubeconfig context to use
    #[arg(long, global = true)]
    context: Option<String>,
    /// Allow client and cluster versions mismatch
    #[arg(long, global = true)]
    allow_version_mismatch: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The program by its own name.
#[derive(Debug, Parser)]
#[command(name = "calicoctl", args_override_self = true)]
struct Program {
    #[command(flatten)]
    args: Args,
}

/// True if a program of this name is the client itself.
pub fn is_own_name(name: &str) -> bool {
    matches!(name, "calicoctl" | "kubectl-calico")
}

/// Runs the client with the process's own streams and environment. `arguments` begin with the program's name.
pub fn main(arguments: &[String]) -> ExitCode {
    let mut world = Surroundings {
        environment: &|name| std::env::var(name).ok(),
        stdin: &mut std::io::stdin(),
        out: &mut std::io::stdout(),
        err: &mut std::io::stderr(),
    };
    ExitCode::from(run(arguments, &mut world))
}

/// The client's arguments, as `calicoctl` has them.
pub fn command() -> clap::Command {
    Program::command()
}

/// Runs the client on parsed arguments, with the process's own streams and environment.
pub fn run_args(args: Args, out: &mut impl Write) -> ExitCode {
    let mut world = Surroundings {
        environment: &|name| std::env::var(name).ok(),
        stdin: &mut std::io::stdin(),
        out,
        err: &mut std::io::stderr(),
    };
    ExitCode::from(finish(args, "calicoctl", &mut world))
}

/// Runs the client in any surroundings; answers the exit status.
pub fn run(arguments: &[String], world: &mut Surroundings<'_>) -> u8 {
    let name = arguments.first().map_or("calicoctl", |path| path.rsplit('/').next().unwrap_or("calicoctl"));
    let parsed = Program::command()
        .bin_name(name.to_owned())
        .try_get_matches_from(switches::plain(&Program::command(), arguments))
        .and_then(|matches| Program::from_arg_matches(&matches));
    match parsed {
        Ok(program) => finish(program.args, name, world),
        Err(error) => {
            let stream = if error.use_stderr() { &mut world.err } else { &mut world.out };
            // Nobody is left to be told if the stream is closed.
            let _ = match switches::unknown(&error, arguments) {
                Some(told) => writeln!(stream, "{told}\n{error}"),
                None => write!(stream, "{error}"),
            };
            u8::from(error.use_stderr())
        }
    }
}

fn finish(args: Args, name: &str, world: &mut Surroundings<'_>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(world.err, "cannot start the runtime: {error}");
            return 1;
        }
    };
    let outcome = runtime.block_on(dispatch(args, name, world));
    let flushed = world.out.flush();
    match outcome {
        Ok(()) => u8::from(flushed.is_err()),
        Err(Failure::OnStdout(told)) => {
            let _ = writeln!(world.out, "{told}");
            1
        }
        Err(Failure::Message(told)) => {
            let _ = writeln!(world.err, "{}", told.trim_end());
            1
        }
    }
}
