//! Routes.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteProtocol as WireProtocol, RouteScope, RouteType, RouteVia,
};
use tortie_net::{Cidr, Family};

use crate::{LinkIndex, wire};

/// The number of a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

impl TableId {
    /// Where routes go by default.
    pub const MAIN: Self = Self(254);
    /// The kernel's own: local and broadcast addresses.
    pub const LOCAL: Self = Self(255);
}

/// Who made a route (`rtm_protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// Made by the kernel.
    pub const KERNEL: Self = Self(2);
    /// In a removal: whoever made it.
    pub const ANY: Self = Self(0);
    /// Made while booting; the default of tools that state nothing else.
    pub const BOOT: Self = Self(3);
    /// Made by the administrator.
    pub const STATIC: Self = Self(4);
    /// Made by BIRD.
    pub const BIRD: Self = Self(12);
    /// Made by Calico's agent for the cluster.
    pub const CALICO: Self = Self(80);
}

/// How far a destination or an address is away (`rtm_scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub u8);

impl Scope {
    /// Anywhere.
    pub const UNIVERSE: Self = Self(0);
    /// On the link.
    pub const LINK: Self = Self(253);
    /// This host.
    pub const HOST: Self = Self(254);
}

/// What happens to a packet that matches a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// It is sent to a next hop.
    Unicast,
    /// It is for this host.
    Local,
    /// It is dropped in silence.
    Blackhole,
    /// It is answered with "host unreachable".
    Unreachable,
    /// It is answered with "administratively prohibited".
    Prohibit,
    /// The search goes on in the next table.
    Throw,
    /// Something else, by the kernel's number.
    Other(u8),
}

const KINDS: [(RouteKind, u8); 6] = [
    (RouteKind::Unicast, 1),
    (RouteKind::Local, 2),
    (RouteKind::Blackhole, 6),
    (RouteKind::Unreachable, 7),
    (RouteKind::Prohibit, 8),
    (RouteKind::Throw, 9),
];

impl RouteKind {
    fn number(self) -> u8 {
        match self {
            Self::Other(number) => number,
            known => KINDS.iter().find(|(kind, _)| *kind == known).map_or(0, |(_, number)| *number),
        }
    }

    fn from_number(number: u8) -> Self {
        KINDS.iter().find(|(_, n)| *n == number).map_or(Self::Other(number), |(kind, _)| *kind)
    }

    /// Whether packets are dropped or passed on to another table, so that there are no next hops.
    fn ends_search(self) -> bool {
        matches!(self, Self::Blackhole | Self::Unreachable | Self::Prohibit | Self::Throw)
    }
}

/// Where packets are sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The router; may be of the other family.
    pub gateway: Option<IpAddr>,
    /// The interface. The kernel finds it from the gateway if absent.
    pub link: Option<LinkIndex>,
    /// The gateway is reachable on the link although no address of the link says so.
    pub onlink: bool,
    /// The share of flows among several next hops, from 1.
    pub weight: u16,
}

impl NextHop {
    /// Directly on a link.
    pub fn on(link: LinkIndex) -> Self {
        Self { gateway: None, link: Some(link), onlink: false, weight: 1 }
    }

    /// Through a router.
    pub fn via(gateway: IpAddr, link: Option<LinkIndex>) -> Self {
        Self { gateway: Some(gateway), link, onlink: false, weight: 1 }
    }
}

/// A route, in the form in which the kernel reports it: a route that was added compares equal to itself in a listing
/// (provided that next hops name their link, and IPv6 routes their priority, as the constructors do).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destination.
    pub dst: Cidr,
    /// The table.
    pub table: TableId,
    /// What happens to packets.
    pub kind: RouteKind,
    /// Who made it.
    pub protocol: RouteProtocol,
    /// How far the destination is; always [`Scope::UNIVERSE`] for IPv6.
    pub scope: Scope,
    /// The metric: the lowest wins. IPv4 knows none, IPv6 takes 1024 for none.
    pub priority: Option<u32>,
    /// The source address that this host prefers.
    pub source: Option<IpAddr>,
    /// The path MTU.
    pub mtu: Option<u32>,
    /// Where packets are sent; several share the flows.
    pub next_hops: Vec<NextHop>,
}

/// Restricts a listing. The kernel filters where it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only this family.
    pub family: Option<Family>,
    /// Only this table.
    pub table: Option<TableId>,
    /// Only made by this one.
    pub protocol: Option<RouteProtocol>,
    /// Only routes with a next hop on this interface.
    pub link: Option<LinkIndex>,
    /// Only exactly this destination.
    pub dst: Option<Cidr>,
}

/// The kernel's default for IPv6 (`IP6_RT_PRIO_USER`).
const DEFAULT_PRIORITY_V6: u32 = 1024;
/// `RT_SCOPE_NOWHERE`: in a deletion, any scope.
const ANY_SCOPE: u8 = 255;

