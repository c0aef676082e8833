//! The entry point, over the life of objects.

use super::*;
use crate::{Change, Key, Value};
use serde_json::{Value as Json, json};

const PREFIX: &str = "/calico/resources/v3/projectcalico.org";

struct Feed(Converter);

impl Feed {
    fn new() -> Self {
        Self(Converter::new(Options::default()))
    }

    fn raw(&mut self, path: &str, value: Option<&str>) -> (Vec<Change>, Vec<Diagnostic>) {
        self.0.entry(path, value.map(str::as_bytes))
    }

    /// Changes as `path = value`, sorted; nothing may be complained about.
    fn put(&mut self, path: &str, value: Json) -> Vec<(String, Json)> {
        let (changes, diagnostics) = self.raw(path, Some(&value.to_string()));
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        shown(changes)
    }

    fn delete(&mut self, path: &str) -> Vec<(String, Json)> {
        let (changes, diagnostics) = self.raw(path, None);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        shown(changes)
    }
}

fn shown(changes: Vec<Change>) -> Vec<(String, Json)> {
    let mut shown: Vec<_> = changes
        .into_iter()
        .map(|c| (c.key.to_path().unwrap(), c.value.map_or(json!("gone"), |v| v.to_json())))
        .collect();
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    shown
}

fn pod(node: &str, ip: &str) -> Json {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": node}, "status": {"podIP": ip}})
}

#[test]
fn life_of_a_pod() {
    let path = "/tortie/kubernetes/pods/shop/web-1";
    let key = |node: &str| format!("/calico/v1/host/{node}/workload/k8s/shop%2fweb-1/endpoint/eth0");
    let mut feed = Feed::new();
    assert_eq!(feed.put(path, json!({"spec": {}})), []);
    assert_eq!(feed.put(path, json!({"spec": {"nodeName": "n1"}})), []);
    let changes = feed.put(path, pod("n1", "10.0.0.1"));
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].0, key("n1"));
    assert_eq!(
        changes[0].1,
        json!({
            "state": "active", "name": crate::names::veth("cali", "shop", "web-1"), "active_instance_id": "", "mac": null,
            "profile_ids": ["kns.shop"], "ipv4_nets": ["10.0.0.1/32"], "ipv6_nets": [],
            "labels": {"app": "web", "projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s"},
        })
    );
    assert_eq!(feed.put(path, pod("n1", "10.0.0.1")), [], "nothing changed");
    assert_eq!(feed.put(path, pod("n1", "fd00::1"))[0].1["ipv6_nets"], json!(["fd00::1/128"]));
    let moved = feed.put(path, pod("n2", "10.0.0.1"));
    assert_eq!(moved.iter().map(|c| c.0.clone()).collect::<Vec<_>>(), [key("n1"), key("n2")]);
    assert_eq!(moved[0].1, json!("gone"));
    let mut finished = pod("n2", "10.0.0.1");
    finished["status"]["phase"] = json!("Succeeded");
    assert_eq!(feed.put(path, finished), [(key("n2"), json!("gone"))]);
    feed.put(path, pod("n2", "10.0.0.1"));
    let mut host = pod("n2", "10.0.0.1");
    host["spec"]["hostNetwork"] = json!(true);
    assert_eq!(feed.put(path, host), [(key("n2"), json!("gone"))]);
    feed.put(path, pod("n2", "10.0.0.1"));
    assert_eq!(feed.delete(path), [(key("n2"), json!("gone"))]);
    assert_eq!(feed.delete(path), []);
}

#[test]
fn what_cannot_be_used_is_gone_and_reported() {
    let path = "/tortie/kubernetes/pods/shop/a";
    let mut feed = Feed::new();
    feed.put(path, pod("n1", "10.0.0.1"));
    for bad in [pod("n1", "10.0.0"), json!({"spec": "x"}), json!(7)] {
        feed.put(path, pod("n1", "10.0.0.1"));
        let (changes, diagnostics) = feed.raw(path, Some(&bad.to_string()));
        assert!(matches!(&changes[..], [Change { value: None, .. }]), "{bad}: {changes:?}");
        assert_eq!(diagnostics[0].object, "Pod shop/a");
        assert!(diagnostics[0].fatal);
    }
    feed.put(path, pod("n1", "10.0.0.1"));
    let (changes, diagnostics) = feed.raw(path, Some("{"));
    assert_eq!(changes.len(), 1);
    assert!(diagnostics[0].to_string().starts_with("Pod shop/a: cannot be read: "));
}

