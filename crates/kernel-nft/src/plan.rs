//! From what differs to a transaction.
//!
//! Order inside a transaction: what others refer to comes first. Elements come last (binding a rule to a set walks the set's elements), then deletions, from
//! the referring to the referred.

use crate::driver::{Driver, GRACE};
use crate::error::ChannelError;
use crate::refused::Reduced;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tortie_net::{Cidr, Family};
use tortie_nft::decode::KernelBase;
use tortie_nft::diff::{self, Edit};
use tortie_nft::set::{self, RawElement, Spec};
use tortie_nft::{Batch, RuleBody, lower};
use tortie_rules::{
    Chain, ChainName, Dirty, Element, Rule, SetChange, SetName, SetShape, Source, Statement, Table, Verdict,
};

/// In which order a transaction is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// For one transaction: what is quickest.
    Whole,
    /// For several: what stays closed in between.
    Parts,
}

/// What changes in `Known` when a transaction succeeds.
#[derive(Debug)]
pub(crate) enum Effect {
    Table,
    ChainAdded(ChainName, Option<KernelBase>),
    ChainGone(ChainName),
    SetAdded(SetName, Spec),
    SetGone(SetName),
    SetUsed(SetName),
    SetUnused(SetName),
}

/// A transaction and its consequences.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) batch: Batch,
    /// The generation that it was made for, if it was made from what was read.
    pub(crate) generation: Option<u32>,
    pub(crate) effects: Vec<Effect>,
    /// What is pending afterwards.
    pub(crate) left: Dirty,
}

/// What came of planning.
#[derive(Debug)]
pub(crate) enum Planned {
    Plan(Plan),
    /// Something stands in the way that cannot be changed in place.
    NeedsReset,
}

/// New rules for a chain.
struct Rewrite {
    name: ChainName,
    /// Policy before the chains that jump there, base chains last: in parts, nothing is reached before it is complete.
    rank: u8,
    /// The chain must be created first, in the place of one that is at another hook.
    replace: Option<Arc<Chain>>,
    rules: Vec<RuleBody>,
    edits: Vec<Edit>,
}

/// New content for a set.
struct Refill {
    name: SetName,
    shape: SetShape,
    added: Vec<Element>,
    removed: Vec<Element>,
    foreign: Vec<RawElement>,
}

#[derive(Default)]
struct Work {
    new_sets: Vec<(SetName, SetShape)>,
    new_chains: Vec<Arc<Chain>>,
    rewrites: Vec<Rewrite>,
    refills: Vec<Refill>,
    dead_chains: Vec<ChainName>,
    dead_sets: Vec<SetName>,
    effects: Vec<Effect>,
    left: Dirty,
    generation: Option<u32>,
}

impl Driver {
    /// Plans one transaction that does all that is pending and may be done.
    pub(crate) fn plan(
        &mut self,
        table: &Table,
        in_sync: bool,
        layout: Layout,
    ) -> Result<Planned, ChannelError> {
        let pending = std::mem::take(&mut self.pending);
        let work = self.work(&pending, table, in_sync);
        self.pending = pending;
        Ok(match work? {
            Some(work) => Planned::Plan(self.lay_out(work, layout)),
            None => Planned::NeedsReset,
        })
    }

    fn work(&mut self, pending: &Dirty, table: &Table, in_sync: bool) -> Result<Option<Work>, ChannelError> {
        let mut work = Work::default();
        for (name, change) in &pending.sets {
            match table.sets().get(name) {
                Some(_) if self.refused.set(name) => {}
                Some(wanted) => {
                    let there = self.known.sets.get(name).copied();
                    if there.is_some_and(|spec| spec != set::spec(wanted.shape())) {
                        return Ok(None);
                    }
                    let change = if there.is_some() { Some(change) } else { None };
                    self.refill(&mut work, name, wanted, change, in_sync)?;
                }
                None if self.known.sets.contains_key(name) => self.retire(&mut work, name, in_sync),
                None => {}
            }
        }
        for name in &pending.chains {
            match table.chains().get(name) {
                Some(chain) => self.rewrite(&mut work, chain)?,
                None if !self.known.chains.contains_key(name) || self.refused.chain(name) != Reduced::No => {}
                None if in_sync => work.dead_chains.push(name.clone()),
                None => {
                    work.left.chains.insert(name.clone());
                }
            }
        }
        Ok(Some(work))
    }
}

// === impl Driver: sets ===

