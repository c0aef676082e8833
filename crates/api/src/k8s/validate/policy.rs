//! Network policies, with every field.

use super::form::Net;
use super::{NOTHING, Report, port, selector};
use crate::Map;
use serde_json::Value;

const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

const TYPES: &[&str] = &["Ingress", "Egress"];

/// Everything but the values in the metadata. The status is its writer's affair.
pub(super) fn check(object: &Map, report: &mut Report) {
    report.only("", object, &["apiVersion", "kind", "metadata", "spec", "status"]);
    if let Some(metadata) = object.get("metadata").and_then(Value::as_object) {
        report.only("metadata", metadata, METADATA);
    }
    let absent = object.get("spec").is_none_or(Value::is_null);
    let spec = match report.object("spec", object.get("spec")) {
        Some(spec) => spec,
        None if absent => &NOTHING,
        None => return,
    };
    report.only("spec", spec, &["podSelector", "policyTypes", "ingress", "egress"]);
    // A missing podSelector is an empty one, as in an API server: every pod of the namespace.
    selector::check("spec.podSelector", spec.get("podSelector"), report);
    types(spec.get("policyTypes"), report);
    rules("ingress", "from", spec, report);
    rules("egress", "to", spec, report);
}

fn types(types: Option<&Value>, report: &mut Report) {
    let path = "spec.policyTypes";
    let types = report.list(path, types);
    if types.len() > TYPES.len() {
        report.say(path, "has more than two types; write each of Ingress and Egress once at most");
    }
    for (i, value) in types.iter().enumerate() {
        if !value.as_str().is_some_and(|text| TYPES.contains(&text)) {
            report.say(&format!("{path}[{i}]"), format!("{value} is no type; write Ingress or Egress"));
        }
    }
}

fn rules(direction: &str, side: &str, spec: &Map, report: &mut Report) {
    let path = format!("spec.{direction}");
    for (i, rule) in report.list(&path, spec.get(direction)).iter().enumerate() {
        let path = format!("{path}[{i}]");
        let rule = report.element(&path, rule);
        report.only(&path, rule, &["ports", side]);
        port::of_rule(&format!("{path}.ports"), rule.get("ports"), report);
        let path = format!("{path}.{side}");
        for (i, peer) in report.list(&path, rule.get(side)).iter().enumerate() {
            self::peer(&format!("{path}[{i}]"), peer, report);
        }
    }
}

fn peer(path: &str, peer: &Value, report: &mut Report) {
    if !peer.is_null() && !peer.is_object() {
        report.object(path, Some(peer));
        return;
    }
    let peer = report.element(path, peer);
    report.only(path, peer, &["podSelector", "namespaceSelector", "ipBlock"]);
    let has = |field: &str| peer.get(field).is_some_and(|value| !value.is_null());
    let selects = has("podSelector") || has("namespaceSelector");
    if !selects && !has("ipBlock") {
        report.say(
            path,
            "a peer needs a podSelector, a namespaceSelector or an ipBlock; write podSelector: {} for every pod of the namespace",
        );
    }
    if selects && has("ipBlock") {
        report.say(
            &format!("{path}.ipBlock"),
            "is no condition beside selectors; write it as a peer of its own, which is another element of the list",
        );
    }
    selector::check(&format!("{path}.podSelector"), peer.get("podSelector"), report);
    selector::check(&format!("{path}.namespaceSelector"), peer.get("namespaceSelector"), report);
    if has("ipBlock") {
        block(&format!("{path}.ipBlock"), peer.get("ipBlock"), report);
    }
}

fn block(path: &str, block: Option<&Value>, report: &mut Report) {
    let Some(block) = report.object(path, block) else { return };
    report.only(path, block, &["cidr", "except"]);
    let of_cidr = format!("{path}.cidr");
    let cidr = match block.get("cidr").filter(|value| !value.is_null()) {
        None => {
            report.say(&of_cidr, "is missing; write a CIDR, as 10.0.0.0/8 or fd00::/8");
            None
        }
        value => net(&of_cidr, value, report),
    };
    let path = format!("{path}.except");
    for (i, except) in report.list(&path, block.get("except")).iter().enumerate() {
        let path = format!("{path}[{i}]");
        if except.is_null() {
            report.say(&path, "is null; write a CIDR inside cidr");
        }
        if let (Some(except), Some(cidr)) = (net(&path, Some(except), report), cidr)
            && !cidr.has_inside(except)
        {
            report.say(&path, "is not inside cidr; write a smaller CIDR of the same family inside it");
        }
    }
}

fn net(path: &str, value: Option<&Value>, report: &mut Report) -> Option<Net> {
    let text = report.text(path, value)?;
    let net = Net::parse(text);
    if net.is_none() {
        report.say(
            path,
            format!("{text:?} is no CIDR; write an address, a slash and a length, as 10.0.0.0/8 or fd00::/8"),
        );
    }
    net
}
