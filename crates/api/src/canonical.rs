//! The form in which Calico writes an object: order of fields, no empty ones, whole numbers without a fraction.

use crate::{duration, v3};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Brings an object into Calico's form. Fails if a field has the wrong type.
pub fn canonical(object: Value) -> Result<Value, serde_json::Error> {
    let object = without_nulls(object);
    let kind = object["kind"].as_str().unwrap_or("").to_owned();
    let typed = match kind.as_str() {
        "NetworkPolicy" => round::<v3::NetworkPolicy>(object)?,
        "GlobalNetworkPolicy" => round::<v3::GlobalNetworkPolicy>(object)?,
        "StagedNetworkPolicy" => round::<v3::StagedNetworkPolicy>(object)?,
        "StagedGlobalNetworkPolicy" => round::<v3::StagedGlobalNetworkPolicy>(object)?,
        "StagedKubernetesNetworkPolicy" => round::<v3::StagedKubernetesNetworkPolicy>(object)?,
        "Tier" => round::<v3::Tier>(object)?,
        "NetworkSet" => round::<v3::NetworkSet>(object)?,
        "GlobalNetworkSet" => round::<v3::GlobalNetworkSet>(object)?,
        "Profile" => round::<v3::Profile>(object)?,
        "IPPool" => round::<v3::IpPool>(object)?,
        "IPReservation" => round::<v3::IpReservation>(object)?,
        "IPAMConfiguration" => round::<v3::IpamConfiguration>(object)?,
        "HostEndpoint" => round::<v3::HostEndpoint>(object)?,
        "WorkloadEndpoint" => round::<v3::WorkloadEndpoint>(object)?,
        "BGPConfiguration" => round::<v3::BgpConfiguration>(object)?,
        "BGPPeer" => round::<v3::BgpPeer>(object)?,
        "BGPFilter" => round::<v3::BgpFilter>(object)?,
        "Node" => round::<v3::Node>(object)?,
        _ => round::<v3::FelixConfiguration>(object)?,
    };
    let typed = match kind.as_str() {
        "FelixConfiguration" | "KubeControllersConfiguration" | "BGPConfiguration" | "BGPPeer" => {
            durations(typed)
        }
        _ => typed,
    };
    let Value::Object(mut fields) = whole_numbers(typed) else { return Ok(Value::Null) };
    always_written(&kind, &mut fields);
    let mut ordered = Map::new();
    for key in ["kind", "apiVersion", "metadata", "spec"] {
        if let Some(value) = fields.shift_remove(key) {
            ordered.insert(key.to_owned(), value);
        }
    }
    ordered.append(&mut fields);
    Ok(ordered.into())
}

/// Fields that Calico writes also when they are empty.
fn always_written(kind: &str, fields: &mut Map<String, Value>) {
    let empty = || Value::Object(Map::new());
    let spec = fields.entry("spec").or_insert_with(empty);
    if let Some(spec) = spec.as_object_mut() {
        let (name, value) = match kind {
            "FelixConfiguration" => ("bpfLogLevel", "".into()),
            "KubeControllersConfiguration" => ("controllers", empty()),
            "StagedKubernetesNetworkPolicy" => ("podSelector", empty()),
            _ => ("", Value::Null),
        };
        if !name.is_empty() {
            spec.entry(name).or_insert(value);
        }
    }
    match kind {
        "Tier" | "Node" | "KubeControllersConfiguration" => {
            fields.entry("status").or_insert_with(empty);
        }
        "CalicoNodeStatus" => {
            let status = fields.entry("status").or_insert_with(empty);
            merge_missing(status, &no_node_status());
        }
        _ => {}
    }
}

/// The status of a node of which nothing was told yet.
fn no_node_status() -> Value {
    json!({
        "lastUpdated": null,
        "agent": {"birdV4": {}, "birdV6": {}},
        "bgp": {
            "numberEstablishedV4": 0,
            "numberNotEstablishedV4": 0,
            "numberEstablishedV6": 0,
            "numberNotEstablishedV6": 0,
        },
        "routes": {},
    })
}

