//! The engine as its users see it: revisions, conditions, watches, restarts.

use super::*;
use crate::port::{Event, Precondition, WatchItem};
use std::sync::Arc;
use std::time::Instant;

fn config(dir: &tempfile::TempDir) -> EngineConfig {
    EngineConfig { durability: Durability::Process, ..EngineConfig::new(dir.path().join("store.redb")) }
}

fn put(key: &str, value: &str) -> Op {
    put_when(key, value, Precondition::Any)
}

fn put_when(key: &str, value: &str, when: Precondition) -> Op {
    Op::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), when, ttl: None }
}

fn put_ttl(key: &str, ttl: Duration) -> Op {
    Op::Put { key: key.into(), value: Bytes::from_static(b"v"), when: Precondition::Any, ttl: Some(ttl) }
}

fn keys(list: &List) -> Vec<&str> {
    list.entries.iter().map(|entry| &*entry.key).collect()
}

/// The next item of a watch, which must come.
async fn item(watch: &mut EngineWatch) -> Result<WatchItem, StoreError> {
    tokio::time::timeout(Duration::from_mins(1), watch.next()).await.expect("an item of the watch")
}

/// The next changes of a watch, without the reports in between.
async fn changes(watch: &mut EngineWatch) -> Result<Vec<Event>, StoreError> {
    let changes = async {
        loop {
            if let WatchItem::Events(events) = item(watch).await? {
                return Ok(events);
            }
        }
    };
    // Reports keep coming while the changes do not.
    tokio::time::timeout(Duration::from_mins(1), changes).await.expect("changes")
}

#[tokio::test]
async fn a_reopened_store_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    let first = engine.commit(vec![put("/a", "1"), put("/b", "2")]).await.unwrap();
    let second = engine.commit(vec![put("/a", "3")]).await.unwrap();
    assert_eq!(second, first + 1);
    drop(engine);

    let engine = Engine::open(config(&dir)).unwrap();
    let list = engine.read_all("/").unwrap();
    assert_eq!((keys(&list), list.revision), (vec!["/a", "/b"], second));
    assert_eq!(engine.read("/a").unwrap().unwrap().revision, second);
    let mut watch = engine.subscribe("/", first).unwrap();
    assert_eq!(changes(&mut watch).await.unwrap().len(), 1);
    assert_eq!(engine.commit(vec![put("/c", "4")]).await.unwrap(), second + 1);
}

#[tokio::test]
async fn a_commit_that_changes_nothing_takes_no_revision() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    let revision = engine.commit(vec![put("/a", "1")]).await.unwrap();
    let nothing = vec![Op::Delete { key: "/none".into(), when: Precondition::Any }];
    assert_eq!(engine.commit(nothing).await.unwrap(), revision);
    assert_eq!(engine.commit(Vec::new()).await.unwrap(), revision);
    assert_eq!(engine.status().unwrap().log, 1);
}

#[tokio::test]
async fn commits_that_wait_share_a_transaction_and_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    // What is submitted on the writer's thread waits until the writer is done with the round.
    let inner = engine.clone();
    engine.submit(vec![put("/first", "1")], move |_| {
        for n in 0..200 {
            // Every fourth is refused; its first write must leave no trace.
            let when = if n % 4 == 0 { Precondition::Revision(999_999) } else { Precondition::Absent };
            let ops = vec![put(&format!("/k/{n}"), "v"), put_when(&format!("/m/{n}"), "v", when)];
            let sender = sender.clone();
            inner.submit(ops, move |answer| sender.send((n, answer)).unwrap());
        }
    });
    let mut last = 2;
    while let Some((n, answer)) = answers.recv().await {
        if n % 4 == 0 {
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, StoreError::Conflict { key, .. } if *key == format!("/m/{n}")),
                "{error}"
            );
        } else {
            last += 1;
            assert_eq!(answer.unwrap(), last);
        }
    }
    assert_eq!(engine.read_all("/k/").unwrap().entries.len(), 150);
    let status = engine.status().unwrap();
    assert_eq!((status.commits, status.conflicts, status.batches), (151, 50, 2));
}

#[tokio::test]
async fn the_log_keeps_its_size_and_old_revisions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineConfig { history: 10, ..config(&dir) }).unwrap();
    for n in 0..50 {
        engine.commit(vec![put("/a", &n.to_string())]).await.unwrap();
    }
    let status = engine.status().unwrap();
    assert_eq!((status.log, status.compacted, status.revision), (10, 41, 51));
    let refused = engine.subscribe("/", 40).map(|_| ()).unwrap_err();
    assert!(matches!(refused, StoreError::Compacted { requested: 40, oldest: 41 }), "{refused}");
    assert_eq!(changes(&mut engine.subscribe("/", 41).unwrap()).await.unwrap().len(), 10);
    drop(engine);
    let engine = Engine::open(config(&dir)).unwrap();
    assert_eq!(changes(&mut engine.subscribe("/", 45).unwrap()).await.unwrap().len(), 6);
}

