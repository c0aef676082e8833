//! `tortie lab bench --kubernetes`: clusters of real nodes in turns, with our network and with a bridge, and one table.

use super::Context;
use super::up::{bring_up, shape, take_down};
use crate::args::{Args, BenchArgs, Command};
use crate::bench::kubernetes::Samples;
use crate::bench::plan::Plan;
use crate::bench::{report, table as render};
use crate::dirs::LabDir;
use crate::request::Request;
use crate::spec::{Cni, LabSpec};
use crate::table;
use anyhow::{Context as _, bail};
use clap::Parser as _;
use std::process::ExitCode;
use std::time::Instant;

pub(super) fn bench(context: &Context, args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let mut plan = if args.short { Plan::short() } else { Plan::default() };
    plan.rounds = args.rounds.unwrap_or(plan.rounds);
    let begun = Instant::now();
    let (mut tortie, mut bridge) = (Samples::new(), Samples::new());
    for round in 0..plan.rounds {
        for cni in Plan::order(round) {
            let cluster = LabSpec { tied: true, ..spec(context, &plan, cni, args)? };
            let into = if cni == Cni::Bridge { &mut bridge } else { &mut tortie };
            one_cluster(context, &plan, round, &cluster, into)
                .with_context(|| format!("round {} of {} with {}", round + 1, plan.rounds, name(cni)))?;
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    context.terminal.progress(&format!(
        "{} rounds in {:.0} s; load at the end {}",
        plan.rounds,
        begun.elapsed().as_secs_f64(),
        load.split(' ').next().unwrap_or_default()
    ));
    table::emit(args.output.output, &report::rows(&plan, &tortie, &bridge), |rows| render(rows))?;
    Ok(ExitCode::SUCCESS)
}

/// What `lab up` would be asked for.
fn spec(context: &Context, plan: &Plan, cni: Cni, args: &BenchArgs) -> anyhow::Result<LabSpec> {
    let dir = LabDir::of(&format!("{}-{}-{}", context.dir.name(), std::process::id(), name(cni)))?;
    let nodes = plan.nodes.to_string();
    let mut words = vec!["lab", "up", "--kubernetes", "--nodes", &nodes, "--cni", name(cni)];
    let plugin = args.cni_bin.as_ref().map(|path| path.display().to_string());
    words.extend(plugin.iter().flat_map(|path| ["--cni-bin", path.as_str()]));
    match Args::try_parse_from(words)?.command {
        Command::Up(up) => shape(&dir, up.nodes, &up.shape),
        other => bail!("{other:?} brings no lab up"),
    }
}

fn name(cni: Cni) -> &'static str {
    match cni {
        Cni::Tortie => "tortie",
        Cni::Bridge => "bridge",
        Cni::None => "none",
    }
}

/// Brings a cluster up, measures, and takes it down, however that ends.
fn one_cluster(
    context: &Context,
    plan: &Plan,
    round: usize,
    spec: &LabSpec,
    into: &mut Samples,
) -> anyhow::Result<()> {
    let cni = spec.kubelets.as_ref().map(|k| k.cni).context("the lab has no real nodes")?;
    let context = Context {
        dir: LabDir::of(&spec.name)?,
        terminal: context.terminal,
        interrupts: context.interrupts.clone(),
    };
    context.terminal.progress(&format!("round {} of {}: {}", round + 1, plan.rounds, name(cni)));
    // The channel holds the lab up.
    let Some(channel) = bring_up(&context, spec)? else { bail!("a lab {:?} is up already", spec.name) };
    let measured = plan.measures(round, cni).into_iter().try_for_each(|measure| {
        let begun = Instant::now();
        context.terminal.progress(&format!("{measure:?}"));
        let samples: Samples = context.ask(&Request::Measure { measure })?;
        context.terminal.progress(&format!("  ({:.1} s)", begun.elapsed().as_secs_f64()));
        for (name, values) in samples {
            into.entry(name).or_default().extend(values);
        }
        Ok(())
    });
    drop(channel);
    let down = take_down(&context.dir);
    measured.and(down)
}
