//! `tortie node health`: the probes of a container that runs the agent, with BIRD beside it or not.
//!
//! Flags and meaning are those of calico/node. What nobody is waiting for is not checked: BIRD only if routing is its.

use super::directory;
use anyhow::{Context, Result, bail};
use std::io::{Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tortie_bird_control::Birdc;

/// Port of the agent's probes, unless it is told otherwise.
const PORT: u16 = 9099;

/// How BIRD says that it still waits for peers after a restart.
const RECOVERY: &str = "Graceful restart recovery in progress";

/// Patience with one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `tortie node health ...`
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct Args {
    /// The agent's loops are alive
    #[arg(long)]
    felix_live: bool,
    /// The agent enforces what the datastore says
    #[arg(long)]
    felix_ready: bool,
    /// BIRD answers
    #[arg(long)]
    bird_live: bool,
    /// BIRD has the sessions that it needs
    #[arg(long)]
    bird_ready: bool,
    /// The same as --bird-live: one BIRD serves both families
    #[arg(long)]
    bird6_live: bool,
    /// The same as --bird-ready: one BIRD serves both families
    #[arg(long)]
    bird6_ready: bool,
    /// How long after a node's start all of its sessions must be up, not only one: 30s, 1m30s
    #[arg(long, default_value = "30s", value_parser = duration)]
    threshold_time: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| "expected a time like 30s".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("expected a time like 30s, 500ms or 2m".to_owned()),
    }
}

/// Checks what was asked for; says everything that is wrong.
pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<ExitCode> {
    let mut problems = Vec::new();
    let mut check = |what: &str, outcome: Result<()>| {
        if let Err(error) = outcome {
            problems.push(format!("{what}: {error:#}"));
        }
    };
    if args.felix_live {
        check("the agent is not alive", agent("/liveness"));
    }
    if args.felix_ready {
        check("the agent is not ready", agent("/readiness"));
    }
    let (live, ready) = (args.bird_live || args.bird6_live, args.bird_ready || args.bird6_ready);
    let backend = std::env::var("CALICO_NETWORKING_BACKEND").unwrap_or_default();
    if (live || ready) && (backend.is_empty() || backend.eq_ignore_ascii_case("bird")) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the runtime")?;
        let what = if ready { "BIRD is not ready" } else { "BIRD is not alive" };
        let limit = ready.then_some(args.threshold_time);
        // Without a configuration it waits for one, and lives.
        if ready || super::bird::configuration().is_file() {
            check(what, runtime.block_on(bird(&directory().join("bird.ctl"), limit)));
        }
    }
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks one of the agent's probes.
fn agent(path: &str) -> Result<()> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = given("FELIX_HEALTHHOST").unwrap_or_else(|| "localhost".to_owned());
    let port = match given("FELIX_HEALTHPORT") {
        Some(port) => port.parse().with_context(|| format!("FELIX_HEALTHPORT={port:?}: expected a port"))?,
        None => PORT,
    };
    let (status, body) = get(&host, port, path)?;
    if (200..400).contains(&status) {
        return Ok(());
    }
    bail!("{path} answers {status}: {}", body.trim().replace('\n', "; "))
}

/// The least of HTTP: one answer, then the end of the connection.
fn get(host: &str, port: u16, path: &str) -> Result<(u16, String)> {
    let addresses = (host, port).to_socket_addrs().with_context(|| format!("{host} is no address"))?;
    let mut failure = None;
    let connected = addresses.into_iter().find_map(|address| {
        TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| failure = Some(error)).ok()
    });
    let Some(mut stream) = connected else {
        let failure = failure.map(|error| format!(" ({error})")).unwrap_or_default();
        bail!("nothing answers at {host} port {port}{failure}; is FELIX_HEALTHENABLED true?");
    };
    let doing = || format!("{path} of {host} port {port} does not answer");
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(doing)?;
    let mut answer = Vec::new();
    stream.take(1 << 16).read_to_end(&mut answer).with_context(doing)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).with_context(doing)?;
    Ok((status, body.to_owned()))
}

/// With a limit, asks for sessions too: all of them on a node that was started since then, else one of them.
async fn bird(socket: &Path, limit: Option<Duration>) -> Result<()> {
    let mut birdc = Birdc::connect(socket).await?;
    let protocols = birdc.protocols().await?;
    let Some(limit) = limit else { return Ok(()) };
    let named = |name: &str| ["Mesh_", "Node_", "Global_"].iter().any(|prefix| name.starts_with(prefix));
    let sessions: Vec<_> = protocols.iter().filter(|p| p.kind == "BGP" && named(&p.name)).collect();
    let down: Vec<&str> =
        sessions.iter().filter(|s| !s.info.starts_with("Established")).map(|s| s.name.as_str()).collect();
    let fresh = fresh(limit);
    if !down.is_empty() && (fresh || down.len() == sessions.len()) {
        bail!("sessions are not up: {}", down.join(", "));
    }
    // Until it is over, routes of the peers are not in the kernel.
    if fresh && !sessions.is_empty() {
        let status = birdc.ask("show status").await?;
        if status.lines.iter().any(|(_, line)| line.contains(RECOVERY)) {
            bail!("a graceful restart is in progress");
        }
    }
    Ok(())
}

/// True if this node was started less than `limit` ago; the agent writes its name down when it starts.
fn fresh(limit: Duration) -> bool {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let file = match (given("CALICO_NODENAME_FILE"), given("TORTIE_LIB_DIR")) {
        (Some(file), _) => file.into(),
        (None, Some(dir)) => Path::new(&dir).join("nodename"),
        (None, None) => Path::new("/var/lib/calico/nodename").to_owned(),
    };
    let written = std::fs::metadata(file).and_then(|m| m.modified());
    // A clock that was set back says nothing.
    written.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or(limit) < limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_answer_has_a_status() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            for answer in
                ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 503 x\r\na: b\r\n\r\nstore is away\n", "hm"]
            {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 512];
                let n = stream.read(&mut asked).unwrap();
                assert!(asked[..n].starts_with(b"GET /readiness HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(get("127.0.0.1", port, "/readiness").unwrap(), (204, String::new()));
        assert_eq!(get("127.0.0.1", port, "/readiness").unwrap(), (503, "store is away\n".to_owned()));
        assert!(get("127.0.0.1", port, "/readiness").is_err());
        server.join().unwrap();
        assert!(
            get("127.0.0.1", port, "/readiness").unwrap_err().to_string().contains("FELIX_HEALTHENABLED")
        );
    }

    #[test]
    fn times() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["", "s", "30", "3h", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_bird_nothing_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(bird(&dir.path().join("bird.ctl"), None)).unwrap_err();
        assert!(error.to_string().contains("bird.ctl"), "{error}");
    }
}
