//! Kubernetes' quantities: `10M`, `4Gi`, `1.5k`, `1e3`.

/// The whole number at or above a quantity, `None` if the text is none.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let number_len = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_len);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 15 {
        return None;
    }
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let (factor, exponent) = scale(suffix)?;
    let exponent = exponent - i32::try_from(fraction.len()).ok()?;
    let scaled = sign * mantissa.checked_mul(factor)?;
    let value = match u32::try_from(exponent) {
        Ok(exponent) => scaled.checked_mul(10_i128.checked_pow(exponent)?)?,
        Err(_) => {
            let divisor = 10_i128.checked_pow(exponent.unsigned_abs())?;
            // Round up.
            scaled.div_euclid(divisor) + i128::from(scaled.rem_euclid(divisor) != 0)
        }
    };
    i64::try_from(value).ok()
}

/// A suffix as factor and power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|e: &i32| (-18..=18).contains(e))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, want) in [
            ("10", Some(10)),
            ("1k", Some(1000)),
            ("1.01k", Some(1010)),
            ("4Gi", Some(4 << 30)),
            ("1P", Some(1_000_000_000_000_000)),
            ("1e3", Some(1000)),
            ("1E2", Some(100)),
            ("1500m", Some(2)),
            ("0.5", Some(1)),
            ("-1500m", Some(-1)),
            (".5M", Some(500_000)),
            ("+5", Some(5)),
            ("", None),
            (".", None),
            ("k", None),
            ("1K", None),
            ("1.2.3", None),
            ("10Mbit", None),
            ("1e99", None),
            ("9999999E", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
