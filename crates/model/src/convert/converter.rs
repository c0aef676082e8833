//! The entry point: a path and its value in a datastore, to changes of the model.
//!
//! Keeps what each path stands for, so that a value that goes away, changes its key, or cannot be used any more takes
//! its keys along. The outcome depends on the values that are there, not on the order in which they came.

use super::conflict::Claims;
use super::v3::ConfigScope;
use super::{Diagnostic, Problems, k8s, v3};
use crate::key::{PolicyId, PolicyKind, ResourceKey};
use crate::{Change, Key, Value};
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tortie_api::v3::ResourceType;
use tortie_api::{k8s as kube, v3 as calico};

/// How to convert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Begins the names of host side interfaces.
    pub interface_prefix: String,
    /// Kubernetes' objects never passed an API server: fill in what it would have filled in.
    pub fill_defaults: bool,
    /// Addresses come from the prefixes that Kubernetes gave each node, not from blocks of our own.
    pub use_pod_cidr: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interface_prefix: crate::names::DEFAULT_INTERFACE_PREFIX.to_owned(),
            fill_defaults: true,
            use_pod_cidr: false,
        }
    }
}

/// Converts a datastore's entries. One per source of entries.
#[derive(Debug, Default)]
pub struct Converter {
    options: Options,
    live: HashMap<String, Vec<(Key, Value)>>,
    pools: Claims,
    host_endpoints: Claims,
    global_sets: Claims,
}

/// What one entry stands for.
enum Outcome {
    /// These keys and values.
    Values(Vec<(Key, Value)>),
    /// Perhaps this key, which others may claim too.
    Claim(Contested, Option<(Key, Value)>),
}

/// Kinds whose key in the model does not follow from their name.
#[derive(Clone, Copy)]
enum Contested {
    Pool,
    HostEndpoint,
    GlobalSet,
}

