//! Golden texts by feature. BIRD itself must accept each of them.

#![expect(clippy::needless_raw_string_hashes, reason = "the texts are written by expect-test")]

use super::*;
use crate::{
    Action, CidrMatch, ClusterRoutes, Community, Filter, MatchOperator, Node, Operation, Peer, PeerNodes,
    PeerTarget, PeerType, PrefixCommunities, Rule, SecretRef, SourceAddress,
};
use expect_test::{Expect, expect, expect_file};
use std::net::Ipv4Addr;
use std::process::Command;

fn node(n: u8) -> Node {
    Node {
        ipv4: Some(Ipv4Addr::new(172, 31, 1, n)),
        ipv6: Some(format!("fd00:31::{n}").parse().unwrap()),
        ..Node::default()
    }
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn input() -> Input {
    Input {
        node: "n1".into(),
        nodes: [("n1".into(), node(1)), ("n2".into(), node(2))].into(),
        pools: ["10.65.0.0/16", "fd65::/64"].map(|c| Pool::new(cidr(c))).into(),
        blocks: ["10.65.0.64/26", "fd65::40/122"].map(cidr).into(),
        ..Input::default()
    }
}

fn peer(text: &str, as_number: u32) -> Peer {
    let (address, port) = crate::parse_peer_address(text).unwrap();
    Peer::new(PeerTarget::Address { address, port, as_number })
}

/// The text, after `bird -p` has accepted it. The tests need BIRD, as the product does.
fn accepted(input: &Input) -> String {
    let (text, _) = render(input);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let output = Command::new("bird")
        .arg("-p")
        .arg("-c")
        .arg(file.path())
        .output()
        .expect("BIRD 2 is installed (package bird2)");
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Compares the block that begins with `head`.
fn check_block(input: &Input, head: &str, want: Expect) {
    let text = accepted(input);
    let mut lines = text.lines().skip_while(|l| !l.starts_with(head));
    let mut block: Vec<&str> = lines.by_ref().take_while(|l| *l != "}").collect();
    assert!(!block.is_empty(), "there is no {head:?} in\n{text}");
    block.push("}");
    want.assert_eq(&block.join("\n"));
}

#[test]
fn whole_text_of_a_mesh() {
    expect_file!["golden/mesh.conf"].assert_eq(&accepted(&input()));
}

#[test]
fn nothing_known_yet() {
    let input = Input { node: "n1\nx".into(), ..Input::default() };
    expect_file!["golden/nothing.conf"].assert_eq(&accepted(&input));
}

#[test]
fn networks_of_nodes_are_told_to_nobody_though_a_pool_holds_them() {
    let mut input = input();
    input.pools.push(Pool { encapsulation: Encapsulation::Vxlan, ..Pool::new(cidr("172.31.0.0/16")) });
    input.pools.push(Pool::new(cidr("fd00:31::/32")));
    input.foreign = ["172.31.1.0/24", "fd00:31:1::/64"].map(cidr).into();
    let text = accepted(&input);
    for want in [
        "if net ~ 10.65.0.0/16 then accept;\n",
        "if net ~ [ 172.31.0.0/16{32,32} ] then accept;",
        "if net ~ [ fd00:31::/32{128,128} ] then accept;",
        // The network may have been learnt from a router.
        "  if net = 172.31.1.0/24 then accept; # in a pool by mistake\n  if net ~ ",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    assert!(!text.contains("if net ~ 172.31.0.0/16 then accept;"));
}

#[test]
fn pools_decide_what_leaves_and_what_the_kernel_gets() {
    let mut input = input();
    input.pools.push(Pool { export: false, ..Pool::new(cidr("10.66.0.0/16")) });
    input.pools.push(Pool { encapsulation: Encapsulation::Ipip, ..Pool::new(cidr("10.67.0.0/16")) });
    input.pools.push(Pool { encapsulation: Encapsulation::Vxlan, ..Pool::new(cidr("10.68.0.0/16")) });
    // Within another pool, and told to nobody.
    input.pools.push(Pool { export: false, ..Pool::new(cidr("10.65.128.0/24")) });
    check_block(
        &input,
        "function calico_export_to_bgp_peers4",
        expect![[r#"
        function calico_export_to_bgp_peers4(bool same_as) {
          if net ~ 10.65.128.0/24 then reject; # disableBGPExport
          if net ~ 10.66.0.0/16 then reject; # disableBGPExport
          if defined(ifname) then {
            if same_as && (ifname ~ "*.cali" || ifname ~ "*.calico" || ifname ~ "tunl0") then reject; # the agent's
            if ifname ~ "bpf*.cali" then reject;
          }
          calico_aggr4();
          if net ~ 10.65.0.0/16 then accept;
          if net ~ 10.67.0.0/16 then accept;
          if net ~ 10.68.0.0/16 then accept;
          reject;
        }"#]],
    );
    check_block(
        &input,
        "filter calico_kernel_programming4",
        expect![[r#"
        filter calico_kernel_programming4 {
          if net = 10.65.0.64/26 && source = RTS_STATIC then accept;
          if source != RTS_BGP then reject;
          if !defined(krt_metric) then {
            krt_metric = 1024;
            if defined(bgp_local_pref) && bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
          }
          if net ~ 10.65.128.0/24 then accept;
          if net ~ 10.65.0.0/16 then accept;
          if net ~ 10.66.0.0/16 then accept;
          if net ~ 10.67.0.0/16 then reject; # the agent's
          if net ~ 10.68.0.0/16 then reject; # the agent's
          accept;
        }"#]],
    );
    input.configuration.cluster_routes = ClusterRoutes { ipip: true, unencapsulated: false };
    check_block(
        &input,
        "filter calico_kernel_programming4",
        expect![[r#"
        filter calico_kernel_programming4 {
          if net = 10.65.0.64/26 && source = RTS_STATIC then accept;
          if source != RTS_BGP then reject;
          if !defined(krt_metric) then {
            krt_metric = 1024;
            if defined(bgp_local_pref) && bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
          }
          if net ~ 10.65.128.0/24 then reject; # the agent's
          if net ~ 10.65.0.0/16 then reject; # the agent's
          if net ~ 10.66.0.0/16 then reject; # the agent's
          if net ~ 10.67.0.0/16 then accept;
          if net ~ 10.68.0.0/16 then reject; # the agent's
          accept;
        }"#]],
    );
}

#[test]
fn blocks_of_one_address_have_no_blackhole() {
    let input = Input { blocks: vec![cidr("10.65.0.7/32"), cidr("10.65.0.64/26")], ..input() };
    check_block(
        &input,
        "function calico_aggr4",
        expect![[r#"
        function calico_aggr4() {
          if net = 10.65.0.7/32 then accept;
          if net = 10.65.0.64/26 then accept;
          if net ~ 10.65.0.64/26 then { if krt_metric < 1024 then accept; else reject; }
        }"#]],
    );
    check_block(
        &input,
        "protocol static static4",
        expect![[r#"
        protocol static static4 {
          ipv4;
          route 10.65.0.64/26 blackhole;
        }"#]],
    );
}

#[test]
fn services_are_told_but_not_programmed() {
    let input =
        Input { advertised: vec![cidr("10.96.0.0/12"), cidr("fd96::/112"), cidr("10.96.0.1/32")], ..input() };
    check_block(
        &input,
        "function calico_export_to_bgp_peers6",
        expect![[r#"
        function calico_export_to_bgp_peers6(bool same_as) {
          if defined(ifname) then {
            if same_as && (ifname ~ "*.cali" || ifname ~ "*.calico" || ifname ~ "tunl0") then reject; # the agent's
            if ifname ~ "bpf*.cali" then reject;
          }
          calico_aggr6();
          if net ~ fd96::/112 then accept;
          if net ~ fd65::/64 then accept;
          reject;
        }"#]],
    );
    check_block(
        &input,
        "filter calico_kernel_programming4",
        expect![[r#"
        filter calico_kernel_programming4 {
          if net = 10.65.0.64/26 && source = RTS_STATIC then accept;
          if source != RTS_BGP then reject;
          if net ~ 10.96.0.0/12 then reject; # services
          if net ~ 10.96.0.1/32 then reject; # services
          if !defined(krt_metric) then {
            krt_metric = 1024;
            if defined(bgp_local_pref) && bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
          }
          if net ~ 10.65.0.0/16 then accept;
          accept;
        }"#]],
    );
    check_block(
        &input,
        "protocol static static4",
        expect![[r#"
        protocol static static4 {
          ipv4;
          route 10.65.0.64/26 blackhole;
          route 10.96.0.0/12 blackhole; # services
          route 10.96.0.1/32 blackhole; # services
        }"#]],
    );
}

#[test]
fn communities_and_priorities() {
    let mut input = input();
    input.configuration.communities = vec![
        PrefixCommunities {
            cidr: cidr("10.65.0.0/24"),
            communities: vec![Community::Standard(64512, 7), Community::Large(64512, 1, 2)],
        },
        PrefixCommunities { cidr: cidr("fd65::/64"), communities: vec![Community::Standard(64512, 6)] },
    ];
    input.configuration.priorities.v6 = 2000;
    check_block(
        &input,
        "function apply_communities4",
        expect![[r#"
        function apply_communities4() {
          if net ~ 10.65.0.0/24 then { bgp_community.add((64512, 7)); bgp_large_community.add((64512, 1, 2)); }
        }"#]],
    );
    check_block(
        &input,
        "function calico_aggr6",
        expect![[r#"
        function calico_aggr6() {
          if net = fd65::40/122 then accept;
          if net ~ fd65::40/122 then { if krt_metric < 2000 then accept; else reject; }
        }"#]],
    );
    check_block(
        &input,
        "protocol bgp Mesh_fd00_31__2",
        expect![[r#"
        protocol bgp Mesh_fd00_31__2 from bgp_template {
          local fd00:31::1 as 64512;
          neighbor fd00:31::2 as 64512;
          multihop;
          passive on;
          ipv6 {
            import filter {
              if defined(bgp_local_pref) && bgp_local_pref > 2147481647 then preference = 200;
              accept;
            };
            export filter {
              if source = RTS_BGP && defined(bgp_local_pref) then {
                if bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
              } else {
                if !defined(krt_metric) || krt_metric = 0 then krt_metric = 2000;
                if krt_metric < 2147483647 then bgp_local_pref = 2147483647 - krt_metric;
              }
              calico_export_to_bgp_peers6(true);
              reject;
            };
            gateway recursive;
            add paths on;
          };
        }"#]],
    );
}

fn with_a_router() -> Input {
    let mut input = input();
    input.configuration.mesh = false;
    input.configuration.listen_port = Some(1790);
    input.configuration.bind = BindMode::NodeIp;
    let secret = SecretRef { name: "bgp".into(), key: "tor".into() };
    input.secrets.insert(secret.clone(), "it's {a} #secret;".into());
    let tor = Peer {
        local_as: Some(4_200_000_001),
        next_hop: NextHopMode::Own,
        password: Some(secret),
        restart_seconds: Some(90),
        keepalive_seconds: Some(20),
        allowed_local_as: 2,
        ttl_security: Some(3),
        reachable_by: Some("172.31.1.254".parse().unwrap()),
        ..peer("192.168.9.1:179", 65001)
    };
    input.peers.insert("tor".into(), tor);
    input
}

#[test]
fn options_of_a_session() {
    let input = with_a_router();
    check_block(
        &input,
        "protocol bgp Global_192_168_9_1_port_179",
        expect![[r#"
        protocol bgp Global_192_168_9_1_port_179 from bgp_template {
          local 172.31.1.1 port 1790 as 4200000001;
          neighbor 192.168.9.1 port 179 as 65001;
          strict bind on;
          multihop 3;
          ttl security on;
          password "it's {a} #secret;";
          graceful restart time 90;
          keepalive time 20;
          allow local as 2;
          ipv4 {
            import filter {
              if defined(bgp_local_pref) && bgp_local_pref > 2147482623 then preference = 200;
              accept;
            };
            export filter {
              if source = RTS_BGP && defined(bgp_local_pref) then {
                if bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
              } else {
                if !defined(krt_metric) || krt_metric = 0 then krt_metric = 1024;
                if krt_metric < 2147483647 then bgp_local_pref = 2147483647 - krt_metric;
              }
              calico_export_to_bgp_peers4(false);
              reject;
            };
            gateway recursive;
            add paths on;
            next hop self;
          };
        }"#]],
    );
    check_block(
        &input,
        "protocol static static4",
        expect![[r#"
        protocol static static4 {
          ipv4;
          route 10.65.0.64/26 blackhole;
          route 192.168.9.1/32 via 172.31.1.254;
        }"#]],
    );
    check_block(
        &input,
        "filter calico_kernel_programming4",
        expect![[r#"
        filter calico_kernel_programming4 {
          if net = 10.65.0.64/26 && source = RTS_STATIC then accept;
          if net = 192.168.9.1/32 && source = RTS_STATIC then accept;
          if source != RTS_BGP then reject;
          if !defined(krt_metric) then {
            krt_metric = 1024;
            if defined(bgp_local_pref) && bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
          }
          if net ~ 10.65.0.0/16 then accept;
          accept;
        }"#]],
    );
    check_block(
        &input,
        "template bgp",
        expect![[r#"
        template bgp bgp_template {
          debug { states };
          graceful restart on;
          connect delay time 1;
          connect retry time 5;
          error wait time 2,10;
        }"#]],
    );
}

#[test]
fn a_session_without_options() {
    let mut input = with_a_router();
    let plain = Peer { source: SourceAddress::Any, next_hop: NextHopMode::Keep, ..peer("fd00:9::1", 64512) };
    input.peers.insert("plain".into(), plain);
    check_block(
        &input,
        "protocol bgp Global_fd00_9__1",
        expect![[r#"
        protocol bgp Global_fd00_9__1 from bgp_template {
          local fd00:31::1 port 1790 as 64512;
          neighbor fd00:9::1 as 64512;
          strict bind on;
          multihop;
          ipv6 {
            import filter {
              if defined(bgp_local_pref) && bgp_local_pref > 2147482623 then preference = 200;
              accept;
            };
            export filter {
              if source = RTS_BGP && defined(bgp_local_pref) then {
                if bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
              } else {
                if !defined(krt_metric) || krt_metric = 0 then krt_metric = 1024;
                if krt_metric < 2147483647 then bgp_local_pref = 2147483647 - krt_metric;
              }
              calico_export_to_bgp_peers6(true);
              reject;
            };
            gateway recursive;
            add paths on;
            next hop keep;
          };
        }"#]],
    );
}

#[test]
fn reflectors() {
    let mut input = input();
    input.nodes.get_mut("n1").unwrap().reflector_cluster = Some(Ipv4Addr::new(1, 0, 0, 1));
    input.peers.insert("p".into(), Peer { nodes: PeerNodes::Node("n1".into()), ..peer("172.31.1.2", 64512) });
    check_block(
        &input,
        "protocol bgp Node_172_31_1_2",
        expect![[r#"
        protocol bgp Node_172_31_1_2 from bgp_template {
          local 172.31.1.1 as 64512;
          neighbor 172.31.1.2 as 64512;
          multihop;
          rr client;
          rr cluster id 1.0.0.1;
          ipv4 {
            import filter {
              if defined(bgp_local_pref) && bgp_local_pref > 2147482623 then preference = 200;
              accept;
            };
            export filter {
              if source = RTS_BGP && defined(bgp_local_pref) then {
                if bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
              } else {
                if !defined(krt_metric) || krt_metric = 0 then krt_metric = 1024;
                if krt_metric < 2147483647 then bgp_local_pref = 2147483647 - krt_metric;
              }
              calico_export_to_bgp_peers4(true);
              reject;
            };
            gateway recursive;
            add paths on;
          };
        }"#]],
    );
}

fn with_filters() -> Input {
    let mut input = input();
    let rule = Rule::new;
    let within = |text: &str, operator, lengths| Some(CidrMatch { cidr: cidr(text), operator, lengths });
    let filter = Filter {
        import_v4: vec![
            Rule { cidr: within("44.0.0.0/16", MatchOperator::In, None), ..rule(Action::Accept) },
            Rule {
                cidr: within("44.1.0.0/16", MatchOperator::NotIn, None),
                peer_type: Some(PeerType::External),
                ..rule(Action::Reject)
            },
            Rule { cidr: within("44.2.0.0/16", MatchOperator::Equal, None), ..rule(Action::Accept) },
            Rule { cidr: within("44.3.0.0/16", MatchOperator::NotEqual, None), ..rule(Action::Reject) },
            Rule {
                cidr: within("10.0.0.0/8", MatchOperator::In, Some((Some(16), Some(24)))),
                ..rule(Action::Accept)
            },
        ],
        export_v4: vec![
            Rule {
                community: Some(Community::Standard(65000, 42)),
                operations: vec![
                    Operation::AddCommunity(Community::Large(1, 2, 3)),
                    Operation::PrependAsPath(vec![65000, 65001]),
                    Operation::SetPriority(256),
                ],
                ..rule(Action::Accept)
            },
            Rule {
                as_path_prefix: vec![65000, 65001],
                priority: Some(100),
                peer_type: Some(PeerType::Internal),
                ..rule(Action::Accept)
            },
            Rule { from_remote_peers: true, interface: Some("eth*".into()), ..rule(Action::Accept) },
            rule(Action::Reject),
        ],
        import_v6: vec![Rule {
            community: Some(Community::Large(1, 2, 3)),
            cidr: within("fd00::/8", MatchOperator::In, Some((None, Some(64)))),
            ..rule(Action::Accept)
        }],
        export_v6: Vec::new(),
    };
    input.filters.insert("my.filter-1".into(), filter);
    input
        .filters
        .insert("unused".into(), Filter { import_v4: vec![rule(Action::Reject)], ..Filter::default() });
    let filters = vec!["my.filter-1".to_owned()];
    input.peers.insert("v4".into(), Peer { filters: filters.clone(), ..peer("192.168.9.1", 65001) });
    input.peers.insert("v6".into(), Peer { filters, ..peer("fd00:9::1", 64512) });
    input
}

#[test]
fn functions_of_filters() {
    let input = with_filters();
    check_block(
        &input,
        "function 'bgp_my.filter-1_importFilterV4'",
        expect![[r#"
        function 'bgp_my.filter-1_importFilterV4'(bool same_as) {
          if net ~ 44.0.0.0/16 then { accept; }
          if !same_as && net !~ 44.1.0.0/16 then { reject; }
          if net = 44.2.0.0/16 then { accept; }
          if net != 44.3.0.0/16 then { reject; }
          if net ~ [ 10.0.0.0/8{16,24} ] then { accept; }
        }"#]],
    );
    check_block(
        &input,
        "function 'bgp_my.filter-1_exportFilterV4'",
        expect![[r#"
        function 'bgp_my.filter-1_exportFilterV4'(bool same_as) {
          if (65000, 42) ~ bgp_community then { bgp_large_community.add((1, 2, 3)); bgp_path.prepend(65001); bgp_path.prepend(65000); bgp_local_pref = 2147483391; accept; }
          if same_as && bgp_path ~ [= 65000 65001 * =] && defined(bgp_local_pref) && bgp_local_pref = 2147483547 then { accept; }
          if source = RTS_BGP && defined(ifname) && ifname ~ "eth*" then { accept; }
          reject;
        }"#]],
    );
    check_block(
        &input,
        "function 'bgp_my.filter-1_importFilterV6'",
        expect![[r#"
        function 'bgp_my.filter-1_importFilterV6'(bool same_as) {
          if net ~ [ fd00::/8{8,64} ] && (1, 2, 3) ~ bgp_large_community then { accept; }
        }"#]],
    );
    assert!(!accepted(&input).contains("unused"));
}

#[test]
fn sessions_call_their_filters() {
    let input = with_filters();
    check_block(
        &input,
        "protocol bgp Global_192_168_9_1",
        expect![[r#"
        protocol bgp Global_192_168_9_1 from bgp_template {
          local 172.31.1.1 as 64512;
          neighbor 192.168.9.1 as 65001;
          multihop;
          ipv4 {
            import filter {
              'bgp_my.filter-1_importFilterV4'(false);
              if defined(bgp_local_pref) && bgp_local_pref > 2147482623 then preference = 200;
              accept;
            };
            export filter {
              if source = RTS_BGP && defined(bgp_local_pref) then {
                if bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
              } else {
                if !defined(krt_metric) || krt_metric = 0 then krt_metric = 1024;
                if krt_metric < 2147483647 then bgp_local_pref = 2147483647 - krt_metric;
              }
              'bgp_my.filter-1_exportFilterV4'(false);
              calico_export_to_bgp_peers4(false);
              reject;
            };
            gateway recursive;
            add paths on;
          };
        }"#]],
    );
    check_block(
        &input,
        "protocol bgp Global_fd00_9__1",
        expect![[r#"
        protocol bgp Global_fd00_9__1 from bgp_template {
          local fd00:31::1 as 64512;
          neighbor fd00:9::1 as 64512;
          multihop;
          ipv6 {
            import filter {
              'bgp_my.filter-1_importFilterV6'(true);
              if defined(bgp_local_pref) && bgp_local_pref > 2147482623 then preference = 200;
              accept;
            };
            export filter {
              if source = RTS_BGP && defined(bgp_local_pref) then {
                if bgp_local_pref < 2147483647 then krt_metric = 2147483647 - bgp_local_pref;
              } else {
                if !defined(krt_metric) || krt_metric = 0 then krt_metric = 1024;
                if krt_metric < 2147483647 then bgp_local_pref = 2147483647 - krt_metric;
              }
              calico_export_to_bgp_peers6(true);
              reject;
            };
            gateway recursive;
            add paths on;
          };
        }"#]],
    );
}

#[test]
fn interfaces_and_log_levels() {
    let mut input = Input { interface_prefix: "tap, veth".into(), ..input() };
    input.configuration.ignored_interfaces = vec!["docker*".into(), "a\"b".into()];
    check_block(
        &input,
        "protocol direct",
        expect![[r#"
        protocol direct {
          debug { states };
          ipv4;
          ipv6;
          interface -"docker*", -"tap*", -"veth*", -"kube-ipvs*", "*";
        }"#]],
    );
    let (_, problems) = render(&input);
    assert_eq!(
        problems[0].to_string(),
        "BGPConfiguration default: spec.ignoredInterfaces: \"a\\\"b\" is no pattern; it is left out"
    );
    for (severity, debug) in [
        (LogSeverity::Debug, true),
        (LogSeverity::Warning, false),
        (LogSeverity::Error, false),
        (LogSeverity::Fatal, false),
    ] {
        input.configuration.log = severity;
        assert_eq!(accepted(&input).contains("debug all"), debug);
    }
}

mod any {
    //! Whatever the input, BIRD accepts what is rendered.

    use super::*;
    use proptest::prelude::*;

    fn rule() -> impl Strategy<Value = Rule> {
        let operator = prop_oneof![
            Just(MatchOperator::In),
            Just(MatchOperator::NotIn),
            Just(MatchOperator::Equal),
            Just(MatchOperator::NotEqual)
        ];
        let lengths =
            proptest::option::of((proptest::option::of(any::<u8>()), proptest::option::of(any::<u8>())));
        let cidr = (any::<u32>(), 0..=32u8, operator, lengths).prop_map(|(addr, len, operator, lengths)| {
            CidrMatch { cidr: Cidr::new(Ipv4Addr::from(addr).into(), len).unwrap(), operator, lengths }
        });
        let operations = (any::<u16>(), any::<u32>(), proptest::collection::vec(1..u32::MAX, 1..3)).prop_map(
            |(community, priority, path)| {
                vec![
                    Operation::AddCommunity(Community::Standard(community, 1)),
                    Operation::SetPriority(priority),
                    Operation::PrependAsPath(path),
                ]
            },
        );
        (proptest::option::of(cidr), any::<[bool; 5]>(), operations, any::<u32>(), "[a-z*]{1,8}").prop_map(
            |(cidr, [accept, internal, remote, on, operate], operations, number, interface)| Rule {
                cidr,
                from_remote_peers: remote,
                interface: on.then_some(interface),
                peer_type: on.then_some(if internal { PeerType::Internal } else { PeerType::External }),
                community: remote.then_some(Community::Large(number, 0, u32::MAX)),
                as_path_prefix: if on { vec![number, 1] } else { vec![] },
                priority: internal.then_some(number),
                operations: if operate { operations } else { vec![] },
                ..Rule::new(if accept { Action::Accept } else { Action::Reject })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]
        #[test]
        fn input(
            node in "\\PC{0,20}",
            password in "\\PC{0,20}",
            pattern in "\\PC{0,12}",
            prefix in "[a-z,* \"]{0,12}",
            rules in proptest::collection::vec(rule(), 0..4),
            filter_name in "[a-z0-9.-]{1,80}",
            numbers: (u32, u16, u8, Option<u32>, Option<u32>),
            flags: [bool; 4],
        ) {
            let (number, port, hops, some, other) = numbers;
            let mut input = super::input();
            let own = input.nodes.get("n1").cloned().unwrap();
            input.nodes.insert(node.clone(), own);
            input.node = node;
            let secret = SecretRef { name: "s".into(), key: "k".into() };
            input.secrets.insert(secret.clone(), password);
            input.configuration.mesh_password = flags[0].then(|| secret.clone());
            input.configuration.listen_port = Some(port).filter(|p| *p > 0);
            input.configuration.as_number = number.max(1);
            input.configuration.ignored_interfaces = vec![pattern];
            input.configuration.priorities.v4 = number;
            input.interface_prefix = prefix;
            input.filters.insert(filter_name.clone(), Filter { import_v4: rules.clone(), export_v4: rules, ..Filter::default() });
            let peer = Peer {
                local_as: some.filter(|n| *n > 0),
                ttl_security: Some(hops),
                restart_seconds: other,
                keepalive_seconds: other,
                allowed_local_as: u32::from(hops),
                password: flags[1].then_some(secret),
                filters: vec![filter_name],
                reachable_by: flags[2].then(|| "172.31.1.254".parse().unwrap()),
                next_hop: if flags[3] { NextHopMode::KeepExternal } else { NextHopMode::Own },
                ..peer("192.168.9.1", number.max(1))
            };
            input.peers.insert("p".into(), peer);
            accepted(&input);
        }
    }
}
