//! Kubernetes' objects to projectcalico.org/v3.
//!
//! Pods become workload endpoints, namespaces and service accounts become profiles, network policies become policies.
//! From there [`super::v3`] leads to the model.

mod cluster_policy;
mod pod;
mod policy;
mod ports;
pub(crate) mod qos;
mod quantity;
#[cfg(test)]
mod tests;

pub use cluster_policy::cluster_network_policy;
pub use pod::{
    has_address, is_finished, is_host_networked, is_ready, is_scheduled, is_valid_endpoint, pod_addresses,
    pod_to_workload_endpoint,
};
pub use policy::network_policy;
pub use ports::simplify_ports;

use super::selector::{NAMESPACE_LABEL_PREFIX, SERVICE_ACCOUNT_LABEL_PREFIX};
use tortie_api::meta::StringMap;
use tortie_api::{k8s, v3};

/// Prefix of the profiles of namespaces.
pub const NAMESPACE_PROFILE_PREFIX: &str = "kns.";
/// Prefix of the profiles of service accounts.
pub const SERVICE_ACCOUNT_PROFILE_PREFIX: &str = "ksa.";
/// Label, below a prefix, that holds the name of the namespace or service account.
const NAME_LABEL: &str = "projectcalico.org/name";
/// Label that Kubernetes puts on every namespace.
const K8S_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Name of a namespace's profile.
pub fn namespace_profile_name(namespace: &str) -> String {
    format!("{NAMESPACE_PROFILE_PREFIX}{namespace}")
}

/// Name of a service account's profile.
pub fn service_account_profile_name(namespace: &str, name: &str) -> String {
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    format!("{SERVICE_ACCOUNT_PROFILE_PREFIX}{namespace}.{name}")
}

/// The namespace whose profile has this name.
pub fn profile_namespace(profile: &str) -> Option<&str> {
    profile.strip_prefix(NAMESPACE_PROFILE_PREFIX)
}

/// Namespace and name of the service account whose profile has this name.
pub fn profile_service_account(profile: &str) -> Option<(&str, &str)> {
    profile.strip_prefix(SERVICE_ACCOUNT_PROFILE_PREFIX)?.split_once('.')
}

fn inherited(labels: &StringMap, prefix: &str, name: &str) -> StringMap {
    let mut inherited: StringMap = labels.iter().map(|(k, v)| (format!("{prefix}{k}"), v.clone())).collect();
    inherited.insert(format!("{prefix}{NAME_LABEL}"), name.to_owned());
    inherited
}

fn profile_object(name: String, metadata: &k8s::Meta, spec: v3::ProfileSpec) -> v3::Profile {
    let mut profile = v3::Profile::with_spec("", &name, spec);
    profile.metadata.creation_timestamp.clone_from(&metadata.creation_timestamp);
    profile.metadata.uid = converted_uid(&metadata.uid).unwrap_or_default();
    profile
}

/// The profile of a namespace: allows everything, hands down the namespace's labels.
pub fn namespace_profile(namespace: &k8s::Namespace) -> v3::Profile {
    let name = &namespace.metadata.name;
    let allow = || vec![v3::Rule { action: "Allow".to_owned(), ..v3::Rule::default() }];
    let spec = v3::ProfileSpec {
        ingress: allow(),
        egress: allow(),
        labels_to_apply: inherited(&namespace.metadata.labels, NAMESPACE_LABEL_PREFIX, name),
        other: tortie_api::Map::new(),
    };
    profile_object(namespace_profile_name(name), &namespace.metadata, spec)
}

/// The profile of a service account: no rules, hands down the account's labels.
pub fn service_account_profile(account: &k8s::ServiceAccount) -> v3::Profile {
    let (namespace, name) = (&account.metadata.namespace, &account.metadata.name);
    let spec = v3::ProfileSpec {
        labels_to_apply: inherited(&account.metadata.labels, SERVICE_ACCOUNT_LABEL_PREFIX, name),
        ..v3::ProfileSpec::default()
    };
    profile_object(service_account_profile_name(namespace, name), &account.metadata, spec)
}

/// Identity of an object that is derived from another: the bits of each byte reversed, save for those bytes that hold
/// version and variant. `None` if the text is no UUID, which can stand in braces, after `urn:uuid:`, or without dashes.
pub fn converted_uid(uid: &str) -> Option<String> {
    let bare = match uid.len() {
        38 => uid.get(1..37)?,
        45 => uid.get(..9).filter(|urn| urn.eq_ignore_ascii_case("urn:uuid:")).and_then(|_| uid.get(9..))?,
        _ => uid,
    };
    let dashed = [8, 13, 18, 23].iter().all(|i| bare.as_bytes().get(*i) == Some(&b'-'));
    let digits: Vec<u8> = match bare.len() {
        36 if dashed => bare.bytes().filter(|b| *b != b'-').collect(),
        32 if uid.len() == 32 => bare.bytes().collect(),
        _ => return None,
    };
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut converted = String::with_capacity(36);
    for (i, pair) in digits.chunks(2).enumerate() {
        let byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        let byte = if i == 6 || i == 8 { byte } else { byte.reverse_bits() };
        if matches!(i, 4 | 6 | 8 | 10) {
            converted.push('-');
        }
        converted.push_str(&format!("{byte:02x}"));
    }
    Some(converted)
}

/// Fills in what an API server fills in when an object is created. For objects that never passed one.
pub mod defaults {
    use super::{K8S_NAME_LABEL, k8s};

    /// The label with the namespace's name.
    pub fn namespace(namespace: &mut k8s::Namespace) {
        let name = namespace.metadata.name.clone();
        namespace.metadata.labels.entry(K8S_NAME_LABEL.to_owned()).or_insert(name);
    }

    /// Policy types: ingress, and egress if there are rules for it.
    pub fn network_policy(spec: &mut k8s::NetworkPolicySpec) {
        if spec.policy_types.is_empty() {
            spec.policy_types.push("Ingress".to_owned());
            if !spec.egress.is_empty() {
                spec.policy_types.push("Egress".to_owned());
            }
        }
    }
}
