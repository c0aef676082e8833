//! The engine while the product is being removed: it keeps what stands, and gives policy up when it is told to.

use super::Engine;
use crate::leave::Worth;
use std::sync::Arc;
use tortie_calc::Update;
use tortie_model::value::IpPool;
use tortie_removal::Mark;
use tortie_sync::Feed;

impl Engine {
    /// The item, if it counts.
    pub(super) fn unless_leaving(&mut self, item: Feed) -> Option<Feed> {
        match self.watcher.judge(&item) {
            Worth::Everything => {
                if matches!(item, Feed::Snapshot(_)) {
                    self.clear_mark();
                }
                return Some(item);
            }
            Worth::Nothing => {}
            Worth::NothingFromNowOn => {
                let reason = self.watcher.reason().unwrap_or_default();
                tracing::warn!(%reason, "the product is being removed from this cluster: the kernel stays as it is until this agent is told to stop");
                self.write_mark(&reason);
            }
            Worth::Relist => {
                tracing::warn!("the product is not being removed after all: everything is read again");
                self.relist.request();
            }
        }
        None
    }

    /// What a restart and the plugin must know, from before anything vanished.
    fn write_mark(&self, reason: &str) {
        let lib = &self.config.lib_dir;
        // An agent that was started after the first sign knows less than the one before it.
        let known = Mark::read(lib).ok().flatten().filter(|_| !self.in_sync);
        let mark = known.unwrap_or_else(|| Mark {
            reason: reason.to_owned(),
            since: tortie_cluster::now(),
            interface_prefix: self.applied.interface_prefix.clone(),
            interfaces: self.dataplane.workloads().values().map(|w| w.endpoint.name.clone()).collect(),
            networks: self.routing.networks().chain(self.dataplane.pools().map(|pool| pool.cidr)).collect(),
            masqueraded: self.dataplane.pools().filter(|p| p.masquerade).map(|p| p.cidr).collect(),
            ..Mark::default()
        });
        if let Err(error) = mark.write(lib) {
            tracing::error!(error = %tortie_causes::chain(&error), "the plugin cannot be told of the removal");
        }
    }

    /// The plugin asks the agent again.
    fn clear_mark(&self) {
        match Mark::clear(&self.config.lib_dir) {
            Ok(true) => tracing::info!("the mark of an earlier removal is taken away"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = %tortie_causes::chain(&error), "the plugin believes that this network is removed");
            }
        }
    }

    /// Gives policy up for good. From here on the engine writes nothing.
    pub(super) fn leave(&mut self) -> Result<(), String> {
        self.watcher.ended = true;
        if !self.in_sync
            && let Some(mark) = Mark::read(&self.config.lib_dir).ok().flatten()
        {
            for cidr in &mark.networks {
                let pool = pool(*cidr, mark.masqueraded.contains(cidr));
                self.dataplane.update(&Update::Pool(Arc::new(pool)));
            }
        }
        let report = self.dataplane.give_up_policy();
        if report.complete { Ok(()) } else { Err(report.errors.join("; ")) }
    }
}

/// As much of a pool as matters to the table.
fn pool(cidr: tortie_net::Cidr, masquerade: bool) -> IpPool {
    IpPool {
        cidr,
        ipip_interface: String::new(),
        ipip_mode: String::new(),
        vxlan_mode: String::new(),
        masquerade,
        ipam: false,
        disabled: false,
        disable_bgp_export: false,
        assignment_mode: String::new(),
        allowed_uses: Vec::new(),
    }
}
