//! What a dataplane knows, in the words of the conformance port.

use super::migration::Migrations;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_calc::fabric::{
    Encapsulation, FabricUpdate, NodeMetadata, PoolKind, Route, Vtep, VtepEnd, WireguardPeer,
};
use tortie_calc::update::{ActivePolicy, Member, SetId};
use tortie_calc::{AppliedPolicy, AppliedTier, Calc, EndpointId, Stage, Update};
use tortie_model::PolicyId;
use tortie_net::{Cidr, Family};

/// All that was told and not taken back.
pub(super) struct Told {
    pub(super) migrations: Migrations,
    sets: BTreeMap<SetId, BTreeSet<Member>>,
    policies: BTreeMap<PolicyId, Arc<ActivePolicy>>,
    profiles: BTreeSet<Arc<str>>,
    encapsulation: Encapsulation,
    nodes: BTreeMap<Arc<str>, Arc<NodeMetadata>>,
    peers: BTreeMap<(Family, Arc<str>), Arc<WireguardPeer>>,
    vteps: BTreeMap<Arc<str>, Arc<Vtep>>,
    routes: BTreeMap<Cidr, Arc<Route>>,
}

impl Told {
    pub(super) fn new(node: &str) -> Self {
        Self {
            migrations: Migrations::new(node),
            sets: BTreeMap::new(),
            policies: BTreeMap::new(),
            profiles: BTreeSet::new(),
            encapsulation: Encapsulation::default(),
            nodes: BTreeMap::new(),
            peers: BTreeMap::new(),
            vteps: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }

    /// Remembers an update.
    pub(super) fn apply(&mut self, update: Update) {
        match update {
            Update::Set { id, members, .. } => {
                self.sets.insert(id, members.into_iter().collect());
            }
            Update::SetDelta { id, added, removed } => {
                let members = self.sets.entry(id).or_default();
                for member in removed {
                    members.remove(&member);
                }
                members.extend(added);
            }
            Update::SetRemove(id) => {
                self.sets.remove(&id);
            }
            Update::Policy(id, policy) => {
                self.policies.insert(id, policy);
            }
            Update::PolicyRemove(id) => {
                self.policies.remove(&id);
            }
            Update::Profile(name, _) => {
                self.profiles.insert(name);
            }
            Update::ProfileRemove(name) => {
                self.profiles.remove(&name);
            }
            // Endpoints are asked for; pools show in routes.
            _ => {}
        }
    }

    /// Remembers an update of the fabric.
    pub(super) fn apply_fabric(&mut self, update: FabricUpdate) {
        match update {
            FabricUpdate::Encapsulation(encapsulation) => self.encapsulation = encapsulation,
            FabricUpdate::Node(name, metadata) => {
                self.nodes.insert(name, metadata);
            }
            FabricUpdate::NodeRemove(name) => {
                self.nodes.remove(&name);
            }
            FabricUpdate::Wireguard(family, name, peer) => {
                self.peers.insert((family, name), peer);
            }
            FabricUpdate::WireguardRemove(family, name) => {
                self.peers.remove(&(family, name));
            }
            FabricUpdate::Vtep(name, vtep) => {
                self.vteps.insert(name, vtep);
            }
            FabricUpdate::VtepRemove(name) => {
                self.vteps.remove(&name);
            }
            FabricUpdate::Route(cidr, route) => {
                self.routes.insert(cidr, route);
            }
            FabricUpdate::RouteRemove(cidr) => {
                self.routes.remove(&cidr);
            }
        }
    }

    /// The state now.
    pub(super) fn state(&self, calc: &Calc) -> Value {
        let policies = |which: fn(&ActivePolicy) -> bool| -> Vec<Value> {
            self.policies.iter().filter(|(_, p)| which(p)).map(|(id, _)| policy_id(id)).collect()
        };
        let mut state = json!({
            "IPSets": self.sets.iter().map(|(id, members)| (id.0.to_string(), texts(members))).collect::<Map<_, _>>(),
            "PolicyIDs": policies(|_| true),
            "UntrackedPolicyIDs": policies(|p| p.untracked),
            "PreDNATPolicyIDs": policies(|p| p.pre_dnat),
            "ProfileIDs": self.profiles.iter().map(|name| json!({"Name": name})).collect::<Vec<_>>(),
            "Routes": self.routes.iter().map(|(cidr, route)| show_route(*cidr, route)).collect::<Vec<_>>(),
            "VTEPs": self.vteps.iter().map(|(node, vtep)| show_vtep(node, vtep)).collect::<Vec<_>>(),
            "WireguardEndpoints": self.wireguard(Family::V4, "PublicKey", "InterfaceIpv4Addr"),
            "WireguardV6Endpoints": self.wireguard(Family::V6, "PublicKeyV6", "InterfaceIpv6Addr"),
            "HostMetadata": self.nodes.iter().map(|(n, m)| (n.to_string(), show_node(n, m))).collect::<Map<_, _>>(),
            "LiveMigrationRoles": self.migrations.roles(),
            "Encapsulation": {
                "ipipEnabled": self.encapsulation.ipip,
                "vxlanEnabled": self.encapsulation.vxlan_v4,
                "vxlanEnabledV6": self.encapsulation.vxlan_v6,
            },
        });
        for (name, stage) in [
            ("EndpointPolicyOrder", Stage::Normal),
            ("UntrackedEndpointPolicyOrder", Stage::Untracked),
            ("PreDNATEndpointPolicyOrder", Stage::PreDnat),
        ] {
            let orders = calc.endpoints().into_iter().map(|endpoint| {
                let workload = matches!(endpoint, EndpointId::Workload(_));
                let mut tiers = calc.policies_of(&endpoint).unwrap_or_default();
                if workload && stage != Stage::Normal {
                    // Such policies are for interfaces of hosts.
                    tiers.clear();
                }
                (endpoint_name(&endpoint), show_tiers(&tiers, stage))
            });
            state[name] = Value::Object(orders.collect());
        }
        state
    }

    fn wireguard(&self, family: Family, key: &str, address: &str) -> Vec<Value> {
        let peers = self.peers.iter().filter(|((f, _), _)| *f == family);
        peers
            .map(|((_, node), peer)| {
                json!({"Hostname": node, key: peer.public_key, address: peer.address.map(|a| a.to_string())})
            })
            .collect()
    }
}

fn texts(members: &BTreeSet<Member>) -> Value {
    let text = |member: &Member| match member {
        Member::Net(cidr) => cidr.to_string(),
        Member::AddrPort(address, protocol, port) => {
            let protocol = protocol.to_string().to_ascii_lowercase();
            format!("{address},{protocol}:{port}")
        }
    };
    members.iter().map(text).collect()
}

fn policy_id(id: &PolicyId) -> Value {
    json!({"Name": id.name, "Namespace": id.namespace, "Kind": id.kind.as_str()})
}

fn endpoint_name(endpoint: &EndpointId) -> String {
    match endpoint {
        EndpointId::Workload(id) => id.to_string(),
        EndpointId::Host(id) => id.clone(),
    }
}

/// Policies of one stage by tier. Tiers without any are left out.
fn show_tiers(tiers: &[AppliedTier], stage: Stage) -> Value {
    let shown = tiers.iter().filter_map(|tier| {
        let policies = || tier.policies.iter().filter(|p| p.stage == stage);
        let ingress: Vec<_> = policies().filter(|p| p.ingress).map(|p| policy_id(&p.id)).collect();
        let outbound = |p: &&AppliedPolicy| p.egress && p.stage != Stage::PreDnat;
        let egress: Vec<_> = policies().filter(outbound).map(|p| policy_id(&p.id)).collect();
        let some = !ingress.is_empty() || !egress.is_empty();
        some.then(|| json!({"Name": tier.name, "IngressPolicies": ingress, "EgressPolicies": egress}))
    });
    shown.collect()
}

fn show_route(cidr: Cidr, route: &Route) -> Value {
    let pool = match route.pool {
        PoolKind::None => "NONE",
        PoolKind::NoEncap => "NO_ENCAP",
        PoolKind::Vxlan => "VXLAN",
        PoolKind::Ipip => "IPIP",
    };
    let tunnels = route.tunnels;
    json!({
        "Types": route.kinds.0,
        "IpPoolType": pool,
        "Dst": cidr.to_string(),
        "DstNodeName": route.node,
        "DstNodeIp": route.node_address.map(|a| a.to_string()),
        "SameSubnet": route.same_subnet,
        "NatOutgoing": route.nat_outgoing,
        "LocalWorkload": route.local_workload,
        "TunnelType": {"ipip": tunnels.ipip, "vxlan": tunnels.vxlan, "wireguard": tunnels.wireguard},
        "Borrowed": route.borrowed,
    })
}

fn show_vtep(node: &str, vtep: &Vtep) -> Value {
    let mac = |end: &Option<VtepEnd>| end.as_ref().map(|e| e.mac.clone());
    let address = |end: &Option<VtepEnd>| end.as_ref().map(|e| e.address.clone());
    let parent = |end: &Option<VtepEnd>| end.as_ref().map(|e| IpAddr::to_string(&e.parent));
    json!({
        "Node": node,
        "Mac": mac(&vtep.v4),
        "Ipv4Addr": address(&vtep.v4),
        "ParentDeviceIp": parent(&vtep.v4),
        "MacV6": mac(&vtep.v6),
        "Ipv6Addr": address(&vtep.v6),
        "ParentDeviceIpv6": parent(&vtep.v6),
    })
}

fn show_node(name: &str, metadata: &NodeMetadata) -> Value {
    json!({
        "hostname": name,
        "ipv4Addr": metadata.ipv4,
        "ipv6Addr": metadata.ipv6,
        "asnumber": metadata.as_number,
        "labels": metadata.labels,
    })
}
