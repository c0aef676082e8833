//! The engine: the one owner of what the kernel should look like. See `docs/design/agent.md`.
//!
//! It runs on a thread of its own with a single-threaded runtime: netlink calls are synchronous and short, and
//! everything else talks to it over bounded channels.

mod leaving;
mod problems;
mod settings;

use self::problems::Examined;
use crate::config::Config;
use crate::connections::Connections;
use crate::current::Current;
use crate::leave::Watcher;
use crate::metrics::Metrics;
use crate::problems::Problems;
use crate::routing::Routing;
use anyhow::Context as _;
use bytes::Bytes;
use settings::Calculation;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tortie_agent_api::{EndpointStatus, NodeStatus};
use tortie_calc::fabric::{Fabric, FabricUpdate};
use tortie_calc::{Calc, Update};
use tortie_cluster::{Networks, NodeSettings};
use tortie_dataplane::Dataplane;
use tortie_model::convert::{Converter, Diagnostic};
use tortie_model::{Change, Key, Value};
use tortie_net::Cidr;
use tortie_runtime::Reporter;
use tortie_store::StoreError;
use tortie_sync::{Delta, Feed, Relist, View};

/// How many waiting items one turn takes at most, so that a flood of events cannot keep the kernel waiting.
const MAX_ITEMS_PER_TURN: usize = 256;

/// Pause before a failed apply is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Why nothing is written while ClusterInformation says so.
pub(crate) const LOCKED: &str = "the datastore is locked (ClusterInformation default has datastoreReady=false): the dataplane stays as it is";

/// What others ask of the engine.
#[derive(Debug)]
pub(crate) enum Command {
    /// A write of our own that the store accepted: apply it before its event comes, and say when it is in the kernel.
    Ahead { key: String, value: Option<Bytes>, revision: u64, applied: oneshot::Sender<Result<(), String>> },
    /// Say when everything up to this revision is enforced.
    Wait { revision: u64, routes: bool, reached: oneshot::Sender<u64> },
    /// The state, for people.
    Status(oneshot::Sender<NodeStatus>),
    /// Nothing of the datastore counts any more, unless it says that the product is removed.
    Hold,
    /// Give policy up: the product is removed.
    Leave(oneshot::Sender<Result<(), String>>),
}

/// The engine's handle.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Hands over a write of our own. When this returns it is queued, before anything that the caller does next; the
    /// future that it answers completes when it is in the kernel.
    pub(crate) async fn ahead(
        &self,
        key: String,
        value: Option<Bytes>,
        revision: u64,
    ) -> impl Future<Output = Result<(), String>> + use<> {
        let (applied, answer) = oneshot::channel();
        let queued = self.commands.send(Command::Ahead { key, value, revision, applied }).await.is_ok();
        async move {
            match answer.await {
                Ok(outcome) if queued => outcome,
                _ => Err("the agent is stopping".to_owned()),
            }
        }
    }

    pub(crate) async fn wait(&self, revision: u64, routes: bool) -> Option<u64> {
        let (reached, answer) = oneshot::channel();
        self.commands.send(Command::Wait { revision, routes, reached }).await.ok()?;
        answer.await.ok()
    }

    /// From now on nothing of the datastore counts.
    pub(crate) async fn hold(&self) {
        // An engine that has ended holds still anyway.
        let _ = self.commands.send(Command::Hold).await;
    }

    /// Gives policy up, for good.
    pub(crate) async fn leave(&self) -> Result<(), String> {
        let (to, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Leave(to)).await.is_ok();
        answer.await.ok().filter(|_| sent).unwrap_or_else(|| Err("the engine has ended".to_owned()))
    }

    pub(crate) async fn status(&self) -> Option<NodeStatus> {
        let (to, answer) = oneshot::channel();
        self.commands.send(Command::Status(to)).await.ok()?;
        answer.await.ok()
    }
}

