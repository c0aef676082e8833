//! `tortie-kube-trials`: what `cargo xtask kube trials` runs.

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use std::path::PathBuf;
use std::process::ExitCode;
use tortie_kube_trials::cluster::{Tools, down_all};
use tortie_kube_trials::{prober, run, say, trials};

const HELP: &str = "\
tortie-kube-trials --tortie FILE --programs DIR --output DIR [--list] [--keep] [WORD...]

  Runs the trials whose names contain one of the words, or all. --keep leaves the cluster of the first failure up.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == "prober" => prober::run(rest),
        _ => wish(&arguments).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn wish(arguments: &[String]) -> Result<()> {
    let (mut tortie, mut programs, mut output) = (None, None, None);
    let (mut list, mut keep, mut words) = (false, false, Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value =
            || rest.next().map(PathBuf::from).with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--tortie" => tortie = Some(value()?),
            "--programs" => programs = Some(value()?),
            "--output" => output = Some(value()?),
            "--list" => list = true,
            "--keep" => keep = true,
            flag if flag.starts_with('-') => bail!("unknown: {flag}\n\n{HELP}"),
            word => words.push(word),
        }
    }
    let wanted: Vec<_> = trials::ALL
        .iter()
        .filter(|trial| words.is_empty() || words.iter().any(|word| trial.name.contains(word)))
        .copied()
        .collect();
    if list {
        for trial in &wanted {
            say(&format!("{:<24}  {}", trial.name, trial.about));
        }
        return Ok(());
    }
    let tools = Tools {
        tortie: tortie.context(HELP)?,
        programs: programs.context(HELP)?,
        output: output.context(HELP)?,
    };
    down_on_signals()?;
    let outcome = run::run(&tools, &wanted, keep);
    down_all();
    outcome
}

/// Ctrl-C takes the clusters down, too. To be called before there are other threads.
fn down_on_signals() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("signals cannot be blocked")?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            say(&format!("{signal}: taking everything down"));
            down_all();
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}
