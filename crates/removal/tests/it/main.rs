//! A node that is as an agent leaves it, and what is on it afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use tortie_kernel_net::{
    LinkChange, Netlink, NewLink, NewLinkKind, Route, RouteFilter, RouteKind, RouteProtocol, TableId,
    VethPeer, Vxlan,
};
use tortie_net::Cidr;
use tortie_removal::{Mark, Places, finish, workloads};
use tortie_test_netns::isolated;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nft(script: &str) {
    assert!(Command::new("nft").arg(script).status().unwrap().success(), "{script}");
}

fn tables() -> String {
    String::from_utf8(Command::new("nft").args(["list", "tables"]).output().unwrap().stdout).unwrap()
}

/// Everything of the network that a removal might touch.
fn picture(host: &Netlink) -> (BTreeSet<String>, BTreeSet<String>, String) {
    let links = host.links().unwrap().into_iter().map(|l| l.name).collect();
    let filter = RouteFilter { table: Some(TableId::MAIN), ..RouteFilter::default() };
    let routes = host.routes(filter).unwrap().iter().map(|r| format!("{r:?}")).collect();
    (links, routes, tables())
}

fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            found.insert(path.strip_prefix(root).unwrap().display().to_string());
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

fn places(root: &Path) -> Places {
    let [lib, run, net, bin, plugin] = ["lib", "run", "net.d", "bin", "image/calico"].map(|p| root.join(p));
    Places { lib, run, net, bin, plugin }
}

