//! The sandbox and the fabric, through the command: whoever runs the tests, root or not, gets a real lab.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A lab with a name of its own that goes down with the test.
struct Lab {
    name: String,
}

fn command(name: &str, args: &[&str]) -> Command {
    // Cargo builds examples with the tests and puts them beside.
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path: PathBuf = path.join("examples/lab");
    let mut command = Command::new(path);
    command
        .arg("lab")
        .arg(args[0])
        .args(["--name", name])
        .args(&args[1..])
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command
}

fn run(name: &str, args: &[&str]) -> Output {
    command(name, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Lab {
    fn name(suffix: &str) -> String {
        format!("t{}-{suffix}", std::process::id())
    }

    fn up(suffix: &str, args: &[&str]) -> Self {
        let lab = Self { name: Self::name(suffix) };
        lab.ok(&[&["up", "--without-agents"], args].concat());
        lab
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = run(&self.name, args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn pings(&self, from: &str, to: &str) -> bool {
        run(&self.name, &["exec", from, "--", "ping", "-c1", "-W2", to]).status.success()
    }

    fn directory(&self) -> PathBuf {
        let list: serde_json::Value = serde_json::from_str(&self.ok(&["status", "-o", "json"])).unwrap();
        list["directory"].as_str().unwrap().into()
    }

    /// Process id of the supervisor or init, as the host sees it.
    fn process(&self, verb: &str) -> String {
        let pattern = format!("lab {verb} .*\"name\":\"{}\"", self.name);
        let output = Command::new("pgrep").args(["-f", &pattern]).output().unwrap();
        text(&output.stdout).trim().to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = run(&self.name, &["down"]);
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_place_reaches_every_other_in_both_families() {
    let lab = Lab::up("mesh", &[]);
    let nodes = [("node1", "172.31.1.11", "fd00:31:1::11"), ("node3", "172.31.2.13", "fd00:31:2::13")];
    let world = ("world", "203.0.113.2", "2001:db8:113::2");
    for (from, ..) in nodes.iter().chain([&world]) {
        for (to, v4, v6) in nodes.iter().chain([&world]) {
            assert!(lab.pings(from, v4), "{from} to {to} by {v4}");
            assert!(lab.pings(from, v6), "{from} to {to} by {v6}");
        }
    }
}

#[test]
fn a_cut_node_is_alone_until_it_is_healed() {
    let lab = Lab::up("cut", &["--fabric", "flat", "--nodes", "2"]);
    lab.ok(&["fault", "cut", "2"]);
    let gone = run(&lab.name, &["exec", "node1", "--", "ping", "-c1", "-W1", "172.31.1.12"]);
    assert_eq!(gone.status.code(), Some(1));
    lab.ok(&["fault", "heal", "2"]);
    assert!(lab.pings("node1", "172.31.1.12"));
    assert!(lab.pings("node1", "fd00:31:1::12"));
}

#[test]
fn labs_live_side_by_side_and_a_second_up_is_harmless() {
    let one = Lab::up("one", &["--nodes", "1"]);
    let two = Lab::up("two", &["--nodes", "2"]);
    let again = one.ok(&["up", "--without-agents", "--nodes", "1"]);
    assert!(again.contains("is up already"), "{again}");
    let other = run(&one.name, &["up", "--without-agents", "--nodes", "3"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("--nodes is \"1\""), "{}", text(&other.stderr));
    let list = one.ok(&["list"]);
    assert!(list.contains(&one.name) && list.contains(&two.name), "{list}");
}

#[test]
fn nothing_outlives_the_supervisor() {
    for victim in ["supervise", "init"] {
        let lab = Lab::up(victim, &["--nodes", "1"]);
        let directory = lab.directory();
        // A command inside must not outlive it either.
        let mut inside = command(&lab.name, &["exec", "node1", "--", "sleep", "1000"]).spawn().unwrap();
        let pid = lab.process(victim);
        assert!(!pid.is_empty());
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        inside.wait().unwrap();
        until("processes remain", || lab.process("init").is_empty() && lab.process("supervise").is_empty());
        let status = run(&lab.name, &["status"]);
        assert_eq!(status.status.code(), Some(2));
        // This command removed the leftovers, or another test's did before it.
        assert!(text(&status.stderr).contains("is up"), "{}", text(&status.stderr));
        assert!(!directory.exists());
    }
}

#[test]
fn an_interrupted_start_leaves_nothing() {
    for signal in ["-INT", "-KILL"] {
        let lab = Lab { name: Lab::name(signal.trim_start_matches('-').to_lowercase().as_str()) };
        // More nodes than can be made before the signal comes.
        let up: Child = command(&lab.name, &["up", "--without-agents", "--nodes", "200"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("no supervisor", || !lab.process("supervise").is_empty());
        assert!(Command::new("kill").args([signal, &up.id().to_string()]).status().unwrap().success());
        let output = up.wait_with_output().unwrap();
        assert!(!output.status.success());
        if signal == "-INT" {
            assert_eq!(output.status.code(), Some(130));
            assert!(text(&output.stderr).contains("nothing is left of it"), "{}", text(&output.stderr));
        }
        until("the sandbox lives on", || lab.process("init").is_empty());
        assert_eq!(run(&lab.name, &["status"]).status.code(), Some(2));
    }
}

#[test]
fn exec_passes_on_status_environment_and_directory() {
    let lab = Lab::up("exec", &["--nodes", "1"]);
    assert_eq!(run(&lab.name, &["exec", "node1", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(run(&lab.name, &["exec", "node1", "--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(
        lab.ok(&["exec", "node1", "--", "sh", "-c", "echo $NODENAME $IP6"]),
        "node1 fd00:31:1::11/64\n"
    );
    let here = std::env::current_dir().unwrap();
    assert_eq!(lab.ok(&["exec", "node1", "--", "pwd"]).trim(), here.to_str().unwrap());
    let nowhere = run(&lab.name, &["exec", "nowhere", "--", "true"]);
    assert!(text(&nowhere.stderr).contains("there are node1, router"), "{}", text(&nowhere.stderr));
}

#[test]
fn objects_are_applied_once_and_deleted_with_their_namespace() {
    let lab = Lab::up("objects", &["--nodes", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.yaml");
    let yaml = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
                apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n\
                spec: {podSelector: {}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    std::fs::write(&file, yaml).unwrap();
    let apply = || -> Vec<String> {
        let out = lab.ok(&["apply", "-f", file.to_str().unwrap(), "-o", "json"]);
        let out: serde_json::Value = serde_json::from_str(&out).unwrap();
        out["outcomes"].as_array().unwrap().iter().map(|o| o["result"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(apply(), ["applied", "applied", "skipped"]);
    assert_eq!(apply(), ["unchanged", "unchanged", "skipped"]);
    lab.ok(&["fault", "kill-store"]);
    assert_eq!(apply(), ["unchanged", "unchanged", "skipped"]);
    assert!(lab.ok(&["delete", "ns", "shop"]).contains("with 1 object in it"));
    assert_eq!(apply(), ["applied", "applied", "skipped"]);
    std::fs::write(&file, "kind: Pod\n---\na: [\n").unwrap();
    let bad = run(&lab.name, &["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("x.yaml:"), "{}", text(&bad.stderr));
}
