//! One behaviour per test.

use crate::world::*;
use tortie_calc::update::*;
use tortie_calc::{CalcConfig, EndpointId, Problem, ProfileLabels, Stage, Subject};
use tortie_model::value::{Rule, WrittenProtocol};
use tortie_model::{Change, Key, PolicyKind, Value};
use tortie_net::{Family, Port, Protocol};
use tortie_selector::{Selector, unique_id};

fn set_of(selector: &str) -> String {
    Selector::parse(selector).expect("a selector").unique_id()
}

#[test]
fn nothing_is_told_before_the_datastore_was_read() {
    let mut world = World::new(config());
    world.set([workload(NODE, "a", 1, &[]), policy("p", "all()", vec![])]);
    assert_eq!(world.dataplane, Default::default());
    world.calc.on_in_sync();
    world.flush();
    assert!(world.dataplane.in_sync);
    assert_eq!(world.workload("a"), "default(Deny): ingress p; egress p");
    world.flush();
}

#[test]
fn policies_are_active_where_they_apply() {
    let mut world = World::with([
        workload(NODE, "a", 1, &[("app", "a")]),
        workload("n2", "b", 2, &[("app", "b")]),
        policy("here", "app == 'a'", vec![allow_from("app == 'b'")]),
        policy("there", "app == 'b'", vec![allow_from("app == 'a'")]),
    ]);
    assert_eq!(world.calc.active_policies(), [policy_id("here")]);
    assert_eq!(world.dataplane.sets.len(), 1);
    assert_eq!(world.dataplane.members(&set_of("app == 'b'")), ["10.0.0.2/32", "fd00::2/128"]);

    world.set([workload(NODE, "a", 1, &[("app", "b")])]);
    assert_eq!(world.calc.active_policies(), [policy_id("there")]);
    assert_eq!(world.dataplane.sets.len(), 1);
    assert_eq!(world.dataplane.members(&set_of("app == 'a'")), [""; 0]);

    world.remove([Key::WorkloadEndpoint(workload_id(NODE, "a"))]);
    assert!(world.dataplane.policies.is_empty() && world.dataplane.sets.is_empty());
    assert!(world.dataplane.workloads.is_empty());
}

#[test]
fn a_policy_can_be_needed_on_every_node() {
    let hint = |hints: &[&str]| {
        policy_with("p", |p| {
            p.selector = "nobody == 'x'".to_owned();
            p.inbound_rules = vec![allow_from("app == 'a'")];
            p.performance_hints = hints.iter().map(|h| (*h).to_owned()).collect();
        })
    };
    let mut world = World::with([hint(&["AssumeNeededOnEveryNode"])]);
    assert_eq!((world.dataplane.policies.len(), world.dataplane.sets.len()), (1, 1));
    world.set([hint(&[])]);
    assert_eq!((world.dataplane.policies.len(), world.dataplane.sets.len()), (0, 0));
}

#[test]
fn tiers_and_policies_are_ordered() {
    let in_tier = |name: &str, tier: &str, order: Option<f64>| {
        policy_with(name, |p| {
            p.tier = tier.to_owned();
            p.order = order;
        })
    };
    let mut world = World::with([
        workload(NODE, "a", 1, &[]),
        tier("second", Some(2.0), "Pass"),
        tier("first", Some(1.0), "Deny"),
        tier("last", None, ""),
        tier("also-last", None, ""),
        in_tier("gone", "unknown", Some(0.0)),
        in_tier("x", "second", None),
        in_tier("c", "first", Some(1.0)),
        in_tier("b", "first", Some(-0.0)),
        in_tier("a", "first", Some(0.0)),
        in_tier("a0", "first", None),
        in_tier("y", "last", None),
        in_tier("z", "also-last", None),
    ]);
    assert_eq!(
        world.workload("a"),
        "first(Deny): ingress a b c a0; egress a b c a0 | second(Pass): ingress x; egress x \
         | also-last(Deny): ingress z; egress z | last(Deny): ingress y; egress y \
         | unknown(Deny): ingress gone; egress gone"
    );
    let problems: Vec<_> = world.calc.diagnostics().into_iter().map(|d| d.problem).collect();
    assert_eq!(problems, [Problem::MissingTier { tier: "unknown".to_owned() }]);

    world.set([tier("unknown", Some(0.5), ""), in_tier("c", "last", Some(7.0))]);
    world.remove([Key::Tier("second".to_owned())]);
    assert_eq!(
        world.workload("a"),
        "unknown(Deny): ingress gone; egress gone | first(Deny): ingress a b a0; egress a b a0 \
         | also-last(Deny): ingress z; egress z | last(Deny): ingress c y; egress c y \
         | second(Deny): ingress x; egress x"
    );
}

