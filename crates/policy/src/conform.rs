//! The suite `policy_semantics` of the conformance port: one packet against rules whose sets are already calculated.
//!
//! Rules are Felix's protobuf messages as JSON. The stages are those of a dataplane program: pre-DNAT policy, then
//! policy of the host or of forwarding, then of the workload.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use tortie_net::{Cidr, Family, Protocol};

/// Most rule ids that an answer lists.
const MAX_MATCHES: usize = 32;

/// Answers one request of the suite.
pub fn policy_semantics(request: Value) -> Value {
    let id = request.get("id").cloned();
    let mut answer = match request.get("op").and_then(Value::as_str) {
        Some("policy") | None => match Request::deserialize(&request) {
            Ok(request) => evaluate(&request),
            Err(error) => json!({"error": format!("policy: {error}")}),
        },
        Some(op) => json!({"error": format!("unknown op {op:?}, expected policy")}),
    };
    if let (Some(id), Some(answer)) = (id, answer.as_object_mut()) {
        answer.insert("id".to_owned(), id);
    }
    answer
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    kind: String,
    ip_version: u8,
    #[serde(default, deserialize_with = "null_as_default")]
    ipsets: BTreeMap<String, Vec<Member>>,
    packet: Packet,
    policy: Policy,
}

#[derive(Deserialize)]
struct Packet {
    proto: u8,
    src: IpAddr,
    #[serde(default)]
    sport: u32,
    dst: IpAddr,
    #[serde(default)]
    dport: u32,
    pre_nat: Option<PreNat>,
    #[serde(default)]
    from_host: bool,
    #[serde(default)]
    to_host: bool,
    icmp: Option<Icmp>,
}

#[derive(Deserialize)]
struct PreNat {
    dst: Option<IpAddr>,
    dport: Option<u32>,
}

