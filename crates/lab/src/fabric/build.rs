//! Makes the fabric in the kernel.

use super::plan::{IfAddr, NodeNet, Plan, Segment};
use crate::sandbox::NETNS_DIR;
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tortie_kernel_net::{
    Address, LinkChange, NetNs, Netlink, NewLink, NewLinkKind, Route, RouteFilter, RouteProtocol, VethPeer,
    sysctl,
};
use tortie_net::{Cidr, Family, Mac};

/// The bridge of a segment.
const BRIDGE: &str = "br0";

/// The one interface of nodes and outside hosts.
const UPLINK: &str = "eth0";

/// Host number of the sandbox's own namespace on its segment.
pub(crate) const HOME: u8 = 2;

/// Sysctls of a namespace that forwards packets.
const FORWARDING: &[(&str, &str)] = &[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")];

/// Sysctls of every namespace: addresses are ours alone and usable at once.
const EVERYWHERE: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/autoconf", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    // A refused probe must be told so, however many there were before.
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/ipv4/ping_group_range", "0 0"),
];

/// A host beyond the router.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) netns: NetNs,
    /// Addresses to which packets are sent.
    pub(crate) addresses: Vec<IpAddr>,
    /// Number on the outside segment.
    index: usize,
}

/// The namespaces of a fabric.
#[derive(Debug)]
pub(crate) struct Fabric {
    plan: Plan,
    router: NetNs,
    segments: Vec<NetNs>,
    outside: NetNs,
    nodes: Vec<NetNs>,
    hosts: Mutex<BTreeMap<String, Outside>>,
    cut: Mutex<BTreeSet<String>>,
}

