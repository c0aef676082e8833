//! What was told, so that it is not told again.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The values that a dataplane has, by key.
#[derive(Debug)]
pub(crate) struct Told<K, V>(BTreeMap<K, Arc<V>>);

impl<K: Ord + Clone, V: PartialEq> Told<K, V> {
    /// Notes that the value is now this one, or that there is none. Answers what to tell, if anything.
    pub(crate) fn tell(&mut self, key: &K, value: Option<V>) -> Option<Option<Arc<V>>> {
        match (self.0.get(key), value) {
            (Some(old), Some(new)) if **old == new => None,
            (None, None) => None,
            (_, Some(new)) => {
                let new = Arc::new(new);
                self.0.insert(key.clone(), new.clone());
                Some(Some(new))
            }
            (Some(_), None) => {
                self.0.remove(key);
                Some(None)
            }
        }
    }
}

impl<K, V> Default for Told<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}
