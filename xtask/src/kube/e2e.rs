//! Kubernetes' own end-to-end suites, against a lab of real nodes.
//!
//! The suites decide; here the cluster is brought up, DNS is added, and the report is read: success means that specs ran and that
//! all of them passed.

use super::{images, programs};
use crate::{say, tasks};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What to run, unless told: Kubernetes' own tests of NetworkPolicy.
const FOCUS: &str = r"\[sig-network\] Netpol";

/// What no lab can pass: it has no cloud, no Internet, no machines to break, and its times are those of a busy machine.
const SKIP: &str = "SCTP|LoadBalancer|Internet|DNS configMap|Provider:GCE|\\[Disruptive\\]|kube-proxy migration|latency should not be very high";

/// What was asked for.
#[derive(Debug)]
struct Wish {
    focus: String,
    skip: String,
    procs: usize,
    cni: String,
    junit: Option<PathBuf>,
}

impl Wish {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut wish =
            Self { focus: FOCUS.into(), skip: SKIP.into(), procs: 4, cni: "tortie".into(), junit: None };
        let mut rest = args.iter();
        while let Some(flag) = rest.next() {
            let value = *rest.next().with_context(|| format!("{flag} needs a value"))?;
            match *flag {
                "--focus" => value.clone_into(&mut wish.focus),
                "--skip" => value.clone_into(&mut wish.skip),
                "--procs" => {
                    wish.procs = value.parse().with_context(|| format!("--procs {value:?} is no number"))?;
                }
                "--cni" => value.clone_into(&mut wish.cni),
                "--junit" => wish.junit = Some(std::path::absolute(value)?),
                other => bail!("e2e does not know {other:?}\n\n{}", super::HELP),
            }
        }
        Ok(wish)
    }
}

/// Runs the suites.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let wish = Wish::parse(args)?;
    images::provide()?;
    let tortie = std::path::absolute(tasks::build(false)?)?;
    let lab = Lab { tortie, name: format!("e2e-{}", std::process::id()), binaries: programs::directory()? };
    lab.command(&["up", "--quiet", "--kubernetes", "--nodes", "3", "--cni", &wish.cni])?;
    let outcome = lab.run(&wish);
    let down = lab.command(&["down", "--quiet"]);
    let results = outcome?;
    down?;
    judge(&results)
}

/// A lab of real nodes.
struct Lab {
    tortie: PathBuf,
    name: String,
    binaries: PathBuf,
}

impl Lab {
    /// `tortie lab` with this lab's name.
    fn tortie(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.tortie);
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg("lab").args(["--name", &self.name]).args(args).stdin(Stdio::null());
        // The suites call kubectl.
        command.env("PATH", format!("{}:{path}", self.binaries.display()));
        command
    }

    fn command(&self, args: &[&str]) -> Result<()> {
        say(&format!("$ tortie lab {}", args.join(" ")));
        let status = self.tortie(args).status().context("tortie cannot be run")?;
        if !status.success() {
            bail!("tortie lab {}: {status}", args.join(" "));
        }
        Ok(())
    }

    /// Where the API server can be reached, and where it reaches pods.
    fn inside(&self, args: &[&str]) -> Result<()> {
        self.command(&[&["exec", "router", "--"], args].concat())
    }

    /// Brings up DNS and runs the suites; answers what became of each spec that ran.
    fn run(&self, wish: &Wish) -> Result<Vec<Spec>> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube/coredns.yaml");
        self.inside(&["kubectl", "apply", "-f", &manifest.display().to_string()])?;
        self.inside(&[
            "kubectl",
            "-n",
            "kube-system",
            "rollout",
            "status",
            "deployment/coredns",
            "--timeout=60s",
        ])?;
        let dir = tasks::target_dir().join("kube-e2e");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let log = dir.join("suite.log");
        let report = dir.join("report.json");
        let _ = std::fs::remove_file(&report);
        say(&format!(
            "specs of {:?} but {:?}, {} at a time; log: {}",
            wish.focus,
            wish.skip,
            wish.procs,
            log.display()
        ));
        let started = Instant::now();
        let mut args = vec!["exec".to_owned(), "router".to_owned(), "--".to_owned(), "ginkgo".to_owned()];
        args.push(format!("--procs={}", wish.procs));
        args.push(format!("--focus={}", wish.focus));
        args.push(format!("--skip={}", wish.skip));
        args.push("--no-color".to_owned());
        args.push(format!("--output-dir={}", dir.display()));
        args.push("--json-report=report.json".to_owned());
        args.push("--junit-report=junit.xml".to_owned());
        args.push(self.binaries.join("e2e.test").display().to_string());
        args.extend(["--", "--provider=skeleton", "--disable-log-dump"].map(str::to_owned));
        let file = std::fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let status = self
            .tortie(&words)
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .context("tortie cannot be run")?;
        say(&format!("  ({:.0} s, {status})", started.elapsed().as_secs_f64()));
        if let Some(to) = &wish.junit {
            std::fs::copy(dir.join("junit.xml"), to)
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
        let text = std::fs::read_to_string(&report)
            .with_context(|| format!("the suite wrote no report; see {}", log.display()))?;
        read(&serde_json::from_str(&text).context("the suite's report makes no sense")?)
    }
}

