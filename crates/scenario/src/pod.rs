//! Pods, and the pods that a workload asks for.

use crate::object::ObjectId;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use tortie_api::k8s;
use tortie_net::{Family, Protocol};

/// A port on which a pod or a host listens. Text: `80/tcp`, `http=80/tcp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listen {
    /// Number.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Name that policies may use.
    pub name: Option<String>,
}

/// Text that is no port to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no port to listen on: expected 80/tcp, 53/udp, 9/sctp or http=80/tcp")]
pub struct ListenParseError {
    text: String,
}

/// The annotation by which a pod asks for addresses: a JSON list of them.
pub(crate) const ADDRESSES_ANNOTATION: &str = "cni.projectcalico.org/ipAddrs";

/// Why nobody can say which pods a workload asks for.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A field is not what it must be.
    #[error("cannot be read: {source}")]
    Shape {
        /// Which.
        source: serde_json::Error,
    },
    /// Addresses that are none.
    #[error(
        "{field} is {found:?}; write a JSON list of at most one address of each family, as [\"10.65.0.7\", \"fd65::7\"]"
    )]
    Addresses {
        /// Path of the annotation.
        field: String,
        /// What was written.
        found: String,
    },
}

impl WorkloadError {
    /// Path of the field that is wrong, or empty.
    pub fn field(&self) -> &str {
        match self {
            Self::Shape { .. } => "",
            Self::Addresses { field, .. } => field,
        }
    }
}

impl From<serde_json::Error> for WorkloadError {
    fn from(source: serde_json::Error) -> Self {
        Self::Shape { source }
    }
}

/// A pod that somebody wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Number of its node, from 1; 0 while it is not decided.
    pub node: usize,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Service account; empty is `default`.
    pub service_account: String,
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Fixed addresses, at most one of a family; empty to take what the pools give.
    pub addresses: Vec<IpAddr>,
    /// The workload that it belongs to.
    pub owner: Option<ObjectId>,
    /// `spec` where a manifest gives one, else null.
    pub spec: Value,
}

// === impl Listen ===

impl Listen {
    /// The port without its name: `80/tcp`.
    pub fn bare(&self) -> String {
        format!("{}/{}", self.port, self.protocol.to_string().to_ascii_lowercase())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}={}", self.bare()),
            None => f.write_str(&self.bare()),
        }
    }
}

impl FromStr for Listen {
    type Err = ListenParseError;

    fn from_str(text: &str) -> Result<Self, ListenParseError> {
        let err = || ListenParseError { text: text.to_owned() };
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if !name.is_empty() => (Some(name.to_owned()), rest),
            Some(_) => return Err(err()),
            None => (None, text),
        };
        let (port, protocol) = rest.split_once('/').unwrap_or((rest, "tcp"));
        let port = port.parse().ok().filter(|p| *p > 0).ok_or_else(err)?;
        let protocol = protocol.parse().map_err(|_| err())?;
        let known = matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP);
        if known { Ok(Self { port, protocol, name }) } else { Err(err()) }
    }
}

// === impl Pod ===

impl Pod {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The service account, with the default filled in.
    pub fn account(&self) -> &str {
        if self.service_account.is_empty() { "default" } else { &self.service_account }
    }

    /// True if the pod has, or will get, an address of the family.
    pub fn has_family(&self, family: Family) -> bool {
        self.addresses.is_empty() || self.addresses.iter().any(|a| Family::of(*a) == family)
    }

    /// The Kubernetes object of the pod on a node with this name. Its addresses are recorded by whoever gives them.
    pub fn to_object(&self, node: &str) -> Value {
        let mut annotations = self.annotations.clone();
        if !self.addresses.is_empty() {
            annotations.insert(ADDRESSES_ANNOTATION.to_owned(), json!(self.addresses).to_string());
        }
        let mut spec = match &self.spec {
            Value::Object(spec) => spec.clone(),
            _ => Map::new(),
        };
        if !spec.contains_key("containers") {
            let port = |l: &Listen| {
                let mut port = Map::new();
                port.insert("containerPort".to_owned(), l.port.into());
                port.insert("protocol".to_owned(), l.protocol.to_string().into());
                if let Some(name) = &l.name {
                    port.insert("name".to_owned(), name.clone().into());
                }
                Value::Object(port)
            };
            let ports: Vec<Value> = self.listen.iter().map(port).collect();
            spec.insert("containers".to_owned(), json!([{"name": "main", "image": "lab", "ports": ports}]));
        }
        spec.insert("serviceAccountName".to_owned(), self.account().into());
        spec.insert("nodeName".to_owned(), node.into());
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels,
                "annotations": annotations},
            "spec": spec,
        })
    }
}

