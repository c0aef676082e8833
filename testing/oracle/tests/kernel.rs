//! Random policies: what packets do in the kernel is what the evaluator says, for every pair of pods, in both families.
//!
//! Everything between the datastore and the kernel is the product's: conversion, calculation, rules, nftables. The
//! evaluator shares none of it. `ORACLE_ROUNDS` makes it longer, `ORACLE_SEED` repeats a failure.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use tortie_calc::{Calc, CalcConfig};
use tortie_dataplane::{Config, Dataplane, OverlayConfig};
use tortie_kernel_net::pod::{self, PodSpec};
use tortie_kernel_net::{NetNs, Netlink, sysctl};
use tortie_model::convert::{Converter, Options};
use tortie_model::names;
use tortie_net::Protocol;
use tortie_policy::{Packet, State};
use tortie_probe::{Expect, Host, Listeners, Probe, Proto};
use tortie_rules::EndpointToHost;
use tortie_test_oracle::{Random, World, change, tier};

const PODS: [(&str, &str, &str); 5] = [
    ("red-one", "web", ""),
    ("red-one", "api", "odd"),
    ("blue", "web", "odd"),
    ("blue", "db", ""),
    ("red-two", "api", ""),
];
const PORTS: [(u16, Proto); 4] = [(80, Proto::Tcp), (81, Proto::Tcp), (53, Proto::Udp), (80, Proto::Udp)];

struct Cluster {
    converter: Converter,
    calc: Calc,
    dataplane: Dataplane,
    evaluator: State,
    hosts: Vec<Host>,
}

impl Cluster {
    fn new() -> Self {
        for (name, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            // A reused port must not ride on a connection of an earlier round.
            ("net/netfilter/nf_conntrack_udp_timeout", "1"),
            ("net/netfilter/nf_conntrack_udp_timeout_stream", "1"),
            ("net/netfilter/nf_conntrack_icmp_timeout", "1"),
            ("net/netfilter/nf_conntrack_icmpv6_timeout", "1"),
        ] {
            sysctl::set(name, value).unwrap();
        }
        let config = Config {
            interface_prefix: "cali".to_owned(),
            rules: tortie_rules::Config { endpoint_to_host: EndpointToHost::Accept, ..Default::default() },
            overlay: OverlayConfig { node: "n1".to_owned(), ..OverlayConfig::default() },
        };
        Self {
            converter: Converter::new(Options::default()),
            calc: Calc::new(CalcConfig { node: "n1".into(), ..CalcConfig::default() }),
            dataplane: Dataplane::open(&config).unwrap(),
            evaluator: State::new(),
            hosts: Vec::new(),
        }
    }

    fn write(&mut self, path: &str, object: Option<&Value>) {
        let bytes = object.map(|o| o.to_string().into_bytes());
        let (changes, problems) = self.converter.entry(path, bytes.as_deref());
        assert!(problems.is_empty(), "{path}: {problems:?}\n{object:?}");
        for change in changes {
            self.evaluator.apply(&change).unwrap();
            self.calc.on_change(change);
        }
    }

