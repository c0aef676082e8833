//! How many tiers, policies and profiles there are, wherever they apply.

use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use tortie_model::value::{Policy, Rule};
use tortie_model::{Change, Key, PolicyId, Value};

/// What there is now.
#[derive(Default)]
pub(super) struct Counts {
    tiers: BTreeSet<String>,
    /// With those that look at more than addresses and ports.
    policies: BTreeMap<PolicyId, bool>,
    profiles: BTreeSet<String>,
}

impl Counts {
    /// Takes in a change.
    pub(super) fn on_change(&mut self, change: &Change) {
        match (&change.key, &change.value) {
            (Key::Tier(name), Some(_)) => {
                self.tiers.insert(name.clone());
            }
            (Key::Tier(name), None) => {
                self.tiers.remove(name);
            }
            (Key::Policy(id), Some(Value::Policy(policy))) => {
                self.policies.insert(id.clone(), reads_requests(policy));
            }
            (Key::Policy(id), _) => {
                self.policies.remove(id);
            }
            (Key::ProfileRules(name), Some(_)) => {
                self.profiles.insert(name.clone());
            }
            (Key::ProfileRules(name), None) => {
                self.profiles.remove(name);
            }
            _ => {}
        }
    }

    /// The counts, in the words of the conformance port.
    pub(super) fn show(&self) -> Json {
        json!({
            "NumTiers": self.tiers.len(),
            "NumPolicies": self.policies.len(),
            "NumProfileRules": self.profiles.len(),
            "NumALPPolicies": self.policies.values().filter(|reads| **reads).count(),
        })
    }
}

/// True if a rule needs to know the request, or the identity of who sends it.
fn reads_requests(policy: &Policy) -> bool {
    let reads = |rule: &Rule| {
        rule.http_match.is_some()
            || !rule.orig_src_service_acct_selector.is_empty()
            || !rule.orig_dst_service_acct_selector.is_empty()
    };
    policy.inbound_rules.iter().chain(&policy.outbound_rules).any(reads)
}