#[derive(Clone, Copy, Deserialize)]
struct Icmp {
    #[serde(rename = "type", default)]
    kind: u32,
    #[serde(default)]
    code: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Policy {
    #[serde(deserialize_with = "null_as_default")]
    tiers: Vec<Tier>,
    #[serde(deserialize_with = "null_as_default")]
    profiles: Vec<RuleList>,
    #[serde(deserialize_with = "null_as_default")]
    host_pre_dnat_tiers: Vec<Tier>,
    #[serde(deserialize_with = "null_as_default")]
    host_forward_tiers: Vec<Tier>,
    #[serde(deserialize_with = "null_as_default")]
    host_normal_tiers: Vec<Tier>,
    #[serde(deserialize_with = "null_as_default")]
    host_profiles: Vec<RuleList>,
    for_host_interface: bool,
    suppress_normal_host_policy: bool,
    #[serde(rename = "forXDP")]
    for_xdp: bool,
    #[serde(rename = "noProfileMatchID")]
    no_profile_match_id: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tier {
    end_action: String,
    end_rule_id: u64,
    #[serde(deserialize_with = "null_as_default")]
    policies: Vec<RuleList>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuleList {
    #[serde(deserialize_with = "null_as_default")]
    rules: Vec<Rule>,
}

/// A rule; for each `x` there is a `notX`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    #[serde(rename = "$matchId")]
    match_id: u64,
    action: String,
    #[serde(deserialize_with = "version")]
    ip_version: u8,
    #[serde(deserialize_with = "null_as_default")]
    protocol: Option<NameOrNumber>,
    not_protocol: Option<NameOrNumber>,
    #[serde(deserialize_with = "null_as_default")]
    src_net: Vec<Cidr>,
    #[serde(deserialize_with = "null_as_default")]
    not_src_net: Vec<Cidr>,
    #[serde(deserialize_with = "null_as_default")]
    dst_net: Vec<Cidr>,
    #[serde(deserialize_with = "null_as_default")]
    not_dst_net: Vec<Cidr>,
    #[serde(deserialize_with = "null_as_default")]
    src_ports: Vec<Ports>,
    #[serde(deserialize_with = "null_as_default")]
    not_src_ports: Vec<Ports>,
    #[serde(deserialize_with = "null_as_default")]
    dst_ports: Vec<Ports>,
    #[serde(deserialize_with = "null_as_default")]
    not_dst_ports: Vec<Ports>,
    #[serde(deserialize_with = "null_as_default")]
    src_ip_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    not_src_ip_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    dst_ip_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    not_dst_ip_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    dst_ip_port_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    src_named_port_ip_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    not_src_named_port_ip_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    dst_named_port_ip_set_ids: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    not_dst_named_port_ip_set_ids: Vec<String>,
    icmp_type: Option<u32>,
    not_icmp_type: Option<u32>,
    icmp_type_code: Option<Icmp>,
    not_icmp_type_code: Option<Icmp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum NameOrNumber {
    Name(String),
    Number(u8),
}

/// proto3 JSON leaves out a zero.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Ports {
    first: u32,
    last: u32,
}

/// `10.0.0.0/8`, `10.0.0.1`, `10.0.0.1/32,tcp:80`.
struct Member {
    net: Cidr,
    port: Option<(Protocol, u32)>,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// proto3 JSON writes enums by name, `IPV4`; numbers are read too.
fn version<'de, D: Deserializer<'de>>(d: D) -> Result<u8, D::Error> {
    match Value::deserialize(d)? {
        Value::Null => Ok(0),
        Value::String(name) if name.eq_ignore_ascii_case("IPV4") => Ok(4),
        Value::String(name) if name.eq_ignore_ascii_case("IPV6") => Ok(6),
        Value::String(name) if name.eq_ignore_ascii_case("ANY") => Ok(0),
        Value::Number(n) if matches!(n.as_u64(), Some(0 | 4 | 6)) => Ok(n.as_u64().unwrap_or(0) as u8),
        other => Err(serde::de::Error::custom(format!("{other} is not an IP version"))),
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(|why: String| serde::de::Error::custom(format!("set member {text:?}: {why}")))
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (net, port) = text.split_once(',').map_or((text, None), |(net, port)| (net, Some(port)));
        let net = net.parse().map_err(|e| format!("{e}"))?;
        let Some(port) = port else { return Ok(Self { net, port: None }) };
        let (protocol, number) = port.split_once(':').ok_or("expected protocol:port after the comma")?;
        let protocol = protocol.parse().map_err(|e| format!("{e}"))?;
        let number = number.parse().map_err(|e| format!("{e}"))?;
        Ok(Self { net, port: Some((protocol, number)) })
    }
}

/// The packet as a stage sees it.
#[derive(Clone, Copy)]
struct View {
    protocol: Protocol,
    src: (IpAddr, u32),
    dst: (IpAddr, u32),
    icmp: Option<Icmp>,
    family: Family,
}

/// What a stage came to.
enum Outcome {
    Allow,
    Deny,
    NoMatch,
}

struct Evaluation<'r> {
    ipsets: &'r BTreeMap<String, Vec<Member>>,
    matches: Vec<u64>,
}

fn evaluate(request: &Request) -> Value {
    let Some(family) = Family::from_version(request.ip_version) else {
        return json!({"error": format!("ip_version {} is neither 4 nor 6", request.ip_version)});
    };
    let mut evaluation = Evaluation { ipsets: &request.ipsets, matches: Vec::new() };
    let verdict = match evaluation.stages(request, family) {
        Outcome::Allow => "allow",
        Outcome::Deny => "deny",
        Outcome::NoMatch => "no-match",
    };
    evaluation.matches.truncate(MAX_MATCHES);
    json!({"verdict": verdict, "matches": evaluation.matches})
}

impl Evaluation<'_> {
    fn stages(&mut self, request: &Request, family: Family) -> Outcome {
        let (policy, packet) = (&request.policy, &request.packet);
        let after = View::of(packet, family);
        let before = match &packet.pre_nat {
            Some(nat) => {
                View { dst: (nat.dst.unwrap_or(after.dst.0), nat.dport.unwrap_or(after.dst.1)), ..after }
            }
            None => after,
        };
        if policy.for_xdp || request.kind == "xdp" {
            return self.tiers(&policy.host_normal_tiers, &before);
        }
        let mut done = match self.tiers(&policy.host_pre_dnat_tiers, &before) {
            Outcome::Deny => return Outcome::Deny,
            Outcome::Allow => true,
            Outcome::NoMatch => false,
        };
        let own = packet.from_host || packet.to_host;
        if !done && own && policy.suppress_normal_host_policy {
            done = true;
        }
        if !done {
            let stage = if own {
                match self.tiers(&policy.host_normal_tiers, &after) {
                    Outcome::NoMatch => {
                        self.profiles(&policy.host_profiles, policy.no_profile_match_id, &after)
                    }
                    decided => decided,
                }
            } else {
                self.tiers(&policy.host_forward_tiers, &after)
            };
            if matches!(stage, Outcome::Deny) {
                return Outcome::Deny;
            }
        }
        if policy.for_host_interface {
            return Outcome::Allow;
        }
        match self.tiers(&policy.tiers, &after) {
            Outcome::NoMatch => self.profiles(&policy.profiles, policy.no_profile_match_id, &after),
            decided => decided,
        }
    }

    fn tiers(&mut self, tiers: &[Tier], view: &View) -> Outcome {
        'tiers: for tier in tiers {
            for rule in tier.policies.iter().flat_map(|p| &p.rules) {
                if rule.is_log() || !self.matches(rule, view) {
                    continue;
                }
                self.matches.push(rule.match_id);
                match &*rule.action.to_ascii_lowercase() {
                    "allow" | "" => return Outcome::Allow,
                    "pass" | "next-tier" => continue 'tiers,
                    _ => return Outcome::Deny,
                }
            }
            self.matches.push(tier.end_rule_id);
            if !tier.end_action.eq_ignore_ascii_case("pass") {
                return Outcome::Deny;
            }
        }
        Outcome::NoMatch
    }

