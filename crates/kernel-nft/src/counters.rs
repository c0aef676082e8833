//! What the rules counted, under the names of what they come from.

use crate::driver::Driver;
use crate::error::ResyncError;
use crate::resync::same_rules;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tortie_nft::KernelRule;
use tortie_rules::{ChainName, Desired, Source};

/// The counter of a rule. A rule of a policy that became several rules in the kernel has the sum of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCounter {
    /// The chain: for what is not a policy's or profile's, it says whose rule it is.
    pub chain: ChainName,
    /// Where the rule comes from.
    pub source: Source,
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Driver {
    /// Reads all counters. Chains that are not as wanted at this moment are left out.
    pub fn counters(&mut self, desired: &Desired) -> Result<Vec<RuleCounter>, ResyncError> {
        let mut there: HashMap<Arc<str>, Vec<KernelRule>> = HashMap::new();
        for rule in self.read_rules(None)? {
            there.entry(rule.chain.clone()).or_default().push(rule);
        }
        let mut counters = Vec::new();
        for (name, chain) in desired.table().chains() {
            let rules = there.remove(&*name.0).unwrap_or_default();
            if !same_rules(&rules, chain) {
                continue;
            }
            let mut sums: BTreeMap<&Source, (u64, u64)> = BTreeMap::new();
            for (rule, wanted) in rules.iter().zip(&chain.rules) {
                if let Some((packets, bytes)) = rule.counter {
                    let sum = sums.entry(&wanted.source).or_default();
                    *sum = (sum.0 + packets, sum.1 + bytes);
                }
            }
            counters.extend(sums.into_iter().map(|(source, (packets, bytes))| RuleCounter {
                chain: name.clone(),
                source: source.clone(),
                packets,
                bytes,
            }));
        }
        Ok(counters)
    }
}
