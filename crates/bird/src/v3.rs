//! projectcalico.org/v3 objects as input.
//!
//! What cannot be understood is reported and left out, in the direction that keeps things closed: a filter with a
//! broken rule rejects everything.

use crate::input::{Configuration, Input, Node, Peer, Pool};
use crate::{
    Action, BindMode, CidrMatch, ClusterRoutes, Community, Encapsulation, Filter, LogSeverity, MatchOperator,
    NextHopMode, Operation, PeerNodes, PeerTarget, PeerType, PrefixCommunities, Priorities, Rule, SecretRef,
    SourceAddress,
};
use std::net::{IpAddr, SocketAddr};
use tortie_api::v3::{
    BgpConfigurationSpec, BgpFilterRule, BgpFilterSpec, BgpPassword, BgpPeerSpec, IpPoolSpec,
    Node as NodeObject,
};
use tortie_net::{Cidr, Family};
use tortie_selector::Selector;

/// A field that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Path of the field.
    pub field: String,
    /// What is wrong, and what is done about it.
    pub reason: String,
}

impl FieldError {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// `10.0.0.1`, `10.0.0.1:1790`, `fd00::1`, `[fd00::1]:1790`.
pub fn parse_peer_address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some((address, None)),
        Err(_) => text.parse::<SocketAddr>().ok().map(|s| (s.ip(), Some(s.port()))),
    }
}

fn text(value: &str) -> Option<&str> {
    Some(value).filter(|t| !t.is_empty())
}

fn selector(field: &str, value: &str) -> Result<Option<Selector>, FieldError> {
    let parsed = text(value).map(Selector::parse).transpose();
    parsed.map_err(|e| FieldError::new(field, format!("{e}; the peering is left out")))
}

/// Whole seconds of a duration, rounded.
fn seconds(field: &str, value: Option<&String>, errors: &mut Vec<FieldError>) -> Option<u32> {
    match tortie_api::duration::parse(value?) {
        Ok(nanoseconds) => u32::try_from(nanoseconds.saturating_add(500_000_000) / 1_000_000_000).ok(),
        Err(error) => {
            errors.push(FieldError::new(field, format!("{error}; it is ignored")));
            None
        }
    }
}

fn secret(password: Option<&BgpPassword>) -> Option<SecretRef> {
    let reference = password?.secret_key_ref.as_ref()?;
    let part = |name: &str| reference.get(name)?.as_str().map(str::to_owned);
    Some(SecretRef { name: part("name")?, key: part("key")? })
}

impl Node {
    /// A node; addresses may carry their subnet's length.
    pub fn from_v3(object: &NodeObject) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let bgp = object.spec.bgp.clone().unwrap_or_default();
        let mut address = |field: &str, value: &str, family: Family| -> Option<IpAddr> {
            let parsed = text(value)?.split('/').next().and_then(|a| a.parse().ok());
            let fits = parsed.filter(|a| Family::of(*a) == family);
            if fits.is_none() {
                errors
                    .push(FieldError::new(field, format!("{value:?} is no {family} address; it is ignored")));
            }
            fits
        };
        let ipv4 = address("spec.bgp.ipv4Address", &bgp.ipv4_address, Family::V4);
        let ipv6 = address("spec.bgp.ipv6Address", &bgp.ipv6_address, Family::V6);
        let cluster =
            address("spec.bgp.routeReflectorClusterID", &bgp.route_reflector_cluster_id, Family::V4);
        let v4 = |a: Option<IpAddr>| match a {
            Some(IpAddr::V4(a)) => Some(a),
            _ => None,
        };
        let node = Self {
            labels: object.metadata.labels.clone(),
            ipv4: v4(ipv4),
            ipv6: match ipv6 {
                Some(IpAddr::V6(a)) => Some(a),
                _ => None,
            },
            as_number: bgp.as_number.map(|n| n.0).filter(|n| *n != 0),
            reflector_cluster: v4(cluster),
            listen_port: None,
        };
        (node, errors)
    }
}

