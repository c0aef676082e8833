//! The words of the tables that describe kinds, and what tables fill in.
//!
//! Must not judge: that is done along the tables by `judge`, after `read` has brought the object into its stored form.

use super::format::Format;
use super::{Options, Problem};
use crate::Map;
use serde_json::Value;

/// What a value must be, and the limits of the layers.
#[derive(Clone, Copy)]
pub(super) struct Schema {
    pub(super) shape: Shape,
    pub(super) format: Option<Format>,
    pub(super) schema_format: Option<Format>,
    pub(super) client_format: Option<Format>,
    pub(super) one_of: &'static [&'static str],
    /// Case does not matter, and empty is fine.
    pub(super) any_case: bool,
    /// The enumeration belongs to the form.
    pub(super) strict: bool,
    pub(super) max_len: usize,
    pub(super) min_items: usize,
    pub(super) max_items: usize,
    /// The API server refuses duplicates; nobody else does.
    pub(super) unique: bool,
    /// Duplicates belong to the form.
    pub(super) strict_unique: bool,
    pub(super) form_range: (i64, i64),
    pub(super) schema_range: (i64, i64),
    pub(super) check: Option<fn(&Map, &str, &mut Report)>,
}

#[derive(Clone, Copy)]
pub(super) enum Shape {
    Text,
    Integer,
    Number,
    Boolean,
    /// Text like `1m30s`.
    Duration,
    /// Number or range or name of a port.
    Port,
    /// Name or number.
    Protocol,
    /// Number, or two numbers with a dot.
    AsNumber,
    /// Number, or text.
    NumberOrText,
    /// A number below 64, or the name of one.
    Dscp,
    /// `2026-01-31T12:00:00Z`.
    Time,
    Object(&'static [Field]),
    List(&'static Schema),
    /// Texts by key.
    Texts,
    Anything,
}

/// A field of an object.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) schema: Schema,
    /// The API server demands it; for everyone else an absent one may do.
    pub(super) required: bool,
    /// Required by the form.
    pub(super) needed: bool,
    pub(super) presence: Presence,
    pub(super) default: Option<Default>,
}

/// When a field stands in the stored form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// When it is not empty, zero or false: those cannot be told from an absent field.
    Unempty,
    /// When it was given.
    Given,
    /// Always: an absent one is an empty one, and limits apply to it.
    Always,
}

/// A default of the schema.
#[derive(Clone, Copy)]
pub(super) enum Default {
    Text(&'static str),
    Boolean(bool),
    Integer(i64),
}

const ANY_RANGE: (i64, i64) = (i64::MIN, i64::MAX);
const INT32: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);

const fn shaped(shape: Shape) -> Schema {
    Schema {
        shape,
        format: None,
        schema_format: None,
        client_format: None,
        one_of: &[],
        any_case: false,
        strict: false,
        max_len: usize::MAX,
        min_items: 0,
        max_items: usize::MAX,
        unique: false,
        strict_unique: false,
        form_range: ANY_RANGE,
        schema_range: ANY_RANGE,
        check: None,
    }
}

pub(super) const fn text() -> Schema {
    shaped(Shape::Text)
}
pub(super) const fn formatted(format: Format) -> Schema {
    text().format(format)
}
pub(super) const fn one_of(words: &'static [&'static str]) -> Schema {
    let mut schema = text();
    schema.one_of = words;
    schema
}
pub(super) const fn integer() -> Schema {
    shaped(Shape::Integer)
}
/// An integer of 32 bits.
pub(super) const fn int32() -> Schema {
    within(INT32.0, INT32.1)
}
/// An integer that cannot even be read out of this range.
pub(super) const fn within(low: i64, high: i64) -> Schema {
    let mut schema = integer();
    schema.form_range = (low, high);
    schema
}
pub(super) const fn number() -> Schema {
    shaped(Shape::Number)
}
pub(super) const fn boolean() -> Schema {
    shaped(Shape::Boolean)
}
pub(super) const fn duration_text() -> Schema {
    shaped(Shape::Duration)
}
pub(super) const fn port() -> Schema {
    shaped(Shape::Port)
}
pub(super) const fn protocol() -> Schema {
    shaped(Shape::Protocol)
}
pub(super) const fn as_number() -> Schema {
    let mut schema = shaped(Shape::AsNumber);
    schema.schema_range = INT32;
    schema
}
pub(super) const fn number_or_text() -> Schema {
    shaped(Shape::NumberOrText)
}
pub(super) const fn dscp() -> Schema {
    shaped(Shape::Dscp)
}
pub(super) const fn time() -> Schema {
    shaped(Shape::Time)
}
pub(super) const fn texts() -> Schema {
    shaped(Shape::Texts)
}
pub(super) const fn anything() -> Schema {
    shaped(Shape::Anything)
}
pub(super) const fn object(fields: &'static [Field]) -> Schema {
    shaped(Shape::Object(fields))
}
pub(super) const fn list_of(item: &'static Schema) -> Schema {
    shaped(Shape::List(item))
}

pub(super) const fn field(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, required: false, needed: false, presence: Presence::Unempty, default: None }
}
/// A field whose empty value means something else than its absence.
pub(super) const fn given(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, required: false, needed: false, presence: Presence::Given, default: None }
}