#[test]
fn namespaces_and_accounts() {
    let mut feed = Feed::new();
    let changes =
        feed.put("/tortie/kubernetes/namespaces/shop", json!({"metadata": {"labels": {"team": "a"}}}));
    assert_eq!(
        changes.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(),
        [
            "/calico/resources/v3/projectcalico.org/profiles/kns.shop",
            "/calico/v1/policy/profile/kns.shop/labels",
            "/calico/v1/policy/profile/kns.shop/rules",
        ]
    );
    assert_eq!(
        changes[1].1,
        json!({"pcns.team": "a", "pcns.projectcalico.org/name": "shop", "pcns.kubernetes.io/metadata.name": "shop"})
    );
    assert_eq!(
        changes[2].1,
        json!({"inbound_rules": [{"action": "allow"}], "outbound_rules": [{"action": "allow"}]})
    );
    let relabelled =
        feed.put("/tortie/kubernetes/namespaces/shop", json!({"metadata": {"labels": {"team": "b"}}}));
    assert_eq!(relabelled.len(), 2, "the rules are the same");
    assert_eq!(feed.delete("/tortie/kubernetes/namespaces/shop").len(), 3);
    let account = feed.put("/tortie/kubernetes/serviceaccounts/shop/web", json!({"metadata": {}}));
    assert_eq!(
        account[1],
        (
            "/calico/v1/policy/profile/ksa.shop.web/labels".into(),
            json!({"pcsa.projectcalico.org/name": "web"})
        )
    );
    assert_eq!(account[2].1, json!({}));
}

