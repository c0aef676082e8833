//! projectcalico.org/v3 to the model.

use super::*;
use crate::convert::Problems;
use serde_json::{Value, json};
use tortie_api::v3;

/// The converted rule of a policy in `namespace`, as JSON without the `orig_` fields.
fn rule_of(namespace: &str, value: Value) -> Value {
    let mut value = with_originals(namespace, value);
    if let Value::Object(map) = &mut value {
        map.retain(|k, _| !k.contains("orig_"));
    }
    value
}

fn with_originals(namespace: &str, value: Value) -> Value {
    let mut problems = Problems::new();
    let converted = rule(&serde_json::from_value(value).unwrap(), namespace, "r", &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    serde_json::to_value(converted).unwrap()
}

#[test]
fn selectors_of_rules() {
    const OWN: &str = "projectcalico.org/namespace == 'ns'";
    for (namespace, entity, want) in [
        ("", json!({}), ""),
        ("ns", json!({}), ""),
        ("ns", json!({"nets": ["10.0.0.0/8"]}), ""),
        ("", json!({"selector": "a == 'b'"}), "a == 'b'"),
        ("ns", json!({"selector": "a=='b'"}), "(projectcalico.org/namespace == 'ns') && (a=='b')"),
        ("ns", json!({"notSelector": "a == 'b'"}), OWN),
        ("", json!({"notSelector": "a == 'b'"}), ""),
        ("", json!({"namespaceSelector": "a=='b'"}), "pcns.a == \"b\""),
        (
            "ns",
            json!({"namespaceSelector": "a == 'b'", "selector": "c == 'd'"}),
            "(pcns.a == \"b\") && (c == 'd')",
        ),
        ("ns", json!({"namespaceSelector": "all()"}), "has(projectcalico.org/namespace)"),
        ("ns", json!({"namespaceSelector": "global()"}), "!has(projectcalico.org/namespace)"),
        (
            "ns",
            json!({"namespaceSelector": "global()", "selector": "x == 'y'"}),
            "(!has(projectcalico.org/namespace)) && (x == 'y')",
        ),
        ("", json!({"serviceAccounts": {"selector": "a == 'b'"}}), "pcsa.a == \"b\""),
        (
            "",
            json!({"serviceAccounts": {"names": ["s2", "s1"]}}),
            "projectcalico.org/serviceaccount in {\"s1\", \"s2\"}",
        ),
        (
            "ns",
            json!({"serviceAccounts": {"names": ["s1"], "selector": "has(a)"}, "selector": "c == 'd'"}),
            "(projectcalico.org/namespace == 'ns') && (((has(pcsa.a)) && (projectcalico.org/serviceaccount in {\"s1\"})) && (c == 'd'))",
        ),
        ("", json!({"serviceAccounts": {}, "selector": "c == 'd'"}), "c == 'd'"),
    ] {
        let got = rule_of(namespace, json!({"action": "Allow", "source": entity, "destination": entity}));
        assert_eq!(got.get("src_selector").and_then(Value::as_str).unwrap_or(""), want, "{entity}");
        assert_eq!(got.get("src_selector"), got.get("dst_selector"));
    }
}

#[test]
fn rules_in_full() {
    assert_eq!(
        with_originals(
            "",
            json!({
                "action": "Pass", "ipVersion": 4, "protocol": "TCP", "notProtocol": 17, "icmp": {"type": 8, "code": 0}, "notICMP": {"type": 3, "code": 1},
                "source": {"nets": ["10.0.0.1/8", "10.0.0.1"], "notNets": ["fd00::1/64"], "ports": [80, "90:100", "http"], "notPorts": [1], "notSelector": "x == 'y'",
                    "services": {"name": "s", "namespace": "n"}, "serviceAccounts": {"names": ["a"], "selector": "has(b)"}},
                "destination": {"namespaceSelector": "all()", "selector": "has(c)"},
                "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]},
                "metadata": {"annotations": {"k": "v"}},
            }),
        ),
        json!({
            "action": "next-tier", "ip_version": 4, "protocol": "tcp", "!protocol": 17, "icmp_type": 8, "icmp_code": 0, "!icmp_type": 3, "!icmp_code": 1,
            "src_nets": ["10.0.0.0/8", "10.0.0.1/32"], "!src_nets": ["fd00::/64"], "src_ports": [80, "90:100", "http"], "!src_ports": [1],
            "src_selector": "(has(pcsa.b)) && (projectcalico.org/serviceaccount in {\"a\"})", "!src_selector": "x == 'y'",
            "src_service": "s", "src_service_ns": "n",
            "dst_selector": "(has(projectcalico.org/namespace)) && (has(c))",
            "!orig_src_selector": "x == 'y'", "orig_dst_selector": "has(c)", "orig_dst_namespace_selector": "all()",
            "orig_src_service_acct_names": ["a"], "orig_src_service_acct_selector": "has(b)",
            "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]},
            "metadata": {"annotations": {"k": "v"}},
        })
    );
    for (action, want) in
        [("Allow", "allow"), ("Deny", "deny"), ("Log", "log"), ("Pass", "next-tier"), ("allow", "allow")]
    {
        assert_eq!(rule_of("", json!({"action": action}))["action"], json!(want));
    }
    assert_eq!(rule_of("", json!({"action": "Allow", "protocol": 47}))["protocol"], json!(47));
    assert_eq!(rule_of("", json!({"action": "Allow", "metadata": {}})).get("metadata"), None);
}

#[test]
fn rules_that_cannot_be_converted() {
    for (value, field) in [
        (json!({"action": "Reject"}), "r.action"),
        (json!({"action": "Allow", "protocol": "foo"}), "r.protocol"),
        (json!({"action": "Allow", "notProtocol": 0}), "r.notProtocol"),
        (json!({"action": "Allow", "icmp": {"type": 256}}), "r.icmp.type"),
        (json!({"action": "Allow", "notICMP": {"code": -1}}), "r.notICMP.code"),
        (json!({"action": "Allow", "source": {"nets": ["10.0.0.0/8", "x"]}}), "r.source.nets[1]"),
        (json!({"action": "Allow", "destination": {"notNets": ["1.2.3"]}}), "r.destination.notNets[0]"),
        (json!({"action": "Allow", "source": {"selector": "a ="}}), "r.source.selector"),
        (json!({"action": "Allow", "source": {"notSelector": "!"}}), "r.source.notSelector"),
        (json!({"action": "Allow", "source": {"namespaceSelector": "a b"}}), "r.source.namespaceSelector"),
        (
            json!({"action": "Allow", "source": {"serviceAccounts": {"selector": "("}}}),
            "r.source.serviceAccounts.selector",
        ),
        (
            json!({"action": "Allow", "source": {"serviceAccounts": {"names": ["it's"]}}}),
            "r.source.serviceAccounts.names",
        ),
    ] {
        let mut problems = Problems::new();
        rule(&serde_json::from_value(value.clone()).unwrap(), "", "r", &mut problems);
        assert!(problems.is_fatal(), "{value}");
        assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), [field]);
    }
}