/// What the engine is made of.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) connections: Connections,
    pub(crate) feed: mpsc::Receiver<Feed>,
    /// Asks the feed for another snapshot.
    pub(crate) relist: Relist,
    /// The store tells all changes in order.
    pub(crate) ordered: bool,
    pub(crate) settings: NodeSettings,
    /// Where the settings in force are told.
    pub(crate) current: watch::Sender<Arc<Current>>,
    pub(crate) health: Reporter,
    pub(crate) metrics: Metrics,
    /// Where BIRD's configuration goes.
    pub(crate) bird: watch::Sender<Option<String>>,
    /// Becomes true at the first complete apply.
    pub(crate) synced: watch::Sender<bool>,
    /// The rules of another agent stand, and filter.
    pub(crate) guarded: bool,
    /// Pools that ask for VXLAN, once the datastore has been read.
    pub(crate) tunnelled: watch::Sender<Option<BTreeSet<Cidr>>>,
    /// Where what is wrong is told.
    pub(crate) problems: Problems,
    /// Who sees that the product is being removed.
    pub(crate) watcher: Watcher,
    /// Where it is told who has which addresses.
    pub(crate) networks: watch::Sender<Networks>,
}

/// Starts the engine in the network namespace of the caller, and answers when the kernel can be talked to.
pub(crate) fn spawn(parts: Parts) -> anyhow::Result<Handle> {
    let (commands, from) = mpsc::channel(256);
    let (opened, outcome) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = opened.send(Err(anyhow::Error::new(error).context("the engine cannot start")));
                return;
            }
        };
        runtime.block_on(async {
            let config = parts.current.borrow().dataplane(&parts.config.node);
            match Dataplane::open(&config) {
                Ok(dataplane) => {
                    let _ = opened.send(Ok(()));
                    Engine::new(parts, config, dataplane).run(from).await;
                }
                Err(error) => {
                    let _ = opened.send(Err(error.into()));
                }
            }
        });
    })?;
    outcome.recv().context("the engine ended before it began")??;
    Ok(Handle { commands })
}

/// Kinds of which nothing in force depends, by the beginnings of their keys.
fn is_dispensable(beginning: &str) -> bool {
    let kind = kind_of(beginning);
    kind.starts_with("staged") || kind == "caliconodestatuses"
}

