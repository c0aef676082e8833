//! Which definitions of Calico's kinds the API server has, and what they lack: older versions, or the other API group.
//!
//! It is asked by discovery and OpenAPI, which everybody may read.

mod fields;

use crate::api::Request;
use crate::config::Group;
use crate::failure::Failure;
use crate::kinds::{Kind, Shape};
use crate::store::{Inner, KubeStore};
use fields::FIELDS;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use tortie_store::StoreError;

/// What there is and what is lacking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// What is lacking, in order.
    pub lacking: Vec<Lacking>,
    /// Where the fields are told, which is another place after every change.
    told: String,
    outdated: Vec<Lacking>,
}

/// A lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// No kind of the group is installed.
    Group {
        /// The group that is read.
        group: &'static str,
        /// The group that is there in its place.
        other: Option<&'static str>,
    },
    /// The group is installed without the version that is read.
    Version {
        /// The group with the version that is read.
        group: &'static str,
        /// Versions that there are.
        served: Vec<String>,
    },
    /// A kind.
    Kind {
        /// Name of the definition: `tiers.projectcalico.org`.
        definition: String,
    },
    /// Fields of a kind: the server drops them.
    Fields {
        /// Name of the definition.
        definition: String,
        /// `spec.assignmentMode`.
        fields: Vec<String>,
    },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    resources: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Versions {
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Index {
    paths: BTreeMap<String, Told>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    #[serde(rename = "serverRelativeURL")]
    server_relative_url: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    components: Components,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Components {
    schemas: BTreeMap<String, Schema>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Schema {
    #[serde(rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<Named3>,
    properties: BTreeMap<String, Part>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    takes_all: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named3 {
    kind: String,
}

/// A field with the names of its own, all others of which are of no interest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    #[serde(deserialize_with = "names")]
    properties: BTreeSet<String>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    takes_all: bool,
}

/// The names of an object's fields.
fn names<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = BTreeSet<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = BTreeSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                names.insert(name);
            }
            Ok(names)
        }
    }
    from.deserialize_map(Names)
}

impl KubeStore {
    /// Looks at the definitions; `before` is what an earlier look found, which saves work if nothing has changed.
    pub async fn definitions(&self, before: Option<&Definitions>) -> Result<Definitions, StoreError> {
        let inner = self.inner();
        look(inner, before).await.map_err(|failure| inner.failed(failure, "discovery of definitions"))
    }
}

async fn look(inner: &Inner, before: Option<&Definitions>) -> Result<Definitions, Failure> {
    let group = inner.group();
    let Some(resources) = get::<Resources>(inner, &format!("/apis/{}", group.as_str())).await? else {
        return Ok(Definitions {
            lacking: vec![without_version(inner, group).await?],
            ..Definitions::default()
        });
    };
    let there: BTreeSet<&str> = resources.resources.iter().map(|r| r.name.as_str()).collect();
    let needed: Vec<&Arc<Kind>> = inner.kinds.iter().filter(|kind| is_needed(kind, group)).collect();
    let name = |kind: &Kind| format!("{}.{}", kind.plural, group.name());
    let mut lacking: Vec<Lacking> = needed
        .iter()
        .filter(|kind| !there.contains(kind.plural))
        .map(|kind| Lacking::Kind { definition: name(kind) })
        .collect();
    if lacking.len() == needed.len() {
        lacking = vec![Lacking::Group { group: group.as_str(), other: other(inner, group).await? }];
    }
    let told = place(inner, group).await?;
    let outdated = match before.filter(|before| before.told == told) {
        Some(before) => before.outdated.clone(),
        None if told.is_empty() => Vec::new(),
        None => {
            let document = get::<Document>(inner, &told).await?.unwrap_or_default();
            needed.iter().filter_map(|kind| outdated(kind, &name(kind), &document)).collect()
        }
    };
    lacking.extend(outdated.iter().cloned());
    Ok(Definitions { lacking, told, outdated })
}

/// Kinds of the group that the user of this store reads.
fn is_needed(kind: &Kind, group: Group) -> bool {
    let addresses = matches!(kind.shape, Shape::Block | Shape::Affinity | Shape::Handle | Shape::IpamConfig)
        || kind.kind == "IPReservation";
    kind.api_version == group.as_str() && (addresses || !kind.hidden)
}

/// Why nothing is there at the group's version.
async fn without_version(inner: &Inner, group: Group) -> Result<Lacking, Failure> {
    let versions = get::<Versions>(inner, &format!("/apis/{}", group.name())).await?;
    Ok(match versions {
        Some(versions) => Lacking::Version {
            group: group.as_str(),
            served: versions.versions.into_iter().map(|v| v.version).collect(),
        },
        None => Lacking::Group { group: group.as_str(), other: other(inner, group).await? },
    })
}

