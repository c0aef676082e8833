//! What the engine knows to be wrong: told as a whole, at most a few times a second.

use super::Engine;
use crate::machine::ThisHost;
use crate::problems::{Name, Problem, unreachable};
use std::time::{Duration, Instant};
use tortie_cluster::host_networks;

/// The engine's part of the register.
const SOURCE: &str = "engine";

/// How long the datastore may be silent before it is a problem: a restart of the API server's connection is none.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often this host's networks are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// When was looked, and whether another look is due.
#[derive(Debug, Default)]
pub(super) struct Examined {
    last: Option<Instant>,
    due: bool,
}

impl Engine {
    /// When to look although nothing happens.
    pub(super) fn examine_at(&self) -> Option<Instant> {
        let again = self.examined.last.filter(|_| self.examined.due).map(|last| last + PAUSE);
        let last = self.examined.last?;
        let lost = self.lost.as_ref().map(|(_, since)| *since + PATIENCE).filter(|at| *at > last);
        [again, lost].into_iter().flatten().min()
    }

    /// Looks, if something may have changed and the last look is not just over.
    pub(super) fn examine(&mut self, dirty: bool) {
        let now = Instant::now();
        let patience_ends = |since: Instant| {
            let end = since + PATIENCE;
            end <= now && self.examined.last.is_none_or(|last| last < end)
        };
        let late = self.lost.as_ref().is_some_and(|(_, since)| patience_ends(*since));
        self.examined.due |= dirty || late;
        if !self.examined.due || self.examined.last.is_some_and(|last| now < last + PAUSE) {
            return;
        }
        self.examined = Examined { last: Some(now), due: false };
        self.problems.replace(SOURCE, self.wrong(now));
    }

    /// Looks at this host's networks, now and then.
    pub(super) fn look_at_host(&mut self) {
        let now = Instant::now();
        if self.looked.is_some_and(|last| now < last + LOOK) {
            return;
        }
        self.looked = Some(now);
        match host_networks(&ThisHost) {
            Ok(host) => self.collected_news |= self.collected.set_host(host),
            Err(error) => tracing::debug!(error, "this host's networks cannot be seen; what was seen counts"),
        }
    }

    /// Tells who has which addresses, before anything depends on it.
    pub(super) fn tell_networks(&mut self) {
        if std::mem::take(&mut self.collected_news) {
            self.foreign = self.collected.foreign_to_routing();
            self.networks.send_replace(self.collected.clone());
        }
        self.routing.set_foreign(self.foreign.clone());
        // Where pods are already, packets are masqueraded as they always were.
        let empty = self.foreign.iter().copied().filter(|network| !self.routing.has_blocks_in(*network));
        self.dataplane.set_foreign(empty.collect());
    }

    fn wrong(&self, now: Instant) -> Vec<Problem> {
        let mut found = Vec::new();
        if let Some((reason, since)) = &self.lost
            && *since + PATIENCE <= now
        {
            found.push(if self.refused {
                Problem::new(Name::PermissionMissing, "datastore", reason.clone())
                    .fix("apply the manifest of this version, whose ClusterRole permits it; see also the certificate or token")
            } else {
                unreachable(reason.clone())
            });
        }
        let current = self.current.borrow();
        if current.paused {
            found.push(
                Problem::new(Name::DatastoreLocked, "ClusterInformation default", super::LOCKED)
                    .field("spec.datastoreReady")
                    .fix("calicoctl datastore migrate unlock"),
            );
        }
        for line in &current.problems {
            // "setting Name=value from ...": each is one object.
            let named = line.strip_prefix("setting ").unwrap_or_default();
            let name = named.split(['=', ' ', ':']).next().unwrap_or_default();
            found.push(Problem::new(Name::SettingWithoutEffect, format!("setting {name}"), line.clone()));
        }
        for diagnostic in self.warnings.values().flatten() {
            let what = if diagnostic.fatal { "it is not in use: " } else { "" };
            found.push(
                Problem::new(
                    Name::ObjectInvalid,
                    diagnostic.object.clone(),
                    format!("{what}{}", diagnostic.message),
                )
                .field(diagnostic.field.clone()),
            );
        }
        for diagnostic in self.calc.diagnostics() {
            let object = diagnostic.subject.to_string();
            found.push(Problem::new(Name::ObjectInvalid, object, diagnostic.problem.to_string()));
        }
        for line in self.failures.iter().chain(self.dataplane.refused()) {
            let message = line.split_once(": ").map_or(line.as_str(), |(_, rest)| rest);
            let object = line.split_once(": ").map_or("this node's kernel", |(object, _)| object);
            found.push(Problem::new(Name::KernelRefuses, object, message));
        }
        found
    }
}
