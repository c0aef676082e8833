//! Routes and policy rules.

use std::net::IpAddr;

use tortie_kernel_net::{
    LinkIndex, Netlink, NewLink, NextHop, Route, RouteFilter, RouteKind, RouteProtocol, Rule, RuleAction,
    TableId, VethPeer,
};
use tortie_net::{Cidr, Family};
use tortie_test_netns::{Node, isolated};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// A machine with interfaces a and b that have addresses of both families.
fn machine() -> (Node, LinkIndex, LinkIndex) {
    let node = Node::new("machine");
    node.netlink().add_link(&NewLink::veth("a", VethPeer::new("b"))).unwrap();
    node.address("a", &["10.0.0.1/24", "fd00:a::1/64"]).address("b", &["10.0.1.1/24", "fd00:b::1/64"]);
    let (a, b) = (node.index("a"), node.index("b"));
    (node, a, b)
}

#[test]
fn a_route_is_reported_as_it_was_added() {
    isolated(|| {
        let (node, a, b) = machine();
        let onlink =
            |dst, gateway| Route::via(cidr(dst), ip(gateway), Some(a)).by(RouteProtocol::CALICO).onlink();
        let hops = |gateways: [&str; 2]| {
            let [first, second] = gateways.map(ip);
            vec![NextHop { weight: 3, ..NextHop::via(first, Some(a)) }, NextHop::via(second, Some(b))]
        };
        let routes = [
            Route::on(cidr("10.65.0.2/32"), a),
            Route::on(cidr("fd00:1::2/128"), a).with_priority(512),
            Route::via(cidr("0.0.0.0/0"), ip("10.0.0.9"), Some(a)),
            Route::via(cidr("::/0"), ip("fd00:a::9"), Some(a)),
            onlink("10.65.1.0/26", "172.16.0.1"),
            onlink("fd00:65:1::/122", "fd00:77::1"),
            Route::special(cidr("10.65.2.0/26"), RouteKind::Blackhole).by(RouteProtocol::CALICO),
            Route::special(cidr("fd00:65:2::/122"), RouteKind::Blackhole).by(RouteProtocol::CALICO),
            Route::special(cidr("10.65.3.0/26"), RouteKind::Throw).in_table(TableId(1000)),
            Route::special(cidr("fd00:65:3::/122"), RouteKind::Unreachable).in_table(TableId(1000)),
            Route::special(cidr("10.65.4.0/26"), RouteKind::Prohibit).with_priority(7),
            Route { mtu: Some(1400), source: Some(ip("10.0.0.1")), ..Route::on(cidr("10.65.5.0/24"), a) },
            Route { mtu: Some(1400), source: Some(ip("fd00:a::1")), ..Route::on(cidr("fd00:5::/64"), a) },
            Route::new(cidr("10.65.6.0/24"), hops(["10.0.0.7", "10.0.1.7"])),
            Route::new(cidr("fd00:6::/64"), hops(["fd00:a::7", "fd00:b::7"])),
            // A router of the other family.
            Route::via(cidr("10.65.7.0/24"), ip("fd00:a::7"), Some(a)),
        ];
        for route in &routes {
            node.netlink().add_route(route).unwrap_or_else(|e| panic!("{e}: {}", e.source));
            let again = node.netlink().add_route(route).unwrap_err();
            assert!(again.exists(), "{again}: {}", again.source);
            node.netlink().replace_route(route).unwrap();
            let filter = RouteFilter { dst: Some(route.dst), ..RouteFilter::default() };
            assert_eq!(node.netlink().routes(filter).unwrap(), std::slice::from_ref(route));
        }
        for route in &routes {
            node.netlink().delete_route(route).unwrap_or_else(|e| panic!("{e}: {}", e.source));
            assert!(node.netlink().delete_route(route).unwrap_err().is_missing(), "{route}");
        }
    });
}