/// `tiers` of `/calico/resources/v3/projectcalico.org/tiers/`.
fn kind_of(beginning: &str) -> &str {
    let path = beginning.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

struct Waiter {
    revision: u64,
    routes: bool,
    reached: oneshot::Sender<u64>,
}

struct Engine {
    config: Arc<Config>,
    connections: Connections,
    /// Changes of who has which address, until their consequences are in the kernel.
    moved: Vec<Change>,
    feed: mpsc::Receiver<Feed>,
    relist: Relist,
    ordered: bool,
    settings: NodeSettings,
    current: watch::Sender<Arc<Current>>,
    /// The settings of the dataplane that there is.
    applied: tortie_dataplane::Config,
    /// A snapshot was asked for, to begin anew.
    restarting: bool,
    /// The policy of an earlier agent, ours or Calico's, stands: it stays as it is until in-sync.
    adopted: bool,
    /// Own writes that the view may not have seen come back.
    recent: Vec<(String, Option<Bytes>, u64)>,
    health: Reporter,
    metrics: Metrics,
    bird: watch::Sender<Option<String>>,
    synced: watch::Sender<bool>,
    tunnelled: watch::Sender<Option<BTreeSet<Cidr>>>,
    problems: Problems,
    watcher: Watcher,
    networks: watch::Sender<Networks>,
    /// Pools, nodes and Services as they are known here.
    collected: Networks,
    /// The networks are not told yet as they are.
    collected_news: bool,
    /// Networks of others that pools hold by mistake.
    foreign: Vec<Cidr>,
    /// When this host's networks were looked at.
    looked: Option<Instant>,
    /// What is wrong may be something else than was told, and when it was told.
    examined: Examined,

    view: View,
    converter: Converter,
    calc: Calc,
    fabric: Fabric,
    dataplane: Dataplane,
    routing: Routing,

    started: Instant,
    /// Why the store cannot be read, if so, and since when.
    lost: Option<(String, Instant)>,
    /// It answers, and does not let us.
    refused: bool,
    in_sync: bool,
    /// What policy depends on and could not be read since the start.
    unread: Vec<String>,
    enforced: u64,
    /// Revision of the last change of each policy.
    policies: BTreeMap<String, u64>,
    /// Objects with problems, by path.
    warnings: BTreeMap<Arc<str>, Vec<Diagnostic>>,
    waiters: Vec<Waiter>,
    /// Own writes that are answered after the next apply.
    ahead: Vec<oneshot::Sender<Result<(), String>>>,
    updates: Vec<Update>,
    fabric_updates: Vec<FabricUpdate>,
    /// What the last apply could not do.
    failures: Vec<String>,
    /// When something that is out of use can be removed from the kernel.
    leftovers: Option<Duration>,
}

impl Engine {
    fn new(parts: Parts, applied: tortie_dataplane::Config, dataplane: Dataplane) -> Self {
        let Calculation { converter, calc, fabric, routing } =
            Calculation::new(&parts.config.node, &applied.interface_prefix);
        Self {
            connections: parts.connections,
            moved: Vec::new(),
            feed: parts.feed,
            relist: parts.relist,
            ordered: parts.ordered,
            settings: parts.settings,
            current: parts.current,
            applied,
            restarting: false,
            adopted: parts.guarded,
            recent: Vec::new(),
            health: parts.health,
            metrics: parts.metrics,
            bird: parts.bird,
            synced: parts.synced,
            tunnelled: parts.tunnelled,
            problems: parts.problems,
            watcher: parts.watcher,
            networks: parts.networks,
            collected: Networks::default(),
            collected_news: false,
            foreign: Vec::new(),
            looked: None,
            examined: Examined::default(),
            view: View::new(parts.ordered),
            converter,
            calc,
            fabric,
            dataplane,
            routing,
            started: Instant::now(),
            lost: None,
            refused: false,
            in_sync: false,
            unread: Vec::new(),
            enforced: 0,
            policies: BTreeMap::new(),
            warnings: BTreeMap::new(),
            waiters: Vec::new(),
            ahead: Vec::new(),
            updates: Vec::new(),
            fabric_updates: Vec::new(),
            failures: Vec::new(),
            leftovers: None,
            config: parts.config,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        // What fails closed comes first, before anything is known. What an earlier agent left does so too, by settings
        // that we may not know yet.
        self.adopted |= self.dataplane.is_standing();
        self.apply();
        let mut compared = Instant::now();
        let mut beat = tokio::time::interval(Duration::from_secs(10));
        loop {
            let again = self.again_after();
            let compare = self.current.borrow().refresh().map(|interval| compared + interval);
            let examine = self.examine_at();
            let mut dirty = true;
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                item = self.feed.recv() => match item {
                    Some(item) => self.item(item),
                    None => return,
                },
                () = self.dataplane.changed() => self.dataplane.note(),
                () = tokio::time::sleep(again.unwrap_or(RETRY)), if again.is_some() => {}
                () = tokio::time::sleep_until(examine.unwrap_or(compared).into()), if examine.is_some() => {
                    dirty = false;
                }
                () = tokio::time::sleep_until(compare.unwrap_or(compared).into()), if compare.is_some() => {
                    compared = Instant::now();
                    self.dataplane.resync();
                }
                _ = beat.tick() => dirty = false,
            }
            for _ in 0..MAX_ITEMS_PER_TURN {
                if let Ok(command) = commands.try_recv() {
                    self.command(command);
                } else if let Ok(item) = self.feed.try_recv() {
                    self.item(item);
                } else {
                    break;
                }
            }
            self.follow_settings();
            self.look_at_host();
            self.tell_networks();
            if dirty {
                self.apply();
            }
            self.examine(dirty);
            self.report();
        }
    }

    /// When to apply again although nothing has changed.
    fn again_after(&self) -> Option<Duration> {
        let retry =
            !self.failures.is_empty() || self.waiters.iter().any(|w| w.routes && w.revision <= self.enforced);
        let retry = retry.then_some(RETRY);
        [retry, self.leftovers].into_iter().flatten().min()
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Ahead { key, value, revision, applied } => {
                let seen = self.view.revision();
                self.recent.retain(|(_, _, revision)| *revision > seen);
                self.recent.push((key.clone(), value.clone(), revision));
                if let Some(delta) = self.view.ahead(&key, value, revision) {
                    self.delta(delta);
                }
                self.ahead.push(applied);
            }
            Command::Wait { revision, routes, reached } => {
                self.waiters.push(Waiter { revision, routes, reached });
            }
            Command::Status(to) => {
                let status = self.status();
                // The asker may have gone away.
                let _ = to.send(status);
            }
            Command::Hold => self.watcher.hold(),
            Command::Leave(to) => {
                let outcome = self.leave();
                let _ = to.send(outcome);
            }
        }
    }

    fn item(&mut self, item: Feed) {
        let Some(item) = self.unless_leaving(item) else { return };
        match item {
            Feed::Snapshot(list) => {
                let revision = list.revision;
                let anew = self.before_snapshot(&list);
                // Nobody can know whether there is nothing, or something that must not be seen.
                self.unread = list.unread.iter().filter(|kind| !is_dispensable(kind)).cloned().collect();
                let deltas = self.view.snapshot(list);
                tracing::info!(
                    revision,
                    changes = deltas.len(),
                    keys = self.view.len(),
                    "datastore read completely"
                );
                self.metrics.resyncs.inc();
                self.lost = None;
                self.deltas(deltas);
                self.replay_recent();
                if self.in_sync {
                    self.connections.gap();
                }
                if (anew || !self.in_sync) && self.unread.is_empty() {
                    self.in_sync = true;
                    self.calc.on_in_sync();
                    self.fabric.on_in_sync();
                }
            }
            Feed::Events(events) => {
                self.lost = None;
                let deltas = self.view.events(events);
                self.deltas(deltas);
            }
            Feed::Progress(revision) => {
                self.lost = None;
                self.view.progress(revision);
            }
            Feed::Lost(error) => {
                let since = self.lost.take().map_or_else(Instant::now, |(_, since)| since);
                self.refused = matches!(error, StoreError::Denied { .. });
                self.lost = Some((error.to_string(), since));
            }
        }
    }

    fn deltas(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            self.delta(delta);
        }
    }

    fn delta(&mut self, delta: Delta) {
        let (changes, problems) = self.converter.entry(&delta.key, delta.value.as_deref());
        if problems.is_empty() {
            self.warnings.remove(&delta.key);
        } else {
            self.warnings.insert(delta.key.clone(), problems);
        }
        for change in changes {
            self.note_policy(&change, delta.revision);
            self.settings.on_change(&change);
            self.routing.on_change(&change);
            self.fabric.on_change(&change);
            self.collected_news |= self.collected.on_change(&change);
            if matches!(change.key, Key::WorkloadEndpoint(_) | Key::Block(_)) {
                if self.in_sync {
                    self.moved.push(change.clone());
                } else {
                    self.connections.note([change.clone()]);
                }
            }
            self.calc.on_change(change);
        }
    }

    fn note_policy(&mut self, change: &Change, revision: u64) {
        if let Key::Policy(id) = &change.key {
            match &change.value {
                Some(Value::Policy(_)) => self.policies.insert(id.to_string(), revision),
                _ => self.policies.remove(&id.to_string()),
            };
        }
    }

    fn apply(&mut self) {
        if self.watcher.ended {
            self.ahead.clear();
            return;
        }
        if self.current.borrow().paused {
            // What the datastore holds now may be half of something.
            for applied in self.ahead.drain(..) {
                let _ = applied.send(Err(LOCKED.to_owned()));
            }
            return;
        }
        if self.adopted && !self.in_sync {
            for applied in self.ahead.drain(..) {
                let _ = applied.send(Ok(()));
            }
            return;
        }
        let started = Instant::now();
        self.calc.flush(&mut self.updates);
        let changed = !self.updates.is_empty();
        for update in self.updates.drain(..) {
            self.dataplane.update(&update);
        }
        self.fabric.flush(&mut self.fabric_updates);
        for update in self.fabric_updates.drain(..) {
            self.dataplane.update_fabric(&update);
        }
        let report = self.dataplane.apply();
        if changed || report.writes > 0 {
            self.metrics.apply.observe(started.elapsed());
        }
        if !report.errors.is_empty() {
            self.metrics.failures.inc();
            for error in report.errors.iter().filter(|e| !self.failures.contains(e)) {
                tracing::warn!(%error, "the kernel does not have what it should have, trying again");
            }
        }
        self.failures = report.errors;
        self.leftovers = report.again_after;
        if report.complete && self.in_sync {
            self.enforced = self.view.revision();
            if !self.moved.is_empty() {
                self.connections.note(self.moved.drain(..));
            }
            if self.synced.send_if_modified(|s| !std::mem::replace(s, true)) {
                self.connections.in_sync();
            }
        }
        let outcome = if report.complete { Ok(()) } else { Err(self.failures.join("; ")) };
        for applied in self.ahead.drain(..) {
            let _ = applied.send(outcome.clone());
        }
        if self.in_sync {
            if let Some(text) = self.routing.render() {
                self.bird.send_replace(Some(text));
            }
            let tunnelled = Some(self.routing.tunnelled());
            self.tunnelled.send_if_modified(|now| std::mem::replace(now, tunnelled.clone()) != tunnelled);
        }
        self.wake();
    }

    fn wake(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let missing = self.waiters.iter().any(|w| w.routes) && !self.missing_routes().is_empty();
        let enforced = self.enforced;
        for waiter in std::mem::take(&mut self.waiters) {
            if waiter.reached.is_closed() {
                continue;
            }
            if waiter.revision <= enforced && !(waiter.routes && missing) {
                let _ = waiter.reached.send(enforced);
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    /// Blocks of other nodes without a route in the kernel.
    fn missing_routes(&mut self) -> Vec<String> {
        let wanted = self.routing.remote_blocks();
        if wanted.is_empty() {
            return Vec::new();
        }
        match self.dataplane.routed() {
            Ok(routed) => wanted.iter().filter(|b| !routed.contains(b)).map(ToString::to_string).collect(),
            Err(error) => vec![error],
        }
    }

    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.in_sync {
            reasons.push("the datastore has not been read completely yet".to_owned());
        }
        if !self.in_sync && !self.unread.is_empty() {
            let kinds: Vec<&str> = self.unread.iter().map(|kind| kind_of(kind)).collect();
            reasons.push(format!(
                "what policy depends on may not be read: {}; running pods keep their policy, and new ones wait until the agent's ClusterRole permits it",
                kinds.join(", ")
            ));
        }
        if let Some((lost, _)) = &self.lost {
            reasons.push(lost.clone());
        }
        if self.current.borrow().paused {
            reasons.push(LOCKED.to_owned());
        }
        reasons.extend(self.failures.iter().cloned());
        reasons
    }

    fn report(&self) {
        let reasons = self.reasons();
        self.health.report(if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) });
        self.metrics.resync_state.set(match (&self.lost, self.in_sync) {
            (Some(_), _) => 0.0,
            (None, false) => 1.0,
            (None, true) => 2.0,
        });
        self.metrics.endpoints.set(self.dataplane.workloads().len() as f64);
        self.metrics.policies.set(self.policies.len() as f64);
    }

    fn status(&mut self) -> NodeStatus {
        let reasons = self.reasons();
        NodeStatus {
            node: self.config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            sync: match (&self.lost, self.in_sync) {
                (Some(_), _) => "wait-for-datastore",
                (None, false) => "resync",
                (None, true) => "in-sync",
            }
            .to_owned(),
            revision: self.view.revision(),
            enforced_revision: self.enforced,
            ready: reasons.is_empty(),
            reasons,
            endpoints: self.endpoints(),
            policies: self.policies.clone(),
            bgp: Vec::new(),
            missing_routes: self.missing_routes(),
            addresses: self.routing.own_addresses().iter().map(IpAddr::to_string).collect(),
            warnings: self
                .warnings
                .iter()
                .flat_map(|(key, problems)| problems.iter().map(move |p| format!("{key}: {p}")))
                .chain(self.calc.diagnostics().iter().map(ToString::to_string))
                .chain(self.dataplane.refused().iter().map(|r| format!("the kernel refuses {r}")))
                .collect(),
            ..NodeStatus::default()
        }
    }

    fn endpoints(&self) -> Vec<EndpointStatus> {
        let failing = |name: &str| self.failures.iter().any(|f| f.contains(name));
        self.dataplane
            .workloads()
            .iter()
            .map(|(id, local)| EndpointStatus {
                workload: id.workload.clone(),
                interface: local.endpoint.name.clone(),
                addresses: local.endpoint.nets().map(|n| n.addr().to_string()).collect(),
                state: match () {
                    () if local.endpoint.state != "active" => "down",
                    () if failing(&local.endpoint.name) => "error",
                    () => "up",
                }
                .to_owned(),
                policies: local
                    .tiers
                    .iter()
                    .flat_map(|t| t.ingress.iter().chain(t.egress.iter().filter(|p| !t.ingress.contains(p))))
                    .map(ToString::to_string)
                    .collect(),
            })
            .collect()
    }
}
