//! What the calculation costs: reading a whole cluster, and single changes to it. Prints a table.
//!
//! `cargo bench -p tortie-calc [-- NAME...]` runs the cases whose name contains one of the words. The cases that are
//! named after clusters ("tags", "netsets", "customers") are the inputs that Calico measures its own calculation with.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(unsafe_code, reason = "counting the heap takes a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tortie_calc::{Calc, CalcConfig, Update};
use tortie_model::value::{NetworkSet, Policy, ProfileRules, Rule, Tier, WorkloadEndpoint};
use tortie_model::{Change, Key, PolicyId, PolicyKind, Value, WorkloadId};
use tortie_net::{Cidr, Protocol};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| name.contains(w.as_str()));
    println!(
        "{:34} {:>10} {:>9} {:>8} {:>8} {:>8}",
        "start of day", "time", "heap", "updates", "sets", "policies"
    );
    let cases: [(&str, fn() -> Vec<Change>); 7] = [
        ("kubernetes 10k pods, 1k policies", || kubernetes(10_000, 1_000)),
        ("tags 250k endpoints, 10k policies", || tags(250_000, 10_000)),
        ("netsets 10k endpoints, 1k policies", || netsets(10_000, 1_000)),
        ("netsets 10k endpoints, 10k policies", || netsets(10_000, 10_000)),
        ("customers 1k", || customers(1_000)),
        ("customers 10k", || customers(10_000)),
        ("customers 100k", || customers(100_000)),
    ];
    for (name, make) in cases {
        if wanted(name) {
            start_of_day(name, make);
        }
    }
    if wanted("changes") {
        println!("\n{:50} {:>10} {:>10}", "one change, and its flush", "p50", "p99");
        changes();
    }
}

fn start_of_day(name: &str, make: fn() -> Vec<Change>) {
    let before = IN_USE.load(Ordering::Relaxed);
    let changes = make();
    let start = Instant::now();
    let mut calc = new_calc();
    for change in changes {
        calc.on_change(change);
    }
    calc.on_in_sync();
    let mut updates = Vec::new();
    calc.flush(&mut updates);
    let time = start.elapsed();
    let sets = updates.iter().filter(|u| matches!(u, Update::Set { .. })).count();
    let policies = updates.iter().filter(|u| matches!(u, Update::Policy(..))).count();
    let count = updates.len();
    drop(updates);
    let heap = IN_USE.load(Ordering::Relaxed) - before;
    println!("{name:34} {time:>10.1?} {:>6} MB {count:>8} {sets:>8} {policies:>8}", heap / 1_000_000);
    drop(black_box(calc));
}

/// Single changes to a Kubernetes cluster.
fn changes() {
    const ROUNDS: u32 = 500;
    let mut calc = new_calc();
    let mut updates = Vec::new();
    for change in kubernetes(10_000, 1_000) {
        calc.on_change(change);
    }
    calc.on_in_sync();
    calc.flush(&mut updates);

    let mut measure = |name: &str, make: &dyn Fn(u32) -> Change| {
        let mut times = Vec::new();
        let mut told = 0;
        for round in 0..ROUNDS {
            let change = make(round);
            updates.clear();
            let start = Instant::now();
            calc.on_change(change);
            calc.flush(&mut updates);
            times.push(start.elapsed());
            told += updates.len();
        }
        times.sort();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(Duration::ZERO);
        let name = format!("{name} ({} updates)", told / ROUNDS as usize);
        println!("{name:50} {:>10.1?} {:>10.1?}", at(50), at(99));
    };
    measure("remote pod added", &|i| pod(20_000 + i, "other", "v1"));
    measure("remote pod relabelled", &|i| pod(20_000 + i, "other", "v2"));
    measure("remote pod removed", &|i| Change { value: None, ..pod(20_000 + i, "other", "v1") });
    measure("local pod added", &|i| pod(20_000 + i, "here", "v1"));
    measure("local pod removed", &|i| Change { value: None, ..pod(20_000 + i, "here", "v1") });
    measure("policy edited", &|i| network_policy(i, 8080 + i as u16));
    measure("policy removed", &|i| Change { value: None, ..network_policy(i, 80) });
    measure("policy added", &|i| network_policy(i, 80));
    measure("namespace relabelled", &|i| {
        namespace(i % NAMESPACES, if (i / NAMESPACES).is_multiple_of(2) { "b" } else { "a" })
    });
}

fn new_calc() -> Calc {
    Calc::new(CalcConfig { node: "here".to_owned(), ..CalcConfig::default() })
}

// === an ordinary cluster ===

const NAMESPACES: u32 = 200;
const APPS: u32 = 10;

