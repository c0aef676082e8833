//! node: status and diagnostics of the node that this command runs on, and whether its kernel can do what is needed.

mod system;

use super::bundle::{Bundle, Probe};
use super::{Failure, Outcome, Surroundings};
use std::path::{Path, PathBuf};
use tortie_agent_api::{BgpSession, DEFAULT_SOCKET, NodeStatus};
use tortie_bird_control::Birdc;
use tortie_causes::chain;

pub(crate) use system::check_system;

/// Where the agent's and BIRD's sockets are.
struct Sockets {
    agent: PathBuf,
    bird: PathBuf,
}

impl Sockets {
    fn find(world: &Surroundings<'_>) -> Self {
        match (world.environment)("TORTIE_RUN_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => {
                Self { agent: Path::new(&dir).join("agent.sock"), bird: Path::new(&dir).join("bird.ctl") }
            }
            None => {
                let agent = PathBuf::from(DEFAULT_SOCKET);
                let bird = agent.with_file_name("bird.ctl");
                Self { agent, bird }
            }
        }
    }
}

/// Tells whether the agent runs, and the state of each BGP session.
pub(crate) async fn status(world: &mut Surroundings<'_>) -> Outcome {
    let sockets = Sockets::find(world);
    let Ok(status) = crate::node::ask(&sockets.agent) else {
        return Err(Failure::new(format!(
            "Calico process is not running: no agent answers at {}",
            sockets.agent.display()
        )));
    };
    writeln!(world.out, "Calico process is running.")?;
    match sessions(&status, &sockets.bird).await {
        Ok(sessions) => {
            for (family, v6) in [("4", false), ("6", true)] {
                writeln!(world.out, "\nIPv{family} BGP status")?;
                let rows: Vec<Vec<String>> =
                    sessions.iter().filter(|s| s.peer.contains(':') == v6).filter_map(row).collect();
                if rows.is_empty() {
                    writeln!(world.out, "No IPv{family} peers found.")?;
                } else {
                    let header = ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"];
                    let table = super::ipam::boxed(&header, usize::MAX, &rows);
                    world.out.write_all(table.as_bytes())?;
                }
            }
        }
        Err(told) => writeln!(world.out, "\nThe BGP backend process (BIRD) is not running: {told}")?,
    }
    writeln!(world.out)?;
    Ok(())
}

/// The agent's view of the sessions, or BIRD's own if the agent has none.
async fn sessions(status: &NodeStatus, bird: &Path) -> Result<Vec<BgpSession>, String> {
    if !status.bgp.is_empty() {
        return Ok(status.bgp.clone());
    }
    let mut birdc = Birdc::connect(bird).await.map_err(|e| chain(&e))?;
    let protocols = birdc.protocols().await.map_err(|e| chain(&e))?;
    Ok(protocols
        .into_iter()
        .filter(|protocol| protocol.kind == "BGP")
        .map(|protocol| BgpSession {
            peer: peer_of(&protocol.name).map(|(_, peer)| peer).unwrap_or_default(),
            name: protocol.name,
            state: protocol.state,
            since: protocol.since,
            info: protocol.info,
        })
        .collect())
}

fn row(session: &BgpSession) -> Option<Vec<String>> {
    let (purpose, named) = peer_of(&session.name)?;
    let peer = if session.peer.is_empty() { named } else { session.peer.clone() };
    Some(vec![peer, purpose.to_owned(), session.state.clone(), session.since.clone(), session.info.clone()])
}

/// What a session is for and with whom, from its name: `Mesh_10_0_0_2`.
fn peer_of(name: &str) -> Option<(&'static str, String)> {
    let (kind, rest) = name.split_once('_')?;
    let purpose = match kind {
        "Mesh" => "node-to-node mesh",
        "Node" => "node specific",
        "Global" => "global",
        _ => return None,
    };
    // Addresses of IPv4 have four decimal parts; the groups of IPv6 are parted by colons.
    let parts: Vec<&str> = rest.split('_').collect();
    let v4 = parts.len() >= 4 && parts.iter().take(4).all(|part| part.parse::<u8>().is_ok());
    Some((purpose, parts.join(if v4 { "." } else { ":" })))
}

