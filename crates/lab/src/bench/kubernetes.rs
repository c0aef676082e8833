//! What a pod's start, a policy's change, a node's start and the agent cost on real nodes, as the one lab of one network sees
//! it. The command brings labs up in turns, asks each for the same, and sets what they tell side by side.

use super::cluster::{Cluster, NAMESPACE, idle};
use super::knocking::{INTERVAL, Knocking};
use super::processes::{Calls, cpu, forget_peak, peak, program, resident};
use crate::lab::Lab;
use crate::node::Node;
use crate::process::Process;
use crate::supervisor::Sink;
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tortie_net::Family;

/// How long one pod, or a few of them, may take to be ready.
const POD: Duration = Duration::from_mins(1);
/// The same for all that fit on the nodes.
const MANY: Duration = Duration::from_mins(3);
/// The way to a pod's block may be news to the router.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a policy may take.
const EFFECT: Duration = Duration::from_secs(10);
/// No attempt was answered for this long: the policy denies it.
const SILENCE: Duration = Duration::from_millis(60);
/// A new node, all programs included.
const NODE: Duration = Duration::from_mins(2);
/// No measurement takes longer.
const LIMIT: Duration = Duration::from_mins(5);

/// A server that tells its name.
const SERVER_IMAGE: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";
const SERVER_PORT: u16 = 8080;

/// What is measured, one after the other. The numbers are how often, or of what size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// A pod on each node, so that everything was done once.
    Warm,
    /// Pods one after the other: [`ADD`].
    Adds { pods: usize },
    /// A Deployment, several times: [`BURST`], [`BURST_ADD`].
    Bursts { pods: usize, times: usize },
    /// A Deployment that nothing happens to, then the nodes' processes: [`idle_cpu`] and [`idle_memory`].
    Idle { pods: usize, seconds: u64 },
    /// A large Deployment: [`START_CPU`] and [`START_MEMORY`] of the processes, [`STARTS`].
    Starts { pods: usize },
    /// A policy that comes and goes: [`DENIED`], [`ALLOWED`], [`TOLD`].
    Policy { changes: usize },
    /// A new node: [`FIRST_READY`], [`FIRST_ANSWER`].
    Node,
}

/// Milliseconds that containerd had one pod's network made for, alone.
pub(crate) const ADD: &str = "add";
/// The same among many pods: the mean of a round.
pub(crate) const BURST_ADD: &str = "burst add";
/// Seconds until a Deployment's pods were ready.
pub(crate) const BURST: &str = "burst";
pub(crate) const STARTS: &str = "starts";
/// Thousandths of a processor, megabytes; of processes on each node.
pub(crate) const IDLE_CPU: &str = "idle cpu of ";
pub(crate) const IDLE_MEMORY: &str = "idle memory of ";
/// Milliseconds of processor time for each pod, megabytes at most.
pub(crate) const START_CPU: &str = "start cpu of ";
pub(crate) const START_MEMORY: &str = "start memory of ";
/// Milliseconds from the request to the effect on the last node; to the event at a watcher; to the server's answer.
pub(crate) const DENIED: &str = "denied";
pub(crate) const ALLOWED: &str = "allowed";
pub(crate) const TOLD: &str = "told";
pub(crate) const ANSWERED: &str = "answered";
/// Seconds from a node's start.
pub(crate) const FIRST_READY: &str = "first ready";
pub(crate) const FIRST_ANSWER: &str = "first answer";
/// How many addresses of pods were seen to answer.
pub(crate) const CHECKED: &str = "checked";

/// What was measured, by name.
pub(crate) type Samples = BTreeMap<String, Vec<f64>>;

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Lab {
    /// Measures one thing.
    pub(crate) async fn measure(self: &Arc<Self>, measure: &Measure, sink: &Sink) -> anyhow::Result<Samples> {
        let cluster = Cluster::open(self).await?;
        let bench = Bench { lab: self, cluster, sink };
        let work = async {
            match *measure {
                Measure::Warm => bench.warm().await,
                Measure::Adds { pods } => bench.adds(pods).await,
                Measure::Bursts { pods, times } => bench.bursts(pods, times).await,
                Measure::Idle { pods, seconds } => bench.idle(pods, seconds).await,
                Measure::Starts { pods } => bench.starts(pods).await,
                Measure::Policy { changes } => bench.policy(changes).await,
                Measure::Node => bench.node().await,
            }
        };
        match timeout(LIMIT, work).await {
            Ok(samples) => samples.with_context(|| format!("{measure:?}")),
            Err(_) => bail!("{measure:?} is not done after {} s", LIMIT.as_secs()),
        }
    }
}

