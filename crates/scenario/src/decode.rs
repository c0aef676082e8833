//! Reads a document field by field, and collects everything that is wrong instead of stopping at the first thing.

use crate::problem::Problem;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use tortie_api::document::{Document, Position};

/// A document being read.
pub(crate) struct Reader<'d> {
    document: &'d Document,
    problems: RefCell<Vec<Problem>>,
}

/// A value in it.
#[derive(Clone)]
pub(crate) struct Field<'r> {
    reader: &'r Reader<'r>,
    path: String,
    value: &'r Value,
}

/// A mapping in it whose names are known.
pub(crate) struct Fields<'r> {
    field: Field<'r>,
    map: &'r Map<String, Value>,
}

impl<'d> Reader<'d> {
    pub(crate) fn new(document: &'d Document) -> Self {
        Self { document, problems: RefCell::default() }
    }

    pub(crate) fn root(&self) -> Field<'_> {
        Field { reader: self, path: String::new(), value: &self.document.value }
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

impl<'r> Field<'r> {
    pub(crate) fn value(&self) -> &'r Value {
        self.value
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn position(&self) -> Position {
        self.reader.document.locate(&self.path)
    }

    pub(crate) fn problem(&self, message: impl Into<String>) {
        let problem = Problem::new(&self.reader.document.source, self.position(), message);
        self.reader.problems.borrow_mut().push(problem);
    }

    /// `steps[0].name`, or what stands for the whole file.
    fn name(&self) -> &str {
        if self.path.is_empty() { "a scenario" } else { &self.path }
    }

    fn wrong(&self, expected: &str) {
        self.problem(format!("{} must be {expected}, found {}", self.name(), describe(self.value)));
    }

    fn child(&self, key: &str, value: &'r Value) -> Self {
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric());
        let path = match (self.path.is_empty(), plain) {
            (true, true) => key.to_owned(),
            (false, true) => format!("{}.{key}", self.path),
            (_, false) => format!("{}[{key}]", self.path),
        };
        Self { reader: self.reader, path, value }
    }

    /// A mapping with no other than the known names.
    pub(crate) fn fields(&self, known: &[&str]) -> Option<Fields<'r>> {
        let Value::Object(map) = self.value else {
            self.wrong("a mapping");
            return None;
        };
        for (key, value) in map {
            if !known.contains(&key.as_str()) {
                let child = self.child(key, value);
                child.problem(format!("{} has no field {key:?}{}", self.name(), suggestion(key, known)));
            }
        }
        Some(Fields { field: self.clone(), map })
    }

    /// The entries of a mapping with any names.
    pub(crate) fn entries(&self) -> Vec<(&'r str, Self)> {
        match self.value {
            Value::Object(map) => map.iter().map(|(k, v)| (k.as_str(), self.child(k, v))).collect(),
            Value::Null => Vec::new(),
            _ => {
                self.wrong("a mapping");
                Vec::new()
            }
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<Self> {
        match self.value {
            Value::Array(items) => {
                let item =
                    |(i, value)| Self { reader: self.reader, path: format!("{}[{i}]", self.path), value };
                items.iter().enumerate().map(item).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.wrong("a list");
                Vec::new()
            }
        }
    }

    pub(crate) fn text(&self) -> Option<&'r str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong("text");
        }
        text
    }

    pub(crate) fn number(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = self.value.as_u64().filter(|n| range.contains(n));
        if number.is_none() {
            self.wrong(&format!("a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// Text that a type can read; a bare number counts as its text.
    pub(crate) fn parse<T: FromStr>(&self) -> Option<T>
    where
        T::Err: Display,
    {
        let text = match self.value {
            Value::Number(n) => n.to_string(),
            Value::String(text) => text.clone(),
            _ => {
                self.wrong("text");
                return None;
            }
        };
        text.parse().map_err(|e: T::Err| self.problem(format!("{}: {e}", self.name()))).ok()
    }

    /// A mapping of texts; numbers and booleans must be quoted, as in Kubernetes.
    pub(crate) fn string_map(&self) -> BTreeMap<String, String> {
        self.entries()
            .into_iter()
            .filter_map(|(key, value)| match value.value {
                Value::String(text) => Some((key.to_owned(), text.clone())),
                other => {
                    value.problem(format!("{} must be text: write \"{other}\"", value.name()));
                    None
                }
            })
            .collect()
    }
}

impl<'r> Fields<'r> {
    pub(crate) fn get(&self, key: &str) -> Option<Field<'r>> {
        self.map.get(key).filter(|v| !v.is_null()).map(|v| self.field.child(key, v))
    }

    /// A field that must be there.
    pub(crate) fn need(&self, key: &str) -> Option<Field<'r>> {
        let found = self.get(key);
        if found.is_none() {
            self.field.problem(format!("{} lacks the field {key:?}", self.field.name()));
        }
        found
    }

    pub(crate) fn items(&self, key: &str) -> Vec<Field<'r>> {
        self.get(key).map(|f| f.items()).unwrap_or_default()
    }

    pub(crate) fn string_map(&self, key: &str) -> BTreeMap<String, String> {
        self.get(key).map(|f| f.string_map()).unwrap_or_default()
    }

    pub(crate) fn text(&self, key: &str) -> Option<&'r str> {
        self.get(key).and_then(|f| f.text())
    }
}

/// A value in words: scalars as they are, shortened.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        scalar => shortened(&scalar.to_string()),
    }
}

/// Text that a line of a terminal can hold.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => {
            format!("{}... ({} characters)", text.get(..end).unwrap_or(text), text.chars().count())
        }
        None => text.to_owned(),
    }
}

/// ` (did you mean "nodes"? known are ...)`.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    let near = known.iter().find(|k| is_near(word, k));
    match near {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// At most two letters away, in any case.
fn is_near(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&row, j) + usize::from(ca != *cb);
            next.push(replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1));
        }
        row = next;
    }
    let limit = if a.len() < 4 { 1 } else { 2 };
    row.last().is_some_and(|d| *d <= limit)
}
