//! networking.k8s.io NetworkPolicy.

use super::ports::simplify_ports;
use crate::convert::Problems;
use std::collections::BTreeMap;
use tortie_api::k8s::{self, LabelSelector, Peer, PolicyPort};
use tortie_api::{IntOrString, v3};
use tortie_net::{Cidr, Port};

/// Order of every Kubernetes policy in its tier.
const ORDER: f64 = 1000.0;

/// The policy, without the rules that cannot be converted; those are reported.
///
/// The object is taken as it is: an API server, or [`super::defaults`], has filled in the policy types.
pub fn network_policy(policy: &k8s::NetworkPolicy, problems: &mut Problems) -> v3::NetworkPolicy {
    let (metadata, spec) = (&policy.metadata, &policy.spec);
    let mut ingress = Vec::new();
    for (i, rule) in spec.ingress.iter().enumerate() {
        let field = format!("spec.ingress[{i}]");
        match rule_to_v3(&rule.from, &rule.ports, Direction::Ingress) {
            Ok(rules) => ingress.extend(rules),
            Err(unusable) => unusable.report(&field, problems),
        }
    }
    let mut egress = Vec::new();
    for (i, rule) in spec.egress.iter().enumerate() {
        let field = format!("spec.egress[{i}]");
        match rule_to_v3(&rule.to, &rule.ports, Direction::Egress) {
            Ok(rules) => egress.extend(rules),
            Err(unusable) => unusable.report(&field, problems),
        }
    }
    let selector = pod_selector(Some(&spec.pod_selector)).unwrap_or_else(|unusable| {
        problems.fatal(&format!("spec.podSelector{}", unusable.field), unusable.message);
        String::new()
    });
    let mut types: Vec<String> = ["Ingress", "Egress"]
        .into_iter()
        .filter(|t| spec.policy_types.iter().any(|given| given == t))
        .map(str::to_owned)
        .collect();
    if types.is_empty() {
        types.push("Ingress".to_owned());
    }
    let mut converted = v3::NetworkPolicy::with_spec(
        &metadata.namespace,
        &metadata.name,
        v3::NetworkPolicySpec {
            tier: v3::DEFAULT_TIER.to_owned(),
            order: Some(ORDER),
            selector,
            ingress,
            egress,
            types,
            ..v3::NetworkPolicySpec::default()
        },
    );
    converted.metadata.creation_timestamp.clone_from(&metadata.creation_timestamp);
    converted.metadata.resource_version.clone_from(&metadata.resource_version);
    converted.metadata.uid = super::converted_uid(&metadata.uid).unwrap_or_default();
    converted
}

/// Why a rule cannot be used, and where in it.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) field: String,
    pub(super) message: String,
}

impl Unusable {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    fn below(self, field: &str) -> Self {
        Self { field: format!("{field}{}", self.field), message: self.message }
    }

