//! For each label name that a selector is filed under: the selectors, the classes and the parents, by value.

use crate::symbols::Symbol;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

/// A sorted set of slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots(SmallVec<[u32; 4]>);

impl Slots {
    pub(crate) fn insert(&mut self, slot: u32) {
        // Slots are often handed out in ascending order.
        if self.0.last().is_none_or(|&last| last < slot) {
            self.0.push(slot);
        } else if let Err(at) = self.0.binary_search(&slot) {
            self.0.insert(at, slot);
        }
    }

    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        self.0.binary_search(&slot).map(|at| self.0.remove(at)).is_ok()
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.0.binary_search(&slot).is_ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.0
    }
}

impl FromIterator<u32> for Slots {
    fn from_iter<T: IntoIterator<Item = u32>>(iter: T) -> Self {
        let mut slots: SmallVec<_> = iter.into_iter().collect();
        slots.sort_unstable();
        slots.dedup();
        Self(slots)
    }
}

/// Sets of slots by label value.
#[derive(Debug, Default)]
pub(crate) struct ByValue(HashMap<Symbol, Slots>);

impl ByValue {
    pub(crate) fn insert(&mut self, value: Symbol, slot: u32) {
        self.0.entry(value).or_default().insert(slot);
    }

    pub(crate) fn remove(&mut self, value: Symbol, slot: u32) {
        if let Entry::Occupied(mut entry) = self.0.entry(value) {
            entry.get_mut().remove(slot);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// Slots under the value, or under any.
    pub(crate) fn get(&self, value: Option<Symbol>) -> impl Iterator<Item = u32> + '_ {
        let (one, all) = match value {
            Some(value) => (self.0.get(&value), None),
            None => (None, Some(self.0.values())),
        };
        one.into_iter().chain(all.into_iter().flatten()).flat_map(Slots::iter)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is known under a label name.
#[derive(Debug, Default)]
pub(crate) struct Name {
    /// Selectors that need the label, with any value.
    pub(crate) selectors: Slots,
    /// Selectors that need the label to have one of some values.
    pub(crate) selectors_by_value: ByValue,
    /// Classes by their own label.
    pub(crate) classes: ByValue,
    /// Parents by their label.
    pub(crate) parents: ByValue,
}

impl Name {
    pub(crate) fn has_selectors(&self) -> bool {
        !self.selectors.is_empty() || !self.selectors_by_value.is_empty()
    }
}
