//! Objects of different names that claim one key of the model: the first name wins.
//!
//! Two pools can have one CIDR, a host endpoint can move to another node. Must not depend on the order of arrival.

use crate::{Change, Key, Value};
use std::collections::{BTreeSet, HashMap};

/// Claims by name. Deterministic: for each key, the value of its lowest name.
#[derive(Debug, Default)]
pub struct Claims {
    by_name: HashMap<String, (Key, Value)>,
    names: HashMap<Key, BTreeSet<String>>,
}

impl Claims {
    /// Sets or removes the claim of a name, and answers what changes in the model.
    pub fn set(&mut self, name: &str, claim: Option<(Key, Value)>) -> Vec<Change> {
        let mut changes = Vec::new();
        let moved = match (&claim, self.by_name.get(name)) {
            (Some((key, _)), Some((old, _))) => key != old,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if moved {
            changes.extend(self.remove(name));
        }
        if let Some((key, value)) = claim {
            let names = self.names.entry(key.clone()).or_default();
            names.insert(name.to_owned());
            let wins = names.first().is_some_and(|first| first == name);
            if wins {
                changes.push(Change { key: key.clone(), value: Some(value.clone()) });
            }
            self.by_name.insert(name.to_owned(), (key, value));
        }
        changes
    }

    /// True if a name has a claim, whether it won or not.
    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The name that holds a key, if it is not `name`.
    pub fn winner_over(&self, name: &str) -> Option<&str> {
        let (key, _) = self.by_name.get(name)?;
        self.names.get(key)?.first().map(String::as_str).filter(|first| *first != name)
    }

    fn remove(&mut self, name: &str) -> Option<Change> {
        let (key, _) = self.by_name.remove(name)?;
        let names = self.names.get_mut(&key)?;
        let won = names.first().is_some_and(|first| first == name);
        names.remove(name);
        let next = names.first().and_then(|first| self.by_name.get(first)).map(|(_, value)| value.clone());
        if names.is_empty() {
            self.names.remove(&key);
        }
        won.then_some(Change { key, value: next })
    }
}