    fn report(self, rule: &str, problems: &mut Problems) {
        problems.dropped(&format!("{rule}{}", self.field), format!("{}; the rule is left out", self.message));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

/// Ports by protocol, in the order of the protocols' names. Empty text is any protocol, no list is every port.
pub(super) type ProtocolPorts = BTreeMap<String, Option<Vec<Port>>>;

/// Adds ports of a protocol; every port swallows some.
pub(super) fn add_ports(to: &mut ProtocolPorts, protocol: String, port: Option<Port>) {
    let ports = to.entry(protocol).or_insert_with(|| Some(Vec::new()));
    match (port, ports.as_mut()) {
        (Some(port), Some(ports)) => ports.push(port),
        (None, _) => *ports = None,
        (Some(_), None) => {}
    }
}

/// One rule per protocol and peer.
fn rule_to_v3(peers: &[Peer], ports: &[PolicyPort], direction: Direction) -> Result<Vec<v3::Rule>, Unusable> {
    let side = if direction == Direction::Ingress { "from" } else { "to" };
    let mut protocol_ports = ProtocolPorts::new();
    for (i, port) in ports.iter().enumerate() {
        let (protocol, port) = port_to_v3(port).map_err(|u| u.below(&format!(".ports[{i}]")))?;
        add_ports(&mut protocol_ports, protocol, port);
    }
    if ports.is_empty() {
        protocol_ports.insert(String::new(), None);
    }
    let mut entities = Vec::with_capacity(peers.len().max(1));
    for (i, peer) in peers.iter().enumerate() {
        entities.push(peer_to_v3(peer).map_err(|u| u.below(&format!(".{side}[{i}]")))?);
    }
    if peers.is_empty() {
        entities.push(v3::EntityRule::default());
    }
    let mut rules = Vec::with_capacity(protocol_ports.len() * entities.len());
    for (protocol, ports) in protocol_ports {
        let ports = simplify_ports(ports.unwrap_or_default());
        for entity in &entities {
            let mut rule = v3::Rule { action: "Allow".to_owned(), ..v3::Rule::default() };
            if !protocol.is_empty() {
                rule.protocol = Some(IntOrString::String(protocol.clone()));
            }
            match direction {
                Direction::Ingress => {
                    rule.source = entity.clone();
                    rule.destination.ports.clone_from(&ports);
                }
                Direction::Egress => {
                    rule.destination = v3::EntityRule { ports: ports.clone(), ..entity.clone() };
                }
            }
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// Protocol and port, or every port. TCP unless it says otherwise.
fn port_to_v3(port: &PolicyPort) -> Result<(String, Option<Port>), Unusable> {
    let protocol = match &port.protocol {
        None => "TCP".to_owned(),
        Some(text) => {
            let protocol = IntOrString::from(text.as_str())
                .to_protocol()
                .map_err(|e| Unusable::new(".protocol", e.to_string()))?;
            protocol.to_string()
        }
    };
    let Some(number) = &port.port else { return Ok((protocol, None)) };
    let text = match port.end_port {
        None => number.to_string(),
        Some(end) => format!("{number}:{end}"),
    };
    let port = text.parse::<Port>().map_err(|e| Unusable::new(".port", e.to_string()))?;
    Ok((protocol, Some(port)))
}

fn peer_to_v3(peer: &Peer) -> Result<v3::EntityRule, Unusable> {
    let cidr = |text: &str, field: &str| -> Result<String, Unusable> {
        let parsed = if text.contains('/') { text.parse::<Cidr>().ok() } else { None };
        parsed.map(|c| c.to_string()).ok_or_else(|| {
            Unusable::new(field, format!("{text:?} is not a CIDR; write it as 10.0.0.0/16 or fd00::/64"))
        })
    };
    if let Some(block) = &peer.ip_block {
        let mut not_nets = Vec::with_capacity(block.except.len());
        for (i, except) in block.except.iter().enumerate() {
            not_nets.push(cidr(except, &format!(".ipBlock.except[{i}]"))?);
        }
        let nets = vec![cidr(&block.cidr, ".ipBlock.cidr")?];
        return Ok(v3::EntityRule { nets, not_nets, ..v3::EntityRule::default() });
    }
    Ok(v3::EntityRule {
        selector: pod_selector(peer.pod_selector.as_ref()).map_err(|u| u.below(".podSelector"))?,
        namespace_selector: match &peer.namespace_selector {
            Some(selector) => namespace_selector(selector).map_err(|u| u.below(".namespaceSelector"))?,
            None => String::new(),
        },
        ..v3::EntityRule::default()
    })
}

/// Pods alone: without the condition on the orchestrator host endpoints would match too.
pub(super) fn pod_selector(selector: Option<&LabelSelector>) -> Result<String, Unusable> {
    let mut terms = vec![format!("{} == 'k8s'", v3::LABEL_ORCHESTRATOR)];
    if let Some(selector) = selector {
        terms.extend(selector_terms(selector)?);
    }
    Ok(terms.join(" && "))
}

/// Namespaces; an empty selector is all of them.
pub(super) fn namespace_selector(selector: &LabelSelector) -> Result<String, Unusable> {
    let terms = selector_terms(selector)?;
    Ok(if terms.is_empty() { "all()".to_owned() } else { terms.join(" && ") })
}

fn selector_terms(selector: &LabelSelector) -> Result<Vec<String>, Unusable> {
    let mut terms = Vec::with_capacity(selector.match_labels.len() + selector.match_expressions.len());
    for (key, value) in &selector.match_labels {
        let field = format!(".matchLabels[{key}]");
        terms.push(format!("{} == {}", label(key, &field)?, quoted(value, &field)?));
    }
    for (i, expression) in selector.match_expressions.iter().enumerate() {
        let field = format!(".matchExpressions[{i}]");
        let key = label(&expression.key, &format!("{field}.key"))?;
        let values = || -> Result<String, Unusable> {
            let field = format!("{field}.values");
            let quoted: Result<Vec<_>, _> = expression.values.iter().map(|v| quoted(v, &field)).collect();
            let quoted = quoted?;
            Ok(if quoted.is_empty() { "''".to_owned() } else { quoted.join(", ") })
        };
        terms.push(match expression.operator.as_str() {
            "In" => format!("{key} in {{ {} }}", values()?),
            "NotIn" => format!("{key} not in {{ {} }}", values()?),
            "Exists" => format!("has({key})"),
            "DoesNotExist" => format!("! has({key})"),
            other => {
                return Err(Unusable::new(
                    format!("{field}.operator"),
                    format!("{other:?} is no operator; use In, NotIn, Exists or DoesNotExist"),
                ));
            }
        });
    }
    Ok(terms)
}

fn label<'l>(key: &'l str, field: &str) -> Result<&'l str, Unusable> {
    if tortie_selector::is_valid_label(key) {
        Ok(key)
    } else {
        Err(Unusable::new(
            field,
            format!("{key:?} is not a label; use letters, digits, \"-\", \"_\", \".\" and \"/\""),
        ))
    }
}

fn quoted(value: &str, field: &str) -> Result<String, Unusable> {
    match (value.contains('\''), value.contains('"')) {
        (false, _) => Ok(format!("'{value}'")),
        (true, false) => Ok(format!("\"{value}\"")),
        (true, true) => {
            Err(Unusable::new(field, format!("{value:?} is not the value of a label: it holds both quotes")))
        }
    }
}
