//! Events of the YAML parser to a tree that knows where everything stands, and the tree to JSON.
//!
//! Anchors are shared in the tree and written out only within a budget, so aliases cannot explode.

use super::scalar::{self, Scalar};
use super::{DocumentError, Position};
use granit_parser::{ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// How many values aliases may add to a text.
const ALIAS_BUDGET: usize = 100_000;

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    kind: NodeKind,
}

#[derive(Debug)]
enum NodeKind {
    Scalar(Value),
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    position: Position,
    value: Arc<Node>,
}

/// The rest of a document is unreadable; the error is recorded.
struct Broken;

pub(super) struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    source: Arc<str>,
    start: Position,
    anchors: HashMap<usize, Option<Arc<Node>>>,
    nodes: usize,
    broken: bool,
    pub(super) errors: Vec<DocumentError>,
}

// === impl Node ===

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind, NodeKind::Scalar(Value::Null))
    }

    pub(super) fn child(&self, key: &str) -> Option<Arc<Self>> {
        self.entry(key).map(|e| e.value.clone())
    }

    pub(super) fn element(&self, index: usize) -> Option<Arc<Self>> {
        match &self.kind {
            NodeKind::List(items) => items.get(index).cloned(),
            _ => None,
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// Position of the field that a path names, or of the last thing on the way to it that exists.
    pub(super) fn locate(&self, path: &str) -> Position {
        let (mut node, mut position, mut rest) = (self, self.position, path);
        loop {
            rest = rest.trim_start_matches('.');
            let (segment, bracketed, after) = match rest.strip_prefix('[') {
                Some(inner) => match inner.split_once(']') {
                    Some((segment, after)) => (segment, true, after),
                    None => return position,
                },
                None => {
                    let end = rest.find(['.', '[']).unwrap_or(rest.len());
                    let (segment, after) = rest.split_at(end);
                    (segment, false, after)
                }
            };
            if segment.is_empty() {
                return position;
            }
            let index = if bracketed { segment.parse::<usize>().ok() } else { None };
            let next = match (&node.kind, index) {
                (NodeKind::List(items), Some(index)) => items.get(index).map(|n| (n.as_ref(), n.position)),
                _ => node.entry(segment).map(|e| (e.value.as_ref(), e.position)),
            };
            let Some((found, at)) = next else { return position };
            (node, position, rest) = (found, at, after);
        }
    }
}

// === impl Composer ===

impl<'t> Composer<'t> {
    /// Reads `text`, which begins at `start` of its source.
    pub(super) fn new(source: Arc<str>, text: &'t str, start: Position) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            text,
            source,
            start,
            anchors: HashMap::new(),
            nodes: 0,
            broken: false,
            errors: Vec::new(),
        }
    }

    /// The next document that can be read.
    pub(super) fn next_document(&mut self) -> Option<Arc<Node>> {
        loop {
            if self.broken {
                self.broken = false;
                match self.parser.proceed_next_document() {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return None,
                }
            }
            let Ok(event) = self.event() else { continue };
            match event {
                None | Some((Event::StreamEnd, _)) => return None,
                Some((Event::DocumentStart(..), _)) => {
                    self.anchors.clear();
                    self.nodes = 0;
                    let errors_before = self.errors.len();
                    let node = self.next_node();
                    if let Ok(node) = node
                        && self.errors.len() == errors_before
                    {
                        return Some(node);
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// Writes a tree out as JSON; an error is recorded and `None` returned if aliases make it too large.
    pub(super) fn expand(&mut self, node: &Node) -> Option<Value> {
        let mut budget = self.nodes + ALIAS_BUDGET;
        let value = expand(node, &mut budget);
        if value.is_none() {
            self.error(
                node.position,
                format!("aliases expand to more than {ALIAS_BUDGET} values; write them out or remove them"),
            );
        }
        value
    }

    pub(super) fn error(&mut self, position: Position, message: String) {
        self.errors.push(DocumentError { source_name: self.source.clone(), position, message });
    }

    fn position(&self, marker: &Marker) -> Position {
        let (line, column) = (marker.line() as u32, marker.col() as u32 + 1);
        Position {
            line: line + self.start.line - 1,
            column: if line == 1 { column + self.start.column - 1 } else { column },
        }
    }

    fn event(&mut self) -> Result<Option<(Event<'t>, Span)>, Broken> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                self.broken = true;
                let position = self.position(error.marker());
                let message = self.explain(&error);
                self.error(position, message);
                Err(Broken)
            }
        }
    }

    fn explain(&self, error: &ScanError) -> String {
        let line = self.text.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or("");
        let indent = line.split(|c: char| !c.is_whitespace()).next().unwrap_or("");
        let info = error.info();
        let hint = if indent.contains('\t') {
            "; indent with spaces, tabs are not allowed"
        } else if matches!(error.kind(), ErrorKind::UnknownAnchor) {
            "; define the anchor with & before using it, or quote the text if the * is part of it"
        } else if info.contains("mapping values are not allowed") {
            "; check the indentation, and quote text that contains \": \""
        } else if line.trim_start().starts_with(['@', '`', '%'])
            || line.contains(": @")
            || line.contains(": %")
        {
            "; quote text that starts with @, ` or %"
        } else if line.contains("{{") {
            "; this looks like a template: render it first"
        } else {
            "; check the indentation, quotes and brackets around here"
        };
        format!("invalid YAML: {info}{hint}")
    }

    fn next_node(&mut self) -> Result<Arc<Node>, Broken> {
        match self.event()? {
            Some((event, span)) => self.node(event, span),
            None => Err(Broken),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Arc<Node>, Broken> {
        let position = self.position(&span.start);
        let anchor = event.anchor_id();
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, None);
        }
        self.nodes += 1;
        let kind = match event {
            Event::Alias(id) => return Ok(self.alias(id, position)),
            Event::Scalar(text, style, _, tag) => {
                NodeKind::Scalar(self.scalar(text, style, tag.as_deref(), position))
            }
            Event::SequenceStart(..) => self.list()?,
            Event::MappingStart(..) => self.map()?,
            _ => {
                self.error(position, "invalid YAML: a value is missing here".to_owned());
                NodeKind::Scalar(Value::Null)
            }
        };
        let node = Arc::new(Node { position, kind });
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Some(node.clone()));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, position: Position) -> Arc<Node> {
        match self.anchors.get(&id) {
            Some(Some(node)) => node.clone(),
            _ => {
                self.error(position, "an alias must not stand inside the value that it names".to_owned());
                Arc::new(Node { position, kind: NodeKind::Scalar(Value::Null) })
            }
        }
    }

    fn list(&mut self) -> Result<NodeKind, Broken> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                Some((Event::SequenceEnd, _)) => return Ok(NodeKind::List(items)),
                Some((event, span)) => items.push(self.node(event, span)?),
                None => return Err(Broken),
            }
        }
    }

    fn map(&mut self) -> Result<NodeKind, Broken> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Position> = HashMap::new();
        let mut merges = Vec::new();
        loop {
            let (event, span) = match self.event()? {
                Some((Event::MappingEnd, _)) => break,
                Some(event) => event,
                None => return Err(Broken),
            };
            let position = self.position(&span.start);
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if *text == "<<");
            let key = self.key(event, span)?;
            let value = self.next_node()?;
            if merge {
                merges.push((position, value));
                continue;
            }
            let Some(key) = key else { continue };
            if let Some(first) = seen.get(&key) {
                let message =
                    format!("the key {key:?} is already set at line {}; remove one of the two", first.line);
                self.error(position, message);
                continue;
            }
            seen.insert(key.clone(), position);
            entries.push(Entry { key, position, value });
        }
        for (position, value) in merges {
            self.merge(&mut entries, &mut seen, &value, position);
        }
        Ok(NodeKind::Map(entries))
    }

    /// `<<`: fields of another mapping, or of several, where the mapping itself has none.
    fn merge(
        &mut self,
        into: &mut Vec<Entry>,
        seen: &mut HashMap<String, Position>,
        from: &Node,
        position: Position,
    ) {
        match &from.kind {
            NodeKind::Map(entries) => {
                for entry in entries {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entry.position);
                        into.push(entry.clone());
                    }
                }
            }
            NodeKind::List(items) if items.iter().all(|i| matches!(i.kind, NodeKind::Map(_))) => {
                for item in items {
                    self.merge(into, seen, item, position);
                }
            }
            _ => self.error(position, "<< takes a mapping, or a list of mappings".to_owned()),
        }
    }

    fn key(&mut self, event: Event<'t>, span: Span) -> Result<Option<String>, Broken> {
        let node = self.node(event, span)?;
        match &node.kind {
            NodeKind::Scalar(Value::String(text)) => Ok(Some(text.clone())),
            NodeKind::Scalar(Value::Bool(b)) => Ok(Some(b.to_string())),
            NodeKind::Scalar(Value::Number(n)) => Ok(Some(match n.as_f64() {
                Some(float) if n.is_f64() => scalar::float_key(float),
                _ => n.to_string(),
            })),
            NodeKind::Scalar(_) => {
                self.error(
                    node.position,
                    "a key must not be empty; quote it if it is meant to be text".to_owned(),
                );
                Ok(None)
            }
            _ => {
                self.error(
                    node.position,
                    "a key must be text, not a list or a mapping; quote it if it is text".to_owned(),
                );
                Ok(None)
            }
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        position: Position,
    ) -> Value {
        let tag_name = tag.map(|t| t.core_suffix().unwrap_or("str"));
        if style != ScalarStyle::Plain && tag_name.is_none() || tag_name == Some("str") {
            return Value::String(text.into_owned());
        }
        let resolved = scalar::resolve(&text);
        let fits = matches!(
            (tag_name, &resolved),
            (None, _)
                | (Some("bool"), Scalar::Bool(_))
                | (Some("int"), Scalar::Int(_) | Scalar::Uint(_))
                | (Some("float"), Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_))
                | (Some("null"), Scalar::Null)
        );
        if !fits {
            let tag_name = tag_name.unwrap_or("str");
            self.error(
                position,
                format!("{text:?} is not what its tag !!{tag_name} says; remove the tag or quote the text"),
            );
            return Value::Null;
        }
        match resolved {
            Scalar::Null => Value::Null,
            Scalar::Bool(b) => Value::Bool(b),
            Scalar::Int(n) => Value::from(n),
            Scalar::Uint(n) => Value::from(n),
            Scalar::Float(f) => scalar::float_value(f).unwrap_or_else(|| {
                self.error(
                    position,
                    format!("{text} is no number that JSON can hold; quote it if it is text"),
                );
                Value::Null
            }),
            Scalar::Timestamp | Scalar::Merge | Scalar::Text => Value::String(text.into_owned()),
        }
    }
}

fn expand(node: &Node, budget: &mut usize) -> Option<Value> {
    *budget = budget.checked_sub(1)?;
    Some(match &node.kind {
        NodeKind::Scalar(value) => value.clone(),
        NodeKind::List(items) => {
            Value::Array(items.iter().map(|i| expand(i, budget)).collect::<Option<_>>()?)
        }
        NodeKind::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|e| Some((e.key.clone(), expand(&e.value, budget)?)))
                .collect::<Option<Map<_, _>>>()?,
        ),
    })
}
