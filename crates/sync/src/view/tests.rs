//! Whatever is lost, repeated or late, the deltas lead to the store's content.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn put(key: &str, revision: u64) -> Event {
    Event::Put(entry(key, revision))
}

fn entry(key: &str, revision: u64) -> Entry {
    Entry { key: key.into(), value: Bytes::from(revision.to_string()), revision }
}

fn delete(key: &str, revision: u64) -> Event {
    Event::Delete { key: key.into(), revision }
}

fn list(keys: &[(&str, u64)], revision: u64) -> List {
    List { entries: keys.iter().map(|(k, r)| entry(k, *r)).collect(), revision, unread: Vec::new() }
}

fn text(deltas: &[Delta]) -> Vec<String> {
    let mut lines: Vec<String> =
        deltas.iter().map(|d| format!("{}{}", d.key, if d.value.is_some() { "" } else { " gone" })).collect();
    lines.sort();
    lines
}

#[test]
fn second_snapshot_is_a_difference() {
    let mut view = View::default();
    assert_eq!(text(&view.snapshot(list(&[("a", 1), ("b", 2)], 5))), ["a", "b"]);
    assert_eq!(text(&view.events(vec![put("c", 6), delete("a", 7)])), ["a gone", "c"]);
    assert_eq!(text(&view.snapshot(list(&[("b", 2), ("c", 9)], 9))), ["c"]);
    assert_eq!(text(&view.snapshot(list(&[("c", 9)], 12))), ["b gone"]);
    assert_eq!((view.len(), view.revision()), (1, 12));
}

#[test]
fn what_may_not_be_read_stays_as_it_was() {
    let mut view = View::default();
    view.snapshot(list(&[("a/1", 1), ("b/1", 2), ("b/2", 3)], 5));
    let refused = List { unread: vec!["b/".to_owned()], ..list(&[("a/2", 8)], 9) };
    assert_eq!(text(&view.snapshot(refused)), ["a/1 gone", "a/2"]);
    assert_eq!(text(&view.snapshot(list(&[("a/2", 8), ("b/2", 10)], 12))), ["b/1 gone", "b/2"]);
}

#[test]
fn repeated_and_spurious_events_are_dropped() {
    let mut view = View::default();
    view.snapshot(list(&[("a", 3)], 5));
    assert!(view.events(vec![put("a", 3), put("a", 2), delete("x", 6)]).is_empty());
    assert_eq!(text(&view.events(vec![put("a", 8), put("a", 8)])), ["a"]);
}

#[test]
fn own_write_ahead_of_its_event() {
    let mut view = View::default();
    view.snapshot(list(&[("pod", 3)], 5));
    assert!(view.ahead("pod", Some(Bytes::new()), 9).is_some());
    // The event of an older change comes late and must not undo ours.
    assert!(view.events(vec![put("pod", 7)]).is_empty());
    assert!(view.snapshot(list(&[("pod", 7)], 8)).is_empty());
    assert!(view.events(vec![put("pod", 9)]).is_empty());
    assert_eq!(text(&view.events(vec![put("pod", 10)])), ["pod"]);
    // The same for a deletion.
    assert!(view.ahead("pod", None, 12).is_some());
    assert!(view.events(vec![put("pod", 11), delete("pod", 12)]).is_empty());
    assert_eq!(view.len(), 0);
    assert_eq!(text(&view.events(vec![put("pod", 13)])), ["pod"]);
}

proptest! {
    /// A store's history is delivered with losses followed by snapshots; what the deltas add up to is the store.
    #[test]
    fn converges(steps in prop::collection::vec((0u8..6, any::<bool>(), 0u8..10), 1..80)) {
        let mut view = View::default();
        let mut store: BTreeMap<String, u64> = BTreeMap::new();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut revision = 0;
        let mut lost = true;
        let apply = |deltas: Vec<Delta>, seen: &mut BTreeMap<String, u64>| {
            for d in deltas {
                match d.value {
                    Some(_) => { seen.insert(d.key.to_string(), d.revision); }
                    None => { seen.remove(&*d.key); }
                }
            }
        };
        for (key, is_put, mode) in steps {
            revision += 1;
            let key = format!("k{key}");
            let event = if is_put {
                store.insert(key.clone(), revision);
                put(&key, revision)
            } else {
                store.remove(&key);
                delete(&key, revision)
            };
            match mode {
                0 => lost = true,
                1..=3 if lost => {
                    let entries: Vec<(&str, u64)> = store.iter().map(|(k, r)| (k.as_str(), *r)).collect();
                    apply(view.snapshot(list(&entries, revision)), &mut seen);
                    lost = false;
                }
                4 if !lost && is_put => {
                    apply(view.ahead(&key, Some(Bytes::new()), revision).into_iter().collect(), &mut seen);
                    apply(view.events(vec![event]), &mut seen);
                }
                5 if !lost => apply(view.events(vec![event.clone(), event]), &mut seen),
                _ if !lost => apply(view.events(vec![event]), &mut seen),
                _ => {}
            }
            if !lost {
                prop_assert_eq!(&seen, &store);
                prop_assert_eq!(view.len(), store.len());
            }
        }
    }
}
