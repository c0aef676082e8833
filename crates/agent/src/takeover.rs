//! Taking a node over from Calico's own agent: what it left in the kernel protects the pods until our policy does, and
//! is removed then. `docs/design/takeover.md` is the contract.

mod course;

use crate::problems::{Name, Problem, Problems};
use course::{Course, Seen, Step};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tortie_causes::chain;
use tortie_dataplane::predecessor::{self, Leftovers, Removed, SeeError, Withheld};

/// Under this name problems are told.
const SOURCE: &str = "takeover";
/// How soon it is looked again whether what keeps leftovers is over.
const WITHHELD: Duration = Duration::from_secs(3);
/// Pause after the kernel did not show what is there.
const RETRY: Duration = Duration::from_secs(10);

/// Whether the rules of a predecessor stand in the kernel and filter packets, so that nothing of ours is needed before
/// everything is known. Looks at the network namespace of the caller.
pub(crate) fn is_guarded() -> bool {
    match predecessor::see() {
        Ok(left) => {
            if !left.is_empty() {
                tracing::info!(found = %left, "Calico's agent was on this node; what it left stays until our policy is in force");
            }
            left.is_enforcing()
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the kernel does not tell what another agent left");
            false
        }
    }
}

/// Starts the task. The answer becomes true when pods can be attached: after the first removal, or if there is none, and
/// when addresses were `compared` with those that pods have.
pub(crate) fn spawn(
    problems: Problems,
    mut in_sync: watch::Receiver<bool>,
    mut compared: watch::Receiver<bool>,
) -> watch::Receiver<bool> {
    let (told, mut removed) = watch::channel(false);
    let (ready, settled) = watch::channel(false);
    tokio::spawn(async move {
        for done in [&mut removed, &mut compared] {
            if done.wait_for(|d| *d).await.is_err() {
                // The agent is stopping.
                return;
            }
        }
        ready.send_replace(true);
    });
    tokio::spawn(async move {
        // Before our policy is in force, nothing that protects pods may go.
        if in_sync.wait_for(|s| *s).await.is_err() {
            return;
        }
        let origin = Instant::now();
        let mut course = Course::default();
        loop {
            let pause = match turn(&mut course, &problems, origin).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "leftovers of Calico's agent cannot be looked for; trying again");
                    RETRY
                }
            };
            told.send_if_modified(|settled| !std::mem::replace(settled, true));
            tokio::time::sleep(pause).await;
        }
    });
    settled
}

/// Looks once, removes if it is time for it, and answers when to look again.
async fn turn(course: &mut Course, problems: &Problems, origin: Instant) -> Result<Duration, String> {
    let left = blocking(predecessor::see).await?.map_err(|e: SeeError| chain(&e))?;
    if let Some(withheld) = left.withheld() {
        problems.replace(SOURCE, vec![of_withheld(&withheld, &left)]);
        return Ok(WITHHELD);
    }
    let seen = match () {
        () if left.is_empty() => Seen::Clean,
        () if left.filters_are_empty() => Seen::Rubbish,
        () => Seen::Filters,
    };
    let step = course.saw(origin.elapsed(), seen);
    let mut found = Vec::new();
    if course.is_contested() {
        found.push(contested(&left));
    }
    let pause = match step {
        Step::Wait(pause) => pause,
        Step::Remove => {
            let (left, done) = blocking(move || {
                let done = predecessor::remove(&left);
                (left, done)
            })
            .await?;
            if done.failures.is_empty() && seen == Seen::Filters {
                tracing::info!(removed = %left, "our policy is in force; what Calico's agent left is removed");
            }
            found.extend(failed(&done));
            course.removed(origin.elapsed(), !done.failures.is_empty(), done.busy_sets > 0)
        }
    };
    problems.replace(SOURCE, found);
    Ok(pause)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())
}

fn of_withheld(withheld: &Withheld, left: &Leftovers) -> Problem {
    let (message, fix) = match withheld {
        Withheld::Closed(tables) => (
            format!(
                "what Calico's agent left ({left}) is not removed: the chain FORWARD of {} drops what no rule accepts, \
                 and a rule of Calico's agent is what accepts the packets of pods",
                tables.join(", ")
            ),
            "let forwarded packets pass at the end of that chain (`iptables -P FORWARD ACCEPT`, `ip6tables` the same); \
             until then new pods may have no network"
                .to_owned(),
        ),
        Withheld::NoKubeProxy => (
            format!(
                "what Calico's agent left ({left}) is not removed: its eBPF programs are what Services work by, and there \
                 is no kube-proxy"
            ),
            "start kube-proxy on this node; what is left is removed as soon as its rules are there".to_owned(),
        ),
    };
    Problem::new(Name::PredecessorStays, "node", message).fix(fix)
}

fn contested(left: &Leftovers) -> Problem {
    let message = format!(
        "another agent writes rules of Calico again after they were removed ({left}); both filter now, so what one of \
         them does not know it drops"
    );
    Problem::new(Name::PredecessorRuns, "node", message)
        .fix("remove the other agent from this node: delete its DaemonSet (often calico-node in kube-system or calico-system)")
}

fn failed(done: &Removed) -> impl Iterator<Item = Problem> {
    done.failures.iter().map(|failure| {
        Problem::new(Name::PredecessorStays, failure.split(':').next().unwrap_or_default(), failure)
            .fix("it is tried again; rules that stay filter beside ours")
    })
}
