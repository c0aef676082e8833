//! How a removal of the product shows: in the two objects without which no agent can be started again.
//!
//! An update, a restart, a crash, an eviction, a deleted DaemonSet: all of them leave namespace and service account alone.
//! `kubectl delete -f` deletes the namespace first. `helm uninstall` has an order of its own, in which definitions go before the
//! namespace: our chart makes another service account before anything is deleted, which says what is about to happen.

use serde_json::Value;
use tortie_store::{Event, List};

/// What the name of the announcing service account has more than the agent's.
const NOTICE: &str = "-removal";

/// What is known of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Never seen: that proves nothing, least of all that it was deleted.
    #[default]
    Unknown,
    There,
    Going,
    Gone,
}

/// The agent's namespace and service account, as the datastore tells of them.
#[derive(Clone, Debug)]
pub(crate) struct Signs {
    namespace: Sign,
    account: Sign,
    /// Key of the account that announces a removal, and whether it is there.
    notice: (String, bool),
}

#[derive(Clone, Debug)]
struct Sign {
    key: String,
    shown: String,
    state: State,
}

impl Signs {
    /// Of the pod's namespace and the name of its service account. `removed` if an earlier agent of this node has seen
    /// the signs: then what is not there is gone.
    pub(crate) fn new(namespace: &str, account: &str, removed: bool) -> Self {
        let state = if removed { State::Going } else { State::Unknown };
        let sign = |key, shown| Sign { key, shown, state };
        Self {
            namespace: sign(
                format!("/tortie/kubernetes/namespaces/{namespace}"),
                format!("namespace {namespace}"),
            ),
            account: sign(
                format!("/tortie/kubernetes/serviceaccounts/{namespace}/{account}"),
                format!("service account {namespace}/{account}"),
            ),
            notice: (format!("/tortie/kubernetes/serviceaccounts/{namespace}/{account}{NOTICE}"), false),
        }
    }

    /// Everything that there is.
    pub(crate) fn snapshot(&mut self, list: &List) {
        self.notice.1 = list.entries.iter().any(|entry| *entry.key == *self.notice.0);
        for sign in [&mut self.namespace, &mut self.account] {
            let found = list.entries.iter().find(|entry| *entry.key == *sign.key);
            // Rights that are taken away before the object itself say nothing about it.
            if found.is_some() || !list.unread.iter().any(|beginning| sign.key.starts_with(beginning)) {
                sign.see(found.map(|entry| &entry.value[..]));
            }
        }
    }

    /// One change.
    pub(crate) fn event(&mut self, event: &Event) {
        let (key, value) = match event {
            Event::Put(entry) => (&*entry.key, Some(&entry.value[..])),
            Event::Delete { key, .. } => (&**key, None),
        };
        if self.notice.0 == key {
            self.notice.1 = value.is_some();
        }
        for sign in [&mut self.namespace, &mut self.account] {
            if sign.key == key {
                sign.see(value);
            }
        }
    }

    /// Why the product is being removed, if it is.
    pub(crate) fn removal(&self) -> Option<String> {
        if self.notice.1 {
            let name = self.notice.0.rsplit('/').next().unwrap_or_default();
            return Some(format!("service account {name} announces it"));
        }
        [&self.namespace, &self.account].into_iter().find_map(|sign| match sign.state {
            State::Going => Some(format!("{} is being deleted", sign.shown)),
            State::Gone => Some(format!("{} is deleted", sign.shown)),
            State::Unknown | State::There => None,
        })
    }
}

impl Sign {
    fn see(&mut self, value: Option<&[u8]>) {
        self.state = match (value, self.state) {
            (Some(value), _) if is_going(value) => State::Going,
            (Some(_), _) => State::There,
            (None, State::Unknown) => State::Unknown,
            (None, _) => State::Gone,
        };
    }
}

