//! The steps on either end of a pod's interface.

use std::net::IpAddr;

use nix::errno::Errno;
use tortie_net::{Cidr, Family, Mac};

use super::{AttachError, GATEWAY_V4, GATEWAY_V6, HOST_MAC, PodSpec, Side};
use crate::sysctl::{self, SysctlError};
use crate::{
    Address, Batch, KernelError, Link, LinkChange, LinkError, LinkIndex, LinkRef, Neighbour, NetNs, Netlink,
    Route, RouteFilter, TableId,
};

/// A batch that remembers what each of its changes is for.
struct Steps<'a> {
    side: Side,
    name: &'a str,
    batch: Batch,
    steps: Vec<Step>,
}

enum Step {
    Up,
    Address(Address),
    Neighbour(Neighbour),
    Route(Route),
}

impl<'a> Steps<'a> {
    fn new(side: Side, name: &'a str) -> Self {
        Self { side, name, batch: Batch::new(), steps: Vec::new() }
    }

    fn add(&mut self, link: &LinkRef, step: Step) {
        match &step {
            Step::Up => self.batch.set_link(link, &LinkChange::up()),
            Step::Address(address) => self.batch.add_address(address),
            Step::Neighbour(neighbour) => self.batch.replace_neighbour(neighbour),
            Step::Route(route) => self.batch.add_route(route),
        };
        self.steps.push(step);
    }

    fn refused(&self, index: usize, source: KernelError) -> AttachError {
        let step = match self.steps.get(index) {
            None | Some(Step::Up) => "up".to_owned(),
            Some(Step::Address(address)) => address.to_string(),
            Some(Step::Neighbour(neighbour)) => neighbour.to_string(),
            Some(Step::Route(route)) => route.to_string(),
        };
        AttachError::Refused { side: self.side, name: self.name.to_owned(), step, source }
    }
}

// === the host end

pub(super) fn configure_host(
    host: &Netlink,
    spec: &PodSpec,
    made: &Link,
    pod_mac: Mac,
) -> Result<(), AttachError> {
    // A thread switch costs more than all of the sysctls: only where the node is another namespace.
    if NetNs::current()? == *host.namespace() {
        host_sysctls(spec)?;
    } else {
        host.namespace().run(|| host_sysctls(spec))??;
    }
    let link = LinkRef::Index(made.index);
    let mut steps = Steps::new(Side::Host, &spec.host_name);
    if spec.has(Family::V6) {
        steps.add(&link, Step::Address(Address::new(made.index, GATEWAY_V6.into(), 64)));
    }
    steps.add(&link, Step::Up);
    for address in &spec.addresses {
        steps.add(&link, Step::Route(Route::on(Cidr::host(*address), made.index)));
        // The first packet need not ask for the pod, which might not listen to such questions yet. Not for ever: some pods
        // change their link-layer address.
        steps.add(&link, Step::Neighbour(Neighbour::reachable(made.index, *address, pod_mac)));
    }
    for (index, error) in host.commit(&mut steps.batch)?.refused {
        match steps.steps.get(index) {
            Some(Step::Route(route)) if error.errno == Errno::EEXIST => {
                tolerate_own_route(host, spec, route)?;
            }
            _ => return Err(steps.refused(index, error)),
        }
    }
    Ok(())
}

fn host_sysctls(spec: &PodSpec) -> Result<(), SysctlError> {
    let name = &spec.host_name;
    if spec.has(Family::V4) {
        let set = |sysctl: &str, value: &str| sysctl::set(&format!("net/ipv4/conf/{name}/{sysctl}"), value);
        // Services that are translated to 127.0.0.1.
        set("route_localnet", "1")?;
        // Answers for the gateway, and at once.
        warn_if_missing(sysctl::set(&format!("net/ipv4/neigh/{name}/proxy_delay"), "0"))?;
        set("proxy_arp", "1")?;
        set("forwarding", "1")?;
        if let Some(mode) = spec.rp_filter {
            set("rp_filter", &mode.to_string())?;
        }
    }
    let set = |sysctl: &str, value: &str| sysctl::set(&format!("net/ipv6/conf/{name}/{sysctl}"), value);
    if spec.has(Family::V6) {
        set("accept_dad", "0")?;
        set("disable_ipv6", "0")?;
        set("proxy_ndp", "1")?;
        set("forwarding", "1")?;
    }
    // A kernel without IPv6 has no router advertisements to refuse.
    match set("accept_ra", "0") {
        Err(e) if e.is_missing() && !spec.has(Family::V6) => Ok(()),
        done => warn_if_missing(done),
    }
}

