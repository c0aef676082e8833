//! Looking into the calculation, for status and explanations. Reads only.

use crate::Calc;
use crate::local::LocalId;
use crate::update::{Action, Member, SetId};
use std::sync::Arc;
use tortie_model::{PolicyId, WorkloadId};

/// Identity of an endpoint of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointId {
    /// A workload endpoint.
    Workload(WorkloadId),
    /// A host endpoint, by name.
    Host(String),
}

/// Policies of a tier that apply to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedTier {
    /// Name of the tier.
    pub name: Arc<str>,
    /// What happens at its end.
    pub default_action: Action,
    /// The policies in order of evaluation; staged ones stand where they would be evaluated.
    pub policies: Vec<AppliedPolicy>,
}

/// A policy that applies to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPolicy {
    /// Which policy.
    pub id: PolicyId,
    /// It has a say about traffic to the endpoint.
    pub ingress: bool,
    /// It has a say about traffic from the endpoint.
    pub egress: bool,
    /// At which point packets meet it.
    pub stage: Stage,
    /// It also applies to forwarded traffic, at host endpoints.
    pub forward: bool,
}

/// Where packets meet a policy. Only normal policies apply to workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// After connection tracking and destination NAT.
    Normal,
    /// Before connection tracking.
    Untracked,
    /// Before destination NAT; traffic to the host only.
    PreDnat,
}

/// How many objects are known, active or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tiers.
    pub tiers: usize,
    /// Policies.
    pub policies: usize,
    /// Policies with HTTP or service account matches.
    pub application_layer_policies: usize,
    /// Profiles with rules.
    pub profiles: usize,
}

impl AppliedPolicy {
    /// True if the policy is not enforced.
    pub fn staged(&self) -> bool {
        self.id.kind.is_staged()
    }
}

impl Calc {
    /// The policies that apply to an endpoint of this node, by tier and in order. `None` if it is not known.
    pub fn policies_of(&self, endpoint: &EndpointId) -> Option<Vec<AppliedTier>> {
        let id = match endpoint {
            EndpointId::Workload(id) => LocalId::Workload(id.clone()),
            EndpointId::Host(id) => LocalId::Host(id.clone()),
        };
        let applied = self.local.applied_to(&id)?.into_iter().map(|tier| AppliedTier {
            name: tier.tier.clone(),
            default_action: tier.default_action,
            policies: tier.policies.iter().map(|p| p.applied()).collect(),
        });
        Some(applied.collect())
    }

    /// The endpoints of this node, sorted.
    pub fn endpoints(&self) -> Vec<EndpointId> {
        let ids = self.local.endpoints().map(|id| match id {
            LocalId::Workload(id) => EndpointId::Workload(id.clone()),
            LocalId::Host(id) => EndpointId::Host(id.clone()),
        });
        let mut ids: Vec<_> = ids.collect();
        ids.sort();
        ids
    }

    /// The policies that were told and not removed, sorted.
    pub fn active_policies(&self) -> Vec<PolicyId> {
        let mut ids: Vec<_> = self.local.active_policies().cloned().collect();
        ids.sort();
        ids
    }

    /// How many objects are known.
    pub fn counts(&self) -> Counts {
        self.local.counts()
    }

    /// The members of a set in use, sorted.
    pub fn members(&self, set: &SetId) -> Option<Vec<Member>> {
        self.sets.members(set)
    }
}
