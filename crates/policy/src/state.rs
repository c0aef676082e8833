//! What the evaluator knows: the model's values, and the nodes.

use crate::rule::Rule;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_model::value::{
    EndpointPort, HostEndpoint, NetworkSet, Policy, StringMap, Tier, WorkloadEndpoint,
};
use tortie_model::{Change, Key, PolicyId, ResourceKey, Value, WorkloadId};
use tortie_net::{Cidr, Port, PortRange, Protocol};
use tortie_selector::{Layered, ParseError, Selector};

/// A network interface of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name; a host endpoint may name it.
    pub name: String,
    /// Its addresses; a host endpoint may expect one of them.
    pub addresses: Vec<IpAddr>,
}

/// A node. Traffic with other machines goes through its first interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Interfaces towards other machines, the uplink first.
    pub interfaces: Vec<Interface>,
}

impl Node {
    /// A node whose uplink `eth0` has these addresses.
    pub fn with_addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            interfaces: vec![Interface {
                name: "eth0".to_owned(),
                addresses: addresses.into_iter().collect(),
            }],
        }
    }

    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        self.interfaces.iter().any(|i| i.addresses.contains(&addr))
    }
}

/// What happens to a pod's packet to its own node that egress policy allowed (`DefaultEndpointToHostAction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostAction {
    /// `ACCEPT`; also `RETURN`, where the node's own firewall has the last word.
    #[default]
    Accept,
    /// `DROP`.
    Drop,
}

/// A port that host endpoint policy cannot close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failsafe {
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// Only from (inbound) or to (outbound) this prefix.
    pub net: Option<Cidr>,
}

/// Settings of Felix that change verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `DefaultEndpointToHostAction`.
    pub endpoint_to_host: HostAction,
    /// `FailsafeInboundHostPorts`.
    pub failsafe_inbound: Vec<Failsafe>,
    /// `FailsafeOutboundHostPorts`.
    pub failsafe_outbound: Vec<Failsafe>,
    /// `VXLANPort`: pods may not send to it, unless `allow_vxlan_from_workloads`.
    pub vxlan_port: u16,
    /// `AllowVXLANPacketsFromWorkloads`.
    pub allow_vxlan_from_workloads: bool,
    /// `AllowIPIPPacketsFromWorkloads`.
    pub allow_ipip_from_workloads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let ports = |udp: &[u16]| {
            let tcp = [179, 2379, 2380, 5473, 6443, 6666, 6667].map(|p| (Protocol::TCP, p));
            let udp = udp.iter().map(|p| (Protocol::UDP, *p));
            tcp.into_iter()
                .chain(udp)
                .map(|(protocol, port)| Failsafe { protocol, port, net: None })
                .collect()
        };
        let mut failsafe_inbound: Vec<Failsafe> = ports(&[68]);
        failsafe_inbound.push(Failsafe { protocol: Protocol::TCP, port: 22, net: None });
        Self {
            endpoint_to_host: HostAction::Accept,
            failsafe_inbound,
            failsafe_outbound: ports(&[53, 67]),
            vxlan_port: 4789,
            allow_vxlan_from_workloads: false,
            allow_ipip_from_workloads: false,
        }
    }
}

/// A change that left nothing to evaluate; the key counts as deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObject {
    /// A policy whose selector is no selector.
    #[error("{policy}: its selector cannot be read, so it applies to nothing")]
    Selector {
        /// Which policy.
        policy: PolicyId,
        /// What is wrong with the selector.
        source: Box<ParseError>,
    },
    /// The value's type is not that of the key.
    #[error("the value under {key:?} is of another type than its key says")]
    Type {
        /// The key.
        key: Key,
    },
}

/// Rules of a policy or a profile, ready to be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleLists {
    pub(crate) inbound: Vec<Rule>,
    pub(crate) outbound: Vec<Rule>,
}

/// A policy with its selectors read.
#[derive(Clone, Debug)]
pub(crate) struct ReadPolicy {
    pub(crate) value: Arc<Policy>,
    pub(crate) selector: Selector,
    pub(crate) rules: RuleLists,
}

