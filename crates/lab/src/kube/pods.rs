//! Pods of real nodes: objects that a kubelet runs, with a container that only holds the pod's namespaces. The lab enters the
//! network namespace and listens there, as in a pod of its own.

use super::client::Client;
use super::space::SpaceSpec;
use crate::cni::{Container, IFNAME};
use crate::lab::Lab;
use crate::pods::PodName;
use crate::sandbox::NETNS_DIR;
use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tortie_kernel_net::NetNs;

/// An image that every node has, whose program does nothing.
const IMAGE: &str = "registry.k8s.io/pause:3.10.1";

/// How long a kubelet may take to start or stop a pod: the whole machine may be busy with others.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the runtime's CNI library writes down the results of ADDs, in a node.
const RESULTS: &str = "/var/lib/cni/results";

/// What policy sees of a pod, for a kubelet to run: its containers have their ports and nothing else.
pub(crate) fn runnable(record: &Value) -> Value {
    let containers = record.pointer("/spec/containers").and_then(Value::as_array);
    let containers: Vec<Value> = containers
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(i, container)| {
            let mut kept = Map::new();
            let name = container.get("name").cloned().unwrap_or_else(|| format!("c{i}").into());
            kept.insert("name".to_owned(), name);
            kept.insert("image".to_owned(), IMAGE.into());
            kept.extend(container.get("ports").map(|ports| ("ports".to_owned(), ports.clone())));
            Value::Object(kept)
        })
        .collect();
    let mut spec = json!({
        "containers": containers,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
    });
    if let Some(fields) = spec.as_object_mut() {
        for field in ["nodeName", "serviceAccountName"] {
            fields.extend(
                record.pointer("/spec").and_then(|s| s.get(field)).map(|v| (field.to_owned(), v.clone())),
            );
        }
    }
    let mut pod = record.clone();
    if let Some(fields) = pod.as_object_mut() {
        fields.insert("spec".to_owned(), spec);
    }
    pod
}

/// The addresses of a pod that runs with all its containers.
pub(super) fn running(pod: &Value) -> Option<BTreeSet<IpAddr>> {
    let status = pod.get("status")?;
    let containers = status.get("containerStatuses").and_then(Value::as_array)?;
    if containers.is_empty() || !containers.iter().all(|c| c.get("ready").is_some_and(|r| r == true)) {
        return None;
    }
    let all = status.get("podIPs")?.as_array()?;
    let addresses: BTreeSet<IpAddr> =
        all.iter().filter_map(|a| a.get("ip")?.as_str()?.parse().ok()).collect();
    (!addresses.is_empty()).then_some(addresses)
}

/// A result as libcni keeps it, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    container_id: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    result: KeptResult,
}

#[derive(Default, Deserialize)]
struct KeptResult {
    #[serde(default)]
    interfaces: Vec<KeptInterface>,
    #[serde(default)]
    ips: Vec<KeptAddress>,
}

#[derive(Deserialize)]
struct KeptInterface {
    #[serde(default)]
    name: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct KeptAddress {
    address: String,
}

/// A pod's sandbox according to the runtime's CNI library.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sandbox {
    container: String,
    /// Its network namespace, as the node calls it.
    netns: PathBuf,
    /// Its addresses, in the plugin's order.
    addresses: Vec<IpAddr>,
}

impl Kept {
    fn is_of(&self, name: &PodName) -> bool {
        let says = |key: &str, value: &str| self.cni_args.iter().any(|(k, v)| k == key && v == value);
        says("K8S_POD_NAMESPACE", &name.namespace) && says("K8S_POD_NAME", &name.name)
    }

    fn sandbox(&self) -> Option<Sandbox> {
        let inside = |i: &&KeptInterface| i.name == IFNAME && !i.sandbox.is_empty();
        let netns = &self.result.interfaces.iter().find(inside)?.sandbox;
        let address = |a: &KeptAddress| a.address.split('/').next()?.parse().ok();
        Some(Sandbox {
            container: self.container_id.clone(),
            // A symbolic link there would lead out of the node.
            netns: PathBuf::from(netns.replacen("/var/run/", "/run/", 1)),
            addresses: self.result.ips.iter().filter_map(address).collect(),
        })
    }
}

/// The sandbox of a pod that has exactly these addresses; one that failed on the way may have left its result behind.
fn sandbox(results: &Path, name: &PodName, addresses: &BTreeSet<IpAddr>) -> anyhow::Result<Sandbox> {
    let files = fs::read_dir(results).with_context(|| format!("cannot read {}", results.display()))?;
    files
        .flatten()
        .filter_map(|file| serde_json::from_slice::<Kept>(&fs::read(file.path()).ok()?).ok())
        .filter(|kept| kept.is_of(name))
        .filter_map(|kept| kept.sandbox())
        .find(|s| s.addresses.iter().copied().collect::<BTreeSet<_>>() == *addresses)
        .with_context(|| format!("{} has no result of {name} with its addresses", results.display()))
}

