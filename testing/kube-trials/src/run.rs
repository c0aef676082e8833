//! Runs trials and says what came of them.

use crate::cluster::{Cluster, Shape, Tools};
use crate::{Context, Trial, leaks, say};
use anyhow::{Result, anyhow, bail};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long one trial may take, whatever it does.
const LIMIT: Duration = Duration::from_mins(10);

/// What came of a trial.
#[derive(Debug)]
struct Row {
    name: &'static str,
    time: Duration,
    failure: Option<String>,
}

/// Runs trials, those of one shape after another; an error unless there are any and all pass. With `keep`, stops at the first that
/// fails and leaves its cluster up.
pub fn run(tools: &Tools, trials: &[Trial], keep: bool) -> Result<()> {
    if trials.is_empty() {
        bail!("no trial has such a name; --list shows all");
    }
    let mut rows = Vec::new();
    let mut number = 0;
    'all: for shape in shapes(trials) {
        let mut cluster: Option<Arc<Cluster>> = None;
        for trial in trials.iter().filter(|t| t.shape == shape) {
            say(&format!("== {}: {}", trial.name, trial.about));
            let started = Instant::now();
            let outcome = cluster.take().map_or_else(
                || {
                    number += 1;
                    Cluster::up(tools, shape, number, keep)
                },
                Ok,
            );
            let outcome = outcome.and_then(|up| {
                let outcome = within_limit(trial, &up);
                if let Err(error) = &outcome {
                    saved(&up, trial, error);
                }
                match &outcome {
                    Err(_) if keep => {
                        up.leave();
                        say(&format!("   the cluster stays: tortie lab --name {} ...", up.name));
                    }
                    Ok(()) if !shape.own => cluster = Some(up),
                    // What a failure leaves behind must not be the next one's.
                    _ => up.down(),
                }
                outcome
            });
            let failure = outcome.err().map(|e| format!("{e:#}"));
            let (time, failed) = (started.elapsed(), failure.is_some());
            say(&format!("== {}: {} ({:.0} s)", trial.name, word(failed), time.as_secs_f64()));
            rows.push(Row { name: trial.name, time, failure });
            if failed && keep {
                break 'all;
            }
        }
    }
    judge(&rows)
}

/// The shapes of trials, each once, in the order of their first.
fn shapes(trials: &[Trial]) -> Vec<Shape> {
    trials.iter().fold(Vec::new(), |mut all, trial| {
        if !all.contains(&trial.shape) {
            all.push(trial.shape);
        }
        all
    })
}

/// Keeps what may explain a failure.
fn saved(cluster: &Cluster, trial: &Trial, error: &anyhow::Error) {
    say(&format!("   {error:#}"));
    match cluster.save_logs(trial.name) {
        Ok(path) => say(&format!("   logs: {}", path.display())),
        Err(error) => say(&format!("   no logs: {error:#}")),
    }
}

/// Runs a trial in a thread of its own: one that hangs ends with its cluster.
fn within_limit(trial: &Trial, cluster: &Arc<Cluster>) -> Result<()> {
    let (sender, receiver) = channel();
    let (trial, cluster) = (*trial, cluster.clone());
    std::thread::spawn(move || {
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| one(&trial, cluster)));
        let _ = sender.send(caught.unwrap_or_else(|_| Err(anyhow!("the trial panicked"))));
    });
    match receiver.recv_timeout(LIMIT) {
        Ok(outcome) => outcome,
        Err(_) => bail!("not finished after {} s", LIMIT.as_secs()),
    }
}

fn one(trial: &Trial, cluster: Arc<Cluster>) -> Result<()> {
    let mut cx = Context::new(cluster, trial.name)?;
    (trial.run)(&mut cx)?;
    cx.clean()?;
    // Whatever a trial was about: pods must go without a trace.
    if trial.shape.cni == "tortie" { leaks::none(&cx.cluster) } else { Ok(()) }
}

fn word(failed: bool) -> &'static str {
    if failed { "FAILED" } else { "ok" }
}

/// Prints the table; an error unless all passed.
fn judge(rows: &[Row]) -> Result<()> {
    let width = rows.iter().map(|r| r.name.len()).max().unwrap_or(0);
    say(&format!("\n{:<width$}  RESULT  {:>6}  DETAIL", "TRIAL", "TIME"));
    for Row { name, time, failure } in rows {
        let seconds = format!("{:.0} s", time.as_secs_f64());
        let (word, detail) = (word(failure.is_some()), failure.as_deref().unwrap_or_default());
        say(&format!("{name:<width$}  {word:<6}  {seconds:>6}  {}", detail.replace('\n', " ")));
    }
    let failed = rows.iter().filter(|r| r.failure.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} trials failed", rows.len());
    }
    say(&format!("{} trials passed", rows.len()));
    Ok(())
}
