//! Reading Kubernetes' objects.

use super::*;
use serde_json::json;

#[test]
fn pod_is_read_slim() {
    let pod: Pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "d", "labels": null, "managedFields": [{"x": 1}]},
        "spec": {"nodeName": "n1", "serviceAccountName": "sa", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "http", "hostPort": 8080, "hostIP": "1.2.3.4"}]}], "volumes": []},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .unwrap();
    assert_eq!(pod.spec.containers[0].ports[0].host_ip, "1.2.3.4");
    assert_eq!(pod.status.pod_ips[1].ip, "fd00::1");
    assert_eq!(pod.status.conditions[0].condition_type, "Ready");
}

#[test]
fn absent_and_empty_peers_differ() {
    let policy: NetworkPolicy = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"a": "b"}}}]}]},
    }))
    .unwrap();
    let peers = &policy.spec.ingress[0].from;
    assert_eq!(peers[0].pod_selector, Some(LabelSelector::default()));
    assert_eq!(peers[0].namespace_selector, None);
    assert!(peers[1].namespace_selector.is_some());
}

#[test]
fn workloads() {
    for (value, pods) in [
        (
            json!({"kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": 3, "template": {}}}),
            3,
        ),
        (json!({"kind": "StatefulSet", "metadata": {"name": "w"}, "spec": {"template": {}}}), 1),
        (json!({"kind": "DaemonSet", "metadata": {"name": "w"}, "spec": {"template": {}}}), 5),
        (
            json!({"kind": "CronJob", "metadata": {"name": "w"}, "spec": {"jobTemplate": {"spec": {"parallelism": 2, "template": {"metadata": {"labels": {"a": "b"}}}}}}}),
            2,
        ),
    ] {
        assert_eq!(Workload::from_value(&value).unwrap().pods(5), pods, "{value}");
    }
}

#[test]
fn paths() {
    for resource in RESOURCES {
        let namespace = if resource.namespaced { "ns" } else { "" };
        let path = resource.path(namespace, "x");
        assert_eq!(parse_path(&path), Some((resource, namespace, "x")));
    }
    assert_eq!(by_kind("Pod").unwrap().path("shop", "web-1"), "/tortie/kubernetes/pods/shop/web-1");
    assert_eq!(lookup("ns").unwrap().path("", "shop"), "/tortie/kubernetes/namespaces/shop");
}
