//! What programming nftables costs, beside `nft` doing the same. Needs root; works in a network namespace of its own.
//!
//! `cargo run --release -p tortie-kernel-nft --example nft_bench`

#![expect(clippy::print_stdout, reason = "a table is the purpose")]
#![expect(clippy::unwrap_used, reason = "a benchmark may fail at once")]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_calc::Update;
use tortie_calc::update::{
    Action, ActivePolicy, EndpointTier, LocalWorkload, Member, Rule, SetId, SetKind, Side,
};
use tortie_kernel_nft::Driver;
use tortie_model::value::WorkloadEndpoint;
use tortie_model::{PolicyId, PolicyKind, WorkloadId};
use tortie_net::{Cidr, PortRange, Protocol};
use tortie_rules::{Config, Desired};

const SETS: usize = 200;
const MEMBERS: usize = 100;
const POLICIES: usize = 900;
const RULES: usize = 10;
const ENDPOINTS: usize = 100;

fn main() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let updates = state();
    let mut desired = Desired::new(Config::default());
    let (render, ()) = timed(|| {
        for update in &updates {
            desired.on_update(update);
        }
        desired.render_dirty();
    });
    let (chains, sets) = (desired.table().chains().len(), desired.table().sets().len());
    let rules: usize = desired.table().chains().values().map(|c| c.rules.len()).sum();
    println!("{chains} chains, {rules} rules, {sets} sets, {} members\n", SETS * MEMBERS);
    let mut driver = Driver::open().unwrap();
    let (load, report) = timed(|| driver.apply(&mut desired, true).unwrap());
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    let text = output(&["nft", "list", "ruleset"]);
    let (by_nft, ()) = timed(|| {
        feed(&["unshare", "-n", "nft", "-f", "-"], &text);
    });
    row("render all", render, None);
    row("load all, one transaction", load, Some(("nft -f", by_nft)));
    let mut other = Driver::open().unwrap();
    let (resync, found) = timed(|| other.resync(&mut desired).unwrap());
    assert!(found.is_equal());
    row("resync of equal state", resync, Some(("nft list", timed(|| output(&["nft", "list", "ruleset"])).0)));
    one_member(&mut driver, &mut desired);
    one_policy(&mut driver, &mut desired);
    one_endpoint(&mut driver, &mut desired);
}

fn one_member(driver: &mut Driver, desired: &mut Desired) {
    let mut times = Vec::new();
    for n in 0..500u32 {
        let member = Member::Net(Cidr::host(std::net::Ipv4Addr::from(0x0b00_0000 + n / 2).into()));
        let (added, removed) = if n % 2 == 0 { (vec![member], vec![]) } else { (vec![], vec![member]) };
        let update = Update::SetDelta { id: set_id(3), added, removed };
        times.push(apply(driver, desired, &update));
    }
    let name = tortie_model::names::nftables::ip_set(tortie_net::Family::V4, &set_id(3).0, false);
    let mut nft = Vec::new();
    for n in 0..20 {
        let line = format!(
            "{} element inet calico {name} {{ 12.0.0.1 }}",
            if n % 2 == 0 { "add" } else { "delete" }
        );
        nft.push(timed(|| feed(&["nft", "-f", "-"], &line)).0);
    }
    percentiles("one member more or less", times, Some(("nft -f", nft)));
}

fn one_policy(driver: &mut Driver, desired: &mut Desired) {
    let times = (0..200).map(|n| apply(driver, desired, &policy(5, 2000 + n))).collect();
    percentiles("one rule of a policy changed", times, None);
}

/// More and less apart: with every rule that jumps the kernel validates the whole table again, for what goes it does not.
fn one_endpoint(driver: &mut Driver, desired: &mut Desired) {
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        more.push(apply(driver, desired, &workload(ENDPOINTS + 1)));
        less.push(apply(driver, desired, &Update::WorkloadRemove(workload_id(ENDPOINTS + 1))));
    }
    percentiles("one endpoint more", more, None);
    percentiles("one endpoint less", less, None);
}