/// What is passed on, word for word, whether it can be used or not.
#[test]
fn forms_are_kept() {
    for (value, field, want) in [
        (json!({"protocol": 6}), "protocol", json!(6)),
        (json!({"protocol": "17"}), "protocol", json!(17)),
        (json!({"protocol": "UDPLite"}), "protocol", json!("udplite")),
        (json!({"notProtocol": "Foo"}), "!protocol", json!("foo")),
        (json!({"protocol": 0}), "protocol", json!(0)),
        (json!({"protocol": 256}), "protocol", Value::Null),
        (json!({"ipVersion": 260}), "ip_version", json!(260)),
        (json!({"icmp": {"type": -1}}), "icmp_type", json!(-1)),
        (json!({"notICMP": {"type": 1, "code": 1000}}), "!icmp_code", json!(1000)),
        (json!({"action": "Pass"}), "action", json!("next-tier")),
        (json!({"action": "pass"}), "action", json!("pass")),
        (json!({"action": "ALLOW"}), "action", json!("allow")),
        (json!({"action": "Foo"}), "action", json!("foo")),
        (json!({"source": {"nets": ["::ffff:10.0.0.1"]}}), "src_nets", json!(["10.0.0.1/32"])),
        (json!({"source": {"notNets": ["::ffff:10.1.2.3/104"]}}), "!src_nets", json!(["10.0.0.0/8"])),
        (json!({"destination": {"nets": ["::/0", "x"]}}), "dst_nets", json!(["::/0"])),
        (json!({"source": {"selector": "a ="}}), "src_selector", json!("a =")),
    ] {
        let mut problems = Problems::new();
        let rule = rule(&serde_json::from_value(value.clone()).unwrap(), "", "r", &mut problems);
        assert_eq!(json!(rule).get(field).unwrap_or(&Value::Null), &want, "{value}");
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn selectors_of_policies() {
    let namespaced = |spec: Value| {
        let mut problems = Problems::new();
        let policy = network_policy(
            &object(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})),
            &mut problems,
        );
        assert!(problems.is_empty());
        policy.selector
    };
    assert_eq!(namespaced(json!({})), "projectcalico.org/namespace == 'ns'");
    assert_eq!(namespaced(json!({"selector": "all()"})), "(all()) && projectcalico.org/namespace == 'ns'");
    assert_eq!(
        namespaced(json!({"selector": "a=='b'", "serviceAccountSelector": "c=='d'"})),
        "((a=='b') && projectcalico.org/namespace == 'ns') && pcsa.c == \"d\""
    );
    let global = |spec: Value| {
        let mut problems = Problems::new();
        let policy =
            global_network_policy(&object(json!({"metadata": {"name": "p"}, "spec": spec})), &mut problems);
        assert!(problems.is_empty());
        policy.selector
    };
    assert_eq!(global(json!({})), "");
    assert_eq!(global(json!({"selector": "all()"})), "all()");
    assert_eq!(global(json!({"namespaceSelector": "all()"})), "has(projectcalico.org/namespace)");
    assert_eq!(
        global(json!({"selector": "a == 'b'", "namespaceSelector": "c == 'd'"})),
        "(a == 'b') && pcns.c == \"d\""
    );
    assert_eq!(global(json!({"serviceAccountSelector": "all()"})), "has(projectcalico.org/serviceaccount)");
    assert_eq!(
        global(
            json!({"selector": "a == 'b'", "namespaceSelector": "c == 'd'", "serviceAccountSelector": "e == 'f'"})
        ),
        "((a == 'b') && pcns.c == \"d\") && pcsa.e == \"f\""
    );
    for field in ["selector", "namespaceSelector", "serviceAccountSelector"] {
        let mut problems = Problems::new();
        global_network_policy(&object(json!({"metadata": {}, "spec": {field: "("}})), &mut problems);
        assert_eq!(problems.iter().map(|p| p.field.clone()).collect::<Vec<_>>(), [format!("spec.{field}")]);
        assert!(problems.is_fatal());
    }
}

