//! Calico's node in the annotations of Kubernetes' node.
//!
//! What kubelet knows (labels, addresses, pod prefixes) is shown in Calico's node and never written back; the rest lives
//! in annotations.

use serde_json::{Map, Value, json};
use tortie_api::v3;
use tortie_net::Cidr;

const PREFIX: &str = "projectcalico.org/";
/// Calico's own labels and annotations, as JSON.
const LABELS: &str = "projectcalico.org/labels";
const ANNOTATIONS: &str = "projectcalico.org/annotations";
/// In the annotations that are shown: which labels are kubelet's, so that a writer does not make them ours.
const KUBE_LABELS: &str = "projectcalico.org/kube-labels";
const INTERFACES: &str = "projectcalico.org/Interfaces";

/// What an annotation must be to count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    V4,
    V6,
    Mac,
    Any,
}

/// Fields of the node, with the annotation of each.
const FIELDS: [(&str, &str, Check); 13] = [
    ("/spec/bgp/ipv4Address", "IPv4Address", Check::V4),
    ("/spec/bgp/ipv6Address", "IPv6Address", Check::V6),
    ("/spec/bgp/routeReflectorClusterID", "RouteReflectorClusterID", Check::V4),
    ("/spec/bgp/ipv4IPIPTunnelAddr", "IPv4IPIPTunnelAddr", Check::V4),
    ("/spec/ipv4VXLANTunnelAddr", "IPv4VXLANTunnelAddr", Check::V4),
    ("/spec/vxlanTunnelMACAddr", "VXLANTunnelMACAddr", Check::Mac),
    ("/spec/ipv6VXLANTunnelAddr", "IPv6VXLANTunnelAddr", Check::V6),
    ("/spec/vxlanTunnelMACAddrV6", "VXLANTunnelMACAddrV6", Check::Mac),
    ("/spec/wireguard/interfaceIPv4Address", "IPv4WireguardInterfaceAddr", Check::V4),
    ("/spec/wireguard/interfaceIPv6Address", "IPv6WireguardInterfaceAddr", Check::V6),
    ("/status/wireguardPublicKey", "WireguardPublicKey", Check::Any),
    ("/status/wireguardPublicKeyV6", "WireguardPublicKeyV6", Check::Any),
    ("/spec/bgp/asNumber", "ASNumber", Check::Any),
];

/// What takes a node's addresses out of its annotations. Its AS number and its cluster of route reflectors are settings.
pub(crate) fn without_addresses() -> Value {
    let address = |check: &Check| matches!(check, Check::V4 | Check::V6 | Check::Mac);
    let fields =
        FIELDS.iter().filter(|(_, name, check)| address(check) && !name.starts_with("RouteReflector"));
    let names = fields.map(|(_, name, _)| format!("{PREFIX}{name}")).chain([INTERFACES.to_owned()]);
    names.map(|name| (name, Value::Null)).collect::<Map<String, Value>>().into()
}

fn holds(check: Check, text: &str) -> bool {
    let family = || match text.parse::<std::net::IpAddr>() {
        Ok(address) => Some(address.is_ipv4()),
        // With its subnet; the host's bits may be set.
        Err(_) => {
            let (address, length) = text.split_once('/')?;
            let address: std::net::IpAddr = address.parse().ok()?;
            format!("{address}/{length}").parse::<Cidr>().ok().map(|_| address.is_ipv4()).or_else(|| {
                let longest = if address.is_ipv4() { 32 } else { 128 };
                length.parse::<u8>().is_ok_and(|l| l <= longest).then_some(address.is_ipv4())
            })
        }
    };
    match check {
        Check::V4 => family() == Some(true),
        Check::V6 => family() == Some(false),
        Check::Mac => {
            let parts: Vec<&str> = text.split([':', '-']).collect();
            parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && u8::from_str_radix(p, 16).is_ok())
        }
        Check::Any => !text.is_empty(),
    }
}

fn strings<'v>(object: &'v Value, path: &str) -> impl Iterator<Item = (&'v String, &'v str)> {
    let map = object.pointer(path).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)))
}

