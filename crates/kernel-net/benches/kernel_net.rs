//! How long the kernel's configuration takes: entering namespaces, pods, routes. Prints a table; takes root.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its table and fails loudly")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use tortie_kernel_net::pod::{self, PodSpec};
use tortie_kernel_net::{Batch, LinkIndex, NetNs, Netlink, Route, RouteFilter};
use tortie_net::{Cidr, Family};
use tortie_test_netns::{Node, isolated};

const PODS: u32 = 200;
const ROUTES: u32 = 50_000;
const ENTRIES: u32 = 2_000;
const THREADS: usize = 16;

fn main() {
    isolated(|| {
        namespaces();
        pods();
        routes();
    });
}

fn row(what: &str, count: u32, mut times: Vec<Duration>) {
    times.sort();
    let total: Duration = times.iter().sum();
    let median = times[times.len() / 2] / (count / times.len() as u32);
    println!(
        "{what:40} {count:>7} x {median:>10.1?} median, {:>9.0}/s",
        f64::from(count) / total.as_secs_f64()
    );
}

fn timed(times: &mut Vec<Duration>, job: impl FnOnce()) {
    let start = Instant::now();
    job();
    times.push(start.elapsed());
}

fn namespaces() {
    let other = NetNs::create_unnamed().unwrap();
    let mut times = Vec::new();
    for _ in 0..ENTRIES {
        timed(&mut times, || other.run(|| ()).unwrap());
    }
    row("enter and leave a namespace", ENTRIES, times);
    let mut times = Vec::new();
    let mut made = Vec::new();
    for _ in 0..PODS {
        timed(&mut times, || made.push(NetNs::create_unnamed().unwrap()));
    }
    row("make a namespace", PODS, times);
}

fn pods() {
    let node = Node::router("node");
    let pods: Vec<_> = (0..PODS).map(|_| NetNs::create_unnamed().unwrap()).collect();
    let mut times = Vec::new();
    for (number, namespace) in (1u32..).zip(&pods) {
        let v4 = Ipv4Addr::from(0x0a41_0000 + number);
        let v6 = Ipv6Addr::from((0xfd00_u128 << 112) + u128::from(number));
        let spec = PodSpec::new(format!("cali{number}"), "eth0", 1440, vec![v4.into(), v6.into()]);
        timed(&mut times, || {
            pod::attach(node.netlink(), namespace, &spec).unwrap();
        });
    }
    row("attach a pod, both families", PODS, times);
    let mut times = Vec::new();
    let (one_by_one, together) = (1..=PODS / 10, PODS / 10 + 1..=PODS);
    for number in one_by_one.clone() {
        timed(&mut times, || {
            pod::detach(node.netlink(), &format!("cali{number}")).unwrap();
        });
    }
    row("detach a pod", *one_by_one.end(), times);
    // The kernel waits until nobody looks at an interface any more; those waits overlap.
    let start = Instant::now();
    let count = together.clone().count();
    let numbers: Vec<u32> = together.collect();
    std::thread::scope(|scope| {
        for share in numbers.chunks(numbers.len().div_ceil(THREADS)) {
            let node = &node;
            scope.spawn(move || {
                let socket = Netlink::open_in(node.namespace()).unwrap();
                for number in share {
                    pod::detach(&socket, &format!("cali{number}")).unwrap();
                }
            });
        }
    });
    println!("{:40} {count:>7} in {:>7.1?}", format!("detach pods on {THREADS} threads"), start.elapsed());
}

fn routes() {
    let node = Node::new("routes");
    let lo: LinkIndex = node.index("lo");
    for family in Family::ALL {
        let addr = |number: u32| match family {
            Family::V4 => IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number)),
            Family::V6 => IpAddr::from(Ipv6Addr::from((0xfd00_u128 << 112) + u128::from(number))),
        };
        let routes: Vec<_> = (0..ROUTES).map(|number| Route::on(Cidr::host(addr(number)), lo)).collect();
        let commit = |what: &str, put: fn(&mut Batch, &Route)| {
            let mut times = Vec::new();
            timed(&mut times, || {
                let mut batch = Batch::new();
                for route in &routes {
                    put(&mut batch, route);
                }
                assert!(node.netlink().commit(&mut batch).unwrap().is_ok());
            });
            row(&format!("{what} routes, {family}"), ROUTES, times);
        };
        commit("add", |batch, route| {
            batch.add_route(route);
        });
        let mut times = Vec::new();
        let filter = RouteFilter { family: Some(family), ..RouteFilter::default() };
        timed(&mut times, || assert!(node.netlink().routes(filter).unwrap().len() >= ROUTES as usize));
        row(&format!("list routes, {family}"), ROUTES, times);
        commit("delete", |batch, route| {
            batch.delete_route(route);
        });
    }
}
