//! The tasks that call cargo and the product's own binaries.

use crate::{kube, say, setup, tidy};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

mod bench;
mod deep;

pub(crate) use bench::bench;
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
    kube::server()?;
    let mut cargo = vec!["test".to_owned(), "--workspace".to_owned()];
    cargo.extend_from_slice(args);
    sh("cargo", &cargo)?;
    let tortie = build(false)?;
    sh(&tortie, &["policy", "test", "lab/scenarios"])?;
    sh(&tortie, &["lab", "run", "lab/scenarios", "--name", "xtask-test"])?;
    reuse(&tortie)?;
    let few = ["lab/scenarios/default-deny-ingress.yaml", "lab/scenarios/agent-restart.yaml"];
    let mut run = vec!["lab", "run", "--restart-agents", "--datastore", "etcd", "--name", "xtask-etcd"];
    run.extend(few);
    sh(&tortie, &run)?;
    sh(&tortie, &["lab", "run", "--datastore", "kubernetes", "--name", "xtask-kube", few[0]])?;
    unprivileged(&tortie, few[0])
}

/// No pod inherits a connection.
fn reuse(tortie: &str) -> Result<()> {
    let name = "xtask-reuse";
    sh(tortie, &["lab", "up", "--quiet", "--nodes", "2", "--name", name])?;
    let outcome = sh(tortie, &["lab", "reuse", "--name", name]);
    sh(tortie, &["lab", "down", "--quiet", "--name", name])?;
    outcome
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
