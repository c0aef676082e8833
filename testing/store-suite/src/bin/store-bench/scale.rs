//! A large cluster: a hundred thousand objects, ten thousand changes a second, sixty-four writers of one key. Beside
//! etcd spoken to directly, in the same run; results are checked, so that nothing is quick because it is wrong.

use crate::VALUE;
use crate::heap;
use crate::raw::RawEtcd;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_store::{Event, Op, Precondition, Store, StoreError, WatchItem};
use tortie_sync::{FeedConfig, View};

const OBJECTS: usize = 100_000;
const CHANGES_PER_SECOND: usize = 10_000;
const SECONDS: usize = 3;
const WRITERS: usize = 64;
const INCREMENTS: usize = 16;

/// What is measured.
pub(crate) enum Subject {
    Raw(RawEtcd),
    Ours(Arc<dyn Store>),
}

/// One subject's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) list: Duration,
    /// Of a change, from before its commit until it was seen.
    pub(crate) seen_p50: Duration,
    pub(crate) seen_p99: Duration,
    /// Changes a second that arrived.
    pub(crate) changes: f64,
    /// Successful increments a second.
    pub(crate) increments: f64,
}

fn key(n: usize) -> String {
    format!("/scale/objects/{n:06}")
}

/// All measurements of one subject.
pub(crate) async fn measure(subject: &Subject) -> Figures {
    for first in (0..OBJECTS).step_by(100) {
        put(subject, (first..first + 100).map(|n| (key(n), Bytes::from_static(VALUE))).collect()).await;
    }
    let mut lists = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let (count, bytes, _) = list(subject, "/scale/objects/").await;
        lists.push(start.elapsed());
        assert_eq!((count, bytes), (OBJECTS, OBJECTS * VALUE.len()), "a list must be complete");
    }
    lists.sort_unstable();
    let (seen_p50, seen_p99, changes) = watch(subject).await;
    Figures { list: lists[1], seen_p50, seen_p99, changes, increments: contend(subject).await }
}

async fn put(subject: &Subject, entries: Vec<(String, Bytes)>) -> u64 {
    match subject {
        Subject::Raw(raw) => raw.put(entries, None).await.unwrap() as u64,
        Subject::Ours(store) => {
            let put = |(key, value)| Op::Put { key, value, when: Precondition::Any, ttl: None };
            store.commit(entries.into_iter().map(put).collect()).await.unwrap()
        }
    }
}

/// Count, bytes of values, revision.
async fn list(subject: &Subject, prefix: &str) -> (usize, usize, u64) {
    match subject {
        Subject::Raw(raw) => {
            let (kvs, revision) = raw.list(prefix).await;
            (kvs.len(), kvs.iter().map(|kv| kv.value.len()).sum(), revision as u64)
        }
        Subject::Ours(store) => {
            let list = store.list(prefix).await.unwrap();
            (list.entries.len(), list.entries.iter().map(|e| e.value.len()).sum(), list.revision)
        }
    }
}

