//! Requests of each suite, and their answers.

use super::*;

fn ask(suite: &str, lines: &str) -> (String, bool) {
    let mut out = Vec::new();
    let status = run(suite, &mut lines.as_bytes(), &mut out).unwrap();
    (String::from_utf8(out).unwrap(), status == ExitCode::SUCCESS)
}

#[test]
fn one_answer_a_line_in_order() {
    let (out, ok) = ask(
        "selectors",
        "{\"id\":\"a\",\"op\":\"eval\",\"selector\":\"has(x)\",\"labels\":{\"x\":\"1\"}}\nnonsense\n{\"id\":\"c\",\"op\":\"parse\",\"selector\":\"((\"}\n{\"id\":\"d\",\"op\":\"frob\"}\n",
    );
    let answers: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(ok);
    assert_eq!(answers[0], json!({"id": "a", "match": true}));
    assert!(
        answers[1]["error"].is_string() && answers[2]["error"].is_string() && answers[3]["skip"].is_string()
    );
    assert_eq!((answers[2]["id"].as_str(), answers.len()), (Some("c"), 4));
}

#[test]
fn an_unknown_suite_says_nothing_on_stdout() {
    assert_eq!(ask("nonsense", "{}\n"), (String::new(), false));
}

/// The answer to one request, without its id.
fn answer(suite: &str, request: Value) -> Value {
    let (out, ok) = ask(suite, &format!("{request}\n"));
    assert!(ok);
    let mut answer: Value = serde_json::from_str(&out).unwrap();
    answer.as_object_mut().unwrap().remove("id");
    answer
}

#[test]
fn requests_over_http() {
    let paths = json!([{"prefix": "/shop"}, {"exact": "/help"}]);
    for (request, want) in [
        (json!({"op": "http_path", "paths": paths, "request_path": "/shop/%63art"}), json!({"match": true})),
        (json!({"op": "http_path", "paths": paths, "request_path": "/shopping"}), json!({"match": false})),
        (json!({"op": "http_path", "paths": paths, "request_path": null}), json!({"match": true})),
        (json!({"op": "http_method", "methods": ["GET"], "request_method": "PUT"}), json!({"match": false})),
        (json!({"op": "normalize_path", "path": "/a/%252e"}), json!({"normalized": null})),
    ] {
        assert_eq!(answer("app_policy_http", request), want);
    }
    let bad = answer("app_policy_http", json!({"op": "http_path", "paths": paths, "request_path": "x"}));
    assert!(bad["error"].is_string());
}

#[test]
fn pools() {
    let ask = |requested: Value, labels: Value| {
        let pools = json!([
            {"name": "a", "cidr": "10.8.0.0/16", "blockSize": 26, "nodeSelector": "zone == 'a'"},
            {"name": "m", "cidr": "10.9.0.0/16", "assignmentMode": "Manual"},
            {"name": "x", "cidr": "10.10.0.0/16", "nodeSelector": "zone =="},
        ]);
        let request = json!({"op": "select_pools", "ip_version": 4, "pools": pools, "requested": requested,
            "node_labels": labels, "namespace": null, "max_prefix_len": 32});
        answer("ipam", request)
    };
    let found = ask(json!([]), json!({"zone": "a"}));
    assert_eq!(found["pools"], json!(["10.8.0.0/16"]));
    assert!(found["error"].as_str().unwrap().contains("IPPool x"), "{found}");
    assert_eq!(ask(json!(["10.9.0.0/16"]), json!({})), json!({"pools": ["10.9.0.0/16"]}));
    assert!(ask(json!(["10.1.0.0/16"]), json!({}))["error"].is_string());
}

