//! Pools that hold addresses which are somebody else's: Services', nodes', another pool's. Pure.
//!
//! [`Networks`] collects who has which addresses; what it says is a function of what it knows now.

use crate::detect::{InterfaceAddress, is_global_unicast};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use tortie_model::value::IpPool;
use tortie_model::{Change, Key, ResourceKey, Value};
use tortie_net::{Cidr, Family};

/// Who has which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    pools: BTreeMap<Cidr, PoolFacts>,
    /// Each node's addresses with their subnets.
    nodes: BTreeMap<String, Vec<InterfaceAddress>>,
    /// Each Service's addresses.
    services: BTreeMap<(String, String), Vec<IpAddr>>,
    /// `ServiceCIDR`s; none if the cluster does not tell them.
    service_networks: BTreeSet<Cidr>,
    /// This host's networks, by interface.
    host: BTreeSet<(String, InterfaceAddress)>,
}

/// What matters of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PoolFacts {
    /// Addresses are taken from it.
    enabled: bool,
    /// Its packets travel in IP.
    ipip: bool,
}

/// Whose the addresses are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The network of Services.
    ServiceNetwork(Cidr),
    /// A Service, where the network is not known.
    Service {
        /// `namespace/name`.
        name: String,
        /// Its address.
        address: IpAddr,
    },
    /// A node's address or its network.
    Node {
        /// Its name.
        name: String,
        /// The network.
        network: Cidr,
    },
    /// A network of this host.
    Interface {
        /// Its name.
        name: String,
        /// The network.
        network: Cidr,
    },
    /// Another pool.
    Pool(Cidr),
}

/// A pool that holds addresses of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overlapping {
    /// The pool.
    pub pool: Cidr,
    /// The other.
    pub with: Owner,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceNetwork(network) => write!(f, "the network of Services {network}"),
            Self::Service { name, address } => write!(f, "Service {name} ({address})"),
            Self::Node { name, network } if network.is_host() => {
                write!(f, "node {name} ({})", network.addr())
            }
            Self::Node { name, network } => write!(f, "the network {network} of node {name}"),
            Self::Interface { name, network } => {
                write!(f, "the network {network} of this node's interface {name}")
            }
            Self::Pool(cidr) => write!(f, "the pool {cidr}"),
        }
    }
}

/// The addresses that no pod may take though a pool holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignAddresses {
    /// Networks.
    pub networks: Vec<Cidr>,
    /// Addresses that somebody has now.
    pub addresses: Vec<IpAddr>,
}

impl Networks {
    /// Forgets all that came from the datastore.
    pub fn clear(&mut self) {
        self.pools.clear();
        self.nodes.clear();
        self.services.clear();
    }

