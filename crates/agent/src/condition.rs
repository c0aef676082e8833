//! The conditions by which the Kubernetes node tells its scheduler that pods have a network here, and people what is
//! wrong with it.
//!
//! `NetworkUnavailable` is False while the network works, whatever is wrong: True would drive workloads away.
//! `NetworkDegraded` is about problems, and nothing is scheduled by it.

use crate::config::Config;
use crate::problems::{Active, Problems, Snapshot};
use crate::startup::Started;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_causes::chain;
use tortie_store::StoreError;
use tortie_store_kube::KubeStore;

/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long the end of the agent may wait for it.
const LAST: Duration = Duration::from_secs(2);

/// How long problems gather before they are written, and at least between two writes.
const GATHER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(5);

/// How often what could not be logged yet is looked at.
const TICK: Duration = Duration::from_secs(15);

/// Bounds of what is written.
const REASON: usize = 512;
const MESSAGE: usize = 4096;

/// Writes the condition when the node is ready for the first time.
pub(crate) fn spawn(
    kube: Arc<KubeStore>,
    config: Arc<Config>,
    mut in_sync: watch::Receiver<bool>,
    mut started: watch::Receiver<Started>,
) {
    tokio::spawn(async move {
        if in_sync.wait_for(|s| *s).await.is_err() || started.wait_for(|s| s.problem.is_none()).await.is_err()
        {
            return;
        }
        while let Err(error) = write(&kube, &config, false).await {
            tracing::warn!(error = %chain(&error), "the node's NetworkUnavailable condition cannot be written; trying again");
            tokio::time::sleep(RETRY).await;
        }
        tracing::info!("the node's network is available");
    });
}

/// Takes it back when the agent is told to stop.
pub(crate) async fn stopped(kube: &KubeStore, config: &Config) {
    match tokio::time::timeout(LAST, write(kube, config, true)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "the node's condition cannot say that the agent is gone");
        }
        Err(_) => tracing::warn!("the node's condition cannot say that the agent is gone: no answer"),
    }
}

async fn write(kube: &KubeStore, config: &Config, unavailable: bool) -> Result<(), StoreError> {
    kube.set_node_condition(
        config.start.node.kubernetes_name(),
        &tortie_cluster::network_condition(unavailable),
    )
    .await
}

/// What the condition about problems says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    degraded: bool,
    reason: String,
    message: String,
}

impl Said {
    fn of(snapshot: &Snapshot) -> Self {
        let warnings: Vec<&Active> = snapshot.warnings().collect();
        if warnings.is_empty() {
            let message = "nothing is known to be wrong with the network of this node";
            return Self { degraded: false, reason: "NoProblems".to_owned(), message: message.to_owned() };
        }
        let names: BTreeSet<&str> = warnings.iter().map(|w| w.problem.key.name.as_str()).collect();
        let reason = joined(names.into_iter().map(str::to_owned), ",", REASON, |_| String::new());
        let lines = warnings.iter().map(|active| {
            let key = &active.problem.key;
            let place = [key.name.as_str(), &key.object, &key.field];
            let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
            let fix = if active.problem.fix.is_empty() {
                String::new()
            } else {
                format!(" (fix: {})", active.problem.fix)
            };
            format!("{}: {}{fix}", place.join(" "), active.problem.message)
        });
        let message = joined(lines, "; ", MESSAGE, |left| format!("; and {left} more"));
        Self { degraded: true, reason, message }
    }

    /// The condition; when it became so only if it has become so now.
    fn condition(&self, before: Option<&Self>) -> Value {
        let now = tortie_cluster::now();
        let mut condition = json!({
            "type": "NetworkDegraded",
            "status": if self.degraded { "True" } else { "False" },
            "reason": self.reason,
            "message": self.message,
            "lastHeartbeatTime": now,
        });
        if before.is_none_or(|before| before.degraded != self.degraded) {
            condition["lastTransitionTime"] = now.into();
        }
        condition
    }
}

/// As many of the parts as fit, and a word about the others.
fn joined(
    parts: impl Iterator<Item = String>,
    between: &str,
    limit: usize,
    rest: impl Fn(usize) -> String,
) -> String {
    let mut text = String::new();
    let mut left = 0;
    for part in parts {
        if left > 0 || text.len() + between.len() + part.len() > limit {
            left += 1;
            continue;
        }
        if !text.is_empty() {
            text.push_str(between);
        }
        text.push_str(&part);
    }
    if left > 0 {
        text.push_str(&rest(left));
    }
    text
}

/// Writes the condition about problems, at the start and on every change.
pub(crate) fn spawn_problems(
    kube: Arc<KubeStore>,
    config: Arc<Config>,
    problems: Problems,
    quiet: impl Fn() -> bool + Send + 'static,
) {
    tokio::spawn(async move {
        let mut shown = problems.watch();
        let mut written: Option<Said> = None;
        let mut failing = false;
        loop {
            tokio::time::sleep(GATHER).await;
            let said = Said::of(&shown.borrow_and_update());
            if written.as_ref() != Some(&said) && !quiet() {
                let condition = said.condition(written.as_ref());
                match kube.set_node_condition(config.start.node.kubernetes_name(), &condition).await {
                    Ok(()) => {
                        written = Some(said);
                        failing = false;
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(error = %chain(&error), "the node's NetworkDegraded condition cannot be written; trying again");
                        }
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            }
            tokio::select! {
                changed = shown.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(TICK) => problems.tick(),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problems::{Name, Problem};

    fn snapshot(problems: &[(Name, &str)]) -> Snapshot {
        let active = |(name, object): &(Name, &str)| Active {
            problem: Problem::new(*name, *object, "it is wrong").fix("mend it"),
            since: String::new(),
        };
        Snapshot { problems: problems.iter().map(active).collect(), left_off: 0 }
    }

    #[test]
    fn the_condition_names_warnings_and_is_false_without_any() {
        let clean = Said::of(&snapshot(&[(Name::SettingWithoutEffect, "setting X")]));
        assert_eq!((clean.degraded, clean.reason.as_str()), (false, "NoProblems"));
        let two = Said::of(&snapshot(&[
            (Name::PoolOverlapsServices, "IPPool b"),
            (Name::PoolOverlapsServices, "IPPool a"),
            (Name::CniPluginMissing, "plugin portmap"),
        ]));
        assert_eq!(two.reason, "CniPluginMissing,PoolOverlapsServices");
        assert!(
            two.message.starts_with("PoolOverlapsServices IPPool b: it is wrong (fix: mend it); "),
            "{}",
            two.message
        );
        let first = two.condition(None);
        assert_eq!((&first["type"], &first["status"]), (&json!("NetworkDegraded"), &json!("True")));
        assert!(first.get("lastTransitionTime").is_some());
        assert!(two.condition(Some(&two)).get("lastTransitionTime").is_none());
        assert!(clean.condition(Some(&two)).get("lastTransitionTime").is_some());
    }

    #[test]
    fn what_is_written_is_bounded() {
        let names: Vec<(Name, String)> =
            (0..500).map(|n| (Name::ObjectInvalid, format!("NetworkPolicy shop/{n}"))).collect();
        let names: Vec<(Name, &str)> = names.iter().map(|(name, object)| (*name, object.as_str())).collect();
        let said = Said::of(&snapshot(&names));
        assert!(said.message.len() < MESSAGE + 20 && said.message.ends_with(" more"), "{}", said.message);
        assert_eq!(said.reason, "ObjectInvalid");
    }
}
