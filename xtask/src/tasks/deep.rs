//! The long suites. One that fails does not hide the others; each has a time limit; a table at the end says what came of them.

mod faults;

use super::{build, is_root, nobody};
use crate::{kube, say, setup};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long one suite may take, in `timeout`'s words: longer than the slowest, shorter than anybody's patience.
const LIMIT: &str = "60m";

/// Packages whose tests take random input, or break something: `PROPTEST_CASES` and the others multiply them.
const PROPERTIES: &[&str] = &[
    "tortie-api",
    "tortie-bird",
    "tortie-blocks",
    "tortie-calc",
    "tortie-delta",
    "tortie-felix-config",
    "tortie-ipam",
    "tortie-labels",
    "tortie-model",
    "tortie-nft",
    "tortie-policy",
    "tortie-rules",
    "tortie-scenario",
    "tortie-selector",
    "tortie-sync",
];

/// The kernel against the evaluator.
const KERNEL: &[&str] = &["tortie-kernel-nft", "tortie-oracle"];

/// Stores that are killed, corrupted and run out of disk.
const STORES: &[&str] = &["tortie-store", "tortie-store-etcd", "tortie-store-suite"];

/// How much more than in `cargo xtask test`.
const MORE: &[&str] = &["PROPTEST_CASES=1500", "ORACLE_ROUNDS=300", "TORTIE_SEEDS=400"];

/// What came of one suite.
struct Row {
    title: String,
    passed: bool,
    time: Duration,
    /// Its last word.
    detail: String,
}

/// The suites, in the order in which they ran.
#[derive(Default)]
struct Suites {
    wanted: Vec<String>,
    rows: Vec<Row>,
}

/// Runs all suites, or those whose titles contain one of the words.
pub(crate) fn deep(wanted: &[String]) -> Result<()> {
    setup::packages()?;
    // Unoptimised, as `cargo xtask test` builds them: more time goes into building than into running.
    let tortie = build(false)?;
    let mut suites = Suites { wanted: wanted.to_vec(), rows: Vec::new() };
    suites.scenarios(&tortie);
    suites.kubernetes(&tortie);
    suites.run("a lab that is broken all the time", |detail| faults::unrest(&tortie, detail));
    suites.run("supervisors killed at random", |detail| faults::killed_supervisors(&tortie, detail));
    for (title, packages) in [
        ("stores: kill -9, full disk, wrong bytes", STORES),
        ("kernel against evaluator", KERNEL),
        ("properties", PROPERTIES),
    ] {
        suites.run(title, |detail| cargo_test(packages, detail));
    }
    suites.finish()
}

impl Suites {
    fn scenarios(&mut self, tortie: &str) {
        let all = "lab/scenarios";
        self.run("scenarios by evaluator", |detail| words(detail, &[tortie, "policy", "test", all]));
        for (title, name, more) in [
            ("scenarios", "xtask-deep", &[][..]),
            ("scenarios, agents killed after each step", "xtask-deep-killed", &["--restart-agents"]),
            ("scenarios, etcd", "xtask-deep-etcd", &["--datastore", "etcd"]),
        ] {
            let mut line = vec![tortie, "lab", "run", all, "--quiet", "--name", name];
            line.extend(more);
            self.run(title, |detail| words(detail, &line));
        }
        // Who is not root has just run them without.
        if is_root() {
            self.run("scenarios, as nobody", |detail| {
                nobody(tortie, Path::new(all), |line| {
                    words(detail, &line.iter().map(String::as_str).collect::<Vec<_>>())
                })
            });
        }
    }

    /// A real API server; real nodes under scenarios, trials and Kubernetes' own suites.
    fn kubernetes(&mut self, tortie: &str) {
        let scenarios = |detail: &mut String, what: &str, more: &[&str]| {
            kube::run(&[what.to_owned()])?;
            let line = [tortie, "lab", "run", "lab/scenarios", "--quiet", "--name", "xtask-deep-kube"];
            words(detail, &[&line[..], more].concat())
        };
        self.run("Kubernetes: scenarios, API server only", |detail| {
            scenarios(detail, "binaries", &["--datastore", "kubernetes"])
        });
        self.run("Kubernetes: scenarios on real nodes", |detail| {
            scenarios(detail, "images", &["--kubernetes", "--lean"])
        });
        self.run("Kubernetes: scenarios on real nodes, VXLAN", |detail| {
            scenarios(detail, "images", &["--kubernetes", "--encapsulation", "vxlan"])
        });
        self.run("Kubernetes: scenarios fail without policy", |detail| {
            kube::run(&["images".to_owned()])?;
            let few = ["lab/scenarios/default-deny-ingress.yaml", "lab/scenarios/by-port.yaml"];
            let line = [&[tortie, "lab", "run", "--quiet", "--name", "xtask-deep-kube"][..], &few];
            match words(
                detail,
                &[&line.concat()[..], &["--kubernetes", "--lean", "--cni", "bridge"]].concat(),
            ) {
                Err(_) if detail.ends_with("differences") => Ok(()),
                Err(error) => Err(error),
                Ok(()) => bail!("scenarios pass on a network that knows no policy: they prove nothing"),
            }
        });
        self.run("Kubernetes: trials", |_| kube::run(&["trials".to_owned()]));
        let e2e = |more: &[&str]| {
            let all: Vec<String> = ["e2e"].iter().chain(more).map(|w| (*w).to_owned()).collect();
            kube::run(&all)
        };
        let others = r"\[Feature:IPv6DualStack\]|NoSNAT|Connectivity Pod Lifecycle|hairpin|source pod IP|HostPort|Granular Checks";
        self.run("Kubernetes: e2e, NetworkPolicy", |_| e2e(&[]));
        self.run("Kubernetes: e2e, conformance", |_| e2e(&["--focus", r"\[sig-network\].*\[Conformance\]"]));
        self.run("Kubernetes: e2e, both families and others", |_| e2e(&["--focus", others]));
        self.run("Kubernetes: e2e fails without policy", |_| {
            let some = "Netpol.*(default-deny-all|default-deny-ingress|multiple egress policies)";
            match e2e(&["--cni", "bridge", "--focus", some]) {
                Err(error) if format!("{error:#}").contains("specs failed") => Ok(()),
                Err(error) => Err(error),
                Ok(()) => bail!("the suite passes on a network that knows no policy: it proves nothing"),
            }
        });
    }

