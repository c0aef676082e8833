//! Writing: one object after the other, each bound to a revision.

use crate::api::Request;
use crate::failure::Failure;
use crate::kinds::{Kind, Place, Shape};
use crate::object::{self, EncodeError};
use crate::read::{self, Found};
use crate::store::Inner;
use crate::{native, node};
use serde_json::{Value, json};
use tortie_store::{Entry, Op, Precondition, StoreError};

/// How often a write without a condition is tried while others write the same object.
const RACES: usize = 20;

/// How one write ended.
enum Outcome {
    /// At this revision.
    Done(u64),
    /// The condition is not true.
    Lost,
}

/// Why one write failed.
enum WriteError {
    Failure(Failure),
    Encode(EncodeError),
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<EncodeError> for WriteError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// Applies writes in order; stops at the first that fails.
pub(crate) async fn commit(inner: &Inner, ops: Vec<Op>) -> Result<u64, StoreError> {
    Op::check(&ops)?;
    // What can never succeed is refused before anything is written.
    for op in &ops {
        check(inner, op)?;
    }
    let mut last = None;
    for op in ops {
        let doing = format!("write of {}", op.key());
        let Some((kind, place)) = inner.find(op.key()) else { continue };
        let outcome = match &op {
            Op::Put { key, value, when, .. } => put(inner, kind, &place, key, value, *when).await,
            Op::Delete { when, .. } => delete(inner, kind, &place, *when).await,
        };
        match outcome {
            Ok(Outcome::Done(revision)) => last = Some(revision),
            Ok(Outcome::Lost) => {
                let current = current(inner, kind, &place, op.key()).await?;
                return Err(StoreError::Conflict { key: op.key().to_owned(), current });
            }
            Err(WriteError::Failure(failure)) => return Err(inner.failed(failure, &doing)),
            Err(WriteError::Encode(error)) => {
                return Err(StoreError::Invalid { doing, reason: error.to_string() });
            }
        }
    }
    match last {
        Some(revision) => Ok(revision),
        None => {
            let present = read::present(inner).await;
            present.map_err(|failure| inner.failed(failure, "read of the present revision"))
        }
    }
}

fn check(inner: &Inner, op: &Op) -> Result<(), StoreError> {
    let invalid = |reason: &str| {
        Err(StoreError::Invalid { doing: format!("write of {:?}", op.key()), reason: reason.to_owned() })
    };
    match op {
        Op::Put { ttl: Some(_), .. } => invalid("objects in Kubernetes have no time to live"),
        Op::Put { key, .. } if inner.find(key).is_none() => {
            invalid("the key has no place in Kubernetes, or its name is none that Kubernetes takes")
        }
        _ => Ok(()),
    }
}

/// The entry as it is now, for a conflict. An object that cannot be read is none.
async fn current(inner: &Inner, kind: &Kind, place: &Place, key: &str) -> Result<Option<Entry>, StoreError> {
    let doing = format!("read of {key}");
    let found = read::find(inner, kind, place).await.map_err(|f| inner.failed(f, &doing))?;
    Ok(found.and_then(|found| read::entry(inner, kind, key, found, &doing).ok().flatten()))
}

async fn put(
    inner: &Inner,
    kind: &Kind,
    place: &Place,
    key: &str,
    value: &[u8],
    when: Precondition,
) -> Result<Outcome, WriteError> {
    if matches!(kind.shape, Shape::Node | Shape::Native(_)) {
        return change(inner, kind, place, key, value, when).await;
    }
    let create = async || -> Result<Outcome, WriteError> {
        let object = object::encode(kind, place, key, value, None)?;
        created(inner, kind, place, &object).await
    };
    match when {
        Precondition::Absent | Precondition::Revision(0) => create().await,
        Precondition::Revision(revision) => replace(inner, kind, place, key, value, revision).await,
        Precondition::Any => {
            for _ in 0..RACES {
                let outcome = match read::find(inner, kind, place).await? {
                    None => create().await?,
                    Some(found) => replace(inner, kind, &found.place, key, value, found.revision).await?,
                };
                if let Outcome::Done(_) = outcome {
                    return Ok(outcome);
                }
            }
            Err(Failure::Away("others keep writing the object".to_owned()).into())
        }
    }
}

async fn replace(
    inner: &Inner,
    kind: &Kind,
    place: &Place,
    key: &str,
    value: &[u8],
    revision: u64,
) -> Result<Outcome, WriteError> {
    let mut place = place.clone();
    let mut old = object::old_place(kind, &place);
    loop {
        let object = object::encode(kind, &place, key, value, Some(revision))?;
        match inner.api.call(&Request::put(kind.path(&place), &object)).await {
            Ok(body) => {
                let stored = answer(&body)?;
                return Ok(Outcome::Done(status(inner, kind, &place, &object, stored).await?));
            }
            Err(Failure::NotFound(_)) => match old.take() {
                Some(old) => place = old,
                None => return Ok(Outcome::Lost),
            },
            Err(Failure::Conflict(_)) => return Ok(Outcome::Lost),
            Err(failure) => return Err(failure.into()),
        }
    }
}

async fn created(inner: &Inner, kind: &Kind, place: &Place, object: &Value) -> Result<Outcome, WriteError> {
    match inner.api.call(&Request::post(kind.collection(&place.namespace), object)).await {
        Ok(body) => {
            let stored = answer(&body)?;
            Ok(Outcome::Done(status(inner, kind, place, object, stored).await?))
        }
        Err(Failure::Exists) => Ok(Outcome::Lost),
        Err(failure) => Err(failure.into()),
    }
}

/// Writes the status by itself where the server keeps it apart; answers the last revision.
async fn status(
    inner: &Inner,
    kind: &Kind,
    place: &Place,
    wanted: &Value,
    stored: Found,
) -> Result<u64, WriteError> {
    let Some(status) = wanted.get("status").filter(|status| !status.is_null()) else {
        return Ok(stored.revision);
    };
    if stored.object.get("status") == Some(status) {
        return Ok(stored.revision);
    }
    let patch = native::at_revision(json!({"status": status}), stored.revision);
    let path = format!("{}/status", kind.path(place));
    match inner.api.call(&Request::patch(path, &patch)).await {
        Ok(body) => Ok(answer(&body)?.revision),
        // A kind without a status of its own; or somebody was quicker, and has seen the rest of the object.
        Err(Failure::NoKind | Failure::NotFound(_) | Failure::Invalid(_) | Failure::Conflict(_)) => {
            Ok(stored.revision)
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Nodes and native objects: a patch of what differs.
async fn change(
    inner: &Inner,
    kind: &Kind,
    place: &Place,
    key: &str,
    value: &[u8],
    when: Precondition,
) -> Result<Outcome, WriteError> {
    let wanted: Value = serde_json::from_slice(value).map_err(|e| EncodeError::Json(e.to_string()))?;
    let Value::Object(fields) = &wanted else {
        return Err(EncodeError::Json("it is no object".to_owned()).into());
    };
    let metadata = fields.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    object::check_name(kind, place, key, &metadata)?;
    for _ in 0..RACES {
        let found = read::find(inner, kind, place).await?;
        let outcome = match (when, found) {
            (Precondition::Absent | Precondition::Revision(0), Some(_)) => return Ok(Outcome::Lost),
            (Precondition::Revision(revision), found)
                if revision != 0 && found.as_ref().is_none_or(|f| f.revision != revision) =>
            {
                return Ok(Outcome::Lost);
            }
            (_, Some(found)) => patch(inner, kind, place, &wanted, found).await?,
            (_, None) if kind.shape == Shape::Node => {
                let reason = "nodes are made by kubelet; there is none of this name in Kubernetes";
                return Err(EncodeError::ReadOnly(reason).into());
            }
            (_, None) => {
                let mut object = native::create(fields.clone());
                object["apiVersion"] = kind.api_version.clone().into();
                object["kind"] = kind.kind.into();
                if let Some(status) = fields.get("status") {
                    object["status"] = status.clone();
                }
                created(inner, kind, place, &object).await?
            }
        };
        if matches!((when, &outcome), (Precondition::Any, Outcome::Lost)) {
            continue;
        }
        return Ok(outcome);
    }
    Err(Failure::Away("others keep writing the object".to_owned()).into())
}

async fn patch(
    inner: &Inner,
    kind: &Kind,
    place: &Place,
    wanted: &Value,
    found: Found,
) -> Result<Outcome, WriteError> {
    let patches = match kind.shape {
        Shape::Native(resource) => {
            let pruned = native::prune(resource, &found.object)
                .map_err(|error| Failure::Corrupt(format!("the object is not understood: {error}")))?;
            native::patches(resource, &pruned, wanted, &found.object)
        }
        _ => native::Patches { object: None, status: node::patch(&found.object, wanted) },
    };
    let mut revision = found.revision;
    for (patch, part) in [(patches.object, ""), (patches.status, "/status")] {
        let Some(patch) = patch else { continue };
        let patch = native::at_revision(patch, revision);
        let path = format!("{}{part}", kind.path(place));
        match inner.api.call(&Request::patch(path, &patch)).await {
            Ok(body) => revision = answer(&body)?.revision,
            Err(Failure::Conflict(_) | Failure::NotFound(_)) => return Ok(Outcome::Lost),
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(Outcome::Done(revision))
}

async fn delete(
    inner: &Inner,
    kind: &Kind,
    place: &Place,
    when: Precondition,
) -> Result<Outcome, WriteError> {
    if kind.shape == Shape::Node {
        let reason = "nodes are removed in Kubernetes (`kubectl delete node`), not in the datastore";
        return Err(EncodeError::ReadOnly(reason).into());
    }
    if kind.shape == Shape::AffinityView {
        return Err(EncodeError::ReadOnly("block affinities are released by address management only").into());
    }
    if matches!(kind.shape, Shape::Endpoint | Shape::NamespaceProfile | Shape::AccountProfile) {
        return Err(EncodeError::ReadOnly(object::DERIVED).into());
    }
    if matches!(when, Precondition::Absent | Precondition::Revision(0)) {
        return match read::find(inner, kind, place).await? {
            Some(_) => Ok(Outcome::Lost),
            None => Ok(Outcome::Done(read::present(inner).await?)),
        };
    }
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
    if let Precondition::Revision(revision) = when {
        options["preconditions"] = json!({"resourceVersion": revision.to_string()});
    }
    let mut place = place.clone();
    let mut old = object::old_place(kind, &place);
    loop {
        match inner.api.call(&Request::delete(kind.path(&place), &options)).await {
            // The answer does not say at which revision the object went.
            Ok(_) => {
                let path = kind.collection(&place.namespace);
                return Ok(Outcome::Done(read::revision_of(inner, &path).await?));
            }
            Err(Failure::NotFound(_) | Failure::NoKind) => match (old.take(), when) {
                (Some(old), _) => place = old,
                (None, Precondition::Any) => return Ok(Outcome::Done(read::present(inner).await?)),
                (None, _) => return Ok(Outcome::Lost),
            },
            Err(Failure::Conflict(_)) => return Ok(Outcome::Lost),
            Err(failure) => return Err(failure.into()),
        }
    }
}

fn answer(body: &[u8]) -> Result<Found, Failure> {
    let object: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::Corrupt(format!("the answer is no JSON ({error})")))?;
    let revision = object::revision(&object)
        .ok_or_else(|| Failure::Corrupt("the written object has no resourceVersion".to_owned()))?;
    let place = object::place(&object);
    Ok(Found { object, revision, place })
}
