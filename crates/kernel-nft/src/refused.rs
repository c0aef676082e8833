//! Items that the kernel refuses: remembered, so that the rest can be written without them.

use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tortie_nft::Item;
use tortie_rules::{ChainName, Dirty, Element, SetChange, SetName};

/// An item that the kernel refuses, and that is therefore not as wanted. A refused chain drops everything; a refused set
/// or element is missing. It is tried again when it changes and after a resync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused.
    pub item: Item,
    /// Why.
    pub errno: Errno,
    /// What the kernel said.
    pub text: Option<Arc<str>>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.item, self.errno.desc())?;
        match &self.text {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}

/// How far a chain has to be reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reduced {
    /// As wanted.
    No,
    /// Its rules are refused: it is closed.
    Closed,
    /// Even that is refused: it is left as it is.
    Untouched,
}

/// All refusals.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    items: BTreeMap<Item, (Refusal, Reduced)>,
    /// Sets of which an element was refused: the kernel tells one error per message, so their elements go singly.
    single: BTreeSet<SetName>,
}

impl Refused {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.items.values().map(|(refusal, _)| refusal)
    }

    pub(crate) fn chain(&self, name: &ChainName) -> Reduced {
        self.items.get(&Item::Chain(name.clone())).map_or(Reduced::No, |(_, reduced)| *reduced)
    }

    pub(crate) fn set(&self, name: &SetName) -> bool {
        self.items.contains_key(&Item::Set(name.clone()))
    }

    pub(crate) fn element(&self, set: &SetName, element: &Element) -> bool {
        self.single.contains(set) && self.items.contains_key(&Item::Element(set.clone(), element.clone()))
    }

    pub(crate) fn is_single(&self, set: &SetName) -> bool {
        self.single.contains(set)
    }

    /// Remembers. False if none of it says anything new, so that trying again would end the same.
    pub(crate) fn note(&mut self, mut refusals: Vec<Refusal>) -> bool {
        let mut new = false;
        // Several rules of one chain are one refusal of the chain.
        refusals.sort_by(|a, b| a.item.cmp(&b.item));
        refusals.dedup_by(|later, first| later.item == first.item);
        for refusal in refusals {
            if let Item::Element(set, _) = &refusal.item {
                new |= self.single.insert(set.clone());
            }
            let next = match self.items.get(&refusal.item) {
                None => Reduced::Closed,
                Some((_, Reduced::Closed)) if matches!(refusal.item, Item::Chain(_)) => Reduced::Untouched,
                Some(_) => continue,
            };
            new = true;
            tracing::warn!(item = %refusal.item, error = %refusal.errno, text = refusal.text.as_deref(), "nftables refuses");
            self.items.insert(refusal.item.clone(), (refusal, next));
        }
        new
    }

    /// What changed is tried again; a refused element that went was never there.
    pub(crate) fn forget(&mut self, dirty: &mut Dirty) {
        if self.items.is_empty() {
            return;
        }
        for chain in &dirty.chains {
            self.items.remove(&Item::Chain(chain.clone()));
        }
        for (name, change) in &mut dirty.sets {
            self.items.remove(&Item::Set(name.clone()));
            match change {
                SetChange::Whole => {
                    self.items.retain(|item, _| !matches!(item, Item::Element(set, _) if set == name));
                    self.single.remove(name);
                }
                SetChange::Elements { added, removed } => {
                    for element in added.iter() {
                        self.items.remove(&Item::Element(name.clone(), element.clone()));
                    }
                    removed.retain(|e| self.items.remove(&Item::Element(name.clone(), e.clone())).is_none());
                }
            }
        }
    }
}