/// A spec that ran.
#[derive(Debug, PartialEq)]
struct Spec {
    name: String,
    state: String,
    seconds: f64,
    failure: String,
}

/// The specs of a report that ran; broken set-up counts as one.
fn read(report: &Value) -> Result<Vec<Spec>> {
    let suites = report.as_array().context("the suite's report is no list")?;
    let specs = suites.iter().filter_map(|suite| suite.get("SpecReports")?.as_array()).flatten();
    let text = |spec: &Value, pointer: &str| {
        spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let ran = specs.filter_map(|spec| {
        let state = text(spec, "/State");
        let is_spec = text(spec, "/LeafNodeType") == "It";
        if matches!(state.as_str(), "skipped" | "pending" | "") || (!is_spec && state == "passed") {
            return None;
        }
        let containers = spec.get("ContainerHierarchyTexts").and_then(Value::as_array);
        let mut words: Vec<&str> = containers.into_iter().flatten().filter_map(Value::as_str).collect();
        let leaf = text(spec, "/LeafNodeText");
        words.push(&leaf);
        let seconds = spec.get("RunTime").and_then(Value::as_f64).unwrap_or_default() / 1e9;
        Some(Spec { name: words.join(" "), state, seconds, failure: text(spec, "/Failure/Message") })
    });
    Ok(ran.collect())
}

/// Prints the table; an error unless specs ran and all passed.
fn judge(specs: &[Spec]) -> Result<()> {
    for spec in specs {
        say(&format!("{:<8} {:>6.1} s  {}", spec.state, spec.seconds, spec.name));
    }
    let failed: Vec<&Spec> = specs.iter().filter(|s| s.state != "passed").collect();
    for spec in &failed {
        let first = spec.failure.lines().next().unwrap_or_default();
        say(&format!("{}: {}: {first}", spec.state, spec.name));
    }
    let passed = specs.len() - failed.len();
    say(&format!("{passed} passed, {} failed", failed.len()));
    if specs.is_empty() {
        bail!("no spec ran: does --focus match any?");
    }
    if !failed.is_empty() {
        bail!("{} of {} specs failed", failed.len(), specs.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_ran_is_no_success() {
        let spec = |kind: &str, state: &str| json!({"LeafNodeType": kind, "State": state, "LeafNodeText": "x", "RunTime": 2e9});
        let of = |specs: Vec<Value>| read(&json!([{"SpecReports": specs}])).unwrap();
        assert!(judge(&of(vec![spec("It", "skipped")])).is_err());
        assert!(judge(&of(vec![spec("It", "passed"), spec("BeforeSuite", "passed")])).is_ok());
        assert_eq!(of(vec![spec("It", "passed"), spec("BeforeSuite", "passed")]).len(), 1);
        assert!(judge(&of(vec![spec("It", "passed"), spec("It", "failed")])).is_err());
        assert!(judge(&of(vec![spec("It", "passed"), spec("SynchronizedBeforeSuite", "failed")])).is_err());
        assert!(judge(&of(vec![spec("It", "timedout")])).is_err());
    }

    #[test]
    fn flags_are_read() {
        let wish = Wish::parse(&["--cni", "bridge", "--procs", "2"]).unwrap();
        assert_eq!((wish.cni.as_str(), wish.procs, wish.focus.as_str()), ("bridge", 2, FOCUS));
        assert!(Wish::parse(&["--nonsense", "1"]).is_err() && Wish::parse(&["--focus"]).is_err());
    }
}
