//! What every object has: type, metadata, and a body.

use crate::Map;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Labels or annotations.
pub type StringMap = BTreeMap<String, String>;

/// Reads `null` as the empty value, as Go does.
pub(crate) fn null_as_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Kubernetes' metadata. Fields that are not named here are kept in `other`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub name: String,
    /// Prefix of a generated name.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub generate_name: String,
    /// Namespace; empty for cluster-wide kinds.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub namespace: String,
    /// Identity of this object over its life.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub uid: String,
    /// Revision of the datastore.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub resource_version: String,
    /// RFC 3339 time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// RFC 3339 time; set while finalizers hold the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub labels: StringMap,
    /// Annotations.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub annotations: StringMap,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map,
}

/// An object: type, metadata, `spec`, and whatever else it carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    bound(deserialize = "S: Default + Deserialize<'de>", serialize = "S: Serialize")
)]
pub struct Object<S> {
    /// Group and version.
    #[serde(default, skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub api_version: String,
    /// Kind.
    #[serde(default, skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub kind: String,
    /// Metadata.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: ObjectMeta,
    /// The body.
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: S,
    /// What a controller reported, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map,
}

/// The body of a kind, so that objects can be made from it.
pub trait Spec: Default {
    /// Group and version of the kind.
    const API_VERSION: &'static str;
    /// The kind.
    const KIND: &'static str;
}

impl<S: Spec> Object<S> {
    /// An object with a name and an empty body. `namespace` is empty for cluster-wide kinds.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self::with_spec(namespace, name, S::default())
    }

    /// An object with a name and a body.
    pub fn with_spec(namespace: &str, name: &str, spec: S) -> Self {
        Self {
            api_version: S::API_VERSION.to_owned(),
            kind: S::KIND.to_owned(),
            metadata: ObjectMeta {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
            other: Map::new(),
        }
    }
}

impl<S: Default> Default for Object<S> {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            metadata: ObjectMeta::default(),
            spec: S::default(),
            status: None,
            other: Map::new(),
        }
    }
}

impl<S> fmt::Display for Object<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() { "object" } else { &self.kind };
        if self.metadata.namespace.is_empty() {
            write!(f, "{kind} {}", self.metadata.name)
        } else {
            write!(f, "{kind} {}/{}", self.metadata.namespace, self.metadata.name)
        }
    }
}