impl Route {
    /// A unicast route in the main table, made by [`RouteProtocol::BOOT`].
    pub fn new(dst: Cidr, next_hops: Vec<NextHop>) -> Self {
        let direct = next_hops.iter().all(|hop| hop.gateway.is_none());
        let (scope, priority) = match dst.family() {
            Family::V4 => (if direct { Scope::LINK } else { Scope::UNIVERSE }, None),
            Family::V6 => (Scope::UNIVERSE, Some(DEFAULT_PRIORITY_V6)),
        };
        Self {
            dst,
            table: TableId::MAIN,
            kind: RouteKind::Unicast,
            protocol: RouteProtocol::BOOT,
            scope,
            priority,
            source: None,
            mtu: None,
            next_hops,
        }
    }

    /// `dst dev link scope link`
    pub fn on(dst: Cidr, link: LinkIndex) -> Self {
        Self::new(dst, vec![NextHop::on(link)])
    }

    /// `dst via gateway [dev link]`
    pub fn via(dst: Cidr, gateway: IpAddr, link: Option<LinkIndex>) -> Self {
        Self::new(dst, vec![NextHop::via(gateway, link)])
    }

    /// A route without next hops: [`RouteKind::Blackhole`] and its like.
    pub fn special(dst: Cidr, kind: RouteKind) -> Self {
        Self { kind, scope: Scope::UNIVERSE, ..Self::new(dst, Vec::new()) }
    }

    /// The same in another table.
    pub fn in_table(mut self, table: TableId) -> Self {
        self.table = table;
        self
    }

    /// The same made by somebody else.
    pub fn by(mut self, protocol: RouteProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// The same with a metric.
    pub fn with_priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The same with gateways that need not be within a prefix of their link.
    pub fn onlink(mut self) -> Self {
        for hop in &mut self.next_hops {
            hop.onlink = hop.gateway.is_some();
        }
        self
    }

    pub(crate) fn to_message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = wire::af(Some(self.dst.family()));
        header.destination_prefix_length = self.dst.len();
        // Tables above 255 are only in the attribute.
        header.table = u8::try_from(self.table.0).unwrap_or_default();
        header.protocol = WireProtocol::from(self.protocol.0);
        header.scope = RouteScope::from(self.scope.0);
        header.kind = RouteType::from(self.kind.number());
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(self.dst.addr().into()));
        attributes.push(RouteAttribute::Table(self.table.0));
        attributes.extend(self.priority.map(RouteAttribute::Priority));
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        attributes.extend(self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        match self.next_hops.as_slice() {
            [] => {}
            [hop] => {
                if hop.onlink {
                    header.flags |= RouteFlags::Onlink;
                }
                attributes.extend(self.gateway(hop));
                attributes.extend(hop.link.map(|link| RouteAttribute::Oif(link.0)));
            }
            hops => {
                let hops = hops.iter().map(|hop| {
                    let mut wire = RouteNextHop::default();
                    if hop.onlink {
                        wire.flags = RouteNextHopFlags::Onlink;
                    }
                    wire.hops = hop.weight.saturating_sub(1).min(255) as u8;
                    wire.interface_index = hop.link.map_or(0, |link| link.0);
                    wire.attributes.extend(self.gateway(hop));
                    wire
                });
                attributes.push(RouteAttribute::MultiPath(hops.collect()));
            }
        }
        message
    }

    fn gateway(&self, hop: &NextHop) -> Option<RouteAttribute> {
        hop.gateway.map(|gateway| {
            if Family::of(gateway) == self.dst.family() {
                RouteAttribute::Gateway(gateway.into())
            } else {
                RouteAttribute::Via(match gateway {
                    IpAddr::V4(gateway) => RouteVia::Inet(gateway),
                    IpAddr::V6(gateway) => RouteVia::Inet6(gateway),
                })
            }
        })
    }

