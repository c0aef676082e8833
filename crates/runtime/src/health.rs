//! Health: each loop reports that it lives and whether it is ready; a report that stops coming counts as dead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct State {
    timeout: Option<Duration>,
    last: Instant,
    ready: Result<(), String>,
}

/// The health of one process.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, State>>>);

/// One loop's handle. Until its first report the loop is not ready.
#[derive(Clone, Debug)]
pub struct Reporter {
    name: String,
    health: Health,
}

impl Health {
    /// Registers a loop. With a `timeout`, silence of that length means that the process no longer lives.
    pub fn register(&self, name: &str, timeout: Option<Duration>) -> Reporter {
        let state = State { timeout, last: Instant::now(), ready: Err("starting".to_owned()) };
        self.lock().insert(name.to_owned(), state);
        Reporter { name: name.to_owned(), health: self.clone() }
    }

    /// Loops that fell silent; empty when the process lives.
    pub fn dead(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter_map(|(name, s)| {
                let silent = s.last.elapsed();
                let over = s.timeout.filter(|t| silent > *t)?;
                Some(format!(
                    "{name}: silent for {:.1} s (limit {:.0} s)",
                    silent.as_secs_f64(),
                    over.as_secs_f64()
                ))
            })
            .collect()
    }

    /// Loops that are not ready with their reasons; empty when the process is ready.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = self.dead();
        reasons.extend(
            self.lock()
                .iter()
                .filter_map(|(name, s)| s.ready.as_ref().err().map(|why| format!("{name}: {why}"))),
        );
        reasons
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// The loop lives and is ready, or is not because of `Err(reason)`.
    pub fn report(&self, ready: Result<(), String>) {
        if let Some(state) = self.health.lock().get_mut(&self.name) {
            state.last = Instant::now();
            state.ready = ready;
        }
    }

    /// Another length of silence that means death.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        if let Some(state) = self.health.lock().get_mut(&self.name) {
            state.timeout = timeout;
        }
    }

    /// The loop lives; its readiness is unchanged.
    pub fn beat(&self) {
        if let Some(state) = self.health.lock().get_mut(&self.name) {
            state.last = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_death() {
        let health = Health::default();
        let a = health.register("a", Some(Duration::ZERO));
        let b = health.register("b", None);
        assert_eq!(health.unready().len(), 3, "a is silent, both are starting");
        b.report(Ok(()));
        a.report(Err("store is away".into()));
        assert!(health.unready().iter().any(|r| r == "a: store is away"));
        assert!(!health.unready().iter().any(|r| r.starts_with("b:")));
        let health = Health::default();
        health.register("a", Some(Duration::from_hours(1))).report(Ok(()));
        assert!(health.unready().is_empty());
    }
}