impl Pool {
    /// A pool.
    pub fn from_v3(spec: &IpPoolSpec) -> Result<Self, FieldError> {
        let cidr = spec.cidr.parse().map_err(|e| FieldError::new("spec.cidr", format!("{e}")))?;
        let on = |mode: &str| matches!(mode, "Always" | "CrossSubnet");
        let encapsulation = match (on(&spec.vxlan_mode), on(&spec.ipip_mode)) {
            (true, _) => Encapsulation::Vxlan,
            (false, true) => Encapsulation::Ipip,
            (false, false) => Encapsulation::None,
        };
        Ok(Self { cidr, export: !spec.disable_bgp_export, encapsulation })
    }
}

impl Peer {
    /// A peering; an error means that there is none. Errors beside a value are of options that are ignored.
    pub fn from_v3(spec: &BgpPeerSpec) -> Result<(Self, Vec<FieldError>), FieldError> {
        let mut errors = Vec::new();
        if text(&spec.local_workload_selector).is_some() {
            return Err(FieldError::new(
                "spec.localWorkloadSelector",
                "peering with workloads is not supported yet",
            ));
        }
        let target = match selector("spec.peerSelector", &spec.peer_selector)? {
            Some(nodes) => PeerTarget::Nodes(nodes),
            None => match parse_peer_address(&spec.peer_ip) {
                Some((address, port)) => PeerTarget::Address { address, port, as_number: spec.as_number.0 },
                None => {
                    let reason = format!(
                        "{:?} is no address, with a port perhaps; the peering is left out",
                        spec.peer_ip
                    );
                    return Err(FieldError::new("spec.peerIP", reason));
                }
            },
        };
        let nodes = match (selector("spec.nodeSelector", &spec.node_selector)?, text(&spec.node)) {
            (Some(nodes), _) => PeerNodes::Selected(nodes),
            (None, Some(node)) => PeerNodes::Node(node.to_owned()),
            (None, None) => PeerNodes::All,
        };
        let mut peer = Self { nodes, ..Self::new(target) };
        peer.local_as = spec.local_as_number.map(|n| n.0).filter(|n| *n != 0);
        if spec.source_address == "None" {
            peer.source = SourceAddress::Any;
        }
        peer.next_hop = match spec.next_hop_mode.as_deref() {
            Some("Self") => NextHopMode::Own,
            Some("Keep") => NextHopMode::Keep,
            Some(_) => NextHopMode::Auto,
            None if spec.keep_original_next_hop => NextHopMode::KeepExternal,
            None => NextHopMode::Auto,
        };
        peer.password = secret(spec.password.as_ref());
        peer.restart_seconds = seconds("spec.maxRestartTime", spec.max_restart_time.as_ref(), &mut errors);
        peer.keepalive_seconds = seconds("spec.keepaliveTime", spec.keepalive_time.as_ref(), &mut errors);
        peer.allowed_local_as =
            spec.num_allowed_local_as_numbers.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        peer.ttl_security = spec.ttl_security.filter(|hops| *hops > 0);
        if let Some(by) = text(&spec.reachable_by) {
            peer.reachable_by = by.parse().ok();
            if peer.reachable_by.is_none() {
                errors.push(FieldError::new(
                    "spec.reachableBy",
                    format!("{by:?} is no address; it is ignored"),
                ));
            }
        }
        peer.filters.clone_from(&spec.filters);
        peer.reverse = spec.reverse_peering.as_deref() != Some("Manual");
        Ok((peer, errors))
    }
}

