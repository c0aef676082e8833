//! A pod's interface: set up and torn down as Calico's CNI plugin does it.
//!
//! A veth pair whose host end is called `cali…` and whose other end, in the pod, gets the pod's addresses. The pod sends
//! everything to a gateway that exists nowhere (169.254.1.1; for IPv6 the link-local address of the host end); the host end
//! answers for it. The host gets a route to each address.
//!
//! The order of the steps is chosen so that nothing has to be waited for: the host end gets its link-local address
//! explicitly, without duplicate address detection, before it goes up; both ends know each other's link-layer address
//! from the start. Costs two exchanges with the kernel per side, and the sysctls.

mod inspect;
mod steps;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tortie_net::{Cidr, Family, Mac};

use crate::sysctl::SysctlError;
use crate::{
    DumpError, KernelError, Link, LinkError, LinkIndex, NetNs, NetNsError, Netlink, NewLink, OpenError,
    TransportError, VethPeer,
};

/// The link-layer address of every host end.
pub const HOST_MAC: Mac = Mac([0xee; 6]);
/// The pods' IPv4 gateway.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The pods' IPv6 gateway: the link-local address that belongs to [`HOST_MAC`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);

/// What a pod's interface shall be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    /// The name of the host end, `cali…`.
    pub host_name: String,
    /// The name of the pod's end, usually `eth0`.
    pub pod_name: String,
    /// The MTU of both ends.
    pub mtu: u32,
    /// The pod's addresses; those of a family decide whether the family is set up at all.
    pub addresses: Vec<IpAddr>,
    /// The destinations that the pod reaches through the gateway.
    pub routes: Vec<Cidr>,
    /// The link-layer address of the pod's end, otherwise a random one.
    pub pod_mac: Option<Mac>,
    /// The description of the host end.
    pub alias: Option<String>,
    /// The number of queues of both ends, one unless told. `None` is the kernel's default: room for one queue per processor,
    /// of which it uses one, and two grace periods under the lock on all network configuration to get there.
    pub queues: Option<u32>,
    /// Whether the pod forwards packets.
    pub ip_forwarding: bool,
    /// The host end's `rp_filter`, otherwise the host's default.
    pub rp_filter: Option<u8>,
}

/// A pod's interface as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    /// The number of the host end.
    pub host: LinkIndex,
    /// The number of the pod's end, inside the pod.
    pub pod: LinkIndex,
    /// The link-layer address of the pod's end.
    pub pod_mac: Mac,
}

/// On which end a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host end.
    Host,
    /// The pod's end.
    Pod,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host end",
            Self::Pod => "pod's end",
        })
    }
}

/// A pod's interface could not be set up; nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The pair could not be made, or an old host end not be removed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The pod has another interface with the wanted name.
    #[error("the pod already has an interface {pod_name} whose other end is not {host_name}")]
    PodNameTaken {
        /// The wanted name in the pod.
        pod_name: String,
        /// The wanted name on the host.
        host_name: String,
    },
    /// Another route to a pod's address is in the way.
    #[error("cannot route {dst} to {host_name}: there is a route through {owner}, is the address used twice")]
    RouteTaken {
        /// The pod's address.
        dst: Cidr,
        /// The host end of this pod.
        host_name: String,
        /// The interface (or kind) of the other route.
        owner: String,
    },
    /// The kernel refused a step.
    #[error("cannot configure {name} ({side}): {step} refused")]
    Refused {
        /// On which end.
        side: Side,
        /// The interface.
        name: String,
        /// The step.
        step: String,
        /// Why.
        #[source]
        source: KernelError,
    },
    /// A sysctl could not be set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A namespace could not be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// No socket in the pod's namespace.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The host's routes could not be listed.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The conversation with the kernel failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl PodSpec {
    /// The usual: default routes of the families of the addresses, no forwarding.
    pub fn new(
        host_name: impl Into<String>,
        pod_name: impl Into<String>,
        mtu: u32,
        addresses: Vec<IpAddr>,
    ) -> Self {
        Self {
            routes: Vec::new(),
            host_name: host_name.into(),
            pod_name: pod_name.into(),
            mtu,
            addresses: Vec::new(),
            pod_mac: None,
            alias: None,
            queues: Some(1),
            ip_forwarding: false,
            rp_filter: None,
        }
        .with_addresses(addresses)
    }

    /// The same with these addresses, and default routes of their families.
    pub fn with_addresses(mut self, addresses: Vec<IpAddr>) -> Self {
        let of = |family: &Family| addresses.iter().any(|a| Family::of(*a) == *family);
        self.routes = Family::ALL.into_iter().filter(of).map(Cidr::any).collect();
        self.addresses = addresses;
        self
    }

    fn has(&self, family: Family) -> bool {
        self.addresses.iter().any(|address| Family::of(*address) == family)
    }
}

