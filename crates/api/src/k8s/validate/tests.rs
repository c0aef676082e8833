//! What an API server accepts and refuses, as tables.

use super::validate;
use serde_json::{Value, json};

/// The paths of the problems, each once.
fn paths(object: &Value) -> Vec<String> {
    let mut paths: Vec<String> = validate(object).into_iter().map(|problem| problem.path).collect();
    paths.dedup();
    paths
}

fn object(version: &str, kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "y"}, "spec": spec})
}

fn judge_spec(spec: &Value, expected: &[&str]) {
    let policy = object("networking.k8s.io/v1", "NetworkPolicy", spec);
    assert_eq!(paths(&policy), expected, "{policy}: {:?}", validate(&policy));
}

fn judge_peer(peer: &Value, expected: &[&str]) {
    for (direction, side) in [("ingress", "from"), ("egress", "to")] {
        let expected: Vec<String> =
            expected.iter().map(|path| format!("spec.{direction}[0].{side}[0]{path}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        judge_spec(&json!({"podSelector": {}, direction: [{side: [peer]}]}), &expected);
    }
}

fn judge_port(port: &Value, expected: &[&str]) {
    let expected: Vec<String> =
        expected.iter().map(|path| format!("spec.egress[0].ports[0]{path}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    judge_spec(&json!({"podSelector": {}, "egress": [{"ports": [port]}]}), &expected);
}

#[test]
fn policies() {
    for spec in [
        json!({"podSelector": {}}),
        json!({"podSelector": null, "policyTypes": null, "ingress": null, "egress": null}),
        json!({"podSelector": {}, "policyTypes": [], "ingress": [], "egress": []}),
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [null]}),
        json!({"podSelector": {}, "policyTypes": ["Egress", "Egress"]}),
        json!({"podSelector": {}, "ingress": [{"from": [], "ports": []}, {"from": null, "ports": null}]}),
    ] {
        judge_spec(&spec, &[]);
    }
    for (spec, path) in [
        (json!([]), "spec"),
        (json!({"podSelector": []}), "spec.podSelector"),
        (json!({"podSelector": {"app": "web"}}), "spec.podSelector.app"),
        (json!({"podSelector": {}, "policyTypes": ["ingress"]}), "spec.policyTypes[0]"),
        (json!({"podSelector": {}, "policyTypes": ["Egress", null]}), "spec.policyTypes[1]"),
        (json!({"podSelector": {}, "policyTypes": "Egress"}), "spec.policyTypes"),
        (json!({"podSelector": {}, "policyTypes": ["Egress", "Egress", "Ingress"]}), "spec.policyTypes"),
        (json!({"podSelector": {}, "Ingress": []}), "spec.Ingress"),
        (json!({"podSelector": {}, "ingress": {}}), "spec.ingress"),
        (json!({"podSelector": {}, "ingress": ["x"]}), "spec.ingress[0]"),
        (json!({"podSelector": {}, "ingress": [{"to": []}]}), "spec.ingress[0].to"),
        (json!({"podSelector": {}, "egress": [{"from": []}]}), "spec.egress[0].from"),
        (json!({"podSelector": {}, "ingress": [{"from": {}}]}), "spec.ingress[0].from"),
    ] {
        judge_spec(&spec, &[path]);
    }
}

#[test]
fn peers() {
    for peer in [
        json!({"podSelector": {}}),
        json!({"namespaceSelector": {}, "ipBlock": null}),
        json!({"podSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {}}),
        json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "1.2.3.4/32"]}}),
        json!({"ipBlock": {"cidr": "::/0", "except": ["fd00::/8"]}}),
        json!({"ipBlock": {"cidr": "10.1.2.3/8", "except": null}}),
        json!({"ipBlock": {"cidr": "010.0.0.0/08", "except": ["10.9.0.1/16"]}}),
    ] {
        judge_peer(&peer, &[]);
    }
    for (peer, path) in [
        (json!({}), ""),
        (json!(null), ""),
        (json!({"podSelector": null}), ""),
        (json!("x"), ""),
        (json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}), ".ipBlock"),
        (json!({"podSelector": {}, "namespaceselector": {}}), ".namespaceselector"),
        (json!({"ipBlock": {}}), ".ipBlock.cidr"),
        (json!({"ipBlock": []}), ".ipBlock"),
        (json!({"ipBlock": {"cidr": "10.0.0.1"}}), ".ipBlock.cidr"),
        (json!({"ipBlock": {"cidr": "10.0.0.0/33"}}), ".ipBlock.cidr"),
        (json!({"ipBlock": {"cidr": "10.0.0/8"}}), ".ipBlock.cidr"),
        (json!({"ipBlock": {"cidr": "fd00::/129"}}), ".ipBlock.cidr"),
        (json!({"ipBlock": {"cidr": "fd00::/+8"}}), ".ipBlock.cidr"),
        (json!({"ipBlock": {"cidr": 10}}), ".ipBlock.cidr"),
        (json!({"ipBlock": {"cidr": "10.0.0.0/8", "excpet": []}}), ".ipBlock.excpet"),
        (json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": "10.1.0.0/16"}}), ".ipBlock.except"),
        (json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}), ".ipBlock.except[0]"),
        (json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}), ".ipBlock.except[0]"),
        (json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/4"]}}), ".ipBlock.except[0]"),
        (json!({"ipBlock": {"cidr": "::/0", "except": ["10.0.0.0/8"]}}), ".ipBlock.except[0]"),
        (json!({"ipBlock": {"cidr": "fd00::/8", "except": ["10.1.0.0/16", "x"]}}), ".ipBlock.except[0]"),
    ] {
        match path {
            ".ipBlock.except[0]" if peer["ipBlock"]["except"][1] == "x" => {
                judge_peer(&peer, &[path, ".ipBlock.except[1]"]);
            }
            _ => judge_peer(&peer, &[path]),
        }
    }
}

