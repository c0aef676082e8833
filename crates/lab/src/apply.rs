//! `lab apply` and `lab delete`: objects into the datastore, workloads into pods.

use crate::lab::Lab;
use crate::objects::{Meaning, meaning};
use crate::pods::{PARALLEL, PodName, name_of};
use crate::records::{self, Written};
use crate::seed;
use crate::supervisor::Sink;
use crate::truth;
use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tortie_api::admit::admit;
use tortie_api::v3;
use tortie_net::Cidr;
use tortie_scenario::{ObjectId, Pod as Wish, pods_of};

/// What became of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) result: Action,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

/// How a document was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Applied,
    Changed,
    Unchanged,
    Deleted,
    Absent,
    Skipped,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Absent => "absent",
            Self::Skipped => "skipped",
        }
    }
}

impl From<Written> for Action {
    fn from(written: Written) -> Self {
        match written {
            Written::Created => Self::Applied,
            Written::Changed => Self::Changed,
            Written::Unchanged => Self::Unchanged,
        }
    }
}

/// What an apply or delete did, and the datastore revision after which nodes enforce it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) revision: u64,
}

/// What documents are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// They must be usable.
    Write,
    /// Only their identity counts.
    Delete,
}

/// Understands all documents, or tells all that is wrong.
pub(crate) fn understand(documents: Vec<Value>, purpose: Purpose) -> anyhow::Result<Vec<Meaning>> {
    let (good, bad): (Vec<_>, Vec<_>) = documents.into_iter().map(meaning).partition(Result::is_ok);
    let mut problems: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
    let mut good: Vec<Meaning> = good.into_iter().flatten().collect();
    for meaning in &mut good {
        if let (Purpose::Write, Meaning::Stored { id, object, .. } | Meaning::Workload { id, object }) =
            (purpose, &mut *meaning)
        {
            problems.extend(admit(object).iter().map(|p| format!("{id}: {p}")));
        }
    }
    for meaning in &good {
        if let (Purpose::Write, Meaning::Stored { path, object, .. }) = (purpose, meaning) {
            problems.extend(truth::judge(path, object).iter().filter(|d| d.fatal).map(ToString::to_string));
        }
    }
    if !problems.is_empty() {
        bail!("nothing was done:\n  {}", problems.join("\n  "));
    }
    Ok(good)
}