fn packed(object: &Value, annotation: &str) -> Map<String, Value> {
    let text = strings(object, "/metadata/annotations").find(|(key, _)| *key == annotation);
    text.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The node as Calico shows it.
pub(crate) fn to_calico(node: &Value) -> Value {
    let name = node.pointer("/metadata/name").cloned().unwrap_or_default();
    let annotations = |wanted: &str| {
        strings(node, "/metadata/annotations").find(|(key, _)| *key == wanted).map(|(_, text)| text)
    };
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), name.clone());
    for field in ["uid", "creationTimestamp"] {
        if let Some(value) = node.pointer(&format!("/metadata/{field}")) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut labels = packed(node, LABELS);
    labels.extend(strings(node, "/metadata/labels").map(|(key, value)| (key.clone(), value.into())));
    metadata.insert("labels".to_owned(), labels.into());
    let mut shown = packed(node, ANNOTATIONS);
    let kubes = node.pointer("/metadata/labels").cloned().unwrap_or(Value::Null);
    shown.insert(KUBE_LABELS.to_owned(), kubes.to_string().into());
    metadata.insert("annotations".to_owned(), shown.into());

    let mut calico = json!({
        "apiVersion": v3::API_VERSION, "kind": "Node", "metadata": metadata,
        "spec": {"orchRefs": [{"nodeName": name, "orchestrator": "k8s"}]},
    });
    for (path, annotation, check) in FIELDS {
        let Some(text) = annotations(&format!("{PREFIX}{annotation}")).filter(|text| !text.is_empty()) else {
            continue;
        };
        if !holds(check, text) {
            tracing::warn!(node = %name, annotation, text, "annotation of the node is not understood and left out");
            continue;
        }
        let value = if annotation == "ASNumber" { as_number(text) } else { text.into() };
        set(&mut calico, path, value);
    }
    if let Some(prefixes) =
        node.pointer("/spec/podCIDRs").filter(|p| p.as_array().is_some_and(|p| !p.is_empty()))
    {
        set(&mut calico, "/status/podCIDRs", prefixes.clone());
    }
    let addresses = addresses(&calico, node);
    if !addresses.is_empty() {
        set(&mut calico, "/spec/addresses", addresses.into());
    }
    if let Some(interfaces) =
        annotations(INTERFACES).and_then(|text| serde_json::from_str::<Value>(text).ok())
    {
        set(&mut calico, "/spec/interfaces", interfaces);
    }
    calico
}

/// A number where it is one; `64512.1` stays as it is.
fn as_number(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| text.into(), Value::from)
}

fn addresses(calico: &Value, node: &Value) -> Vec<Value> {
    let own = ["ipv4Address", "ipv6Address"];
    let own = own.iter().filter_map(|field| calico.pointer(&format!("/spec/bgp/{field}")));
    let own = own.map(|address| json!({"address": address, "type": "CalicoNodeIP"}));
    let kubelets = node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let kubelets = kubelets.filter(|a| matches!(a["type"].as_str(), Some("InternalIP" | "ExternalIP")));
    own.chain(kubelets.map(|a| json!({"address": a["address"], "type": a["type"]}))).collect()
}

fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for part in path.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        let Some(fields) = at.as_object_mut() else { return };
        at = fields.entry(part.to_owned()).or_insert(Value::Null);
    }
    *at = value;
}