impl Schema {
    pub(super) const fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }
    /// A format that only the schema demands.
    pub(super) const fn schema_format(mut self, format: Format) -> Self {
        self.schema_format = Some(format);
        self
    }
    /// A format that only writers demand.
    pub(super) const fn client_format(mut self, format: Format) -> Self {
        self.client_format = Some(format);
        self
    }
    /// The numbers that are allowed, as text.
    pub(super) const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.one_of = words;
        self
    }
    pub(super) const fn any_case(mut self) -> Self {
        self.any_case = true;
        self
    }
    pub(super) const fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
    pub(super) const fn max_len(mut self, max: usize) -> Self {
        self.max_len = max;
        self
    }
    pub(super) const fn items(mut self, min: usize, max: usize) -> Self {
        (self.min_items, self.max_items) = (min, max);
        self
    }
    pub(super) const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }
    pub(super) const fn strict_unique(mut self) -> Self {
        self.strict_unique = true;
        self
    }
    pub(super) const fn range(mut self, low: i64, high: i64) -> Self {
        self.form_range = (low, high);
        self
    }
    pub(super) const fn schema_range(mut self, low: i64, high: i64) -> Self {
        self.schema_range = (low, high);
        self
    }
    pub(super) const fn check(mut self, check: fn(&Map, &str, &mut Report)) -> Self {
        self.check = Some(check);
        self
    }
    /// Fields of an object; none for anything else.
    pub(super) fn fields(&self) -> &'static [Field] {
        match self.shape {
            Shape::Object(fields) => fields,
            _ => &[],
        }
    }
}

impl Field {
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    pub(super) const fn needed(mut self) -> Self {
        self.needed = true;
        self
    }
    pub(super) const fn always(mut self) -> Self {
        self.presence = Presence::Always;
        self
    }
    pub(super) const fn default(mut self, default: Default) -> Self {
        self.default = Some(default);
        self
    }
}

/// Collects problems of the chosen layers.
pub(super) struct Report {
    options: Options,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(options: Options) -> Self {
        Self { options, problems: Vec::new() }
    }

    /// For kinds that no API server defines, so that only writers see what a schema would.
    pub(super) fn without_schema(options: Options) -> Self {
        Self::new(Options { schema: options.client, ..options })
    }

    /// How many problems there are.
    pub(super) fn len(&self) -> usize {
        self.problems.len()
    }

    /// Forgets the problems from the `len`th on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.problems.truncate(len);
    }

    /// A problem that everyone sees.
    pub(super) fn form(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into() });
    }

    /// A problem that the schema sees.
    pub(super) fn schema(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.options.schema {
            self.form(path, message);
        }
    }

    /// A problem that writers see.
    pub(super) fn client(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.options.client {
            self.form(path, message);
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// Fills in defaults, below objects that are there.
pub(super) fn fill_defaults(value: &mut Value, schema: &Schema) {
    match (schema.shape, value) {
        (Shape::Object(_), Value::Object(map)) => {
            for field in schema.fields() {
                let absent = map.get(field.name).is_none_or(|v| {
                    v.is_null() || (field.presence == Presence::Unempty && is_zero(v, field.schema.shape))
                });
                if let (true, Some(default)) = (absent, field.default) {
                    let value = match default {
                        Default::Text(text) => text.into(),
                        Default::Boolean(b) => b.into(),
                        Default::Integer(n) => n.into(),
                    };
                    map.insert(field.name.to_owned(), value);
                }
                if let Some(value) = map.get_mut(field.name) {
                    fill_defaults(value, &field.schema);
                }
            }
        }
        (Shape::List(item), Value::Array(items)) => {
            for value in items {
                fill_defaults(value, item);
            }
        }
        _ => {}
    }
}

/// True for what a field that is not there stands for.
pub(super) fn is_zero(value: &Value, shape: Shape) -> bool {
    match (shape, value) {
        (_, Value::Null) => true,
        (Shape::Boolean, Value::Bool(truth)) => !truth,
        (Shape::Integer | Shape::Number | Shape::AsNumber, Value::Number(number)) => {
            number.as_f64() == Some(0.0)
        }
        (Shape::Text, Value::String(text)) => text.is_empty(),
        (Shape::List(_), Value::Array(items)) => items.is_empty(),
        (Shape::Texts, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// Turns numbers and booleans into text where text is needed.
pub(super) fn coerce(value: &mut Value, schema: &Schema) {
    match (schema.shape, &mut *value) {
        (Shape::Text, Value::Bool(_) | Value::Number(_)) => *value = Value::String(value.to_string()),
        (Shape::Texts, Value::Object(map)) => {
            for value in map.values_mut().filter(|v| v.is_boolean() || v.is_number()) {
                *value = Value::String(value.to_string());
            }
        }
        (Shape::Object(fields), Value::Object(map)) => {
            for field in fields {
                if let Some(value) = map.get_mut(field.name) {
                    coerce(value, &field.schema);
                }
            }
        }
        (Shape::List(item), Value::Array(items)) => {
            for value in items {
                coerce(value, item);
            }
        }
        _ => {}
    }
}
