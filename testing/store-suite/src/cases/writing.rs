//! Conditions, atomicity, races.

use crate::{Subject, delete, put, put_when, soon};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tortie_store::{Op, Precondition, Store, StoreError};

fn delete_when(key: &str, when: Precondition) -> Op {
    Op::Delete { key: key.to_owned(), when }
}

/// Every kind of condition, true and false, for writes and removals.
pub async fn conditions_are_exact(subject: &Subject) {
    let a = subject.commit(vec![put("/a", "1")]).await;
    let b = subject.commit(vec![put("/b", "1")]).await;
    let gone = subject.commit(vec![put("/gone", "1")]).await;
    subject.commit(vec![delete("/gone")]).await;

    use Precondition::{Absent, Revision};
    let false_ones: [(Op, Option<u64>); 12] = [
        (put_when("/a", "2", Absent), Some(a)),
        (put_when("/a", "2", Revision(b)), Some(a)),
        (put_when("/a", "2", Revision(a - 1)), Some(a)),
        (put_when("/a", "2", Revision(a + 100)), Some(a)),
        (put_when("/a", "2", Revision(0)), Some(a)),
        (put_when("/gone", "2", Revision(gone)), None),
        (put_when("/new", "2", Revision(a)), None),
        (delete_when("/a", Absent), Some(a)),
        (delete_when("/a", Revision(b)), Some(a)),
        (delete_when("/a", Revision(0)), Some(a)),
        (delete_when("/gone", Revision(gone)), None),
        (delete_when("/new", Revision(a)), None),
    ];
    for (op, expected) in false_ones {
        match subject.store.commit(vec![op.clone()]).await {
            Err(StoreError::Conflict { key, current }) => {
                assert_eq!(key, op.key());
                assert_eq!(current.map(|entry| entry.revision), expected, "{op:?}");
            }
            other => panic!("{op:?}: {other:?}"),
        }
    }
    let mut last = subject.revision().await;
    let true_ones = [
        put_when("/a", "2", Revision(a)),
        put_when("/new", "1", Absent),
        put_when("/gone", "1", Absent),
        put_when("/zero", "1", Revision(0)),
        delete_when("/b", Revision(b)),
    ];
    for op in true_ones {
        let next = subject.commit(vec![op]).await;
        subject.assert_next(last, next);
        last = next;
    }
    let answered = subject.commit(vec![delete_when("/none", Absent)]).await;
    assert!(answered == last || (!subject.alone && answered > last));
    assert_eq!(subject.keys("").await, ["/a", "/gone", "/new", "/zero"]);
}

/// Without transactions what stands before a false condition is written, and nothing after it.
pub async fn a_commit_stops_at_its_first_error(subject: &Subject) {
    let revision = subject.commit(vec![put("/taken", "old")]).await;
    let ops = vec![put("/before", "1"), put_when("/taken", "2", Precondition::Absent), put("/after", "1")];
    match subject.store.commit(ops).await {
        Err(StoreError::Conflict { key, current: Some(current) }) => {
            assert_eq!((key.as_str(), &current.value[..]), ("/taken", &b"old"[..]));
            assert_eq!(current.revision, revision);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(subject.keys("").await, ["/before", "/taken"]);
}

/// One false condition among many writes: nothing happens, and the error names the first that is false.
pub async fn a_refused_commit_leaves_no_trace(subject: &Subject) {
    let revision = subject.commit(vec![put("/taken", "old"), put("/also", "old"), put("/kept", "old")]).await;
    let mut watch = subject.watch("/", revision).await;
    let ops = vec![
        put("/new", "1"),
        delete("/kept"),
        put_when("/fine", "1", Precondition::Absent),
        put_when("/taken", "2", Precondition::Absent),
        put_when("/also", "2", Precondition::Absent),
    ];
    match subject.store.commit(ops).await {
        Err(StoreError::Conflict { key, current: Some(current) }) => {
            assert_eq!((key.as_str(), &current.value[..]), ("/taken", &b"old"[..]));
            assert_eq!(current.revision, revision);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(subject.keys("").await, ["/also", "/kept", "/taken"]);
    let next = subject.commit(vec![put("/next", "1")]).await;
    assert_eq!(next, revision + 1, "the refused commit took a revision");
    assert_eq!(&**watch.take(1).await[0].key(), "/next");
}

/// Many writers add to counters by read, add, compare and swap: each success counts exactly once.
pub async fn no_update_is_lost_among_many_writers(subject: &Subject) {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 25;
    const COUNTERS: usize = 3;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = if writer % 2 == 0 { subject.store.clone() } else { subject.faults.another().await };
        writers.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                increment(&*store, &format!("/count/{}", (writer + round) % COUNTERS)).await;
            }
        }));
    }
    for writer in writers {
        soon("a writer", writer).await.unwrap();
    }
    let list = subject.store.list("/count/").await.unwrap();
    assert_eq!(list.entries.len(), COUNTERS);
    let total: usize = list.entries.iter().map(|entry| number(&entry.value)).sum();
    assert_eq!(total, WRITERS * ROUNDS);
}

