//! Pools, reservations, network sets, and the state of address management.

use super::format::Format;
use super::schema::{
    Default, Report, Schema, boolean, field, formatted, given, int32, integer, list_of, object as table,
    one_of, text as any_text,
};
use super::{has, list, text, truth};
use crate::Map;
use serde_json::Value;
use tortie_net::{Cidr, Family};

pub(super) static NETWORK_SET: Schema = table(&[field("nets", list_of(&formatted(Format::Cidr)).unique())]);

pub(super) static IP_RESERVATION: Schema = table(&[field(
    "reservedCIDRs",
    list_of(&formatted(Format::Cidr).schema_format(Format::StrictCidr)).unique(),
)]);

const MODES: Schema = one_of(&["Never", "Always", "CrossSubnet"]);
const SELECTOR: Schema = formatted(Format::Selector).max_len(1024);

pub(super) static IP_POOL: Schema = table(&[
    field("cidr", formatted(Format::Net).schema_format(Format::StrictCidr).max_len(48)).always().required(),
    field("vxlanMode", MODES),
    field("ipipMode", MODES),
    field("natOutgoing", boolean()),
    field("disabled", boolean()),
    field("disableBGPExport", boolean()),
    field("blockSize", integer().schema_range(0, 128)),
    field("nodeSelector", SELECTOR).default(Default::Text("all()")),
    field("namespaceSelector", SELECTOR),
    field(
        "allowedUses",
        list_of(&one_of(&["Workload", "Tunnel", "LoadBalancer"]).strict()).items(0, 10).unique(),
    ),
    given("assignmentMode", one_of(&["Automatic", "Manual"])).default(Default::Text("Automatic")),
])
.check(pool);

pub(super) static IPAM_CONFIGURATION: Schema = table(&[
    field("strictAffinity", boolean()).always().default(Default::Boolean(false)),
    field("maxBlocksPerHost", int32().range(0, i32::MAX as i64).schema_range(0, 1_000_000))
        .default(Default::Integer(0)),
    field("autoAllocateBlocks", boolean()).always().default(Default::Boolean(true)),
    given("kubeVirtVMAddressPersistence", one_of(&["Enabled", "Disabled"])),
    field("ipCooldownSeconds", int32().schema_range(0, 1200)),
])
.check(ipam_configuration);

pub(super) static BLOCK_AFFINITY: Schema = table(&[
    field("state", one_of(&["", "confirmed", "pending", "pendingDeletion"])).always().required(),
    field("node", any_text()).always().required(),
    field("type", any_text()),
    field("cidr", any_text().schema_format(Format::StrictCidr).client_format(Format::Net))
        .always()
        .required(),
    field("deleted", boolean()).always().default(Default::Boolean(false)),
])
.check(|map, path, report| {
    if truth(map, "deleted") {
        report.form(format!("{path}.deleted"), "is set by the system while it deletes; it cannot be written");
    }
});

fn ipam_configuration(map: &Map, path: &str, report: &mut Report) {
    let strict = truth(map, "strictAffinity");
    if !strict && map.get("autoAllocateBlocks") == Some(&Value::Bool(false)) {
        report.client(
            format!("{path}.autoAllocateBlocks"),
            "must be true unless strictAffinity is: no block could be had",
        );
    }
    if !strict && map.get("maxBlocksPerHost").and_then(Value::as_i64).unwrap_or(0) > 0 {
        report.client(
            format!("{path}.maxBlocksPerHost"),
            "needs strictAffinity: without it nodes borrow from each other",
        );
    }
}

/// The address that a pool is written with, and its prefix.
fn pool_cidr(map: &Map) -> Option<Cidr> {
    text(map, "cidr").parse().ok()
}

/// Prefix lengths of blocks: lowest, default, highest.
fn block_sizes(family: Family) -> (i64, i64, i64) {
    match family {
        Family::V4 => (20, 26, 32),
        Family::V6 => (116, 122, 128),
    }
}

