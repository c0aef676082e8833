//! Settings: one object becomes one key per parameter.

use super::settings::{FELIX, Form};
use crate::convert::Problems;
use crate::value::Value;
use crate::{Change, Key};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use tortie_api::meta::StringMap;
use tortie_api::v3;

/// Annotations with this prefix set a parameter by name, whatever the spec says.
const ANNOTATION_PREFIX: &str = "config.projectcalico.org/";

/// Whose settings an object of this name holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigScope {
    /// `default`: every node's.
    Global,
    /// `node.<name>`: one node's.
    Node(String),
    /// Any other name: the nodes that its selector picks; such objects are passed on whole.
    Selected,
}

impl ConfigScope {
    /// The scope of a name.
    pub fn of(name: &str) -> Self {
        match name.strip_prefix("node.") {
            _ if name == "default" => Self::Global,
            // A name without a node is everybody's.
            Some("") => Self::Global,
            Some(node) => Self::Node(node.to_owned()),
            None => Self::Selected,
        }
    }

    fn key(&self, parameter: &str) -> Option<Key> {
        match self {
            Self::Global => Some(Key::GlobalConfig(parameter.to_owned())),
            Self::Node(node) => Some(Key::HostConfig { host: node.clone(), name: parameter.to_owned() }),
            Self::Selected => None,
        }
    }
}

/// Parameters of a FelixConfiguration, by name. Only those that are set.
pub fn felix_parameters(
    spec: &v3::FelixConfigurationSpec,
    annotations: &StringMap,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for setting in FELIX {
        let Some(value) = spec.0.get(setting.field).filter(|v| !v.is_null()) else { continue };
        match text(setting.form, value) {
            Ok(Some(text)) => {
                parameters.insert(setting.name.to_owned(), text);
            }
            Ok(None) => {}
            Err(expected) => problems.dropped(
                &format!("spec.{}", setting.field),
                format!("expected {expected}, found {value}; the setting is ignored"),
            ),
        }
    }
    for (name, value) in annotations {
        if let Some(name) = name.strip_prefix(ANNOTATION_PREFIX) {
            parameters.insert(name.to_owned(), value.clone());
        }
    }
    parameters
}

/// Every parameter's key, without a value where it is not set; nothing for an object of selected nodes.
///
/// `seen` collects parameters that only annotations have set, so that they are unset again.
pub fn felix_configuration(
    name: &str,
    object: Option<&v3::FelixConfiguration>,
    seen: &mut BTreeSet<String>,
    problems: &mut Problems,
) -> Vec<Change> {
    let scope = ConfigScope::of(name);
    let mut parameters = match object {
        Some(object) => felix_parameters(&object.spec, &object.metadata.annotations, problems),
        None => BTreeMap::new(),
    };
    let mut changes = Vec::with_capacity(FELIX.len());
    for setting in FELIX {
        changes.extend(scope.key(setting.name).map(|key| (key, parameters.remove(setting.name))));
    }
    seen.extend(parameters.keys().cloned());
    for name in seen.iter() {
        changes.extend(scope.key(name).map(|key| (key, parameters.remove(name))));
    }
    changes.into_iter().map(|(key, text)| Change { key, value: text.map(Value::Config) }).collect()
}

/// ClusterInformation: its fields as parameters, and the ready flag.
pub fn cluster_information(name: &str, object: Option<&v3::ClusterInformation>) -> Vec<Change> {
    let scope = ConfigScope::of(name);
    let spec = object.map(|o| &o.spec);
    let text = |get: fn(&v3::ClusterInformationSpec) -> &str| {
        spec.map(get).filter(|t| !t.is_empty()).map(|t| Value::Config(t.to_owned()))
    };
    let mut changes = Vec::with_capacity(5);
    let mut parameter = |name: &str, value: Option<Value>| {
        changes.extend(scope.key(name).map(|key| Change { key, value }));
    };
    parameter("ClusterGUID", text(|s| &s.cluster_guid));
    parameter("ClusterType", text(|s| &s.cluster_type));
    parameter("CalicoVersion", text(|s| &s.calico_version));
    parameter("Variant", text(|s| &s.variant));
    if scope == ConfigScope::Global {
        let ready = spec.and_then(|s| s.datastore_ready).map(Value::Ready);
        changes.push(Change { key: Key::ReadyFlag, value: ready });
    }
    changes
}

