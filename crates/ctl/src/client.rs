//! Objects of projectcalico.org/v3 in a datastore: create, update, delete, get, list.
//!
//! Keys, values and side effects are those of Calico's own client, so that both can work on one datastore. Objects are
//! JSON values in the order in which Calico writes them. Must not print.

mod addresses;
mod cascade;
mod config;
mod error;
mod initialize;
mod prepare;
mod references;

pub use config::{ConfigError, DEFAULT_FILE, Datastore, Environment, load as load_config};
pub use error::{ClientError, ObjectName, WrongField};
pub(crate) use prepare::note_name;

use crate::resources::canonical;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::SystemTime;
use tortie_api::v3::{self, ResourceType};
use tortie_blocks::Timestamp;
use tortie_store::{Entry, Op, Precondition, Store, StoreError};

/// Name of the profile that every cluster has and no datastore holds.
pub const DEFAULT_ALLOW_PROFILE: &str = "projectcalico-default-allow";

/// A datastore, in terms of objects.
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn Store>,
}

/// Objects of a kind, and the revision at which that was all of them.
#[derive(Clone, Debug)]
pub struct Listed {
    /// In the order of their keys; tiers in their own.
    pub items: Vec<Value>,
    /// Revision of the datastore.
    pub revision: u64,
}

impl Client {
    /// Works on a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// One object.
    pub async fn get(&self, kind: &ResourceType, namespace: &str, name: &str) -> Result<Value, ClientError> {
        if kind.kind == "Profile" && name == DEFAULT_ALLOW_PROFILE {
            return Ok(default_allow_profile());
        }
        let missing = || ClientError::NotFound(ObjectName::new(kind, namespace, name));
        let entry = self.store.get(&kind.path(namespace, name)).await?.ok_or_else(missing)?;
        read(kind, &entry)
    }

    /// All objects of a kind; those of one namespace if it is given.
    pub async fn list(&self, kind: &ResourceType, namespace: Option<&str>) -> Result<Listed, ClientError> {
        let list = self.store.list(&kind.list_prefix(namespace)).await?;
        // What cannot be read belongs to nobody's list; getting it by name tells why.
        let mut items: Vec<Value> = list
            .entries
            .iter()
            .filter(|entry| v3::parse_path(&entry.key).is_some_and(|(k, _, _)| k.kind == kind.kind))
            .filter_map(|entry| read(kind, entry).ok())
            .collect();
        match kind.kind {
            "Profile" => items.push(default_allow_profile()),
            "Tier" => {
                // In the order in which they are evaluated; those without an order are last.
                let order = |tier: &Value| tier["spec"]["order"].as_f64().unwrap_or(f64::INFINITY);
                items.sort_by(|a, b| order(a).total_cmp(&order(b)));
            }
            _ => {}
        }
        Ok(Listed { items, revision: list.revision })
    }

    /// Writes a new object and answers it as stored.
    pub async fn create(&self, kind: &ResourceType, object: Value) -> Result<Value, ClientError> {
        let id = name_of(kind, &object);
        if kind.kind == "ClusterInformation" {
            return Err(ClientError::unsupported(
                "create",
                id,
                "it belongs to the nodes and cannot be written",
            ));
        }
        if kind.kind == "Profile" && id.name == DEFAULT_ALLOW_PROFILE {
            return Err(ClientError::Exists(id));
        }
        self.create_unprotected(kind, object).await
    }

    /// As [`Client::create`], also for what only the system writes.
    async fn create_unprotected(&self, kind: &ResourceType, object: Value) -> Result<Value, ClientError> {
        let id = name_of(kind, &object);
        prepare::refuse_converted(kind, &id, "create")?;
        if !text(&object, "/metadata/resourceVersion").is_empty() {
            let problem = "must not be set when an object is created; remove it, or use apply or replace";
            return Err(ClientError::invalid(id, "metadata.resourceVersion", problem));
        }
        self.check_tier(kind, &object).await?;
        self.check_filters(kind, &object).await?;
        let mut object = prepare::for_storage(kind, object)?;
        let id = name_of(kind, &object);
        self.check_new_pool(kind, &object).await?;
        let metadata = metadata_mut(&mut object);
        let kept = ["name", "namespace", "labels", "annotations"];
        metadata.retain(|key, _| kept.contains(&key.as_str()));
        metadata.insert("uid".to_owned(), prepare::new_uid()?.into());
        let now = Timestamp::from(SystemTime::now()).to_string();
        metadata.insert("creationTimestamp".to_owned(), now.into());
        match self.write(kind, &id, object, Precondition::Absent).await {
            Err(ClientError::Conflict { object, .. }) => Err(ClientError::Exists(object)),
            other => other,
        }
    }

    /// Replaces an object that is there, keeping its identity; answers it as stored.
    ///
    /// With a resource version in its metadata the object must still be at it; without, a writer that comes between
    /// does not matter.
    pub async fn update(&self, kind: &ResourceType, object: Value) -> Result<Value, ClientError> {
        let id = name_of(kind, &object);
        if kind.kind == "ClusterInformation" {
            return Err(ClientError::unsupported(
                "replace",
                id,
                "it belongs to the nodes and cannot be written",
            ));
        }
        if kind.kind == "Profile" && id.name == DEFAULT_ALLOW_PROFILE {
            return Err(ClientError::unsupported("replace", id, "it is a profile of the system"));
        }
        self.update_unprotected(kind, object).await
    }

