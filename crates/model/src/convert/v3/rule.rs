//! Rules.

use crate::convert::{Problems, net, selector};
use crate::value::{HttpMatch, Rule, RuleMetadata, WrittenProtocol};
use tortie_api::IntOrString;
use tortie_api::v3::{self, EntityRule};
use tortie_net::Cidr;

/// Rules of an object; `field` is the path of the list. `namespace` is the policy's, or empty.
pub fn rules(rules: &[v3::Rule], namespace: &str, field: &str, problems: &mut Problems) -> Vec<Rule> {
    rules.iter().enumerate().map(|(i, r)| rule(r, namespace, &format!("{field}[{i}]"), problems)).collect()
}

/// One rule.
pub fn rule(rule: &v3::Rule, namespace: &str, field: &str, problems: &mut Problems) -> Rule {
    let (source, destination) = (&rule.source, &rule.destination);
    let (icmp, not_icmp) = (rule.icmp.as_ref(), rule.not_icmp.as_ref());
    let src = side(source, namespace, &format!("{field}.source"), problems);
    let dst = side(destination, namespace, &format!("{field}.destination"), problems);
    Rule {
        action: action(&rule.action, field, problems),
        ip_version: small(rule.ip_version, &format!("{field}.ipVersion"), problems),
        protocol: protocol(rule.protocol.as_ref(), &format!("{field}.protocol"), problems),
        not_protocol: protocol(rule.not_protocol.as_ref(), &format!("{field}.notProtocol"), problems),
        icmp_type: small(icmp.and_then(|i| i.icmp_type), &format!("{field}.icmp.type"), problems),
        icmp_code: small(icmp.and_then(|i| i.code), &format!("{field}.icmp.code"), problems),
        not_icmp_type: small(not_icmp.and_then(|i| i.icmp_type), &format!("{field}.notICMP.type"), problems),
        not_icmp_code: small(not_icmp.and_then(|i| i.code), &format!("{field}.notICMP.code"), problems),
        src_nets: src.nets,
        src_selector: src.selector,
        src_ports: source.ports.clone(),
        src_service: src.service,
        src_service_ns: src.service_namespace,
        dst_nets: dst.nets,
        dst_selector: dst.selector,
        dst_ports: destination.ports.clone(),
        dst_service: dst.service,
        dst_service_ns: dst.service_namespace,
        not_src_nets: src.not_nets,
        not_src_selector: source.not_selector.clone(),
        not_src_ports: source.not_ports.clone(),
        not_dst_nets: dst.not_nets,
        not_dst_selector: destination.not_selector.clone(),
        not_dst_ports: destination.not_ports.clone(),
        orig_src_selector: source.selector.clone(),
        orig_src_namespace_selector: source.namespace_selector.clone(),
        orig_dst_selector: destination.selector.clone(),
        orig_dst_namespace_selector: destination.namespace_selector.clone(),
        not_orig_src_selector: source.not_selector.clone(),
        not_orig_dst_selector: destination.not_selector.clone(),
        orig_src_service_acct_names: src.account_names,
        orig_src_service_acct_selector: src.account_selector,
        orig_dst_service_acct_names: dst.account_names,
        orig_dst_service_acct_selector: dst.account_selector,
        http_match: rule.http.as_ref().map(|http| HttpMatch {
            methods: http.methods.clone(),
            paths: http.paths.iter().map(v3::HttpPath::to_value).collect(),
        }),
        metadata: rule
            .metadata
            .as_ref()
            .filter(|m| !m.annotations.is_empty())
            .map(|m| RuleMetadata { annotations: m.annotations.clone() }),
    }
}

/// The parts of a side that are computed.
struct Side {
    nets: Vec<Cidr>,
    not_nets: Vec<Cidr>,
    selector: String,
    service: String,
    service_namespace: String,
    account_names: Vec<String>,
    account_selector: String,
}

fn side(entity: &EntityRule, namespace: &str, field: &str, problems: &mut Problems) -> Side {
    let (service, service_namespace) = match &entity.services {
        Some(service) => (service.name.clone(), service.namespace.clone()),
        None => Default::default(),
    };
    let (account_names, account_selector) = match &entity.service_accounts {
        Some(accounts) => (accounts.names.clone(), accounts.selector.clone()),
        None => Default::default(),
    };
    Side {
        nets: nets(&entity.nets, &format!("{field}.nets"), problems),
        not_nets: nets(&entity.not_nets, &format!("{field}.notNets"), problems),
        selector: selector::entity(entity, namespace, field, problems),
        service,
        service_namespace,
        account_names,
        account_selector,
    }
}

fn action(action: &str, field: &str, problems: &mut Problems) -> String {
    if action == "Pass" {
        return "next-tier".to_owned();
    }
    let action = action.to_lowercase();
    if !matches!(action.as_str(), "allow" | "deny" | "log" | "pass" | "next-tier") {
        problems.fatal(
            &format!("{field}.action"),
            format!("{action:?} is no action; use Allow, Deny, Log or Pass"),
        );
    }
    action
}

fn small(number: Option<i64>, field: &str, problems: &mut Problems) -> Option<i64> {
    if let Some(number) = number.filter(|n| u8::try_from(*n).is_err()) {
        problems.fatal(field, format!("{number} is not between 0 and 255"));
    }
    number
}

/// A protocol as it is written. One that does not exist is passed on if the model can hold it.
fn protocol(protocol: Option<&IntOrString>, field: &str, problems: &mut Problems) -> Option<WrittenProtocol> {
    match written(protocol?) {
        Ok(protocol) => {
            if let Err(error) = protocol.protocol() {
                problems.fatal(field, error.to_string());
            }
            Some(protocol)
        }
        Err(error) => {
            problems.fatal(field, error);
            None
        }
    }
}

/// A protocol in the words of the model.
pub(super) fn written(protocol: &IntOrString) -> Result<WrittenProtocol, String> {
    match protocol {
        IntOrString::Int(number) => u8::try_from(*number)
            .map(WrittenProtocol::Number)
            .map_err(|_| format!("{number} is not between 1 and 255")),
        IntOrString::String(text) => Ok(WrittenProtocol::from_text(text).lower_case()),
    }
}

/// CIDRs with host bits cleared. A text that is none is left out and reported: the list could then match too much
/// (empty means any), so that is fatal.
fn nets(texts: &[String], field: &str, problems: &mut Problems) -> Vec<Cidr> {
    let mut nets = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        match net(text) {
            Ok(net) => nets.push(net),
            Err(error) => problems.fatal(&format!("{field}[{i}]"), format!("{error}")),
        }
    }
    nets
}

/// CIDRs with host bits cleared; what is no CIDR is left out.
pub fn normalize_nets(texts: &[String]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| net(text).ok()).collect()
}
