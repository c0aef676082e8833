//! Address management: the objects of its keys.
//!
//! The port's values are those of Calico's etcd layout; the custom resources have the same parts under other names.

use super::{DecodeError, EncodeError, Seen, field};
use crate::config::Group;
use crate::kinds::{Kind, Shape};
use serde_json::{Map, Value, json};
use tortie_model::key::{Key, affinity_labels};
use tortie_net::Cidr;

/// Names of IPAM's settings: in values, in custom resources.
const SETTINGS: [(&str, &str); 5] = [
    ("strict_affinity", "strictAffinity"),
    ("auto_allocate_blocks", "autoAllocateBlocks"),
    ("maxBlocksPerHost", "maxBlocksPerHost"),
    ("kubeVirtVMAddressPersistence", "kubeVirtVMAddressPersistence"),
    ("ipCooldownSeconds", "ipCooldownSeconds"),
];

fn spec_of(object: &Value) -> Result<&Map<String, Value>, DecodeError> {
    object.get("spec").and_then(Value::as_object).ok_or(field("spec"))
}

fn cidr_of(spec: &Map<String, Value>) -> Result<Cidr, DecodeError> {
    spec.get("cidr").and_then(|c| c.as_str()?.parse().ok()).ok_or(field("spec.cidr"))
}

/// True in both forms that it has: a boolean, and text in the oldest one.
pub(super) fn is_deleted(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(deleted)) => *deleted,
        Some(Value::String(deleted)) => deleted.eq_ignore_ascii_case("true") || deleted == "1",
        _ => false,
    }
}

fn seen(key: Option<String>, deleted: bool, value: &Value) -> Result<Seen, DecodeError> {
    let key = key.ok_or(field("spec"))?;
    Ok(if deleted { Seen::Gone(key) } else { Seen::Entry(key, value.to_string().into()) })
}

pub(super) fn block(object: &Value) -> Result<Seen, DecodeError> {
    let spec = spec_of(object)?;
    let cidr = cidr_of(spec)?;
    let part = |name: &str, default: Value| match spec.get(name) {
        None | Some(Value::Null) => default,
        Some(value) => value.clone(),
    };
    let mut value = Map::new();
    value.insert("cidr".to_owned(), cidr.to_string().into());
    value.insert("affinity".to_owned(), part("affinity", Value::Null));
    if let Some(time) = spec.get("affinityClaimTime").filter(|t| t.is_string()) {
        value.insert("affinity_claim_time".to_owned(), time.clone());
    }
    let parts = [
        ("allocations", json!([])),
        ("unallocated", json!([])),
        ("attributes", json!([])),
        ("sequenceNumber", json!(0)),
        ("sequenceNumberForAllocation", json!({})),
    ];
    for (name, default) in parts {
        value.insert(name.to_owned(), part(name, default));
    }
    let deleted = is_deleted(spec.get("deleted"));
    value.insert("deleted".to_owned(), deleted.into());
    seen(Key::Block(cidr).to_path(), deleted, &value.into())
}

pub(super) fn affinity(object: &Value) -> Result<Seen, DecodeError> {
    let spec = spec_of(object)?;
    let text = |name: &str| spec.get(name).and_then(Value::as_str).unwrap_or_default();
    let affinity_type = Some(text("type")).filter(|t| !t.is_empty()).unwrap_or("host").to_owned();
    let key = Key::BlockAffinity { host: text("node").to_owned(), affinity_type, cidr: cidr_of(spec)? };
    let deleted = is_deleted(spec.get("deleted"));
    seen(key.to_path(), deleted, &json!({"state": text("state"), "deleted": deleted}))
}

pub(super) fn handle(object: &Value) -> Result<Seen, DecodeError> {
    let spec = spec_of(object)?;
    let id = spec.get("handleID").and_then(Value::as_str).ok_or(field("spec.handleID"))?;
    let deleted = is_deleted(spec.get("deleted"));
    let block = spec.get("block").filter(|b| b.is_object()).cloned().unwrap_or(json!({}));
    seen(Key::IpamHandle(id.to_owned()).to_path(), deleted, &json!({"block": block, "deleted": deleted}))
}

