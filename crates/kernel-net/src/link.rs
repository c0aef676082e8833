//! Interfaces.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use tortie_net::Mac;

use crate::{NetNs, wire};

/// The kernel's number of an interface, unique within its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How an interface is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkRef {
    /// By number.
    Index(LinkIndex),
    /// By name.
    Name(String),
}

impl From<LinkIndex> for LinkRef {
    fn from(index: LinkIndex) -> Self {
        Self::Index(index)
    }
}

impl From<&str> for LinkRef {
    fn from(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl From<&String> for LinkRef {
    fn from(name: &String) -> Self {
        Self::Name(name.clone())
    }
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "interface {index}"),
            Self::Name(name) => write!(f, "interface {name}"),
        }
    }
}

impl LinkRef {
    pub(crate) fn to_message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        match self {
            Self::Index(index) => message.header.index = index.0,
            Self::Name(name) => message.attributes.push(LinkAttribute::IfName(name.clone())),
        }
        message
    }

    /// A question for one interface, without its counters.
    pub(crate) fn to_query(&self) -> LinkMessage {
        let mut message = self.to_message();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        message
    }
}

/// An interface as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// The kind of a virtual interface, such as `veth`, `vxlan`, `bridge`; none for hardware and loopback.
    pub kind: Option<String>,
    /// The link-layer address, if it is an Ethernet address.
    pub mac: Option<Mac>,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The `IFF_*` flags.
    pub flags: u32,
    /// The administrator's description.
    pub alias: Option<String>,
    /// The bridge, bond or VRF to which it belongs.
    pub master: Option<LinkIndex>,
    /// The interface beneath; for a veth its other end, in the namespace `peer_namespace`.
    pub lower: Option<LinkIndex>,
    /// The parameters of a VXLAN tunnel.
    pub vxlan: Option<Vxlan>,
    /// The kernel's number of the namespace in which `lower` is, if that is another one.
    pub peer_namespace: Option<i32>,
}

