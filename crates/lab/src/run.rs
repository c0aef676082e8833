//! Runs a scenario's plan with real packets.
//!
//! The plan decides everything; here it is only done: operations, then waiting until every node enforces them, then
//! probes. While operations are under way, a flood of packets runs on every pair that is denied throughout, of which none may
//! arrive, and connections on pairs that are allowed throughout are held, none of which may be disturbed.

mod cast;
mod reset;
mod steady;
mod watch;

use crate::lab::Lab;
use crate::matrix;
use crate::pods::{PodName, name_of};
use crate::supervisor::Sink;
use crate::truth;
use anyhow::{Context as _, bail};
pub(crate) use cast::Cast;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tortie_net::Protocol;
use tortie_probe::{Expect, Verdict, sctp_supported};
use tortie_scenario::{Expected, Observed, Operation, Plan, Pod as Wish, Probe, ProbePort, Source, Step};
use watch::Watch;

/// A scenario's text and those of the files that it refers to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScenarioText {
    pub(crate) source: String,
    pub(crate) text: String,
    /// By the path in the scenario: names and texts.
    pub(crate) files: BTreeMap<String, Vec<(String, String)>>,
}

impl ScenarioText {
    /// The plan; the texts have been read without problems before.
    fn plan(&self) -> anyhow::Result<Plan> {
        let loader = |path: &str| -> Result<Vec<Source>, String> {
            let files = self.files.get(path).ok_or_else(|| format!("{path} was not sent along"))?;
            Ok(files.iter().map(|(name, text)| Source { name: name.clone(), text: text.clone() }).collect())
        };
        tortie_scenario::load(&self.source, &self.text, &loader).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", problems.join("\n"))
        })
    }
}

/// How to run a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunOptions {
    /// After each step kill every agent, restart it and check everything again.
    pub(crate) restart_agents: bool,
    /// Leave pods and objects as they are at the end.
    pub(crate) keep: bool,
}

/// What came of a step; probes are named by their position in the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepResult {
    pub(crate) probes: usize,
    pub(crate) skipped: usize,
    pub(crate) differences: Vec<Found>,
    pub(crate) milliseconds: u64,
    /// Forbidden packets that were sent while the step was under way.
    pub(crate) flooded: u64,
    /// Connections that were held meanwhile.
    pub(crate) held: usize,
}

/// A probe that was not as expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Position among the step's probes.
    pub(crate) probe: usize,
    /// `allow`, `deny`, `reject`.
    pub(crate) observed: String,
    pub(crate) reason: String,
}

impl Found {
    fn new(probe: usize, observed: Observed, reason: impl Into<String>) -> Self {
        Self { probe, observed: observed.to_string(), reason: reason.into() }
    }

    /// What was observed.
    pub(crate) fn observed(&self) -> Observed {
        match self.observed.as_str() {
            "allow" => Observed::Allow,
            "reject" => Observed::Reject,
            _ => Observed::Deny,
        }
    }
}

impl Lab {
    /// Runs a scenario; each step's [`StepResult`] is sent as it ends.
    pub(crate) async fn run(
        self: &Arc<Self>,
        text: &ScenarioText,
        options: RunOptions,
        sink: &Sink,
    ) -> anyhow::Result<()> {
        let plan = text.plan()?;
        if plan.nodes != self.nodes.len() {
            bail!("{} is for {} nodes, but the lab has {}", plan.source, plan.nodes, self.nodes.len());
        }
        self.reset().await.context("cannot clean the lab")?;
        let outcome = self.follow(&plan, options, sink).await;
        if !options.keep {
            self.restore().await.context("cannot clean the lab")?;
        }
        outcome
    }

    async fn follow(self: &Arc<Self>, plan: &Plan, options: RunOptions, sink: &Sink) -> anyhow::Result<()> {
        self.furnish(plan).await?;
        self.execute(&plan.setup).await.context("cannot set the scenario up")?;
        self.settle().await?;
        for (index, step) in plan.steps.iter().enumerate() {
            if sink.is_closed() {
                bail!("nobody listens any more");
            }
            let started = Instant::now();
            let mut result =
                self.step(step).await.with_context(|| format!("step {} ({})", index + 1, step.name))?;
            if options.restart_agents {
                self.step_again(step, &mut result)
                    .await
                    .with_context(|| format!("step {} ({}), with restarted agents", index + 1, step.name))?;
            }
            result.milliseconds = started.elapsed().as_millis() as u64;
            sink.progress(format!(
                "{}: {}: {} probes, {} differences; {} forbidden packets sent, {} connections held",
                plan.name,
                step.name,
                result.probes,
                result.differences.len(),
                result.flooded,
                result.held
            ))
            .await;
            sink.item(&result).await;
        }
        Ok(())
    }

    /// Does a step and checks it.
    async fn step(self: &Arc<Self>, step: &Step) -> anyhow::Result<StepResult> {
        let steady = self.steady(step).await?;
        let watch = Watch::start(self, step, &steady).await?;
        let done = self.execute(&step.operations).await;
        // The flood goes on while the change takes hold, but its report comes before any error: it may tell the cause.
        let settled = match done {
            Ok(()) => self.settle().await,
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            drop(watch);
            return Err(error);
        }
        let mut result = self.probe(step).await?;
        watch.finish(&mut result).await?;
        Ok(result)
    }

