//! Kubernetes' objects to projectcalico.org/v3.

use super::*;
use crate::convert::Problems;
use serde_json::{Value, json};
use tortie_net::Cidr;

const POD: &str = "projectcalico.org/orchestrator == 'k8s'";

/// Spec of the converted policy, and the fields that are complained about.
fn policy(spec: Value) -> (Value, Vec<String>) {
    let object =
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}))
            .unwrap();
    let mut problems = Problems::new();
    let converted = network_policy(&object, &mut problems);
    (serde_json::to_value(converted.spec).unwrap(), problems.iter().map(|p| p.field.clone()).collect())
}

fn good(spec: Value) -> Value {
    let (spec, problems) = policy(spec);
    assert_eq!(problems, [""; 0]);
    spec
}

#[test]
fn selectors() {
    for (selector, want) in [
        (json!({}), String::new()),
        (json!({"matchLabels": {"b": "2", "a": "1"}}), " && a == '1' && b == '2'".into()),
        (
            json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}),
            " && k in { 'x', 'y' }".into(),
        ),
        (
            json!({"matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["x"]}]}),
            " && k not in { 'x' }".into(),
        ),
        (
            json!({"matchExpressions": [{"key": "k", "operator": "Exists"}, {"key": "l", "operator": "DoesNotExist"}]}),
            " && has(k) && ! has(l)".into(),
        ),
        (
            json!({"matchLabels": {"a": ""}, "matchExpressions": [{"key": "k", "operator": "In", "values": []}]}),
            " && a == '' && k in { '' }".into(),
        ),
        (json!({"matchLabels": {"a": "it's"}}), " && a == \"it's\"".into()),
    ] {
        let spec = good(json!({"podSelector": selector}));
        assert_eq!(spec["selector"], json!(format!("{POD}{want}")));
    }
    let (_, problems) = policy(
        json!({"podSelector": {"matchExpressions": [{"key": "k", "operator": "Gt", "values": ["1"]}]}}),
    );
    assert_eq!(problems, ["spec.podSelector.matchExpressions[0].operator"]);
    let (_, problems) = policy(json!({"podSelector": {"matchLabels": {"a b": "c"}}}));
    assert_eq!(problems, ["spec.podSelector.matchLabels[a b]"]);
}

#[test]
fn frame_of_a_policy() {
    let spec = good(json!({}));
    assert_eq!(spec, json!({"tier": "default", "order": 1000.0, "selector": POD, "types": ["Ingress"]}));
    for (types, want) in [
        (json!(["Egress"]), json!(["Egress"])),
        (json!(["Egress", "Ingress"]), json!(["Ingress", "Egress"])),
        (json!(["Other"]), json!(["Ingress"])),
        (json!([]), json!(["Ingress"])),
    ] {
        assert_eq!(good(json!({"policyTypes": types}))["types"], want);
    }
}

#[test]
fn defaults_of_an_api_server() {
    for (spec, want) in [
        (json!({"egress": [{}]}), ["Ingress", "Egress"].as_slice()),
        (json!({"ingress": [{}]}), &["Ingress"]),
        (json!({}), &["Ingress"]),
        (json!({"policyTypes": ["Egress"]}), &["Egress"]),
    ] {
        let mut spec = serde_json::from_value(spec).unwrap();
        defaults::network_policy(&mut spec);
        assert_eq!(spec.policy_types, want);
    }
}

