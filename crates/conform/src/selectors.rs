//! Suite `selectors`: parse, eval, restrictions, tokenize.

use super::{Answer, error, only, skip, text};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tortie_selector::{Selector, tokenize};

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    let source = text(request, "selector");
    if text(request, "op") == "tokenize" {
        return match tokenize(source) {
            Ok(tokens) => only(
                "tokens",
                tokens.iter().map(|t| json!([t.kind.name(), t.kind.value()])).collect::<Vec<_>>(),
            ),
            Err(e) => error(e.to_string()),
        };
    }
    let selector = match Selector::parse(source) {
        Ok(selector) => selector,
        Err(e) if matches!(text(request, "op"), "parse" | "eval" | "restrictions") => {
            return error(e.to_string());
        }
        Err(_) => Selector::all(),
    };
    match text(request, "op") {
        "parse" => {
            let mut fields = only("canonical", selector.canonical());
            fields.insert("uid".to_owned(), json!(selector.unique_id()));
            fields
        }
        "eval" => {
            let labels: BTreeMap<String, String> = request
                .get("labels")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
                .collect();
            only("match", selector.evaluate(&labels))
        }
        "restrictions" => {
            let restrictions: Map<String, Value> = selector
                .restrictions()
                .iter()
                .map(|(label, r)| {
                    let mut fields = only("MustBePresent", r.must_be_present);
                    fields.insert("MustBeAbsent".to_owned(), json!(r.must_be_absent));
                    if let Some(values) = &r.must_have_one_of {
                        fields.insert("MustHaveOneOfValues".to_owned(), json!(values));
                    }
                    (label.to_string(), Value::Object(fields))
                })
                .collect();
            only("restrictions", restrictions)
        }
        other => skip(format!("op {other:?} is not known")),
    }
}
