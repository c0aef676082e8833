//! The part of Kubernetes' objects that Tortie reads.
//!
//! Slim: unknown fields are ignored, so these types are for reading; the raw object is what is kept.

mod core;
mod labels;
mod network;
mod policy;
mod registry;
#[cfg(test)]
mod tests;
pub mod validate;
mod workload;

pub use core::*;
pub use labels::*;
pub use network::*;
pub use policy::*;
pub use registry::{PATH_PREFIX, RESOURCES, by_kind, by_plural, lookup, parse_path};
pub use workload::*;

use crate::meta::{is_default, null_as_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Metadata of a Kubernetes object, without what nobody here reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct Meta {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub generate_name: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub uid: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "is_default")]
    pub creation_timestamp: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub deletion_timestamp: Option<String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null_as_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// Who made an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "Kubernetes' names")]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(skip_serializing_if = "is_default")]
    pub controller: Option<bool>,
}

impl Meta {
    /// The annotation, or `None`.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}
