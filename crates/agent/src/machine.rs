//! What a node's start asks of this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use tortie_causes::chain;
use tortie_cluster::{Interface, InterfaceAddress, Machine};
use tortie_kernel_net::{AddressFilter, Netlink};
use tortie_net::Family;

/// The machine, in the network namespace of the process.
pub(crate) struct ThisHost;

impl Machine for ThisHost {
    fn interfaces(&self) -> Result<Vec<Interface>, String> {
        let netlink = Netlink::open().map_err(|e| chain(&e))?;
        let mut addresses: BTreeMap<_, Vec<InterfaceAddress>> = BTreeMap::new();
        for address in netlink.addresses(AddressFilter::default()).map_err(|e| chain(&e))? {
            let found = InterfaceAddress { addr: address.addr, len: address.prefix_len };
            addresses.entry(address.link.0).or_default().push(found);
        }
        let mut links = netlink.links().map_err(|e| chain(&e))?;
        links.sort_by_key(|link| std::cmp::Reverse(link.index.0));
        let interface = |link: tortie_kernel_net::Link| Interface {
            addresses: addresses.remove(&link.index.0).unwrap_or_default(),
            name: link.name,
        };
        Ok(links.into_iter().map(interface).collect())
    }

    fn source_towards(&self, host: &str, family: Family) -> Result<IpAddr, String> {
        let wrong = |e: std::io::Error| format!("{host}: {e}");
        // Any port: nothing is sent.
        let found = (host, 80).to_socket_addrs().map_err(wrong)?.find(|a| Family::of(a.ip()) == family);
        let target = found.ok_or_else(|| format!("{host} has no {family} address"))?;
        let any: IpAddr = if family == Family::V4 { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).map_err(wrong)?;
        socket.connect(target).map_err(wrong)?;
        socket.local_addr().map(|a| a.ip()).map_err(wrong)
    }

    fn has_ipv6(&self) -> bool {
        std::path::Path::new("/proc/sys/net/ipv6").exists()
    }
}
