//! policy.networking.k8s.io ClusterNetworkPolicy.

use super::policy::{ProtocolPorts, Unusable, add_ports, namespace_selector, pod_selector};
use super::ports::simplify_ports;
use crate::convert::Problems;
use std::collections::BTreeMap;
use tortie_api::k8s::{self, ClusterPeer, ClusterPort, ClusterProtocol, NamespacedPods};
use tortie_api::{IntOrString, v3};
use tortie_net::{Cidr, Port, PortRange};

/// The policy in tier `kube-admin` or `kube-baseline`; `None`, with a problem, if tier or subject are unusable.
///
/// A rule that cannot be converted is reported. It is left out if it accepts; else it denies everything: it must not
/// let through what it was to stop.
pub fn cluster_network_policy(
    policy: &k8s::ClusterNetworkPolicy,
    problems: &mut Problems,
) -> Option<v3::GlobalNetworkPolicy> {
    let (metadata, spec) = (&policy.metadata, &policy.spec);
    let tier = match spec.tier.as_str() {
        "Admin" => "kube-admin",
        "Baseline" => "kube-baseline",
        other => {
            problems.fatal("spec.tier", format!("{other:?} is no tier; use Admin or Baseline"));
            return None;
        }
    };
    let subject = match (&spec.subject.namespaces, &spec.subject.pods) {
        (Some(namespaces), _) => {
            namespace_selector(namespaces).and_then(|namespaces| Ok((namespaces, pod_selector(None)?)))
        }
        (None, Some(pods)) => namespaced_pods(pods),
        (None, None) => Err(Unusable::new("", "nothing is selected; set namespaces or pods")),
    };
    let (namespace_selector, selector) = match subject {
        Ok(selectors) => selectors,
        Err(unusable) => {
            problems.fatal(&format!("spec.subject{}", unusable.field), unusable.message);
            return None;
        }
    };
    let mut ingress = Vec::new();
    for (i, rule) in spec.ingress.iter().enumerate() {
        let rules = rules_to_v3(&rule.name, &rule.action, &rule.protocols, &rule.from, Side::From);
        add_rules(&mut ingress, rules, &rule.action, &format!("spec.ingress[{i}]"), problems);
    }
    let mut egress = Vec::new();
    for (i, rule) in spec.egress.iter().enumerate() {
        let rules = rules_to_v3(&rule.name, &rule.action, &rule.protocols, &rule.to, Side::To);
        add_rules(&mut egress, rules, &rule.action, &format!("spec.egress[{i}]"), problems);
    }
    // These tiers pass by default, so only rules make a direction matter.
    let mut types = Vec::new();
    if !ingress.is_empty() {
        types.push("Ingress".to_owned());
    }
    if !egress.is_empty() {
        types.push("Egress".to_owned());
    }
    let mut converted = v3::GlobalNetworkPolicy::with_spec(
        "",
        &metadata.name,
        v3::GlobalNetworkPolicySpec {
            tier: tier.to_owned(),
            order: Some(spec.priority as f64),
            namespace_selector,
            selector,
            ingress,
            egress,
            types,
            ..v3::GlobalNetworkPolicySpec::default()
        },
    );
    converted.metadata.creation_timestamp.clone_from(&metadata.creation_timestamp);
    converted.metadata.resource_version.clone_from(&metadata.resource_version);
    converted.metadata.uid = super::converted_uid(&metadata.uid).unwrap_or_default();
    Some(converted)
}

