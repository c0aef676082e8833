//! What an API server does with an object before it is stored: defaults are filled in, what is wrong is refused.
//!
//! Whoever writes objects without an API server in between (the lab, scenarios, tests) goes through here, so that an
//! object means the same everywhere.

use crate::validate::{Options, Problem, coerce, prepare_for_create, validate_value};
use crate::{k8s, v3};
use serde_json::Value;

/// Fills in defaults; answers everything that is wrong. Kinds that are not known here pass.
pub fn admit(object: &mut Value) -> Vec<Problem> {
    let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version.split_once('/').is_some_and(|(group, _)| group == v3::GROUP) {
        coerce(object);
        prepare_for_create(object);
        return validate_value(object, Options::ALL);
    }
    k8s::validate::validate(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_are_filled_in_and_mistakes_refused() {
        let mut policy = json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "x"}, "spec": {"ingress": [{"action": "Deny"}]}});
        assert!(admit(&mut policy).is_empty());
        assert_eq!(policy["spec"]["types"], json!(["Ingress"]));
        for (field, value) in [("action", json!("allow")), ("protocol", json!("XCP"))] {
            let mut wrong = policy.clone();
            wrong["spec"]["ingress"][0][field] = value;
            assert!(!admit(&mut wrong).is_empty(), "{wrong}");
        }
        let mut unknown = json!({"apiVersion": "example.com/v1", "kind": "Thing"});
        assert!(admit(&mut unknown).is_empty());
    }
}
