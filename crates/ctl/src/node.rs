//! `tortie node`: what the agent of this node says of itself, and what its containers run beside it.

mod bird;
mod health;
mod shutdown;

use crate::output::{self, Format};
use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Subcommand};
use std::fmt::Write as _;
use std::io::Write;
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
    /// The agent's state: sync, endpoints, BGP sessions, problems. Exits 0 only if the node is ready
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
        out.write_all(text(&status).as_bytes())?;
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// The status as people read it.
pub fn text(s: &NodeStatus) -> String {
    let mut text = String::new();
    let ready = if s.ready { "ready" } else { "not ready" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "node       {} ({})", s.node, s.addresses.join(", "));
    let _ =
        writeln!(text, "agent      {ready}, version {}, pid {}, up {} s", s.version, s.pid, s.uptime_seconds);
    let _ = writeln!(
        text,
        "datastore  {}, revision {}, enforced up to {}",
        s.sync, s.revision, s.enforced_revision
    );
    for reason in &s.reasons {
        let _ = writeln!(text, "  because  {reason}");
    }
    for warning in &s.warnings {
        let _ = writeln!(text, "warning    {warning}");
    }
    if !s.missing_routes.is_empty() {
        let _ = writeln!(text, "no route   {}", s.missing_routes.join(", "));
    }
    if !s.bgp.is_empty() {
        text.push('\n');
        text.push_str(&output::table(
            &["BGP SESSION", "PEER", "STATE", "SINCE", "INFO"],
            s.bgp.iter().map(|b| {
                vec![b.name.clone(), b.peer.clone(), b.state.clone(), b.since.clone(), b.info.clone()]
            }),
        ));
    }
    if !s.endpoints.is_empty() {
        text.push('\n');
        text.push_str(&output::table(
            &["WORKLOAD", "INTERFACE", "ADDRESSES", "STATE", "POLICIES"],
            s.endpoints.iter().map(|e| {
                vec![
                    e.workload.clone(),
                    e.interface.clone(),
                    e.addresses.join(","),
                    e.state.clone(),
                    e.policies.join(", "),
                ]
            }),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_agent_api::{BgpSession, EndpointStatus};

    #[test]
    fn text_names_what_is_wrong() {
        let status = NodeStatus {
            node: "n1".into(),
            reasons: vec!["datastore is away".into()],
            endpoints: vec![EndpointStatus {
                workload: "shop/web-1".into(),
                interface: "cali1".into(),
                addresses: vec!["10.0.0.1".into(), "fd00::1".into()],
                state: "up".into(),
                policies: vec!["NetworkPolicy shop/deny".into()],
            }],
            bgp: vec![BgpSession {
                name: "Mesh_10_0_0_2".into(),
                state: "up".into(),
                ..BgpSession::default()
            }],
            ..NodeStatus::default()
        };
        let text = text(&status);
        for want in ["not ready", "datastore is away", "shop/web-1", "10.0.0.1,fd00::1", "Mesh_10_0_0_2"] {
            assert!(text.contains(want), "{want} not in\n{text}");
        }
    }
}