#[test]
fn ports_of_rules() {
    for port in [
        json!({}),
        json!(null),
        json!({"protocol": "UDP"}),
        json!({"protocol": null, "port": null, "endPort": null}),
        json!({"port": 1}),
        json!({"port": 80.0}),
        json!({"port": 65535, "protocol": "SCTP"}),
        json!({"port": 80, "endPort": 80}),
        json!({"port": "http-8"}),
        json!({"port": "a23456789012345"}),
    ] {
        judge_port(&port, &[]);
    }
    for (port, path) in [
        (json!({"protocol": "tcp"}), ".protocol"),
        (json!({"protocol": ""}), ".protocol"),
        (json!({"protocol": "ICMP"}), ".protocol"),
        (json!({"protocol": 6}), ".protocol"),
        (json!({"port": 0}), ".port"),
        (json!({"port": -1}), ".port"),
        (json!({"port": 65536}), ".port"),
        (json!({"port": 80.5}), ".port"),
        (json!({"port": u64::MAX}), ".port"),
        (json!({"port": [80]}), ".port"),
        (json!({"port": "80"}), ".port"),
        (json!({"port": ""}), ".port"),
        (json!({"port": "HTTP"}), ".port"),
        (json!({"port": "-http"}), ".port"),
        (json!({"port": "a--b"}), ".port"),
        (json!({"port": "a234567890123456"}), ".port"),
        (json!({"port": 80, "endPort": 79}), ".endPort"),
        (json!({"port": 80, "endPort": 65536}), ".endPort"),
        (json!({"port": 80, "endPort": "90"}), ".endPort"),
        (json!({"port": "http", "endPort": 90}), ".endPort"),
        (json!({"endPort": 90}), ".endPort"),
        (json!({"ports": 90}), ".ports"),
        (json!(80), ""),
    ] {
        judge_port(&port, &[path]);
    }
}

