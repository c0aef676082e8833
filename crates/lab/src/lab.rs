//! A lab that is up: its fabric, processes and pods, and what commands ask of it.

use crate::apply::{Purpose, understand};
use crate::cni::Plugin;
use crate::control::Place;
use crate::datastore::Datastore;
use crate::dirs::LabDir;
use crate::fabric::{Fabric, Plan};
use crate::kube::kubelets;
use crate::kube::node::KubeNode;
use crate::kube::space::SpaceSpec;
use crate::node::{Node, bird};
use crate::outside::OutsideHost;
use crate::pods::{PodName, PodRow, Pods, name_of};
use crate::process::{Process, State};
use crate::request::{LabStatus, NodeRow, PodArgs, ProcessStatus, Request};
use crate::spec::{Cni, Encapsulation, LabSpec};
use crate::supervisor::Sink;
use crate::{guard, router, routes};
use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use serde_json::Value;
use std::net::TcpListener;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Mutex, Notify};
use tortie_net::Cidr;
use tortie_probe::Listeners;
use tortie_scenario::Pod as Wish;

/// A lab.
pub(crate) struct Lab {
    pub(crate) spec: Arc<LabSpec>,
    pub(crate) dir: LabDir,
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) store: Datastore,
    /// Real nodes' processes, if nodes are real.
    pub(crate) kubelets: Vec<KubeNode>,
    pub(crate) pods: Pods,
    /// The open ports of pods and outside hosts.
    pub(crate) listeners: Listeners,
    outside: StdMutex<Vec<OutsideHost>>,
    router: Option<Process>,
    started: Instant,
    /// Held by a command that changes something: they take turns.
    work: Mutex<()>,
    end: Notify,
}

impl Lab {
    /// Builds a lab from nothing.
    pub(crate) async fn build(
        spec: Arc<LabSpec>,
        dir: LabDir,
        entrance: Option<TcpListener>,
        sink: &Sink,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        sink.progress(format!("fabric: {} nodes, {}", spec.nodes, spec.fabric)).await;
        let plan = Plan::new(spec.fabric, spec.nodes);
        let fabric = tokio::task::spawn_blocking(move || Fabric::build(plan))
            .await
            .context("the fabric's builder died")??;
        sink.progress(format!("datastore: {}", spec.datastore)).await;
        let store = Datastore::start(&spec, &dir, fabric.plan()).await?;
        if let (Some(control), Some(entrance)) = (&store.control, entrance) {
            control.open(entrance, &dir)?;
        }
        store.fill(fabric.plan(), &spec).await.context("cannot fill the datastore")?;
        let mut nodes = Vec::new();
        for (net, netns) in fabric.nodes() {
            let node = Node::new(net.clone(), netns.clone(), &dir, &spec, &store.address)?;
            Plugin::configure(&node)?;
            nodes.push(Arc::new(node));
        }
        let kubelets = kubelets::start(&spec, &dir, &fabric, &nodes, &store, sink).await?;
        let pods = Pods::new(Plugin::install(&spec.cni_bin, &spec.name)?);
        let listeners = Listeners::new()?;
        let mut lab = Self {
            spec,
            dir,
            fabric: Arc::new(fabric),
            nodes,
            store,
            kubelets,
            pods,
            listeners,
            outside: StdMutex::default(),
            router: None,
            started,
            work: Mutex::new(()),
            end: Notify::new(),
        };
        lab.add_world().await?;
        if lab.spec.agents {
            sink.progress("router, agents and BIRD").await;
            lab.lead_to_pods().await?;
            let starts = lab.nodes.iter().map(|n| n.start());
            join_all(starts).await.into_iter().collect::<anyhow::Result<()>>()?;
            let what = if lab.spec.encapsulation == Encapsulation::None { "BGP sessions" } else { "tunnels" };
            sink.progress(format!("waiting for {what}")).await;
            lab.wait_ready().await?;
        } else if lab.spec.kubelets.as_ref().is_some_and(|k| k.cni == Cni::None) {
            // Whoever installs a network finds the peers that the datastore names.
            lab.lead_to_pods().await?;
        }
        lab.wait_kubelets(sink).await?;
        Ok(lab)
    }

    /// Waits until kubelets say that their nodes are ready; without a network they never do.
    async fn wait_kubelets(&self, sink: &Sink) -> anyhow::Result<()> {
        let (Some(kubelets), Some(control)) = (&self.spec.kubelets, &self.store.control) else {
            return Ok(());
        };
        if kubelets.cni == Cni::None {
            return Ok(());
        }
        sink.progress("waiting for kubelets").await;
        let waits = self.nodes.iter().map(|n| control.client.wait_node(n.name()));
        join_all(waits).await.into_iter().collect()
    }

