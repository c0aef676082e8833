//! Keys as datastore paths and back.
//!
//! The paths are Calico's (`libcalico-go/lib/backend/model`). In names `/` is written `%2f` and `%` is `%25` where
//! Calico does so. Must not know values.

use super::{Key, PolicyId, PolicyKind, ResourceKey, WorkloadId};
use std::net::IpAddr;
use tortie_net::{Cidr, Family};

/// Kinds that have a path only because the syncer carries them, beside those of projectcalico.org/v3.
const CARRIED_KINDS: &[(&str, &str, bool)] = &[
    ("KubernetesEndpointSlice", "kubernetesendpointslices", true),
    ("KubernetesService", "kubernetesservice", true),
    ("KubernetesNetworkPolicy", "kubernetesnetworkpolicies", true),
    ("KubernetesClusterNetworkPolicy", "kubernetesclusternetworkpolicies", false),
];

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2f")
}

fn unescape(name: &str) -> String {
    name.replace("%2f", "/").replace("%25", "%")
}

fn cidr_segment(cidr: Cidr) -> String {
    cidr.to_string().replacen('/', "-", 1)
}

fn parse_cidr(segment: &str) -> Option<Cidr> {
    let text = segment.replacen('-', "/", 1);
    if text.contains('/') { text.parse().ok() } else { None }
}

fn ip_version(cidr: Cidr) -> u8 {
    cidr.family().version()
}

/// `ipv4` and `v4` name the family; it is the CIDR that decides.
fn is_family(segment: &str, prefix: &str) -> bool {
    segment.strip_prefix(prefix).is_some_and(|version| version.chars().count() == 1)
}

fn plural_of(kind: &str) -> Option<(&'static str, bool)> {
    tortie_api::v3::by_kind(kind)
        .map(|r| (r.plural, r.namespaced))
        .or_else(|| CARRIED_KINDS.iter().find(|k| k.0 == kind).map(|k| (k.1, k.2)))
}

fn kind_of(plural: &str) -> Option<(&'static str, bool)> {
    tortie_api::v3::by_plural(plural)
        .map(|r| (r.kind, r.namespaced))
        .or_else(|| CARRIED_KINDS.iter().find(|k| k.1 == plural).map(|k| (k.0, k.2)))
}

impl Key {
    /// The path under which the datastore keeps the key, `None` if a part of the key is missing or of unknown kind.
    pub fn to_path(&self) -> Option<String> {
        let present = |parts: &[&str]| parts.iter().all(|p| !p.is_empty());
        Some(match self {
            Self::WorkloadEndpoint(id) => {
                format!("/calico/v1/{}", workload_segments(id)?)
            }
            Self::HostEndpoint { host, id } if present(&[host, id]) => {
                format!("/calico/v1/host/{host}/endpoint/{}", escape(id))
            }
            Self::Policy(id) => return policy_path(id),
            Self::Tier(name) if present(&[name]) => format!("/calico/v1/policy/tier/{name}/metadata"),
            Self::ProfileRules(name) if present(&[name]) => {
                format!("/calico/v1/policy/profile/{}/rules", escape(name))
            }
            Self::ProfileLabels(name) if present(&[name]) => {
                format!("/calico/v1/policy/profile/{}/labels", escape(name))
            }
            Self::NetworkSet(name) if present(&[name]) => format!("/calico/v1/netset/{}", escape(name)),
            Self::IpPool(cidr) => {
                format!("/calico/v1/ipam/v{}/pool/{}", ip_version(*cidr), cidr_segment(*cidr))
            }
            Self::Block(cidr) => {
                format!("/calico/ipam/v2/assignment/ipv{}/block/{}", ip_version(*cidr), cidr_segment(*cidr))
            }
            Self::BlockAffinity { host, affinity_type, cidr } if present(&[host]) => {
                let affinity_type = if affinity_type.is_empty() { "host" } else { affinity_type };
                let (version, cidr) = (ip_version(*cidr), cidr_segment(*cidr));
                format!("/calico/ipam/v2/{affinity_type}/{host}/ipv{version}/block/{cidr}")
            }
            Self::IpamHandle(id) if present(&[id]) => format!("/calico/ipam/v2/handle/{id}"),
            Self::IpamConfig => "/calico/ipam/v2/config".to_owned(),
            Self::GlobalConfig(name) if present(&[name]) => format!("/calico/v1/config/{name}"),
            Self::HostConfig { host, name } if present(&[host, name]) => {
                format!("/calico/v1/host/{host}/config/{name}")
            }
            Self::ReadyFlag => "/calico/v1/Ready".to_owned(),
            Self::Wireguard(node) if present(&[node]) => format!("/calico/v1/host/{node}/wireguard"),
            Self::BgpGlobalConfig(name) if present(&[name]) => format!("/calico/bgp/v1/global/{name}"),
            Self::BgpNodeConfig { node, name } if present(&[node, name]) => {
                format!("/calico/bgp/v1/host/{node}/{name}")
            }
            Self::AgentStatus { region, host } => format!("{}/status", status_prefix(region, host)?),
            Self::LastAgentStatus { region, host } => {
                format!("{}/last_reported_status", status_prefix(region, host)?)
            }
            Self::WorkloadStatus { region, id } => {
                status_prefix(region, &id.host)?;
                format!("/calico/felix/v2/{region}/{}", workload_segments(id)?)
            }
            Self::HostEndpointStatus { host, id } if present(&[host, id]) => {
                format!("/calico/felix/v1/host/{host}/endpoint/{}", escape(id))
            }
            Self::Resource(key) => return resource_path(key),
            _ => return None,
        })
    }

