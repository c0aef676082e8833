//! What a selector is evaluated against.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

/// A look-up of label values.
pub trait Labels {
    /// The value of the label, if there is one.
    fn get(&self, key: &str) -> Option<&str>;
}

/// Nothing at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLabels;

/// Own labels over inherited ones: an own label hides an inherited one of that name, an earlier parent a later one.
#[derive(Clone, Copy, Debug)]
pub struct Layered<'a, O: ?Sized, I> {
    /// Labels of the thing itself.
    pub own: &'a O,
    /// Labels of its parents, the most important first.
    pub inherited: I,
}

impl Labels for NoLabels {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl<K: Borrow<str> + Ord, V: AsRef<str>> Labels for BTreeMap<K, V> {
    fn get(&self, key: &str) -> Option<&str> {
        BTreeMap::get(self, key).map(AsRef::as_ref)
    }
}

impl<K: Borrow<str> + Hash + Eq, V: AsRef<str>, S: BuildHasher> Labels for HashMap<K, V, S> {
    fn get(&self, key: &str) -> Option<&str> {
        HashMap::get(self, key).map(AsRef::as_ref)
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn get(&self, key: &str) -> Option<&str> {
        (**self).get(key)
    }
}

impl<L: Labels + ?Sized> Labels for std::sync::Arc<L> {
    fn get(&self, key: &str) -> Option<&str> {
        (**self).get(key)
    }
}

/// The first that has the label wins.
impl<L: Labels> Labels for [L] {
    fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|labels| labels.get(key))
    }
}

/// The first that has the label wins.
impl<L: Labels> Labels for Vec<L> {
    fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|labels| labels.get(key))
    }
}

impl<O: Labels + ?Sized, I: Labels> Labels for Layered<'_, O, I> {
    fn get(&self, key: &str) -> Option<&str> {
        self.own.get(key).or_else(|| self.inherited.get(key))
    }
}
