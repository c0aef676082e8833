//! Reads the tables. Must not know what they are used for.

use super::Group;
use serde_json::Value;
use std::collections::HashMap;

/// All tables together.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Regular expressions by name.
    pub(super) patterns: HashMap<String, String>,
    /// Shared objects by name.
    pub(super) types: HashMap<String, Node>,
    /// The kinds, as they stand in the tables.
    pub(super) kinds: Vec<Kind>,
    /// What every object begins with.
    pub(super) head: Vec<Node>,
}

/// A kind.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) singular: String,
    pub(super) plural: String,
    pub(super) scope: String,
    pub(super) groups: Vec<Group>,
    pub(super) text: String,
    pub(super) short: Vec<String>,
    pub(super) columns: Vec<Column>,
    pub(super) selectable: Vec<String>,
    pub(super) annotations: Vec<(String, String)>,
    /// The manifest says that there are subresources, and names none.
    pub(super) subresources: bool,
    /// Metadata and spec are required in every group.
    pub(super) strict: bool,
    pub(super) rules: Vec<Rule>,
    /// `spec` and `status`.
    pub(super) parts: Vec<Node>,
}

/// A column of `kubectl get`.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: String,
    pub(super) path: String,
    pub(super) shape: String,
}

/// A rule between fields.
#[derive(Debug)]
pub(super) struct Rule {
    /// As the API server names it; none is its default.
    pub(super) reason: Option<String>,
    pub(super) message: String,
    pub(super) expression: String,
}

/// A field.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) required: bool,
    /// Only in this group.
    pub(super) only: Option<Group>,
    pub(super) shape: Shape,
    pub(super) facets: Vec<Facet>,
    pub(super) rules: Vec<Rule>,
    pub(super) fields: Vec<Node>,
    pub(super) text: String,
}

/// Type of a field.
#[derive(Debug)]
pub(super) enum Shape {
    Text,
    Boolean,
    /// With a format: `int32`, `int64`.
    Integer(Option<&'static str>),
    Number,
    Port,
    Object,
    /// A shared object.
    Shared(String),
    List(Box<Node>),
    Map(Box<Node>),
}

/// What limits a field.
#[derive(Debug)]
pub(super) enum Facet {
    Min(i64),
    Max(i64),
    /// Each of these lists must hold the value.
    OneOf(Vec<Vec<String>>),
    Pattern(String),
    Format(String),
    Default(Value),
    Nullable,
    /// Written as one.
    Atomic,
    /// Without duplicates.
    Set,
    /// Items are told apart by these fields.
    By(Vec<String>),
}

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{line:?}: {problem}")]
pub(super) struct TableError {
    line: String,
    problem: &'static str,
}

/// A line, and the lines that stand deeper.
struct Block<'t> {
    line: &'t str,
    below: Vec<Block<'t>>,
}

fn fail<T>(line: &str, problem: &'static str) -> Result<T, TableError> {
    Err(TableError { line: line.to_owned(), problem })
}

/// Blocks of the lines at a depth; `lines` is what is left.
fn blocks<'t>(lines: &mut &[&'t str], depth: usize) -> Vec<Block<'t>> {
    let mut blocks = Vec::new();
    while let Some((line, rest)) = lines.split_first() {
        let indent = line.len() - line.trim_start().len();
        if indent < depth {
            break;
        }
        *lines = rest;
        blocks.push(Block { line: line.trim(), below: self::blocks(lines, indent + 1) });
    }
    blocks
}

/// A type as people write it.
pub(super) fn type_name(node: &Node) -> String {
    match &node.shape {
        Shape::Text => "string".to_owned(),
        Shape::Boolean => "boolean".to_owned(),
        Shape::Integer(_) => "integer".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Port => "integer or string".to_owned(),
        Shape::Object | Shape::Shared(_) => "Object".to_owned(),
        Shape::List(item) => format!("[]{}", type_name(item)),
        Shape::Map(item) => format!("map[string]{}", type_name(item)),
    }
}

// === impl Catalogue ===

impl Catalogue {
    pub(super) fn read(tables: &[&str]) -> Result<Self, TableError> {
        let lines: Vec<&str> = tables
            .iter()
            .flat_map(|table| table.lines())
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .collect();
        let mut catalogue = Self {
            head: vec![
                field("apiVersion string -- Group and version of the kind")?,
                field("kind string -- The kind")?,
                field("metadata object -- Name, namespace, labels and annotations")?,
            ],
            ..Self::default()
        };
        for block in blocks(&mut lines.as_slice(), 0) {
            match block.line.split_once(' ') {
                Some(("pattern", rest)) => {
                    let Some((name, pattern)) = rest.split_once(' ') else {
                        return fail(block.line, "a pattern needs a name and an expression");
                    };
                    catalogue.patterns.insert(name.to_owned(), pattern.to_owned());
                }
                Some(("type", rest)) => {
                    let node = Node::read(rest, &block.below)?;
                    catalogue.types.insert(node.name.clone(), node);
                }
                Some(("kind", rest)) => catalogue.kinds.push(Kind::read(rest, &block.below)?),
                _ => return fail(block.line, "pattern, type or kind is needed here"),
            }
        }
        Ok(catalogue)
    }