#[test]
fn policies_in_full() {
    let mut problems = Problems::new();
    let policy = global_network_policy(
        &object(json!({"metadata": {"name": "p"}, "spec": {
            "tier": "ops", "order": 5, "selector": "all()", "types": ["Ingress", "Egress"], "preDNAT": true, "applyOnForward": true,
            "doNotTrack": true, "performanceHints": ["AssumeNeededOnEveryNode"], "ingress": [{"action": "Deny"}], "egress": [{"action": "Log"}],
        }})),
        &mut problems,
    );
    assert_eq!(
        serde_json::to_value(policy).unwrap(),
        json!({
            "tier": "ops", "order": 5.0, "selector": "all()", "types": ["ingress", "egress"], "pre_dnat": true, "apply_on_forward": true, "untracked": true,
            "performance_hints": ["AssumeNeededOnEveryNode"], "inbound_rules": [{"action": "deny"}], "outbound_rules": [{"action": "log"}],
        })
    );
    let staged = staged_network_policy(
        &object(
            json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"stagedAction": "Set", "egress": [{"action": "Allow", "destination": {"selector": "has(a)"}}], "types": ["Egress"]}}),
        ),
        &mut problems,
    );
    assert_eq!(
        serde_json::to_value(staged).unwrap(),
        json!({
            "namespace": "ns", "tier": "default", "selector": "projectcalico.org/namespace == 'ns'", "types": ["egress"], "staged_action": "Set",
            "outbound_rules": [{"action": "allow", "dst_selector": "(projectcalico.org/namespace == 'ns') && (has(a))", "orig_dst_selector": "has(a)"}],
        })
    );
    let staged = staged_global_network_policy(
        &object(json!({"metadata": {"name": "p"}, "spec": {"selector": "has(a)"}})),
        &mut problems,
    );
    assert_eq!(serde_json::to_value(staged).unwrap(), json!({"tier": "default", "selector": "has(a)"}));
    let staged = staged_kubernetes_network_policy(
        &object(
            json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"stagedAction": "Learn", "podSelector": {"matchLabels": {"a": "b"}}}}),
        ),
        &mut problems,
    );
    assert_eq!(
        serde_json::to_value(staged).unwrap(),
        json!({
            "namespace": "ns", "tier": "default", "order": 1000.0, "types": ["ingress"], "staged_action": "Learn",
            "selector": "(projectcalico.org/orchestrator == 'k8s' && a == 'b') && projectcalico.org/namespace == 'ns'",
        })
    );
    assert!(problems.is_empty());
    let delete = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"stagedAction": "Delete"}});
    assert_eq!(staged_network_policy(&object(delete.clone()), &mut problems), None);
    assert_eq!(staged_global_network_policy(&object(delete.clone()), &mut problems), None);
    assert_eq!(staged_kubernetes_network_policy(&object(delete), &mut problems), None);
    assert!(problems.is_empty());
}