    fn profiles(&mut self, profiles: &[RuleList], no_match: u64, view: &View) -> Outcome {
        for rule in profiles.iter().flat_map(|p| &p.rules) {
            if rule.is_log() || !self.matches(rule, view) {
                continue;
            }
            self.matches.push(rule.match_id);
            return match &*rule.action.to_ascii_lowercase() {
                "allow" | "" => Outcome::Allow,
                _ => Outcome::Deny,
            };
        }
        self.matches.push(no_match);
        Outcome::Deny
    }

    fn matches(&self, rule: &Rule, view: &View) -> bool {
        let in_set = |id: &String, end: (IpAddr, u32)| self.contains(id, end, view.protocol);
        let (src, dst) = (view.src, view.dst);
        let port = |ports: &[Ports], named: &[String], end: (IpAddr, u32)| {
            ports.iter().any(|p| p.first <= end.1 && end.1 <= p.last)
                || named.iter().any(|id| in_set(id, end))
        };
        let port_or_any = |ports: &[Ports], named: &[String], end: (IpAddr, u32)| {
            (ports.is_empty() && named.is_empty()) || port(ports, named, end)
        };
        rule.is_for(view.family)
            && rule.protocol.as_ref().is_none_or(|p| p.is(view.protocol))
            && !rule.not_protocol.as_ref().is_some_and(|p| p.is(view.protocol))
            && in_nets(&rule.src_net, &rule.not_src_net, src.0)
            && in_nets(&rule.dst_net, &rule.not_dst_net, dst.0)
            && rule.src_ip_set_ids.iter().all(|id| in_set(id, src))
            && rule.dst_ip_set_ids.iter().all(|id| in_set(id, dst))
            && rule.dst_ip_port_set_ids.iter().all(|id| in_set(id, dst))
            && !rule.not_src_ip_set_ids.iter().any(|id| in_set(id, src))
            && !rule.not_dst_ip_set_ids.iter().any(|id| in_set(id, dst))
            && port_or_any(&rule.src_ports, &rule.src_named_port_ip_set_ids, src)
            && port_or_any(&rule.dst_ports, &rule.dst_named_port_ip_set_ids, dst)
            && !port(&rule.not_src_ports, &rule.not_src_named_port_ip_set_ids, src)
            && !port(&rule.not_dst_ports, &rule.not_dst_named_port_ip_set_ids, dst)
            && rule.icmp_type.is_none_or(|kind| view.is_icmp(kind, None))
            && rule.icmp_type_code.is_none_or(|i| view.is_icmp(i.kind, Some(i.code)))
            && !rule.not_icmp_type.is_some_and(|kind| view.is_icmp(kind, None))
            && !rule.not_icmp_type_code.is_some_and(|i| view.is_icmp(i.kind, Some(i.code)))
    }

    /// A set that is not there is empty.
    fn contains(&self, id: &str, (addr, port): (IpAddr, u32), protocol: Protocol) -> bool {
        self.ipsets.get(id).is_some_and(|members| {
            members.iter().any(|m| m.net.contains(addr) && m.port.is_none_or(|p| p == (protocol, port)))
        })
    }
}

/// In one of the prefixes, if there are any, and in none of the excluded ones.
fn in_nets(nets: &[Cidr], not_nets: &[Cidr], addr: IpAddr) -> bool {
    (nets.is_empty() || nets.iter().any(|n| n.contains(addr))) && !not_nets.iter().any(|n| n.contains(addr))
}

// === impl View ===

impl View {
    fn of(packet: &Packet, family: Family) -> Self {
        let protocol = Protocol(packet.proto);
        let is_icmp = matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
        let icmp =
            packet.icmp.or(is_icmp.then_some(Icmp { kind: packet.dport & 0xff, code: packet.dport >> 8 }));
        Self { protocol, src: (packet.src, packet.sport), dst: (packet.dst, packet.dport), icmp, family }
    }

    fn is_icmp(&self, kind: u32, code: Option<u32>) -> bool {
        self.icmp.is_some_and(|i| i.kind == kind && code.is_none_or(|code| code == i.code))
    }
}

// === impl Rule ===

impl Rule {
    fn is_log(&self) -> bool {
        self.action.eq_ignore_ascii_case("log")
    }

    /// A rule is for a family unless its version, or a list of prefixes all of the other family, says otherwise.
    fn is_for(&self, family: Family) -> bool {
        let lists = [&self.src_net, &self.not_src_net, &self.dst_net, &self.not_dst_net];
        let other = Family::ALL.into_iter().find(|f| *f != family).map(Protocol::icmp);
        (self.ip_version == 0 || self.ip_version == family.version())
            && lists.iter().all(|l| l.is_empty() || l.iter().any(|n| n.family() == family))
            && !other.is_some_and(|other| self.protocol.as_ref().is_some_and(|p| p.is(other)))
    }
}

// === impl NameOrNumber ===

impl NameOrNumber {
    fn is(&self, protocol: Protocol) -> bool {
        match self {
            Self::Number(number) => *number == protocol.0,
            Self::Name(name) => name.parse() == Ok(protocol),
        }
    }
}
