//! Durations as Go writes them: `1m30s`, `250ms`, `1.5h`.

/// Text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: write numbers with units, as 90s, 1m30s or 250ms")]
pub struct DurationParseError {
    /// The text as given.
    pub text: String,
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds of a duration.
pub fn parse(text: &str) -> Result<i64, DurationParseError> {
    parse_nanoseconds(text).ok_or_else(|| DurationParseError { text: text.to_owned() })
}

fn parse_nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let scale = i128::from(UNITS.iter().find(|(name, _)| *name == unit)?.1);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digits = |t: &str| if t.is_empty() { Some(0) } else { t.parse::<i128>().ok() };
        let fraction = fraction.get(..fraction.len().min(18))?;
        let fraction_scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        total = total
            .checked_add(digits(whole)?.checked_mul(scale)?)?
            .checked_add(digits(fraction)?.checked_mul(scale)? / fraction_scale)?;
        rest = after;
    }
    i64::try_from(sign * total).ok()
}

/// The text of a number of nanoseconds.
pub fn to_text(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let n = nanoseconds.unsigned_abs();
    let decimal = |value: u64, scale: u64| {
        let (whole, fraction) = (value / scale, value % scale);
        if fraction == 0 {
            return whole.to_string();
        }
        let width = scale.to_string().len() - 1;
        let fraction = format!("{fraction:0width$}");
        format!("{whole}.{}", fraction.trim_end_matches('0'))
    };
    let text = match n {
        0 => "0s".to_owned(),
        1..=999 => format!("{n}ns"),
        1_000..=999_999 => format!("{}µs", decimal(n, 1_000)),
        1_000_000..=999_999_999 => format!("{}ms", decimal(n, 1_000_000)),
        _ => {
            let (minutes, seconds) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = decimal(seconds, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts() {
        for (text, nanoseconds, canonical) in [
            ("90s", 90_000_000_000, "1m30s"),
            ("1h", 3_600_000_000_000, "1h0m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("250ms", 250_000_000, "250ms"),
            ("1us", 1_000, "1µs"),
            (".5m", 30_000_000_000, "30s"),
            ("-2m", -120_000_000_000, "-2m0s"),
            ("0", 0, "0s"),
            ("1h1m1.001s", 3_661_001_000_000, "1h1m1.001s"),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
            assert_eq!(to_text(nanoseconds), canonical);
        }
        for bad in ["", "90", "s", "1d", "1 s", "-", "1s2", "..s", "999999999999h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printed_text_reads_back(n in any::<i64>()) {
            prop_assume!(n != i64::MIN);
            prop_assert_eq!(parse(&to_text(n)), Ok(n));
        }
    }
}
