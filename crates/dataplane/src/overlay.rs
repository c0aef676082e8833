//! Packets between nodes without the help of the network beneath: VXLAN tunnels, and routes into them.
//!
//! Ours are the interfaces `vxlan.calico` and `vxlan-v6.calico` with all that hangs on them, the routes of the main table
//! that lead into them, and those whose protocol is Calico's; nothing else is touched. See `docs/design/overlay.md`.
//!
//! A tunnel's other end needs three things: a neighbour (its address has this MAC), a forwarding entry (this MAC is at
//! that node), and then routes to its workloads through its address. They are made in this order and removed in the
//! opposite one.

mod device;

pub use device::VxlanConfig;

use device::End;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_calc::fabric::{Encapsulation, FabricUpdate, PoolKind, Route as Place, RouteKinds, Vtep};
use tortie_delta::{Todo, Tracker};
use tortie_kernel_net::{
    Batch, BatchReport, Change, DumpError, LinkIndex, Neighbour, NeighbourEntry, NeighbourFilter, Netlink,
    NextHop, OpenError, Route, RouteFilter, RouteKind, RouteProtocol, TableId, TransportError,
};
use tortie_model::names::felix;
use tortie_net::{Cidr, Family, Mac};

/// What the overlay is told once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverlayConfig {
    /// Name of this node.
    pub node: String,
    /// The tunnels.
    pub vxlan: VxlanConfig,
    /// Also route pools without encapsulation, straight to the nodes, which must then be neighbours of this one
    /// (`programClusterRoutes`; otherwise BGP does it).
    pub direct: bool,
}

/// How packets to a prefix leave this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    /// Through the tunnel to the node with this tunnel address.
    Tunnel(IpAddr),
    /// To a neighbouring node.
    Direct(IpAddr),
    /// The prefix is this node's: what no workload has does not leave it.
    Here,
}

/// What one apply did.
#[derive(Debug, Default)]
pub(crate) struct OverlayReport {
    pub(crate) writes: usize,
    pub(crate) errors: Vec<String>,
}

/// Desired and actual state of the tunnels.
pub(crate) struct Overlay {
    netlink: Netlink,
    config: OverlayConfig,
    encapsulation: Encapsulation,
    places: BTreeMap<Cidr, Arc<Place>>,
    /// Destinations by node, to find those that a tunnel's end concerns.
    by_node: BTreeMap<Arc<str>, BTreeSet<Cidr>>,
    /// Ends of all nodes by family; an end that cannot be understood is in `unreadable`.
    ends: BTreeMap<(Arc<str>, Family), End>,
    unreadable: BTreeMap<Arc<str>, String>,
    links: BTreeMap<Family, LinkIndex>,
    routes: Tracker<Cidr, Path>,
    neighbours: Tracker<IpAddr, Mac>,
    forwards: Tracker<(Family, Mac), IpAddr>,
    in_sync: bool,
    /// Who may send VXLAN to this node has to be told to the filter.
    ends_changed: bool,
    /// The interfaces are to be looked at.
    devices: bool,
    /// A complete read-back is due.
    stale: bool,
}

impl Overlay {
    /// Opens a socket in the namespace of the calling thread.
    pub(crate) fn open(config: OverlayConfig) -> Result<Self, OpenError> {
        Ok(Self {
            netlink: Netlink::open()?,
            config,
            encapsulation: Encapsulation::default(),
            places: BTreeMap::new(),
            by_node: BTreeMap::new(),
            ends: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            links: BTreeMap::new(),
            routes: Tracker::default(),
            neighbours: Tracker::default(),
            forwards: Tracker::default(),
            in_sync: false,
            ends_changed: false,
            devices: true,
            stale: true,
        })
    }

    /// Takes one update; nothing is written before [`Overlay::apply`].
    pub(crate) fn update(&mut self, update: &FabricUpdate) {
        match update {
            FabricUpdate::Encapsulation(encapsulation) => {
                self.encapsulation = *encapsulation;
                self.devices = true;
                self.ends_changed = true;
            }
            FabricUpdate::Vtep(node, vtep) => self.set_vtep(node, Some(vtep)),
            FabricUpdate::VtepRemove(node) => self.set_vtep(node, None),
            FabricUpdate::Route(dst, place) => self.set_place(*dst, Some(place.clone())),
            FabricUpdate::RouteRemove(dst) => self.set_place(*dst, None),
            _ => {}
        }
    }

    /// Everything that exists has been told: what is not known may be removed.
    pub(crate) fn set_in_sync(&mut self) {
        self.in_sync = true;
        self.routes.set_in_sync();
        self.neighbours.set_in_sync();
        self.forwards.set_in_sync();
    }

