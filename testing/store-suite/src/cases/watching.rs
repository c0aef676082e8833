//! Watches.

use crate::{Subject, Watching, brief, delete, put, soon};
use std::collections::BTreeMap;
use tortie_store::{Event, StoreError};

/// Every change, in order, with key, value and revision; also those before the watch was started.
pub async fn a_watch_has_all_changes_in_order(subject: &Subject) {
    let start = subject.revision().await;
    let a = subject.commit(vec![put("/a", "1")]).await;
    let b = subject.commit(vec![put("/b", "1")]).await;
    let mut watch = subject.watch("/", start).await;
    let gone = subject.commit(vec![delete("/a")]).await;
    let again = subject.commit(vec![put("/a", "2")]).await;
    let seen = watch.take(4).await;
    let expected: [(&str, Option<&[u8]>); 4] =
        [("/a", Some(b"1")), ("/b", Some(b"1")), ("/a", None), ("/a", Some(b"2"))];
    assert_eq!(seen.iter().map(brief).collect::<Vec<_>>(), expected);
    let revisions: Vec<u64> = seen.iter().map(Event::revision).collect();
    assert!(revisions[2] == gone || (!subject.alone && revisions[2] <= gone), "{revisions:?} {gone}");
    assert_eq!((revisions[0], revisions[1], revisions[3]), (a, b, again));
}

/// Nothing twice, nothing missing between a list and the watch from its revision.
pub async fn a_watch_starts_where_a_list_ended(subject: &Subject) {
    for n in 0..10 {
        subject.commit(vec![put(&format!("/k/{n}"), "1")]).await;
        let list = subject.store.list("/k/").await.unwrap();
        let mut watch = subject.watch("/k/", list.revision).await;
        let next = subject.commit(vec![put("/k/next", n.to_string())]).await;
        let seen = watch.take(1).await;
        assert_eq!((seen[0].revision(), brief(&seen[0]).0), (next, "/k/next"));
    }
}

/// `/a/b/` sees neither `/a/b` nor `/a/bc`.
pub async fn a_watch_sees_its_prefix_only(subject: &Subject) {
    let start = subject.revision().await;
    let mut exact = subject.watch("/a/b/", start).await;
    let mut wide = subject.watch("/a/b", start).await;
    let mut all = subject.watch("", start).await;
    let keys = ["/a/b", "/a/bc", "/a/b/c", "/a/", "/x", "/a/b/d"];
    for key in keys {
        subject.commit(vec![put(key, "v")]).await;
    }
    let seen = async |watch: &mut Watching, count| {
        let taken = watch.take(count).await;
        taken.iter().map(|event| event.key().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(seen(&mut exact, 2).await, ["/a/b/c", "/a/b/d"]);
    assert_eq!(seen(&mut wide, 4).await, ["/a/b", "/a/bc", "/a/b/c", "/a/b/d"]);
    assert_eq!(seen(&mut all, 6).await, keys);
}

/// All changes of one commit come in one item, live and from history.
pub async fn a_commit_arrives_in_one_piece(subject: &Subject) {
    let start = subject.revision().await;
    let mut live = subject.watch("/set/", start).await;
    for round in 0..5 {
        let ops = (0..60).map(|n| put(&format!("/set/{n:02}"), format!("{round}"))).collect();
        subject.commit(ops).await;
    }
    let mut late = subject.watch("/set/", start).await;
    for watch in [&mut live, &mut late] {
        let mut sizes = BTreeMap::new();
        while sizes.values().sum::<usize>() < 300 {
            let mut in_item = BTreeMap::new();
            for event in watch.changes().await.unwrap() {
                *in_item.entry(event.revision()).or_insert(0usize) += 1;
            }
            for (revision, count) in in_item {
                assert_eq!(sizes.insert(revision, count), None, "revision {revision} came in two items");
            }
        }
        assert_eq!(sizes.values().copied().collect::<Vec<_>>(), [60; 5]);
    }
}

/// Many writers, many watches, each started at another time: every watch sees every change after its start once.
pub async fn watches_see_every_writer(subject: &Subject) {
    const WRITERS: usize = 6;
    const WRITES: usize = 40;
    let start = subject.revision().await;
    let mut watches = Vec::new();
    let watch_all = |mut watch: Watching, count: usize| {
        tokio::spawn(async move { watch.take(count).await.iter().map(Event::revision).collect::<Vec<_>>() })
    };
    watches.push(watch_all(subject.watch("/w/", start).await, WRITERS * WRITES));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = subject.faults.another().await;
        writers.push(tokio::spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..WRITES {
                revisions.push(store.commit(vec![put(&format!("/w/{writer}/{n}"), "v")]).await.unwrap());
            }
            revisions
        }));
        watches.push(watch_all(subject.watch("/w/", start).await, WRITERS * WRITES));
    }
    let mut written = Vec::new();
    for writer in writers {
        written.extend(soon("a writer", writer).await.unwrap());
    }
    written.sort_unstable();
    watches.push(watch_all(subject.watch("/w/", start).await, WRITERS * WRITES));
    for watch in watches {
        assert_eq!(soon("a watch", watch).await.unwrap(), written);
    }
}

