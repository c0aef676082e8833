//! How many probes per second one process makes. Prints a table; takes root.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its table and fails loudly")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tortie_net::Family;
use tortie_probe::{Expect, Flood, Host, Listeners, Options, Probe, Proto, Verdict, run};
use tortie_test_netns::{Node, isolated, wire};

const HOSTS: usize = 50;

fn main() {
    isolated(|| {
        let router = Node::router("router");
        let hosts: Vec<Host> = (0..HOSTS).map(|number| host(&router, number)).collect();
        let start = Instant::now();
        let listeners = Listeners::new().unwrap();
        let wanted: Vec<_> =
            hosts.iter().flat_map(|h| [(h.clone(), 80, Proto::Tcp), (h.clone(), 80, Proto::Udp)]).collect();
        listeners.add_all(&wanted).unwrap();
        println!("{:44} {:>7} in {:>7.1?}", "listening sockets", listeners.len(), start.elapsed());
        for proto in [Proto::Tcp, Proto::Udp, Proto::Icmp] {
            for family in Family::ALL {
                measure(
                    &format!("allowed, {proto}, {family}"),
                    &all_pairs(&hosts, family, proto, Expect::Allow),
                );
            }
        }
        router.nft("table inet t { chain forward { type filter hook forward priority 0; policy drop; }\n}\n");
        for proto in [Proto::Tcp, Proto::Udp, Proto::Icmp] {
            for family in Family::ALL {
                measure(
                    &format!("denied, {proto}, {family}"),
                    &all_pairs(&hosts, family, proto, Expect::Deny),
                );
            }
        }
        flood(&hosts);
    });
}

fn host(router: &Node, number: usize) -> Host {
    let node = Node::new(&format!("h{number}"));
    let port = format!("r{number}");
    wire((&node, "eth0"), (router, &port));
    let (v4, v6) = (format!("10.0.{number}.2"), format!("fd00:{number:x}::2"));
    node.address("eth0", &[&format!("{v4}/24"), &format!("{v6}/64")]);
    router.address(&port, &[&format!("10.0.{number}.1/24"), &format!("fd00:{number:x}::1/64")]);
    node.route("default", &format!("10.0.{number}.1")).route("default", &format!("fd00:{number:x}::1"));
    let addresses: Vec<IpAddr> = [v4, v6].iter().map(|text| text.parse().unwrap()).collect();
    Host::new(node.name(), node.namespace().clone(), addresses)
}

fn all_pairs(hosts: &[Host], family: Family, proto: Proto, expect: Expect) -> Vec<Probe> {
    let mut probes = Vec::new();
    for from in hosts {
        for to in hosts.iter().filter(|to| to.name() != from.name()) {
            probes.push(Probe::new(from, to, to.address(family).unwrap(), 80, proto).expecting(expect));
        }
    }
    probes
}

fn measure(what: &str, probes: &[Probe]) {
    let start = Instant::now();
    let outcomes = run(probes, &Options::default()).unwrap();
    let took = start.elapsed();
    let tries: u32 = outcomes.iter().map(|outcome| outcome.tries).sum();
    let wavered = outcomes.iter().filter(|outcome| outcome.wavered).count();
    let as_expected =
        |(probe, verdict): (&Probe, &Verdict)| probe.expect.is_none_or(|expect| verdict.meets(expect));
    let right =
        probes.iter().zip(outcomes.iter().map(|o| &o.verdict)).filter(|pair| as_expected(*pair)).count();
    assert_eq!(right, probes.len(), "{what}");
    println!(
        "{what:44} {:>7} in {took:>7.1?}: {:>7.0}/s, {tries} tries, {wavered} wavered",
        probes.len(),
        probes.len() as f64 / took.as_secs_f64()
    );
}

fn flood(hosts: &[Host]) {
    let flows: Vec<_> = all_pairs(hosts, Family::V4, Proto::Tcp, Expect::Deny)
        .iter()
        .zip(hosts.iter().cycle().skip(1))
        .filter(|(probe, to)| probe.from.name() != to.name())
        .map(|(probe, to)| tortie_probe::Flow {
            from: probe.from.clone(),
            to: to.clone(),
            addr: to.address(Family::V4).unwrap(),
            port: 80,
            proto: Proto::Tcp,
        })
        .collect();
    let flood = Flood::start(&flows, 1_000_000).unwrap();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        std::thread::park_timeout(end - Instant::now());
    }
    let report = flood.stop().unwrap();
    assert!(report.arrived.is_empty());
    let rate = report.sent as f64 / report.lasted.as_secs_f64();
    println!("{:44} {:>7} in {:>7.1?}: {rate:>7.0}/s", "flood of dropped SYNs", report.sent, report.lasted);
}