#[test]
fn a_policy_that_changes_only_its_place_is_moved() {
    let placed = |order: f64, types: &[&str]| {
        policy_with("a", |p| {
            p.order = Some(order);
            p.types = types.iter().map(|t| (*t).to_owned()).collect();
        })
    };
    let mut world = World::with([
        workload(NODE, "a", 1, &[]),
        placed(1.0, &[]),
        policy_with("b", |p| p.order = Some(2.0)),
    ]);
    assert_eq!(world.workload("a"), "default(Deny): ingress a b; egress a b");
    world.set([placed(3.0, &[])]);
    assert_eq!(world.workload("a"), "default(Deny): ingress b a; egress b a");
    world.set([placed(3.0, &["egress"])]);
    assert_eq!(world.workload("a"), "default(Deny): ingress b; egress b a");
}

#[test]
fn policies_of_equal_order_are_ordered_by_name_namespace_and_kind() {
    let mut objects = vec![workload(NODE, "a", 1, &[])];
    for (kind, namespace, name) in [
        (PolicyKind::NetworkPolicy, "a", "x"),
        (PolicyKind::KubernetesNetworkPolicy, "a", "x"),
        (PolicyKind::NetworkPolicy, "b", "a"),
        (PolicyKind::GlobalNetworkPolicy, "", "x"),
        (PolicyKind::GlobalNetworkPolicy, "", "x-y"),
    ] {
        let (_, value) = policy("p", "all()", vec![]);
        let id = tortie_model::PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        objects.push((Key::Policy(id), value));
    }
    let world = World::with(objects);
    let tiers = world.calc.policies_of(&EndpointId::Workload(workload_id(NODE, "a"))).unwrap();
    let ids: Vec<_> = tiers[0].policies.iter().map(|p| p.id.to_string()).collect();
    assert_eq!(
        ids,
        [
            "NetworkPolicy b/a",
            // '-' sorts before '/'.
            "GlobalNetworkPolicy x-y",
            "GlobalNetworkPolicy x",
            "KubernetesNetworkPolicy a/x",
            "NetworkPolicy a/x",
        ]
    );
}

#[test]
fn policies_apply_in_their_directions() {
    let typed = |name: &str, types: &[&str]| {
        policy_with(name, |p| p.types = types.iter().map(|t| (*t).to_owned()).collect())
    };
    let world = World::with([
        workload(NODE, "a", 1, &[]),
        typed("in", &["ingress"]),
        typed("out", &["Egress"]),
        typed("both", &["ingress", "egress"]),
    ]);
    assert_eq!(world.workload("a"), "default(Deny): ingress both in; egress both out");
}

fn staged(name: &str) -> (Key, Value) {
    let (_, value) = policy(name, "all()", vec![allow_from("has(x)")]);
    let mut id = policy_id(name);
    id.kind = PolicyKind::StagedGlobalNetworkPolicy;
    (Key::Policy(id), value)
}

#[test]
fn staged_policies_are_not_enforced() {
    let objects = || [workload(NODE, "a", 1, &[]), staged("s"), tier("default", None, "Deny")];
    let mut world = World::with(objects());
    // A tier of staged policies only is not there: traffic passes it.
    assert_eq!(world.workload("a"), "");
    assert!(world.dataplane.policies.is_empty() && world.dataplane.sets.is_empty());
    let tiers = world.calc.policies_of(&EndpointId::Workload(workload_id(NODE, "a"))).unwrap();
    assert!(tiers[0].policies[0].staged());

    world.set([policy("p", "all()", vec![])]);
    assert_eq!(world.workload("a"), "default(Deny): ingress p; egress p");

    let mut world = World::new(CalcConfig { staged: true, ..config() });
    world.calc.on_in_sync();
    world.set(objects());
    assert_eq!(world.workload("a"), "default(Deny): ingress s; egress s");
    assert_eq!(world.dataplane.sets.len(), 1);
}

