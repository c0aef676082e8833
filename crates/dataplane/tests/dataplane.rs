//! What the dataplane promises, in a namespace with real nftables, real routes and real packets, in both families.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tortie_calc::Update;
use tortie_calc::update::{Action, ActivePolicy, EndpointTier, LocalWorkload, Rule, Side};
use tortie_dataplane::{Config, Dataplane, OverlayConfig, Report};
use tortie_kernel_net::pod::{self, PodSpec};
use tortie_kernel_net::{
    LinkChange, LinkIndex, NewLink, Route, RouteFilter, RouteProtocol, TableId, VethPeer,
};
use tortie_model::value::WorkloadEndpoint;
use tortie_model::{PolicyId, PolicyKind, WorkloadId};
use tortie_net::Cidr;
use tortie_test_netns::{Node, isolated};

/// Addresses of pods, by number.
fn addresses(n: u8) -> [String; 2] {
    [format!("10.65.0.{n}"), format!("fd65::{n}")]
}

fn interface(n: u8) -> String {
    format!("cali{n}")
}

fn config() -> Config {
    Config {
        interface_prefix: "cali".to_owned(),
        rules: tortie_rules::Config::default(),
        overlay: OverlayConfig { node: "node".to_owned(), ..OverlayConfig::default() },
    }
}

/// A node with two pods whose interfaces are there, and whose policy is not.
struct Lab {
    runtime: Runtime,
    node: Node,
    pods: Vec<Node>,
}

impl Lab {
    fn new() -> Self {
        let lab = Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            node: Node::router("node"),
            pods: vec![Node::new("pod1"), Node::new("pod2")],
        };
        for (n, inside) in (1..).zip(&lab.pods) {
            let ips = addresses(n).map(|a| a.parse().unwrap()).to_vec();
            let spec = PodSpec::new(interface(n), "eth0", 1500, ips);
            lab.node.run(|| pod::attach(lab.node.netlink(), inside.namespace(), &spec)).unwrap();
        }
        lab
    }

    /// A dataplane without a memory.
    fn dataplane(&self) -> Dataplane {
        // What a thread opens belongs to the namespace in which it is; the caller's is another.
        let handle = self.runtime.handle().clone();
        self.node.run(move || {
            let _inside = handle.enter();
            Dataplane::open(&config()).unwrap()
        })
    }

    fn apply(&self, dataplane: &mut Dataplane, updates: &[Update]) -> Report {
        for update in updates {
            dataplane.update(update);
        }
        let report = self.node.run(|| dataplane.apply());
        assert!(report.complete && report.errors.is_empty(), "{report:?}");
        report
    }

    fn pings(&self, from: usize, to: u8) -> [bool; 2] {
        addresses(to).map(|address| {
            let mut ping = Command::new("ping");
            ping.args(["-c1", "-W1", "-q", &address]);
            self.pods[from].run(|| ping.output()).unwrap().status.success()
        })
    }

    /// Own addresses that the node has routes to.
    fn routes(&self) -> Vec<Cidr> {
        let filter = RouteFilter { table: Some(TableId::MAIN), ..RouteFilter::default() };
        let routes = self.node.netlink().routes(filter).unwrap();
        let mut found: Vec<Cidr> = routes.iter().filter(|r| r.dst.is_host()).map(|r| r.dst).collect();
        found.sort();
        found.dedup();
        found
    }

    fn drop_routes(&self) {
        for n in [1, 2] {
            let link = self.node.index(&interface(n));
            for address in hosts(n) {
                self.node.netlink().delete_route(&Route::on(address, link)).unwrap();
            }
        }
    }
}

fn hosts(n: u8) -> [Cidr; 2] {
    addresses(n).map(|a| Cidr::host(a.parse().unwrap()))
}

fn all_hosts() -> Vec<Cidr> {
    let mut all: Vec<Cidr> = [1, 2].into_iter().flat_map(hosts).collect();
    all.sort();
    all
}

fn id(n: u8) -> WorkloadId {
    WorkloadId {
        host: "node".to_owned(),
        orchestrator: "k8s".to_owned(),
        workload: format!("app/pod{n}"),
        endpoint: "eth0".to_owned(),
    }
}

fn open() -> PolicyId {
    PolicyId { kind: PolicyKind::NetworkPolicy, namespace: "app".to_owned(), name: "open".to_owned() }
}

fn policy(action: Action) -> Update {
    let rule = Rule {
        action,
        family: None,
        protocol: None,
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: Side::default(),
        destination: Side::default(),
        index: 0,
    };
    let active =
        ActivePolicy { ingress: vec![rule.clone()], egress: vec![rule], untracked: false, pre_dnat: false };
    Update::Policy(open(), Arc::new(active))
}

fn workload(n: u8) -> Update {
    let [v4, v6] = hosts(n);
    let endpoint = WorkloadEndpoint {
        state: "active".to_owned(),
        name: interface(n),
        ipv4_nets: vec![v4],
        ipv6_nets: vec![v6],
        ..WorkloadEndpoint::default()
    };
    let tier = EndpointTier {
        name: "default".into(),
        default_action: Action::Deny,
        ingress: vec![open()],
        egress: vec![open()],
    };
    Update::Workload(id(n), Arc::new(LocalWorkload { endpoint: Arc::new(endpoint), tiers: vec![tier] }))
}

fn both_open() -> [Update; 4] {
    [policy(Action::Allow), workload(1), workload(2), Update::InSync]
}

const YES: [bool; 2] = [true; 2];
const NO: [bool; 2] = [false; 2];