/// The patch of annotations that makes `node` (Kubernetes') say what `wanted` (Calico's) says; none if it does.
pub(crate) fn patch(node: &Value, wanted: &Value) -> Option<Value> {
    let kubes = strings(wanted, "/metadata/annotations").find(|(key, _)| *key == KUBE_LABELS);
    let kubes: Map<String, Value> =
        kubes.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default();
    let own = |path: &str, foreign: &dyn Fn(&str) -> bool| {
        let map: Map<String, Value> = strings(wanted, path)
            .filter(|(key, _)| !foreign(key))
            .map(|(key, value)| (key.clone(), value.into()))
            .collect();
        (!map.is_empty()).then(|| Value::Object(map).to_string())
    };
    let mut annotations = vec![
        (LABELS.to_owned(), own("/metadata/labels", &|key| kubes.contains_key(key))),
        (ANNOTATIONS.to_owned(), own("/metadata/annotations", &|key| key == KUBE_LABELS)),
    ];
    for (path, annotation, _) in FIELDS {
        let value = wanted.pointer(path).and_then(|value| match value {
            Value::String(text) => Some(text.clone()).filter(|t| !t.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        annotations.push((format!("{PREFIX}{annotation}"), value));
    }
    let interfaces = wanted.pointer("/spec/interfaces").filter(|i| !i.is_null()).map(Value::to_string);
    annotations.push((INTERFACES.to_owned(), interfaces));
    let mut patch = Map::new();
    for (annotation, value) in annotations {
        let current = strings(node, "/metadata/annotations").find(|(key, _)| **key == annotation);
        if current.map(|(_, text)| text) != value.as_deref() {
            patch.insert(annotation, value.map_or(Value::Null, Value::from));
        }
    }
    (!patch.is_empty()).then(|| json!({"metadata": {"annotations": patch}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Value {
        json!({
            "metadata": {"name": "n1", "uid": "u", "labels": {"kubernetes.io/os": "linux"}, "annotations": {
                "projectcalico.org/IPv4Address": "10.0.0.1/24", "projectcalico.org/IPv6Address": "fd00::1/64",
                "projectcalico.org/ASNumber": "64512", "projectcalico.org/RouteReflectorClusterID": "1.0.0.1",
                "projectcalico.org/IPv4VXLANTunnelAddr": "10.9.0.1", "projectcalico.org/VXLANTunnelMACAddr": "66:aa:bb:cc:dd:ee",
                "projectcalico.org/IPv6VXLANTunnelAddr": "10.9.0.1", "projectcalico.org/WireguardPublicKey": "key=",
                "projectcalico.org/labels": "{\"rack\":\"7\",\"kubernetes.io/os\":\"old\"}",
                "projectcalico.org/Interfaces": "[{\"name\":\"eth0\",\"addresses\":[\"10.0.0.1\"]}]",
                "volumes.kubernetes.io/x": "true",
            }},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd01::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n1"}]},
        })
    }

    #[test]
    fn annotations_are_the_node() {
        assert_eq!(
            to_calico(&node()),
            json!({
                "apiVersion": "projectcalico.org/v3", "kind": "Node",
                "metadata": {"name": "n1", "uid": "u", "labels": {"rack": "7", "kubernetes.io/os": "linux"},
                    "annotations": {"projectcalico.org/kube-labels": "{\"kubernetes.io/os\":\"linux\"}"}},
                "spec": {
                    "orchRefs": [{"nodeName": "n1", "orchestrator": "k8s"}],
                    "bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64", "routeReflectorClusterID": "1.0.0.1", "asNumber": 64512},
                    "ipv4VXLANTunnelAddr": "10.9.0.1", "vxlanTunnelMACAddr": "66:aa:bb:cc:dd:ee",
                    "addresses": [
                        {"address": "10.0.0.1/24", "type": "CalicoNodeIP"}, {"address": "fd00::1/64", "type": "CalicoNodeIP"},
                        {"address": "10.0.0.1", "type": "InternalIP"},
                    ],
                    "interfaces": [{"name": "eth0", "addresses": ["10.0.0.1"]}],
                },
                "status": {"wireguardPublicKey": "key=", "podCIDRs": ["10.1.0.0/24", "fd01::/64"]},
            }),
            "the IPv6 tunnel address is no IPv6 address and left out"
        );
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut clean = node();
        // What is not understood is taken away by the next writer, and shadowed labels go.
        let annotations = clean["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.shift_remove("projectcalico.org/IPv6VXLANTunnelAddr");
        annotations.insert(LABELS.to_owned(), json!("{\"rack\":\"7\"}"));
        let calico = to_calico(&clean);
        assert_eq!(patch(&clean, &calico), None);
        let mut wanted = calico.clone();
        wanted["spec"]["bgp"].as_object_mut().unwrap().shift_remove("asNumber");
        wanted["spec"]["ipv6VXLANTunnelAddr"] = json!("fd09::1");
        wanted["metadata"]["labels"]["zone"] = json!("z");
        wanted["metadata"]["annotations"]["note"] = json!("n");
        let expected = json!({"metadata": {"annotations": {
            LABELS: "{\"rack\":\"7\",\"zone\":\"z\"}", ANNOTATIONS: "{\"note\":\"n\"}",
            "projectcalico.org/ASNumber": null, "projectcalico.org/IPv6VXLANTunnelAddr": "fd09::1",
        }}});
        assert_eq!(patch(&clean, &wanted), Some(expected));
    }
}