impl Converter {
    /// A converter that has seen nothing.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Takes the value of a path now, or `None` when it is gone; answers what changes in the model, and what is wrong.
    ///
    /// A path that means nothing here changes nothing.
    pub fn entry(&mut self, path: &str, value: Option<&[u8]>) -> (Vec<Change>, Vec<Diagnostic>) {
        let mut problems = Problems::new();
        let (outcome, object) = if let Some((kind, namespace, name)) = calico::parse_path(path) {
            let outcome = self.calico(kind, namespace, name, value, &mut problems);
            (outcome, display(kind, namespace, name))
        } else if let Some((kind, namespace, name)) = kube::parse_path(path) {
            let outcome = self.kubernetes(kind, namespace, name, value, &mut problems);
            (outcome, display(kind, namespace, name))
        } else if let Some(key) = Key::from_path(path) {
            (raw(key, value, &mut problems), path.to_owned())
        } else {
            return (Vec::new(), Vec::new());
        };
        let changes = match outcome {
            Outcome::Values(mut values) => {
                if problems.is_fatal() {
                    values.clear();
                }
                self.replace(path, values)
            }
            Outcome::Claim(contested, claim) => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let claim = claim.filter(|_| !problems.is_fatal());
                let claims = match contested {
                    Contested::Pool => &mut self.pools,
                    Contested::HostEndpoint => &mut self.host_endpoints,
                    Contested::GlobalSet => &mut self.global_sets,
                };
                let changes = claims.set(name, claim);
                if let Some(winner) = claims.winner_over(name) {
                    problems.dropped(
                        "",
                        format!("{winner} claims the same and comes first by name; this one has no effect"),
                    );
                }
                changes
            }
        };
        (changes, problems.into_diagnostics(&object))
    }

    /// Forgets everything: a list from scratch follows.
    pub fn restart(&mut self) {
        *self = Self::new(std::mem::take(&mut self.options));
    }

    /// Exchanges what a path stands for. What did not change is not repeated.
    fn replace(&mut self, path: &str, values: Vec<(Key, Value)>) -> Vec<Change> {
        let old = self.live.remove(path).unwrap_or_default();
        let mut changes = Vec::new();
        for (key, _) in &old {
            if !values.iter().any(|(k, _)| k == key) {
                changes.push(Change { key: key.clone(), value: None });
            }
        }
        for (key, value) in &values {
            if !old.iter().any(|(k, v)| k == key && v == value) {
                changes.push(Change { key: key.clone(), value: Some(value.clone()) });
            }
        }
        if !values.is_empty() {
            self.live.insert(path.to_owned(), values);
        }
        changes
    }

    fn calico(
        &self,
        kind: &ResourceType,
        namespace: &str,
        name: &str,
        value: Option<&[u8]>,
        problems: &mut Problems,
    ) -> Outcome {
        let policy = |kind, policy: Option<crate::value::Policy>| {
            let id = PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned() };
            Outcome::one(policy.map(|p| (Key::Policy(id), Value::Policy(Arc::new(p)))))
        };
        let at = Place { namespace, name };
        match kind.kind {
            "NetworkPolicy" => policy(
                PolicyKind::NetworkPolicy,
                at.object(value, problems).map(|o| v3::network_policy(&o, problems)),
            ),
            "GlobalNetworkPolicy" => policy(
                PolicyKind::GlobalNetworkPolicy,
                at.object(value, problems).map(|o| v3::global_network_policy(&o, problems)),
            ),
            "StagedNetworkPolicy" => policy(
                PolicyKind::StagedNetworkPolicy,
                at.object(value, problems).and_then(|o| v3::staged_network_policy(&o, problems)),
            ),
            "StagedGlobalNetworkPolicy" => policy(
                PolicyKind::StagedGlobalNetworkPolicy,
                at.object(value, problems).and_then(|o| v3::staged_global_network_policy(&o, problems)),
            ),
            "StagedKubernetesNetworkPolicy" => policy(
                PolicyKind::StagedKubernetesNetworkPolicy,
                at.object(value, problems).and_then(|o| v3::staged_kubernetes_network_policy(&o, problems)),
            ),
            "Tier" => Outcome::one(
                at.object(value, problems).map(|o| (Key::Tier(name.to_owned()), Value::Tier(v3::tier(&o)))),
            ),
            "Profile" => match at.object(value, problems) {
                Some(profile) => profile_values(&profile, problems),
                None => Outcome::Values(Vec::new()),
            },
            "NetworkSet" => Outcome::one(at.object(value, problems).map(|o| {
                let set = v3::network_set(&o, problems);
                (Key::NetworkSet(format!("{namespace}/{name}")), Value::NetworkSet(Arc::new(set)))
            })),
            "GlobalNetworkSet" => {
                let claim = at.object(value, problems).map(|o| {
                    let set = v3::global_network_set(&o, problems);
                    (Key::NetworkSet(name.to_owned()), Value::NetworkSet(Arc::new(set)))
                });
                Outcome::Claim(Contested::GlobalSet, claim)
            }
            "IPPool" => {
                let pool = at.object(value, problems).and_then(|o| v3::ip_pool(&o, problems));
                let claim = pool.map(|p| (Key::IpPool(p.cidr), Value::IpPool(Arc::new(p))));
                Outcome::Claim(Contested::Pool, claim)
            }
            "HostEndpoint" => Outcome::Claim(Contested::HostEndpoint, host_endpoint(&at, value, problems)),
            "WorkloadEndpoint" => {
                let endpoint = at.object(value, problems).and_then(|o| v3::workload_endpoint(&o, problems));
                Outcome::one(endpoint.and_then(|e| {
                    let id = v3::workload_key(namespace, name, problems)?;
                    Some((Key::WorkloadEndpoint(id), Value::WorkloadEndpoint(Arc::new(e))))
                }))
            }
            "ClusterInformation" => {
                let object = at.object(value, problems);
                Outcome::set(v3::cluster_information(name, object.as_ref()))
            }
            "FelixConfiguration" if ConfigScope::of(name) != ConfigScope::Selected => {
                let object = at.object(value, problems);
                Outcome::set(v3::felix_configuration(name, object.as_ref(), &mut BTreeSet::new(), problems))
            }
            "Node" => self.node(&at, value, problems),
            other => at.resource(other, value, problems),
        }
    }

    fn kubernetes(
        &self,
        kind: &ResourceType,
        namespace: &str,
        name: &str,
        value: Option<&[u8]>,
        problems: &mut Problems,
    ) -> Outcome {
        let at = Place { namespace, name };
        let policy = |kind, policy: Option<crate::value::Policy>| {
            let id = PolicyId { kind, namespace: namespace.to_owned(), name: name.to_owned() };
            Outcome::one(policy.map(|p| (Key::Policy(id), Value::Policy(Arc::new(p)))))
        };
        match kind.kind {
            "Pod" => {
                let Some(mut pod) = decode::<kube::Pod>(value, problems) else {
                    return Outcome::one(None);
                };
                at.name(&mut pod.metadata);
                Outcome::one(self.pod(&pod, problems))
            }
            "Namespace" => {
                let Some(mut object) = decode::<kube::Namespace>(value, problems) else {
                    return Outcome::one(None);
                };
                at.name(&mut object.metadata);
                if self.options.fill_defaults {
                    k8s::defaults::namespace(&mut object);
                }
                profile_values(&k8s::namespace_profile(&object), problems)
            }
            "ServiceAccount" => {
                let Some(mut object) = decode::<kube::ServiceAccount>(value, problems) else {
                    return Outcome::one(None);
                };
                at.name(&mut object.metadata);
                profile_values(&k8s::service_account_profile(&object), problems)
            }
            "NetworkPolicy" => policy(
                PolicyKind::KubernetesNetworkPolicy,
                decode::<kube::NetworkPolicy>(value, problems).map(|mut object| {
                    at.name(&mut object.metadata);
                    if self.options.fill_defaults {
                        k8s::defaults::network_policy(&mut object.spec);
                    }
                    let object = k8s::network_policy(&object, problems);
                    v3::network_policy(&object, problems)
                }),
            ),
            "ClusterNetworkPolicy" => policy(
                PolicyKind::KubernetesClusterNetworkPolicy,
                decode::<kube::ClusterNetworkPolicy>(value, problems).and_then(|mut object| {
                    at.name(&mut object.metadata);
                    let object = k8s::cluster_network_policy(&object, problems)?;
                    Some(v3::global_network_policy(&object, problems))
                }),
            ),
            "Service" => at.resource("KubernetesService", value, problems),
            "EndpointSlice" => at.resource("KubernetesEndpointSlice", value, problems),
            _ => Outcome::Values(Vec::new()),
        }
    }

    /// Settings of the node, the object itself, and blocks where Kubernetes gave it prefixes.
    fn node(&self, at: &Place<'_>, value: Option<&[u8]>, problems: &mut Problems) -> Outcome {
        let (Some(json), Some(node)) = (decode(value, problems), at.object(value, problems)) else {
            return Outcome::one(None);
        };
        let mut changes = v3::felix_node(at.name, Some(&node), problems);
        changes.push(Change { key: at.resource_key("Node"), value: Some(Value::Resource(Arc::new(json))) });
        if self.options.use_pod_cidr {
            let cidrs = v3::pod_cidrs(&node, problems);
            let blocks = cidrs.into_iter().flat_map(|cidr| v3::pod_cidr_block(at.name, cidr));
            changes.extend(blocks.map(|(key, value)| Change { key, value: Some(value) }));
        }
        Outcome::set(changes)
    }

    fn pod(&self, pod: &kube::Pod, problems: &mut Problems) -> Option<(Key, Value)> {
        if !k8s::is_valid_endpoint(pod) {
            return None;
        }
        let object = k8s::pod_to_workload_endpoint(pod, &self.options.interface_prefix, problems)?;
        let endpoint = v3::workload_endpoint(&object, problems)?;
        let id = v3::workload_key(&object.metadata.namespace, &object.metadata.name, problems)?;
        Some((Key::WorkloadEndpoint(id), Value::WorkloadEndpoint(Arc::new(endpoint))))
    }
}

