//! Interfaces, addresses, neighbours.

use std::net::IpAddr;

use tortie_kernel_net::{
    Address, AddressFilter, LinkChange, Neighbour, NeighbourFilter, Netlink, NewLink, NewLinkKind, Scope,
    VethPeer, Vxlan,
};
use tortie_net::{Family, Mac};
use tortie_test_netns::{Node, isolated};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const MAC: Mac = Mac([0xee; 6]);

#[test]
fn a_veth_pair_across_namespaces_in_one_message() {
    isolated(|| {
        let here = Netlink::open().unwrap();
        let pod = Node::new("pod");
        let peer = VethPeer { mac: Some(Mac([2, 0, 0, 0, 0, 7])), mtu: Some(1400), ..VethPeer::new("eth0") };
        let wanted = NewLink {
            mac: Some(MAC),
            mtu: Some(1400),
            alias: Some("pod x".into()),
            queues: Some(2),
            ..NewLink::veth("cali123", peer.inside(pod.namespace()))
        };
        let made = here.add_link(&wanted).unwrap();
        assert_eq!((made.name.as_str(), made.mac, made.mtu), ("cali123", Some(MAC), 1400));
        assert_eq!((made.kind.as_deref(), made.alias.as_deref()), (Some("veth"), Some("pod x")));
        assert!(made.is_up() && !made.is_running());
        pod.netlink().set_link("eth0", &LinkChange::up()).unwrap();
        let made = here.link("cali123").unwrap().unwrap();
        assert!(made.is_running());
        let inside = pod.netlink().link("eth0").unwrap().unwrap();
        assert_eq!((inside.mac, inside.mtu), (Some(Mac([2, 0, 0, 0, 0, 7])), 1400));
        assert!(inside.is_running());
        assert_eq!(made.lower, Some(inside.index));
        assert!(made.peer_namespace.is_some());
        assert_eq!(here.link(made.index).unwrap(), Some(made.clone()));
        assert_eq!(here.links().unwrap().iter().filter(|l| **l == made).count(), 1);

        let again = here.add_link(&wanted).unwrap_err();
        assert!(again.exists());
        assert_eq!(again.to_string(), "cannot add interface cali123");
        here.delete_link("cali123").unwrap();
        assert_eq!(here.link("cali123").unwrap(), None);
        assert!(here.delete_link("cali123").unwrap_err().is_missing());
        assert_eq!(pod.netlink().link("eth0").unwrap(), None);
    });
}

#[test]
fn bridge_vxlan_and_changes() {
    isolated(|| {
        let here = Netlink::open().unwrap();
        let bridge = here.add_link(&NewLink::new("br0", NewLinkKind::Bridge)).unwrap();
        assert_eq!((bridge.kind.as_deref(), bridge.is_up()), (Some("bridge"), false));
        let a = here.add_link(&NewLink::veth("a", VethPeer::new("b"))).unwrap();
        for (name, local) in [("vxlan.calico", "192.0.2.1"), ("vxlan-v6.calico", "2001:db8::1")] {
            let parameters = Vxlan { vni: 4096, port: 4789, local: Some(ip(local)), lower: Some(a.index) };
            let wanted =
                NewLink { mac: Some(MAC), ..NewLink::new(name, NewLinkKind::Vxlan(parameters.clone())) };
            let made = here.add_link(&wanted).unwrap();
            assert_eq!((made.mac, made.vxlan), (Some(MAC), Some(parameters)));
        }
        let change = LinkChange {
            up: Some(false),
            mtu: Some(1300),
            mac: Some(MAC),
            alias: Some("text".into()),
            master: Some(Some(bridge.index)),
            name: Some("c".into()),
            ..LinkChange::default()
        };
        here.set_link(a.index, &change).unwrap();
        let changed = here.link("c").unwrap().unwrap();
        assert_eq!(
            (changed.index, changed.mtu, changed.mac, changed.is_up()),
            (a.index, 1300, Some(MAC), false)
        );
        assert_eq!((changed.alias.as_deref(), changed.master), (Some("text"), Some(bridge.index)));
        here.set_link("c", &LinkChange { master: Some(None), ..LinkChange::up() }).unwrap();
        let freed = here.link("c").unwrap().unwrap();
        assert!(freed.is_up() && freed.master.is_none());

        let elsewhere = Node::new("elsewhere");
        here.set_link(
            "c",
            &LinkChange { namespace: Some(elsewhere.namespace().clone()), ..LinkChange::default() },
        )
        .unwrap();
        assert_eq!(here.link("c").unwrap(), None);
        assert!(elsewhere.netlink().link("c").unwrap().is_some());

        let refused = here.set_link("nowhere", &LinkChange::up()).unwrap_err();
        assert_eq!(refused.to_string(), "cannot change interface nowhere");
        assert_eq!(refused.source.to_string(), "no such device");
    });
}

