//! Laws that hold for all selectors.

use proptest::prelude::*;
use std::collections::BTreeMap;
use tortie_selector::{Labels, Selector, tokenize};

/// An expression with its text and its meaning worked out independently of the product's tree.
#[derive(Clone, Debug)]
enum Expr {
    All,
    Has(&'static str),
    Compare(&'static str, &'static str, String),
    In(&'static str, bool, Vec<String>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

type Map = BTreeMap<String, String>;

impl Expr {
    fn text(&self, spaced: bool) -> String {
        let gap = if spaced { " " } else { "" };
        let quote = |v: &str| if v.contains('\'') { format!("\"{v}\"") } else { format!("'{v}'") };
        let list = |items: &[Expr], op: &str| {
            let parts: Vec<_> = items.iter().map(|e| e.text(spaced)).collect();
            format!("({})", parts.join(&format!("{gap}{op}{gap}")))
        };
        match self {
            Self::All => format!("all({gap})"),
            Self::Has(k) => format!("has({gap}{k})"),
            Self::Compare(k, op @ ("==" | "!="), v) => format!("{k}{gap}{op}{gap}{}", quote(v)),
            Self::Compare(k, op, v) => format!("{k} {op}{gap}{}", quote(v)),
            Self::In(k, negated, values) => {
                let values: Vec<_> = values.iter().map(|v| quote(v)).collect();
                format!("{k} {}{gap}{{{}}}", if *negated { "not in" } else { "in" }, values.join(","))
            }
            Self::Not(e) => format!("!{gap}{}", e.text(spaced)),
            Self::And(es) => list(es, "&&"),
            Self::Or(es) => list(es, "||"),
        }
    }

    fn holds(&self, labels: &Map) -> bool {
        match self {
            Self::All => true,
            Self::Has(k) => labels.contains_key(*k),
            Self::Compare(k, op, v) => match (*op, labels.get(*k)) {
                ("!=", None) => true,
                (_, None) => false,
                ("==", Some(have)) => have == v,
                ("!=", Some(have)) => have != v,
                ("contains", Some(have)) => have.contains(v.as_str()),
                ("starts with", Some(have)) => have.starts_with(v.as_str()),
                (_, Some(have)) => have.ends_with(v.as_str()),
            },
            Self::In(k, negated, values) => match labels.get(*k) {
                None => *negated,
                Some(have) => values.contains(have) ^ *negated,
            },
            Self::Not(e) => !e.holds(labels),
            Self::And(es) => es.iter().all(|e| e.holds(labels)),
            Self::Or(es) => es.iter().any(|e| e.holds(labels)),
        }
    }

    /// True if the text has `!(!…)`, which Calico's canonical form does not preserve.
    fn doubly_negated(&self) -> bool {
        match self {
            Self::Not(e) => matches!(**e, Self::Not(_)) || e.doubly_negated(),
            Self::And(es) | Self::Or(es) => es.iter().any(Self::doubly_negated),
            _ => false,
        }
    }
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c/d", "in"])
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "x", "xy", "yx", "z'", "z\"", "ü"]).prop_map(str::to_owned)
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        Just(Expr::All),
        key().prop_map(Expr::Has),
        (key(), prop::sample::select(vec!["==", "!=", "contains", "starts with", "ends with"]), value())
            .prop_map(|(k, op, v)| Expr::Compare(k, op, v)),
        (key(), any::<bool>(), prop::collection::vec(value(), 0..4)).prop_map(|(k, n, v)| Expr::In(k, n, v)),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|e| Expr::Not(Box::new(e))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner, 2..4).prop_map(Expr::Or),
        ]
    })
}

fn labels() -> impl Strategy<Value = Map> {
    prop::collection::btree_map(key().prop_map(str::to_owned), value(), 0..4)
}

/// Text made of the grammar's own pieces: gets deeper into the parser than random bytes.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "in", "not", "contains", "starts", "with", "has(", "all(", "global(", ")", "(", "{", "}", ",",
        "'", "\"", "x", "==", "!=", "!", "=", "&&", "||", "&", "|", " ", "\t", "ü", "\n", "'v'", "has(a)",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn evaluation_equals_the_oracle(e in expr(), labels in prop::collection::vec(labels(), 1..8), spaced: bool) {
        let selector = Selector::parse(&e.text(spaced)).unwrap();
        let again = Selector::parse(selector.canonical()).unwrap();
        for labels in labels {
            prop_assert_eq!(selector.evaluate(&labels), e.holds(&labels));
            prop_assert_eq!(again.evaluate(&labels), e.holds(&labels));
        }
    }

    #[test]
    fn canonical_text_is_a_fixed_point(e in expr(), spaced: bool) {
        let selector = Selector::parse(&e.text(spaced)).unwrap();
        let again = Selector::parse(selector.canonical()).unwrap();
        if e.doubly_negated() {
            prop_assume!(selector.canonical().contains("!!"));
        } else {
            prop_assert_eq!(&again, &selector);
            prop_assert_eq!(again.unique_id(), selector.unique_id());
        }
        prop_assert_eq!(Selector::parse(&e.text(!spaced)).unwrap(), selector);
    }

    #[test]
    fn restrictions_are_necessary(e in expr(), labels in prop::collection::vec(labels(), 1..8)) {
        let selector = Selector::parse(&e.text(true)).unwrap();
        let restrictions = selector.restrictions();
        for labels in labels.iter().filter(|l| selector.evaluate(*l)) {
            for (label, r) in &restrictions {
                let have = Labels::get(labels, label);
                prop_assert!(r.satisfiable());
                prop_assert!(!r.must_be_present || have.is_some());
                prop_assert!(!r.must_be_absent || have.is_none());
                if let Some(values) = &r.must_have_one_of {
                    prop_assert!(values.iter().any(|v| Some(&**v) == have));
                }
            }
        }
    }

    #[test]
    fn any_text_gives_an_answer(text in prop_oneof![soup(), ".*"]) {
        match Selector::parse(&text) {
            Ok(selector) => prop_assert!(tokenize(&text).is_ok() && Selector::parse(selector.canonical()).is_ok()),
            Err(error) => {
                prop_assert!(error.column() <= text.chars().count() + 1);
                prop_assert!(error.render().contains('^'));
            }
        }
    }
}
