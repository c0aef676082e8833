//! Round trips and names of the kinds.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Reads as `T` and writes again.
fn round<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) -> Value {
    let text = value.to_string();
    let typed: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    serde_json::to_value(typed).unwrap()
}

#[test]
fn objects_survive_a_round_trip() {
    let np = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": "a", "namespace": "shop", "uid": "u", "labels": {"x": "y"}, "finalizers": ["f"]},
        "spec": {
            "tier": "default", "order": 10.5, "selector": "app == 'a'", "types": ["Ingress", "Egress"],
            "ingress": [{
                "action": "Allow", "protocol": "TCP", "ipVersion": 4, "newField": {"x": 1},
                "source": {"nets": ["10.0.0.0/8"], "serviceAccounts": {"names": ["a"], "selector": "b"}},
                "destination": {"ports": [80, "90:100", "http"], "notPorts": [1]},
                "http": {"methods": ["GET"], "paths": [{"exact": "/a"}, {"prefix": "/b"}]},
            }, {"action": "Deny", "protocol": 6, "icmp": {"type": 8, "code": 0}, "notICMP": {"type": 1}}],
        },
    });
    assert_eq!(round::<NetworkPolicy>(&np), np);
    let gnp = json!({
        "metadata": {"name": "a"},
        "spec": {"preDNAT": true, "applyOnForward": true, "doNotTrack": false, "ingress": null},
    });
    assert_eq!(
        round::<GlobalNetworkPolicy>(&gnp),
        json!({"metadata": {"name": "a"}, "spec": {"preDNAT": true, "applyOnForward": true}})
    );
    let pool = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"},
        "spec": {"cidr": "fd00::/64", "vxlanMode": "Never", "natOutgoing": true, "disableBGPExport": true, "blockSize": 122},
        "status": {"conditions": []},
    });
    assert_eq!(round::<IpPool>(&pool), pool);
    let wep = json!({
        "metadata": {"name": "n-k8s-p-eth0", "namespace": "d"},
        "spec": {"orchestrator": "k8s", "containerID": "c", "ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "1.1.1.1"}],
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "hostPort": 0, "hostIP": ""}],
            "qosControls": {"ingressBandwidth": 5, "dscp": "EF"}},
    });
    assert_eq!(round::<WorkloadEndpoint>(&wep), wep);
    let felix = json!({"metadata": {"name": "default"}, "spec": {"bpfEnabled": true, "anything": [1]}});
    assert_eq!(round::<FelixConfiguration>(&felix), felix);
    let node = json!({
        "metadata": {"name": "n1"},
        "spec": {"bgp": {"asNumber": 64512, "ipv4Address": "10.0.0.1/24", "ipv4IPIPTunnelAddr": "10.1.0.1"},
            "ipv4VXLANTunnelAddr": "10.2.0.1", "vxlanTunnelMACAddrV6": "66:00:00:00:00:01",
            "wireguard": {"interfaceIPv4Address": "10.3.0.1"},
            "addresses": [{"address": "10.0.0.1/24", "type": "CalicoNodeIP"}]},
        "status": {"wireguardPublicKey": "k", "podCIDRs": ["10.9.0.0/24"]},
    });
    assert_eq!(round::<Node>(&node), node);
    let typed: Node = serde_json::from_value(node).unwrap();
    assert_eq!(typed.typed_status().pod_cidrs, ["10.9.0.0/24"]);
}

#[test]
fn staged_kubernetes_policy_keeps_its_selector() {
    let sknp = json!({
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"stagedAction": "Set", "podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}], "policyTypes": ["Ingress"]},
    });
    assert_eq!(round::<StagedKubernetesNetworkPolicy>(&sknp), sknp);
}

#[test]
fn always_written_fields() {
    assert_eq!(
        serde_json::to_value(IpamConfiguration::new("", "default")).unwrap()["spec"],
        json!({"strictAffinity": false, "autoAllocateBlocks": false})
    );
    assert_eq!(serde_json::to_value(Rule::default()).unwrap(), json!({"action": ""}));
    let affinity = json!({"metadata": {}, "spec": {"state": "confirmed", "node": "n", "cidr": "10.0.0.0/26", "deleted": "true"}});
    assert_eq!(round::<BlockAffinity>(&affinity)["spec"]["deleted"], json!(true));
}

