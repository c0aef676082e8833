//! What must hold for any bytes that we did not write: one function per decoder, which panics if it does not.
//!
//! The tests of this crate run them on bounded random inputs; `fuzz/` hands the same functions to cargo-fuzz, which
//! searches without end. Must not know where the bytes come from.

use std::collections::BTreeMap;
use tortie_api::document;
use tortie_model::convert::wep_name::WepName;
use tortie_model::names::{DEFAULT_INTERFACE_PREFIX, MAX_INTERFACE_NAME, nftables, veth};
use tortie_model::{Key, PolicyId, PolicyKind};
use tortie_net::Family;
use tortie_selector::{Selector, tokenize};

/// A function that takes any bytes.
pub type Entry = fn(&[u8]);

/// All of them, by name.
pub const ENTRIES: &[(&str, Entry)] =
    &[("selectors", selectors), ("documents", documents), ("names", names), ("paths", paths)];

/// A selector, and after the first line labels, `name=value` each.
pub fn selectors(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let source = lines.next().unwrap_or_default();
    let tokens = tokenize(source);
    let Ok(selector) = Selector::parse(source) else { return };
    assert!(tokens.is_ok(), "{source:?} is a selector of no tokens");
    let canonical = selector.canonical();
    let again = Selector::parse(canonical).expect("the canonical form is a selector");
    assert_eq!(again.canonical(), canonical, "the canonical form of {source:?} is not canonical");
    assert_eq!(again.unique_id(), selector.unique_id(), "{source:?}");

    let labels: BTreeMap<String, String> =
        lines.filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let matches = selector.evaluate(&labels);
    assert_eq!(again.evaluate(&labels), matches, "{source:?} and {canonical:?} differ for {labels:?}");
    for (label, restriction) in selector.restrictions().iter().filter(|_| matches) {
        let value = labels.get(&**label);
        assert!(!restriction.must_be_present || value.is_some(), "{source:?}: {label} is there");
        assert!(!restriction.must_be_absent || value.is_none(), "{source:?}: {label} is not there");
        if let Some(allowed) = &restriction.must_have_one_of {
            let known = value.is_some_and(|value| allowed.iter().any(|a| **a == **value));
            assert!(known, "{source:?}: {label} has none of {allowed:?}");
        }
    }
}

/// A stream of YAML or JSON documents.
pub fn documents(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let parsed = document::read("input", &text);
    for document in parsed.documents {
        let written = document::to_yaml(&document.value);
        let again = document::parse("written", &written).unwrap_or_else(|errors| {
            panic_with(&format!("what was written cannot be read: {errors}\n{written}"))
        });
        let values: Vec<_> = again.iter().map(|d| &d.value).collect();
        assert_eq!(values, [&document.value], "{written}");
    }
}

/// Names that users choose, as names in the kernel.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (namespace, name) = text.split_once('/').unwrap_or(("default", &text));
    assert!(veth(DEFAULT_INTERFACE_PREFIX, namespace, name).len() <= MAX_INTERFACE_NAME);

    let id =
        PolicyId { kind: PolicyKind::NetworkPolicy, namespace: namespace.to_owned(), name: name.to_owned() };
    let chains = [
        nftables::from_workload(&text),
        nftables::to_workload(&text),
        nftables::policy_ingress(&id),
        nftables::policy_egress(&id),
        nftables::profile_ingress(&text),
        nftables::profile_egress(&text),
    ];
    for chain in chains {
        assert!(is_legal(&chain) && chain.len() <= nftables::MAX_CHAIN_NAME, "{text:?}: {chain:?}");
    }
    for family in Family::ALL {
        for prefixes in [false, true] {
            let set = nftables::ip_set(family, &text, prefixes);
            assert!(is_legal(&set) && set.len() <= nftables::MAX_SET_NAME, "{text:?}: {set:?}");
        }
    }
    if let Some(parts) = WepName::parse(&text)
        && let Ok(written) = parts.to_name()
    {
        assert_eq!(WepName::parse(&written), Some(parts), "{text:?}");
    }
}

/// A path of the datastore, and after the first line a value for it.
pub fn paths(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, value) = text.split_once('\n').unwrap_or((&text, ""));
    let Some(key) = Key::from_path(path) else { return };
    // Some keys lack a part and have no path; some parts are not escaped, as upstream does not, and do not lead back.
    // What leads back stays where it is.
    if let Some(written) = key.to_path()
        && let Some(again) = Key::from_path(&written)
    {
        assert_eq!(again.to_path().as_deref(), Some(&*written), "{path:?}");
    }
    if let Ok(value) = tortie_model::Value::parse(&key, value.as_bytes()) {
        let written = value.to_bytes();
        let again = tortie_model::Value::parse(&key, &written);
        assert!(again.is_ok_and(|again| again == value), "{key:?}: {}", String::from_utf8_lossy(&written));
    }
}

/// What nft takes for a name.
fn is_legal(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'.' | b'-'))
}

#[expect(clippy::panic, reason = "a property that does not hold is what the caller looks for")]
fn panic_with(message: &str) -> ! {
    panic!("{message}")
}