/// List, then watch, while writers change and remove keys: the list plus the changes is the state.
pub async fn list_and_watch_agree_while_all_changes(subject: &Subject) {
    const ROUNDS: usize = 120;
    let writers: Vec<_> = (0..3usize)
        .map(|writer| {
            let store = subject.store.clone();
            tokio::spawn(async move {
                for n in 0..ROUNDS {
                    let (own, shared) = (format!("/s/{writer}/{}", n % 7), format!("/s/shared/{}", n % 3));
                    let ops = match n % 4 {
                        0 => vec![put(&own, n.to_string()), delete(&shared)],
                        1 => vec![delete(&own)],
                        _ => vec![put(&shared, format!("{writer}.{n}"))],
                    };
                    store.commit(ops).await.unwrap();
                }
            })
        })
        .collect();
    let mut followers = Vec::new();
    for _ in 0..4 {
        let list = subject.store.list("/s/").await.unwrap();
        let watch = subject.watch("/s/", list.revision).await;
        followers.push((list, watch));
    }
    for writer in writers {
        soon("a writer", writer).await.unwrap();
    }
    let end = subject.commit(vec![put("/s/~end", "v")]).await;
    let expected = state(subject.store.list("/s/").await.unwrap().entries);
    for (list, mut watch) in followers {
        let mut state = state(list.entries);
        let mut last = list.revision;
        while last < end {
            for event in watch.changes().await.unwrap() {
                last = event.revision();
                match event {
                    Event::Put(entry) => {
                        drop(state.insert(entry.key.to_string(), (entry.revision, entry.value)));
                    }
                    Event::Delete { key, .. } => {
                        assert!(state.remove(&*key).is_some(), "{key} was removed but not there");
                    }
                }
            }
        }
        assert_eq!(state, expected);
    }
}

fn state(entries: Vec<tortie_store::Entry>) -> BTreeMap<String, (u64, bytes::Bytes)> {
    entries.into_iter().map(|entry| (entry.key.to_string(), (entry.revision, entry.value))).collect()
}

/// The start, or the first item, of a watch from forgotten history says so; the oldest revision it names works.
pub async fn a_revision_too_old_is_refused(subject: &Subject) {
    let start = subject.revision().await;
    let mut last = start;
    for n in 0..20 {
        last = subject.commit(vec![put("/a", n.to_string())]).await;
    }
    subject.faults.compact(last - 2).await.unwrap();
    let error = match subject.store.watch("/", start).await {
        Err(error) => error,
        Ok(watch) => Watching(watch).changes().await.unwrap_err(),
    };
    let StoreError::Compacted { oldest, .. } = error else { panic!("{error}") };
    assert!(oldest > start && oldest <= last, "oldest is {oldest}");
    let mut watch = subject.watch("/", oldest).await;
    let seen = watch.take((last - oldest) as usize).await;
    assert_eq!(seen.last().unwrap().revision(), last);
    // Lists know no history.
    assert_eq!(subject.keys("/").await, ["/a"]);
}

/// A watch that is up to date loses nothing when history is forgotten.
pub async fn a_running_watch_outlives_compaction(subject: &Subject) {
    let start = subject.revision().await;
    let mut watch = subject.watch("/", start).await;
    let mut expected = start;
    for n in 0..10 {
        for k in 0..5 {
            let next = subject.commit(vec![put(&format!("/{k}"), n.to_string())]).await;
            subject.assert_next(expected, next);
            expected = next;
        }
        assert_eq!(watch.take(5).await.last().unwrap().revision(), expected);
        subject.faults.compact(expected).await.unwrap();
    }
    let next = subject.commit(vec![put("/next", "v")]).await;
    assert_eq!(watch.take(1).await[0].revision(), next);
}

/// Watches that are dropped, read or not, disturb nobody.
pub async fn a_watch_may_be_dropped(subject: &Subject) {
    let start = subject.revision().await;
    let mut kept = subject.watch("/", start).await;
    for n in 0..50 {
        let mut dropped = subject.watch("/", start).await;
        subject.commit(vec![put("/k", n.to_string())]).await;
        if n % 2 == 0 {
            dropped.changes().await.unwrap();
        }
    }
    kept.take(50).await;
}

/// A commit as large as a store usually takes arrives whole, though the history around it is larger than any message.
pub async fn a_large_commit_arrives(subject: &Subject) {
    // Wherever between 1.4 and 2.6 MB the history is cut into messages, the cut falls into the commit.
    const AROUND: usize = 13;
    const TOGETHER: usize = 14;
    let start = subject.revision().await;
    let mut live = subject.watch("/large/", start).await;
    let value = |n: usize| vec![n as u8; 100_000];
    for n in 0..AROUND {
        subject.commit(vec![put(&format!("/large/before/{n}"), value(n))]).await;
    }
    let ops = (0..TOGETHER).map(|n| put(&format!("/large/{n:02}"), value(n))).collect();
    let revision = subject.commit(ops).await;
    for n in 0..AROUND {
        subject.commit(vec![put(&format!("/large/after/{n}"), value(n))]).await;
    }
    let mut late = subject.watch("/large/", start).await;
    for watch in [&mut live, &mut late] {
        let seen = watch.take(2 * AROUND + TOGETHER).await;
        for (n, event) in seen[AROUND..AROUND + TOGETHER].iter().enumerate() {
            let together = subject.store.has_transactions();
            assert!(event.revision() == revision || (!together && event.revision() < revision));
            assert!(brief(event).1.is_some_and(|found| *found == value(n)), "{n}");
        }
    }
    // And the watch goes on after it.
    let next = subject.commit(vec![put("/large/next", "v")]).await;
    assert_eq!(live.take(1).await[0].revision(), next);
}
