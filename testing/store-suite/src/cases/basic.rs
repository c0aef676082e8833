//! Single calls.

use crate::{PATIENCE, Subject, delete, put, put_when, soon};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::sync::oneshot::error::TryRecvError;
use tortie_store::{Entry, Event, Op, Precondition, StoreError};

/// What is written is read, with the revision that the write answered.
pub async fn a_key_comes_back(subject: &Subject) {
    assert_eq!(subject.store.get("/a").await.unwrap(), None);
    let first = subject.commit(vec![put("/a", "1")]).await;
    let second = subject.commit(vec![put("/a", "2")]).await;
    subject.assert_next(first, second);
    let entry = subject.store.get("/a").await.unwrap().unwrap();
    assert_eq!((&*entry.key, &entry.value[..], entry.revision), ("/a", &b"2"[..], second));
    let third = subject.commit(vec![delete("/a")]).await;
    subject.assert_next(second, third);
    assert_eq!(subject.store.get("/a").await.unwrap(), None);
    assert_eq!(subject.store.get("").await.unwrap(), None, "the empty key is nowhere");
}

/// Values are bytes, of any size from none up.
pub async fn binary_values_come_back(subject: &Subject) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every_byte.repeat(2000);
    for value in [Vec::new(), vec![0], every_byte, large] {
        subject.commit(vec![put("/binary", value.clone())]).await;
        let entry = subject.store.get("/binary").await.unwrap().unwrap();
        assert!(entry.value == value, "{} bytes came back as {}", value.len(), entry.value.len());
        let list = subject.store.list("/binary").await.unwrap();
        assert!(list.entries == [entry]);
    }
    // Keys are text, of any script.
    subject.commit(vec![put("/ключ/鍵/🔑 with spaces%2f", "v")]).await;
    assert_eq!(subject.keys("/ключ/").await, ["/ключ/鍵/🔑 with spaces%2f"]);
}

/// A list of nothing still has a revision to watch from.
pub async fn an_empty_store_is_listed(subject: &Subject) {
    let list = subject.store.list("").await.unwrap();
    assert!(list.entries.is_empty() && list.revision > 0, "{list:?}");
    let mut watch = subject.watch("", list.revision).await;
    let revision = subject.commit(vec![put("/a", "1")]).await;
    subject.assert_next(list.revision, revision);
    assert_eq!(watch.take(1).await[0].revision(), revision);
}

