//! `cargo xtask bench`: what things cost, beside a peer or a bound wherever there is one.

mod client;

use super::{build, sh};
use crate::{image, kube, say, setup};
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The whole path in a lab, then its parts; `parts` or `lab` for one of the two. `--cold` measures a build from nothing
/// first, which takes minutes. `kubernetes` measures on real nodes, which takes minutes, too, and only when asked for.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    if let Some((first, rest)) = args.split_first()
        && first == "kubernetes"
    {
        return kubernetes(rest);
    }
    let (flags, words): (Vec<&String>, Vec<&String>) = args.iter().partition(|a| a.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|f| **f != "--cold") {
        bail!("no option {unknown}; there is --cold");
    }
    if let Some(unknown) = words.iter().find(|w| !matches!(w.as_str(), "lab" | "parts")) {
        bail!("no benchmark {unknown:?}; there are lab, parts and kubernetes");
    }
    let wants = |part: &str| words.is_empty() || words.iter().any(|w| *w == part);
    setup::packages()?;
    kube::server()?;
    if !flags.is_empty() {
        cold()?;
    }
    let tortie = build(true)?;
    plugin(&tortie)?;
    if wants("lab") {
        lab(&tortie)?;
    }
    if wants("parts") {
        client::run(&tortie)?;
        parts()?;
    }
    Ok(())
}

/// Clusters of real nodes, in turns with a bridge; the options are those of `tortie lab bench --kubernetes`. The labs go with
/// the program that brought them up, and that goes with this one.
fn kubernetes(options: &[String]) -> Result<()> {
    setup::packages()?;
    kube::nodes()?;
    let tortie = build(true)?;
    let line = ["--pdeathsig", "TERM", &tortie, "lab", "bench", "--kubernetes", "--name", "bench"];
    let plugin = ["--cni-bin".to_owned(), cni()?];
    let words: Vec<String> =
        line.into_iter().map(str::to_owned).chain(plugin).chain(options.iter().cloned()).collect();
    sh("setpriv", &words)
}

/// Builds the plugin as an image carries it.
fn cni() -> Result<String> {
    Ok(image::plugin()?.display().to_string())
}

fn lab(tortie: &str) -> Result<()> {
    let name = "xtask-bench";
    let plugin = cni()?;
    sh(tortie, &["lab", "up", "--quiet", "--nodes", "2", "--name", name, "--cni-bin", &plugin])?;
    let measured = sh(tortie, &["lab", "bench", "--name", name]);
    sh(tortie, &["lab", "down", "--quiet", "--name", name])?;
    measured?;
    sh(tortie, &["lab", "run", "lab/scenarios/shop.yaml", "--name", name])
}

/// Each checks its results and prints ratios. One that fails does not keep the others from running.
fn parts() -> Result<()> {
    let run = ["run", "--quiet", "--release"];
    let bench = ["bench", "--quiet"];
    let parts: [(&[&str], &[&str]); 9] = [
        (&run, &["-p", "tortie-kernel-nft", "--example", "nft_bench"]),
        (&bench, &["-p", "tortie-kernel-net", "--bench", "kernel_net"]),
        (&bench, &["-p", "tortie-probe", "--bench", "probe"]),
        (&bench, &["-p", "tortie-selector", "--bench", "selector"]),
        (&bench, &["-p", "tortie-api", "--bench", "validate"]),
        (&bench, &["-p", "tortie-calc", "--bench", "calc"]),
        (&run, &["-p", "tortie-store-suite", "--bin", "store-bench", "--", "--etcd"]),
        (&run, &["-p", "tortie-store-suite", "--bin", "store-bench", "--", "--scale"]),
        (&run, &["-p", "tortie-store-suite", "--bin", "store-bench", "--", "--kube"]),
    ];
    let mut failed = Vec::new();
    for (how, what) in parts {
        if let Err(error) = sh("cargo", &[how, what].concat()) {
            say(&format!("error: {error:#}"));
            failed.push(what.get(1).copied().unwrap_or_default());
        }
    }
    if !failed.is_empty() {
        bail!("benchmarks failed: {}", failed.join(", "));
    }
    Ok(())
}

/// How long the binaries take to build from sources that are downloaded, without anything built before.
fn cold() -> Result<()> {
    sh("cargo", &["fetch", "--locked"])?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for profile in ["dev", "release"] {
        let target = std::env::temp_dir().join(format!("tortie-cold-{}", std::process::id()));
        let started = Instant::now();
        let outcome = Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--offline", "--profile", profile])
            .args(["-p", "tortie", "-p", "tortie-cni-bin", "--target-dir"])
            .arg(&target)
            .env("CARGO_INCREMENTAL", "0")
            .env_remove("RUSTC_WRAPPER")
            .status();
        let took = started.elapsed();
        std::fs::remove_dir_all(&target).with_context(|| target.display().to_string())?;
        if !outcome.context("cargo cannot be run")?.success() {
            bail!("the cold build with profile {profile} failed");
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        say(&format!(
            "cold build, profile {profile:<8} {:>6.0} s ({processors} processors, load at its end {load})",
            took.as_secs_f64()
        ));
    }
    Ok(())
}

/// Sizes of the binaries, and how long the plugin takes from its start to its end.
fn plugin(tortie: &str) -> Result<()> {
    const STARTS: u32 = 200;
    let cni = cni()?;
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