#[test]
fn host_endpoints_have_stages() {
    let flags = |name: &str, untracked: bool, pre_dnat: bool, forward: bool| {
        policy_with(name, |p| {
            p.do_not_track = untracked;
            p.pre_dnat = pre_dnat;
            p.apply_on_forward = forward;
        })
    };
    let world = World::with([
        host(NODE, "h", 1, &[], &["p"]),
        host("n2", "h", 2, &[], &[]),
        workload(NODE, "a", 1, &[]),
        tier("default", None, "Deny"),
        flags("normal", false, false, false),
        flags("forward", false, false, true),
        flags("raw", true, false, true),
        flags("pre", false, true, true),
    ]);
    assert_eq!(world.dataplane.hosts.len(), 1);
    let h = &world.dataplane.hosts["h"];
    assert_eq!(show_tiers(&h.tiers), "default(Deny): ingress forward normal; egress forward normal");
    assert_eq!(show_tiers(&h.forward), "default(Deny): ingress forward; egress forward");
    assert_eq!(show_tiers(&h.untracked), "default(Pass): ingress raw; egress raw");
    assert_eq!(show_tiers(&h.pre_dnat), "default(Pass): ingress pre; egress ");
    assert_eq!((h.interface.as_str(), h.expected.len(), h.profiles.len()), ("eth0", 2, 1));
    assert_eq!(world.workload("a"), "default(Deny): ingress forward normal; egress forward normal");
    assert!(world.dataplane.policies[&policy_id("raw")].untracked);
    assert!(world.dataplane.policies[&policy_id("pre")].pre_dnat);

    let tiers = world.calc.policies_of(&EndpointId::Host("h".to_owned())).unwrap();
    let stages: Vec<_> = tiers[0].policies.iter().map(|p| p.stage).collect();
    assert_eq!(stages, [Stage::Normal, Stage::Normal, Stage::PreDnat, Stage::Untracked]);
    assert_eq!(world.calc.policies_of(&EndpointId::Host("none".to_owned())), None);
    assert_eq!(world.calc.endpoints().len(), 2);
}

#[test]
fn profiles_give_rules_and_labels() {
    let with_profiles = |profiles: &[&str]| workload_with(NODE, "a", 1, &[("own", "1")], profiles, &[]);
    let mut world = World::with([with_profiles(&["kns.x", "kns.x"]), policy("p", "team == 'red'", vec![])]);
    let rules = |world: &World| world.dataplane.profiles["kns.x"].clone();
    // It does not exist: it could have denied anything.
    assert_eq!(rules(&world).ingress[0].action, Action::Deny);
    assert!(rules(&world).ingress[0].source.is_any());
    assert_eq!(rules(&world).egress[0].action, Action::Deny);
    assert_eq!(world.calc.diagnostics()[0].subject, Subject::Profile("kns.x".to_owned()));

    world.set(profile("kns.x", vec![allow_from("has(y)")], &[("team", "red")]));
    assert_eq!(rules(&world).ingress[0].action, Action::Allow);
    assert_eq!(world.workload("a"), "default(Deny): ingress p; egress p");
    assert_eq!(world.dataplane.sets.len(), 1);
    assert_eq!(world.calc.diagnostics().len(), 1, "the tier is missing");

    world.set([with_profiles(&["kns.y"])]);
    assert_eq!(world.workload("a"), "");
    assert_eq!(world.dataplane.profiles.keys().map(|k| &**k).collect::<Vec<_>>(), ["kns.y"]);
    assert!(world.dataplane.sets.is_empty());
}

#[test]
fn labels_of_profiles_can_come_from_the_resource() {
    let config = CalcConfig { profile_labels: ProfileLabels::Resource, ..config() };
    let mut world = World::new(config);
    world.calc.on_in_sync();
    let object = serde_json::json!({"spec": {"labelsToApply": {"team": "blue"}}});
    let key = tortie_model::ResourceKey {
        kind: "Profile".to_owned(),
        namespace: String::new(),
        name: "kns.x".to_owned(),
    };
    let key = Key::Resource(key);
    world.set(profile("kns.x", vec![], &[("team", "red")]));
    world.set([
        workload_with(NODE, "a", 1, &[], &["kns.x"], &[]),
        policy("red", "team == 'red'", vec![]),
        policy("blue", "team == 'blue'", vec![]),
        (key.clone(), Value::Resource(std::sync::Arc::new(object))),
    ]);
    assert_eq!(world.calc.active_policies(), [policy_id("blue")]);
    world.remove([key]);
    assert!(world.calc.active_policies().is_empty());
}

