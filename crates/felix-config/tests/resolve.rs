//! Precedence, `none`, mistakes, and what follows from several parameters together.

use proptest::prelude::*;
use tortie_felix_config::{
    Config, FileError, Host, Inconsistency, PARAMETERS, Problem, Source, Sources, from_environment, from_file,
};

/// A machine where only /usr exists.
struct Machine;

impl Host for Machine {
    fn name(&self) -> String {
        "machine".to_owned()
    }
    fn exists(&self, path: &str) -> bool {
        path == "/usr"
    }
    fn find_program(&self, name: &str) -> Option<String> {
        (name == "driver").then(|| "/opt/bin/driver".to_owned())
    }
}

type Settings<'a> = &'a [(&'a str, &'a str)];

fn resolve(sources: &[(Source, Settings<'_>)]) -> (Config, Vec<Problem>) {
    let mut all = Sources::new();
    for (source, settings) in sources {
        all.set(*source, settings.iter().map(|(name, raw)| ((*name).to_owned(), (*raw).to_owned())));
    }
    Config::resolve(&all, &Machine)
}

fn environment(settings: Settings<'_>) -> (Config, Vec<Problem>) {
    resolve(&[(Source::Environment, settings)])
}

/// The value after setting one parameter in the environment, as JSON, and whether that was fatal.
fn one(name: &str, raw: &str) -> (String, bool) {
    let (config, problems) = environment(&[(name, raw)]);
    let value = config.get(name).map(|s| s.value.to_json().to_string()).unwrap_or_default();
    (value, problems.iter().any(Problem::is_fatal))
}

#[test]
fn a_stronger_source_wins_whatever_the_case_of_the_name() {
    let layers = [
        Source::DatastoreGlobal,
        Source::DatastorePerSelector,
        Source::DatastorePerHost,
        Source::File,
        Source::Environment,
        Source::Override,
    ];
    for (weak, strong) in layers.iter().zip(layers.iter().skip(1)) {
        let (config, problems) =
            resolve(&[(*strong, &[("bpfmapsizeroute", "7")]), (*weak, &[("BPFMapSizeRoute", "6")])]);
        assert_eq!((config.bpf_map_size_route(), problems), (7, vec![]), "{weak} {strong}");
        assert_eq!(config.get("BPFMapSizeRoute").map(|s| s.source), Some(*strong));
    }
}

#[test]
fn a_bad_value_hides_a_good_one_of_a_weaker_source() {
    let (config, problems) = resolve(&[
        (Source::Environment, &[("RouteRefreshInterval", "soon")]),
        (Source::File, &[("RouteRefreshInterval", "7")]),
    ]);
    assert_eq!(config.route_refresh_interval().as_secs(), 90);
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["RouteRefreshInterval from the environment cannot be \"soon\"; its default is used"]
    );
}

#[test]
fn a_bad_fatal_value_is_fatal_even_where_it_loses() {
    let (config, problems) = resolve(&[
        (Source::Environment, &[("ChainInsertMode", "append")]),
        (Source::File, &[("ChainInsertMode", "middle")]),
        (Source::DatastoreGlobal, &[("BPFEnabled", "true")]),
    ]);
    assert!(problems.iter().any(Problem::is_fatal), "{problems:?}");
    assert_eq!(config.chain_insert_mode(), "append");
    assert!(!config.bpf_enabled(), "sources weaker than a fatal mistake stay out");
}

#[test]
fn empty_values_and_unknown_names_set_nothing() {
    let (config, problems) = environment(&[("EtcdAddr", ""), ("NoSuchThing", "1")]);
    assert_eq!(config.etcd_addr(), "127.0.0.1:2379");
    assert_eq!(problems, [Problem::Unknown { name: "NoSuchThing".to_owned(), origin: Source::Environment }]);
    assert!(!problems.iter().any(Problem::is_fatal));
}

#[test]
fn the_datastore_cannot_set_what_leads_to_it() {
    for source in [Source::DatastoreGlobal, Source::DatastorePerSelector, Source::DatastorePerHost] {
        let (config, problems) = resolve(&[(source, &[("EtcdScheme", "https")])]);
        assert_eq!(config.etcd_scheme(), "http");
        assert_eq!(problems, [Problem::LocalOnly { parameter: "EtcdScheme", origin: source }]);
    }
    let (config, problems) = resolve(&[(Source::File, &[("EtcdScheme", "HTTPS")])]);
    assert_eq!((config.etcd_scheme(), problems), ("https", vec![]));
}

#[test]
fn none_is_the_zero_value_or_fatal() {
    for parameter in PARAMETERS {
        let (config, problems) = environment(&[(parameter.name, "None")]);
        if parameter.required {
            assert_eq!(
                problems,
                [Problem::NeedsValue { parameter: parameter.name, origin: Source::Environment }]
            );
        } else {
            assert_eq!(problems, [], "{}", parameter.name);
            assert_eq!(config.get(parameter.name).map(|s| &s.value), Some(&parameter.kind.zero()));
        }
    }
}

#[test]
fn values_of_every_kind() {
    let good = [
        ("BPFEnabled", "Yes", "true"),
        ("Ipv6Support", "n", "false"),
        ("IpInIpEnabled", "y", "true"),
        ("IpInIpMtu", "0x10", "16"),
        ("IpInIpMtu", "010", "8"),
        ("IpInIpMtu", "1_000", "1000"),
        ("IpInIpMtu", "-0b11", "-3"),
        ("GoMaxProcs", "1000", "1000"),
        ("IptablesPostWriteCheckIntervalSecs", "1.5", "\"1.5s\""),
        ("IptablesLockProbeIntervalMillis", "123", "\"123ms\""),
        ("UsageReportingIntervalSecs", "1_000", "\"16m40s\""),
        ("UsageReportingIntervalSecs", "-0x1.8p3", "\"-12s\""),
        ("MTUIfacePattern", "{", "\"{\""),
        ("FelixHostname", "hostname.foo.bar.com", "\"hostname.foo.bar.com\""),
        ("EtcdAddr", "host:1234", "\"host:1234\""),
        (
            "EtcdEndpoints",
            "http://127.0.0.1:1234, http://host:2345",
            "[\"http://127.0.0.1:1234/\",\"http://host:2345/\"]",
        ),
        ("InterfacePrefix", "tap,cali", "\"tap,cali\""),
        ("InterfaceExclude", "kube-ipvs0,/^veth.*$/", "[\"^kube-ipvs0$\",\"^veth.*$\"]"),
        ("ChainInsertMode", "Append", "\"append\""),
        ("LogSeverityFile", "debug", "\"DEBUG\""),
        ("LogActionRateLimit", "10/second", "\"10/second\""),
        ("LogDebugFilenameRegex", ".*", "\".*\""),
        ("IpInIpTunnelAddr", "10.0.0.1", "\"10.0.0.1\""),
        ("IPv6VXLANTunnelAddr", "fd00::1", "\"fd00::1\""),
        ("IptablesMarkMask", "0xf0f0", "61680"),
        (
            "FailsafeInboundHostPorts",
            "1,udp:2",
            "[{\"protocol\":\"tcp\",\"port\":1},{\"protocol\":\"udp\",\"port\":2}]",
        ),
        (
            "FailsafeInboundHostPorts",
            "tcp:0.0.0.0/0:1",
            "[{\"protocol\":\"tcp\",\"port\":1,\"net\":\"0.0.0.0/0\"}]",
        ),
        (
            "FailsafeInboundHostPorts",
            "UDP:[fd00::1/8]:1",
            "[{\"protocol\":\"udp\",\"port\":1,\"net\":\"fd00::/8\"}]",
        ),
        ("FailsafeInboundHostPorts", "[::1]:1", "[{\"protocol\":\"tcp\",\"port\":1,\"net\":\"::1/128\"}]"),
        ("KubeNodePortRanges", "30001:30002,30030", "[\"30001:30002\",30030]"),
        ("NATPortRange", "80:80", "80"),
        ("HealthTimeoutOverrides", "a=90s, b=10ms,c=0", "{\"a\":\"1m30s\",\"b\":\"10ms\",\"c\":\"0s\"}"),
        ("FeatureGates", "  key=value,  v2= x ,,,,", "{\"key\":\"value\",\"v2\":\" x \"}"),
        ("BPFForceTrackPacketsFromIfaces", "docker0, docker+", "[\"docker0\",\"docker+\"]"),
        ("BPFDSROptoutCIDRs", "1.1.1.1/24, fd00::1", "[\"1.1.1.0/24\",\"fd00::1/128\"]"),
        ("RouteTableRange", "1-250", "{\"Min\":1,\"Max\":250}"),
        ("RouteTableRanges", "1-2 10-20", "[{\"Min\":1,\"Max\":2},{\"Min\":10,\"Max\":20}]"),
        ("OpenstackRegion", "region1", "\"region1\""),
        ("IstioDSCPMark", "ef", "\"EF\""),
        ("IstioDSCPMark", "63", "63"),
        ("EtcdKeyFile", "/usr", "\"/usr\""),
        ("DataplaneDriver", "driver", "\"/opt/bin/driver\""),
        ("NFTablesMode", "enabled", "\"Enabled\""),
    ];
    for (name, raw, expected) in good {
        assert_eq!(one(name, raw), (expected.to_owned(), false), "{name}={raw}");
    }
}

#[test]
fn bad_values_give_the_default_or_stop() {
    let bad = [
        ("BPFEnabled", "maybe", "false", false),
        ("IpInIpMtu", "1__0", "0", false),
        ("IpInIpMtu", "1.5", "0", false),
        ("IpInIpMtu", "9223372036854775808", "0", false),
        ("GoMaxProcs", "-2", "-1", false),
        ("HealthPort", "65536", "9099", false),
        ("MetadataPort", "65536", "8775", true),
        ("ReportingTTLSecs", "1e30", "\"1m30s\"", false),
        ("IptablesLockProbeIntervalMillis", "garbage", "\"50ms\"", false),
        ("IptablesLockProbeIntervalMillis", "1__0", "\"50ms\"", false),
        ("IptablesLockProbeIntervalMillis", "inf", "\"50ms\"", false),
        ("IptablesLockProbeIntervalMillis", "0x10", "\"50ms\"", false),
        ("EtcdAddr", "host", "\"127.0.0.1:2379\"", false),
        ("EtcdEndpoints", "http://host:1/path", "null", false),
        ("EtcdEndpoints", "http://user@host:1", "null", false),
        ("EtcdEndpoints", "host:1", "null", false),
        ("InterfacePrefix", "cali,", "\"cali\"", true),
        ("InterfaceExclude", "kube,//", "[\"^kube-ipvs0$\"]", false),
        ("InterfaceExclude", "/kube,/,dummy", "[\"^kube-ipvs0$\"]", false),
        ("InterfaceExclude", "/^kube\\K/", "[\"^kube-ipvs0$\"]", false),
        ("IptablesNATOutgoingInterfaceFilter", "cali@123", "\"\"", false),
        ("LogActionRateLimit", "0/second", "\"\"", false),
        ("LogSeverityFile", "loud", "\"INFO\"", false),
        ("IpInIpTunnelAddr", "fd00::1", "null", false),
        ("IPv6VXLANTunnelAddr", "10.0.0.1", "null", false),
        ("NATPortRange", "http", "0", false),
        ("NATPortRange", "2:1", "0", false),
        ("HealthTimeoutOverrides", "foo=bar", "null", false),
        ("FeatureGates", "key=value,malformed", "null", false),
        ("BPFForceTrackPacketsFromIfaces", "cali-123,cali@123", "[\"docker+\"]", false),
        ("RouteTableRange", "1-255", "{\"Min\":0,\"Max\":0}", true),
        ("RouteTableRanges", "4294967295-4294967296", "null", true),
        ("RouteTableRanges", "1-65535,99999-99999", "null", true),
        ("RouteTableRanges", "1-65535,1-2147483647", "null", true),
        ("RouteTableRanges", "0-5", "null", true),
        ("RouteTableRanges", "abcde", "null", true),
        ("IstioDSCPMark", "64", "23", false),
        ("EtcdKeyFile", "/nowhere", "\"\"", false),
        ("DataplaneDriver", "nothing", "\"calico-iptables-plugin\"", true),
        ("OpenstackRegion", "RegionOne", "\"\"", true),
        ("OpenstackRegion", "my-region-has-a-very-long-and-extremely-interesting-name", "\"\"", true),
        ("IptablesMarkMask", "0x1", "4294901760", true),
        ("ExternalNodesCIDRList", "10.0.0.0/33", "null", true),
    ];
    for (name, raw, expected, fatal) in bad {
        assert_eq!(one(name, raw), (expected.to_owned(), fatal), "{name}={raw}");
        assert_eq!(environment(&[(name, raw)]).1.len(), 1, "{name}={raw}");
    }
    for raw in ["foo:1", "tcp:0.0.0.0/0:1:bar", "tcp:65536", "tcp:[::/0", "tcp:[nonsense]:1"] {
        let (config, problems) = environment(&[("FailsafeInboundHostPorts", raw)]);
        assert!(problems.iter().any(Problem::is_fatal), "{raw}");
        assert_eq!(config.failsafe_inbound_host_ports().len(), 9);
    }
}

#[test]
fn tls_to_typha_is_all_or_nothing() {
    let files = [("TyphaKeyFile", "/usr"), ("TyphaCertFile", "/usr"), ("TyphaCAFile", "/usr")];
    let check = |extra: Settings<'_>, files: Settings<'_>| environment(&[files, extra].concat()).0.check();
    assert_eq!(check(&[], &[]), []);
    assert_eq!(check(&[], &files[..1]), [Inconsistency::TyphaTls]);
    assert_eq!(check(&[], &files), [Inconsistency::TyphaTls]);
    assert_eq!(check(&[("TyphaCN", "typha")], &files), []);
    assert_eq!(check(&[("TyphaURISAN", "spiffe://typha")], &files), []);
    assert_eq!(check(&[("TyphaCN", "typha")], &files[..2]), [Inconsistency::TyphaTls]);
}

#[test]
fn etcd_and_a_name_are_needed() {
    let check = |settings: Settings<'_>| environment(settings).0.check();
    assert_eq!(check(&[("EtcdAddr", "none")]), [Inconsistency::NoEtcd]);
    assert_eq!(check(&[("EtcdScheme", "none"), ("EtcdEndpoints", "http://e:1")]), []);
    assert_eq!(check(&[("EtcdScheme", "none"), ("DatastoreType", "kubernetes")]), []);
    assert_eq!(check(&[("FelixHostname", "no/name")]), [Inconsistency::NoHostname]);
}

#[test]
fn openstack_is_recognised() {
    let active = |settings: Settings<'_>| environment(settings).0.openstack_active();
    for (settings, expected) in [
        (&[][..], false),
        (&[("ClusterType", "k8s,OpenStack,x")], true),
        (&[("MetadataAddr", "10.0.0.1")], true),
        (&[("MetadataAddr", "none")], false),
        (&[("MetadataPort", "1234")], true),
        (&[("MetadataPort", "none")], false),
        (&[("InterfacePrefix", "cali,tap")], true),
        (&[("InterfacePrefix", "tapestry")], false),
    ] {
        assert_eq!(active(settings), expected, "{settings:?}");
    }
}

#[test]
fn providers_routes_and_tables() {
    let provider = |text: &str| environment(&[("ClusterType", text)]).0.kubernetes_provider().to_string();
    for (text, expected) in [
        ("k8s,something", ""),
        ("Aks,k8s", "AKS"),
        ("k8s,ecs", "EKS"),
        ("GKE", "GKE"),
        ("openshift", "OpenShift"),
        ("dockerenterprise,k8s", "DockerEnterprise"),
        ("k8s,,EKS", ""),
    ] {
        assert_eq!(provider(text), expected, "{text}");
    }
    for (text, ipip, bare) in [
        ("Disabled", false, false),
        ("enabledipiponly", true, false),
        ("EnabledNoEncapOnly", false, true),
        ("Enabled", true, true),
        ("nonsense", true, false),
    ] {
        let config = environment(&[("ProgramClusterRoutes", text)]).0;
        assert_eq!(config.programs_ipip_cluster_routes(), ipip, "{text}");
        assert_eq!(config.programs_unencapsulated_cluster_routes(), bare, "{text}");
    }
    let tables = |settings: Settings<'_>| {
        environment(settings).0.route_tables().iter().map(|t| (t.first, t.last)).collect::<Vec<_>>()
    };
    assert_eq!(tables(&[]), [(1, 250)]);
    assert_eq!(tables(&[("RouteTableRange", "5-6")]), [(5, 6)]);
    assert_eq!(tables(&[("RouteTableRange", "5-6"), ("RouteTableRanges", "7-8,10-10")]), [(7, 8), (10, 10)]);
}