/// What was before the start of the process comes from the file, in several deliveries, and then goes on live.
#[tokio::test]
async fn a_long_history_is_replayed_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    for n in 0..50 {
        let ops =
            (0..100).map(|k| put(&format!("/{}/{k}", if k % 2 == 0 { "a" } else { "b" }), &n.to_string()));
        engine.commit(ops.collect()).await.unwrap();
    }
    drop(engine);
    let engine = Engine::open(config(&dir)).unwrap();
    let mut watch = engine.subscribe("/a/", 1).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2500 {
        let delivery = changes(&mut watch).await.unwrap();
        assert!(delivery.len() < 2000, "{} at once", delivery.len());
        seen.extend(delivery);
    }
    engine.commit(vec![put("/b/more", "1"), put("/a/more", "1")]).await.unwrap();
    seen.extend(changes(&mut watch).await.unwrap());
    assert!(seen.iter().all(|event| event.key().starts_with("/a/")));
    let revisions: Vec<u64> = seen.iter().map(Event::revision).collect();
    let expected: Vec<u64> = (2..52).flat_map(|revision| [revision; 50]).chain([52]).collect();
    assert_eq!(revisions, expected);
}

#[tokio::test]
async fn an_empty_log_still_knows_the_revision() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineConfig { history: 0, ..config(&dir) }).unwrap();
    let mut running = engine.subscribe("/", 1).unwrap();
    let revision = engine.commit(vec![put("/a", "1")]).await.unwrap();
    assert_eq!(changes(&mut running).await.unwrap().len(), 1, "memory serves a running watch");
    drop((running, engine));
    let engine = Engine::open(config(&dir)).unwrap();
    assert_eq!(engine.read_all("").unwrap().revision, revision);
    assert_eq!(engine.commit(vec![put("/a", "2")]).await.unwrap(), revision + 1);
}