    /// Takes what matters; answers whether it did.
    pub fn on_change(&mut self, change: &Change) -> bool {
        match (&change.key, &change.value) {
            (Key::IpPool(cidr), Some(Value::IpPool(pool))) => {
                replace(&mut self.pools, *cidr, Some(facts(pool)))
            }
            (Key::IpPool(cidr), _) => replace(&mut self.pools, *cidr, None),
            (Key::Resource(ResourceKey { kind, namespace, name }), value) => {
                let object = match value {
                    Some(Value::Resource(object)) => Some(&**object),
                    _ => None,
                };
                match kind.as_str() {
                    "Node" => {
                        let addresses = object.map(node_addresses).filter(|a| !a.is_empty());
                        replace(&mut self.nodes, name.clone(), addresses)
                    }
                    "KubernetesService" => {
                        let addresses = object.map(cluster_ips).filter(|a| !a.is_empty());
                        replace(&mut self.services, (namespace.clone(), name.clone()), addresses)
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// The networks of Services, as `ServiceCIDR`s tell them.
    pub fn set_service_networks(&mut self, networks: BTreeSet<Cidr>) -> bool {
        std::mem::replace(&mut self.service_networks, networks.clone()) != networks
    }

    /// The networks of this host's interfaces.
    pub fn set_host(&mut self, host: BTreeSet<(String, InterfaceAddress)>) -> bool {
        std::mem::replace(&mut self.host, host.clone()) != host
    }

    /// Pools that hold what is others'. Each pool and each network of others is named once, by one of its owners.
    ///
    /// A pool from which no addresses are taken may hold what it likes, other pools excepted: it says what is not
    /// masqueraded.
    pub fn overlaps(&self) -> Vec<Overlapping> {
        let mut found = Vec::new();
        for (pool, facts) in &self.pools {
            let mut seen: BTreeSet<Cidr> = BTreeSet::new();
            if facts.enabled {
                for (network, owner) in self.owners() {
                    if network.overlaps(*pool) && seen.insert(network) {
                        found.push(Overlapping { pool: *pool, with: owner });
                    }
                }
            }
            let others = self.pools.range((std::ops::Bound::Excluded(*pool), std::ops::Bound::Unbounded));
            let others = others.filter(|(other, _)| other.overlaps(*pool));
            found.extend(others.map(|(other, _)| Overlapping { pool: *pool, with: Owner::Pool(*other) }));
        }
        found
    }

    /// Pools whose packets should travel in IP, for which there is no tunnel.
    pub fn ipip_pools(&self) -> Vec<Cidr> {
        self.pools.iter().filter(|(_, facts)| facts.ipip).map(|(cidr, _)| *cidr).collect()
    }

    /// What must not be taken from the pools.
    pub fn foreign(&self) -> ForeignAddresses {
        let pools: Vec<Cidr> = self.pools.iter().filter(|(_, f)| f.enabled).map(|(cidr, _)| *cidr).collect();
        let networks: BTreeSet<Cidr> = self
            .owners()
            .map(|(network, _)| network)
            .filter(|n| pools.iter().any(|p| p.overlaps(*n)))
            .collect();
        let known =
            self.nodes.values().flatten().map(|a| a.addr).chain(self.services.values().flatten().copied());
        let addresses: BTreeSet<IpAddr> = known
            .chain(self.host.iter().map(|(_, a)| a.addr))
            .filter(|a| pools.iter().any(|p| p.contains(*a)))
            .collect();
        ForeignAddresses {
            networks: networks.into_iter().collect(),
            addresses: addresses.into_iter().collect(),
        }
    }

    /// Networks of nodes and of this host that pools hold. Those of Services are none of routing's business: their
    /// packets have another destination by then.
    pub fn foreign_to_routing(&self) -> Vec<Cidr> {
        let pools: Vec<Cidr> = self.pools.iter().filter(|(_, f)| f.enabled).map(|(cidr, _)| *cidr).collect();
        let routed = |owner: &Owner| matches!(owner, Owner::Node { .. } | Owner::Interface { .. });
        let networks: BTreeSet<Cidr> = self
            .owners()
            .filter(|(network, owner)| routed(owner) && pools.iter().any(|pool| pool.overlaps(*network)))
            .map(|(network, _)| network)
            .collect();
        networks.into_iter().collect()
    }

    /// Everybody's networks but the pools'.
    fn owners(&self) -> impl Iterator<Item = (Cidr, Owner)> + '_ {
        let told = self.service_networks.iter().map(|network| (*network, Owner::ServiceNetwork(*network)));
        let outside = |address: &IpAddr| !self.service_networks.iter().any(|n| n.contains(*address));
        let services = self.services.iter().flat_map(move |((namespace, name), addresses)| {
            let of = move |address: &IpAddr| {
                let owner = Owner::Service { name: format!("{namespace}/{name}"), address: *address };
                (Cidr::host(*address), owner)
            };
            addresses.iter().filter(move |a| outside(a)).map(of)
        });
        let host = self.host.iter().filter_map(|(name, address)| {
            let network = network(*address)?;
            Some((network, Owner::Interface { name: name.clone(), network }))
        });
        let nodes = self.nodes.iter().flat_map(|(name, addresses)| {
            addresses.iter().filter_map(move |address| {
                let network = network(*address)?;
                Some((network, Owner::Node { name: name.clone(), network }))
            })
        });
        told.chain(services).chain(nodes).chain(host)
    }
}

fn facts(pool: &IpPool) -> PoolFacts {
    let ipip = matches!(pool.ipip_mode.as_str(), "always" | "cross-subnet");
    PoolFacts { enabled: !pool.disabled, ipip }
}

/// Sets or removes; answers whether anything is different now.
fn replace<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
        None => map.remove(&key).is_some(),
    }
}

/// The network of an interface's address, if others are reached by it.
fn network(address: InterfaceAddress) -> Option<Cidr> {
    let useful = is_global_unicast(address.addr) && address.len > 0;
    useful.then(|| Cidr::new(address.addr, address.len)).flatten().map(Cidr::to_canonical)
}

fn node_addresses(node: &serde_json::Value) -> Vec<InterfaceAddress> {
    let of = |field: &str| node.pointer("/spec/bgp")?.get(field)?.as_str()?.parse().ok();
    ["ipv4Address", "ipv6Address"].into_iter().filter_map(of).collect()
}

fn cluster_ips(service: &serde_json::Value) -> Vec<IpAddr> {
    let spec = service.get("spec");
    let list = spec.and_then(|s| s.get("clusterIPs")?.as_array());
    let all: BTreeSet<IpAddr> = list
        .into_iter()
        .flatten()
        .chain(spec.and_then(|s| s.get("clusterIP")))
        // A headless Service has "None".
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect();
    all.into_iter().collect()
}

/// The networks that a list of `ServiceCIDR` objects tells.
pub fn service_networks(list: &serde_json::Value) -> BTreeSet<Cidr> {
    let items = list.get("items").and_then(serde_json::Value::as_array);
    let cidrs = items.into_iter().flatten().filter_map(|item| item.pointer("/spec/cidrs")?.as_array());
    cidrs.flatten().filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

/// Of a host's interfaces, those whose networks others may be reached by: no loopback, bridge of containers, tunnel or
/// workload; as far as their addresses are anybody's.
pub fn host_networks(machine: &dyn crate::Machine) -> Result<BTreeSet<(String, InterfaceAddress)>, String> {
    let usual = crate::detect::listed(machine.interfaces()?, &Family::ALL)?;
    Ok(usual
        .into_iter()
        .flat_map(|i| i.addresses.into_iter().map(move |address| (i.name.clone(), address)))
        .filter(|(_, address)| network(*address).is_some())
        .collect())
}

#[cfg(test)]
mod tests;