fn is_going(object: &[u8]) -> bool {
    let object: Option<Value> = serde_json::from_slice(object).ok();
    object.is_some_and(|o| o.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::json;
    use tortie_store::Entry;

    const NAMESPACE: &str = "/tortie/kubernetes/namespaces/calico-system";
    const ACCOUNT: &str = "/tortie/kubernetes/serviceaccounts/calico-system/calico-node";

    fn entry(key: &str, going: bool) -> Entry {
        let metadata =
            if going { json!({"deletionTimestamp": "2026-01-02T03:04:05Z"}) } else { json!({"name": "x"}) };
        Entry { key: key.into(), value: Bytes::from(json!({"metadata": metadata}).to_string()), revision: 1 }
    }

    fn list(entries: &[(&str, bool)]) -> List {
        List {
            entries: entries.iter().map(|(key, going)| entry(key, *going)).collect(),
            revision: 1,
            unread: Vec::new(),
        }
    }

    fn gone(key: &str) -> Event {
        Event::Delete { key: key.into(), revision: 2 }
    }

    fn there() -> Signs {
        let mut signs = Signs::new("calico-system", "calico-node", false);
        signs.snapshot(&list(&[(NAMESPACE, false), (ACCOUNT, false)]));
        assert_eq!(signs.removal(), None);
        signs
    }

    #[test]
    fn a_namespace_that_is_being_deleted_and_an_account_that_is_gone() {
        let mut signs = there();
        signs.event(&Event::Put(entry(NAMESPACE, true)));
        assert_eq!(signs.removal().unwrap(), "namespace calico-system is being deleted");
        let mut signs = there();
        signs.event(&gone("/tortie/kubernetes/serviceaccounts/calico-system/other"));
        signs.event(&gone("/tortie/kubernetes/namespaces/other"));
        assert_eq!(signs.removal(), None);
        signs.event(&gone(ACCOUNT));
        assert_eq!(signs.removal().unwrap(), "service account calico-system/calico-node is deleted");
        // Somebody put it back.
        signs.event(&Event::Put(entry(ACCOUNT, false)));
        assert_eq!(signs.removal(), None);
    }

    #[test]
    fn a_removal_is_announced() {
        let key = format!("{ACCOUNT}{NOTICE}");
        let mut signs = there();
        signs.event(&Event::Put(entry(&key, false)));
        assert_eq!(signs.removal().unwrap(), "service account calico-node-removal announces it");
        signs.snapshot(&list(&[(NAMESPACE, false), (ACCOUNT, false), (&key, false)]));
        assert!(signs.removal().is_some());
        signs.event(&gone(&key));
        assert_eq!(signs.removal(), None);
    }

    #[test]
    fn a_snapshot_tells_the_same_as_events() {
        let mut signs = there();
        signs.snapshot(&list(&[(NAMESPACE, false)]));
        assert!(signs.removal().is_some());
        signs.snapshot(&list(&[(NAMESPACE, false), (ACCOUNT, false)]));
        assert_eq!(signs.removal(), None);
        let mut fresh = Signs::new("calico-system", "calico-node", false);
        fresh.snapshot(&list(&[(NAMESPACE, true), (ACCOUNT, false)]));
        assert!(fresh.removal().is_some());
    }

    #[test]
    fn what_may_not_be_read_proves_nothing() {
        let mut signs = there();
        let unread = vec!["/tortie/kubernetes/serviceaccounts/".to_owned()];
        signs.snapshot(&List { unread, ..list(&[(NAMESPACE, false)]) });
        assert_eq!(signs.removal(), None);
    }

    #[test]
    fn what_was_never_seen_proves_nothing_unless_an_earlier_agent_saw_it() {
        let mut signs = Signs::new("elsewhere", "calico-node", false);
        signs.snapshot(&list(&[(NAMESPACE, false), (ACCOUNT, false)]));
        assert_eq!(signs.removal(), None);
        let mut again = Signs::new("calico-system", "calico-node", true);
        again.snapshot(&list(&[(NAMESPACE, false)]));
        assert!(again.removal().is_some(), "the account is gone");
        let mut anew = Signs::new("calico-system", "calico-node", true);
        anew.snapshot(&list(&[(NAMESPACE, false), (ACCOUNT, false)]));
        assert_eq!(anew.removal(), None, "installed again");
    }
}