#[test]
fn addresses_of_both_families() {
    isolated(|| {
        let here = Netlink::open().unwrap();
        let a = here.add_link(&NewLink::veth("a", VethPeer::new("b"))).unwrap();
        for (addr, len) in
            [("10.0.0.1", 24), ("10.1.1.1", 32), ("fd00::1", 64), ("fd00:1::1", 128), ("fe80::1", 64)]
        {
            let address = Address::new(a.index, ip(addr), len);
            here.add_address(&address).unwrap();
            assert!(here.add_address(&address).unwrap_err().exists());
            here.replace_address(&address).unwrap();
            let filter = AddressFilter { family: Some(Family::of(ip(addr))), link: Some(a.index) };
            let found = here.addresses(filter).unwrap();
            assert_eq!(found.iter().filter(|found| **found == address).count(), 1, "{address} in {found:?}");
            if addr == "fe80::1" {
                assert_eq!(address.scope, Scope::LINK);
            }
        }
        let loopback = here.addresses(AddressFilter { family: Some(Family::V4), link: None }).unwrap();
        assert!(loopback.iter().any(|address| address.addr == ip("127.0.0.1")));
        let gone = Address::new(a.index, ip("10.0.0.1"), 24);
        here.delete_address(&gone).unwrap();
        let error = here.delete_address(&gone).unwrap_err();
        assert!(error.is_missing(), "{error}: {}", error.source);
        let on_a = AddressFilter { link: Some(a.index), ..AddressFilter::default() };
        assert!(!here.addresses(on_a).unwrap().contains(&gone));
        assert!(here.addresses(on_a).unwrap().iter().all(|address| address.link == a.index));
    });
}

#[test]
fn neighbours_proxies_and_forwarding_entries() {
    isolated(|| {
        let here = Netlink::open().unwrap();
        let a = here.add_link(&NewLink::veth("a", VethPeer::new("b"))).unwrap();
        let parameters = Vxlan { vni: 1, port: 4789, local: None, lower: None };
        let tunnel = NewLink { up: true, ..NewLink::new("tunnel", NewLinkKind::Vxlan(parameters)) };
        let tunnel = here.add_link(&tunnel).unwrap();
        let on = |link| NeighbourFilter { link: Some(link), ..NeighbourFilter::default() };
        let cases = [
            (Neighbour::permanent(a.index, ip("169.254.1.1"), MAC), on(a.index)),
            (Neighbour::permanent(a.index, ip("fe80::1"), MAC), on(a.index)),
            (Neighbour::reachable(a.index, ip("10.0.0.8"), MAC), on(a.index)),
            (Neighbour::reachable(a.index, ip("fd00::8"), MAC), on(a.index)),
            (Neighbour::proxy(a.index, ip("10.0.0.9")), NeighbourFilter { proxy: true, ..on(a.index) }),
            (Neighbour::proxy(a.index, ip("fd00::9")), NeighbourFilter { proxy: true, ..on(a.index) }),
            (
                Neighbour::forward(tunnel.index, MAC, ip("192.0.2.7")),
                NeighbourFilter { forward: true, ..on(tunnel.index) },
            ),
        ];
        for (neighbour, filter) in cases {
            here.replace_neighbour(&neighbour).unwrap();
            here.replace_neighbour(&neighbour).unwrap();
            let found = here.neighbours(filter).unwrap();
            assert_eq!(
                found.iter().filter(|found| **found == neighbour).count(),
                1,
                "{neighbour} in {found:?}"
            );
            here.delete_neighbour(&neighbour).unwrap();
            assert!(!here.neighbours(filter).unwrap().contains(&neighbour), "{neighbour}");
            assert!(here.delete_neighbour(&neighbour).unwrap_err().is_missing());
        }
    });
}