#[test]
fn keys() {
    let tagged = |kind: &str, fields: Value| json!({"type": kind, "fields": fields});
    let ask = |request: Value| answer("trace_model_keys", request);
    let host = |id: &str| tagged("HostEndpointKey", json!({"Hostname": "h", "EndpointID": id}));
    assert_eq!(
        ask(json!({"op": "key_to_path", "key": host("a/b")})),
        json!({"path": "/calico/v1/host/h/endpoint/a%2fb"})
    );
    assert!(ask(json!({"op": "key_to_path", "key": host("")}))["error"].is_string());
    assert_eq!(
        ask(json!({"op": "path_to_key", "path": "/calico/v1/host/h/endpoint/a%2fb"})),
        json!({"key": host("a/b")})
    );
    assert_eq!(ask(json!({"op": "path_to_key", "path": "/calico/v9"})), json!({"key": null}));
    let old = json!({"Kind": "KubernetesNetworkPolicy", "Namespace": "ns", "Name": "a", "Tier": "t"});
    assert_eq!(
        ask(json!({"op": "path_to_key", "path": "/calico/v1/policy/tier/t/policy/ns%2fknp.default.a"})),
        json!({"key": tagged("LegacyPolicyKey", old)})
    );
    for (options, path, want) in [
        (json!({}), "/calico/v1/host", true),
        (json!({"Hostname": "h"}), "/calico/v1/host/h/endpoint", true),
        (json!({"Hostname": "g"}), "/calico/v1/host/g/endpoint", false),
    ] {
        let list = tagged("HostEndpointListOptions", options);
        assert_eq!(ask(json!({"op": "list_path", "list": list})), json!({"path": path}));
        let found = ask(json!({"op": "list_match", "list": list, "path": "/calico/v1/host/h/endpoint/x"}));
        assert_eq!(found["key"].is_object(), want, "{list}");
    }
    for (path, kind) in [
        ("/calico/ipam/v2/host/a/ipv4/block/10.0.0.0-26", json!("BlockAffinityKey")),
        // Only who lists affinities sees those of other owners.
        ("/calico/ipam/v2/virtual/lb/ipv4/block/10.0.0.0-26", Value::Null),
        ("/calico/v1/host/a/metadata", json!("HostMetadataKey")),
        ("/calico/felix/v2/no-region/host/a/workload/k8s//endpoint/e", Value::Null),
    ] {
        let answer = ask(json!({"op": "path_to_key", "path": path}));
        assert_eq!(answer["key"].get("type").unwrap_or(&Value::Null), &kind, "{path}");
    }
    let old = json!({"Kind": "", "Namespace": "", "Name": "t.a", "Tier": "t"});
    let new = json!({"Kind": "", "Namespace": "", "Name": "t.a"});
    assert_eq!(
        ask(json!({"op": "upgrade_key", "key": tagged("LegacyPolicyKey", old)})),
        json!({"key": tagged("PolicyKey", new)})
    );
    let tier = tagged("TierKey", json!({"Name": "t"}));
    assert!(ask(json!({"op": "parse_value", "key": tier, "raw": "[1]"}))["error"].is_string());
    let block = json!({"cidr": "10.0.0.0/30", "affinity": "host:a", "allocations": [0, 1, null, null],
        "attributes": [{"secondary": {"node": "a"}}, {"secondary": {"node": "b"}}]});
    assert_eq!(
        ask(json!({"op": "non_affine", "block": block})),
        json!({"allocations": [{"Addr": "10.0.0.1", "Host": "b"}]})
    );
    assert_eq!(ask(json!({"op": "ip_to_ordinal", "block": block, "ip": "10.0.0.3"})), json!({"ordinal": 3}));
    assert!(ask(json!({"op": "ip_to_ordinal", "block": block, "ip": "10.0.0.4"}))["error"].is_string());
}

#[test]
fn objects_of_kubernetes() {
    let ask = |op: &str, args: Value| answer("k8s_conversion", json!({"op": op, "args": args}));
    assert_eq!(ask("ProfileNameToNamespace", json!(["kns.shop"])), json!({"result": "shop"}));
    assert_eq!(ask("SimplifyPorts", json!([null])), json!({"result": []}));
    let cluster_policy = json!({"metadata": {"name": "c"}, "spec": {"tier": "Admin", "subject": {"namespaces": {}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": {}}], "protocols": [{"destinationNamedPort": "8080"}]}]}});
    let converted = ask("K8sClusterNetworkPolicyToCalico", json!([cluster_policy]));
    let ports = converted.pointer("/result/value/fields/spec/ingress/0/destination/ports");
    assert_eq!(ports, Some(&json!(["8080"])), "a name, though it is made of digits");
    assert!(ask("ProfileNameToNamespace", json!(["shop"]))["error"].is_string());
    assert_eq!(ask("SimplifyPorts", json!([[81, "80", "web", 82]])), json!({"result": ["web", "80:82"]}));
    assert_eq!(
        ask("ParseWorkloadEndpointName", json!(["n--1-k8s-p"])),
        json!({"result": {"Node": "n-1", "Orchestrator": "k8s", "Pod": "p"}})
    );
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": "n"},
        "status": {"podIP": "10.0.0.1"}});
    assert_eq!(ask("IsReadyCalicoPod", json!([pod])), json!({"result": true}));
    let endpoints = ask("PodToWorkloadEndpoints", json!([pod]));
    assert_eq!(endpoints["result"][0]["value"]["fields"]["spec"]["ipNetworks"], json!(["10.0.0.1/32"]));
    // A rule that cannot be converted is left out, and said.
    let policy = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"ipBlock": {"cidr": "bad"}}]}, {}]}});
    let converted = ask("K8sNetworkPolicyToCalico", json!([policy]));
    assert!(converted["error"].is_string());
    assert_eq!(converted["result"]["key"]["fields"]["Kind"], "KubernetesNetworkPolicy");
    assert_eq!(
        converted["result"]["value"]["fields"]["spec"]["ingress"].as_array().map(Vec::len),
        Some(1),
        "{converted}"
    );
}

