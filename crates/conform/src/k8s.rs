//! Suite `k8s_conversion`: Kubernetes' objects to projectcalico.org/v3.

use super::tagged::{tagged, write_key};
use super::{Answer, error, only, skip, text};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tortie_api::k8s as kube;
use tortie_model::convert::{Problems, k8s, wep_name};
use tortie_model::names::{DEFAULT_INTERFACE_PREFIX, veth};
use tortie_model::{Key, ResourceKey};
use tortie_net::Port;

/// Answers one request.
pub(crate) fn answer(request: &Value) -> Answer {
    match convert(request) {
        Ok(answer) => answer,
        Err(reason) => error(reason),
    }
}

fn convert(request: &Value) -> Result<Answer, String> {
    let argument = |n: usize| request.pointer(&format!("/args/{n}")).unwrap_or(&Value::Null);
    let words = |n: usize| argument(n).as_str().unwrap_or_default();
    let result = |value: Value| Ok(only("result", value));
    let pod = |test: fn(&kube::Pod) -> bool| result(test(&decode(argument(0))?).into());
    match text(request, "op") {
        "PodToWorkloadEndpoints" => pod_to_endpoints(&decode(argument(0))?, request),
        "K8sNetworkPolicyToCalico" => network_policy(&decode(argument(0))?),
        "K8sClusterNetworkPolicyToCalico" => cluster_network_policy(&decode(argument(0))?),
        "NamespaceToProfile" => {
            let namespace: kube::Namespace = decode(argument(0))?;
            required_uid(&namespace.metadata.uid)?;
            let profile = k8s::namespace_profile(&namespace);
            let revision = format!("{}/", namespace.metadata.resource_version);
            result(kv("Profile", "", &profile.metadata.name, "Profile", &profile, &revision))
        }
        "ServiceAccountToProfile" => {
            let account: kube::ServiceAccount = decode(argument(0))?;
            required_uid(&account.metadata.uid)?;
            let profile = k8s::service_account_profile(&account);
            let revision = format!("/{}", account.metadata.resource_version);
            result(kv("Profile", "", &profile.metadata.name, "Profile", &profile, &revision))
        }
        "HasIPAddress" => pod(k8s::has_address),
        "IsFinished" => pod(k8s::is_finished),
        "IsValidCalicoWorkloadEndpoint" => pod(k8s::is_valid_endpoint),
        "IsReadyCalicoPod" => pod(k8s::is_ready),
        "IsScheduled" => pod(k8s::is_scheduled),
        "IsHostNetworked" => pod(k8s::is_host_networked),
        "ParseWorkloadEndpointName" => result(endpoint_name(words(0))?),
        "VethNameForWorkload" => result(veth(&interface_prefix(request), words(0), words(1)).into()),
        "ProfileNameToNamespace" => match k8s::profile_namespace(words(0)) {
            Some(namespace) => result(namespace.into()),
            None => Err(format!("{:?} is not the profile of a namespace", words(0))),
        },
        "ProfileNameToServiceAccount" => match k8s::profile_service_account(words(0)) {
            Some((namespace, name)) => result(json!([namespace, name])),
            None => Err(format!("{:?} is not the profile of a service account", words(0))),
        },
        "JoinProfileRevisions" => result(format!("{}/{}", words(0), words(1)).into()),
        "SplitProfileRevision" => {
            let parts: Vec<&str> = words(0).split('/').collect();
            match parts.as_slice() {
                ["" | "0"] => result(json!(["", ""])),
                [namespace, account] => result(json!([namespace, account])),
                _ => Err(format!("{:?} is not two revisions with a \"/\" between", words(0))),
            }
        }
        "ConvertUID" => result(required_uid(words(0))?.into()),
        "SimplifyPorts" => {
            let ports: Option<Vec<Port>> = decode(argument(0))?;
            result(json!(k8s::simplify_ports(ports.unwrap_or_default())))
        }
        other => Ok(skip(format!("op {other:?} is not known"))),
    }
}

fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|e| format!("cannot be read: {e}"))
}

fn required_uid(uid: &str) -> Result<String, String> {
    k8s::converted_uid(uid).ok_or_else(|| format!("metadata.uid: {uid:?} is not a UUID"))
}