impl Configuration {
    /// The settings: the `default` object, and over it what the object `node.<name>` may change.
    pub fn from_v3(
        default: Option<&BgpConfigurationSpec>,
        node: Option<&BgpConfigurationSpec>,
    ) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut result = Self::default();
        if let Some(spec) = default {
            result.mesh = spec.node_to_node_mesh_enabled.unwrap_or(true);
            result.as_number = spec.as_number.map_or(result.as_number, |n| n.0);
            result.listen_port = Some(spec.listen_port).filter(|p| *p != 0);
            if spec.bind_mode.as_deref() == Some("NodeIP") {
                result.bind = BindMode::NodeIp;
            }
            result.mesh_password = secret(spec.node_mesh_password.as_ref());
            let restart = spec.node_mesh_max_restart_time.as_ref();
            result.mesh_restart_seconds = seconds("spec.nodeMeshMaxRestartTime", restart, &mut errors);
            result.ignored_interfaces.clone_from(&spec.ignored_interfaces);
            let priority = |value: Option<i64>| value.and_then(|p| u32::try_from(p).ok()).filter(|p| *p > 0);
            let ordinary = Priorities::default();
            result.priorities = Priorities {
                v4: priority(spec.ipv4_normal_route_priority).unwrap_or(ordinary.v4),
                v6: priority(spec.ipv6_normal_route_priority).unwrap_or(ordinary.v6),
            };
            result.cluster_routes = match spec.program_cluster_routes.as_deref() {
                Some("Disabled") => ClusterRoutes { ipip: false, unencapsulated: false },
                Some("Enabled") => ClusterRoutes { ipip: true, unencapsulated: true },
                Some("EnabledIPIPOnly") => ClusterRoutes { ipip: true, unencapsulated: false },
                _ => ClusterRoutes::default(),
            };
        }
        let own_advertisements = node.filter(|s| !s.prefix_advertisements.is_empty());
        if let Some(spec) = own_advertisements.or(default) {
            result.communities = communities(spec, &mut errors);
        }
        let severity = [node, default].into_iter().flatten().find_map(|s| text(&s.log_severity_screen));
        result.log = match severity.map(str::to_ascii_lowercase).as_deref() {
            Some("debug" | "trace") => LogSeverity::Debug,
            Some("warning" | "warn") => LogSeverity::Warning,
            Some("error") => LogSeverity::Error,
            Some("fatal" | "panic" | "none") => LogSeverity::Fatal,
            _ => LogSeverity::Info,
        };
        (result, errors)
    }
}

/// Communities of prefixes; they are given by name or by value.
fn communities(spec: &BgpConfigurationSpec, errors: &mut Vec<FieldError>) -> Vec<PrefixCommunities> {
    let mut result = Vec::new();
    for (n, advertisement) in spec.prefix_advertisements.iter().enumerate() {
        let field = format!("spec.prefixAdvertisements[{n}]");
        let Ok(cidr) = advertisement.cidr.parse::<Cidr>() else {
            let reason = format!("{:?} is no CIDR; its communities are not added", advertisement.cidr);
            errors.push(FieldError::new(format!("{field}.cidr"), reason));
            continue;
        };
        let mut found = Vec::new();
        for name in &advertisement.communities {
            let named = spec.communities.iter().find(|c| c.name == *name).map(|c| c.value.as_str());
            match Community::parse(named.unwrap_or(name)) {
                Some(community) => found.push(community),
                None => {
                    let reason =
                        format!("{name:?} is neither a community (aa:nn or aa:nn:mm) nor the name of one");
                    errors.push(FieldError::new(format!("{field}.communities"), reason));
                }
            }
        }
        if !found.is_empty() {
            result.push(PrefixCommunities { cidr, communities: found });
        }
    }
    result
}

impl Filter {
    /// A filter. A list with a rule that cannot be understood rejects everything.
    pub fn from_v3(spec: &BgpFilterSpec) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut list = |field: &str, rules: &[BgpFilterRule], family| -> Vec<Rule> {
            let parsed: Result<Vec<Rule>, FieldError> = rules
                .iter()
                .enumerate()
                .map(|(n, rule)| {
                    parse_rule(rule, family).map_err(|e| {
                        FieldError::new(
                            format!("spec.{field}[{n}].{}", e.field),
                            format!("{}; the filter rejects everything in this direction", e.reason),
                        )
                    })
                })
                .collect();
            parsed.unwrap_or_else(|error| {
                errors.push(error);
                vec![Rule::new(Action::Reject)]
            })
        };
        let filter = Self {
            import_v4: list("importV4", &spec.import_v4, Family::V4),
            export_v4: list("exportV4", &spec.export_v4, Family::V4),
            import_v6: list("importV6", &spec.import_v6, Family::V6),
            export_v6: list("exportV6", &spec.export_v6, Family::V6),
        };
        (filter, errors)
    }
}