/// Changes at a fixed rate in commits of a hundred, each with the time at which it was due.
async fn watch(subject: &Subject) -> (Duration, Duration, f64) {
    const BATCH: usize = 100;
    let total = CHANGES_PER_SECOND * SECONDS;
    let (_, _, revision) = list(subject, "/none/").await;
    let epoch = Instant::now();
    let stamp = move || Bytes::from((epoch.elapsed().as_nanos() as u64).to_be_bytes().to_vec());
    let late = move |value: &[u8]| {
        let written = value.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        epoch.elapsed().saturating_sub(Duration::from_nanos(written))
    };
    let reader = async {
        let mut seen = Vec::with_capacity(total);
        let mut last = revision;
        match subject {
            Subject::Raw(raw) => {
                let (_alive, mut answers) = raw.watch("/scale/changes/", revision as i64).await;
                while seen.len() < total {
                    for event in answers.message().await.unwrap().unwrap().events {
                        let kv = event.kv.unwrap();
                        assert!(kv.mod_revision as u64 >= last, "out of order");
                        last = kv.mod_revision as u64;
                        seen.push(late(&kv.value));
                    }
                }
            }
            Subject::Ours(store) => {
                let mut watch = store.watch("/scale/changes/", revision).await.unwrap();
                while seen.len() < total {
                    let WatchItem::Events(events) = watch.next().await.unwrap() else { continue };
                    for event in events {
                        let Event::Put(entry) = event else { unreachable!("nothing is removed") };
                        assert!(entry.revision >= last, "out of order");
                        last = entry.revision;
                        seen.push(late(&entry.value));
                    }
                }
            }
        }
        seen
    };
    let writer = async {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / (CHANGES_PER_SECOND / BATCH) as u32);
        for batch in 0..total / BATCH {
            pace.tick().await;
            let entries =
                (0..BATCH).map(|n| (format!("/scale/changes/{:04}", (batch * BATCH + n) % 5000), stamp()));
            put(subject, entries.collect()).await;
        }
    };
    let ((), mut seen) = tokio::join!(writer, reader);
    let took = epoch.elapsed();
    assert_eq!(seen.len(), total, "every change once");
    seen.sort_unstable();
    (seen[total / 2], seen[total * 99 / 100], total as f64 / took.as_secs_f64())
}

/// Many writers increment one key by compare and swap.
async fn contend(subject: &Subject) -> f64 {
    const KEY: &str = "/scale/count";
    put(subject, vec![(KEY.to_owned(), "0".into())]).await;
    let start = Instant::now();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| match subject {
            Subject::Raw(raw) => {
                let raw = raw.clone();
                tokio::spawn(async move {
                    for _ in 0..INCREMENTS {
                        loop {
                            let kv = raw.get(KEY).await.unwrap();
                            let next = number(&kv.value) + 1;
                            let entry = vec![(KEY.to_owned(), next.to_string().into())];
                            if raw.put(entry, Some(kv.mod_revision)).await.is_some() {
                                break;
                            }
                        }
                    }
                })
            }
            Subject::Ours(store) => {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut known = store.get(KEY).await.unwrap();
                    for _ in 0..INCREMENTS {
                        loop {
                            let entry = match known.take() {
                                Some(entry) => entry,
                                None => store.get(KEY).await.unwrap().unwrap(),
                            };
                            let next = (number(&entry.value) + 1).to_string();
                            let when = Precondition::Revision(entry.revision);
                            let op = Op::Put { key: KEY.to_owned(), value: next.into(), when, ttl: None };
                            match store.commit(vec![op]).await {
                                Ok(_) => break,
                                // The answer says what the key is now: no second look is needed.
                                Err(StoreError::Conflict { current, .. }) => known = current,
                                Err(error) => unreachable!("{error}"),
                            }
                        }
                    }
                })
            }
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let took = start.elapsed();
    let found = match subject {
        Subject::Raw(raw) => number(&raw.get(KEY).await.unwrap().value),
        Subject::Ours(store) => number(&store.get(KEY).await.unwrap().unwrap().value),
    };
    assert_eq!(found, WRITERS * INCREMENTS, "no increment may be lost");
    found as f64 / took.as_secs_f64()
}

fn number(value: &[u8]) -> usize {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// What following the objects costs: time spent for each in the first snapshot, and in one that is no news.
pub(crate) async fn follow(store: Arc<dyn Store>) -> (Duration, Duration, usize) {
    let config = FeedConfig { prefix: "/scale/objects/".to_owned(), ..FeedConfig::default() };
    let mut feed = tortie_sync::spawn(store.clone(), config);
    let mut view = View::default();
    let Some(tortie_sync::Feed::Snapshot(list)) = feed.recv().await else {
        unreachable!("a snapshot comes first")
    };
    let (again, start) = (list.clone(), Instant::now());
    assert_eq!(view.snapshot(list).len(), OBJECTS);
    let snapshot = start.elapsed() / OBJECTS as u32;
    let start = Instant::now();
    assert!(view.snapshot(again).is_empty(), "the same again is no news");
    let again = start.elapsed() / OBJECTS as u32;
    let before = heap::used();
    drop(view);
    (snapshot, again, before.saturating_sub(heap::used()) / OBJECTS)
}
