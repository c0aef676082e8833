//! Times as Kubernetes and Calico write them: RFC 3339, whole seconds, UTC.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z. Text form `2026-01-31T23:59:59Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Text that is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time, as 2026-01-31T23:59:59Z")]
pub struct TimestampParseError {
    /// The text as given.
    pub text: String,
}

const DAY: i64 = 86_400;

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
///
/// Counts whole 400-year cycles of 146,097 days, with years that begin on 1 March so that the leap day is the last.
fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let year_of_cycle = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    cycle * 146_097 + day_of_cycle - 719_468
}

/// The inverse of [`days_from_date`].
fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let cycle = days.div_euclid(146_097);
    let day_of_cycle = days.rem_euclid(146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

impl Timestamp {
    /// Seconds from `earlier` to this time; negative if `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_secs()).unwrap_or(i64::MAX)),
            Err(before) => Self(-i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_secs(time.0.unsigned_abs());
        if time.0 >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_from_days(self.0.div_euclid(DAY));
        let second = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Takes `width` digits off the front of `text`.
fn digits(text: &mut &str, width: usize) -> Option<i64> {
    let head = text.get(..width).filter(|h| h.bytes().all(|b| b.is_ascii_digit()))?;
    *text = &text[width..];
    head.parse().ok()
}

/// Takes one character of `wanted` off the front of `text`.
fn mark(text: &mut &str, wanted: &[char]) -> Option<char> {
    let first = text.chars().next().filter(|c| wanted.contains(c))?;
    *text = &text[first.len_utf8()..];
    Some(first)
}

fn parse(mut text: &str) -> Option<Timestamp> {
    let t = &mut text;
    let year = digits(t, 4)?;
    mark(t, &['-'])?;
    let month = digits(t, 2).filter(|m| (1..=12).contains(m))?;
    mark(t, &['-'])?;
    let day = digits(t, 2).filter(|d| (1..=31).contains(d))?;
    mark(t, &['T', 't'])?;
    let hour = digits(t, 2).filter(|h| *h < 24)?;
    mark(t, &[':'])?;
    let minute = digits(t, 2).filter(|m| *m < 60)?;
    mark(t, &[':'])?;
    let second = digits(t, 2).filter(|s| *s <= 60)?;
    if mark(t, &['.']).is_some() {
        let rest = t.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == t.len() {
            return None;
        }
        *t = rest;
    }
    let offset = match mark(t, &['Z', 'z', '+', '-'])? {
        'Z' | 'z' => 0,
        sign => {
            let hours = digits(t, 2).filter(|h| *h < 24)?;
            mark(t, &[':'])?;
            let minutes = digits(t, 2).filter(|m| *m < 60)?;
            (hours * 3600 + minutes * 60) * if sign == '-' { -1 } else { 1 }
        }
    };
    let days = days_from_date(year, month, day);
    let real_date = date_from_days(days) == (year, month, day);
    (t.is_empty() && real_date).then(|| Timestamp(days * DAY + hour * 3600 + minute * 60 + second - offset))
}

impl FromStr for Timestamp {
    type Err = TimestampParseError;

    fn from_str(text: &str) -> Result<Self, TimestampParseError> {
        parse(text).ok_or_else(|| TimestampParseError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        // Taken from `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_785_542_399, "2026-07-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp(seconds)));
        }
        assert_eq!("2026-07-31T23:59:59.999999Z".parse(), Ok(Timestamp(1_785_542_399)));
        assert_eq!("2026-08-01T01:59:59+02:00".parse(), Ok(Timestamp(1_785_542_399)));
        for bad in [
            "",
            "2026-07-31",
            "2026-02-30T00:00:00Z",
            "2026-07-31T23:59:59",
            "2026-07-31T24:00:00Z",
            "2026-07-31T23:59:59.Z",
            "é026-07-31T23:59:59Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(seconds in -62_167_219_200i64..253_402_300_799) {
            let time = Timestamp(seconds);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