/// A list may show a commit a moment before memory knows of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_can_always_be_followed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::open(config(&dir)).unwrap());
    let writer = {
        let engine = engine.clone();
        tokio::spawn(async move {
            for n in 0..2000 {
                engine.commit(vec![put("/a", &n.to_string())]).await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let revision = engine.read_all("").unwrap().revision;
        engine.subscribe("/", revision).unwrap();
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_watch_of_the_future_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    let refused = engine.subscribe("/", 77).map(|_| ()).unwrap_err();
    assert!(matches!(refused, StoreError::Compacted { requested: 77, .. }), "{refused}");
}

#[tokio::test]
async fn an_idle_watch_reports_progress() {
    let dir = tempfile::tempdir().unwrap();
    let engine =
        Engine::open(EngineConfig { idle_progress: Duration::from_millis(30), ..config(&dir) }).unwrap();
    let mut watch = engine.subscribe("/a/", 1).unwrap();
    for _ in 0..3 {
        assert_eq!(item(&mut watch).await.unwrap(), WatchItem::Progress(1));
    }
    let revision = engine.commit(vec![put("/b/1", "1")]).await.unwrap();
    let mut reported = 1;
    while reported < revision {
        match item(&mut watch).await.unwrap() {
            WatchItem::Progress(at) => reported = at,
            other @ WatchItem::Events(_) => panic!("{other:?}"),
        }
    }
    assert_eq!(reported, revision);
}

#[tokio::test]
async fn keys_end_when_their_time_is_over_unless_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    let short = Duration::from_millis(40);
    let start = Instant::now();
    let revision = engine
        .commit(vec![put_ttl("/gone", short), put_ttl("/stays", short), put_ttl("/longer", short)])
        .await
        .unwrap();
    engine.commit(vec![put("/stays", "2")]).await.unwrap();
    engine.commit(vec![put_ttl("/longer", Duration::from_mins(10))]).await.unwrap();
    let mut watch = engine.subscribe("/gone", revision).unwrap();
    let ended = changes(&mut watch).await.unwrap();
    assert!(matches!(&ended[..], [Event::Delete { key, .. }] if &**key == "/gone"), "{ended:?}");
    assert!(start.elapsed() >= short);
    assert_eq!(keys(&engine.read_all("/").unwrap()), ["/longer", "/stays"]);
}

#[tokio::test]
async fn a_time_to_live_goes_on_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    let soon = Duration::from_millis(50);
    engine.commit(vec![put_ttl("/soon", soon), put_ttl("/stays", soon / 2)]).await.unwrap();
    engine.commit(vec![put_ttl("/late", Duration::from_mins(10)), put("/stays", "1")]).await.unwrap();
    drop(engine);
    let engine = Engine::open(config(&dir)).unwrap();
    let mut watch = engine.subscribe("/soon", 1).unwrap();
    while !matches!(changes(&mut watch).await.unwrap().last(), Some(Event::Delete { .. })) {}
    assert_eq!(keys(&engine.read_all("/").unwrap()), ["/late", "/stays"]);
}

#[tokio::test]
async fn wrong_commits_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(config(&dir)).unwrap();
    let big =
        Op::Put { key: "/big".into(), value: vec![0; MAX_COMMIT].into(), when: Precondition::Any, ttl: None };
    let cases = [
        (vec![put("", "1")], "empty"),
        (vec![put(&"x".repeat(MAX_KEY + 1), "1")], "a key has"),
        (vec![put("/a", "1"), put("/b", "1"), put("/a", "2")], "twice"),
        (vec![put_ttl("/a", Duration::ZERO)], "time to live"),
        (vec![big], "at most"),
    ];
    for (ops, expected) in cases {
        let error = engine.commit(ops).await.unwrap_err();
        assert!(matches!(&error, StoreError::Invalid { reason, .. } if reason.contains(expected)), "{error}");
    }
    assert_eq!(engine.status().unwrap().revision, 1);
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _engine = Engine::open(config(&dir)).unwrap();
    assert!(matches!(Engine::open(config(&dir)), Err(OpenError::Locked { .. })));
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let refuse = |content: &[u8]| {
        std::fs::write(&config.path, content).unwrap();
        let error = Engine::open(config.clone()).unwrap_err();
        assert_eq!(std::fs::read(&config.path).unwrap(), content);
        error
    };
    assert!(matches!(refuse(b""), OpenError::Empty { .. }));
    assert!(matches!(refuse(b"redb"), OpenError::Foreign { .. }));
    assert!(matches!(refuse(b"SQLite format 3\0"), OpenError::Foreign { .. }));
    assert!(matches!(refuse(&[0; 8192]), OpenError::Foreign { .. }));
    std::fs::remove_file(&config.path).unwrap();

    let other = Database::create(&config.path).unwrap();
    let txn = other.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<&str, &str>::new("theirs")).unwrap();
    txn.commit().unwrap();
    drop(other);
    assert!(matches!(Engine::open(config.clone()), Err(OpenError::Foreign { .. })));

    std::fs::remove_file(&config.path).unwrap();
    std::fs::create_dir(&config.path).unwrap();
    assert!(matches!(Engine::open(config), Err(OpenError::Io { .. })));
}

/// Forty large keys: the file after a kill, the file after a clean end, and what must be in both.
fn filled(config: &EngineConfig) -> (Vec<u8>, Vec<u8>, List) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let engine = Engine::open(config.clone()).unwrap();
    for n in 0..40 {
        let value = "x".repeat(3000);
        runtime.block_on(engine.commit(vec![put(&format!("/k/{n}"), &value)])).unwrap();
    }
    let killed = std::fs::read(&config.path).unwrap();
    let expected = engine.read_all("/").unwrap();
    drop(engine);
    (killed, std::fs::read(&config.path).unwrap(), expected)
}

/// Opens a file that is not as it was: it is refused, or nothing is missing.
fn open_spoilt(config: &EngineConfig, content: &[u8], expected: &List, how: &str) -> bool {
    std::fs::write(&config.path, content).unwrap();
    match Engine::open(config.clone()) {
        Err(OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::Format { .. }) => false,
        Err(other) => panic!("{how}: {other:?}"),
        Ok(engine) => {
            assert_eq!(&engine.read_all("/").unwrap(), expected, "{how}");
            true
        }
    }
}

#[test]
fn a_shortened_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let (killed, clean, expected) = filled(&config);
    assert!(open_spoilt(&config, &killed, &expected, "after a kill"));
    for whole in [killed, clean] {
        let length = whole.len();
        for at in (1..length).step_by(length / 60) {
            open_spoilt(&config, &whole[..at], &expected, &format!("{at} of {length} bytes"));
        }
    }
}

#[test]
fn a_file_with_wrong_bytes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let (_, clean, expected) = filled(&config);
    let mut refused = 0;
    for at in (0..clean.len()).step_by(2039) {
        let mut wrong = clean.clone();
        wrong[at] ^= 0x55;
        refused += u32::from(!open_spoilt(&config, &wrong, &expected, &format!("byte {at}")));
    }
    assert!(refused > 10, "only {refused} wrong bytes were seen");
}