    /// As [`Client::update`], also for what only the system writes.
    pub(crate) async fn update_unprotected(
        &self,
        kind: &ResourceType,
        object: Value,
    ) -> Result<Value, ClientError> {
        let id = name_of(kind, &object);
        let wanted = text(&object, "/metadata/resourceVersion").to_owned();
        let mut attempts = 5;
        loop {
            let stored = self.get(kind, &id.namespace, &id.name).await?;
            prepare::refuse_converted(kind, &id, "replace")?;
            self.check_filters(kind, &object).await?;
            let found = text(&stored, "/metadata/resourceVersion").to_owned();
            if !wanted.is_empty() && wanted != found {
                return Err(ClientError::Conflict { object: id, given: wanted, found });
            }
            let revision =
                found.parse().map_err(|_| ClientError::corrupt(&id, "its revision is no number"))?;
            let mut object = object.clone();
            prepare::keep_identity(&stored, &mut object);
            let object = prepare::for_storage(kind, object)?;
            references::check_pool_change(kind, &id, &stored, &object)?;
            match self.write(kind, &id, object, Precondition::Revision(revision)).await {
                Err(ClientError::Conflict { .. }) if wanted.is_empty() && attempts > 1 => attempts -= 1,
                other => return other,
            }
        }
    }

    /// Removes an object with what belongs to it.
    pub async fn delete(
        &self,
        kind: &ResourceType,
        namespace: &str,
        name: &str,
        resource_version: &str,
    ) -> Result<(), ClientError> {
        let id = ObjectName::new(kind, namespace, name);
        if kind.kind == "ClusterInformation" {
            return Err(ClientError::unsupported(
                "delete",
                id,
                "it belongs to the nodes and cannot be removed",
            ));
        }
        if kind.kind == "Profile" && name == DEFAULT_ALLOW_PROFILE {
            return Err(ClientError::unsupported("delete", id, "it is a profile of the system"));
        }
        prepare::refuse_converted(kind, &id, "delete")?;
        self.check_unused(kind, &id).await?;
        let changed = self.before_delete(kind, &id, resource_version).await?;
        let when = match resource_version.parse() {
            // A preparing step wrote the object itself; it has checked the version.
            Ok(revision) if !changed => Precondition::Revision(revision),
            _ => Precondition::Any,
        };
        let key = kind.path(namespace, name);
        let Some(entry) = self.store.get(&key).await? else {
            return Err(ClientError::NotFound(id));
        };
        let when = if when == Precondition::Any { Precondition::Revision(entry.revision) } else { when };
        match self.store.commit(vec![Op::Delete { key, when }]).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { current: None, .. }) => Err(ClientError::NotFound(id)),
            Err(StoreError::Conflict { .. }) => Err(ClientError::Conflict {
                object: id,
                given: resource_version.to_owned(),
                found: entry.revision.to_string(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    async fn write(
        &self,
        kind: &ResourceType,
        id: &ObjectName,
        mut object: Value,
        when: Precondition,
    ) -> Result<Value, ClientError> {
        metadata_mut(&mut object).shift_remove("resourceVersion");
        let object = canonical(object).map_err(|e| ClientError::invalid(id.clone(), "", &e.to_string()))?;
        let put = Op::Put {
            key: kind.path(&id.namespace, &id.name),
            value: object.to_string().into(),
            when,
            ttl: None,
        };
        match self.store.commit(vec![put]).await {
            Ok(revision) => Ok(at_revision(object, revision)),
            Err(StoreError::Conflict { current, .. }) => Err(ClientError::Conflict {
                object: id.clone(),
                given: match when {
                    Precondition::Revision(revision) => revision.to_string(),
                    _ => String::new(),
                },
                found: current.map(|entry| entry.revision.to_string()).unwrap_or_default(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// An object out of its entry, as readers see it.
fn read(kind: &ResourceType, entry: &Entry) -> Result<Value, ClientError> {
    let corrupt = |reason: String| ClientError::Corrupt { key: entry.key.to_string(), reason };
    let mut object: Value = serde_json::from_slice(&entry.value).map_err(|e| corrupt(e.to_string()))?;
    if !object.is_object() {
        return Err(corrupt("it is no object".to_owned()));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = Map::new().into();
    }
    prepare::after_reading(kind, &mut object);
    let object = canonical(object).map_err(|e| corrupt(e.to_string()))?;
    Ok(at_revision(object, entry.revision))
}

fn at_revision(mut object: Value, revision: u64) -> Value {
    metadata_mut(&mut object).insert("resourceVersion".to_owned(), revision.to_string().into());
    object
}

fn default_allow_profile() -> Value {
    serde_json::json!({
        "kind": "Profile",
        "apiVersion": v3::API_VERSION,
        "metadata": {"name": DEFAULT_ALLOW_PROFILE, "resourceVersion": "1"},
        "spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]},
    })
}

/// Kind, namespace and name of an object.
pub(crate) fn name_of(kind: &ResourceType, object: &Value) -> ObjectName {
    let namespace = if kind.namespaced { text(object, "/metadata/namespace") } else { "" };
    ObjectName::new(kind, namespace, text(object, "/metadata/name"))
}

/// Text at a pointer, empty if there is none.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The metadata of an object, made if it is not there.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    part_mut(object, "metadata")
}

/// An object inside an object, made if it is not there.
pub(crate) fn part_mut<'v>(object: &'v mut Value, key: &str) -> &'v mut Map<String, Value> {
    if !object.is_object() {
        *object = Map::new().into();
    }
    if !object[key].is_object() {
        object[key] = Map::new().into();
    }
    object[key].as_object_mut().expect("made an object just above")
}
