//! What applies on this node: its endpoints, the policies and profiles that are active because of them, and in which
//! order policies apply to each.

mod endpoint;
mod policy;
mod rules;

use crate::convert::Converter;
use crate::diagnostic::{Diagnostic, Problem, Subject};
use crate::keyed::Keyed;
use crate::lean::{LeanRules, Texts};
use crate::sets::Sets;
use crate::update::Update;
use crate::view::Counts;
use endpoint::Endpoint;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use policy::{Place, Policy};
use rules::{Profile, Rules};
use std::sync::Arc;
use tortie_labels::{Event, Index};
use tortie_model::PolicyId;
use tortie_model::value::{self, ProfileRules, StringMap, Tier};
use tortie_selector::Selector;

pub(crate) use endpoint::LocalId;

type PolicySlot = u32;
type EndpointSlot = u32;

/// Endpoints of this node, and all policies, tiers and profiles.
#[derive(Debug)]
pub(crate) struct Local {
    /// Tell staged policies too.
    staged: bool,
    converter: Converter,
    /// Local endpoints x policies.
    index: Index<EndpointSlot, PolicySlot>,
    tiers: HashMap<Box<str>, Tier>,
    texts: Texts,
    policies: Keyed<Policy>,
    dirty_policies: Vec<PolicySlot>,
    profiles: HashMap<Arc<str>, Profile>,
    dirty_profiles: Vec<Arc<str>>,
    endpoints: Keyed<Endpoint>,
    dirty_endpoints: Vec<EndpointSlot>,
}

/// Updates of policies and profiles: those to tell before endpoints, and those to tell after.
#[derive(Debug, Default)]
pub(crate) struct RuleUpdates {
    pub(crate) changes: Vec<Update>,
    pub(crate) removals: Vec<Update>,
}

impl Local {
    pub(crate) fn new(staged: bool) -> Self {
        Self {
            staged,
            converter: Converter::default(),
            index: Index::new(),
            tiers: HashMap::new(),
            texts: Texts::default(),
            policies: Keyed::default(),
            dirty_policies: Vec::new(),
            profiles: HashMap::new(),
            dirty_profiles: Vec::new(),
            endpoints: Keyed::default(),
            dirty_endpoints: Vec::new(),
        }
    }

    // === inputs ===