    /// The node that holds a field's rules and fields: its own, or the shared one.
    pub(super) fn body<'a>(&'a self, node: &'a Node) -> &'a Node {
        match &node.shape {
            Shape::Shared(name) => self.types.get(name).unwrap_or(node),
            _ => node,
        }
    }

    /// Fields below a field, below its items if it is a list.
    pub(super) fn fields<'a>(&'a self, node: &'a Node) -> Vec<&'a Node> {
        let node = self.body(node);
        match &node.shape {
            Shape::List(item) | Shape::Map(item) => self.fields(item),
            _ => node.fields.iter().collect(),
        }
    }

    /// What values a field takes, in words.
    pub(super) fn limits(&self, node: &Node) -> Vec<String> {
        let what = match node.shape {
            Shape::Text => " characters",
            Shape::List(_) => " items",
            Shape::Object | Shape::Map(_) | Shape::Shared(_) => " fields",
            _ => "",
        };
        let mut limits: Vec<String> = Vec::new();
        for facet in &node.facets {
            limits.push(match facet {
                Facet::Min(min) => format!("at least {min}{what}"),
                Facet::Max(max) => format!("at most {max}{what}"),
                Facet::OneOf(lists) => {
                    let in_all = |word: &&String| lists.iter().all(|list| list.contains(word));
                    let words: Vec<&str> = lists
                        .first()
                        .into_iter()
                        .flatten()
                        .filter(in_all)
                        .map(|word| if word.is_empty() { "\"\"" } else { word.as_str() })
                        .collect();
                    format!("one of {}", words.join(", "))
                }
                Facet::Pattern(name) if name == "Any" => continue,
                Facet::Pattern(name) => match self.patterns.get(name) {
                    Some(pattern) => format!("matches {pattern}"),
                    None => continue,
                },
                Facet::Format(format) => format!("format {format}"),
                Facet::Default(value) => format!("default {value}"),
                Facet::Set => "without duplicates".to_owned(),
                Facet::By(keys) => format!("items differ in {}", keys.join(", ")),
                Facet::Nullable | Facet::Atomic => continue,
            });
        }
        if let Shape::List(item) | Shape::Map(item) = &node.shape {
            limits.extend(self.limits(item).into_iter().map(|limit| format!("each: {limit}")));
        }
        limits
    }
}

// === impl Kind ===

impl Kind {
    /// True if a group has the kind.
    pub(super) fn is_in(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }

