//! What listing a large cluster costs: `tortie ctl get -A` of ten thousand policies.

use crate::say;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const POLICIES: usize = 10_000;
/// How long the store may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the policies through the client, lists them in each form, and prints time and memory.
pub(super) fn run(tortie: &str) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("tortie-client-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let socket = dir.join("socket");
    let mut store = Command::new(tortie)
        .args(["store", "serve", "--no-sync", "--path"])
        .arg(dir.join("store"))
        .arg("--socket")
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("the store cannot be started")?;
    let outcome = measure(tortie, &dir, &socket);
    // It may have ended by itself; what it did is judged by the measurement.
    let _ = store.kill();
    store.wait()?;
    std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    outcome
}

fn measure(tortie: &str, dir: &Path, socket: &Path) -> Result<()> {
    let began = Instant::now();
    while !socket.exists() {
        ensure!(began.elapsed() < PATIENCE, "the store does not serve {}", socket.display());
        std::thread::yield_now();
    }
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(tortie);
        command
            .arg("ctl")
            .args(arguments)
            .env("DATASTORE_TYPE", "embedded")
            .env("TORTIE_STORE_SOCKET", socket);
        command
    };
    let file = dir.join("policies.yaml");
    std::fs::write(&file, policies())?;
    let path = file.display().to_string();
    let (took, peak) = timed(ctl(&["create", "-f", &path]), &dir.join("created"))?;
    say(&format!("create {POLICIES} policies     {:>7.2} s {:>7.1} MB", took.as_secs_f64(), peak));
    for (form, lines_each) in [("ps", 1), ("yaml", 26), ("json", 38)] {
        let out = dir.join(form);
        let (took, peak) = timed(ctl(&["get", "networkpolicy", "-A", "-o", form]), &out)?;
        let lines = std::fs::read_to_string(&out)?.lines().count();
        ensure!(lines >= lines_each * POLICIES, "get -o {form} printed {lines} lines");
        say(&format!("get -A -o {form:<5} of them  {:>7.2} s {:>7.1} MB", took.as_secs_f64(), peak));
    }
    Ok(())
}

fn policies() -> String {
    let mut text = String::new();
    for n in 0..POLICIES {
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {{name: p{n}, namespace: ns{}}}\n\
             spec:\n  order: {n}\n  selector: app == 'a{}'\n  types: [Ingress]\n  ingress:\n  - action: Allow\n    \
             protocol: TCP\n    source: {{selector: \"role == 'r{}'\", namespaceSelector: \"team == 't{}'\"}}\n    \
             destination: {{ports: [80, '90:100']}}\n",
            n % 100,
            n % 37,
            n % 11,
            n % 7
        );
    }
    text
}

/// Runs a command to its end; answers how long it took, and its largest resident memory in MB as last seen.
fn timed(mut command: Command, out: &Path) -> Result<(Duration, f64)> {
    let began = Instant::now();
    let mut child = command.stdout(File::create(out)?).spawn().context("tortie cannot be run")?;
    let mut peak = 0.0;
    loop {
        peak = high_water(&child).unwrap_or(peak);
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{command:?}: {status}");
            }
            return Ok((began.elapsed(), peak));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `VmHWM` of a process that runs.
fn high_water(child: &Child) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kb| kb / 1024.0)
}
