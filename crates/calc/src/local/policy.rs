//! A policy, and where it stands among others.

use super::rules::Rules;
use crate::keyed::HasKey;
use crate::lean::{LeanRules, Texts};
use crate::update::ActivePolicy;
use crate::view::{AppliedPolicy, Stage};
use std::cmp::Ordering;
use std::sync::Arc;
use tortie_model::PolicyId;
use tortie_model::value::{self, Tier};
use tortie_selector::ParseError;

/// A policy that is known, or was told and is gone.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) id: PolicyId,
    /// `None` when it is gone.
    pub(super) wanted: Option<LeanRules>,
    pub(super) selector: Option<Arc<str>>,
    pub(super) selector_error: Option<Box<ParseError>>,
    pub(super) place: Place,
    /// Local endpoints that it applies to.
    pub(super) matches: u32,
    /// `wanted` changed after `rules` were made of it.
    pub(super) stale: bool,
    pub(super) rules: Option<Rules>,
    pub(super) told: Option<Arc<ActivePolicy>>,
    pub(super) dirty: bool,
}

impl Policy {
    pub(super) fn new(id: PolicyId) -> Self {
        Self {
            id,
            wanted: None,
            selector: None,
            selector_error: None,
            place: Place::default(),
            matches: 0,
            stale: false,
            rules: None,
            told: None,
            dirty: false,
        }
    }

    /// True if the dataplane must have it.
    pub(super) fn is_active(&self, staged: bool) -> bool {
        let needed = self.matches > 0 || self.place.needed_on_every_node && self.selector_error.is_none();
        needed && (staged || !self.id.kind.is_staged())
    }
}

impl Policy {
    /// Within a tier: by order, then by the text `name/namespace/kind`.
    pub(super) fn cmp_place(&self, other: &Self) -> Ordering {
        fn text(id: &PolicyId) -> impl Iterator<Item = u8> + '_ {
            let parts = [&id.name, "/", &id.namespace, "/", id.kind.as_str()];
            parts.into_iter().flat_map(str::bytes)
        }
        self.place.order.cmp(&other.place.order).then_with(|| text(&self.id).cmp(text(&other.id)))
    }

    pub(crate) fn applied(&self) -> AppliedPolicy {
        let Place { ingress, egress, forward, .. } = self.place;
        let stage = self.place.stage();
        AppliedPolicy { id: self.id.clone(), ingress, egress, stage, forward }
    }
}

impl HasKey for Policy {
    type Key = PolicyId;

    fn key(&self) -> &PolicyId {
        &self.id
    }
}

/// All of a policy that decides where and when it is evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) tier: Arc<str>,
    order: Order,
    pub(super) ingress: bool,
    pub(super) egress: bool,
    pub(super) untracked: bool,
    pub(super) pre_dnat: bool,
    pub(super) forward: bool,
    needed_on_every_node: bool,
}

impl Place {
    pub(super) fn new(texts: &mut Texts, policy: &value::Policy) -> Self {
        Self {
            tier: texts.share(policy.tier_name()),
            order: Order::new(policy.order),
            ingress: policy.applies_ingress(),
            egress: policy.applies_egress(),
            untracked: policy.do_not_track,
            pre_dnat: policy.pre_dnat,
            forward: policy.apply_on_forward,
            needed_on_every_node: policy
                .performance_hints
                .iter()
                .any(|hint| hint == "AssumeNeededOnEveryNode"),
        }
    }

    /// Of an untracked policy it does not matter what else it is.
    pub(super) fn stage(&self) -> Stage {
        match (self.untracked, self.pre_dnat) {
            (true, _) => Stage::Untracked,
            (false, true) => Stage::PreDnat,
            (false, false) => Stage::Normal,
        }
    }
}

/// Sorts tiers: those that exist by order, the ones without order last; then those that do not exist; then by name.
pub(super) type TierKey<'a> = (bool, bool, Order, &'a str);

pub(super) fn tier_key<'a>(name: &'a str, tier: Option<&Tier>) -> TierKey<'a> {
    let order = tier.and_then(|t| t.order);
    (tier.is_none(), order.is_none(), Order::new(order), name)
}

/// Lower is earlier; none is last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order(f64);

impl Order {
    fn new(order: Option<f64>) -> Self {
        // Adding zero turns -0 into 0, which is the same order.
        Self(order.unwrap_or(f64::INFINITY) + 0.0)
    }
}

impl Default for Order {
    fn default() -> Self {
        Self::new(None)
    }
}

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
