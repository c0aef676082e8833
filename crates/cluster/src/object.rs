//! Objects of projectcalico.org/v3 under compare-and-swap.

use serde_json::{Map, Value, json};
use std::time::SystemTime;
use tortie_api::v3::{self, ResourceType};
use tortie_blocks::Timestamp;
use tortie_store::{Op, Precondition, Store, StoreError};

/// Source of identities.
const UUID: &str = "/proc/sys/kernel/random/uuid";

/// How often a write is tried again that others were quicker with.
const TRIES: usize = 16;

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The datastore.
    #[error("cannot {doing} {object}")]
    Store {
        /// `read` or `write`.
        doing: &'static str,
        /// The object: `Tier(default)`.
        object: String,
        /// Why not.
        source: StoreError,
    },
    /// What is stored makes no sense.
    #[error("{object} in the datastore cannot be read ({reason}); repair or delete it")]
    Corrupt {
        /// The object.
        object: String,
        /// Why not.
        reason: String,
    },
    /// Others keep changing it.
    #[error("{object} was changed by others at every attempt to write it")]
    Contended {
        /// The object.
        object: String,
    },
    /// This machine has no source of random numbers.
    #[error("cannot make an identity for a new object from {UUID}")]
    Random(#[source] std::io::Error),
}

impl ObjectError {
    /// The datastore's own complaint, if that is what it is.
    pub fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// An object of a kind by its name.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    kind: &'static ResourceType,
    name: &'static str,
}

impl Place {
    pub(crate) fn new(kind: &str, name: &'static str) -> Self {
        Self { kind: v3::by_kind(kind).expect("a kind of the table"), name }
    }

    /// See [`get`].
    pub(crate) async fn get(self, store: &dyn Store) -> Result<Option<Value>, ObjectError> {
        Ok(get(store, self.kind, self.name).await?.map(|(value, _)| value))
    }

    /// Makes the object unless it is there.
    pub(crate) async fn create(self, store: &dyn Store, spec: Value) -> Result<(), ObjectError> {
        edit(store, self.kind.kind, self.name, |stored| {
            Ok::<_, ObjectError>(stored.is_none().then(|| new(self.kind, self.name, spec.clone())))
        })
        .await
        .map(drop)
    }

    /// As [`edit`].
    pub(crate) async fn edit(
        self,
        store: &dyn Store,
        change: impl FnMut(Option<&Value>) -> Result<Option<Value>, ObjectError>,
    ) -> Result<bool, ObjectError> {
        edit(store, self.kind.kind, self.name, change).await
    }

    /// A new object of this name.
    pub(crate) fn object(self, spec: Value) -> Value {
        new(self.kind, self.name, spec)
    }
}

/// A new object, without identity yet.
pub(crate) fn new(kind: &ResourceType, name: &str, spec: Value) -> Value {
    let mut object = json!({
        "kind": kind.kind,
        "apiVersion": v3::API_VERSION,
        "metadata": {"name": name},
        "spec": spec,
    });
    if kind.kind == "Tier" {
        // Calico writes it empty.
        object["status"] = json!({});
    }
    object
}

/// Reads an object with its revision.
pub(crate) async fn get(
    store: &dyn Store,
    kind: &ResourceType,
    name: &str,
) -> Result<Option<(Value, u64)>, ObjectError> {
    let object = || format!("{}({name})", kind.kind);
    let path = kind.path("", name);
    let entry = store.get(&path).await;
    let Some(entry) =
        entry.map_err(|source| ObjectError::Store { doing: "read", object: object(), source })?
    else {
        return Ok(None);
    };
    match serde_json::from_slice::<Value>(&entry.value) {
        Ok(value) if value.is_object() => Ok(Some((value, entry.revision))),
        Ok(_) => Err(ObjectError::Corrupt { object: object(), reason: "it is no JSON object".to_owned() }),
        Err(error) => Err(ObjectError::Corrupt { object: object(), reason: error.to_string() }),
    }
}

/// Reads an object and writes what `change` makes of it, until nobody comes between. `None` from `change` leaves it as
/// it is. Answers whether something was written.
pub(crate) async fn edit<E: From<ObjectError>>(
    store: &dyn Store,
    kind: &str,
    name: &str,
    mut change: impl FnMut(Option<&Value>) -> Result<Option<Value>, E>,
) -> Result<bool, E> {
    let kind = v3::by_kind(kind).expect("a kind of the table");
    let object = || format!("{}({name})", kind.kind);
    for _ in 0..TRIES {
        let stored = get(store, kind, name).await?;
        let Some(mut wanted) = change(stored.as_ref().map(|(value, _)| value))? else { return Ok(false) };
        let when = match &stored {
            Some((_, revision)) => Precondition::Revision(*revision),
            None => {
                identify(&mut wanted)?;
                Precondition::Absent
            }
        };
        let value = wanted.to_string().into();
        let put = Op::Put { key: kind.path("", name), value, when, ttl: None };
        match store.commit(vec![put]).await {
            Ok(_) => return Ok(true),
            Err(StoreError::Conflict { .. }) => {}
            Err(source) => return Err(ObjectError::Store { doing: "write", object: object(), source }.into()),
        }
    }
    Err(ObjectError::Contended { object: object() }.into())
}

/// Gives a new object its identity and its birthday.
fn identify(object: &mut Value) -> Result<(), ObjectError> {
    let metadata = part(object, "metadata");
    metadata.insert("uid".to_owned(), new_uid().map_err(ObjectError::Random)?.into());
    metadata.insert("creationTimestamp".to_owned(), now().into());
    Ok(())
}

/// This moment, as Kubernetes writes times.
pub fn now() -> String {
    Timestamp::from(SystemTime::now()).to_string()
}

/// A fresh random UUID.
pub fn new_uid() -> std::io::Result<String> {
    Ok(std::fs::read_to_string(UUID)?.trim().to_owned())
}

/// An object inside an object, made if it is not there.
pub(crate) fn part<'v>(object: &'v mut Value, key: &str) -> &'v mut Map<String, Value> {
    if !object.is_object() {
        *object = Map::new().into();
    }
    if !object[key].is_object() {
        object[key] = Map::new().into();
    }
    object[key].as_object_mut().expect("made an object just above")
}

/// Text at a pointer, empty if there is none.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