fn number(value: &Bytes) -> usize {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

async fn increment(store: &dyn Store, key: &str) {
    let mut current = store.get(key).await.unwrap();
    loop {
        let (value, when) = current.as_ref().map_or((0, Precondition::Absent), |entry| {
            (number(&entry.value), Precondition::Revision(entry.revision))
        });
        match store.commit(vec![put_when(key, (value + 1).to_string(), when)]).await {
            Ok(_) => return,
            Err(StoreError::Conflict { current: now, .. }) => {
                assert_ne!(
                    now.as_ref().map(|entry| entry.revision),
                    current.as_ref().map(|entry| entry.revision),
                    "refused although nothing has changed"
                );
                current = now;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Of many who create the same key, exactly one succeeds, and its value is what is there.
pub async fn one_of_many_creators_wins(subject: &Subject) {
    for round in 0..10 {
        let key = format!("/only/{round}");
        let creators = (0..12).map(|n: usize| {
            let (store, key) = (subject.store.clone(), key.clone());
            tokio::spawn(async move {
                (n, store.commit(vec![put_when(&key, n.to_string(), Precondition::Absent)]).await)
            })
        });
        let mut winners = Vec::new();
        for creator in creators.collect::<Vec<_>>() {
            match soon("a creator", creator).await.unwrap() {
                (n, Ok(revision)) => winners.push((n, revision)),
                (_, Err(StoreError::Conflict { .. })) => {}
                (_, Err(error)) => panic!("{error}"),
            }
        }
        let entry = subject.store.get(&key).await.unwrap().unwrap();
        assert_eq!(winners, [(number(&entry.value), entry.revision)]);
    }
}

/// Money moves between accounts in commits of two keys; no list ever shows it created or lost.
pub async fn commits_of_many_keys_are_never_seen_in_part(subject: &Subject) {
    const ACCOUNTS: usize = 4;
    const TOTAL: usize = 1000 * ACCOUNTS;
    let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("/account/{n}")).collect();
    subject.commit(accounts.iter().map(|key| put(key, "1000")).collect()).await;
    let done = Arc::new(AtomicBool::new(false));
    let mover = {
        let (store, accounts, done) = (subject.store.clone(), accounts.clone(), done.clone());
        tokio::spawn(async move {
            for round in 0..150 {
                let (from, to) = (&accounts[round % ACCOUNTS], &accounts[(round * 7 + 1) % ACCOUNTS]);
                if from != to {
                    transfer(&*store, from, to, 1 + round % 9).await;
                }
            }
            done.store(true, Ordering::Release);
        })
    };
    let reader = subject.faults.another().await;
    let mut last = 0;
    loop {
        let finished = done.load(Ordering::Acquire);
        let list = reader.list("/account/").await.unwrap();
        let total: usize = list.entries.iter().map(|entry| number(&entry.value)).sum();
        assert_eq!(total, TOTAL, "at revision {}", list.revision);
        assert!(list.entries.iter().all(|entry| entry.revision <= list.revision), "{list:?}");
        assert!(list.revision >= last, "time went back from {last} to {}", list.revision);
        last = list.revision;
        if finished {
            break;
        }
    }
    soon("the mover", mover).await.unwrap();
}

async fn transfer(store: &dyn Store, from: &str, to: &str, amount: usize) {
    loop {
        let (source, target) =
            (store.get(from).await.unwrap().unwrap(), store.get(to).await.unwrap().unwrap());
        let ops = vec![
            put_when(
                from,
                (number(&source.value) - amount).to_string(),
                Precondition::Revision(source.revision),
            ),
            put_when(
                to,
                (number(&target.value) + amount).to_string(),
                Precondition::Revision(target.revision),
            ),
        ];
        match store.commit(ops).await {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