#[test]
fn peers() {
    let allow = |source: Value| json!([{"action": "Allow", "source": source}]);
    for (from, want) in [
        (json!([]), json!([{"action": "Allow"}])),
        (json!(null), json!([{"action": "Allow"}])),
        (json!([{}]), allow(json!({"selector": POD}))),
        (json!([{"podSelector": {}}]), allow(json!({"selector": POD}))),
        (json!([{"namespaceSelector": {}}]), allow(json!({"selector": POD, "namespaceSelector": "all()"}))),
        (
            json!([{"namespaceSelector": {"matchLabels": {"t": "a"}}, "podSelector": {"matchLabels": {"r": "c"}}}]),
            allow(json!({"selector": format!("{POD} && r == 'c'"), "namespaceSelector": "t == 'a'"})),
        ),
        (
            json!([{"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}}]),
            allow(json!({"nets": ["10.0.0.0/8"], "notNets": ["10.1.0.0/16", "10.2.0.0/16"]})),
        ),
        (json!([{"ipBlock": {"cidr": "fd00::/8"}}]), allow(json!({"nets": ["fd00::/8"]}))),
        (
            json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"podSelector": {}}]),
            json!([{"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}}, {"action": "Allow", "source": {"selector": POD}}]),
        ),
    ] {
        assert_eq!(good(json!({"ingress": [{"from": from}]}))["ingress"], want, "{from}");
    }
    let spec =
        good(json!({"egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]}]}));
    assert_eq!(
        spec["egress"],
        json!([{"action": "Allow", "protocol": "UDP", "destination": {"selector": POD, "ports": [53]}}])
    );
    assert_eq!(good(json!({"ingress": [{}], "egress": [{}]}))["egress"], json!([{"action": "Allow"}]));
}

#[test]
fn ports() {
    let rule = |protocol: &str, ports: Value| json!({"action": "Allow", "protocol": protocol, "destination": {"ports": ports}});
    for (ports, want) in [
        (json!([{"port": 80}]), json!([rule("TCP", json!([80]))])),
        (json!([{"port": "80"}]), json!([rule("TCP", json!([80]))])),
        (json!([{"port": "http", "protocol": "SCTP"}]), json!([rule("SCTP", json!(["http"]))])),
        (json!([{"port": 80, "endPort": 90}]), json!([rule("TCP", json!(["80:90"]))])),
        (
            json!([{"port": 82}, {"port": 80}, {"port": 81}, {"port": "x"}]),
            json!([rule("TCP", json!(["x", "80:82"]))]),
        ),
        (
            json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]),
            json!([rule("TCP", json!([53])), rule("UDP", json!([53]))]),
        ),
        (json!([{"protocol": "UDP"}]), json!([{"action": "Allow", "protocol": "UDP"}])),
        (json!([{}]), json!([{"action": "Allow", "protocol": "TCP"}])),
        (json!([{"port": 80}, {}]), json!([{"action": "Allow", "protocol": "TCP"}])),
        (json!([{}, {"port": 80}]), json!([{"action": "Allow", "protocol": "TCP"}])),
    ] {
        assert_eq!(good(json!({"ingress": [{"ports": ports}]}))["ingress"], want, "{ports}");
    }
    let spec = good(json!({"ingress": [{
        "from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "ports": [{"port": 1}, {"port": 2, "protocol": "UDP"}],
    }]}));
    assert_eq!(spec["ingress"].as_array().unwrap().len(), 4);
}

#[test]
fn unusable_rules_are_left_out_and_reported() {
    for (rule, field) in [
        (json!({"ports": [{"port": 80}, {"port": 90, "endPort": 80}]}), ".ports[1].port"),
        (json!({"ports": [{"port": 65536}]}), ".ports[0].port"),
        (json!({"ports": [{"port": "http", "endPort": 80}]}), ".ports[0].port"),
        (json!({"ports": [{"port": "a b"}]}), ".ports[0].port"),
        (json!({"ports": [{"protocol": "FOO"}]}), ".ports[0].protocol"),
        (json!({"from": [{}, {"ipBlock": {"cidr": "10.0.0.0/33"}}]}), ".from[1].ipBlock.cidr"),
        (json!({"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}), ".from[0].ipBlock.cidr"),
        (
            json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "x"]}}]}),
            ".from[0].ipBlock.except[1]",
        ),
        (
            json!({"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "?"}]}}]}),
            ".from[0].podSelector.matchExpressions[0].operator",
        ),
    ] {
        let (spec, problems) = policy(json!({"ingress": [rule, {"ports": [{"port": 1}]}]}));
        assert_eq!(spec["ingress"].as_array().unwrap().len(), 1, "{rule}");
        assert_eq!(problems, [format!("spec.ingress[0]{field}")]);
    }
}

fn cluster(spec: Value) -> (Option<Value>, Vec<String>) {
    let object = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
    let mut problems = Problems::new();
    let converted = cluster_network_policy(&object, &mut problems);
    let fields = problems.iter().map(|p| p.field.clone()).collect();
    (converted.map(|c| serde_json::to_value(c.spec).unwrap()), fields)
}

#[test]
fn cluster_policies() {
    let (spec, problems) = cluster(json!({
        "tier": "Admin", "priority": 7, "subject": {"namespaces": {"matchLabels": {"t": "a"}}},
        "ingress": [{
            "name": "r1", "action": "Accept", "from": [{"namespaces": {}}, {"pods": {"namespaceSelector": {"matchLabels": {"t": "b"}}, "podSelector": {"matchLabels": {"r": "c"}}}}],
            "protocols": [{"tcp": {"destinationPort": {"number": 80}}}, {"tcp": {"destinationPort": {"range": {"start": 81, "end": 90}}}}, {"destinationNamedPort": "web"}],
        }],
        "egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.1/8", "fd00::/8"]}]}],
    }));
    assert_eq!(problems, [""; 0]);
    let meta = json!({"annotations": {"name": "r1"}});
    let other = json!({"selector": format!("{POD} && r == 'c'"), "namespaceSelector": "t == 'b'"});
    assert_eq!(
        spec.unwrap(),
        json!({
            "tier": "kube-admin", "order": 7.0, "namespaceSelector": "t == 'a'", "selector": POD, "types": ["Ingress", "Egress"],
            "ingress": [
                {"action": "Allow", "source": {"namespaceSelector": "all()"}, "destination": {"ports": ["web"]}, "metadata": meta},
                {"action": "Allow", "source": other, "destination": {"ports": ["web"]}, "metadata": meta},
                {"action": "Allow", "protocol": "TCP", "source": {"namespaceSelector": "all()"}, "destination": {"ports": ["80:90"]}, "metadata": meta},
                {"action": "Allow", "protocol": "TCP", "source": other, "destination": {"ports": ["80:90"]}, "metadata": meta},
            ],
            "egress": [{"action": "Deny", "destination": {"nets": ["10.0.0.0/8", "fd00::/8"]}}],
        })
    );
    let (spec, _) = cluster(
        json!({"tier": "Baseline", "priority": 0, "subject": {"pods": {"namespaceSelector": {}, "podSelector": {}}}}),
    );
    assert_eq!(
        spec.unwrap(),
        json!({"tier": "kube-baseline", "order": 0.0, "namespaceSelector": "all()", "selector": POD})
    );
    let (spec, _) = cluster(
        json!({"tier": "Admin", "priority": 0, "subject": {"namespaces": {}}, "ingress": [{"action": "Pass", "from": [{"namespaces": {}}], "protocols": [{"udp": {}}, {}]}]}),
    );
    assert_eq!(
        spec.unwrap()["ingress"],
        json!([{"action": "Pass", "source": {"namespaceSelector": "all()"}}])
    );
}

