//! Suites `validator_v3` and `validator_crd`: judging objects, and filling in defaults.

use super::{Answer, error, only, skip, text};
use serde_json::Value;
use tortie_api::validate::{Options, as_stored, validate_value};

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    let Some(resource) = request.get("resource").filter(|r| !r.is_null()) else {
        return skip("a part of an object is judged only within the object");
    };
    match text(request, "op") {
        "validate" => {
            let schema = request.get("crd_schema").and_then(Value::as_bool).unwrap_or(false);
            let problems = validate_value(resource, Options { schema, client: false });
            if problems.is_empty() { Answer::new() } else { error(describe(resource, &problems)) }
        }
        "default" => only("resource", as_stored(resource)),
        other => skip(format!("op {other:?} is not known")),
    }
}

fn describe(resource: &Value, problems: &[impl ToString]) -> String {
    let name = resource.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("{} {name}: {}", text(resource, "kind"), list.join("; "))
}