/// The node before us: somebody else's routes, tables and files.
fn before(host: &Netlink, places: &Places) {
    host.add_link(&NewLink { up: true, ..NewLink::veth("eth0", VethPeer::new("far")) }).unwrap();
    host.set_link("far", &LinkChange::up()).unwrap();
    let eth0 = host.link("eth0").unwrap().unwrap().index;
    for dst in ["10.9.0.0/16", "10.65.9.0/24", "fd09::/64"] {
        host.add_route(&Route::on(cidr(dst), eth0)).unwrap();
    }
    // Of BIRD, but no business of ours.
    host.add_route(&Route::on(cidr("10.8.0.0/16"), eth0).by(RouteProtocol::BIRD)).unwrap();
    nft("add table inet filter");
    for directory in [&places.net, &places.bin] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::create_dir_all(places.plugin.parent().unwrap()).unwrap();
    fs::write(&places.plugin, "our plugin").unwrap();
    fs::write(places.bin.join("portmap"), "portmap").unwrap();
    fs::write(places.net.join("99-loopback.conf"), r#"{"type": "loopback"}"#).unwrap();
}

/// What the agent leaves.
fn left(host: &Netlink, places: &Places) {
    let pod = VethPeer::new("pod1");
    host.add_link(&NewLink { up: true, ..NewLink::veth("cali1", pod) }).unwrap();
    let cali = host.link("cali1").unwrap().unwrap().index;
    let eth0 = host.link("eth0").unwrap().unwrap().index;
    for (name, local) in [("vxlan.calico", "192.0.2.1"), ("vxlan-v6.calico", "2001:db8::1")] {
        let vxlan = Vxlan { vni: 4096, port: 4789, local: Some(ip(local)), lower: None };
        let link = NewLink { up: true, ..NewLink::new(name, NewLinkKind::Vxlan(vxlan)) };
        host.add_link(&link).unwrap();
    }
    host.add_route(&Route::on(cidr("10.65.1.1/32"), cali)).unwrap();
    host.add_route(&Route::on(cidr("10.65.2.0/26"), eth0).by(RouteProtocol::BIRD)).unwrap();
    for (dst, by) in [
        ("10.65.1.0/26", RouteProtocol::BIRD),
        ("10.65.3.0/26", RouteProtocol::CALICO),
        ("fd65::/122", RouteProtocol::BIRD),
    ] {
        host.add_route(&Route::special(cidr(dst), RouteKind::Blackhole).by(by)).unwrap();
    }
    nft(
        "add table inet calico; add chain inet calico filter { type filter hook forward priority 0; policy drop; }",
    );
    for directory in [&places.run, &places.lib, &places.lib.join("cni-del")] {
        fs::create_dir_all(directory).unwrap();
    }
    for file in ["agent.sock", "bird.ctl", "bird.cfg", "bird.before"] {
        fs::write(places.run.join(file), "").unwrap();
    }
    fs::write(places.lib.join("nodename"), "n1").unwrap();
    fs::write(places.lib.join("cni-del/c1-eth0.json"), "{}").unwrap();
    fs::write(places.net.join("10-calico.conflist"), r#"{"plugins": [{"type": "calico"}]}"#).unwrap();
    for name in ["calico", "calico-ipam"] {
        fs::write(places.bin.join(name), "our plugin").unwrap();
    }
}

fn mark() -> Mark {
    Mark {
        ended: true,
        interface_prefix: "cali".to_owned(),
        networks: [cidr("10.65.0.0/16"), cidr("fd65::/48")].into(),
        ..Mark::default()
    }
}

#[test]
fn a_node_is_as_it_was_before() {
    isolated(|| {
        let dir = tempfile::tempdir().unwrap();
        let (host, places) = (Netlink::open().unwrap(), places(dir.path()));
        before(&host, &places);
        let (network, disk) = (picture(&host), files(dir.path()));
        left(&host, &places);
        mark().write(&places.lib).unwrap();
        assert_eq!(workloads(&host, &mark()).unwrap(), ["cali1"]);
        host.delete_link("cali1").unwrap();
        assert_eq!(workloads(&host, &mark()).unwrap(), [""; 0]);

        assert_eq!(finish(&host, &mark(), &places), [""; 0]);
        assert_eq!(picture(&host), network);
        assert_eq!(files(dir.path()), disk);
        // Whoever comes second finds nothing to do.
        assert_eq!(finish(&host, &mark(), &places), [""; 0]);
    });
}

#[test]
fn what_somebody_else_put_there_stays() {
    isolated(|| {
        let dir = tempfile::tempdir().unwrap();
        let (host, places) = (Netlink::open().unwrap(), places(dir.path()));
        before(&host, &places);
        left(&host, &places);
        host.delete_link("cali1").unwrap();
        fs::write(places.bin.join("calico"), "another plugin of this name").unwrap();
        fs::write(places.run.join("felix.sock"), "").unwrap();
        mark().write(&places.lib).unwrap();
        assert_eq!(finish(&host, &mark(), &places), [""; 0]);
        let kept = files(dir.path());
        for name in ["bin/calico", "bin/portmap", "run/felix.sock", "net.d/99-loopback.conf"] {
            assert!(kept.contains(name), "{name}: {kept:?}");
        }
        for name in ["bin/calico-ipam", "net.d/10-calico.conflist", "lib", "run/bird.cfg"] {
            assert!(!kept.contains(name), "{name}: {kept:?}");
        }
    });
}

#[test]
fn what_could_not_be_done_is_told_and_tried_again() {
    isolated(|| {
        let dir = tempfile::tempdir().unwrap();
        let (host, places) = (Netlink::open().unwrap(), places(dir.path()));
        before(&host, &places);
        left(&host, &places);
        host.delete_link("cali1").unwrap();
        mark().write(&places.lib).unwrap();
        // Nothing can be removed where a directory is in the way of a file.
        let obstacle = places.run.join("bird.pid/inside");
        fs::create_dir_all(&obstacle).unwrap();
        let problems = finish(&host, &mark(), &places);
        assert!(problems.len() == 1 && problems[0].contains("bird.pid"), "{problems:?}");
        assert!(!tables().contains("inet calico"), "the rest is done all the same");
        // The next call comes only with these.
        assert!(Mark::read(&places.lib).unwrap().is_some());
        assert!(places.net.join("10-calico.conflist").exists() && places.bin.join("calico").exists());
        fs::remove_dir_all(places.run.join("bird.pid")).unwrap();
        assert_eq!(finish(&host, &mark(), &places), [""; 0]);
        assert_eq!(Mark::read(&places.lib).unwrap(), None);
    });
}
