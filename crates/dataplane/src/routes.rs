//! Routes to local workloads: `<address> dev cali…`.
//!
//! Ours are the routes in the main table that go straight to an interface with the workload prefix; that is how they
//! are recognised after a restart, and nothing else is touched. The CNI path makes the routes of a new pod itself;
//! this keeps them there and takes them away.

use crate::overlay::Overlay;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use tortie_delta::{Todo, Tracker};
use tortie_kernel_net::{
    Batch, Change, DumpError, Event, Groups, LinkIndex, Monitor, MonitorError, Netlink, OpenError, Route,
    RouteFilter, RouteKind, RouteProtocol, TableId,
};
use tortie_net::Cidr;

/// Routing cannot be managed here.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// No netlink socket.
    #[error("cannot talk to the kernel about routes")]
    Open(#[from] OpenError),
    /// No subscription to changes.
    #[error("cannot watch interfaces and routes")]
    Monitor(#[from] MonitorError),
}

/// What one apply did.
#[derive(Debug, Default)]
pub(crate) struct RoutesReport {
    pub(crate) writes: usize,
    pub(crate) errors: Vec<String>,
}

/// Desired and actual routes to local workloads.
pub(crate) struct Routes {
    netlink: Netlink,
    monitor: Monitor,
    prefix: String,
    /// Address to name of the interface.
    tracker: Tracker<Cidr, String>,
    /// Interfaces with the prefix that are up.
    links: BTreeMap<String, LinkIndex>,
    /// A complete read-back is due.
    stale: bool,
}

impl Routes {
    /// Opens sockets in the namespace of the calling thread.
    pub(crate) fn open(prefix: &str) -> Result<Self, RoutesError> {
        let groups = Groups { links: true, routes: true, ..Groups::default() };
        Ok(Self {
            monitor: Monitor::open(groups)?,
            netlink: Netlink::open()?,
            prefix: prefix.to_owned(),
            tracker: Tracker::default(),
            links: BTreeMap::new(),
            stale: true,
        })
    }

    /// Wants routes to `addresses` on `interface`, and no others there that it wanted before.
    pub(crate) fn want(&mut self, interface: &str, addresses: impl Iterator<Item = Cidr>) {
        let addresses: BTreeSet<Cidr> = addresses.collect();
        self.forget_except(interface, &addresses);
        for address in addresses {
            self.tracker.want(address, interface.to_owned());
        }
    }

    /// Wants no routes on `interface`.
    pub(crate) fn forget(&mut self, interface: &str) {
        self.forget_except(interface, &BTreeSet::new());
    }

    fn forget_except(&mut self, interface: &str, keep: &BTreeSet<Cidr>) {
        let gone: Vec<Cidr> = self
            .tracker
            .desired()
            .iter()
            .filter(|(address, on)| *on == interface && !keep.contains(address))
            .map(|(address, _)| *address)
            .collect();
        for address in gone {
            self.tracker.drop(&address);
        }
    }

    pub(crate) fn set_in_sync(&mut self) {
        self.tracker.set_in_sync();
    }

    /// Reads everything back at the next apply.
    pub(crate) fn resync(&mut self) {
        self.stale = true;
    }

    /// Takes the changes that the kernel has announced.
    pub(crate) fn note(&mut self, overlay: &mut Overlay) {
        loop {
            let event = self.monitor.try_next();
            match &event {
                Ok(Some(Event::Link(change, link))) => overlay.note_link(&link.name, *change, link.is_up()),
                Ok(Some(Event::Route(change, route))) => overlay.note_route(*change, route),
                Ok(Some(Event::Overrun)) | Err(_) => overlay.resync(),
                Ok(_) => {}
            }
            match event {
                Ok(Some(Event::Link(change, link))) if link.name.starts_with(&self.prefix) => {
                    if change == Change::Set && link.is_up() {
                        self.links.insert(link.name, link.index);
                    } else if self.links.get(&link.name) == Some(&link.index) {
                        self.links.remove(&link.name);
                        self.lost_interface(&link.name);
                    }
                }
                Ok(Some(Event::Route(change, route))) => self.note_route(change, &route),
                Ok(Some(Event::Overrun)) => self.stale = true,
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "changes of routes are not announced; reading everything instead");
                    self.stale = true;
                    return;
                }
            }
        }
    }

    /// The kernel drops an interface's routes with it, silently for IPv4.
    fn lost_interface(&mut self, name: &str) {
        let gone: Vec<Cidr> =
            self.tracker.actual().iter().filter(|(_, on)| *on == name).map(|(address, _)| *address).collect();
        for address in gone {
            self.tracker.saw(address, None);
        }
    }

    /// Only news about addresses that are known: a stray route is the business of the read-back, because the CNI path
    /// may be a moment ahead of the engine.
    fn note_route(&mut self, change: Change, route: &Route) {
        let known =
            self.tracker.desired().contains_key(&route.dst) || self.tracker.actual().contains_key(&route.dst);
        if !known || route.table != TableId::MAIN {
            return;
        }
        let on = self.ours(route);
        match change {
            Change::Set => {
                if let Some(name) = on {
                    self.tracker.saw(route.dst, Some(name));
                }
            }
            Change::Gone if on.is_none() || self.tracker.actual().get(&route.dst) == on.as_ref() => {
                self.tracker.saw(route.dst, None);
            }
            Change::Gone => {}
        }
    }

    /// The workload interface that a route goes straight to.
    fn ours(&self, route: &Route) -> Option<String> {
        if route.table != TableId::MAIN || route.kind != RouteKind::Unicast || !route.dst.is_host() {
            return None;
        }
        let [hop] = route.next_hops.as_slice() else { return None };
        if hop.gateway.is_some() {
            return None;
        }
        self.links.iter().find(|(_, index)| Some(**index) == hop.link).map(|(name, _)| name.clone())
    }

    /// Makes the kernel what is wanted. An address whose interface is not there (yet) waits for it without error.
    pub(crate) fn apply(&mut self) -> RoutesReport {
        let mut report = RoutesReport::default();
        if self.stale
            && let Err(error) = self.read_back()
        {
            report.errors.push(tortie_causes::chain(&error));
            return report;
        }
        let mut batch = Batch::new();
        let (mut keys, mut gone) = (Vec::new(), Vec::new());
        for todo in self.tracker.plan() {
            match todo {
                Todo::Put(address, name) => {
                    if let Some(link) = self.links.get(name) {
                        batch.replace_route(&Route::on(*address, *link));
                        keys.push((*address, name.clone()));
                    }
                }
                Todo::Delete(address, name) => match self.links.get(name) {
                    Some(link) => {
                        // Whoever made it: Calico's plugin and its agent do not sign alike, and neither as we do.
                        let route = Route { priority: None, ..Route::on(*address, *link) };
                        batch.delete_route(&route.by(RouteProtocol::ANY));
                        keys.push((*address, name.clone()));
                    }
                    // Its interface is gone, and the route with it.
                    None => gone.push(*address),
                },
            }
        }
        for address in gone {
            self.tracker.done(&address);
        }
        if keys.is_empty() {
            return report;
        }
        report.writes = keys.len();
        match self.netlink.commit(&mut batch) {
            Ok(outcome) => {
                for (index, (address, name)) in keys.iter().enumerate() {
                    match outcome.error(index) {
                        Some(error) if self.tracker.desired().contains_key(address) => {
                            let text = format!("route to {address} on {name}: {error}");
                            self.tracker.failed(address, text.clone());
                            report.errors.push(text);
                        }
                        // Deleting what is not there is done.
                        _ => self.tracker.done(address),
                    }
                }
            }
            Err(error) => {
                self.stale = true;
                report.errors.push(tortie_causes::chain(&error));
            }
        }
        report
    }

    fn read_back(&mut self) -> Result<(), DumpError> {
        let links = self.netlink.links()?;
        self.links = links
            .into_iter()
            .filter(|l| l.name.starts_with(&self.prefix) && l.is_up())
            .map(|l| (l.name, l.index))
            .collect();
        let routes =
            self.netlink.routes(RouteFilter { table: Some(TableId::MAIN), ..RouteFilter::default() })?;
        let actual: Vec<(Cidr, String)> =
            routes.iter().filter_map(|r| self.ours(r).map(|name| (r.dst, name))).collect();
        let drift = self.tracker.replace_actual(actual);
        tracing::debug!(drift, "routes to local workloads read back");
        self.stale = false;
        Ok(())
    }

    /// Destinations of all unicast routes through a gateway in the main table.
    pub(crate) fn routed(&self) -> Result<BTreeSet<Cidr>, DumpError> {
        let routes =
            self.netlink.routes(RouteFilter { table: Some(TableId::MAIN), ..RouteFilter::default() })?;
        let through =
            |r: &&Route| r.kind == RouteKind::Unicast && r.next_hops.iter().any(|h| h.gateway.is_some());
        Ok(routes.iter().filter(through).map(|r| r.dst).collect())
    }
}

impl AsFd for Routes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }
}

impl AsRawFd for Routes {
    fn as_raw_fd(&self) -> RawFd {
        self.monitor.as_fd().as_raw_fd()
    }
}
