//! Policies, tiers, profiles, and their rules.

use super::format::Format;
use super::schema::{
    Default, Field, Report, Schema, boolean, field, formatted, given, int32, integer, list_of, number,
    number_or_text, object as table, one_of, port, protocol, text as any_text, texts,
};
use super::{has, list, object, text, truth};
use crate::{IntOrString, Map};
use serde_json::Value;
use tortie_net::{Cidr, Family, Port};
use tortie_selector::{TokenKind, tokenize};

const MAX_RULES: usize = 1024;
const MAX_SELECTOR: usize = 1024;
const MAX_NETS: usize = 256;
const MAX_PORTS: usize = 50;

const SELECTOR: Schema = formatted(Format::Selector).max_len(MAX_SELECTOR);
const ORDER: Field = given("order", number());
const TIER_FIELD: Field = field("tier", formatted(Format::Name)).default(Default::Text("default"));
const TYPES: Field = given("types", list_of(&one_of(&["Ingress", "Egress"])).items(0, 2).strict_unique());
const HINTS: Field =
    given("performanceHints", list_of(&one_of(&["AssumeNeededOnEveryNode"]).strict()).strict_unique());
const INGRESS: Field = given("ingress", list_of(&RULE).items(0, MAX_RULES));
const EGRESS: Field = given("egress", list_of(&RULE).items(0, MAX_RULES));
const SELECTOR_FIELD: Field = field("selector", SELECTOR);
const ACCOUNTS: Field = field("serviceAccountSelector", SELECTOR);
const NAMESPACES: Field = field("namespaceSelector", SELECTOR);
const STAGED: Field =
    field("stagedAction", one_of(&["Set", "Delete", "Learn", "Ignore"])).default(Default::Text("Set"));
const UNTRACKED: Field = field("doNotTrack", boolean());
const PRE_DNAT: Field = field("preDNAT", boolean());
const FORWARD: Field = field("applyOnForward", boolean());

pub(super) static NETWORK_POLICY: Schema =
    table(&[TIER_FIELD, ORDER, INGRESS, EGRESS, SELECTOR_FIELD, TYPES, ACCOUNTS, HINTS]).check(namespaced);
pub(super) static STAGED_NETWORK_POLICY: Schema =
    table(&[STAGED, TIER_FIELD, ORDER, INGRESS, EGRESS, SELECTOR_FIELD, TYPES, ACCOUNTS, HINTS])
        .check(staged_namespaced);
pub(super) static GLOBAL_NETWORK_POLICY: Schema = table(&[
    TIER_FIELD,
    ORDER,
    INGRESS,
    EGRESS,
    SELECTOR_FIELD,
    TYPES,
    UNTRACKED,
    PRE_DNAT,
    FORWARD,
    ACCOUNTS,
    NAMESPACES,
    HINTS,
])
.check(global);
pub(super) static STAGED_GLOBAL_NETWORK_POLICY: Schema = table(&[
    STAGED,
    TIER_FIELD,
    ORDER,
    INGRESS,
    EGRESS,
    SELECTOR_FIELD,
    TYPES,
    UNTRACKED,
    PRE_DNAT,
    FORWARD,
    ACCOUNTS,
    NAMESPACES,
    HINTS,
])
.check(staged_global);
pub(super) static STAGED_KUBERNETES_NETWORK_POLICY: Schema = table(&[
    STAGED,
    given("podSelector", LABEL_SELECTOR),
    given("ingress", list_of(&KUBERNETES_RULE)),
    given("egress", list_of(&KUBERNETES_RULE)),
    given("policyTypes", list_of(&any_text()).items(0, 2)),
])
.check(staged_kubernetes);
pub(super) static PROFILE: Schema = table(&[
    field("ingress", list_of(&RULE)),
    field("egress", list_of(&RULE)),
    field("labelsToApply", texts().format(Format::Labels)),
]);
pub(super) static TIER: Schema = table(&[
    ORDER,
    given("defaultAction", one_of(&["Deny", "Pass"]).strict()).default(Default::Text("Deny")),
]);