#[test]
fn tiers_sets_and_profiles() {
    for (spec, want) in [
        (json!({}), json!({"defaultAction": "Deny"})),
        (json!({"order": 7, "defaultAction": "Pass"}), json!({"order": 7.0, "defaultAction": "Pass"})),
        (json!({"defaultAction": "Other"}), json!({"defaultAction": "Deny"})),
    ] {
        assert_eq!(serde_json::to_value(tier(&object(json!({"metadata": {}, "spec": spec})))).unwrap(), want);
    }
    let mut problems = Problems::new();
    let set = network_set(
        &object(
            json!({"metadata": {"name": "s", "namespace": "ns", "labels": {"a": "b"}}, "spec": {"nets": ["10.0.0.1", "10.0.0.1/8", "x", "fd00::1/64"]}}),
        ),
        &mut problems,
    );
    assert_eq!(
        serde_json::to_value(set).unwrap(),
        json!({
            "nets": ["10.0.0.1/32", "10.0.0.0/8", "fd00::/64"], "labels": {"a": "b", "projectcalico.org/namespace": "ns"}, "profile_ids": ["kns.ns"],
        })
    );
    assert_eq!(
        problems.iter().map(|p| (p.field.as_str(), p.fatal)).collect::<Vec<_>>(),
        [("spec.nets[2]", false)]
    );
    let set = global_network_set(
        &object(json!({"metadata": {"name": "s", "labels": {"a": "b"}}, "spec": {}})),
        &mut problems,
    );
    assert_eq!(serde_json::to_value(set).unwrap(), json!({"labels": {"a": "b"}}));
    let (rules, labels) = profile(
        &object(
            json!({"metadata": {"name": "p"}, "spec": {"ingress": [{"action": "Allow"}], "labelsToApply": {"x": "y"}}}),
        ),
        &mut problems,
    );
    assert_eq!(serde_json::to_value(rules).unwrap(), json!({"inbound_rules": [{"action": "allow"}]}));
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), [("x".to_owned(), "y".to_owned())]);
}