impl Driver {
    /// What a set lacks and has too much. Without `change` the set is new.
    fn refill(
        &mut self,
        work: &mut Work,
        name: &SetName,
        wanted: &tortie_rules::Set,
        change: Option<&SetChange>,
        in_sync: bool,
    ) -> Result<(), ChannelError> {
        let shape = wanted.shape();
        let mut refill =
            Refill { name: name.clone(), shape, added: Vec::new(), removed: Vec::new(), foreign: Vec::new() };
        match change {
            None => {
                work.new_sets.push((name.clone(), shape));
                work.effects.push(Effect::SetAdded(name.clone(), set::spec(shape)));
                refill.added = wanted.elements().iter().cloned().collect();
            }
            Some(SetChange::Elements { added, removed }) => {
                refill.added = added.iter().cloned().collect();
                refill.removed = removed.iter().cloned().collect();
                refill.foreign = self.foreign.get(name).cloned().unwrap_or_default();
            }
            Some(SetChange::Whole) => {
                self.note_generation(work)?;
                let content = self.read_elements(name, shape)?;
                let there: HashSet<Element> = content.elements.into_iter().collect();
                refill.added = wanted.elements().difference(&there).cloned().collect();
                refill.removed = there.difference(wanted.elements()).cloned().collect();
                refill.foreign = content.odd;
                work.effects.push(Effect::SetUsed(name.clone()));
            }
        }
        refill.added.retain(|e| !self.refused.element(name, e));
        refill.added.sort_unstable();
        refill.removed.sort_unstable();
        if !in_sync && !is_constant(shape) {
            for (element, present) in withhold(&mut refill) {
                work.left.element(name, element, present);
            }
        }
        if !(refill.added.is_empty() && refill.removed.is_empty() && refill.foreign.is_empty()) {
            work.refills.push(refill);
        }
        Ok(())
    }

    /// A set that nobody wants goes a while after its last user.
    fn retire(&self, work: &mut Work, name: &SetName, in_sync: bool) {
        if self.refused.set(name) {
            return;
        }
        let since = self.retired.get(name).map(std::time::Instant::elapsed);
        if in_sync && since.is_some_and(|t| t >= GRACE) {
            work.dead_sets.push(name.clone());
            return;
        }
        if in_sync {
            work.effects.push(Effect::SetUnused(name.clone()));
        }
        work.left.sets.insert(name.clone(), SetChange::Whole);
    }

    fn note_generation(&mut self, work: &mut Work) -> Result<(), ChannelError> {
        if work.generation.is_none() {
            work.generation = self.read_generation()?;
        }
        Ok(())
    }
}

/// Sets whose content follows from their name: what is not wanted there was put there by somebody else.
fn is_constant(shape: SetShape) -> bool {
    matches!(shape, SetShape::Ports { .. } | SetShape::Protocols)
}

/// Before in-sync: takes deletions out of a refill, except of prefixes that lie in a new one; and additions that lie in a prefix that stays.
/// Answers what was taken out: an element, and whether it should come.
fn withhold(refill: &mut Refill) -> Vec<(Element, bool)> {
    let net = |e: &Element| if let Element::Net(net) = e { Some(*net) } else { None };
    let index =
        |elements: &[Element]| Prefixes(elements.iter().filter_map(net).map(|n| (start(n), n)).collect());
    let coming = index(&refill.added);
    let mut later = Vec::new();
    refill.removed.retain(|e| {
        let replaced = net(e).is_some_and(|n| coming.cover(n));
        if !replaced {
            later.push((e.clone(), false));
        }
        replaced
    });
    let staying = index(&later.iter().map(|(e, _)| e.clone()).collect::<Vec<_>>());
    refill.added.retain(|e| {
        let covered = net(e).is_some_and(|n| staying.cover(n));
        if covered {
            later.push((e.clone(), true));
        }
        !covered
    });
    later
}

/// Disjoint prefixes by family and first address.
struct Prefixes(BTreeMap<(Family, std::net::IpAddr), Cidr>);

fn start(net: Cidr) -> (Family, std::net::IpAddr) {
    (net.family(), net.addr())
}

impl Prefixes {
    /// True if one of the prefixes covers `net` and is another one.
    fn cover(&self, net: Cidr) -> bool {
        self.0.range(..=start(net)).next_back().is_some_and(|(_, p)| p.covers(net) && *p != net)
    }
}

// === impl Driver: chains ===

