//! What each feature looks like, in both families.

use crate::build::*;
use expect_test::{Expect, expect};
use tortie_calc::Update;
use tortie_calc::update::{Action, Icmp, Rule, Side};
use tortie_net::{Family, Protocol};
use tortie_rules::{Config, Desired, EndpointToHost, LogRate};

fn render(config: Config, updates: &[Update]) -> Desired {
    let mut desired = Desired::new(config);
    for update in updates {
        desired.on_update(update);
    }
    desired.render_dirty();
    desired
}

/// The rules that one ingress rule of a policy becomes.
fn check_rule(rule: Rule, want: Expect) {
    check_updates(rule, &[], want);
}

fn check_updates(rule: Rule, more: &[Update], want: Expect) {
    let mut updates = more.to_vec();
    updates.push(policy("p", vec![rule], vec![]));
    updates.push(workload(
        "w",
        endpoint("cali1", &[], &[]),
        vec![tier("default", Action::Deny, &["p"], &[])],
    ));
    let desired = render(Config::default(), &updates);
    let chain = desired.table().chains().values().find(|c| c.name.0.starts_with("cali-pi-")).unwrap();
    let mut text = String::new();
    for rule in &chain.rules {
        text += &format!("{}\n", rule.to_string().replace(" # NetworkPolicy ns/p ingress 0", ""));
    }
    for (name, set) in desired.table().sets() {
        let fixed = name.0.contains("pools") || name.0.ends_with("dispatch");
        if !fixed {
            text += &format!("{name} {set}\n");
        }
    }
    want.assert_eq(&text);
}

fn check_chains(config: Config, updates: &[Update], names: &[&str], want: Expect) {
    let desired = render(config, updates);
    let mut text = String::new();
    for chain in desired.table().chains().values() {
        if names.iter().any(|n| chain.name.0.starts_with(n)) {
            text += &format!("{chain}\n");
        }
    }
    want.assert_eq(&text);
}

fn from(source: Side) -> Rule {
    Rule { source, ..rule(Action::Allow) }
}

fn to(destination: Side) -> Rule {
    Rule { destination, ..rule(Action::Allow) }
}

