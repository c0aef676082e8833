//! The walk of an object in its stored form along its table.

use super::format::Format;
use super::read::zero;
use super::schema::{Field, Presence, Report, Schema, Shape};
use crate::Map;
use serde_json::Value;
use std::collections::HashSet;
use tortie_net::Port;

/// Checks a part of an object, in its stored form, along the part's table.
pub(super) fn judge(value: &Value, schema: &Schema, path: &str, report: &mut Report) {
    check_value(value, schema, path, report);
}

/// Fields that no object has at its top.
pub(super) fn check_top(value: &Map, report: &mut Report) {
    const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for key in value.keys().filter(|k| !TOP.contains(&k.as_str())) {
        report.client(key, unknown(key, &TOP));
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

fn check_value(value: &Value, schema: &Schema, path: &str, report: &mut Report) {
    match (schema.shape, value) {
        (Shape::Text | Shape::Duration, Value::String(text)) => check_text(text, schema, path, report),
        (Shape::Integer | Shape::AsNumber, Value::Number(n)) => {
            if let Some(n) = n.as_i64() {
                check_range(n, schema, path, report);
            }
        }
        (Shape::Port, Value::Number(_) | Value::String(_)) => check_port(value, path, report),
        (Shape::Protocol, Value::Number(_) | Value::String(_)) => check_protocol(value, path, report),
        (Shape::Dscp, Value::Number(_) | Value::String(_)) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if Format::Dscp.check(&text).is_err() {
                report.client(path, "must be 0 to 63, or a name like EF or AF41");
            }
        }
        (Shape::Object(fields), Value::Object(map)) => check_fields(map, fields, schema, path, report),
        (Shape::List(item), Value::Array(items)) => check_list(items, item, schema, path, report),
        (Shape::Texts, Value::Object(map)) => {
            if let Some(format) = schema.format {
                format.check_map(map, path, report);
            }
        }
        // Of another type: said while it was read.
        _ => {}
    }
}

fn check_port(value: &Value, path: &str, report: &mut Report) {
    match serde_json::from_value::<Port>(value.clone()) {
        Ok(Port::Range(range)) if range.first == 0 => report.form(path, "ports begin at 1"),
        Ok(Port::Named(name)) => {
            if let Err(message) = Format::PortName.check(&name) {
                report.form(path, message);
            }
        }
        _ => {}
    }
}

fn check_protocol(value: &Value, path: &str, report: &mut Report) {
    const NAMES: [&str; 6] = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"];
    let Some(name) = value.as_str() else {
        if value.as_u64() == Some(0) {
            report.form(path, "a protocol number is between 1 and 255");
        }
        return;
    };
    if NAMES.contains(&name) {
        return;
    }
    let message = match NAMES.iter().find(|n| n.eq_ignore_ascii_case(name)) {
        Some(word) => format!("{name:?} must be written {word}"),
        None => format!("{name:?} is no protocol; use {}, or a number", NAMES.join(", ")),
    };
    report.form(path, message);
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
        match map.get(field.name) {
            Some(value) => check_value(value, &field.schema, &path, report),
            None => check_absent(field, &path, report),
        }
    }
    if let Some(check) = schema.check {
        check(map, path, report);
    }
}

/// An absent field may do as if it were there and empty.
fn check_absent(field: &Field, path: &str, report: &mut Report) {
    if field.needed {
        return report.form(path, "is missing");
    }
    if field.presence == Presence::Always {
        let before = report.len();
        check_value(&zero(field.schema.shape), &field.schema, path, report);
        if report.len() > before {
            report.truncate(before);
            return report.form(path, "is missing");
        }
    }
    if field.required {
        report.client(path, "is missing");
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
    if let Some(format) = schema.client_format
        && let Err(message) = format.check(text)
    {
        report.client(path, message);
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

fn check_list(items: &[Value], item: &Schema, schema: &Schema, path: &str, report: &mut Report) {
    if items.len() > schema.max_items {
        report
            .schema(path, format!("has {} elements, at most {} are allowed", items.len(), schema.max_items));
    }
    if items.len() < schema.min_items {
        report
            .schema(path, format!("has {} elements, at least {} are needed", items.len(), schema.min_items));
    }
    let mut seen = HashSet::new();
    for (i, value) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let before = report.len();
        check_value(value, item, &path, report);
        if value.as_str() == Some("") && item.format.is_some() && report.len() == before {
            report.client(&*path, "is empty; remove it");
        }
        if (schema.unique || schema.strict_unique) && !seen.insert(value) {
            let message = format!("{value} is there twice");
            if schema.strict_unique { report.form(path, message) } else { report.client(path, message) }
        }
    }
}