    /// The addresses from which VXLAN comes, if they have changed; `None` if nobody tunnels.
    pub(crate) fn take_ends(&mut self) -> Option<Option<BTreeSet<IpAddr>>> {
        let tunnels = self.encapsulation.vxlan_v4 || self.encapsulation.vxlan_v6;
        let ends = || tunnels.then(|| self.ends.values().map(|end| end.parent).collect());
        (self.in_sync && std::mem::take(&mut self.ends_changed)).then(ends)
    }

    /// Reads everything back at the next apply.
    pub(crate) fn resync(&mut self) {
        self.stale = true;
        self.devices = true;
    }

    /// The kernel has announced a change of an interface.
    pub(crate) fn note_link(&mut self, name: &str, change: Change, up: bool) {
        if Family::ALL.iter().any(|family| device::name(*family) == name) && !(change == Change::Set && up) {
            self.resync();
        }
    }

    /// The kernel has announced a change of a route.
    pub(crate) fn note_route(&mut self, change: Change, route: &Route) {
        if change == Change::Gone && self.routes.desired().contains_key(&route.dst) {
            self.stale = true;
        }
    }

    fn set_vtep(&mut self, node: &Arc<str>, vtep: Option<&Vtep>) {
        self.unreadable.remove(node);
        for family in Family::ALL {
            let end = vtep.and_then(|v| match family {
                Family::V4 => v.v4.as_ref(),
                Family::V6 => v.v6.as_ref(),
            });
            let end = match end.map(End::read).transpose() {
                Ok(end) => end,
                Err(problem) => {
                    self.unreadable.insert(node.clone(), format!("node {node}: {problem}"));
                    None
                }
            };
            let key = (node.clone(), family);
            let before = match end {
                Some(end) => self.ends.insert(key, end),
                None => self.ends.remove(&key),
            };
            if before == end {
                continue;
            }
            self.ends_changed = true;
            if **node == *self.config.node {
                self.devices = true;
                continue;
            }
            if let Some(before) = before {
                self.neighbours.drop(&before.address);
                self.forwards.drop(&(family, before.mac));
            }
            if let Some(end) = end {
                self.neighbours.want(end.address, end.mac);
                self.forwards.want((family, end.mac), end.parent);
            }
        }
        for dst in self.by_node.get(node).cloned().unwrap_or_default() {
            self.decide(dst);
        }
    }

    fn set_place(&mut self, dst: Cidr, place: Option<Arc<Place>>) {
        if let Some(node) = self.places.get(&dst).and_then(|p| p.node.clone())
            && let Some(of_node) = self.by_node.get_mut(&node)
        {
            of_node.remove(&dst);
            if of_node.is_empty() {
                self.by_node.remove(&node);
            }
        }
        match place {
            Some(place) => {
                if let Some(node) = &place.node {
                    self.by_node.entry(node.clone()).or_default().insert(dst);
                }
                self.places.insert(dst, place);
            }
            None => {
                self.places.remove(&dst);
            }
        }
        self.decide(dst);
    }

    fn decide(&mut self, dst: Cidr) {
        match self.path(dst) {
            Some(path) => self.routes.want(dst, path),
            None => self.routes.drop(&dst),
        }
    }

    /// Where packets to a prefix go, if that is our business.
    fn path(&self, dst: Cidr) -> Option<Path> {
        let place = self.places.get(&dst)?;
        let ours = match place.pool {
            PoolKind::Vxlan => true,
            PoolKind::NoEncap => self.config.direct,
            PoolKind::Ipip | PoolKind::None => false,
        };
        if !ours {
            return None;
        }
        if place.kinds.contains(RouteKinds::LOCAL_WORKLOAD) {
            // A single address is routed to its workload's interface.
            return (!dst.is_host() && !place.local_workload).then_some(Path::Here);
        }
        let remote = place.kinds.contains(RouteKinds::REMOTE_WORKLOAD)
            || place.kinds.contains(RouteKinds::REMOTE_TUNNEL);
        if !remote {
            return None;
        }
        if place.pool == PoolKind::NoEncap || place.same_subnet {
            return place.node_address.map(Path::Direct);
        }
        let end = self.ends.get(&(place.node.clone()?, dst.family()))?;
        // The tunnel's own address is on the link.
        (dst != Cidr::host(end.address)).then_some(Path::Tunnel(end.address))
    }

    /// Makes the kernel what is wanted, as far as it can be.
    pub(crate) fn apply(&mut self) -> OverlayReport {
        let mut report = OverlayReport { writes: 0, errors: self.unreadable.values().cloned().collect() };
        if !self.in_sync {
            return report;
        }
        if self.devices {
            self.devices = false;
            for family in Family::ALL {
                self.apply_device(family, &mut report);
            }
        }
        if self.stale {
            match self.read_back() {
                Ok(()) => self.stale = false,
                Err(error) => {
                    report.errors.push(tortie_causes::chain(&error));
                    return report;
                }
            }
        }
        if let Err(error) = self.write(&mut report) {
            self.stale = true;
            report.errors.push(tortie_causes::chain(&error));
        }
        report
    }

