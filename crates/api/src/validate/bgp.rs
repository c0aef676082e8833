//! BGP: configuration, peers, filters.

use super::format::{self, Format};
use super::schema::{
    Default, Report, Schema, as_number, boolean, duration_text, field, formatted, given, int32, integer,
    list_of, object as table, one_of, text as any_text, within,
};
use super::{has, list, object, text, truth};
use crate::Map;
use serde_json::Value;
use tortie_net::Family;

const SELECTOR: Schema = formatted(Format::Selector).max_len(1024);
const PRIORITY: Schema = integer().range(1, 2_147_483_646);
const SWITCH: Schema = one_of(&["Enabled", "Disabled"]);
const LOG_LEVEL: Schema = one_of(&["Trace", "Debug", "Info", "Warning", "Error", "Fatal"]).any_case();
const RANGES: Schema =
    list_of(&table(&[field("cidr", formatted(Format::Net).schema_format(Format::StrictCidr))]));
const PASSWORD: Schema = table(&[field(
    "secretKeyRef",
    table(&[
        field("name", any_text()).default(Default::Text("")),
        field("key", any_text()).always().required(),
        given("optional", boolean()),
    ]),
)]);

pub(super) static BGP_CONFIGURATION: Schema = table(&[
    field("logSeverityScreen", LOG_LEVEL).default(Default::Text("Info")),
    given("nodeToNodeMeshEnabled", boolean()),
    given("asNumber", as_number()),
    field("serviceLoadBalancerIPs", RANGES),
    field("serviceExternalIPs", RANGES),
    field("serviceClusterIPs", RANGES),
    given("serviceLoadBalancerAggregation", SWITCH).default(Default::Text("Enabled")),
    field(
        "communities",
        list_of(&table(&[
            field("name", formatted(Format::Name).max_len(253)),
            field("value", any_text().max_len(40).schema_format(Format::CommunityDigits)),
        ]))
        .items(0, 500),
    ),
    field(
        "prefixAdvertisements",
        list_of(&table(&[
            field("cidr", formatted(Format::Net).schema_format(Format::StrictCidr)),
            given("communities", list_of(&any_text()).items(0, 50)).needed(),
        ]))
        .items(0, 500),
    ),
    field("listenPort", within(0, 65535)),
    field("nodeMeshPassword", PASSWORD),
    field("nodeMeshMaxRestartTime", duration_text()),
    given("bindMode", one_of(&["None", "NodeIP"])),
    field("ignoredInterfaces", list_of(&formatted(Format::IgnoredInterface)).unique()),
    field("localWorkloadPeeringIPV4", formatted(Format::IpOf(Family::V4))),
    field("localWorkloadPeeringIPV6", formatted(Format::IpOf(Family::V6))),
    given("programClusterRoutes", one_of(&["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"])),
    given("ipv4NormalRoutePriority", PRIORITY),
    given("ipv6NormalRoutePriority", PRIORITY),
])
.check(configuration);

fn configuration(map: &Map, path: &str, report: &mut Report) {
    if map.get("nodeToNodeMeshEnabled") == Some(&Value::Bool(false)) {
        for key in ["nodeMeshPassword", "nodeMeshMaxRestartTime"] {
            if has(map, key) {
                report.schema(format!("{path}.{key}"), "needs the mesh; set nodeToNodeMeshEnabled to true");
            }
        }
    }
    let (communities, advertised) = (list(map, "communities"), list(map, "prefixAdvertisements"));
    if !communities.is_empty() && advertised.is_empty() {
        report.schema(format!("{path}.communities"), "are of no use without prefixAdvertisements");
    }
    let mut names = Vec::new();
    for (i, community) in communities.iter().enumerate() {
        let path = format!("{path}.communities[{i}]");
        let part = |key: &str| community[key].as_str().unwrap_or("");
        names.push(part("name"));
        if part("name").is_empty() {
            report.form(format!("{path}.name"), "is missing");
        }
        if let Err(message) = community_value(part("value")) {
            report.form(format!("{path}.value"), message);
        }
    }
    for (i, advertisement) in advertised.iter().enumerate() {
        let path = format!("{path}.prefixAdvertisements[{i}]");
        if advertisement["cidr"].as_str().unwrap_or("").is_empty() {
            report.form(format!("{path}.cidr"), "is missing");
        }
        let values = advertisement["communities"].as_array().map_or(&[][..], Vec::as_slice);
        if values.is_empty() {
            report.client(format!("{path}.communities"), "is empty; name at least one");
        }
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            let path = format!("{path}.communities[{j}]");
            match format::community_in_range(value) {
                Some(true) => {}
                Some(false) => report.form(path, community_value(value).err().unwrap_or_default()),
                None if names.contains(&value) => {}
                None => report
                    .form(path, format!("{value:?} is no community, nor the name of one in communities")),
            }
        }
    }
}

fn community_value(value: &str) -> Result<(), String> {
    if format::community_in_range(value) == Some(true) {
        Ok(())
    } else {
        Format::Community.check(value).and(Ok(()))
    }
}

