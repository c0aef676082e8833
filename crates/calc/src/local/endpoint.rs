//! Endpoints of this node, and which policies apply to each, in order.

use super::policy::{Policy, tier_key};
use super::{EndpointSlot, Local, mark, on_match};
use crate::keyed::HasKey;
use crate::sets::Sets;
use crate::update::{Action, EndpointTier, LocalHost, LocalWorkload, Update};
use crate::view::Stage;
use std::sync::Arc;
use tortie_model::WorkloadId;
use tortie_model::value::{HostEndpoint, StringMap, WorkloadEndpoint};

/// Identity of an endpoint of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LocalId {
    Workload(WorkloadId),
    Host(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Workload(Arc<WorkloadEndpoint>),
    Host(Arc<HostEndpoint>),
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Workload(Arc<LocalWorkload>),
    Host(Arc<LocalHost>),
}

/// An endpoint that is known, or was told and is gone.
#[derive(Debug)]
pub(super) struct Endpoint {
    id: LocalId,
    value: Option<Value>,
    told: Option<Told>,
    pub(super) dirty: bool,
}

impl HasKey for Endpoint {
    type Key = LocalId;

    fn key(&self) -> &LocalId {
        &self.id
    }
}

/// Policies of one tier that apply to an endpoint, in order; staged ones among them.
pub(crate) struct Applied<'a> {
    pub(crate) tier: &'a Arc<str>,
    pub(crate) default_action: Action,
    pub(crate) policies: Vec<&'a Policy>,
}

impl Value {
    fn labels(&self) -> &StringMap {
        match self {
            Self::Workload(endpoint) => &endpoint.labels,
            Self::Host(endpoint) => &endpoint.labels,
        }
    }

    fn profiles(&self) -> &[String] {
        match self {
            Self::Workload(endpoint) => &endpoint.profile_ids,
            Self::Host(endpoint) => &endpoint.profile_ids,
        }
    }
}

impl Local {
    /// Adds, changes or removes a workload endpoint of this node.
    pub(crate) fn set_workload(
        &mut self,
        id: WorkloadId,
        endpoint: Option<Arc<WorkloadEndpoint>>,
        sets: &Sets,
    ) {
        self.set_endpoint(LocalId::Workload(id), endpoint.map(Value::Workload), sets);
    }

    /// Adds, changes or removes a host endpoint of this node.
    pub(crate) fn set_host(&mut self, id: String, endpoint: Option<Arc<HostEndpoint>>, sets: &Sets) {
        self.set_endpoint(LocalId::Host(id), endpoint.map(Value::Host), sets);
    }

    /// One more endpoint has the profile. The first brings the profile's labels here.
    fn use_profile(&mut self, name: &str, sets: &Sets) {
        if self.profile(name, |profile| profile.users += 1) == 1 {
            self.set_labels(name, sets.parent(name));
        }
    }

    fn leave_profile(&mut self, name: &str) {
        if self.profile(name, |profile| profile.users -= 1) == 0 {
            self.set_labels(name, []);
        }
    }

