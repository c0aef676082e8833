//! How the engine lives by its settings: it collects them, and begins anew on a snapshot when the dataplane must be
//! another. The kernel keeps what it has meanwhile, and is given differences only.

use super::Engine;
use crate::current::Current;
use crate::routing::Routing;
use std::collections::BTreeMap;
use std::sync::Arc;
use tortie_calc::fabric::{Fabric, FabricConfig};
use tortie_calc::{Calc, CalcConfig};
use tortie_cluster::felix::Problem;
use tortie_cluster::{CALICO_VERSION, NodeSettings};
use tortie_dataplane::Dataplane;
use tortie_model::convert::{Converter, Options};
use tortie_runtime::felix::ThisMachine;
use tortie_store::List;
use tortie_sync::View;

/// What turns the datastore's content into what the dataplane needs.
pub(super) struct Calculation {
    pub(super) converter: Converter,
    pub(super) calc: Calc,
    pub(super) fabric: Fabric,
    pub(super) routing: Routing,
}

impl Calculation {
    pub(super) fn new(node: &str, interface_prefix: &str) -> Self {
        let interface_prefix = interface_prefix.to_owned();
        Self {
            routing: Routing::new(node, &interface_prefix),
            converter: Converter::new(Options { interface_prefix, ..Options::default() }),
            calc: Calc::new(CalcConfig { node: node.to_owned(), ..CalcConfig::default() }),
            fabric: Fabric::new(FabricConfig {
                node: node.to_owned(),
                routes: true,
                vteps: true,
                ..FabricConfig::default()
            }),
        }
    }
}

impl Engine {
    /// Takes the settings out of a snapshot, before anything else of it counts. Answers whether the engine has begun
    /// anew and knows nothing yet.
    pub(super) fn before_snapshot(&mut self, list: &List) -> bool {
        if self.in_sync && !list.unread.is_empty() {
            // To begin anew would be to forget what cannot be read again now.
            self.recent.retain(|(_, _, revision)| *revision > list.revision);
            return false;
        }
        self.settings.clear();
        let mut converter = Converter::new(Options::default());
        for entry in list.entries.iter().filter(|entry| NodeSettings::reads(&entry.key)) {
            for change in converter.entry(&entry.key, Some(&entry.value)).0 {
                self.settings.on_change(&change);
            }
        }
        // This snapshot is the one to begin anew on.
        self.restarting = true;
        self.follow_settings();
        self.restarting = false;
        // Own writes that the list does not show yet.
        self.recent.retain(|(_, _, revision)| *revision > list.revision);
        let wanted = self.wanted_dataplane();
        if wanted == self.applied {
            return false;
        }
        match Dataplane::open(&wanted) {
            Ok(dataplane) => self.dataplane = dataplane,
            Err(error) => {
                tracing::error!(error = %tortie_causes::chain(&error), "the dataplane of the new settings cannot be made; the old one goes on");
                return false;
            }
        }
        tracing::info!(
            "the engine begins anew with other settings; what is in the kernel stays until it is compared"
        );
        let Calculation { converter, calc, fabric, routing } =
            Calculation::new(&self.config.node, &wanted.interface_prefix);
        (self.converter, self.calc, self.fabric, self.routing) = (converter, calc, fabric, routing);
        self.view = View::new(self.ordered);
        self.policies = BTreeMap::new();
        self.warnings = BTreeMap::new();
        self.collected.clear();
        self.collected_news = true;
        self.updates.clear();
        self.fabric_updates.clear();
        self.leftovers = None;
        self.applied = wanted;
        true
    }

    /// Applies own writes again that a snapshot did not show.
    pub(super) fn replay_recent(&mut self) {
        for (key, value, revision) in self.recent.clone() {
            if let Some(delta) = self.view.ahead(&key, value, revision) {
                self.delta(delta);
            }
        }
    }

    fn wanted_dataplane(&self) -> tortie_dataplane::Config {
        self.current.borrow().dataplane(&self.config.node)
    }

    /// Lets the settings take effect that have changed.
    pub(super) fn follow_settings(&mut self) {
        if !self.settings.take_changed() {
            return;
        }
        let before = self.current.borrow().clone();
        let (felix, problems) = self.settings.resolve(&ThisMachine);
        // What no agent can live with leaves in force what was.
        let felix = if problems.iter().any(Problem::is_fatal) { before.felix.clone() } else { felix };
        let mut now = Current::new(felix, &problems, !self.settings.is_ready());
        let version = self.settings.cluster_version();
        if !version.is_empty() && version != CALICO_VERSION {
            now.problems.push(format!(
                "the cluster's version is {version}, the formats of this agent are those of {CALICO_VERSION}; finish the upgrade of all nodes"
            ));
        }
        if now == *before {
            return;
        }
        let changed = now.felix.changed_since(&before.felix);
        if !changed.is_empty() {
            tracing::info!(parameters = %changed.join(", "), "settings change");
        }
        if now.paused != before.paused {
            let state = if now.paused { "locked: the dataplane stays as it is" } else { "released" };
            tracing::warn!("the datastore is {state}");
        }
        self.health.set_timeout(now.watchdog());
        self.current.send_replace(Arc::new(now));
        if self.in_sync && !self.restarting && self.wanted_dataplane() != self.applied {
            self.restarting = true;
            self.relist.request();
        }
    }
}
