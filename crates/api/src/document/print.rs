//! JSON to YAML text, laid out as kubectl prints it.
//!
//! Keys are sorted (numbers inside them by value), lists stand at the column of their key, text is quoted only where
//! a reader could take it for something else.

use super::scalar::{Scalar, resolve};
use serde_json::Value;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// One document, without a separator.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0, false),
        Value::Array(items) if !items.is_empty() => write_list(&mut out, items, 0),
        leaf => {
            write_leaf(&mut out, leaf, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, columns: usize) {
    out.extend(std::iter::repeat_n(' ', columns));
}

/// `inline`: the first key continues the current line, after `- `.
fn write_map(out: &mut String, map: &crate::Map, columns: usize, inline: bool) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|a, b| natural_order(a.0, b.0));
    for (i, (key, value)) in entries.into_iter().enumerate() {
        if i > 0 || !inline {
            indent(out, columns);
        }
        write_key(out, key, columns);
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_map(out, map, columns + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(out, items, columns);
            }
            leaf => {
                out.push(' ');
                write_leaf(out, leaf, columns + 2);
                out.push('\n');
            }
        }
    }
}

fn write_list(out: &mut String, items: &[Value], columns: usize) {
    for item in items {
        indent(out, columns);
        write_item(out, item, columns);
    }
}

fn write_item(out: &mut String, item: &Value, columns: usize) {
    out.push_str("- ");
    match item {
        Value::Object(map) if !map.is_empty() => write_map(out, map, columns + 2, true),
        Value::Array(items) if !items.is_empty() => {
            for (i, inner) in items.iter().enumerate() {
                if i > 0 {
                    indent(out, columns + 2);
                }
                write_item(out, inner, columns + 2);
            }
        }
        leaf => {
            write_leaf(out, leaf, columns + 2);
            out.push('\n');
        }
    }
}

fn write_key(out: &mut String, key: &str, columns: usize) {
    // Longer keys need the explicit form to be read back.
    let explicit = key.len() > 128 || key.contains('\n');
    if explicit {
        out.push_str("? ");
    }
    write_text(out, key, None);
    if explicit {
        out.push('\n');
        indent(out, columns);
    }
    out.push(':');
}

fn write_leaf(out: &mut String, value: &Value, columns: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => write_number(out, n),
        Value::String(text) => write_text(out, text, Some(columns)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Whole floats as integers: that is what they become on their way through JSON.
fn write_number(out: &mut String, number: &serde_json::Number) {
    match number.as_f64() {
        Some(float) if number.is_f64() => match super::scalar::float_value(float) {
            Some(Value::Number(whole)) if whole.is_i64() => {
                let _ = write!(out, "{whole}");
            }
            _ => out.push_str(&super::scalar::float_text(float)),
        },
        _ => {
            let _ = write!(out, "{number}");
        }
    }
}

/// What a text allows.
struct Style {
    plain: bool,
    single: bool,
    block: bool,
}

/// `block_columns`: where a literal block would be indented, `None` where only one line is possible.
fn write_text(out: &mut String, text: &str, block_columns: Option<usize>) {
    let style = analyse(text);
    let as_plain = match resolve(text) {
        Scalar::Text => !is_sexagesimal(text),
        // Only a key can be taken for a merge.
        Scalar::Merge => block_columns.is_some(),
        _ => false,
    };
    match block_columns {
        Some(columns) if text.contains('\n') && style.block => write_literal(out, text, columns),
        _ if text.contains('\n') => write_double_quoted(out, text),
        _ if !as_plain => write_double_quoted(out, text),
        _ if style.plain => out.push_str(text),
        _ if style.single => {
            out.push('\'');
            out.push_str(&text.replace('\'', "''"));
            out.push('\'');
        }
        _ => write_double_quoted(out, text),
    }
}

/// `1:20` was a number in base 60 for old readers.
fn is_sexagesimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let unsigned = unsigned.split_once('.').map_or(unsigned, |(whole, _)| whole);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or("");
    let mut more = false;
    let starts_as_number = first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    starts_as_number
        && parts.all(|p| {
            more = true;
            (p.len() == 1 || (p.len() == 2 && p.starts_with(['0', '1', '2', '3', '4', '5'])))
                && p.bytes().all(|b| b.is_ascii_digit())
        })
        && more
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

fn analyse(text: &str) -> Style {
    let chars: Vec<char> = text.chars().collect();
    let blank = |i: usize| chars.get(i).is_none_or(|c| matches!(c, ' ' | '\t') || is_break(*c));
    let (mut indicators, mut breaks, mut special) = (false, false, false);
    let (mut space_break, mut break_space) = (false, false);
    let (mut previous_space, mut previous_break) = (false, false);
    if text.starts_with("---") || text.starts_with("...") {
        indicators = true;
    }
    for (i, &c) in chars.iter().enumerate() {
        indicators |= match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`'
                if i == 0 =>
            {
                true
            }
            '?' | '-' if i == 0 => blank(1),
            ':' => blank(i + 1),
            '#' => i > 0 && blank(i - 1),
            _ => false,
        };
        special |= !is_printable(c);
        if c == ' ' {
            break_space |= previous_break;
            (previous_space, previous_break) = (true, false);
        } else if is_break(c) {
            breaks = true;
            space_break |= previous_space;
            (previous_space, previous_break) = (false, true);
        } else {
            (previous_space, previous_break) = (false, false);
        }
    }
    let edge_space = text.starts_with(' ') || text.ends_with(' ');
    let edge_break =
        chars.first().is_some_and(|c| is_break(*c)) || chars.last().is_some_and(|c| is_break(*c));
    let only_double = space_break || special;
    Style {
        plain: !(text.is_empty()
            || indicators
            || edge_space
            || edge_break
            || breaks
            || break_space
            || only_double),
        single: !(break_space || only_double),
        block: !(text.ends_with(' ') || only_double),
    }
}

fn write_literal(out: &mut String, text: &str, columns: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    let body = text.trim_end_matches('\n');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 if !body.is_empty() => {}
        _ => out.push('+'),
    }
    let lines = text.strip_suffix('\n').unwrap_or(text);
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, columns);
            out.push_str(line);
        }
    }
}

fn write_double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02X}"),
                    0x100..=0xffff => write!(out, "\\u{code:04X}"),
                    _ => write!(out, "\\U{code:08X}"),
                };
            }
        }
    }
    out.push('"');
}

/// Order of keys: runs of digits by value, letters after everything else.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (a_chars, b_chars): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let common = a_chars.iter().zip(&b_chars).take_while(|(x, y)| x == y).count();
    let (Some(&x), Some(&y)) = (a_chars.get(common), b_chars.get(common)) else {
        return a_chars.len().cmp(&b_chars.len());
    };
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero counts as a digit of the number that it stands in, else it is nothing.
    let in_number = a_chars
        .get(..common)
        .is_some_and(|head| head.iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0'));
    let start = u128::from(in_number && (x == '0' || y == '0'));
    let number = |chars: &[char]| -> (u128, usize) {
        let digits = chars.iter().skip(common).map_while(|c| c.to_digit(10));
        digits.fold((start, 0), |(n, len), d| (n.saturating_mul(10).saturating_add(u128::from(d)), len + 1))
    };
    let ((a_number, a_len), (b_number, b_len)) = (number(&a_chars), number(&b_chars));
    a_number.cmp(&b_number).then(a_len.cmp(&b_len)).then(x.cmp(&y))
}
