//! Tables that describe a kind, and the walk of an object along its table.

use super::format::Format;
use super::{Options, Problem};
use crate::{Map, duration};
use serde_json::Value;

/// What a value must be, and the limits of the layers.
#[derive(Clone, Copy)]
pub(super) struct Schema {
    shape: Shape,
    format: Option<Format>,
    schema_format: Option<Format>,
    one_of: &'static [&'static str],
    /// Case does not matter, and empty is fine.
    any_case: bool,
    /// The enumeration belongs to the form.
    strict: bool,
    max_len: usize,
    min_items: usize,
    max_items: usize,
    unique: bool,
    strict_unique: bool,
    form_range: (i64, i64),
    schema_range: (i64, i64),
    check: Option<fn(&Map, &str, &mut Report)>,
}

#[derive(Clone, Copy)]
enum Shape {
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
    Object(&'static [Field]),
    List(&'static Schema),
    /// Texts by key.
    Texts,
    Anything,
}

/// A field of an object.
#[derive(Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    schema: Schema,
    required: bool,
    /// Required by the form, not just by the schema.
    needed: bool,
    /// Written even when empty, so that limits apply to emptiness too.
    always: bool,
    default: Option<Default>,
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
/// An integer of 32 bits: the schema refuses more.
pub(super) const fn int32() -> Schema {
    let mut schema = integer();
    schema.schema_range = INT32;
    schema
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
    Field { name, schema, required: false, needed: false, always: false, default: None }
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
    fn fields(&self) -> &'static [Field] {
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
        self.always = true;
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

/// Checks a whole object: its top level, and its spec along the table.
pub(super) fn check_object(value: &Map, spec: &Schema, status: Option<&Schema>, report: &mut Report) {
    const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for key in value.keys().filter(|k| !TOP.contains(&k.as_str())) {
        report.client(key, unknown(key, &TOP));
    }
    match value.get("spec") {
        None | Some(Value::Null) => {
            // An absent spec is an empty one where nothing in it is required.
            check_value(&Value::Object(Map::new()), spec, "spec", report);
        }
        Some(value) => check_value(value, spec, "spec", report),
    }
    if let (Some(schema), Some(status)) = (status, value.get("status")) {
        check_value(status, schema, "status", report);
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    match similar(key, known.iter().copied()) {
        Some(name) => format!("is no field here; did you mean {name:?}?"),
        None => "is no field here; remove it, or check the indentation".to_owned(),
    }
}

/// The known word that a word is probably meant to be.
pub(crate) fn similar<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .filter(|name| name.len().abs_diff(word.len()) <= 2)
        .map(|name| (distance(&word.to_ascii_lowercase(), &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= 2.min(name.len() / 3))
        .min()
        .map(|(_, name)| name)
}

/// Edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let here = (diagonal + usize::from(x != *y)).min(left + 1).min(above + 1);
            diagonal = *above;
            left = here;
            next.push(here);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn check_value(value: &Value, schema: &Schema, path: &str, report: &mut Report) {
    match (schema.shape, value) {
        (_, Value::Null) | (Shape::Anything, _) => {}
        (Shape::Text, Value::String(text)) => check_text(text, schema, path, report),
        (Shape::Integer, Value::Number(n)) => match n.as_i64() {
            Some(n) => check_range(n, schema, path, report),
            None => report.form(path, format!("is {n}, a whole number is needed")),
        },
        (Shape::Number, Value::Number(_)) | (Shape::Boolean, Value::Bool(_)) => {}
        (Shape::Duration, Value::String(text)) => match duration::parse(text) {
            Ok(nanoseconds) => check_text(&duration::to_text(nanoseconds), schema, path, report),
            Err(error) => report.form(path, error.to_string()),
        },
        (Shape::Port, Value::Number(_) | Value::String(_)) => check_port(value, path, report),
        (Shape::Protocol, Value::Number(_) | Value::String(_)) => check_protocol(value, path, report),
        (Shape::AsNumber, Value::Number(_) | Value::String(_)) => {
            match serde_json::from_value::<crate::v3::AsNumber>(value.clone()) {
                Ok(number) => check_range(number.0.into(), schema, path, report),
                Err(error) => report.form(path, error.to_string()),
            }
        }
        (Shape::Object(fields), Value::Object(map)) => check_fields(map, fields, schema, path, report),
        (Shape::List(item), Value::Array(items)) => check_list(items, item, schema, path, report),
        (Shape::Texts, Value::Object(map)) => {
            for (key, value) in map {
                if !value.is_string() && !value.is_null() {
                    report.form(format!("{path}[{key}]"), mismatch("text", value));
                }
            }
            if let Some(format) = schema.format {
                format.check_map(map, path, report);
            }
        }
        (shape, value) => report.form(path, mismatch(expected(shape), value)),
    }
}

fn expected(shape: Shape) -> &'static str {
    match shape {
        Shape::Text => "text",
        Shape::Integer => "a whole number",
        Shape::Number => "a number",
        Shape::Boolean => "true or false",
        Shape::Duration => "a duration like 90s",
        Shape::Port => "a port, a range or the name of a port",
        Shape::Protocol => "the name or number of a protocol",
        Shape::AsNumber => "an AS number",
        Shape::Object(_) | Shape::Texts => "a mapping",
        Shape::List(_) => "a list",
        Shape::Anything => "anything",
    }
}

fn mismatch(expected: &str, value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) if expected == "text" => {
            format!("is {value}, but text is needed: write \"{value}\"")
        }
        Value::String(text) => format!("is the text {text:?}, but {expected} is needed"),
        Value::Bool(_) | Value::Number(_) => format!("is {value}, but {expected} is needed"),
        Value::Array(_) => format!("is a list, but {expected} is needed"),
        Value::Object(_) => format!("is a mapping, but {expected} is needed"),
        Value::Null => format!("is empty, but {expected} is needed"),
    }
}

fn check_text(text: &str, schema: &Schema, path: &str, report: &mut Report) {
    if !schema.one_of.is_empty() {
        let listed = if schema.any_case {
            text.is_empty() || schema.one_of.iter().any(|w| w.eq_ignore_ascii_case(text))
        } else {
            schema.one_of.contains(&text)
        };
        if !listed {
            let case = schema.one_of.iter().find(|w| w.eq_ignore_ascii_case(text));
            let message = match case {
                Some(word) => format!("{text:?} must be written {word}"),
                None => format!("{text:?} is not one of {}", schema.one_of.join(", ")),
            };
            if schema.strict { report.form(path, message) } else { report.schema(path, message) }
        }
    }
    let length = text.chars().count();
    if length > schema.max_len {
        report.schema(path, format!("has {length} characters, at most {} are allowed", schema.max_len));
    }
    if let Some(format) = schema.format
        && let Err(message) = format.check(text)
    {
        report.form(path, message);
    }
    if let Some(format) = schema.schema_format
        && let Err(message) = format.check(text)
    {
        report.schema(path, message);
    }
}

fn check_range(n: i64, schema: &Schema, path: &str, report: &mut Report) {
    let message = |(low, high): (i64, i64)| match (low, high) {
        (low, i64::MAX) => format!("is {n}, but must be at least {low}"),
        (i64::MIN, high) => format!("is {n}, but must be at most {high}"),
        (low, high) => format!("is {n}, but must be between {low} and {high}"),
    };
    let outside = |(low, high): (i64, i64)| n < low || n > high;
    if outside(schema.form_range) {
        report.form(path, message(schema.form_range));
    } else if outside(schema.schema_range) {
        report.schema(path, message(schema.schema_range));
    }
    if !schema.one_of.is_empty() && !schema.one_of.contains(&n.to_string().as_str()) {
        report.schema(path, format!("is {n}, but must be {}", schema.one_of.join(" or ")));
    }
}

fn check_port(value: &Value, path: &str, report: &mut Report) {
    match serde_json::from_value::<tortie_net::Port>(value.clone()) {
        Ok(tortie_net::Port::Range(range)) if range.first == 0 => {
            report.form(path, "ports begin at 1");
        }
        Ok(_) => {}
        Err(error) => report.form(path, error.to_string()),
    }
}

fn check_protocol(value: &Value, path: &str, report: &mut Report) {
    const NAMES: [&str; 6] = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"];
    let number = match value {
        Value::Number(n) => Some(n.as_u64().and_then(|n| u8::try_from(n).ok()).unwrap_or(0)),
        Value::String(text) => text.parse::<u8>().ok(),
        _ => None,
    };
    let name = value.as_str().unwrap_or("");
    match number {
        Some(0) => report.form(path, "a protocol number is between 1 and 255"),
        Some(_) => {}
        None if NAMES.contains(&name) => {}
        None => match NAMES.iter().find(|n| n.eq_ignore_ascii_case(name)) {
            Some(word) => report.form(path, format!("{name:?} must be written {word}")),
            None => {
                report.form(path, format!("{name:?} is no protocol; use {}, or a number", NAMES.join(", ")));
            }
        },
    }
}

fn check_fields(map: &Map, fields: &'static [Field], schema: &Schema, path: &str, report: &mut Report) {
    for key in map.keys() {
        if !fields.iter().any(|f| f.name == key) {
            let known: Vec<&str> = fields.iter().map(|f| f.name).collect();
            report.client(format!("{path}.{key}"), unknown(key, &known));
        }
    }
    for field in fields {
        let path = format!("{path}.{}", field.name);
        let value = map.get(field.name).filter(|v| !v.is_null());
        match value {
            Some(value) if field.always || !is_empty(value) => {
                check_value(value, &field.schema, &path, report);
            }
            _ if field.needed => report.form(path, "is missing"),
            _ if field.required => report.schema(path, "is missing"),
            _ => {}
        }
    }
    if let Some(check) = schema.check {
        check(map, path, report);
    }
}

fn check_list(items: &[Value], item: &Schema, schema: &Schema, path: &str, report: &mut Report) {
    if items.len() > schema.max_items {
        report
            .schema(path, format!("has {} elements, at most {} are allowed", items.len(), schema.max_items));
    }
    if items.len() < schema.min_items {
        report
            .schema(path, format!("has {} elements, at least {} are needed", items.len(), schema.min_items));
    }
    for (i, value) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        check_value(value, item, &path, report);
        if (schema.unique || schema.strict_unique) && items.iter().take(i).any(|earlier| earlier == value) {
            let message = format!("{value} is there twice");
            if schema.strict_unique { report.form(path, message) } else { report.schema(path, message) }
        }
    }
}

/// Fills in defaults, below objects that are there.
pub(super) fn fill_defaults(value: &mut Value, schema: &Schema) {
    match (schema.shape, value) {
        (Shape::Object(_), Value::Object(map)) => {
            for field in schema.fields() {
                let absent =
                    map.get(field.name).is_none_or(|v| v.is_null() || (!field.always && is_empty(v)));
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