    /// Adds, changes or removes a policy.
    pub(crate) fn set_policy(&mut self, id: &PolicyId, policy: Option<&value::Policy>) {
        let slot = match (self.policies.find(id), policy) {
            (Some(slot), _) => slot,
            (None, None) => return,
            (None, Some(_)) => self.policies.insert(Policy::new(id.clone())),
        };
        let texts = &mut self.texts;
        let wanted = policy.map(|p| LeanRules::new(texts, &p.inbound_rules, &p.outbound_rules));
        let place = policy.map(|p| Place::new(texts, p)).unwrap_or_default();
        let text = policy.map(|p| texts.share(&p.selector));
        let state = &mut self.policies[slot];
        let reselected = state.selector != text;
        if !reselected && state.place == place && state.wanted == wanted {
            return;
        }
        let moved = std::mem::replace(&mut state.place, place) != state.place;
        state.wanted = wanted;
        state.stale = true;
        mark(&mut state.dirty, &mut self.dirty_policies, slot);
        let Self { index, policies, endpoints, dirty_policies, dirty_endpoints, .. } = self;
        if moved {
            for &endpoint in index.items(&slot) {
                mark(&mut endpoints[endpoint].dirty, dirty_endpoints, endpoint);
            }
        }
        if !reselected {
            return;
        }
        let state = &mut policies[slot];
        let (selector, error) = match text.as_deref().map(Selector::parse) {
            Some(Ok(selector)) => (Some(selector), None),
            Some(Err(error)) => (None, Some(Box::new(error))),
            None => (None, None),
        };
        state.selector = text;
        state.selector_error = error;
        let mut on = |event: Event<'_, EndpointSlot, PolicySlot>| {
            on_match(event, policies, dirty_policies, endpoints, dirty_endpoints);
        };
        match selector {
            Some(selector) => index.set_selector(&slot, &selector, &mut on),
            None => index.remove_selector(&slot, &mut on),
        }
    }

    /// Adds, changes or removes a tier.
    pub(crate) fn set_tier(&mut self, name: &str, tier: Option<Tier>) {
        if self.tiers.get(name) == tier.as_ref() {
            return;
        }
        match tier {
            Some(tier) => self.tiers.insert(name.into(), tier),
            None => self.tiers.remove(name),
        };
        // Tiers are few and seldom change.
        for (slot, endpoint) in self.endpoints.iter_mut() {
            mark(&mut endpoint.dirty, &mut self.dirty_endpoints, slot);
        }
    }

    /// Adds, changes or removes the rules of a profile.
    pub(crate) fn set_profile(&mut self, name: &str, rules: Option<&ProfileRules>) {
        if rules.is_none() && !self.profiles.contains_key(name) {
            return;
        }
        let rules = rules.map(|r| LeanRules::new(&mut self.texts, &r.inbound_rules, &r.outbound_rules));
        self.profile(name, |profile| {
            profile.stale |= profile.rules != rules;
            profile.rules = rules;
        });
    }

    /// Sets the labels that a profile gives to endpoints.
    pub(crate) fn set_parent(&mut self, name: &str, labels: &StringMap) {
        // Of the profiles of a cluster few are used here.
        if self.profiles.get(name).is_some_and(|profile| profile.users > 0) {
            self.set_labels(name, labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        }
    }

    fn set_labels<'a>(&mut self, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let Self { index, policies, endpoints, dirty_policies, dirty_endpoints, .. } = self;
        index.set_parent(name, labels, &mut |event| {
            on_match(event, policies, dirty_policies, endpoints, dirty_endpoints);
        });
    }

    /// Changes a profile, which comes to life by it, and notes that it must be looked at. Answers how many use it.
    fn profile(&mut self, name: &str, change: impl FnOnce(&mut Profile)) -> u32 {
        let (name, profile) = match self.profiles.get_key_value_mut(name) {
            Some((name, profile)) => (name.clone(), profile),
            None => {
                let name: Arc<str> = name.into();
                (name.clone(), self.profiles.entry(name).or_default())
            }
        };
        change(profile);
        if !profile.dirty {
            profile.dirty = true;
            self.dirty_profiles.push(name);
        }
        profile.users
    }

    // === output ===

    /// Works out which policies and profiles are active, and takes and gives back sets for their rules.
    pub(crate) fn flush_rules(&mut self, sets: &mut Sets) -> RuleUpdates {
        let mut out = RuleUpdates::default();
        for slot in std::mem::take(&mut self.dirty_policies) {
            let policy = &mut self.policies[slot];
            policy.dirty = false;
            match policy.wanted.as_ref().filter(|_| policy.is_active(self.staged)) {
                Some(wanted) if policy.stale || policy.rules.is_none() => {
                    let Place { untracked, pre_dnat, .. } = policy.place;
                    let new = Rules::new(&mut self.converter, sets, wanted, untracked, pre_dnat);
                    Rules::replace(&mut policy.rules, Some(new), sets);
                    policy.stale = false;
                }
                Some(_) => {}
                None => Rules::replace(&mut policy.rules, None, sets),
            }
            let now = policy.rules.as_ref().map(|rules| &rules.active);
            if policy.told.as_ref() != now {
                match now {
                    Some(active) => out.changes.push(Update::Policy(policy.id.clone(), active.clone())),
                    None => out.removals.push(Update::PolicyRemove(policy.id.clone())),
                }
                policy.told = now.cloned();
            }
            if policy.wanted.is_none() {
                self.policies.remove(slot);
            }
        }
        for name in std::mem::take(&mut self.dirty_profiles) {
            let Entry::Occupied(mut entry) = self.profiles.entry(name) else {
                continue;
            };
            let name = entry.key().clone();
            let profile = entry.get_mut();
            profile.flush(&name, &mut self.converter, sets, &mut out);
            if profile.is_unknown() {
                entry.remove();
            }
        }
        self.converter.forget();
        out.changes.sort_by(|a, b| rule_key(a).cmp(&rule_key(b)));
        out.removals.sort_by(|a, b| rule_key(b).cmp(&rule_key(a)));
        out
    }

    pub(crate) fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> + '_ {
        let policies = self.policies.values().flat_map(|state| {
            let error =
                state.selector_error.as_ref().map(|error| Problem::Selector { error: (**error).clone() });
            let rules = state.rules.iter().flat_map(|rules| rules.problems.iter().cloned());
            let tier = state.rules.is_some().then(|| self.missing_tier(state)).flatten();
            let problems = error.into_iter().chain(rules).chain(tier);
            problems.map(|problem| Diagnostic { subject: Subject::Policy(state.id.clone()), problem })
        });
        let profiles = self.profiles.iter().flat_map(|(name, state)| {
            let missing = (state.users > 0 && state.rules.is_none()).then_some(Problem::MissingProfile);
            let rules = state.active.iter().flat_map(|rules| rules.problems.iter().cloned());
            let problems = missing.into_iter().chain(rules);
            problems.map(|problem| Diagnostic { subject: Subject::Profile(name.to_string()), problem })
        });
        policies.chain(profiles)
    }

    fn missing_tier(&self, state: &Policy) -> Option<Problem> {
        let tier = &state.place.tier;
        (!self.tiers.contains_key(&**tier)).then(|| Problem::MissingTier { tier: tier.to_string() })
    }

    pub(crate) fn counts(&self) -> Counts {
        let policies = || self.policies.values().filter_map(|policy| policy.wanted.as_ref());
        Counts {
            tiers: self.tiers.len(),
            policies: policies().count(),
            application_layer_policies: policies().filter(|rules| rules.application_layer).count(),
            profiles: self.profiles.values().filter(|profile| profile.rules.is_some()).count(),
        }
    }

    /// The policies that are active.
    pub(crate) fn active_policies(&self) -> impl Iterator<Item = &PolicyId> + '_ {
        self.policies.values().filter(|p| p.told.is_some()).map(|p| &p.id)
    }
}