#[test]
fn sets_have_addresses_of_endpoints_and_nets_of_network_sets() {
    let mut world = World::with([
        workload(NODE, "a", 1, &[("in", "")]),
        workload("n2", "b", 2, &[("in", "")]),
        workload("n2", "same-address", 2, &[("in", "")]),
        host("n2", "h", 3, &[("in", "")], &[]),
        network_set("s", &["10.0.0.0/31", "10.9.0.0/16", "10.9.1.0/24", "192.0.2.3/32"], &[("in", "")]),
        policy("p", "all()", vec![allow_from("has(in)")]),
    ]);
    let id = set_of("has(in)");
    assert_eq!(
        world.dataplane.members(&id),
        [
            "10.0.0.0/31",
            "10.0.0.2/32",
            "10.9.0.0/16",
            "192.0.2.3/32",
            "2001:db8::3/128",
            "fd00::1/128",
            "fd00::2/128"
        ]
    );
    world.set([network_set("s", &["0.0.0.0/0", "::/0"], &[("in", "")])]);
    assert_eq!(world.dataplane.members(&id), ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]);
    world.remove([Key::NetworkSet("s".to_owned()), Key::WorkloadEndpoint(workload_id("n2", "b"))]);
    assert_eq!(
        world.dataplane.members(&id),
        ["10.0.0.1/32", "10.0.0.2/32", "192.0.2.3/32", "2001:db8::3/128", "fd00::1/128", "fd00::2/128"]
    );
    let members = world.calc.members(&SetId(id.as_str().into())).unwrap();
    assert_eq!(members.len(), 6);
}

fn rule_of(world: &World, name: &str) -> tortie_calc::update::Rule {
    world.dataplane.policies[&policy_id(name)].ingress[0].clone()
}

#[test]
fn rules_keep_their_matches() {
    let rule = Rule {
        ip_version: Some(6),
        protocol: Some(Protocol::ICMPV6.into()),
        not_protocol: Some(Protocol::TCP.into()),
        icmp_type: Some(128),
        icmp_code: Some(0),
        not_icmp_type: Some(129),
        src_nets: vec!["fd00::/8".parse().unwrap()],
        not_src_nets: vec!["fd00::/16".parse().unwrap()],
        dst_ports: vec!["80".parse().unwrap(), "90:99".parse().unwrap()],
        not_dst_ports: vec!["95".parse().unwrap()],
        ..rule("next-tier")
    };
    let world = World::with([workload(NODE, "a", 1, &[]), policy("p", "all()", vec![rule])]);
    let got = rule_of(&world, "p");
    assert_eq!((got.action, got.family, got.index), (Action::Pass, Some(Family::V6), 0));
    assert_eq!((got.protocol, got.not_protocol), (Some(Protocol::ICMPV6), Some(Protocol::TCP)));
    assert_eq!(got.icmp, Some(Icmp { kind: 128, code: Some(0) }));
    assert_eq!(got.not_icmp, Some(Icmp { kind: 129, code: None }));
    assert_eq!((got.source.nets.len(), got.source.not_nets.len()), (1, 1));
    assert_eq!((got.destination.ports.len(), got.destination.not_ports.len()), (2, 1));
}

#[test]
fn icmp_implies_its_family() {
    for (protocol, family) in
        [(Protocol::ICMP, Some(Family::V4)), (Protocol::ICMPV6, Some(Family::V6)), (Protocol::TCP, None)]
    {
        let rule = Rule { protocol: Some(protocol.into()), ..rule("allow") };
        let world = World::with([workload(NODE, "a", 1, &[]), policy("p", "all()", vec![rule])]);
        assert_eq!(rule_of(&world, "p").family, family);
    }
}

