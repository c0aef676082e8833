//! Endpoints.

use super::rule::written;
use crate::WorkloadId;
use crate::convert::k8s::qos;
use crate::convert::selector::{NAMESPACE_LABEL_PREFIX, SERVICE_ACCOUNT_LABEL_PREFIX};
use crate::convert::wep_name::WepName;
use crate::convert::{Problems, ip, net};
use crate::value::{EndpointPort, HostEndpoint, IpNat, WorkloadEndpoint};
use std::net::IpAddr;
use tortie_api::IntOrString;
use tortie_api::v3::{self, LABEL_SERVICE_ACCOUNT};
use tortie_net::{Cidr, Family};

/// Splits addresses or prefixes by family.
fn by_family<T>(items: impl IntoIterator<Item = T>, family: impl Fn(&T) -> Family) -> (Vec<T>, Vec<T>) {
    items.into_iter().partition(|item| family(item) == Family::V4)
}

/// A port by its name. One of a protocol that does not exist is what no rule means.
fn named_port(
    index: usize,
    name: &str,
    protocol: &IntOrString,
    port: u16,
    problems: &mut Problems,
) -> Option<EndpointPort> {
    let written = written(protocol);
    let judged = written.clone().and_then(|p| p.protocol().map(drop).map_err(|e| e.to_string()));
    if let Err(error) = judged {
        problems.dropped(&format!("spec.ports[{index}].protocol"), error);
    }
    Some(EndpointPort { name: name.to_owned(), protocol: written.ok()?, port })
}

/// A host endpoint. Its key needs `spec.node`.
pub fn host_endpoint(endpoint: &v3::HostEndpoint, problems: &mut Problems) -> HostEndpoint {
    let spec = &endpoint.spec;
    let mut addresses = Vec::new();
    for (i, text) in spec.expected_ips.iter().enumerate() {
        match ip(text) {
            Some(address) => addresses.push(address),
            None => {
                problems.dropped(&format!("spec.expectedIPs[{i}]"), format!("{text:?} is not an IP address"));
            }
        }
    }
    let (expected_ipv4_addrs, expected_ipv6_addrs) = by_family(addresses, |a| Family::of(*a));
    let mut ports = Vec::new();
    for (i, port) in spec.ports.iter().enumerate() {
        ports.extend(named_port(i, &port.name, &port.protocol, port.port, problems));
    }
    let dscp = qos::dscp(&endpoint.metadata.annotations, problems);
    HostEndpoint {
        name: spec.interface_name.clone(),
        expected_ipv4_addrs,
        expected_ipv6_addrs,
        labels: endpoint.metadata.labels.clone(),
        profile_ids: spec.profiles.clone(),
        ports,
        qos_controls: dscp.map(|dscp| serde_json::json!({ "dscp": dscp })),
    }
}

/// Key of a workload endpoint, from its name.
pub fn workload_key(namespace: &str, name: &str, problems: &mut Problems) -> Option<WorkloadId> {
    let id = WepName::parse(name).filter(|_| !namespace.is_empty()).map(|parts| parts.workload_id(namespace));
    if id.is_none() {
        problems.fatal(
            "metadata.name",
            format!("{name:?} does not name an endpoint of a namespace; the form is <node>-<orchestrator>-<workload>-<endpoint>, a dash inside a part written twice"),
        );
    }
    id
}

/// A workload endpoint; `None` while it has no address, for nothing can be rendered then.
pub fn workload_endpoint(
    endpoint: &v3::WorkloadEndpoint,
    problems: &mut Problems,
) -> Option<WorkloadEndpoint> {
    let (spec, metadata) = (&endpoint.spec, &endpoint.metadata);
    if spec.ip_networks.is_empty() {
        return None;
    }
    let cidrs = |texts: &[String], field: &str, problems: &mut Problems| -> Vec<Cidr> {
        let mut cidrs = Vec::with_capacity(texts.len());
        for (i, text) in texts.iter().enumerate() {
            match net(text) {
                Ok(cidr) => cidrs.push(cidr),
                Err(error) => problems.fatal(&format!("{field}[{i}]"), format!("{error}")),
            }
        }
        cidrs
    };
    let (ipv4_nets, ipv6_nets) =
        by_family(cidrs(&spec.ip_networks, "spec.ipNetworks", problems), |c| c.family());
    let mut nats = Vec::new();
    for (i, nat) in spec.ip_nats.iter().enumerate() {
        match (ip(&nat.internal_ip), ip(&nat.external_ip)) {
            (Some(int_ip), Some(ext_ip)) => nats.push(IpNat { int_ip, ext_ip }),
            _ => problems.dropped(&format!("spec.ipNATs[{i}]"), "not a pair of IP addresses".to_owned()),
        }
    }
    let (ipv4_nat, ipv6_nat) = by_family(nats, |nat| Family::of(nat.int_ip));
    let gateway = |text: &str, field: &str, problems: &mut Problems| -> Option<IpAddr> {
        if text.is_empty() {
            return None;
        }
        let address = ip(text.split('/').next().unwrap_or(text));
        if address.is_none() {
            problems.fatal(field, format!("{text:?} is not an IP address"));
        }
        address
    };
    let mac = match spec.mac.as_str() {
        "" => None,
        text => text
            .parse()
            .map_err(|e: tortie_net::MacParseError| problems.fatal("spec.mac", e.to_string()))
            .ok(),
    };
    let mut ports = Vec::new();
    for (i, port) in spec.ports.iter().enumerate().filter(|(_, port)| !port.name.is_empty()) {
        ports.extend(named_port(i, &port.name, &port.protocol, port.port, problems));
    }
    // Inherited labels come from profiles alone: a workload must not claim to be in another namespace.
    let mut labels = metadata.labels.clone();
    labels.retain(|k, _| {
        !k.starts_with(NAMESPACE_LABEL_PREFIX) && !k.starts_with(SERVICE_ACCOUNT_LABEL_PREFIX)
    });
    if !spec.service_account_name.is_empty() {
        labels.insert(LABEL_SERVICE_ACCOUNT.to_owned(), spec.service_account_name.clone());
    }
    Some(WorkloadEndpoint {
        state: "active".to_owned(),
        name: spec.interface_name.clone(),
        active_instance_id: String::new(),
        mac,
        profile_ids: spec.profiles.clone(),
        ipv4_nets,
        ipv6_nets,
        ipv4_nat,
        ipv6_nat,
        labels,
        ipv4_gateway: gateway(&spec.ipv4_gateway, "spec.ipv4Gateway", problems),
        ipv6_gateway: gateway(&spec.ipv6_gateway, "spec.ipv6Gateway", problems),
        ports,
        generate_name: metadata.generate_name.clone(),
        allow_spoofed_source_ips: cidrs(
            &spec.allow_spoofed_source_prefixes,
            "spec.allowSpoofedSourcePrefixes",
            problems,
        ),
        annotations: metadata.annotations.clone(),
        qos_controls: spec.qos_controls.as_ref().and_then(|q| serde_json::to_value(q).ok()),
    })
}
