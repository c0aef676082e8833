//! The entries of the fuzzers on some hundred random inputs each: bytes, and texts that look like what is decoded.

use proptest::prelude::*;
use tortie_fuzz_entries::{ENTRIES, documents, names, paths, selectors};

/// Pieces of selectors, so that many inputs get past the tokens.
const SELECTOR: &str = r#"(( |!|\(|\)|&&|\|\||a|b|has\(|all\(\)|global\(\)| in | not in |\{|\}|,|==|!=|'x'|"y"| contains | starts with | ends with ){1,12})(\n(a|b|c)=(x|y|)){0,3}"#;
/// Pieces of documents.
const DOCUMENT: &str = r#"((a|b|kind|spec)(: | : |:)|- |  |\n|\n  |---\n|"|'|\{|\}|\[|\]|,|1|0x1|1e3|true|null|~|&x |\*x|!!str |\||>|#|é|\t){1,24}"#;
/// Pieces of paths, with a value.
const PATH: &str = r#"(/calico|/v1|/ipam|/v2|/host|/policy|/tier|/profile|/config|/Ready|/netset|/resources/v3/projectcalico.org|/nodes|/networkpolicies|/a|/b%2fc|/%25|/assignment|/block|/ipv4|/10.0.0.0-26|/pool|/workload|/endpoint|/metadata|/rules|/NetworkPolicy|/felix|/status|/){2,9}(\n(\{\}|\[\]|null|true|\{"cidr":"10.0.0.0/26"\}|\{"order":1\}|x)){0,1}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, entry) in ENTRIES {
            entry(&bytes);
        }
    }

    #[test]
    fn selectors_from_pieces(text in SELECTOR) {
        selectors(text.as_bytes());
    }

    #[test]
    fn documents_from_pieces(text in DOCUMENT) {
        documents(text.as_bytes());
    }

    #[test]
    fn paths_from_pieces(text in PATH) {
        paths(text.as_bytes());
    }

    #[test]
    fn names_from_pieces(text in "[-a-z.:/_é ]{0,80}") {
        names(text.as_bytes());
    }
}

/// Inputs that once were wrong somewhere, or are at an edge.
#[test]
fn known_inputs() {
    for text in ["", "\n", "all()\n=", "a == \"it's\"", "a in {}", "!(a == 'x')\na=x", "has(a) && !has(a)"] {
        selectors(text.as_bytes());
    }
    for text in ["a: &x [1]\nb: *x", "'a': \"\\u00e9\"", "a: 2026-01-01", "- a\n- b", "{\"a\": 1.0}\n---\n{}"]
    {
        documents(text.as_bytes());
    }
    for text in
        ["/calico/v1/config/a/b", "/calico/v1/host/h/config/", "/calico/v1/policy/tier/t%2fu/metadata\n[]"]
    {
        paths(text.as_bytes());
    }
    for text in ["n-k8s-p-eth0", "---", "a--b-k8s-p-eth0", &"x".repeat(300)] {
        names(text.as_bytes());
    }
}
