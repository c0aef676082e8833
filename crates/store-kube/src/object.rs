//! Objects of the API to values of the port, and back.
//!
//! What is read is complete in meaning and pruned in form; what is written is the whole object for custom resources.
//! Native objects and nodes are never written whole: see [`crate::native`] and [`crate::node`].

mod ipam;

use crate::config::Group;
use crate::kinds::{Kind, Place, Shape};
use crate::metadata::{self, MetadataError};
use crate::{derived, native, node};
use bytes::Bytes;
use serde_json::{Map, Value};
use tortie_api::v3;

/// What an object is to the port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A key with its value.
    Entry(String, Bytes),
    /// A key that counts as gone: its object is about to be deleted.
    Gone(String),
    /// Nothing: the object is none for the port.
    Nothing,
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// A part is missing or is something else than it should be.
    #[error("{field} is missing or not understood")]
    Field { field: &'static str },
    /// Packed metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A native object.
    #[error("it is not what Kubernetes says that it is: {0}")]
    Native(#[from] serde_json::Error),
}

/// Why a value cannot be an object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    /// No JSON, or JSON of another shape.
    #[error("the value is no JSON object of this kind: {0}")]
    Json(String),
    /// The object says that it is another one.
    #[error("the object says that its {what} is {found:?}, but its key says {expected:?}")]
    Name { what: &'static str, found: String, expected: String },
    /// Kinds that others write.
    #[error("{0}")]
    ReadOnly(&'static str),
}

/// Why what is derived cannot be written.
pub(crate) const DERIVED: &str =
    "endpoints and profiles are made of pods, namespaces and service accounts; change those in Kubernetes";

fn field(field: &'static str) -> DecodeError {
    DecodeError::Field { field }
}

/// The revision of an object.
pub(crate) fn revision(object: &Value) -> Option<u64> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

/// Namespace and name of an object, for messages and for what cannot be read.
pub(crate) fn place(object: &Value) -> Place {
    let text = |path| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    Place { namespace: text("/metadata/namespace"), name: text("/metadata/name") }
}

/// Reads an object.
pub(crate) fn decode(kind: &Kind, object: Value) -> Result<Seen, DecodeError> {
    let entry = |key: String, value: Value| Ok(Seen::Entry(key, value.to_string().into()));
    match kind.shape {
        Shape::Custom | Shape::Policy | Shape::AffinityView => {
            let value = custom(kind, object)?;
            let place = place(&value);
            entry(key(kind, &place)?, value)
        }
        Shape::Block => ipam::block(&object),
        Shape::Affinity => ipam::affinity(&object),
        Shape::Handle => ipam::handle(&object),
        Shape::IpamConfig => {
            let key = kind.prefixes.first().cloned().unwrap_or_default();
            entry(key, ipam::config(&object)?)
        }
        Shape::Node => entry(key(kind, &place(&object))?, node::to_calico(&object)),
        Shape::Endpoint | Shape::NamespaceProfile | Shape::AccountProfile => derived::decode(kind, &object),
        Shape::Native(resource) => {
            let key = key(kind, &place(&object))?;
            entry(key, native::prune(resource, &object)?)
        }
    }
}

/// The key of an object by its name, where the name says it.
pub(crate) fn key(kind: &Kind, place: &Place) -> Result<String, DecodeError> {
    let named = matches!(
        kind.shape,
        Shape::Custom | Shape::Policy | Shape::AffinityView | Shape::Node | Shape::Native(_)
    );
    let prefix = kind.prefixes.first().filter(|_| named).ok_or(field("metadata.name"))?;
    match (kind.namespaced, place.namespace.is_empty(), place.name.is_empty()) {
        (_, _, true) => Err(field("metadata.name")),
        (true, true, _) => Err(field("metadata.namespace")),
        (true, false, _) => Ok(format!("{prefix}{}/{}", place.namespace, place.name)),
        (false, ..) => Ok(format!("{prefix}{}", place.name)),
    }
}

fn is_packed(kind: &Kind) -> bool {
    kind.api_version == Group::V1.as_str()
}

/// The object of projectcalico.org/v3 that a custom resource holds.
fn custom(kind: &Kind, object: Value) -> Result<Value, DecodeError> {
    let Value::Object(mut fields) = object else { return Err(field("object")) };
    let Some(Value::Object(stored)) = fields.shift_remove("metadata") else {
        return Err(field("metadata"));
    };
    let mut metadata = if is_packed(kind) { metadata::unpack(&stored)? } else { stored.clone() };
    // Packed without the name, as all kinds but policies are; policies were too, once.
    if metadata.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
        let name = stored.get("name").and_then(Value::as_str).ok_or(field("metadata.name"))?;
        let name = if kind.shape == Shape::Policy { unprefixed(name, &fields) } else { name };
        metadata.insert("name".to_owned(), name.into());
    }
    if kind.shape == Shape::AffinityView
        && let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut)
    {
        let deleted = ipam::is_deleted(spec.get("deleted"));
        spec.insert("deleted".to_owned(), deleted.into());
    }
    let body = fields.get("spec").unwrap_or(&Value::Null);
    if !(body.is_object() || body.is_null()) {
        return Err(field("spec"));
    }
    let mut value = Map::new();
    value.insert("apiVersion".to_owned(), v3::API_VERSION.into());
    value.insert("kind".to_owned(), kind.shown.into());
    value.insert("metadata".to_owned(), metadata::shown(metadata).into());
    fields.shift_remove("apiVersion");
    fields.shift_remove("kind");
    value.extend(fields);
    Ok(value.into())
}

