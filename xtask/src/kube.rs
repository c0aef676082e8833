//! `cargo xtask kube`: a real Kubernetes for the tests, from its Go modules.
//!
//! What is built is written in `xtask/kube/go.mod` and `go.sum`; what was built lies in a cache outside the tree, by a key of
//! everything that it was built from. Building is all that happens here: clusters are the lab's.

mod cache;
mod e2e;
mod go;
mod images;
mod programs;
mod trials;

use crate::say;
use anyhow::{Result, bail};
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
cargo xtask kube <what>

  binaries [--all]   build kube-apiserver and kubectl, or with --all everything that the tests run, unless cached
  images             build the images that nodes and the upstream suites need, and unpack them for containerd
  e2e [--focus RE] [--skip RE] [--procs N] [--cni tortie|bridge] [--junit FILE]
                     run Kubernetes' own suites on three real nodes (default: NetworkPolicy); fails unless specs ran
                     and all passed
  trials [--list] [--keep] [WORD...]
                     run our own trials (those with one of the words in their names) on real nodes; succeeds only if trials ran
                     and all passed; --keep leaves the cluster of the first failure up. What it needs must be cached: if not, it
                     says so, and its exit status is 3
  smoke              a few specs of NetworkPolicy and a trial, if everything that they need is cached; otherwise says so and is
                     done
  path               print the directory of the binaries; fails if kube-apiserver is not there

KUBEBUILDER_ASSETS, if set, is where kube-apiserver, etcd and kubectl are taken from instead.
TORTIE_CACHE says where the cache is (default: $XDG_CACHE_HOME/tortie, or ~/.cache/tortie).
";

/// What the tests of the Kubernetes datastore need.
pub(crate) fn server() -> Result<()> {
    programs::provide(programs::Wanted::ApiServer)
}

/// What real nodes need.
pub(crate) fn nodes() -> Result<()> {
    images::provide()
}

/// Specs that together deny, allow by port, by namespace and by prefix, and change their mind.
const FEW: &str =
    r"\[sig-network\] Netpol .*(default-deny|based on Ports|except clause|enforce updated policy)";

/// Something did not run because what it needs is not cached.
#[derive(Debug)]
pub(crate) struct NotRun {
    what: &'static str,
    missing: PathBuf,
}

impl NotRun {
    /// The exit status that tells it from a failure.
    pub(crate) const STATUS: u8 = 3;
}

impl std::fmt::Display for NotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "NOT RUN: {}, because {} is not there; `cargo xtask kube binaries --all` (13 minutes on two cores) and `cargo xtask \
             kube images` make it",
            self.what,
            self.missing.display()
        )
    }
}

impl std::error::Error for NotRun {}

/// The first thing that real nodes and suites need, and that is not cached.
fn missing() -> Result<Option<PathBuf>> {
    let cache = cache::root()?;
    let binaries = cache.join("kube/current");
    let needed = ["kubelet", "kube-proxy", "e2e.test", "ginkgo", "coredns", programs::CONTAINERD_2]
        .map(|name| binaries.join(name));
    let images = cache.join(images::IMAGES).join("current");
    Ok(needed.into_iter().chain([images]).find(|path| !path.exists()))
}

/// A trial that is quick and needs nothing of the machine's speed.
const SHORT: &str = "agent-away";

/// What a change is tested with where the programs are there already: building them takes longer than all other tests.
fn smoke() -> Result<()> {
    match missing()? {
        Some(missing) => {
            say(&NotRun { what: "Kubernetes' own suites and our trials", missing }.to_string());
            Ok(())
        }
        None => {
            e2e::run(&["--focus", FEW])?;
            trials::run(&[SHORT])
        }
    }
}

/// Runs `cargo xtask kube`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["binaries"] => server(),
        ["binaries", "--all"] => programs::provide(programs::Wanted::All),
        ["images"] => images::provide(),
        ["e2e", rest @ ..] => e2e::run(rest),
        ["smoke"] => smoke(),
        ["trials", rest @ ..] => trials::run(rest),
        ["path"] => programs::print_path(),
        ["help" | "--help" | "-h"] => {
            say(HELP);
            Ok(())
        }
        other => bail!("kube does not know {:?}\n\n{HELP}", other.join(" ")),
    }
}
