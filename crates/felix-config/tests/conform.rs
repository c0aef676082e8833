//! The shape of answers to questions about settings.

use serde_json::{Value, json};
use tortie_felix_config::conform::{answer_config, answer_params};

fn config(request: Value) -> Value {
    answer_config(&request).into()
}

#[test]
fn resolve_answers_values_beside_a_fatal_mistake() {
    let answer = config(
        json!({"op": "resolve", "params": ["ReportingIntervalSecs", "$KubernetesProvider"], "sources": [
        {"source": "datastore_global", "settings": {"ClusterType": "k8s,eks"}},
        {"source": "environment", "settings": {"reportingintervalsecs": "12"}}]}),
    );
    assert_eq!(answer, json!({"params": {"ReportingIntervalSecs": "12s", "$KubernetesProvider": "EKS"}}));
    let answer = config(json!({"op": "resolve", "params": ["TyphaK8sNamespace"], "sources": [
        {"source": "environment", "settings": {"TyphaK8sNamespace": "none"}}]}));
    assert_eq!(answer["params"], json!({"TyphaK8sNamespace": "kube-system"}));
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("TyphaK8sNamespace")));
}

#[test]
fn a_source_given_twice_counts_the_last_time() {
    let answer = config(json!({"op": "resolve", "params": ["VXLANPort", "VXLANVNI"], "sources": [
        {"source": "file", "settings": {"VXLANPort": "1"}},
        {"source": "file", "settings": {"VXLANVNI": "2"}}]}));
    assert_eq!(answer, json!({"params": {"VXLANPort": 4789, "VXLANVNI": 2}}));
}

#[test]
fn validate_environment_file_and_parse() {
    let sources = |name: &str, raw: &str| json!([{"source": "file", "settings": {name: raw}}]);
    assert_eq!(config(json!({"op": "validate", "sources": []})), json!({}));
    let wrong = config(json!({"op": "validate", "sources": sources("TyphaKeyFile", "/usr")}));
    assert!(wrong["error"].is_string());
    let wrong = config(json!({"op": "validate", "sources": sources("RouteTableRange", "1-255")}));
    assert!(wrong["error"].is_string());
    assert_eq!(
        config(json!({"op": "environment", "environ": ["FeLIX_A=b=c", "foobar"]})),
        json!({"settings": {"a": "b=c"}})
    );
    assert_eq!(config(json!({"op": "file", "content": "[x]\nA=b"})), json!({"settings": {"A": "b"}}));
    assert!(config(json!({"op": "file", "content": "[x"}))["error"].is_string());
    for (kind, raw, expected) in [
        (
            "endpoint-list",
            ",http://etcd:1234,,http://etcd2:2345,",
            json!(["http://etcd:1234/", "http://etcd2:2345/"]),
        ),
        ("endpoint-list", "", json!([])),
        ("cidr-list", "1.1.1.1/24, 2.2.2.2", json!(["1.1.1.0/24", "2.2.2.2/32"])),
        ("key-value-list", "  ", json!({})),
        ("ipv4", "10.1.1.2", json!("10.1.1.2")),
        ("ipv6", "aabc::1111", json!("aabc::1111")),
        ("interface-list", "docker0,br-7ec0145f6b33", json!(["docker0", "br-7ec0145f6b33"])),
        ("interface-pattern-list", "docker+", json!(["docker+"])),
    ] {
        assert_eq!(
            config(json!({"op": "parse", "type": kind, "raw": raw})),
            json!({"value": expected}),
            "{kind}"
        );
    }
    for (kind, raw) in
        [("ipv4", " "), ("ipv4", "aabc::1111"), ("ipv6", "10.1.1.2"), ("interface-list", "docker+")]
    {
        assert!(
            config(json!({"op": "parse", "type": kind, "raw": raw}))["error"].is_string(),
            "{kind} {raw}"
        );
    }
    assert!(config(json!({"op": "dance"}))["skip"].is_string());
}

#[test]
fn describe_tells_the_table() {
    let answer: Value = answer_params(&json!({"op": "describe", "name": "IptablesMarkMask"})).into();
    assert_eq!(
        answer,
        json!({"env": "FELIX_IptablesMarkMask", "yaml": "iptablesMarkMask", "default": "0xffff0000",
            "parsed_default": "4294901760", "required": true, "on_parse_failure": "Exit", "sources": "All"})
    );
    let answer: Value = answer_params(&json!({"op": "describe", "name": "EtcdEndpoints"})).into();
    assert_eq!((&answer["parsed_default"], &answer["sources"]), (&json!("null"), &json!("LocalOnly")));
    assert!(answer_params(&json!({"op": "describe", "name": "Nothing"})).contains_key("error"));
}
