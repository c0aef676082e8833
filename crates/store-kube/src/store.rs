//! The port's calls.

use crate::api::{Api, Request};
use crate::config::{ConfigError, Group, KubeConfig};
use crate::failure::Failure;
use crate::kinds::{Kind, Place, kinds};
use crate::positions::Positions;
use crate::watching::{self, Start};
use crate::{object, read, write};
use serde::Deserialize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use tortie_causes::chain;
use tortie_store::{BoxFuture, Entry, List, Op, Store, StoreError, Watch};

/// A Kubernetes API server as a datastore. Clones share connections.
#[derive(Clone)]
pub struct KubeStore {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) kinds: Vec<Arc<Kind>>,
    pub(crate) positions: Mutex<Positions>,
    /// Beginnings of keys that the last list of everything was not permitted to read.
    unread: Mutex<Vec<String>>,
    /// False once the server has refused to stream a list.
    pub(crate) streams: AtomicBool,
    group: Group,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl KubeStore {
    /// Connects, and finds out where Calico's objects are stored unless that is given.
    pub async fn connect(config: KubeConfig) -> Result<Self, StoreError> {
        let unusable = |error: &ConfigError| StoreError::Invalid {
            doing: "configuration of the Kubernetes datastore".to_owned(),
            reason: chain(error),
        };
        config.check().map_err(|error| unusable(&error))?;
        let (given, wanted) = (config.group, config.wanted);
        let streams = AtomicBool::new(config.streaming);
        let api = Api::new(config);
        let doing = "discovery of API groups";
        let answer = api.call(&Request::get("/apis")).await;
        let answer = answer.map_err(|failure| failure.into_store(api.endpoint(), doing))?;
        let groups: Groups = serde_json::from_slice(&answer).map_err(|error| {
            let reason = format!("it does not answer as an API server of Kubernetes ({error})");
            Failure::Corrupt(reason).into_store(api.endpoint(), doing)
        })?;
        let has = |group: Group| {
            let name = group.as_str().split('/').next();
            groups.groups.iter().any(|g| Some(g.name.as_str()) == name)
        };
        // With both, v3 is an API that another server makes of what is stored in v1.
        let native = has(Group::V3) && !has(Group::V1);
        let group = given.unwrap_or(if native { Group::V3 } else { Group::V1 });
        if !has(group) {
            tracing::warn!(
                group = group.as_str(),
                "no definition of Calico's kinds is installed in this cluster yet"
            );
        }
        tracing::debug!(endpoint = api.endpoint(), group = group.as_str(), "Kubernetes datastore");
        let kinds = kinds(group).into_iter().map(|kind| Arc::new(kind.seen_by(wanted))).collect();
        let positions = Mutex::new(Positions::default());
        let unread = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { api, kinds, positions, unread, streams, group }) })
    }

    /// Sets a condition of a Kubernetes node (`status.conditions`), and leaves its others alone.
    pub async fn set_node_condition(
        &self,
        node: &str,
        condition: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let patch = serde_json::json!({"status": {"conditions": [condition]}});
        let request = Request::strategic_patch(format!("/api/v1/nodes/{node}/status"), &patch);
        let answer = self.inner.api.call(&request).await;
        answer.map(drop).map_err(|failure| self.inner.failed(failure, &format!("condition of node {node}")))
    }

    /// What the API answers for a path that is no key's; nothing if it knows none such. For what is asked of
    /// Kubernetes rather than of a datastore.
    pub async fn read(&self, path: &str) -> Result<Option<serde_json::Value>, StoreError> {
        match self.inner.api.call(&Request::get(path)).await {
            Ok(body) => self.parsed(path, &body).map(Some),
            Err(Failure::NotFound(_) | Failure::NoKind) => Ok(None),
            Err(failure) => Err(self.inner.failed(failure, &format!("read of {path}"))),
        }
    }

    /// Asks a question that is an object (`SelfSubjectRulesReview`); answers it with its status.
    pub async fn ask(
        &self,
        path: &str,
        question: &serde_json::Value,
    ) -> Result<serde_json::Value, StoreError> {
        let answer = self.inner.api.call(&Request::post(path, question)).await;
        let body = answer.map_err(|failure| self.inner.failed(failure, &format!("question to {path}")))?;
        self.parsed(path, &body)
    }

    fn parsed(&self, path: &str, body: &[u8]) -> Result<serde_json::Value, StoreError> {
        serde_json::from_slice(body).map_err(|error| {
            let failure = Failure::Corrupt(format!("the answer is no JSON ({error})"));
            self.inner.failed(failure, &format!("read of {path}"))
        })
    }

    /// Collections of Calico's kinds that the server does not serve, so that nothing can be known of them.
    pub async fn unserved(&self) -> Result<Vec<&'static str>, StoreError> {
        let group = self.inner.group.as_str();
        let served = self.read(&format!("/apis/{group}")).await?.unwrap_or_default();
        let served = served.get("resources").and_then(serde_json::Value::as_array);
        let is_served = |plural: &str| {
            served
                .into_iter()
                .flatten()
                .any(|resource| resource.get("name").is_some_and(|name| name == plural))
        };
        let kinds = self.inner.kinds.iter().filter(|kind| kind.api_version == group && !kind.hidden);
        Ok(kinds.map(|kind| kind.plural).filter(|plural| !is_served(plural)).collect())
    }

    /// Takes away what a network says on a Kubernetes node: its addresses, and its conditions. Settings that people have
    /// made there stay.
    pub async fn forget_node(&self, node: &str) -> Result<(), StoreError> {
        let gone = |kind: &str| serde_json::json!({"type": kind, "$patch": "delete"});
        let conditions = ["NetworkUnavailable", "NetworkDegraded"].map(gone);
        let patch = serde_json::json!({
            "metadata": {"annotations": crate::node::without_addresses()},
            "status": {"conditions": conditions},
        });
        let request = Request::strategic_patch(format!("/api/v1/nodes/{node}/status"), &patch);
        let answer = self.inner.api.call(&request).await;
        answer.map(drop).map_err(|failure| self.inner.failed(failure, &format!("addresses of node {node}")))
    }

    /// Where Calico's objects are stored.
    pub fn group(&self) -> Group {
        self.inner.group
    }
}