#[test]
fn pools() {
    let pool = |spec: Value| {
        let mut problems = Problems::new();
        let pool = ip_pool(&object(json!({"metadata": {"name": "p"}, "spec": spec})), &mut problems);
        assert_eq!(pool.is_none(), problems.is_fatal());
        pool.map(|p| serde_json::to_value(p).unwrap())
    };
    assert_eq!(
        pool(
            json!({"cidr": "10.0.0.1/16", "ipipMode": "CrossSubnet", "natOutgoing": true, "disableBGPExport": true, "allowedUses": ["Tunnel"], "assignmentMode": "Manual"})
        ),
        Some(json!({
            "cidr": "10.0.0.0/16", "ipip": "tunl0", "ipip_mode": "cross-subnet", "vxlan_mode": "", "masquerade": true, "ipam": true, "disabled": false,
            "disableBGPExport": true, "assignment_mode": "Manual", "allowed_uses": ["Tunnel"],
        }))
    );
    assert_eq!(
        pool(json!({"cidr": "fd00::/64", "vxlanMode": "Always", "ipipMode": "Never", "disabled": true})),
        Some(json!({
            "cidr": "fd00::/64", "ipip": "", "ipip_mode": "", "vxlan_mode": "always", "masquerade": false, "ipam": false, "disabled": true,
            "disableBGPExport": false, "assignment_mode": "Automatic",
        }))
    );
    for bad in ["", "10.0.0.0", "10.0.0.0/33", "x/8"] {
        assert_eq!(pool(json!({"cidr": bad})), None, "{bad}");
    }
}

