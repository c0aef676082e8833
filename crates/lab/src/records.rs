//! Objects in the lab's datastore: create, change, remove, list, by compare-and-swap.

use crate::objects;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tortie_scenario::ObjectId;
use tortie_store::{Entry, Op, Precondition, Store, StoreError, Watch};

/// How often a lost compare-and-swap is tried again.
const TRIES: usize = 32;

/// How long a store that was killed may take to come back.
const AWAY: Duration = Duration::from_secs(5);

/// Between two tries to reach it.
const PAUSE: Duration = Duration::from_millis(5);

/// Annotation of the marker.
const MARK: &str = "lab.tortie/mark";

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Written {
    Created,
    Changed,
    Unchanged,
}

/// The objects of a lab.
#[derive(Clone)]
pub(crate) struct Records {
    store: Arc<dyn Store>,
    /// An object that is written to learn of a revision that watchers will see.
    marker: Option<Arc<str>>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Records")
    }
}

impl Records {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, marker: None }
    }

    /// For a store whose revisions also count what nobody watches: a revision of now is one of this object, made by writing it.
    pub(crate) fn with_marker(store: Arc<dyn Store>, path: &str) -> Self {
        Self { store, marker: Some(path.into()) }
    }

    /// The entry at a path; a store that is away for a moment is waited for.
    async fn entry(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        let deadline = Instant::now() + AWAY;
        loop {
            match self.store.get(path).await {
                Err(e) if e.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
                other => return other,
            }
        }
    }

    /// The object at a path.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self.entry(path).await? {
            Some(entry) => Ok(Some(object(&entry)?)),
            None => Ok(None),
        }
    }

    /// Everything below a prefix, and the datastore's revision.
    pub(crate) async fn list(&self, prefix: &str) -> anyhow::Result<(Vec<Entry>, u64)> {
        let deadline = Instant::now() + AWAY;
        let list = loop {
            match self.store.list(prefix).await {
                Err(e) if e.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
                other => break other?,
            }
        };
        Ok((list.entries, list.revision))
    }

    /// What happens below a prefix after a revision.
    pub(crate) async fn watch(&self, prefix: &str, revision: u64) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(prefix, revision).await
    }

    /// The datastore's revision now.
    pub(crate) async fn revision(&self) -> anyhow::Result<u64> {
        if let Some(path) = &self.marker {
            return self.mark(path).await;
        }
        // An empty list tells it too.
        Ok(self.list("/lab/").await?.1)
    }

    /// Writes the marker; answers the revision of that.
    async fn mark(&self, path: &str) -> anyhow::Result<u64> {
        let now = objects::new_uid()?;
        for _ in 0..TRIES {
            let entry = self.entry(path).await?.with_context(|| format!("there is no {path}"))?;
            let mut value = object(&entry)?;
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                let annotations =
                    metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
                if let Some(annotations) = annotations.as_object_mut() {
                    annotations.insert(MARK.to_owned(), now.as_str().into());
                }
            }
            match self.commit(vec![put(path, &value, Precondition::Revision(entry.revision))]).await {
                Ok(revision) => return Ok(revision),
                Err(e) if e.is_transient() || matches!(e, StoreError::Conflict { .. }) => {}
                Err(e) => return Err(e).with_context(|| format!("cannot write {path}")),
            }
        }
        bail!("{path} keeps being changed by somebody else")
    }

    /// Makes the object at `path` be `wanted`; answers what that took and the revision of its last change.
    pub(crate) async fn put(&self, path: &str, wanted: &Value) -> anyhow::Result<(Written, u64)> {
        for _ in 0..TRIES {
            let current = self.entry(path).await?;
            let (value, when, written) = match &current {
                None => (objects::create(wanted)?, Precondition::Absent, Written::Created),
                Some(entry) => match objects::update(&object(entry)?, wanted) {
                    None => return Ok((Written::Unchanged, entry.revision)),
                    Some(value) => (value, Precondition::Revision(entry.revision), Written::Changed),
                },
            };
            match self.commit(vec![put(path, &value, when)]).await {
                Ok(revision) => return Ok((written, revision)),
                // Whether a write that got no answer was done, the next reading tells.
                Err(e) if e.is_transient() || matches!(e, StoreError::Conflict { .. }) => {}
                Err(e) => return Err(e).with_context(|| format!("cannot write {path}")),
            }
        }
        bail!("{path} keeps being changed by somebody else")
    }

    /// Makes an object if there is none.
    pub(crate) async fn ensure(&self, path: &str, wanted: &Value) -> anyhow::Result<()> {
        for _ in 0..TRIES {
            if self.entry(path).await?.is_some() {
                return Ok(());
            }
            match self.commit(vec![put(path, &objects::create(wanted)?, Precondition::Absent)]).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => return Ok(()),
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(e).with_context(|| format!("cannot write {path}")),
            }
        }
        bail!("{path} cannot be written: the datastore comes and goes")
    }

    /// Creates many objects at once, none of which may exist.
    pub(crate) async fn create_all(&self, wanted: &[(String, Value)]) -> anyhow::Result<u64> {
        let made: anyhow::Result<Vec<Op>> = wanted
            .iter()
            .map(|(path, value)| Ok(put(path, &objects::create(value)?, Precondition::Absent)))
            .collect();
        Ok(self.commit(made?).await?)
    }

    /// Changes the object at `path`; an error if there is none.
    pub(crate) async fn change(
        &self,
        path: &str,
        id: &ObjectId,
        edit: impl Fn(&mut Value),
    ) -> anyhow::Result<u64> {
        for _ in 0..TRIES {
            let Some(entry) = self.entry(path).await? else { bail!("there is no {id}") };
            let old = object(&entry)?;
            let mut new = old.clone();
            edit(&mut new);
            if new == old {
                return Ok(entry.revision);
            }
            match self.commit(vec![put(path, &new, Precondition::Revision(entry.revision))]).await {
                Ok(revision) => return Ok(revision),
                // Whether a write that got no answer was done, the next reading tells.
                Err(e) if e.is_transient() || matches!(e, StoreError::Conflict { .. }) => {}
                Err(e) => return Err(e).with_context(|| format!("cannot change {id}")),
            }
        }
        bail!("{id} keeps being changed by somebody else")
    }

    /// Removes keys; answers the revision, or `None` if nothing was there.
    pub(crate) async fn remove(&self, path: &str) -> anyhow::Result<Option<u64>> {
        if self.entry(path).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.remove_all(vec![path.to_owned()]).await?))
    }

    /// Removes many keys at once.
    pub(crate) async fn remove_all(&self, paths: Vec<String>) -> anyhow::Result<u64> {
        let ops: Vec<Op> = paths.into_iter().map(|key| Op::Delete { key, when: Precondition::Any }).collect();
        let deadline = Instant::now() + AWAY;
        loop {
            match self.commit(ops.clone()).await {
                Err(e) if e.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
                other => return other.context("cannot remove objects"),
            }
        }
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<u64, StoreError> {
        self.store.commit(ops).await
    }
}

fn put(path: &str, value: &Value, when: Precondition) -> Op {
    Op::Put { key: path.to_owned(), value: Bytes::from(value.to_string()), when, ttl: None }
}

/// The object in an entry.
pub(crate) fn object(entry: &Entry) -> anyhow::Result<Value> {
    serde_json::from_slice(&entry.value).with_context(|| format!("{} does not hold JSON", entry.key))
}
