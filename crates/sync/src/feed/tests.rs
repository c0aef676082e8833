//! The feed on an embedded store, and on stores that misbehave.

use super::*;
use crate::{FELIX, View};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use tortie_store::{BoxFuture, Durability, Engine, EngineConfig, Entry, Op, Precondition};

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.to_owned(), value: value.to_owned().into(), when: Precondition::Any, ttl: None }
}

fn engine() -> (Engine, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    let engine =
        Engine::open(EngineConfig { durability: Durability::Process, ..EngineConfig::new(file) }).unwrap();
    (engine, directory)
}

async fn next(feed: &mut mpsc::Receiver<Feed>) -> Feed {
    tokio::time::timeout(Duration::from_secs(30), feed.recv()).await.unwrap().unwrap()
}

/// Takes items until the view has come to a revision.
async fn follow(feed: &mut mpsc::Receiver<Feed>, view: &mut View, until: u64) -> Vec<String> {
    let mut keys = Vec::new();
    while view.revision() < until {
        let deltas = match next(feed).await {
            Feed::Snapshot(list) => view.snapshot(list),
            Feed::Events(events) => view.events(events),
            Feed::Progress(revision) => {
                view.progress(revision);
                Vec::new()
            }
            Feed::Lost(_) => Vec::new(),
        };
        keys.extend(deltas.iter().map(|d| d.key.to_string()));
    }
    keys
}

#[tokio::test]
async fn what_is_not_of_the_set_moves_the_revision_only() {
    let (engine, _directory) = engine();
    let tier = "/calico/resources/v3/projectcalico.org/tiers/a";
    let handle = "/calico/ipam/v2/handle/h";
    engine.commit(vec![put(tier, "{}"), put(handle, "{}")]).await.unwrap();
    let mut feed = spawn(Arc::new(engine.clone()), FeedConfig { set: FELIX, ..FeedConfig::default() });
    let mut view = View::default();
    let revision = engine.commit(vec![put("/other", "1")]).await.unwrap();
    assert_eq!(follow(&mut feed, &mut view, revision).await, [tier]);
    let revision = engine.commit(vec![put(handle, "2")]).await.unwrap();
    assert_eq!(follow(&mut feed, &mut view, revision).await, Vec::<String>::new());
    let revision = engine.commit(vec![put(handle, "3"), put(tier, "{ }")]).await.unwrap();
    assert_eq!(follow(&mut feed, &mut view, revision).await, [tier]);
}

#[tokio::test]
async fn a_snapshot_that_was_asked_for_shows_all_that_was_told_before() {
    let (engine, _directory) = engine();
    let relist = Relist::default();
    let config = FeedConfig { relist: relist.clone(), ..FeedConfig::default() };
    let mut feed = spawn(Arc::new(engine.clone()), config);
    assert!(matches!(next(&mut feed).await, Feed::Snapshot(list) if list.entries.is_empty()));
    let revision = engine.commit(vec![put("/a", "1")]).await.unwrap();
    let mut view = View::default();
    follow(&mut feed, &mut view, revision).await;
    relist.request();
    loop {
        match next(&mut feed).await {
            Feed::Snapshot(list) => {
                assert!(list.revision >= revision && list.entries.len() == 1);
                break;
            }
            Feed::Progress(_) => {}
            other => unreachable!("{other:?}"),
        }
    }
    let revision = engine.commit(vec![put("/b", "1")]).await.unwrap();
    let mut view = View::default();
    assert_eq!(follow(&mut feed, &mut view, revision).await, ["/b"], "and it goes on after");
}

/// Answers lists and watches from a script.
struct Scripted {
    ordered: bool,
    lists: Mutex<VecDeque<List>>,
    /// Per watch: what it says, then it is lost.
    watches: Mutex<VecDeque<Vec<WatchItem>>>,
    /// Revisions from which watches were asked for.
    asked: Mutex<Vec<u64>>,
}

struct ScriptedWatch(VecDeque<WatchItem>);

fn lost() -> StoreError {
    StoreError::Unavailable { endpoint: "there".into(), doing: "watch".into(), reason: "cut".into() }
}

impl Watch for ScriptedWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchItem, StoreError>> {
        Box::pin(async { self.0.pop_front().ok_or_else(lost) })
    }
}

impl Store for Scripted {
    fn is_ordered(&self) -> bool {
        self.ordered
    }

    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async { Err(lost()) })
    }

    fn list<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async { self.lists.lock().unwrap().pop_front().ok_or_else(lost) })
    }

    fn commit(&self, _: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Err(lost()) })
    }

    fn watch<'a>(&'a self, _: &'a str, revision: u64) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let items = self.watches.lock().unwrap().pop_front().ok_or_else(lost)?;
            self.asked.lock().unwrap().push(revision);
            Ok(Box::new(ScriptedWatch(items.into())) as Box<dyn Watch>)
        })
    }
}

fn changed(key: &str, revision: u64) -> Event {
    let value = revision.to_string().into();
    Event::Put(Entry { key: key.into(), value, revision })
}

/// The watch is lost after a change at 12 of one resource, when a change at 11 of another was still to come.
async fn after_a_loss(ordered: bool) -> (Vec<u64>, BTreeMap<String, u64>, u64) {
    let rest = [
        changed("/pods/b", 12),
        changed("/policies/a", 11),
        Event::Delete { key: "/pods/gone".into(), revision: 9 },
    ];
    let mut rest = rest.to_vec();
    if ordered {
        rest.sort_by_key(Event::revision);
        rest.drain(..2);
    }
    let entries = vec![
        Entry { key: "/policies/a".into(), value: "1".into(), revision: 1 },
        // Read later than the list's revision says: its deletion at 9 is told again.
        Entry { key: "/pods/b".into(), value: "8".into(), revision: 8 },
    ];
    let store = Arc::new(Scripted {
        ordered,
        lists: Mutex::new([List { entries, revision: 7, unread: Vec::new() }].into()),
        watches: Mutex::new(
            [
                vec![WatchItem::Progress(10), WatchItem::Events(vec![changed("/pods/b", 12)])],
                vec![WatchItem::Events(rest), WatchItem::Progress(13)],
            ]
            .into(),
        ),
        asked: Mutex::default(),
    });
    let config = FeedConfig { first_pause: Duration::from_millis(1), ..FeedConfig::default() };
    let mut feed = spawn(store.clone(), config);
    let (mut view, mut known) = (View::new(ordered), BTreeMap::new());
    let mut before = None;
    while view.revision() < 13 {
        let deltas = match next(&mut feed).await {
            Feed::Snapshot(list) => view.snapshot(list),
            Feed::Events(events) => view.events(events),
            Feed::Progress(revision) => {
                view.progress(revision);
                Vec::new()
            }
            Feed::Lost(_) => {
                before.get_or_insert(view.revision());
                Vec::new()
            }
        };
        for delta in deltas {
            match delta.value {
                Some(_) => known.insert(delta.key.to_string(), delta.revision),
                None => known.remove(&*delta.key),
            };
        }
    }
    let asked = store.asked.lock().unwrap().clone();
    (asked, known, before.unwrap())
}

#[tokio::test]
async fn after_a_loss_the_feed_goes_on_where_nothing_is_missed() {
    let known: BTreeMap<String, u64> =
        [("/pods/b".to_owned(), 12), ("/policies/a".to_owned(), 11)].into_iter().collect();
    assert_eq!(after_a_loss(false).await, (vec![7, 10], known, 10));
    let (asked, _, before) = after_a_loss(true).await;
    assert_eq!((asked, before), (vec![7, 12], 12));
}