const LABEL_SELECTOR: Schema = table(&[
    field("matchLabels", texts()),
    field(
        "matchExpressions",
        list_of(&table(&[
            field("key", any_text()).always().required(),
            field("operator", any_text()).always().required(),
            field("values", list_of(&any_text())),
        ])),
    ),
]);
const KUBERNETES_PEER: Schema = table(&[
    field("podSelector", LABEL_SELECTOR),
    field("namespaceSelector", LABEL_SELECTOR),
    field(
        "ipBlock",
        table(&[
            field("cidr", any_text().client_format(Format::StrictCidr)).always().required(),
            field("except", list_of(&any_text().client_format(Format::StrictCidr))),
        ]),
    ),
]);
const KUBERNETES_RULE: Schema = table(&[
    field("from", list_of(&KUBERNETES_PEER)),
    field("to", list_of(&KUBERNETES_PEER)),
    field(
        "ports",
        list_of(&table(&[
            given("protocol", any_text()),
            given("port", number_or_text()),
            given("endPort", int32()),
        ])),
    ),
]);

const ICMP: Schema = table(&[given("type", integer().range(0, 254)), given("code", integer().range(0, 255))])
    .check(|map, path, report| {
        if has(map, "code") && !has(map, "type") {
            report.schema(format!("{path}.code"), "needs a type");
        }
    });

const ENTITY: Schema = table(&[
    field("nets", list_of(&formatted(Format::Net)).items(0, MAX_NETS).unique()),
    field("selector", SELECTOR),
    field("namespaceSelector", SELECTOR),
    field(
        "services",
        table(&[
            field("name", formatted(Format::Name).max_len(253)),
            field("namespace", formatted(Format::Name).max_len(253)),
        ]),
    ),
    field("ports", list_of(&port()).items(0, MAX_PORTS)),
    field("notNets", list_of(&formatted(Format::Net)).items(0, MAX_NETS).unique()),
    field("notSelector", SELECTOR),
    field("notPorts", list_of(&port()).items(0, MAX_PORTS)),
    field(
        "serviceAccounts",
        table(&[
            field("names", list_of(&any_text()).unique()),
            field("selector", formatted(Format::Selector)),
        ]),
    ),
])
.check(entity);

const HTTP: Schema = table(&[
    field("methods", list_of(&any_text()).items(0, 20).strict_unique()),
    field(
        "paths",
        list_of(
            &table(&[field("exact", any_text().max_len(1024)), field("prefix", any_text().max_len(1024))])
                .check(http_path),
        )
        .items(0, 20),
    ),
]);

pub(super) static RULE: Schema = table(&[
    field("action", one_of(&["Allow", "Deny", "Log", "Pass"])).always().required(),
    given("ipVersion", integer().words(&["4", "6"])),
    field("protocol", protocol()),
    field("icmp", ICMP),
    field("notProtocol", protocol()),
    field("notICMP", ICMP),
    field("source", ENTITY),
    field("destination", ENTITY),
    field("http", HTTP),
    field("metadata", table(&[field("annotations", texts().format(Format::Annotations))])),
])
.check(rule);

fn http_path(map: &Map, path: &str, report: &mut Report) {
    let (exact, prefix) = (text(map, "exact"), text(map, "prefix"));
    let value = match (exact.is_empty(), prefix.is_empty()) {
        (false, false) => return report.form(path, "has both exact and prefix; keep one"),
        (true, true) => return report.form(path, "needs exact or prefix"),
        (false, true) => exact,
        (true, false) => prefix,
    };
    if !value.starts_with('/') || value.contains(['?', ' ', '#']) {
        report.form(
            path,
            format!("{value:?} is not a path: it must start with \"/\" and hold no \"?\", \"#\" or space"),
        );
    }
}

/// `global()` selects what is in no namespace; it must stand alone.
fn no_global(map: &Map, key: &str, path: &str, report: &mut Report) {
    if text(map, key).contains("global(") {
        report.schema(format!("{path}.{key}"), "global() is not allowed here");
    }
}

