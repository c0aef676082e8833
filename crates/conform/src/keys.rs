//! Suite `trace_model_keys`: datastore keys, stored values, and the arithmetic of blocks.

use super::tagged::{NoKey, Tagged, field, split, tagged, write_key};
use super::{Answer, error, only, skip, text};
use serde_json::{Value, json};
use std::net::IpAddr;
use tortie_api::v3::by_kind;
use tortie_blocks::{nth_address, ordinal_of, size_of};
use tortie_model::key::{affinity_labels, bgp_peer_path, hostname_hash};
use tortie_model::value::AllocationBlock;
use tortie_model::{Key, Value as Stored};
use tortie_net::{Cidr, Family};

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    match text(request, "op") {
        "key_to_path" => with_key(request, |key| match key.to_path() {
            Some(path) => only("path", path),
            None => error("a part of the key is missing"),
        }),
        "path_to_key" => {
            // Only who lists affinities asks for others than those of nodes.
            let key = path_to_key(text(request, "path"));
            only("key", key.filter(|key| !matches!(affinity_type(key), Some(kind) if kind != "host")))
        }
        "list_path" => match list_path(request.get("list").unwrap_or(&Value::Null)) {
            Some(path) => only("path", path),
            None => skip("lists of this type are not known here"),
        },
        "list_match" => {
            let list = request.get("list").unwrap_or(&Value::Null);
            only("key", list_match(list, text(request, "path")))
        }
        "parse_value" => parse_value(request),
        "upgrade_key" => {
            // The tier left the key; all else stays.
            let mut fields = split(request.get("key").unwrap_or(&Value::Null)).1.clone();
            fields.as_object_mut().and_then(|fields| fields.remove("Tier"));
            only("key", tagged("PolicyKey", fields))
        }
        "block_affinity_selector" => {
            let (_, options) = split(request.get("list").unwrap_or(&Value::Null));
            let version = options.get("IPVersion").and_then(Value::as_u64).unwrap_or_default();
            let labels = affinity_labels(
                Some(field(options, "Host")).filter(|h| !h.is_empty()),
                Some(field(options, "AffinityType")).filter(|t| !t.is_empty()),
                u8::try_from(version).ok().and_then(Family::from_version),
            );
            only("labels", if labels.is_empty() { Value::Null } else { json!(labels) })
        }
        "hostname_hash" => only("hash", hostname_hash(text(request, "hostname"))),
        "block_size" | "ordinal_to_ip" | "ip_to_ordinal" | "non_affine" => block(request),
        other => skip(format!("op {other:?} is not known")),
    }
}

fn with_key(request: &Value, then: impl FnOnce(Tagged) -> Answer) -> Answer {
    match Tagged::read(request.get("key").unwrap_or(&Value::Null)) {
        Ok(key) => then(key),
        Err(NoKey::Bad(reason)) => error(reason),
        Err(NoKey::Unknown(kind)) => skip(format!("keys of type {kind:?} are not known here")),
    }
}

/// Tier and key of a policy's oldest kind of path.
fn legacy(path: &str) -> Option<(String, Value)> {
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    match parts.as_slice() {
        ["calico", "v1", "policy", "tier", tier, "policy", _] => {
            let tier = tier.replace("%2f", "/").replace("%25", "%");
            let mut key = split(&write_key(&Key::from_path(path)?)).1.clone();
            key["Tier"] = json!(tier);
            Some((tier, key))
        }
        _ => None,
    }
}

fn path_to_key(path: &str) -> Option<Value> {
    if let Some((_, fields)) = legacy(path) {
        return Some(tagged("LegacyPolicyKey", fields));
    }
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    if let ["calico", "v1", "host", host, "metadata"] = parts.as_slice() {
        // Nobody writes these any more.
        return Some(tagged("HostMetadataKey", json!({"Hostname": host})));
    }
    Key::from_path(path).map(|key| write_key(&key))
}

/// Type of an affinity's key; `None` for other keys.
fn affinity_type(key: &Value) -> Option<&str> {
    let (kind, fields) = split(key);
    (kind == "BlockAffinityKey").then(|| field(fields, "AffinityType"))
}

