//! Finding the addresses by which other nodes reach this one.

use regex_lite::Regex;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use tortie_net::{Cidr, Family};

/// Interfaces that are never the node's way to others, unless somebody says so.
const NOT_USUAL: &str = r"^docker.*|^cbr.*|^dummy.*|^podman.*|^virbr.*|^lxcbr.*|^veth.*|^lo|^br-.*|^cali.*|^tunl.*|^flannel.*|^kube-ipvs.*|^cni.*|^vxlan\.calico.*|^vxlan-v6\.calico.*|^wireguard\.cali.*|^wg-v6\.cali.*|^nodelocaldns.*";

/// An address with the length of its subnet, and its host bits: `10.0.0.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    /// The address.
    pub addr: IpAddr,
    /// The subnet's length in bits.
    pub len: u8,
}

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses of both families, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
}

/// What has to be asked of the machine.
pub trait Machine: Send + Sync {
    /// All interfaces with their addresses, youngest first.
    fn interfaces(&self) -> Result<Vec<Interface>, String>;

    /// The address from which packets to a host (a name or an address) leave.
    fn source_towards(&self, host: &str, family: Family) -> Result<IpAddr, String>;

    /// Whether the kernel has IPv6.
    fn has_ipv6(&self) -> bool;
}

/// How to find an address (`IP_AUTODETECTION_METHOD`).
#[derive(Clone, Debug, Default)]
pub enum Method {
    /// The first address of an interface that is not known to be something else.
    #[default]
    FirstFound,
    /// The address from which this host is reached.
    CanReach(String),
    /// Of interfaces with such names.
    Interface(Vec<Regex>),
    /// As the first, without interfaces with such names.
    SkipInterface(Vec<Regex>),
    /// Within one of these networks.
    Cidr(Vec<Cidr>),
    /// The Kubernetes node's `InternalIP`.
    KubernetesInternalIp,
}

/// Text that is no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no way to find an address ({reason}); write first-found, can-reach=HOST, interface=REGEX,.., skip-interface=REGEX,.., cidr=CIDR,.. or kubernetes-internal-ip"
)]
pub struct MethodError {
    text: String,
    reason: String,
}

impl Method {
    /// Finds an address. `internal` are the addresses of the Kubernetes node, if there is one.
    pub(crate) fn find(
        &self,
        family: Family,
        machine: &dyn Machine,
        internal: &[IpAddr],
    ) -> Result<InterfaceAddress, String> {
        let unusual = Regex::new(NOT_USUAL).map_err(|e| e.to_string())?;
        let of_names = |wanted: &dyn Fn(&str) -> bool| -> Result<InterfaceAddress, String> {
            let interfaces = machine.interfaces()?;
            let found = interfaces.iter().filter(|i| wanted(&i.name)).flat_map(|i| &i.addresses);
            let usable = |a: &&InterfaceAddress| Family::of(a.addr) == family && is_global_unicast(a.addr);
            found.copied().find(|a| usable(&a)).ok_or_else(|| {
                let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
                format!("no usable {family} address on the interfaces that count, of {}", names.join(", "))
            })
        };
        match self {
            Self::FirstFound => of_names(&|name| !unusual.is_match(name)),
            Self::Interface(patterns) => of_names(&|name| patterns.iter().any(|p| p.is_match(name))),
            Self::SkipInterface(patterns) => {
                of_names(&|name| !unusual.is_match(name) && !patterns.iter().any(|p| p.is_match(name)))
            }
            Self::Cidr(cidrs) => {
                let interfaces = machine.interfaces()?;
                let inside = |a: &&InterfaceAddress| {
                    Family::of(a.addr) == family
                        && is_global_unicast(a.addr)
                        && cidrs.iter().any(|c| c.contains(a.addr))
                };
                let found = interfaces.iter().flat_map(|i| &i.addresses).find(inside);
                found.copied().ok_or_else(|| {
                    let cidrs: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
                    format!("no {family} address of this host is in {}", cidrs.join(", "))
                })
            }
            Self::CanReach(host) => {
                let source = machine.source_towards(host, family)?;
                of_machine(source, machine)?
                    .ok_or_else(|| format!("{host} is reached from {source}, which is on no interface"))
            }
            Self::KubernetesInternalIp => {
                let address = internal.iter().copied().find(|a| Family::of(*a) == family);
                let address = address
                    .ok_or_else(|| format!("the Kubernetes node has no InternalIP of family {family}"))?;
                Ok(of_machine(address, machine)?.unwrap_or(InterfaceAddress::host(address)))
            }
        }
    }
}

/// The address as an interface has it, with its subnet.
pub(crate) fn of_machine(address: IpAddr, machine: &dyn Machine) -> Result<Option<InterfaceAddress>, String> {
    let interfaces = machine.interfaces()?;
    Ok(interfaces.iter().flat_map(|i| &i.addresses).find(|a| a.addr == address).copied())
}

/// Interfaces with their addresses as a Node lists them, by name.
pub(crate) fn listed(interfaces: Vec<Interface>, families: &[Family]) -> Result<Vec<Interface>, String> {
    let unusual = Regex::new(NOT_USUAL).map_err(|e| e.to_string())?;
    let mut kept: Vec<Interface> = interfaces.into_iter().filter(|i| !unusual.is_match(&i.name)).collect();
    for interface in &mut kept {
        interface.addresses.retain(|a| families.contains(&Family::of(a.addr)));
    }
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kept)
}

