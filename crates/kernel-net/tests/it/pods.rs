//! A pod's interface: packets flow, repetition is harmless, conflicts are named.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tortie_kernel_net::pod::{self, AttachError, GATEWAY_V4, GATEWAY_V6, HOST_MAC, PodSpec};
use tortie_kernel_net::{
    AddressFilter, Errno, NeighbourFilter, NewLink, Route, RouteFilter, RouteProtocol, VethPeer, sysctl,
};
use tortie_net::{Cidr, Family, Mac};
use tortie_test_netns::{Node, isolated};

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn spec(host_name: &str, addresses: &[&str]) -> PodSpec {
    PodSpec::new(host_name, "eth0", 1440, ips(addresses))
}

/// A machine that forwards and has addresses of its own.
fn node() -> Node {
    let node = Node::router("node");
    node.address("lo", &["192.0.2.1", "2001:db8::1"]);
    node
}

/// Sends a line over TCP from one node to another and back.
fn talk(from: &Node, to: &Node, address: IpAddr) {
    let listener = to.run(|| TcpListener::bind(SocketAddr::new(address, 80)).unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
    });
    let mut seen = String::new();
    from.run(|| {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::new(address, 80), Duration::from_secs(10)).unwrap();
        stream.read_to_string(&mut seen).unwrap();
    });
    server.join().unwrap();
    assert!(!seen.is_empty());
}

#[test]
fn pods_of_a_node_reach_each_other_at_once() {
    isolated(|| {
        let node = node();
        let (a, b) = (Node::new("a"), Node::new("b"));
        let in_a =
            pod::attach(node.netlink(), a.namespace(), &spec("calia", &["10.65.0.2", "fd00:65::2"])).unwrap();
        pod::attach(node.netlink(), b.namespace(), &spec("calib", &["10.65.0.3", "fd00:65::3"])).unwrap();
        for address in ips(&["10.65.0.3", "fd00:65::3"]) {
            talk(&a, &b, address);
            talk(&node, &b, address);
        }
        for address in ips(&["192.0.2.1", "2001:db8::1"]) {
            talk(&a, &node, address);
        }
        let end = a.netlink().link("eth0").unwrap().unwrap();
        assert_eq!((end.index, end.mac, end.mtu), (in_a.pod, Some(in_a.pod_mac), 1440));
        let host_end = node.netlink().link("calia").unwrap().unwrap();
        assert_eq!((host_end.index, host_end.mac, host_end.mtu), (in_a.host, Some(HOST_MAC), 1440));
    });
}