/// Paths of lists: what they begin with, then fields in order, each with what follows it. The first absent field ends
/// the path.
const LISTS: &[(&str, &str, &[(&str, &str)])] = &[
    (
        "WorkloadEndpoint",
        "/calico/v1/host",
        &[("Hostname", "/workload"), ("OrchestratorID", ""), ("WorkloadID", "/endpoint"), ("EndpointID", "")],
    ),
    ("HostEndpoint", "/calico/v1/host", &[("Hostname", "/endpoint"), ("EndpointID", "")]),
    ("NetworkSet", "/calico/v1/netset", &[("Name", "")]),
    ("Tier", "/calico/v1/policy/tier", &[("Name", "/metadata")]),
    ("Profile", "/calico/v1/policy/profile", &[("Name", "")]),
    ("GlobalConfig", "/calico/v1/config", &[("Name", "")]),
    ("HostConfig", "/calico/v1/host", &[("Hostname", "/config"), ("Name", "")]),
    ("GlobalBGPConfig", "/calico/bgp/v1/global", &[("Name", "")]),
    ("NodeBGPConfig", "/calico/bgp/v1/host", &[("Nodename", ""), ("Name", "")]),
    ("ActiveStatusReport", "/calico/felix/v2", &[("RegionString", "/host"), ("Hostname", "/status")]),
    (
        "LastStatusReport",
        "/calico/felix/v2",
        &[("RegionString", "/host"), ("Hostname", "/last_reported_status")],
    ),
    (
        "WorkloadEndpointStatus",
        "/calico/felix/v2",
        &[
            ("RegionString", "/host"),
            ("Hostname", "/workload"),
            ("OrchestratorID", ""),
            ("WorkloadID", "/endpoint"),
            ("EndpointID", ""),
        ],
    ),
    ("HostEndpointStatus", "/calico/felix/v1/host", &[("Hostname", "/endpoint"), ("EndpointID", "")]),
];

fn list_type(list: &Value) -> (&str, &Value) {
    let (kind, fields) = split(list);
    (kind.strip_suffix("ListOptions").unwrap_or(kind), fields)
}