#[test]
fn workload_endpoints() {
    let endpoint = |spec: Value| -> (Option<Value>, Problems) {
        let mut problems = Problems::new();
        let object = object(json!({
            "metadata": {"name": "n-k8s-p-eth0", "namespace": "ns", "generateName": "p-", "annotations": {"x": "y"},
                "labels": {"a": "b", "pcns.fake": "1", "pcsa.fake": "2", "projectcalico.org/namespace": "ns"}},
            "spec": spec,
        }));
        let value = workload_endpoint(&object, &mut problems).map(|e| serde_json::to_value(e).unwrap());
        (value, problems)
    };
    let (value, problems) = endpoint(json!({
        "interfaceName": "cali1", "profiles": ["kns.ns"], "mac": "EE:EE:EE:EE:EE:EE", "ipNetworks": ["10.0.0.1", "fd00::1/128"], "serviceAccountName": "sa",
        "ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "1.1.1.1"}, {"internalIP": "fd00::1", "externalIP": "fd01::1"}],
        "ipv4Gateway": "10.0.0.254/24", "ipv6Gateway": "fd00::254", "allowSpoofedSourcePrefixes": ["8.8.8.8/24"],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "hostPort": 0, "hostIP": ""}, {"name": "", "protocol": "UDP", "port": 81, "hostPort": 1, "hostIP": ""}],
        "qosControls": {"ingressBandwidth": 5},
    }));
    assert!(problems.is_empty());
    assert_eq!(
        value.unwrap(),
        json!({
            "state": "active", "name": "cali1", "active_instance_id": "", "mac": "ee:ee:ee:ee:ee:ee", "profile_ids": ["kns.ns"],
            "ipv4_nets": ["10.0.0.1/32"], "ipv6_nets": ["fd00::1/128"],
            "ipv4_nat": [{"int_ip": "10.0.0.1", "ext_ip": "1.1.1.1"}], "ipv6_nat": [{"int_ip": "fd00::1", "ext_ip": "fd01::1"}],
            "labels": {"a": "b", "projectcalico.org/namespace": "ns", "projectcalico.org/serviceaccount": "sa"},
            "ipv4_gateway": "10.0.0.254", "ipv6_gateway": "fd00::254", "ports": [{"name": "http", "protocol": "tcp", "port": 80}],
            "generate_name": "p-", "allow_spoofed_source_ips": ["8.8.8.0/24"], "annotations": {"x": "y"}, "qosControls": {"ingressBandwidth": 5},
        })
    );
    assert_eq!(endpoint(json!({"interfaceName": "cali1"})).0, None);
    for (spec, field, fatal) in [
        (json!({"ipNetworks": ["x"]}), "spec.ipNetworks[0]", true),
        (json!({"ipNetworks": ["10.0.0.1"], "mac": "x"}), "spec.mac", true),
        (json!({"ipNetworks": ["10.0.0.1"], "ipv4Gateway": "x"}), "spec.ipv4Gateway", true),
        (
            json!({"ipNetworks": ["10.0.0.1"], "allowSpoofedSourcePrefixes": ["x"]}),
            "spec.allowSpoofedSourcePrefixes[0]",
            true,
        ),
        (
            json!({"ipNetworks": ["10.0.0.1"], "ipNATs": [{"internalIP": "x", "externalIP": "1.1.1.1"}]}),
            "spec.ipNATs[0]",
            false,
        ),
    ] {
        let (_, problems) = endpoint(spec);
        assert_eq!(
            problems.iter().map(|p| (p.field.as_str(), p.fatal)).collect::<Vec<_>>(),
            [(field, fatal)]
        );
    }
}

#[test]
fn settings_in_every_form() {
    let parameters = |spec: Value| {
        let mut problems = Problems::new();
        let parameters = felix_parameters(&object(spec), &Default::default(), &mut problems);
        (
            parameters.into_iter().collect::<Vec<_>>(),
            problems.iter().map(|p| p.field.clone()).collect::<Vec<_>>(),
        )
    };
    for (spec, name, want) in [
        (json!({"bpfEnabled": true}), "BPFEnabled", "true"),
        (json!({"maxIpsetSize": 5}), "MaxIpsetSize", "5"),
        (json!({"logPrefix": "x"}), "LogPrefix", "x"),
        (json!({"usageReportingInitialDelay": "1m0.5s"}), "UsageReportingInitialDelaySecs", "60.5"),
        (
            json!({"externalNodesList": ["10.0.0.0/8", "1.1.1.1"]}),
            "ExternalNodesCIDRList",
            "10.0.0.0/8,1.1.1.1",
        ),
        (json!({"bpfLogFilters": {"b": "2", "a": "1"}}), "BPFLogFilters", "a=1,b=2,"),
        (
            json!({"failsafeInboundHostPorts": [{"protocol": "TCP", "port": 22}, {"protocol": "udp", "port": 53, "net": "10.0.0.0/8"}, {"protocol": "tcp", "port": 1, "net": "fd00::/8"}]}),
            "FailsafeInboundHostPorts",
            "tcp:22,udp:10.0.0.0/8:53,tcp:[fd00::/8]:1",
        ),
        (json!({"routeTableRange": {"min": 1, "max": 250}}), "RouteTableRange", "1-250"),
        (
            json!({"routeTableRanges": [{"min": 1, "max": 2}, {"min": 5, "max": 6}]}),
            "RouteTableRanges",
            "1-2,5-6",
        ),
        (
            json!({"healthTimeoutOverrides": [{"name": "a", "timeout": "90s"}]}),
            "HealthTimeoutOverrides",
            "a=1m30s",
        ),
        (
            json!({"bpfConntrackTimeouts": {"udpTimeout": "60s", "tcpSynSent": "Auto"}}),
            "BPFConntrackTimeouts",
            "TCPSynSent=Auto,UDPTimeout=60s",
        ),
        (json!({"kubeNodePortRanges": ["30000:32767", 80]}), "KubeNodePortRanges", "[30000:32767 80]"),
        (json!({"natPortRange": "1:2"}), "NATPortRange", "1:2"),
    ] {
        assert_eq!(parameters(spec.clone()), (vec![(name.to_owned(), want.to_owned())], vec![]), "{spec}");
    }
    assert_eq!(
        parameters(
            json!({"logPrefix": "", "maxIpsetSize": null, "healthTimeoutOverrides": [], "nodeSelector": "all()"})
        ),
        (vec![], vec![])
    );
    for spec in [
        json!({"logPrefix": 5}),
        json!({"bpfEnabled": []}),
        json!({"netlinkTimeout": "10"}),
        json!({"externalNodesList": "x"}),
        json!({"failsafeInboundHostPorts": [{"protocol": "tcp"}]}),
        json!({"routeTableRanges": [{"min": 1}]}),
    ] {
        let (got, problems) = parameters(spec.clone());
        assert_eq!(got, [], "{spec}");
        assert_eq!(problems, [format!("spec.{}", spec.as_object().unwrap().keys().next().unwrap())]);
    }
}