impl Link {
    /// Whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & LinkFlags::Up.bits() != 0
    }

    /// Whether it can carry packets: up, and the carrier is there.
    pub fn is_running(&self) -> bool {
        self.is_up() && self.flags & LinkFlags::LowerUp.bits() != 0
    }

    /// Whether it is the loopback interface.
    pub fn is_loopback(&self) -> bool {
        self.flags & LinkFlags::Loopback.bits() != 0
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        const IFLA_ADDRESS: u16 = 1;
        const IFLA_IFNAME: u16 = 3;
        const IFLA_MTU: u16 = 4;
        const IFLA_LINK: u16 = 5;
        const IFLA_MASTER: u16 = 10;
        const IFLA_LINKINFO: u16 = 18;
        const IFLA_IFALIAS: u16 = 20;
        const IFLA_LINK_NETNSID: u16 = 37;
        const IFLA_INFO_KIND: u16 = 1;
        const IFLA_INFO_DATA: u16 = 2;
        const HEADER: usize = 16;

        // struct ifinfomsg: family, padding, type (2), index (4), flags (4), change mask (4)
        let header = payload.first_chunk::<HEADER>()?;
        // Bridge ports are reported a second time in the family of bridges, without most attributes.
        if header[0] != u8::from(AddressFamily::Unspec) {
            return None;
        }
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let mut link = Self {
            index: LinkIndex(word(4)),
            name: String::new(),
            kind: None,
            mac: None,
            mtu: 0,
            flags: word(8),
            alias: None,
            master: None,
            lower: None,
            vxlan: None,
            peer_namespace: None,
        };
        for nla in wire::attributes(payload, HEADER) {
            let value = nla.value();
            let index = || wire::word(value).filter(|index| *index != 0).map(LinkIndex);
            match nla.kind() {
                IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
                IFLA_IFNAME => link.name = wire::text(value),
                IFLA_MTU => link.mtu = wire::word(value)?,
                IFLA_LINK => link.lower = index(),
                IFLA_MASTER => link.master = index(),
                IFLA_IFALIAS => link.alias = Some(wire::text(value)),
                IFLA_LINK_NETNSID => link.peer_namespace = wire::word(value).map(|n| n as i32),
                IFLA_LINKINFO => {
                    let kind = wire::attributes(value, 0).find(|nla| nla.kind() == IFLA_INFO_KIND);
                    link.kind = kind.map(|nla| wire::text(nla.value()));
                    if link.kind.as_deref() == Some("vxlan") {
                        let data = wire::attributes(value, 0).find(|nla| nla.kind() == IFLA_INFO_DATA);
                        link.vxlan = data.and_then(|nla| Vxlan::decode(nla.value()));
                    }
                }
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

/// What to change of an interface; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Administratively up or down.
    pub up: Option<bool>,
    /// The largest packet in bytes.
    pub mtu: Option<u32>,
    /// The link-layer address.
    pub mac: Option<Mac>,
    /// The description; empty removes it.
    pub alias: Option<String>,
    /// The bridge, bond or VRF: `Some(None)` takes the interface out.
    pub master: Option<Option<LinkIndex>>,
    /// A new name; takes a [`LinkRef::Index`].
    pub name: Option<String>,
    /// Move into this namespace.
    pub namespace: Option<NetNs>,
}

impl LinkChange {
    /// Only up.
    pub fn up() -> Self {
        Self { up: Some(true), ..Self::default() }
    }

    /// Only down.
    pub fn down() -> Self {
        Self { up: Some(false), ..Self::default() }
    }

    pub(crate) fn to_message(&self, link: &LinkRef) -> LinkMessage {
        let mut message = link.to_message();
        set_up(&mut message, self.up);
        let attributes = &mut message.attributes;
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(self.alias.clone().map(LinkAttribute::IfAlias));
        attributes.extend(self.master.map(|m| LinkAttribute::Controller(m.map_or(0, |i| i.0))));
        attributes.extend(self.name.clone().map(LinkAttribute::IfName));
        attributes.extend(self.namespace.as_ref().map(|ns| LinkAttribute::NetNsFd(ns.as_raw_fd())));
        message
    }
}

fn set_up(message: &mut LinkMessage, up: Option<bool>) {
    if let Some(up) = up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    }
}

/// An interface to be made.
#[derive(Clone, Debug)]
pub struct NewLink<'a> {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: NewLinkKind<'a>,
    /// The link-layer address, otherwise a random one.
    pub mac: Option<Mac>,
    /// The largest packet in bytes, otherwise the kernel's default.
    pub mtu: Option<u32>,
    /// The description.
    pub alias: Option<String>,
    /// Whether it starts administratively up.
    pub up: bool,
    /// The bridge, bond or VRF to which it belongs.
    pub master: Option<LinkIndex>,
    /// The number of transmit and receive queues.
    pub queues: Option<u32>,
}

/// The kinds of interfaces that we make.
#[derive(Clone, Debug)]
pub enum NewLinkKind<'a> {
    /// A pair of interfaces; this is the other end.
    Veth(VethPeer<'a>),
    /// An Ethernet bridge.
    Bridge,
    /// A VXLAN tunnel.
    Vxlan(Vxlan),
    /// A kind that needs no parameters, by the kernel's name: `dummy`, `ipip`, `wireguard`, `ifb`.
    Plain(String),
}

/// The other end of a veth pair. The kernel makes it down (its partner does not exist yet). In the same namespace it is
/// brought up together with its partner; in another one that takes a socket there.
#[derive(Clone, Debug)]
pub struct VethPeer<'a> {
    /// Its name.
    pub name: String,
    /// The link-layer address, otherwise a random one.
    pub mac: Option<Mac>,
    /// The largest packet in bytes, otherwise the kernel's default.
    pub mtu: Option<u32>,
    /// The namespace in which it is made, otherwise the same one.
    pub namespace: Option<&'a NetNs>,
}