#[test]
fn nothing_known() {
    let desired = render(Config::default(), &[]);
    expect![[r#"
        set cali-from-wl-dispatch interface : verdict {  }
        set cali-to-wl-dispatch interface : verdict {  }
        set cali41masq-ipam-pools ipv4 prefixes {  }
        set cali41network-ip-pools ipv4 prefixes {  }
        set cali61masq-ipam-pools ipv6 prefixes {  }
        set cali61network-ip-pools ipv6 prefixes {  }
        chain cali-FORWARD-from hook Forward priority 0
          iifname "cali*" jump cali-from-wl-dispatch
        chain cali-FORWARD-to hook Forward priority 1
          oifname "cali*" jump cali-to-wl-dispatch
        chain cali-INPUT hook Input priority 0
          iifname "cali*" jump cali-wl-to-host
        chain cali-INPUT-host hook Input priority 1
          iifname "cali*" ct state established,related accept
          iifname "cali*" meta nfproto ipv6 meta l4proto ICMPv6 jump cali-neighbours
          iifname "cali*" counter drop # DefaultEndpointToHostAction is Drop
        chain cali-POSTROUTING hook PostroutingNat priority 110
          jump cali-nat-outgoing
        chain cali-from-wl-dispatch
          iifname vmap @cali-from-wl-dispatch
          counter drop # unknown workload interface
        chain cali-nat-outgoing
          meta nfproto ipv4 ip saddr @cali41masq-ipam-pools ip daddr != @cali41network-ip-pools counter masquerade # NAT outgoing
          meta nfproto ipv6 ip6 saddr @cali61masq-ipam-pools ip6 daddr != @cali61network-ip-pools counter masquerade # NAT outgoing
        chain cali-neighbours
          meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 130 accept
          meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 131 accept
          meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 132 accept
          meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 133 accept
          meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 135 accept
          meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 136 accept
          meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 143 accept
        chain cali-to-wl-dispatch
          oifname vmap @cali-to-wl-dispatch
          counter drop # unknown workload interface
        chain cali-wl-to-host
          meta nfproto ipv6 meta l4proto ICMPv6 jump cali-neighbours
          jump cali-from-wl-dispatch
    "#]].assert_eq(&desired.table().to_string());
}

#[test]
fn endpoint_to_host_return() {
    let config = Config {
        endpoint_to_host: EndpointToHost::Return,
        interface_prefixes: vec!["cali".into(), "tap".into()],
        ..Config::default()
    };
    check_chains(
        config,
        &[],
        &["cali-INPUT", "cali-FORWARD"],
        expect![[r#"
        chain cali-FORWARD-from hook Forward priority 0
          iifname "cali*" jump cali-from-wl-dispatch
          iifname "tap*" jump cali-from-wl-dispatch
        chain cali-FORWARD-to hook Forward priority 1
          oifname "cali*" jump cali-to-wl-dispatch
          oifname "tap*" jump cali-to-wl-dispatch
        chain cali-INPUT hook Input priority 0
          iifname "cali*" jump cali-wl-to-host
          iifname "tap*" jump cali-wl-to-host
        chain cali-INPUT-host hook Input priority 1
    "#]],
    );
}

#[test]
fn actions() {
    let all = [Action::Allow, Action::Deny, Action::Pass, Action::Log].map(rule).to_vec();
    let updates = [
        policy("p", all.clone(), all.clone()),
        profile("kns.ns", all.clone(), all),
        workload(
            "w",
            endpoint("cali1", &["10.0.0.1", "fd00::1"], &["kns.ns"]),
            vec![tier("default", Action::Deny, &["p"], &["p"])],
        ),
    ];
    check_chains(
        Config::default(),
        &updates,
        &["cali-p"],
        expect![[r#"
        chain cali-pi-vMpyVLqI7byPhHCUBjgs # NetworkPolicy ns/p
          counter accept # NetworkPolicy ns/p ingress 0
          counter drop # NetworkPolicy ns/p ingress 1
          counter mark |= 0x20000 return # NetworkPolicy ns/p ingress 2
          counter limit 10/second burst 20 log "calico-packet: " # NetworkPolicy ns/p ingress 3
        chain cali-po-vMpyVLqI7byPhHCUBjgs # NetworkPolicy ns/p
          counter accept # NetworkPolicy ns/p egress 0
          counter drop # NetworkPolicy ns/p egress 1
          counter mark |= 0x20000 return # NetworkPolicy ns/p egress 2
          counter limit 10/second burst 20 log "calico-packet: " # NetworkPolicy ns/p egress 3
        chain cali-pri-kns.ns # Profile kns.ns
          counter accept # Profile kns.ns ingress 0
          counter drop # Profile kns.ns ingress 1
          counter drop # Profile kns.ns ingress 2
          counter limit 10/second burst 20 log "calico-packet: " # Profile kns.ns ingress 3
        chain cali-pro-kns.ns # Profile kns.ns
          counter accept # Profile kns.ns egress 0
          counter drop # Profile kns.ns egress 1
          counter drop # Profile kns.ns egress 2
          counter limit 10/second burst 20 log "calico-packet: " # Profile kns.ns egress 3
    "#]],
    );
    let config = Config { log_rate: None, log_prefix: "x".into(), ..Config::default() };
    check_chains(
        config,
        &updates,
        &["cali-pri"],
        expect![[r#"
        chain cali-pri-kns.ns # Profile kns.ns
          counter accept # Profile kns.ns ingress 0
          counter drop # Profile kns.ns ingress 1
          counter drop # Profile kns.ns ingress 2
          counter log "x: " # Profile kns.ns ingress 3
    "#]],
    );
    let config = Config { log_rate: Some(LogRate { per_second: 1, burst: 5 }), ..Config::default() };
    check_chains(
        config,
        &updates,
        &["cali-pro"],
        expect![[r#"
        chain cali-pro-kns.ns # Profile kns.ns
          counter accept # Profile kns.ns egress 0
          counter drop # Profile kns.ns egress 1
          counter drop # Profile kns.ns egress 2
          counter limit 1/second burst 5 log "calico-packet: " # Profile kns.ns egress 3
    "#]],
    );
}

/// Endpoints without policy, with tiers, and one that is down.
fn some_endpoints() -> Vec<Update> {
    let pass = vec![rule(Action::Pass)];
    let mut spoofer = endpoint("cali2", &["10.0.0.1", "10.0.0.2"], &["a", "b"]);
    spoofer.allow_spoofed_source_ips = nets(&["192.0.2.0/24", "198.51.100.0/24", "fd01::/64"]);
    let mut down = endpoint("cali3", &["10.0.0.3"], &["a"]);
    down.state = "inactive".into();
    vec![
        policy("plain", vec![], vec![]),
        policy("passing", pass.clone(), pass),
        workload(
            "no-policy",
            endpoint("cali1", &["10.0.0.1", "fd00::1"], &["a"]),
            vec![tier("empty", Action::Deny, &[], &[])],
        ),
        workload(
            "tiers",
            spoofer,
            vec![
                tier("first", Action::Deny, &["plain", "passing", "plain", "unknown"], &[]),
                tier("second", Action::Pass, &["plain"], &["passing", "plain"]),
                tier("third", Action::Deny, &["plain"], &["plain"]),
                tier("never", Action::Deny, &["plain"], &["plain"]),
            ],
        ),
        workload("down", down, vec![]),
    ]
}

#[test]
fn endpoint_chains() {
    let updates = some_endpoints();
    let config = Config { workload_source_spoofing: true, ..Config::default() };
    check_chains(
        config,
        &updates,
        &["cali-fw-", "cali-tw-", "cali-pri-"],
        expect![[r#"
        chain cali-fw-cali1 # k8s/ns/no-policy/eth0
          meta nfproto ipv4 ip saddr != 10.0.0.1/32 counter drop # not the workload's address
          meta nfproto ipv6 ip6 saddr != fe80::/10 ip6 saddr != fd00::1/128 counter drop # not the workload's address
          ct state established,related accept
          ct state invalid counter drop
          meta l4proto UDP th dport 4789 counter drop # VXLAN from a workload
          meta l4proto 4 counter drop # IPIP from a workload
          jump cali-pro-a # Profile a
          counter drop # no profile matched
        chain cali-fw-cali2 # k8s/ns/tiers/eth0
          meta nfproto ipv4 ip saddr != @cali4-nets-_fYznQaIgHJJ9YZozNF3 counter drop # not the workload's address
          meta nfproto ipv6 ip6 saddr != fe80::/10 ip6 saddr != fd01::/64 counter drop # not the workload's address
          ct state established,related accept
          ct state invalid counter drop
          meta l4proto UDP th dport 4789 counter drop # VXLAN from a workload
          meta l4proto 4 counter drop # IPIP from a workload
          mark &= ~0x20000
          jump cali-po-pRT1ORBEH0cGre07oeL- # NetworkPolicy ns/passing
          meta mark & 0x20000 == 0 jump cali-po-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          jump cali-po-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          counter drop # end of tier third
        chain cali-fw-cali3 # k8s/ns/down/eth0
          counter drop # endpoint is not active
        chain cali-pri-a # Profile a
          counter drop # not known
        chain cali-tw-cali1 # k8s/ns/no-policy/eth0
          ct state established,related accept
          ct state invalid counter drop
          jump cali-pri-a # Profile a
          counter drop # no profile matched
        chain cali-tw-cali2 # k8s/ns/tiers/eth0
          ct state established,related accept
          ct state invalid counter drop
          mark &= ~0x20000
          jump cali-pi-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          jump cali-pi-pRT1ORBEH0cGre07oeL- # NetworkPolicy ns/passing
          meta mark & 0x20000 == 0 jump cali-pi-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          meta mark & 0x20000 == 0 jump cali-pi-9BUy8XDspFvNzR9sKRfL # NetworkPolicy ns/unknown
          meta mark & 0x20000 == 0 counter drop # end of tier first
          jump cali-pi-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          jump cali-pi-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          counter drop # end of tier third
        chain cali-tw-cali3 # k8s/ns/down/eth0
          counter drop # endpoint is not active
    "#]],
    );
    let config = Config {
        allow_ipip_from_workloads: true,
        allow_vxlan_from_workloads: true,
        drop_invalid: false,
        ..Config::default()
    };
    check_chains(
        config,
        &updates,
        &["cali-fw-cali2"],
        expect![[r#"
        chain cali-fw-cali2 # k8s/ns/tiers/eth0
          meta nfproto ipv4 ip saddr != 10.0.0.1/32 ip saddr != 10.0.0.2/32 counter drop # not the workload's address
          meta nfproto ipv6 ip6 saddr != fe80::/10 counter drop # not the workload's address
          ct state established,related accept
          mark &= ~0x20000
          jump cali-po-pRT1ORBEH0cGre07oeL- # NetworkPolicy ns/passing
          meta mark & 0x20000 == 0 jump cali-po-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          jump cali-po-I2r84AaoKp3nMKEOvc1d # NetworkPolicy ns/plain
          counter drop # end of tier third
    "#]],
    );
}

#[test]
fn dispatch_and_nat() {
    let updates = [
        workload("a", endpoint("cali1", &["10.0.0.1"], &[]), vec![]),
        workload("b", endpoint("cali2", &["10.0.0.1"], &[]), vec![]),
        workload("b2", endpoint("cali2", &["10.0.0.9"], &[]), vec![]),
        pool("10.0.0.0/16", true),
        pool("10.0.1.0/24", true),
        pool("10.1.0.0/16", false),
        pool("fd00::/64", true),
    ];
    let desired = render(Config::default(), &updates);
    let mut text = String::new();
    for (name, set) in desired.table().sets() {
        text += &format!("{name} {set}\n");
    }
    expect![[r#"
        cali-from-wl-dispatch interface : verdict { cali1 : jump cali-fw-cali1, cali2 : jump cali-fw-cali2 }
        cali-to-wl-dispatch interface : verdict { cali1 : jump cali-tw-cali1, cali2 : jump cali-tw-cali2 }
        cali41masq-ipam-pools ipv4 prefixes { 10.0.0.0/16 }
        cali41network-ip-pools ipv4 prefixes { 10.0.0.0/16, 10.1.0.0/16 }
        cali61masq-ipam-pools ipv6 prefixes { fd00::/64 }
        cali61network-ip-pools ipv6 prefixes { fd00::/64 }
    "#]]
    .assert_eq(&text);
}

#[test]
fn protocols() {
    check_rule(
        Rule { protocol: Some(Protocol::TCP), ..rule(Action::Allow) },
        expect![[r#"
        meta l4proto TCP counter accept
    "#]],
    );
    check_rule(
        Rule { not_protocol: Some(Protocol(47)), ..rule(Action::Allow) },
        expect![[r#"
        meta l4proto != 47 counter accept
    "#]],
    );
    let both =
        Rule { protocol: Some(Protocol::TCP), not_protocol: Some(Protocol::TCP), ..rule(Action::Allow) };
    check_rule(both, expect![[""]]);
    check_rule(
        Rule { family: Some(Family::V6), ..rule(Action::Allow) },
        expect![[r#"
        meta nfproto ipv6 counter accept
    "#]],
    );
}

#[test]
fn prefixes() {
    check_rule(
        from(Side { nets: nets(&["10.0.0.0/8"]), ..Side::default() }),
        expect![[r#"
        meta nfproto ipv4 ip saddr 10.0.0.0/8 counter accept
    "#]],
    );
    check_rule(
        from(Side { nets: nets(&["10.0.0.0/8", "fd00::/8"]), ..Side::default() }),
        expect![[r#"
        meta nfproto ipv4 ip saddr 10.0.0.0/8 counter accept
        meta nfproto ipv6 ip6 saddr fd00::/8 counter accept
    "#]],
    );
    let many = nets(&["10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16", "fd00::1", "fd00::2"]);
    check_rule(
        to(Side { nets: many, ..Side::default() }),
        expect![[r#"
        meta nfproto ipv4 ip daddr @cali4-nets-_5JdA39FWmmGnYC5GqaP counter accept
        meta nfproto ipv6 ip6 daddr @cali6-nets-_u0INhneeAc7CCKCEN8n counter accept
        cali4-nets-_5JdA39FWmmGnYC5GqaP ipv4 prefixes { 10.0.0.0/8, 192.168.0.0/16 }
        cali6-nets-_u0INhneeAc7CCKCEN8n ipv6 addresses { fd00::1, fd00::2 }
    "#]],
    );
    let except = Side {
        nets: nets(&["0.0.0.0/0"]),
        not_nets: nets(&["10.0.0.0/8", "192.168.0.0/16"]),
        ..Side::default()
    };
    check_rule(
        from(except),
        expect![[r#"
            meta nfproto ipv4 ip saddr != 10.0.0.0/8 ip saddr != 192.168.0.0/16 counter accept
        "#]],
    );
    let many = nets(&["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8", "fd00::/8"]);
    check_rule(
        to(Side { not_nets: many, ..Side::default() }),
        expect![[r#"
        meta nfproto ipv4 ip daddr != @cali4-nets-_iuIXoaKYLAXRmIVcb0K counter accept
        meta nfproto ipv6 ip6 daddr != fd00::/8 counter accept
        cali4-nets-_iuIXoaKYLAXRmIVcb0K ipv4 prefixes { 10.0.0.0/8, 11.0.0.0/8, 12.0.0.0/8, 13.0.0.0/8 }
    "#]],
    );
    let crossed = Rule {
        source: Side { nets: nets(&["10.0.0.0/8"]), ..Side::default() },
        destination: Side { nets: nets(&["fd00::/8"]), ..Side::default() },
        ..rule(Action::Allow)
    };
    check_rule(crossed, expect![[""]]);
}

#[test]
fn sets() {
    let hosts = net_set("s:hosts", &["10.0.0.1", "10.0.0.2", "fd00::1"]);
    let mixed = net_set("s:mixed", &["10.0.0.1", "10.2.0.0/16", "fd00::1"]);
    let side = Side {
        sets: vec![set("s:hosts"), set("s:mixed")],
        not_sets: vec![set("s:unknown")],
        ..Side::default()
    };
    check_updates(
        from(side),
        &[hosts, mixed],
        expect![[r#"
        meta nfproto ipv4 ip saddr @cali40s-hosts ip saddr @cali41s-mixed ip saddr != @cali40s-unknown counter accept
        meta nfproto ipv6 ip6 saddr @cali60s-hosts ip6 saddr @cali60s-mixed ip6 saddr != @cali60s-unknown counter accept
        cali40s-hosts ipv4 addresses { 10.0.0.1, 10.0.0.2 }
        cali40s-unknown ipv4 addresses {  }
        cali41s-mixed ipv4 prefixes { 10.0.0.1, 10.2.0.0/16 }
        cali60s-hosts ipv6 addresses { fd00::1 }
        cali60s-mixed ipv6 addresses { fd00::1 }
        cali60s-unknown ipv6 addresses {  }
    "#]],
    );
}

#[test]
fn port_matches() {
    let tcp = |destination| Rule { protocol: Some(Protocol::TCP), destination, ..rule(Action::Allow) };
    check_rule(
        tcp(Side { ports: ports(&[(80, 80)]), ..Side::default() }),
        expect![[r#"
        meta l4proto TCP th dport 80 counter accept
    "#]],
    );
    check_rule(
        tcp(Side { ports: ports(&[(8000, 8010)]), ..Side::default() }),
        expect![[r#"
        meta l4proto TCP th dport 8000-8010 counter accept
    "#]],
    );
    check_rule(
        tcp(Side { ports: ports(&[(443, 443), (80, 80)]), ..Side::default() }),
        expect![[r#"
        meta l4proto TCP th dport @cali-ports-80.443 counter accept
        cali-ports-80.443 ports { 80, 443 }
    "#]],
    );
    check_rule(
        tcp(Side { not_ports: ports(&[(1, 1023), (6000, 6063)]), ..Side::default() }),
        expect![[r#"
        meta l4proto TCP th dport != @cali-ports-1_1023.6000_6063 counter accept
        cali-ports-1_1023.6000_6063 port ranges { 1-1023, 6000-6063 }
    "#]],
    );
    check_rule(
        to(Side { ports: ports(&[(53, 53)]), ..Side::default() }),
        expect![[r#"
        meta l4proto @cali-port-protocols th dport 53 counter accept
        cali-port-protocols protocols { TCP, UDP, SCTP, UDPLite }
    "#]],
    );
    let icmp =
        Rule { protocol: Some(Protocol::ICMP), ..to(Side { ports: ports(&[(53, 53)]), ..Side::default() }) };
    check_rule(icmp, expect![[""]]);
}

#[test]
fn named_ports() {
    let http = port_set("n:http", &[("10.0.0.1", Protocol::TCP, 80), ("fd00::1", Protocol::TCP, 8080)]);
    let side = Side { ports: ports(&[(443, 443)]), named_ports: vec![set("n:http")], ..Side::default() };
    let rule = Rule { protocol: Some(Protocol::TCP), destination: side, ..rule(Action::Allow) };
    check_updates(
        rule,
        std::slice::from_ref(&http),
        expect![[r#"
        meta l4proto TCP th dport 443 counter accept
        meta nfproto ipv4 meta l4proto TCP ip daddr . meta l4proto . th dport @cali40n-http counter accept
        meta nfproto ipv6 meta l4proto TCP ip6 daddr . meta l4proto . th dport @cali60n-http counter accept
        cali40n-http ipv4 address . protocol . port { 10.0.0.1 . TCP . 80 }
        cali60n-http ipv6 address . protocol . port { fd00::1 . TCP . 8080 }
    "#]],
    );
    check_updates(
        to(Side { not_named_ports: vec![set("n:http")], ..Side::default() }),
        std::slice::from_ref(&http),
        expect![[r#"
            meta nfproto ipv4 meta l4proto @cali-port-protocols ip daddr . meta l4proto . th dport != @cali40n-http counter accept
            meta nfproto ipv4 meta l4proto != @cali-port-protocols counter accept
            meta nfproto ipv6 meta l4proto @cali-port-protocols ip6 daddr . meta l4proto . th dport != @cali60n-http counter accept
            meta nfproto ipv6 meta l4proto != @cali-port-protocols counter accept
            cali-port-protocols protocols { TCP, UDP, SCTP, UDPLite }
            cali40n-http ipv4 address . protocol . port { 10.0.0.1 . TCP . 80 }
            cali60n-http ipv6 address . protocol . port { fd00::1 . TCP . 8080 }
        "#]],
    );
    check_updates(
        to(Side { addr_port_sets: vec![set("n:http")], ..Side::default() }),
        &[http],
        expect![[r#"
        meta nfproto ipv4 ip daddr . meta l4proto . th dport @cali40n-http counter accept
        meta nfproto ipv6 ip6 daddr . meta l4proto . th dport @cali60n-http counter accept
        cali40n-http ipv4 address . protocol . port { 10.0.0.1 . TCP . 80 }
        cali60n-http ipv6 address . protocol . port { fd00::1 . TCP . 8080 }
    "#]],
    );
}

#[test]
fn icmp() {
    let icmp = |kind, code| Some(Icmp { kind, code });
    check_rule(
        Rule { icmp: icmp(8, Some(0)), ..rule(Action::Allow) },
        expect![[r#"
        meta nfproto ipv4 meta l4proto ICMP icmp type 8 icmp code 0 counter accept
        meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 8 icmpv6 code 0 counter accept
    "#]],
    );
    check_rule(
        Rule { protocol: Some(Protocol::ICMPV6), icmp: icmp(128, None), ..rule(Action::Allow) },
        expect![[r#"
        meta nfproto ipv6 meta l4proto ICMPv6 icmpv6 type 128 counter accept
    "#]],
    );
    check_rule(
        Rule { not_icmp: icmp(8, None), family: Some(Family::V4), ..rule(Action::Allow) },
        expect![[r#"
        meta nfproto ipv4 meta l4proto != ICMP counter accept
        meta nfproto ipv4 meta l4proto ICMP icmp type != 8 counter accept
    "#]],
    );
    let coded = Rule { protocol: Some(Protocol::ICMP), not_icmp: icmp(3, Some(4)), ..rule(Action::Allow) };
    check_rule(
        coded,
        expect![[r#"
            meta nfproto ipv4 meta l4proto ICMP icmp type != 3 counter accept
            meta nfproto ipv4 meta l4proto ICMP icmp type 3 icmp code != 4 counter accept
        "#]],
    );
}

#[test]
fn tunnels_are_for_nodes() {
    let mut desired = Desired::new(Config::default());
    let quiet = desired.table().to_string();
    desired.tunnel_ends(None);
    assert_eq!(desired.table().to_string(), quiet, "who does not tunnel does not filter tunnels");
    let ends = ["10.0.0.1", "10.0.0.2", "fd00::1"].map(|a| a.parse().unwrap());
    desired.tunnel_ends(Some(&ends.into()));
    let text = desired.table().to_string();
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|l| l.contains("vxlan") || l.contains("VXLAN")).collect();
    expect![[r#"
        set cali41all-vxlan-net ipv4 prefixes { 10.0.0.1, 10.0.0.2 }
        set cali61all-vxlan-net ipv6 prefixes { fd00::1 }
        meta nfproto ipv4 meta l4proto UDP th dport 4789 ip saddr != @cali41all-vxlan-net counter drop # VXLAN from a host that is no node
        meta nfproto ipv6 meta l4proto UDP th dport 4789 ip6 saddr != @cali61all-vxlan-net counter drop # VXLAN from a host that is no node"#]].assert_eq(&lines.join("\n"));
    desired.tunnel_ends(None);
    assert!(!desired.table().to_string().contains("VXLAN"));
}
