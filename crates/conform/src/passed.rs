//! Objects that are passed on whole, in the form in which Calico writes them: what was a number in quotes is a number.

use serde_json::Value;
use tortie_api::canonical::canonical;
use tortie_api::v3::API_VERSION;

/// The object as Calico would write it; as it is if it cannot be read.
pub(super) fn passed(kind: &str, object: &Value) -> Value {
    let mut whole = object.clone();
    let Value::Object(fields) = &mut whole else { return whole };
    let added: Vec<&str> = [("kind", kind), ("apiVersion", API_VERSION)]
        .into_iter()
        .filter(|(name, text)| {
            let missing = !fields.contains_key(*name);
            if missing {
                fields.insert((*name).to_owned(), (*text).into());
            }
            missing
        })
        .map(|(name, _)| name)
        .collect();
    let mut written = canonical(whole).unwrap_or_else(|_| object.clone());
    if let Value::Object(fields) = &mut written {
        fields.retain(|name, _| !added.contains(&name.as_str()));
    }
    numbers(&mut written);
    written
}

/// Protocols and numbers of autonomous systems can be written as texts.
fn numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let number = match (name.as_str(), &*value) {
                    ("protocol" | "notProtocol", Value::String(text)) => digits(text).filter(|n| *n < 256),
                    ("asNumber", Value::String(text)) => as_number(text),
                    _ => None,
                };
                match number {
                    Some(number) => *value = number.into(),
                    None => numbers(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(numbers),
        _ => {}
    }
}

fn digits(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// `65000`, or its halves: `1.10`.
fn as_number(text: &str) -> Option<u32> {
    let half = |text: &str| digits(text).filter(|n| *n < 1 << 16);
    match text.split_once('.') {
        Some((high, low)) => Some((half(high)? << 16) | half(low)?),
        None => digits(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_in_quotes_are_numbers() {
        for (kind, object, pointer, want) in [
            (
                "Profile",
                json!({"metadata": {"name": "p"}, "spec": {"egress": [{"action": "Deny", "protocol": "17"}]}}),
                "/spec/egress/0/protocol",
                json!(17),
            ),
            (
                "Profile",
                json!({"metadata": {}, "spec": {"ingress": [{"action": "Deny", "protocol": "TCP",
                    "destination": {"ports": ["80", "90:90", "1:2"]}}]}}),
                "/spec/ingress/0/destination/ports",
                json!([80, 90, "1:2"]),
            ),
            (
                "Node",
                json!({"metadata": {"name": "n"}, "spec": {"bgp": {"asNumber": "1.2"}}}),
                "/spec/bgp/asNumber",
                json!(65538),
            ),
            (
                "Node",
                json!({"metadata": {"name": "n"}, "spec": {"bgp": {"asNumber": "x"}}}),
                "/spec/bgp/asNumber",
                json!("x"),
            ),
            (
                "FelixConfiguration",
                json!({"metadata": {"name": "f"}, "spec": {"xdpRefreshInterval": "90s"}}),
                "/spec/xdpRefreshInterval",
                json!("1m30s"),
            ),
        ] {
            let written = passed(kind, &object);
            assert_eq!(written.pointer(pointer), Some(&want), "{object}");
            assert_eq!(written.get("kind"), None, "{object}");
        }
        assert_eq!(passed("Node", &json!(1)), json!(1));
    }
}
