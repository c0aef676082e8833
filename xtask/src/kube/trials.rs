//! Our own trials on real clusters: built and run here, written in `testing/kube-trials`.

use super::{NotRun, missing, programs};
use crate::{say, tasks};
use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// Runs the trials; an error unless trials ran and all passed. If what they need is not cached, the error is [`NotRun`].
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let lists = arguments.contains(&"--list");
    if !lists && let Some(missing) = missing()? {
        return Err(NotRun { what: "the trials", missing }.into());
    }
    let output = tasks::target_dir().join("kube-trials");
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "-p", "tortie-kube-trials", "--"]).args(arguments);
    if !lists {
        let tortie = std::path::absolute(tasks::build(false)?)?;
        command.arg("--tortie").arg(tortie).arg("--programs").arg(programs::directory()?);
        command.arg("--output").arg(std::path::absolute(output)?);
    }
    say(&format!("$ cargo xtask kube trials {}", arguments.join(" ")));
    let status = command.status().context("cargo cannot be run")?;
    if !status.success() {
        bail!("trials failed: {status}");
    }
    Ok(())
}
