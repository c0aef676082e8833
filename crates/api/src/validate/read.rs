//! An object in its stored form: what a typed client would write after reading it.
//!
//! Empty fields that mean nothing are left out, numbers, ports and durations are written in one way, fields without a
//! table are kept. Values of the wrong type are reported, and kept for messages; `judge` passes over them.

use super::schema::{Presence, Report, Schema, Shape, is_zero};
use crate::v3::AsNumber;
use crate::{Map, duration};
use serde_json::Value;
use tortie_net::Port;

/// The stored form of a value.
pub(super) fn stored(value: &Value, schema: &Schema, path: &str, report: &mut Report) -> Value {
    match (schema.shape, value) {
        (Shape::Text, Value::String(_))
        | (Shape::Number, Value::Number(_))
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Anything, _) => value.clone(),
        (Shape::Integer, Value::Number(number)) => {
            if number.as_i64().is_none() {
                report.form(path, format!("is {number}, a whole number is needed"));
            }
            value.clone()
        }
        (Shape::Duration, Value::String(text)) => {
            written(duration::parse(text).map(duration::to_text), value, path, report)
        }
        (Shape::Port, Value::Number(_) | Value::String(_)) => written(
            serde_json::from_value::<Port>(value.clone()).map(|p| serde_json::json!(p)),
            value,
            path,
            report,
        ),
        (Shape::AsNumber, Value::Number(_) | Value::String(_)) => {
            written(serde_json::from_value::<AsNumber>(value.clone()).map(|n| n.0), value, path, report)
        }
        (Shape::Protocol, Value::Number(_) | Value::String(_)) => {
            written(byte_or_text(value, "a protocol number is between 1 and 255"), value, path, report)
        }
        (Shape::Dscp, Value::Number(_) | Value::String(_)) => {
            written(byte_or_text(value, "must be 0 to 63, or a name like EF or AF41"), value, path, report)
        }
        (Shape::NumberOrText, Value::Number(_) | Value::String(_)) => {
            let too_large = value.is_number() && value.as_i64().is_none_or(|n| i32::try_from(n).is_err());
            if too_large {
                report.form(path, format!("is {value}, but must be a whole number of 32 bits, or text"));
            }
            value.clone()
        }
        (Shape::Time, Value::String(text)) => {
            if !is_time(text) {
                report.form(path, format!("{text:?} is not a time like 2026-01-31T12:00:00Z"));
            }
            value.clone()
        }
        (Shape::Object(_), Value::Object(map)) => Value::Object(stored_fields(map, schema, path, report)),
        (Shape::List(item), Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(i, value)| {
                let value = if value.is_null() { &zero(item.shape) } else { value };
                stored(value, item, &format!("{path}[{i}]"), report)
            })
            .collect(),
        (Shape::Texts, Value::Object(map)) => map
            .iter()
            .map(|(key, value)| {
                if !value.is_string() && !value.is_null() {
                    report.form(format!("{path}[{key}]"), mismatch("text", value));
                }
                (key.clone(), if value.is_null() { "".into() } else { value.clone() })
            })
            .collect::<Map>()
            .into(),
        (shape, value) => {
            report.form(path, mismatch(expected(shape), value));
            value.clone()
        }
    }
}

fn stored_fields(map: &Map, schema: &Schema, path: &str, report: &mut Report) -> Map {
    let mut out = Map::with_capacity(map.len());
    for (key, value) in map {
        let Some(field) = schema.fields().iter().find(|f| f.name == key) else {
            out.insert(key.clone(), value.clone());
            continue;
        };
        if value.is_null() {
            continue;
        }
        let value = stored(value, &field.schema, &format!("{path}.{key}"), report);
        if field.presence != Presence::Unempty || !is_zero(&value, field.schema.shape) {
            out.insert(key.clone(), value);
        }
    }
    out
}

/// Completes the stored form as a typed client does: it writes some empty fields, and nothing that it does not know.
pub(super) fn typed(value: &mut Value, schema: &Schema) {
    match (schema.shape, value) {
        (Shape::Object(fields), Value::Object(map)) => {
            map.retain(|name, _| fields.iter().any(|field| field.name == name));
            for field in fields {
                if field.presence == Presence::Always && !map.contains_key(field.name) {
                    map.insert(field.name.to_owned(), zero(field.schema.shape));
                }
                if let Some(value) = map.get_mut(field.name) {
                    typed(value, &field.schema);
                }
            }
        }
        (Shape::List(item), Value::Array(items)) => {
            for value in items {
                typed(value, item);
            }
        }
        _ => {}
    }
}

/// What an absent value of a type stands for; null where nothing does.
pub(super) fn zero(shape: Shape) -> Value {
    match shape {
        Shape::Text => "".into(),
        Shape::Integer | Shape::Number | Shape::AsNumber | Shape::Port | Shape::Protocol => 0.into(),
        Shape::Boolean => false.into(),
        Shape::Object(_) | Shape::Texts => Map::new().into(),
        Shape::List(_) => Vec::<Value>::new().into(),
        Shape::Duration => "0s".into(),
        Shape::NumberOrText | Shape::Dscp | Shape::Time | Shape::Anything => Value::Null,
    }
}

/// What was read, or what was given and why it cannot be read.
fn written<E: ToString>(
    read: Result<impl Into<Value>, E>,
    given: &Value,
    path: &str,
    report: &mut Report,
) -> Value {
    read.map(Into::into).unwrap_or_else(|error| {
        report.form(path, error.to_string());
        given.clone()
    })
}

/// A number of eight bits, written as one or as text; any other text stays.
fn byte_or_text(value: &Value, hint: &str) -> Result<Value, String> {
    let byte = |n: u64| u8::try_from(n).ok().map(Value::from);
    match value {
        Value::Number(number) => number.as_u64().and_then(byte).ok_or_else(|| format!("is {number}, {hint}")),
        Value::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(text.parse().ok().and_then(byte).unwrap_or_else(|| value.clone()))
        }
        _ => Ok(value.clone()),
    }
}

/// RFC 3339, to the second or finer.
fn is_time(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>, low: u32, high: u32| {
        text.get(range)
            .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|t| t.parse::<u32>().ok())
            .is_some_and(|n| (low..=high).contains(&n))
    };
    let signs = [(4, '-'), (7, '-'), (10, 'T'), (13, ':'), (16, ':')];
    let Some(rest) = text.get(19..) else { return false };
    let zone = rest
        .strip_prefix('.')
        .map_or(rest, |fraction| fraction.trim_start_matches(|c: char| c.is_ascii_digit()));
    let offset = |zone: &str| {
        zone.len() == 6
            && zone.starts_with(['+', '-'])
            && zone.get(3..4) == Some(":")
            && [1..3, 4..6]
                .into_iter()
                .all(|r| zone.get(r).is_some_and(|t| t.bytes().all(|b| b.is_ascii_digit())))
    };
    signs.iter().all(|(at, sign)| text.get(*at..).is_some_and(|t| t.starts_with(*sign)))
        && digits(0..4, 0, 9999)
        && digits(5..7, 1, 12)
        && digits(8..10, 1, 31)
        && digits(11..13, 0, 23)
        && digits(14..16, 0, 59)
        && digits(17..19, 0, 59)
        && (zone == "Z" || offset(zone))
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
        Shape::NumberOrText => "a number or text",
        Shape::Dscp => "a number up to 63, or a name like EF or AF41",
        Shape::Time => "a time like 2026-01-31T12:00:00Z",
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