/// A pod that a kubelet runs, as the lab uses it.
pub(crate) struct Running {
    pub(crate) container: Container,
    pub(crate) netns: NetNs,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Lab {
    /// Waits until a kubelet runs a pod, and gives its network namespace a name in the sandbox.
    pub(crate) async fn meet_pod(&self, name: &PodName, node: usize, uid: String) -> anyhow::Result<Running> {
        let host = self.nodes.get(node).context("the node is gone")?;
        let space = host.space.get().with_context(|| format!("{} is no real node", host.name()))?;
        let control = self.store.control.as_ref().context("the lab has no Kubernetes")?;
        let addresses = control.client.wait_pod(name).await?;
        let found = sandbox(&space.own(RESULTS), name, &addresses)?;
        let netns = NetNs::open(space.seen(&found.netns)?)?;
        let path = Path::new(NETNS_DIR).join(name.netns());
        // Of a pod that ended without the lab's doing.
        NetNs::remove(&path)?;
        netns.bind(&path)?;
        Ok(Running {
            container: Container {
                id: found.container,
                namespace: name.namespace.clone(),
                pod: name.name.clone(),
                uid,
                netns: name.netns(),
            },
            netns,
            addresses: found.addresses,
        })
    }
}

impl SpaceSpec {
    /// A file of the node as this process sees it.
    fn seen(&self, path: &Path) -> anyhow::Result<PathBuf> {
        let root = Path::new("/proc").join(self.first_process()?.to_string()).join("root");
        Ok(root.join(path.strip_prefix("/").unwrap_or(path)))
    }
}

impl Client {
    /// Waits until a pod runs; answers its addresses.
    async fn wait_pod(&self, name: &PodName) -> anyhow::Result<BTreeSet<IpAddr>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pod = self.get(&path(name)).await?.with_context(|| format!("somebody deleted {name}"))?;
            if let Some(addresses) = running(&pod) {
                return Ok(addresses);
            }
            if Instant::now() >= deadline {
                let said = self.last_event(name).await.unwrap_or_else(|| "its kubelet is silent".to_owned());
                bail!("it does not run after {} s: {said}", PATIENCE.as_secs());
            }
            sleep(PAUSE).await;
        }
    }

    /// What `kubectl describe` would show last.
    async fn last_event(&self, name: &PodName) -> Option<String> {
        let PodName { namespace, name } = name;
        let path =
            format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name%3D{name}");
        let list = self.get(&path).await.ok()??;
        let text = |event: &Value, field: &str| event.get(field).and_then(Value::as_str).map(str::to_owned);
        let last = list.get("items")?.as_array()?.iter().max_by_key(|e| text(e, "lastTimestamp"))?;
        text(last, "message")
    }

    /// Has a pod stopped by its kubelet, and waits for that.
    pub(crate) async fn end_pod(&self, name: &PodName) -> anyhow::Result<()> {
        self.delete_gracefully(&path(name)).await?;
        self.wait_gone(&path(name)).await
    }

    /// Waits until there is no object at a path.
    pub(crate) async fn wait_gone(&self, path: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.get(path).await?.is_some() {
            if Instant::now() >= deadline {
                return Err(anyhow!("{path} is still there after {} s", PATIENCE.as_secs()));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

fn path(name: &PodName) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", name.namespace, name.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_what_policy_sees() {
        let pod = runnable(&json!({
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "node2", "serviceAccountName": "web", "volumes": [{"name": "v", "secret": {}}],
                "initContainers": [{"name": "i", "image": "x"}],
                "containers": [
                    {"name": "a", "image": "nginx:1", "ports": [{"name": "http", "containerPort": 80}],
                        "readinessProbe": {"httpGet": {"port": 80}}},
                    {"name": "b", "image": "y", "command": ["z"]},
                ],
            },
        }));
        let spec = &pod["spec"];
        assert_eq!((&spec["nodeName"], &spec["serviceAccountName"]), (&json!("node2"), &json!("web")));
        assert_eq!(pod["metadata"]["labels"]["app"], "web");
        assert_eq!(
            spec["containers"],
            json!([
                {"name": "a", "image": IMAGE, "ports": [{"name": "http", "containerPort": 80}]},
                {"name": "b", "image": IMAGE},
            ])
        );
        assert!(spec.get("volumes").is_none() && spec.get("initContainers").is_none());
    }

    #[test]
    fn a_pod_runs_when_all_its_containers_do() {
        let pod = |ready: &[bool]| {
            let containers: Vec<Value> = ready.iter().map(|r| json!({"ready": r})).collect();
            json!({"status": {"podIPs": [{"ip": "10.65.0.1"}, {"ip": "fd65::1"}], "containerStatuses": containers}})
        };
        assert_eq!(running(&pod(&[true, true])).map(|a| a.len()), Some(2));
        for waiting in [pod(&[true, false]), pod(&[]), json!({"status": {"phase": "Pending"}})] {
            assert_eq!(running(&waiting), None, "{waiting}");
        }
    }

    #[test]
    fn a_sandbox_is_found_by_name_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let kept = |id: &str, pod: &str, address: &str| {
            json!({
                "kind": "cniCacheV1", "containerId": id, "ifName": "eth0", "networkName": "k8s-pod-network",
                "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", pod]],
                "result": {
                    "interfaces": [{"name": "cali1"}, {"name": "eth0", "sandbox": "/var/run/netns/cni-1"}],
                    "ips": [{"address": address}],
                },
            })
        };
        let all = [
            kept("a", "web", "10.65.0.9/32"),
            kept("b", "web", "10.65.0.1/32"),
            kept("c", "db", "10.65.0.1/32"),
        ];
        for (i, value) in all.iter().enumerate() {
            fs::write(dir.path().join(i.to_string()), value.to_string()).unwrap();
        }
        fs::write(dir.path().join("half"), "{").unwrap();
        let web: PodName = "shop/web".parse().unwrap();
        let addresses = BTreeSet::from(["10.65.0.1".parse().unwrap()]);
        let found = sandbox(dir.path(), &web, &addresses).unwrap();
        assert_eq!((found.container.as_str(), found.netns.as_path()), ("b", Path::new("/run/netns/cni-1")));
        let other = BTreeSet::from(["10.65.0.2".parse().unwrap()]);
        assert!(sandbox(dir.path(), &web, &other).is_err());
    }
}