/// A JSON value as the text of a parameter; `None` is unset, an error names what was expected.
fn text(form: Form, value: &Json) -> Result<Option<String>, &'static str> {
    let strings = |expected: &'static str| -> Result<Vec<String>, &'static str> {
        let items = value.as_array().ok_or(expected)?;
        items.iter().map(|i| i.as_str().map(str::to_owned).ok_or(expected)).collect()
    };
    Ok(Some(match form {
        Form::Text => match value.as_str().ok_or("text")? {
            "" => return Ok(None),
            text => text.to_owned(),
        },
        Form::Plain => plain(value).ok_or("text, a number or a boolean")?,
        Form::Seconds => float_text(duration(value)? / 1e9),
        Form::Milliseconds => float_text(duration(value)? / 1e6),
        Form::List => strings("a list of texts")?.join(","),
        Form::Map => {
            let map = value.as_object().ok_or("a mapping of texts")?;
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|e| e.0);
            let mut text = String::new();
            for (key, value) in entries {
                text.push_str(&format!("{key}={},", value.as_str().ok_or("a mapping of texts")?));
            }
            text
        }
        Form::ProtoPorts => proto_ports(value).ok_or("a list of {protocol, port, net}")?,
        Form::Range => range(value).ok_or("{min, max}")?,
        Form::Ranges => {
            let ranges =
                value.as_array().and_then(|items| items.iter().map(range).collect::<Option<Vec<_>>>());
            ranges.ok_or("a list of {min, max}")?.join(",")
        }
        Form::HealthTimeouts => {
            let expected = "a list of {name, timeout}";
            let items = value.as_array().ok_or(expected)?;
            if items.is_empty() {
                return Ok(None);
            }
            let mut parts = Vec::with_capacity(items.len());
            for item in items {
                let name = item["name"].as_str().ok_or(expected)?;
                parts.push(format!(
                    "{name}={}",
                    tortie_api::duration::to_text(duration(&item["timeout"])? as i64)
                ));
            }
            parts.join(",")
        }
        Form::ConntrackTimeouts => conntrack_timeouts(value).ok_or("a mapping of timeouts")?,
        Form::Ports => {
            let items = value.as_array().ok_or("a list of ports")?;
            let ports: Option<Vec<_>> = items.iter().map(plain).collect();
            format!("[{}]", ports.ok_or("a list of ports")?.join(" "))
        }
    }))
}

fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(b) => Some(b.to_string()),
        Json::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// Nanoseconds of a duration as Go writes it.
fn duration(value: &Json) -> Result<f64, &'static str> {
    let expected = "a duration like 90s or 1m30s";
    let nanoseconds = tortie_api::duration::parse(value.as_str().ok_or(expected)?).map_err(|_| expected)?;
    Ok(nanoseconds as f64)
}

/// Go's shortest form of a float, without an exponent for the sizes seen here.
fn float_text(float: f64) -> String {
    if float != 0.0 && (float.abs() < 1e-4 || float.abs() >= 1e21) {
        let text = format!("{float:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{float}")
}

fn proto_ports(value: &Json) -> Option<String> {
    let items = value.as_array()?;
    if items.is_empty() {
        return Some("none".to_owned());
    }
    let mut parts = Vec::with_capacity(items.len());
    for item in items {
        let protocol = item["protocol"].as_str().unwrap_or("").to_ascii_lowercase();
        let port = item["port"].as_u64()?;
        parts.push(match item["net"].as_str() {
            None | Some("") => format!("{protocol}:{port}"),
            Some(net) if net.contains(':') => format!("{protocol}:[{net}]:{port}"),
            Some(net) => format!("{protocol}:{net}:{port}"),
        });
    }
    Some(parts.join(","))
}

fn range(value: &Json) -> Option<String> {
    Some(format!("{}-{}", value["min"].as_i64()?, value["max"].as_i64()?))
}

fn conntrack_timeouts(value: &Json) -> Option<String> {
    const NAMES: [(&str, &str); 8] = [
        ("creationGracePeriod", "CreationGracePeriod"),
        ("tcpSynSent", "TCPSynSent"),
        ("tcpEstablished", "TCPEstablished"),
        ("tcpFinsSeen", "TCPFinsSeen"),
        ("tcpResetSeen", "TCPResetSeen"),
        ("udpTimeout", "UDPTimeout"),
        ("genericTimeout", "GenericTimeout"),
        ("icmpTimeout", "ICMPTimeout"),
    ];
    let map = value.as_object()?;
    let parts: Vec<String> = NAMES
        .iter()
        .filter_map(|(field, name)| {
            map.get(*field).and_then(Json::as_str).map(|text| format!("{name}={text}"))
        })
        .collect();
    Some(parts.join(","))
}