#[test]
fn cluster_rules_fail_closed() {
    for (action, rules) in [
        ("Deny", json!([{"action": "Deny"}])),
        ("Pass", json!([{"action": "Deny"}])),
        ("Accept", json!(null)),
        ("Other", json!(null)),
    ] {
        let (spec, problems) = cluster(json!({
            "tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
            "egress": [{"action": action, "to": [{"networks": ["10.0.0.0/33"]}]}],
        }));
        assert_eq!(spec.unwrap()["egress"], rules, "{action}");
        assert_eq!(problems.len(), 1);
    }
    for (rule, field) in [
        (json!({"action": "Deny", "from": [{}]}), "spec.ingress[0].from[0]"),
        (json!({"action": "Deny", "from": [{"networks": ["10.0.0.0/8"]}]}), "spec.ingress[0].from[0]"),
        (
            json!({"action": "Deny", "from": [{"namespaces": {}}], "protocols": [{"tcp": {"destinationPort": {"range": {"start": 9, "end": 8}}}}]}),
            "spec.ingress[0].protocols[0].tcp.destinationPort.range",
        ),
    ] {
        let (spec, problems) = cluster(
            json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": [rule]}),
        );
        assert_eq!(spec.unwrap()["ingress"], json!([{"action": "Deny"}]));
        assert_eq!(problems, [field]);
    }
    for (spec, field) in [
        (json!({"tier": "Other", "priority": 1, "subject": {"namespaces": {}}}), "spec.tier"),
        (json!({"tier": "Admin", "priority": 1, "subject": {}}), "spec.subject"),
    ] {
        let (spec, problems) = cluster(spec);
        assert_eq!(spec, None);
        assert_eq!(problems, [field]);
    }
}