#[test]
fn selectors() {
    let expression = |expression: Value| json!({"podSelector": {"matchExpressions": [expression]}});
    for spec in [
        json!({"podSelector": {"matchLabels": null, "matchExpressions": null}}),
        json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": "", "x": null, "A_b": "v1.2_3-X"}}}),
        expression(json!({"key": "a", "operator": "In", "values": ["x", ""]})),
        expression(json!({"key": "a", "operator": "NotIn", "values": ["x"]})),
        expression(json!({"key": "a", "operator": "Exists", "values": []})),
        expression(json!({"key": "a", "operator": "DoesNotExist", "values": null})),
    ] {
        judge_spec(&spec, &[]);
    }
    for (labels, key) in [
        (json!({"a": 1}), "[a]"),
        (json!({"a": true}), "[a]"),
        (json!({"a": "b c"}), "[a]"),
        (json!({"a": "-b"}), "[a]"),
        (json!({"a": "b".repeat(64)}), "[a]"),
        (json!({"-a": "b"}), "[-a]"),
        (json!({"/a": "b"}), "[/a]"),
        (json!({"X.y/a": "b"}), "[X.y/a]"),
        (json!({"x/y/a": "b"}), "[x/y/a]"),
        (json!(["a"]), ""),
    ] {
        let path = format!("spec.podSelector.matchLabels{key}");
        judge_spec(&json!({"podSelector": {"matchLabels": labels}}), &[&path]);
    }
    for (value, path) in [
        (json!({"key": "a", "operator": "In"}), ".values"),
        (json!({"key": "a", "operator": "NotIn", "values": []}), ".values"),
        (json!({"key": "a", "operator": "In", "values": [1]}), ".values[0]"),
        (json!({"key": "a", "operator": "In", "values": "x"}), ".values"),
        (json!({"key": "a", "operator": "In", "values": ["b c"]}), ".values[0]"),
        (json!({"key": "a", "operator": "Exists", "values": ["x"]}), ".values"),
        (json!({"key": "a", "operator": "DoesNotExist", "values": ["x"]}), ".values"),
        (json!({"key": "a", "operator": "in", "values": ["x"]}), ".operator"),
        (json!({"key": "a", "values": ["x"]}), ".operator"),
        (json!({"key": "", "operator": "Exists"}), ".key"),
        (json!({"key": "a", "operator": "Exists", "value": "x"}), ".value"),
        (json!("a"), ""),
    ] {
        judge_spec(&expression(value), &[&format!("spec.podSelector.matchExpressions[0]{path}")]);
    }
}

#[test]
fn ports_of_containers() {
    let cases = [
        (json!({"containerPort": 80}), None),
        (json!({"containerPort": 80, "name": "http", "protocol": "UDP", "hostPort": 0, "new": 1}), None),
        (json!({"containerPort": 80, "name": "", "protocol": ""}), None),
        (json!({"containerPort": 80, "name": null, "protocol": null}), None),
        (json!({}), Some(".containerPort")),
        (json!({"containerPort": 0}), Some(".containerPort")),
        (json!({"containerPort": 65536}), Some(".containerPort")),
        (json!({"containerPort": "80"}), Some(".containerPort")),
        (json!({"containerPort": 80, "protocol": "tcp"}), Some(".protocol")),
        (json!({"containerPort": 80, "name": "80"}), Some(".name")),
        (json!({"containerPort": 80, "name": "http_x"}), Some(".name")),
        (json!(null), Some("")),
    ];
    for (port, path) in cases {
        let pod = json!({"containers": [{"name": "c", "ports": [port]}], "unknown": {}});
        let template = json!({"template": {"metadata": {"creationTimestamp": null}, "spec": pod}});
        for (object, at) in [
            (object("v1", "Pod", &pod), "spec"),
            (object("apps/v1", "Deployment", &template), "spec.template.spec"),
            (object("batch/v1", "Job", &template), "spec.template.spec"),
            (
                object("batch/v1", "CronJob", &json!({"jobTemplate": {"spec": template}})),
                "spec.jobTemplate.spec.template.spec",
            ),
        ] {
            let expected: Vec<String> =
                path.iter().map(|path| format!("{at}.containers[0].ports[0]{path}")).collect();
            assert_eq!(paths(&object), expected, "{object}");
        }
    }
    let twice = json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]);
    let pod = object("v1", "Pod", &json!({"initContainers": [{"ports": twice}]}));
    assert_eq!(paths(&pod), ["spec.initContainers[0].ports[1].name"]);
}

