//! Namespaces: entering, leaving, lifetime.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tortie_kernel_net::{LinkChange, NetNs, Netlink, NewLink, VethPeer, sysctl};
use tortie_test_netns::{Node, isolated};

#[test]
fn the_callers_thread_never_moves() {
    isolated(|| {
        let here = NetNs::current().unwrap();
        let other = NetNs::create_unnamed().unwrap();
        assert_ne!(here, other);
        assert_eq!(NetNs::current().unwrap(), here);
        assert_eq!(other.run(|| NetNs::current().unwrap()).unwrap(), other);
        assert_eq!(NetNs::current().unwrap(), here);
    });
}

#[test]
fn a_panic_reaches_the_caller_and_spoils_nothing() {
    isolated(|| {
        let other = NetNs::create_unnamed().unwrap();
        let panic = std::panic::catch_unwind(|| other.run(|| panic!("inside")));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"inside"));
        assert_eq!(other.run(|| NetNs::current().unwrap()).unwrap(), other);
    });
}

#[test]
fn many_threads_and_nested_entries() {
    isolated(|| {
        let namespaces: Vec<_> = (0..4).map(|_| NetNs::create_unnamed().unwrap()).collect();
        let right = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (namespaces, right) = (&namespaces, &right);
                scope.spawn(move || {
                    for round in 0..50 {
                        let (a, b) =
                            (&namespaces[(thread + round) % 4], &namespaces[(thread + round + 1) % 4]);
                        let inside = a
                            .run(|| {
                                let inner = b.run(|| NetNs::current().unwrap()).unwrap();
                                (NetNs::current().unwrap(), inner)
                            })
                            .unwrap();
                        right.fetch_add(usize::from(inside == (a.clone(), b.clone())), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(right.into_inner(), 8 * 50);
    });
}

#[test]
fn sockets_stay_where_they_were_opened() {
    isolated(|| {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let in_a = a.run(|| TcpListener::bind("127.0.0.1:7").unwrap());
        // The same address and port once more: possible only in another namespace.
        let in_b = b.run(|| TcpListener::bind("127.0.0.1:7").unwrap());
        assert!(a.run(|| std::net::TcpStream::connect("127.0.0.1:7")).is_ok());
        drop(in_a);
        assert!(a.run(|| std::net::TcpStream::connect("127.0.0.1:7")).is_err());
        drop(in_b);
    });
}

#[test]
fn bound_to_a_path_and_removed() {
    isolated(|| {
        let directory = std::env::temp_dir().join(format!("tortie-netns-{}", std::process::id()));
        let path = directory.join("pod");
        let made = NetNs::create(&path).unwrap();
        assert_eq!(NetNs::open(&path).unwrap(), made);
        let twice = NetNs::create(&path).unwrap_err();
        assert!(twice.to_string().contains(&*path.to_string_lossy()), "{twice}");
        NetNs::remove(&path).unwrap();
        NetNs::remove(&path).unwrap();
        assert!(NetNs::open(&path).unwrap_err().to_string().contains("cannot open"));
        std::fs::remove_dir(&directory).unwrap();
    });
}

#[test]
fn a_dropped_namespace_disappears_with_its_interfaces() {
    isolated(|| {
        let here = Netlink::open().unwrap();
        let other = NetNs::create_unnamed().unwrap();
        here.add_link(&NewLink::veth("here", VethPeer::new("there").inside(&other))).unwrap();
        other.run(|| ()).unwrap();
        drop(other);
        // The kernel tears namespaces down in the background.
        let deadline = Instant::now() + Duration::from_secs(20);
        while here.link("here").unwrap().is_some() {
            assert!(Instant::now() < deadline, "an idle worker keeps the namespace alive");
            std::thread::yield_now();
        }
    });
}

#[test]
fn sysctls_are_those_of_the_thread() {
    isolated(|| {
        let (a, b) = (Node::new("a"), Node::new("b"));
        a.sysctl("net/ipv4/ip_forward", "1");
        b.sysctl("net/ipv4/ip_forward", "0");
        assert_eq!(a.run(|| sysctl::get("net/ipv4/ip_forward")).unwrap(), "1");
        assert_eq!(b.run(|| sysctl::get("net/ipv4/ip_forward")).unwrap(), "0");
        let missing = a.run(|| sysctl::set("net/ipv4/conf/nowhere/proxy_arp", "1")).unwrap_err();
        assert!(missing.is_missing());
        assert_eq!(missing.to_string(), "cannot set the sysctl net/ipv4/conf/nowhere/proxy_arp to 1");
        b.netlink().set_link("lo", &LinkChange::down()).unwrap();
    });
}
