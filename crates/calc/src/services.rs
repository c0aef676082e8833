//! EndpointSlices: the addresses and ports behind a Service.

use crate::update::Member;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_net::{Cidr, Protocol};

/// What rules need of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// `namespace/name` of the Service.
    pub(crate) service: Arc<str>,
    addresses: Box<[IpAddr]>,
    ports: Box<[(Protocol, u16)]>,
}

impl Slice {
    /// Reads a `discovery.k8s.io` EndpointSlice. Addresses that are host names, and ports without a number (which
    /// means all ports), contribute nothing.
    pub(crate) fn read(namespace: &str, object: &Value) -> Self {
        let service = object.pointer("/metadata/labels/kubernetes.io~1service-name").and_then(Value::as_str);
        let list = |value: &Value, field: &str| {
            value.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let addresses = list(object, "endpoints")
            .iter()
            .flat_map(|endpoint| list(endpoint, "addresses"))
            .filter_map(|address| address.as_str()?.parse().ok())
            .collect();
        let ports = list(object, "ports").iter().filter_map(read_port).collect();
        Self { service: format!("{namespace}/{}", service.unwrap_or_default()).into(), addresses, ports }
    }

    /// Members of the service's set with ports, or of that without.
    pub(crate) fn members(&self, with_ports: bool) -> impl Iterator<Item = Member> + '_ {
        let ports = if with_ports { &*self.ports } else { &[] };
        let nets = if with_ports { &[] } else { &*self.addresses };
        let with =
            self.addresses.iter().flat_map(move |&a| ports.iter().map(move |&(proto, p)| (a, proto, p)));
        let with = with.map(|(a, proto, p)| Member::AddrPort(a, proto, p));
        with.chain(nets.iter().map(|&a| Member::Net(Cidr::host(a))))
    }
}

fn read_port(port: &Value) -> Option<(Protocol, u16)> {
    let number = u16::try_from(port.get("port")?.as_u64()?).ok()?;
    let protocol = match port.get("protocol").and_then(Value::as_str) {
        Some("UDP") => Protocol::UDP,
        Some("SCTP") => Protocol::SCTP,
        _ => Protocol::TCP,
    };
    Some((protocol, number))
}

/// All slices, by the service they belong to.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    by_key: HashMap<Box<str>, Slice>,
    by_service: HashMap<Arc<str>, Vec<Box<str>>>,
}

impl Slices {
    /// Adds, changes or removes the slice `namespace/name`; answers the one before.
    pub(crate) fn set(&mut self, key: &str, slice: Option<Slice>) -> Option<Slice> {
        if let Some(slice) = &slice {
            self.by_service.entry(slice.service.clone()).or_default().push(key.into());
        }
        let old = match slice {
            Some(slice) => self.by_key.insert(key.into(), slice),
            None => self.by_key.remove(key),
        };
        if let Some(old) = &old
            && let Entry::Occupied(mut entry) = self.by_service.entry(old.service.clone())
        {
            // The new slice may be of the same service and is then listed twice for a moment.
            if let Some(at) = entry.get().iter().position(|k| **k == *key) {
                entry.get_mut().swap_remove(at);
            }
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        old
    }

    /// The slices of a service.
    pub(crate) fn of(&self, service: &str) -> impl Iterator<Item = &Slice> + '_ {
        self.by_service.get(service).into_iter().flatten().filter_map(|key| self.by_key.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(service: &str) -> Slice {
        Slice::read(
            "ns",
            &json!({
                "metadata": {"labels": {"kubernetes.io/service-name": service}},
                "endpoints": [{"addresses": ["10.0.0.1", "fd00::1"]}, {"addresses": ["a.example.com"]}, {}],
                "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"name": "any"}, {"port": 70000}],
            }),
        )
    }

    #[test]
    fn reads_addresses_and_ports() {
        let slice = slice("web");
        assert_eq!(&*slice.service, "ns/web");
        let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let nets: Vec<_> = slice.members(false).collect();
        assert_eq!(nets, [Member::Net(Cidr::host(v4)), Member::Net(Cidr::host(v6))]);
        let with_ports: Vec<_> = slice.members(true).collect();
        let port = |a, proto, p| Member::AddrPort(a, proto, p);
        let (tcp, udp) = (Protocol::TCP, Protocol::UDP);
        assert_eq!(with_ports, [port(v4, tcp, 80), port(v4, udp, 53), port(v6, tcp, 80), port(v6, udp, 53)]);
        assert_eq!(Slice::read("ns", &json!(null)).members(true).count(), 0);
    }

    #[test]
    fn a_slice_can_move_to_another_service() {
        let mut slices = Slices::default();
        assert_eq!(slices.set("ns/s", Some(slice("a"))), None);
        assert_eq!(slices.set("ns/s", Some(slice("a"))), Some(slice("a")));
        assert_eq!(slices.of("ns/a").count(), 1);
        assert_eq!(slices.set("ns/s", Some(slice("b"))), Some(slice("a")));
        assert_eq!((slices.of("ns/a").count(), slices.of("ns/b").count()), (0, 1));
        assert_eq!(slices.set("ns/s", None), Some(slice("b")));
        assert_eq!(slices.set("ns/s", None), None);
        assert!(slices.by_service.is_empty() && slices.by_key.is_empty());
    }
}