    fn apply_device(&mut self, family: Family, report: &mut OverlayReport) {
        let asked = match family {
            Family::V4 => self.encapsulation.vxlan_v4,
            Family::V6 => self.encapsulation.vxlan_v6,
        };
        let own = self.ends.get(&(self.config.node.as_str().into(), family)).filter(|_| asked);
        let outcome = match own {
            Some(own) => {
                device::ensure(&self.netlink, family, own, &self.config.vxlan).map(|(link, writes)| {
                    report.writes += writes;
                    Some(link)
                })
            }
            None => device::remove(&self.netlink, family).map(|removed| {
                report.writes += usize::from(removed);
                None
            }),
        };
        let now = match outcome {
            Ok(now) => now,
            Err(error) => {
                self.devices = true;
                report.errors.push(format!("{}: {}", device::name(family), tortie_causes::chain(&error)));
                return;
            }
        };
        let before = match now {
            Some(link) => self.links.insert(family, link),
            None => self.links.remove(&family),
        };
        // What hung on another interface is gone with it.
        self.stale |= before != now;
    }

    fn read_back(&mut self) -> Result<(), DumpError> {
        let table = RouteFilter { table: Some(TableId::MAIN), ..RouteFilter::default() };
        // Calico signs alike its routes into other tunnels, which are how pods talk where those are in use, and those
        // straight to workloads, which are not our business here.
        let others: Vec<LinkIndex> = self
            .netlink
            .links()?
            .into_iter()
            .filter(|link| felix::TUNNEL_INTERFACES.contains(&link.name.as_str()))
            .map(|link| link.index)
            .collect();
        let elsewhere = |r: &Route| {
            let mut hops = r.next_hops.iter();
            hops.any(|hop| hop.gateway.is_none() || hop.link.is_some_and(|l| others.contains(&l)))
        };
        // What goes into our tunnels is ours, whoever signed it: Calico's agent leaves some as `boot`.
        let tunnels: Vec<LinkIndex> = self.links.values().copied().collect();
        let ours = |r: &Route| {
            let mut hops = r.next_hops.iter();
            r.protocol == RouteProtocol::CALICO
                || hops.any(|h| h.gateway.is_some() && h.link.is_some_and(|l| tunnels.contains(&l)))
        };
        let routes = self.netlink.routes(table)?.into_iter().filter(|r| ours(r) && !elsewhere(r));
        let routes: Vec<(Cidr, Path)> =
            routes.map(|r| (r.dst, self.path_of(&r).unwrap_or(Path::Here))).collect();
        let mut neighbours = Vec::new();
        let mut forwards = Vec::new();
        for (family, link) in &self.links {
            let resolved =
                NeighbourFilter { link: Some(*link), family: Some(*family), ..NeighbourFilter::default() };
            for neighbour in self.netlink.neighbours(resolved)? {
                if let NeighbourEntry::Resolved { ip, mac: Some(mac) } = neighbour.entry
                    && neighbour.permanent
                    && !ip.is_multicast()
                {
                    neighbours.push((ip, mac));
                }
            }
            let forward = NeighbourFilter { link: Some(*link), forward: true, ..NeighbourFilter::default() };
            for neighbour in self.netlink.neighbours(forward)? {
                if let NeighbourEntry::Forward { mac, to: Some(to) } = neighbour.entry {
                    forwards.push(((*family, mac), to));
                }
            }
        }
        let drift = self.routes.replace_actual(routes)
            + self.neighbours.replace_actual(neighbours)
            + self.forwards.replace_actual(forwards);
        tracing::debug!(drift, "tunnels read back");
        Ok(())
    }

    /// What a route of ours says.
    fn path_of(&self, route: &Route) -> Option<Path> {
        if route.kind == RouteKind::Blackhole {
            return Some(Path::Here);
        }
        let [NextHop { gateway: Some(gateway), link, .. }] = route.next_hops.as_slice() else { return None };
        let tunnel = self.links.get(&route.dst.family()).is_some_and(|own| Some(*own) == *link);
        Some(if tunnel { Path::Tunnel(*gateway) } else { Path::Direct(*gateway) })
    }

    /// The route of a path, if its interface is there.
    fn route(&self, dst: Cidr, path: &Path) -> Option<Route> {
        let route = match path {
            Path::Tunnel(gateway) => {
                Route::via(dst, *gateway, Some(*self.links.get(&dst.family())?)).onlink()
            }
            Path::Direct(gateway) => Route::via(dst, *gateway, None),
            Path::Here => Route::special(dst, RouteKind::Blackhole),
        };
        Some(route.by(RouteProtocol::CALICO))
    }