struct Bench<'a> {
    lab: &'a Lab,
    cluster: Cluster,
    sink: &'a Sink,
}

impl Bench<'_> {
    async fn warm(&self) -> anyhow::Result<Samples> {
        for node in &self.lab.nodes {
            self.cluster.start(&format!("warm-{}", node.name()), node.name(), &idle()).await?;
        }
        self.cluster.wait_ready(self.lab.nodes.len(), POD).await?;
        self.cluster.all_answer(ANSWER).await?;
        self.cluster.clear().await?;
        Ok(Samples::new())
    }

    async fn adds(&self, pods: usize) -> anyhow::Result<Samples> {
        let mut samples = Samples::new();
        for (n, node) in self.lab.nodes.iter().cycle().take(pods).enumerate() {
            let before = calls(node).await?;
            self.cluster.start(&format!("add-{n}"), node.name(), &idle()).await?;
            self.cluster.wait_ready(n + 1, POD).await?;
            let made = calls(node).await?.since(before);
            ensure!(made.count == 1.0, "containerd made {} networks for one pod", made.count);
            add(&mut samples, ADD, made.seconds * 1e3);
            self.sink.progress(format!("pod {} of {pods}: {:.1} ms", n + 1, made.seconds * 1e3)).await;
        }
        self.check(&mut samples).await?;
        self.cluster.clear().await?;
        Ok(samples)
    }

    async fn bursts(&self, pods: usize, times: usize) -> anyhow::Result<Samples> {
        let mut samples = Samples::new();
        for _ in 0..times {
            let before = self.all_calls().await?;
            let took = self.cluster.deploy(pods, MANY).await?;
            let made = self.all_calls().await?.since(before);
            ensure!(
                (made.count - pods as f64).abs() < 0.5,
                "containerd made {} networks for {pods} pods",
                made.count
            );
            add(&mut samples, BURST, took.as_secs_f64());
            add(&mut samples, BURST_ADD, made.seconds / made.count * 1e3);
            self.sink.progress(format!("{pods} pods ready after {:.2} s", took.as_secs_f64())).await;
            self.check(&mut samples).await?;
            self.cluster.clear().await?;
        }
        Ok(samples)
    }

    async fn idle(&self, pods: usize, seconds: u64) -> anyhow::Result<Samples> {
        self.cluster.deploy(pods, MANY).await?;
        // What starting the pods left to be done is done by then.
        sleep(Duration::from_secs(5)).await;
        let mut samples = Samples::new();
        let all = self.programs()?;
        let before: Vec<f64> = all.iter().map(|(_, _, pid)| cpu(*pid)).collect::<anyhow::Result<_>>()?;
        let begun = Instant::now();
        sleep(Duration::from_secs(seconds)).await;
        for ((_, name, pid), before) in all.iter().zip(before) {
            let used = (cpu(*pid)? - before) / begun.elapsed().as_secs_f64();
            add(&mut samples, &format!("{IDLE_CPU}{name}"), used * 1e3);
            add(&mut samples, &format!("{IDLE_MEMORY}{name}"), resident(*pid)?);
        }
        self.check(&mut samples).await?;
        self.cluster.clear().await?;
        Ok(samples)
    }

    async fn starts(&self, pods: usize) -> anyhow::Result<Samples> {
        let mut samples = Samples::new();
        let all = self.programs()?;
        let mut before = Vec::new();
        for (node, _, pid) in &all {
            forget_peak(*pid)?;
            before.push((cpu(*pid)?, calls(node).await?));
        }
        let took = self.cluster.deploy(pods, MANY).await?;
        add(&mut samples, STARTS, took.as_secs_f64());
        for ((node, name, pid), (used, made)) in all.iter().zip(before) {
            let made = calls(node).await?.since(made).count;
            ensure!(made > 0.0, "{} has started no pods", node.name());
            add(&mut samples, &format!("{START_CPU}{name}"), (cpu(*pid)? - used) * 1e3 / made);
            add(&mut samples, &format!("{START_MEMORY}{name}"), peak(*pid)?);
        }
        self.check(&mut samples).await?;
        self.cluster.clear().await?;
        Ok(samples)
    }

    /// A policy that denies all ingress comes and goes; somebody outside of the nodes tries to reach a pod on each of them
    /// all the time.
    async fn policy(&self, changes: usize) -> anyhow::Result<Samples> {
        let server = json!({"name": "server", "image": SERVER_IMAGE, "args": ["netexec"]});
        for node in &self.lab.nodes {
            self.cluster.start(&format!("server-{}", node.name()), node.name(), &server).await?;
        }
        let pods = self.cluster.wait_ready(self.lab.nodes.len(), POD).await?;
        self.cluster.all_answer(ANSWER).await?;
        let servers: Vec<(String, IpAddr)> =
            pods.iter().flat_map(|(name, pod)| pod.addresses.iter().map(|a| (name.clone(), *a))).collect();
        let all = format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies");
        let mut events = self.follow(&all).await?;
        let knocking = Knocking::start(self.cluster.router())?;
        let mut samples = Samples::new();
        for n in 0..changes {
            let family = if n % 2 == 0 { Family::V4 } else { Family::V6 };
            let of_family = servers.iter().filter(|(_, a)| Family::of(*a) == family);
            knocking.aim(of_family.map(|(_, a)| SocketAddr::new(*a, super::cluster::CLOSED)).collect());
            reached(&knocking, Instant::now()).await?;
            for denies in [true, false] {
                knocking.forget();
                let sent = Instant::now();
                if denies {
                    self.cluster.client.create(&all, &deny()).await?;
                } else {
                    self.cluster.client.delete(&format!("{all}/deny")).await?;
                }
                add(&mut samples, ANSWERED, milliseconds(sent.elapsed()));
                let effect =
                    if denies { silent(&knocking, sent).await? } else { reached(&knocking, sent).await? };
                add(&mut samples, if denies { DENIED } else { ALLOWED }, milliseconds(effect));
                let told = timeout(EFFECT, events.recv()).await.ok().flatten().context("no event came")?;
                add(&mut samples, TOLD, milliseconds(told.saturating_duration_since(sent)));
                if n == 0 {
                    self.servers_answer(&servers, !denies).await?;
                }
            }
        }
        drop(knocking);
        self.check(&mut samples).await?;
        self.cluster.clear().await?;
        Ok(samples)
    }

    /// Times of all events of a path that come from now on.
    async fn follow(&self, path: &str) -> anyhow::Result<mpsc::Receiver<Instant>> {
        let (_, mut events) = self.cluster.client.watch(path).await?;
        let (tell, told) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(_)) = events.next().await {
                if tell.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        });
        Ok(told)
    }

    /// Fails unless every server tells its name, or none does.
    async fn servers_answer(&self, servers: &[(String, IpAddr)], wanted: bool) -> anyhow::Result<()> {
        for (name, address) in servers.iter().cloned() {
            let to = SocketAddr::new(address, SERVER_PORT);
            let told = self.cluster.outside(move || name_of(to)).await?;
            match told {
                Ok(told) if wanted => ensure!(told == name, "{name} at {address} says that it is {told:?}"),
                Ok(_) => bail!("{name} answers at {address} although a policy denies it"),
                Err(error) if wanted => bail!("{name} does not answer at {address}: {error}"),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The last node goes, with all that it knew, and comes back as a new one.
    async fn node(&self) -> anyhow::Result<Samples> {
        let (Some(node), Some(real)) = (self.lab.nodes.last(), self.lab.kubelets.last()) else {
            bail!("the lab has no real nodes");
        };
        // Gone from the kernel too: interfaces, policy, Services. No process is asked, so none can put it back.
        let own: Vec<&Process> = [node.agent().ok(), node.bird().ok()].into_iter().flatten().collect();
        for process in own.iter().copied().chain(real.processes.iter().skip(1).map(|(_, p)| p)) {
            process.kill(true).await;
        }
        real.run("rm -rf /var/lib/cni/*; nft flush ruleset; ip link del cni0 2>/dev/null; true").await?;
        let space = real.processes.first().map(|(_, p)| p).context("the node has no namespaces")?;
        space.kill(true).await;
        // It had no time to say that it is gone.
        let _ = std::fs::remove_file(real.space.data.join("pid"));
        self.cluster.client.delete(&format!("/api/v1/nodes/{}", node.name())).await?;
        sleep(Duration::from_secs(1)).await;

        let begun = Instant::now();
        for process in real.processes.iter().map(|(_, p)| p).chain(own) {
            process.resume().await;
        }
        self.cluster.start("first", node.name(), &idle()).await?;
        let pods = self.cluster.wait_ready(1, NODE).await?;
        let ready = pods.values().filter_map(|pod| pod.ready).max().unwrap_or(begun);
        let mut samples = Samples::new();
        add(&mut samples, FIRST_READY, ready.saturating_duration_since(begun).as_secs_f64());
        self.check(&mut samples).await?;
        add(&mut samples, FIRST_ANSWER, begun.elapsed().as_secs_f64());
        self.cluster.clear().await?;
        Ok(samples)
    }

    /// Fails unless all pods that there are answer at all addresses.
    async fn check(&self, samples: &mut Samples) -> anyhow::Result<()> {
        let count = self.cluster.all_answer(ANSWER).await?;
        add(samples, CHECKED, count as f64);
        Ok(())
    }

    async fn all_calls(&self) -> anyhow::Result<Calls> {
        let mut sum = Calls::default();
        for node in &self.lab.nodes {
            let one = calls(node).await?;
            sum = Calls { count: sum.count + one.count, seconds: sum.seconds + one.seconds };
        }
        Ok(sum)
    }

    /// The programs whose costs are told: node, name, process id.
    fn programs(&self) -> anyhow::Result<Vec<(Arc<Node>, String, u32)>> {
        let mut all = Vec::new();
        for (node, real) in self.lab.nodes.iter().zip(&self.lab.kubelets) {
            let agent = node.agent().ok().map(|agent| ("agent", agent));
            let others = real.processes.iter().skip(1).map(|(name, process)| (*name, process));
            for (name, process) in agent.into_iter().chain(others) {
                let pid = program(process).with_context(|| format!("{name} of {}", node.name()))?;
                all.push((node.clone(), name.to_owned(), pid));
            }
        }
        Ok(all)
    }
}

fn add(samples: &mut Samples, name: &str, value: f64) {
    samples.entry(name.to_owned()).or_default().push(value);
}

async fn calls(node: &Node) -> anyhow::Result<Calls> {
    let netns = node.netns.clone();
    tokio::task::spawn_blocking(move || Calls::ask(&netns)).await?
}

fn deny() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
}

/// How long after `sent` the last attempt was made that reached anybody, and the one after it was not.
async fn silent(knocking: &Knocking, sent: Instant) -> anyhow::Result<Duration> {
    let deadline = sent + EFFECT;
    loop {
        let last = knocking.last_reached().unwrap_or(sent).max(sent);
        if last.elapsed() > SILENCE {
            return Ok(last.saturating_duration_since(sent) + INTERVAL);
        }
        ensure!(Instant::now() < deadline, "the policy denies nothing after {} s", EFFECT.as_secs());
        sleep(Duration::from_millis(1)).await;
    }
}

/// How long after `sent` the attempt was made that reached the last of all.
async fn reached(knocking: &Knocking, sent: Instant) -> anyhow::Result<Duration> {
    let deadline = sent + EFFECT;
    loop {
        if let Some(all) = knocking.all_reached() {
            return Ok(all.saturating_duration_since(sent));
        }
        ensure!(Instant::now() < deadline, "not all pods are reached after {} s", EFFECT.as_secs());
        sleep(Duration::from_millis(1)).await;
    }
}

/// What a server says its name is. Blocks.
fn name_of(to: SocketAddr) -> std::io::Result<String> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&to, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.rsplit("\r\n").next().unwrap_or_default().trim().to_owned())
}