#[test]
fn metadata() {
    let long = "x".repeat(64);
    for (kind, metadata, path) in [
        ("Pod", json!({"name": "a.b-1"}), None),
        ("Pod", json!({"name": long}), None),
        ("Pod", json!({"generateName": "web-"}), None),
        ("Pod", json!({"name": "a", "namespace": "", "labels": null, "uid": "u", "new": 1}), None),
        ("Pod", json!({"name": "a", "annotations": {"Example.com/X": "any thing", "n": null}}), None),
        ("Namespace", json!({"name": "a", "creationTimestamp": null, "labels": {"a": "b"}}), None),
        ("Namespace", json!({"name": "a", "namespace": "dropped here!"}), None),
        ("Pod", json!({}), Some("metadata.name")),
        ("Pod", json!({"name": 7}), Some("metadata.name")),
        ("Pod", json!({"name": "Web"}), Some("metadata.name")),
        ("Pod", json!({"name": "a..b"}), Some("metadata.name")),
        ("Pod", json!({"generateName": "Web-"}), Some("metadata.generateName")),
        ("Pod", json!({"name": "a", "namespace": "a.b"}), Some("metadata.namespace")),
        ("Pod", json!({"name": "a", "labels": ["x"]}), Some("metadata.labels")),
        ("Pod", json!({"name": "a", "labels": {"x": 1}}), Some("metadata.labels[x]")),
        ("Pod", json!({"name": "a", "annotations": {"x": true}}), Some("metadata.annotations[x]")),
        ("Namespace", json!({"name": "a.b"}), Some("metadata.name")),
        ("Namespace", json!({"name": long}), Some("metadata.name")),
        ("Namespace", json!({"name": "a", "labels": {"x": "b c"}}), Some("metadata.labels[x]")),
    ] {
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
        assert_eq!(paths(&object), Vec::from_iter(path), "{object}");
    }
}

#[test]
fn versions_and_other_kinds() {
    for (version, kind, path) in [
        ("apps/v1", "Deployment", None),
        ("extensions/v1beta1", "Deployment", Some("apiVersion")),
        ("v1", "Deployment", Some("apiVersion")),
        ("", "Pod", Some("apiVersion")),
        ("networking.k8s.io/v1beta1", "ServiceAccount", Some("apiVersion")),
        ("serving.knative.dev/v1", "Service", None),
        ("projectcalico.org/v3", "NetworkPolicy", None),
        ("example.com/v1", "Thing", None),
        ("v1", "", Some("kind")),
    ] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
        assert_eq!(paths(&object), Vec::from_iter(path), "{object}");
    }
    for value in [json!(null), json!([]), json!("x")] {
        assert_eq!(paths(&value), [""], "{value}");
    }
    assert_eq!(paths(&json!({"kind": [], "apiVersion": {}})), ["kind", "apiVersion"]);
    for version in ["extensions/v1beta1", "networking.k8s.io/v1beta1", "v1"] {
        assert_eq!(paths(&object(version, "NetworkPolicy", &json!({"podSelector": {}}))), ["apiVersion"]);
    }
}

#[test]
fn messages_say_what_would_be_right() {
    let mut policy =
        object("networking.k8s.io/v1", "NetworkPolicy", &json!({"podSelecter": {}, "podSelector": {}}));
    policy["status"] = json!({"conditions": []});
    let said: Vec<String> = validate(&policy).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["spec.podSelecter: there is no such field here; did you mean podSelector?"]);
    policy["spec"] = json!({"podSelector": {}, "ingress": [{"ports": [{"port": "80"}]}]});
    let said: Vec<String> = validate(&policy).iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "spec.ingress[0].ports[0].port: \"80\" is not valid; a name of a port has a letter; write a number without quotes"
        ]
    );
}

#[test]
fn a_missing_pod_selector_is_an_empty_one() {
    judge_spec(&json!({}), &[]);
    judge_spec(&json!({"podSelector": null}), &[]);
}
