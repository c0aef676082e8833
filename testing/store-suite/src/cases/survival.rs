//! Stores whose process is killed.

use crate::{PATIENCE, Subject, Watching, brief, put, put_when, soon};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tortie_store::{Event, Op, Precondition, Store, StoreError};

/// Writers write while the store is killed again and again. Whatever was acknowledged is there afterwards, whatever was
/// refused is not, and a commit of two keys is there whole or not at all.
pub async fn acknowledged_writes_survive_a_kill(subject: &Subject) {
    let kills = subject.count(4, 2);
    const WRITERS: usize = 4;
    let (progress, mut written) = mpsc::unbounded_channel();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, progress) = (subject.store.clone(), progress.clone());
            tokio::spawn(async move { write_until_closed(store, writer, progress).await })
        })
        .collect();
    drop(progress);
    for _ in 0..kills {
        // Kill in the middle of the writing, not before it has begun again.
        for _ in 0..40 {
            soon("an acknowledged write", written.recv()).await.unwrap();
        }
        subject.faults.kill().await;
        while written.try_recv().is_ok() {}
        subject.faults.start().await;
    }
    for _ in 0..40 {
        soon("an acknowledged write", written.recv()).await.unwrap();
    }
    drop(written);
    let mut expected = BTreeMap::new();
    for writer in writers {
        expected.extend(soon("a writer", writer).await.unwrap());
    }
    let list = subject.store.list("/crash/").await.unwrap();
    let found: BTreeMap<String, u64> =
        list.entries.iter().map(|entry| (entry.key.to_string(), entry.revision)).collect();
    for (key, outcome) in &expected {
        let other = key.replace("/a/", "/b/");
        match (outcome, found.get(key)) {
            (Outcome::Acknowledged(revision), Some(found)) if subject.store.has_transactions() => {
                assert_eq!(found, revision, "{key}");
            }
            (Outcome::Acknowledged(revision), Some(_)) => {
                assert_eq!(found.get(&other), Some(revision), "{other}");
            }
            (Outcome::Acknowledged(revision), None) => {
                panic!("{key} was acknowledged at {revision} and is gone")
            }
            (Outcome::Unknown, _) => {}
        }
        if subject.store.has_transactions() {
            assert_eq!(found.get(key), found.get(&other), "{key} and {other} were written together");
        }
    }
    let known = expected.len();
    assert!(known >= 40 * (kills + 1), "only {known} writes");
    assert!(list.entries.len() <= 2 * known, "{} keys of {known} writes", list.entries.len());
}

#[derive(Debug)]
enum Outcome {
    Acknowledged(u64),
    Unknown,
}

/// Writes pairs of keys until nobody counts any more; each pair once.
async fn write_until_closed(
    store: Arc<dyn Store>,
    writer: usize,
    progress: mpsc::UnboundedSender<()>,
) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::new();
    for n in 0.. {
        let (a, b) = (format!("/crash/a/{writer}/{n}"), format!("/crash/b/{writer}/{n}"));
        let absent = Precondition::Absent;
        match store.commit(vec![put_when(&a, "v", absent), put_when(&b, "v", absent)]).await {
            Ok(revision) => {
                outcomes.insert(a, Outcome::Acknowledged(revision));
                if progress.send(()).is_err() {
                    return outcomes;
                }
            }
            Err(error) if error.is_transient() => {
                outcomes.insert(a, Outcome::Unknown);
                if progress.is_closed() {
                    return outcomes;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    outcomes
}

/// While there is no store, every call fails, soon, with an error that says so; afterwards the same client works.
pub async fn calls_end_while_the_store_is_away(subject: &Subject) {
    subject.commit(vec![put("/a", "1")]).await;
    subject.faults.kill().await;
    let start = Instant::now();
    let errors = [
        soon("get", subject.store.get("/a")).await.map(drop).unwrap_err(),
        soon("list", subject.store.list("/")).await.map(drop).unwrap_err(),
        soon("commit", subject.store.commit(vec![put("/a", "2")])).await.map(drop).unwrap_err(),
        soon("watch", subject.store.watch("/", 1)).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("cannot be reached"), "{error}");
    }
    assert!(start.elapsed() < PATIENCE / 2, "the four calls took {:?}", start.elapsed());
    subject.faults.start().await;
    assert!(!subject.keys("/a").await.is_empty());
    subject.commit(vec![put("/a", "3")]).await;
}

/// A watch ends with its store; a watch from the last revision seen then misses nothing.
pub async fn a_watch_ends_with_the_store_and_goes_on_after(subject: &Subject) {
    let start = subject.revision().await;
    let mut watch = subject.watch("/", start).await;
    subject.commit(vec![put("/a", "1")]).await;
    let seen = watch.take(1).await[0].revision();
    subject.faults.kill().await;
    let error = watch.changes().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    subject.faults.start().await;
    let next = subject.commit(vec![put("/a", "2")]).await;
    subject.assert_next(seen, next);
    // Some remember history only as long as they live; then a list tells what was missed.
    let resumed = match soon("a watch", subject.store.watch("/", seen)).await {
        Ok(watch) => Watching(watch).changes().await,
        Err(error) => Err(error),
    };
    match resumed {
        Ok(events) => {
            assert_eq!((events[0].revision(), brief(&events[0])), (next, ("/a", Some(&b"2"[..]))));
        }
        Err(StoreError::Compacted { .. }) if !subject.alone => {
            let entry = subject.store.get("/a").await.unwrap().unwrap();
            assert_eq!((entry.revision, &entry.value[..]), (next, &b"2"[..]));
        }
        Err(error) => panic!("{error}"),
    }
}

/// A key with a time to live still ends after the store was killed.
pub async fn deadlines_survive_a_kill(subject: &Subject) {
    let mortal = Op::Put {
        key: "/mortal".to_owned(),
        value: bytes::Bytes::from_static(b"v"),
        when: Precondition::Any,
        ttl: Some(Duration::from_secs(1)),
    };
    let revision = subject.commit(vec![mortal, put("/plain", "v")]).await;
    subject.faults.kill().await;
    subject.faults.start().await;
    let mut watch = subject.watch("/mortal", revision).await;
    let ended = watch.take(1).await;
    assert!(matches!(&ended[..], [Event::Delete { .. }]), "{ended:?}");
    assert_eq!(subject.keys("/").await, ["/plain"]);
}
