//! What the calculation tells a dataplane: a closed set of updates, in an order that is safe to apply.
//!
//! A flush is in this order, so that nothing refers to what is not there, at any point of it:
//!
//! 1. `Pool`; `Set` and `SetDelta`; `Policy` and `Profile`; `Workload` and `Host`;
//! 2. `WorkloadRemove` and `HostRemove`; `PolicyRemove` and `ProfileRemove`; `SetRemove`; `PoolRemove`;
//! 3. `InSync`, once: at the end of the first flush that says anything.
//!
//! An update replaces all that was told of its object (a `SetDelta` adds to it), is never needless, and comes at most
//! once per object and flush. Within a step updates are sorted by object. A dataplane may apply each flush as one
//! transaction; after `InSync` it may delete what it was not told.

use std::net::IpAddr;
use std::sync::Arc;
use tortie_model::value::{EndpointPort, IpPool, WorkloadEndpoint};
use tortie_model::{PolicyId, WorkloadId};
use tortie_net::{Cidr, Family, PortRange, Protocol};

/// Identity of a set of addresses: `s:…` selector, `n:…` named port, `svc:…`, or a fixed name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub Arc<str>);

/// What a set's members are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// CIDRs (selector sets: endpoints' addresses and network sets' nets; none lies inside another).
    Net,
    /// (address, protocol, port).
    AddrPort,
}

/// A member of a set. One id covers both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// In a `Net` set.
    Net(Cidr),
    /// In an `AddrPort` set.
    AddrPort(IpAddr, Protocol, u16),
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Accept; no later rule, policy or tier is looked at in this direction.
    Allow,
    /// Drop.
    Deny,
    /// Go on with the next tier (after the last: profiles).
    Pass,
    /// Log and go on with the next rule.
    Log,
}

/// ICMP type and, optionally, code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code; `None` matches any.
    pub code: Option<u8>,
}

/// The matches of one side (source or destination) of a rule. Empty lists do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    /// Any of these prefixes (already both families mixed; the renderer picks those of its family).
    pub nets: Vec<Cidr>,
    /// None of these prefixes.
    pub not_nets: Vec<Cidr>,
    /// In all of these sets.
    pub sets: Vec<SetId>,
    /// In none of these sets.
    pub not_sets: Vec<SetId>,
    /// Any of these ports or a member of `named_ports`.
    pub ports: Vec<PortRange>,
    /// Or-ed with `ports`: (address, protocol, port) is in any of these sets.
    pub named_ports: Vec<SetId>,
    /// None of these ports...
    pub not_ports: Vec<PortRange>,
    /// ...and in none of these sets.
    pub not_named_ports: Vec<SetId>,
    /// (address, protocol, port) is in this set (a Service's endpoints). Source side sets of services are plain `sets`.
    pub addr_port_sets: Vec<SetId>,
}

impl Side {
    /// True if the side matches everything.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule with selectors resolved to sets. All parts must match.
///
/// If `nets` is not empty but has no prefix of the packet's family, the rule does not match that family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What to do.
    pub action: Action,
    /// Restricts the rule to a family.
    pub family: Option<Family>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Not this protocol.
    pub not_protocol: Option<Protocol>,
    /// ICMP type and code.
    pub icmp: Option<Icmp>,
    /// Not this ICMP type and code.
    pub not_icmp: Option<Icmp>,
    /// Source.
    pub source: Side,
    /// Destination.
    pub destination: Side,
    /// Index in the user's list of rules of this direction (rules are never reordered; some may be split or dropped).
    pub index: u32,
}

/// An active policy: rules of both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivePolicy {
    /// Rules for traffic to the endpoint.
    pub ingress: Vec<Rule>,
    /// Rules for traffic from the endpoint.
    pub egress: Vec<Rule>,
    /// Raw-table policy of host endpoints.
    pub untracked: bool,
    /// Pre-DNAT policy of host endpoints.
    pub pre_dnat: bool,
}

/// The policies of one tier that apply to one endpoint, in order of evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTier {
    /// Tier name.
    pub name: Arc<str>,
    /// What happens at the end of the tier when a policy applied but no rule matched: `Deny` or `Pass`.
    pub default_action: Action,
    /// Policies that apply to traffic to the endpoint.
    pub ingress: Vec<PolicyId>,
    /// Policies that apply to traffic from the endpoint.
    pub egress: Vec<PolicyId>,
}

/// Everything a dataplane needs about a local workload endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalWorkload {
    /// The endpoint itself.
    pub endpoint: Arc<WorkloadEndpoint>,
    /// Tiers in order of evaluation; staged policies are left out. A tier without policies in a direction is skipped
    /// in that direction.
    pub tiers: Vec<EndpointTier>,
}

/// Everything a dataplane needs about a local host endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalHost {
    /// Interface name, `*`, or empty to match by address.
    pub interface: String,
    /// Addresses that identify the interface.
    pub expected: Vec<IpAddr>,
    /// Named ports.
    pub ports: Vec<EndpointPort>,
    /// Normal policy.
    pub tiers: Vec<EndpointTier>,
    /// Untracked policy.
    pub untracked: Vec<EndpointTier>,
    /// Pre-DNAT policy.
    pub pre_dnat: Vec<EndpointTier>,
    /// Policy for forwarded traffic.
    pub forward: Vec<EndpointTier>,
    /// Profiles in order.
    pub profiles: Vec<String>,
}

/// One update of the dataplane's desired state.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// The datastore has been read completely; what is not known now does not exist.
    InSync,
    /// A set came into use, with its full membership.
    Set {
        /// Which set.
        id: SetId,
        /// What its members are.
        kind: SetKind,
        /// All members, sorted.
        members: Vec<Member>,
    },
    /// Members of a set changed.
    SetDelta {
        /// Which set.
        id: SetId,
        /// New members.
        added: Vec<Member>,
        /// Gone members.
        removed: Vec<Member>,
    },
    /// A set is no longer in use.
    SetRemove(SetId),
    /// A policy became active or changed.
    Policy(PolicyId, Arc<ActivePolicy>),
    /// A policy is no longer active here.
    PolicyRemove(PolicyId),
    /// A profile became active or changed.
    Profile(Arc<str>, Arc<ActivePolicy>),
    /// A profile is no longer active here.
    ProfileRemove(Arc<str>),
    /// A local workload appeared or changed, or its list of policies did.
    Workload(WorkloadId, Arc<LocalWorkload>),
    /// A local workload is gone.
    WorkloadRemove(WorkloadId),
    /// A local host endpoint appeared or changed.
    Host(String, Arc<LocalHost>),
    /// A local host endpoint is gone.
    HostRemove(String),
    /// A pool appeared or changed.
    Pool(Arc<IpPool>),
    /// A pool is gone.
    PoolRemove(Cidr),
}