/// A policy started or stopped to apply to an endpoint of this node.
fn on_match(
    event: Event<'_, EndpointSlot, PolicySlot>,
    policies: &mut Keyed<Policy>,
    dirty_policies: &mut Vec<PolicySlot>,
    endpoints: &mut Keyed<Endpoint>,
    dirty_endpoints: &mut Vec<EndpointSlot>,
) {
    let (policy, endpoint) = match event {
        Event::Started(&policy, &endpoint) => {
            policies[policy].matches += 1;
            (policy, endpoint)
        }
        Event::Stopped(&policy, &endpoint) => {
            policies[policy].matches -= 1;
            (policy, endpoint)
        }
    };
    mark(&mut policies[policy].dirty, dirty_policies, policy);
    mark(&mut endpoints[endpoint].dirty, dirty_endpoints, endpoint);
}

/// Puts a slot on a list of dirty ones, once.
fn mark(dirty: &mut bool, list: &mut Vec<u32>, slot: u32) {
    if !*dirty {
        *dirty = true;
        list.push(slot);
    }
}

/// Policies before profiles, each by name. Removals are sorted the other way round.
fn rule_key(update: &Update) -> (Option<&PolicyId>, bool, Option<&str>) {
    match update {
        Update::Policy(id, _) | Update::PolicyRemove(id) => (Some(id), false, None),
        Update::Profile(name, _) | Update::ProfileRemove(name) => (None, true, Some(name)),
        _ => (None, true, None),
    }
}