    fn set_endpoint(&mut self, id: LocalId, value: Option<Value>, sets: &Sets) {
        let slot = match (self.endpoints.find(&id), &value) {
            (Some(slot), _) => slot,
            (None, None) => return,
            (None, Some(_)) => self.endpoints.insert(Endpoint { id, value: None, told: None, dirty: false }),
        };
        let endpoint = &mut self.endpoints[slot];
        if endpoint.value == value {
            return;
        }
        mark(&mut endpoint.dirty, &mut self.dirty_endpoints, slot);
        let old = std::mem::replace(&mut endpoint.value, value.clone());

        let before = old.as_ref().map(Value::profiles).unwrap_or_default();
        let after = value.as_ref().map(Value::profiles).unwrap_or_default();
        if before != after {
            distinct(after).for_each(|name| self.use_profile(name, sets));
            distinct(before).for_each(|name| self.leave_profile(name));
        }

        let Self { index, policies, endpoints, dirty_policies, dirty_endpoints, .. } = self;
        let mut on = |event: tortie_labels::Event<'_, _, _>| {
            on_match(event, policies, dirty_policies, endpoints, dirty_endpoints);
        };
        match &value {
            Some(value) => {
                let labels = value.labels().iter().map(|(k, v)| (k.as_str(), v.as_str()));
                index.set_item(&slot, labels, after.iter().map(String::as_str), &mut on);
            }
            None => index.remove_item(&slot, &mut on),
        }
    }

    /// Tells changed endpoints. Answers the updates of removed ones.
    pub(crate) fn flush_endpoints(&mut self, out: &mut Vec<Update>) -> Vec<Update> {
        let mut dirty = std::mem::take(&mut self.dirty_endpoints);
        dirty.sort_by(|&a, &b| self.endpoints[a].id.cmp(&self.endpoints[b].id));
        let mut removed = Vec::new();
        for slot in dirty {
            let endpoint = &self.endpoints[slot];
            let now = endpoint.value.as_ref().map(|value| self.calculate(slot, value));
            if now != endpoint.told {
                let update = match (&endpoint.id, &now) {
                    (LocalId::Workload(id), Some(Told::Workload(now))) => {
                        Update::Workload(id.clone(), now.clone())
                    }
                    (LocalId::Host(id), Some(Told::Host(now))) => Update::Host(id.clone(), now.clone()),
                    (LocalId::Workload(id), _) => Update::WorkloadRemove(id.clone()),
                    (LocalId::Host(id), _) => Update::HostRemove(id.clone()),
                };
                if now.is_some() { out.push(update) } else { removed.push(update) }
            }
            let endpoint = &mut self.endpoints[slot];
            endpoint.dirty = false;
            endpoint.told = now;
            if endpoint.value.is_none() {
                self.endpoints.remove(slot);
            }
        }
        removed.reverse();
        removed
    }

    fn calculate(&self, slot: EndpointSlot, value: &Value) -> Told {
        let applied = self.applied(slot);
        let tiers = |normal: fn(&Policy) -> bool| self.tiers_of(&applied, None, true, normal);
        match value {
            Value::Workload(endpoint) => Told::Workload(Arc::new(LocalWorkload {
                endpoint: endpoint.clone(),
                tiers: tiers(|p| p.place.stage() == Stage::Normal),
            })),
            Value::Host(endpoint) => {
                let expected = endpoint.expected_ipv4_addrs.iter().chain(&endpoint.expected_ipv6_addrs);
                // What these tiers do not decide is for the normal ones to decide.
                let pass = Some(Action::Pass);
                Told::Host(Arc::new(LocalHost {
                    interface: endpoint.name.clone(),
                    expected: expected.copied().collect(),
                    ports: endpoint.ports.clone(),
                    tiers: tiers(|p| p.place.stage() == Stage::Normal),
                    untracked: self.tiers_of(&applied, pass, true, |p| p.place.stage() == Stage::Untracked),
                    pre_dnat: self.tiers_of(&applied, pass, false, |p| p.place.stage() == Stage::PreDnat),
                    forward: tiers(|p| p.place.stage() == Stage::Normal && p.place.forward),
                    profiles: endpoint.profile_ids.clone(),
                }))
            }
        }
    }

    /// The tiers with those of the policies that pass the filter; tiers without any are left out.
    fn tiers_of(
        &self,
        applied: &[Applied<'_>],
        default_action: Option<Action>,
        egress_too: bool,
        filter: impl Fn(&Policy) -> bool,
    ) -> Vec<EndpointTier> {
        let mut tiers = Vec::new();
        for tier in applied {
            let policies =
                tier.policies.iter().filter(|p| filter(p) && (self.staged || !p.id.kind.is_staged()));
            let ids = |direction: fn(&Policy) -> bool| {
                policies.clone().filter(|p| direction(p)).map(|p| p.id.clone()).collect::<Vec<_>>()
            };
            let ingress = ids(|p| p.place.ingress);
            let egress = if egress_too { ids(|p| p.place.egress) } else { Vec::new() };
            if !ingress.is_empty() || !egress.is_empty() {
                let default_action = default_action.unwrap_or(tier.default_action);
                tiers.push(EndpointTier { name: tier.tier.clone(), default_action, ingress, egress });
            }
        }
        tiers
    }

    fn applied(&self, slot: EndpointSlot) -> Vec<Applied<'_>> {
        let mut policies: Vec<_> = self
            .index
            .matches(&slot)
            .map(|&policy| &self.policies[policy])
            .map(|policy| (tier_key(&policy.place.tier, self.tiers.get(&*policy.place.tier)), policy))
            .collect();
        policies.sort_by(|(a_tier, a), (b_tier, b)| a_tier.cmp(b_tier).then_with(|| a.cmp_place(b)));
        let tiers = policies.chunk_by(|(a, _), (b, _)| a == b);
        tiers
            .filter_map(|chunk| Some((&chunk.first()?.1.place.tier, chunk)))
            .map(|(tier, chunk)| Applied {
                tier,
                default_action: self.default_action(tier),
                policies: chunk.iter().map(|(_, policy)| *policy).collect(),
            })
            .collect()
    }

    fn default_action(&self, tier: &str) -> Action {
        match self.tiers.get(tier) {
            Some(tier) if tier.default_action.eq_ignore_ascii_case("pass") => Action::Pass,
            _ => Action::Deny,
        }
    }

    /// The policies that apply to an endpoint, in order; `None` if there is no such endpoint.
    pub(crate) fn applied_to(&self, id: &LocalId) -> Option<Vec<Applied<'_>>> {
        let slot = self.endpoints.find(id)?;
        self.endpoints[slot].value.as_ref().map(|_| self.applied(slot))
    }

    /// The endpoints of this node.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &LocalId> + '_ {
        self.endpoints.values().filter(|e| e.value.is_some()).map(|e| &e.id)
    }
}

/// A profile counts once, however often it is listed.
fn distinct(profiles: &[String]) -> impl Iterator<Item = &str> {
    profiles
        .iter()
        .enumerate()
        .filter(|(i, p)| !profiles.iter().take(*i).any(|q| q == *p))
        .map(|(_, p)| p.as_str())
}
