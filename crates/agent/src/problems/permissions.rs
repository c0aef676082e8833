//! What the agent needs to be permitted, and what of it is not. Pure: the API server is asked elsewhere.

use crate::problems::{Name, Problem};
use serde_json::Value;
use std::collections::BTreeMap;
use tortie_store_kube::Group;

/// A rule of the ClusterRole.
struct Need {
    /// Calico's own, where [`CALICO`].
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    /// What comes of it if it is not permitted.
    without: &'static str,
}

/// Stands for the group that Calico's objects are in.
const CALICO: &str = "projectcalico.org";

const READ: &[&str] = &["get", "list", "watch"];

/// What `deploy/node.yaml` permits; a test compares the two.
const NEEDS: &[Need] = &[
    Need {
        group: "",
        resources: &["pods", "nodes", "namespaces", "serviceaccounts", "services"],
        verbs: READ,
        without: NOT_FOLLOWED,
    },
    Need { group: "discovery.k8s.io", resources: &["endpointslices"], verbs: READ, without: NOT_FOLLOWED },
    Need { group: "networking.k8s.io", resources: &["networkpolicies"], verbs: READ, without: NOT_FOLLOWED },
    Need {
        group: "networking.k8s.io",
        resources: &["servicecidrs"],
        verbs: &["list"],
        without: "pools that overlap the network of Services are noticed only where a Service has an address already",
    },
    Need {
        group: "policy.networking.k8s.io",
        resources: &["clusternetworkpolicies"],
        verbs: READ,
        without: NOT_FOLLOWED,
    },
    Need {
        group: "",
        resources: &["pods/status"],
        verbs: &["patch"],
        without: "no pod can start, since its addresses cannot be noted",
    },
    Need {
        group: "",
        resources: &["nodes/status"],
        verbs: &["patch"],
        without: "the node's addresses and its condition cannot be told",
    },
    Need {
        group: CALICO,
        resources: &[
            "bgpconfigurations",
            "bgpfilters",
            "bgppeers",
            "blockaffinities",
            "caliconodestatuses",
            "clusterinformations",
            "felixconfigurations",
            "globalnetworkpolicies",
            "globalnetworksets",
            "hostendpoints",
            "ipamblocks",
            "ipamconfigurations",
            "ippools",
            "ipreservations",
            "networkpolicies",
            "networksets",
            "stagedglobalnetworkpolicies",
            "stagedkubernetesnetworkpolicies",
            "stagednetworkpolicies",
            "tiers",
        ],
        verbs: READ,
        without: NOT_FOLLOWED,
    },
    Need {
        group: CALICO,
        resources: &[
            "bgpconfigurations",
            "clusterinformations",
            "felixconfigurations",
            "ipamconfigurations",
            "ippools",
            "tiers",
        ],
        verbs: &["create"],
        without: "the first node of a new cluster cannot make what is missing",
    },
    Need {
        group: CALICO,
        resources: &["tiers/status"],
        verbs: &["patch"],
        without: "tiers that are made have no status",
    },
    Need {
        group: CALICO,
        resources: &["clusterinformations", "felixconfigurations"],
        verbs: &["update"],
        without: "a node that starts cannot tell its version and settings",
    },
    Need { group: CALICO, resources: &["ipamhandles"], verbs: &["get", "list"], without: NO_ADDRESSES },
    Need {
        group: CALICO,
        resources: &["blockaffinities", "ipamblocks", "ipamhandles"],
        verbs: &["create", "update", "delete"],
        without: NO_ADDRESSES,
    },
];

const NOT_FOLLOWED: &str = "what is known of them stays as it is, and no change is seen";
const NO_ADDRESSES: &str = "no pod can start, since it gets no address";

/// Something that is done to a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access {
    /// Which of the needs it belongs to.
    need: usize,
    pub(crate) group: String,
    /// With its subresource: `pods/status`.
    pub(crate) resource: String,
    pub(crate) verb: String,
}

impl Access {
    /// The question whether we are permitted.
    pub(crate) fn review(&self) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "group": self.group, "resource": resource, "subresource": subresource, "verb": self.verb,
            }},
        })
    }
}

/// A resource as the group has it.
fn named(group: Group, need: &Need, resource: &str) -> (String, String) {
    if need.group != CALICO {
        return (need.group.to_owned(), resource.to_owned());
    }
    let resource = match (group, resource) {
        (Group::V1, "ipamconfigurations") => "ipamconfigs",
        _ => resource,
    };
    (group.name().to_owned(), resource.to_owned())
}

/// What of the needs an answer to a `SelfSubjectRulesReview` does not permit.
pub(crate) fn missing(group: Group, review: &Value) -> Vec<Access> {
    let rules = review.pointer("/status/resourceRules").and_then(Value::as_array);
    let rules: Vec<&Value> = rules.into_iter().flatten().collect();
    let mut missing = Vec::new();
    for (index, need) in NEEDS.iter().enumerate() {
        for resource in need.resources {
            let (group, resource) = named(group, need, resource);
            for verb in need.verbs {
                if !rules.iter().any(|rule| permits(rule, &group, &resource, verb)) {
                    missing.push(Access {
                        need: index,
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: (*verb).to_owned(),
                    });
                }
            }
        }
    }
    missing
}