/// The parameters of a VXLAN tunnel. Learning is off: the forwarding table is filled by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The source address of the tunnel's packets; also decides the family.
    pub local: Option<IpAddr>,
    /// The interface through which the tunnel's packets leave.
    pub lower: Option<LinkIndex>,
}

impl<'a> NewLink<'a> {
    /// An interface without special wishes, down.
    pub fn new(name: impl Into<String>, kind: NewLinkKind<'a>) -> Self {
        Self {
            name: name.into(),
            kind,
            mac: None,
            mtu: None,
            alias: None,
            up: false,
            master: None,
            queues: None,
        }
    }

    /// A veth pair, up (the other end only if it is in the same namespace).
    pub fn veth(name: impl Into<String>, peer: VethPeer<'a>) -> Self {
        Self { up: true, ..Self::new(name, NewLinkKind::Veth(peer)) }
    }

    pub(crate) fn to_message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        set_up(&mut message, Some(self.up));
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(self.name.clone()));
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(self.master.map(|m| LinkAttribute::Controller(m.0)));
        push_queues(attributes, self.queues);
        let (kind, data) = match &self.kind {
            NewLinkKind::Veth(peer) => {
                let mut peer = peer.to_message();
                push_queues(&mut peer.attributes, self.queues);
                (InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer))))
            }
            NewLinkKind::Bridge => (InfoKind::Bridge, None),
            NewLinkKind::Vxlan(vxlan) => (InfoKind::Vxlan, Some(InfoData::Vxlan(vxlan.to_attributes()))),
            NewLinkKind::Plain(kind) => (InfoKind::Other(kind.clone()), None),
        };
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        attributes.push(LinkAttribute::LinkInfo(info));
        message
    }
}

fn push_queues(attributes: &mut Vec<LinkAttribute>, queues: Option<u32>) {
    if let Some(queues) = queues {
        attributes.push(LinkAttribute::NumTxQueues(queues));
        attributes.push(LinkAttribute::NumRxQueues(queues));
    }
}

impl<'a> VethPeer<'a> {
    /// An end in the same namespace.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), mac: None, mtu: None, namespace: None }
    }

    /// The same in another namespace.
    pub fn inside(mut self, namespace: &'a NetNs) -> Self {
        self.namespace = Some(namespace);
        self
    }

    fn to_message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(self.name.clone()));
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(self.namespace.map(|ns| LinkAttribute::NetNsFd(ns.as_raw_fd())));
        message
    }
}

impl Vxlan {
    fn to_attributes(&self) -> Vec<InfoVxlan> {
        let mut attributes =
            vec![InfoVxlan::Id(self.vni), InfoVxlan::Port(self.port), InfoVxlan::Learning(false)];
        attributes.extend(self.local.map(|local| match local {
            IpAddr::V4(local) => InfoVxlan::Local(local),
            IpAddr::V6(local) => InfoVxlan::Local6(local),
        }));
        attributes.extend(self.lower.map(|lower| InfoVxlan::Link(lower.0)));
        attributes
    }

    fn decode(data: &[u8]) -> Option<Self> {
        const IFLA_VXLAN_ID: u16 = 1;
        const IFLA_VXLAN_LINK: u16 = 3;
        const IFLA_VXLAN_LOCAL: u16 = 4;
        const IFLA_VXLAN_PORT: u16 = 15;
        const IFLA_VXLAN_LOCAL6: u16 = 17;
        let mut vxlan = Self { vni: 0, port: 0, local: None, lower: None };
        for nla in wire::attributes(data, 0) {
            let value = nla.value();
            match nla.kind() {
                IFLA_VXLAN_ID => vxlan.vni = wire::word(value)?,
                IFLA_VXLAN_LINK => vxlan.lower = wire::word(value).filter(|index| *index != 0).map(LinkIndex),
                IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => {
                    vxlan.local = wire::ip(value).filter(|ip| !ip.is_unspecified());
                }
                IFLA_VXLAN_PORT => vxlan.port = u16::from_be_bytes(*value.first_chunk()?),
                _ => {}
            }
        }
        Some(vxlan)
    }
}
