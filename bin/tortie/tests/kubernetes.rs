//! The agent with nothing but the rights that `deploy/tortie.yaml` gives it, on a real API server.
//!
//! Everything runs in a network namespace: etcd, the API server, and the agent, which finds the API server, its token and
//! its settings as a pod of the DaemonSet does. The server's audit log tells what was asked for, and what was refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "kubernetes/problems.rs"]
mod problems;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_store_suite::kube::Cluster;
use tortie_test_netns::{Node, isolated};

const PATIENCE: Duration = Duration::from_mins(1);

/// Who the agent is.
const ACCOUNT: &str = "system:serviceaccount:calico-system:calico-node";

/// Makes mounts of its own for the agent: a pod's secrets, and a `/proc/sys` as containers have it.
const CONTAINER: &str = r#"set -e
secrets=$1 sys=$2; shift 2
mount --make-rprivate /
mount --bind /proc/sys/net "$sys/net"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /var/run
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp "$secrets"/* /var/run/secrets/kubernetes.io/serviceaccount
exec "$@"
"#;

/// Rights that a quiet day does not use: what they are for.
const RARE: &[(&str, &str, &str)] = &[
    ("projectcalico.org", "clusterinformations", "update"), // another version of ours, a word about the cluster
    ("projectcalico.org", "felixconfigurations", "update"), // defaults that somebody removed
    ("projectcalico.org", "blockaffinities", "delete"),     // two nodes want one block: the other one has it
    ("projectcalico.org", "ipamblocks", "delete"),          // the same, found out later
    ("projectcalico.org", "ipamhandles", "update"),         // a pod with addresses of one more block
];

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
    cluster: Arc<Cluster>,
    variables: BTreeMap<String, String>,
    agent: Option<Running>,
}

impl World {
    fn file(&self, name: &str) -> PathBuf {
        self.cluster.directory().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("agent.log")).unwrap_or_default()
    }

    /// Polls until there is an answer.
    fn until<T>(&self, what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = poll() {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "not in time: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes what a cluster has before its network: the manifest, a node, and the account's token.
    fn install(&mut self) {
        self.apply_manifest();
        self.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
        self.cluster.kubectl(&["create", "-f", "-"], &node.to_string());

        let secrets = self.file("secrets");
        std::fs::create_dir_all(&secrets).unwrap();
        std::fs::create_dir_all(self.file("sys/net")).unwrap();
        let token = self.cluster.kubectl(&["create", "token", "calico-node", "-n", "calico-system"], "");
        std::fs::write(secrets.join("token"), token.trim()).unwrap();
        std::fs::copy(self.file("pki/apiserver.crt"), secrets.join("ca.crt")).unwrap();
        self.variables = self.container_variables();
    }

    fn apply_manifest(&self) {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/tortie.yaml");
        self.cluster.kubectl(&["apply", "-f", &manifest.display().to_string()], "");
    }

    /// The environment of the DaemonSet's agent, with directories of this test.
    fn container_variables(&self) -> BTreeMap<String, String> {
        let set = self.cluster.shown(&["daemonset", "calico-node", "-n", "calico-system"]);
        let config = self.cluster.shown(&["configmap", "calico-config", "-n", "calico-system"]);
        let containers = set.pointer("/spec/template/spec/containers").unwrap().as_array().unwrap();
        let agent = containers.iter().find(|c| c["name"] == "calico-node").unwrap();
        assert_eq!(agent["args"], json!(["agent"]));
        let mut variables = BTreeMap::new();
        for variable in agent["env"].as_array().unwrap() {
            let key = variable.pointer("/valueFrom/configMapKeyRef/key").and_then(Value::as_str);
            let value = match (variable["value"].as_str(), key) {
                (Some(value), _) => value.to_owned(),
                (None, Some(key)) => config["data"][key].as_str().unwrap().to_owned(),
                (None, None) => match variable.pointer("/valueFrom/fieldRef/fieldPath").unwrap().as_str() {
                    Some("spec.nodeName") => "n1".to_owned(),
                    Some("metadata.namespace") => "calico-system".to_owned(),
                    Some("spec.serviceAccountName") => "calico-node".to_owned(),
                    other => panic!("{other:?}"),
                },
            };
            variables.insert(variable["name"].as_str().unwrap().to_owned(), value);
        }
        let path = |name: &str| self.file(name).display().to_string();
        for (name, value) in [
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT", self.cluster.port().to_string()),
            ("TORTIE_RUN_DIR", path("run")),
            ("TORTIE_LIB_DIR", path("lib")),
            ("TORTIE_BIRD_CONFIG", path("run/bird.cfg")),
            ("TORTIE_PROC_SYS", path("sys")),
            // Tunnels take addresses, and tell them; both families.
            ("CALICO_IPV4POOL_VXLAN", "CrossSubnet".to_owned()),
            ("IP6", "autodetect".to_owned()),
            ("CALICO_IPV6POOL_CIDR", "fd00:10::/48".to_owned()),
        ] {
            variables.insert(name.to_owned(), value);
        }
        variables
    }

    fn tortie(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
        command.env_clear().envs(&self.variables).stdin(Stdio::null());
        command
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.file("agent.log")).unwrap();
        let agent = Command::new("unshare")
            .args(["--mount", "sh", "-c", CONTAINER, "sh"])
            .args([self.file("secrets"), self.file("sys")])
            .args([env!("CARGO_BIN_EXE_tortie"), "agent"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        self.agent = Some(Running(agent.unwrap()));
        self.until("the agent is ready", || {
            let probe =
                self.tortie().args(["node", "health", "--felix-ready", "--felix-live"]).output().unwrap();
            probe.status.success().then_some(())
        });
    }

    /// Told to stop, the agent ends by itself.
    fn stop(&mut self) {
        let agent = self.agent.as_mut().unwrap();
        let pid = agent.0.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(agent.0.wait().unwrap().success());
        self.agent = None;
    }

    /// A verb of the plugin, as the container runtime calls it.
    fn cni(&self, verb: &str, pod: &Node) -> Value {
        let netns = format!("/proc/self/fd/{}", pod.namespace().as_raw_fd());
        let list = json!({
            "cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico",
            "agent_socket": self.file("run/agent.sock"), "journal_dir": self.file("lib/cni-del"),
        });
        let variable = |name: &str| match name {
            "CNI_COMMAND" => Some(verb.to_owned()),
            "CNI_CONTAINERID" => Some("c1".to_owned()),
            "CNI_IFNAME" => Some("eth0".to_owned()),
            "CNI_NETNS" => Some(netns.clone()),
            "CNI_ARGS" => Some("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web".to_owned()),
            _ => None,
        };
        let mut out = Vec::new();
        let status = tortie_cni::run(variable, &mut list.to_string().as_bytes(), &mut out);
        let told = String::from_utf8_lossy(&out);
        assert_eq!(status, 0, "CNI {verb}: {told}\n{}", self.log());
        serde_json::from_str(&told).unwrap_or_default()
    }

    fn condition(&self) -> Option<String> {
        self.condition_of("NetworkUnavailable")
    }

    fn condition_of(&self, kind: &str) -> Option<String> {
        let node = self.cluster.shown(&["node", "n1"]);
        let conditions = node.pointer("/status/conditions")?.as_array()?.clone();
        let network = conditions.iter().find(|c| c["type"] == kind)?;
        Some(format!("{} {}", network["status"].as_str()?, network["reason"].as_str()?))
    }

    /// What the agent asked the API server for: group, resource, verb, and whether it was refused.
    fn asked(&self) -> BTreeSet<(String, String, String, bool)> {
        let audit = std::fs::read_to_string(self.file("audit.log")).unwrap();
        let text =
            |event: &Value, path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
        audit
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| text(event, "/user/username") == ACCOUNT && event.get("objectRef").is_some())
            .map(|event| {
                let part = text(&event, "/objectRef/subresource");
                let slash = if part.is_empty() { "" } else { "/" };
                (
                    text(&event, "/objectRef/apiGroup"),
                    text(&event, "/objectRef/resource") + slash + &part,
                    text(&event, "/verb"),
                    event.pointer("/responseStatus/code") == Some(&json!(403)),
                )
            })
            .collect()
    }

    /// What the role allows.
    fn allowed(&self) -> BTreeSet<(String, String, String)> {
        let role = self.cluster.shown(&["clusterrole", "calico-node"]);
        let mut all = BTreeSet::new();
        let words = |rule: &Value, name: &str| -> Vec<String> {
            rule[name].as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned()).collect()
        };
        for rule in role["rules"].as_array().unwrap() {
            for group in words(rule, "apiGroups") {
                for resource in words(rule, "resources") {
                    all.extend(
                        words(rule, "verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)),
                    );
                }
            }
        }
        all
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.is_ok_and(|status| status.success()), "ip {arguments}");
}

/// The API server with a log of everything that the account asks for.
async fn cluster() -> Option<Arc<Cluster>> {
    Cluster::empty(|directory| {
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [ACCOUNT]}],
        });
        std::fs::write(directory.join("audit.json"), policy.to_string()).unwrap();
        vec![
            format!("--audit-policy-file={}", directory.join("audit.json").display()),
            format!("--audit-log-path={}", directory.join("audit.log").display()),
        ]
    })
    .await
}

#[test]
fn the_agent_needs_the_rights_of_its_role_and_no_others() {
    isolated(|| {
        ip("link add eth0 type veth peer name eth1");
        ip("address add 10.44.0.5/24 dev eth0");
        ip("address add fd44::5/64 dev eth0 nodad");
        ip("link set eth0 up");
        ip("link set eth1 up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Some(cluster) = runtime.block_on(cluster()) else { return };
        let mut world = World { cluster, variables: BTreeMap::new(), agent: None };
        world.install();
        world.start();
        a_pod_comes_and_goes(&world);
        world.stop();
        assert_eq!(world.condition().as_deref(), Some("True CalicoIsDown"));

        assert!(!world.log().to_lowercase().contains("forbidden"), "{}", world.log());
        let asked = world.asked();
        let refused: Vec<_> = asked.iter().filter(|(.., refused)| *refused).collect();
        assert!(refused.is_empty(), "the role lacks rights: {refused:?}");
        let used: BTreeSet<_> =
            asked.into_iter().map(|(group, resource, verb, _)| (group, resource, verb)).collect();
        let unused: Vec<_> = world
            .allowed()
            .into_iter()
            .filter(|right| !used.contains(right))
            .filter(|(g, r, v)| !RARE.contains(&(g.as_str(), r.as_str(), v.as_str())))
            // Who may list may read one: that tells nothing more.
            .filter(|(g, r, v)| !(v == "get" && used.contains(&(g.clone(), r.clone(), "list".to_owned()))))
            .collect();
        assert!(unused.is_empty(), "rights that nobody needs: {unused:?}");
    });
}

fn a_pod_comes_and_goes(world: &World) {
    let cluster = &world.cluster;
    world.until("the node's condition", || (world.condition()? == "False CalicoIsUp").then_some(()));
    let annotation = |object: &[&str], name: &str| {
        let object = cluster.shown(object);
        object["metadata"]["annotations"].get(name).and_then(Value::as_str).map(str::to_owned)
    };
    let node = |name: &str| annotation(&["node", "n1"], &format!("projectcalico.org/{name}"));
    assert_eq!(node("IPv4Address").as_deref(), Some("10.44.0.5/24"));
    assert_eq!(node("IPv6Address").as_deref(), Some("fd44::5/64"));
    world.until("an address of the tunnel", || node("IPv4VXLANTunnelAddr"));

    cluster.kubectl(&["create", "namespace", "shop"], "");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "web", "image": "none"}]},
    });
    cluster.kubectl(&["create", "-f", "-"], &pod.to_string());
    let inside = Node::new("web");
    let added = world.cni("ADD", &inside);
    let addresses: Vec<&str> =
        added["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap()).collect();
    assert_eq!(addresses.len(), 2, "{added}");
    let noted = world.until("addresses on the pod", || {
        annotation(&["pod", "web", "-n", "shop"], "cni.projectcalico.org/podIPs")
    });
    assert_eq!(noted, addresses.join(","));

    world.cni("DEL", &inside);
    cluster.kubectl(&["delete", "pod", "web", "-n", "shop", "--force", "--grace-period=0"], "");
    let handles = || cluster.kubectl(&["get", "ipamhandles.projectcalico.org", "-o", "name"], "");
    world.until("the pod's addresses are free", || (!handles().contains("c1")).then_some(()));
}