fn entity(map: &Map, path: &str, report: &mut Report) {
    let namespaces = text(map, "namespaceSelector");
    if namespaces.contains("global(") && namespaces != "global()" {
        let alone = tokenize(namespaces).is_ok_and(|tokens| {
            tokens.len() <= 2 && tokens.first().is_some_and(|t| t.kind == TokenKind::Global)
        });
        if !alone {
            report.form(format!("{path}.namespaceSelector"), "global() must stand alone");
        }
    }
    no_global(map, "selector", path, report);
    let Some(services) = object(map, "services") else { return };
    let services_path = format!("{path}.services");
    if text(services, "name").is_empty() {
        report.schema(format!("{services_path}.name"), "is missing");
    }
    let excludes = |keys: &[&str]| keys.iter().any(|k| !text(map, k).is_empty() || !list(map, k).is_empty());
    if excludes(&["namespaceSelector"]) {
        report.schema(&*services_path, "cannot be combined with namespaceSelector");
    }
    if has(map, "serviceAccounts") {
        report.schema(&*services_path, "cannot be combined with serviceAccounts");
    }
    if excludes(&["selector", "notSelector"]) {
        report.schema(&*services_path, "cannot be combined with selector or notSelector");
    }
    if excludes(&["nets", "notNets"]) {
        report.schema(services_path, "cannot be combined with nets or notNets");
    }
}

/// The protocol of a rule by its number; 0 if it has none that is known.
fn protocol_number(map: &Map, key: &str) -> Option<u8> {
    let value = map.get(key).filter(|v| !v.is_null())?;
    let value: IntOrString = serde_json::from_value(value.clone()).ok()?;
    Some(value.to_protocol().map_or(0, |p| p.0))
}

const SIDES: [&str; 2] = ["source", "destination"];

fn rule(map: &Map, path: &str, report: &mut Report) {
    let empty = Map::new();
    let side = |name: &str| object(map, name).unwrap_or(&empty);
    let protocol = protocol_number(map, "protocol");
    for name in SIDES {
        for key in ["ports", "notPorts"] {
            rule_ports(list(side(name), key), protocol, &format!("{path}.{name}.{key}"), report);
        }
    }
    rule_nets(map, path, report);

    // The schema compares literally: TCP is TCP or 6, not "6".
    let is = |key: &str, name: &str, number: i64| {
        map.get(key).is_some_and(|v| v.as_str() == Some(name) || v.as_i64() == Some(number))
    };
    if has(map, "http") {
        if has(map, "protocol") && !is("protocol", "TCP", 6) {
            report.schema(format!("{path}.protocol"), "must be TCP, or absent, where http is matched");
        }
        if text(map, "action") != "Allow" {
            report.schema(format!("{path}.http"), "can only be matched by rules that allow");
        }
    }
    let destination = side("destination");
    if has(destination, "services")
        && !(list(destination, "ports").is_empty() && list(destination, "notPorts").is_empty())
    {
        report.schema(
            format!("{path}.destination.services"),
            "cannot be combined with ports: the ports are those of the service",
        );
    }
    if has(map, "icmp") && !is("protocol", "ICMP", 1) && !is("protocol", "ICMPv6", 58) {
        report.schema(format!("{path}.icmp"), "needs protocol ICMP or ICMPv6");
    }
    let version = map.get("ipVersion").and_then(Value::as_i64);
    for key in ["protocol", "notProtocol"] {
        for (name, number, needed) in [("ICMP", 1, 4), ("ICMPv6", 58, 6)] {
            if is(key, name, number) && version.is_some_and(|v| v != needed) {
                report.schema(format!("{path}.ipVersion"), format!("must be {needed} where {key} is {name}"));
            }
        }
    }
}

fn rule_ports(ports: &[Value], protocol: Option<u8>, path: &str, report: &mut Report) {
    let named = |v: &Value| matches!(serde_json::from_value::<Port>(v.clone()), Ok(Port::Named(_)) | Err(_));
    match protocol {
        None if !ports.iter().all(named) => {
            report.form(path, "need a protocol: set it to TCP, UDP or SCTP");
        }
        Some(number) if !ports.is_empty() && !matches!(number, 6 | 17 | 132) => {
            report.form(path, "need a protocol with ports: TCP, UDP or SCTP");
        }
        _ => {}
    }
}