/// Collects what helps to understand this node into an archive.
pub(crate) async fn diags(logs: &str, world: &mut Surroundings<'_>) -> Outcome {
    writeln!(world.out, "Collecting diagnostics")?;
    let bundle = Bundle::new("diagnostics")?;
    let place = bundle.root().parent().unwrap_or(Path::new("")).display().to_string();
    writeln!(world.out, "Using temp dir: {place}")?;
    for (told, line, file) in [
        ("", "date", "date"),
        ("", "hostname", "hostname"),
        ("", "uname -a", "uname"),
        ("Dumping routes (IPv4)", "ip -4 route show table all", "ipv4_route"),
        ("Dumping routes (IPv6)", "ip -6 route show table all", "ipv6_route"),
        ("Dumping rules (IPv4)", "ip -4 rule", "ipv4_rule"),
        ("Dumping rules (IPv6)", "ip -6 rule", "ipv6_rule"),
        ("Dumping interface info (IPv4)", "ip -4 addr", "ipv4_addr"),
        ("Dumping interface info (IPv6)", "ip -6 addr", "ipv6_addr"),
        ("Dumping links", "ip -d link", "links"),
        ("Dumping neighbours", "ip neigh", "neighbours"),
        ("Dumping nftables", "nft -n -a list ruleset", "nft_ruleset"),
        ("Dumping ss", "ss -a -n", "ss"),
        (
            "Copying journal for calico-node.service",
            "journalctl -u calico-node.service --no-pager",
            "journalctl_calico_node",
        ),
    ] {
        bundle.probe(&Probe::new(told, line, file), world)?;
    }
    let sockets = Sockets::find(world);
    writeln!(world.out, "Asking the node agent")?;
    let status = match crate::node::ask(&sockets.agent) {
        Ok(status) => serde_json::to_vec_pretty(&status)?,
        Err(error) => format!("{error:#}\n").into_bytes(),
    };
    bundle.add("agent_status.json", &status)?;
    writeln!(world.out, "Asking BIRD")?;
    bundle.add("bird", bird(&sockets.bird).await.as_bytes())?;
    let logs = Path::new(logs);
    match bundle.copy(logs, "logs") {
        Ok(files) => writeln!(world.out, "Copied {files} Calico logs from {}", logs.display())?,
        Err(error) => writeln!(world.out, "Error copying log files: {}: {error}", logs.display())?,
    }
    let archive = bundle.pack("diags", None, false)?;
    writeln!(world.out, "\nDiags saved to {}", archive.display())?;
    writeln!(world.out, "If required, you can upload the diagnostics bundle to a file sharing service.")?;
    Ok(())
}

/// What BIRD says to a few questions.
async fn bird(socket: &Path) -> String {
    let mut birdc = match Birdc::connect(socket).await {
        Ok(birdc) => birdc,
        Err(error) => return chain(&error) + "\n",
    };
    let mut told = format!("BIRD {}\n", birdc.version());
    for question in ["show status", "show protocols all", "show route count", "show route all"] {
        told.push_str(&format!("\n# {question}\n"));
        match birdc.ask(question).await {
            Ok(reply) => reply.lines.iter().for_each(|(_, line)| told.push_str(&format!("{line}\n"))),
            Err(error) => told.push_str(&(chain(&error) + "\n")),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sessions_tell_what_they_are_for() {
        let of = peer_of;
        assert_eq!(of("Mesh_10_0_0_2"), Some(("node-to-node mesh", "10.0.0.2".to_owned())));
        assert_eq!(of("Node_fd00__2"), Some(("node specific", "fd00::2".to_owned())));
        assert_eq!(of("Global_fd00_1_2_3_4_5_6_7"), Some(("global", "fd00:1:2:3:4:5:6:7".to_owned())));
        assert_eq!(of("kernel1"), None);
        assert_eq!(of("Direct_x"), None);
    }
}