impl KubeStore {
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    /// Where Calico's objects are stored.
    pub(crate) fn group(&self) -> Group {
        self.group
    }

    /// The object of a key.
    pub(crate) fn find(&self, key: &str) -> Option<(&Arc<Kind>, Place)> {
        self.kinds.iter().find_map(|kind| Some((kind, kind.place(key)?)))
    }

    /// The collections that may hold keys with a prefix, with the namespace to look in.
    pub(crate) fn scopes(&self, prefix: &str) -> Vec<(Arc<Kind>, String)> {
        let scopes = self.kinds.iter().filter_map(|kind| Some((kind.clone(), kind.scope(prefix)?)));
        scopes.collect()
    }

    pub(crate) fn failed(&self, failure: Failure, doing: &str) -> StoreError {
        failure.into_store(self.api.endpoint(), doing)
    }

    pub(crate) fn set_unread(&self, unread: Vec<String>) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }

    /// Whether the last list of everything was not permitted to read a kind.
    pub(crate) fn is_unread(&self, kind: &Kind) -> bool {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        kind.prefixes.iter().any(|prefix| unread.contains(prefix))
    }

    pub(crate) fn positions<T>(&self, with: impl FnOnce(&mut Positions) -> T) -> T {
        with(&mut self.positions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reports an object that cannot be read; it is as if it were not there.
pub(crate) fn report(kind: &Kind, place: &Place, error: &object::DecodeError) {
    let (kind, namespace, name) = (kind.kind, &place.namespace, &place.name);
    tracing::warn!(kind, %namespace, %name, error = %chain(error), "object is left out");
}

impl Store for KubeStore {
    fn has_transactions(&self) -> bool {
        false
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(read::get(&self.inner, key))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(read::list(&self.inner, prefix))
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(write::commit(&self.inner, ops))
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let start = Start { prefix: prefix.to_owned(), revision };
            let watch = watching::start(self.inner.clone(), start).await?;
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }
}
