//! Active rules and the sets they hold.

use super::RuleUpdates;
use crate::convert::{Converter, deny_all};
use crate::diagnostic::{Direction, Problem};
use crate::lean::LeanRules;
use crate::sets::{SetSlot, Sets};
use crate::update::{ActivePolicy, Update};
use std::sync::Arc;

/// Converted rules. The sets must be given back by [`Rules::replace`].
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) active: Arc<ActivePolicy>,
    sets: Box<[SetSlot]>,
    pub(super) problems: Box<[Problem]>,
}

impl Rules {
    /// Rules of a profile that is not there: it could have denied anything.
    fn of_missing_profile() -> Self {
        let deny = || vec![deny_all(0)];
        let active = ActivePolicy { ingress: deny(), egress: deny(), untracked: false, pre_dnat: false };
        Self { active: Arc::new(active), sets: Box::default(), problems: Box::default() }
    }

    /// Takes the sets that the rules refer to.
    pub(super) fn new(
        converter: &mut Converter,
        sets: &mut Sets,
        rules: &LeanRules,
        untracked: bool,
        pre_dnat: bool,
    ) -> Self {
        let ingress = converter.rules(Direction::Ingress, &rules.inbound);
        let egress = converter.rules(Direction::Egress, &rules.outbound);
        let used =
            ingress.sets.into_iter().chain(egress.sets).map(|definition| sets.acquire(definition)).collect();
        let problems = ingress.problems.into_iter().chain(egress.problems).collect();
        let active = ActivePolicy { ingress: ingress.rules, egress: egress.rules, untracked, pre_dnat };
        Self { active: Arc::new(active), sets: used, problems }
    }

    /// Puts new rules in place of old ones. The new ones hold their sets already, so that sets that both use stay.
    pub(super) fn replace(place: &mut Option<Self>, new: Option<Self>, sets: &mut Sets) {
        if let Some(old) = std::mem::replace(place, new) {
            old.sets.iter().for_each(|&set| sets.release(set));
        }
    }
}

/// A profile that is known, in use, or was told and is gone.
#[derive(Debug, Default)]
pub(super) struct Profile {
    pub(super) rules: Option<LeanRules>,
    /// Local endpoints that refer to it.
    pub(super) users: u32,
    /// `rules` changed after `active` were made of them.
    pub(super) stale: bool,
    pub(super) active: Option<Rules>,
    told: Option<Arc<ActivePolicy>>,
    pub(super) dirty: bool,
}

impl Profile {
    pub(super) fn flush(
        &mut self,
        name: &Arc<str>,
        converter: &mut Converter,
        sets: &mut Sets,
        out: &mut RuleUpdates,
    ) {
        self.dirty = false;
        if self.users == 0 {
            Rules::replace(&mut self.active, None, sets);
        } else if self.stale || self.active.is_none() {
            let new = match &self.rules {
                Some(rules) => Rules::new(converter, sets, rules, false, false),
                None => Rules::of_missing_profile(),
            };
            Rules::replace(&mut self.active, Some(new), sets);
            self.stale = false;
        }
        let now = self.active.as_ref().map(|rules| &rules.active);
        if self.told.as_ref() != now {
            match now {
                Some(active) => out.changes.push(Update::Profile(name.clone(), active.clone())),
                None => out.removals.push(Update::ProfileRemove(name.clone())),
            }
            self.told = now.cloned();
        }
    }

    /// True if there is nothing to remember about it.
    pub(super) fn is_unknown(&self) -> bool {
        self.rules.is_none() && self.users == 0
    }
}