    /// Runs a suite, which leaves its last word in its argument, unless it is not wanted.
    fn run(&mut self, title: &str, suite: impl FnOnce(&mut String) -> Result<()>) {
        let lower = title.to_lowercase();
        if !self.wanted.is_empty() && !self.wanted.iter().any(|w| lower.contains(&w.to_lowercase())) {
            return;
        }
        say(&format!("== {title}"));
        let (started, mut detail) = (Instant::now(), String::new());
        let outcome = suite(&mut detail);
        if let Err(error) = &outcome {
            let error = format!("{error:#}");
            detail = if detail.is_empty() { error } else { format!("{detail}; {error}") };
        }
        let (passed, time) = (outcome.is_ok(), started.elapsed());
        say(&format!("== {title}: {} ({:.0} s)", result(passed), time.as_secs_f64()));
        self.rows.push(Row { title: title.to_owned(), passed, time, detail });
    }

    fn finish(&self) -> Result<()> {
        if self.rows.is_empty() {
            bail!("no suite has {} in its title", self.wanted.join(" or "));
        }
        let width = self.rows.iter().map(|r| r.title.len()).max().unwrap_or(0);
        say(&format!("\n{:<width$}  RESULT  {:>6}  DETAIL", "SUITE", "TIME"));
        for Row { title, passed, time, detail } in &self.rows {
            let seconds = format!("{:.0} s", time.as_secs_f64());
            say(&format!("{title:<width$}  {:<6}  {seconds:>6}  {detail}", result(*passed)));
        }
        let failed = self.rows.iter().filter(|r| !r.passed).count();
        if failed > 0 {
            bail!("{failed} of {} suites failed", self.rows.len());
        }
        Ok(())
    }
}

fn result(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

/// Runs a command under the time limit, passes its standard output on line by line, and hands each line to `look`.
fn follow(line: &[&str], mut look: impl FnMut(&str)) -> Result<()> {
    let shown = line.join(" ");
    say(&format!("$ {shown}"));
    let mut child = Command::new("timeout")
        .args(["--kill-after=30", LIMIT])
        .args(line)
        .stdout(Stdio::piped())
        .spawn()
        .context("timeout (of coreutils) cannot be run")?;
    if let Some(out) = child.stdout.take() {
        for text in BufReader::new(out).split(b'\n') {
            let text = text?;
            let text = String::from_utf8_lossy(&text);
            say(&text);
            look(&text);
        }
    }
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(124 | 137) => bail!("{shown}: not finished after {LIMIT}"),
        _ => bail!("{shown}: {status}"),
    }
}

/// The same; its last line is its last word.
fn words(detail: &mut String, line: &[&str]) -> Result<()> {
    follow(line, |text| {
        if !text.trim().is_empty() {
            text.trim().clone_into(detail);
        }
    })
}

/// `cargo test` of packages with more of everything random.
fn cargo_test(packages: &[&str], detail: &mut String) -> Result<()> {
    let mut line = vec!["env"];
    line.extend(MORE);
    line.extend(["cargo", "test", "--no-fail-fast"]);
    line.extend(packages.iter().flat_map(|p| ["-p", p]));
    let (mut passed, mut failed) = (0, 0);
    let outcome = follow(&line, |text| {
        // "test result: ok. 12 passed; 0 failed; ..."
        let Some(counts) = text.strip_prefix("test result: ") else { return };
        let count = |word: &str| -> u32 {
            let before = counts.split(word).next().unwrap_or_default().trim_end();
            before.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        passed += count("passed");
        failed += count("failed");
    });
    *detail = format!("{passed} tests passed, {failed} failed");
    outcome
}
