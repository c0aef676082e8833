//! What overlaps and what is foreign, by examples and by law.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn pool(networks: &mut Networks, text: &str, disabled: bool) -> bool {
    let value = serde_json::from_value::<IpPool>(json!({"cidr": text, "disabled": disabled})).unwrap();
    networks.on_change(&Change { key: Key::IpPool(cidr(text)), value: Some(Value::IpPool(value.into())) })
}

fn resource(networks: &mut Networks, kind: &str, name: &str, object: serde_json::Value) -> bool {
    let key = ResourceKey { kind: kind.into(), namespace: "ns".into(), name: name.into() };
    networks.on_change(&Change { key: Key::Resource(key), value: Some(Value::Resource(Arc::new(object))) })
}

fn node(networks: &mut Networks, name: &str, v4: &str, v6: &str) -> bool {
    resource(networks, "Node", name, json!({"spec": {"bgp": {"ipv4Address": v4, "ipv6Address": v6}}}))
}

fn service(networks: &mut Networks, name: &str, addresses: &[&str]) -> bool {
    resource(networks, "KubernetesService", name, json!({"spec": {"clusterIPs": addresses}}))
}

fn lines(networks: &Networks) -> Vec<String> {
    networks.overlaps().iter().map(|o| format!("{} {}", o.pool, o.with)).collect()
}

#[test]
fn what_pools_hold_of_others_is_named_once_in_both_families() {
    let mut networks = Networks::default();
    assert!(pool(&mut networks, "10.0.0.0/8", false) && !pool(&mut networks, "10.0.0.0/8", false));
    pool(&mut networks, "fd00::/48", false);
    pool(&mut networks, "192.168.0.0/16", false);
    assert_eq!(lines(&networks), Vec::<String>::new());
    assert!(node(&mut networks, "n1", "10.1.0.1/24", "fd00:0:0:1::1/64"));
    assert!(node(&mut networks, "n2", "10.1.0.2/24", "fd00:0:0:1::2/64"));
    assert!(service(&mut networks, "s", &["10.96.0.10", "fd00:0:0:9::a"]));
    service(&mut networks, "headless", &["None"]);
    assert_eq!(
        lines(&networks),
        [
            "10.0.0.0/8 Service ns/s (10.96.0.10)",
            "10.0.0.0/8 the network 10.1.0.0/24 of node n1",
            "fd00::/48 Service ns/s (fd00:0:0:9::a)",
            "fd00::/48 the network fd00:0:0:1::/64 of node n1",
        ]
    );
    assert!(networks.set_service_networks([cidr("10.96.0.0/12"), cidr("fd00:0:0:9::/108")].into()));
    assert_eq!(lines(&networks)[0], "10.0.0.0/8 the network of Services 10.96.0.0/12");
    assert_eq!(lines(&networks)[2], "fd00::/48 the network of Services fd00:0:0:9::/108");
    let foreign = networks.foreign();
    assert_eq!(
        foreign.networks,
        ["10.1.0.0/24", "10.96.0.0/12", "fd00:0:0:1::/64", "fd00:0:0:9::/108"].map(cidr)
    );
    assert_eq!(foreign.addresses.len(), 6);
    assert_eq!(networks.foreign_to_routing(), ["10.1.0.0/24", "fd00:0:0:1::/64"].map(cidr));
    assert!(
        resource(&mut networks, "Node", "n1", json!({})) && resource(&mut networks, "Node", "n2", json!({}))
    );
    assert!(!lines(&networks).iter().any(|line| line.contains("node")));
}

#[test]
fn a_disabled_pool_may_name_what_is_not_masqueraded() {
    let mut networks = Networks::default();
    node(&mut networks, "n1", "10.1.0.1/24", "");
    pool(&mut networks, "10.1.0.0/16", true);
    assert_eq!((lines(&networks), networks.foreign()), (Vec::new(), ForeignAddresses::default()));
    assert!(pool(&mut networks, "10.1.0.0/16", false));
    assert_eq!(lines(&networks).len(), 1);
}

