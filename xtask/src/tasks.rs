//! The tasks that call cargo and the product's own binaries.

use crate::{say, setup, tidy};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::Command;
use std::time::Instant;

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
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    Ok(format!("{target}/{}/tortie", if release { "release" } else { "debug" }))
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
    sh(&tortie, &["lab", "run", "lab/scenarios", "--name", "xtask-test"])
}

/// What is too long for every change.
pub(crate) fn deep() -> Result<()> {
    setup::packages()?;
    let tortie = build(true)?;
    // SAFETY of the environment: xtask is single-threaded.
    sh("env", &["PROPTEST_CASES=2000", "cargo", "test", "--workspace", "--release"])?;
    for datastore in ["embedded", "etcd"] {
        let name = format!("xtask-deep-{datastore}");
        sh(
            &tortie,
            &["lab", "run", "lab/scenarios", "--restart-agents", "--datastore", datastore, "--name", &name],
        )?;
    }
    Ok(())
}

/// Benchmarks.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    setup::packages()?;
    let _ = build(true)?;
    sh("cargo", &["build", "--quiet", "--profile", "cni", "-p", "tortie-cni-bin"])?;
    let mut run = vec!["run", "--quiet", "--release", "-p", "tortie-bench", "--"];
    run.extend(args.iter().map(String::as_str));
    sh("cargo", &run)
}
