//! What selectors cost: reading them, and asking them about labels. Prints a table.
//!
//! `cargo bench -p tortie-selector [-- NAME...]` runs the cases whose name contains one of the words.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;
use tortie_selector::Selector;

/// Selectors as they are found in clusters, from the plainest to the longest.
const CASES: &[(&str, &str)] = &[
    ("all", "all()"),
    ("one label", "app == 'web'"),
    ("namespaced", "(app == 'web') && projectcalico.org/namespace == 'shop'"),
    (
        "kubernetes",
        "(projectcalico.org/orchestrator == 'k8s' && app == 'web' && tier in { 'front', 'edge' } && ! has(canary)) && projectcalico.org/namespace == 'shop'",
    ),
    (
        "alternatives",
        "role == 'db' || role == 'cache' || (role == 'web' && zone in {'a', 'b', 'c'}) || name starts with 'job-' || !has(role)",
    ),
    ("nested", "!(!(!(a == 'x' && (b != 'y' || (c contains 'z' && !(d ends with 'w'))))))"),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| name.contains(w.as_str()));
    let labels = labels();
    println!("{:24} {:>8} {:>12} {:>12} {:>8}", "selector", "letters", "parse", "evaluate", "matches");
    for (name, text) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let selector = Selector::parse(text).expect("the cases are selectors");
        let parse = nanoseconds(|| {
            black_box(Selector::parse(black_box(text)).is_ok());
        });
        let evaluate = nanoseconds(|| {
            black_box(selector.evaluate(black_box(&labels)));
        });
        let matches = selector.evaluate(&labels);
        println!("{name:24} {:>8} {parse:>9.0} ns {evaluate:>9.1} ns {matches:>8}", text.len());
    }
    if wanted("thousands") {
        thousands();
    }
}

/// Every selector of a large cluster about one endpoint, as a calculation without an index would ask.
fn thousands() {
    let texts: Vec<String> = (0..10_000)
        .map(|n| format!("(app == 'app-{}' && tier == 'tier-{}') && ns == 'ns-{}'", n % 500, n % 7, n % 50))
        .collect();
    let labels: BTreeMap<String, String> = [("app", "app-3"), ("tier", "tier-3"), ("ns", "ns-3")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let start = Instant::now();
    let selectors: Vec<Selector> = texts.iter().filter_map(|t| Selector::parse(t).ok()).collect();
    let parsed = start.elapsed();
    let start = Instant::now();
    let matching = selectors.iter().filter(|s| s.evaluate(&labels)).count();
    let asked = start.elapsed();
    assert_eq!((selectors.len(), matching), (10_000, 3), "every text is read, and the right ones match");
    println!("\n10,000 selectors: read in {parsed:.1?}, asked in {asked:.1?}, {matching} match");
}

/// Mean time of one call, over enough of them to be worth a number.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    const LEAST: f64 = 5e7;
    let mut calls = 1_000u32;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        let spent = start.elapsed().as_secs_f64() * 1e9;
        if spent >= LEAST || calls >= 1 << 30 {
            return spent / f64::from(calls);
        }
        calls *= 4;
    }
}

fn labels() -> BTreeMap<String, String> {
    [
        ("projectcalico.org/namespace", "shop"),
        ("projectcalico.org/orchestrator", "k8s"),
        ("projectcalico.org/serviceaccount", "default"),
        ("app", "web"),
        ("tier", "front"),
        ("zone", "b"),
        ("role", "web"),
        ("a", "x"),
        ("pod-template-hash", "5d8f9c7b6"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into()
}
