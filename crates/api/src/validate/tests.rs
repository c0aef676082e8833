//! What is accepted and refused, by layer.

mod stored;

use super::*;
use serde_json::json;

const FORM: Options = Options { schema: false, client: false };
const SCHEMA: Options = Options { schema: true, client: false };

fn thing(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": "thing"}, "spec": spec})
}

fn paths(value: &Value, options: Options) -> Vec<String> {
    validate_value(value, options).into_iter().map(|p| p.path).collect()
}

/// Who refuses a spec.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Nobody,
    Form,
    Schema,
    Client,
}
use By::*;

#[track_caller]
fn judge(kind: &str, spec: Value, by: By, path: &str) {
    let value = thing(kind, spec);
    let refusals = [FORM, SCHEMA, Options::ALL].map(|o| paths(&value, o));
    let want = match by {
        Nobody => [false, false, false],
        Form => [true, true, true],
        Schema => [false, true, true],
        Client => [false, false, true],
    };
    assert_eq!(
        refusals.clone().map(|r| !r.is_empty()),
        want,
        "{value}: {:?}",
        validate_value(&value, Options::ALL)
    );
    if by != Nobody {
        assert!(refusals[2].iter().any(|p| p == path), "{value}: {:?}", validate_value(&value, Options::ALL));
    }
}