/// Fills in the members that an object lacks, in it and in the objects below.
fn merge_missing(object: &mut Value, template: &Value) {
    let (Some(object), Some(template)) = (object.as_object_mut(), template.as_object()) else { return };
    let mut rest = std::mem::take(object);
    for (name, value) in template {
        let mut own = rest.shift_remove(name).unwrap_or_else(|| value.clone());
        merge_missing(&mut own, value);
        object.insert(name.clone(), own);
    }
    object.append(&mut rest);
}

fn round<T: DeserializeOwned + Serialize>(object: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(object)?)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k, without_nulls(v)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        leaf => leaf,
    }
}

/// `125s` is written as `2m5s`, as Go does. Timeouts of conntrack are text that only looks like it.
fn durations(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let fold = |(key, value): (String, Value)| match key.as_str() {
                "bpfConntrackTimeouts" | "metadata" => (key, value),
                _ => (key, durations(value)),
            };
            map.into_iter().map(fold).collect::<Map<_, _>>().into()
        }
        Value::String(text) => {
            let is_duration =
                text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(['s', 'm', 'h']);
            match duration::parse(&text) {
                Ok(nanoseconds) if is_duration => duration::to_text(nanoseconds).into(),
                _ => text.into(),
            }
        }
        other => other,
    }
}

/// `1000.0` is written as `1000`, as Go does up to 10^21.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().map(|(k, v)| (k, whole_numbers(v))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                Value::from(float as i64)
            }
            _ => Value::Number(number),
        },
        leaf => leaf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_go_and_fields_stand_in_order() {
        let policy = json!({
            "spec": {"order": 1000.0, "selector": "", "ingress": [{"action": "Allow", "source": {}, "protocol": null}]},
            "metadata": {"labels": {}, "namespace": "a", "name": "p"},
            "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        });
        let expected = r#"{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","namespace":"a"},"spec":{"order":1000,"ingress":[{"action":"Allow"}]}}"#;
        assert_eq!(canonical(policy).unwrap().to_string(), expected);
    }

    #[test]
    fn durations_are_as_go_writes_them() {
        let felix = json!({
            "kind": "FelixConfiguration", "metadata": {"name": "default"},
            "spec": {"netlinkTimeout": "125s", "interfacePrefix": "cali", "bpfConntrackTimeouts": {"tcpEstablished": "90s"}},
        });
        let expected = json!({
            "bpfLogLevel": "", "netlinkTimeout": "2m5s", "interfacePrefix": "cali", "bpfConntrackTimeouts": {"tcpEstablished": "90s"},
        });
        assert_eq!(canonical(felix).unwrap()["spec"], expected);
    }

    #[test]
    fn some_fields_are_written_empty() {
        let of = |kind: &str, rest: Value| {
            let mut object = json!({"kind": kind, "metadata": {"name": "default"}, "spec": {}});
            merge_missing(&mut object, &rest);
            canonical(object).unwrap()
        };
        assert_eq!(of("Tier", json!({}))["status"], json!({}));
        assert_eq!(of("IPPool", json!({})).get("status"), None);
        assert_eq!(of("KubeControllersConfiguration", json!({}))["spec"], json!({"controllers": {}}));
        let status = of("CalicoNodeStatus", json!({"status": {"routes": {"routesV4": []}}}));
        assert_eq!(status["status"]["bgp"]["numberEstablishedV6"], json!(0));
        assert_eq!(status["status"]["routes"], json!({"routesV4": []}));
        assert!(status["status"]["lastUpdated"].is_null());
    }

    #[test]
    fn fractions_stay() {
        let tier = json!({"kind": "Tier", "metadata": {"name": "t"}, "spec": {"order": 10.5}});
        assert_eq!(canonical(tier).unwrap()["spec"]["order"], json!(10.5));
    }
}