impl Lab {
    /// Creates or changes objects; starts and stops pods of workloads.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        meanings: Vec<Meaning>,
        sink: &Sink,
    ) -> anyhow::Result<Applied> {
        self.check_pools(&meanings).await?;
        let mut applied = Applied::default();
        let mut workloads = Vec::new();
        // Namespaces first, so that nothing is ever in a namespace without labels.
        let (first, rest): (Vec<_>, Vec<_>) = meanings.into_iter().partition(is_namespace);
        for meaning in first.into_iter().chain(rest) {
            match meaning {
                Meaning::Stored { id, path, object } => {
                    let object = finish(&id, object);
                    let dropped: Vec<String> =
                        truth::judge(&path, &object).iter().map(ToString::to_string).collect();
                    let (written, revision) = self
                        .store
                        .records
                        .put(&path, &object)
                        .await
                        .with_context(|| format!("cannot apply {id}"))?;
                    applied.revision = applied.revision.max(revision);
                    self.note(&mut applied, sink, id, written.into(), dropped.join("; ")).await;
                }
                Meaning::Workload { id, object } => workloads.push((id, object)),
                Meaning::Skipped { id, reason } => {
                    self.note(&mut applied, sink, id, Action::Skipped, reason).await;
                }
            }
        }
        for (id, object) in workloads {
            let (action, detail) =
                self.run_workload(&id, &object, sink).await.with_context(|| format!("cannot apply {id}"))?;
            self.note(&mut applied, sink, id, action, detail).await;
        }
        // Pods wrote too.
        applied.revision = applied.revision.max(self.store.records.revision().await?);
        Ok(applied)
    }

    /// Pools may not overlap: an address would have two homes.
    async fn check_pools(&self, meanings: &[Meaning]) -> anyhow::Result<()> {
        let Some(kind) = v3::by_kind("IPPool") else { return Ok(()) };
        let mut pools: BTreeMap<String, Cidr> = BTreeMap::new();
        for entry in self.store.records.list(&kind.list_prefix(None)).await?.0 {
            if let (Some((_, _, name)), Some(cidr)) =
                (v3::parse_path(&entry.key), pool_cidr(&records::object(&entry)?))
            {
                pools.insert(name.to_owned(), cidr);
            }
        }
        let written = meanings.iter().filter_map(|m| match m {
            Meaning::Stored { id, object, .. } if id.kind == "IPPool" => Some((id, pool_cidr(object)?)),
            _ => None,
        });
        for (id, cidr) in written {
            if let Some((other, range)) = pools.iter().find(|(n, c)| **n != id.name && c.overlaps(cidr)) {
                bail!(
                    "nothing was done:\n  {id}: spec.cidr: {cidr} overlaps {range} of IPPool {other}; choose another range, or delete that pool first"
                );
            }
            pools.insert(id.name.clone(), cidr);
        }
        Ok(())
    }

    async fn note(&self, applied: &mut Applied, sink: &Sink, id: ObjectId, result: Action, detail: String) {
        let outcome = Outcome { kind: id.kind, namespace: id.namespace, name: id.name, result, detail };
        sink.item(&outcome).await;
        applied.outcomes.push(outcome);
    }

    /// Makes the pods of a workload be those that it asks for.
    async fn run_workload(
        self: &Arc<Self>,
        id: &ObjectId,
        object: &Value,
        sink: &Sink,
    ) -> anyhow::Result<(Action, String)> {
        let wanted = pods_of(id, object, self.nodes.len()).with_context(|| format!("{id} makes no sense"))?;
        let names: BTreeSet<PodName> = wanted.iter().map(name_of).collect::<anyhow::Result<_>>()?;
        // A pod of its own is owned by nobody.
        let owned = |owner: &Option<ObjectId>| owner.as_ref().map_or(id.kind == "Pod", |o| o == id);
        let surplus: Vec<PodName> = self
            .pods
            .all()
            .into_iter()
            .filter(|p| p.owner.as_ref() == Some(id) && !names.contains(&p.name))
            .map(|p| p.name.clone())
            .collect();
        let stopped = surplus.len();
        self.remove_pods(surplus).await?;

        let (mut changed, mut fresh) = (0, Vec::new());
        for wish in wanted {
            let name = name_of(&wish)?;
            match self.pods.get(&name) {
                None => fresh.push(wish),
                Some(pod) if !owned(&pod.owner) => bail!(
                    "there is a pod {name} already, which belongs to {}",
                    pod.owner.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string)
                ),
                Some(_) => changed += usize::from(self.adjust_pod(&name, wish).await?),
            }
        }
        let started = fresh.len();
        if started > 0 {
            sink.progress(format!("{id}: starting {started} pod{}", if started == 1 { "" } else { "s" }))
                .await;
        }
        self.add_pods(fresh).await?;
        let mut did = Vec::new();
        for (count, word) in [(started, "started"), (changed, "changed"), (stopped, "stopped")] {
            if count > 0 {
                did.push(format!("{count} {word}"));
            }
        }
        let action = match (started, changed + stopped) {
            (0, 0) => Action::Unchanged,
            (n, 0) if n == names.len() => Action::Applied,
            _ => Action::Changed,
        };
        let detail = if did.is_empty() { String::new() } else { format!("pods: {}", did.join(", ")) };
        Ok((action, detail))
    }

    /// Starts pods, several at a time; errors are reported when all have been tried.
    pub(crate) async fn add_pods(self: &Arc<Self>, wishes: Vec<Wish>) -> anyhow::Result<()> {
        let outcomes: Vec<anyhow::Result<()>> = stream::iter(wishes)
            .map(|wish| {
                let lab = Arc::clone(self);
                async move { lab.add_pod(wish).await.map(|_| ()) }
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        all_of(outcomes)
    }

    /// Stops pods, several at a time; errors are reported when all have been tried.
    pub(crate) async fn remove_pods(self: &Arc<Self>, names: Vec<PodName>) -> anyhow::Result<()> {
        let outcomes: Vec<anyhow::Result<()>> = stream::iter(names)
            .map(|name| {
                let lab = Arc::clone(self);
                async move { lab.remove_pod(&name).await.map(|_| ()) }
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        all_of(outcomes)
    }

    /// Deletes objects, and the pods of workloads; a namespace takes everything in it along.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        meanings: Vec<Meaning>,
        sink: &Sink,
    ) -> anyhow::Result<Applied> {
        let mut applied = Applied::default();
        for meaning in meanings {
            match meaning {
                Meaning::Stored { id, path, .. } => {
                    let detail = if id.kind == "Namespace"
                        && path == seed::kubernetes("Namespace", "", &id.name)
                    {
                        self.empty_namespace(&id.name).await.with_context(|| format!("cannot empty {id}"))?
                    } else {
                        String::new()
                    };
                    let gone = self
                        .store
                        .records
                        .remove(&path)
                        .await
                        .with_context(|| format!("cannot delete {id}"))?;
                    self.finish_namespace(&id).await?;
                    applied.revision = applied.revision.max(gone.unwrap_or(0));
                    let result = if gone.is_some() { Action::Deleted } else { Action::Absent };
                    self.note(&mut applied, sink, id, result, detail).await;
                }
                Meaning::Workload { id, .. } => {
                    let own = PodName { namespace: id.namespace.clone(), name: id.name.clone() };
                    let pods: Vec<PodName> = self
                        .pods
                        .all()
                        .into_iter()
                        .filter(|p| p.owner.as_ref() == Some(&id) || (id.kind == "Pod" && p.name == own))
                        .map(|p| p.name.clone())
                        .collect();
                    let count = pods.len();
                    self.remove_pods(pods).await.with_context(|| format!("cannot delete {id}"))?;
                    let result = if count > 0 { Action::Deleted } else { Action::Absent };
                    let detail = if count > 1 { format!("pods: {count} stopped") } else { String::new() };
                    self.note(&mut applied, sink, id, result, detail).await;
                }
                Meaning::Skipped { id, reason } => {
                    self.note(&mut applied, sink, id, Action::Skipped, reason).await;
                }
            }
        }
        applied.revision = applied.revision.max(self.store.records.revision().await?);
        Ok(applied)
    }

    /// Does what Kubernetes' namespace controller does last, where there is a Kubernetes without one.
    pub(crate) async fn finish_namespace(&self, id: &ObjectId) -> anyhow::Result<()> {
        if id.kind == "Namespace" { self.end_namespace(&id.name).await } else { Ok(()) }
    }

    /// The end of a deleted namespace; where there is a controller, waiting for it.
    pub(crate) async fn end_namespace(&self, name: &str) -> anyhow::Result<()> {
        let Some(control) = &self.store.control else { return Ok(()) };
        if control.managers.is_empty() {
            return control.client.finish_namespace(name).await;
        }
        control.client.wait_gone(&format!("/api/v1/namespaces/{name}")).await
    }

    /// Removes everything in a namespace, as Kubernetes' namespace controller does.
    async fn empty_namespace(self: &Arc<Self>, namespace: &str) -> anyhow::Result<String> {
        let pods: Vec<PodName> = self
            .pods
            .all()
            .into_iter()
            .filter(|p| p.name.namespace == namespace)
            .map(|p| p.name.clone())
            .collect();
        let mut count = pods.len();
        self.remove_pods(pods).await?;
        let kinds = tortie_api::k8s::RESOURCES.iter().chain(v3::RESOURCES).filter(|r| r.namespaced);
        let mut paths = Vec::new();
        for kind in kinds {
            for entry in self.store.records.list(&kind.list_prefix(Some(namespace))).await?.0 {
                paths.push(entry.key.to_string());
            }
        }
        count += paths.len();
        if !paths.is_empty() {
            self.store.records.remove_all(paths).await?;
        }
        Ok(match count {
            0 => String::new(),
            1 => "with 1 object in it".to_owned(),
            n => format!("with {n} objects in it"),
        })
    }
}

/// One error for all: whoever mends the first should know of the others.
fn all_of(outcomes: Vec<anyhow::Result<()>>) -> anyhow::Result<()> {
    const SHOWN: usize = 10;
    let mut errors: Vec<anyhow::Error> = outcomes.into_iter().filter_map(Result::err).collect();
    if errors.len() < 2 {
        return errors.pop().map_or(Ok(()), Err);
    }
    let mut lines: Vec<String> = errors.iter().take(SHOWN).map(|e| format!("{e:#}")).collect();
    if let more @ 1.. = errors.len().saturating_sub(SHOWN) {
        lines.push(format!("and {more} more"));
    }
    bail!("{} pods failed:\n  {}", errors.len(), lines.join("\n  "))
}

fn pool_cidr(pool: &Value) -> Option<Cidr> {
    pool.pointer("/spec/cidr")?.as_str()?.parse().ok()
}

fn is_namespace(meaning: &Meaning) -> bool {
    matches!(meaning, Meaning::Stored { id, .. } if id.kind == "Namespace")
}

/// What the API server adds to an object.
fn finish(id: &ObjectId, mut object: Value) -> Value {
    if id.kind == "Namespace"
        && let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut)
    {
        let labels = metadata.entry("labels").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(seed::NAME_LABEL.to_owned(), id.name.as_str().into());
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_told_and_many_are_counted() {
        let fail = |n: usize| (0..n).map(|i| Err(anyhow::anyhow!("pod {i}"))).collect::<Vec<_>>();
        assert!(all_of(vec![Ok(()), Ok(())]).is_ok());
        assert_eq!(all_of(fail(1)).unwrap_err().to_string(), "pod 0");
        assert_eq!(all_of(fail(2)).unwrap_err().to_string(), "2 pods failed:\n  pod 0\n  pod 1");
        let many = all_of(fail(12)).unwrap_err().to_string();
        assert!(many.starts_with("12 pods failed:") && many.ends_with("pod 9\n  and 2 more"), "{many}");
    }
}
