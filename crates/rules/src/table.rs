//! The chains and sets that should exist, and what changed since somebody asked.
//!
//! Sets are *pinned* (they exist because the state says so) or live as long as a chain refers to them: constants, which a rule brings along,
//! and empty placeholders for what a chain refers to and nobody has defined.

use crate::ir::{Chain, ChainName, Element, Match, SetName, SetShape, Statement, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A set that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    shape: SetShape,
    elements: HashSet<Element>,
    pinned: bool,
}

impl Set {
    /// What it holds.
    pub fn shape(&self) -> SetShape {
        self.shape
    }

    /// Its elements.
    pub fn elements(&self) -> &HashSet<Element> {
        &self.elements
    }
}

/// What is to be looked at again in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetChange {
    /// It came, went, or everything about it may have changed.
    Whole,
    /// Only these elements. An element is in at most one of the two.
    Elements {
        /// Came.
        added: HashSet<Element>,
        /// Went.
        removed: HashSet<Element>,
    },
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Chains that came, went or have other rules.
    pub chains: BTreeSet<ChainName>,
    /// Sets, and how.
    pub sets: BTreeMap<SetName, SetChange>,
}

impl Dirty {
    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty()
    }

    /// Adds what changed later.
    pub fn merge(&mut self, later: Self) {
        self.chains.extend(later.chains);
        for (name, change) in later.sets {
            match change {
                SetChange::Whole => {
                    self.sets.insert(name, SetChange::Whole);
                }
                SetChange::Elements { added, removed } => {
                    for element in removed {
                        self.element(&name, element, false);
                    }
                    for element in added {
                        self.element(&name, element, true);
                    }
                }
            }
        }
    }

    /// Notes that an element came (`present`) or went. Coming and going cancel out.
    pub fn element(&mut self, set: &SetName, element: Element, present: bool) {
        if !self.sets.contains_key(set) {
            let nothing = SetChange::Elements { added: HashSet::new(), removed: HashSet::new() };
            self.sets.insert(set.clone(), nothing);
        }
        if let Some(SetChange::Elements { added, removed }) = self.sets.get_mut(set) {
            let (to, from) = if present { (added, removed) } else { (removed, added) };
            if !from.remove(&element) {
                to.insert(element);
            }
        }
    }
}

/// The chains and sets that should exist.
#[derive(Clone, Debug, Default)]
pub struct Table {
    chains: BTreeMap<ChainName, Arc<Chain>>,
    sets: BTreeMap<SetName, Set>,
    chain_users: HashMap<ChainName, usize>,
    set_users: HashMap<SetName, usize>,
    /// Chains that got their first or lost their last user.
    use_changed: BTreeSet<ChainName>,
    dirty: Dirty,
}

/// What a chain refers to.
struct References {
    chains: BTreeSet<ChainName>,
    sets: BTreeMap<SetName, SetShape>,
}

