//! The tasks that call cargo and the product's own binaries.

use crate::{say, setup, tidy};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

mod deep;

pub(crate) use deep::deep;

/// Runs a command and fails with its name if it does.
pub(crate) fn sh<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<()> {
    let shown: Vec<String> = args.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
    let line = format!("{program} {}", shown.join(" "));
    say(&format!("$ {line}"));
    let started = Instant::now();
    let status =
        Command::new(program).args(args).status().with_context(|| format!("{program} cannot be run"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    say(&format!("  ({:.1} s)", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Builds the two binaries and answers the path of `tortie`.
pub(crate) fn build(release: bool) -> Result<String> {
    let mut args = vec!["build", "--quiet", "-p", "tortie", "-p", "tortie-cni-bin"];
    if release {
        args.push("--release");
    }
    sh("cargo", &args)?;
    let target = target_dir().display().to_string();
    Ok(format!("{target}/{}/tortie", if release { "release" } else { "debug" }))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// Format and clippy.
pub(crate) fn lint() -> Result<()> {
    sh("cargo", &["fmt", "--all", "--check"])?;
    sh("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Every test, then every scenario by evaluator and by packets.
pub(crate) fn test(args: &[String]) -> Result<()> {
    setup::packages()?;
    tidy::run()?;
    let mut cargo = vec!["test".to_owned(), "--workspace".to_owned()];
    cargo.extend_from_slice(args);
    sh("cargo", &cargo)?;
    let tortie = build(false)?;
    sh(&tortie, &["policy", "test", "lab/scenarios"])?;
    sh(&tortie, &["lab", "run", "lab/scenarios", "--name", "xtask-test"])?;
    let few = ["lab/scenarios/default-deny-ingress.yaml", "lab/scenarios/agent-restart.yaml"];
    let mut run = vec!["lab", "run", "--restart-agents", "--datastore", "etcd", "--name", "xtask-etcd"];
    run.extend(few);
    sh(&tortie, &run)?;
    unprivileged(&tortie, few[0])
}

/// True if this is root.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"))
}

/// Root is not needed: the same, as nobody. Only where this is root, who else is not anyway.
fn unprivileged(tortie: &str, scenario: &str) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    nobody(tortie, Path::new(scenario), |line| match line.split_first() {
        Some((program, args)) => sh(program, args),
        None => Ok(()),
    })
}

/// Copies the binaries and a scenario, or a directory of them, to where nobody may read them; `run` gets the command line that runs
/// them as nobody.
fn nobody(tortie: &str, scenarios: &Path, run: impl FnOnce(&[String]) -> Result<()>) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("tortie-nobody-{}", std::process::id()));
    let path = |name: &str| dir.join(name).display().to_string();
    std::fs::create_dir_all(dir.join("run"))?;
    std::fs::copy(tortie, path("tortie"))?;
    std::fs::copy(format!("{tortie}-cni"), path("tortie-cni"))?;
    // Scenarios name manifests beside their directory.
    sh("cp", &["-r", "lab", &path("lab")])?;
    let own = dir.display().to_string();
    sh("chown", &["-R", "65534:65534", &own])?;
    let (runtime, scenarios) =
        (format!("XDG_RUNTIME_DIR={own}/run"), dir.join(scenarios).display().to_string());
    let tortie = path("tortie");
    let line = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "env",
        &runtime,
        &tortie,
        "lab",
        "run",
        "--quiet",
        &scenarios,
    ];
    let outcome = run(&line.map(str::to_owned));
    std::fs::remove_dir_all(&dir)?;
    outcome
}

/// Benchmarks: the whole path in a lab, then its parts beside their peers or bounds; `parts` or `lab` for one of the two.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    setup::packages()?;
    let only = args.first().map(String::as_str);
    let tortie = build(true)?;
    plugin(&tortie)?;
    if only != Some("parts") {
        let name = "xtask-bench";
        sh(&tortie, &["lab", "up", "--quiet", "--nodes", "2", "--name", name])?;
        let measured = sh(&tortie, &["lab", "bench", "--name", name]);
        sh(&tortie, &["lab", "down", "--quiet", "--name", name])?;
        measured?;
        sh(&tortie, &["lab", "run", "lab/scenarios/shop.yaml", "--name", name])?;
    }
    if only != Some("lab") {
        sh("cargo", &["run", "--quiet", "--release", "-p", "tortie-kernel-nft", "--example", "nft_bench"])?;
        sh("cargo", &["bench", "--quiet", "-p", "tortie-kernel-net"])?;
        sh("cargo", &["bench", "--quiet", "-p", "tortie-probe"])?;
        sh("cargo", &["bench", "--quiet", "-p", "tortie-calc"])?;
        sh(
            "cargo",
            &[
                "run",
                "--quiet",
                "--release",
                "-p",
                "tortie-store-suite",
                "--bin",
                "store-bench",
                "--",
                "--etcd",
            ],
        )?;
    }
    Ok(())
}

/// Sizes of the binaries, and how long the plugin takes from its start to its end.
fn plugin(tortie: &str) -> Result<()> {
    const STARTS: u32 = 200;
    sh("cargo", &["build", "--quiet", "--profile", "cni", "-p", "tortie-cni-bin"])?;
    let cni = tortie.replace("/release/tortie", "/cni/tortie-cni");
    for (name, path) in [("tortie", tortie), ("tortie-cni", cni.as_str())] {
        let bytes = std::fs::metadata(path).with_context(|| format!("{path} was not built"))?.len();
        say(&format!("{name:<12} {:>8.2} MB", bytes as f64 / 1e6));
    }
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let status = Command::new(&cni)
            .env("CNI_COMMAND", "VERSION")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        times.push(started.elapsed());
        if !status.success() {
            bail!("{cni}: {status}");
        }
    }
    times.sort();
    let at = |q: usize| times.get(times.len() * q / 100).copied().unwrap_or_default().as_secs_f64() * 1e3;
    say(&format!("tortie-cni, fork to exit: p50 {:.2} ms, p99 {:.2} ms ({STARTS} starts)", at(50), at(99)));
    Ok(())
}
