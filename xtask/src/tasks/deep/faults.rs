//! Labs that are broken while they work.

use super::words;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Scenarios that leave the machinery alone, for a lab whose machinery is broken all the time.
const PEACEFUL: &[&str] = &[
    "default-deny-ingress",
    "policies-come-and-go",
    "pods-come-and-go",
    "pod-labels-change",
    "namespace-labels-change",
    "network-sets",
    "tiers",
];

/// What a lab survives without anybody noticing.
const FAULTS: &[&[&str]] = &[
    &["kill-bird", "1"],
    &["restart-agent", "2"],
    &["kill-store"],
    &["kill-bird", "3"],
    &["restart-agent", "1"],
    &["restart-agent", "3"],
    &["kill-bird", "2"],
];

/// Between two faults: long enough to come back, short enough to hit every step.
const PAUSE: Duration = Duration::from_millis(700);

/// How many supervisors are killed.
const ROUNDS: u64 = 20;

/// Until when in its life a supervisor is killed: some are still building, some are done.
const LIFE: u64 = 6000;

/// How long a killed lab may take to be gone.
const PATIENCE: Duration = Duration::from_secs(15);

/// Scenarios run while agents, BIRD and the store are killed one after the other: every expectation holds all the same.
pub(super) fn unrest(tortie: &str, detail: &mut String) -> Result<()> {
    let name = "xtask-unrest";
    words(detail, &[tortie, "lab", "up", "--quiet", "--name", name])?;
    let files: Vec<String> = PEACEFUL.iter().map(|s| format!("lab/scenarios/{s}.yaml")).collect();
    let mut line = vec![tortie, "lab", "run", "--quiet", "--name", name];
    line.extend(files.iter().map(String::as_str));
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            for fault in FAULTS.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let status = lab(tortie, name, "fault").args(*fault).status();
                done.fetch_add(usize::from(status.is_ok_and(|s| s.success())), Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
        });
        let outcome = words(detail, &line);
        over.store(true, Ordering::Relaxed);
        outcome
    });
    lab(tortie, name, "down").status()?;
    let done = done.into_inner();
    detail.push_str(&format!(", {done} faults"));
    ensure!(done > 0, "no fault could be caused");
    outcome
}

/// Kills supervisors with -9 at random moments of their lives: their commands end, and nothing stays.
pub(super) fn killed_supervisors(tortie: &str, detail: &mut String) -> Result<()> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| u64::from(d.subsec_nanos()) | 1);
    let (mut state, mut early) = (seed, 0);
    let host = interfaces()?;
    for round in 0..ROUNDS {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let moment = Duration::from_millis(state % LIFE);
        let name = format!("xtask-kill-{round}");
        let mut command = lab(tortie, &name, "run").arg("lab/scenarios/agent-restart.yaml").spawn()?;
        let deadline = Instant::now() + PATIENCE;
        let supervisor = loop {
            if let Some(pid) = processes(&name, "supervise")?.first() {
                break *pid;
            }
            ensure!(Instant::now() < deadline, "round {round}: the lab has no supervisor");
            std::thread::sleep(Duration::from_millis(2));
        };
        std::thread::sleep(moment);
        // It may be over by now, which is no failure.
        let killed = Command::new("kill")
            .args(["-9", &supervisor.to_string()])
            .stderr(Stdio::null())
            .status()?
            .success();
        let status = command.wait()?;
        early += u32::from(killed);
        ensure!(
            !killed || !status.success(),
            "round {round}: the command did not notice the death of its lab"
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left: Vec<u32> = ["sandbox", "init", "supervise"]
                .iter()
                .map(|verb| processes(&name, verb))
                .collect::<Result<Vec<_>>>()?
                .concat();
            if left.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "round {round}, killed after {moment:?}: {left:?} live on");
            std::thread::sleep(Duration::from_millis(10));
        }
        // The next command of that name finds the leftovers, and removes them.
        lab(tortie, &name, "down").status()?;
        let list = lab(tortie, &name, "list").output()?;
        ensure!(
            !String::from_utf8_lossy(&list.stdout).contains(&name),
            "round {round}: the lab is still listed"
        );
    }
    ensure!(interfaces()? == host, "the host's own interfaces are not what they were");
    *detail = format!("{early} of {ROUNDS} killed before their end (seed {seed})");
    Ok(())
}

fn lab(tortie: &str, name: &str, verb: &str) -> Command {
    let mut command = Command::new(tortie);
    command.args(["lab", verb, "--quiet", "--name", name]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if verb != "list" {
        command.stdout(Stdio::null());
    }
    command
}

/// The processes of one of a lab's three programs.
fn processes(name: &str, verb: &str) -> Result<Vec<u32>> {
    let wanted = format!("\"name\":\"{name}\"");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('\0').skip(1);
        if words.next() == Some("lab") && words.next() == Some(verb) && line.contains(&wanted) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn interfaces() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/sys/class/net").context("cannot read /sys/class/net")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    if names.is_empty() {
        bail!("/sys/class/net is empty")
    }
    Ok(names)
}