#[test]
fn pools_with_packets_in_ip() {
    let mut networks = Networks::default();
    pool(&mut networks, "10.0.0.0/16", false);
    assert_eq!(networks.ipip_pools(), []);
    let value = json!({"cidr": "10.1.0.0/16", "ipip": "tunl0", "ipip_mode": "cross-subnet"});
    let value = serde_json::from_value::<IpPool>(value).unwrap();
    let change = Change { key: Key::IpPool(cidr("10.1.0.0/16")), value: Some(Value::IpPool(value.into())) };
    assert!(networks.on_change(&change));
    assert_eq!(networks.ipip_pools(), [cidr("10.1.0.0/16")]);
}

#[test]
fn pools_that_share_addresses_and_networks_of_this_host() {
    let mut networks = Networks::default();
    for text in ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"] {
        pool(&mut networks, text, false);
    }
    assert_eq!(lines(&networks), ["10.0.0.0/8 the pool 10.1.0.0/16", "10.0.0.0/8 the pool 10.2.0.0/16"]);
    networks.clear();
    pool(&mut networks, "172.16.0.0/12", false);
    assert!(networks.set_host([("eth1".to_owned(), "172.20.0.1/16".parse().unwrap())].into()));
    assert_eq!(lines(&networks), ["172.16.0.0/12 the network 172.20.0.0/16 of this node's interface eth1"]);
}

#[test]
fn lists_of_service_networks() {
    let list = json!({"items": [{"spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}}, {"spec": {}}, {"spec": {"cidrs": ["x"]}}]});
    assert_eq!(service_networks(&list), ["10.96.0.0/12", "fd00::/108"].map(cidr).into());
    assert!(service_networks(&json!({})).is_empty());
}

proptest! {
    /// Whatever is known: what is foreign lies in pools, and a pool overlaps exactly if something of it is foreign.
    #[test]
    fn overlaps_and_foreign_addresses_agree(
        pools in proptest::collection::btree_map((0u8..4, 10u8..20), any::<bool>(), 0..4),
        nodes in proptest::collection::vec((0u8..4, any::<u16>(), 8u8..=32), 0..4),
        services in proptest::collection::vec((0u8..4, any::<u16>()), 0..4),
        told in proptest::collection::vec((0u8..4, 10u8..24), 0..2),
    ) {
        let mut networks = Networks::default();
        let net = |(n, len): (u8, u8)| Cidr::new([10, n * 64, 0, 0].into(), len).unwrap().to_canonical();
        let address = |n: u8, rest: u16| format!("10.{}.{}.{}", n * 64, rest >> 8, rest & 255);
        for (at, disabled) in pools {
            pool(&mut networks, &net(at).to_string(), disabled);
        }
        for (i, (n, rest, len)) in nodes.into_iter().enumerate() {
            node(&mut networks, &format!("n{i}"), &format!("{}/{len}", address(n, rest)), "");
        }
        for (i, (n, rest)) in services.into_iter().enumerate() {
            service(&mut networks, &format!("s{i}"), &[&address(n, rest)]);
        }
        networks.set_service_networks(told.into_iter().map(net).collect());
        let foreign = networks.foreign();
        let enabled: Vec<Cidr> = networks.pools.iter().filter(|(_, f)| f.enabled).map(|(c, _)| *c).collect();
        prop_assert!(foreign.networks.iter().all(|n| enabled.iter().any(|p| p.overlaps(*n))));
        prop_assert!(foreign.addresses.iter().all(|a| enabled.iter().any(|p| p.contains(*a))));
        // Every foreign address is of a foreign network, so its block is not claimed either.
        prop_assert!(foreign.addresses.iter().all(|a| foreign.networks.iter().any(|n| n.contains(*a))));
        let overlaps: BTreeSet<Cidr> =
            networks.overlaps().iter().filter(|o| !matches!(o.with, Owner::Pool(_))).map(|o| o.pool).collect();
        for pool in enabled {
            prop_assert_eq!(overlaps.contains(&pool), foreign.networks.iter().any(|n| n.overlaps(pool)));
        }
    }
}
