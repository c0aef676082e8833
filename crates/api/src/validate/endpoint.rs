//! Host endpoints, workload endpoints, nodes.

use super::format::Format;
use super::schema::{
    Report, Schema, as_number, dscp, field, formatted, given, int32, integer, list_of, object as table,
    protocol, text as any_text, within,
};
use super::{has, list, object, text};
use crate::{IntOrString, Map};
use serde_json::Value;
use tortie_net::{Cidr, Family};

pub(super) static HOST_ENDPOINT: Schema = table(&[
    field("node", formatted(Format::Name).max_len(253)),
    field("interfaceName", formatted(Format::Interface).max_len(15)),
    field("expectedIPs", list_of(&formatted(Format::Ip)).unique()),
    field("profiles", list_of(&formatted(Format::Name)).unique()),
    field("ports", list_of(&PORT)),
])
.check(|map, path, report| {
    if text(map, "interfaceName").is_empty() && list(map, "expectedIPs").is_empty() {
        report.schema(
            format!("{path}.interfaceName"),
            "is missing; name the interface, or its addresses in expectedIPs",
        );
    }
    if text(map, "node").is_empty() {
        report.schema(format!("{path}.node"), "is missing; name the node whose interface this is");
    }
});

const PORT: Schema = table(&[
    field("name", formatted(Format::PortName)).always().required(),
    field("protocol", protocol()).always().required(),
    field("port", within(0, 65535).range(1, 65535)).always().required(),
])
.check(|map, path, report| {
    if text(map, "name").is_empty() {
        report.form(format!("{path}.name"), "is missing");
    }
    if map.get("port").is_none_or(Value::is_null) {
        report.form(format!("{path}.port"), "is missing");
    }
    with_ports(map, path, report);
});

fn with_ports(map: &Map, path: &str, report: &mut Report) {
    let number = map
        .get("protocol")
        .and_then(|v| serde_json::from_value::<IntOrString>(v.clone()).ok())
        .and_then(|p| p.to_protocol().ok());
    if number.is_none_or(|p| !matches!(p.0, 6 | 17 | 132)) {
        report.form(format!("{path}.protocol"), "must be one with ports: TCP, UDP or SCTP");
    }
}

pub(super) static WORKLOAD_ENDPOINT: Schema = table(&[
    field("orchestrator", formatted(Format::Name)),
    field("workload", formatted(Format::Name)),
    field("node", formatted(Format::Name)),
    field("containerID", formatted(Format::ContainerId)),
    field("pod", formatted(Format::Name)),
    field("endpoint", formatted(Format::Name)),
    field("serviceAccountName", formatted(Format::Name)),
    field("ipNetworks", list_of(&formatted(Format::Net))),
    field(
        "ipNATs",
        list_of(
            &table(&[field("internalIP", formatted(Format::Ip)), field("externalIP", formatted(Format::Ip))])
                .check(nat),
        ),
    ),
    field("ipv4Gateway", formatted(Format::IpOf(Family::V4))),
    field("ipv6Gateway", formatted(Format::IpOf(Family::V6))),
    field("profiles", list_of(&formatted(Format::Name))),
    field("interfaceName", formatted(Format::Interface)).always(),
    field("mac", formatted(Format::Mac)),
    field("ports", list_of(&WORKLOAD_PORT)),
    field("allowSpoofedSourcePrefixes", list_of(&formatted(Format::Cidr))),
    field(
        "qosControls",
        table(&[
            field("ingressBandwidth", integer()),
            field("ingressBurst", integer()),
            field("ingressPeakrate", integer()),
            field("ingressMinburst", integer()),
            field("egressBandwidth", integer()),
            field("egressBurst", integer()),
            field("egressPeakrate", integer()),
            field("egressMinburst", integer()),
            field("ingressPacketRate", integer()),
            field("ingressPacketBurst", integer()),
            field("egressPacketRate", integer()),
            field("egressPacketBurst", integer()),
            field("ingressMaxConnections", integer()),
            field("egressMaxConnections", integer()),
            field("dscp", dscp()),
        ]),
    ),
])
.check(workload);

