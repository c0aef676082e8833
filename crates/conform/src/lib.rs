//! `tortie debug conform <suite>`: answers questions about behaviour, one JSON object a line, so that it can be compared
//! with that of other implementations.
//!
//! Exactly one answer per request, in order; nothing else on stdout. A request that makes the code panic gets an error.

mod graph;
mod http;
mod ipam;
mod k8s;
mod keys;
mod passed;
mod processors;
mod selectors;
mod tagged;
mod validator;

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Answers one request; the `id` is put in by the caller.
type Suite = fn(&Value) -> Answer;

/// Fields of an answer.
pub(crate) type Answer = Map<String, Value>;

const SUITES: &[(&str, Suite)] = &[
    ("app_policy_http", http::answer),
    ("calc_graph", graph::answer),
    ("ipam", ipam::answer),
    ("k8s_conversion", k8s::answer),
    ("policy_semantics", policy_semantics),
    ("selectors", selectors::answer),
    ("trace_model_keys", keys::answer),
    ("trace_update_processors", processors::answer),
    ("validator_crd", validator::answer),
    ("validator_v3", validator::answer),
    ("felix_config", tortie_felix_config::conform::answer_config),
    ("felix_config_params", tortie_felix_config::conform::answer_params),
];

/// Runs a suite from `input` to `out` until the end of input.
pub fn run(suite: &str, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<ExitCode> {
    let Some((_, answer)) = SUITES.iter().find(|(name, _)| *name == suite) else {
        let names: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
        writeln!(std::io::stderr(), "error: no suite {suite:?}; there are {}", names.join(", "))?;
        return Ok(ExitCode::from(2));
    };
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let fields = match serde_json::from_str::<Value>(&line) {
            Ok(request) => {
                let mut fields = catch_unwind(AssertUnwindSafe(|| answer(&request))).unwrap_or_else(|_| {
                    error("this input is not handled: an internal error, please report it")
                });
                fields.insert("id".to_owned(), request.get("id").cloned().unwrap_or(Value::Null));
                fields
            }
            Err(e) => error(format!("the request is not JSON: {e}")),
        };
        serde_json::to_writer(&mut *out, &fields)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// An answer of one field.
pub(crate) fn only(name: &str, value: impl Into<Value>) -> Answer {
    [(name.to_owned(), value.into())].into_iter().collect()
}

/// The domain's "no".
pub(crate) fn error(message: impl Into<String>) -> Answer {
    only("error", message.into())
}

/// Not supported yet.
pub(crate) fn skip(why: impl Into<String>) -> Answer {
    only("skip", why.into())
}

/// A text field of a request; empty if absent.
pub(crate) fn text<'a>(request: &'a Value, field: &str) -> &'a str {
    request.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn policy_semantics(request: &Value) -> Answer {
    match tortie_policy::conform::policy_semantics(request.clone()) {
        Value::Object(fields) => fields,
        other => only("error", json!(other.to_string())),
    }
}

#[cfg(test)]
mod tests;
