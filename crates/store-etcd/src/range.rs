//! Prefixes as ranges, and entries out of answers.

use crate::messages::{Event as WireEvent, EventType, KeyValue, ResponseHeader};
use bytes::Bytes;
use tortie_store::{Entry, Event};

/// First key of a prefix, and the first key after it, as etcd wants them.
pub(crate) fn of_prefix(prefix: &str) -> (Bytes, Bytes) {
    const ALL: Bytes = Bytes::from_static(&[0]);
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return (Bytes::copy_from_slice(prefix.as_bytes()), end.into());
        }
    }
    // Nothing can be added to: all keys from the prefix on.
    let start = if prefix.is_empty() { ALL } else { Bytes::copy_from_slice(prefix.as_bytes()) };
    (start, ALL)
}

/// The first key after `key`.
pub(crate) fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// An entry; nothing for a key that is no text, which cannot be ours.
pub(crate) fn entry(kv: KeyValue) -> Option<Entry> {
    let key = text(&kv.key)?.into();
    // A page is one buffer; a value that lives long must not keep all of it.
    let value = Bytes::copy_from_slice(&kv.value);
    Some(Entry { key, value, revision: revision(kv.mod_revision) })
}

pub(crate) fn event(event: WireEvent) -> Option<Event> {
    let kv = event.kv?;
    match EventType::try_from(event.kind) {
        Ok(EventType::Put) => entry(kv).map(Event::Put),
        Ok(EventType::Delete) => {
            Some(Event::Delete { key: text(&kv.key)?.into(), revision: revision(kv.mod_revision) })
        }
        Err(_) => None,
    }
}

/// Revisions are positive; etcd's type is signed.
pub(crate) fn revision(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}

pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

pub(crate) fn of_header(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| revision(header.revision))
}

fn text(key: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(key);
    if text.is_err() {
        tracing::warn!(key = %key.escape_ascii(), "skipped a key of etcd that is not UTF-8");
    }
    text.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As etcd decides what is in a range.
    fn contains(range: &(Bytes, Bytes), key: &str) -> bool {
        let (start, end) = range;
        key.as_bytes() >= &start[..] && (end[..] == [0] || key.as_bytes() < &end[..])
    }

    proptest! {
        #[test]
        fn a_range_has_exactly_the_keys_of_its_prefix(prefix in ".{0,4}", key in ".{1,6}", more in ".{0,3}") {
            let range = of_prefix(&prefix);
            prop_assert_eq!(contains(&range, &key), key.starts_with(&prefix));
            let longer = format!("{prefix}{more}");
            prop_assert!(longer.is_empty() || contains(&range, &longer));
        }

        #[test]
        fn nothing_is_between_a_key_and_the_next(key in ".{1,6}", other in ".{1,6}") {
            let next = after(key.as_bytes());
            prop_assert!(key.as_bytes() < &next[..]);
            prop_assert_eq!(other.as_bytes() > key.as_bytes(), other.as_bytes() >= &next[..]);
        }
    }

    #[test]
    fn a_prefix_that_nothing_can_follow_is_open() {
        assert_eq!(of_prefix(""), (Bytes::from_static(&[0]), Bytes::from_static(&[0])));
        assert_eq!(of_prefix("/a").1, Bytes::from_static(b"/b"));
    }

    #[test]
    fn a_key_that_is_no_text_is_skipped() {
        let kv = KeyValue { key: Bytes::from_static(&[0xff]), mod_revision: 1, value: Bytes::new() };
        assert_eq!(entry(kv), None);
    }
}