    fn populate(&mut self) {
        for (namespace, team) in [("red-one", "red"), ("red-two", "red"), ("blue", "blue")] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace,
                "labels": {"team": team, "kubernetes.io/metadata.name": namespace}}});
            self.write(&format!("/tortie/kubernetes/namespaces/{namespace}"), Some(&object));
            let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}});
            self.write(&format!("/tortie/kubernetes/serviceaccounts/{namespace}/default"), Some(&object));
        }
        for (name, order, end) in [("default", 1_000_000, "Deny"), ("security", 10, "Pass")] {
            self.write(
                &format!("/calico/resources/v3/projectcalico.org/tiers/{name}"),
                Some(&tier(name, order, end)),
            );
        }
        let netlink = Netlink::open().unwrap();
        for (n, (namespace, app, odd)) in PODS.iter().enumerate() {
            let name = format!("{app}-{n}");
            let addresses: Vec<IpAddr> =
                vec![format!("10.65.0.{n}").parse().unwrap(), format!("fd65::{n}").parse().unwrap()];
            let mut labels = json!({"app": app});
            if !odd.is_empty() {
                labels["odd"] = json!("yes");
            }
            let object = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": {
                    "cni.projectcalico.org/podIPs": format!("10.65.0.{n}/32,fd65::{n}/128"), "cni.projectcalico.org/podIP": format!("10.65.0.{n}/32")}},
                "spec": {"nodeName": "n1", "serviceAccountName": "default", "containers": [{"name": "c", "ports": [
                    {"name": "http", "containerPort": 80, "protocol": "TCP"}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]},
                "status": {"phase": "Running"}});
            self.write(&format!("/tortie/kubernetes/pods/{namespace}/{name}"), Some(&object));
            let inside = NetNs::create_unnamed().unwrap();
            let spec = PodSpec::new(names::veth("cali", namespace, &name), "eth0", 1500, addresses.clone());
            pod::attach(&netlink, &inside, &spec).unwrap();
            self.hosts.push(Host::new(format!("{namespace}/{name}"), inside, addresses));
        }
    }

    fn enforce(&mut self) {
        self.dataplane.note();
        let mut updates = Vec::new();
        self.calc.flush(&mut updates);
        for update in &updates {
            self.dataplane.update(update);
        }
        let report = self.dataplane.apply();
        assert!(report.complete && report.errors.is_empty(), "{report:?}");
        assert!(self.dataplane.refused().is_empty(), "{:?}", self.dataplane.refused());
    }

    fn questions(&self) -> Vec<(Probe, Packet)> {
        let mut questions = Vec::new();
        for from in &self.hosts {
            for to in self.hosts.iter().filter(|to| to.name() != from.name()) {
                for (src, dst) in from.addresses().iter().zip(to.addresses()) {
                    for (port, proto) in PORTS {
                        let protocol = if proto == Proto::Tcp { Protocol::TCP } else { Protocol::UDP };
                        questions.push((
                            Probe::new(from, to, *dst, port, proto),
                            Packet::to_port(*src, *dst, protocol, port),
                        ));
                    }
                    questions.push((Probe::new(from, to, *dst, 0, Proto::Icmp), Packet::echo(*src, *dst)));
                }
            }
        }
        questions
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is not a number")))
}

#[test]
fn kernel_and_evaluator_agree() {
    tortie_test_netns::isolated(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let seed = number("ORACLE_SEED", 1);
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new();
        cluster.populate();
        cluster.calc.on_in_sync();
        let listeners = Listeners::new().unwrap();
        let wanted: Vec<_> = cluster
            .hosts
            .iter()
            .flat_map(|h| PORTS.iter().map(|(port, proto)| (h.clone(), *port, *proto)))
            .collect();
        listeners.add_all(&wanted).unwrap();
        let world = World {
            namespaces: ["red-one", "red-two", "blue"].map(str::to_owned).into(),
            nets: ["10.65.0.0/30", "10.65.0.3/32", "fd65::/126", "fd65::4/128", "0.0.0.0/0", "192.0.2.0/24"]
                .map(str::to_owned)
                .into(),
        };
        let options =
            tortie_probe::Options { timeout: Duration::from_millis(60), ..tortie_probe::Options::default() };
        let (mut allowed, mut denied) = (0, 0);
        for round in 0..number("ORACLE_ROUNDS", 40) {
            let mut told = Vec::new();
            for _ in 0..=random.below(4) {
                let (path, object) = change(&mut random, &world);
                cluster.write(&path, object.as_ref());
                told.push((path, object));
            }
            cluster.enforce();
            let (probes, packets): (Vec<Probe>, Vec<Packet>) = cluster.questions().into_iter().unzip();
            let decisions: Vec<_> = packets.iter().map(|p| cluster.evaluator.evaluate(p)).collect();
            let probes: Vec<Probe> = probes
                .into_iter()
                .zip(&decisions)
                .map(|(p, d)| p.expecting(if d.is_allowed() { Expect::Allow } else { Expect::Deny }))
                .collect();
            let outcomes = tortie_probe::run(&probes, &options).unwrap();
            for ((probe, decision), outcome) in probes.iter().zip(&decisions).zip(&outcomes) {
                let expect = if decision.is_allowed() { Expect::Allow } else { Expect::Deny };
                assert!(
                    outcome.verdict.meets(expect),
                    "seed {seed}, round {round}: {} -> {} port {} {:?}: packets are {}, but {decision}\nlast changes: {told:#?}",
                    probe.from.name(),
                    probe.addr,
                    probe.port,
                    probe.proto,
                    outcome.verdict,
                );
                *(if decision.is_allowed() { &mut allowed } else { &mut denied }) += 1;
            }
        }
        assert!(allowed > 100 && denied > 100, "one-sided: {allowed} allowed, {denied} denied");
    });
}
