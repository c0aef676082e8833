//! `lab run`: scenarios with real packets.

use super::Context;
use super::objects::manifests;
use super::up::{bring_up, shape, take_down};
use crate::args::{ReportFormat, RunArgs};
use crate::control::Client;
use crate::dirs::LabDir;
use crate::request::Request;
use crate::run::{RunOptions, ScenarioText, StepResult};
use crate::spec::{Cni, LabSpec};
use crate::terminal::Terminal;
use anyhow::{Context as _, bail};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tortie_scenario::{Difference, Format, Plan, Problem, Report, ScenarioReport, Source, StepReport, load};

/// A scenario that was read.
struct Scenario {
    text: ScenarioText,
    plan: Plan,
}

pub(crate) fn run(context: &Context, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (mut scenarios, mut unreadable) = (Vec::new(), Vec::new());
    for path in files(&args.scenarios)? {
        match read(&path)? {
            Ok(scenario) => scenarios.push(scenario),
            Err(problems) => {
                unreadable.push(ScenarioReport::unreadable(&path.display().to_string(), problems));
            }
        }
    }
    let mut report = Report { scenarios: unreadable };
    // A wrong file is wrong whatever the others say: nothing is started for it.
    if report.scenarios.is_empty() {
        for group in by_nodes(&scenarios) {
            run_group(context, args, &group, &mut report)?;
        }
        let order = |r: &ScenarioReport| scenarios.iter().position(|s| s.plan.source == r.source);
        report.scenarios.sort_by_key(order);
    }
    let format = match args.output {
        ReportFormat::Table => Format::Table,
        ReportFormat::Json => Format::Json,
        ReportFormat::Junit => Format::Junit,
    };
    Terminal::print(&report.render(format));
    Ok(ExitCode::from(report.exit_status()))
}

/// Scenarios of the same number of nodes share a lab.
fn by_nodes(scenarios: &[Scenario]) -> Vec<Vec<&Scenario>> {
    let mut groups: Vec<Vec<&Scenario>> = Vec::new();
    for scenario in scenarios {
        match groups.iter_mut().find(|g| g.first().is_some_and(|s| s.plan.nodes == scenario.plan.nodes)) {
            Some(group) => group.push(scenario),
            None => groups.push(vec![scenario]),
        }
    }
    groups
}

fn run_group(
    context: &Context,
    args: &RunArgs,
    group: &[&Scenario],
    report: &mut Report,
) -> anyhow::Result<()> {
    let nodes = group.first().map_or(3, |s| s.plan.nodes);
    let dir = lab_dir(context, args)?;
    let context = Context { dir, terminal: context.terminal, interrupts: context.interrupts.clone() };
    let spec = LabSpec { tied: !args.keep, ..shape(&context.dir, nodes, &args.shape)? };
    if spec.kubelets.as_ref().is_some_and(|k| k.cni == Cni::None) {
        bail!("nodes without a network start no pods for scenarios: leave out --cni none");
    }
    // The channel holds a tied lab up; it goes down when this function returns, however it does.
    let channel = bring_up(&context, &spec)?;
    let borrowed = channel.is_none();
    if borrowed {
        context.interrupts.leave(&context.dir);
        let is: LabSpec = Client::connect(&context.dir)?.call(&Request::Shape, &mut |_| {})?;
        if let Some(difference) = is.difference(&spec) {
            bail!(
                "lab {:?} is up in another shape ({difference}): stop it, or give another --name",
                spec.name
            );
        }
        let pods: Vec<crate::pods::PodRow> = context.ask(&Request::Pods)?;
        if !pods.is_empty() {
            let (name, count) = (&spec.name, pods.len());
            context.terminal.warn(&format!(
                "lab {name:?} is cleared for the scenarios: its {count} pods and all objects go"
            ));
        }
    }
    for (index, scenario) in group.iter().enumerate() {
        let keep = args.keep && index + 1 == group.len();
        report.scenarios.push(run_one(
            &context,
            scenario,
            RunOptions { restart_agents: args.restart_agents, keep },
        ));
    }
    if !borrowed && !args.keep {
        drop(channel);
        take_down(&context.dir)?;
    }
    Ok(())
}

/// A lab of its own, unless a name was given or it is to be kept.
fn lab_dir(context: &Context, args: &RunArgs) -> anyhow::Result<LabDir> {
    if context.dir.name() == LabSpec::DEFAULT_NAME && !args.keep {
        LabDir::of(&format!("run-{}", std::process::id()))
    } else {
        Ok(context.dir.clone())
    }
}

fn run_one(context: &Context, scenario: &Scenario, options: RunOptions) -> ScenarioReport {
    let mut report = ScenarioReport::new(&scenario.plan);
    let mut results: Vec<StepResult> = Vec::new();
    let request = Request::Run { scenario: scenario.text.clone(), options };
    let outcome = context
        .ask_with::<()>(&request, &mut |item| results.extend(serde_json::from_value::<StepResult>(item)));
    for (step, result) in scenario.plan.steps.iter().zip(results) {
        let difference = |f: &crate::run::Found| {
            let reason = Some(f.reason.clone()).filter(|r| !r.is_empty());
            Some(Difference::new(step.probes.get(f.probe)?, f.observed(), reason))
        };
        report.steps.push(StepReport {
            probes: result.probes,
            skipped: result.skipped,
            differences: result.differences.iter().filter_map(difference).collect(),
            duration: Duration::from_millis(result.milliseconds),
            ..StepReport::new(step)
        });
    }
    report.error = outcome.err().map(|e| format!("{e:#}"));
    report
}

/// The scenario files of the arguments; of directories, those in them.
fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(manifests(path)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Reads a scenario, and remembers what else was read.
fn read(path: &Path) -> anyhow::Result<Result<Scenario, Vec<Problem>>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let source = path.display().to_string();
    let base = path.parent().unwrap_or(Path::new("."));
    let files = RefCell::new(std::collections::BTreeMap::new());
    let loader = |wanted: &str| -> Result<Vec<Source>, String> {
        let sources = sources(&base.join(wanted)).map_err(|e| format!("{e:#}"))?;
        let texts = sources.iter().map(|s| (s.name.clone(), s.text.clone())).collect();
        files.borrow_mut().insert(wanted.to_owned(), texts);
        Ok(sources)
    };
    let plan = load(&source, &text, &loader);
    let text = ScenarioText { source, text, files: files.into_inner() };
    Ok(plan.map(|plan| Scenario { text, plan }))
}

fn sources(path: &Path) -> anyhow::Result<Vec<Source>> {
    let paths = if path.is_dir() { manifests(path)? } else { vec![path.to_owned()] };
    paths
        .into_iter()
        .map(|p| {
            let text = std::fs::read_to_string(&p).with_context(|| format!("cannot read {}", p.display()))?;
            Ok(Source { name: p.display().to_string(), text })
        })
        .collect()
}