#[test]
fn as_numbers() {
    for (value, want) in [
        (json!(64512), Some(64512)),
        (json!("64512"), Some(64512)),
        (json!("1.2"), Some(65538)),
        (json!(-1), None),
        (json!("1.70000"), None),
        (json!("x"), None),
    ] {
        assert_eq!(serde_json::from_value::<AsNumber>(value.clone()).ok().map(|a| a.0), want, "{value}");
    }
}

#[test]
fn names_and_paths() {
    for (word, kind) in [
        ("gnp", "GlobalNetworkPolicy"),
        ("NetworkPolicies", "NetworkPolicy"),
        ("np", "NetworkPolicy"),
        ("ippool", "IPPool"),
        ("ipamconfig", "IPAMConfiguration"),
        ("IPAMConfig", "IPAMConfig"),
        ("hep", "HostEndpoint"),
        ("sknp", "StagedKubernetesNetworkPolicy"),
    ] {
        assert_eq!(lookup(word).map(|r| r.kind), Some(kind), "{word}");
    }
    assert!(lookup("pod").is_none());
    for resource in RESOURCES {
        let namespace = if resource.namespaced { "ns" } else { "" };
        let path = resource.path(namespace, "x");
        assert_eq!(parse_path(&path), Some((resource, namespace, "x")));
        assert!(path.starts_with(&resource.list_prefix(Some(namespace))));
        assert!(lookup(resource.plural).is_some());
    }
    for bad in [
        "/calico/resources/v3/projectcalico.org/networkpolicies/a",
        "/calico/resources/v3/projectcalico.org/tiers/a/b",
        "/calico/resources/v3/projectcalico.org/tiers/",
        "/x",
    ] {
        assert!(parse_path(bad).is_none(), "{bad}");
    }
}

/// A kind's object with fields that nobody knows, beside some that it knows.
fn with_unknown_fields(known: &Value, unknown: &Value) -> Value {
    let mut spec = known.clone();
    spec["x-unknown"] = unknown.clone();
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "Any", "metadata": {"name": "a", "x-unknown": unknown},
        "spec": spec, "x-unknown": unknown,
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What is read is written again, of every kind: what is unknown as it was, and the second time as the first.
    #[test]
    fn unknown_fields_survive(unknown in any_json()) {
        let rule = json!({"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, "1:2"]}, "x-unknown": &unknown});
        let policy = json!({"order": 1.5, "selector": "all()", "ingress": [&rule]});
        macro_rules! survives {
            ($($kind:ty: $spec:expr),* $(,)?) => {$({
                let object = with_unknown_fields(&$spec, &unknown);
                let written = round::<$kind>(&object);
                for pointer in ["/x-unknown", "/spec/x-unknown", "/metadata/x-unknown"] {
                    prop_assert_eq!(written.pointer(pointer), Some(&unknown), "{} {}", stringify!($kind), pointer);
                }
                prop_assert_eq!(&round::<$kind>(&written), &written, "{}", stringify!($kind));
                if let Some(rules) = object.pointer("/spec/ingress/0/x-unknown") {
                    prop_assert_eq!(written.pointer("/spec/ingress/0/x-unknown"), Some(rules));
                }
            })*};
        }
        survives! {
            NetworkPolicy: policy, GlobalNetworkPolicy: policy, StagedNetworkPolicy: policy,
            StagedGlobalNetworkPolicy: policy, Profile: json!({"ingress": [&rule], "labelsToApply": {"a": "b"}}),
            StagedKubernetesNetworkPolicy: json!({"podSelector": {"matchLabels": {"a": "b"}}}),
            Tier: json!({"order": 1, "defaultAction": "Pass"}),
            NetworkSet: json!({"nets": ["10.0.0.0/8"]}), GlobalNetworkSet: json!({"nets": []}),
            IpPool: json!({"cidr": "10.0.0.0/16", "blockSize": 26}), IpReservation: json!({"reservedCIDRs": []}),
            IpamConfiguration: json!({"strictAffinity": true}),
            HostEndpoint: json!({"node": "n", "expectedIPs": ["10.0.0.1"]}),
            WorkloadEndpoint: json!({"node": "n", "ipNetworks": ["10.0.0.1/32"]}),
            Node: json!({"bgp": {"asNumber": 1}}), BgpConfiguration: json!({"asNumber": 1}),
            BgpPeer: json!({"peerIP": "10.0.0.1"}), BgpFilter: json!({"importV4": [{"action": "Accept"}]}),
            ClusterInformation: json!({"datastoreReady": false}), FelixConfiguration: json!({"bpfEnabled": false}),
            KubeControllersConfiguration: json!({"controllers": {"node": {}}}),
        }
    }
}
