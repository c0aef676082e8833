//! Pods of a benchmark on real nodes: made by the API, watched, and asked whether they answer.

use crate::kube::client::Client;
use crate::lab::Lab;
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tortie_kernel_net::NetNs;

/// Namespace of the pods that the benchmark makes.
pub(super) const NAMESPACE: &str = "bench";

/// Only holds the pod's namespaces: what is measured is the way there.
pub(super) const IDLE_IMAGE: &str = "registry.k8s.io/pause:3.10.1";

/// No pod listens there: its kernel refuses, which is an answer too.
pub(super) const CLOSED: u16 = 9;

/// How long the deletion of pods may take.
const DELETION: Duration = Duration::from_mins(2);

/// What is known of a pod.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) addresses: Vec<IpAddr>,
    /// When it was told to be ready, if it was.
    pub(super) ready: Option<Instant>,
}

type Pods = BTreeMap<String, Seen>;

/// The cluster, as the benchmark sees it.
pub(super) struct Cluster {
    pub(super) client: Client,
    router: NetNs,
    view: watch::Receiver<View>,
}

/// What the watch has told.
#[derive(Clone, Debug, Default)]
struct View {
    pods: Pods,
    /// Why it tells nothing more.
    broken: Option<String>,
}

impl Cluster {
    /// Makes the namespace and begins to watch its pods.
    pub(super) async fn open(lab: &Lab) -> anyhow::Result<Self> {
        let control = lab.store.control.as_ref().context("the lab has no API server")?;
        ensure!(lab.spec.kubelets.is_some(), "the lab has no real nodes");
        let client = control.client.clone();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        client.create("/api/v1/namespaces", &namespace).await?;
        let account = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
        let deadline = Instant::now() + Duration::from_secs(30);
        while client.get(&account).await?.is_none() {
            ensure!(Instant::now() < deadline, "the controller manager makes no service account");
            sleep(Duration::from_millis(20)).await;
        }
        let (list, mut events) = client.watch(&format!("/api/v1/namespaces/{NAMESPACE}/pods")).await?;
        let there = list.get("items").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(there == 0, "{there} pods are left in namespace {NAMESPACE}");
        let (set, pods) = watch::channel(View::default());
        tokio::spawn(async move {
            loop {
                let event = events.next().await;
                let now = Instant::now();
                let broken = match event {
                    Ok(Some(event)) => {
                        set.send_modify(|view| note(&mut view.pods, &event, now));
                        None
                    }
                    Ok(None) => Some("it has ended".to_owned()),
                    Err(error) => Some(format!("{error:#}")),
                };
                if broken.is_some() {
                    set.send_modify(|view| view.broken = broken);
                    return;
                }
                if set.is_closed() {
                    return;
                }
            }
        });
        Ok(Self { client, router: lab.fabric.router().clone(), view: pods })
    }

