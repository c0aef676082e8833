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
    let number = decimal(raw).or_else(|| hexadecimal(raw)).ok_or(ParseError::Number)? * nanoseconds;
    if number.is_finite() && number.abs() < 9.2e18 {
        Ok(Span(number as i64))
    } else {
        Err(ParseError::Number)
    }
}

/// Digits may be grouped by underscores.
fn decimal(raw: &str) -> Option<f64> {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let groups: Vec<&str> = raw.split('_').collect();
    let grouped = groups.windows(2).all(|pair| match pair {
        [before, after] => digit(before.chars().next_back()) && digit(after.chars().next()),
        _ => true,
    });
    if grouped { groups.concat().parse().ok() } else { None }
}

/// `0x1.8p3`: hexadecimal digits, times a power of two.
fn hexadecimal(raw: &str) -> Option<f64> {
    let (sign, digits) = match raw.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, raw.strip_prefix('+').unwrap_or(raw)),
    };
    let lower = digits.to_ascii_lowercase();
    let (mantissa, power) = lower.strip_prefix("0x")?.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let places = i32::try_from(fraction.len()).ok()?;
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()? as f64;
    Some(sign * digits * 2_f64.powi(power.parse::<i32>().ok()?.checked_sub(places.checked_mul(4)?)?))
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