    /// Kills all agents, waits for them to come back, and checks the step once more.
    async fn step_again(self: &Arc<Self>, step: &Step, result: &mut StepResult) -> anyhow::Result<()> {
        let unchanged = Step { operations: Vec::new(), ..step.clone() };
        let steady = self.steady(&unchanged).await?;
        let watch = Watch::start(self, step, &steady).await?;
        for node in self.nodes.iter().filter(|n| n.has_agent()) {
            let agent = node.agent()?;
            agent.kill(true).await;
            agent.resume().await;
        }
        self.settle().await?;
        let again = self.probe(step).await?;
        result.probes += again.probes;
        let restarted =
            |f: Found| Found { reason: format!("after the agents were killed: {}", f.reason), ..f };
        let mut report = StepResult::default();
        watch.finish(&mut report).await?;
        result.differences.extend(again.differences.into_iter().chain(report.differences).map(restarted));
        result.flooded += report.flooded;
        result.held = result.held.max(report.held);
        Ok(())
    }

    /// Waits until everything written so far is in force.
    async fn settle(&self) -> anyhow::Result<()> {
        let revision = self.store.records.revision().await?;
        self.wait_enforced(revision).await
    }

    /// Does operations in order; neighbouring starts of pods at the same time.
    async fn execute(self: &Arc<Self>, operations: &[Operation]) -> anyhow::Result<()> {
        let mut fresh: Vec<Wish> = Vec::new();
        for operation in operations {
            if let Operation::AddPod(wish) = operation {
                fresh.push(wish.clone());
                continue;
            }
            self.add_pods(std::mem::take(&mut fresh)).await?;
            match operation {
                Operation::Apply(object) => {
                    let put = self.store.records.put(&object.path, &object.value).await;
                    put.with_context(|| format!("cannot apply {}", object.id))?;
                }
                Operation::Delete { id, path } => {
                    self.store.records.remove(path).await.with_context(|| format!("cannot delete {id}"))?;
                    self.finish_namespace(id).await?;
                }
                Operation::ChangePod(wish) => {
                    self.adjust_pod(&name_of(wish)?, wish.clone()).await?;
                }
                Operation::DeletePod(name) => {
                    let name: PodName = name.parse()?;
                    self.remove_pod(&name).await?;
                }
                Operation::Fault(fault) => {
                    self.fault(*fault).await?;
                }
                Operation::AddPod(_) => {}
            }
        }
        self.add_pods(fresh).await
    }

    /// Sends a step's probes and compares.
    async fn probe(self: &Arc<Self>, step: &Step) -> anyhow::Result<StepResult> {
        let cast = Cast::of(self);
        let _listening = cast.listen_on_nodes(self, step)?;
        let mut result = StepResult::default();
        let (mut sent, mut probes) = (Vec::new(), Vec::new());
        for (index, probe) in step.probes.iter().enumerate() {
            let has_family = self.spec.families.has(probe.family);
            if !probe.expected.is_sent() || !has_family || !speakable(probe) || cast.is_disguised(probe) {
                result.skipped += 1;
                continue;
            }
            match cast.probe(probe) {
                Some(packet) => {
                    sent.push(index);
                    probes.push(packet.expecting(expect(probe.expected)));
                }
                None => {
                    result.probes += 1;
                    if probe.expected == Expected::Allow {
                        let reason = format!("there is no {} address", probe.family);
                        result.differences.push(Found::new(index, Observed::Deny, reason));
                    }
                }
            }
        }
        result.probes += sent.len();
        let outcomes = matrix::run_probes(probes).await?;
        let mut state = None;
        for (index, (_, verdict)) in sent.into_iter().zip(outcomes) {
            let Some(probe) = step.probes.get(index) else { continue };
            let (observed, mut reason) = observed(&verdict);
            let failed = matches!(verdict, Verdict::Error(_)) && !self.any_cut();
            if probe.expected.accepts(observed) && !failed {
                continue;
            }
            if state.is_none() {
                state = Some(self.truth().await?);
            }
            if let Some(decision) = state.as_ref().and_then(|s| truth::decide(s, &cast, probe)) {
                reason = format!("{reason}policy says {decision}");
            }
            result.differences.push(Found::new(index, observed, reason));
        }
        Ok(result)
    }

    /// True if a node is cut off.
    fn any_cut(&self) -> bool {
        self.nodes.iter().any(|n| !self.fabric.is_connected(n.name()))
    }
}

fn expect(expected: Expected) -> Expect {
    match expected {
        Expected::Allow | Expected::Skip => Expect::Allow,
        Expected::Deny => Expect::Deny,
        Expected::Reject => Expect::Reject,
    }
}

/// What a verdict means to a scenario, and what there is to say beyond that.
fn observed(verdict: &Verdict) -> (Observed, String) {
    match verdict {
        Verdict::Allowed => (Observed::Allow, String::new()),
        Verdict::Denied => (Observed::Deny, String::new()),
        Verdict::Rejected(_) => (Observed::Reject, String::new()),
        Verdict::WrongAnswer(who) => (Observed::Allow, format!("the wrong one answered: {who}; ")),
        Verdict::Error(what) => (Observed::Deny, format!("the probe itself failed: {what}; ")),
    }
}

/// Whether this kernel has the probe's protocol.
fn speakable(probe: &Probe) -> bool {
    !matches!(probe.port, ProbePort::Port(_, Protocol::SCTP)) || sctp_supported()
}