/// Calico once put the name of the tier before the names of policies.
fn unprefixed<'n>(name: &'n str, fields: &Map<String, Value>) -> &'n str {
    let tier = fields.get("spec").and_then(|spec| spec.get("tier")?.as_str()).unwrap_or_default();
    match name.strip_prefix("default.") {
        Some(rest) if tier.is_empty() || tier == "default" => rest,
        _ => name,
    }
}

/// Where an object of a policy may be that was stored under its old name.
pub(crate) fn old_place(kind: &Kind, place: &Place) -> Option<Place> {
    let packed = kind.shape == Shape::Policy && is_packed(kind);
    packed.then(|| Place { namespace: place.namespace.clone(), name: format!("default.{}", place.name) })
}

/// The custom resource of a value. `stored` is the name of the object that it replaces.
pub(crate) fn encode(
    kind: &Kind,
    place: &Place,
    key: &str,
    value: &[u8],
    revision: Option<u64>,
) -> Result<Value, EncodeError> {
    let parsed: Value = serde_json::from_slice(value).map_err(|e| EncodeError::Json(e.to_string()))?;
    let Value::Object(given) = parsed else {
        return Err(EncodeError::Json("it is no object".to_owned()));
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), kind.api_version.clone().into());
    object.insert("kind".to_owned(), kind.kind.into());
    let (mut metadata, body) = match kind.shape {
        Shape::Custom | Shape::Policy => {
            let mut given = given;
            let metadata = match given.shift_remove("metadata") {
                Some(Value::Object(metadata)) => metadata,
                _ => Map::new(),
            };
            check_name(kind, place, key, &metadata)?;
            given.shift_remove("apiVersion");
            given.shift_remove("kind");
            (metadata, given)
        }
        Shape::Block | Shape::Affinity | Shape::Handle | Shape::IpamConfig => {
            let (labels, spec) = ipam::spec(kind, key, given)?;
            let mut metadata = Map::new();
            if !labels.is_empty() {
                metadata.insert("labels".to_owned(), labels.into());
            }
            (metadata, Map::from_iter([("spec".to_owned(), spec.into())]))
        }
        Shape::AffinityView => {
            return Err(EncodeError::ReadOnly("block affinities are written by address management only"));
        }
        Shape::Endpoint | Shape::NamespaceProfile | Shape::AccountProfile => {
            return Err(EncodeError::ReadOnly(DERIVED));
        }
        Shape::Node | Shape::Native(_) => {
            return Err(EncodeError::ReadOnly("objects of Kubernetes are changed, not replaced"));
        }
    };
    if is_packed(kind) {
        metadata = metadata::pack(&metadata, kind.shape == Shape::Policy);
    } else {
        for server in ["uid", "resourceVersion", "managedFields", "generation"] {
            metadata.shift_remove(server);
        }
    }
    metadata.insert("name".to_owned(), place.name.clone().into());
    if !place.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), place.namespace.clone().into());
    }
    if let Some(revision) = revision {
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
    }
    object.insert("metadata".to_owned(), metadata.into());
    object.extend(body);
    Ok(object.into())
}

/// An object under a key of another name would be lost to its owner.
pub(crate) fn check_name(
    kind: &Kind,
    place: &Place,
    key: &str,
    metadata: &Map<String, Value>,
) -> Result<(), EncodeError> {
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let expected = key.rsplit('/').next().unwrap_or_default().to_owned();
    let (name, namespace) = (text("name"), text("namespace"));
    if !name.is_empty() && name != expected {
        return Err(EncodeError::Name { what: "name", found: name, expected });
    }
    if kind.namespaced && !namespace.is_empty() && namespace != place.namespace {
        let expected = place.namespace.clone();
        return Err(EncodeError::Name { what: "namespace", found: namespace, expected });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