// === impl Outcome ===

impl Outcome {
    fn one(value: Option<(Key, Value)>) -> Self {
        Self::Values(value.into_iter().collect())
    }

    /// Only the keys that have a value; the rest follows from what was there before.
    fn set(changes: Vec<Change>) -> Self {
        Self::Values(changes.into_iter().filter_map(|c| c.value.map(|value| (c.key, value))).collect())
    }
}

fn decode<T: DeserializeOwned>(value: Option<&[u8]>, problems: &mut Problems) -> Option<T> {
    serde_json::from_slice(value?).map_err(|e| problems.fatal("", format!("cannot be read: {e}"))).ok()
}

/// The place of an object, which is its identity: what its metadata says is overruled.
struct Place<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Place<'_> {
    fn object<S>(&self, value: Option<&[u8]>, problems: &mut Problems) -> Option<tortie_api::meta::Object<S>>
    where
        S: Default + DeserializeOwned,
    {
        let mut object: tortie_api::meta::Object<S> = decode(value, problems)?;
        self.name.clone_into(&mut object.metadata.name);
        self.namespace.clone_into(&mut object.metadata.namespace);
        Some(object)
    }

    fn name(&self, metadata: &mut kube::Meta) {
        self.name.clone_into(&mut metadata.name);
        self.namespace.clone_into(&mut metadata.namespace);
    }

    fn resource_key(&self, kind: &str) -> Key {
        Key::Resource(ResourceKey {
            kind: kind.to_owned(),
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
        })
    }

    fn resource(&self, kind: &str, value: Option<&[u8]>, problems: &mut Problems) -> Outcome {
        let json = decode(value, problems);
        Outcome::one(json.map(|json| (self.resource_key(kind), Value::Resource(Arc::new(json)))))
    }
}

