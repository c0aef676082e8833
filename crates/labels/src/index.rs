//! The index.

use crate::names::{Name, Slots};
use crate::program::Program;
use crate::symbols::{Symbol, Symbols};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use slab::Slab;
use std::hash::{BuildHasher, Hash};
use tortie_selector::Selector;

/// A match that started or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a, I, S> {
    /// The selector now selects the item.
    Started(&'a S, &'a I),
    /// The selector no longer selects the item.
    Stopped(&'a S, &'a I),
}

/// Items, parents and selectors, by ids of the caller's choice. Ids should be cheap to clone.
///
/// Each change reports the matches that started and stopped with it, and nothing else: a change that changes nothing
/// is silent.
#[derive(Debug)]
pub struct Index<I, S> {
    symbols: Symbols,
    items: HashMap<I, Place>,
    classes: Slab<Class<I>>,
    class_slots: HashTable<u32>,
    parents: Slab<Parent>,
    parent_slots: HashTable<u32>,
    selectors: Slab<Filed<S>>,
    selector_slots: HashMap<S, u32>,
    /// Names that selectors are filed under.
    names: HashMap<Symbol, Name>,
    /// Selectors that are filed under no name: they meet every class.
    unfiled: Slots,
    hasher: DefaultHashBuilder,
}

/// Where an item is: its class, and its place in the class's list.
#[derive(Clone, Copy, Debug)]
struct Place {
    class: u32,
    at: u32,
}

/// Name and value, sorted by name.
type Labels = Box<[(Symbol, Symbol)]>;

/// Items with the same labels and parents.
#[derive(Debug)]
struct Class<I> {
    labels: Labels,
    parents: Box<[u32]>,
    items: Vec<I>,
    matches: Slots,
}

/// Exists while it has labels or classes.
#[derive(Debug, Default)]
struct Parent {
    name: Box<str>,
    labels: Labels,
    classes: Slots,
}

#[derive(Debug)]
struct Filed<S> {
    id: S,
    canonical: Box<str>,
    program: Program,
    under: Under,
}

/// What a selector is filed under.
#[derive(Debug)]
enum Under {
    /// It can match nothing.
    Nothing,
    /// It may match anything.
    Anything,
    Name(Symbol),
    Values(Symbol, Box<[Symbol]>),
}

impl<I: Clone + Eq + Hash, S: Clone + Eq + Hash> Index<I, S> {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an item, or changes its labels and parents. Of a repeated label the last value counts.
    ///
    /// A parent need not exist; it has no labels then.
    pub fn set_item<'a>(
        &mut self,
        id: &I,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        parents: impl IntoIterator<Item = &'a str>,
        on: &mut impl FnMut(Event<'_, I, S>),
    ) {
        let labels = self.acquire_labels(labels);
        let parents = parents.into_iter().map(|name| self.parent_slot(name)).collect();
        let class = self.class_slot(labels, parents);
        let old = self.items.get(id).copied();
        if old.is_some_and(|place| place.class == class) {
            return;
        }
        let items = &mut self.classes[class as usize].items;
        items.push(id.clone());
        let place = Place { class, at: items.len() as u32 - 1 };
        if let Some(old) = old {
            self.take_from_class(old);
            self.items.insert(id.clone(), place);
            let (before, after) = (&self.classes[old.class as usize], &self.classes[class as usize]);
            self.report_difference(&before.matches, &after.matches, std::slice::from_ref(id), on);
            self.drop_class_if_empty(old.class);
        } else {
            self.items.insert(id.clone(), place);
            let after = &self.classes[class as usize].matches;
            self.report_difference(&Slots::default(), after, std::slice::from_ref(id), on);
        }
    }

