//! Forms of text: names, hosts, rates, regular expressions.

use super::ParseError;
use crate::TextForm;

/// Calico's name for a region's namespace is a DNS label of at most 63 characters; this is what its prefix leaves.
const REGION_MAX: usize = 63 - "openstack-region-".len();

pub(super) fn has_form(form: TextForm, text: &str) -> bool {
    match form {
        TextForm::Line => !text.contains('\n'),
        TextForm::Authority => text.split_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains('/')
                && !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
        }),
        TextForm::Hostname => of(text, usize::MAX, "_.-"),
        TextForm::HostAddress => of(text, 64, ":._+-"),
        TextForm::InterfacePrefixes => text.split(',').all(|name| of(name, 15, "_-")),
        TextForm::InterfaceFilter => is_interface_filter(text),
        TextForm::Rate => text.is_empty() || is_rate(text),
        TextForm::Region => is_region(text),
    }
}

/// One to `max` letters, digits and `others`.
fn of(text: &str, max: usize, others: &str) -> bool {
    (1..=max).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

pub(super) fn is_interface(text: &str) -> bool {
    of(text, 15, "_.-")
}

pub(super) fn is_interface_filter(text: &str) -> bool {
    of(text, 15, ":._+-")
}

fn is_rate(text: &str) -> bool {
    text.split_once('/').is_some_and(|(number, unit)| {
        of(number, 4, "")
            && number.bytes().all(|b| b.is_ascii_digit())
            && !number.starts_with('0')
            && matches!(unit, "second" | "minute" | "hour" | "day")
    })
}

fn is_region(text: &str) -> bool {
    of(text, REGION_MAX, "-")
        && !text.bytes().any(|b| b.is_ascii_uppercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn check_pattern(text: &str) -> Result<(), ParseError> {
    tortie_api::validate::check_pattern(text).map_err(ParseError::Pattern)
}

/// Regular expressions for a list of names and of regular expressions between slashes. A comma always separates.
pub(super) fn interface_patterns(raw: &str) -> Result<Vec<String>, ParseError> {
    raw.split(',')
        .map(|element| {
            let between = element.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
            if let Some(pattern) = between.filter(|pattern| !pattern.is_empty()) {
                if pattern.contains([' ', '\t', '\n', '\r', '\u{c}']) {
                    return Err(ParseError::Interface(element.to_owned()));
                }
                check_pattern(pattern)?;
                return Ok(pattern.to_owned());
            }
            if of(element, 15, "_-") {
                return Ok(format!("^{element}$"));
            }
            Err(ParseError::Interface(element.to_owned()))
        })
        .collect()
}
