//! The index against the definition of matching, over random histories.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tortie_selector::Layered;

type Map = BTreeMap<String, String>;

fn pairs(map: &Map) -> impl Iterator<Item = (&str, &str)> {
    map.iter().map(|(k, v)| (k.as_str(), v.as_str()))
}

#[derive(Clone, Debug)]
enum Op {
    Item(u8, Map, Vec<&'static str>),
    RemoveItem(u8),
    Parent(&'static str, Map),
    RemoveParent(&'static str),
    Selector(u8, &'static str),
    RemoveSelector(u8),
}

/// An index, the matches it has reported, and what is in it in the plainest form.
#[derive(Default)]
struct Bench {
    index: Index<u8, u8>,
    reported: BTreeSet<(u8, u8)>,
    items: BTreeMap<u8, (Map, Vec<&'static str>)>,
    parents: BTreeMap<&'static str, Map>,
    selectors: BTreeMap<u8, Selector>,
}

impl Bench {
    fn apply(&mut self, op: &Op) {
        let reported = &mut self.reported;
        let mut on = |event: Event<'_, u8, u8>| match event {
            Event::Started(s, i) => assert!(reported.insert((*s, *i)), "{s} {i} started twice"),
            Event::Stopped(s, i) => assert!(reported.remove(&(*s, *i)), "{s} {i} stopped twice"),
        };
        match op {
            Op::Item(id, labels, parents) => {
                self.index.set_item(id, pairs(labels), parents.iter().copied(), &mut on);
                self.items.insert(*id, (labels.clone(), parents.clone()));
            }
            Op::RemoveItem(id) => {
                self.index.remove_item(id, &mut on);
                self.items.remove(id);
            }
            Op::Parent(name, labels) => {
                self.index.set_parent(name, pairs(labels), &mut on);
                self.parents.insert(name, labels.clone());
            }
            Op::RemoveParent(name) => {
                self.index.remove_parent(name, &mut on);
                self.parents.remove(name);
            }
            Op::Selector(id, text) => {
                let selector = Selector::parse(text).expect("written here");
                self.index.set_selector(id, &selector, &mut on);
                self.selectors.insert(*id, selector);
            }
            Op::RemoveSelector(id) => {
                self.index.remove_selector(id, &mut on);
                self.selectors.remove(id);
            }
        }
    }

    fn expected(&self) -> BTreeSet<(u8, u8)> {
        let mut all = BTreeSet::new();
        for (item, (labels, parents)) in &self.items {
            let inherited: Vec<&Map> = parents.iter().filter_map(|p| self.parents.get(p)).collect();
            let labels = Layered { own: labels, inherited };
            all.extend(self.selectors.iter().filter(|(_, s)| s.evaluate(&labels)).map(|(s, _)| (*s, *item)));
        }
        all
    }

    fn check(&self) {
        assert_eq!(self.reported, self.expected());
        let asked = self.items.keys().flat_map(|i| self.index.matches(i).map(|s| (*s, *i)));
        assert_eq!(asked.collect::<BTreeSet<_>>(), self.reported);
        let asked = self.selectors.keys().flat_map(|s| self.index.items(s).map(|i| (*s, *i)));
        assert_eq!(asked.collect::<BTreeSet<_>>(), self.reported);
        assert_eq!(self.index.item_count(), self.items.len());
        assert_eq!(self.index.selector_count(), self.selectors.len());
    }
}

fn labels() -> impl Strategy<Value = Map> {
    let name = prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    let value = prop::sample::select(vec!["", "x", "y", "a"]).prop_map(str::to_owned);
    prop::collection::btree_map(name, value, 0..3)
}

fn op() -> impl Strategy<Value = Op> {
    let parent = || prop::sample::select(vec!["p", "q", "r"]);
    let selector = prop::sample::select(vec![
        "all()",
        "!all()",
        "has(a)",
        "!has(a)",
        "a == 'x'",
        "a != 'x'",
        "a in {'x', 'y'}",
        "a not in {'x', ''}",
        "a in {}",
        "a == 'x' && b == 'y'",
        "a == 'x' && a == 'y'",
        "a == 'x' || b == 'y'",
        "b starts with 'x' && has(c)",
        "c contains ''",
        "c ends with 'y' || c == 'a'",
        "!(a == 'x' && has(b))",
    ]);
    prop_oneof![
        4 => (0..6u8, labels(), prop::collection::vec(parent(), 0..3)).prop_map(|(i, l, p)| Op::Item(i, l, p)),
        2 => (0..6u8).prop_map(Op::RemoveItem),
        2 => (parent(), labels()).prop_map(|(p, l)| Op::Parent(p, l)),
        1 => parent().prop_map(Op::RemoveParent),
        3 => (0..6u8, selector).prop_map(|(i, s)| Op::Selector(i, s)),
        1 => (0..6u8).prop_map(Op::RemoveSelector),
    ]
}

proptest! {
    #[test]
    fn incremental_equals_from_scratch(ops in prop::collection::vec(op(), 1..60)) {
        let mut bench = Bench::default();
        for op in &ops {
            bench.apply(op);
            bench.check();
        }
        for id in 0..6 {
            bench.apply(&Op::RemoveItem(id));
            bench.apply(&Op::RemoveSelector(id));
        }
        for parent in ["p", "q", "r"] {
            bench.apply(&Op::RemoveParent(parent));
        }
        bench.check();
        let index = bench.index;
        prop_assert_eq!(index.symbols.len(), 0, "strings leak");
        prop_assert!(index.classes.is_empty() && index.class_slots.is_empty());
        prop_assert!(index.parents.is_empty() && index.parent_slots.is_empty());
        prop_assert!(index.names.is_empty() && index.unfiled.is_empty());
    }
}

#[test]
fn a_change_that_changes_nothing_is_silent() {
    let mut index = Index::<u8, u8>::new();
    let everything = Selector::all();
    let mut events = 0;
    let mut on = |_: Event<'_, u8, u8>| events += 1;
    for _ in 0..2 {
        index.set_selector(&1, &everything, &mut on);
        index.set_item(&1, [("a", "x")], ["p"], &mut on);
        index.set_parent("p", [("b", "y")], &mut on);
        index.remove_item(&2, &mut on);
        index.remove_selector(&2, &mut on);
        index.remove_parent("q", &mut on);
    }
    assert_eq!(events, 1);
}

#[test]
fn a_rare_label_is_preferred_to_one_that_all_have() {
    let mut index = Index::<u32, u32>::new();
    let mut none = |_: Event<'_, u32, u32>| {};
    for i in 0..100 {
        let app = i.to_string();
        index.set_item(&i, [("orchestrator", "k8s"), ("app", app.as_str())], [], &mut none);
        let selector = format!("orchestrator == 'k8s' && app == '{i}'");
        index.set_selector(&i, &Selector::parse(&selector).unwrap(), &mut none);
    }
    let filed_under_app = index
        .selectors
        .iter()
        .filter(|(_, s)| matches!(s.under, Under::Values(name, _) if index.symbols.text(name) == "app"));
    assert!(filed_under_app.count() >= 98);
}

#[test]
fn of_a_repeated_label_the_last_value_counts() {
    let mut index = Index::<u8, u8>::new();
    let mut none = |_: Event<'_, u8, u8>| {};
    index.set_selector(&1, &Selector::parse("a == 'y'").unwrap(), &mut none);
    index.set_item(&1, [("a", "x"), ("b", ""), ("a", "y")], [], &mut none);
    assert_eq!(index.matches(&1).collect::<Vec<_>>(), [&1]);
}