#[test]
fn positive_and_negative_selectors_become_one_set_if_there_are_both() {
    let rules = |selector: &str, not: &str| {
        let rule =
            Rule { src_selector: selector.to_owned(), not_src_selector: not.to_owned(), ..rule("allow") };
        let world = World::with([workload(NODE, "a", 1, &[]), policy("p", "all()", vec![rule])]);
        let source = rule_of(&world, "p").source;
        let ids = |sets: Vec<SetId>| sets.into_iter().map(|s| s.0.to_string()).collect::<Vec<_>>();
        (ids(source.sets), ids(source.not_sets))
    };
    assert_eq!(rules("has(a)", ""), (vec![set_of("has(a)")], vec![]));
    assert_eq!(rules("", "has(a)"), (vec![], vec![set_of("has(a)")]));
    assert_eq!(rules("has(a)", "has(b)"), (vec![set_of("(has(a) && !has(b))")], vec![]));
}

#[test]
fn named_ports_become_sets_of_addresses_and_ports() {
    let port = |p: &str| -> Port { p.parse().expect("a port") };
    let mut dst = Rule {
        protocol: Some(Protocol::TCP.into()),
        dst_selector: "has(web)".to_owned(),
        dst_ports: vec![port("http")],
        ..rule("allow")
    };
    let endpoints = [
        workload_with(
            NODE,
            "a",
            1,
            &[("web", "")],
            &[],
            &[("http", Protocol::TCP, 80), ("http", Protocol::UDP, 81), ("dns", Protocol::UDP, 53)],
        ),
        workload_with("n2", "b", 2, &[], &[], &[("http", Protocol::TCP, 8080)]),
    ];
    let mut world = World::with(endpoints);
    world.set([policy("p", "all()", vec![dst.clone()])]);
    let selector = set_of("has(web)");
    let id = unique_id("n", &format!("{selector},tcp,http"));
    let side = rule_of(&world, "p").destination;
    // The set asks for the selector already.
    assert_eq!((side.sets.len(), side.named_ports), (0, vec![SetId(id.as_str().into())]));
    assert_eq!(world.dataplane.members(&id), ["10.0.0.1,tcp:80", "fd00::1,tcp:80"]);

    dst.dst_ports.push(port("443"));
    dst.not_dst_ports = vec![port("dns")];
    dst.protocol = None;
    dst.dst_selector = String::new();
    world.set([policy("p", "all()", vec![dst.clone()])]);
    let id = unique_id("n", &format!("{},any,http", set_of("all()")));
    let not = unique_id("n", &format!("{},any,dns", set_of("all()")));
    assert_eq!(
        world.dataplane.members(&id),
        [
            "10.0.0.1,tcp:80",
            "10.0.0.1,udp:81",
            "10.0.0.2,tcp:8080",
            "fd00::1,tcp:80",
            "fd00::1,udp:81",
            "fd00::2,tcp:8080"
        ]
    );
    assert_eq!(world.dataplane.members(&not), ["10.0.0.1,udp:53", "fd00::1,udp:53"]);
    assert_eq!(world.dataplane.sets.len(), 2);

    dst.dst_selector = "has(web)".to_owned();
    world.set([policy("p", "all()", vec![dst])]);
    let side = rule_of(&world, "p").destination;
    assert_eq!((side.sets.len(), side.ports.len(), side.named_ports.len()), (1, 1, 1));

    world.set([workload(NODE, "a", 1, &[("web", "")])]);
    assert_eq!(world.dataplane.members(&unique_id("n", &format!("{selector},any,http"))), [""; 0]);
}

#[test]
fn services_become_sets_of_their_endpoints() {
    let to = Rule { dst_service: "web".to_owned(), dst_service_ns: "ns".to_owned(), ..rule("allow") };
    let from = Rule { src_service: "web".to_owned(), src_service_ns: "ns".to_owned(), ..rule("allow") };
    let mut world = World::with([
        slice("one", "web", &["10.0.0.1", "fd00::1"], &[80]),
        slice("two", "web", &["10.0.0.1"], &[80, 81]),
        slice("three", "other", &["10.0.0.3"], &[80]),
        workload(NODE, "a", 1, &[]),
        policy("to", "all()", vec![to]),
        policy("from", "all()", vec![from]),
    ]);
    let (with_ports, without) = (unique_id("svc", "ns/web"), unique_id("svcnoport", "ns/web"));
    assert_eq!(rule_of(&world, "to").destination.addr_port_sets, [SetId(with_ports.as_str().into())]);
    assert_eq!(rule_of(&world, "from").source.sets, [SetId(without.as_str().into())]);
    assert_eq!(
        world.dataplane.members(&with_ports),
        ["10.0.0.1,tcp:80", "10.0.0.1,tcp:81", "fd00::1,tcp:80"]
    );
    assert_eq!(world.dataplane.members(&without), ["10.0.0.1/32", "fd00::1/128"]);

    world.set([slice("two", "other", &["10.0.0.1"], &[80, 81]), slice("three", "web", &["10.0.0.3"], &[80])]);
    assert_eq!(
        world.dataplane.members(&with_ports),
        ["10.0.0.1,tcp:80", "10.0.0.3,tcp:80", "fd00::1,tcp:80"]
    );
    let (key, _) = slice("one", "", &[], &[]);
    world.remove([key]);
    assert_eq!(world.dataplane.members(&without), ["10.0.0.3/32"]);
}

