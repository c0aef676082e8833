//! What a new lab's datastore holds: nodes, pools, tiers, and the sessions with the router. Pure.

use crate::fabric::{AS_NUMBER, NodeNet, Plan};
use crate::spec::{Encapsulation, Families, LabSpec};
use serde_json::{Map, Value, json};
use tortie_api::{k8s, v3};
use tortie_net::{Cidr, Family};

/// Label of a node: the number of its segment.
pub(crate) const SEGMENT_LABEL: &str = "lab.tortie/segment";

/// Objects that every lab starts with, by path.
pub(crate) fn objects(plan: &Plan, spec: &LabSpec) -> Vec<(String, Value)> {
    let mut all = vec![calico(
        "ClusterInformation",
        "default",
        &json!({"clusterType": "tortie-lab", "datastoreReady": true}),
    )];
    all.extend(tortie_scenario::seed());
    all.extend(pools(&spec.pools, spec.encapsulation));
    all.extend(plan.nodes.iter().map(|n| node(n, spec.families)));
    let peers = if spec.encapsulation == Encapsulation::None { plan.segments.as_slice() } else { &[] };
    for (index, segment) in peers.iter().enumerate() {
        for family in spec.families.all() {
            let selector = format!("{SEGMENT_LABEL} == '{}'", index + 1);
            let peer = json!({
                "nodeSelector": selector,
                "peerIP": segment.gateway(family).addr,
                "asNumber": AS_NUMBER,
            });
            all.push(calico("BGPPeer", &format!("router-{}-{family}", segment.name), &peer));
        }
    }
    for name in ["default", "kube-system"] {
        all.push(namespace(name));
        all.push(service_account(name, "default"));
    }
    all
}

/// Pools under names of their own.
pub(crate) fn pools(cidrs: &[Cidr], encapsulation: Encapsulation) -> Vec<(String, Value)> {
    cidrs
        .iter()
        .enumerate()
        .map(|(i, cidr)| {
            let nth = cidrs.iter().take(i).filter(|c| c.family() == cidr.family()).count();
            let suffix = if nth == 0 { String::new() } else { format!("-{}", nth + 1) };
            let name = format!("default-{}-ippool{suffix}", cidr.family());
            let pool = json!({
                "cidr": cidr,
                "blockSize": if cidr.family() == Family::V4 { 26 } else { 122 },
                "ipipMode": "Never",
                "vxlanMode": if encapsulation == Encapsulation::Vxlan { "Always" } else { "Never" },
                // Hosts outside see pods by their own addresses: the router knows the way.
                "natOutgoing": false,
                "nodeSelector": "all()",
                "allowedUses": ["Workload", "Tunnel"],
            });
            calico("IPPool", &name, &pool)
        })
        .collect()
}

fn node(node: &NodeNet, families: Families) -> (String, Value) {
    let own = node.addresses.iter().filter(|a| families.has(Family::of(a.addr)));
    let all: Vec<Value> =
        own.clone().map(|a| json!({"address": a.to_string(), "type": "CalicoNodeIP"})).collect();
    let bgp: Map<String, Value> =
        own.map(|a| (format!("{}Address", Family::of(a.addr)), a.to_string().into())).collect();
    let spec = json!({"addresses": all, "bgp": bgp});
    let (path, mut object) = calico("Node", &node.name, &spec);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let labels = json!({
            SEGMENT_LABEL: node.segment.to_string(),
            "kubernetes.io/hostname": node.name,
            "kubernetes.io/os": "linux",
        });
        metadata.insert("labels".to_owned(), labels);
    }
    (path, object)
}

/// A projectcalico.org/v3 object with its path.
fn calico(kind: &str, name: &str, spec: &Value) -> (String, Value) {
    let path = v3::by_kind(kind).map(|r| r.path("", name)).unwrap_or_default();
    (path, json!({"apiVersion": v3::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

/// A Kubernetes namespace with the label that the API server gives it.
pub(crate) fn namespace(name: &str) -> (String, Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {NAME_LABEL: name}},
    });
    (kubernetes("Namespace", "", name), object)
}

/// Label of every namespace: its name.
pub(crate) const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A Kubernetes service account.
pub(crate) fn service_account(namespace: &str, name: &str) -> (String, Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    });
    (kubernetes("ServiceAccount", namespace, name), object)
}

/// The path of a Kubernetes object.
pub(crate) fn kubernetes(kind: &str, namespace: &str, name: &str) -> String {
    k8s::by_kind(kind).map(|r| r.path(namespace, name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Meaning, meaning};
    use crate::spec::FabricKind;

    #[test]
    fn what_is_seeded_is_what_a_user_could_apply() {
        let plan = Plan::new(FabricKind::Routed, 3);
        let spec = crate::spec::tests::spec();
        let objects = objects(&plan, &spec);
        let mut seen = std::collections::BTreeSet::new();
        for (path, object) in &objects {
            assert!(seen.insert(path), "{path} twice");
            match meaning(object.clone()).unwrap() {
                Meaning::Stored { path: p, object: o, .. } => {
                    assert_eq!(&p, path);
                    assert_eq!(&o, object);
                }
                other => unreachable!("{other:?}"),
            }
        }
        let count = |kind: &str| objects.iter().filter(|(_, o)| o["kind"] == kind).count();
        assert_eq!((count("Node"), count("BGPPeer"), count("IPPool"), count("Tier")), (3, 4, 2, 3));
    }

    #[test]
    fn several_pools_of_a_family_have_several_names() {
        let cidrs: Vec<Cidr> =
            ["10.0.0.0/24", "10.0.1.0/24", "fd00::/64"].iter().map(|c| c.parse().unwrap()).collect();
        let names: Vec<String> = pools(&cidrs, Encapsulation::None)
            .iter()
            .map(|(_, o)| o["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["default-ipv4-ippool", "default-ipv4-ippool-2", "default-ipv6-ippool"]);
    }
}