fn parse_rule(rule: &BgpFilterRule, family: Family) -> Result<Rule, FieldError> {
    let action = match rule.action.as_str() {
        "Accept" => Action::Accept,
        "Reject" => Action::Reject,
        other => return Err(FieldError::new("action", format!("{other:?} is neither Accept nor Reject"))),
    };
    let mut result = Rule::new(action);
    result.cidr = cidr_match(rule, family)?;
    result.from_remote_peers = match rule.source.as_str() {
        "" => false,
        "RemotePeers" => true,
        other => return Err(FieldError::new("source", format!("{other:?} is not RemotePeers"))),
    };
    result.interface = text(&rule.interface).map(str::to_owned);
    if let Some(interface) = result.interface.as_ref().filter(|i| !crate::session::is_writable(i)) {
        return Err(FieldError::new("interface", format!("{interface:?} is no name of an interface")));
    }
    result.peer_type = match rule.peer_type.as_str() {
        "" => None,
        "eBGP" => Some(PeerType::External),
        "iBGP" => Some(PeerType::Internal),
        other => return Err(FieldError::new("peerType", format!("{other:?} is neither eBGP nor iBGP"))),
    };
    if let Some(communities) = &rule.communities {
        let value = communities.values.first().map(String::as_str).unwrap_or_default();
        result.community = Some(community("communities", value)?);
    }
    result.as_path_prefix = rule.as_path_prefix.iter().map(|n| n.0).collect();
    result.priority = rule.priority.map(|p| priority("priority", p)).transpose()?;
    result.operations = rule.operations.iter().map(operation).collect::<Result<_, _>>()?;
    Ok(result)
}

fn cidr_match(rule: &BgpFilterRule, family: Family) -> Result<Option<CidrMatch>, FieldError> {
    let Some(value) = text(&rule.cidr) else { return Ok(None) };
    let cidr: Cidr = value.parse().map_err(|e| FieldError::new("cidr", format!("{e}")))?;
    if cidr.family() != family {
        return Err(FieldError::new("cidr", format!("{cidr} is of the other family")));
    }
    let operator = match rule.match_operator.as_str() {
        "Equal" => MatchOperator::Equal,
        "NotEqual" => MatchOperator::NotEqual,
        "In" => MatchOperator::In,
        "NotIn" => MatchOperator::NotIn,
        other => {
            return Err(FieldError::new(
                "matchOperator",
                format!("{other:?} is none of Equal, NotEqual, In, NotIn"),
            ));
        }
    };
    let length = |value: Option<i32>| value.map(|n| n.clamp(0, 128) as u8);
    let lengths = rule.prefix_length.as_ref().map(|l| (length(l.min), length(l.max)));
    Ok(Some(CidrMatch { cidr, operator, lengths }))
}

fn community(field: &str, value: &str) -> Result<Community, FieldError> {
    Community::parse(value)
        .ok_or_else(|| FieldError::new(field, format!("{value:?} is no community (aa:nn or aa:nn:mm)")))
}

fn priority(field: &str, value: i64) -> Result<u32, FieldError> {
    u32::try_from(value)
        .ok()
        .filter(|p| (1..crate::filter::PREFERENCE_BASE).contains(p))
        .ok_or_else(|| FieldError::new(field, format!("{value} is not between 1 and 2147483646")))
}

fn operation(value: &serde_json::Value) -> Result<Operation, FieldError> {
    if let Some(add) = value.get("addCommunity") {
        let text = add.get("value").and_then(serde_json::Value::as_str).unwrap_or_default();
        return Ok(Operation::AddCommunity(community("operations.addCommunity.value", text)?));
    }
    if let Some(prepend) = value.get("prependASPath") {
        let list = prepend.get("prefix").and_then(serde_json::Value::as_array);
        let numbers: Option<Vec<u32>> = list.into_iter().flatten().map(as_number).collect();
        return numbers
            .filter(|n| !n.is_empty())
            .map(Operation::PrependAsPath)
            .ok_or_else(|| FieldError::new("operations.prependASPath.prefix", "not a list of AS numbers"));
    }
    if let Some(set) = value.get("setPriority") {
        let number = set.get("value").and_then(serde_json::Value::as_i64).unwrap_or_default();
        return Ok(Operation::SetPriority(priority("operations.setPriority.value", number)?));
    }
    Err(FieldError::new("operations", "none of addCommunity, prependASPath, setPriority"))
}

fn as_number(value: &serde_json::Value) -> Option<u32> {
    serde_json::from_value::<tortie_api::v3::AsNumber>(value.clone()).ok().map(|n| n.0)
}

impl Input {
    /// Every secret that peerings and the mesh refer to: what the caller must look up.
    pub fn wanted_secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let peers = self.peers.values().filter_map(|p| p.password.as_ref());
        peers.chain(&self.configuration.mesh_password)
    }
}

#[cfg(test)]
mod tests;