fn pod(value: Value) -> k8s::Pod {
    serde_json::from_value(value).unwrap()
}

#[test]
fn pod_becomes_an_endpoint() {
    let pod = pod(json!({
        "metadata": {"name": "web-1", "generateName": "web-", "namespace": "shop", "uid": "u", "labels": {"app": "web"},
            "annotations": {"cni.projectcalico.org/containerID": "c1", "cni.projectcalico.org/podIPs": "10.0.0.1/32,fd00::1/128", "cni.projectcalico.org/podIP": "10.0.0.1/32",
                "cni.projectcalico.org/floatingIPs": "[\"172.16.0.1\", \"fd16::1\"]", "cni.projectcalico.org/allowedSourcePrefixes": "[\"8.8.8.1/24\"]",
                "k8s.v1.cni.cncf.io/network-status": "[]"}},
        "spec": {"nodeName": "n-1", "serviceAccountName": "sa",
            "containers": [{"name": "a", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 81}, {"containerPort": 82, "hostPort": 8082, "protocol": "UDP", "hostIP": "1.2.3.4"}, {"name": "odd", "containerPort": 83, "protocol": "X"}]}],
            "initContainers": [{"name": "i", "ports": [{"name": "init", "containerPort": 84, "protocol": "SCTP"}]}]},
    }));
    assert!(is_ready(&pod));
    let mut problems = Problems::new();
    let endpoint = pod_to_workload_endpoint(&pod, "cali", &mut problems).unwrap();
    assert_eq!(
        problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(),
        ["spec.containers[0].ports[3].protocol"]
    );
    assert_eq!(
        serde_json::to_value(endpoint).unwrap(),
        json!({
            "apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
            "metadata": {"name": "n--1-k8s-web--1-eth0", "generateName": "web-", "namespace": "shop", "uid": "u",
                "labels": {"app": "web", "projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s", "projectcalico.org/serviceaccount": "sa"},
                "annotations": {"k8s.v1.cni.cncf.io/network-status": "[]"}},
            "spec": {"orchestrator": "k8s", "node": "n-1", "containerID": "c1", "pod": "web-1", "endpoint": "eth0", "serviceAccountName": "sa",
                "ipNetworks": ["10.0.0.1/32", "fd00::1/128"],
                "ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "172.16.0.1"}, {"internalIP": "fd00::1", "externalIP": "fd16::1"}],
                "profiles": ["kns.shop", "ksa.shop.sa"], "interfaceName": crate::names::veth("cali", "shop", "web-1"),
                "ports": [
                    {"name": "http", "protocol": "TCP", "port": 80, "hostPort": 0, "hostIP": ""},
                    {"name": "", "protocol": "UDP", "port": 82, "hostPort": 8082, "hostIP": "1.2.3.4"},
                    {"name": "init", "protocol": "SCTP", "port": 84, "hostPort": 0, "hostIP": ""}],
                "allowSpoofedSourcePrefixes": ["8.8.8.0/24"]},
        })
    );
}