#[test]
fn rules() {
    let rule = |rule: Value, by: By, path: &str| {
        judge("GlobalNetworkPolicy", json!({ "ingress": [rule] }), by, &format!("spec.ingress[0]{path}"));
    };
    rule(json!({"action": "Allow"}), Nobody, "");
    rule(
        json!({"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, "90:100", "http"]}}),
        Nobody,
        "",
    );
    rule(json!({"action": "Allow", "protocol": "6", "source": {"notPorts": [1]}}), Nobody, "");
    rule(json!({"action": "Allow", "destination": {"ports": ["http"]}}), Nobody, "");
    rule(
        json!({"action": "Allow", "protocol": "ICMPv6", "ipVersion": 6, "icmp": {"type": 128, "code": 0}}),
        Nobody,
        "",
    );
    rule(json!({"action": "Log", "metadata": {"annotations": {"a/b": "c"}}}), Nobody, "");
    rule(json!({"action": "Allow", "source": {"services": {"name": "s", "namespace": "n"}}}), Nobody, "");
    rule(
        json!({"action": "Allow", "protocol": 6, "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]}}),
        Nobody,
        "",
    );

    rule(json!({"action": "allow"}), Schema, ".action");
    rule(json!({}), Schema, ".action");
    rule(json!({"action": 5}), Form, ".action");
    rule(json!({"action": "Allow", "ipVersion": 5}), Schema, ".ipVersion");
    rule(json!({"action": "Allow", "ipVersion": "4"}), Form, ".ipVersion");
    rule(json!({"action": "Allow", "protocol": "tcp"}), Form, ".protocol");
    rule(json!({"action": "Allow", "protocol": 256}), Form, ".protocol");
    rule(json!({"action": "Allow", "protocol": 0}), Form, ".protocol");
    rule(json!({"action": "Allow", "protocol": "foo"}), Form, ".protocol");
    rule(json!({"action": "Allow", "destination": {"ports": [80]}}), Form, ".destination.ports");
    rule(
        json!({"action": "Allow", "protocol": "ICMP", "source": {"ports": ["http"]}}),
        Form,
        ".source.ports",
    );
    rule(json!({"action": "Allow", "protocol": "TCP", "source": {"ports": [0]}}), Form, ".source.ports[0]");
    rule(
        json!({"action": "Allow", "protocol": "TCP", "source": {"ports": ["10:5"]}}),
        Form,
        ".source.ports[0]",
    );
    rule(
        json!({"action": "Allow", "protocol": "TCP", "source": {"ports": [70000]}}),
        Form,
        ".source.ports[0]",
    );
    rule(json!({"action": "Allow", "icmp": {"type": 8}}), Schema, ".icmp");
    rule(json!({"action": "Allow", "protocol": "ICMP", "icmp": {"type": 255}}), Form, ".icmp.type");
    rule(json!({"action": "Allow", "protocol": "ICMP", "icmp": {"code": 1}}), Schema, ".icmp.code");
    rule(json!({"action": "Allow", "protocol": "ICMP", "ipVersion": 6}), Schema, ".ipVersion");
    rule(json!({"action": "Allow", "notProtocol": "ICMPv6", "ipVersion": 4}), Schema, ".ipVersion");
    rule(json!({"action": "Allow", "http": {"methods": ["GET", "GET"]}}), Form, ".http.methods[1]");
    rule(json!({"action": "Allow", "http": {"paths": [{"exact": "a"}]}}), Form, ".http.paths[0]");
    rule(json!({"action": "Allow", "http": {"paths": [{}]}}), Form, ".http.paths[0]");
    rule(json!({"action": "Deny", "http": {"methods": ["GET"]}}), Schema, ".http");
    rule(json!({"action": "Allow", "protocol": "UDP", "http": {"methods": ["GET"]}}), Schema, ".protocol");
    rule(json!({"action": "Allow", "newField": 1}), Client, ".newField");
    rule(
        json!({"action": "Allow", "metadata": {"annotations": {"a b": "c"}}}),
        Form,
        ".metadata.annotations[a b]",
    );
}

#[test]
fn sides_of_rules() {
    let source = |source: Value, by: By, path: &str| {
        judge(
            "NetworkPolicy",
            json!({"ingress": [{"action": "Allow", "source": source}]}),
            by,
            &format!("spec.ingress[0].source{path}"),
        );
    };
    source(json!({"nets": ["10.0.0.0/8", "10.1.2.3/32"], "notNets": ["10.1.0.0/16"]}), Nobody, "");
    source(json!({"selector": "a == 'b'", "namespaceSelector": "global()", "notSelector": ""}), Nobody, "");
    source(json!({"serviceAccounts": {"names": ["a"], "selector": "b"}}), Form, ".serviceAccounts.selector");
    source(json!({"nets": ["10.0.0.1"]}), Form, ".nets[0]");
    source(json!({"nets": ["10.0.0.1/8"]}), Form, ".nets[0]");
    source(json!({"nets": ["x"]}), Form, ".nets[0]");
    source(json!({"nets": ["10.0.0.0/8", "fd00::/8"]}), Form, ".nets");
    source(json!({"nets": ["10.0.0.0/8"], "notNets": ["fd00::/8"]}), Form, ".notNets");
    source(json!({"notNets": ["0.0.0.0/0"]}), Form, ".notNets[0]");
    source(json!({"nets": ["10.0.0.0/8", "10.0.0.0/8"]}), Client, ".nets[1]");
    source(json!({"selector": "a =="}), Form, ".selector");
    source(json!({"selector": "global()"}), Schema, ".selector");
    source(json!({"namespaceSelector": "global() || a == 'b'"}), Form, ".namespaceSelector");
    source(json!({"namespaceSelector": " global()"}), Nobody, "");
    source(json!({"services": {"namespace": "n"}}), Schema, ".services.name");
    source(json!({"services": {"name": "s"}, "selector": "has(a)"}), Schema, ".services");
    source(json!({"services": {"name": "s"}, "nets": ["10.0.0.0/8"]}), Schema, ".services");
    source(json!({"services": {"name": "s"}, "namespaceSelector": "all()"}), Schema, ".services");
    source(json!({"services": {"name": "s"}, "serviceAccounts": {}}), Schema, ".services");
    source(json!({"services": {"name": "S"}}), Form, ".services.name");
    source(json!({"selector": format!("a == '{}'", "x".repeat(1024))}), Schema, ".selector");
    judge(
        "NetworkPolicy",
        json!({"ingress": [{"action": "Allow", "ipVersion": 6, "source": {"nets": ["10.0.0.0/8"]}}]}),
        Form,
        "spec.ingress[0].source.nets[0]",
    );
    judge(
        "NetworkPolicy",
        json!({"egress": [{"action": "Allow", "destination": {"services": {"name": "s"}, "ports": ["a"]}}]}),
        Schema,
        "spec.egress[0].destination.services",
    );
}

#[test]
fn policies() {
    for kind in ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"] {
        judge(kind, json!({}), Nobody, "");
        judge(
            kind,
            json!({"selector": "all()", "order": 5.5, "types": ["Ingress", "Egress"], "performanceHints": ["AssumeNeededOnEveryNode"]}),
            Nobody,
            "",
        );
        judge(kind, json!({"types": []}), Nobody, "");
        judge(kind, json!({"types": ["Ingress", "Ingress"]}), Form, "spec.types[1]");
        judge(kind, json!({"types": ["ingress"]}), Schema, "spec.types[0]");
        judge(kind, json!({"order": "5"}), Form, "spec.order");
        judge(kind, json!({"tier": "A"}), Form, "spec.tier");
        judge(kind, json!({"performanceHints": ["x"]}), Form, "spec.performanceHints[0]");
        judge(kind, json!({"serviceAccountSelector": "global()"}), Schema, "spec.serviceAccountSelector");
        judge(
            kind,
            json!({"egress": [{"action": "Allow", "source": {"services": {"name": "a", "namespace": "b"}}}]}),
            Form,
            "spec.egress[0].source.services",
        );
        judge(
            kind,
            json!({"egress": [{"action": "Allow", "http": {"methods": ["GET"]}}]}),
            Form,
            "spec.egress[0].http",
        );
        judge(kind, json!({"ingresss": []}), Client, "spec.ingresss");
        judge(kind, json!({"ingress": {}}), Form, "spec.ingress");
    }
    for kind in ["GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"] {
        judge(
            kind,
            json!({"preDNAT": true, "applyOnForward": true, "ingress": [{"action": "Deny"}]}),
            Nobody,
            "",
        );
        judge(kind, json!({"preDNAT": true}), Schema, "spec.applyOnForward");
        judge(
            kind,
            json!({"doNotTrack": true, "preDNAT": true, "applyOnForward": true}),
            Schema,
            "spec.preDNAT",
        );
        judge(
            kind,
            json!({"preDNAT": true, "applyOnForward": true, "egress": [{"action": "Deny"}]}),
            Schema,
            "spec.egress",
        );
        judge(
            kind,
            json!({"preDNAT": true, "applyOnForward": true, "types": ["Egress"]}),
            Schema,
            "spec.types",
        );
        judge(kind, json!({"namespaceSelector": "global()"}), Schema, "spec.namespaceSelector");
        judge(
            kind,
            json!({"egress": [{"action": "Allow", "destination": {"services": {"name": "a"}}}]}),
            Form,
            "spec.egress[0].destination.services.namespace",
        );
    }
    judge(
        "NetworkPolicy",
        json!({"egress": [{"action": "Allow", "destination": {"services": {"name": "a"}}}]}),
        Nobody,
        "",
    );
    judge("NetworkPolicy", json!({"namespaceSelector": "all()"}), Client, "spec.namespaceSelector");
    judge("StagedNetworkPolicy", json!({"stagedAction": "Delete", "tier": "a"}), Nobody, "");
    judge("StagedNetworkPolicy", json!({"stagedAction": "Delete", "selector": "all()"}), Form, "spec");
    judge("StagedGlobalNetworkPolicy", json!({"stagedAction": "Other"}), Schema, "spec.stagedAction");
}

#[test]
fn staged_kubernetes_policies() {
    const KIND: &str = "StagedKubernetesNetworkPolicy";
    judge(
        KIND,
        json!({"podSelector": {"matchLabels": {"a": "b"}}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80, "endPort": 90}]}]}),
        Nobody,
        "",
    );
    judge(KIND, json!({"stagedAction": "Delete"}), Nobody, "");
    judge(KIND, json!({"stagedAction": "Delete", "policyTypes": ["Ingress"]}), Form, "spec");
    judge(
        KIND,
        json!({"egress": [{"ports": [{"port": 90, "endPort": 80}]}]}),
        Form,
        "spec.egress[0].ports[0].endPort",
    );
    judge(
        KIND,
        json!({"egress": [{"ports": [{"port": "http", "endPort": 80}]}]}),
        Form,
        "spec.egress[0].ports[0].endPort",
    );
    judge(
        KIND,
        json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0"}}]}]}),
        Client,
        "spec.egress[0].to[0].ipBlock.cidr",
    );
}