#[test]
fn broken_rules_fail_closed_in_their_place() {
    let broken = |action: &str| Rule { src_selector: "a = b".to_owned(), ..rule(action) };
    let rules = ["allow", "deny", "pass", "log", "nonsense"].map(broken);
    let world = World::with([
        workload(NODE, "a", 1, &[]),
        tier("default", None, ""),
        policy("p", "all()", rules.into_iter().chain([rule("allow")]).collect()),
    ]);
    let active = &world.dataplane.policies[&policy_id("p")];
    let kept: Vec<_> = active.ingress.iter().map(|r| (r.index, r.action, r.source.is_any())).collect();
    assert_eq!(
        kept,
        [(1, Action::Deny, true), (2, Action::Deny, true), (4, Action::Deny, true), (5, Action::Allow, true)]
    );
    assert!(world.dataplane.sets.is_empty());
    let diagnostics = world.calc.diagnostics();
    assert_eq!(diagnostics.len(), 5);
    let text = diagnostics[0].to_string();
    assert!(text.starts_with("GlobalNetworkPolicy p: ingress rule 1: source selector:"), "{text}");
    assert!(diagnostics[4].to_string().contains("unknown action"), "{}", diagnostics[4]);

    for rule in [
        Rule { ip_version: Some(5), ..rule("deny") },
        Rule { ip_version: Some(260), ..rule("deny") },
        Rule { icmp_type: Some(256), ..rule("deny") },
        Rule { not_icmp_type: Some(1), not_icmp_code: Some(-1), ..rule("deny") },
        Rule { protocol: Some(WrittenProtocol::from_text("foo")), ..rule("deny") },
        Rule { not_protocol: Some(WrittenProtocol::Number(0)), ..rule("deny") },
        Rule { icmp_code: Some(1), ..rule("deny") },
        Rule {
            protocol: Some(Protocol::UDPLITE.into()),
            dst_ports: vec!["http".parse().unwrap()],
            ..rule("deny")
        },
        Rule { dst_selector: "(".to_owned(), ..allow_from("has(x)") },
        Rule { not_dst_selector: "(".to_owned(), dst_selector: "has(x)".to_owned(), ..rule("deny") },
    ] {
        let rule = Rule { action: "deny".to_owned(), ..rule };
        let world = World::with([workload(NODE, "a", 1, &[]), policy("p", "all()", vec![rule])]);
        assert_eq!(rule_of(&world, "p").action, Action::Deny);
        assert!(rule_of(&world, "p").destination.is_any() && world.dataplane.sets.is_empty());
    }
}

#[test]
fn a_policy_whose_selector_cannot_be_read_applies_to_nothing() {
    let mut world = World::with([
        workload(NODE, "a", 1, &[]),
        tier("default", None, ""),
        policy("p", "all()", vec![allow_from("has(x)")]),
    ]);
    world.set([policy("p", "all(", vec![allow_from("has(x)")])]);
    assert!(world.dataplane.policies.is_empty() && world.dataplane.sets.is_empty());
    assert!(matches!(world.calc.diagnostics()[..], [ref d] if matches!(d.problem, Problem::Selector { .. })));
    world.set([policy("p", "all()", vec![])]);
    assert_eq!((world.dataplane.policies.len(), world.calc.diagnostics().len()), (1, 0));
}