#[test]
fn replacing_changes_the_next_hop_and_deleting_is_exact() {
    isolated(|| {
        let (node, a, b) = machine();
        for dst in ["10.65.0.2/32", "fd00:1::2/128"] {
            let (old, new) = (Route::on(cidr(dst), a), Route::on(cidr(dst), b));
            let filter = RouteFilter { dst: Some(cidr(dst)), ..RouteFilter::default() };
            node.netlink().add_route(&old).unwrap();
            assert!(node.netlink().add_route(&new).unwrap_err().exists());
            node.netlink().replace_route(&new).unwrap();
            assert_eq!(node.netlink().routes(filter).unwrap(), std::slice::from_ref(&new));
            assert!(node.netlink().delete_route(&old).unwrap_err().is_missing());
            let foreign = new.clone().by(RouteProtocol::CALICO);
            assert!(node.netlink().delete_route(&foreign).unwrap_err().is_missing());
            node.netlink().delete_route(&new).unwrap();
        }
    });
}

#[test]
fn listings_are_filtered() {
    isolated(|| {
        let (node, a, b) = machine();
        let (table, empty) = (TableId(4242), TableId(77));
        for (dst, link) in [("10.9.0.0/24", a), ("10.9.1.0/24", b), ("fd00:9::/64", a), ("fd00:9:1::/64", b)]
        {
            node.netlink().add_route(&Route::on(cidr(dst), link).by(RouteProtocol::CALICO)).unwrap();
            node.netlink().add_route(&Route::on(cidr(dst), link).in_table(table)).unwrap();
        }
        let count = |filter| node.netlink().routes(filter).unwrap().len();
        let all = RouteFilter::default();
        let ours = RouteFilter { protocol: Some(RouteProtocol::CALICO), ..all };
        assert_eq!(count(ours), 4);
        assert_eq!(count(RouteFilter { family: Some(Family::V6), ..ours }), 2);
        assert_eq!(count(RouteFilter { link: Some(a), ..ours }), 2);
        assert_eq!(count(RouteFilter { table: Some(table), ..all }), 4);
        assert_eq!(
            count(RouteFilter { table: Some(table), family: Some(Family::V4), link: Some(b), ..all }),
            1
        );
        assert_eq!(count(RouteFilter { table: Some(empty), ..all }), 0);
        assert_eq!(count(RouteFilter { table: Some(empty), family: Some(Family::V4), ..all }), 0);
        let main = RouteFilter { table: Some(TableId::MAIN), ..all };
        assert!(count(main) > 4 && count(main) < count(all));
    });
}

#[test]
fn refusals_name_the_route_and_the_kernels_reason() {
    isolated(|| {
        let (node, a, _) = machine();
        let error = node
            .netlink()
            .add_route(&Route::via(cidr("10.9.0.0/24"), ip("172.16.0.1"), Some(a)))
            .unwrap_err();
        assert_eq!(error.to_string(), format!("cannot add route 10.9.0.0/24 via 172.16.0.1 dev #{}", a.0));
        assert_eq!(error.source.to_string(), "network is unreachable: Nexthop has invalid gateway");
    });
}

#[test]
fn rules_of_both_families() {
    isolated(|| {
        let here = Netlink::open().unwrap();
        for family in Family::ALL {
            let any = match family {
                Family::V4 => cidr("10.0.0.0/8"),
                Family::V6 => cidr("fd00::/8"),
            };
            let rules = [
                // WireGuard's: everything that does not bear the mark.
                Rule { mark: Some((0x100, 0x100)), invert: true, ..Rule::new(family, 99, TableId(1)) },
                Rule { src: Some(any), input: Some("eth0".into()), ..Rule::new(family, 100, TableId(70000)) },
                Rule { dst: Some(any), output: Some("eth0".into()), ..Rule::new(family, 101, TableId::MAIN) },
                Rule {
                    action: RuleAction::Prohibit,
                    protocol: RouteProtocol::CALICO,
                    ..Rule::new(family, 102, TableId(0))
                },
            ];
            for rule in rules {
                here.add_rule(&rule).unwrap_or_else(|e| panic!("{e}: {}", e.source));
                assert!(here.add_rule(&rule).unwrap_err().exists());
                let found = here.rules(Some(family)).unwrap();
                assert_eq!(found.iter().filter(|found| **found == rule).count(), 1, "{rule:?} in {found:#?}");
                here.delete_rule(&rule).unwrap();
                assert!(here.delete_rule(&rule).unwrap_err().is_missing());
            }
        }
        let of_the_kernel = here.rules(None).unwrap();
        assert!(
            of_the_kernel
                .iter()
                .any(|r| r.family == Family::V6 && r.action == RuleAction::Table(TableId::MAIN))
        );
    });
}
