//! What a plain scalar means: YAML 1.1 as Go's YAML library, and with it kubectl, resolves it.
//!
//! Must not see quoted scalars: those are text.

use serde_json::{Number, Value};

/// The meaning of a plain scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A date or time; text in JSON, but it would not be plain text for every reader.
    Timestamp,
    /// The key of a merge.
    Merge,
    Text,
}

/// Resolves the text of a plain scalar.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        "<<" => Scalar::Merge,
        _ => match text.as_bytes().first() {
            Some(b'.') if float_shape(text) => float(text),
            Some(b'+' | b'-' | b'0'..=b'9') => number(text),
            _ => Scalar::Text,
        },
    }
}

fn number(text: &str) -> Scalar {
    if is_timestamp(text) {
        return Scalar::Timestamp;
    }
    let plain = text.replace('_', "");
    if let Some(n) = integer(&plain) {
        return n;
    }
    if float_shape(&plain) { float(&plain) } else { Scalar::Text }
}

/// A float, or text if it is too large for one.
fn float(text: &str) -> Scalar {
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() => Scalar::Float(float),
        _ => Scalar::Text,
    }
}

/// Go's integers with their base in front: `0x`, `0o`, `0b`, and a leading zero for octal.
fn integer(plain: &str) -> Option<Scalar> {
    let (sign, digits) = match plain.as_bytes().first()? {
        b'-' => (Some('-'), plain.get(1..)?),
        b'+' => (Some('+'), plain.get(1..)?),
        _ => (None, plain),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match (sign, i64::try_from(magnitude)) {
        (Some('-'), Ok(n)) => Some(Scalar::Int(-n)),
        (Some('-'), Err(_)) if magnitude == 1 << 63 => Some(Scalar::Int(i64::MIN)),
        (_, Ok(n)) => Some(Scalar::Int(n)),
        (None, Err(_)) => Some(Scalar::Uint(magnitude)),
        _ => None,
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float_shape(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

/// `2006-1-2`, alone or followed by `T`, `t` or a space and a time.
fn is_timestamp(text: &str) -> bool {
    let in_range = |t: &str, max_len: usize, low: u32, high: u32| {
        !t.is_empty() && t.len() <= max_len && t.parse().is_ok_and(|n: u32| (low..=high).contains(&n))
    };
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    if year.len() != 4
        || !in_range(year, 4, 0, 9999)
        || !in_range(month, 2, 1, 12)
        || !in_range(day, 2, 1, 31)
    {
        return false;
    }
    let Some(time) = time else { return true };
    let clock = if text.contains(' ') {
        time
    } else if let Some(clock) = time.strip_suffix('Z') {
        clock
    } else {
        let Some((clock, zone)) = time.rsplit_once(['+', '-']) else { return false };
        let zone_ok =
            zone.split_once(':').is_some_and(|(h, m)| in_range(h, 2, 0, 24) && in_range(m, 2, 0, 59));
        if !zone_ok {
            return false;
        }
        clock
    };
    let mut parts = clock.split(':');
    let (Some(hour), Some(minute), Some(second), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let whole = second.split_once('.').map_or(second, |(whole, _)| whole);
    in_range(hour, 2, 0, 23) && in_range(minute, 2, 0, 59) && in_range(whole, 2, 0, 59)
}

/// A float as Go prints it: with an exponent below 1e-4 and from 1e6 on.
pub(super) fn float_text(float: f64) -> String {
    go_text(float, format!("{float}"), format!("{float:e}"))
}

/// The key that a float is turned into: Go keeps it in 32 bits only.
pub(super) fn float_key(float: f64) -> String {
    let float32 = float as f32;
    go_text(float, format!("{float32}"), format!("{float32:e}"))
}

fn go_text(float: f64, plain: String, scientific: String) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    if float == 0.0 || exponent.parse().is_ok_and(|e: i32| (-4..6).contains(&e)) {
        return plain;
    }
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A number as Go writes it into JSON: a whole float without its point. `None` for what JSON cannot hold.
pub(super) fn float_value(float: f64) -> Option<Value> {
    let whole = if float.trunc() == float { format!("{float}").parse::<i64>().ok() } else { None };
    match whole {
        Some(whole) => Some(Value::from(whole)),
        None => Number::from_f64(float).map(Value::Number),
    }
}
