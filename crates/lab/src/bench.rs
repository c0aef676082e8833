//! `tortie lab bench`: what a pod's start, a policy's change and an idle agent cost, beside the bounds that the kernel sets.
//!
//! Runs inside the supervisor, where the namespaces are. Every row says how often it was measured; a row that has a
//! bound measured it in the same run, in turns.

mod cluster;
mod knocking;
pub(crate) mod kubernetes;
pub(crate) mod plan;
mod processes;
pub(crate) mod report;

use crate::cni::{Container, Verb};
use crate::fabric;
use crate::lab::Lab;
use crate::node::Node;
use crate::pods::PodName;
use crate::process::State;
use crate::sandbox::NETNS_DIR;
use crate::supervisor::Sink;
use crate::{objects, seed};
use anyhow::{Context as _, anyhow, ensure};
use futures_util::future::join_all;
use processes::{cpu, resident};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tortie_kernel_net::pod::{self, PodSpec};
use tortie_kernel_net::{NetNs, Netlink};
use tortie_scenario::Pod as Wish;

/// Namespace of the pods that the benchmark makes.
const NAMESPACE: &str = "bench";
/// Pods started one after the other, and in parallel.
const ADDS: usize = 100;
const PARALLEL: usize = 8;
/// Policies written to see when packets notice.
const CHANGES: usize = 40;
/// Sockets between which the stream of datagrams changes, so that each is a new connection to the kernel.
const SOCKETS: usize = 64;
const PORT: u16 = 7777;
/// Pods of the node whose agent is looked at, and for how long.
const IDLE_PODS: usize = 30;
const IDLE: Duration = Duration::from_secs(10);

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) count: usize,
    /// Median, in `unit`.
    pub(crate) p50: f64,
    /// 99th percentile, in `unit`.
    pub(crate) p99: f64,
    pub(crate) unit: String,
    /// Median of the bound or peer measured beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bound: Option<f64>,
    /// What the bound is.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(crate) note: String,
}