pub(super) static BGP_PEER: Schema = table(&[
    field("node", formatted(Format::Name).max_len(253)),
    field("nodeSelector", SELECTOR),
    field("peerIP", formatted(Format::IpPort).max_len(64)),
    field("asNumber", as_number()),
    given("localASNumber", as_number()),
    field("peerSelector", SELECTOR),
    field("keepOriginalNextHop", boolean()),
    given("nextHopMode", one_of(&["Auto", "Self", "Keep"])),
    field("password", PASSWORD),
    field("sourceAddress", one_of(&["UseNodeIP", "None"])),
    field("maxRestartTime", duration_text()),
    field("keepaliveTime", duration_text()),
    given("numAllowedLocalASNumbers", int32()),
    given("ttlSecurity", within(0, 255)),
    field("reachableBy", formatted(Format::Ip).max_len(64)),
    field("filters", list_of(&formatted(Format::Name))),
    field("localWorkloadSelector", SELECTOR),
    given("reversePeering", one_of(&["Auto", "Manual"])),
])
.check(peer);

fn peer(map: &Map, path: &str, report: &mut Report) {
    let set = |key: &str| !text(map, key).is_empty();
    for (a, b) in [
        ("nodeSelector", "node"),
        ("peerSelector", "peerIP"),
        ("localWorkloadSelector", "peerIP"),
        ("localWorkloadSelector", "peerSelector"),
    ] {
        if set(a) && set(b) {
            report.schema(format!("{path}.{a}"), format!("cannot be combined with {b}"));
        }
    }
    let as_number = map.get("asNumber").is_some_and(|n| n.as_i64() != Some(0) && !n.is_null());
    if set("peerSelector") && as_number {
        report.schema(
            format!("{path}.asNumber"),
            "cannot be combined with peerSelector: the nodes know their own",
        );
    }
    if set("localWorkloadSelector") && !as_number {
        report.schema(format!("{path}.asNumber"), "is missing; workloads need one");
    }
    if set("reachableBy") && !set("peerIP") {
        report.schema(format!("{path}.reachableBy"), "needs peerIP");
    }
    if truth(map, "keepOriginalNextHop") && has(map, "nextHopMode") {
        report.schema(
            format!("{path}.keepOriginalNextHop"),
            "cannot be combined with nextHopMode; use nextHopMode: Keep",
        );
    }
    let gateway = text(map, "reachableBy").parse::<std::net::IpAddr>().ok();
    let peer = format::ip_port(text(map, "peerIP")).map(|(address, _)| address);
    if let (Some(gateway), Some(peer)) = (gateway, peer)
        && Family::of(gateway.to_canonical()) != Family::of(peer)
    {
        report.form(
            format!("{path}.reachableBy"),
            format!("is of {}, but peerIP is of {}", Family::of(gateway), Family::of(peer)),
        );
    }
}

const COMMUNITY: Schema = any_text().max_len(32).schema_format(Format::Community);
const OPERATION: Schema = table(&[
    field("addCommunity", table(&[field("value", COMMUNITY).needed()])),
    field("prependASPath", table(&[given("prefix", list_of(&as_number()).items(1, 10)).needed()])),
    field("setPriority", table(&[field("value", PRIORITY).needed()])),
])
.check(|map, path, report| {
    let operations = ["addCommunity", "prependASPath", "setPriority"];
    let count = operations.iter().filter(|operation| has(map, operation)).count();
    if count != 1 {
        report.schema(path, format!("holds {count} operations, exactly one is needed"));
    }
});

/// A rule of a family: `net` and `max_len` of its CIDR, `bits` of an address.
const fn filter_rule(fields: &'static [super::schema::Field]) -> Schema {
    table(fields).check(filter)
}

macro_rules! filter_fields {
    ($family:expr, $cidr_len:literal, $bits:literal) => {
        &[
            field("action", one_of(&["Accept", "Reject"])).always().required(),
            field(
                "cidr",
                formatted(Format::NetOf($family)).schema_format(Format::StrictCidr).max_len($cidr_len),
            ),
            field(
                "prefixLength",
                table(&[given("min", integer().range(0, $bits)), given("max", integer().range(0, $bits))]),
            ),
            field("source", one_of(&["RemotePeers"]).strict()),
            field("interface", formatted(Format::InterfaceGlob).max_len(15)),
            field("matchOperator", one_of(&["Equal", "NotEqual", "In", "NotIn"])),
            field("peerType", one_of(&["eBGP", "iBGP"]).strict()),
            field("communities", table(&[given("values", list_of(&COMMUNITY).items(1, 1)).needed()])),
            field("asPathPrefix", list_of(&as_number())),
            given("priority", PRIORITY),
            field("operations", list_of(&OPERATION).items(1, 10)),
        ]
    };
}

const RULE_V4: Schema = filter_rule(filter_fields!(Family::V4, 18, 32));
const RULE_V6: Schema = filter_rule(filter_fields!(Family::V6, 43, 128));

pub(super) static BGP_FILTER: Schema = table(&[
    field("exportV4", list_of(&RULE_V4)),
    field("importV4", list_of(&RULE_V4)),
    field("exportV6", list_of(&RULE_V6)),
    field("importV6", list_of(&RULE_V6)),
]);

fn filter(map: &Map, path: &str, report: &mut Report) {
    if text(map, "action").is_empty() {
        report.form(format!("{path}.action"), "is missing; write Accept or Reject");
    }
    let (cidr, operator) = (!text(map, "cidr").is_empty(), !text(map, "matchOperator").is_empty());
    if cidr != operator {
        let (there, missing) = if cidr { ("cidr", "matchOperator") } else { ("matchOperator", "cidr") };
        report.schema(format!("{path}.{missing}"), format!("is missing; {there} needs it"));
    }
    if object(map, "prefixLength").is_some() && !cidr {
        report.schema(format!("{path}.prefixLength"), "needs cidr");
    }
    if !list(map, "operations").is_empty() && text(map, "action") != "Accept" {
        report.schema(format!("{path}.operations"), "need action Accept: rejected routes are not changed");
    }
}