#[test]
fn tiers_and_profiles() {
    judge("Tier", json!({"order": 5, "defaultAction": "Pass"}), Nobody, "");
    judge("Tier", json!({"defaultAction": "Allow"}), Form, "spec.defaultAction");
    let tier = |name: &str, spec: Value| {
        let mut value = thing("Tier", spec);
        value["metadata"]["name"] = json!(name);
        paths(&value, SCHEMA)
    };
    assert_eq!(tier("default", json!({"order": 1_000_000})), [""; 0]);
    assert_eq!(
        tier("default", json!({"order": 5, "defaultAction": "Pass"})),
        ["spec.defaultAction", "spec.order"]
    );
    assert_eq!(tier("kube-admin", json!({"order": 1000})), ["spec.defaultAction"]);
    assert_eq!(tier("a.b", json!({})), ["metadata.name"]);
    assert_eq!(tier(&"a".repeat(64), json!({})), ["metadata.name"]);
    judge("Profile", json!({"ingress": [{"action": "Allow"}], "labelsToApply": {"a/b": "c"}}), Nobody, "");
    judge("Profile", json!({"labelsToApply": {"a": "b c"}}), Form, "spec.labelsToApply[a]");
}

#[test]
fn names() {
    for (kind, good, bad) in [
        ("NetworkPolicy", vec!["a", "a.b", "knp.default.a.b.c"], vec!["", "A", "a.b.c", "-a", "a_b"]),
        ("GlobalNetworkPolicy", vec!["a", "tier.a"], vec!["a.b.c", "knp.default.a"]),
        ("GlobalNetworkSet", vec!["a.b.c.d"], vec!["a..b", "a-", &"a.".repeat(200)]),
        ("StagedKubernetesNetworkPolicy", vec!["a.b.c"], vec!["A"]),
    ] {
        for (names, fine) in [(good, true), (bad, false)] {
            for name in names {
                let mut value = thing(kind, json!({}));
                value["metadata"]["name"] = json!(name);
                assert_eq!(paths(&value, FORM).is_empty(), fine, "{kind} {name}");
            }
        }
    }
    let with = |metadata: Value| {
        let mut value = thing("GlobalNetworkSet", json!({}));
        value["metadata"] = metadata;
        paths(&value, Options::ALL)
    };
    assert_eq!(
        with(
            json!({"name": "a", "labels": {"x/y": "z", "e": ""}, "annotations": {"Example.com/X": "any thing"}})
        ),
        [""; 0]
    );
    assert_eq!(with(json!({})), ["metadata.name"]);
    assert_eq!(
        with(json!({"name": "a", "labels": {"-x": "z", "y": "a b"}})),
        ["metadata.labels[-x]", "metadata.labels[y]"]
    );
    assert_eq!(with(json!({"name": "a", "labels": {"x": true}})), ["metadata.labels[x]"]);
    assert_eq!(
        with(json!({"name": "a", "labels": {"projectcalico.org/namespace": "z"}})),
        ["metadata.labels[projectcalico.org/namespace]"]
    );
    assert_eq!(with(json!({"name": "a", "annotations": {"a b": "z"}})), ["metadata.annotations[a b]"]);
    assert_eq!(
        with(json!({"name": "a", "annotations": {"a": "z".repeat(300_000)}})),
        ["metadata.annotations"]
    );
    assert_eq!(with(json!({"name": "a", "namespace": "b"})), ["metadata.namespace"]);
}