#[test]
fn everything_is_as_calico_leaves_it() {
    isolated(|| {
        let (node, a) = (node(), Node::new("a"));
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let wanted =
            PodSpec { pod_mac: Some(mac), rp_filter: Some(1), ..spec("calia", &["10.65.0.2", "fd00:65::2"]) };
        let made = pod::attach(node.netlink(), a.namespace(), &wanted).unwrap();
        assert_eq!(made.pod_mac, mac);
        for (name, value) in [
            ("ipv4/conf/calia/route_localnet", "1"),
            ("ipv4/conf/calia/proxy_arp", "1"),
            ("ipv4/neigh/calia/proxy_delay", "0"),
            ("ipv4/conf/calia/forwarding", "1"),
            ("ipv4/conf/calia/rp_filter", "1"),
            ("ipv6/conf/calia/disable_ipv6", "0"),
            ("ipv6/conf/calia/accept_dad", "0"),
            ("ipv6/conf/calia/proxy_ndp", "1"),
            ("ipv6/conf/calia/forwarding", "1"),
            ("ipv6/conf/calia/accept_ra", "0"),
        ] {
            assert_eq!(node.run(|| sysctl::get(&format!("net/{name}"))).unwrap(), value, "{name}");
        }
        for (name, value) in
            [("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0"), ("ipv6/conf/eth0/accept_dad", "0")]
        {
            assert_eq!(a.run(|| sysctl::get(&format!("net/{name}"))).unwrap(), value, "{name}");
        }
        let host_routes =
            node.netlink().routes(RouteFilter { link: Some(made.host), ..RouteFilter::default() }).unwrap();
        let inside =
            a.netlink().routes(RouteFilter { link: Some(made.pod), ..RouteFilter::default() }).unwrap();
        for address in &wanted.addresses {
            assert!(host_routes.contains(&Route::on(Cidr::host(*address), made.host)), "{host_routes:?}");
            let gateway = if address.is_ipv4() { IpAddr::from(GATEWAY_V4) } else { IpAddr::from(GATEWAY_V6) };
            let default = Route::via(Cidr::any(Family::of(*address)), gateway, Some(made.pod));
            assert!(inside.contains(&default), "{default} in {inside:?}");
            let neighbours = a.netlink().neighbours(NeighbourFilter::default()).unwrap();
            let known = tortie_kernel_net::Neighbour::permanent(made.pod, gateway, HOST_MAC);
            assert!(neighbours.contains(&known), "{known} in {neighbours:?}");
        }
        let neighbours = node.netlink().neighbours(NeighbourFilter::default()).unwrap();
        for address in &wanted.addresses {
            let known = tortie_kernel_net::Neighbour::reachable(made.host, *address, mac);
            assert!(neighbours.contains(&known), "{known} in {neighbours:?}");
        }
        let addresses = a.netlink().addresses(AddressFilter { link: Some(made.pod), family: None }).unwrap();
        for (address, len) in wanted.addresses.iter().zip([32, 128]) {
            assert!(
                addresses.iter().any(|a| a.addr == *address && a.prefix_len == len && !a.tentative),
                "{addresses:?}"
            );
        }
        let host_addresses =
            node.netlink().addresses(AddressFilter { link: Some(made.host), family: None }).unwrap();
        let local: Vec<_> = host_addresses.iter().map(|a| (a.addr, a.tentative)).collect();
        assert_eq!(local, [(GATEWAY_V6.into(), false)]);
    });
}

#[test]
fn repeated_after_a_crash_and_removed_twice() {
    isolated(|| {
        let (node, a, b) = (node(), Node::new("a"), Node::new("b"));
        let wanted = spec("calia", &["10.65.0.2", "fd00:65::2"]);
        let first = pod::attach(node.netlink(), a.namespace(), &wanted).unwrap();
        let second = pod::attach(node.netlink(), a.namespace(), &wanted).unwrap();
        assert_ne!(first.host, second.host);
        talk(&node, &a, wanted.addresses[0]);
        // The pod was made anew in another namespace.
        pod::attach(node.netlink(), b.namespace(), &wanted).unwrap();
        assert_eq!(a.netlink().link("eth0").unwrap(), None);
        talk(&node, &b, wanted.addresses[1]);
        assert!(pod::detach(node.netlink(), "calia").unwrap());
        assert!(!pod::detach(node.netlink(), "calia").unwrap());
        assert!(!pod::detach_inside(b.netlink(), "eth0").unwrap());
        pod::attach(node.netlink(), b.namespace(), &wanted).unwrap();
        assert!(pod::detach_inside(b.netlink(), "eth0").unwrap());
        assert_eq!(node.netlink().link("calia").unwrap(), None);
    });
}

#[test]
fn an_address_that_is_used_twice_is_refused_by_name() {
    isolated(|| {
        let (node, a, b) = (node(), Node::new("a"), Node::new("b"));
        for address in ["10.65.0.2", "fd00:65::2"] {
            pod::attach(node.netlink(), a.namespace(), &spec("calia", &[address])).unwrap();
            let refused = pod::attach(node.netlink(), b.namespace(), &spec("calib", &[address])).unwrap_err();
            let dst = Cidr::host(address.parse().unwrap());
            assert_eq!(
                refused.to_string(),
                format!(
                    "cannot route {dst} to calib: there is a route through calia, is the address used twice"
                )
            );
            assert_eq!(node.netlink().link("calib").unwrap(), None, "a failure leaves nothing behind");
        }
        node.netlink().add_link(&NewLink::veth("x", VethPeer::new("y"))).unwrap();
    });
}