/// The state of a cluster.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Settings that change verdicts.
    pub settings: Settings,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) workloads: BTreeMap<WorkloadId, Arc<WorkloadEndpoint>>,
    /// By node and name.
    pub(crate) hosts: BTreeMap<(String, String), Arc<HostEndpoint>>,
    pub(crate) network_sets: BTreeMap<String, Arc<NetworkSet>>,
    pub(crate) tiers: BTreeMap<String, Tier>,
    pub(crate) policies: BTreeMap<PolicyId, ReadPolicy>,
    pub(crate) profile_rules: BTreeMap<String, RuleLists>,
    pub(crate) profile_labels: BTreeMap<String, Arc<StringMap>>,
    pub(crate) endpoint_slices: BTreeMap<ResourceKey, Arc<serde_json::Value>>,
}

/// Something with labels that an address may belong to.
pub(crate) struct Holder<'a> {
    labels: &'a StringMap,
    profiles: &'a [String],
    pub(crate) ports: &'a [EndpointPort],
}

impl State {
    /// An empty cluster with default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets or, with `None`, removes a node.
    pub fn set_node(&mut self, name: &str, node: Option<Node>) {
        set(&mut self.nodes, name.to_owned(), node);
    }

    /// Takes a change of the model. Keys without meaning for policy are ignored; an error says what of the object is
    /// unusable and that the key counts as deleted.
    pub fn apply(&mut self, change: &Change) -> Result<(), InvalidObject> {
        let mut outcome = Ok(());
        let value = change.value.as_ref();
        let mut wrong = || outcome = Err(InvalidObject::Type { key: change.key.clone() });
        macro_rules! put {
            ($map:ident, $key:expr, $variant:ident) => {{
                let value = match value {
                    Some(Value::$variant(v)) => Some(v.clone()),
                    None => None,
                    Some(_) => {
                        wrong();
                        None
                    }
                };
                set(&mut self.$map, $key, value);
            }};
        }
        match &change.key {
            Key::WorkloadEndpoint(id) => put!(workloads, id.clone(), WorkloadEndpoint),
            Key::HostEndpoint { host, id } => put!(hosts, (host.clone(), id.clone()), HostEndpoint),
            Key::NetworkSet(name) => put!(network_sets, name.clone(), NetworkSet),
            Key::Tier(name) => put!(tiers, name.clone(), Tier),
            Key::ProfileLabels(name) => put!(profile_labels, name.clone(), ProfileLabels),
            Key::Resource(key) if matches!(&*key.kind, "KubernetesEndpointSlice" | "EndpointSlice") => {
                put!(endpoint_slices, key.clone(), Resource);
            }
            Key::ProfileRules(name) => {
                let rules = match value {
                    Some(Value::ProfileRules(p)) => {
                        Some(RuleLists::read(&p.inbound_rules, &p.outbound_rules))
                    }
                    None => None,
                    Some(_) => {
                        wrong();
                        None
                    }
                };
                set(&mut self.profile_rules, name.clone(), rules);
            }
            Key::Policy(id) => {
                let policy = match value {
                    Some(Value::Policy(policy)) => match ReadPolicy::read(policy) {
                        Ok(read) => Some(read),
                        Err(error) => {
                            let source = Box::new(error);
                            outcome = Err(InvalidObject::Selector { policy: id.clone(), source });
                            None
                        }
                    },
                    None => None,
                    Some(_) => {
                        wrong();
                        None
                    }
                };
                set(&mut self.policies, id.clone(), policy);
            }
            _ => {}
        }
        outcome
    }

    /// The workload endpoint that has this address.
    pub(crate) fn workload_at(&self, addr: IpAddr) -> Option<(&WorkloadId, &WorkloadEndpoint)> {
        self.workloads.iter().find(|(_, w)| w.nets().any(|n| n.contains(addr))).map(|(id, w)| (id, &**w))
    }

    /// The node that has this address itself.
    pub(crate) fn node_at(&self, addr: IpAddr) -> Option<(&str, &Node)> {
        self.nodes.iter().find(|(_, n)| n.has(addr)).map(|(name, n)| (&**name, n))
    }