impl Row {
    fn of(what: &str, unit: &str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |q: f64| {
            values.get(((values.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(0.0)
        };
        Self {
            what: what.to_owned(),
            count: values.len(),
            p50: at(0.5),
            p99: at(0.99),
            unit: unit.to_owned(),
            bound: None,
            note: String::new(),
        }
    }

    /// How many of something there were.
    pub(crate) fn count(what: &str, count: usize) -> Self {
        Self { count, ..Self::of(what, "", Vec::new()) }
    }

    fn beside(mut self, bound: &Self, note: &str) -> Self {
        self.bound = Some(bound.p50);
        note.clone_into(&mut self.note);
        self
    }
}

fn milliseconds(durations: &[Duration]) -> Vec<f64> {
    durations.iter().map(|d| d.as_secs_f64() * 1e3).collect()
}

impl Lab {
    /// Runs all measurements.
    pub(crate) async fn bench(self: &Arc<Self>, sink: &Sink) -> anyhow::Result<Vec<Row>> {
        ensure!(self.nodes.len() >= 2, "the benchmark needs a lab of at least two nodes");
        ensure!(
            self.spec.kubelets.is_none(),
            "the benchmark calls the plugin itself: use a lab without --kubernetes"
        );
        let mut rows = Vec::new();
        sink.progress("pods, one after the other").await;
        let raw = "raw netlink, same run";
        let mut bounds = Vec::new();
        for (removing, what) in [(false, "CNI ADD"), (true, "CNI ADD, each right after a DEL")] {
            let (adds, bound) = self.adds_in_turns(removing).await?;
            let bound_of = what.replace("CNI ADD", "pod interface by raw netlink");
            let bound = Row::of(&bound_of, "ms", milliseconds(&bound));
            rows.push(Row::of(what, "ms", milliseconds(&adds)).beside(&bound, raw));
            bounds.push(bound);
        }
        sink.progress(format!("pods, {PARALLEL} in parallel")).await;
        let (adds, bound) = self.adds_in_parallel().await?;
        let bound_of = format!("pod interface by raw netlink, {PARALLEL} in parallel");
        let bound = Row::of(&bound_of, "ms", milliseconds(&bound));
        let what = format!("CNI ADD, {PARALLEL} in parallel");
        rows.push(Row::of(&what, "ms", milliseconds(&adds)).beside(&bound, raw));
        bounds.push(bound);
        rows.extend(bounds);
        sink.progress("policies").await;
        let (allowed, denied) = self.policy_effect().await?;
        rows.push(Row::of("policy written to first packet allowed", "ms", allowed));
        rows.push(Row::of("policy written to first packet denied", "ms", denied));
        sink.progress(format!("an idle agent with {IDLE_PODS} pods")).await;
        rows.extend(self.idle_agent().await?);
        Ok(rows)
    }

    /// A container for a new pod on a node: its record and its namespace exist.
    async fn prepare(&self, node: &Node, name: &str) -> anyhow::Result<(PodName, Container, NetNs)> {
        let full = PodName { namespace: NAMESPACE.to_owned(), name: name.to_owned() };
        for (path, object) in [seed::namespace(NAMESPACE), seed::service_account(NAMESPACE, "default")] {
            self.store.records.ensure(&path, &object).await?;
        }
        let wish = Wish { namespace: NAMESPACE.to_owned(), name: name.to_owned(), ..Wish::default() };
        self.store.records.put(&full.path(), &wish.to_object(node.name())).await?;
        let netns_name = full.netns();
        let netns = tokio::task::spawn_blocking(move || fabric::namespace(&netns_name, false))
            .await
            .map_err(|e| anyhow!("{e}"))??;
        let container = Container {
            id: objects::new_uid()?.replace('-', ""),
            namespace: NAMESPACE.to_owned(),
            pod: name.to_owned(),
            uid: String::new(),
            netns: full.netns(),
        };
        Ok((full, container, netns))
    }

    async fn add(&self, node: &Node, container: &Container) -> anyhow::Result<(Duration, Vec<IpAddr>)> {
        let started = Instant::now();
        let addresses = self.pods.plugin().call(Verb::Add, node, container).await?;
        Ok((started.elapsed(), addresses))
    }

    async fn discard(&self, node: &Node, name: &PodName, container: &Container) -> anyhow::Result<()> {
        self.pods.plugin().call(Verb::Del, node, container).await?;
        self.store.records.remove(&name.path()).await?;
        NetNs::remove(Path::new(NETNS_DIR).join(name.netns()))?;
        Ok(())
    }

    fn first_node(&self) -> anyhow::Result<Arc<Node>> {
        self.nodes.first().cloned().context("the lab has no nodes")
    }

    /// Pods by the plugin, and interfaces by netlink alone, in turns. What is removed keeps the kernel busy with locks that the
    /// next needs: it stays until the end, or goes at once if that is to be seen.
    async fn adds_in_turns(&self, removing: bool) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let node = self.first_node()?;
        let (mut adds, mut bounds) = (Vec::new(), Vec::new());
        let (mut pods, mut raws) = (Vec::new(), Vec::new());
        for n in 0..ADDS {
            let pod = self.prepare(&node, &format!("p{n}")).await?;
            adds.push(self.add(&node, &pod.1).await?.0);
            if removing {
                self.discard(&node, &pod.0, &pod.1).await?;
            } else {
                pods.push(pod);
            }
            let (took, raw) = raw_attach(&node, n).await?;
            bounds.push(took);
            if removing {
                raw_detach(raw).await?;
            } else {
                raws.push(raw);
            }
        }
        self.discard_all(&node, &pods).await?;
        join_all(raws.into_iter().map(raw_detach)).await.into_iter().collect::<anyhow::Result<()>>()?;
        Ok((adds, bounds))
    }

    async fn adds_in_parallel(&self) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let node = self.first_node()?;
        let (mut adds, mut bounds) = (Vec::new(), Vec::new());
        for round in 0..ADDS / PARALLEL {
            let mut prepared = Vec::new();
            for n in 0..PARALLEL {
                prepared.push(self.prepare(&node, &format!("r{round}-{n}")).await?);
            }
            for done in join_all(prepared.iter().map(|(_, container, _)| self.add(&node, container))).await {
                adds.push(done?.0);
            }
            self.discard_all(&node, &prepared).await?;
            let mut raws = Vec::new();
            for done in join_all((0..PARALLEL).map(|n| raw_attach(&node, n))).await {
                let (took, raw) = done?;
                bounds.push(took);
                raws.push(raw);
            }
            join_all(raws.into_iter().map(raw_detach)).await.into_iter().collect::<anyhow::Result<()>>()?;
        }
        Ok((adds, bounds))
    }

    async fn discard_all(&self, node: &Node, pods: &[(PodName, Container, NetNs)]) -> anyhow::Result<()> {
        for some in pods.chunks(PARALLEL) {
            let gone = some.iter().map(|(name, container, _)| self.discard(node, name, container));
            join_all(gone).await.into_iter().collect::<anyhow::Result<()>>()?;
        }
        // The kernel takes their namespaces apart in the background.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    /// A stream of datagrams, each of them a new connection, while a policy denies and allows it.
    async fn policy_effect(&self) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let (Some(near), Some(far)) = (self.nodes.first().cloned(), self.nodes.get(1).cloned()) else {
            anyhow::bail!("two nodes are needed");
        };
        let (client_name, client, client_ns) = self.prepare(&near, "client").await?;
        self.add(&near, &client).await?;
        let (server_name, server, server_ns) = self.prepare(&far, "server").await?;
        let (_, addresses) = self.add(&far, &server).await?;
        let revision = self.store.records.revision().await?;
        self.wait_enforced(revision).await?;
        let to = *addresses.first().context("the server has no address")?;
        let stream = Stream::start(&client_ns, &server_ns, SocketAddr::new(to, PORT))?;
        let path = seed::kubernetes("NetworkPolicy", NAMESPACE, "deny");
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "deny", "namespace": NAMESPACE}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for _ in 0..CHANGES {
            let written = stream.now();
            let (_, revision) = self.store.records.put(&path, &policy).await?;
            self.wait_enforced(revision).await?;
            stream.settle().await;
            denied.push(stream.last_arrival().saturating_sub(written) as f64 / 1e6);
            let written = stream.now();
            let revision = self.store.records.remove(&path).await?.unwrap_or(0);
            self.wait_enforced(revision).await?;
            let first = stream
                .first_arrival_after(written)
                .await
                .context("no packet arrives although no policy forbids it")?;
            allowed.push(first.saturating_sub(written) as f64 / 1e6);
        }
        stream.stop();
        self.discard(&near, &client_name, &client).await?;
        self.discard(&far, &server_name, &server).await?;
        Ok((allowed, denied))
    }