fn kubernetes(pods: u32, policies: u32) -> Vec<Change> {
    let mut changes = vec![default_tier()];
    changes.extend((0..policies).map(|i| network_policy(i, 80)));
    for i in 0..NAMESPACES {
        let rules = ProfileRules { inbound_rules: vec![allow()], outbound_rules: vec![allow()] };
        changes.push(change(Key::ProfileRules(format!("kns.ns-{i}")), Value::ProfileRules(Arc::new(rules))));
        changes.push(namespace(i, "a"));
    }
    changes.extend((0..pods).map(|i| pod(i, if i % 100 == 0 { "here" } else { "other" }, "v1")));
    changes
}

fn namespace(i: u32, team: &str) -> Change {
    let labels = [("pcns.projectcalico.org/name", format!("ns-{i}")), ("pcns.team", team.to_owned())];
    change(Key::ProfileLabels(format!("kns.ns-{i}")), Value::ProfileLabels(Arc::new(map(labels))))
}

fn pod(i: u32, host: &str, version: &str) -> Change {
    let namespace = i % NAMESPACES;
    let labels = [
        ("projectcalico.org/namespace", format!("ns-{namespace}")),
        ("projectcalico.org/orchestrator", "k8s".to_owned()),
        ("projectcalico.org/serviceaccount", "default".to_owned()),
        ("app", format!("app-{}", i / NAMESPACES % APPS)),
        ("version", version.to_owned()),
        ("pod-template-hash", format!("hash-{}", i % 2000)),
    ];
    endpoint(host, &format!("ns-{namespace}/pod-{i}"), map(labels), &format!("kns.ns-{namespace}"), i)
}

fn network_policy(i: u32, port: u16) -> Change {
    let namespace = i % NAMESPACES;
    let select = |app: u32| {
        format!(
            "projectcalico.org/namespace == 'ns-{namespace}' && projectcalico.org/orchestrator == 'k8s' && app == 'app-{app}'"
        )
    };
    let app = i / NAMESPACES % APPS;
    let same = Rule { src_selector: select((app + 1) % APPS), ..allow() };
    let other = Rule {
        protocol: Some(Protocol::TCP.into()),
        src_selector: format!("pcns.team == 'b' && app == 'app-{app}'"),
        dst_ports: vec![tortie_net::Port::number(port)],
        ..allow()
    };
    let policy = Policy {
        namespace: format!("ns-{namespace}"),
        tier: "default".to_owned(),
        order: Some(1000.0),
        selector: select(app),
        inbound_rules: vec![same, other],
        types: vec!["ingress".to_owned()],
        ..Policy::default()
    };
    let id = PolicyId {
        kind: PolicyKind::KubernetesNetworkPolicy,
        namespace: format!("ns-{namespace}"),
        name: format!("policy-{i}"),
    };
    change(Key::Policy(id), Value::Policy(Arc::new(policy)))
}

// === many endpoints with marker labels ===

const MARKERS: u32 = 29;

fn tags(endpoints: u32, policies: u32) -> Vec<Change> {
    let mut changes: Vec<_> = (0..policies)
        .map(|i| {
            let has = |n: u32| format!("has(calico/marker-{})", n % MARKERS);
            let rules = (0..5).map(|j| Rule { src_selector: has(i + j), ..allow() }).collect();
            global_policy(&format!("tag-pol-{i}"), &has(i), rules)
        })
        .collect();
    for i in 0..100 {
        let name = format!("kns.namespace-{i}");
        let labels = map([("pcns.projectcalico.org/name", format!("namespace-{i}"))]);
        changes.push(change(Key::ProfileRules(name.clone()), Value::ProfileRules(Arc::default())));
        changes.push(change(Key::ProfileLabels(name), Value::ProfileLabels(Arc::new(labels))));
    }
    changes.extend((0..endpoints).map(|i| tagged("other", i)));
    changes.extend((0..200).map(|i| tagged("here", endpoints + i)));
    changes
}

fn tagged(host: &str, i: u32) -> Change {
    let mut labels: BTreeMap<_, _> =
        [10, 11, 20, 30, 40].map(|n| (format!("one-in-{n}"), format!("value-{}", i % n))).into();
    labels.insert(format!("calico/marker-{}", i % MARKERS), "true".to_owned());
    endpoint(host, &format!("wep-{i}"), labels, &format!("kns.namespace-{}", i % 100), i)
}

// === many network sets ===

fn netsets(endpoints: u32, sets: u32) -> Vec<Change> {
    let mut changes: Vec<_> = (0..endpoints).map(|i| tagged("other", i)).collect();
    let sizes = [1, 1, 1, 1, 2, 3, 4, 5, 100, 1000];
    let mut next = 0x0b00_0000;
    for (i, size) in (0..sets).zip(sizes.into_iter().cycle()) {
        let name = format!("network-set-{i}");
        let nets = (next..next + size).map(address).collect();
        next += size;
        let labels = map([("network-set-name", name.clone())]);
        let set = NetworkSet { nets, labels, profile_ids: Vec::new() };
        changes.push(change(Key::NetworkSet(name.clone()), Value::NetworkSet(Arc::new(set))));
        let rule = Rule { src_selector: format!("network-set-name == '{name}'"), ..allow() };
        changes.push(global_policy(&format!("network-set-pol-{i}"), "all()", vec![rule]));
    }
    changes.extend((0..200).map(|i| tagged("here", endpoints + i)));
    changes
}