    fn read(line: &str, below: &[Block<'_>]) -> Result<Self, TableError> {
        let (head, text) = line.split_once(" -- ").unwrap_or((line, ""));
        let words: Vec<&str> = head.split_whitespace().collect();
        let [name, singular, plural, scope, groups] = words[..] else {
            return fail(line, "a kind needs a name, singular, plural, scope and groups");
        };
        let groups = match groups {
            "both" => vec![Group::Storage, Group::Native],
            "v1" => vec![Group::Storage],
            "v3" => vec![Group::Native],
            "policy" => vec![Group::Policy],
            "none" => Vec::new(),
            _ => return fail(line, "groups are both, v1, v3, policy or none"),
        };
        let [name, singular, plural, scope, text] = [name, singular, plural, scope, text].map(str::to_owned);
        let mut kind = Self {
            name,
            singular,
            plural,
            scope,
            groups,
            text,
            short: Vec::new(),
            columns: Vec::new(),
            selectable: Vec::new(),
            annotations: Vec::new(),
            subresources: false,
            strict: false,
            rules: Vec::new(),
            parts: Vec::new(),
        };
        for block in below {
            let (word, rest) = block.line.split_once(' ').unwrap_or((block.line, ""));
            match word {
                "short" => kind.short = rest.split_whitespace().map(str::to_owned).collect(),
                "column" => {
                    let mut parts = rest.splitn(3, ' ').map(str::to_owned);
                    let (Some(shape), Some(path), Some(title)) = (parts.next(), parts.next(), parts.next())
                    else {
                        return fail(block.line, "a column needs a type, a path and a title");
                    };
                    kind.columns.push(Column { title, path, shape });
                }
                "annotation" => match rest.split_once(' ') {
                    Some((key, value)) => kind.annotations.push((key.to_owned(), value.to_owned())),
                    None => return fail(block.line, "an annotation needs a key and a value"),
                },
                "select" => kind.selectable.push(rest.to_owned()),
                "subresources" => kind.subresources = true,
                "strict" => kind.strict = true,
                "rule" => kind.rules.push(Rule::read(rest, &block.below)?),
                _ => kind.parts.push(Node::read(block.line, &block.below)?),
            }
        }
        Ok(kind)
    }
}

// === impl Rule ===

impl Rule {
    fn read(line: &str, below: &[Block<'_>]) -> Result<Self, TableError> {
        let (Some((reason, message)), [expression]) = (line.split_once(' '), below) else {
            return fail(line, "a rule needs a reason, a message and one expression below");
        };
        Ok(Self {
            reason: (reason != "-").then(|| format!("FieldValue{reason}")),
            message: message.to_owned(),
            expression: expression.line.to_owned(),
        })
    }
}

// === impl Node ===

fn field(line: &str) -> Result<Node, TableError> {
    Node::read(line, &[])
}

impl Node {
    fn read(line: &str, below: &[Block<'_>]) -> Result<Self, TableError> {
        let (head, text) = line.split_once(" -- ").unwrap_or((line, ""));
        let (only, head) = match head.split_once(' ') {
            Some(("v1", rest)) => (Some(Group::Storage), rest),
            Some(("v3", rest)) => (Some(Group::Native), rest),
            _ => (None, head),
        };
        let mut words = head.split_whitespace();
        let (Some(name), Some(shape)) = (words.next(), words.next()) else {
            return fail(line, "a field needs a name and a type");
        };
        let mut item = None;
        let mut node = Self {
            name: name.trim_end_matches('!').to_owned(),
            required: name.ends_with('!'),
            only,
            shape: Shape::Object,
            facets: Vec::new(),
            rules: Vec::new(),
            fields: Vec::new(),
            text: text.to_owned(),
        };
        for block in below {
            match block.line.split_once(' ') {
                Some(("rule", rest)) => node.rules.push(Rule::read(rest, &block.below)?),
                Some(("*", _)) => item = Some(Box::new(Self::read(block.line, &block.below)?)),
                _ => node.fields.push(Self::read(block.line, &block.below)?),
            }
        }
        node.shape = shape_of(shape, item).map_or_else(|| fail(line, "is no type"), Ok)?;
        let numeric = matches!(node.shape, Shape::Integer(_) | Shape::Number);
        for word in words {
            let facet = facet_of(word).map_or_else(|| fail(line, "has an unknown facet"), Ok)?;
            debug_assert!(!numeric || !matches!(facet, Facet::Set | Facet::Atomic | Facet::By(_)));
            node.facets.push(facet);
        }
        Ok(node)
    }
}

fn shape_of(word: &str, item: Option<Box<Node>>) -> Option<Shape> {
    let plain = |word: &str| field(&format!("* {word}")).ok().map(Box::new);
    Some(match (word, item) {
        ("list", Some(item)) => Shape::List(item),
        ("map", Some(item)) => Shape::Map(item),
        (_, Some(_)) => return None,
        ("string", _) => Shape::Text,
        ("boolean", _) => Shape::Boolean,
        ("integer", _) => Shape::Integer(None),
        ("int32", _) => Shape::Integer(Some("int32")),
        ("int64", _) => Shape::Integer(Some("int64")),
        ("number", _) => Shape::Number,
        ("int-or-string", _) => Shape::Port,
        ("object", _) => Shape::Object,
        _ => {
            if let Some(name) = word.strip_prefix('@') {
                Shape::Shared(name.to_owned())
            } else if let Some(item) = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
                Shape::List(plain(item)?)
            } else {
                Shape::Map(plain(word.strip_prefix('{')?.strip_suffix('}')?)?)
            }
        }
    })
}

fn facet_of(word: &str) -> Option<Facet> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    Some(match word.split_once('=') {
        None => match word {
            "atomic" => Facet::Atomic,
            "set" => Facet::Set,
            "nullable" => Facet::Nullable,
            _ => return None,
        },
        Some(("min", n)) => Facet::Min(n.parse().ok()?),
        Some(("max", n)) => Facet::Max(n.parse().ok()?),
        Some(("enum", words)) => Facet::OneOf(words.split('&').map(list).collect()),
        Some(("pattern", name)) => Facet::Pattern(name.to_owned()),
        Some(("format", name)) => Facet::Format(name.to_owned()),
        Some(("default", value)) => Facet::Default(serde_json::from_str(value).ok()?),
        Some(("by", keys)) => Facet::By(list(keys)),
        Some(_) => return None,
    })
}
