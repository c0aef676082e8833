//! The Linux dataplane: takes the calculation's updates and keeps the kernel equal to them.
//!
//! One apply cycle: policy first (one nftables transaction), then routes to local workloads. Nothing is decided here;
//! `rules` decides what chains look like, `calc` what applies.

mod config;
mod overlay;
pub mod predecessor;
mod routes;

use overlay::Overlay;
use routes::Routes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tortie_calc::Update;
use tortie_calc::fabric::FabricUpdate;
use tortie_calc::update::LocalWorkload;
use tortie_causes::chain;
use tortie_kernel_nft::Driver;
use tortie_model::WorkloadId;
use tortie_model::value::IpPool;
use tortie_net::Cidr;
use tortie_rules::Desired;

pub use config::{Config, PARAMETERS};
pub use overlay::{OverlayConfig, VxlanConfig};
pub use routes::RoutesError;

/// The dataplane cannot be managed here.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No nftables.
    #[error("cannot talk to the kernel about nftables")]
    Nftables(#[source] tortie_kernel_nft::OpenError),
    /// No routes.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// The monitor cannot be polled.
    #[error("cannot wait for changes of routes")]
    Poll(#[source] std::io::Error),
}

/// What one apply did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// True if the policy in the kernel is what it should be.
    pub complete: bool,
    /// Kernel objects written.
    pub writes: usize,
    /// What could not be done, one line each, naming the object.
    pub errors: Vec<String>,
    /// Something is left to be removed: apply again after this time.
    pub again_after: Option<Duration>,
}

/// The dataplane of one network namespace.
pub struct Dataplane {
    desired: Desired,
    driver: Driver,
    routes: AsyncFd<Routes>,
    overlay: Overlay,
    workloads: BTreeMap<WorkloadId, Arc<LocalWorkload>>,
    in_sync: bool,
    /// A comparison with the kernel is due.
    compare: bool,
    refused: Vec<String>,
}

impl Dataplane {
    /// Opens sockets in the namespace of the calling thread; must run inside a tokio runtime. Changes nothing yet.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let routes = Routes::open(&config.interface_prefix)?;
        #[expect(unsafe_code, reason = "waiting for the monitor's socket without a thread of its own")]
        // SAFETY: `Routes` owns its monitor's socket for as long as it lives, and never exchanges it.
        let routes = unsafe { AsyncFd::register(routes) }.map_err(|e| OpenError::Poll(e.into_parts().1))?;
        Ok(Self {
            desired: Desired::new(config.rules.clone()),
            driver: Driver::open().map_err(OpenError::Nftables)?,
            routes,
            overlay: Overlay::open(config.overlay.clone()).map_err(RoutesError::from)?,
            workloads: BTreeMap::new(),
            in_sync: false,
            compare: false,
            refused: Vec::new(),
        })
    }

    /// Whether the policy of an earlier process stands in the kernel, and fails closed until we know better.
    pub fn is_standing(&mut self) -> bool {
        self.driver.is_standing(&mut self.desired).unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "the kernel does not tell what an earlier agent left");
            false
        })
    }

    /// Takes one update; nothing is written before [`Dataplane::apply`].
    pub fn update(&mut self, update: &Update) {
        match update {
            Update::InSync => {
                self.in_sync = true;
                self.routes.get_mut().set_in_sync();
                self.overlay.set_in_sync();
            }
            Update::Workload(id, local) => {
                let before = self.workloads.insert(id.clone(), local.clone());
                let routes = self.routes.get_mut();
                if let Some(before) = before.filter(|b| b.endpoint.name != local.endpoint.name) {
                    routes.forget(&before.endpoint.name);
                }
                routes.want(&local.endpoint.name, local.endpoint.nets());
            }
            Update::WorkloadRemove(id) => {
                if let Some(before) = self.workloads.remove(id) {
                    self.routes.get_mut().forget(&before.endpoint.name);
                }
            }
            _ => {}
        }
        self.desired.on_update(update);
    }

    /// Takes one update of the fabric between nodes; nothing is written before [`Dataplane::apply`].
    pub fn update_fabric(&mut self, update: &FabricUpdate) {
        self.overlay.update(update);
    }

    /// Makes the kernel what it should be, as far as it is not.
    pub fn apply(&mut self) -> Report {
        let mut report = Report::default();
        if let Some(ends) = self.overlay.take_ends() {
            self.desired.tunnel_ends(ends.as_ref());
        }
        if std::mem::take(&mut self.compare)
            && let Err(error) = self.driver.resync(&mut self.desired)
        {
            self.compare = true;
            report.errors.push(chain(&error));
        }
        match self.driver.apply(&mut self.desired, self.in_sync) {
            Ok(done) => {
                report.complete = true;
                report.writes += done.messages;
                report.again_after = done.again_after;
                // What the kernel refuses fails closed and hurts nothing else; it is reported, not retried in a loop.
                self.refused = done.refused.iter().map(ToString::to_string).collect();
            }
            Err(error) => report.errors.push(chain(&error)),
        }
        // Routes follow policy: a workload must not be reachable before its policy is there.
        if self.in_sync && report.complete {
            let routes = self.routes.get_mut().apply();
            report.writes += routes.writes;
            report.errors.extend(routes.errors);
            let overlay = self.overlay.apply();
            report.writes += overlay.writes;
            report.errors.extend(overlay.errors);
        }
        report
    }

    /// Compares everything with the kernel at the next apply.
    pub fn resync(&mut self) {
        self.compare = true;
        self.routes.get_mut().resync();
        self.overlay.resync();
    }

    /// Gives up policy for good, in one transaction: what is left of the table is pods' way out, if a pool asks for that.
    /// Interfaces, routes and tunnels stay. Nothing may be applied afterwards.
    pub fn give_up_policy(&mut self) -> Report {
        let mut report = Report::default();
        let outcome = if self.desired.give_up_policy() {
            self.driver.replace(&mut self.desired).map(drop).map_err(|error| chain(&error))
        } else {
            tortie_kernel_nft::remove_table().map_err(|error| chain(&error))
        };
        match outcome {
            Ok(()) => report.complete = true,
            Err(error) => report.errors.push(error),
        }
        report
    }

    /// Completes when the kernel has announced a change of interfaces or routes. Follow it by [`Dataplane::note`].
    pub async fn changed(&self) {
        if let Ok(mut ready) = self.routes.readable().await {
            ready.clear_ready();
        }
    }

    /// Takes the announced changes.
    pub fn note(&mut self) {
        self.routes.get_mut().note(&mut self.overlay);
    }

    /// Destinations of routes through a gateway that are in the kernel.
    pub fn routed(&self) -> Result<BTreeSet<Cidr>, String> {
        self.routes.get_ref().routed().map_err(|e| chain(&e))
    }

    /// What the kernel refuses, one line each. The rest is as it should be.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Networks of others that pools hold by mistake: they count as outside of the pools.
    pub fn set_foreign(&mut self, foreign: Vec<Cidr>) {
        self.desired.set_foreign(foreign);
    }

    /// Pools.
    pub fn pools(&self) -> impl Iterator<Item = &IpPool> {
        self.desired.pools()
    }

    /// Local workloads.
    pub fn workloads(&self) -> &BTreeMap<WorkloadId, Arc<LocalWorkload>> {
        &self.workloads
    }
}