// === a customer per namespace ===

fn customers(count: u32) -> Vec<Change> {
    let mut changes = Vec::new();
    for n in 0..count {
        let own = format!("pcns.projectcalico.org/name == 'customer-{n}'");
        let policy = Policy {
            namespace: format!("customer-{n}"),
            tier: "default".to_owned(),
            selector: own.clone(),
            types: vec!["ingress".to_owned(), "egress".to_owned()],
            inbound_rules: vec![Rule { src_selector: own.clone(), ..allow() }],
            outbound_rules: vec![
                Rule { dst_selector: own, ..allow() },
                Rule {
                    protocol: Some(Protocol::UDP.into()),
                    dst_nets: vec![address(0x0a60_000a)],
                    dst_ports: vec![tortie_net::Port::number(53)],
                    ..allow()
                },
            ],
            ..Policy::default()
        };
        let id = PolicyId {
            kind: PolicyKind::NetworkPolicy,
            namespace: format!("customer-{n}"),
            name: "isolation".to_owned(),
        };
        changes.push(change(Key::Policy(id), Value::Policy(Arc::new(policy))));
    }
    for n in 0..count {
        let name = format!("kns.customer-{n}");
        let labels = [
            ("pcns.projectcalico.org/name", format!("customer-{n}")),
            ("namespace-id", unique(n, 20)),
            ("production", (n % 2 == 0).to_string()),
        ];
        changes.push(change(Key::ProfileRules(name.clone()), Value::ProfileRules(Arc::default())));
        changes.push(change(Key::ProfileLabels(name), Value::ProfileLabels(Arc::new(map(labels)))));
    }
    for n in 0..count {
        let labels = [
            ("pod-id", unique(n * 5, 20)),
            ("instance-id", unique(n * 5 + 1, 20)),
            ("short-id", unique(n * 5 + 2, 10)),
            ("config-hash", unique(n * 5 + 3, 20)),
            ("version-tag", unique(n * 5 + 4, 8)),
            ("enabled", (n % 2).to_string()),
            ("debug", (n / 2 % 2).to_string()),
            ("canary", (n / 4 % 2).to_string()),
            ("managed", (n / 8 % 2).to_string()),
            ("environment", format!("env-{}", n % 3)),
            ("tier", format!("tier-{}", n % 4)),
            ("region", format!("region-{}", n % 4)),
            ("team", format!("team-{}", n % 5)),
            ("app", "customer-app".to_owned()),
            ("release", unique(n % 5000, 10)),
        ];
        let host = if n % (count / 100) == 0 { "here" } else { "other" };
        changes.push(endpoint(
            host,
            &format!("customer-{n}/app"),
            map(labels),
            &format!("kns.customer-{n}"),
            n,
        ));
    }
    changes
}

/// Text of a length that no other number has.
fn unique(n: u32, length: usize) -> String {
    let text = format!("{:08x}{n:x}", n.wrapping_mul(0x9e37_79b1));
    format!("{text:0>length$}")[..length.min(text.len().max(length))].to_owned()
}

// === parts ===

fn change(key: Key, value: Value) -> Change {
    Change { key, value: Some(value) }
}

fn allow() -> Rule {
    Rule { action: "allow".to_owned(), ..Rule::default() }
}

fn default_tier() -> Change {
    change(
        Key::Tier("default".to_owned()),
        Value::Tier(Tier { order: Some(1e6), default_action: "Deny".to_owned() }),
    )
}

fn map<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

fn address(n: u32) -> Cidr {
    Cidr::host(std::net::Ipv4Addr::from(n).into())
}

fn endpoint(host: &str, workload: &str, labels: BTreeMap<String, String>, profile: &str, n: u32) -> Change {
    let id = WorkloadId {
        host: host.to_owned(),
        orchestrator: "k8s".to_owned(),
        workload: workload.to_owned(),
        endpoint: "eth0".to_owned(),
    };
    let endpoint = WorkloadEndpoint {
        name: format!("cali{n}"),
        profile_ids: vec![profile.to_owned()],
        ipv4_nets: vec![address(0x0a00_0001 + n)],
        labels,
        ..WorkloadEndpoint::default()
    };
    change(Key::WorkloadEndpoint(id), Value::WorkloadEndpoint(Arc::new(endpoint)))
}

fn global_policy(name: &str, selector: &str, rules: Vec<Rule>) -> Change {
    let policy = Policy {
        tier: "default".to_owned(),
        selector: selector.to_owned(),
        inbound_rules: rules,
        ..Policy::default()
    };
    let id =
        PolicyId { kind: PolicyKind::GlobalNetworkPolicy, namespace: String::new(), name: name.to_owned() };
    change(Key::Policy(id), Value::Policy(Arc::new(policy)))
}