    fn write(&mut self, report: &mut OverlayReport) -> Result<(), TransportError> {
        // Ends first, then what needs them.
        self.write_ends(report, false)?;
        self.write_routes(report)?;
        self.write_ends(report, true)
    }

    fn write_routes(&mut self, report: &mut OverlayReport) -> Result<(), TransportError> {
        let mut batch = Batch::new();
        let mut keys = Vec::new();
        for todo in self.routes.plan() {
            let (dst, route) = match todo {
                // Without its interface it waits.
                Todo::Put(dst, path) => match self.route(*dst, path) {
                    Some(route) => {
                        if let Some(old) = self.replaced(*dst, path) {
                            batch.delete_route(&old);
                            keys.push(None);
                        }
                        batch.replace_route(&route);
                        (*dst, route)
                    }
                    None => continue,
                },
                Todo::Delete(dst, path) => match self.there(*dst, path) {
                    Some(route) => {
                        batch.delete_route(&route);
                        (*dst, route)
                    }
                    None => continue,
                },
            };
            keys.push(Some((dst, route.to_string())));
        }
        if keys.is_empty() {
            return Ok(());
        }
        let outcome = self.netlink.commit(&mut batch)?;
        for (index, key) in keys.into_iter().enumerate() {
            let Some((dst, text)) = key else { continue };
            settle(&mut self.routes, &dst, &text, outcome.error(index).map(ToString::to_string), report);
        }
        Ok(())
    }

    /// A route that is there, as it is removed: what goes into a tunnel may have been signed by others.
    fn there(&self, dst: Cidr, path: &Path) -> Option<Route> {
        let route = self.route(dst, path)?;
        Some(if matches!(path, Path::Tunnel(_)) { route.by(RouteProtocol::ANY) } else { route })
    }

    /// IPv6 does not replace a route by one of another kind: it would stand beside it.
    fn replaced(&self, dst: Cidr, new: &Path) -> Option<Route> {
        let old = self.routes.actual().get(&dst)?;
        (dst.family() == Family::V6 && old != new).then(|| self.there(dst, old)).flatten()
    }

    /// Neighbours and forwarding entries: those that are missing, or those that are left over.
    fn write_ends(&mut self, report: &mut OverlayReport, removals: bool) -> Result<(), TransportError> {
        let mut batch = Batch::new();
        let (mut addresses, mut macs) = (Vec::new(), Vec::new());
        for todo in self.neighbours.plan() {
            let (ip, mac, delete) = match todo {
                Todo::Put(ip, mac) => (*ip, *mac, false),
                Todo::Delete(ip, mac) => (*ip, *mac, true),
            };
            if let Some(link) = self.links.get(&Family::of(ip)).filter(|_| delete == removals) {
                let neighbour = Neighbour::permanent(*link, ip, mac);
                addresses.push((ip, neighbour.to_string()));
                push(&mut batch, &neighbour, delete);
            }
        }
        for todo in self.forwards.plan() {
            let (key, to, delete) = match todo {
                Todo::Put(key, to) => (*key, *to, false),
                Todo::Delete(key, to) => (*key, *to, true),
            };
            if let Some(link) = self.links.get(&key.0).filter(|_| delete == removals) {
                let neighbour = Neighbour::forward(*link, key.1, to);
                macs.push((key, neighbour.to_string()));
                push(&mut batch, &neighbour, delete);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let outcome: BatchReport = self.netlink.commit(&mut batch)?;
        let error = |index: usize| outcome.error(index).map(ToString::to_string);
        let first_mac = addresses.len();
        for (index, (ip, text)) in addresses.iter().enumerate() {
            settle(&mut self.neighbours, ip, text, error(index), report);
        }
        for (index, (key, text)) in macs.iter().enumerate() {
            settle(&mut self.forwards, key, text, error(first_mac + index), report);
        }
        Ok(())
    }
}

fn push(batch: &mut Batch, neighbour: &Neighbour, delete: bool) {
    if delete {
        batch.delete_neighbour(neighbour);
    } else {
        batch.replace_neighbour(neighbour);
    }
}

/// Notes what became of a write. Deleting what is not there is done.
fn settle<K: Ord + Clone, V: PartialEq + Clone>(
    tracker: &mut Tracker<K, V>,
    key: &K,
    text: &str,
    error: Option<String>,
    report: &mut OverlayReport,
) {
    report.writes += 1;
    match error {
        Some(error) if tracker.desired().contains_key(key) => {
            let text = format!("{text}: {error}");
            tracker.failed(key, text.clone());
            report.errors.push(text);
        }
        _ => tracker.done(key),
    }
}

#[cfg(test)]
mod tests;