impl Fabric {
    /// Makes all namespaces, links, addresses and routes. Blocks.
    pub(crate) fn build(plan: Plan) -> anyhow::Result<Self> {
        let home = NetNs::current()?;
        lo_up(&home)?;
        let router = namespace("router", true)?;
        join_home(&home, &router, &plan.home).context("cannot join the sandbox to the router")?;
        let mut segments = Vec::new();
        for segment in &plan.segments {
            segments.push(make_segment(segment, &router)?);
        }
        let outside = make_segment(&plan.outside, &router)?;
        let mut nodes = Vec::new();
        for node in &plan.nodes {
            let segment = plan.segment(node);
            let bridge =
                segments.get(node.segment - 1).with_context(|| format!("{} has no segment", node.name))?;
            let netns = namespace(&node.name, true)?;
            attach(bridge, &node.name, &netns, segment, &node.addresses, &[])?;
            nodes.push(netns);
        }
        Ok(Self { plan, router, segments, outside, nodes, hosts: Mutex::default(), cut: Mutex::default() })
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn router(&self) -> &NetNs {
        &self.router
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&NodeNet, &NetNs)> {
        self.plan.nodes.iter().zip(&self.nodes)
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = (&str, &NetNs)> {
        self.plan.segments.iter().map(|s| s.name).zip(&self.segments)
    }

    /// Names of namespaces that are no nodes.
    pub(crate) fn places(&self) -> Vec<String> {
        let fixed = ["router"]
            .into_iter()
            .chain(self.plan.segments.iter().map(|s| s.name))
            .chain([self.plan.outside.name]);
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        fixed.map(str::to_owned).chain(hosts.keys().cloned()).collect()
    }

    /// Adds a host beyond the router, with these addresses or, without any, the next free ones. Blocks.
    pub(crate) fn add_outside(&self, name: &str, wanted: &[IpAddr]) -> anyhow::Result<Outside> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.contains_key(name) || self.plan.nodes.iter().any(|n| n.name == name) {
            bail!("there is a host {name:?} already");
        }
        let taken: BTreeSet<usize> = hosts.values().map(|h| h.index).collect();
        let index = (0..250).find(|i| !taken.contains(i)).context("no more than 250 hosts fit outside")?;
        let own = self.plan.outside_host(index);
        let netns = namespace(name, false)?;
        // A wanted address beside the segment's prefix is routed to the host by the router.
        let extra: Vec<IpAddr> =
            wanted.iter().copied().filter(|a| own.iter().all(|o| o.addr != *a)).collect();
        attach(&self.outside, name, &netns, &self.plan.outside, &own, &extra)?;
        if !extra.is_empty() {
            to_host(&self.router, &extra, &own, true).with_context(|| format!("cannot route to {name}"))?;
        }
        let addresses =
            if wanted.is_empty() { own.iter().map(|a| a.addr).collect() } else { wanted.to_vec() };
        let host = Outside { netns, addresses, index };
        hosts.insert(name.to_owned(), host.clone());
        Ok(host)
    }

    /// Removes a host beyond the router. Blocks.
    pub(crate) fn remove_outside(&self, name: &str) -> anyhow::Result<()> {
        let Some(host) = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(name) else {
            return Ok(());
        };
        let own = self.plan.outside_host(host.index);
        let extra: Vec<IpAddr> =
            host.addresses.iter().copied().filter(|a| own.iter().all(|o| o.addr != *a)).collect();
        if !extra.is_empty() {
            to_host(&self.router, &extra, &own, false)
                .with_context(|| format!("cannot remove the routes to {name}"))?;
        }
        // Whoever still holds the namespace keeps it alive: the link goes by itself.
        Netlink::open_in(&self.outside)?.delete_link(&port_name(name))?;
        NetNs::remove(Path::new(NETNS_DIR).join(name))?;
        Ok(())
    }

    /// Cuts a node off the fabric, or joins it again. Blocks.
    pub(crate) fn set_connected(&self, node: &NodeNet, connected: bool) -> anyhow::Result<()> {
        let bridge =
            self.segments.get(node.segment - 1).with_context(|| format!("{} has no segment", node.name))?;
        // The segment's end: the node sees a cable pulled, and keeps its addresses.
        let change = if connected { LinkChange::up() } else { LinkChange::down() };
        Netlink::open_in(bridge)?
            .set_link(&port_name(&node.name), &change)
            .with_context(|| format!("cannot {} {}", if connected { "heal" } else { "cut" }, node.name))?;
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if connected {
            cut.remove(&node.name)
        } else {
            cut.insert(node.name.clone())
        };
        Ok(())
    }

    /// Takes from a node's namespace what others have put there: interfaces, and routes of daemons. Blocks.
    pub(crate) fn clear(node: &NetNs) -> anyhow::Result<()> {
        let netlink = Netlink::open_in(node)?;
        for link in netlink.links()?.into_iter().filter(|l| !l.is_loopback() && l.name != UPLINK) {
            match netlink.delete_link(link.index) {
                // The other end of one that is gone.
                Err(e) if e.is_missing() => {}
                removed => removed.with_context(|| format!("cannot remove {}", link.name))?,
            }
        }
        for protocol in [RouteProtocol::BIRD, RouteProtocol::CALICO] {
            for route in netlink.routes(RouteFilter { protocol: Some(protocol), ..RouteFilter::default() })? {
                netlink
                    .delete_route(&route)
                    .with_context(|| format!("cannot remove the route to {}", route.dst))?;
            }
        }
        Ok(())
    }

    pub(crate) fn is_connected(&self, node: &str) -> bool {
        !self.cut.lock().unwrap_or_else(PoisonError::into_inner).contains(node)
    }
}

/// A new namespace with its loopback up.
pub(crate) fn namespace(name: &str, forwards: bool) -> anyhow::Result<NetNs> {
    let netns = NetNs::create(Path::new(NETNS_DIR).join(name))?;
    netns
        .run(|| settings(EVERYWHERE).and_then(|()| settings(if forwards { FORWARDING } else { &[] })))?
        .with_context(|| format!("cannot set up the namespace {name}"))?;
    lo_up(&netns).with_context(|| format!("cannot bring up the loopback interface of {name}"))?;
    Ok(netns)
}

/// Sets sysctls of the current namespace.
fn settings(wanted: &[(&str, &str)]) -> Result<(), sysctl::SysctlError> {
    for (key, value) in wanted {
        match sysctl::set(key, value) {
            // Kernels differ.
            Err(e) if e.is_missing() => {}
            other => other?,
        }
    }
    Ok(())
}

fn lo_up(netns: &NetNs) -> anyhow::Result<()> {
    Ok(Netlink::open_in(netns)?.set_link("lo", &LinkChange::up())?)
}

/// A cable from the sandbox's own namespace, where the datastore is, to the router.
fn join_home(home: &NetNs, router: &NetNs, segment: &Segment) -> anyhow::Result<()> {
    home.run(|| settings(EVERYWHERE))??;
    Netlink::open_in(home)?.add_link(&NewLink::veth(UPLINK, VethPeer::new(segment.name).inside(router)))?;
    Netlink::open_in(router)?.set_link(segment.name, &LinkChange::up())?;
    address(router, segment.name, &Family::ALL.map(|f| segment.gateway(f)))?;
    address(home, UPLINK, &Family::ALL.map(|f| segment.host(f, HOME)))?;
    default_routes(home, segment, &[])
}

/// A segment: a namespace with nothing but a bridge, to which the router is attached.
fn make_segment(segment: &Segment, router: &NetNs) -> anyhow::Result<NetNs> {
    let name = segment.name;
    let netns = namespace(name, false)?;
    // The bridge has no business with IP.
    netns.run(|| sysctl::set("net/ipv6/conf/default/disable_ipv6", "1"))??;
    let bridge = NewLink { up: true, ..NewLink::new(BRIDGE, NewLinkKind::Bridge) };
    Netlink::open_in(&netns)?.add_link(&bridge).with_context(|| format!("cannot make the segment {name}"))?;
    plug(&netns, "router", router, name, None)
        .with_context(|| format!("cannot join the router to {name}"))?;
    address(router, name, &Family::ALL.map(|f| segment.gateway(f)))?;
    Ok(netns)
}

/// Joins a namespace to a segment and gives it addresses and default routes; further addresses are those that it shows to others.
fn attach(
    bridge: &NetNs,
    name: &str,
    netns: &NetNs,
    segment: &Segment,
    addresses: &[IfAddr],
    extra: &[IpAddr],
) -> anyhow::Result<()> {
    let mac = addresses.first().map(|a| mac_of(a.addr));
    plug(bridge, &port_name(name), netns, UPLINK, mac)
        .with_context(|| format!("cannot join {name} to {}", segment.name))?;
    let hosts = extra.iter().map(|a| IfAddr { addr: *a, len: Family::of(*a).bits() });
    let addresses: Vec<IfAddr> = addresses.iter().copied().chain(hosts).collect();
    address(netns, UPLINK, &addresses).with_context(|| format!("cannot give {name} its addresses"))?;
    default_routes(netns, segment, extra).with_context(|| format!("cannot give {name} a default route"))
}

/// Default routes through the router, with the source address that the host prefers.
fn default_routes(netns: &NetNs, segment: &Segment, preferred: &[IpAddr]) -> anyhow::Result<()> {
    let netlink = Netlink::open_in(netns)?;
    for family in Family::ALL {
        let source = preferred.iter().copied().find(|a| Family::of(*a) == family);
        let route = Route::via(Cidr::any(family), segment.gateway(family).addr, None);
        netlink.add_route(&Route { source, ..route })?;
    }
    Ok(())
}

/// A cable: `port` on the bridge, `inside` in the namespace.
fn plug(bridge: &NetNs, port: &str, netns: &NetNs, inside: &str, mac: Option<Mac>) -> anyhow::Result<()> {
    let netlink = Netlink::open_in(bridge)?;
    let master = netlink.link(BRIDGE)?.context("the segment has no bridge")?.index;
    let far = VethPeer { mac, ..VethPeer::new(inside).inside(netns) };
    netlink.add_link(&NewLink { master: Some(master), ..NewLink::veth(port, far) })?;
    Ok(Netlink::open_in(netns)?.set_link(inside, &LinkChange::up())?)
}

/// The link-layer address of the host with this address: who takes over an address is found at once.
fn mac_of(addr: IpAddr) -> Mac {
    let [a, b, c, d] = match addr {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [a, b, c, d]
        }
    };
    // Locally administered, unicast.
    Mac([0x02, 0x7a, a, b, c, d])
}

/// Puts addresses on an interface.
fn address(netns: &NetNs, interface: &str, addresses: &[IfAddr]) -> anyhow::Result<()> {
    let netlink = Netlink::open_in(netns)?;
    let link = netlink.link(interface)?.with_context(|| format!("no interface {interface}"))?.index;
    for a in addresses {
        netlink.add_address(&Address::new(link, a.addr, a.len))?;
    }
    Ok(())
}

/// Routes to a host's further addresses through its own ones, on the router.
fn to_host(router: &NetNs, extra: &[IpAddr], own: &[IfAddr], present: bool) -> anyhow::Result<()> {
    let netlink = Netlink::open_in(router)?;
    for addr in extra {
        let Some(via) = own.iter().find(|o| Family::of(o.addr) == Family::of(*addr)) else { continue };
        let route = Route::via(Cidr::host(*addr), via.addr, None);
        if present { netlink.replace_route(&route)? } else { netlink.delete_route(&route)? }
    }
    Ok(())
}

/// The port of a host on its segment's bridge: interface names have at most 15 characters.
fn port_name(host: &str) -> String {
    if host.len() <= tortie_model::names::MAX_INTERFACE_NAME {
        host.to_owned()
    } else {
        tortie_model::names::veth("port", "", host)
    }
}
