//! The tables against what is known of Calico's definitions: a digest of each definition's structure.

use super::*;
use crate::Map;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// First half of the SHA-256 of each definition: JSON with sorted keys, without descriptions, messages of rules, and
/// the generator's annotation and empty status; `required` in order.
const STRUCTURES: &[(&str, &str)] = &[
    ("bgpconfigurations.crd.projectcalico.org", "b6e082977bb56994"),
    ("bgpconfigurations.projectcalico.org", "4911e4b3359506ea"),
    ("bgpfilters.crd.projectcalico.org", "685d69e307d01910"),
    ("bgpfilters.projectcalico.org", "0f68d18cc373a7b7"),
    ("bgppeers.crd.projectcalico.org", "f5b6928f312a2eac"),
    ("bgppeers.projectcalico.org", "ca6d32cece26afb0"),
    ("blockaffinities.crd.projectcalico.org", "edcea59528246fe8"),
    ("blockaffinities.projectcalico.org", "8f00ef2693686223"),
    ("caliconodestatuses.crd.projectcalico.org", "405548a5eac8219b"),
    ("caliconodestatuses.projectcalico.org", "95987ab31b5c5b04"),
    ("clusterinformations.crd.projectcalico.org", "b0c29dfc477a91b8"),
    ("clusterinformations.projectcalico.org", "1c5a3af85d35d915"),
    ("clusternetworkpolicies.policy.networking.k8s.io", "af53178c5e5d4816"),
    ("felixconfigurations.crd.projectcalico.org", "05261b998c6a57a4"),
    ("felixconfigurations.projectcalico.org", "db154d03a1ecf919"),
    ("globalnetworkpolicies.crd.projectcalico.org", "b0846ad7b3442512"),
    ("globalnetworkpolicies.projectcalico.org", "9ac4bccd1d6d2b84"),
    ("globalnetworksets.crd.projectcalico.org", "a460dd4f2638d4c1"),
    ("globalnetworksets.projectcalico.org", "a2f378068b7e3ead"),
    ("hostendpoints.crd.projectcalico.org", "b5a29f87e31fb877"),
    ("hostendpoints.projectcalico.org", "0bc35f7aa0f98448"),
    ("ipamblocks.crd.projectcalico.org", "a29e6cb4050208a0"),
    ("ipamblocks.projectcalico.org", "238bbb642709cb19"),
    ("ipamconfigs.crd.projectcalico.org", "62238c61f0bfe9fa"),
    ("ipamconfigurations.projectcalico.org", "5a9bb69d27803f0f"),
    ("ipamhandles.crd.projectcalico.org", "25d1fc9765f160c2"),
    ("ipamhandles.projectcalico.org", "143574124cd58b11"),
    ("ippools.crd.projectcalico.org", "24a5d95250a6f00b"),
    ("ippools.projectcalico.org", "3dca7aa4d2ea12bc"),
    ("ipreservations.crd.projectcalico.org", "b3a1b5bb313954be"),
    ("ipreservations.projectcalico.org", "84f3e5fda62dfeda"),
    ("kubecontrollersconfigurations.crd.projectcalico.org", "a2a6b36a470c38a1"),
    ("kubecontrollersconfigurations.projectcalico.org", "e7c7fada8f65f2ce"),
    ("networkpolicies.crd.projectcalico.org", "86072a3dd7999521"),
    ("networkpolicies.projectcalico.org", "314c62b7d8ed9b8d"),
    ("networksets.crd.projectcalico.org", "0d79f3e70df83bb3"),
    ("networksets.projectcalico.org", "78c9dcd7077de45a"),
    ("stagedglobalnetworkpolicies.crd.projectcalico.org", "1dcebe485957d0e8"),
    ("stagedglobalnetworkpolicies.projectcalico.org", "931920d9088416af"),
    ("stagedkubernetesnetworkpolicies.crd.projectcalico.org", "71f69b389debe38f"),
    ("stagedkubernetesnetworkpolicies.projectcalico.org", "d2c7d7d1b14fbb73"),
    ("stagednetworkpolicies.crd.projectcalico.org", "927c28f100cac178"),
    ("stagednetworkpolicies.projectcalico.org", "5d1bbfe4c637fb7a"),
    ("tiers.crd.projectcalico.org", "013c082cb1627b3f"),
    ("tiers.projectcalico.org", "7cc7928e439de018"),
];

