//! The plugin on a node whose network was removed, as a runtime calls it.

#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tortie_kernel_net::{Netlink, NewLink, Route, RouteFilter, RouteKind, RouteProtocol, TableId, VethPeer};
use tortie_removal::Mark;
use tortie_test_netns::isolated;

/// SHA-1 of `shop.web-1` and `shop.web-2` gives the names of their interfaces.
const PODS: [&str; 2] = ["web-1", "web-2"];

/// A node in the network namespace of the thread.
struct Node {
    dir: TempDir,
    host: Netlink,
}

impl Node {
    /// With two pods, as the agent left it.
    fn new() -> Self {
        let node = Self { dir: TempDir::new().unwrap(), host: Netlink::open().unwrap() };
        for directory in ["lib/cni-del", "run", "net.d", "bin"] {
            fs::create_dir_all(node.path(directory)).unwrap();
        }
        for name in ["calico", "calico-ipam"] {
            fs::copy(env!("CARGO_BIN_EXE_tortie-cni"), node.path("bin").join(name)).unwrap();
        }
        fs::write(node.path("net.d/10-calico.conflist"), json!({"plugins": [node.conf()]}).to_string())
            .unwrap();
        fs::write(node.path("run/bird.cfg"), "").unwrap();
        for pod in PODS {
            let name = tortie_cni_name(pod);
            node.host.add_link(&NewLink { up: true, ..NewLink::veth(name, VethPeer::new(pod)) }).unwrap();
        }
        let block = Route::special("10.65.1.0/26".parse().unwrap(), RouteKind::Blackhole);
        node.host.add_route(&block.by(RouteProtocol::BIRD)).unwrap();
        node.mark(true);
        node
    }

    fn mark(&self, ended: bool) {
        let mark = Mark {
            reason: "namespace calico-system is being deleted".to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            ended,
            interface_prefix: "cali".to_owned(),
            networks: ["10.65.0.0/16".parse().unwrap()].into(),
            ..Mark::default()
        };
        mark.write(&self.path("lib")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn conf(&self) -> Value {
        json!({"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico",
            "agent_socket": self.path("run/agent.sock"), "journal_dir": self.path("lib/cni-del"), "conf_dir": self.path("net.d")})
    }

    fn call(&self, command: &str, pod: &str) -> (bool, Value) {
        let mut plugin = Command::new(self.path("bin/calico"))
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("c-{pod}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/proc/self/ns/net")
            .env("CNI_ARGS", format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        plugin.stdin.take().unwrap().write_all(self.conf().to_string().as_bytes()).unwrap();
        let output = plugin.wait_with_output().unwrap();
        (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }

    fn links(&self) -> Vec<String> {
        let links = self.host.links().unwrap().into_iter().map(|l| l.name);
        links.filter(|name| name.starts_with("cali")).collect()
    }

    fn routes(&self) -> usize {
        let filter = RouteFilter { table: Some(TableId::MAIN), ..RouteFilter::default() };
        let routes = self.host.routes(filter).unwrap();
        routes.iter().filter(|r| r.protocol == RouteProtocol::BIRD).count()
    }

    fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for directory in ["lib", "run", "net.d", "bin"] {
            let entries = fs::read_dir(self.path(directory)).into_iter().flatten();
            names.extend(entries.map(|e| e.unwrap().file_name().into_string().unwrap()));
        }
        names.sort();
        names
    }
}

fn tortie_cni_name(pod: &str) -> &'static str {
    match pod {
        "web-1" => "cali751425ce827",
        _ => "calib8419a605df",
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn pods_end_one_by_one_and_the_last_takes_everything_along() {
    isolated(|| {
        let node = Node::new();
        let (done, answer) = node.call("ADD", "new");
        assert!(!done);
        let text = answer.to_string();
        for want in
            ["pod shop/new", "was removed at 2026-01-02T03:04:05Z", "calico-system", "install a network"]
        {
            assert!(text.contains(want), "{want}: {text}");
        }
        // The runtime cleans up after a failed ADD; that is no pod's end.
        assert!(node.call("DEL", "new").0);
        assert_eq!((node.links().len(), node.routes()), (2, 1));
        assert!(node.call("DEL", "web-1").0);
        assert_eq!((node.links(), node.routes()), (vec![tortie_cni_name("web-2").to_owned()], 1));
        assert!(node.files().contains(&"10-calico.conflist".to_owned()));
        assert!(node.call("DEL", "web-2").0);
        assert_eq!((node.links().len(), node.routes(), node.files()), (0, 0, Vec::new()));
        assert!(!node.path("lib").exists() && !node.path("run").exists());
    });
}

#[test]
fn another_network_takes_over_and_the_last_pod_ends_without_us() {
    isolated(|| {
        let node = Node::new();
        fs::write(node.path("net.d/20-bridge.conf"), r#"{"type": "bridge"}"#).unwrap();
        let (done, answer) = node.call("ADD", "new");
        assert!(
            !done && answer["details"].as_str().unwrap().starts_with("20-bridge.conf takes over"),
            "{answer}"
        );
        assert!(!node.files().contains(&"10-calico.conflist".to_owned()));
        assert_eq!((node.links().len(), node.routes()), (2, 1));
        for pod in PODS {
            node.host.delete_link(tortie_cni_name(pod)).unwrap();
        }
        until("nobody waits for the last pod", || node.files() == ["20-bridge.conf"]);
        assert_eq!(node.routes(), 0);
    });
}

#[test]
fn pods_that_end_at_once_find_one_who_is_the_last() {
    isolated(|| {
        for _ in 0..10 {
            let node = Node::new();
            let namespace = tortie_kernel_net::NetNs::current().unwrap();
            std::thread::scope(|scope| {
                for pod in PODS {
                    let (node, namespace) = (&node, &namespace);
                    scope.spawn(move || namespace.run(|| assert!(node.call("DEL", pod).0)).unwrap());
                }
            });
            assert_eq!((node.links().len(), node.routes(), node.files()), (0, 0, Vec::new()));
        }
    });
}

#[test]
fn an_agent_that_is_on_its_way_out_keeps_things_together() {
    isolated(|| {
        let node = Node::new();
        node.mark(false);
        let agent = std::os::unix::net::UnixListener::bind(node.path("run/agent.sock")).unwrap();
        for pod in PODS {
            assert!(node.call("DEL", pod).0);
        }
        assert_eq!((node.links().len(), node.routes()), (0, 1));
        assert!(Path::new(&node.path("net.d/10-calico.conflist")).exists());
        // It was killed before it could say so.
        drop(agent);
        assert!(!node.call("ADD", "new").0);
        assert_eq!((node.routes(), node.files()), (0, Vec::new()));
    });
}