fn number(fields: &Value, name: &str) -> u64 {
    fields.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn list_path(list: &Value) -> Option<String> {
    let (kind, options) = list_type(list);
    let version = number(options, "IPVersion");
    if let Some((_, start, fields)) = LISTS.iter().find(|(name, ..)| *name == kind) {
        let mut path = (*start).to_owned();
        let given = fields.iter().map_while(|(name, then)| {
            let value = field(options, name);
            (!value.is_empty()).then(|| format!("/{}{then}", value.replace('%', "%25").replace('/', "%2f")))
        });
        path.extend(given);
        if path == "/calico/felix/v2" {
            path.push('/');
        }
        return Some(path);
    }
    Some(match kind {
        "IPPool" => match field(options, "CIDR").parse::<Cidr>() {
            Ok(cidr) => Key::IpPool(cidr).to_path()?,
            Err(_) => "/calico/v1/ipam/".to_owned(),
        },
        "Block" if version == 0 => "/calico/ipam/v2/assignment/".to_owned(),
        "Block" => format!("/calico/ipam/v2/assignment/ipv{version}/"),
        "BlockAffinity" => {
            let affinity = Some(field(options, "AffinityType")).filter(|t| !t.is_empty()).unwrap_or("host");
            let host = field(options, "Host");
            let family =
                if version == 0 || host.is_empty() { String::new() } else { format!("/ipv{version}/block") };
            format!("/calico/ipam/v2/{affinity}/{host}{family}")
        }
        "GlobalBGPPeer" | "NodeBGPPeer" => {
            let node = (kind == "NodeBGPPeer").then(|| field(options, "Nodename"));
            match (node, field(options, "PeerIP").parse::<IpAddr>()) {
                (Some(""), _) => "/calico/bgp/v1/host".to_owned(),
                (node, Ok(peer)) => {
                    let port = u16::try_from(number(options, "Port")).unwrap_or_default();
                    bgp_peer_path(node, peer, port)
                }
                (Some(node), Err(_)) => format!("/calico/bgp/v1/host/{node}"),
                (None, Err(_)) => "/calico/bgp/v1/global".to_owned(),
            }
        }
        "Resource" => {
            let kind = by_kind(field(options, "Kind"))?;
            let (namespace, name) = (field(options, "Namespace"), field(options, "Name"));
            let mut path = format!("{}{}", kind.prefix, kind.plural);
            let parts: &[&str] = if kind.namespaced { &[namespace, name] } else { &[name] };
            for part in parts.iter().take_while(|part| !part.is_empty()) {
                path.push('/');
                path.push_str(part);
            }
            path
        }
        _ => return None,
    })
}

/// The key of a path, if the options of a list do not rule it out.
fn list_match(list: &Value, path: &str) -> Option<Value> {
    let (kind, options) = list_type(list);
    let key = match kind {
        "GlobalBGPPeer" | "NodeBGPPeer" => Tagged::peer_from_path(path)?.write(),
        _ => path_to_key(path)?,
    };
    let (key_type, fields) = split(&key);
    let right_type = match kind {
        "Profile" => matches!(key_type, "ProfileRulesKey" | "ProfileLabelsKey"),
        other => key_type.strip_suffix("Key") == Some(other),
    };
    let agrees = |name: &String, wanted: &Value| match (name.as_str(), wanted) {
        (_, Value::String(text)) if text.is_empty() => true,
        ("AffinityType" | "Port" | "Prefix" | "LabelSelector", _) | (_, Value::Null) => true,
        ("IPVersion", version) if kind == "BlockAffinity" => {
            let family = field(fields, "CIDR").parse::<Cidr>().map(|c| u64::from(c.family().version()));
            version.as_u64().is_none_or(|v| v == 0 || family.is_ok_and(|f| f == v))
        }
        ("IPVersion", _) => true,
        ("CIDR", Value::String(text)) => {
            text.parse::<Cidr>().is_ok_and(|c| c.to_string() == field(fields, "CIDR"))
        }
        ("PeerIP", Value::String(text)) => {
            text.parse::<IpAddr>().is_ok_and(|ip| ip.to_string() == field(fields, "PeerIP"))
        }
        ("Name", Value::String(text)) if options.get("Prefix") == Some(&Value::Bool(true)) => {
            field(fields, "Name").starts_with(text)
        }
        (name, wanted) => fields.get(name) == Some(wanted),
    };
    let all = options.as_object().is_none_or(|options| options.iter().all(|(n, w)| agrees(n, w)));
    (right_type && all).then_some(key)
}

fn parse_value(request: &Value) -> Answer {
    let raw = text(request, "raw").as_bytes();
    let (kind, fields) = split(request.get("key").unwrap_or(&Value::Null));
    let tier = (kind == "LegacyPolicyKey").then(|| field(fields, "Tier"));
    with_key(request, |key| {
        let Tagged::Key(key) = key else { return skip("peers have no values here") };
        match Stored::parse(&key, raw) {
            Ok(stored) => {
                let mut value = stored.to_json();
                if let (Some(tier), Value::Object(value)) = (tier, &mut value) {
                    value.insert("tier".to_owned(), json!(tier));
                }
                only("value", value)
            }
            Err(e) => error(format!("{e}: {}", e.source)),
        }
    })
}

fn block(request: &Value) -> Answer {
    let block = request.get("block").unwrap_or(&Value::Null);
    let cidr: Cidr = match field(block, "cidr").parse() {
        Ok(cidr) => cidr,
        Err(e) => return error(format!("block.cidr: {e}")),
    };
    match text(request, "op") {
        "block_size" => only("count", u64::try_from(size_of(cidr)).unwrap_or(u64::MAX)),
        "ordinal_to_ip" => match nth_address(cidr, u128::from(number(request, "ordinal"))) {
            Some(address) => only("ip", address.to_string()),
            None => error(format!("the ordinal lies beyond {cidr}")),
        },
        "ip_to_ordinal" => {
            let address = text(request, "ip").parse::<IpAddr>().map(|a| a.to_canonical());
            match address.ok().and_then(|a| ordinal_of(cidr, a)).and_then(|n| u64::try_from(n).ok()) {
                Some(ordinal) => only("ordinal", ordinal),
                None => error(format!("{:?} is not an address of {cidr}", text(request, "ip"))),
            }
        }
        _ => match serde_json::from_value::<AllocationBlock>(block.clone()) {
            Ok(block) => only("allocations", non_affine(&block)),
            Err(e) => error(format!("block: {e}")),
        },
    }
}

/// Addresses that belong to another node than the block, or to none.
fn non_affine(block: &AllocationBlock) -> Vec<Value> {
    let affinity = block.affinity.as_deref().unwrap_or_default();
    let owner = affinity.strip_prefix("host:").or_else(|| affinity.strip_prefix("virtual:"));
    let allocations = block.allocations.iter().enumerate().filter_map(|(ordinal, attribute)| {
        let attributes = block.attributes.get((*attribute)?)?;
        let host = attributes.active_owner_attrs.get("node").map_or("", String::as_str);
        let address = nth_address(block.cidr, ordinal as u128)?;
        let own = !host.is_empty() && owner == Some(host);
        (!own).then(|| json!({"Addr": address.to_string(), "Host": host}))
    });
    allocations.collect()
}
