//! Objects as users write them.

use super::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tortie_api::v3::{BgpConfigurationSpec, BgpFilterSpec, BgpPeerSpec, IpPoolSpec};

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn addresses_of_peers() {
    let port = |text: &str| parse_peer_address(text).map(|(a, p)| (a.to_string(), p));
    assert_eq!(port("10.0.0.1"), Some(("10.0.0.1".into(), None)));
    assert_eq!(port("10.0.0.1:1790"), Some(("10.0.0.1".into(), Some(1790))));
    assert_eq!(port("fd00::1"), Some(("fd00::1".into(), None)));
    assert_eq!(port("[fd00::1]:1790"), Some(("fd00::1".into(), Some(1790))));
    for bad in ["", "tor", "10.0.0.1:x", "[fd00::1]"] {
        assert_eq!(port(bad), None, "{bad}");
    }
}

#[test]
fn nodes() {
    let object = from(json!({
        "apiVersion": "projectcalico.org/v3", "kind": "Node",
        "metadata": {"name": "n", "labels": {"rack": "a"}},
        "spec": {"bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1", "asNumber": "1.10", "routeReflectorClusterID": "244.0.0.1"}},
    }));
    let (node, errors) = Node::from_v3(&object);
    assert_eq!(errors, []);
    let shown: Vec<String> = node.addresses().map(|a| a.to_string()).collect();
    assert_eq!(shown, ["10.0.0.1", "fd00::1"]);
    assert_eq!((node.as_number, node.reflector_cluster), (Some(65546), Some([244, 0, 0, 1].into())));
    assert_eq!(node.labels.get("rack").map(String::as_str), Some("a"));
    let object = from(
        json!({"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {}, "spec": {"bgp": {"ipv4Address": "fd00::1"}}}),
    );
    let (node, errors) = Node::from_v3(&object);
    assert_eq!(node, Node::default());
    assert_eq!(texts(&errors), ["spec.bgp.ipv4Address: \"fd00::1\" is no ipv4 address; it is ignored"]);
}

#[test]
fn pools() {
    let pool = |value| Pool::from_v3(&from::<IpPoolSpec>(value)).map(|p| (p.export, p.encapsulation));
    assert_eq!(pool(json!({"cidr": "10.0.0.0/8"})), Ok((true, Encapsulation::None)));
    assert_eq!(
        pool(json!({"cidr": "10.0.0.0/8", "disableBGPExport": true, "ipipMode": "CrossSubnet"})),
        Ok((false, Encapsulation::Ipip))
    );
    assert_eq!(
        pool(json!({"cidr": "fd00::/8", "vxlanMode": "Always", "ipipMode": "Never"})),
        Ok((true, Encapsulation::Vxlan))
    );
    assert!(pool(json!({"cidr": "x"})).is_err());
}

#[test]
fn peers() {
    let spec: BgpPeerSpec = from(json!({
        "nodeSelector": "rack == 'a'", "peerIP": "10.0.0.9:179", "asNumber": 65001, "localASNumber": 65002,
        "sourceAddress": "None", "keepOriginalNextHop": true, "maxRestartTime": "90.4s", "keepaliveTime": "1m",
        "password": {"secretKeyRef": {"name": "s", "key": "k"}}, "numAllowedLocalASNumbers": 2, "ttlSecurity": 3,
        "reachableBy": "10.0.0.254", "filters": ["f"], "reversePeering": "Manual",
    }));
    let (peer, errors) = Peer::from_v3(&spec).unwrap();
    assert_eq!(errors, []);
    let want = Peer {
        nodes: PeerNodes::Selected(Selector::parse("rack == 'a'").unwrap()),
        local_as: Some(65002),
        source: SourceAddress::Any,
        next_hop: NextHopMode::KeepExternal,
        password: Some(SecretRef { name: "s".into(), key: "k".into() }),
        restart_seconds: Some(90),
        keepalive_seconds: Some(60),
        allowed_local_as: 2,
        ttl_security: Some(3),
        reachable_by: Some("10.0.0.254".parse().unwrap()),
        filters: vec!["f".into()],
        reverse: false,
        ..Peer::new(PeerTarget::Address {
            address: "10.0.0.9".parse().unwrap(),
            port: Some(179),
            as_number: 65001,
        })
    };
    assert_eq!(peer, want);

    let spec: BgpPeerSpec = from(
        json!({"peerSelector": "has(rr)", "nextHopMode": "Self", "keepOriginalNextHop": true, "keepaliveTime": "soon"}),
    );
    let (peer, errors) = Peer::from_v3(&spec).unwrap();
    assert_eq!(peer.target, PeerTarget::Nodes(Selector::parse("has(rr)").unwrap()));
    assert_eq!((peer.nodes, peer.next_hop, peer.reverse), (PeerNodes::All, NextHopMode::Own, true));
    assert!(texts(&errors)[0].starts_with("spec.keepaliveTime: \"soon\" is not a duration"), "{errors:?}");

    let refused = |value| Peer::from_v3(&from::<BgpPeerSpec>(value)).unwrap_err().to_string();
    assert_eq!(
        refused(json!({})),
        "spec.peerIP: \"\" is no address, with a port perhaps; the peering is left out"
    );
    assert!(refused(json!({"nodeSelector": "((", "peerIP": "10.0.0.1"})).starts_with("spec.nodeSelector: "));
    assert!(refused(json!({"localWorkloadSelector": "all()"})).starts_with("spec.localWorkloadSelector: "));
}

#[test]
fn configuration() {
    assert_eq!(Configuration::from_v3(None, None), (Configuration::default(), vec![]));
    let default: BgpConfigurationSpec = from(json!({
        "nodeToNodeMeshEnabled": false, "asNumber": 65000, "listenPort": 1790, "bindMode": "NodeIP", "logSeverityScreen": "Error",
        "nodeMeshPassword": {"secretKeyRef": {"name": "s", "key": "k"}}, "nodeMeshMaxRestartTime": "2m",
        "communities": [{"name": "fast", "value": "65000:7"}],
        "prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["fast", "1:2:3", "slow"]}, {"cidr": "x", "communities": ["fast"]}],
        "ignoredInterfaces": ["docker*"], "ipv4NormalRoutePriority": 900, "programClusterRoutes": "Enabled",
    }));
    let node: BgpConfigurationSpec = from(json!({"logSeverityScreen": "Debug"}));
    let (found, errors) = Configuration::from_v3(Some(&default), Some(&node));
    let want = Configuration {
        mesh: false,
        as_number: 65000,
        listen_port: Some(1790),
        bind: BindMode::NodeIp,
        log: LogSeverity::Debug,
        mesh_password: Some(SecretRef { name: "s".into(), key: "k".into() }),
        mesh_restart_seconds: Some(120),
        communities: vec![PrefixCommunities {
            cidr: "10.0.0.0/8".parse().unwrap(),
            communities: vec![Community::Standard(65000, 7), Community::Large(1, 2, 3)],
        }],
        ignored_interfaces: vec!["docker*".into()],
        priorities: Priorities { v4: 900, v6: 1024 },
        cluster_routes: ClusterRoutes { ipip: true, unencapsulated: true },
    };
    assert_eq!(found, want);
    assert_eq!(
        texts(&errors),
        [
            "spec.prefixAdvertisements[0].communities: \"slow\" is neither a community (aa:nn or aa:nn:mm) nor the name of one",
            "spec.prefixAdvertisements[1].cidr: \"x\" is no CIDR; its communities are not added",
        ]
    );
}

#[test]
fn filters() {
    let spec: BgpFilterSpec = from(json!({
        "importV4": [
            {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 16, "max": 24}, "source": "RemotePeers", "interface": "eth*", "peerType": "iBGP"},
            {"action": "Reject", "communities": {"values": ["65000:100"]}, "asPathPrefix": [65000, "1.1"], "priority": 100},
        ],
        "exportV6": [{"action": "Accept", "operations": [{"addCommunity": {"value": "1:2:3"}}, {"prependASPath": {"prefix": [65000, 65001]}}, {"setPriority": {"value": 256}}]}],
    }));
    let (filter, errors) = Filter::from_v3(&spec);
    assert_eq!(errors, []);
    let first = Rule {
        cidr: Some(CidrMatch {
            cidr: "10.0.0.0/8".parse().unwrap(),
            operator: MatchOperator::In,
            lengths: Some((Some(16), Some(24))),
        }),
        from_remote_peers: true,
        interface: Some("eth*".into()),
        peer_type: Some(PeerType::Internal),
        ..Rule::new(Action::Accept)
    };
    let second = Rule {
        community: Some(Community::Standard(65000, 100)),
        as_path_prefix: vec![65000, 65537],
        priority: Some(100),
        ..Rule::new(Action::Reject)
    };
    assert_eq!(filter.import_v4, [first, second]);
    let operations = vec![
        Operation::AddCommunity(Community::Large(1, 2, 3)),
        Operation::PrependAsPath(vec![65000, 65001]),
        Operation::SetPriority(256),
    ];
    assert_eq!(filter.export_v6, [Rule { operations, ..Rule::new(Action::Accept) }]);
    assert!(filter.export_v4.is_empty() && filter.import_v6.is_empty());
}