fn optional_uid(uid: &str) -> Result<(), String> {
    if uid.is_empty() { Ok(()) } else { required_uid(uid).map(drop) }
}

fn resource_key(kind: &str, namespace: &str, name: &str) -> Value {
    write_key(&Key::Resource(ResourceKey {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }))
}

/// Key and value: `key_kind` names the object that was converted, `kind` what it became.
fn kv(
    key_kind: &str,
    namespace: &str,
    name: &str,
    kind: &str,
    value: &impl serde::Serialize,
    revision: &str,
) -> Value {
    let value = tagged(kind, json!(value));
    json!({"key": resource_key(key_kind, namespace, name), "value": value, "revision": revision})
}

fn problems_text(problems: &Problems) -> String {
    let texts: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
    texts.join("; ")
}

/// What became of an object, and what was wrong with it.
fn with_problems(result: Value, problems: &Problems) -> Answer {
    let mut answer = only("result", result);
    if !problems.is_empty() {
        answer.insert("error".to_owned(), problems_text(problems).into());
    }
    answer
}

fn pod_to_endpoints(pod: &kube::Pod, request: &Value) -> Result<Answer, String> {
    let mut problems = Problems::new();
    let endpoint = k8s::pod_to_workload_endpoint(pod, &interface_prefix(request), &mut problems);
    let Some(endpoint) = endpoint.filter(|_| !problems.is_fatal()) else {
        return Err(problems_text(&problems));
    };
    let metadata = &endpoint.metadata;
    let revision = &pod.metadata.resource_version;
    let kind = "WorkloadEndpoint";
    // What was left out is said where the owner of the pod looks; the endpoint is as good as any.
    Ok(only("result", json!([kv(kind, &metadata.namespace, &metadata.name, kind, &endpoint, revision)])))
}

fn network_policy(policy: &kube::NetworkPolicy) -> Result<Answer, String> {
    optional_uid(&policy.metadata.uid)?;
    let mut problems = Problems::new();
    let converted = k8s::network_policy(policy, &mut problems);
    let kube::Meta { namespace, name, resource_version, .. } = &policy.metadata;
    let kv = kv("KubernetesNetworkPolicy", namespace, name, "NetworkPolicy", &converted, resource_version);
    Ok(with_problems(kv, &problems))
}

fn cluster_network_policy(policy: &kube::ClusterNetworkPolicy) -> Result<Answer, String> {
    let mut problems = Problems::new();
    let converted = k8s::cluster_network_policy(policy, &mut problems);
    let kube::Meta { name, resource_version, uid, .. } = &policy.metadata;
    let key_kind = "KubernetesClusterNetworkPolicy";
    Ok(match converted {
        Some(converted) => {
            optional_uid(uid)?;
            let kv = kv(key_kind, "", name, "GlobalNetworkPolicy", &converted, resource_version);
            with_problems(kv, &problems)
        }
        None => {
            let key = resource_key(key_kind, "", name);
            only("result", json!({"key": key, "revision": resource_version}))
        }
    })
}

fn interface_prefix(request: &Value) -> String {
    let prefixes = request.pointer("/env/FELIX_INTERFACEPREFIX").and_then(Value::as_str).unwrap_or_default();
    let first = prefixes.split(',').next().unwrap_or_default();
    if prefixes.is_empty() { DEFAULT_INTERFACE_PREFIX } else { first }.to_owned()
}

/// The parts of an endpoint's name, as many as there are. What the third part is depends on the orchestrator.
fn endpoint_name(name: &str) -> Result<Value, String> {
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    let parts = wep_name::split(name);
    let third = match parts.get(1).map(String::as_str) {
        Some("k8s") => "Pod",
        Some("cni") => "ContainerID",
        Some("libnetwork") => "Orchestrator",
        _ => "Workload",
    };
    let fields = ["Node", "Orchestrator", third, "Endpoint"];
    if parts.len() > fields.len() {
        return Err(format!("{name:?} has more than four parts; a dash inside a part is written twice"));
    }
    let parts = fields.iter().zip(parts).filter(|(_, part)| !part.is_empty());
    Ok(Value::Object(parts.map(|(field, part)| ((*field).to_owned(), part.into())).collect::<Map<_, _>>()))
}