#[test]
fn judgements() {
    let set = |net: &str| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
            "metadata": {"name": "set-a"}, "spec": {"nets": [net]}})
    };
    let ask = |net: &str| {
        answer("validator_v3", json!({"op": "validate", "crd_schema": true, "resource": set(net)}))
    };
    assert_eq!(ask("10.9.0.0/24"), json!({}));
    assert!(ask("10.9.0.0/33")["error"].as_str().unwrap().contains("spec.nets[0]"));
    let part = answer("validator_v3", json!({"op": "validate", "go_type": "v3.Rule", "value": {}}));
    assert!(part["skip"].is_string());
}

#[test]
fn conversions_step_by_step() {
    let key = |name: &str| json!({"type": "ResourceKey", "fields": {"Kind": "IPPool", "Name": name}});
    let pool = |name: &str, cidr: &str| {
        let fields = json!({"metadata": {"name": name}, "spec": {"cidr": cidr}});
        json!({"kv": {"key": key(name), "value": {"type": "IPPool", "fields": fields}}})
    };
    let gone = |name: &str| json!({"kv": {"key": key(name), "value": null}});
    let steps = json!([pool("b", "10.0.0.0/16"), pool("c", "10.0.0.0/16"), gone("b"), pool("c", "bad"), gone("c"),
        {"restart": true}]);
    let answer =
        answer("trace_update_processors", json!({"op": "process", "processor": "IPPool", "steps": steps}));
    let kvs = |step: usize| answer["steps"][step]["kvs"].as_array().unwrap();
    assert_eq!(kvs(0).len(), 1);
    assert!(kvs(1).is_empty(), "the first name holds the key");
    assert_eq!(kvs(2)[0]["value"]["cidr"], "10.0.0.0/16");
    assert_eq!(kvs(3)[0]["value"], Value::Null);
    assert!(answer["steps"][3]["error"].is_string() && answer["steps"][4]["error"].is_string());
    assert_eq!(answer["steps"][5], json!({}));
}

/// The conversion passes on what its object says; who applies it judges whether it can be used.
#[test]
fn policies_that_cannot_be_used_are_converted() {
    for (spec, selector) in [
        (json!({"selector": "a =", "serviceAccountSelector": "b == 'c'"}), "(a =) && pcsa.b == \"c\""),
        (json!({"selector": "all()", "namespaceSelector": "name 'x'"}), "has(projectcalico.org/namespace)"),
        (json!({"selector": "all()", "ingress": [{"action": "Foo", "protocol": "bar"}]}), "all()"),
    ] {
        let fields = json!({"metadata": {"name": "p"}, "spec": spec});
        let key = json!({"type": "ResourceKey", "fields": {"Kind": "GlobalNetworkPolicy", "Name": "p"}});
        let kv = json!({"key": key, "value": {"type": "GlobalNetworkPolicy", "fields": fields}});
        let request = json!({"op": "process", "processor": "GlobalNetworkPolicy",
            "args": ["GlobalNetworkPolicy"], "steps": [{"kv": kv}]});
        let answer = answer("trace_update_processors", request);
        assert_eq!(answer["steps"][0]["kvs"][0]["value"]["selector"], selector, "{spec}");
    }
}