    pub(crate) fn to_delete_message(&self) -> RouteMessage {
        let mut message = self.to_message();
        message.header.scope = RouteScope::from(ANY_SCOPE);
        message
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        const HEADER: usize = 12;
        const RTM_F_CLONED: u32 = 0x200;
        const RTA_DST: u16 = 1;
        const RTA_OIF: u16 = 4;
        const RTA_GATEWAY: u16 = 5;
        const RTA_PRIORITY: u16 = 6;
        const RTA_PREFSRC: u16 = 7;
        const RTA_METRICS: u16 = 8;
        const RTA_MULTIPATH: u16 = 9;
        const RTA_TABLE: u16 = 15;
        const RTA_VIA: u16 = 18;
        const RTAX_MTU: u16 = 2;
        // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags (4)
        let [family, dst_len, _, _, table, protocol, scope, kind, flags @ ..] =
            *payload.first_chunk::<HEADER>()?;
        let family = wire::family(family)?;
        let flags = u32::from_ne_bytes(flags);
        if flags & RTM_F_CLONED != 0 {
            // An entry of a cache, not of a table.
            return None;
        }
        let mut dst = None;
        let mut route = Self {
            kind: RouteKind::from_number(kind),
            table: TableId(table.into()),
            protocol: RouteProtocol(protocol),
            scope: Scope(scope),
            priority: None,
            ..Self::new(Cidr::any(family), Vec::new())
        };
        let onlink = flags & u32::from(RouteNextHopFlags::Onlink.bits()) != 0;
        let mut single = NextHop { gateway: None, link: None, onlink, weight: 1 };
        for nla in wire::attributes(payload, HEADER) {
            let value = nla.value();
            match nla.kind() {
                RTA_DST => dst = wire::ip(value),
                RTA_OIF => single.link = wire::word(value).map(LinkIndex),
                RTA_GATEWAY => single.gateway = wire::ip(value),
                RTA_VIA => single.gateway = value.get(2..).and_then(wire::ip),
                RTA_PRIORITY => route.priority = wire::word(value),
                RTA_PREFSRC => route.source = wire::ip(value),
                RTA_TABLE => route.table = TableId(wire::word(value)?),
                RTA_METRICS => {
                    let mtu = wire::attributes(value, 0).find(|m| m.kind() == RTAX_MTU);
                    route.mtu = mtu.and_then(|m| wire::word(m.value()));
                }
                RTA_MULTIPATH => route.next_hops = decode_hops(value),
                _ => {}
            }
        }
        route.dst = wire::cidr(family, dst, dst_len)?;
        if route.kind.ends_search() {
            // IPv6 reports the loopback interface for these.
            route.next_hops.clear();
        } else if route.next_hops.is_empty() && (single.link.is_some() || single.gateway.is_some()) {
            route.next_hops.push(single);
        }
        Some(route)
    }
}

/// A sequence of `struct rtnexthop`: length (2), flags, hops, index (4), attributes.
fn decode_hops(mut bytes: &[u8]) -> Vec<NextHop> {
    const HEADER: usize = 8;
    const RTA_GATEWAY: u16 = 5;
    const RTA_VIA: u16 = 18;
    let mut hops = Vec::new();
    while let Some([l0, l1, flags, weight, index @ ..]) = bytes.first_chunk::<HEADER>().copied() {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(hop) = bytes.get(..length).filter(|hop| hop.len() >= HEADER) else { break };
        let mut gateway = None;
        for nla in wire::attributes(hop, HEADER) {
            match nla.kind() {
                RTA_GATEWAY => gateway = wire::ip(nla.value()),
                RTA_VIA => gateway = nla.value().get(2..).and_then(wire::ip),
                _ => {}
            }
        }
        hops.push(NextHop {
            gateway,
            link: Some(LinkIndex(u32::from_ne_bytes(index))),
            onlink: flags & RouteNextHopFlags::Onlink.bits() != 0,
            weight: u16::from(weight) + 1,
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => write!(f, "route {}", self.dst)?,
            RouteKind::Other(kind) => write!(f, "route of type {kind} {}", self.dst)?,
            kind => write!(f, "{} route {}", format!("{kind:?}").to_lowercase(), self.dst)?,
        }
        for hop in &self.next_hops {
            if let Some(gateway) = hop.gateway {
                write!(f, " via {gateway}")?;
            }
            if let Some(link) = hop.link {
                write!(f, " dev {link}")?;
            }
            if hop.onlink {
                write!(f, " onlink")?;
            }
        }
        if self.table != TableId::MAIN {
            write!(f, " in table {}", self.table.0)?;
        }
        if let Some(priority) = self.priority {
            write!(f, " metric {priority}")?;
        }
        Ok(())
    }
}

impl RouteFilter {
    pub(crate) fn to_request(self) -> RouteNetlinkMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = wire::af(self.family.or(self.dst.map(Cidr::family)));
        if let Some(protocol) = self.protocol {
            message.header.protocol = WireProtocol::from(protocol.0);
        }
        if let Some(table) = self.table {
            message.attributes.push(RouteAttribute::Table(table.0));
        }
        if let Some(link) = self.link {
            message.attributes.push(RouteAttribute::Oif(link.0));
        }
        RouteNetlinkMessage::GetRoute(message)
    }

    pub(crate) fn matches(&self, route: &Route) -> bool {
        self.family.is_none_or(|f| f == route.dst.family())
            && self.table.is_none_or(|t| t == route.table)
            && self.protocol.is_none_or(|p| p == route.protocol)
            && self.dst.is_none_or(|d| d == route.dst)
            && self.link.is_none_or(|l| route.next_hops.iter().any(|hop| hop.link == Some(l)))
    }
}