fn permits(rule: &Value, group: &str, resource: &str, verb: &str) -> bool {
    let list = |field: &str| rule.get(field).and_then(Value::as_array).into_iter().flatten();
    let has =
        |field: &str, wanted: &str| list(field).filter_map(Value::as_str).any(|v| v == wanted || v == "*");
    let subresource = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    // A rule for some names is none for all.
    list("resourceNames").next().is_none()
        && has("verbs", verb)
        && has("apiGroups", group)
        && (has("resources", resource) || subresource.is_some_and(|sub| has("resources", &sub)))
}

/// How many resources one problem names as its object.
const NAMED: usize = 3;

/// One problem for each rule that is lacking or too narrow.
pub(crate) fn problems(user: &str, missing: &[Access]) -> Vec<Problem> {
    // Resources with the same verbs missing are one rule.
    let mut verbs: BTreeMap<(usize, &str, &str), Vec<&str>> = BTreeMap::new();
    for access in missing {
        verbs.entry((access.need, &access.group, &access.resource)).or_default().push(&access.verb);
    }
    let mut rules: BTreeMap<(usize, &str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((need, group, resource), verbs) in verbs {
        rules.entry((need, group, verbs)).or_default().push(resource);
    }
    let who = if user.is_empty() { "the agent" } else { user };
    let problem = |((need, group, verbs), resources): ((usize, &str, Vec<&str>), Vec<&str>)| {
        let of = if group.is_empty() { String::new() } else { format!(" of {group}") };
        let object = if resources.len() <= NAMED {
            format!("{}{of}", resources.join(", "))
        } else {
            format!("{} kinds{of}", resources.len())
        };
        let without = NEEDS.get(need).map_or("", |need| need.without);
        let message = format!("{who} may not {} {}{of}: {without}", verbs.join(", "), resources.join(", "));
        let quoted = |list: &[&str]| list.iter().map(|v| format!("{v:?}")).collect::<Vec<_>>().join(", ");
        let rule = format!(
            "{{apiGroups: [{group:?}], resources: [{}], verbs: [{}]}}",
            quoted(&resources),
            quoted(&verbs)
        );
        Problem::new(Name::PermissionMissing, object, message)
            .field(verbs.join(", "))
            .fix(format!("apply the manifest of this version, or add to the ClusterRole calico-node: {rule}"))
    };
    rules.into_iter().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    /// Rules as (group, resource, verb).
    fn flat(rules: &[Value]) -> BTreeSet<(String, String, String)> {
        let list = |rule: &Value, field: &str| -> Vec<String> {
            rule[field].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
        };
        let mut all = BTreeSet::new();
        for rule in rules {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    for verb in list(rule, "verbs") {
                        all.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
        all
    }

    /// The rules of a manifest's ClusterRole.
    fn role(manifest: &str) -> Vec<Value> {
        let document = manifest
            .split("\n---\n")
            .find(|d| d.contains("\nkind: ClusterRole\n") && d.contains("name: calico-node\n"))
            .unwrap();
        let role: Value = serde_saphyr::from_str(document).unwrap();
        role["rules"].as_array().unwrap().clone()
    }

    #[test]
    fn needs_are_what_the_manifests_permit() {
        for (group, manifest) in [
            (Group::V3, include_str!("../../../../deploy/tortie.yaml")),
            (Group::V1, include_str!("../../../../deploy/tortie-crd-v1.yaml")),
        ] {
            let rules = role(manifest);
            let needed: BTreeSet<_> =
                missing(group, &json!({})).into_iter().map(|a| (a.group, a.resource, a.verb)).collect();
            let permitted = flat(&rules);
            let more: Vec<_> = permitted.difference(&needed).collect();
            let less: Vec<_> = needed.difference(&permitted).collect();
            assert!(more.is_empty() && less.is_empty(), "only permitted: {more:?}, only needed: {less:?}");
            assert_eq!(missing(group, &json!({"status": {"resourceRules": rules}})), []);
        }
    }

    #[test]
    fn wildcards_permit_and_names_do_not() {
        let with = |rule: Value| missing(Group::V3, &json!({"status": {"resourceRules": [rule]}})).len();
        let all = missing(Group::V3, &json!({})).len();
        assert_eq!(with(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})), 0);
        assert_eq!(
            with(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "resourceNames": ["x"]})),
            all
        );
        assert_eq!(with(json!({"apiGroups": [""], "resources": ["*/status"], "verbs": ["patch"]})), all - 2);
        assert_eq!(with(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})), all - 1);
    }

    #[test]
    fn one_problem_for_each_rule_with_the_rule_that_mends_it() {
        let rules = role(include_str!("../../../../deploy/tortie.yaml"));
        let without = |resource: &str| -> Vec<Value> {
            let mut rules = rules.clone();
            for rule in &mut rules {
                rule["resources"].as_array_mut().unwrap().retain(|r| r != resource);
            }
            rules
        };
        let found = |rules: Vec<Value>| {
            let missing = missing(Group::V3, &json!({"status": {"resourceRules": rules}}));
            problems("system:serviceaccount:calico-system:calico-node", &missing)
        };
        let one = found(without("networksets"));
        assert_eq!(one.len(), 1);
        assert_eq!(
            (one[0].key.object.as_str(), one[0].key.field.as_str()),
            ("networksets of projectcalico.org", "get, list, watch")
        );
        assert!(one[0].message.starts_with("system:serviceaccount:calico-system:calico-node may not get, list, watch networksets of projectcalico.org: "), "{}", one[0].message);
        assert!(one[0].fix.ends_with(r#"{apiGroups: ["projectcalico.org"], resources: ["networksets"], verbs: ["get", "list", "watch"]}"#), "{}", one[0].fix);
        assert_eq!(found(Vec::new()).len(), NEEDS.len());
    }
}
