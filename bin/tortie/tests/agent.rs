//! The agent as a process, with the embedded store, in a network namespace: its start, its settings, the lock.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tortie_test_netns::isolated;

const PATIENCE: Duration = Duration::from_mins(1);

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    directory: tempfile::TempDir,
    // Ended before the store.
    agent: Option<Running>,
    _store: Running,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let store = tortie(directory.path())
            .args(["store", "serve", "--no-sync", "--path"])
            .arg(file("store.redb"))
            .arg("--socket")
            .arg(file("store.sock"))
            .stderr(Stdio::null())
            .spawn();
        let world = Self { agent: None, _store: Running(store.unwrap()), directory };
        world.until("the store listens", || world.file("store.sock").exists().then_some(()));
        world
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&mut self, variables: &[(&str, &str)]) {
        self.agent = None;
        let log = std::fs::File::options().create(true).append(true).open(self.file("log")).unwrap();
        let agent =
            tortie(self.directory.path()).arg("agent").envs(variables.iter().copied()).stderr(log).spawn();
        self.agent = Some(Running(agent.unwrap()));
    }

    /// Polls until there is an answer.
    fn until<T>(&self, what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = poll() {
                return found;
            }
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
                panic!("not in time: {what}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a readiness with this status and these words.
    fn ready(&self, port: u16, status: &str, words: &str) {
        self.until(&format!("readiness {status} {words:?} on {port}"), || {
            get(port, "/readiness").filter(|answer| answer.contains(status) && answer.contains(words))
        });
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let output = tortie(self.directory.path()).arg("ctl").args(arguments).output().unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {told}");
        told
    }

    fn status(&self) -> String {
        let output = tortie(self.directory.path()).args(["node", "status"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn table() -> String {
    let output = Command::new("nft").args(["-s", "list", "table", "inet", "calico"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn tortie(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DATASTORE_TYPE", "embedded")
        .env("TORTIE_STORE_SOCKET", directory.join("store.sock"))
        .env("TORTIE_RUN_DIR", directory)
        .env("TORTIE_LIB_DIR", directory.join("lib"))
        .env("TORTIE_BIRD_CONFIG", directory.join("bird.cfg"))
        .env("NODENAME", "n1")
        .stdin(Stdio::null());
    command
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.is_ok_and(|status| status.success()), "ip {arguments}");
}

fn uplink() {
    ip("link add eth0 type veth peer name eth1");
    ip("address add 10.44.0.5/24 dev eth0");
    ip("address add fd44::5/64 dev eth0 nodad");
    ip("link set eth0 up");
    ip("link set eth1 up");
}

const START: [(&str, &str); 3] =
    [("FELIX_HEALTHENABLED", "true"), ("IP", "autodetect"), ("IP6", "autodetect")];

#[test]
fn a_node_has_what_it_needs_and_lives_by_its_settings() {
    isolated(|| {
        uplink();
        let mut world = World::new();
        world.start(&START);
        world.ready(9099, " 204 ", "");
        let node = world.ctl(&["get", "node", "n1", "-o", "yaml"]);
        assert!(
            node.contains("ipv4Address: 10.44.0.5/24") && node.contains("ipv6Address: fd44::5/64"),
            "{node}"
        );
        let pools = world.ctl(&["get", "ippool"]);
        assert!(pools.contains("default-ipv4-ippool") && pools.contains("default-ipv6-ippool"), "{pools}");
        assert!(world.ctl(&["get", "clusterinformation"]).contains("true"));
        assert_eq!(std::fs::read_to_string(world.file("lib/nodename")).unwrap(), "n1");

        // Ports follow; rules follow by a new engine; what has no effect is named.
        assert!(!table().contains("\"tap*\""));
        let patch = r#"{"spec": {"healthPort": 9199, "prometheusMetricsEnabled": true, "prometheusMetricsPort": 9777,
            "interfacePrefix": "cali,tap", "bpfEnabled": true}}"#;
        world.ctl(&["patch", "felixconfiguration", "default", "--patch", patch]);
        world.ready(9199, " 204 ", "");
        world.until("metrics", || get(9777, "/metrics").filter(|a| a.contains("felix_resync_state 2")));
        world.until("the old port is closed", || get(9099, "/readiness").is_none().then_some(()));
        world.until("rules for more interfaces", || table().contains("\"tap*\"").then_some(()));
        assert!(world.status().contains("BPFEnabled=\"true\""), "{}", world.status());

        // One node's own settings win, and their end brings the others back.
        let patch = r#"{"spec": {"healthPort": 9299}}"#;
        world.ctl(&["patch", "felixconfiguration", "node.n1", "--patch", patch]);
        world.ready(9299, " 204 ", "");
        world.ctl(&["delete", "felixconfiguration", "node.n1"]);
        world.ready(9199, " 204 ", "");
        // The environment wins over all.
        world.start(&[&START[..], &[("FELIX_HEALTHPORT", "9399")]].concat());
        world.ready(9399, " 204 ", "");
    });
}

#[test]
fn a_locked_datastore_stops_nothing_and_changes_nothing() {
    isolated(|| {
        uplink();
        let mut world = World::new();
        world.start(&START);
        world.ready(9099, " 204 ", "");
        world.ctl(&["datastore", "migrate", "lock"]);
        world.ready(9099, " 503 ", "the datastore is locked");
        let before = table();
        let patch = r#"{"spec": {"interfacePrefix": "cali,tap"}}"#;
        world.ctl(&["patch", "felixconfiguration", "default", "--patch", patch]);
        assert!(world.status().contains("not ready"), "{}", world.status());
        assert_eq!(table(), before);
        // An agent that starts meanwhile waits, and leaves what it finds.
        world.start(&START);
        world.ready(9099, " 503 ", "the datastore is locked");
        assert_eq!(table(), before);
        world.ctl(&["datastore", "migrate", "unlock"]);
        world.ready(9099, " 204 ", "");
        world.until("what changed meanwhile", || table().contains("\"tap*\"").then_some(()));
    });
}

#[test]
fn an_address_of_another_node_is_reported_until_it_is_free() {
    isolated(|| {
        uplink();
        let mut world = World::new();
        let other = world.file("other.yaml");
        let node = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: other}\nspec: {bgp: {ipv6Address: 'fd44::5/64'}}\n";
        std::fs::write(&other, node).unwrap();
        world.ctl(&["create", "-f", other.to_str().unwrap()]);
        world.start(&START);
        world.ready(9099, " 503 ", "node other has this node's address fd44::5");
        assert!(world.status().contains("not ready"), "{}", world.status());
        // Policy does not wait for it.
        world.until("the base chains", || table().contains("chain").then_some(()));
        world.ctl(&["delete", "node", "other"]);
        world.ready(9099, " 204 ", "");
    });
}