#[test]
fn a_value_of_the_wrong_type_counts_as_deleted() {
    let mut world = World::with([workload(NODE, "a", 1, &[])]);
    let (key, good) = workload(NODE, "a", 1, &[]);
    world.set([(key.clone(), Value::Ready(true))]);
    assert!(world.dataplane.workloads.is_empty());
    assert_eq!(world.calc.diagnostics()[0].problem, Problem::WrongType);
    world.set([(key, good)]);
    assert_eq!((world.dataplane.workloads.len(), world.calc.diagnostics().len()), (1, 0));
}

#[test]
fn the_ambient_mesh_has_a_set() {
    let mut world = World::new(CalcConfig { istio_ambient: true, ..config() });
    world.calc.on_in_sync();
    world.flush();
    assert_eq!(world.dataplane.members(tortie_calc::ISTIO_WORKLOADS), [""; 0]);
    let pod = ("projectcalico.org/orchestrator", "k8s");
    world.set(profile("kns.x", vec![], &[("pcns.istio.io/dataplane-mode", "ambient")]));
    world.set([
        workload_with("n2", "by-namespace", 1, &[pod], &["kns.x"], &[]),
        workload_with("n2", "not", 2, &[pod, ("istio.io/dataplane-mode", "none")], &["kns.x"], &[]),
        workload("n2", "by-itself", 3, &[pod, ("istio.io/dataplane-mode", "ambient")]),
        workload("n2", "no-pod", 4, &[("istio.io/dataplane-mode", "ambient")]),
    ]);
    let members = world.dataplane.members(tortie_calc::ISTIO_WORKLOADS);
    assert_eq!(members, ["10.0.0.1/32", "10.0.0.3/32", "fd00::1/128", "fd00::3/128"]);
}

#[test]
fn objects_are_counted_whether_active_or_not() {
    let l7 = Rule { http_match: Some(Default::default()), ..rule("allow") };
    let mut world =
        World::with([tier("t", None, ""), policy("a", "has(x)", vec![l7]), policy("b", "has(x)", vec![])]);
    world.set(profile("p", vec![], &[]));
    let counts = world.calc.counts();
    assert_eq!(
        (counts.tiers, counts.policies, counts.application_layer_policies, counts.profiles),
        (1, 2, 1, 1)
    );
    world.remove([Key::Policy(policy_id("a")), Key::Tier("t".to_owned()), Key::ProfileRules("p".to_owned())]);
    let counts = world.calc.counts();
    assert_eq!(
        (counts.tiers, counts.policies, counts.application_layer_policies, counts.profiles),
        (0, 1, 0, 0)
    );
}

#[test]
fn pools_are_passed_on() {
    let pool: tortie_model::value::IpPool = serde_json::from_str(r#"{"cidr": "10.0.0.0/16"}"#).unwrap();
    let key = Key::IpPool(pool.cidr);
    let value = Value::IpPool(std::sync::Arc::new(pool));
    let mut world = World::with([(key.clone(), value.clone())]);
    assert_eq!(world.dataplane.pools.len(), 1);
    world.set([(key.clone(), value)]);
    world.remove([key]);
    assert!(world.dataplane.pools.is_empty());
}

#[test]
fn changes_between_flushes_are_coalesced() {
    let mut world = World::with([
        workload(NODE, "a", 1, &[("x", "")]),
        tier("default", None, ""),
        policy("p", "all()", vec![allow_from("has(x)")]),
    ]);
    let change = |(key, value): (Key, Value)| Change { key, value: Some(value) };
    let gone = |(key, _): (Key, Value)| Change { key, value: None };
    let calc = &mut world.calc;
    for _ in 0..2 {
        calc.on_change(gone(workload(NODE, "a", 1, &[])));
        calc.on_change(gone(policy("p", "", vec![])));
        calc.on_change(gone(tier("default", None, "")));
        calc.on_change(change(workload(NODE, "a", 2, &[])));
        calc.on_change(change(policy("p", "has(y)", vec![])));
        calc.on_change(change(policy("p", "all()", vec![allow_from("has(x)")])));
        calc.on_change(change(workload(NODE, "a", 1, &[("x", "")])));
        calc.on_change(change(tier("default", None, "")));
        calc.on_change(change(workload("n2", "b", 2, &[("x", "")])));
        calc.on_change(gone(workload("n2", "b", 2, &[])));
    }
    let mut updates = Vec::new();
    calc.flush(&mut updates);
    assert_eq!(updates, []);
}