/// Not essential: a kernel that lacks the sysctl does without.
fn warn_if_missing(done: Result<(), SysctlError>) -> Result<(), SysctlError> {
    match done {
        Err(e) if e.is_missing() => {
            tracing::warn!(error = %e, "the pod's interface is set up without this sysctl");
            Ok(())
        }
        done => done,
    }
}

/// The agent may have been quicker; anybody else's route means that the address is used twice.
fn tolerate_own_route(host: &Netlink, spec: &PodSpec, ours: &Route) -> Result<(), AttachError> {
    let filter = RouteFilter { dst: Some(ours.dst), table: Some(TableId::MAIN), ..RouteFilter::default() };
    let is_ours = |route: &Route| route.kind == ours.kind && route.next_hops == ours.next_hops;
    let found = host.routes(filter)?;
    let Some(foreign) = found.iter().find(|route| !is_ours(route)) else { return Ok(()) };
    let owner = match foreign.next_hops.first().and_then(|hop| hop.link) {
        None => foreign.to_string(),
        Some(index) => host.link(index)?.map_or_else(|| format!("interface {index}"), |link| link.name),
    };
    Err(AttachError::RouteTaken { dst: ours.dst, host_name: spec.host_name.clone(), owner })
}

// === the pod's end

pub(super) fn configure_pod(pod: &NetNs, spec: &PodSpec, made: &Link) -> Result<LinkIndex, AttachError> {
    pod.run(|| {
        pod_sysctls(spec)?;
        let socket = Netlink::open()?;
        // The kernel tells the other end's number; without it (never seen) it is looked up by name.
        let index = match made.lower {
            Some(index) => index,
            None => find(&socket, spec)?.index,
        };
        let link = LinkRef::Index(index);
        let mut steps = Steps::new(Side::Pod, &spec.pod_name);
        steps.add(&link, Step::Up);
        for address in &spec.addresses {
            steps.add(&link, Step::Address(Address::host(index, *address)));
        }
        let gateways = [IpAddr::from(GATEWAY_V4), IpAddr::from(GATEWAY_V6)];
        for gateway in gateways.into_iter().filter(|gateway| spec.has(Family::of(*gateway))) {
            if gateway.is_ipv4() {
                steps.add(&link, Step::Route(Route::on(Cidr::host(gateway), index)));
            }
            // The first packet need not ask who the gateway is.
            steps.add(&link, Step::Neighbour(Neighbour::permanent(index, gateway, HOST_MAC)));
            for dst in spec.routes.iter().filter(|dst| dst.family() == Family::of(gateway)) {
                steps.add(&link, Step::Route(Route::via(*dst, gateway, Some(index))));
            }
        }
        match socket.commit(&mut steps.batch)?.refused.into_iter().next() {
            Some((index, error)) => Err(steps.refused(index, error)),
            None => Ok(index),
        }
    })?
}

fn find(pod: &Netlink, spec: &PodSpec) -> Result<Link, AttachError> {
    let found = pod.link(&spec.pod_name)?;
    found.ok_or_else(|| {
        let missing = KernelError { errno: Errno::ENODEV, message: None };
        LinkError::new(crate::Action::Get, LinkRef::from(&spec.pod_name), missing).into()
    })
}

fn pod_sysctls(spec: &PodSpec) -> Result<(), SysctlError> {
    let forward = if spec.ip_forwarding { "1" } else { "0" };
    if spec.has(Family::V4) {
        sysctl::set("net/ipv4/ip_forward", forward)?;
    }
    if spec.has(Family::V6) {
        // "all" changes the interfaces that exist; the pod's own is among them.
        for interface in ["all", "default", "lo"] {
            sysctl::set(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
        }
        sysctl::set(&format!("net/ipv6/conf/{}/accept_dad", spec.pod_name), "0")?;
        sysctl::set("net/ipv6/conf/all/forwarding", forward)?;
    }
    Ok(())
}