    async fn idle_agent(&self) -> anyhow::Result<Vec<Row>> {
        let node = self.first_node()?;
        let mut pods = Vec::new();
        for n in 0..IDLE_PODS {
            let prepared = self.prepare(&node, &format!("idle{n}")).await?;
            self.add(&node, &prepared.1).await?;
            pods.push(prepared);
        }
        let State::Running(pid) = node.agent()?.state() else {
            anyhow::bail!("the agent of {} does not run", node.name())
        };
        // What starting the pods left to be done is done by then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = cpu(pid)?;
        tokio::time::sleep(IDLE).await;
        let used = (cpu(pid)? - before) / IDLE.as_secs_f64() * 1e3;
        let resident = resident(pid)?;
        for (name, container, _) in &pods {
            self.discard(&node, name, container).await?;
        }
        Ok(vec![
            Row::of(&format!("idle agent, {IDLE_PODS} pods: CPU"), "mcores", vec![used]),
            Row::of(&format!("idle agent, {IDLE_PODS} pods: memory"), "MB", vec![resident]),
        ])
    }
}

/// An interface by netlink alone.
struct Raw {
    netlink: Netlink,
    name: String,
    /// Its other end.
    _inside: NetNs,
}

/// The least that a pod's interface costs: the same kernel objects, by netlink, without anything around them.
async fn raw_attach(node: &Node, n: usize) -> anyhow::Result<(Duration, Raw)> {
    let host = node.netns.clone();
    tokio::task::spawn_blocking(move || -> anyhow::Result<(Duration, Raw)> {
        let netlink = Netlink::open_in(&host)?;
        let inside = NetNs::create_unnamed()?;
        let name = format!("bench{n}");
        let addresses = vec![
            IpAddr::from([198, 18, 0, n as u8]),
            IpAddr::from([0x2001, 0x2, 0, 0, 0, 0, 0, n as u16 + 1]),
        ];
        let spec = PodSpec::new(name.clone(), "eth0", 1500, addresses);
        let started = Instant::now();
        pod::attach(&netlink, &inside, &spec)?;
        Ok((started.elapsed(), Raw { netlink, name, _inside: inside }))
    })
    .await
    .map_err(|e| anyhow!("{e}"))?
}

