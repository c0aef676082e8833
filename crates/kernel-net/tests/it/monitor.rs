//! Events.

use std::net::IpAddr;
use std::time::Duration;

use tortie_kernel_net::{
    Address, Change, Event, Groups, Monitor, Neighbour, NewLink, Route, Rule, TableId, VethPeer,
};
use tortie_net::{Cidr, Family, Mac};
use tortie_test_netns::{Node, isolated};

fn expect(monitor: &mut Monitor, what: &str, wanted: impl Fn(&Event) -> bool) {
    while let Some(event) = monitor.next(Some(Duration::from_secs(5))).unwrap() {
        if wanted(&event) {
            return;
        }
    }
    panic!("no event: {what}");
}

#[test]
fn changes_of_all_kinds_and_both_families() {
    isolated(|| {
        let node = Node::new("n");
        let mut monitor = node.run(|| Monitor::open(Groups::ALL)).unwrap();
        let made = node.netlink().add_link(&NewLink::veth("a", VethPeer::new("b"))).unwrap();
        expect(&mut monitor, "link", |e| matches!(e, Event::Link(Change::Set, link) if link.name == "a"));
        for (addr, dst) in [("10.0.0.1", "10.9.9.9"), ("fd00::1", "fd00:9::9")] {
            let ip: IpAddr = addr.parse().unwrap();
            let dst: Cidr = dst.parse().unwrap();
            let address = Address::new(made.index, ip, 24);
            let route = Route::on(dst, made.index);
            let neighbour = Neighbour::permanent(made.index, ip, Mac([0xee; 6]));
            let rule = Rule::new(Family::of(ip), 100, TableId(7));
            node.netlink().add_address(&address).unwrap();
            expect(&mut monitor, "address", |e| *e == Event::Address(Change::Set, address.clone()));
            node.netlink().add_route(&route).unwrap();
            expect(&mut monitor, "route", |e| *e == Event::Route(Change::Set, route.clone()));
            node.netlink().delete_route(&route).unwrap();
            expect(&mut monitor, "route gone", |e| *e == Event::Route(Change::Gone, route.clone()));
            node.netlink().replace_neighbour(&neighbour).unwrap();
            expect(&mut monitor, "neighbour", |e| *e == Event::Neighbour(Change::Set, neighbour.clone()));
            node.netlink().add_rule(&rule).unwrap();
            expect(&mut monitor, "rule", |e| *e == Event::Rule(Change::Set, rule.clone()));
            node.netlink().delete_address(&address).unwrap();
            expect(&mut monitor, "address gone", |e| *e == Event::Address(Change::Gone, address.clone()));
        }
        node.netlink().delete_link("a").unwrap();
        expect(
            &mut monitor,
            "link gone",
            |e| matches!(e, Event::Link(Change::Gone, link) if link.name == "a"),
        );
    });
}

#[test]
fn only_the_chosen_groups_and_the_own_namespace() {
    isolated(|| {
        let (node, other) = (Node::new("n"), Node::new("other"));
        let mut monitor = node.run(|| Monitor::open(Groups { rules: true, ..Groups::default() })).unwrap();
        node.netlink().add_link(&NewLink::veth("a", VethPeer::new("b"))).unwrap();
        other.netlink().add_rule(&Rule::new(Family::V4, 1, TableId(7))).unwrap();
        let rule = Rule::new(Family::V4, 2, TableId(7));
        node.netlink().add_rule(&rule).unwrap();
        assert_eq!(monitor.next(None).unwrap(), Some(Event::Rule(Change::Set, rule)));
        assert_eq!(monitor.next(Some(Duration::from_millis(1))).unwrap(), None);
    });
}