#[test]
fn order_of_address_sources() {
    let sources = [
        (
            json!({"status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "podIP": "10.0.0.9"}}),
            vec!["10.0.0.1/32", "fd00::1/128"],
        ),
        (
            json!({"status": {"podIP": "10.0.0.2"}, "metadata": {"annotations": {"cni.projectcalico.org/podIPs": "10.0.0.9/32"}}}),
            vec!["10.0.0.2/32"],
        ),
        (
            json!({"metadata": {"annotations": {"cni.projectcalico.org/podIPs": "10.0.0.3/32,fd00::3/128", "cni.projectcalico.org/podIP": "10.0.0.9/32"}}}),
            vec!["10.0.0.3/32", "fd00::3/128"],
        ),
        (
            json!({"metadata": {"annotations": {"cni.projectcalico.org/podIP": "10.0.0.4/32", "vpc.amazonaws.com/pod-ips": "10.0.0.9"}}}),
            vec!["10.0.0.4/32"],
        ),
        (
            json!({"metadata": {"annotations": {"vpc.amazonaws.com/pod-ips": "10.0.0.5"}}}),
            vec!["10.0.0.5/32"],
        ),
        (json!({}), vec![]),
    ];
    for (value, want) in sources {
        let mut problems = Problems::new();
        let got = pod_addresses(&pod(value.clone()), &mut problems);
        assert_eq!(got, want.iter().map(|t| t.parse::<Cidr>().unwrap()).collect::<Vec<_>>(), "{value}");
        assert!(problems.is_empty());
    }
    let mut problems = Problems::new();
    pod_addresses(&pod(json!({"status": {"podIP": "10.0.0"}})), &mut problems);
    assert!(problems.is_fatal());
}

#[test]
fn states_of_a_pod() {
    let deleted =
        |annotations: Value| json!({"metadata": {"deletionTimestamp": "t", "annotations": annotations}});
    for (value, want) in [
        (json!({"status": {"phase": "Running"}}), false),
        (json!({"status": {"phase": "Succeeded"}}), true),
        (json!({"status": {"phase": "Failed"}}), true),
        (json!({"status": {"phase": "Completed"}}), true),
        (deleted(json!({})), false),
        (deleted(json!({"cni.projectcalico.org/podIP": ""})), true),
        (deleted(json!({"cni.projectcalico.org/podIP": "1.2.3.4"})), false),
        (deleted(json!({"vpc.amazonaws.com/pod-ips": ""})), true),
        (json!({"metadata": {"annotations": {"cni.projectcalico.org/podIP": ""}}}), false),
    ] {
        assert_eq!(is_finished(&pod(value.clone())), want, "{value}");
    }
    let valid = json!({"spec": {"nodeName": "n"}, "status": {"podIP": "1.2.3.4"}});
    assert!(is_ready(&pod(valid)));
    assert!(!is_valid_endpoint(&pod(json!({"spec": {"nodeName": "n", "hostNetwork": true}}))));
    assert!(!is_valid_endpoint(&pod(json!({"spec": {}}))));
    assert!(!is_ready(&pod(json!({"spec": {"nodeName": "n"}}))));
}

#[test]
fn pods_that_cannot_be_endpoints() {
    let with = |annotation: &str, text: &str| json!({"metadata": {"name": "p", "namespace": "d", "annotations": {annotation: text}}, "spec": {"nodeName": "n"}, "status": {"podIP": "10.0.0.1"}});
    for (value, field) in [
        (json!({"metadata": {"name": "p"}, "spec": {}}), "spec.nodeName"),
        (json!({"metadata": {"name": "-p"}, "spec": {"nodeName": "n"}}), "metadata.name"),
        (
            with("cni.projectcalico.org/floatingIPs", "x"),
            "metadata.annotations[cni.projectcalico.org/floatingIPs]",
        ),
        (
            with("cni.projectcalico.org/allowedSourcePrefixes", "[\"x\"]"),
            "metadata.annotations[cni.projectcalico.org/allowedSourcePrefixes]",
        ),
        (
            with("cni.projectcalico.org/allowedSourcePrefixes", "{}"),
            "metadata.annotations[cni.projectcalico.org/allowedSourcePrefixes]",
        ),
    ] {
        let mut problems = Problems::new();
        pod_to_workload_endpoint(&pod(value), "cali", &mut problems);
        assert!(problems.is_fatal());
        assert_eq!(problems.iter().next().unwrap().field, field);
    }
    let mut problems = Problems::new();
    let endpoint = pod_to_workload_endpoint(
        &pod(with("cni.projectcalico.org/allowedSourcePrefixes", "")),
        "cali",
        &mut problems,
    );
    assert!(problems.is_empty() && endpoint.is_some());
}

#[test]
fn limits() {
    let qos = |annotations: &[(&str, &str)]| {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut problems = Problems::new();
        let controls = qos::controls(&annotations, &mut problems);
        (controls.map(|c| serde_json::to_value(c).unwrap()), problems.iter().count())
    };
    let name = |what: &str| format!("qos.projectcalico.org/{what}");
    assert_eq!(qos(&[]), (None, 0));
    assert_eq!(
        qos(&[
            ("kubernetes.io/ingress-bandwidth", "10M"),
            (&name("egressBandwidth"), "1Gi"),
            ("kubernetes.io/egress-bandwidth", "1M"),
            (&name("egressBurst"), "2k")
        ]),
        (
            Some(
                json!({"ingressBandwidth": 10_000_000, "ingressBurst": 4294967296i64, "egressBandwidth": 1073741824, "egressBurst": 2000})
            ),
            0
        )
    );
    assert_eq!(
        qos(&[
            (&name("ingressPacketRate"), "100"),
            (&name("egressMaxConnections"), "7"),
            (&name("dscp"), "af41")
        ]),
        (
            Some(
                json!({"ingressPacketRate": 100, "ingressPacketBurst": 5, "egressMaxConnections": 7, "dscp": "AF41"})
            ),
            0
        )
    );
    assert_eq!(
        qos(&[(&name("ingressBandwidth"), "1")]),
        (Some(json!({"ingressBandwidth": 1000, "ingressBurst": 4294967296i64})), 1)
    );
    assert_eq!(qos(&[(&name("ingressBurst"), "2k")]), (None, 1));
    assert_eq!(
        qos(&[
            (&name("ingressBandwidth"), "10M"),
            (&name("ingressPeakrate"), "5M"),
            (&name("ingressMinburst"), "2k")
        ]),
        (Some(json!({"ingressBandwidth": 10_000_000, "ingressBurst": 4294967296i64})), 2)
    );
    assert_eq!(qos(&[(&name("dscp"), "64")]), (None, 1));
    for (text, dscp) in [("63", json!(63)), ("0", json!(0)), ("007", json!(7)), ("ef", json!("EF"))] {
        assert_eq!(qos(&[(&name("dscp"), text)]), (Some(json!({"dscp": dscp})), 0));
    }
    assert_eq!(qos(&[(&name("dscp"), "+7")]), (None, 1));
    assert_eq!(qos(&[(&name("ingressPacketRate"), "many")]), (None, 1));
}

#[test]
fn profiles() {
    let namespace = serde_json::from_value(json!({"metadata": {"name": "shop", "uid": "30316465-6365-4463-ad63-3564622d3638", "labels": {"team": "a"}}})).unwrap();
    let profile = namespace_profile(&namespace);
    assert_eq!(
        serde_json::to_value(profile).unwrap(),
        json!({
            "apiVersion": "projectcalico.org/v3", "kind": "Profile",
            "metadata": {"name": "kns.shop", "uid": "0c8c26a6-c6a6-44c6-adc6-ac2646b46c1c"},
            "spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}], "labelsToApply": {"pcns.team": "a", "pcns.projectcalico.org/name": "shop"}},
        })
    );
    let account = serde_json::from_value(
        json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"r": "x"}}}),
    )
    .unwrap();
    let profile = service_account_profile(&account);
    assert_eq!(profile.metadata.name, "ksa.shop.web");
    assert_eq!(
        serde_json::to_value(profile.spec).unwrap(),
        json!({"labelsToApply": {"pcsa.r": "x", "pcsa.projectcalico.org/name": "web"}})
    );
    assert_eq!(profile_namespace("kns.a"), Some("a"));
    assert_eq!(profile_namespace("ksa.a.b"), None);
    assert_eq!(profile_service_account("ksa.a.b.c"), Some(("a", "b.c")));
    assert_eq!(profile_service_account("ksa.a"), None);
    assert_eq!(service_account_profile_name("", "x"), "ksa.default.x");
}

