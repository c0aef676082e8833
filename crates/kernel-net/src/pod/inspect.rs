//! Looking at a pod's interface: is what was set up still there?

use tortie_net::{Cidr, Family};

use super::{AttachError, GATEWAY_V4, GATEWAY_V6, PodSpec};
use crate::{AddressFilter, Link, LinkIndex, NetNs, Netlink, Route, RouteFilter, TableId};

/// The host end, and what is wrong with it.
pub(super) fn host_end(
    host: &Netlink,
    spec: &PodSpec,
    missing: &mut Vec<String>,
) -> Result<Option<Link>, AttachError> {
    let name = &spec.host_name;
    let Some(link) = host.link(name)? else {
        missing.push(format!("the node has no interface {name}"));
        return Ok(None);
    };
    if !link.is_up() {
        missing.push(format!("the interface {name} is down"));
    }
    for address in &spec.addresses {
        let there = routes(host, Cidr::host(*address))?.iter().any(|route| goes_to(route, link.index));
        if !there {
            missing.push(format!("the node has no route to {address} through {name}"));
        }
    }
    Ok(Some(link))
}

/// The pod's end, and what is wrong with it. `host` is the number of the host end.
pub(super) fn pod_end(
    pod: &NetNs,
    spec: &PodSpec,
    host: Option<LinkIndex>,
    missing: &mut Vec<String>,
) -> Result<(), AttachError> {
    let found = pod.run(|| -> Result<Vec<String>, AttachError> {
        let mut missing = Vec::new();
        let socket = Netlink::open()?;
        let name = &spec.pod_name;
        let Some(link) = socket.link(name)? else {
            return Ok(vec![format!("the pod has no interface {name}")]);
        };
        if !link.is_up() {
            missing.push(format!("the pod's interface {name} is down"));
        }
        if host.is_some() && link.lower != host {
            missing.push(format!("the pod's interface {name} is not the other end of {}", spec.host_name));
        }
        let filter = AddressFilter { link: Some(link.index), ..AddressFilter::default() };
        let addresses = socket.addresses(filter)?;
        for wanted in &spec.addresses {
            if !addresses.iter().any(|a| a.addr == *wanted) {
                missing.push(format!("the pod's interface {name} does not have the address {wanted}"));
            }
        }
        for dst in &spec.routes {
            let gateway = match dst.family() {
                Family::V4 => GATEWAY_V4.into(),
                Family::V6 => GATEWAY_V6.into(),
            };
            let there = routes(&socket, *dst)?.iter().any(|route| {
                goes_to(route, link.index) && route.next_hops.iter().any(|hop| hop.gateway == Some(gateway))
            });
            if !there {
                missing.push(format!("the pod has no route to {dst} by {gateway}"));
            }
        }
        Ok(missing)
    })??;
    missing.extend(found);
    Ok(())
}

fn routes(socket: &Netlink, dst: Cidr) -> Result<Vec<Route>, AttachError> {
    let filter = RouteFilter { dst: Some(dst), table: Some(TableId::MAIN), ..RouteFilter::default() };
    Ok(socket.routes(filter)?)
}

fn goes_to(route: &Route, link: LinkIndex) -> bool {
    route.next_hops.iter().any(|hop| hop.link == Some(link))
}