#[test]
fn pools() {
    let pool = |spec: Value, by: By, path: &str| judge("IPPool", spec, by, &format!("spec.{path}"));
    pool(json!({"cidr": "10.0.0.0/16", "ipipMode": "Always", "natOutgoing": true}), Nobody, "");
    pool(json!({"cidr": "fd00::/64", "vxlanMode": "CrossSubnet", "blockSize": 116}), Nobody, "");
    pool(json!({"cidr": "10.0.0.0/28", "blockSize": 30, "allowedUses": ["LoadBalancer"]}), Nobody, "");
    pool(json!({"cidr": "10.0.0.0/30", "disabled": true}), Nobody, "");
    pool(json!({}), Form, "cidr");
    pool(json!({"cidr": "x"}), Form, "cidr");
    pool(json!({"cidr": "10.0.0.1/16"}), Form, "cidr");
    pool(json!({"cidr": "10.0.0.1"}), Schema, "cidr");
    pool(json!({"cidr": "10.0.0.0/30"}), Schema, "blockSize");
    pool(json!({"cidr": "10.0.0.0/16", "blockSize": 19}), Schema, "blockSize");
    pool(json!({"cidr": "fd00::/64", "blockSize": 26}), Schema, "blockSize");
    pool(json!({"cidr": "10.0.0.0/16", "ipipMode": "Always", "vxlanMode": "Always"}), Schema, "vxlanMode");
    pool(json!({"cidr": "10.0.0.0/16", "ipipMode": "always"}), Schema, "ipipMode");
    pool(json!({"cidr": "fd00::/64", "ipipMode": "Always"}), Schema, "ipipMode");
    pool(json!({"cidr": "169.254.1.0/24"}), Schema, "cidr");
    pool(json!({"cidr": "0.0.0.0/0"}), Schema, "cidr");
    pool(json!({"cidr": "fe80::/64"}), Schema, "cidr");
    pool(json!({"cidr": "10.0.0.0/16", "allowedUses": ["Other"]}), Form, "allowedUses[0]");
    pool(json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer", "Workload"]}), Schema, "allowedUses");
    pool(
        json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"], "nodeSelector": "has(a)"}),
        Schema,
        "nodeSelector",
    );
    pool(
        json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"], "vxlanMode": "Always"}),
        Schema,
        "allowedUses",
    );
    pool(
        json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"], "disableBGPExport": true}),
        Schema,
        "disableBGPExport",
    );
    pool(
        json!({"cidr": "10.0.0.0/16", "allowedUses": ["Tunnel"], "namespaceSelector": "has(a)"}),
        Schema,
        "namespaceSelector",
    );
    pool(json!({"cidr": "10.0.0.0/16", "nodeSelector": "global()"}), Schema, "nodeSelector");
    pool(json!({"cidr": "10.0.0.0/16", "nodeSelector": "x"}), Form, "nodeSelector");
    pool(json!({"cidr": "10.0.0.0/16", "natOutgoing": "true"}), Form, "natOutgoing");
}

#[test]
fn address_kinds() {
    for kind in ["NetworkSet", "GlobalNetworkSet"] {
        judge(kind, json!({"nets": ["10.0.0.1", "10.0.0.1/8", "fd00::/8"]}), Nobody, "");
        judge(kind, json!({"nets": ["10.0.0.0/33"]}), Form, "spec.nets[0]");
        judge(kind, json!({"nets": ["10.0.0.1", "10.0.0.1"]}), Client, "spec.nets[1]");
    }
    judge("IPReservation", json!({"reservedCIDRs": ["10.0.0.0/30"]}), Nobody, "");
    judge("IPReservation", json!({"reservedCIDRs": ["10.0.0.1"]}), Schema, "spec.reservedCIDRs[0]");
    judge("IPReservation", json!({"reservedCIDRs": ["x"]}), Form, "spec.reservedCIDRs[0]");
    judge("IPAMConfiguration", json!({"maxBlocksPerHost": -1}), Form, "spec.maxBlocksPerHost");
    judge("IPAMConfiguration", json!({"maxBlocksPerHost": 2_000_000}), Schema, "spec.maxBlocksPerHost");
    judge("IPAMConfiguration", json!({"ipCooldownSeconds": 1201}), Schema, "spec.ipCooldownSeconds");
    judge("IPAMConfiguration", json!({}), Client, "metadata.name");
    let affinity = |deleted: Value| json!({"state": "confirmed", "node": "n", "cidr": "10.0.0.0/26", "deleted": deleted});
    judge("BlockAffinity", affinity(json!(false)), Nobody, "");
    judge("BlockAffinity", affinity(json!(true)), Form, "spec.deleted");
}

#[test]
fn endpoints() {
    const HOST: &str = "HostEndpoint";
    judge(
        HOST,
        json!({"node": "n", "interfaceName": "*", "expectedIPs": ["10.0.0.1", "fd00::1"], "ports": [{"name": "a-1", "protocol": "TCP", "port": 1}]}),
        Nobody,
        "",
    );
    judge(HOST, json!({"node": "n"}), Schema, "spec.interfaceName");
    judge(HOST, json!({"interfaceName": "eth0"}), Schema, "spec.node");
    judge(HOST, json!({"node": "n", "interfaceName": "eth0 "}), Form, "spec.interfaceName");
    judge(HOST, json!({"node": "n", "expectedIPs": ["10.0.0.1/32"]}), Form, "spec.expectedIPs[0]");
    judge(
        HOST,
        json!({"node": "n", "interfaceName": "eth0", "ports": [{"name": "1", "protocol": "TCP", "port": 1}]}),
        Form,
        "spec.ports[0].name",
    );
    judge(
        HOST,
        json!({"node": "n", "interfaceName": "eth0", "ports": [{"name": "a", "protocol": "ICMP", "port": 1}]}),
        Form,
        "spec.ports[0].protocol",
    );
    judge(
        HOST,
        json!({"node": "n", "interfaceName": "eth0", "ports": [{"name": "a", "protocol": "TCP", "port": 0}]}),
        Form,
        "spec.ports[0].port",
    );
    judge(
        HOST,
        json!({"node": "n", "interfaceName": "eth0", "ports": [{"name": "a", "protocol": "TCP"}]}),
        Form,
        "spec.ports[0].port",
    );
    const WORKLOAD: &str = "WorkloadEndpoint";
    let wep = |extra: Value| {
        let mut spec = json!({"interfaceName": "cali1", "ipNetworks": ["10.0.0.1/32"]});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        spec
    };
    judge(
        WORKLOAD,
        wep(
            json!({"ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "1.1.1.1"}], "mac": "ee:ee:ee:ee:ee:ee"}),
        ),
        Nobody,
        "",
    );
    judge(WORKLOAD, json!({}), Form, "spec.interfaceName");
    judge(WORKLOAD, wep(json!({"ipNetworks": ["10.0.0.0/24"]})), Form, "spec.ipNetworks[0]");
    judge(
        WORKLOAD,
        wep(json!({"ipNATs": [{"internalIP": "10.0.0.2", "externalIP": "1.1.1.1"}]})),
        Form,
        "spec.ipNATs[0].internalIP",
    );
    judge(
        WORKLOAD,
        wep(json!({"ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "fd00::1"}]})),
        Form,
        "spec.ipNATs[0].externalIP",
    );
    judge(WORKLOAD, wep(json!({"ipv4Gateway": "fd00::1"})), Form, "spec.ipv4Gateway");
    judge(WORKLOAD, wep(json!({"ports": [{"protocol": "TCP", "port": 1}]})), Form, "spec.ports[0].name");
    judge(WORKLOAD, wep(json!({"ports": [{"protocol": "TCP", "port": 1, "hostPort": 2}]})), Nobody, "");
    judge("Node", json!({"bgp": {"ipv4Address": "10.0.0.1/24", "asNumber": "64512"}}), Nobody, "");
    judge("Node", json!({"bgp": {}}), Form, "spec.bgp");
    judge("Node", json!({"bgp": {"ipv4Address": "fd00::1/64"}}), Form, "spec.bgp.ipv4Address");
    judge("Node", json!({"addresses": [{"address": "node.example", "type": "x"}]}), Nobody, "");
    judge("Node", json!({"addresses": [{"address": 1}]}), Form, "spec.addresses[0].address");
    let mut node = thing("Node", json!({}));
    node["status"] = json!({"wireguardPublicKey": "x"});
    assert_eq!(paths(&node, FORM), ["status.wireguardPublicKey"]);
    node["status"] = json!({"wireguardPublicKey": "jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY="});
    assert_eq!(paths(&node, FORM), [""; 0]);
}

#[test]
fn bgp_kinds() {
    const CONFIG: &str = "BGPConfiguration";
    judge(
        CONFIG,
        json!({"asNumber": 64512, "logSeverityScreen": "debug", "serviceClusterIPs": [{"cidr": "10.0.0.0/16"}], "nodeMeshMaxRestartTime": "10s",
        "communities": [{"name": "a", "value": "64512:1"}], "prefixAdvertisements": [{"cidr": "10.0.0.0/16", "communities": ["a", "1:2:3"]}]}),
        Nobody,
        "",
    );
    judge(CONFIG, json!({"asNumber": "64512.12"}), Schema, "spec.asNumber");
    judge(CONFIG, json!({"asNumber": -1}), Form, "spec.asNumber");
    judge(
        CONFIG,
        json!({"serviceClusterIPs": [{"cidr": "10.0.0.1"}]}),
        Schema,
        "spec.serviceClusterIPs[0].cidr",
    );
    judge(
        CONFIG,
        json!({"serviceClusterIPs": [{"cidr": "10.0.0.1/8"}]}),
        Form,
        "spec.serviceClusterIPs[0].cidr",
    );
    judge(CONFIG, json!({"logSeverityScreen": "loud"}), Schema, "spec.logSeverityScreen");
    judge(CONFIG, json!({"communities": [{"name": "a", "value": "64512:1"}]}), Schema, "spec.communities");
    judge(
        CONFIG,
        json!({"communities": [{"name": "a", "value": "70000:1"}], "prefixAdvertisements": [{"cidr": "10.0.0.0/16", "communities": ["a"]}]}),
        Form,
        "spec.communities[0].value",
    );
    judge(
        CONFIG,
        json!({"prefixAdvertisements": [{"cidr": "10.0.0.0/16", "communities": ["b"]}]}),
        Form,
        "spec.prefixAdvertisements[0].communities[0]",
    );
    judge(
        CONFIG,
        json!({"nodeToNodeMeshEnabled": false, "nodeMeshMaxRestartTime": "10s"}),
        Schema,
        "spec.nodeMeshMaxRestartTime",
    );
    judge(CONFIG, json!({"nodeMeshMaxRestartTime": "10"}), Form, "spec.nodeMeshMaxRestartTime");
    judge(CONFIG, json!({"listenPort": 70000}), Form, "spec.listenPort");
    judge(CONFIG, json!({"ignoredInterfaces": ["eth*", "*"]}), Form, "spec.ignoredInterfaces[1]");
    const PEER: &str = "BGPPeer";
    judge(PEER, json!({"peerIP": "10.0.0.1", "asNumber": 64512}), Nobody, "");
    judge(
        PEER,
        json!({"peerIP": "[fd00::1]:500", "asNumber": "1.2", "node": "n", "ttlSecurity": 1}),
        Nobody,
        "",
    );
    judge(PEER, json!({"peerIP": "10.0.0.1:0"}), Form, "spec.peerIP");
    judge(PEER, json!({"peerIP": "10.0.0"}), Form, "spec.peerIP");
    judge(PEER, json!({"peerIP": "10.0.0.1", "peerSelector": "has(a)"}), Schema, "spec.peerSelector");
    judge(PEER, json!({"node": "n", "nodeSelector": "has(a)"}), Schema, "spec.nodeSelector");
    judge(PEER, json!({"peerSelector": "has(a)", "asNumber": 1}), Schema, "spec.asNumber");
    judge(PEER, json!({"localWorkloadSelector": "has(a)"}), Schema, "spec.asNumber");
    judge(PEER, json!({"reachableBy": "10.0.0.1"}), Schema, "spec.reachableBy");
    judge(PEER, json!({"reachableBy": "10.0.0.1", "peerIP": "fd00::1"}), Form, "spec.reachableBy");
    judge(
        PEER,
        json!({"keepOriginalNextHop": true, "nextHopMode": "Self"}),
        Schema,
        "spec.keepOriginalNextHop",
    );
    judge(PEER, json!({"ttlSecurity": 256}), Form, "spec.ttlSecurity");
}

#[test]
fn bgp_filters() {
    let filter = |key: &str, rule: Value, by: By, path: &str| {
        judge("BGPFilter", json!({ key: [rule] }), by, &format!("spec.{key}[0]{path}"));
    };
    filter(
        "exportV4",
        json!({"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 8, "max": 24}}),
        Nobody,
        "",
    );
    filter(
        "importV6",
        json!({"action": "Accept", "operations": [{"addCommunity": {"value": "1:2"}}, {"setPriority": {"value": 5}}, {"prependASPath": {"prefix": [1, 2]}}]}),
        Nobody,
        "",
    );
    filter("exportV4", json!({}), Form, ".action");
    filter("exportV4", json!({"action": "Accept", "cidr": "fd00::/8", "matchOperator": "In"}), Form, ".cidr");
    filter(
        "exportV6",
        json!({"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In"}),
        Form,
        ".cidr",
    );
    filter("exportV4", json!({"action": "Accept", "cidr": "10.0.0.0/8"}), Schema, ".matchOperator");
    filter("exportV4", json!({"action": "Accept", "prefixLength": {"min": 1}}), Schema, ".prefixLength");
    filter(
        "exportV4",
        json!({"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 33}}),
        Form,
        ".prefixLength.min",
    );
    filter(
        "exportV4",
        json!({"action": "Reject", "operations": [{"setPriority": {"value": 5}}]}),
        Schema,
        ".operations",
    );
    filter("exportV4", json!({"action": "Accept", "operations": [{}]}), Schema, ".operations[0]");
    filter(
        "exportV4",
        json!({"action": "Accept", "communities": {"values": ["70000:1"]}}),
        Schema,
        ".communities.values[0]",
    );
    filter("exportV4", json!({"action": "Accept", "communities": {}}), Form, ".communities.values");
    filter("exportV4", json!({"action": "Accept", "source": "x"}), Form, ".source");
    filter("exportV4", json!({"action": "Accept", "priority": 0}), Form, ".priority");
    filter("exportV4", json!({"action": "Accept", "interface": "eth 0"}), Form, ".interface");
}

#[test]
fn configurations() {
    const FELIX: &str = "FelixConfiguration";
    judge(
        FELIX,
        json!({"bpfEnabled": true, "logSeverityScreen": "warning", "iptablesRefreshInterval": "90s", "routeTableRanges": [{"min": 1, "max": 250}],
        "failsafeInboundHostPorts": [{"protocol": "TCP", "port": 22}], "kubeNodePortRanges": ["30000:32767"], "natPortRange": "1:2", "healthTimeoutOverrides": [{"name": "a", "timeout": "5s"}],
        "nodeSelector": "has(a)", "bpfLogFilters": {"eth0": "tcp"}, "featureDetectOverride": "A=true,B=false", "istioDSCPMark": "EF"}),
        Nobody,
        "",
    );
    for (spec, by) in [
        (json!({"bpfEnabled": "yes"}), Form),
        (json!({"iptablesRefreshInterval": "1500ms"}), Schema),
        (json!({"iptablesRefreshInterval": "90"}), Form),
        (json!({"logSeverityScreen": "loud"}), Schema),
        (json!({"bpfAttachType": "x"}), Form),
        (json!({"routeTableRange": {"min": 1, "max": 251}}), Form),
        (json!({"routeTableRanges": [{"min": 1, "max": 100_000}]}), Form),
        (json!({"kubeNodePortRanges": ["a"]}), Form),
        (json!({"natOutgoingAddress": "fd00::1"}), Schema),
        (json!({"natOutgoingAddress": "x"}), Form),
        (json!({"debugPort": 70000}), Form),
        (json!({"wireguardListeningPort": 0}), Form),
        (json!({"goGCThreshold": -2}), Form),
        (json!({"mtuIfacePattern": "("}), Form),
        (json!({"bpfLogFilters": {"eth 0": "tcp"}}), Form),
        (json!({"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22}]}), Client),
        (json!({"nodeSelector": "has("}), Client),
        (json!({"serviceLoopPrevention": "drop"}), Form),
        (json!({"bpfPSNATPorts": "http_x"}), Form),
        (json!({"iptablesBackend": ""}), Schema),
        (json!({"openstackRegion": "A"}), Form),
        (json!({"featureDetectOverride": "A=maybe"}), Schema),
        (json!({"logActionRateLimit": "0/second"}), Schema),
        (json!({"bpfConntrackTimeouts": {"udpTimeout": "soon"}}), Schema),
        (json!({"externalNodesList": ["fd00::/8"]}), Form),
        (json!({"istioDSCPMark": 64}), Client),
    ] {
        let value = thing(FELIX, spec.clone());
        let refused = [FORM, SCHEMA, Options::ALL].map(|options| !paths(&value, options).is_empty());
        assert_eq!(refused, [by == Form, by != Client, true], "{spec}");
    }
    let mut scoped = thing(FELIX, json!({"nodeSelector": "has(a)"}));
    scoped["metadata"]["name"] = json!("node.n1");
    assert_eq!(paths(&scoped, SCHEMA), ["spec.nodeSelector"]);
    judge(
        "CalicoNodeStatus",
        json!({"node": "n", "classes": ["BGP"], "updatePeriodSeconds": 10}),
        Nobody,
        "",
    );
    judge("CalicoNodeStatus", json!({"node": "n", "classes": ["BGP"]}), Form, "spec.updatePeriodSeconds");
    judge(
        "CalicoNodeStatus",
        json!({"node": "n", "classes": ["BGP", "BGP"], "updatePeriodSeconds": 10}),
        Form,
        "spec.classes[1]",
    );
    judge("ClusterInformation", json!({"datastoreReady": 1}), Form, "spec.datastoreReady");
    judge(
        "KubeControllersConfiguration",
        json!({"controllers": {"node": {"syncLabels": "x"}}}),
        Form,
        "spec.controllers.node.syncLabels",
    );
}

#[test]
fn all_problems_at_once_with_their_place() {
    let text = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  name: Bad\nspec:\n  selektor: all()\n  ingress:\n  - action: allow\n    protocol: TCP\n    destination:\n      ports: [0, 80]\n  - action: Deny\n    source:\n      nets: [10.0.0.1]\n";
    let document = crate::document::parse("f.yaml", text).unwrap().remove(0);
    let shown: Vec<String> =
        validate(&document).iter().map(|p| format!("{} {p}", document.locate(&p.path))).collect();
    assert_eq!(
        shown,
        [
            "4:3 metadata.name: \"Bad\" is not a name: use lower case letters, digits, \"-\" and \".\", with a letter or digit at both ends",
            "8:5 spec.ingress[0].action: \"allow\" must be written Allow",
            "11:15 spec.ingress[0].destination.ports[0]: ports begin at 1",
            "14:14 spec.ingress[1].source.nets[0]: \"10.0.0.1\" is an address; write it as the prefix 10.0.0.1/32",
            "6:3 spec.selektor: is no field here; did you mean \"selector\"?",
        ]
    );
}

#[test]
fn foreign_and_unknown_kinds() {
    let kinds = |value: Value| {
        validate_value(&value, Options::ALL).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicys"})),
        [
            "kind: \"GlobalNetworkPolicys\" is no kind of projectcalico.org/v3; did you mean GlobalNetworkPolicy?"
        ]
    );
    assert_eq!(
        kinds(json!({"apiVersion": "projectcalico.org/v3", "kind": "gnp"}))[0],
        "kind: \"gnp\" is no kind of projectcalico.org/v3; did you mean GlobalNetworkPolicy?"
    );
    assert_eq!(kinds(json!({})), ["kind: is missing; say what this is, as GlobalNetworkPolicy"]);
    assert_eq!(kinds(json!([])), ["an object with apiVersion and kind is needed"]);
    assert_eq!(
        kinds(
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}})
        ),
        [""; 0]
    );
    assert_eq!(kinds(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": "x"}})).len(), 1);
    assert_eq!(kinds(json!({"apiVersion": "apps/v1", "kind": "Deployment"})), [""; 0]);
    assert_eq!(
        kinds(
            json!({"apiVersion": "projectcalico.org/v1", "kind": "Tier", "metadata": {"name": "a"}, "extra": 1})
        ),
        [
            "apiVersion: is \"projectcalico.org/v1\"; write projectcalico.org/v3",
            "extra: is no field here; remove it, or check the indentation",
        ]
    );
}

#[test]
fn defaults() {
    let filled = |kind: &str, spec: Value| {
        let mut value = thing(kind, spec);
        fill_defaults(&mut value);
        value["spec"].take()
    };
    assert_eq!(filled("NetworkPolicy", json!({})), json!({"tier": "default"}));
    assert_eq!(
        filled("StagedNetworkPolicy", json!({"tier": "a"})),
        json!({"tier": "a", "stagedAction": "Set"})
    );
    assert_eq!(
        filled("IPPool", json!({"cidr": "10.0.0.0/8"})),
        json!({"cidr": "10.0.0.0/8", "nodeSelector": "all()", "assignmentMode": "Automatic"})
    );
    assert_eq!(filled("Tier", json!({"defaultAction": null})), json!({"defaultAction": "Deny"}));
    assert_eq!(
        filled("IPAMConfiguration", json!({})),
        json!({"strictAffinity": false, "maxBlocksPerHost": 0, "autoAllocateBlocks": true})
    );
    assert_eq!(
        filled("KubeControllersConfiguration", json!({"controllers": {"loadBalancer": {}}})),
        json!({"healthChecks": "Enabled", "controllers": {"loadBalancer": {"assignIPs": "AllServices"}}})
    );
    assert_eq!(
        filled("BGPPeer", json!({"password": {"secretKeyRef": {"key": "k"}}})),
        json!({"password": {"secretKeyRef": {"key": "k", "name": ""}}})
    );

    let created = |kind: &str, spec: Value| {
        let mut value = thing(kind, spec);
        prepare_for_create(&mut value);
        value
    };
    for (rules, types) in [
        (json!({}), json!(["Ingress"])),
        (json!({"egress": [{"action": "Deny"}]}), json!(["Egress"])),
        (
            json!({"ingress": [{"action": "Deny"}], "egress": [{"action": "Deny"}]}),
            json!(["Ingress", "Egress"]),
        ),
        (json!({"types": ["Egress"]}), json!(["Egress"])),
    ] {
        assert_eq!(created("GlobalNetworkPolicy", rules.clone())["spec"]["types"], types, "{rules}");
    }
    assert_eq!(
        created("NetworkPolicy", json!({"tier": "ops"}))["metadata"]["labels"],
        json!({"projectcalico.org/tier": "ops"})
    );
    assert_eq!(
        created("IPPool", json!({"cidr": "FD00::1/64"}))["spec"],
        json!({"cidr": "fd00::/64", "nodeSelector": "all()", "assignmentMode": "Automatic", "blockSize": 122, "allowedUses": ["Workload", "Tunnel"], "ipipMode": "Never", "vxlanMode": "Never"})
    );
}

proptest::proptest! {
    #[test]
    fn odd_objects_are_survived(
        texts in proptest::collection::vec(proptest::prelude::any::<String>(), 6),
        number in proptest::prelude::any::<i64>(),
        shape in 0..6u8,
    ) {
        let value = |i: usize| match (shape as usize + i) % 6 {
            0 => json!(texts[i]),
            1 => json!([texts[i], number]),
            2 => json!({ &texts[i]: number, "nets": [texts[0]], "ports": [number, texts[1]], "action": texts[2] }),
            3 => json!([{ "source": { "nets": [texts[i]], "services": { "name": texts[3] } }, "action": "Allow" }]),
            4 => json!(number),
            _ => json!(null),
        };
        for resource in crate::v3::RESOURCES {
            let spec = json!({
                "ingress": value(0), "selector": value(1), "cidr": value(2), "types": value(3), "exportV4": value(4), "asNumber": value(5),
                "nets": value(1), "ports": value(2), "allowedUses": value(3), "communities": value(4), "blockSize": value(0), "stagedAction": texts[4],
            });
            let mut object = thing(resource.kind, spec);
            object["metadata"]["labels"] = value(3);
            coerce(&mut object);
            validate_value(&object, Options::ALL);
            prepare_for_create(&mut object);
        }
    }
}