/// What the agent refuses is as if it were not there.
#[test]
fn values_that_the_agent_refuses() {
    let host = "/calico/v1/host/h1/endpoint/e";
    let policy = "/calico/v1/policy/GlobalNetworkPolicy//p";
    let rule = |rule: Value| json!({"selector": "all()", "inbound_rules": [rule]});
    let hint = json!({"selector": "all()", "performance_hints": ["AssumeNeededOnEveryNode"]});
    for (key, value, member, sound) in [
        (host, json!({"name": "eth0"}), "EndpointPolicyOrder", true),
        (host, json!({"name": "eth0", "profile_ids": ["p q"]}), "EndpointPolicyOrder", false),
        (
            host,
            json!({"name": "eth0", "ports": [{"name": "a", "protocol": "tcp", "port": 1}]}),
            "EndpointPolicyOrder",
            true,
        ),
        (
            host,
            json!({"name": "eth0", "ports": [{"name": "a", "protocol": 6, "port": 1}]}),
            "EndpointPolicyOrder",
            false,
        ),
        (policy, hint, "PolicyIDs", true),
        (policy, rule(json!({"protocol": "TCP"})), "PolicyIDs", false),
        (policy, rule(json!({"protocol": 0})), "PolicyIDs", false),
        (policy, rule(json!({"ip_version": 260})), "PolicyIDs", false),
        (policy, rule(json!({"protocol": "udplite", "dst_ports": [1]})), "PolicyIDs", false),
    ] {
        let batches = json!([[{"key": key, "value": value}]]);
        let answer = answer(
            "calc_graph",
            json!({"op": "sequence", "hostname": "h1", "config": {}, "batches": batches}),
        );
        let found = &answer["states"][0][member];
        let there = !matches!(found, Value::Array(items) if items.is_empty())
            && !matches!(found, Value::Object(items) if items.is_empty());
        assert_eq!(there, sound, "{key}: {value}");
    }
}

#[test]
fn states_of_a_dataplane() {
    let endpoint = "/calico/v1/host/h1/workload/k8s/ns%2fp/endpoint/eth0";
    let migration = "/calico/resources/v3/projectcalico.org/livemigrations/ns/m";
    let batches = json!([
        [{"key": "/calico/v1/Ready", "value": true}],
        [
            {"key": endpoint, "value": {"name": "cali1", "ipv4_nets": ["10.0.0.1/32"], "labels": {"a": "b"}}},
            {"key": "/calico/v1/policy/GlobalNetworkPolicy//p", "value": {"selector": "a == 'b'", "types": ["ingress"],
                "inbound_rules": [{"src_selector": "has(a)"}]}},
            {"key": "/calico/v1/policy/GlobalNetworkPolicy//u", "value": {"selector": "a == 'b'", "untracked": true}},
            {"key": migration, "value": {"spec": {"source": {"workload":
                {"orchestratorID": "k8s", "workloadID": "ns/p"}}}}},
        ],
        // Without an interface the endpoint counts as deleted.
        [{"key": endpoint, "value": {"name": "", "ipv4_nets": ["10.0.0.1/32"]}}],
    ]);
    let answer =
        answer("calc_graph", json!({"op": "sequence", "hostname": "h1", "config": {}, "batches": batches}));
    let state = &answer["states"][1];
    let sets = state["IPSets"].as_object().unwrap();
    assert_eq!(sets.values().collect::<Vec<_>>(), [&json!(["10.0.0.1/32"])]);
    let tier = json!([{"Name": "default", "EgressPolicies": [],
        "IngressPolicies": [{"Kind": "GlobalNetworkPolicy", "Name": "p", "Namespace": ""}]}]);
    assert_eq!(state["EndpointPolicyOrder"], json!({"k8s/ns/p/eth0": tier}));
    assert_eq!(state["UntrackedEndpointPolicyOrder"], json!({"k8s/ns/p/eth0": []}));
    assert_eq!(state["UntrackedPolicyIDs"].as_array().map(Vec::len), Some(1));
    assert_eq!(state["LiveMigrationRoles"], json!({"k8s/ns/p/eth0": "SOURCE"}));
    let counts = json!({"NumTiers": 0, "NumPolicies": 2, "NumProfileRules": 0, "NumALPPolicies": 0});
    assert_eq!(state["stats"], counts);
    let end = &answer["states"][2];
    for member in ["IPSets", "EndpointPolicyOrder", "LiveMigrationRoles"] {
        assert_eq!(end[member], json!({}), "{member}");
    }
}
