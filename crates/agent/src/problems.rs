//! What is wrong on this node and in its cluster, in one place: whoever finds something says so here, and it is told
//! in the log, in the node's status, in its condition and as a metric. `docs/design/problems.md` is the contract.
//!
//! Nothing here decides what the agent does about a problem; that is the finder's.

mod cni;
mod kubernetes;
mod permissions;
pub(crate) mod pools;
mod register;

pub(crate) use register::{Active, Name, Problem, Snapshot};

use crate::condition;
use crate::config::Config;
use crate::leave::Removal;
use crate::startup::{self, Started};
use register::{Line, Moment, Register};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;
use tortie_runtime::Registry;
use tortie_runtime::metrics::Gauge;
use tortie_store_kube::KubeStore;

/// The handle of the register. Cheap to clone; no call waits.
#[derive(Clone)]
pub(crate) struct Problems {
    inner: Arc<Inner>,
}

struct Inner {
    register: Mutex<Register>,
    began: Instant,
    shown: watch::Sender<Arc<Snapshot>>,
    gauges: Vec<(Name, Gauge)>,
}

impl Problems {
    /// An empty register; its metric is there from the beginning.
    pub(crate) fn new(registry: &Registry) -> Self {
        let gauge = |name: &Name| {
            let labels = [("name", name.as_str())];
            (*name, registry.gauge_with("tortie_problems", &labels, "Problems that the node has, by name."))
        };
        Self {
            inner: Arc::new(Inner {
                register: Mutex::default(),
                began: Instant::now(),
                shown: watch::channel(Arc::default()).0,
                gauges: Name::ALL.iter().map(gauge).collect(),
            }),
        }
    }

    /// These are all the problems that a source knows of now: what it named before and does not name now is over.
    pub(crate) fn replace(&self, source: &'static str, found: Vec<Problem>) {
        self.change(|register, now| register.replace(source, found, now));
    }

    /// Logs what had to wait. To be called now and then.
    pub(crate) fn tick(&self) {
        self.change(|_, _| false);
    }

    /// What there is, and every change of it.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.shown.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Register, &Moment) -> bool) {
        let now = Moment { at: self.inner.began.elapsed(), text: tortie_cluster::now() };
        let mut register = self.inner.register.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut register, &now);
        for line in register.lines(&now) {
            log(&line);
        }
        if changed {
            let snapshot = register.snapshot();
            for (name, gauge) in &self.inner.gauges {
                let of = snapshot.problems.iter().filter(|active| active.problem.key.name == *name);
                gauge.set(of.count() as f64);
            }
            // Under the lock, so that the last one told is the last one made.
            self.inner.shown.send_if_modified(|shown| {
                let news = **shown != snapshot;
                if news {
                    *shown = Arc::new(snapshot);
                }
                news
            });
        }
    }
}

fn log(line: &Line) {
    match line {
        Line::Appeared(problem) => {
            let (name, severity) = (problem.key.name.as_str(), problem.key.name.severity());
            let (object, field) = (&problem.key.object, &problem.key.field);
            let (message, fix) = (&problem.message, &problem.fix);
            match severity {
                register::Severity::Warning => {
                    tracing::warn!(name, object, field, fix, "problem: {message}");
                }
                register::Severity::Notice => {
                    tracing::info!(name, object, field, fix, "note: {message}");
                }
            }
        }
        Line::Gone(key) => {
            tracing::info!(
                name = key.name.as_str(),
                object = key.object,
                field = key.field,
                "problem is over"
            );
        }
    }
}

/// Starts whatever finds problems by itself. A product that is being removed has none.
pub(crate) fn watch_all(
    problems: &Problems,
    config: &Arc<Config>,
    kube: Option<&Arc<KubeStore>>,
    started: &watch::Receiver<Started>,
    removal: &watch::Receiver<Removal>,
) {
    let quiet = || {
        let removal = removal.clone();
        move || removal.borrow().is_some()
    };
    follow_start(problems.clone(), started.clone());
    if let Some(kube) = kube {
        let node = config.start.node.kubernetes_name().to_owned();
        kubernetes::spawn(kube.clone(), node, problems.clone(), quiet());
        condition::spawn_problems(kube.clone(), config.clone(), problems.clone(), quiet());
    }
    // Without mounts the agent cannot see the node's directories.
    let given = |name: &str| config.settings.variable(name).filter(|text| !text.is_empty());
    if let Some((net, bin)) = given("TORTIE_CNI_NET_DIR").zip(given("TORTIE_CNI_BIN_DIR")) {
        cni::spawn(cni::Places { net: net.into(), bin: bin.into() }, problems.clone(), quiet());
    }
}

/// No word from the datastore.
pub(crate) fn unreachable(reason: String) -> Problem {
    Problem::new(Name::DatastoreUnreachable, "datastore", reason).fix(
        "see whether the server runs and this node reaches it; pods that run keep network and policy meanwhile",
    )
}

/// What the node's start says.
fn follow_start(problems: Problems, mut started: watch::Receiver<Started>) {
    tokio::spawn(async move {
        loop {
            let now = started.borrow_and_update().clone();
            let odd = (!now.notes.is_empty()).then(|| now.notes.join("; "));
            let odd = odd.map(|notes| Problem::new(Name::NodeOdd, "this node", notes));
            let mut found = Vec::from_iter(odd);
            // The very first moment is no problem.
            found.extend(
                now.problem
                    .filter(|p| p != startup::STARTING)
                    .map(|problem| Problem::new(Name::NodeNotStarted, "this node", problem)),
            );
            problems.replace("start", found);
            if started.changed().await.is_err() {
                return;
            }
        }
    });
}

/// As the agent's socket tells it.
pub(crate) fn told(active: &Active) -> tortie_agent_api::Problem {
    let Problem { key, message, fix } = active.problem.clone();
    tortie_agent_api::Problem {
        name: key.name.as_str().to_owned(),
        severity: key.name.severity().as_str().to_owned(),
        object: key.object,
        field: key.field,
        message,
        fix,
        since: active.since.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_shown_and_counted_until_it_is_over() {
        let registry = Registry::default();
        let problems = Problems::new(&registry);
        let mut shown = problems.watch();
        let counted = |n: u8| {
            let line = format!("tortie_problems{{name=\"PoolOverlapsNodes\"}} {n}\n");
            assert!(registry.expose().contains(&line), "{line}{}", registry.expose());
        };
        counted(0);
        let of =
            |object: &str| Problem::new(Name::PoolOverlapsNodes, object, "it overlaps").field("spec.cidr");
        problems.replace("pools", vec![of("IPPool b"), of("IPPool a")]);
        counted(2);
        assert!(shown.has_changed().unwrap());
        let first = told(&shown.borrow_and_update().problems[0]);
        assert_eq!((first.name.as_str(), first.severity.as_str()), ("PoolOverlapsNodes", "warning"));
        assert_eq!((first.object.as_str(), first.field.as_str()), ("IPPool a", "spec.cidr"));
        problems.replace("pools", vec![of("IPPool a"), of("IPPool b")]);
        assert!(!shown.has_changed().unwrap(), "nothing is new");
        problems.replace("pools", Vec::new());
        counted(0);
        assert!(shown.has_changed().unwrap() && shown.borrow().problems.is_empty());
    }
}