/// The pods that a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob asks for. Those of a Pod have
/// its name, others `name-N` from 0; those of a DaemonSet are one on each node. A pod on the host's network is none
/// that policy or the lab knows.
pub fn pods_of(id: &ObjectId, object: &Value, nodes: usize) -> Result<Vec<Pod>, WorkloadError> {
    use serde::Deserialize as _;
    if id.kind == "Pod" {
        let pod = k8s::Pod::deserialize(object)?;
        let node = pod.spec.node_name.strip_prefix("node").and_then(|n| n.parse().ok()).unwrap_or(0);
        let spec = object.get("spec").cloned().unwrap_or_default();
        let pod = Pod {
            owner: None,
            addresses: wanted_addresses(&pod.metadata.annotations, "metadata")?,
            ..template(id, &id.name, node, &pod.metadata, &pod.spec, spec)
        };
        return Ok(if is_on_host_network(object, "/spec") { Vec::new() } else { vec![pod] });
    }
    let workload = k8s::Workload::from_value(object)?;
    let path =
        if id.kind == "CronJob" { "/spec/jobTemplate/spec/template/spec" } else { "/spec/template/spec" };
    if is_on_host_network(object, path) {
        return Ok(Vec::new());
    }
    let spec = object.pointer(path).cloned().unwrap_or_default();
    let each_node = id.kind == "DaemonSet";
    let count = workload.pods(u32::try_from(nodes).unwrap_or(u32::MAX)) as usize;
    let pod = |i: usize| {
        let node = if each_node { i + 1 } else { 0 };
        let name = format!("{}-{i}", id.name);
        template(
            id,
            &name,
            node,
            &workload.spec.template.metadata,
            &workload.spec.template.spec,
            spec.clone(),
        )
    };
    Ok((0..count).map(pod).collect())
}

/// The addresses that annotations ask for.
fn wanted_addresses(
    annotations: &BTreeMap<String, String>,
    path: &str,
) -> Result<Vec<IpAddr>, WorkloadError> {
    let Some(text) = annotations.get(ADDRESSES_ANNOTATION) else { return Ok(Vec::new()) };
    let mut addresses: Vec<IpAddr> = serde_json::from_str(text).unwrap_or_default();
    addresses.sort();
    let families = addresses.iter().map(|a| Family::of(*a)).collect::<Vec<_>>();
    if addresses.is_empty()
        || families == [Family::V4; 2]
        || families == [Family::V6; 2]
        || families.len() > 2
    {
        return Err(WorkloadError::Addresses {
            field: format!("{path}.annotations[{ADDRESSES_ANNOTATION}]"),
            found: crate::decode::shortened(text),
        });
    }
    Ok(addresses)
}

fn is_on_host_network(object: &Value, spec: &str) -> bool {
    object.pointer(spec).and_then(|s| s.get("hostNetwork")) == Some(&Value::Bool(true))
}

fn template(
    id: &ObjectId,
    name: &str,
    node: usize,
    meta: &k8s::Meta,
    spec: &k8s::PodSpec,
    raw: Value,
) -> Pod {
    let listen = spec.containers.iter().flat_map(|c| &c.ports).filter_map(|p| {
        let protocol = if p.protocol.is_empty() { "TCP" } else { &p.protocol };
        Some(Listen {
            port: u16::try_from(p.container_port).ok().filter(|p| *p > 0)?,
            protocol: protocol.parse().ok()?,
            name: Some(p.name.clone()).filter(|n| !n.is_empty()),
        })
    });
    Pod {
        namespace: id.namespace.clone(),
        name: name.to_owned(),
        node,
        labels: meta.labels.clone(),
        annotations: meta.annotations.clone(),
        service_account: spec.service_account_name.clone(),
        listen: listen.collect(),
        addresses: Vec::new(),
        owner: Some(id.clone()),
        spec: raw,
    }
}
