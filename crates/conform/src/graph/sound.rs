//! Which values the agent takes: what it refuses is as if it were not there.

use serde_json::{Value as Json, json};
use tortie_api::v3::{API_VERSION, by_kind};
use tortie_api::validate::{Options, validate_value};
use tortie_model::value::{EndpointPort, Policy, Rule, WrittenProtocol};
use tortie_model::{Key, ResourceKey, Value};
use tortie_net::{Port, Protocol};
use tortie_selector::Selector;

/// True if the agent takes the value.
pub(super) fn is_sound(key: &Key, value: &Value) -> bool {
    match (key, value) {
        (Key::WorkloadEndpoint(_), Value::WorkloadEndpoint(endpoint)) => {
            // Other sources than its own addresses need a setting that is off by default.
            !endpoint.name.is_empty()
                && endpoint.allow_spoofed_source_ips.is_empty()
                && endpoint.ports.iter().all(port)
        }
        (Key::HostEndpoint { .. }, Value::HostEndpoint(endpoint)) => {
            (endpoint.name == "*" || endpoint.name.is_empty() || is_name(&endpoint.name, 15))
                && endpoint.ports.iter().all(port)
                && endpoint.profile_ids.iter().all(|name| is_name(name, 128))
        }
        (Key::NetworkSet(_), Value::NetworkSet(set)) => set.profile_ids.iter().all(|name| is_name(name, 128)),
        (Key::Policy(_), Value::Policy(p)) => policy(p),
        (Key::ProfileRules(_), Value::ProfileRules(rules)) => {
            rules.inbound_rules.iter().chain(&rules.outbound_rules).all(rule)
        }
        (Key::Resource(key), Value::Resource(object)) => resource(key, object),
        _ => true,
    }
}

fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn port(port: &EndpointPort) -> bool {
    matches!(&port.protocol, WrittenProtocol::Name(name) if matches!(&**name, "tcp" | "udp" | "sctp"))
        && port.port > 0
        && is_name(&port.name, 128)
}

fn policy(policy: &Policy) -> bool {
    let hints = &policy.performance_hints;
    selector(&policy.selector)
        && hints.iter().all(|hint| hint == "AssumeNeededOnEveryNode")
        && hints.len() <= 1
        && policy.inbound_rules.iter().chain(&policy.outbound_rules).all(rule)
}

fn selector(text: &str) -> bool {
    Selector::parse(text).is_ok()
}

fn rule(rule: &Rule) -> bool {
    let selectors = [
        &rule.src_selector,
        &rule.dst_selector,
        &rule.not_src_selector,
        &rule.not_dst_selector,
        &rule.orig_src_selector,
        &rule.orig_src_namespace_selector,
        &rule.orig_dst_selector,
        &rule.orig_dst_namespace_selector,
        &rule.not_orig_src_selector,
        &rule.not_orig_dst_selector,
        &rule.orig_src_service_acct_selector,
        &rule.orig_dst_service_acct_selector,
    ];
    let ports = || {
        let lists = [&rule.src_ports, &rule.dst_ports, &rule.not_src_ports, &rule.not_dst_ports];
        lists.into_iter().flatten()
    };
    let types = [rule.icmp_type, rule.not_icmp_type];
    selectors.into_iter().all(|text| selector(text))
        && rule.ip_version.is_none_or(|v| v == 4 || v == 6)
        && types.into_iter().flatten().all(|kind| kind < 255)
        && ports().all(|port| !matches!(port, Port::Range(range) if range.first == 0))
        && [&rule.protocol, &rule.not_protocol].into_iter().flatten().all(is_protocol)
        && match &rule.protocol {
            // A name says its protocol itself.
            None => ports().all(|port| matches!(port, Port::Named(_))),
            Some(protocol) => has_ports(protocol) || ports().next().is_none(),
        }
}

/// Names are those of the model, in lower case.
fn is_protocol(protocol: &WrittenProtocol) -> bool {
    match protocol {
        WrittenProtocol::Number(number) => *number > 0,
        WrittenProtocol::Name(name) => {
            matches!(&**name, "tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | "udplite")
        }
    }
}

fn has_ports(protocol: &WrittenProtocol) -> bool {
    [Protocol::TCP, Protocol::UDP, Protocol::SCTP].into_iter().any(|known| protocol.is(known))
}

/// Objects that users write, save for those that no rules exist for.
fn resource(key: &ResourceKey, object: &Json) -> bool {
    if by_kind(&key.kind).is_none() || key.kind == "LiveMigration" {
        return true;
    }
    let mut whole = object.clone();
    let Json::Object(fields) = &mut whole else { return false };
    fields.insert("kind".to_owned(), json!(key.kind));
    fields.insert("apiVersion".to_owned(), json!(API_VERSION));
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if let Json::Object(metadata) = metadata {
        metadata.entry("name").or_insert_with(|| json!(key.name));
    }
    validate_value(&whole, Options { schema: false, client: false }).is_empty()
}