#[test]
fn kubernetes_policies() {
    let mut feed = Feed::new();
    let path = "/tortie/kubernetes/networkpolicies/shop/web";
    let changes =
        feed.put(path, json!({"spec": {"podSelector": {}, "egress": [{"to": [{"namespaceSelector": {}}]}]}}));
    assert_eq!(
        changes,
        [(
            "/calico/v1/policy/KubernetesNetworkPolicy/shop/web".to_owned(),
            json!({
                "namespace": "shop", "tier": "default", "order": 1000.0, "types": ["ingress", "egress"],
                "selector": "(projectcalico.org/orchestrator == 'k8s') && projectcalico.org/namespace == 'shop'",
                "outbound_rules": [{
                    "action": "allow", "orig_dst_selector": "projectcalico.org/orchestrator == 'k8s'", "orig_dst_namespace_selector": "all()",
                    "dst_selector": "(has(projectcalico.org/namespace)) && (projectcalico.org/orchestrator == 'k8s')",
                }],
            }),
        )]
    );
    let (changes, diagnostics) =
        feed.raw(path, Some(&json!({"spec": {"ingress": [{"ports": [{"port": 99999}]}]}}).to_string()));
    assert!(
        matches!(&changes[..], [Change { value: Some(Value::Policy(p)), .. }] if p.inbound_rules.is_empty())
    );
    assert!(!diagnostics[0].fatal);
    assert_eq!(diagnostics[0].object, "NetworkPolicy shop/web");
    let cnp = "/tortie/kubernetes/clusternetworkpolicies/a";
    let good = json!({"spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}});
    assert_eq!(feed.put(cnp, good)[0].0, "/calico/v1/policy/KubernetesClusterNetworkPolicy//a");
    let (changes, diagnostics) = feed.raw(cnp, Some(r#"{"spec": {"tier": "x"}}"#));
    assert!(matches!(&changes[..], [Change { value: None, .. }]) && diagnostics[0].fatal);
}

#[test]
fn objects_of_kubernetes_pass_through() {
    let mut feed = Feed::new();
    let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1"}});
    assert_eq!(
        feed.put("/tortie/kubernetes/services/shop/s", service.clone()),
        [(format!("{PREFIX}/kubernetesservice/shop/s"), service)]
    );
    assert_eq!(
        feed.put("/tortie/kubernetes/endpointslices/shop/s-1", json!({}))[0].0,
        format!("{PREFIX}/kubernetesendpointslices/shop/s-1")
    );
    assert_eq!(feed.delete("/tortie/kubernetes/services/shop/s").len(), 1);
}

#[test]
fn pools_of_one_cidr() {
    let pool = |nat: bool| json!({"spec": {"cidr": "10.0.0.0/16", "natOutgoing": nat}});
    let key = "/calico/v1/ipam/v4/pool/10.0.0.0-16";
    let path = |name: &str| format!("{PREFIX}/ippools/{name}");
    let mut feed = Feed::new();
    assert_eq!(feed.put(&path("b"), pool(false))[0].1["masquerade"], json!(false));
    assert_eq!(feed.put(&path("a"), pool(true))[0].1["masquerade"], json!(true));
    let (changes, diagnostics) = feed.raw(&path("c"), Some(&pool(false).to_string()));
    assert!(changes.is_empty());
    assert!(diagnostics[0].message.starts_with("a claims the same"), "{diagnostics:?}");
    let moved = feed.put(&path("a"), json!({"spec": {"cidr": "fd00::/64"}}));
    assert_eq!(
        moved.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(),
        [key, "/calico/v1/ipam/v6/pool/fd00::-64"]
    );
    assert_eq!(moved[0].1["masquerade"], json!(false), "b takes over");
    let (changes, diagnostics) = feed.raw(&path("b"), Some(r#"{"spec": {"cidr": "x"}}"#));
    assert_eq!(shown(changes)[0].1["cidr"], json!("10.0.0.0/16"), "c takes over");
    assert!(diagnostics[0].fatal);
    assert_eq!(feed.delete(&path("c")), [(key.to_owned(), json!("gone"))]);
    assert_eq!(feed.delete(&path("c")), []);
}

#[test]
fn host_endpoint_moves() {
    let mut feed = Feed::new();
    let path = format!("{PREFIX}/hostendpoints/eth");
    feed.put(
        &path,
        json!({"spec": {"node": "n1", "interfaceName": "eth0", "expectedIPs": ["10.0.0.1", "fd00::1"]}}),
    );
    let changes = feed.put(&path, json!({"metadata": {"labels": {"a": "b"}}, "spec": {"node": "n2", "ports": [{"name": "x", "protocol": "TCP", "port": 5}]}}));
    assert_eq!(
        changes,
        [
            ("/calico/v1/host/n1/endpoint/eth".to_owned(), json!("gone")),
            (
                "/calico/v1/host/n2/endpoint/eth".to_owned(),
                json!({"labels": {"a": "b"}, "ports": [{"name": "x", "protocol": "tcp", "port": 5}]})
            ),
        ]
    );
    let (changes, diagnostics) = feed.raw(&path, Some(r#"{"spec": {}}"#));
    assert_eq!(shown(changes), [("/calico/v1/host/n2/endpoint/eth".to_owned(), json!("gone"))]);
    assert_eq!(diagnostics[0].field, "spec.node");
}

#[test]
fn settings() {
    let mut feed = Feed::new();
    let path = format!("{PREFIX}/felixconfigurations/default");
    let changes = feed.put(&path, json!({
        "metadata": {"annotations": {"config.projectcalico.org/Extra": "1", "other": "x"}},
        "spec": {"bpfEnabled": true, "logPrefix": "", "ipv6Support": false, "iptablesRefreshInterval": "1m30s", "iptablesLockProbeInterval": "50500us", "unknown": 1, "interfaceExclude": "x,y"},
    }));
    assert_eq!(
        changes,
        [
            ("/calico/v1/config/BPFEnabled".to_owned(), json!("true")),
            ("/calico/v1/config/Extra".to_owned(), json!("1")),
            ("/calico/v1/config/InterfaceExclude".to_owned(), json!("x,y")),
            ("/calico/v1/config/IptablesLockProbeIntervalMillis".to_owned(), json!("50.5")),
            ("/calico/v1/config/IptablesRefreshInterval".to_owned(), json!("90")),
            ("/calico/v1/config/Ipv6Support".to_owned(), json!("false")),
        ]
    );
    let changes = feed.put(&path, json!({"spec": {"bpfEnabled": true}}));
    assert_eq!(changes.len(), 5);
    assert!(changes.iter().all(|c| c.1 == json!("gone")));
    let node = feed.put(
        &format!("{PREFIX}/felixconfigurations/node.n1"),
        json!({"spec": {"failsafeInboundHostPorts": []}}),
    );
    assert_eq!(node, [("/calico/v1/host/n1/config/FailsafeInboundHostPorts".to_owned(), json!("none"))]);
    let selected = feed.put(
        &format!("{PREFIX}/felixconfigurations/edge"),
        json!({"spec": {"nodeSelector": "edge == 'yes'"}}),
    );
    assert_eq!(selected[0].0, format!("{PREFIX}/felixconfigurations/edge"));
    let (changes, diagnostics) =
        feed.raw(&path, Some(r#"{"spec": {"bpfEnabled": true, "iptablesRefreshInterval": "90"}}"#));
    assert!(changes.is_empty());
    assert_eq!(diagnostics[0].field, "spec.iptablesRefreshInterval");
    let info = feed.put(
        &format!("{PREFIX}/clusterinformations/default"),
        json!({"spec": {"clusterGUID": "g", "datastoreReady": true}}),
    );
    assert_eq!(
        info,
        [
            ("/calico/v1/Ready".to_owned(), json!(true)),
            ("/calico/v1/config/ClusterGUID".to_owned(), json!("g"))
        ]
    );
    let locked = feed.put(
        &format!("{PREFIX}/clusterinformations/default"),
        json!({"spec": {"clusterGUID": "g", "datastoreReady": false}}),
    );
    assert_eq!(locked, [("/calico/v1/Ready".to_owned(), json!(false))]);
}

#[test]
fn nodes() {
    let mut feed = Feed::new();
    let path = format!("{PREFIX}/nodes/n1");
    let node = json!({"metadata": {"name": "n1"}, "spec": {"bgp": {"ipv4IPIPTunnelAddr": "10.1.0.1"}, "ipv4VXLANTunnelAddr": "10.2.0.1", "wireguard": {"interfaceIPv4Address": "10.3.0.1"}}, "status": {"wireguardPublicKeyV6": "k"}});
    assert_eq!(
        feed.put(&path, node.clone()),
        [
            (path.clone(), node),
            ("/calico/v1/host/n1/config/IPv4VXLANTunnelAddr".to_owned(), json!("10.2.0.1")),
            ("/calico/v1/host/n1/config/IpInIpTunnelAddr".to_owned(), json!("10.1.0.1")),
            (
                "/calico/v1/host/n1/wireguard".to_owned(),
                json!({"interfaceIPv4Addr": "10.3.0.1", "publicKeyV6": "k"})
            ),
        ]
    );
    assert_eq!(feed.put(&path, json!({"metadata": {"name": "n1"}})).len(), 4);
    assert_eq!(feed.delete(&path).len(), 1);
}

#[test]
fn blocks_from_kubernetes() {
    let mut feed = Feed(Converter::new(Options { use_pod_cidr: true, ..Options::default() }));
    let path = format!("{PREFIX}/nodes/n1");
    let node = |cidrs: &[&str]| json!({"metadata": {"name": "n1"}, "status": {"podCIDRs": cidrs}});
    let keys = |changes: Vec<(String, Json)>| changes.into_iter().map(|c| c.0).collect::<Vec<_>>();
    assert_eq!(
        keys(feed.put(&path, node(&["10.9.0.0/24"]))),
        [
            "/calico/ipam/v2/assignment/ipv4/block/10.9.0.0-24",
            "/calico/ipam/v2/host/n1/ipv4/block/10.9.0.0-24",
            &path
        ]
    );
    let changes = feed.put(&path, node(&["fd09::/64"]));
    assert_eq!(changes.iter().filter(|c| c.1 == json!("gone")).count(), 2);
    assert_eq!(changes.len(), 5);
    assert_eq!(feed.delete(&path).len(), 3);
}

#[test]
fn addresses() {
    let mut feed = Feed::new();
    let path = "/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26";
    let (changes, _) = feed.raw(path, Some(""));
    assert!(matches!(&changes[..], [Change { key: Key::BlockAffinity { .. }, value: Some(_) }]));
    assert_eq!(feed.put(path, json!({"state": "confirmed"})).len(), 1);
    let block = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26";
    feed.put(block, json!({"cidr": "10.0.0.0/26", "affinity": "host:n1", "allocations": [0, null], "unallocated": [1], "attributes": [{}]}));
    let (changes, diagnostics) = feed.raw(block, Some("{}"));
    assert!(matches!(&changes[..], [Change { value: None, .. }]) && diagnostics[0].fatal);
}

#[test]
fn foreign_paths_mean_nothing() {
    let mut feed = Feed::new();
    for path in [
        "/",
        "/registry/pods/a",
        "/tortie/kubernetes/things/a",
        "/tortie/kubernetes/pods/a",
        &format!("{PREFIX}/tiers/a/b"),
    ] {
        assert_eq!(feed.raw(path, Some("{}")), (vec![], vec![]), "{path}");
    }
}

#[test]
fn restart_forgets() {
    let mut feed = Feed::new();
    let path = "/tortie/kubernetes/pods/shop/a";
    feed.put(path, pod("n1", "10.0.0.1"));
    feed.0.restart();
    assert_eq!(feed.delete(path), []);
    assert_eq!(feed.put(path, pod("n1", "10.0.0.1")).len(), 1);
}

mod order {
    //! The outcome depends on what is there, not on how it came about.
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn step() -> impl Strategy<Value = (String, Option<Json>)> {
        let pool = (0..3u8, prop::option::of(0..3u8)).prop_map(|(name, cidr)| {
            (
                format!("{PREFIX}/ippools/p{name}"),
                cidr.map(|c| json!({"spec": {"cidr": format!("10.{c}.0.0/16"), "natOutgoing": name == 0}})),
            )
        });
        let host = (0..2u8, prop::option::of(0..3u8)).prop_map(|(name, node)| {
            (
                format!("{PREFIX}/hostendpoints/h{name}"),
                node.map(|n| json!({"spec": {"node": if n == 0 { String::new() } else { format!("n{n}") }}})),
            )
        });
        let pod = (0..2u8, prop::option::of(0..4u8)).prop_map(|(name, state)| {
            let value = state.map(|s| match s {
                0 => json!({"spec": {}}),
                1 => json!("broken"),
                s => {
                    json!({"spec": {"nodeName": format!("n{s}")}, "status": {"podIP": format!("10.0.0.{s}")}})
                }
            });
            (format!("/tortie/kubernetes/pods/d/p{name}"), value)
        });
        let namespace = prop::option::of(0..2u8).prop_map(|label| {
            (
                "/tortie/kubernetes/namespaces/d".to_owned(),
                label.map(|l| json!({"metadata": {"labels": {"l": l.to_string()}}})),
            )
        });
        prop_oneof![pool, host, pod, namespace]
    }

    fn apply(model: &mut BTreeMap<String, Json>, feed: &mut Feed, path: &str, value: Option<&Json>) {
        let text = value.map(Json::to_string);
        for change in feed.raw(path, text.as_deref()).0 {
            let key = change.key.to_path().unwrap();
            match change.value {
                Some(value) => {
                    model.insert(key, value.to_json());
                }
                None => {
                    assert!(model.remove(&key).is_some(), "deleted what was not there: {key}");
                }
            }
        }
    }

    /// JSON that is nearly an object of some kind.
    fn odd() -> impl Strategy<Value = Json> {
        let words = vec![
            "spec",
            "metadata",
            "status",
            "name",
            "labels",
            "ingress",
            "egress",
            "from",
            "to",
            "ports",
            "port",
            "selector",
            "source",
            "destination",
            "nets",
            "action",
            "protocol",
            "cidr",
            "podSelector",
            "matchExpressions",
            "ipBlock",
            "subject",
            "tier",
            "nodeName",
            "podIP",
            "podIPs",
            "ip",
            "containers",
            "annotations",
            "node",
            "bgp",
            "expectedIPs",
            "order",
            "types",
            "10.0.0.0/8",
            "TCP",
            "Allow",
        ];
        let word = proptest::sample::select(words);
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            word.clone().prop_map(Json::from)
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|m| Json::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn odd_objects_are_survived(spec in odd(), status in odd()) {
            let value = json!({"metadata": {"name": "a"}, "spec": spec, "status": status}).to_string();
            let mut feed = Feed::new();
            for kind in tortie_api::v3::RESOURCES.iter().chain(tortie_api::k8s::RESOURCES) {
                let path = kind.path(if kind.namespaced { "ns" } else { "" }, "a");
                feed.raw(&path, Some(&value));
                feed.raw(&path, None);
            }
        }

        #[test]
        fn incremental_is_from_scratch(steps in prop::collection::vec(step(), 0..40)) {
            let (mut feed, mut model) = (Feed::new(), BTreeMap::new());
            let mut state = BTreeMap::new();
            for (path, value) in &steps {
                apply(&mut model, &mut feed, path, value.as_ref());
                state.insert(path.clone(), value.clone());
            }
            let (mut fresh, mut scratch) = (Feed::new(), BTreeMap::new());
            for (path, value) in state.iter().rev() {
                apply(&mut scratch, &mut fresh, path, value.as_ref());
            }
            prop_assert_eq!(model, scratch);
        }
    }
}
