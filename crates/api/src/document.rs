//! YAML and JSON text to objects, with kubectl's semantics.
//!
//! Scalars follow YAML 1.1 as kubectl reads it (`yes` is true, `0644` is octal, a quoted scalar is text), keys are
//! always text, `kind: List` is taken apart, empty documents are skipped. Stricter than kubectl where it protects the
//! user: a key that is there twice and aliases that explode are errors. Every error says where.
//!
//! In kinds of projectcalico.org a number or boolean becomes text where the kind has text, as calicoctl reads it:
//! the label `edge: yes` is `edge: "true"`.
//!
//! Must not judge objects: any mapping is a document.

mod compose;
mod print;
mod scalar;
#[cfg(test)]
mod tests;

pub use print::to_yaml;

use compose::{Composer, Node};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// A place in a text; both count from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One object of a text.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object.
    pub value: Value,
    /// Line at which it starts, from one.
    pub line: u32,
    /// Column at which it starts, from one.
    pub column: u32,
    /// Where the text came from: a path, or `-`.
    pub source: Arc<str>,
    node: Option<Arc<Node>>,
}

/// Why a part of a text is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}:{position}: {message}")]
pub struct DocumentError {
    /// Where the text came from.
    pub source_name: Arc<str>,
    /// Where in the text.
    pub position: Position,
    /// What is wrong, and the likely fix.
    pub message: String,
}

/// What a text holds: the good documents beside the errors.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// In the order of the text.
    pub documents: Vec<Document>,
    /// In the order of the text.
    pub errors: Vec<DocumentError>,
}

/// Every error of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentErrors(pub Vec<DocumentError>);

impl fmt::Display for DocumentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentErrors {}

/// Reads every document of a text. A broken document does not hide the others.
pub fn read(source: &str, text: &str) -> Parsed {
    let source: Arc<str> = source.into();
    let mut parsed = Parsed::default();
    for (start, part) in json_parts(text) {
        let mut composer = Composer::new(source.clone(), part, start);
        while let Some(node) = composer.next_document() {
            match composer.expand(&node) {
                Some(Value::Object(_)) | None if node.is_null() => {}
                Some(value @ Value::Object(_)) => add(&mut parsed, &source, value, node),
                Some(Value::Null) | None => {}
                Some(other) => composer.error(
                    node.position,
                    format!("a document must be an object, this is {}", describe(&other)),
                ),
            }
        }
        parsed.errors.append(&mut composer.errors);
    }
    parsed.errors.sort_by_key(|e| e.position);
    parsed
}

/// Reads every document of a text, or tells all that is wrong with it.
pub fn parse(source: &str, text: &str) -> Result<Vec<Document>, DocumentErrors> {
    let Parsed { documents, errors } = read(source, text);
    if errors.is_empty() { Ok(documents) } else { Err(DocumentErrors(errors)) }
}

/// A list is replaced by its items, which inherit kind and version from a typed list.
fn add(parsed: &mut Parsed, source: &Arc<str>, mut value: Value, node: Arc<Node>) {
    let item_type = match (&value["kind"], &value["items"]) {
        (Value::String(kind), Value::Array(_)) => kind.strip_suffix("List"),
        _ => None,
    };
    let Some(item_kind) = item_type.map(str::to_owned) else {
        crate::validate::coerce(&mut value);
        let Position { line, column } = node.position;
        parsed.documents.push(Document { value, line, column, source: source.clone(), node: Some(node) });
        return;
    };
    let Value::Object(mut list) = value else { return };
    let version = list.get("apiVersion").cloned();
    let Some(Value::Array(items)) = list.remove("items") else { return };
    let nodes = node.child("items");
    for (index, item) in items.into_iter().enumerate() {
        let item_node = nodes.as_ref().and_then(|n| n.element(index)).unwrap_or_else(|| node.clone());
        match item {
            Value::Object(mut object) => {
                if !item_kind.is_empty() && !object.contains_key("kind") {
                    object.insert("kind".into(), Value::String(item_kind.clone()));
                    if let Some(version) = &version {
                        object.entry("apiVersion").or_insert_with(|| version.clone());
                    }
                }
                add(parsed, source, Value::Object(object), item_node);
            }
            Value::Null => {}
            other => parsed.errors.push(DocumentError {
                source_name: source.clone(),
                position: item_node.position,
                message: format!("items[{index}] must be an object, this is {}", describe(&other)),
            }),
        }
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// JSON objects may follow each other without a separator; YAML cannot say that.
fn json_parts(text: &str) -> Vec<(Position, &str)> {
    let whole = vec![(Position { line: 1, column: 1 }, text)];
    if !text.trim_start().starts_with('{') {
        return whole;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let (mut parts, mut begin) = (Vec::new(), 0);
    while let Some(item) = stream.next() {
        let end = stream.byte_offset();
        match (item, text.get(begin..end)) {
            (Ok(_), Some(part)) => parts.push((position_of(text, begin), part)),
            _ => return whole,
        }
        begin = end;
    }
    parts
}

fn position_of(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Position {
        line: before.matches('\n').count() as u32 + 1,
        column: before.get(line_start..).unwrap_or("").chars().count() as u32 + 1,
    }
}

// === impl Document ===

impl Document {
    /// A document that did not come from a text.
    pub fn from_value(source: &str, value: Value) -> Self {
        Self { value, line: 1, column: 1, source: source.into(), node: None }
    }

    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }

    /// `kind`, or empty.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// `apiVersion`, or empty.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// `metadata.name`, or empty.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`, or empty.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// Where the document starts.
    pub fn position(&self) -> Position {
        Position { line: self.line, column: self.column }
    }

    /// Where the field of a path like `spec.ingress[0].source.nets[1]` or `metadata.labels[example.com/x]` stands;
    /// the nearest thing around it if it is not there.
    pub fn locate(&self, path: &str) -> Position {
        self.node.as_ref().map_or(self.position(), |node| node.locate(path))
    }
}

impl fmt::Display for Document {
    /// `GlobalNetworkPolicy deny-all`, `NetworkPolicy shop/web`: how messages name the object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind().is_empty() { "object" } else { self.kind() };
        match (self.namespace(), self.name()) {
            (_, "") => write!(f, "{kind} at {}:{}", self.source, self.position()),
            ("", name) => write!(f, "{kind} {name}"),
            (namespace, name) => write!(f, "{kind} {namespace}/{name}"),
        }
    }
}
