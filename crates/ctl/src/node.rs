//! `tortie node`: what the agent of this node says of itself, and what its containers run beside it.

mod bird;
mod health;
mod report;
mod shutdown;

pub use report::text;

use crate::output::{self, Format};
use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Subcommand};
use std::io::{IsTerminal as _, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tortie_agent_api::{DEFAULT_SOCKET, NodeStatus, Request, Response, read_frame, write_frame};

/// `tortie node ...`
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The agent's state: sync, problems, BGP sessions, endpoints. Exits 0 if the node is ready and nothing is wrong, 2 if
    /// it is ready and has problems, else 1
    Status {
        /// Form of the result
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        /// The agent's socket; by default that of this node
        #[arg(long)]
        socket: Option<PathBuf>,
    },
    /// BIRD, as soon as the agent has written its configuration (a container's work)
    Bird(bird::Args),
    /// Whether the agent and BIRD are alive and ready (a container's probes)
    Health(health::Args),
    /// Tell the scheduler that pods have no network here any more (what a container does before it stops)
    Shutdown,
}

/// Runs the command.
pub fn run(args: Args, out: &mut impl Write) -> Result<ExitCode> {
    let (output, socket) = match args.command {
        Command::Status { output, socket } => (output, socket),
        Command::Bird(args) => return bird::run(&args),
        Command::Health(args) => return health::run(&args, out),
        Command::Shutdown => return shutdown::run(),
    };
    let status = ask(&socket.unwrap_or_else(default_socket))?;
    if !output::machine(output, &status, out)? {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        out.write_all(text(&status, colour).as_bytes())?;
    }
    Ok(report::exit(&status))
}

fn default_socket() -> PathBuf {
    directory().join("agent.sock")
}

/// Where sockets are.
fn directory() -> PathBuf {
    let usual = || Path::new(DEFAULT_SOCKET).parent().unwrap_or(Path::new("/")).to_owned();
    std::env::var_os("TORTIE_RUN_DIR").filter(|dir| !dir.is_empty()).map_or_else(usual, PathBuf::from)
}

/// Asks an agent for its status.
pub fn ask(socket: &Path) -> Result<NodeStatus> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no agent answers at {}: is calico-node (tortie agent) running on this node?",
            socket.display()
        )
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write_frame(&mut stream, &Request::NodeStatus)?;
    match read_frame(&mut stream).context("the agent does not answer")? {
        Some(Response::NodeStatus(status)) => Ok(*status),
        Some(Response::Error(e)) => bail!("{}", e.message),
        other => bail!("the agent answered something else: {other:?}"),
    }
}