    /// Gives the router the way to pods: by BGP, or by a table that follows the blocks.
    async fn lead_to_pods(&mut self) -> anyhow::Result<()> {
        if self.spec.encapsulation == Encapsulation::None {
            return self.start_router().await;
        }
        self.forbid_pods(&self.spec.pools).await?;
        routes::spawn(Arc::clone(&self.fabric), self.store.records.clone());
        Ok(())
    }

    /// Has the fabric drop packets between pods, where they are to be in tunnels.
    pub(crate) async fn forbid_pods(&self, pools: &[Cidr]) -> anyhow::Result<()> {
        if self.spec.encapsulation == Encapsulation::None {
            return Ok(());
        }
        let (fabric, pools) = (Arc::clone(&self.fabric), pools.to_vec());
        tokio::task::spawn_blocking(move || guard::forbid_pods(&fabric, &pools)).await?
    }

    async fn start_router(&mut self) -> anyhow::Result<()> {
        let dir = self.dir.of_part("router");
        let run = dir.join("run");
        std::fs::create_dir_all(&run).with_context(|| format!("cannot create {}", run.display()))?;
        let config = run.join("bird.cfg");
        std::fs::write(&config, router::bird_config(self.fabric.plan()))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let spec = bird("BIRD of the router", &dir, self.fabric.router());
        self.router = Some(Process::start(spec).await.context("is the package bird2 installed?")?);
        Ok(())
    }

    /// Resolves when a command has asked for the end.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }

    fn processes(&self) -> impl Iterator<Item = (String, &Process)> {
        let beside = self.store.beside.iter().map(|(name, p)| ((*name).to_owned(), p));
        let store = [("store".to_owned(), &self.store.process)].into_iter().chain(beside);
        let router = self.router.iter().map(|p| ("router/bird".to_owned(), p));
        let kubelets = self.kubelets.iter().flat_map(|node| {
            node.processes.iter().map(|(kind, p)| (format!("{}/{kind}", node.space.node), p))
        });
        store.chain(kubelets).chain(router).chain(self.nodes.iter().flat_map(|n| n.processes()))
    }

    /// The list of hosts beyond the router.
    pub(crate) fn outside(&self) -> MutexGuard<'_, Vec<OutsideHost>> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node with this name or number.
    pub(crate) fn node(&self, name: &str) -> anyhow::Result<&Arc<Node>> {
        let found = self.nodes.iter().find(|n| n.name() == name || n.net.number.to_string() == name);
        found.with_context(|| {
            let names: Vec<&str> = self.nodes.iter().map(|n| n.name()).collect();
            format!("no node {name:?} in lab {:?}; there are {}", self.spec.name, names.join(", "))
        })
    }

    /// Does what a command asks.
    pub(crate) async fn answer(self: &Arc<Self>, request: Request, sink: &Sink) -> anyhow::Result<Value> {
        match request {
            Request::Shape => Ok(serde_json::to_value(&*self.spec)?),
            Request::Status => Ok(serde_json::to_value(self.status().await)?),
            Request::Down => {
                self.end.notify_one();
                Ok(Value::Null)
            }
            Request::Place { target } => {
                if target.contains('/') {
                    let _turn = self.work.lock().await;
                    self.look_at_pods().await?;
                }
                Ok(serde_json::to_value(self.place(&target)?)?)
            }
            Request::Pods => {
                let _turn = self.work.lock().await;
                self.look_at_pods().await?;
                let rows: Vec<PodRow> = self.pods.all().iter().map(|p| self.pod_row(p)).collect();
                Ok(serde_json::to_value(rows)?)
            }
            Request::Matrix { globs } => {
                let _turn = self.work.lock().await;
                self.look_at_pods().await?;
                Ok(serde_json::to_value(self.matrix(&globs, sink).await?)?)
            }
            changing => {
                let _turn = self.work.lock().await;
                self.change(changing, sink).await
            }
        }
    }

