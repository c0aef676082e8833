//! Project tasks: `cargo xtask {demo, test, deep, tidy, bench, kube, image, manifests, setup}`.
//!
//! Wiring only: each task calls cargo, the product's own binaries, or `tidy`.

mod demo;
mod image;
mod kube;
mod manifests;
mod oci;
mod setup;
mod tasks;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <task>

  demo    build, start a three-node cluster on this machine, run the shop, show who reaches whom, clean up
  test    install what the tests need, build, run every test and every scenario
  deep    the long suites: every scenario as root, as nobody, on etcd, with killed agents; labs broken while they work;
          more property cases; store faults. With words: only suites with one of them in their titles
  tidy    the rules of the house: floors, sizes, file headers, the crate table
  lint    format and clippy, as CI runs them
  bench   build with optimisation and print the benchmarks: lab, parts, or both; --cold measures a build from nothing, too;
          kubernetes [--rounds N] [--short] [-o json]: real nodes, beside a bridge, about ten minutes
  kube    a real Kubernetes for the tests: `cargo xtask kube help`
  image   the node's container image, without a container engine; --programs DIR takes tortie and tortie-cni from there
  manifests
          deploy/tortie.yaml and tortie-crd-v1.yaml, out of deploy/node.yaml and the definitions of the kinds
  setup   only install the system packages that the other tasks need
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match args.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match task {
        "demo" => demo::run(),
        "test" => tasks::test(rest),
        "deep" => tasks::deep(rest),
        "tidy" => tidy::run(),
        "lint" => tasks::lint(),
        "bench" => tasks::bench(rest),
        "kube" => kube::run(rest),
        "image" => image::run(rest),
        "manifests" => manifests::write(),
        "setup" => setup::packages(),
        "help" | "--help" | "-h" => {
            say(HELP);
            Ok(())
        }
        other => Err(anyhow::anyhow!("no task {other:?}\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            let not_run = error.downcast_ref::<kube::NotRun>().is_some();
            if not_run { ExitCode::from(kube::NotRun::STATUS) } else { ExitCode::FAILURE }
        }
    }
}

/// A line for the person who runs the task.
#[expect(clippy::print_stderr, reason = "the one place where tasks talk")]
fn say(text: &str) {
    eprintln!("{text}");
}