fn host_endpoint(at: &Place<'_>, value: Option<&[u8]>, problems: &mut Problems) -> Option<(Key, Value)> {
    let object: calico::HostEndpoint = at.object(value, problems)?;
    if object.spec.node.is_empty() {
        problems.fatal("spec.node", "must name the node whose interface this is".to_owned());
        return None;
    }
    let key = Key::HostEndpoint { host: object.spec.node.clone(), id: at.name.to_owned() };
    Some((key, Value::HostEndpoint(Arc::new(v3::host_endpoint(&object, problems)))))
}

/// A profile's rules, its labels if it has any, and the object.
fn profile_values(profile: &calico::Profile, problems: &mut Problems) -> Outcome {
    let name = &profile.metadata.name;
    let (rules, labels) = v3::profile(profile, problems);
    let mut values = vec![(Key::ProfileRules(name.clone()), Value::ProfileRules(Arc::new(rules)))];
    if !labels.is_empty() {
        values.push((Key::ProfileLabels(name.clone()), Value::ProfileLabels(Arc::new(labels))));
    }
    if let Ok(json) = serde_json::to_value(profile) {
        let key = ResourceKey { kind: "Profile".to_owned(), namespace: String::new(), name: name.clone() };
        values.push((Key::Resource(key), Value::Resource(Arc::new(json))));
    }
    Outcome::Values(values)
}

/// A path of the model itself: addresses' blocks, handles, affinities.
fn raw(key: Key, value: Option<&[u8]>, problems: &mut Problems) -> Outcome {
    let Some(bytes) = value else { return Outcome::one(None) };
    match Value::parse(&key, bytes) {
        Ok(value) => Outcome::one(Some((key, value))),
        Err(error) => {
            problems.fatal("", format!("cannot be read: {}", error.source));
            Outcome::one(None)
        }
    }
}

fn display(kind: &ResourceType, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{} {name}", kind.kind)
    } else {
        format!("{} {namespace}/{name}", kind.kind)
    }
}
