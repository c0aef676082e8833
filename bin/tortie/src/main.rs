//! The one binary: every daemon and the command line. Dispatch only; each component parses and runs itself.

mod completion;
mod store;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Kubernetes networking and network policy that speaks Calico's formats.
#[derive(Debug, Parser)]
#[command(name = "tortie", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The node agent: policy, routes, BGP configuration, CNI server
    Agent(tortie_agent::Args),
    /// The CNI plugin's files on this node
    Cni(tortie_cni_install::Args),
    /// A cluster in a box: nodes, pods, policies and packets on this machine
    Lab(tortie_lab::Args),
    /// The embedded datastore
    Store(store::Args),
    /// Objects of projectcalico.org/v3, as calicoctl handles them (also as calicoctl and kubectl-calico)
    Ctl(tortie_ctl::calicoctl::Args),
    /// Policies without a cluster
    Policy(tortie_ctl::policy::Args),
    /// The node that this command runs on
    Node(tortie_ctl::node::Args),
    /// Look inside
    Debug(tortie_ctl::debug::Args),
    /// Definitions of the kinds, ready for kubectl apply
    Crds(tortie_ctl::crds::Args),
    /// Completions for a shell: source <(tortie completion bash)
    Completion(completion::Args),
    /// The version
    Version,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let own_name = arguments.first().and_then(|path| path.rsplit('/').next());
    if own_name.is_some_and(tortie_ctl::calicoctl::is_own_name) {
        return tortie_ctl::calicoctl::main(&arguments);
    }
    // As they are: names of files need not be UTF-8.
    let cli = Cli::parse_from(without_component(std::env::args_os().collect()));
    let mut out = std::io::stdout();
    match dispatch(cli.command, &mut out) {
        Ok(status) => status,
        Err(error) => {
            // Nothing is left to be told if stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            let usage = error.downcast_ref::<tortie_agent::ConfigError>().is_some();
            ExitCode::from(if usage { 64 } else { 2 })
        }
    }
}

/// Manifests written for Calico's combined image say `component cni install` where we say `cni install`.
fn without_component(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|a| a == "component") {
        arguments.remove(1);
    }
    arguments
}

fn dispatch(command: Command, out: &mut impl Write) -> Result<ExitCode> {
    match command {
        Command::Agent(args) => tortie_agent::run(args),
        Command::Cni(args) => tortie_cni_install::run(args),
        Command::Lab(args) => tortie_lab::run(args),
        Command::Store(args) => store::run(args),
        Command::Ctl(args) => Ok(tortie_ctl::calicoctl::run_args(args, out)),
        Command::Policy(args) => tortie_ctl::policy::run(args, out),
        Command::Node(args) => tortie_ctl::node::run(args, out),
        Command::Debug(args) => tortie_ctl::debug::run(args, tortie_conform::run, out),
        Command::Crds(args) => tortie_ctl::crds::run(&args, out),
        Command::Completion(args) => {
            completion::write(&args, Cli::command(), out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            writeln!(out, "tortie {}", env!("CARGO_PKG_VERSION"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