const WORKLOAD_PORT: Schema = table(&[
    field("name", formatted(Format::PortName)),
    field("protocol", protocol()).always(),
    field("port", within(0, 65535).range(1, 65535)).always(),
    field("hostPort", within(0, 65535)),
    field("hostIP", formatted(Format::Net)),
])
.check(|map, path, report| {
    if map.get("port").is_none_or(Value::is_null) {
        report.form(format!("{path}.port"), "is missing");
    }
    if text(map, "name").is_empty() && map.get("hostPort").and_then(Value::as_i64).unwrap_or(0) == 0 {
        report.form(format!("{path}.name"), "is missing; a port has a name, a hostPort, or both");
    }
    with_ports(map, path, report);
});

fn nat(map: &Map, path: &str, report: &mut Report) {
    let family = |key: &str| text(map, key).parse::<Cidr>().ok().map(Cidr::family);
    match (family("internalIP"), family("externalIP")) {
        (Some(internal), Some(external)) if internal != external => {
            report.form(
                format!("{path}.externalIP"),
                format!("is of {external}, but internalIP is of {internal}"),
            );
        }
        (Some(_), Some(_)) => {}
        (None, _) => report.form(format!("{path}.internalIP"), "must be an IP address"),
        (_, None) => report.form(format!("{path}.externalIP"), "must be an IP address"),
    }
}

fn workload(map: &Map, path: &str, report: &mut Report) {
    if text(map, "interfaceName").is_empty() {
        report.form(format!("{path}.interfaceName"), "is missing");
    }
    let mut networks = Vec::new();
    for (i, network) in list(map, "ipNetworks").iter().enumerate() {
        let Some(cidr) = network.as_str().and_then(|n| n.parse::<Cidr>().ok()) else { continue };
        if !cidr.is_host() {
            report.form(format!("{path}.ipNetworks[{i}]"), format!("{cidr} is more than one address"));
        }
        networks.push(cidr);
    }
    for (i, nat) in list(map, "ipNATs").iter().enumerate() {
        let internal = nat["internalIP"].as_str().and_then(|n| n.parse::<Cidr>().ok());
        if internal.is_some_and(|internal| !networks.iter().any(|n| n.covers(internal))) {
            report.form(
                format!("{path}.ipNATs[{i}].internalIP"),
                "is no address of the endpoint; add it to ipNetworks",
            );
        }
    }
}

const IPV4: Schema = formatted(Format::IpOf(Family::V4));
const IPV6: Schema = formatted(Format::IpOf(Family::V6));

pub(super) static NODE: Schema = table(&[
    field(
        "bgp",
        table(&[
            given("asNumber", as_number()),
            field("ipv4Address", formatted(Format::CidrOf(Family::V4))),
            field("ipv6Address", formatted(Format::CidrOf(Family::V6))),
            field("ipv4IPIPTunnelAddr", IPV4),
            field("routeReflectorClusterID", IPV4),
        ]),
    ),
    field("ipv4VXLANTunnelAddr", IPV4),
    field("vxlanTunnelMACAddr", formatted(Format::Mac)),
    field("ipv6VXLANTunnelAddr", IPV6),
    field("vxlanTunnelMACAddrV6", formatted(Format::Mac)),
    field("orchRefs", list_of(&table(&[field("nodeName", any_text()), field("orchestrator", any_text())]))),
    field("wireguard", table(&[field("interfaceIPv4Address", IPV4), field("interfaceIPv6Address", IPV6)])),
    // Names are addresses too: what a cloud reports is passed on as it is.
    field("addresses", list_of(&table(&[field("address", any_text()), field("type", any_text())]))),
    field(
        "interfaces",
        list_of(&table(&[field("name", any_text()), field("addresses", list_of(&any_text()))])),
    ),
])
.check(|map, path, report| {
    const BGP: [&str; 5] =
        ["asNumber", "ipv4Address", "ipv6Address", "ipv4IPIPTunnelAddr", "routeReflectorClusterID"];
    let said = |bgp: &Map| BGP.iter().any(|field| has(bgp, field));
    if object(map, "bgp").is_some_and(|bgp| !said(bgp)) {
        report.form(format!("{path}.bgp"), "must not be empty; remove it");
    }
});

/// Port of a service on each node.
pub(super) const LISTEN_PORT: Schema = int32().schema_range(0, 65535);
