//! Ports of containers and of network policies.

use super::{Report, describe, form};
use serde_json::Value;
use std::collections::BTreeSet;

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

/// A whole number, also if it is written with a fraction of zero, which conversion from YAML drops.
pub(super) fn integer(value: &Value) -> Option<i64> {
    let fraction = || value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
    value.as_i64().or_else(|| format!("{:.0}", fraction()?).parse().ok())
}

fn number(path: &str, number: i64, report: &mut Report) {
    if !(1..=65535).contains(&number) {
        report.say(path, format!("{number} is no port; write a number from 1 to 65535"));
    }
}

fn protocol(path: &str, text: &str, report: &mut Report) {
    if !PROTOCOLS.contains(&text) {
        report.say(path, format!("{text:?} is no protocol here; write one of {}", PROTOCOLS.join(", ")));
    }
}

/// The ports of a container.
pub(super) fn of_container(path: &str, ports: Option<&Value>, report: &mut Report) {
    let mut names = BTreeSet::new();
    for (i, port) in report.list(path, ports).iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(port) = report.object(&path, Some(port)) else {
            if port.is_null() {
                report.say(&path, "is null; write at least a containerPort");
            }
            continue;
        };
        let of_number = format!("{path}.containerPort");
        match port.get("containerPort").filter(|value| !value.is_null()) {
            None => report.say(&of_number, "is missing; write a number from 1 to 65535"),
            value => {
                if let Some(value) = report.integer(&of_number, value) {
                    number(&of_number, value, report);
                }
            }
        }
        // An empty text is absence in these two fields.
        let of_protocol = format!("{path}.protocol");
        if let Some(text) = report.text(&of_protocol, port.get("protocol"))
            && !text.is_empty()
        {
            protocol(&of_protocol, text, report);
        }
        let of_name = format!("{path}.name");
        if let Some(name) = report.text(&of_name, port.get("name"))
            && !name.is_empty()
        {
            report.form(&of_name, name, form::port_name);
            if !names.insert(name) {
                report.say(&of_name, format!("{name:?} is the name of another port of this container"));
            }
        }
    }
}

/// The ports of a rule.
pub(super) fn of_rule(path: &str, ports: Option<&Value>, report: &mut Report) {
    for (i, port) in report.list(path, ports).iter().enumerate() {
        let path = format!("{path}[{i}]");
        let port = report.element(&path, port);
        report.only(&path, port, &["protocol", "port", "endPort"]);
        let of_protocol = format!("{path}.protocol");
        if let Some(text) = report.text(&of_protocol, port.get("protocol")) {
            protocol(&of_protocol, text, report);
        }
        let of_port = format!("{path}.port");
        let first = port.get("port").filter(|value| !value.is_null());
        match first {
            None => {}
            Some(Value::String(name)) => report.form(&of_port, name, form::port_name),
            Some(value) => match integer(value) {
                Some(value) => number(&of_port, value, report),
                None => {
                    report.say(&of_port, format!("is {}; write a whole number or a name", describe(value)));
                }
            },
        }
        let of_end = format!("{path}.endPort");
        let Some(end) = report.integer(&of_end, port.get("endPort")) else { continue };
        match first.map(|value| (value, integer(value))) {
            Some((_, Some(first))) if end < first => {
                report.say(&of_end, format!("{end} is below port {first}; write the last port of the range"));
            }
            Some((_, Some(_))) => number(&of_end, end, report),
            Some((Value::String(_), None)) => {
                report.say(&of_end, "a range begins with a number; write a number in port");
            }
            Some(_) => {}
            None => report.say(&of_end, "a range needs its first port; write it in port"),
        }
    }
}
