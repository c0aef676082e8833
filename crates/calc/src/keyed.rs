//! Values in numbered slots that can be found by a key they contain.

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use std::hash::{BuildHasher, Hash};
use std::ops::{Index, IndexMut};

/// A value that knows its key. The key must not change while it is in a [`Keyed`].
pub(crate) trait HasKey {
    type Key: Hash + Eq + ?Sized;
    fn key(&self) -> &Self::Key;
}

/// Slots are small numbers, handed out again after removal. Looking into an empty slot panics: a slot is held only by
/// who knows that the value is there.
#[derive(Debug)]
pub(crate) struct Keyed<T> {
    values: Slab<T>,
    slots: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<T: HasKey> Keyed<T> {
    pub(crate) fn find(&self, key: &T::Key) -> Option<u32> {
        let values = &self.values;
        self.slots.find(self.hasher.hash_one(key), |&slot| values[slot as usize].key() == key).copied()
    }

    /// Adds a value whose key is not there yet.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let hash = self.hasher.hash_one(value.key());
        let slot = self.values.insert(value) as u32;
        let (values, hasher) = (&self.values, &self.hasher);
        self.slots.insert_unique(hash, slot, |&slot| hasher.hash_one(values[slot as usize].key()));
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let value = self.values.remove(slot as usize);
        let hash = self.hasher.hash_one(value.key());
        if let Ok(entry) = self.slots.find_entry(hash, |&s| s == slot) {
            entry.remove();
        }
        value
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> + '_ {
        self.values.iter().map(|(_, value)| value)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> + '_ {
        self.values.iter_mut().map(|(slot, value)| (slot as u32, value))
    }
}

impl<T> Index<u32> for Keyed<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        &self.values[slot as usize]
    }
}

impl<T> IndexMut<u32> for Keyed<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.values[slot as usize]
    }
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { values: Slab::new(), slots: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}
