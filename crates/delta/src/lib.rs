//! Desired against actual state, and what has to be done about the difference.
//!
//! A driver owns one [`Tracker`] per kind of thing it keeps in the kernel. The rules:
//! * `desired` changes as the calculation says; `actual` is what the driver read back or wrote;
//! * a deletion is planned only after [`Tracker::set_in_sync`]: before that, what is not desired may only be not known yet;
//! * an item whose write failed stays pending with its error, and hurts no other item;
//! * a full read-back ([`Tracker::replace_actual`]) counts what had drifted.
//!
//! Pure: the driver does the touching.

use std::collections::{BTreeMap, BTreeSet};

/// What is to be done, one entry per key, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo<'a, K, V> {
    /// Make it so.
    Put(&'a K, &'a V),
    /// Take it away; the value is what is there now.
    Delete(&'a K, &'a V),
}

/// Desired and actual state of one kind of thing.
#[derive(Clone, Debug)]
pub struct Tracker<K, V> {
    desired: BTreeMap<K, V>,
    actual: BTreeMap<K, V>,
    dirty: BTreeSet<K>,
    failed: BTreeMap<K, String>,
    in_sync: bool,
}

impl<K, V> Default for Tracker<K, V> {
    fn default() -> Self {
        Self {
            desired: BTreeMap::new(),
            actual: BTreeMap::new(),
            dirty: BTreeSet::new(),
            failed: BTreeMap::new(),
            in_sync: false,
        }
    }
}

impl<K: Ord + Clone, V: PartialEq> Tracker<K, V> {
    /// Wants `key` to be `value`.
    pub fn want(&mut self, key: K, value: V) {
        self.desired.insert(key.clone(), value);
        self.touch(key);
    }

    /// Wants `key` to be away.
    pub fn drop(&mut self, key: &K) {
        if self.desired.remove(key).is_some() {
            self.touch(key.clone());
        }
    }

    /// Now everything that should exist is known: deletions may be planned.
    pub fn set_in_sync(&mut self) {
        self.in_sync = true;
    }

    /// Takes a complete read-back. Answers how many items were not as this tracker believed.
    pub fn replace_actual(&mut self, actual: impl IntoIterator<Item = (K, V)>) -> usize {
        let actual: BTreeMap<K, V> = actual.into_iter().collect();
        let drift = actual.iter().filter(|(k, v)| self.actual.get(k) != Some(v)).count()
            + self.actual.keys().filter(|k| !actual.contains_key(k)).count();
        self.actual = actual;
        self.dirty = self.actual.keys().chain(self.desired.keys()).cloned().collect();
        self.dirty.retain(|k| self.desired.get(k) != self.actual.get(k));
        self.failed.retain(|k, _| self.dirty.contains(k));
        drift
    }

    /// One item was seen to be `value` (or to be away).
    pub fn saw(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => self.actual.insert(key.clone(), value),
            None => self.actual.remove(&key),
        };
        self.touch(key);
    }

    /// What has to be done now.
    pub fn plan(&self) -> impl Iterator<Item = Todo<'_, K, V>> {
        self.dirty.iter().filter_map(|key| {
            match (self.desired.get_key_value(key), self.actual.get_key_value(key)) {
                (Some((key, value)), _) => Some(Todo::Put(key, value)),
                (None, Some((key, value))) if self.in_sync => Some(Todo::Delete(key, value)),
                (None, _) => None,
            }
        })
    }

    /// The driver did what was planned for `key`.
    pub fn done(&mut self, key: &K)
    where
        V: Clone,
    {
        match self.desired.get(key) {
            Some(value) => self.actual.insert(key.clone(), value.clone()),
            None => self.actual.remove(key),
        };
        self.dirty.remove(key);
        self.failed.remove(key);
    }

    /// The driver could not do it; it stays pending.
    pub fn failed(&mut self, key: &K, error: String) {
        self.failed.insert(key.clone(), error);
    }

    /// True if nothing is to be done.
    pub fn is_settled(&self) -> bool {
        self.plan().next().is_none()
    }

    /// Items whose last write failed.
    pub fn failures(&self) -> impl Iterator<Item = (&K, &str)> {
        self.failed.iter().map(|(k, e)| (k, e.as_str()))
    }

    /// What is wanted.
    pub fn desired(&self) -> &BTreeMap<K, V> {
        &self.desired
    }

    /// What is there, as far as this tracker knows.
    pub fn actual(&self) -> &BTreeMap<K, V> {
        &self.actual
    }

    fn touch(&mut self, key: K) {
        if self.desired.get(&key) == self.actual.get(&key) {
            self.failed.remove(&key);
            self.dirty.remove(&key);
        } else {
            self.dirty.insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(t: &mut Tracker<u8, u8>, kernel: &mut BTreeMap<u8, u8>) {
        let todo: Vec<(u8, Option<u8>)> = t
            .plan()
            .map(|todo| match todo {
                Todo::Put(k, v) => (*k, Some(*v)),
                Todo::Delete(k, _) => (*k, None),
            })
            .collect();
        for (k, v) in todo {
            match v {
                Some(v) => kernel.insert(k, v),
                None => kernel.remove(&k),
            };
            t.done(&k);
        }
    }

    #[test]
    fn nothing_is_deleted_before_in_sync() {
        let mut t = Tracker::default();
        assert_eq!(t.replace_actual([(1, 1), (2, 2)]), 2);
        t.want(1, 1);
        assert!(t.is_settled());
        t.set_in_sync();
        assert_eq!(t.plan().collect::<Vec<_>>(), [Todo::Delete(&2, &2)]);
    }

    #[test]
    fn a_failure_stays_pending_and_is_reported() {
        let mut t = Tracker::default();
        t.want(1, 1);
        t.failed(&1, "no such device".into());
        assert!(!t.is_settled());
        assert_eq!(t.failures().collect::<Vec<_>>(), [(&1, "no such device")]);
        t.done(&1);
        assert_eq!(t.failures().count(), 0);
    }

    proptest! {
        /// Whatever happens, one apply after in-sync makes the kernel equal to what is wanted.
        #[test]
        fn converges(steps in prop::collection::vec((0u8..6, 0u8..8, 0u8..3), 0..60)) {
            let mut t = Tracker::default();
            let mut kernel: BTreeMap<u8, u8> = [(1, 9), (7, 9)].into();
            for (what, key, value) in steps {
                match what {
                    0 | 1 => t.want(key, value),
                    2 => t.drop(&key),
                    3 => { kernel.insert(key, value); t.replace_actual(kernel.clone()); }
                    4 => { kernel.remove(&key); t.saw(key, None); }
                    _ => apply(&mut t, &mut kernel),
                }
            }
            t.replace_actual(kernel.clone());
            t.set_in_sync();
            apply(&mut t, &mut kernel);
            prop_assert_eq!(&kernel, t.desired());
            prop_assert!(t.is_settled());
        }
    }
}
