//! The demo: a three-node cluster, a shop of thirty pods, its policies, and who reaches whom.

use crate::tasks::{build, sh};
use crate::{say, setup};
use anyhow::Result;
use std::time::Instant;

/// Builds, runs the shop scenario with real packets, shows the matrix, cleans up.
pub(crate) fn run() -> Result<()> {
    setup::packages()?;
    let tortie = build(true)?;
    let started = Instant::now();
    let name = "demo";
    let _ = sh(&tortie, &["lab", "down", "--name", name]);
    let outcome = show(&tortie, name);
    let down = sh(&tortie, &["lab", "down", "--name", name]);
    outcome?;
    down?;
    say(&format!("demo: all as expected, {:.1} s without the build", started.elapsed().as_secs_f64()));
    Ok(())
}

fn show(tortie: &str, name: &str) -> Result<()> {
    sh(tortie, &["lab", "run", "lab/scenarios/shop.yaml", "--keep", "--name", name])?;
    sh(tortie, &["lab", "status", "--name", name])?;
    sh(tortie, &["lab", "matrix", "--name", name])
}