async fn raw_detach(raw: Raw) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || pod::detach(&raw.netlink, &raw.name).map(drop))
        .await
        .map_err(|e| anyhow!("{e}"))??;
    Ok(())
}

/// Datagrams that carry the time at which they were sent, and the times of those that arrived.
struct Stream {
    origin: Instant,
    stop: Arc<AtomicBool>,
    last: Arc<AtomicU64>,
}

impl Stream {
    fn start(client: &NetNs, server: &NetNs, to: SocketAddr) -> anyhow::Result<Self> {
        let any = |ip: IpAddr| if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let receiver = server.run(|| UdpSocket::bind(to))??;
        receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
        let senders = client
            .run(|| (0..SOCKETS).map(|_| UdpSocket::bind(any(to.ip()))).collect::<Result<Vec<_>, _>>())??;
        let stream = Self { origin: Instant::now(), stop: Arc::default(), last: Arc::default() };
        let (origin, stop) = (stream.origin, stream.stop.clone());
        std::thread::spawn(move || {
            for sender in senders.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let now = origin.elapsed().as_nanos() as u64;
                // A full buffer loses a datagram; the next follows at once.
                let _ = sender.send_to(&now.to_le_bytes(), to);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        let (stop, last) = (stream.stop.clone(), stream.last.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 8];
            while !stop.load(Ordering::Relaxed) {
                if receiver.recv(&mut bytes).is_ok() {
                    last.fetch_max(u64::from_le_bytes(bytes), Ordering::Relaxed);
                }
            }
        });
        Ok(stream)
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// When the last datagram was sent that arrived.
    fn last_arrival(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Waits until nothing has arrived for a while.
    async fn settle(&self) {
        let mut last = self.last_arrival();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = self.last_arrival();
            if now == last {
                return;
            }
            last = now;
        }
    }

    /// When the first datagram after `time` was sent that arrived.
    async fn first_arrival_after(&self, time: u64) -> Option<u64> {
        // The stream was silent before: whatever arrives first is news.
        for _ in 0..20_000 {
            let last = self.last_arrival();
            if last > time {
                return Some(last);
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        None
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The table for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<50} {:>6} {:>10} {:>10} {:<7} {:>8} {:>6}\n",
        "WHAT", "N", "P50", "P99", "UNIT", "BOUND", "RATIO"
    );
    for row in rows {
        let number = |n: f64| if row.unit.is_empty() { String::new() } else { format!("{n:.3}") };
        let bound = row.bound.map(|b| format!("{b:.3}")).unwrap_or_default();
        let ratio =
            row.bound.filter(|b| *b > 0.0).map(|b| format!("{:.2}x", row.p50 / b)).unwrap_or_default();
        let (p50, p99) = (number(row.p50), number(row.p99));
        text.push_str(&format!(
            "{:<50} {:>6} {p50:>10} {p99:>10} {:<7} {bound:>8} {ratio:>6}  {}\n",
            row.what, row.count, row.unit, row.note
        ));
    }
    text
}