/// A pod's interface that exists, without addresses, and down: nothing passes through it yet.
#[derive(Clone, Debug)]
pub struct Pair {
    made: Link,
    pod_mac: Mac,
}

/// Sets a pod's interface up. A host end of the same name is replaced together with its pair.
///
/// `host` is a socket in the node's namespace. If this fails, what was made is removed again.
pub fn attach(host: &Netlink, pod: &NetNs, spec: &PodSpec) -> Result<PodLink, AttachError> {
    let pair = prepare(host, pod, spec)?;
    configure(host, pod, spec, &pair)
}

/// The first half of [`attach`]: needs neither addresses nor routes, so that it may run while they are being found.
pub fn prepare(host: &Netlink, pod: &NetNs, spec: &PodSpec) -> Result<Pair, AttachError> {
    let pod_mac = spec.pod_mac.unwrap_or_else(random_mac);
    Ok(Pair { made: make_pair(host, pod, spec, pod_mac)?, pod_mac })
}

/// The second half of [`attach`], with the specification complete. If this fails, the pair is removed again.
pub fn configure(host: &Netlink, pod: &NetNs, spec: &PodSpec, pair: &Pair) -> Result<PodLink, AttachError> {
    let Pair { made, pod_mac } = pair;
    let configured = steps::configure_host(host, spec, made, *pod_mac)
        .and_then(|()| steps::configure_pod(pod, spec, made))
        .map(|index| PodLink { host: made.index, pod: index, pod_mac: *pod_mac });
    if configured.is_err() {
        // The first error is the one to report.
        let _ = host.delete_link(made.index);
    }
    configured
}

/// A random address of the locally administered range, as the kernel itself would choose it.
fn random_mac() -> Mac {
    const LOCAL: u8 = 0x02;
    const MULTICAST: u8 = 0x01;
    // The keys of the standard library's hasher come from the kernel's random source and are never used twice.
    let [first, b, c, d, e, f, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    Mac([first & !MULTICAST | LOCAL, b, c, d, e, f])
}

/// What is missing of a pod's interface as [`attach`] sets it up, in words; empty if nothing is. More than was asked for is not looked
/// for: pods may have further addresses and routes.
pub fn inspect(host: &Netlink, pod: &NetNs, spec: &PodSpec) -> Result<Vec<String>, AttachError> {
    let mut missing = Vec::new();
    let link = inspect::host_end(host, spec, &mut missing)?;
    inspect::pod_end(pod, spec, link.map(|l| l.index), &mut missing)?;
    Ok(missing)
}

/// Removes a pod's interface by the name of its host end, and with it the pair and all routes through it.
/// False if there was none.
pub fn detach(host: &Netlink, host_name: &str) -> Result<bool, LinkError> {
    removed(host.delete_link(host_name))
}

/// Removes a pod's interface by its name in the pod, and with it the pair. False if there was none.
pub fn detach_inside(pod: &Netlink, pod_name: &str) -> Result<bool, LinkError> {
    removed(pod.delete_link(pod_name))
}

fn removed(result: Result<(), LinkError>) -> Result<bool, LinkError> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.is_missing() => Ok(false),
        Err(e) => Err(e),
    }
}

fn make_pair(host: &Netlink, pod: &NetNs, spec: &PodSpec, pod_mac: Mac) -> Result<Link, AttachError> {
    let peer = VethPeer {
        mac: Some(pod_mac),
        mtu: Some(spec.mtu),
        ..VethPeer::new(spec.pod_name.clone()).inside(pod)
    };
    // Down, so that the kernel does not make a link-local address of its own before it may.
    let wanted = NewLink {
        mac: Some(HOST_MAC),
        mtu: Some(spec.mtu),
        alias: spec.alias.clone(),
        queues: spec.queues,
        up: false,
        ..NewLink::veth(spec.host_name.clone(), peer)
    };
    match host.add_link(&wanted) {
        Err(e) if e.exists() => {}
        made => return Ok(made?),
    }
    // Either end's name may be the one that is taken.
    detach(host, &spec.host_name)?;
    host.add_link(&wanted).map_err(|e| {
        if e.exists() {
            AttachError::PodNameTaken { pod_name: spec.pod_name.clone(), host_name: spec.host_name.clone() }
        } else {
            e.into()
        }
    })
}