#[test]
fn policy_decides_and_repetition_writes_nothing() {
    isolated(|| {
        let lab = Lab::new();
        assert_eq!(lab.pings(0, 2), YES, "nothing is in the way yet");
        let mut dataplane = lab.dataplane();
        lab.apply(&mut dataplane, &[]);
        assert_eq!(lab.pings(0, 2), NO, "unknown workloads are closed");
        lab.apply(&mut dataplane, &both_open());
        assert_eq!(lab.pings(0, 2), YES);
        assert_eq!(lab.apply(&mut dataplane, &both_open()).writes, 0, "the same state again");
        lab.apply(&mut dataplane, &[policy(Action::Deny)]);
        assert_eq!(lab.pings(0, 2), NO);
        lab.apply(&mut dataplane, &[policy(Action::Allow)]);
        assert_eq!(lab.pings(0, 2), YES);
        lab.apply(&mut dataplane, &[Update::WorkloadRemove(id(2))]);
        assert_eq!(lab.pings(0, 2), NO, "its interface is still there");
        assert_eq!(lab.routes(), hosts(1).to_vec());
    });
}

#[test]
fn routes_come_after_policy_and_only_when_in_sync() {
    isolated(|| {
        let lab = Lab::new();
        lab.drop_routes();
        let mut dataplane = lab.dataplane();
        lab.apply(&mut dataplane, &[policy(Action::Allow), workload(1), workload(2)]);
        assert_eq!(lab.routes(), []);
        lab.apply(&mut dataplane, &[Update::InSync]);
        assert_eq!(lab.routes(), all_hosts());
        assert_eq!(lab.pings(0, 2), YES);
    });
}

#[test]
fn a_restart_adopts_what_is_there_and_deletes_when_in_sync() {
    isolated(|| {
        let lab = Lab::new();
        lab.apply(&mut lab.dataplane(), &both_open());
        let mut next = lab.dataplane();
        lab.apply(&mut next, &[]);
        assert_eq!(lab.pings(0, 2), YES, "nothing is known, and nothing is deleted");
        assert_eq!(lab.routes(), all_hosts());
        let adopted = lab.apply(&mut next, &both_open());
        assert_eq!(adopted.writes, 0, "all of it was there");
        assert_eq!(lab.pings(0, 2), YES);

        let mut last = lab.dataplane();
        lab.apply(&mut last, &[policy(Action::Allow), workload(1), Update::InSync]);
        assert_eq!(lab.routes(), hosts(1).to_vec(), "what an earlier run left is found without a memory");
        assert_eq!(lab.pings(1, 1), NO);
    });
}

/// Calico's plugin signs its routes as `boot`, its agent may sign them with a number of its own.
#[test]
fn routes_are_adopted_and_removed_whoever_signed_them() {
    isolated(|| {
        let lab = Lab::new();
        for n in [1, 2] {
            let link = lab.node.index(&interface(n));
            for address in hosts(n) {
                let route = Route::on(address, link).by(RouteProtocol::CALICO);
                lab.node.netlink().replace_route(&route).unwrap();
            }
        }
        let signed = || {
            let filter = RouteFilter { protocol: Some(RouteProtocol::CALICO), ..RouteFilter::default() };
            lab.node.netlink().routes(filter).unwrap().len()
        };
        assert_eq!(signed(), 4);
        lab.apply(&mut lab.dataplane(), &both_open());
        assert_eq!((lab.routes(), signed()), (all_hosts(), 4), "as they are");
        lab.apply(&mut lab.dataplane(), &[policy(Action::Allow), workload(1), Update::InSync]);
        assert_eq!((lab.routes(), signed()), (hosts(1).to_vec(), 2), "nobody wants the others");
    });
}

#[test]
fn what_is_not_ours_stays() {
    isolated(|| {
        let lab = Lab::new();
        lab.node.nft(
            "table inet other {\n chain c {\n type filter hook forward priority 5; policy accept;\n }\n}\n",
        );
        lab.node.netlink().add_link(&NewLink::veth("eth7", VethPeer::new("eth8"))).unwrap();
        lab.node.netlink().set_link("eth7", &LinkChange::up()).unwrap();
        lab.node.netlink().set_link("eth8", &LinkChange::up()).unwrap();
        let foreign: Cidr = "10.65.0.77/32".parse().unwrap();
        lab.node.netlink().add_route(&Route::on(foreign, lab.node.index("eth7"))).unwrap();
        let mut dataplane = lab.dataplane();
        lab.apply(&mut dataplane, &[Update::InSync]);
        dataplane.resync();
        lab.apply(&mut dataplane, &[]);
        assert_eq!(lab.routes(), [foreign], "only routes to workload interfaces are ours");
        assert!(lab.node.exec("nft", &["list", "tables"]).contains("inet other"));
    });
}

#[test]
fn losses_are_repaired() {
    isolated(|| {
        let lab = Lab::new();
        let mut dataplane = lab.dataplane();
        lab.apply(&mut dataplane, &both_open());

        // The kernel drops routes with the interface, and tells.
        let link: LinkIndex = lab.node.index(&interface(2));
        lab.node.netlink().set_link(link, &LinkChange::down()).unwrap();
        lab.node.netlink().set_link(link, &LinkChange::up()).unwrap();
        until("the routes are back", || {
            lab.runtime.block_on(async {
                let _ = tokio::time::timeout(Duration::from_millis(20), dataplane.changed()).await;
            });
            dataplane.note();
            lab.apply(&mut dataplane, &[]);
            lab.routes() == all_hosts()
        });

        // Somebody removes the rules of policy.
        lab.node.nft("delete table inet calico");
        dataplane.resync();
        lab.apply(&mut dataplane, &[policy(Action::Deny)]);
        assert_eq!(lab.pings(0, 2), NO);
        lab.apply(&mut dataplane, &[policy(Action::Allow)]);
        assert_eq!(lab.pings(0, 2), YES);
    });
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
    }
}