fn add_rules(
    to: &mut Vec<v3::Rule>,
    rules: Result<Vec<v3::Rule>, Unusable>,
    action: &str,
    field: &str,
    problems: &mut Problems,
) {
    match rules {
        Ok(rules) => to.extend(rules),
        Err(unusable) => {
            let closed = matches!(action, "Deny" | "Pass");
            let consequence =
                if closed { "the rule denies everything instead" } else { "the rule is left out" };
            problems.dropped(
                &format!("{field}{}", unusable.field),
                format!("{}; {consequence}", unusable.message),
            );
            if closed {
                to.push(v3::Rule { action: "Deny".to_owned(), ..v3::Rule::default() });
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

/// One rule per protocol and peer.
fn rules_to_v3(
    name: &str,
    action: &str,
    protocols: &[ClusterProtocol],
    peers: &[ClusterPeer],
    side: Side,
) -> Result<Vec<v3::Rule>, Unusable> {
    let action = match action {
        "Accept" => "Allow",
        "Deny" => "Deny",
        "Pass" => "Pass",
        other => {
            return Err(Unusable::new(
                ".action",
                format!("{other:?} is no action; use Accept, Deny or Pass"),
            ));
        }
    };
    let metadata = if name.is_empty() {
        None
    } else {
        let annotations = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        Some(v3::RuleMetadata { annotations, ..v3::RuleMetadata::default() })
    };
    let protocol_ports = protocols_to_v3(protocols)?;
    let mut entities = Vec::with_capacity(peers.len());
    for (i, peer) in peers.iter().enumerate() {
        let field = if side == Side::From { format!(".from[{i}]") } else { format!(".to[{i}]") };
        entities.push(peer_to_v3(peer, side, &field)?);
    }
    let mut rules = Vec::with_capacity(protocol_ports.len() * entities.len());
    for (protocol, ports) in protocol_ports {
        let ports = simplify_ports(ports.unwrap_or_default());
        for entity in &entities {
            let mut rule = v3::Rule { action: action.to_owned(), ..v3::Rule::default() };
            rule.metadata.clone_from(&metadata);
            if !protocol.is_empty() {
                rule.protocol = Some(IntOrString::String(protocol.clone()));
            }
            if side == Side::From {
                rule.source = entity.clone();
                rule.destination.ports.clone_from(&ports);
            } else {
                rule.destination = v3::EntityRule { ports: ports.clone(), ..entity.clone() };
            }
            rules.push(rule);
        }
    }
    Ok(rules)
}

fn namespaced_pods(pods: &NamespacedPods) -> Result<(String, String), Unusable> {
    Ok((namespace_selector(&pods.namespace_selector)?, pod_selector(Some(&pods.pod_selector))?))
}

fn peer_to_v3(peer: &ClusterPeer, side: Side, field: &str) -> Result<v3::EntityRule, Unusable> {
    let mut entity = v3::EntityRule::default();
    let mut found = false;
    if let Some(namespaces) = &peer.namespaces {
        entity.namespace_selector = namespace_selector(namespaces)?;
        found = true;
    }
    if let Some(pods) = &peer.pods {
        (entity.namespace_selector, entity.selector) = namespaced_pods(pods)?;
        found = true;
    }
    if side == Side::To {
        for (i, network) in peer.networks.iter().enumerate() {
            let cidr = if network.contains('/') { network.parse::<Cidr>().ok() } else { None };
            let Some(cidr) = cidr else {
                return Err(Unusable::new(
                    format!("{field}.networks[{i}]"),
                    format!("{network:?} is not a CIDR; write it as 10.0.0.0/16 or fd00::/64"),
                ));
            };
            entity.nets.push(cidr.to_string());
            found = true;
        }
    }
    if found { Ok(entity) } else { Err(Unusable::new(field, "no field of the peer is known here")) }
}

fn protocols_to_v3(protocols: &[ClusterProtocol]) -> Result<ProtocolPorts, Unusable> {
    let mut protocol_ports = ProtocolPorts::new();
    for (i, protocol) in protocols.iter().enumerate() {
        let field = format!(".protocols[{i}]");
        let known = [("TCP", &protocol.tcp), ("UDP", &protocol.udp), ("SCTP", &protocol.sctp)];
        let chosen = known.into_iter().find_map(|(name, ports)| ports.as_ref().map(|p| (name, p)));
        match chosen {
            Some((name, ports)) => {
                let port = match &ports.destination_port {
                    Some(port) => port_to_v3(port, &format!("{field}.{}", name.to_ascii_lowercase()))?,
                    None => None,
                };
                add_ports(&mut protocol_ports, name.to_owned(), port);
            }
            None if !protocol.destination_named_port.is_empty() => {
                let name = &protocol.destination_named_port;
                name.parse::<Port>()
                    .map_err(|e| Unusable::new(format!("{field}.destinationNamedPort"), format!("{e}")))?;
                // A name, even if it is made of digits.
                add_ports(&mut protocol_ports, String::new(), Some(Port::Named(name.clone())));
            }
            // Nothing that is known here: any protocol and port.
            None => return Ok(ProtocolPorts::from([(String::new(), None)])),
        }
    }
    if protocols.is_empty() {
        protocol_ports.insert(String::new(), None);
    }
    Ok(protocol_ports)
}

fn port_to_v3(port: &ClusterPort, field: &str) -> Result<Option<Port>, Unusable> {
    let number = |n: i64| {
        u16::try_from(n)
            .map_err(|_| Unusable::new(format!("{field}.destinationPort"), format!("{n} is not a port")))
    };
    match &port.range {
        _ if port.number != 0 => Ok(Some(Port::number(number(port.number)?))),
        Some(range) => {
            let (first, last) = (number(range.start)?, number(range.end)?);
            if last < first {
                return Err(Unusable::new(
                    format!("{field}.destinationPort.range"),
                    format!("the start {first} is above the end {last}"),
                ));
            }
            Ok(Some(Port::Range(PortRange { first, last })))
        }
        None => Ok(None),
    }
}
