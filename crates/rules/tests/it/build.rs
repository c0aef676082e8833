//! Short ways to say updates.

use std::sync::Arc;
use tortie_calc::update::{
    Action, ActivePolicy, EndpointTier, LocalWorkload, Member, Rule, SetId, SetKind, Side, Update,
};
use tortie_model::value::{IpPool, WorkloadEndpoint};
use tortie_model::{PolicyId, PolicyKind, WorkloadId};
use tortie_net::{Cidr, PortRange, Protocol};

pub(crate) fn rule(action: Action) -> Rule {
    Rule {
        action,
        family: None,
        protocol: None,
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: Side::default(),
        destination: Side::default(),
        index: 0,
    }
}

pub(crate) fn nets(list: &[&str]) -> Vec<Cidr> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

pub(crate) fn set(id: &str) -> SetId {
    SetId(id.into())
}

pub(crate) fn ports(list: &[(u16, u16)]) -> Vec<PortRange> {
    list.iter().map(|&(first, last)| PortRange { first, last }).collect()
}

pub(crate) fn pid(name: &str) -> PolicyId {
    PolicyId { kind: PolicyKind::NetworkPolicy, namespace: "ns".into(), name: name.into() }
}

pub(crate) fn policy(name: &str, ingress: Vec<Rule>, egress: Vec<Rule>) -> Update {
    Update::Policy(pid(name), active(ingress, egress))
}

pub(crate) fn profile(name: &str, ingress: Vec<Rule>, egress: Vec<Rule>) -> Update {
    Update::Profile(name.into(), active(ingress, egress))
}

pub(crate) fn active(mut ingress: Vec<Rule>, mut egress: Vec<Rule>) -> Arc<ActivePolicy> {
    for list in [&mut ingress, &mut egress] {
        for (index, rule) in (0..).zip(list.iter_mut()) {
            rule.index = index;
        }
    }
    Arc::new(ActivePolicy { ingress, egress, untracked: false, pre_dnat: false })
}

pub(crate) fn tier(name: &str, default_action: Action, ingress: &[&str], egress: &[&str]) -> EndpointTier {
    let ids = |names: &[&str]| names.iter().map(|n| pid(n)).collect();
    EndpointTier { name: name.into(), default_action, ingress: ids(ingress), egress: ids(egress) }
}

pub(crate) fn wid(name: &str) -> WorkloadId {
    WorkloadId {
        host: "node".into(),
        orchestrator: "k8s".into(),
        workload: format!("ns/{name}"),
        endpoint: "eth0".into(),
    }
}

pub(crate) fn endpoint(interface: &str, addresses: &[&str], profiles: &[&str]) -> WorkloadEndpoint {
    let of = |v4: bool| nets(addresses).into_iter().filter(|n| n.addr().is_ipv4() == v4).collect();
    WorkloadEndpoint {
        state: "active".into(),
        name: interface.into(),
        profile_ids: profiles.iter().map(ToString::to_string).collect(),
        ipv4_nets: of(true),
        ipv6_nets: of(false),
        ..WorkloadEndpoint::default()
    }
}

pub(crate) fn workload(name: &str, endpoint: WorkloadEndpoint, tiers: Vec<EndpointTier>) -> Update {
    Update::Workload(wid(name), Arc::new(LocalWorkload { endpoint: Arc::new(endpoint), tiers }))
}

pub(crate) fn net_set(id: &str, members: &[&str]) -> Update {
    Update::Set { id: set(id), kind: SetKind::Net, members: net_members(members) }
}

pub(crate) fn net_members(members: &[&str]) -> Vec<Member> {
    nets(members).into_iter().map(Member::Net).collect()
}

pub(crate) fn port_set(id: &str, members: &[(&str, Protocol, u16)]) -> Update {
    let members = members.iter().map(|(a, p, n)| Member::AddrPort(a.parse().unwrap(), *p, *n)).collect();
    Update::Set { id: set(id), kind: SetKind::AddrPort, members }
}

pub(crate) fn pool(cidr: &str, masquerade: bool) -> Update {
    Update::Pool(Arc::new(IpPool {
        cidr: cidr.parse().unwrap(),
        ipip_interface: String::new(),
        ipip_mode: String::new(),
        vxlan_mode: String::new(),
        masquerade,
        ipam: true,
        disabled: false,
        disable_bgp_export: false,
        assignment_mode: String::new(),
        allowed_uses: Vec::new(),
    }))
}