    /// Does what changes the lab.
    async fn change(self: &Arc<Self>, request: Request, sink: &Sink) -> anyhow::Result<Value> {
        match request {
            Request::Apply { documents, wait } => {
                let applied = self.apply(understand(documents, Purpose::Write)?, sink).await?;
                if wait {
                    sink.progress("waiting until all nodes enforce it").await;
                    self.wait_enforced(applied.revision).await?;
                    for node in self.absent() {
                        sink.progress(format!(
                            "{node} does not enforce it: its agent is stopped, or it is cut off"
                        ))
                        .await;
                    }
                }
                Ok(serde_json::to_value(applied)?)
            }
            Request::Delete { documents } => {
                let applied = self.delete(understand(documents, Purpose::Delete)?, sink).await?;
                self.wait_enforced(applied.revision).await?;
                Ok(serde_json::to_value(applied)?)
            }
            Request::AddPods { pods } => {
                let wishes: Vec<Wish> = pods.into_iter().map(wish).collect::<anyhow::Result<_>>()?;
                let names: Vec<PodName> = wishes.iter().map(name_of).collect::<anyhow::Result<_>>()?;
                self.add_pods(wishes).await?;
                let rows: Vec<PodRow> =
                    names.iter().filter_map(|n| self.pods.get(n)).map(|p| self.pod_row(&p)).collect();
                Ok(serde_json::to_value(rows)?)
            }
            Request::RemovePods { pods } => {
                self.look_at_pods().await?;
                let names: Vec<PodName> = pods.iter().map(|p| p.parse()).collect::<anyhow::Result<_>>()?;
                if let Some(missing) = names.iter().find(|n| self.pods.get(n).is_none()) {
                    bail!("there is no pod {missing}");
                }
                self.remove_pods(names).await?;
                Ok(Value::Null)
            }
            Request::Run { scenario, options } => {
                self.run(&scenario, options, sink).await?;
                Ok(Value::Null)
            }
            Request::Bench => Ok(serde_json::to_value(self.bench(sink).await?)?),
            Request::Measure { measure } => Ok(serde_json::to_value(self.measure(&measure, sink).await?)?),
            Request::Reuse => Ok(serde_json::to_value(self.reuse(sink).await?)?),
            Request::Fault { fault } => Ok(self.fault(fault.parse()?).await?.into()),
            other => bail!("{other:?} changes nothing"),
        }
    }

    async fn status(&self) -> LabStatus {
        let rows = self.nodes.iter().map(|n| self.row(n));
        let nodes = join_all(rows).await;
        LabStatus {
            name: self.spec.name.clone(),
            datastore: self.spec.datastore.to_string(),
            fabric: self.spec.fabric.to_string(),
            pools: self.spec.pools.iter().map(ToString::to_string).collect(),
            uptime_seconds: self.started.elapsed().as_secs(),
            directory: self.dir.path().display().to_string(),
            processes: self
                .processes()
                .map(|(name, p)| ProcessStatus { name, state: describe(&p.state()), restarts: p.restarts() })
                .collect(),
            nodes,
            pods: self.pods.len(),
        }
    }

    async fn row(&self, node: &Node) -> NodeRow {
        let state = |p: anyhow::Result<&Process>| p.map_or_else(|_| "-".to_owned(), |p| describe(&p.state()));
        NodeRow {
            name: node.name().to_owned(),
            segment: node.net.segment,
            addresses: node.addresses().to_vec(),
            connected: self.fabric.is_connected(node.name()),
            agent: state(node.agent()),
            bird: state(node.bird()),
            pods: self.pods.on_node(node.net.number - 1),
            status: if node.has_agent() { node.status().await.ok() } else { None },
        }
    }

    /// Where `target` is.
    fn place(&self, target: &str) -> anyhow::Result<Place> {
        if let Ok(node) = self.node(target) {
            let space = node.space.get().map(SpaceSpec::first_process).transpose()?;
            let mut env = node.env().to_vec();
            for (name, value) in self.store.env() {
                env.retain(|(n, _)| *n != name);
                env.push((name, value));
            }
            return Ok(Place { netns: node.name().to_owned(), env, space });
        }
        if let Ok(name) = target.parse::<PodName>() {
            let pod = self
                .pods
                .get(&name)
                .with_context(|| format!("there is no pod {name} in lab {:?}", self.spec.name))?;
            return Ok(Place { netns: pod.container.netns.clone(), env: Vec::new(), space: None });
        }
        let places = self.fabric.places();
        if places.iter().any(|p| p == target) {
            return Ok(Place { netns: target.to_owned(), env: self.store.env(), space: None });
        }
        let nodes = self.nodes.iter().map(|n| n.name().to_owned());
        let all: Vec<String> = nodes.chain(places).collect();
        bail!(
            "no {target:?} in lab {:?}; there are {}, and pods as namespace/name",
            self.spec.name,
            all.join(", ")
        )
    }
}

/// The pod that a command asks for.
fn wish(args: PodArgs) -> anyhow::Result<Wish> {
    let name: PodName = args.name.parse()?;
    Ok(Wish {
        namespace: name.namespace,
        name: name.name,
        node: args.node,
        labels: args.labels,
        service_account: args.service_account,
        listen: args.listen.iter().map(|l| l.parse()).collect::<Result<_, _>>()?,
        ..Wish::default()
    })
}

fn describe(state: &State) -> String {
    match state {
        State::Running(pid) => format!("running ({pid})"),
        State::Restarting(reason) => format!("restarting: {reason}"),
        State::Stopped => "stopped".to_owned(),
    }
}
