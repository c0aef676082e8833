//! Switches, numbers and times, in the notations of Go.

use super::ParseError;
use crate::{Dscp, Span};

pub(super) fn boolean(raw: &str) -> Result<bool, ParseError> {
    match raw.to_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "t" => Ok(true),
        "false" | "0" | "no" | "n" | "f" => Ok(false),
        _ => Err(ParseError::Bool),
    }
}

pub(super) fn integer_within(raw: &str, min: i64, max: i64) -> Result<i64, ParseError> {
    let value = integer(raw).ok_or(ParseError::Integer)?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(ParseError::Range { min, max }) }
}

/// A signed number as Go's source writes it: decimal, `0x`, `0o` or a leading 0, `0b`, digits grouped by underscores.
fn integer(raw: &str) -> Option<i64> {
    let (negative, digits) = match raw.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, raw.strip_prefix('+').unwrap_or(raw)),
    };
    let magnitude = i128::from(unsigned(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn unsigned(raw: &str) -> Option<u64> {
    let lower = raw.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    // An underscore stands between digits, or between the prefix and the first of them.
    let digits = if radix == 10 { digits } else { digits.strip_prefix('_').unwrap_or(digits) };
    let grouped =
        digits.split('_').all(|group| !group.is_empty() && group.chars().all(|c| c.is_digit(radix)));
    if !grouped {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

/// A number of units of so many nanoseconds, cut off below the nanosecond.
pub(super) fn time(raw: &str, nanoseconds: f64) -> Result<Span, ParseError> {
    let number = raw.parse::<f64>().map_err(|_| ParseError::Number)? * nanoseconds;
    if number.is_finite() && number.abs() < 9.2e18 {
        Ok(Span(number as i64))
    } else {
        Err(ParseError::Number)
    }
}

pub(super) fn mark(raw: &str) -> Result<u32, ParseError> {
    let bits = unsigned(raw).and_then(|value| u32::try_from(value).ok()).ok_or(ParseError::Mark)?;
    if bits.count_ones() >= 2 { Ok(bits) } else { Err(ParseError::Mark) }
}

/// Names of code points and their numbers.
const CODE_POINTS: [(&str, u8); 21] = [
    ("DF", 0),
    ("EF", 46),
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
    ("CS0", 0),
    ("CS1", 8),
    ("CS2", 16),
    ("CS3", 24),
    ("CS4", 32),
    ("CS5", 40),
    ("CS6", 48),
];

pub(super) fn dscp(raw: &str) -> Result<Dscp, ParseError> {
    if !raw.is_empty() && raw.bytes().all(|b| b.is_ascii_digit()) {
        return raw.parse().ok().filter(|number| *number < 64).map(Dscp::Number).ok_or(ParseError::Dscp);
    }
    CODE_POINTS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(raw.trim()))
        .map(|(name, number)| Dscp::Named(name, *number))
        .ok_or(ParseError::Dscp)
}