/// Neither unspecified, loopback, link-local, multicast nor broadcast.
pub(crate) fn is_global_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            !(a.is_unspecified()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_multicast()
                || a.is_broadcast())
        }
        IpAddr::V6(a) => {
            !(a.is_unspecified() || a.is_loopback() || a.is_unicast_link_local() || a.is_multicast())
        }
    }
}

// === impl Method ===

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, MethodError> {
        let error = |reason: String| MethodError { text: text.to_owned(), reason };
        let patterns = |list: &str| -> Result<Vec<Regex>, MethodError> {
            list.split(',').map(|p| Regex::new(p.trim()).map_err(|e| error(format!("{p:?}: {e}")))).collect()
        };
        Ok(match text.split_once('=') {
            None if matches!(text, "" | "first-found") => Self::FirstFound,
            None if text == "kubernetes-internal-ip" => Self::KubernetesInternalIp,
            Some(("can-reach", host)) if !host.is_empty() => Self::CanReach(host.to_owned()),
            Some(("interface", list)) => Self::Interface(patterns(list)?),
            Some(("skip-interface", list)) => Self::SkipInterface(patterns(list)?),
            Some(("cidr", list)) => Self::Cidr(
                list.split(',')
                    .map(|c| c.trim().parse().map_err(|_| error(format!("{c:?} is no CIDR"))))
                    .collect::<Result<_, _>>()?,
            ),
            _ => return Err(error("it is none of those that are known".to_owned())),
        })
    }
}

// === impl InterfaceAddress ===

impl InterfaceAddress {
    /// An address alone.
    pub fn host(addr: IpAddr) -> Self {
        Self { addr, len: Family::of(addr).bits() }
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl FromStr for InterfaceAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address; write one like 10.0.0.1 or 10.0.0.1/24");
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        let len = len.map_or(Ok(Family::of(addr).bits()), |len| len.parse().map_err(|_| wrong()))?;
        if len > Family::of(addr).bits() { Err(wrong()) } else { Ok(Self { addr, len }) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) struct Fake {
        pub(crate) interfaces: Vec<(&'static str, &'static [&'static str])>,
        pub(crate) reach: &'static str,
    }

    impl Machine for Fake {
        fn interfaces(&self) -> Result<Vec<Interface>, String> {
            let interface = |(name, addresses): &(&str, &[&str])| Interface {
                name: (*name).to_owned(),
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            };
            Ok(self.interfaces.iter().map(interface).collect())
        }

        fn source_towards(&self, host: &str, family: Family) -> Result<IpAddr, String> {
            let address =
                self.reach.split(',').filter_map(|a| a.parse().ok()).find(|a| Family::of(*a) == family);
            address.ok_or_else(|| format!("{host} cannot be reached"))
        }

        fn has_ipv6(&self) -> bool {
            true
        }
    }

    pub(crate) fn machine() -> Fake {
        Fake {
            interfaces: vec![
                ("vxlan.calico", &["10.65.0.1/32"]),
                ("cali123", &["10.65.0.2/32", "fe80::1/64"]),
                ("eth1", &["169.254.7.7/16", "10.1.0.9/24", "fe80::2/64", "fd00:1::9/64"]),
                ("eth0", &["10.0.0.9/24", "fd00::9/64"]),
                ("lo", &["127.0.0.1/8", "::1/128"]),
            ],
            reach: "10.0.0.9,fd00::9",
        }
    }

    #[test]
    fn every_method_finds_its_address_in_both_families() {
        let internal: [IpAddr; 2] = ["10.0.0.9".parse().unwrap(), "fd00:9::9".parse().unwrap()];
        for (method, v4, v6) in [
            ("", "10.1.0.9/24", "fd00:1::9/64"),
            ("first-found", "10.1.0.9/24", "fd00:1::9/64"),
            ("interface=eth0", "10.0.0.9/24", "fd00::9/64"),
            ("interface=wlan.*, eth[0]", "10.0.0.9/24", "fd00::9/64"),
            ("interface=^cali.*,eth0", "10.65.0.2/32", "fd00::9/64"),
            ("skip-interface=eth1", "10.0.0.9/24", "fd00::9/64"),
            ("cidr=10.0.0.0/24, fd00::/64", "10.0.0.9/24", "fd00::9/64"),
            ("can-reach=example.test", "10.0.0.9/24", "fd00::9/64"),
            // The node's IPv6 address is on no interface: it counts as it is.
            ("kubernetes-internal-ip", "10.0.0.9/24", "fd00:9::9/128"),
        ] {
            let method: Method = method.parse().unwrap();
            for (family, wanted) in [(Family::V4, v4), (Family::V6, v6)] {
                let found = method.find(family, &machine(), &internal).map(|a| a.to_string());
                assert_eq!(found.as_deref(), Ok(wanted), "{method:?}");
            }
        }
        for nothing in
            ["interface=wlan0", "skip-interface=eth.*", "cidr=192.0.2.0/24", "kubernetes-internal-ip"]
        {
            let method: Method = nothing.parse().unwrap();
            for family in Family::ALL {
                assert!(method.find(family, &machine(), &[]).is_err(), "{nothing}");
            }
        }
    }

    #[test]
    fn wrong_methods_are_explained() {
        for wrong in ["last-found", "interface", "can-reach=", "cidr=ten", "interface=(", "Interface=eth0"] {
            let error = wrong.parse::<Method>().unwrap_err().to_string();
            assert!(
                error.contains("kubernetes-internal-ip") && error.contains(&format!("{wrong:?}")),
                "{error}"
            );
        }
    }
}