#[test]
fn a_filter_that_cannot_be_understood_lets_nothing_pass() {
    for (rule, want) in [
        (json!({"action": "Allow"}), "action: \"Allow\" is neither Accept nor Reject"),
        (
            json!({"action": "Accept", "cidr": "fd00::/8", "matchOperator": "In"}),
            "cidr: fd00::/8 is of the other family",
        ),
        (
            json!({"action": "Accept", "cidr": "10.0.0.0/8"}),
            "matchOperator: \"\" is none of Equal, NotEqual, In, NotIn",
        ),
        (
            json!({"action": "Accept", "interface": "a\"; accept; \""}),
            "interface: \"a\\\"; accept; \\\"\" is no name of an interface",
        ),
        (json!({"action": "Accept", "peerType": "x"}), "peerType: \"x\" is neither eBGP nor iBGP"),
        (json!({"action": "Accept", "source": "x"}), "source: \"x\" is not RemotePeers"),
        (
            json!({"action": "Accept", "communities": {"values": ["1:70000"]}}),
            "communities: \"1:70000\" is no community (aa:nn or aa:nn:mm)",
        ),
        (json!({"action": "Accept", "priority": 0}), "priority: 0 is not between 1 and 2147483646"),
        (
            json!({"action": "Accept", "operations": [{}]}),
            "operations: none of addCommunity, prependASPath, setPriority",
        ),
    ] {
        let spec: BgpFilterSpec = from(json!({"importV4": [{"action": "Accept"}, rule]}));
        let (filter, errors) = Filter::from_v3(&spec);
        assert_eq!(filter.import_v4, [Rule::new(Action::Reject)]);
        let text = format!("spec.importV4[1].{want}; the filter rejects everything in this direction");
        assert_eq!(texts(&errors), [text]);
    }
}
