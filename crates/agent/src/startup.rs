//! The node's start: its Node, default pools, default settings; then its addresses are looked at again and again.
//!
//! The engine does not wait for it: what is known is enforced even on a node that cannot have its address.

use crate::config::Config;
use crate::current::Current;
use crate::leave::Removal;
use crate::machine::ThisHost;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_causes::chain;
use tortie_cluster::{NodeError, Prepared, prepare_node, refresh_node};
use tortie_runtime::Reporter;
use tortie_store::Store;

/// First pause after a failure; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is said before the first attempt.
pub(crate) const STARTING: &str = "the node is starting";

/// How far the start has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Started {
    /// Why the node is not ready, if so.
    pub(crate) problem: Option<String>,
    /// What is odd, but stops nothing.
    pub(crate) notes: Vec<String>,
}

/// Starts the task.
pub(crate) fn spawn(
    config: Arc<Config>,
    store: Arc<dyn Store>,
    current: watch::Receiver<Arc<Current>>,
    removal: watch::Receiver<Removal>,
    health: Reporter,
) -> watch::Receiver<Started> {
    let starting = Started { problem: Some(STARTING.to_owned()), notes: Vec::new() };
    let (told, started) = watch::channel(starting);
    tokio::spawn(run(config, store, current, removal, health, told));
    started
}

async fn run(
    config: Arc<Config>,
    store: Arc<dyn Store>,
    mut current: watch::Receiver<Arc<Current>>,
    mut removal: watch::Receiver<Removal>,
    health: Reporter,
    told: watch::Sender<Started>,
) {
    let mut prepared = false;
    let mut pause = FIRST_PAUSE;
    loop {
        // What is being taken apart is not made again.
        if removal.wait_for(Option::is_none).await.is_err() {
            return;
        }
        let outcome = if prepared {
            refresh_node(&*store, &config.start.node, &ThisHost).await
        } else {
            let start = &config.start;
            prepare_node(&*store, &start.node, &start.pools, &start.identity, &ThisHost).await
        };
        let wait = match outcome {
            Ok(done) => {
                tell(&told, &health, Ok(&done));
                if !prepared {
                    prepared = true;
                    tracing::info!(node = %config.node, addresses = ?done.addresses, "the node has what it needs");
                    write_name(&config);
                }
                pause = FIRST_PAUSE;
                config.start.poll
            }
            Err(error) => {
                tell(&told, &health, Err(&error));
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wait
            }
        };
        // A lock that is taken off is noticed at once.
        let unlocked = async {
            let locked = current.borrow_and_update().paused;
            while current.changed().await.is_ok() {
                if locked && !current.borrow_and_update().paused {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = unlocked => {}
        }
    }
}

fn tell(told: &watch::Sender<Started>, health: &Reporter, outcome: Result<&Prepared, &NodeError>) {
    let now = match outcome {
        Ok(done) => Started { problem: None, notes: done.notes.clone() },
        Err(error) => Started { problem: Some(chain(error)), notes: told.borrow().notes.clone() },
    };
    health.report(now.problem.clone().map_or(Ok(()), Err));
    told.send_if_modified(|before| {
        if let Some(problem) = now.problem.as_ref().filter(|_| before.problem != now.problem) {
            tracing::error!(%problem, "the node is not ready; trying again");
        }
        for note in now.notes.iter().filter(|note| !before.notes.contains(note)) {
            tracing::warn!(%note, "the node's start");
        }
        std::mem::replace(before, now.clone()) != now
    });
}

/// For the next start, and for others on this host.
fn write_name(config: &Config) {
    let file = config.name_file();
    if let Some(directory) = file.parent() {
        // If that fails, writing tells why.
        let _ = std::fs::create_dir_all(directory);
    }
    if let Err(error) = std::fs::write(&file, &config.node) {
        tracing::error!(file = %file.display(), %error, "the node's name cannot be written down");
    }
}