    /// Removes an item. Nothing happens if it is not there.
    pub fn remove_item(&mut self, id: &I, on: &mut impl FnMut(Event<'_, I, S>)) {
        let Some(place) = self.items.remove(id) else {
            return;
        };
        self.take_from_class(place);
        let before = &self.classes[place.class as usize].matches;
        self.report_difference(before, &Slots::default(), std::slice::from_ref(id), on);
        self.drop_class_if_empty(place.class);
    }

    /// Sets the labels of a parent. None is the same as no parent.
    pub fn set_parent<'a>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        on: &mut impl FnMut(Event<'_, I, S>),
    ) {
        let labels = self.acquire_labels(labels);
        let slot = self.parent_slot(name);
        let parent = &mut self.parents[slot as usize];
        let old = std::mem::replace(&mut parent.labels, labels);
        let changed = old != parent.labels;
        if changed {
            for (name, value) in &*old {
                if let Some(entry) = self.names.get_mut(name) {
                    entry.parents.remove(*value, slot);
                }
            }
            for (name, value) in &*parent.labels {
                if let Some(entry) = self.names.get_mut(name) {
                    entry.parents.insert(*value, slot);
                }
            }
            let classes = parent.classes.clone();
            for class in classes.iter() {
                let after = self.matches_of_class(&self.classes[class as usize]);
                let before = std::mem::replace(&mut self.classes[class as usize].matches, after);
                let class = &self.classes[class as usize];
                self.report_difference(&before, &class.matches, &class.items, on);
            }
        }
        self.release_labels(&old);
        self.drop_parent_if_unused(slot);
    }

    /// Removes a parent's labels.
    pub fn remove_parent(&mut self, name: &str, on: &mut impl FnMut(Event<'_, I, S>)) {
        if self.find_parent(name).is_some() {
            self.set_parent(name, [], on);
        }
    }

    /// The labels of a parent.
    pub fn parent(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.find_parent(name).map(|slot| &self.parents[slot as usize].labels);
        labels.into_iter().flatten().map(|&(name, value)| (self.symbols.text(name), self.symbols.text(value)))
    }

    /// Adds or replaces a selector. Only differences between the old and the new are reported.
    pub fn set_selector(&mut self, id: &S, selector: &Selector, on: &mut impl FnMut(Event<'_, I, S>)) {
        let old = self.selector_slots.get(id).copied();
        if old.is_some_and(|slot| *self.selectors[slot as usize].canonical == *selector.canonical()) {
            return;
        }
        let before = old.map(|slot| self.unfile(slot)).unwrap_or_default();
        let slot = self.file(id, selector);
        let filed = &self.selectors[slot as usize];
        let mut after = self.candidates(&filed.under);
        after.retain(|&class| self.class_matches(&self.classes[class as usize], &filed.program));
        for &class in &after {
            self.classes[class as usize].matches.insert(slot);
        }
        let after = Slots::from_iter(after);
        for class in after.iter().filter(|&class| !before.contains(class)) {
            self.classes[class as usize].items.iter().for_each(|item| on(Event::Started(id, item)));
        }
        for class in before.iter().filter(|&class| !after.contains(class)) {
            self.classes[class as usize].items.iter().for_each(|item| on(Event::Stopped(id, item)));
        }
    }

    /// Removes a selector. Nothing happens if it is not there.
    pub fn remove_selector(&mut self, id: &S, on: &mut impl FnMut(Event<'_, I, S>)) {
        let Some(slot) = self.selector_slots.remove(id) else {
            return;
        };
        for class in self.unfile(slot).iter() {
            self.classes[class as usize].items.iter().for_each(|item| on(Event::Stopped(id, item)));
        }
    }

    /// The selectors that select an item.
    pub fn matches(&self, id: &I) -> impl Iterator<Item = &S> + '_ {
        let place = self.items.get(id);
        let matches = place.map_or(&[][..], |place| self.classes[place.class as usize].matches.as_slice());
        matches.iter().map(|&slot| &self.selectors[slot as usize].id)
    }

    /// The items that a selector selects.
    pub fn items(&self, id: &S) -> impl Iterator<Item = &I> + '_ {
        let classes = self.selector_slots.get(id).map(|&slot| self.matched_classes(slot)).unwrap_or_default();
        classes.into_iter().flat_map(|class| &self.classes[class as usize].items)
    }

    /// How many items there are.
    pub fn item_count(&self) -> usize {
        self.items.len()
    }

    /// How many selectors there are.
    pub fn selector_count(&self) -> usize {
        self.selectors.len()
    }

    // === classes ===

    /// The class of these labels and parents. Takes over the references of the labels.
    fn class_slot(&mut self, labels: Labels, parents: Box<[u32]>) -> u32 {
        let hash = self.hasher.hash_one((&labels, &parents));
        let classes = &self.classes;
        let found = self.class_slots.find(hash, |&slot| {
            let class = &classes[slot as usize];
            class.labels == labels && class.parents == parents
        });
        if let Some(&slot) = found {
            self.release_labels(&labels);
            return slot;
        }
        let mut class = Class { labels, parents, items: Vec::new(), matches: Slots::default() };
        class.matches = self.matches_of_class(&class);
        let slot = self.classes.vacant_key() as u32;
        for (name, value) in &*class.labels {
            if let Some(entry) = self.names.get_mut(name) {
                entry.classes.insert(*value, slot);
            }
        }
        for &parent in &*class.parents {
            self.parents[parent as usize].classes.insert(slot);
        }
        self.classes.insert(class);
        let (classes, hasher) = (&self.classes, &self.hasher);
        self.class_slots.insert_unique(hash, slot, |&slot| {
            let class = &classes[slot as usize];
            hasher.hash_one((&class.labels, &class.parents))
        });
        slot
    }

    fn take_from_class(&mut self, place: Place) {
        let items = &mut self.classes[place.class as usize].items;
        items.swap_remove(place.at as usize);
        if let Some(moved) = items.get(place.at as usize)
            && let Some(moved) = self.items.get_mut(moved)
        {
            moved.at = place.at;
        }
    }

    fn drop_class_if_empty(&mut self, slot: u32) {
        if !self.classes[slot as usize].items.is_empty() {
            return;
        }
        let class = self.classes.remove(slot as usize);
        let hash = self.hasher.hash_one((&class.labels, &class.parents));
        if let Ok(entry) = self.class_slots.find_entry(hash, |&s| s == slot) {
            entry.remove();
        }
        for (name, value) in &*class.labels {
            if let Some(entry) = self.names.get_mut(name) {
                entry.classes.remove(*value, slot);
            }
        }
        self.release_labels(&class.labels);
        // A parent that is listed twice must not be looked at after it is gone.
        let parents: Slots = class.parents.iter().copied().collect();
        for parent in parents.iter() {
            self.parents[parent as usize].classes.remove(slot);
            self.drop_parent_if_unused(parent);
        }
    }

    /// The value of a label of a class, own or inherited.
    fn label(&self, class: &Class<I>, name: Symbol) -> Option<Symbol> {
        let own = std::iter::once(&class.labels);
        let inherited = class.parents.iter().map(|&parent| &self.parents[parent as usize].labels);
        own.chain(inherited).find_map(|labels| value_of(labels, name))
    }

    fn class_matches(&self, class: &Class<I>, program: &Program) -> bool {
        program.evaluate(&self.symbols, &|name| self.label(class, name))
    }

    /// The selectors that select a class, worked out from nothing.
    fn matches_of_class(&self, class: &Class<I>) -> Slots {
        let mut found: Vec<u32> = self.unfiled.iter().collect();
        let mut look_under = |name: &Symbol, value: &Symbol| {
            if let Some(entry) = self.names.get(name) {
                found.extend(entry.selectors.iter());
                found.extend(entry.selectors_by_value.get(Some(*value)));
            }
        };
        class.labels.iter().for_each(|(name, value)| look_under(name, value));
        for &parent in &*class.parents {
            // Those that are hidden by another label find too much, which does no harm.
            self.parents[parent as usize].labels.iter().for_each(|(name, value)| look_under(name, value));
        }
        found.retain(|&slot| self.class_matches(class, &self.selectors[slot as usize].program));
        Slots::from_iter(found)
    }

    fn report_difference(
        &self,
        before: &Slots,
        after: &Slots,
        items: &[I],
        on: &mut impl FnMut(Event<'_, I, S>),
    ) {
        for slot in after.iter().filter(|&slot| !before.contains(slot)) {
            let selector = &self.selectors[slot as usize].id;
            items.iter().map(|item| Event::Started(selector, item)).for_each(&mut *on);
        }
        for slot in before.iter().filter(|&slot| !after.contains(slot)) {
            let selector = &self.selectors[slot as usize].id;
            items.iter().map(|item| Event::Stopped(selector, item)).for_each(&mut *on);
        }
    }

    // === parents ===

    fn parent_slot(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.find_parent(name) {
            return slot;
        }
        let slot = self.parents.insert(Parent { name: name.into(), ..Parent::default() }) as u32;
        let (parents, hasher) = (&self.parents, &self.hasher);
        self.parent_slots.insert_unique(hasher.hash_one(name), slot, |&slot| {
            hasher.hash_one(&*parents[slot as usize].name)
        });
        slot
    }

    fn find_parent(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.parent_slots.find(hash, |&slot| *self.parents[slot as usize].name == *name).copied()
    }

    fn drop_parent_if_unused(&mut self, slot: u32) {
        let parent = &self.parents[slot as usize];
        if parent.labels.is_empty() && parent.classes.is_empty() {
            let parent = self.parents.remove(slot as usize);
            let hash = self.hasher.hash_one(&*parent.name);
            if let Ok(entry) = self.parent_slots.find_entry(hash, |&s| s == slot) {
                entry.remove();
            }
        }
    }

    // === labels ===

    fn acquire_labels<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut acquired: Vec<_> = labels
            .into_iter()
            .map(|(name, value)| (self.symbols.acquire(name), self.symbols.acquire(value)))
            .collect();
        // A stable sort: of equal names the last stays last.
        acquired.sort_by_key(|(name, _)| *name);
        let symbols = &mut self.symbols;
        acquired.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
                symbols.release(later.0);
                symbols.release(later.1);
            }
            same
        });
        acquired.into_boxed_slice()
    }

    fn release_labels(&mut self, labels: &Labels) {
        for (name, value) in &**labels {
            self.symbols.release(*name);
            self.symbols.release(*value);
        }
    }

    // === selectors ===

    /// Files a selector; it matches nothing yet.
    fn file(&mut self, id: &S, selector: &Selector) -> u32 {
        let program = Program::compile(selector.expr(), &mut self.symbols);
        let under = self.choose(selector);
        let slot = self.selectors.vacant_key() as u32;
        match &under {
            Under::Nothing => {}
            Under::Anything => self.unfiled.insert(slot),
            Under::Name(name) => self.name(*name).selectors.insert(slot),
            Under::Values(name, values) => {
                let entry = self.name(*name);
                values.iter().for_each(|value| entry.selectors_by_value.insert(*value, slot));
            }
        }
        self.selectors.insert(Filed {
            id: id.clone(),
            canonical: selector.canonical().into(),
            program,
            under,
        });
        self.selector_slots.insert(id.clone(), slot);
        slot
    }

    /// The reverse of `file`. Answers the classes that it matched; they no longer know it.
    fn unfile(&mut self, slot: u32) -> Slots {
        let classes = Slots::from_iter(self.matched_classes(slot));
        for class in classes.iter() {
            self.classes[class as usize].matches.remove(slot);
        }
        let filed = self.selectors.remove(slot as usize);
        match &filed.under {
            Under::Nothing => {}
            Under::Anything => {
                self.unfiled.remove(slot);
            }
            Under::Name(name) => {
                if let Some(entry) = self.names.get_mut(name) {
                    entry.selectors.remove(slot);
                }
                self.drop_name_if_unused(*name);
            }
            Under::Values(name, values) => {
                if let Some(entry) = self.names.get_mut(name) {
                    values.iter().for_each(|value| entry.selectors_by_value.remove(*value, slot));
                }
                self.drop_name_if_unused(*name);
            }
        }
        filed.program.release(&mut self.symbols);
        classes
    }

    /// Finds the name or values under which a selector meets the fewest classes, and classes the fewest selectors.
    ///
    /// The symbols that restrictions mention are held by the selector's program.
    fn choose(&mut self, selector: &Selector) -> Under {
        let mut best: Option<(usize, Under)> = None;
        for (label, restriction) in selector.restrictions() {
            if !restriction.satisfiable() {
                return Under::Nothing;
            }
            if !restriction.must_be_present {
                continue;
            }
            let mut symbol = |text: &str| {
                let symbol = self.symbols.acquire(text);
                self.symbols.release(symbol);
                symbol
            };
            let name = symbol(&label);
            let (cost, under) = match restriction.must_have_one_of {
                Some(values) => {
                    let values: Box<[_]> = values.iter().map(|v| symbol(v)).collect();
                    (values.iter().map(|v| self.symbols.references(*v)).sum(), Under::Values(name, values))
                }
                None => (self.symbols.references(name), Under::Name(name)),
            };
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, under));
            }
        }
        best.map_or(Under::Anything, |(_, under)| under)
    }

    /// The entry of a name; a new one knows all classes and parents that have the label.
    fn name(&mut self, name: Symbol) -> &mut Name {
        let Self { names, classes, parents, .. } = self;
        names.entry(name).or_insert_with(|| {
            let mut entry = Name::default();
            for (slot, class) in &*classes {
                if let Some(value) = value_of(&class.labels, name) {
                    entry.classes.insert(value, slot as u32);
                }
            }
            for (slot, parent) in &*parents {
                if let Some(value) = value_of(&parent.labels, name) {
                    entry.parents.insert(value, slot as u32);
                }
            }
            entry
        })
    }

    fn drop_name_if_unused(&mut self, name: Symbol) {
        if self.names.get(&name).is_some_and(|entry| !entry.has_selectors()) {
            self.names.remove(&name);
        }
    }

    /// The classes that a selector filed so may match; each once.
    fn candidates(&self, under: &Under) -> Vec<u32> {
        let mut found = Vec::new();
        let mut look_under = |name: &Symbol, value: Option<Symbol>| {
            if let Some(entry) = self.names.get(name) {
                found.extend(entry.classes.get(value));
                for parent in entry.parents.get(value) {
                    found.extend(self.parents[parent as usize].classes.iter());
                }
            }
        };
        match under {
            Under::Nothing => {}
            Under::Anything => found.extend(self.classes.iter().map(|(slot, _)| slot as u32)),
            Under::Name(name) => look_under(name, None),
            Under::Values(name, values) => values.iter().for_each(|value| look_under(name, Some(*value))),
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn matched_classes(&self, slot: u32) -> Vec<u32> {
        let mut classes = self.candidates(&self.selectors[slot as usize].under);
        classes.retain(|&class| self.classes[class as usize].matches.contains(slot));
        classes
    }
}

impl<I, S> Default for Index<I, S> {
    fn default() -> Self {
        Self {
            symbols: Symbols::default(),
            items: HashMap::new(),
            classes: Slab::new(),
            class_slots: HashTable::new(),
            parents: Slab::new(),
            parent_slots: HashTable::new(),
            selectors: Slab::new(),
            selector_slots: HashMap::new(),
            names: HashMap::new(),
            unfiled: Slots::default(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

fn value_of(labels: &Labels, name: Symbol) -> Option<Symbol> {
    let at = labels.binary_search_by_key(&name, |(name, _)| *name).ok()?;
    labels.get(at).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests;