    /// The key of a path, `None` if it is none of ours. Only `Ready` and projectcalico.org/v3 insist on the leading `/`.
    pub fn from_path(path: &str) -> Option<Self> {
        let rooted = path.starts_with('/');
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        match parts.as_slice() {
            ["calico", "v1", rest @ ..] => v1_key(rest, rooted),
            ["calico", "ipam", "v2", rest @ ..] => ipam_key(rest),
            ["calico", "bgp", "v1", "global", name @ ..] => join(name).map(Self::BgpGlobalConfig),
            ["calico", "bgp", "v1", "host", node, name @ ..] if !node.is_empty() => {
                join(name).map(|name| Self::BgpNodeConfig { node: (*node).to_owned(), name })
            }
            ["calico", "felix", version @ ("v1" | "v2"), rest @ ..] => status_key(version, rest),
            ["calico", "resources", "v3", "projectcalico.org", plural, rest @ ..] if rooted => {
                let (kind, namespaced) = kind_of(&unescape(plural))?;
                let (namespace, name) = match rest {
                    [name] if !namespaced => ("", name),
                    [namespace, name] if namespaced => (*namespace, name),
                    _ => return None,
                };
                Some(Self::Resource(ResourceKey {
                    kind: kind.to_owned(),
                    namespace: unescape(namespace),
                    name: unescape(name),
                }))
            }
            _ => None,
        }
    }
}

/// `host/<h>/workload/<orch>/<wl>/endpoint/<ep>`
fn workload_segments(id: &WorkloadId) -> Option<String> {
    let WorkloadId { host, orchestrator, workload, endpoint } = id;
    if [host, orchestrator, workload, endpoint].iter().any(|part| part.is_empty()) {
        return None;
    }
    let (orchestrator, workload, endpoint) = (escape(orchestrator), escape(workload), escape(endpoint));
    Some(format!("host/{host}/workload/{orchestrator}/{workload}/endpoint/{endpoint}"))
}

fn status_prefix(region: &str, host: &str) -> Option<String> {
    let good = !region.is_empty() && !region.contains('/') && !host.is_empty();
    good.then(|| format!("/calico/felix/v2/{region}/host/{host}"))
}

