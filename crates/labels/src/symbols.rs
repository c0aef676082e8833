//! Interned strings with reference counts.

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use std::hash::BuildHasher;

/// An interned string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(u32);

/// The strings that are in use.
///
/// The number of references of a label value is also an estimate, for free, of how many classes a selector that asks
/// for the value could match.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    entries: Slab<Entry>,
    by_text: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    references: u32,
}

impl Symbols {
    /// The symbol of a string, with one more reference.
    pub(crate) fn acquire(&mut self, text: &str) -> Symbol {
        let hash = self.hasher.hash_one(text);
        let entries = &mut self.entries;
        if let Some(&slot) = self.by_text.find(hash, |&slot| *entries[slot as usize].text == *text) {
            entries[slot as usize].references += 1;
            return Symbol(slot);
        }
        let slot = entries.insert(Entry { text: text.into(), references: 1 }) as u32;
        let hasher = &self.hasher;
        self.by_text.insert_unique(hash, slot, |&slot| hasher.hash_one(&*entries[slot as usize].text));
        Symbol(slot)
    }

    /// Gives back one reference; the string is forgotten with the last.
    pub(crate) fn release(&mut self, symbol: Symbol) {
        let entry = &mut self.entries[symbol.0 as usize];
        entry.references -= 1;
        if entry.references > 0 {
            return;
        }
        let entry = self.entries.remove(symbol.0 as usize);
        let hash = self.hasher.hash_one(&*entry.text);
        if let Ok(found) = self.by_text.find_entry(hash, |&slot| slot == symbol.0) {
            found.remove();
        }
    }

    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        &self.entries[symbol.0 as usize].text
    }

    pub(crate) fn references(&self, symbol: Symbol) -> usize {
        self.entries[symbol.0 as usize].references as usize
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