pub(super) fn config(object: &Value) -> Result<Value, DecodeError> {
    let spec = spec_of(object)?;
    let mut value = Map::new();
    for (ours, theirs) in SETTINGS {
        if let Some(setting) = spec.get(theirs).filter(|s| !s.is_null()) {
            value.insert(ours.to_owned(), setting.clone());
        }
    }
    Ok(value.into())
}

/// Labels and body of the custom resource for a value.
pub(super) fn spec(
    kind: &Kind,
    key: &str,
    value: Map<String, Value>,
) -> Result<(Map<String, Value>, Map<String, Value>), EncodeError> {
    let stored = kind.api_version == Group::V1.as_str();
    let none = Map::new;
    match (kind.shape, Key::from_path(key)) {
        (Shape::Block, Some(Key::Block(cidr))) => Ok((none(), block_spec(cidr, value))),
        (Shape::Affinity, Some(Key::BlockAffinity { host, affinity_type, cidr })) => {
            let deleted = is_deleted(value.get("deleted"));
            let labels = affinity_labels(Some(&host), Some(&affinity_type), Some(cidr.family()));
            let labels = labels.into_iter().map(|(label, value)| (label, value.into())).collect();
            let deleted = if stored { deleted.to_string().into() } else { Value::from(deleted) };
            let spec = [
                ("state", value.get("state").cloned().unwrap_or_default()),
                ("node", host.into()),
                ("type", affinity_type.into()),
                ("cidr", cidr.to_string().into()),
                ("deleted", deleted),
            ];
            let text = |value: Value| if value.is_null() { "".into() } else { value };
            Ok((labels, spec.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect()))
        }
        (Shape::Handle, Some(Key::IpamHandle(id))) => {
            let block = value.get("block").filter(|b| b.is_object()).cloned().unwrap_or(json!({}));
            let spec = [
                ("handleID", id.into()),
                ("block", block),
                ("deleted", is_deleted(value.get("deleted")).into()),
            ];
            Ok((none(), spec.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
        }
        (Shape::IpamConfig, _) => {
            let mut spec = Map::new();
            for (ours, theirs) in SETTINGS {
                // These two are always there, so that no server fills in another default.
                let required = matches!(theirs, "strictAffinity" | "autoAllocateBlocks");
                let setting = value.get(ours).cloned().or_else(|| required.then_some(Value::Bool(false)));
                if let Some(setting) = setting {
                    spec.insert(theirs.to_owned(), setting);
                }
            }
            Ok((none(), spec))
        }
        _ => Err(EncodeError::Json(format!("{key} is no key of {}", kind.kind))),
    }
}

fn block_spec(cidr: Cidr, mut value: Map<String, Value>) -> Map<String, Value> {
    let mut spec = Map::new();
    let mut part = |name: &str| value.shift_remove(name).filter(|v| !v.is_null());
    spec.insert("cidr".to_owned(), cidr.to_string().into());
    // The oldest form names the node without saying what it is.
    let old = part("hostAffinity").and_then(|host| Some(format!("host:{}", host.as_str()?)));
    if let Some(affinity) = part("affinity").or(old.map(Value::from)) {
        spec.insert("affinity".to_owned(), affinity);
    }
    if let Some(time) = part("affinity_claim_time") {
        spec.insert("affinityClaimTime".to_owned(), time);
    }
    let parts = [
        ("allocations", json!([])),
        ("unallocated", json!([])),
        ("attributes", json!([])),
        ("sequenceNumber", json!(0)),
        ("sequenceNumberForAllocation", json!({})),
        ("deleted", json!(false)),
    ];
    for (name, default) in parts {
        spec.insert(name.to_owned(), part(name).unwrap_or(default));
    }
    // Unused, and required.
    spec.insert("strictAffinity".to_owned(), false.into());
    spec
}