fn apply(driver: &mut Driver, desired: &mut Desired, update: &Update) -> Duration {
    timed(|| {
        desired.on_update(update);
        let report = driver.apply(desired, true).unwrap();
        assert!(report.transactions == 1 && report.refused.is_empty(), "{report:?}");
    })
    .0
}

fn timed<T>(f: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = f();
    (start.elapsed(), result)
}

fn output(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn feed(words: &[&str], text: &str) {
    use std::io::Write as _;
    let mut child = Command::new(words[0]).args(&words[1..]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn row(what: &str, time: Duration, beside: Option<(&str, Duration)>) {
    let beside = beside.map(|(name, other)| {
        format!(
            "   {name} {:.1} ms ({:.2}x)",
            other.as_secs_f64() * 1e3,
            time.as_secs_f64() / other.as_secs_f64()
        )
    });
    println!("{what:32} {:9.1} ms{}", time.as_secs_f64() * 1e3, beside.unwrap_or_default());
}

fn percentiles(what: &str, mut times: Vec<Duration>, beside: Option<(&str, Vec<Duration>)>) {
    let at = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100];
    times.sort();
    let (p50, p99) = (at(&times, 50), at(&times, 99));
    let beside = beside.map(|(name, mut other)| {
        other.sort();
        let p50_other = at(&other, 50);
        format!("   {name} p50 {p50_other:.0?} ({:.0}x)", p50_other.as_secs_f64() / p50.as_secs_f64())
    });
    println!("{what:32} p50 {p50:.1?} p99 {p99:.1?}{}", beside.unwrap_or_default());
}

// === the state ===

fn set_id(n: usize) -> SetId {
    SetId(format!("s:{n:04}_0123456789abcdefghi").into())
}

fn workload_id(n: usize) -> WorkloadId {
    WorkloadId {
        host: "n".into(),
        orchestrator: "k8s".into(),
        workload: format!("ns/w{n}"),
        endpoint: "eth0".into(),
    }
}

fn policy_id(n: usize) -> PolicyId {
    PolicyId { kind: PolicyKind::NetworkPolicy, namespace: "ns".into(), name: format!("p{n}") }
}

fn policy(n: usize, last_port: usize) -> Update {
    let rule = |index: usize| Rule {
        action: Action::Allow,
        family: None,
        protocol: Some(Protocol::TCP),
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: Side { sets: vec![set_id((n + index) % SETS)], ..Side::default() },
        destination: Side {
            ports: vec![PortRange::single(if index + 1 == RULES {
                last_port as u16
            } else {
                1000 + index as u16
            })],
            ..Side::default()
        },
        index: index as u32,
    };
    let rules: Vec<Rule> = (0..RULES).map(rule).collect();
    let active = ActivePolicy { ingress: rules.clone(), egress: rules, untracked: false, pre_dnat: false };
    Update::Policy(policy_id(n), Arc::new(active))
}

fn workload(n: usize) -> Update {
    let ids: Vec<PolicyId> =
        (0..POLICIES / ENDPOINTS).map(|i| policy_id((n * (POLICIES / ENDPOINTS) + i) % POLICIES)).collect();
    let endpoint = WorkloadEndpoint {
        state: "active".into(),
        name: format!("cali{n}"),
        ipv4_nets: vec![Cidr::host(std::net::Ipv4Addr::from(0x0a00_0000 + n as u32).into())],
        ..WorkloadEndpoint::default()
    };
    let tier = EndpointTier {
        name: "default".into(),
        default_action: Action::Deny,
        ingress: ids.clone(),
        egress: ids,
    };
    Update::Workload(
        workload_id(n),
        Arc::new(LocalWorkload { endpoint: Arc::new(endpoint), tiers: vec![tier] }),
    )
}

fn state() -> Vec<Update> {
    let set = |n: usize| {
        let member = |i: usize| {
            Member::Net(Cidr::host(std::net::Ipv4Addr::from((0x0a00_0000 + n * 1000 + i) as u32).into()))
        };
        Update::Set { id: set_id(n), kind: SetKind::Net, members: (0..MEMBERS).map(member).collect() }
    };
    let sets = (0..SETS).map(set);
    sets.chain((0..POLICIES).map(|n| policy(n, 1999))).chain((0..ENDPOINTS).map(workload)).collect()
}
