//! Suite `app_policy_http`: methods and paths of requests.

use super::{Answer, error, only, skip, text};
use serde_json::Value;
use tortie_policy::http::{PathRule, matches_method, matches_path, normalize_path};

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    let list = |field: &str| request.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let optional = |field: &str| request.get(field).and_then(Value::as_str);
    match text(request, "op") {
        "http_method" => {
            let methods = list("methods").iter().filter_map(Value::as_str);
            only("match", matches_method(methods, optional("request_method")))
        }
        "http_path" => {
            let paths: Vec<PathRule<'_>> = list("paths").iter().filter_map(path_rule).collect();
            match matches_path(&paths, optional("request_path")) {
                Ok(matched) => only("match", matched),
                Err(e) => error(e.to_string()),
            }
        }
        "normalize_path" => only("normalized", normalize_path(text(request, "path"))),
        other => skip(format!("op {other:?} is not known")),
    }
}

fn path_rule(rule: &Value) -> Option<PathRule<'_>> {
    let exact = rule.get("exact").and_then(Value::as_str).map(PathRule::Exact);
    exact.or_else(|| rule.get("prefix").and_then(Value::as_str).map(PathRule::Prefix))
}