/// The other group, if Calico's kinds are there.
async fn other(inner: &Inner, group: Group) -> Result<Option<&'static str>, Failure> {
    let other = match group {
        Group::V1 => Group::V3,
        Group::V3 => Group::V1,
    };
    let resources = get::<Resources>(inner, &format!("/apis/{}", other.as_str())).await?;
    let there = resources.is_some_and(|r| r.resources.iter().any(|r| r.name == "ippools"));
    Ok(there.then_some(other.as_str()))
}

/// Where the group's fields are told; empty if the server does not tell them.
async fn place(inner: &Inner, group: Group) -> Result<String, Failure> {
    let index = match get::<Index>(inner, "/openapi/v3").await {
        // A server that keeps it to itself.
        Err(Failure::Denied(_)) => None,
        other => other?,
    };
    let mut paths = index.unwrap_or_default().paths;
    Ok(paths.remove(&format!("apis/{}", group.as_str())).unwrap_or_default().server_relative_url)
}

/// What a definition lacks of the fields that it should have.
fn outdated(kind: &Kind, definition: &str, document: &Document) -> Option<Lacking> {
    let (_, wanted) = FIELDS.iter().find(|(name, _)| *name == kind.kind)?;
    let mut schemas = document.components.schemas.values();
    let schema = schemas.find(|schema| schema.kinds.iter().any(|named| named.kind == kind.kind))?;
    let spec = schema.properties.get("spec");
    if schema.takes_all || spec.is_none_or(|spec| spec.takes_all || spec.properties.is_empty()) {
        return None;
    }
    let there = |field: &&&str| spec.is_some_and(|spec| spec.properties.contains(**field));
    let fields: Vec<String> =
        wanted.iter().filter(|field| !there(field)).map(|field| format!("spec.{field}")).collect();
    (!fields.is_empty()).then(|| Lacking::Fields { definition: definition.to_owned(), fields })
}

/// Reads what may not be there.
async fn get<T: for<'de> Deserialize<'de>>(inner: &Inner, path: &str) -> Result<Option<T>, Failure> {
    match inner.api.call(&Request::get(path)).await {
        Ok(body) => serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| Failure::Corrupt(format!("{path} is not understood ({error})"))),
        Err(Failure::NotFound(_) | Failure::NoKind) => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::kinds;
    use serde_json::json;
    use tortie_api::crd;

    /// The fields of `spec` of a definition.
    fn fields(manifest: &serde_json::Value) -> BTreeSet<&str> {
        let spec = manifest.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties");
        spec.and_then(|s| s.as_object()).into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_table_is_that_of_the_definitions() {
        let manifests = crd::manifests(crd::Group::Native);
        let mut text = String::new();
        for manifest in &manifests {
            let kind = manifest.pointer("/spec/names/kind").and_then(|k| k.as_str()).unwrap();
            let fields = fields(manifest);
            let there: BTreeSet<&str> = FIELDS
                .iter()
                .find(|(name, _)| *name == kind)
                .map(|(_, f)| f.iter().copied().collect())
                .unwrap_or_default();
            if fields != there {
                text.push_str(&format!("    ({kind:?}, &{:?}),\n", fields.iter().collect::<Vec<_>>()));
            }
        }
        assert!(text.is_empty(), "fields.rs should have\n{text}");
    }

    #[test]
    fn what_is_dropped_is_named() {
        let group = Group::V3;
        let kinds = kinds(group);
        let pool = kinds.iter().find(|kind| kind.kind == "IPPool").unwrap();
        let of = |spec: serde_json::Value| {
            let schema = json!({"x-kubernetes-group-version-kind": [{"group": "g", "kind": "IPPool", "version": "v3"}], "properties": {"spec": spec}});
            let document = serde_json::from_value(json!({"components": {"schemas": {"x": schema}}})).unwrap();
            outdated(pool, "ippools.g", &document)
        };
        let (_, all) = FIELDS.iter().find(|(kind, _)| *kind == "IPPool").unwrap();
        let properties = |without: &str| -> serde_json::Value {
            all.iter()
                .filter(|f| **f != without)
                .map(|f| ((*f).to_owned(), json!({"type": "string"})))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        assert_eq!(of(json!({"properties": properties("")})), None);
        assert_eq!(
            of(json!({"properties": properties("assignmentMode")})),
            Some(Lacking::Fields {
                definition: "ippools.g".into(),
                fields: vec!["spec.assignmentMode".into()]
            })
        );
        assert_eq!(
            of(json!({"x-kubernetes-preserve-unknown-fields": true, "properties": properties("cidr")})),
            None
        );
        assert_eq!(of(json!({})), None, "nothing is known of it");
    }
}