#[test]
fn a_taken_name_in_the_pod_is_refused_by_name() {
    isolated(|| {
        let (node, a) = (node(), Node::new("a"));
        a.netlink().add_link(&NewLink::veth("eth0", VethPeer::new("other"))).unwrap();
        let refused = pod::attach(node.netlink(), a.namespace(), &spec("calia", &["10.65.0.2"])).unwrap_err();
        assert!(matches!(refused, AttachError::PodNameTaken { .. }));
        assert_eq!(refused.to_string(), "the pod already has an interface eth0 whose other end is not calia");
    });
}

#[test]
fn a_refused_step_is_named_and_undone() {
    isolated(|| {
        let (node, a) = (node(), Node::new("a"));
        let addresses = ["10.65.0.2", "10.65.0.2"];
        let refused = pod::attach(node.netlink(), a.namespace(), &spec("calia", &addresses)).unwrap_err();
        let AttachError::Refused { ref source, .. } = refused else { panic!("{refused}") };
        assert_eq!(source.errno, Errno::EEXIST);
        assert!(
            refused.to_string().starts_with("cannot configure eth0 (pod's end): address 10.65.0.2/32"),
            "{refused}"
        );
        assert_eq!(node.netlink().link("calia").unwrap(), None);
    });
}

#[test]
fn only_the_wanted_family_and_routes() {
    isolated(|| {
        let (node, a) = (node(), Node::new("a"));
        let only: Cidr = "10.0.0.0/8".parse().unwrap();
        let wanted = PodSpec {
            routes: vec![only],
            alias: Some("ns/pod".into()),
            ip_forwarding: true,
            ..spec("calia", &["10.65.0.2"])
        };
        pod::attach(node.netlink(), a.namespace(), &wanted).unwrap();
        let routes = a
            .netlink()
            .routes(RouteFilter { protocol: Some(RouteProtocol::BOOT), ..RouteFilter::default() })
            .unwrap();
        let destinations: Vec<_> = routes.iter().map(|route| route.dst.to_string()).collect();
        assert_eq!(destinations, ["10.0.0.0/8", "169.254.1.1/32"]);
        assert_eq!(node.netlink().link("calia").unwrap().unwrap().alias.as_deref(), Some("ns/pod"));
        assert_eq!(a.run(|| sysctl::get("net/ipv4/ip_forward")).unwrap(), "1");
    });
}

#[test]
fn what_is_missing_of_an_interface_is_named() {
    isolated(|| {
        let (node, a) = (node(), Node::new("a"));
        let wanted = spec("calia", &["10.65.0.2", "fd00:65::2"]);
        let look = || pod::inspect(node.netlink(), a.namespace(), &wanted).unwrap();
        let again = || pod::attach(node.netlink(), a.namespace(), &wanted).unwrap();
        assert_eq!(
            look(),
            ["the node has no interface calia".to_owned(), "the pod has no interface eth0".to_owned()]
        );
        again();
        assert_eq!(look(), Vec::<String>::new());
        for address in &wanted.addresses {
            node.netlink().delete_route(&Route::on(Cidr::host(*address), again().host)).unwrap();
            assert_eq!(look(), [format!("the node has no route to {address} through calia")]);
            let inside = AddressFilter { family: Some(Family::of(*address)), ..AddressFilter::default() };
            let made = again();
            let of_pod = a.netlink().addresses(inside).unwrap();
            let one = of_pod.iter().find(|found| found.addr == *address && found.link == made.pod).unwrap();
            a.netlink().delete_address(one).unwrap();
            assert!(
                look().contains(&format!("the pod's interface eth0 does not have the address {address}"))
            );
            again();
            a.netlink()
                .delete_route(&Route::via(
                    Cidr::any(Family::of(*address)),
                    if address.is_ipv4() { GATEWAY_V4.into() } else { GATEWAY_V6.into() },
                    Some(again().pod),
                ))
                .unwrap();
            assert!(look().iter().any(|m| m.starts_with("the pod has no route to")), "{:?}", look());
            again();
        }
        a.netlink().set_link("eth0", &tortie_kernel_net::LinkChange::down()).unwrap();
        assert!(look().contains(&"the pod's interface eth0 is down".to_owned()));
    });
}
