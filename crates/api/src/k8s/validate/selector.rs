//! Labels and selectors of labels.

use super::{NOTHING, Report, describe, form};
use serde_json::Value;

/// Labels with their values, of an object or of `matchLabels`.
pub(super) fn labels(path: &str, labels: Option<&Value>, report: &mut Report) {
    for (key, value) in report.object(path, labels).unwrap_or(&NOTHING) {
        let path = format!("{path}[{key}]");
        report.form(&path, key, form::label_key);
        match value {
            Value::Null => {}
            Value::String(text) => report.form(&path, text, form::label_value),
            other => {
                report.say(&path, format!("is {}; put it in quotes to make it text", describe(other)));
            }
        }
    }
}

/// A selector; absent is fine.
pub(super) fn check(path: &str, selector: Option<&Value>, report: &mut Report) {
    let Some(selector) = report.object(path, selector) else { return };
    report.only(path, selector, &["matchLabels", "matchExpressions"]);
    labels(&format!("{path}.matchLabels"), selector.get("matchLabels"), report);
    let path = format!("{path}.matchExpressions");
    for (i, expression) in report.list(&path, selector.get("matchExpressions")).iter().enumerate() {
        self::expression(&format!("{path}[{i}]"), expression, report);
    }
}

fn expression(path: &str, expression: &Value, report: &mut Report) {
    let before = report.problems.len();
    let expression = report.element(path, expression);
    report.only(path, expression, &["key", "operator", "values"]);
    let key = report.text(&format!("{path}.key"), expression.get("key")).unwrap_or("");
    let operator = report.text(&format!("{path}.operator"), expression.get("operator")).unwrap_or("");
    let of_values = format!("{path}.values");
    let values = report.list(&of_values, expression.get("values"));
    for (i, value) in values.iter().enumerate() {
        let path = format!("{of_values}[{i}]");
        if let Some(text) = report.text(&path, Some(value)) {
            report.form(&path, text, form::label_value);
        }
    }
    if report.problems.len() > before {
        return;
    }
    report.form(&format!("{path}.key"), key, form::label_key);
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            report.say(&of_values, format!("{operator} needs at least one value"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            report
                .say(&of_values, format!("{operator} takes no values; leave them out or write In or NotIn"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => report.say(
            &format!("{path}.operator"),
            format!("{operator:?} is no operator; write one of In, NotIn, Exists, DoesNotExist"),
        ),
    }
}