fn status_key(version: &str, rest: &[&str]) -> Option<Key> {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    Some(match (version, rest) {
        ("v1", ["host", host, "endpoint", id]) => {
            Key::HostEndpointStatus { host: text(host)?, id: unescape(id) }
        }
        ("v2", [region, "host", host, "status"]) => {
            Key::AgentStatus { region: text(region)?, host: text(host)? }
        }
        ("v2", [region, "host", host, "last_reported_status"]) => {
            Key::LastAgentStatus { region: text(region)?, host: text(host)? }
        }
        ("v2", [region, "host", host, "workload", orchestrator, workload, "endpoint", endpoint]) => {
            Key::WorkloadStatus {
                region: text(region)?,
                id: WorkloadId {
                    host: text(host)?,
                    orchestrator: unescape(&text(orchestrator)?),
                    workload: unescape(&text(workload)?),
                    endpoint: unescape(&text(endpoint)?),
                },
            }
        }
        _ => return None,
    })
}

/// Port of BGP, which is left out of paths.
const BGP_PORT: u16 = 179;

/// Path of a BGP peer of every node, or of one node. It reads back as a [`Key::BgpGlobalConfig`] or
/// [`Key::BgpNodeConfig`]: only who lists peers knows it from settings.
pub fn bgp_peer_path(node: Option<&str>, peer: IpAddr, port: u16) -> String {
    let scope = node.map_or("global".to_owned(), |node| format!("host/{node}"));
    let version = Family::of(peer).version();
    let port = if port == 0 || port == BGP_PORT { String::new() } else { format!("-{port}") };
    format!("/calico/bgp/v1/{scope}/peer_v{version}/{peer}{port}")
}

/// Node, address and port (179 if the path has none) of a BGP peer's path.
pub fn parse_bgp_peer_path(path: &str) -> Option<(Option<&str>, IpAddr, u16)> {
    let rest = path.strip_prefix('/').unwrap_or(path).strip_prefix("calico/bgp/v1/")?;
    let parts: Vec<&str> = rest.split('/').collect();
    let (node, family, peer) = match parts.as_slice() {
        ["global", family, peer] => (None, family, peer),
        ["host", node, family, peer] if !node.is_empty() => (Some(*node), family, peer),
        _ => return None,
    };
    if !is_family(family, "peer_v") {
        return None;
    }
    let (peer, port) = match peer.split_once('-') {
        Some((peer, port)) => (peer, port.parse().ok()?),
        None => (*peer, BGP_PORT),
    };
    Some((node, peer.parse::<IpAddr>().ok()?.to_canonical(), port))
}

fn join(parts: &[&str]) -> Option<String> {
    let text = parts.join("/");
    if text.is_empty() { None } else { Some(text) }
}

fn policy_path(id: &PolicyId) -> Option<String> {
    let needs_namespace = matches!(
        id.kind,
        PolicyKind::NetworkPolicy
            | PolicyKind::StagedNetworkPolicy
            | PolicyKind::StagedKubernetesNetworkPolicy
    );
    if id.name.is_empty() || (needs_namespace && id.namespace.is_empty()) {
        return None;
    }
    Some(format!("/calico/v1/policy/{}/{}/{}", id.kind.as_str(), id.namespace, id.name))
}

fn resource_path(key: &ResourceKey) -> Option<String> {
    let (plural, namespaced) = plural_of(&key.kind)?;
    let prefix = "/calico/resources/v3/projectcalico.org";
    if key.name.is_empty() {
        None
    } else if namespaced {
        Some(format!("{prefix}/{plural}/{}/{}", key.namespace, key.name))
    } else {
        Some(format!("{prefix}/{plural}/{}", key.name))
    }
}

