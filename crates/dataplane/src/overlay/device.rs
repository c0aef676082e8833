//! The interface at this node's end of the tunnels, one per family.

use std::net::IpAddr;
use tortie_calc::fabric::VtepEnd;
use tortie_kernel_net::{
    Address, AddressFilter, DumpError, Link, LinkChange, LinkError, LinkIndex, Netlink, NewLink, NewLinkKind,
    Vxlan,
};
use tortie_net::{Cidr, Family, Mac};

/// What VXLAN adds to a packet: outer IP, UDP, VXLAN and inner Ethernet headers.
const fn overhead(family: Family) -> u32 {
    match family {
        Family::V4 => 50,
        Family::V6 => 70,
    }
}

/// Parameters of the tunnels, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanConfig {
    /// Network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// MTU of the interface by family; `None` takes what the interface beneath leaves.
    pub mtu_v4: Option<u32>,
    /// The same for IPv6.
    pub mtu_v6: Option<u32>,
}

impl Default for VxlanConfig {
    /// Felix's `VXLANVNI` and `VXLANPort`.
    fn default() -> Self {
        Self { vni: 4096, port: 4789, mtu_v4: None, mtu_v6: None }
    }
}

/// Calico's names of the interfaces.
pub(super) const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "vxlan.calico",
        Family::V6 => "vxlan-v6.calico",
    }
}

/// One end of a tunnel, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) mac: Mac,
    /// Of the tunnel's interface.
    pub(super) address: IpAddr,
    /// Of the node.
    pub(super) parent: IpAddr,
}

impl End {
    /// The error names the field.
    pub(super) fn read(end: &VtepEnd) -> Result<Self, String> {
        let address = end.address.parse().or_else(|_| end.address.parse::<Cidr>().map(Cidr::addr));
        Ok(Self {
            mac: end.mac.parse().map_err(|e| format!("VXLAN MAC: {e}"))?,
            address: address.map_err(|_| format!("VXLAN address {:?} is not an IP address", end.address))?,
            parent: end.parent,
        })
    }
}

/// The interface could not be made what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeviceError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Read(#[from] DumpError),
    #[error(transparent)]
    Address(#[from] tortie_kernel_net::AddressError),
}

/// Makes the interface as it should be, and answers its number and the writes that it took.
pub(super) fn ensure(
    netlink: &Netlink,
    family: Family,
    own: &End,
    config: &VxlanConfig,
) -> Result<(LinkIndex, usize), DeviceError> {
    let name = name(family);
    let mtu = match family {
        Family::V4 => config.mtu_v4,
        Family::V6 => config.mtu_v6,
    };
    let beneath = beneath(netlink, own.parent)?;
    let mtu = mtu.or_else(|| Some(beneath.as_ref()?.mtu.saturating_sub(overhead(family))));
    let wanted = Vxlan { vni: config.vni, port: config.port, local: Some(own.parent), lower: None };
    let mut writes = 0;
    let mut there = netlink.link(name)?;
    // Calico's agent ties it to the interface beneath, which is no reason to cut what goes through it.
    let tied = Vxlan { lower: beneath.map(|link| link.index), ..wanted.clone() };
    let fits = |link: &Link| link.vxlan.as_ref().is_some_and(|vxlan| *vxlan == wanted || *vxlan == tied);
    if there.as_ref().is_some_and(|link| !fits(link)) {
        // A tunnel's parameters cannot be changed.
        netlink.delete_link(name)?;
        writes += 1;
        there = None;
    }
    let link = match there {
        Some(link) => {
            let change = difference(&link, own.mac, mtu);
            if change != LinkChange::default() {
                netlink.set_link(link.index, &change)?;
                writes += 1;
            }
            link
        }
        None => {
            let new = NewLink {
                mac: Some(own.mac),
                mtu,
                up: true,
                ..NewLink::new(name, NewLinkKind::Vxlan(wanted))
            };
            writes += 1;
            netlink.add_link(&new)?
        }
    };
    writes += only_address(netlink, link.index, family, own.address)?;
    Ok((link.index, writes))
}

fn difference(link: &Link, mac: Mac, mtu: Option<u32>) -> LinkChange {
    LinkChange {
        up: (!link.is_up()).then_some(true),
        mac: (link.mac != Some(mac)).then_some(mac),
        mtu: mtu.filter(|mtu| *mtu != link.mtu),
        ..LinkChange::default()
    }
}

/// The tunnel's address, and no other but the kernel's link-local one.
fn only_address(
    netlink: &Netlink,
    link: LinkIndex,
    family: Family,
    wanted: IpAddr,
) -> Result<usize, DeviceError> {
    let filter = AddressFilter { link: Some(link), family: Some(family) };
    let (mut writes, mut there) = (0, false);
    for address in netlink.addresses(filter)? {
        let link_local = matches!(address.addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if address.addr == wanted && address.prefix_len == family.bits() {
            there = true;
        } else if !link_local {
            netlink.delete_address(&address)?;
            writes += 1;
        }
    }
    if !there {
        netlink.replace_address(&Address::host(link, wanted))?;
        writes += 1;
    }
    Ok(writes)
}

/// The interface that has the node's address.
fn beneath(netlink: &Netlink, parent: IpAddr) -> Result<Option<Link>, DeviceError> {
    let filter = AddressFilter { family: Some(Family::of(parent)), link: None };
    match netlink.addresses(filter)?.into_iter().find(|a| a.addr == parent) {
        Some(found) => Ok(netlink.link(found.link)?),
        None => Ok(None),
    }
}

/// Removes the interface and with it all that hangs on it; answers whether it was there.
pub(super) fn remove(netlink: &Netlink, family: Family) -> Result<bool, DeviceError> {
    let name = name(family);
    let ours = netlink.link(name)?.is_some_and(|link| link.kind.as_deref() == Some("vxlan"));
    if ours {
        netlink.delete_link(name)?;
    }
    Ok(ours)
}