#[test]
fn identities() {
    let uid = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
    let converted = converted_uid(uid).unwrap();
    assert_eq!(converted, "1fb8f275-be37-410b-a7a6-00059378d66f");
    assert_eq!(converted_uid(&converted).as_deref(), Some(uid));
    for form in [
        "F81D4FAE-7DEC-41D0-A765-00A0C91E6BF6",
        "f81d4fae7dec41d0a76500a0c91e6bf6",
        "{f81d4fae-7dec-41d0-a765-00a0c91e6bf6}",
        "urn:uuid:f81d4fae-7dec-41d0-a765-00a0c91e6bf6",
    ] {
        assert_eq!(converted_uid(form).as_deref(), Some(&*converted), "{form}");
    }
    for bad in [
        "",
        "x",
        "f81d4fae-7dec-41d0-a765-00a0c91e6bfg",
        "f81d4fae-7dec-41d0-a76500a0c91e6bf6-",
        "uri:uuid:f81d4fae-7dec-41d0-a765-00a0c91e6bf6",
        "{f81d4fae7dec41d0a76500a0c91e6bf6}",
        "f81d4fae-7dec-41d0-a765-00a0c91e6b\u{e9}",
    ] {
        assert_eq!(converted_uid(bad), None, "{bad}");
    }
}