    /// Everything with labels that this address belongs to.
    pub(crate) fn holders(&self, addr: IpAddr) -> impl Iterator<Item = Holder<'_>> {
        let workloads = self.workloads.values().filter(move |w| w.nets().any(|n| n.contains(addr)));
        let hosts = self
            .hosts
            .values()
            .filter(move |h| h.expected_ipv4_addrs.contains(&addr) || h.expected_ipv6_addrs.contains(&addr));
        let sets = self.network_sets.values().filter(move |s| s.nets.iter().any(|n| n.contains(addr)));
        workloads
            .map(|w| Holder { labels: &w.labels, profiles: &w.profile_ids, ports: &w.ports })
            .chain(hosts.map(|h| Holder { labels: &h.labels, profiles: &h.profile_ids, ports: &h.ports }))
            .chain(sets.map(|s| Holder { labels: &s.labels, profiles: &s.profile_ids, ports: &[] }))
    }

    /// True if the selector selects something with these labels and profiles. Own labels hide those of profiles, an
    /// earlier profile hides a later one.
    pub(crate) fn selects(&self, selector: &Selector, labels: &StringMap, profiles: &[String]) -> bool {
        let inherited: Vec<&StringMap> =
            profiles.iter().filter_map(|p| self.profile_labels.get(p)).map(|l| &**l).collect();
        selector.evaluate(&Layered { own: labels, inherited })
    }

    /// True if the selector selects something that the address belongs to.
    pub(crate) fn selects_address(&self, selector: &Selector, addr: IpAddr) -> bool {
        self.holders(addr).any(|h| self.selects(selector, h.labels, h.profiles))
    }

    /// True if `port` of `addr` carries this name, on something that `selector` selects.
    pub(crate) fn has_named_port(
        &self,
        name: &str,
        selector: Option<&Selector>,
        (addr, protocol, port): (IpAddr, Protocol, u16),
    ) -> bool {
        self.holders(addr).any(|h| {
            selector.is_none_or(|s| self.selects(s, h.labels, h.profiles))
                && h.ports.iter().any(|p| p.name == name && p.protocol.is(protocol) && p.port == port)
        })
    }

    /// True if the address is an endpoint of the service; with `port` also that port.
    pub(crate) fn serves(
        &self,
        (namespace, name): (&str, &str),
        addr: IpAddr,
        port: Option<(Protocol, u16)>,
    ) -> bool {
        let list = |value: &serde_json::Value, field: &str| {
            value.get(field).and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
        };
        let slices = self.endpoint_slices.iter().filter(|(key, slice)| {
            let service = slice.pointer("/metadata/labels/kubernetes.io~1service-name");
            key.namespace == namespace && service.and_then(serde_json::Value::as_str) == Some(name)
        });
        slices.into_iter().any(|(_, slice)| {
            let mut addresses = list(slice, "endpoints").into_iter().flat_map(|e| list(&e, "addresses"));
            let listed = addresses.any(|a| a.as_str().and_then(|a| a.parse().ok()) == Some(addr));
            listed
                && port
                    .is_none_or(|wanted| list(slice, "ports").iter().any(|p| slice_port(p) == Some(wanted)))
        })
    }
}

/// Protocol and number of an EndpointSlice's port; one without number means "all" and matches nothing.
fn slice_port(port: &serde_json::Value) -> Option<(Protocol, u16)> {
    let number = u16::try_from(port.get("port")?.as_u64()?).ok()?;
    let protocol = match port.get("protocol").and_then(serde_json::Value::as_str) {
        Some("UDP") => Protocol::UDP,
        Some("SCTP") => Protocol::SCTP,
        _ => Protocol::TCP,
    };
    Some((protocol, number))
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// The numbered ones of a list of ports.
pub(crate) fn ranges(ports: &[Port]) -> impl Iterator<Item = PortRange> + '_ {
    ports.iter().filter_map(|p| match p {
        Port::Range(range) => Some(*range),
        Port::Named(_) => None,
    })
}

// === impl RuleLists ===

impl RuleLists {
    fn read(inbound: &[tortie_model::value::Rule], outbound: &[tortie_model::value::Rule]) -> Self {
        let read = |rules: &[tortie_model::value::Rule]| rules.iter().map(Rule::read).collect();
        Self { inbound: read(inbound), outbound: read(outbound) }
    }
}

// === impl ReadPolicy ===

impl ReadPolicy {
    fn read(policy: &Arc<Policy>) -> Result<Self, ParseError> {
        Ok(Self {
            selector: Selector::parse(&policy.selector)?,
            rules: RuleLists::read(&policy.inbound_rules, &policy.outbound_rules),
            value: policy.clone(),
        })
    }
}