/// `/a/b` covers `/a/bc`; `/a/b/` does not cover `/a/b`.
pub async fn prefixes_are_plain_strings(subject: &Subject) {
    let keys = ["/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/a/bc", "/a0", "/b", "a"];
    for key in keys {
        subject.commit(vec![put(key, "v")]).await;
    }
    let cases: [(&str, &[&str]); 8] = [
        ("/a/b", &["/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/a/bc"]),
        ("/a/b/", &["/a/b/", "/a/b/c", "/a/b/c/d"]),
        ("/a/bc", &["/a/bc"]),
        ("/a/b/c", &["/a/b/c", "/a/b/c/d"]),
        ("/a/x", &[]),
        ("a", &["a"]),
        ("/", &["/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/a/bc", "/a0", "/b"]),
        ("", &["/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "/a/bc", "/a0", "/b", "a"]),
    ];
    for (prefix, expected) in cases {
        assert_eq!(subject.keys(prefix).await, expected, "under {prefix:?}");
    }
}

/// A long list is complete, in order, and of one revision.
pub async fn ten_thousand_keys_are_listed_in_order(subject: &Subject) {
    let count = subject.count(10_000, 1200);
    let mut revision = 0;
    let all: Vec<String> = (0..count).map(|n| format!("/many/{n:05}")).collect();
    for part in all.chunks(100) {
        revision = subject.commit(part.iter().map(|key| put(key, key.clone())).collect()).await;
    }
    let list = soon("a long list", subject.store.list("/many/")).await.unwrap();
    assert!(list.revision == revision || (!subject.alone && list.revision > revision));
    assert_eq!(list.entries.len(), count);
    for (entry, key) in list.entries.iter().zip(&all) {
        assert_eq!((&*entry.key, &entry.value[..]), (key.as_str(), key.as_bytes()));
    }
    assert_eq!(subject.keys("/many/0099").await.len(), 10);
}

/// However a long list is put together, it shows one moment: the first and the last key are always written together,
/// and between them keys come and go.
pub async fn a_long_list_is_of_one_revision(subject: &Subject) {
    let count = subject.count(3500, 1200);
    let all: Vec<String> = (0..count).map(|n| format!("/page/{n:05}")).collect();
    for part in all.chunks(100) {
        subject.commit(part.iter().map(|key| put(key, "0")).collect()).await;
    }
    subject.commit(vec![put(&all[0], "0"), put(&all[count - 1], "0")]).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = {
        let (store, first, last) = (subject.store.clone(), all[0].clone(), all[count - 1].clone());
        tokio::spawn(async move {
            for n in 1.. {
                if stopped.try_recv() != Err(TryRecvError::Empty) {
                    return n;
                }
                let between = format!("/page/{:05}+", n % count);
                let come_or_go = if n % 2 == 0 { put(&between, "0") } else { delete(&between) };
                store
                    .commit(vec![put(&first, n.to_string()), come_or_go, put(&last, n.to_string())])
                    .await
                    .unwrap();
            }
            0
        })
    };
    let mut moments = std::collections::HashSet::new();
    let start = Instant::now();
    while moments.len() < 5 {
        assert!(start.elapsed() < PATIENCE, "nothing is written meanwhile");
        let list = soon("a long list", subject.store.list("/page/")).await.unwrap();
        let (first, last) = (list.entries.first().unwrap(), list.entries.last().unwrap());
        if subject.store.has_transactions() {
            assert_eq!((&first.value, first.revision), (&last.value, last.revision));
        } else {
            let number = |entry: &Entry| std::str::from_utf8(&entry.value).unwrap().parse::<u64>().unwrap();
            let ahead = number(first) - number(last);
            assert!(ahead <= 1, "the first key is written before the last one, but is {ahead} ahead");
        }
        assert!(list.entries.iter().all(|entry| entry.revision <= list.revision));
        assert!(list.entries.is_sorted_by(|a, b| a.key < b.key));
        moments.insert(list.revision);
    }
    stop.send(()).unwrap();
    soon("the writer", writer).await.unwrap();
}

/// What can never succeed is told apart from what may succeed later.
pub async fn wrong_commits_are_refused(subject: &Subject) {
    let before = subject.revision().await;
    let no_time =
        Op::Put { key: "/a".into(), value: Bytes::new(), when: Precondition::Any, ttl: Some(Duration::ZERO) };
    let cases = [
        vec![put("", "1")],
        vec![put("/a", "1"), put("/a", "2")],
        vec![put("/a", "1"), delete("/a")],
        vec![put("/b", "1"), no_time],
    ];
    for ops in cases {
        let error = subject.store.commit(ops.clone()).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid { .. }), "{ops:?}: {error}");
    }
    if subject.alone {
        assert_eq!(subject.revision().await, before);
    }
    assert!(subject.keys("").await.is_empty());
}

/// A commit that changes nothing takes no revision and is seen by nobody.
pub async fn a_deletion_of_nothing_changes_nothing(subject: &Subject) {
    let revision = subject.commit(vec![put("/a", "1")]).await;
    let mut watch = subject.watch("/", revision).await;
    for nothing in [vec![delete("/none")], Vec::new()] {
        let answered = subject.commit(nothing).await;
        assert!(answered == revision || (!subject.alone && answered > revision));
    }
    let next = subject.commit(vec![delete("/none"), put("/b", "1")]).await;
    subject.assert_next(revision, next);
    let seen = watch.take(1).await;
    assert_eq!((&**seen[0].key(), seen[0].revision()), ("/b", next));
}

/// A key with a time to live ends by itself, not before its time, and not if written again without one.
pub async fn keys_end_with_their_time_to_live(subject: &Subject) {
    let time = Duration::from_secs(1);
    let mortal = |key: &str| Op::Put {
        key: key.to_owned(),
        value: Bytes::from_static(b"v"),
        when: Precondition::Any,
        ttl: Some(time),
    };
    let start = Instant::now();
    let revision = subject
        .commit(vec![mortal("/ends/1"), mortal("/ends/2"), mortal("/stays"), put("/plain", "v")])
        .await;
    subject.commit(vec![put_when("/stays", "again", Precondition::Revision(revision))]).await;
    let mut watch = subject.watch("/ends/", revision).await;
    let ended = watch.take(2).await;
    assert!(start.elapsed() >= time, "ended after {:?}", start.elapsed());
    assert!(ended.iter().all(|event| matches!(event, Event::Delete { .. })), "{ended:?}");
    assert_eq!(subject.keys("/").await, ["/plain", "/stays"]);
}