/// All prefixes of a rule are of one family.
fn rule_nets(map: &Map, path: &str, report: &mut Report) {
    let version = map.get("ipVersion").and_then(Value::as_i64);
    let mut seen: Option<Family> = None;
    for name in SIDES {
        for key in ["nets", "notNets"] {
            let nets = object(map, name).map_or(&[][..], |side| list(side, key));
            let path = format!("{path}.{name}.{key}");
            let mut mixed = false;
            for (i, net) in nets.iter().enumerate() {
                let Some(net) = net.as_str() else { continue };
                let path = format!("{path}[{i}]");
                if net.is_empty() {
                    report.form(path, "is empty; remove it");
                    continue;
                }
                let cidr = match net.parse::<Cidr>() {
                    Ok(cidr) if net.contains('/') => cidr,
                    Ok(cidr) => {
                        report.form(path, format!("{net:?} is an address; write it as the prefix {cidr}"));
                        continue;
                    }
                    // Said by the format.
                    Err(_) => continue,
                };
                let family = cidr.to_canonical().family();
                if key == "notNets" && cidr.is_any() && (family == Family::V6 || net == "0.0.0.0/0") {
                    report.form(&*path, format!("{net} excludes everything, so the rule matches nothing"));
                }
                if version.is_some_and(|v| v != i64::from(family.version())) {
                    report.form(path, format!("{net} is not of the rule's ipVersion"));
                }
                mixed |= seen.is_some_and(|s| s != family);
                seen = seen.or(Some(family));
            }
            if mixed {
                report.form(path, "a rule cannot hold prefixes of IPv4 and IPv6; write a rule for each");
            }
        }
    }
}

/// Rules of any policy: where services and HTTP may be matched.
fn rules(map: &Map, path: &str, global: bool, report: &mut Report) {
    let service = |rule: &Value, side: &str| {
        rule.get(side).and_then(|s| s.get("services")).is_some_and(|s| !s.is_null())
    };
    let without_namespace =
        |rule: &Value, side: &str| rule[side]["services"]["namespace"].as_str().unwrap_or("").is_empty();
    for (key, own, other) in [("ingress", "source", "destination"), ("egress", "destination", "source")] {
        for (i, rule) in list(map, key).iter().enumerate() {
            let path = format!("{path}.{key}[{i}]");
            if service(rule, other) {
                report.form(
                    format!("{path}.{other}.services"),
                    format!("can only be matched as {own} of {key} rules"),
                );
            }
            if global && service(rule, own) && without_namespace(rule, own) {
                report.form(
                    format!("{path}.{own}.services.namespace"),
                    "is missing; a global policy has no namespace of its own",
                );
            }
            if key == "egress" && rule.get("http").is_some_and(|h| !h.is_null()) {
                report.form(format!("{path}.http"), "can only be matched by ingress rules");
            }
        }
    }
}

fn namespaced(map: &Map, path: &str, report: &mut Report) {
    rules(map, path, false, report);
    no_global(map, "selector", path, report);
    no_global(map, "serviceAccountSelector", path, report);
}

fn global(map: &Map, path: &str, report: &mut Report) {
    rules(map, path, true, report);
    global_schema(map, path, report);
}

fn global_schema(map: &Map, path: &str, report: &mut Report) {
    for key in ["selector", "serviceAccountSelector", "namespaceSelector"] {
        no_global(map, key, path, report);
    }
    let (untracked, pre_dnat) = (truth(map, "doNotTrack"), truth(map, "preDNAT"));
    if untracked && pre_dnat {
        report.schema(format!("{path}.preDNAT"), "cannot be combined with doNotTrack");
    }
    if pre_dnat && !list(map, "egress").is_empty() {
        report.schema(format!("{path}.egress"), "a policy before DNAT cannot have egress rules");
    }
    if pre_dnat && list(map, "types").iter().any(|t| t == "Egress") {
        report.schema(format!("{path}.types"), "a policy before DNAT cannot be of type Egress");
    }
    if (untracked || pre_dnat) && !truth(map, "applyOnForward") {
        report.schema(format!("{path}.applyOnForward"), "must be true where doNotTrack or preDNAT is");
    }
}