fn v1_key(rest: &[&str], rooted: bool) -> Option<Key> {
    Some(match rest {
        ["Ready"] if rooted => Key::ReadyFlag,
        ["ipam", version, "pool", cidr] if is_family(version, "v") => Key::IpPool(parse_cidr(cidr)?),
        ["config", name @ ..] => Key::GlobalConfig(join(name)?),
        ["host", host, "workload", orchestrator, workload, "endpoint", endpoint] => {
            Key::WorkloadEndpoint(WorkloadId {
                host: unescape(host),
                orchestrator: unescape(orchestrator),
                workload: unescape(workload),
                endpoint: unescape(endpoint),
            })
        }
        ["host", host, "endpoint", id] => Key::HostEndpoint { host: unescape(host), id: unescape(id) },
        ["host", host, "config", name @ ..] => Key::HostConfig { host: unescape(host), name: join(name)? },
        ["host", host, "wireguard"] => Key::Wireguard(unescape(host)),
        ["netset", name] => Key::NetworkSet(unescape(name)),
        ["policy", "tier", tier, "metadata"] => Key::Tier(unescape(tier)),
        ["policy", "tier", _, "policy", name] => Key::Policy(legacy_policy(&unescape(name))),
        ["policy", "profile", name, "rules"] => Key::ProfileRules(unescape(name)),
        ["policy", "profile", name, "labels"] => Key::ProfileLabels(unescape(name)),
        ["policy", kind, namespace, name] => Key::Policy(PolicyId {
            kind: PolicyKind::from_name(&unescape(kind))?,
            namespace: unescape(namespace),
            name: unescape(name),
        }),
        _ => return None,
    })
}

fn ipam_key(rest: &[&str]) -> Option<Key> {
    Some(match rest {
        ["assignment", version, "block", cidr] if is_family(version, "ipv") => Key::Block(parse_cidr(cidr)?),
        ["handle", id] if !id.is_empty() => Key::IpamHandle((*id).to_owned()),
        ["config"] => Key::IpamConfig,
        [affinity_type @ ("host" | "virtual" | "@"), host, version, "block", cidr]
            if is_family(version, "ipv") && !host.is_empty() =>
        {
            Key::BlockAffinity {
                host: (*host).to_owned(),
                affinity_type: (*affinity_type).to_owned(),
                cidr: parse_cidr(cidr)?,
            }
        }
        _ => return None,
    })
}

