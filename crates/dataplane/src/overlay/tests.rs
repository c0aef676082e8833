//! Two nodes and their tunnels in real network namespaces, both families.

use super::*;
use tortie_calc::fabric::{Tunnels, VtepEnd};
use tortie_kernel_net::AddressFilter;
use tortie_test_netns::{Node, wire};

/// Number, address beneath, tunnel address, block and a workload's address, by family.
struct Site {
    name: &'static str,
    parent: [&'static str; 2],
    tunnel: [&'static str; 2],
    block: [&'static str; 2],
    workload: [&'static str; 2],
}

const ONE: Site = Site {
    name: "n1",
    parent: ["10.0.0.1", "fd00::1"],
    tunnel: ["10.244.1.0", "fd00:244:1::"],
    block: ["10.244.1.0/26", "fd00:244:1::/122"],
    workload: ["10.244.1.5", "fd00:244:1::5"],
};
const TWO: Site = Site {
    name: "n2",
    parent: ["10.0.0.2", "fd00::2"],
    tunnel: ["10.244.2.0", "fd00:244:2::"],
    block: ["10.244.2.0/26", "fd00:244:2::/122"],
    workload: ["10.244.2.5", "fd00:244:2::5"],
};

impl Site {
    fn vtep(&self) -> FabricUpdate {
        let end = |at: usize, mac: u8| VtepEnd {
            mac: format!("66:00:00:00:0{}:{mac:02x}", &self.name[1..]),
            address: self.tunnel[at].to_owned(),
            parent: self.parent[at].parse().unwrap(),
        };
        FabricUpdate::Vtep(self.name.into(), Arc::new(Vtep { v4: Some(end(0, 4)), v6: Some(end(1, 6)) }))
    }

    /// What a node is told of this one's blocks.
    fn blocks(&self, seen_from: &Site, same_subnet: bool) -> Vec<FabricUpdate> {
        let local = seen_from.name == self.name;
        let route = |at: usize| {
            let dst: Cidr = self.block[at].parse().unwrap();
            let place = Place {
                kinds: if local { RouteKinds::LOCAL_WORKLOAD } else { RouteKinds::REMOTE_WORKLOAD },
                pool: PoolKind::Vxlan,
                node: Some(self.name.into()),
                node_address: Some(self.parent[at].parse().unwrap()),
                same_subnet,
                nat_outgoing: false,
                local_workload: false,
                tunnels: Tunnels::default(),
                borrowed: false,
            };
            FabricUpdate::Route(dst, Arc::new(place))
        };
        vec![route(0), route(1)]
    }
}

fn config(site: &Site) -> OverlayConfig {
    OverlayConfig { node: site.name.to_owned(), ..OverlayConfig::default() }
}

/// A node with its part of the network beneath, a workload's addresses, and the tunnels as told.
fn overlay(node: &Node, site: &Site, same_subnet: bool) -> Overlay {
    let mut overlay = node.run(|| Overlay::open(config(site))).unwrap();
    overlay.update(&FabricUpdate::Encapsulation(Encapsulation {
        ipip: false,
        vxlan_v4: true,
        vxlan_v6: true,
    }));
    for other in [&ONE, &TWO] {
        overlay.update(&other.vtep());
        for route in other.blocks(site, same_subnet) {
            overlay.update(&route);
        }
    }
    overlay.set_in_sync();
    overlay
}

fn pair() -> (Node, Node) {
    let (one, two) = (Node::router("n1"), Node::router("n2"));
    wire((&one, "eth0"), (&two, "eth0"));
    one.address("eth0", &["10.0.0.1/24", "fd00::1/64"]).address("lo", &ONE.workload);
    two.address("eth0", &["10.0.0.2/24", "fd00::2/64"]).address("lo", &TWO.workload);
    (one, two)
}

fn settled(overlay: &mut Overlay) {
    let report = overlay.apply();
    assert_eq!(report.errors, Vec::<String>::new());
    let again = overlay.apply();
    assert_eq!((again.writes, again.errors), (0, Vec::new()), "nothing is left to do");
}

fn talk(from: &Node, from_site: &Site, to_site: &Site) {
    for family in 0..2 {
        let (source, target) = (from_site.workload[family], to_site.workload[family]);
        from.exec("ping", &["-c", "1", "-W", "5", "-I", source, target]);
    }
}

fn ours(node: &Node) -> Vec<String> {
    let filter = RouteFilter { protocol: Some(RouteProtocol::CALICO), ..RouteFilter::default() };
    let mut routes: Vec<String> =
        node.netlink().routes(filter).unwrap().iter().map(|r| format!("{} {:?}", r.dst, r.kind)).collect();
    routes.sort();
    routes
}

#[test]
fn workloads_talk_through_tunnels() {
    tortie_test_netns::isolated(|| {
        let (one, two) = pair();
        let (mut a, mut b) = (overlay(&one, &ONE, false), overlay(&two, &TWO, false));
        settled(&mut a);
        settled(&mut b);
        talk(&one, &ONE, &TWO);
        talk(&two, &TWO, &ONE);
        let link = one.netlink().link("vxlan.calico").unwrap().unwrap();
        assert_eq!(link.mtu, 1450);
        assert_eq!(one.netlink().link("vxlan-v6.calico").unwrap().unwrap().mtu, 1430);
        // Of the own block, what no workload has stays here.
        assert!(ours(&one).contains(&"10.244.1.0/26 Blackhole".to_owned()), "{:?}", ours(&one));
    });
}

#[test]
fn neighbours_need_no_tunnel() {
    tortie_test_netns::isolated(|| {
        let (one, two) = pair();
        let (mut a, mut b) = (overlay(&one, &ONE, true), overlay(&two, &TWO, true));
        settled(&mut a);
        settled(&mut b);
        // Nothing but the routes can carry it.
        one.netlink().delete_link("vxlan.calico").unwrap();
        one.netlink().delete_link("vxlan-v6.calico").unwrap();
        talk(&one, &ONE, &TWO);
    });
}

#[test]
fn what_somebody_breaks_is_repaired() {
    tortie_test_netns::isolated(|| {
        let (one, two) = pair();
        let (mut a, mut b) = (overlay(&one, &ONE, false), overlay(&two, &TWO, false));
        settled(&mut a);
        settled(&mut b);
        let link = one.index("vxlan.calico");
        one.netlink()
            .add_address(&tortie_kernel_net::Address::host(link, "192.0.2.9".parse().unwrap()))
            .unwrap();
        one.exec("ip", &["neigh", "del", "10.244.2.0", "dev", "vxlan.calico"]);
        one.exec("ip", &["route", "del", "10.244.2.0/26"]);
        one.exec("ip", &["-6", "route", "add", "2001:db8::/64", "via", "fd00::2", "proto", "80"]);
        one.exec("ip", &["link", "set", "vxlan-v6.calico", "down"]);
        a.resync();
        settled(&mut a);
        talk(&one, &ONE, &TWO);
        let filter = AddressFilter { link: Some(link), family: Some(Family::V4) };
        let addresses: Vec<IpAddr> =
            one.netlink().addresses(filter).unwrap().iter().map(|a| a.addr).collect();
        assert_eq!(addresses, [ONE.tunnel[0].parse::<IpAddr>().unwrap()]);
        assert!(!ours(&one).iter().any(|r| r.starts_with("2001:db8")), "{:?}", ours(&one));
    });
}

#[test]
fn a_restart_takes_over_and_removes_only_when_all_is_known() {
    tortie_test_netns::isolated(|| {
        let (one, two) = pair();
        let (mut a, mut b) = (overlay(&one, &ONE, false), overlay(&two, &TWO, false));
        settled(&mut a);
        settled(&mut b);
        drop(a);

        let mut again = one.run(|| Overlay::open(config(&ONE))).unwrap();
        assert_eq!(again.apply().writes, 0, "nothing is known yet");
        talk(&one, &ONE, &TWO);
        let mut again = overlay(&one, &ONE, false);
        let report = again.apply();
        assert_eq!((report.writes, report.errors), (0, Vec::new()), "everything is there already");

        // The other node leaves.
        again.update(&FabricUpdate::VtepRemove(TWO.name.into()));
        for block in TWO.block {
            again.update(&FabricUpdate::RouteRemove(block.parse().unwrap()));
        }
        settled(&mut again);
        assert!(!ours(&one).iter().any(|r| r.starts_with("10.244.2.")), "{:?}", ours(&one));
        let forward = NeighbourFilter {
            link: Some(one.index("vxlan.calico")),
            forward: true,
            ..NeighbourFilter::default()
        };
        assert_eq!(one.netlink().neighbours(forward).unwrap(), []);

        // No pool asks for tunnels any more.
        again.update(&FabricUpdate::Encapsulation(Encapsulation::default()));
        settled(&mut again);
        assert_eq!(one.netlink().link("vxlan.calico").unwrap(), None);
    });
}

#[test]
fn an_end_that_cannot_be_understood_is_named_and_hurts_no_other() {
    tortie_test_netns::isolated(|| {
        let (one, two) = pair();
        let (mut a, mut b) = (overlay(&one, &ONE, false), overlay(&two, &TWO, false));
        settled(&mut b);
        let end = VtepEnd {
            mac: "nonsense".into(),
            address: "10.244.3.0".into(),
            parent: "10.0.0.3".parse().unwrap(),
        };
        a.update(&FabricUpdate::Vtep("n3".into(), Arc::new(Vtep { v4: Some(end), v6: None })));
        let report = a.apply();
        assert!(
            matches!(report.errors.as_slice(), [e] if e.contains("n3") && e.contains("nonsense")),
            "{report:?}"
        );
        talk(&one, &ONE, &TWO);
    });
}

/// As Calico's agent makes them: tied to the interface beneath, with routes that are signed as anybody's.
#[test]
fn calicos_tunnels_are_taken_over_as_they_are() {
    let (one, two) = pair();
    settled(&mut overlay(&two, &TWO, false));
    let mut names = Vec::new();
    for (at, name, mac, id) in [(0, "vxlan.calico", "04", "4"), (1, "vxlan-v6.calico", "06", "6")] {
        let make = format!(
            "link add {name} address 66:00:00:00:01:{mac} mtu 1400 type vxlan id 4096 dstport 4789 local {} dev eth0 nolearning",
            ONE.parent[at]
        );
        one.exec("ip", &make.split(' ').collect::<Vec<_>>());
        one.exec("ip", &["link", "set", name, "up"]);
        one.address(name, &[ONE.tunnel[at]]);
        let family = format!("-{id}");
        let route = |dst: &str, via: &str| {
            one.exec("ip", &[&family, "route", "add", dst, "via", via, "dev", name, "onlink"]);
        };
        route(TWO.block[at], TWO.tunnel[at]);
        route(["10.244.9.0/26", "fd00:244:9::/122"][at], ["10.244.9.0", "fd00:244:9::"][at]);
        names.push((name, one.index(name)));
    }
    settled(&mut overlay(&one, &ONE, false));
    for (name, index) in names {
        assert_eq!(one.index(name), index, "{name} was made anew");
    }
    talk(&one, &ONE, &TWO);
    talk(&two, &TWO, &ONE);
    let routes = one.exec("ip", &["route"]) + &one.exec("ip", &["-6", "route"]);
    assert!(
        !routes.contains("244.9") && !routes.contains("244:9"),
        "routes to a node that is gone: {routes}"
    );
}