/// A staged deletion says nothing but what it deletes.
fn only_tier(map: &Map, path: &str, report: &mut Report) {
    let said = STAGED_FIELDS.iter().any(|field| match map.get(*field) {
        None | Some(Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    });
    if said {
        report.form(path, "must hold nothing but tier and stagedAction where stagedAction is Delete");
    }
}

/// What a policy that is to be staged says about its effect.
const STAGED_FIELDS: [&str; 11] = [
    "order",
    "ingress",
    "egress",
    "selector",
    "types",
    "doNotTrack",
    "preDNAT",
    "applyOnForward",
    "serviceAccountSelector",
    "namespaceSelector",
    "performanceHints",
];

fn staged_namespaced(map: &Map, path: &str, report: &mut Report) {
    if text(map, "stagedAction") == "Delete" {
        only_tier(map, path, report);
    } else {
        rules(map, path, false, report);
    }
    no_global(map, "selector", path, report);
    no_global(map, "serviceAccountSelector", path, report);
}

fn staged_global(map: &Map, path: &str, report: &mut Report) {
    if text(map, "stagedAction") == "Delete" {
        only_tier(map, path, report);
    } else {
        rules(map, path, true, report);
    }
    global_schema(map, path, report);
}

fn staged_kubernetes(map: &Map, path: &str, report: &mut Report) {
    if text(map, "stagedAction") == "Delete" {
        let selector = object(map, "podSelector");
        let selects = selector.is_some_and(|s| has(s, "matchLabels") || has(s, "matchExpressions"));
        if selects || ["ingress", "egress", "policyTypes"].iter().any(|key| has(map, key)) {
            report.form(path, "must hold nothing but stagedAction where that is Delete");
        }
        return;
    }
    for key in ["ingress", "egress"] {
        for (i, rule) in list(map, key).iter().enumerate() {
            let ports = rule.get("ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for (j, port) in ports.iter().filter_map(Value::as_object).enumerate() {
                kubernetes_port(port, &format!("{path}.{key}[{i}].ports[{j}]"), report);
            }
        }
    }
}

/// A port of a Kubernetes rule: one or a range, of a protocol with ports.
fn kubernetes_port(port: &Map, path: &str, report: &mut Report) {
    if has(port, "protocol") && !["TCP", "UDP", "SCTP"].contains(&text(port, "protocol")) {
        report.client(format!("{path}.protocol"), "must be TCP, UDP or SCTP");
    }
    let last = port.get("endPort").and_then(Value::as_i64);
    let Some(first) = port.get("port") else {
        if last.is_some() {
            report.client(format!("{path}.endPort"), "needs port");
        }
        return;
    };
    let first = first.as_str().map_or_else(|| first.to_string(), str::to_owned);
    let range = last.map_or_else(|| first.clone(), |last| format!("{first}:{last}"));
    match range.parse::<Port>() {
        Err(error) if last.is_some() => report.form(format!("{path}.endPort"), error.to_string()),
        Err(error) => report.form(format!("{path}.port"), error.to_string()),
        Ok(Port::Range(range)) if range.first == 0 => {
            report.client(format!("{path}.port"), "ports begin at 1");
        }
        Ok(Port::Range(_)) => {}
        Ok(Port::Named(name)) => {
            if let Err(message) = Format::PortName.check(&name) {
                report.client(format!("{path}.port"), message);
            }
        }
    }
}

/// Tiers of the system have fixed order and action. `value` is the whole object, defaults filled in.
pub(super) fn system_tier(value: &Map, report: &mut Report) {
    let name = object(value, "metadata").map_or("", |m| text(m, "name"));
    let (order, action) = match name {
        "default" => (1_000_000.0, "Deny"),
        "kube-admin" => (1_000.0, "Pass"),
        "kube-baseline" => (10_000_000.0, "Pass"),
        _ => return,
    };
    let empty = Map::new();
    let spec = object(value, "spec").unwrap_or(&empty);
    if text(spec, "defaultAction") != action {
        report.schema("spec.defaultAction", format!("must be {action} in tier {name}"));
    }
    if spec.get("order").and_then(Value::as_f64) != Some(order) {
        report.schema("spec.order", format!("must be {order} in tier {name}"));
    }
}

/// What a client fills in: types from the rules, and the label with the tier.
pub(super) fn prepare(value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    let mut tier = String::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        text(spec, "tier").clone_into(&mut tier);
        if list(spec, "types").is_empty() {
            let types = match (list(spec, "ingress").is_empty(), list(spec, "egress").is_empty()) {
                (_, true) => vec!["Ingress"],
                (true, false) => vec!["Egress"],
                (false, false) => vec!["Ingress", "Egress"],
            };
            spec.insert("types".to_owned(), types.into());
        }
    }
    let tier = if tier.is_empty() { crate::v3::DEFAULT_TIER.to_owned() } else { tier };
    let metadata = object.entry("metadata").or_insert_with(|| Map::new().into());
    if let Some(metadata) = metadata.as_object_mut() {
        let labels = metadata.entry("labels").or_insert_with(|| Map::new().into());
        if labels.is_null() {
            *labels = Map::new().into();
        }
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(crate::v3::LABEL_TIER.to_owned(), tier.into());
        }
    }
}