    /// Creates a pod on a node.
    pub(super) async fn start(&self, name: &str, node: &str, container: &Value) -> anyhow::Result<()> {
        let mut spec = spec(container);
        spec["nodeName"] = node.into();
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec});
        self.client.create(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), &pod).await.map(drop)
    }

    /// Creates a Deployment, whose pods are spread evenly, and waits until all are ready; answers how long that took.
    pub(super) async fn deploy(&self, pods: usize, limit: Duration) -> anyhow::Result<Duration> {
        let mut spec = spec(&idle());
        spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "bench"}}}]);
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
            "spec": {"replicas": pods, "selector": {"matchLabels": {"app": "bench"}},
                "template": {"metadata": {"labels": {"app": "bench"}}, "spec": spec}}});
        let applied = Instant::now();
        self.client.create(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"), &deployment).await?;
        let all = self.wait_ready(pods, limit).await?;
        let last = all.values().filter_map(|pod| pod.ready).max().unwrap_or(applied);
        Ok(last.saturating_duration_since(applied))
    }

    /// Waits until there are so many pods and all of them are ready.
    pub(super) async fn wait_ready(&self, count: usize, limit: Duration) -> anyhow::Result<Pods> {
        let ready = |pods: &Pods| pods.values().filter(|pod| pod.ready.is_some()).count();
        let (pods, why) = self.wait(limit, |pods| ready(pods) >= count).await;
        if let Some(why) = why {
            bail!("{why} {} of {count} pods are ready", ready(&pods));
        }
        Ok(pods)
    }

    /// Removes all that was made, and waits until it is gone.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        let apps = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/many");
        self.client.delete_gracefully(&apps).await?;
        // A controller that has not noticed yet makes more of them.
        let sets = format!("/apis/apps/v1/namespaces/{NAMESPACE}/replicasets");
        let left = |list: Option<Value>| {
            list.and_then(|l| Some(l.get("items")?.as_array()?.len())).unwrap_or_default()
        };
        let deadline = Instant::now() + DELETION;
        while left(self.client.get(&sets).await?) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
        self.client.delete_gracefully(&format!("/api/v1/namespaces/{NAMESPACE}/pods")).await?;
        let (left, why) = self.wait(DELETION, Pods::is_empty).await;
        if let Some(why) = why {
            bail!("{why} {} pods are not deleted", left.len());
        }
        // The kernel takes their namespaces apart in the background, with locks that the next pods need.
        sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// Waits for something of the pods; answers them, and why it did not come.
    async fn wait(&self, limit: Duration, done: impl Fn(&Pods) -> bool) -> (Pods, Option<String>) {
        let mut view = self.view.clone();
        let came = timeout(limit, view.wait_for(|v| v.broken.is_some() || done(&v.pods))).await;
        let late = came.is_err().then(|| format!("after {} s", limit.as_secs()));
        let View { pods, broken } = self.view.borrow().clone();
        (pods, late.or(broken.map(|why| format!("the watch of pods is broken: {why}:"))))
    }

    pub(super) fn pods(&self) -> Pods {
        self.view.borrow().pods.clone()
    }

    /// Waits until every address of every pod answers somebody outside of the nodes; answers how many addresses that are.
    pub(super) async fn all_answer(&self, limit: Duration) -> anyhow::Result<usize> {
        let pods = self.pods();
        let addresses: BTreeSet<IpAddr> = pods.values().flat_map(|pod| pod.addresses.clone()).collect();
        ensure!(
            addresses.len() >= pods.len() && !addresses.is_empty(),
            "{} pods have {} different addresses",
            pods.len(),
            addresses.len()
        );
        let count = addresses.len();
        self.outside(move || answer(&addresses, limit)).await??;
        Ok(count)
    }

    /// Runs something outside of the nodes, from where all pods can be reached.
    pub(super) async fn outside<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> anyhow::Result<R> {
        let router = self.router.clone();
        Ok(tokio::task::spawn_blocking(move || router.run(job)).await??)
    }

    pub(super) fn router(&self) -> &NetNs {
        &self.router
    }
}

/// A container that does nothing.
pub(super) fn idle() -> Value {
    json!({"name": "idle", "image": IDLE_IMAGE})
}

fn spec(container: &Value) -> Value {
    json!({
        "containers": [container],
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
    })
}

fn note(pods: &mut Pods, event: &Value, now: Instant) {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("/object/metadata/name");
    if text("/type") == "DELETED" {
        pods.remove(&name);
        return;
    }
    let list = |pointer: &str| event.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let ready = list("/object/status/conditions")
        .any(|c| c.get("type").is_some_and(|t| t == "Ready") && c.get("status").is_some_and(|s| s == "True"));
    let addresses =
        list("/object/status/podIPs").filter_map(|a| a.get("ip")?.as_str()?.parse().ok()).collect();
    let before = pods.get(&name).and_then(|pod| pod.ready);
    pods.insert(name, Seen { addresses, ready: if ready { before.or(Some(now)) } else { None } });
}

fn answer(addresses: &BTreeSet<IpAddr>, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    for address in addresses {
        let to = SocketAddr::new(*address, CLOSED);
        loop {
            let error = match TcpStream::connect_timeout(&to, Duration::from_millis(500)) {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                bail!("{address} does not answer within {} s: {error}", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, ready: &str) -> Value {
        json!({"type": kind, "object": {"metadata": {"name": "a"}, "status": {
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": ready}]}}})
    }

    #[test]
    fn the_first_time_that_a_pod_was_ready_counts() {
        let mut pods = Pods::new();
        let (early, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        note(&mut pods, &event("ADDED", "False"), early);
        assert!(pods["a"].ready.is_none() && pods["a"].addresses.len() == 2);
        note(&mut pods, &event("MODIFIED", "True"), early);
        note(&mut pods, &event("MODIFIED", "True"), late);
        assert_eq!(pods["a"].ready, Some(early));
        note(&mut pods, &event("DELETED", "True"), late);
        assert!(pods.is_empty());
    }
}