/// What counts for the digest.
fn structure(value: &Value, in_properties: bool) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let mut out = Map::new();
            for key in keys {
                let mut value = map[key].clone();
                if !in_properties {
                    match (key.as_str(), &mut value) {
                        ("description", Value::String(_)) => continue,
                        ("required", Value::Array(names)) => names.sort_by_key(Value::to_string),
                        ("x-kubernetes-validations", Value::Array(rules)) => {
                            for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
                                rule.remove("message");
                            }
                        }
                        _ => {}
                    }
                }
                out.insert(key.clone(), structure(&value, key == "properties" && !in_properties));
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| structure(item, false)).collect(),
        leaf => leaf.clone(),
    }
}

fn digest(manifest: &Value) -> String {
    let digest = Sha256::digest(structure(manifest, false).to_string());
    let half = digest.first_chunk::<8>().copied().map(u64::from_be_bytes);
    format!("{:016x}", half.unwrap_or(0))
}

fn name(manifest: &Value) -> &str {
    manifest["metadata"]["name"].as_str().unwrap()
}

#[test]
fn definitions_have_calicos_structure() {
    let ours: Vec<Value> = Group::ALL.into_iter().flat_map(manifests).collect();
    let mut ours: Vec<(&str, String)> = ours.iter().map(|m| (name(m), digest(m))).collect();
    ours.sort();
    let theirs: Vec<(&str, String)> = STRUCTURES.iter().map(|(n, d)| (*n, (*d).to_owned())).collect();
    let names = |list: &[(&'static str, String)]| list.iter().map(|(n, _)| *n).collect::<Vec<_>>();
    assert_eq!(ours.iter().map(|(n, _)| *n).collect::<Vec<_>>(), names(&theirs));
    let different: Vec<_> = ours.iter().zip(&theirs).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect();
    assert!(different.is_empty(), "the structure differs: {different:?}");
}

fn definition(group: Group, plural: &str) -> Value {
    let full = format!("{plural}.{}", group.name());
    manifests(group).into_iter().find(|m| name(m) == full).unwrap()
}

fn spec(group: Group, plural: &str) -> Value {
    definition(group, plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        .clone()
}

#[test]
fn groups_differ_where_calicos_do() {
    let deleted = |group| spec(group, "blockaffinities")["properties"]["deleted"]["type"].clone();
    assert_eq!((deleted(Group::Storage), deleted(Group::Native)), ("string".into(), "boolean".into()));
    let native = &definition(Group::Native, "networkpolicies")["spec"];
    assert_eq!(native["versions"][0]["selectableFields"][0]["jsonPath"], ".spec.tier");
    assert_eq!(native["names"]["shortNames"][0], "cnp");
    let storage = &definition(Group::Storage, "networkpolicies")["spec"];
    assert!(storage["versions"][0]["selectableFields"].is_null() && storage["names"]["shortNames"].is_null());
    assert_eq!(manifests(Group::Storage).len(), 22);
    assert_eq!(manifests(Group::Native).len(), 22);
}

#[test]
fn shared_parts_are_put_in_everywhere() {
    let rule = &spec(Group::Native, "globalnetworkpolicies")["properties"]["ingress"]["items"];
    let ports = &rule["properties"]["destination"]["properties"]["ports"];
    assert_eq!(ports["maxItems"], 50);
    assert_eq!(ports["items"]["x-kubernetes-int-or-string"], true);
    assert_eq!(rule["properties"]["ipVersion"]["enum"], serde_json::json!([4, 6]));
    let text = serde_json::to_string(&manifests(Group::Native)).unwrap();
    assert!(!text.contains("null") || !text.contains(":null"), "every name in the tables is resolved");
}

#[test]
fn manifests_are_yaml_that_reads_back() {
    for manifest in Group::ALL.into_iter().flat_map(manifests) {
        let text = crate::document::to_yaml(&manifest);
        let back = crate::document::parse("", &text).unwrap();
        assert_eq!(structure(&back[0].value, false), structure(&manifest, false), "{}", name(&manifest));
    }
}

#[test]
fn every_kind_of_the_registry_is_explained_but_internal_ones() {
    let missing: BTreeSet<&str> =
        crate::v3::RESOURCES.iter().map(|r| r.kind).filter(|kind| explain(kind).is_err()).collect();
    assert_eq!(missing, BTreeSet::from(["LiveMigration"]));
}

#[test]
fn validation_knows_the_fields_of_the_definitions() {
    for manifest in manifests(Group::Native) {
        let kind = manifest["spec"]["names"]["kind"].as_str().unwrap();
        let fields = spec(Group::Native, manifest["spec"]["names"]["plural"].as_str().unwrap());
        let Some(fields) = fields["properties"].as_object() else { continue };
        for field in fields.keys() {
            let object = serde_json::json!({
                "apiVersion": crate::v3::API_VERSION, "kind": kind, "metadata": {"name": "default"},
                "spec": {field: null},
            });
            let problems = crate::validate::validate_value(&object, crate::validate::Options::ALL);
            let unknown: Vec<_> = problems.iter().filter(|p| p.message.contains("no field here")).collect();
            assert!(unknown.is_empty(), "{kind}.{field}: {unknown:?}");
        }
    }
}

#[test]
fn fields_are_found_by_path() {
    let ports = explain("gnp.spec.ingress.destination.ports").unwrap();
    assert_eq!(
        (ports.kind(), ports.name(), ports.type_name().as_str()),
        ("GlobalNetworkPolicy", "ports", "[]integer or string")
    );
    assert!(ports.limits().contains(&"at most 50 items".to_owned()), "{:?}", ports.limits());
    assert!(explain("tier.spec.order").unwrap().fields().is_empty());
    assert!(explain("ippool.spec.cidr").unwrap().is_required());
    assert_eq!(explain("ippool").unwrap().fields().len(), 5);
    assert_eq!(
        explain("tier.spec.defaultAction").unwrap().limits(),
        ["one of Deny, Pass", "default \"Deny\""]
    );
    assert_eq!(explain("blockaffinity.spec.deleted").unwrap().type_name(), "boolean");
    assert!(!explain("gnp.spec.ingress").unwrap().fields().is_empty());
}

#[test]
fn what_is_not_there_is_told() {
    assert_eq!(
        explain("tier.spec.ordr").unwrap_err().to_string(),
        "Tier.spec has no field \"ordr\"; did you mean \"order\"?"
    );
    assert!(explain("nonsense").unwrap_err().to_string().contains("there are Tier, "));
}

#[test]
fn bad_tables_are_refused() {
    for table in [
        "nonsense",
        "pattern Lonely",
        "kind Only three words",
        "type T object\n  a strange",
        "type T object\n  a string odd",
        "type T object\n  a list",
        "type T object\n  rule Invalid no expression",
    ] {
        assert!(Catalogue::read(&[table]).is_err(), "{table}");
    }
}

#[test]
fn every_name_is_defined_and_used() {
    let catalogue = &*CATALOGUE;
    let mut used = (BTreeSet::new(), BTreeSet::new());
    let parts = catalogue.kinds.iter().flat_map(|kind| &kind.parts);
    let mut nodes: Vec<&Node> = catalogue.types.values().chain(parts).collect();
    while let Some(node) = nodes.pop() {
        match &node.shape {
            table::Shape::Shared(name) => {
                used.0.insert(name.clone());
            }
            table::Shape::List(item) | table::Shape::Map(item) => nodes.push(item),
            _ => {}
        }
        for facet in &node.facets {
            if let table::Facet::Pattern(name) = facet {
                used.1.insert(name.clone());
            }
        }
        nodes.extend(&node.fields);
    }
    assert_eq!(used.0, catalogue.types.keys().cloned().collect());
    assert_eq!(used.1, catalogue.patterns.keys().cloned().collect());
}
