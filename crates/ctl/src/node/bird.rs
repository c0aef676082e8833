//! `tortie node bird`: BIRD in a container of its own, with the configuration that the agent writes.

use super::directory;
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tortie_bird_control::Birdc;

/// How often the configuration is looked for, and BIRD's end.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long BIRD may take to end.
const END: Duration = Duration::from_secs(4);

/// `tortie node bird ...`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End the BIRD of this node so that peers keep its routes until it is back (what a container does before it stops)
    #[arg(long)]
    stop: bool,
    /// The daemon
    #[arg(long, default_value = "/usr/sbin/bird")]
    program: PathBuf,
}

/// Where things are.
struct Files {
    configuration: PathBuf,
    socket: PathBuf,
    pid: PathBuf,
    /// There if BIRD has run since the machine was started.
    before: PathBuf,
}

impl Files {
    fn find() -> Self {
        let run = directory();
        let [socket, pid, before] = ["bird.ctl", "bird.pid", "bird.before"].map(|name| run.join(name));
        Self { configuration: configuration(), socket, pid, before }
    }
}

/// What the agent writes.
pub(super) fn configuration() -> PathBuf {
    let given = std::env::var_os("TORTIE_BIRD_CONFIG").filter(|path| !path.is_empty());
    given.unwrap_or_else(|| "/etc/calico/confd/config/bird.cfg".into()).into()
}

/// Runs the command. Becomes BIRD, unless that is to be stopped or routing is not BIRD's.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let backend = std::env::var("CALICO_NETWORKING_BACKEND").unwrap_or_default();
    let mine = backend.is_empty() || backend.eq_ignore_ascii_case("bird");
    let files = Files::find();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    if args.stop {
        return if mine { runtime.block_on(stop(&files)) } else { Ok(ExitCode::SUCCESS) };
    }
    let ready = runtime.block_on(wait(&files.configuration, mine))?;
    drop(runtime);
    if !ready {
        return Ok(ExitCode::SUCCESS);
    }
    // `-R`: its routes of before are kept until all sessions are back, or for minutes. There are none at first.
    let recover = files.before.exists();
    std::fs::write(&files.before, "").with_context(|| format!("cannot write {}", files.before.display()))?;
    let error = Command::new(&args.program)
        .args(recover.then_some("-R"))
        .args(["-f", "-c"])
        .arg(&files.configuration)
        .arg("-s")
        .arg(&files.socket)
        .arg("-P")
        .arg(&files.pid)
        .exec();
    Err(error).with_context(|| format!("cannot execute {}", args.program.display()))
}

/// Waits for the agent's configuration, or for ever; false when told to stop. As a container's first process it would
/// not even die of a signal that nobody listens to.
async fn wait(configuration: &Path, mine: bool) -> Result<bool> {
    let mut terminate = signal(SignalKind::terminate()).context("listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to signals")?;
    let found = async {
        while !(mine && configuration.is_file()) {
            if mine {
                tokio::time::sleep(INTERVAL).await;
            } else {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = found => Ok(true),
        _ = terminate.recv() => Ok(false),
        _ = interrupt.recv() => Ok(false),
    }
}

/// Told to stop, BIRD would take leave of its peers, and they would forget its routes; a graceful restart spares them that.
async fn stop(files: &Files) -> Result<ExitCode> {
    let mut birdc = match Birdc::connect(&files.socket).await {
        Ok(birdc) => birdc,
        // It does not run (yet): nothing to end.
        Err(tortie_bird_control::BirdError::Connect { .. }) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error).context("ask BIRD to end"),
    };
    birdc.ask("graceful restart").await.context("ask BIRD to end")?;
    let begun = Instant::now();
    while tokio::net::UnixStream::connect(&files.socket).await.is_ok() {
        if begun.elapsed() > END {
            bail!("BIRD still runs after {} s", END.as_secs());
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(ExitCode::SUCCESS)
}