impl Driver {
    fn rewrite(&mut self, work: &mut Work, chain: &Arc<Chain>) -> Result<(), ChannelError> {
        let name = chain.name.clone();
        let rules = match self.refused.chain(&name) {
            Reduced::No => chain.rules.iter().map(lower::rule).collect(),
            Reduced::Closed if chain.base.is_none() => closed(chain),
            _ => return Ok(()),
        };
        let base = chain.base.map(KernelBase::from);
        let mut rewrite =
            Rewrite { name: name.clone(), rank: rank(chain), replace: None, rules, edits: Vec::new() };
        match self.known.chains.get(&name) {
            Some(there) if *there == base => {
                self.note_generation(work)?;
                let there = self.read_rules(Some(&name))?;
                let there: Vec<(u64, &RuleBody)> = there.iter().map(|r| (r.handle, &r.body)).collect();
                rewrite.edits = diff::rules(&there, &rewrite.rules);
            }
            other => {
                if other.is_some() {
                    rewrite.replace = Some(chain.clone());
                } else {
                    work.new_chains.push(chain.clone());
                }
                work.effects.push(Effect::ChainAdded(name, base));
                rewrite.edits = (0..rewrite.rules.len()).map(Edit::Append).collect();
            }
        }
        if rewrite.replace.is_some() || !rewrite.edits.is_empty() {
            work.rewrites.push(rewrite);
        }
        Ok(())
    }
}

fn rank(chain: &Chain) -> u8 {
    let jumps = |rule: &Rule| {
        rule.statements.iter().any(|s| matches!(s, Statement::Verdict(Verdict::Jump(_) | Verdict::Goto(_))))
    };
    match chain.base {
        Some(_) => 2,
        None => u8::from(chain.rules.iter().any(jumps)),
    }
}

/// What a chain is when its rules are refused: closed, unless it decides nothing.
fn closed(chain: &Chain) -> Vec<RuleBody> {
    let translates = |rule: &Rule| rule.statements.contains(&Statement::Masquerade);
    if chain.rules.iter().any(translates) {
        return Vec::new();
    }
    let rule = Rule {
        matches: Vec::new(),
        statements: vec![Statement::Count, Statement::Verdict(Verdict::Drop)],
        source: Source::Fixed("refused by the kernel"),
    };
    vec![lower::rule(&rule)]
}

// === impl Driver: layout ===

impl Driver {
    fn lay_out(&self, mut work: Work, layout: Layout) -> Plan {
        let mut batch = Batch::new(self.table);
        if self.reset {
            batch.add_table();
            batch.delete_table();
        }
        if self.reset || !self.known.table {
            batch.add_table();
            work.effects.push(Effect::Table);
        }
        for (name, shape) in &work.new_sets {
            batch.add_set(name, *shape);
        }
        // Elements of a map name chains.
        let (maps, sets): (Vec<_>, Vec<_>) =
            work.refills.iter().partition(|r| matches!(r.shape, SetShape::Interfaces));
        if layout == Layout::Parts {
            batch.cut();
            self.refill_all(&mut batch, &sets);
            work.rewrites.sort_by_key(|r| r.rank);
        }
        for chain in &work.new_chains {
            batch.add_chain(&chain.name, chain.base, &chain.comment);
        }
        for rewrite in &work.rewrites {
            batch.cut();
            write_rules(&mut batch, rewrite);
        }
        if layout == Layout::Whole {
            self.refill_all(&mut batch, &sets);
        }
        self.refill_all(&mut batch, &maps);
        batch.cut();
        for name in &work.dead_chains {
            batch.flush_chain(name);
        }
        for name in &work.dead_chains {
            batch.delete_chain(name);
            work.effects.push(Effect::ChainGone(name.clone()));
        }
        for name in &work.dead_sets {
            batch.delete_set(name);
            work.effects.push(Effect::SetGone(name.clone()));
        }
        // A transaction that only adds, or replaces nothing that was read, need not be of a certain generation.
        let generation = if batch.is_empty() || self.reset { None } else { work.generation };
        Plan { batch, generation, effects: work.effects, left: work.left }
    }

    fn refill_all(&self, batch: &mut Batch, refills: &[&Refill]) {
        for refill in refills {
            let Refill { name, shape, added, removed, foreign } = refill;
            batch.cut();
            batch.delete_raw_elements(name, foreign);
            batch.delete_elements(name, *shape, removed);
            if self.refused.is_single(name) {
                batch.add_elements_singly(name, *shape, added);
            } else {
                batch.add_elements(name, *shape, added);
            }
        }
    }
}

fn write_rules(batch: &mut Batch, rewrite: &Rewrite) {
    let Rewrite { name, replace, rules, edits, .. } = rewrite;
    if let Some(chain) = replace {
        batch.flush_chain(name);
        batch.delete_chain(name);
        batch.add_chain(name, chain.base, &chain.comment);
    }
    for edit in edits {
        match *edit {
            Edit::Flush => batch.flush_chain(name),
            Edit::Delete(handle) => batch.delete_rule(name, handle),
            Edit::Insert(index, before) => {
                if let Some(rule) = rules.get(index) {
                    batch.insert_rule(name, rule, before);
                }
            }
            Edit::Append(index) => {
                if let Some(rule) = rules.get(index) {
                    batch.append_rule(name, rule);
                }
            }
        }
    }
}
