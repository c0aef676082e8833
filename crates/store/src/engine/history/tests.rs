//! What changes are remembered, and for how long.

use super::*;
use crate::port::Entry;
use bytes::Bytes;

fn put(key: &str, revision: u64) -> Event {
    Event::Put(Entry { key: key.into(), value: Bytes::from_static(b"v"), revision })
}

fn revisions(slice: &Slice) -> Vec<u64> {
    slice.events.iter().map(Event::revision).collect()
}

#[test]
fn a_slice_has_what_follows_the_cursor_under_the_prefix() {
    let history = History::new(10);
    history.publish(vec![put("/a/1", 11), put("/b/1", 11)], 11);
    history.publish(vec![put("/b/2", 12)], 12);
    history.publish(vec![put("/a/2", 13)], 13);
    let slice = history.after(10, "/a/").unwrap();
    assert_eq!((revisions(&slice), slice.upto, slice.more), (vec![11, 13], 13, false));
    let slice = history.after(11, "/a/").unwrap();
    assert_eq!((revisions(&slice), slice.upto), (vec![13], 13));
    assert_eq!(history.after(13, "/a/").unwrap().upto, 13);
    assert!(history.after(9, "/a/").is_none(), "memory starts at 10");
}

#[test]
fn a_full_slice_ends_between_revisions() {
    let history = History::new(0);
    let half = (DELIVERY_CHANGES / 2 + 1) as u64;
    for revision in 1..=3 {
        history.publish((0..half).map(|n| put(&format!("/{n}"), revision)).collect(), revision);
    }
    let slice = history.after(0, "/").unwrap();
    assert_eq!((slice.events.len() as u64, slice.upto, slice.more), (2 * half, 2, true));
    let slice = history.after(2, "/").unwrap();
    assert_eq!((slice.events.len() as u64, slice.upto, slice.more), (half, 3, false));
}

#[test]
fn memory_is_bounded_and_knows_where_it_starts() {
    let history = History::new(0);
    let count = RECENT_CHANGES as u64 + 100;
    for revision in 1..=count {
        history.publish(vec![put("/k", revision)], revision);
    }
    assert!(history.after(99, "/").is_none());
    let slice = history.after(100, "/").unwrap();
    assert_eq!(slice.events.first().map(Event::revision), Some(101));
}

#[test]
fn only_those_concerned_are_woken() {
    let history = History::new(0);
    let mut a = history.subscribe(&"/a/".into());
    let mut b = history.subscribe(&"/b/".into());
    history.publish(vec![put("/a/1", 1)], 1);
    assert!(a.has_changed().unwrap() && !b.has_changed().unwrap());
    assert_eq!(a.borrow_and_update().changed, 1);
    history.progress(false);
    assert_eq!((a.borrow_and_update().progress, b.borrow_and_update().progress), (1, 1));
    drop(b);
    history.publish(Vec::new(), 1);
    assert_eq!(history.watches(), 1);
}