#[test]
fn unset_parameters_are_named() {
    let mut seen = std::collections::BTreeSet::new();
    let mut problems = Problems::new();
    let with: v3::FelixConfiguration = object(
        json!({"metadata": {"name": "default", "annotations": {"config.projectcalico.org/Extra": "1"}}, "spec": {"bpfEnabled": true}}),
    );
    let changes = felix_configuration("default", Some(&with), &mut seen, &mut problems);
    assert_eq!(changes.len(), FELIX.len() + 1);
    assert_eq!(changes.iter().filter(|c| c.value.is_some()).count(), 2);
    let changes = felix_configuration("default", None, &mut seen, &mut problems);
    assert_eq!(changes.len(), FELIX.len() + 1);
    assert!(changes.iter().all(|c| c.value.is_none()));
    assert!(felix_configuration("edge", Some(&with), &mut seen, &mut problems).is_empty());
    assert_eq!(cluster_information("default", None).len(), 5);
    assert_eq!(felix_node("n", None, &mut problems).len(), 6);
}

#[test]
fn bgp_of_nodes() {
    let settings = |node: Option<&v3::Node>, problems: &mut Problems| -> Vec<(String, Option<String>)> {
        bgp_node("n", node, problems)
            .into_iter()
            .map(|c| {
                let name = c.key.to_path().unwrap().rsplit('/').next().unwrap().to_owned();
                (name, c.value.map(|v| v.to_json().as_str().unwrap().to_owned()))
            })
            .collect()
    };
    let mut problems = Problems::new();
    let node = object(json!({"metadata": {"name": "n"}, "spec": {
        "bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "x", "asNumber": 64512}, "wireguard": {"interfaceIPv4Address": "10.3.0.1"},
    }}));
    let some = |text: &str| Some(text.to_owned());
    let want = [
        ("ip_addr_v4", some("10.0.0.1")),
        ("ip_addr_v6", some("")),
        ("network_v4", some("10.0.0.0/24")),
        ("network_v6", None),
        ("as_num", some("64512")),
        ("rr_cluster_id", some("")),
        ("wireguard_addr_v4", some("10.3.0.1")),
        ("wireguard_addr_v6", some("")),
    ];
    assert_eq!(settings(Some(&node), &mut problems), want.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), ["spec.bgp.ipv6Address"]);
    assert!(settings(None, &mut problems).iter().all(|(_, value)| value.is_none()));
}