impl References {
    fn of(chain: &Chain) -> Self {
        let mut found = Self { chains: BTreeSet::new(), sets: BTreeMap::new() };
        for rule in &chain.rules {
            for m in &rule.matches {
                if let Match::Lookup { key, set, .. } = m {
                    found.sets.insert(set.clone(), key.empty_shape());
                }
            }
            for statement in &rule.statements {
                match statement {
                    Statement::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => {
                        found.chains.insert(chain.clone());
                    }
                    Statement::Dispatch(_, map) => {
                        found.sets.insert(map.clone(), SetShape::Interfaces);
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

// === impl Table: reading ===

impl Table {
    /// All chains.
    pub fn chains(&self) -> &BTreeMap<ChainName, Arc<Chain>> {
        &self.chains
    }

    /// All sets.
    pub fn sets(&self) -> &BTreeMap<SetName, Set> {
        &self.sets
    }

    /// Answers what changed since the last call, and forgets it.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// True if some chain jumps to `chain`.
    pub(crate) fn is_used(&self, chain: &ChainName) -> bool {
        self.chain_users.contains_key(chain)
    }

    /// Chains that got their first or lost their last user since the last call.
    pub(crate) fn take_use_changed(&mut self) -> BTreeSet<ChainName> {
        std::mem::take(&mut self.use_changed)
    }
}

// === impl Table: chains ===

impl Table {
    /// Puts a chain in place of what had its name. `constants` are the sets that its rules brought along.
    pub(crate) fn put_chain(
        &mut self,
        chain: Chain,
        constants: BTreeMap<SetName, (SetShape, HashSet<Element>)>,
    ) {
        let before = self.chains.get(&chain.name);
        if before.is_some_and(|c| **c == chain) {
            return;
        }
        let before = before.map(|c| References::of(c));
        let name = chain.name.clone();
        let after = References::of(&chain);
        self.chains.insert(name.clone(), Arc::new(chain));
        self.dirty.chains.insert(name);
        for (set, (shape, elements)) in constants {
            if !self.sets.contains_key(&set) && after.sets.contains_key(&set) {
                self.add_set(set, Set { shape, elements, pinned: false });
            }
        }
        self.acquire(after);
        if let Some(before) = before {
            self.release(before);
        }
    }

    /// Takes a chain away.
    pub(crate) fn remove_chain(&mut self, name: &ChainName) {
        if let Some(chain) = self.chains.remove(name) {
            self.dirty.chains.insert(name.clone());
            self.release(References::of(&chain));
        }
    }

    fn acquire(&mut self, refs: References) {
        for chain in refs.chains {
            let users = self.chain_users.entry(chain.clone()).or_default();
            *users += 1;
            if *users == 1 {
                self.use_changed.insert(chain);
            }
        }
        for (set, shape) in refs.sets {
            *self.set_users.entry(set.clone()).or_default() += 1;
            if !self.sets.contains_key(&set) {
                self.add_set(set, Set { shape, elements: HashSet::new(), pinned: false });
            }
        }
    }

    fn release(&mut self, refs: References) {
        for chain in refs.chains {
            if release_one(&mut self.chain_users, &chain) {
                self.use_changed.insert(chain);
            }
        }
        for set in refs.sets.into_keys() {
            if release_one(&mut self.set_users, &set) && self.sets.get(&set).is_some_and(|s| !s.pinned) {
                self.remove_set(&set);
            }
        }
    }
}

/// Takes one user away. True if it was the last.
fn release_one<N: std::hash::Hash + Eq>(users: &mut HashMap<N, usize>, name: &N) -> bool {
    match users.get_mut(name) {
        Some(n) if *n > 1 => {
            *n -= 1;
            false
        }
        Some(_) => {
            users.remove(name);
            true
        }
        None => false,
    }
}

// === impl Table: sets ===

impl Table {
    /// Makes a set exist with exactly these elements, whoever uses it.
    pub(crate) fn pin_set(&mut self, name: &SetName, shape: SetShape, elements: HashSet<Element>) {
        match self.sets.get_mut(name) {
            Some(set) if set.shape == shape => {
                set.pinned = true;
                for gone in set.elements.difference(&elements) {
                    self.dirty.element(name, gone.clone(), false);
                }
                for new in elements.difference(&set.elements) {
                    self.dirty.element(name, new.clone(), true);
                }
                set.elements = elements;
            }
            _ => self.add_set(name.clone(), Set { shape, elements, pinned: true }),
        }
    }

    /// The state has no such set any more: it goes, or stays empty while a chain refers to it. Answers what was in it.
    pub(crate) fn unpin_set(&mut self, name: &SetName) -> HashSet<Element> {
        let Some(set) = self.sets.get_mut(name) else { return HashSet::new() };
        set.pinned = false;
        let elements = std::mem::take(&mut set.elements);
        if self.set_users.contains_key(name) {
            for gone in &elements {
                self.dirty.element(name, gone.clone(), false);
            }
        } else {
            self.remove_set(name);
        }
        elements
    }

    /// Adds an element. True if it was not there.
    pub(crate) fn add_element(&mut self, name: &SetName, element: Element) -> bool {
        let Some(set) = self.sets.get_mut(name) else { return false };
        let new = set.elements.insert(element.clone());
        if new {
            self.dirty.element(name, element, true);
        }
        new
    }

    /// Removes an element. True if it was there.
    pub(crate) fn remove_element(&mut self, name: &SetName, element: &Element) -> bool {
        let Some(set) = self.sets.get_mut(name) else { return false };
        let was = set.elements.remove(element);
        if was {
            self.dirty.element(name, element.clone(), false);
        }
        was
    }

    fn add_set(&mut self, name: SetName, set: Set) {
        self.dirty.sets.insert(name.clone(), SetChange::Whole);
        self.sets.insert(name, set);
    }

    fn remove_set(&mut self, name: &SetName) {
        self.sets.remove(name);
        self.dirty.sets.insert(name.clone(), SetChange::Whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{End, Key, Rule, Source};
    use tortie_net::{Family, PortRange};

    fn user(name: &str, sets: &[&str], jumps: &[&str]) -> Chain {
        let lookup = |set: &&str| Match::Lookup {
            key: Key::Address(End::Source, Family::V4),
            set: (*set).into(),
            negated: false,
        };
        let jump = |chain: &&str| Statement::Verdict(Verdict::Jump((*chain).into()));
        let rule = |matches, statements| Rule { matches, statements, source: Source::Plain };
        let mut rules: Vec<Rule> = sets.iter().map(|s| rule(vec![lookup(s)], Vec::new())).collect();
        rules.extend(jumps.iter().map(|c| rule(Vec::new(), vec![jump(c)])));
        Chain { name: name.into(), base: None, comment: "".into(), rules }
    }

    fn port(n: u16) -> Element {
        Element::Ports(PortRange::single(n))
    }

    #[test]
    fn sets_of_a_chain_live_with_it() {
        let mut t = Table::default();
        let constant = [(SetName::from("k"), (SetShape::Ports { ranges: false }, HashSet::from([port(1)])))];
        t.put_chain(user("a", &["k", "unknown"], &["b"]), constant.into());
        assert_eq!(t.sets()[&SetName::from("k")].elements().len(), 1);
        assert!(t.sets()[&SetName::from("unknown")].elements().is_empty());
        assert!(t.is_used(&"b".into()) && t.take_use_changed().contains(&"b".into()));
        t.put_chain(user("c", &["k"], &[]), BTreeMap::new());
        t.remove_chain(&"a".into());
        assert_eq!(t.sets().keys().map(ToString::to_string).collect::<Vec<_>>(), ["k"]);
        assert!(!t.is_used(&"b".into()) && t.take_use_changed().contains(&"b".into()));
        t.put_chain(user("c", &[], &[]), BTreeMap::new());
        assert!(t.sets().is_empty());
    }

    #[test]
    fn only_changes_are_dirty() {
        let mut t = Table::default();
        t.pin_set(&"s".into(), SetShape::Ports { ranges: false }, HashSet::from([port(1), port(2)]));
        t.put_chain(user("a", &["s"], &[]), BTreeMap::new());
        assert_eq!(t.take_dirty().sets[&SetName::from("s")], SetChange::Whole);
        t.put_chain(user("a", &["s"], &[]), BTreeMap::new());
        t.pin_set(&"s".into(), SetShape::Ports { ranges: false }, HashSet::from([port(2), port(3)]));
        t.add_element(&"s".into(), port(4));
        t.remove_element(&"s".into(), &port(4));
        let dirty = t.take_dirty();
        assert!(dirty.chains.is_empty());
        let want = SetChange::Elements { added: HashSet::from([port(3)]), removed: HashSet::from([port(1)]) };
        assert_eq!(dirty.sets, BTreeMap::from([("s".into(), want)]));
        t.unpin_set(&"s".into());
        assert!(t.sets()[&SetName::from("s")].elements().is_empty(), "in use: an empty placeholder remains");
        t.remove_chain(&"a".into());
        assert!(t.sets().is_empty());
        assert_eq!(t.take_dirty().sets[&SetName::from("s")], SetChange::Whole);
    }
}
