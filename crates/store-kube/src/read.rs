//! Reading: one object, or all of a prefix.

use crate::api::Request;
use crate::failure::{Failure, Status};
use crate::kinds::{Kind, Place};
use crate::lines::{self, Line};
use crate::object::{self, Seen};
use crate::store::{Inner, report};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;
use tortie_store::{Entry, List, StoreError};

/// In the metadata of the bookmark that ends a streamed list.
const INITIAL_END: &str = "/metadata/annotations/k8s.io~1initial-events-end";
/// How often a list is begun again whose moment is forgotten while it is read.
const ATTEMPTS: usize = 3;

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// An object as it is in the API, with its revision.
pub(crate) struct Found {
    pub(crate) object: Value,
    pub(crate) revision: u64,
    pub(crate) place: Place,
}

/// Reads an object by its place; policies also under their old name.
pub(crate) async fn find(inner: &Inner, kind: &Kind, place: &Place) -> Result<Option<Found>, Failure> {
    let mut place = place.clone();
    let mut old = object::old_place(kind, &place);
    loop {
        match inner.api.call(&Request::get(kind.path(&place))).await {
            Ok(body) => {
                let object: Value = serde_json::from_slice(&body)
                    .map_err(|error| Failure::Corrupt(format!("the answer is no JSON ({error})")))?;
                let revision = object::revision(&object)
                    .ok_or_else(|| Failure::Corrupt("the object has no resourceVersion".to_owned()))?;
                return Ok(Some(Found { object, revision, place }));
            }
            Err(Failure::NotFound(_) | Failure::NoKind) => match old.take() {
                Some(old) => place = old,
                None => return Ok(None),
            },
            Err(failure) => return Err(failure),
        }
    }
}

/// One key.
pub(crate) async fn get(inner: &Inner, key: &str) -> Result<Option<Entry>, StoreError> {
    let Some((kind, place)) = inner.find(key) else { return Ok(None) };
    let doing = format!("read of {key}");
    let found = find(inner, kind, &place).await.map_err(|failure| inner.failed(failure, &doing))?;
    match found {
        None => Ok(None),
        Some(found) => entry(inner, kind, key, found, &doing),
    }
}

/// The entry of an object that was looked for by its key.
pub(crate) fn entry(
    inner: &Inner,
    kind: &Kind,
    key: &str,
    found: Found,
    doing: &str,
) -> Result<Option<Entry>, StoreError> {
    match object::decode(kind, found.object) {
        // Another handle may have the same name in small letters, an old policy another name.
        Ok(Seen::Entry(own, value)) if own == key => {
            Ok(Some(Entry { key: key.into(), value, revision: found.revision }))
        }
        Ok(_) => Ok(None),
        Err(error) => {
            let reason = format!("the object is not understood: {}", tortie_causes::chain(&error));
            Err(inner.failed(Failure::Corrupt(reason), doing))
        }
    }
}

/// All keys with a prefix, as of one revision.
pub(crate) async fn list(inner: &Arc<Inner>, prefix: &str) -> Result<List, StoreError> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        match moment(inner, prefix).await {
            // The moment was forgotten before all kinds were read.
            Err(Failure::Expired(_)) if attempts > 0 => {}
            listed => return listed.map_err(|failure| inner.failed(failure, &format!("list of {prefix:?}"))),
        }
    }
}

/// Whether a prefix is that of the whole key space. Who reads that goes on with what it may read.
pub(crate) fn is_whole(prefix: &str) -> bool {
    prefix.len() <= 1
}

/// A collection as it was listed: with a revision if it is there and may be read.
enum Listed {
    Read(Vec<Entry>, u64),
    Absent,
    Refused(Arc<Kind>),
}

async fn listed(
    inner: &Inner,
    kind: Arc<Kind>,
    namespace: &str,
    prefix: &str,
    at: Option<u64>,
) -> Result<Listed, Failure> {
    match collection(inner, &kind, namespace, prefix, at).await {
        Ok(Some((entries, revision))) => Ok(Listed::Read(entries, revision)),
        Ok(None) => Ok(Listed::Absent),
        Err(Failure::Denied(reason)) if is_whole(prefix) => {
            if !is_served(inner, &kind).await {
                return Ok(Listed::Absent);
            }
            tracing::debug!(kind = kind.kind, reason, "may not be read");
            Ok(Listed::Refused(kind))
        }
        Err(failure) => Err(failure),
    }
}