/// The name of a policy in the oldest keys said its kind and namespace: `ns/knp.default.x`, `staged:x`, `kcnp.x`.
fn legacy_policy(name: &str) -> PolicyId {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let prefixes: &[(&str, PolicyKind)] = if namespace.is_empty() {
        &[
            ("staged:", PolicyKind::StagedGlobalNetworkPolicy),
            ("kcnp.", PolicyKind::KubernetesClusterNetworkPolicy),
            ("", PolicyKind::GlobalNetworkPolicy),
        ]
    } else {
        &[
            ("knp.default.", PolicyKind::KubernetesNetworkPolicy),
            ("staged:knp.default.", PolicyKind::StagedKubernetesNetworkPolicy),
            ("staged:", PolicyKind::StagedNetworkPolicy),
            ("", PolicyKind::NetworkPolicy),
        ]
    };
    let (kind, name) = prefixes
        .iter()
        .find_map(|(prefix, kind)| name.strip_prefix(prefix).map(|name| (*kind, name)))
        .expect("the last prefix is empty");
    PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Prefix of the paths of every block of a family.
pub fn blocks_prefix(family: Family) -> String {
    format!("/calico/ipam/v2/assignment/ipv{}/block/", family.version())
}

/// Prefix of the paths of a node's block affinities.
pub fn affinities_prefix(host: &str) -> String {
    format!("/calico/ipam/v2/host/{host}/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn keys_and_their_paths() {
        let policy = |kind, namespace: &str, name: &str| {
            Key::Policy(PolicyId { kind, namespace: namespace.into(), name: name.into() })
        };
        let resource = |kind: &str, namespace: &str, name: &str| {
            Key::Resource(ResourceKey { kind: kind.into(), namespace: namespace.into(), name: name.into() })
        };
        for (key, path) in [
            (
                Key::WorkloadEndpoint(WorkloadId {
                    host: "h".into(),
                    orchestrator: "open/stack".into(),
                    workload: "ns/po%d".into(),
                    endpoint: "eth0".into(),
                }),
                "/calico/v1/host/h/workload/open%2fstack/ns%2fpo%25d/endpoint/eth0",
            ),
            (Key::HostEndpoint { host: "h".into(), id: "a/b".into() }, "/calico/v1/host/h/endpoint/a%2fb"),
            (policy(PolicyKind::NetworkPolicy, "ns", "p"), "/calico/v1/policy/NetworkPolicy/ns/p"),
            (policy(PolicyKind::GlobalNetworkPolicy, "", "p"), "/calico/v1/policy/GlobalNetworkPolicy//p"),
            (Key::Tier("t".into()), "/calico/v1/policy/tier/t/metadata"),
            (Key::ProfileRules("kns.a".into()), "/calico/v1/policy/profile/kns.a/rules"),
            (Key::ProfileLabels("a/b".into()), "/calico/v1/policy/profile/a%2fb/labels"),
            (Key::NetworkSet("ns/a".into()), "/calico/v1/netset/ns%2fa"),
            (Key::IpPool(cidr("10.0.0.0/8")), "/calico/v1/ipam/v4/pool/10.0.0.0-8"),
            (Key::IpPool(cidr("fd00::/64")), "/calico/v1/ipam/v6/pool/fd00::-64"),
            (Key::Block(cidr("10.0.0.0/26")), "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26"),
            (
                Key::BlockAffinity {
                    host: "n".into(),
                    affinity_type: "host".into(),
                    cidr: cidr("fd00::/122"),
                },
                "/calico/ipam/v2/host/n/ipv6/block/fd00::-122",
            ),
            (
                Key::BlockAffinity {
                    host: "load-balancer".into(),
                    affinity_type: "virtual".into(),
                    cidr: cidr("10.0.0.0/26"),
                },
                "/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.0.0.0-26",
            ),
            (Key::IpamHandle("k8s-pod-network.abc".into()), "/calico/ipam/v2/handle/k8s-pod-network.abc"),
            (Key::IpamConfig, "/calico/ipam/v2/config"),
            (Key::GlobalConfig("LogPrefix".into()), "/calico/v1/config/LogPrefix"),
            (Key::HostConfig { host: "h".into(), name: "x/y".into() }, "/calico/v1/host/h/config/x/y"),
            (Key::ReadyFlag, "/calico/v1/Ready"),
            (Key::Wireguard("h".into()), "/calico/v1/host/h/wireguard"),
            (Key::BgpGlobalConfig("as_num".into()), "/calico/bgp/v1/global/as_num"),
            (
                Key::BgpNodeConfig { node: "n".into(), name: "ip_addr_v4".into() },
                "/calico/bgp/v1/host/n/ip_addr_v4",
            ),
            (
                Key::AgentStatus { region: "no-region".into(), host: "h".into() },
                "/calico/felix/v2/no-region/host/h/status",
            ),
            (
                Key::LastAgentStatus { region: "region-a".into(), host: "h".into() },
                "/calico/felix/v2/region-a/host/h/last_reported_status",
            ),
            (
                Key::WorkloadStatus {
                    region: "no-region".into(),
                    id: WorkloadId {
                        host: "h".into(),
                        orchestrator: "o".into(),
                        workload: "w/1".into(),
                        endpoint: "e".into(),
                    },
                },
                "/calico/felix/v2/no-region/host/h/workload/o/w%2f1/endpoint/e",
            ),
            (
                Key::HostEndpointStatus { host: "h".into(), id: "a/b".into() },
                "/calico/felix/v1/host/h/endpoint/a%2fb",
            ),
            (resource("Tier", "", "t"), "/calico/resources/v3/projectcalico.org/tiers/t"),
            (
                resource("NetworkPolicy", "ns", "p"),
                "/calico/resources/v3/projectcalico.org/networkpolicies/ns/p",
            ),
            (
                resource("KubernetesService", "ns", "s"),
                "/calico/resources/v3/projectcalico.org/kubernetesservice/ns/s",
            ),
            (
                resource("KubernetesClusterNetworkPolicy", "", "s"),
                "/calico/resources/v3/projectcalico.org/kubernetesclusternetworkpolicies/s",
            ),
        ] {
            assert_eq!(key.to_path().as_deref(), Some(path));
            assert_eq!(Key::from_path(path), Some(key), "{path}");
        }
    }

    #[test]
    fn odd_paths() {
        assert_eq!(
            Key::from_path("/calico/v1/policy/tier/default/policy/ns%2fknp.default.a"),
            Some(Key::Policy(PolicyId {
                kind: PolicyKind::KubernetesNetworkPolicy,
                namespace: "ns".into(),
                name: "a".into()
            }))
        );
        assert_eq!(
            Key::from_path("/calico/v1/policy/tier/x/policy/staged:a"),
            Some(Key::Policy(PolicyId {
                kind: PolicyKind::StagedGlobalNetworkPolicy,
                namespace: String::new(),
                name: "a".into()
            }))
        );
        assert_eq!(Key::from_path("calico/v1/netset/a"), Some(Key::NetworkSet("a".into())));
        for bad in [
            "",
            "/",
            "/calico",
            "calico/v1/Ready",
            "/calico/v1/Ready/x",
            "/calico/v1/config",
            "/calico/v1/netset",
            "/calico/v1/netset/a/",
            "/calico/v1/host/h/endpoint",
            "/calico/v1/ipam/v4/pool/577559",
            "/calico/v1/ipam/v4/pool/10.0.0.0-33",
            "/calico/ipam/v2/host/0/ipv0/block/0",
            "/calico/ipam/v2/handle/a/b",
            "/calico/v1/policy/Unknown/a/b",
            "/calico/resources/v3/projectcalico.org/tiers/a/b",
            "/calico/resources/v3/projectcalico.org/networkpolicies/a",
            "/calico/resources/v3/projectcalico.org/foo/a",
            "calico/resources/v3/projectcalico.org/tiers/a",
            "/cluster/calico/v1/netset/a",
        ] {
            assert_eq!(Key::from_path(bad), None, "{bad}");
        }
        assert_eq!(Key::AgentStatus { region: "a/b".into(), host: "h".into() }.to_path(), None);
        assert_eq!(Key::AgentStatus { region: String::new(), host: "h".into() }.to_path(), None);
        assert_eq!(Key::Tier(String::new()).to_path(), None);
        assert_eq!(Key::HostEndpoint { host: String::new(), id: "x".into() }.to_path(), None);
    }

    #[test]
    fn peers() {
        for (node, peer, port, path) in [
            (None, "10.0.0.5", 179, "/calico/bgp/v1/global/peer_v4/10.0.0.5"),
            (None, "10.0.0.5", 500, "/calico/bgp/v1/global/peer_v4/10.0.0.5-500"),
            (Some("n-2"), "fd00::1", 123, "/calico/bgp/v1/host/n-2/peer_v6/fd00::1-123"),
        ] {
            let peer: IpAddr = peer.parse().unwrap();
            assert_eq!(bgp_peer_path(node, peer, port), path);
            assert_eq!(parse_bgp_peer_path(path), Some((node, peer, port)));
        }
        for bad in [
            "/calico/bgp/v1/global/peer_v4/name",
            "/calico/bgp/v1/global/as_num",
            "/calico/bgp/v1/host/peer_v4/10.0.0.1",
            "",
        ] {
            assert_eq!(parse_bgp_peer_path(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn names_survive(host in "[a-z0-9.-]{1,8}", a in "[a-zA-Z0-9%/._-]{1,12}", b in "[a-z%/2f5]{1,9}") {
            for key in [
                Key::NetworkSet(a.clone()),
                Key::ProfileRules(b.clone()),
                Key::HostEndpoint { host: host.clone(), id: b.clone() },
                Key::WorkloadEndpoint(WorkloadId { host: host.clone(), orchestrator: a.clone(), workload: b.clone(), endpoint: a.clone() }),
            ] {
                let path = key.to_path().unwrap();
                prop_assert_eq!(Key::from_path(&path), Some(key), "{}", path);
            }
        }

        #[test]
        fn any_path_is_survived(path in any::<String>(), like in "/?calico(/[a-z0-9%.-]{0,6}){0,8}") {
            for path in [path, like] {
                if let Some(key) = Key::from_path(&path)
                    && let Some(canonical) = key.to_path()
                {
                    prop_assert_eq!(Key::from_path(&canonical), Some(key));
                }
            }
        }
    }
}