fn pool(map: &Map, path: &str, report: &mut Report) {
    let at = |key: &str| format!("{path}.{key}");
    if text(map, "cidr").is_empty() {
        report.form(at("cidr"), "is missing; write it as 10.0.0.0/16 or fd00::/64");
    }
    let encapsulated = |key: &str| !matches!(text(map, key), "" | "Never");
    if encapsulated("ipipMode") && encapsulated("vxlanMode") {
        report.schema(at("vxlanMode"), "cannot be combined with ipipMode; set one of the two to Never");
    }
    for key in ["nodeSelector", "namespaceSelector"] {
        if text(map, key).contains("global(") {
            report.schema(at(key), "global() is not allowed here");
        }
    }
    let uses = |what: &str| list(map, "allowedUses").iter().any(|u| u == what);
    if uses("LoadBalancer") {
        if encapsulated("ipipMode") || encapsulated("vxlanMode") {
            report.schema(at("allowedUses"), "a pool for LoadBalancer cannot be encapsulated");
        }
        if uses("Workload") || uses("Tunnel") {
            report.schema(at("allowedUses"), "LoadBalancer cannot be combined with Workload or Tunnel");
        }
        if truth(map, "disableBGPExport") {
            report.schema(at("disableBGPExport"), "must be false in a pool for LoadBalancer");
        }
        if text(map, "nodeSelector") != "all()" {
            report.schema(at("nodeSelector"), "must be all() in a pool for LoadBalancer");
        }
    }
    if uses("Tunnel") && !text(map, "namespaceSelector").is_empty() {
        report.schema(
            at("namespaceSelector"),
            "cannot be set in a pool for Tunnel; tunnels are in no namespace",
        );
    }
    let Some(cidr) = pool_cidr(map) else { return };
    if cidr.to_canonical() != cidr {
        report.schema(at("cidr"), format!("is IPv4 in the form of IPv6; write {}", cidr.to_canonical()));
    }
    let link_local = match cidr.family() {
        Family::V4 => "169.254.0.0/16",
        Family::V6 => "fe80::/10",
    };
    if link_local.parse::<Cidr>().is_ok_and(|l| l.overlaps(cidr)) {
        report.schema(at("cidr"), format!("{cidr} overlaps with the link-local range {link_local}"));
    }
    if cidr.family() == Family::V6 && encapsulated("ipipMode") {
        report.schema(at("ipipMode"), "is for IPv4 only; use vxlanMode");
    }
    let (low, usual, high) = block_sizes(cidr.family());
    let given = map.get("blockSize").and_then(Value::as_i64).unwrap_or(0);
    if given != 0 && !(low..=high).contains(&given) {
        report.schema(
            at("blockSize"),
            format!("is {given}, but must be between {low} and {high} for {}", cidr.family()),
        );
    }
    let size = if given == 0 { usual } else { given };
    if !truth(map, "disabled") && i64::from(cidr.len()) > size {
        report.schema(
            at("blockSize"),
            format!("{cidr} is smaller than a block of /{size}; make the pool larger or set blockSize to {} or more", cidr.len()),
        );
    }
}

/// What a client fills in: the CIDR in its usual form, block size, uses, and modes.
pub(super) fn prepare_pool(value: &mut Value) {
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(cidr) = pool_cidr(spec).filter(|_| text(spec, "cidr").contains('/')) {
        spec.insert("cidr".to_owned(), cidr.to_string().into());
        if spec.get("blockSize").and_then(Value::as_i64).unwrap_or(0) == 0 {
            spec.insert("blockSize".to_owned(), block_sizes(cidr.family()).1.into());
        }
    }
    if list(spec, "allowedUses").is_empty() {
        spec.insert("allowedUses".to_owned(), vec!["Workload", "Tunnel"].into());
    }
    for (key, usual) in [("nodeSelector", "all()"), ("ipipMode", "Never"), ("vxlanMode", "Never")] {
        if !has(spec, key) || text(spec, key).is_empty() {
            spec.insert(key.to_owned(), usual.into());
        }
    }
}
