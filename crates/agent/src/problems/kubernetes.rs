//! What the API server says of us: what we may do, which definitions it has, and whether the runtime sees our network.

use crate::problems::permissions::{self, Access};
use crate::problems::{Name, Problem, Problems};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tortie_store::StoreError;
use tortie_store_kube::{Definitions, KubeStore, Lacking};

const PERMISSIONS: &str = "permissions";
const DEFINITIONS: &str = "definitions";
const RUNTIME: &str = "runtime";

/// Between two looks, where nothing is wrong and where something is.
const INTERVAL: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(10);

/// How many accesses are asked for one by one, where the server does not tell all rules.
const QUESTIONS: usize = 200;

const RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Starts the task; it says nothing while `quiet`.
pub(crate) fn spawn(
    kube: Arc<KubeStore>,
    node: String,
    problems: Problems,
    quiet: impl Fn() -> bool + Send + 'static,
) {
    tokio::spawn(async move {
        let mut known: Option<Definitions> = None;
        let mut unused_before = false;
        loop {
            let mut wrong = false;
            if quiet() {
                for source in [PERMISSIONS, DEFINITIONS, RUNTIME] {
                    problems.replace(source, Vec::new());
                }
            } else {
                // A server that does not answer is the feed's to tell; what was found stays.
                if let Ok(found) = permitted(&kube).await {
                    wrong |= !found.is_empty();
                    problems.replace(PERMISSIONS, found);
                }
                if let Ok(definitions) = kube.definitions(known.as_ref()).await {
                    wrong |= !definitions.lacking.is_empty();
                    problems.replace(DEFINITIONS, definitions.lacking.iter().map(lack).collect());
                    known = Some(definitions);
                }
                if let Ok(unused) = is_unused(&kube, &node).await {
                    wrong |= unused;
                    // A node that starts says so for a moment.
                    problems.replace(RUNTIME, Vec::from_iter((unused && unused_before).then(unseen)));
                    unused_before = unused;
                }
            }
            tokio::time::sleep(if wrong { SOON } else { INTERVAL }).await;
        }
    });
}

/// What we may not do.
async fn permitted(kube: &KubeStore) -> Result<Vec<Problem>, StoreError> {
    let question = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        // Rules for the cluster are told in every namespace.
        "spec": {"namespace": "default"},
    });
    let review = kube.ask(RULES, &question).await?;
    let mut missing: Vec<Access> = permissions::missing(kube.group(), &review);
    // Some authorizers do not tell their rules, and only answer questions.
    let incomplete = review.pointer("/status/incomplete").and_then(Value::as_bool).unwrap_or(false);
    if incomplete && missing.len() <= QUESTIONS {
        let mut refused = Vec::new();
        for access in missing {
            let answer = kube.ask(ACCESS, &access.review()).await?;
            if answer.pointer("/status/allowed").and_then(Value::as_bool) == Some(false) {
                refused.push(access);
            }
        }
        missing = refused;
    }
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let question = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = kube.ask(SELF, &question).await.unwrap_or_default();
    let user = answer.pointer("/status/userInfo/username").and_then(Value::as_str).unwrap_or_default();
    Ok(permissions::problems(user, &missing))
}

/// The manifest that belongs to a definition or group.
fn manifest(of: &str) -> &'static str {
    if of.contains("crd.projectcalico.org") {
        "kubectl apply -f deploy/tortie-crd-v1.yaml (of this version)"
    } else {
        "kubectl apply -f deploy/tortie.yaml (of this version)"
    }
}

fn lack(lacking: &Lacking) -> Problem {
    match lacking {
        Lacking::Group { group, other: Some(other) } => Problem::new(
            Name::DefinitionsElsewhere,
            *group,
            format!("the agent reads {group}, which is not installed, and {other} is: it sees no policy and no pool"),
        )
        .fix(format!("set calico_api_group in the ConfigMap calico-config to {other}, or {}", manifest(group))),
        Lacking::Group { group, other: None } => Problem::new(
            Name::DefinitionMissing,
            *group,
            "none of the kinds of policies, pools and addresses is installed: no pod gets an address",
        )
        .fix(manifest(group)),
        Lacking::Version { group, served } => Problem::new(
            Name::DefinitionMissing,
            *group,
            format!("the group is installed in other versions only ({})", served.join(", ")),
        )
        .fix(manifest(group)),
        Lacking::Kind { definition } => Problem::new(
            Name::DefinitionMissing,
            definition.clone(),
            "the CustomResourceDefinition is not installed: it is as if there were no such objects",
        )
        .fix(manifest(definition)),
        Lacking::Fields { definition, fields } => Problem::new(
            Name::DefinitionOutdated,
            definition.clone(),
            format!(
                "the CustomResourceDefinition is older than this agent: the API server drops {}",
                brief(fields)
            ),
        )
        .fix(manifest(definition)),
    }
}

/// The first few, and how many more.
fn brief(fields: &[String]) -> String {
    const NAMED: usize = 6;
    let mut text = fields.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if fields.len() > NAMED {
        text.push_str(&format!(" and {} more", fields.len() - NAMED));
    }
    text
}

/// Whether kubelet says that its runtime has no network.
async fn is_unused(kube: &KubeStore, node: &str) -> Result<bool, StoreError> {
    let node = kube.read(&format!("/api/v1/nodes/{node}")).await?;
    Ok(node.as_ref().is_some_and(is_without_network))
}

fn is_without_network(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let says = |condition: &&Value, field: &str, text: &str| {
        condition.get(field).and_then(Value::as_str).is_some_and(|v| v.contains(text))
    };
    conditions.into_iter().flatten().any(|condition| {
        says(&condition, "type", "Ready")
            && says(&condition, "status", "False")
            && (says(&condition, "message", "cni plugin not initialized")
                || says(&condition, "message", "NetworkPluginNotReady"))
    })
}

fn unseen() -> Problem {
    Problem::new(
        Name::CniConfigurationUnused,
        "container runtime",
        "kubelet says that its runtime has no network, though this agent runs: no pod starts here",
    )
    .fix("compare the runtime's directory of CNI configurations (containerd: conf_dir in /etc/containerd/config.toml) with the hostPath of cni-net-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lacks_name_the_manifest_of_their_group() {
        let of = |lacking| {
            let problem = lack(&lacking);
            (problem.key.name, problem.fix)
        };
        let (name, fix) = of(Lacking::Kind { definition: "tiers.crd.projectcalico.org".into() });
        assert!(name == Name::DefinitionMissing && fix.contains("tortie-crd-v1.yaml"));
        let (name, fix) = of(Lacking::Fields {
            definition: "ippools.projectcalico.org".into(),
            fields: vec!["spec.assignmentMode".into()],
        });
        assert!(name == Name::DefinitionOutdated && fix.contains("tortie.yaml"));
        let group = Lacking::Group { group: "projectcalico.org/v3", other: Some("crd.projectcalico.org/v1") };
        let (name, fix) = of(group);
        assert!(name == Name::DefinitionsElsewhere && fix.contains("to crd.projectcalico.org/v1"));
        let many: Vec<String> = (0..9).map(|n| format!("f{n}")).collect();
        assert_eq!(brief(&many), "f0, f1, f2, f3, f4, f5 and 3 more");
    }

    #[test]
    fn kubelet_says_that_its_runtime_has_no_network() {
        let node = |status: &str, message: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status, "message": message}]}});
        let message = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized";
        assert!(is_without_network(&node("False", message)));
        assert!(!is_without_network(&node("True", "kubelet is posting ready status")));
        assert!(!is_without_network(&node("False", "PLEG is not healthy")));
    }
}