/// Whether the server has a kind. It says "forbidden" also of kinds that it does not have.
pub(crate) async fn is_served(inner: &Inner, kind: &Kind) -> bool {
    let root = if kind.api_version.contains('/') { "apis" } else { "api" };
    let Ok(body) = inner.api.call(&Request::get(format!("/{root}/{}", kind.api_version))).await else {
        // A group that nobody serves is not found; anything else says nothing.
        let groups = inner.api.call(&Request::get("/apis")).await.ok();
        let known = groups.and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        let group = kind.api_version.split('/').next().unwrap_or_default();
        let named = |group_list: &Value| {
            let groups = group_list.get("groups").and_then(Value::as_array);
            groups.is_none_or(|groups| groups.iter().any(|g| g.get("name").is_some_and(|n| n == group)))
        };
        return root == "api" || known.as_ref().is_none_or(named);
    };
    let listed = serde_json::from_slice::<Value>(&body).ok();
    let resources = listed.as_ref().and_then(|l| l.get("resources")?.as_array());
    resources.is_none_or(|resources| {
        resources.iter().any(|r| r.get("name").is_some_and(|name| name == kind.plural))
    })
}

async fn moment(inner: &Arc<Inner>, prefix: &str) -> Result<List, Failure> {
    let mut scopes = inner.scopes(prefix).into_iter();
    let mut entries = Vec::new();
    let mut refused = Vec::new();
    let mut revision = None;
    // The first collection that is there says which moment it is.
    for (kind, namespace) in scopes.by_ref() {
        match listed(inner, kind, &namespace, prefix, None).await? {
            Listed::Read(read, at) => {
                entries.extend(read);
                revision = Some(at);
                break;
            }
            Listed::Absent => {}
            Listed::Refused(kind) => refused.push(kind),
        }
    }
    if let Some(revision) = revision {
        let mut others = JoinSet::new();
        for (kind, namespace) in scopes {
            let (inner, prefix) = (inner.clone(), prefix.to_owned());
            others.spawn(async move { listed(&inner, kind, &namespace, &prefix, Some(revision)).await });
        }
        while let Some(other) = others.join_next().await {
            match other.unwrap_or_else(|error| Err(Failure::Away(error.to_string())))? {
                Listed::Read(read, _) => entries.extend(read),
                Listed::Absent => {}
                Listed::Refused(kind) => refused.push(kind),
            }
        }
    }
    let revision = match revision {
        Some(revision) => revision,
        None => present(inner).await?,
    };
    let mut unread: Vec<String> = refused.iter().flat_map(|kind| kind.prefixes.iter().cloned()).collect();
    unread.sort();
    if is_whole(prefix) {
        inner.set_unread(unread.clone());
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    // A policy may be there under its old and its new name; the new one was sorted in first.
    entries.dedup_by(|later, first| later.key == first.key);
    Ok(List { entries, revision, unread })
}

/// A revision of now.
pub(crate) async fn present(inner: &Inner) -> Result<u64, Failure> {
    revision_of(inner, "/api/v1/namespaces").await
}

/// The present revision of a collection.
pub(crate) async fn revision_of(inner: &Inner, path: &str) -> Result<u64, Failure> {
    page(inner, &format!("{path}?limit=1")).await.map(|(_, revision, _)| revision)
}

/// All objects of a collection, at a moment or now; nothing if there is no such collection.
pub(crate) async fn collection(
    inner: &Inner,
    kind: &Kind,
    namespace: &str,
    prefix: &str,
    at: Option<u64>,
) -> Result<Option<(Vec<Entry>, u64)>, Failure> {
    let path = kind.collection(namespace);
    if at.is_none() && inner.streams.load(Ordering::Relaxed) {
        match streamed(inner, kind, &path, prefix).await {
            // It is too old for that, or its etcd is.
            Err(Failure::Invalid(reason)) => {
                tracing::debug!(reason, "this server does not stream lists");
                inner.streams.store(false, Ordering::Relaxed);
            }
            listed => return listed,
        }
    }
    let moment = at.map(|at| format!("&resourceVersion={at}&resourceVersionMatch=Exact")).unwrap_or_default();
    let mut limit = inner.api.config().page;
    let mut attempts = ATTEMPTS;
    'list: loop {
        let mut entries = Vec::new();
        let mut next = format!("{path}?limit={limit}{moment}");
        loop {
            match page(inner, &next).await {
                Ok((items, revision, more)) => {
                    entries.extend(items.into_iter().filter_map(|item| seen(kind, item, prefix)));
                    let Some(more) = more else { return Ok(Some((entries, revision))) };
                    next = format!("{path}?limit={limit}&continue={}", escape(&more));
                }
                Err(Failure::NoKind) => return Ok(None),
                // The rest of the list has been compacted away meanwhile: a longer page takes less time in all.
                Err(Failure::Expired(_)) if at.is_none() && attempts > 1 => {
                    attempts -= 1;
                    limit = limit.saturating_mul(10);
                    continue 'list;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// All objects of a collection as of now, one by one: neither the server nor this side has the whole list at once.
async fn streamed(
    inner: &Inner,
    kind: &Kind,
    path: &str,
    prefix: &str,
) -> Result<Option<(Vec<Entry>, u64)>, Failure> {
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut body = match inner.api.stream(&Request::get(format!("{path}?{query}"))).await {
        Ok(body) => body,
        Err(Failure::NoKind) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    // What changes while the list is sent is sent too.
    let (mut buffer, mut entries) = (BytesMut::new(), BTreeMap::new());
    let limit = inner.api.config().attempt_timeout;
    loop {
        let frame = tokio::time::timeout(limit, body.frame()).await;
        let frame = frame.map_err(|_| Failure::Away(format!("the list stands still for {limit:.0?}")))?;
        let frame = frame.ok_or_else(|| Failure::Away("the list ends in the middle".to_owned()))?;
        let frame = frame.map_err(|error| Failure::Away(tortie_causes::chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(line) = lines::next(&mut buffer) {
            let Line { change, object } = line?;
            match change.as_str() {
                "ERROR" => {
                    let status = Status::deserialize(object).unwrap_or_default();
                    return Err(Failure::of_event(status));
                }
                "BOOKMARK" if object.pointer(INITIAL_END).is_some() => {
                    let wrong = || Failure::Corrupt("a bookmark has no resourceVersion".to_owned());
                    let revision = object::revision(&object).ok_or_else(wrong)?;
                    return Ok(Some((entries.into_values().collect(), revision)));
                }
                "BOOKMARK" => {}
                change => {
                    let place = object::place(&object);
                    let name = (place.namespace, place.name);
                    match seen(kind, object, prefix).filter(|_| change != "DELETED") {
                        Some(entry) => drop(entries.insert(name, entry)),
                        None => drop(entries.remove(&name)),
                    }
                }
            }
        }
    }
}

/// The entry of an object of a list, if it has one under the prefix.
pub(crate) fn seen(kind: &Kind, item: Value, prefix: &str) -> Option<Entry> {
    let place = object::place(&item);
    let revision = object::revision(&item);
    match (object::decode(kind, item), revision) {
        (Ok(Seen::Entry(key, value)), Some(revision)) if key.starts_with(prefix) => {
            Some(Entry { key: key.into(), value, revision })
        }
        (Err(error), _) => {
            report(kind, &place, &error);
            None
        }
        _ => None,
    }
}

async fn page(inner: &Inner, path: &str) -> Result<(Vec<Value>, u64, Option<String>), Failure> {
    let body = inner.api.call(&Request::get(path)).await?;
    let page: Page = serde_json::from_slice(&body)
        .map_err(|error| Failure::Corrupt(format!("the answer is no list ({error})")))?;
    let revision = page.metadata.resource_version.parse().map_err(|_| {
        Failure::Corrupt(format!(
            "resourceVersion {:?} of a list is no number",
            page.metadata.resource_version
        ))
    })?;
    Ok((page.items.unwrap_or_default(), revision, page.metadata.next.filter(|next| !next.is_empty())))
}

/// For the query of a URL.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