#[test]
fn changes_are_named() {
    let (old, _) = environment(&[("LogSeverityScreen", "info")]);
    let (new, _) = environment(&[("HealthTimeoutOverrides", "a=6s"), ("BPFEnabled", "1")]);
    assert_eq!(new.changed_since(&old), ["HealthTimeoutOverrides", "BPFEnabled"]);
    assert_eq!(
        new.raw().into_iter().collect::<Vec<_>>(),
        [("BPFEnabled", "1"), ("HealthTimeoutOverrides", "a=6s")]
    );
}

#[test]
fn the_environment_is_read_without_regard_to_case() {
    let settings =
        from_environment([("FeLIX_LoGSEVERITY", "INFO"), ("felix_FOO", "bar=baz"), ("PATH", "/usr/bin")]);
    assert_eq!(
        settings.into_iter().collect::<Vec<_>>(),
        [("foo".to_owned(), "bar=baz".to_owned()), ("logseverity".to_owned(), "INFO".to_owned())]
    );
}

#[test]
fn files_are_read_as_ini() {
    let read = |content: &str| {
        from_file(content).map(|settings| {
            settings.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("|")
        })
    };
    for (content, expected) in [
        ("", ""),
        ("[global]\nFelixHostname=hostname", "FelixHostname=hostname"),
        ("\u{feff}A=1\r\n[x]\r\n B : 2 \r\n", "A=1|B=2"),
        ("# a comment\n; another\n[x] ; why\nA = 1 # one\nB=a;b", "A=1|B=a"),
        ("[x]\nA=1\n[y]\nA=2\n[x]\nA=3", "A=2"),
        ("A='x # y'", "A='x"),
        ("A=\"x y\"\nB='it''s'", "A=x y|B='it''s'"),
        ("A=`x # y`", "A=x # y"),
        ("A=\"\"\"one\ntwo\"\"\"\nB=1", "A=one\ntwo|B=1"),
        ("A=one\\\n  two\nB=1", "A=onetwo|B=1"),
        ("A=\"\"\"\none\n\"\"\"\nB=1", "A=\none\n|B=1"),
        ("A=#only a comment", "A="),
        ("\"a=b\" = 1", "a=b=1"),
        ("A=", "A="),
    ] {
        assert_eq!(read(content).as_deref(), Ok(expected), "{content:?}");
    }
    assert_eq!(read("A=1\n[x"), Err(FileError::OpenSection { line: 2 }));
    assert_eq!(read("[]"), Err(FileError::UnnamedSection { line: 1 }));
    assert_eq!(read("word"), Err(FileError::NoDelimiter { line: 1, text: "word".to_owned() }));
    assert_eq!(read("=1"), Err(FileError::NoName { line: 1 }));
    assert_eq!(read("A=`x\ny"), Err(FileError::OpenQuote { line: 1 }));
}

