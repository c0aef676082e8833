//! What counts of the feed, in every order of signs, changes and snapshots.

use super::*;
use bytes::Bytes;
use serde_json::json;
use tortie_store::{Entry, Event, List};

const NAMESPACE: &str = "/tortie/kubernetes/namespaces/system";
const ACCOUNT: &str = "/tortie/kubernetes/serviceaccounts/system/node";

fn watcher() -> (Watcher, watch::Receiver<Removal>) {
    let (told, removal) = watch::channel(None);
    let signs = Some(Signs::new("system", "node", false));
    (Watcher { signs, told, behind: false, held: false, ended: false }, removal)
}

fn entry(key: &str, going: bool) -> Entry {
    let object = json!({"metadata": {"deletionTimestamp": going.then_some("2026-01-02T03:04:05Z")}});
    Entry { key: key.into(), value: Bytes::from(object.to_string()), revision: 1 }
}

fn snapshot(account: bool) -> Feed {
    let mut entries = vec![entry(NAMESPACE, false)];
    entries.extend(account.then(|| entry(ACCOUNT, false)));
    Feed::Snapshot(List { entries, revision: 1, unread: Vec::new() })
}

fn other() -> Event {
    Event::Put(entry("/calico/resources/v3/projectcalico.org/ippools/p", false))
}

fn gone(key: &str) -> Event {
    Event::Delete { key: key.into(), revision: 2 }
}

#[test]
fn from_the_first_sign_on_nothing_counts() {
    let (mut watcher, removal) = watcher();
    assert_eq!(watcher.judge(&snapshot(true)), Worth::Everything);
    assert_eq!(watcher.judge(&Feed::Events(vec![other()])), Worth::Everything);
    // What comes in the same breath does not count either: the order among kinds is nobody's promise.
    let going = Event::Put(entry(NAMESPACE, true));
    assert_eq!(watcher.judge(&Feed::Events(vec![other(), going, other()])), Worth::NothingFromNowOn);
    assert_eq!(removal.borrow().as_deref(), Some("namespace system is being deleted"));
    assert_eq!(watcher.judge(&Feed::Events(vec![other()])), Worth::Nothing);
    assert_eq!(watcher.judge(&Feed::Progress(9)), Worth::Nothing);
    assert_eq!(watcher.judge(&Feed::Events(vec![gone(NAMESPACE)])), Worth::Nothing);
    let empty = Feed::Snapshot(List { entries: Vec::new(), revision: 9, unread: Vec::new() });
    assert_eq!(watcher.judge(&empty), Worth::Nothing, "everything is gone, and nothing is taken down");
}

#[test]
fn a_sign_that_is_taken_back_is_made_up_for_by_a_snapshot() {
    let (mut watcher, removal) = watcher();
    watcher.judge(&snapshot(true));
    assert_eq!(watcher.judge(&Feed::Events(vec![gone(ACCOUNT)])), Worth::NothingFromNowOn);
    assert_eq!(watcher.judge(&Feed::Events(vec![Event::Put(entry(ACCOUNT, false))])), Worth::Relist);
    assert!(removal.borrow().is_none());
    assert_eq!(watcher.judge(&Feed::Events(vec![other()])), Worth::Nothing, "something was passed over");
    assert_eq!(watcher.judge(&snapshot(true)), Worth::Everything);
    assert_eq!(watcher.judge(&Feed::Events(vec![other()])), Worth::Everything);
    // The same by snapshots alone.
    assert_eq!(watcher.judge(&snapshot(false)), Worth::NothingFromNowOn);
    assert_eq!(watcher.judge(&snapshot(true)), Worth::Everything);
    assert_eq!(watcher.judge(&Feed::Events(vec![other()])), Worth::Everything);
}

#[test]
fn after_the_signal_to_stop_only_signs_count() {
    let (mut watcher, removal) = watcher();
    watcher.judge(&snapshot(true));
    watcher.hold();
    let pool = "/calico/resources/v3/projectcalico.org/ippools/p";
    assert_eq!(watcher.judge(&Feed::Events(vec![gone(pool)])), Worth::Nothing);
    assert!(removal.borrow().is_none());
    assert_eq!(watcher.judge(&Feed::Events(vec![gone(ACCOUNT)])), Worth::NothingFromNowOn);
    assert!(removal.borrow().is_some());
}

#[test]
fn who_is_no_pod_sees_no_signs() {
    let (told, removal) = watch::channel(None);
    let mut watcher = Watcher { signs: None, told, behind: false, held: false, ended: false };
    assert_eq!(watcher.judge(&Feed::Events(vec![gone(NAMESPACE)])), Worth::Everything);
    assert!(removal.borrow().is_none());
}
