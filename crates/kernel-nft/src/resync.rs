//! Reads the whole table and finds what is not as wanted.

use crate::driver::{Driver, Known};
use crate::error::{ChannelError, ResyncError};
use crate::refused::Refused;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tortie_nft::consts::NFT_SET_ANONYMOUS;
use tortie_nft::decode::{Decoded, KernelBase};
use tortie_nft::set::Content;
use tortie_nft::{KernelRule, lower, request, set};
use tortie_rules::{Chain, ChainName, Desired, Dirty, SetChange, SetName, SetShape};

/// What a resync found. Nothing is written by it; the next apply does that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResyncReport {
    /// Chains and sets that are wanted and not there.
    pub missing: usize,
    /// Chains and sets that are not as wanted.
    pub different: usize,
    /// Chains and sets that nobody wants.
    pub stale: usize,
    /// Chains and sets that are exactly as wanted.
    pub equal: usize,
}

impl ResyncReport {
    /// True if the kernel has exactly what is wanted.
    pub fn is_equal(&self) -> bool {
        self.missing + self.different + self.stale == 0
    }
}

impl Driver {
    /// Reads the table and compares. What differs becomes pending; what was refused is tried again.
    pub fn resync(&mut self, desired: &mut Desired) -> Result<ResyncReport, ResyncError> {
        desired.render_dirty();
        let known = self.read_known()?;
        let mut rules: HashMap<Arc<str>, Vec<KernelRule>> = HashMap::new();
        if known.table {
            for rule in self.read_rules(None)? {
                rules.entry(rule.chain.clone()).or_default().push(rule);
            }
        }
        let (mut report, mut pending, mut foreign) =
            (ResyncReport::default(), Dirty::default(), BTreeMap::new());
        for (name, chain) in desired.table().chains() {
            let equal = known.chains.get(name).map(|base| {
                let rules = rules.get(&*name.0).map(Vec::as_slice).unwrap_or_default();
                *base == chain.base.map(KernelBase::from) && same_rules(rules, chain)
            });
            if !count(&mut report, equal) {
                pending.chains.insert(name.clone());
            }
        }
        for (name, wanted) in desired.table().sets() {
            let equal = match known.sets.get(name) {
                None => None,
                Some(spec) if *spec != set::spec(wanted.shape()) => Some(false),
                Some(_) => {
                    let Content { elements, odd } = self.read_elements(name, wanted.shape())?;
                    let there: HashSet<_> = elements.into_iter().collect();
                    let equal = odd.is_empty() && there == *wanted.elements();
                    if !equal {
                        let added = wanted.elements().difference(&there).cloned().collect();
                        let removed = there.difference(wanted.elements()).cloned().collect();
                        pending.sets.insert(name.clone(), SetChange::Elements { added, removed });
                    }
                    if !odd.is_empty() {
                        foreign.insert(name.clone(), odd);
                    }
                    Some(equal)
                }
            };
            if !count(&mut report, equal) {
                pending.sets.entry(name.clone()).or_insert(SetChange::Whole);
            }
        }
        let table = desired.table();
        let stale_chains = known.chains.keys().filter(|n| !table.chains().contains_key(*n));
        pending.chains.extend(stale_chains.inspect(|_| report.stale += 1).cloned());
        let stale_sets = known.sets.keys().filter(|n| !table.sets().contains_key(*n));
        pending.sets.extend(stale_sets.inspect(|_| report.stale += 1).map(|n| (n.clone(), SetChange::Whole)));
        self.retired.retain(|name, _| known.sets.contains_key(name) && !table.sets().contains_key(name));
        // The comparison covers all that changed up to now.
        desired.take_dirty();
        self.known = known;
        self.pending = pending;
        self.foreign = foreign;
        self.refused = Refused::default();
        self.in_step = true;
        self.reset = false;
        tracing::debug!(?report, "compared nftables table");
        Ok(report)
    }

    /// Whether every base chain stands as it is wanted, left by an earlier process: then nothing passes that it did not
    /// let pass, and there is no hurry to write rules.
    pub fn is_standing(&mut self, desired: &mut Desired) -> Result<bool, ResyncError> {
        desired.render_dirty();
        let known = self.read_known()?;
        let mut bases = desired.table().chains().iter().filter(|(_, chain)| chain.base.is_some());
        Ok(known.table
            && bases.all(|(name, chain)| known.chains.get(name) == Some(&chain.base.map(KernelBase::from))))
    }

    fn read_known(&mut self) -> Result<Known, ChannelError> {
        let name = self.table;
        let found = self.channel.ask("the table", |seq| request::table(seq, name))?.unwrap_or_default();
        // A dormant table is written again, which wakes it.
        let table = found.iter().any(|m| matches!(m, Decoded::Table(_, flags) if *flags == 0));
        let mut known = Known { table, ..Known::default() };
        if found.is_empty() {
            return Ok(known);
        }
        for message in self.channel.ask("chains", request::chains)?.unwrap_or_default() {
            if let Decoded::Chain(chain) = message
                && *chain.table == *name
            {
                known.chains.insert(ChainName(chain.name), chain.base);
            }
        }
        for message in self.channel.ask("sets", |seq| request::sets(seq, name))?.unwrap_or_default() {
            // An anonymous set lives and dies with its rule.
            if let Decoded::Set(found) = message
                && *found.table == *name
                && found.spec.flags & NFT_SET_ANONYMOUS == 0
            {
                known.sets.insert(SetName(found.name), found.spec);
            }
        }
        Ok(known)
    }

    /// Reads the rules of one chain, or of all.
    pub(crate) fn read_rules(&mut self, chain: Option<&ChainName>) -> Result<Vec<KernelRule>, ChannelError> {
        let (table, chain) = (self.table, chain.map(|c| &*c.0));
        let found = self.channel.ask("rules", |seq| request::rules(seq, table, chain))?.unwrap_or_default();
        let rules =
            found.into_iter().filter_map(|m| if let Decoded::Rule(rule) = m { Some(rule) } else { None });
        Ok(rules.collect())
    }

    pub(crate) fn read_elements(&mut self, name: &SetName, shape: SetShape) -> Result<Content, ChannelError> {
        let table = self.table;
        let found =
            self.channel.ask("elements", |seq| request::elements(seq, table, &name.0))?.unwrap_or_default();
        let raw = found.into_iter().filter_map(|m| if let Decoded::Elements(e) = m { Some(e) } else { None });
        Ok(set::read(shape, raw.flatten().collect()))
    }

    pub(crate) fn read_generation(&mut self) -> Result<Option<u32>, ChannelError> {
        let found = self.channel.ask("the generation", request::generation)?.unwrap_or_default();
        Ok(found.iter().find_map(|m| if let Decoded::Generation(id) = m { Some(*id) } else { None }))
    }
}

/// Counts an item that is missing, different or equal. True if it is equal.
fn count(report: &mut ResyncReport, equal: Option<bool>) -> bool {
    match equal {
        None => report.missing += 1,
        Some(false) => report.different += 1,
        Some(true) => report.equal += 1,
    }
    equal == Some(true)
}

/// True if the kernel's rules are exactly those of the chain.
pub(crate) fn same_rules(there: &[KernelRule], wanted: &Chain) -> bool {
    there.len() == wanted.rules.len()
        && there.iter().zip(&wanted.rules).all(|(a, b)| a.body == lower::rule(b))
}