proptest! {
    #[test]
    fn any_text_is_a_value_or_one_problem(place in 0..PARAMETERS.len(), raw in "\\PC{1,20}|[0-9a-z:/,.=\\[\\]-]{1,20}") {
        let parameter = &PARAMETERS[place];
        let (config, problems) = environment(&[(parameter.name, &raw)]);
        prop_assert!(problems.len() <= 1);
        let value = config.get(parameter.name).map(|s| s.value.clone());
        if let Some(Problem::Unparsable { fatal, .. }) = problems.first() {
            prop_assert_eq!(*fatal, parameter.fatal);
            if !*fatal {
                prop_assert_eq!(value, Some(parameter.default_value()));
            }
        }
    }

    #[test]
    fn the_strongest_source_decides(values in proptest::collection::vec(proptest::option::of(0..9i64), 6)) {
        let layers = [
            Source::DatastoreGlobal, Source::DatastorePerSelector, Source::DatastorePerHost,
            Source::File, Source::Environment, Source::Override,
        ];
        let mut sources = Sources::new();
        for (source, value) in layers.iter().zip(&values) {
            sources.set(*source, value.map(|value| ("VXLANVNI".to_owned(), value.to_string())));
        }
        let expected = values.iter().rev().flatten().next().copied().unwrap_or(4096);
        prop_assert_eq!(Config::resolve(&sources, &Machine).0.vxlan_vni(), expected);
    }

    #[test]
    fn files_never_break_the_reader(content in "[\\[\\]=:#;\"'`\\\\\n a-c]{0,40}") {
        let _ = from_file(&content);
    }
}
