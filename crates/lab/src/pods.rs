//! Pods of the lab: a network namespace each, attached by the CNI plugin, listening on their ports.

use crate::cni::{Container, Plugin, Verb};
use crate::fabric;
use crate::lab::Lab;
use crate::objects::{self, ObjectId};
use crate::sandbox::NETNS_DIR;
use crate::seed;
use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use tortie_kernel_net::NetNs;
use tortie_probe::{Host, Proto, sctp_supported};

/// How many pods are started or stopped at the same time.
pub(crate) const PARALLEL: usize = 8;

/// `namespace/name` of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for PodName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let fine = |part: &str| {
            !part.is_empty()
                && part.len() <= 253
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        };
        match text.split_once('/') {
            Some((namespace, name)) if fine(namespace) && !namespace.contains('.') && fine(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => bail!("{text:?} is no name of a pod: expected namespace/name of a-z, 0-9, - and ."),
        }
    }
}

impl PodName {
    /// The pod's network namespace: namespaces have no dots, so this is unambiguous.
    pub(crate) fn netns(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// Path of its record.
    pub(crate) fn path(&self) -> String {
        seed::kubernetes("Pod", &self.namespace, &self.name)
    }

    pub(crate) fn id(&self) -> ObjectId {
        ObjectId { kind: "Pod".to_owned(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// A port on which a pod listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listen {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: String,
}

impl FromStr for Listen {
    type Err = anyhow::Error;

    /// `80/tcp`, `http=80/tcp`; TCP if no protocol is given.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => (None, text),
        };
        let (port, protocol) = rest.split_once('/').unwrap_or((rest, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        match port.parse::<u16>() {
            Ok(port) if port > 0 && matches!(protocol.as_str(), "tcp" | "udp" | "sctp") => {
                Ok(Self { name, port, protocol })
            }
            _ => bail!("{text:?} is no port: expected 80/tcp, 53/udp or http=80/tcp"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl Listen {
    /// The protocol to probe it with.
    pub(crate) fn proto(&self) -> Option<Proto> {
        match self.protocol.as_str() {
            "tcp" => Some(Proto::Tcp),
            "udp" => Some(Proto::Udp),
            "sctp" if sctp_supported() => Some(Proto::Sctp),
            _ => None,
        }
    }
}

/// A pod that somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodWish {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Number of the node, from 1; without, the one with the fewest pods.
    pub(crate) node: Option<usize>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) service_account: String,
    pub(crate) listen: Vec<Listen>,
    /// Fixed addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// The object that it belongs to.
    pub(crate) owner: Option<ObjectId>,
    /// Its specification where a manifest gives one.
    pub(crate) spec: Value,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: PodName,
    /// Index of the node.
    pub(crate) node: usize,
    pub(crate) container: Container,
    /// Its namespace and addresses.
    pub(crate) host: Host,
    pub(crate) listen: Vec<Listen>,
    pub(crate) owner: Option<ObjectId>,
}

/// What `lab pod list` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodRow {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) listen: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
}

/// The pods of a lab.
#[derive(Debug)]
pub(crate) struct Pods {
    plugin: Plugin,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<PodName, Arc<Pod>>,
    /// Names that are being started, with the index of their node.
    starting: BTreeMap<PodName, usize>,
}

impl Pods {
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self { plugin, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.state().running.values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &PodName) -> Option<Arc<Pod>> {
        self.state().running.get(name).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.state().running.len()
    }

    pub(crate) fn on_node(&self, index: usize) -> usize {
        self.state().running.values().filter(|p| p.node == index).count()
    }

    /// Takes a name and a node for a pod that is about to start.
    fn reserve(&self, name: &PodName, wanted: Option<usize>, nodes: usize) -> anyhow::Result<usize> {
        let mut state = self.state();
        if state.running.contains_key(name) || state.starting.contains_key(name) {
            bail!("there is a pod {name} already");
        }
        let load = |index: usize| {
            state.running.values().filter(|p| p.node == index).count()
                + state.starting.values().filter(|n| **n == index).count()
        };
        let node = match wanted {
            Some(number) if (1..=nodes).contains(&number) => number - 1,
            Some(number) => bail!("pod {name}: there is no node {number}, the lab has {nodes}"),
            None => (0..nodes).min_by_key(|i| load(*i)).context("the lab has no nodes")?,
        };
        state.starting.insert(name.clone(), node);
        Ok(node)
    }
}

impl Lab {
    /// Starts a pod as a kubelet would; answers when the plugin has and its ports are open.
    pub(crate) async fn add_pod(&self, wish: PodWish) -> anyhow::Result<Arc<Pod>> {
        let name: PodName = format!("{}/{}", wish.namespace, wish.name).parse()?;
        let node = self.pods.reserve(&name, wish.node, self.nodes.len())?;
        let started = self.start_pod(&name, node, wish).await;
        let mut state = self.pods.state();
        state.starting.remove(&name);
        let pod = Arc::new(started.with_context(|| format!("cannot start pod {name}"))?);
        state.running.insert(name, Arc::clone(&pod));
        Ok(pod)
    }

    async fn start_pod(&self, name: &PodName, node: usize, wish: PodWish) -> anyhow::Result<Pod> {
        let host = self.nodes.get(node).context("the node is gone")?;
        let account = if wish.service_account.is_empty() { "default" } else { &wish.service_account };
        for (path, object) in
            [seed::namespace(&name.namespace), seed::service_account(&name.namespace, account)]
        {
            self.store.records.ensure(&path, &object).await?;
        }
        let record = record(name, host.name(), &wish);
        self.store.records.put(&name.path(), &record).await?;
        let uid = self.store.records.get(&name.path()).await?.and_then(|o| uid(&o)).unwrap_or_default();
        let container = Container {
            id: format!("{}{}", objects::new_uid()?, objects::new_uid()?).replace('-', ""),
            namespace: name.namespace.clone(),
            pod: name.name.clone(),
            uid,
            netns: name.netns(),
        };
        let attached = self.attach(name, node, &container, &wish).await;
        if attached.is_err() {
            let _ = self.pods.plugin.call(Verb::Del, host, &container).await;
            let _ = NetNs::remove(Path::new(NETNS_DIR).join(name.netns()));
            let _ = self.store.records.remove(&name.path()).await;
        }
        attached
    }

    async fn attach(
        &self,
        name: &PodName,
        node: usize,
        container: &Container,
        wish: &PodWish,
    ) -> anyhow::Result<Pod> {
        let host = self.nodes.get(node).context("the node is gone")?;
        let netns_name = name.netns();
        let netns = tokio::task::spawn_blocking(move || fabric::namespace(&netns_name, false))
            .await
            .map_err(|e| anyhow!("{e}"))??;
        let addresses = self.pods.plugin.call(Verb::Add, host, container).await?;
        let host = Host::new(name.to_string(), netns, addresses);
        self.listen(&host, &wish.listen)?;
        Ok(Pod {
            name: name.clone(),
            node,
            container: container.clone(),
            host,
            listen: wish.listen.clone(),
            owner: wish.owner.clone(),
        })
    }

    /// Opens ports of a pod or an outside host. What the kernel cannot speak is left out.
    pub(crate) fn listen(&self, host: &Host, ports: &[Listen]) -> anyhow::Result<()> {
        let wanted: Vec<(Host, u16, Proto)> =
            ports.iter().filter_map(|l| Some((host.clone(), l.port, l.proto()?))).collect();
        Ok(self.listeners.add_all(&wanted)?)
    }

    /// Gives a running pod the labels, annotations and ports of a wish; true if something changed.
    pub(crate) async fn adjust_pod(&self, name: &PodName, wish: PodWish) -> anyhow::Result<bool> {
        let pod = self.pods.get(name).with_context(|| format!("there is no pod {name}"))?;
        let host = self.nodes.get(pod.node).context("the node is gone")?;
        let wanted = record(name, host.name(), &wish);
        let before = self.store.records.get(&name.path()).await?;
        self.store.records.change(&name.path(), &name.id(), |current| adjust(current, &wanted)).await?;
        let mut changed = self.store.records.get(&name.path()).await? != before;
        if pod.listen != wish.listen {
            self.listeners.remove(&pod.host);
            self.listen(&pod.host, &wish.listen)?;
            let pod = Pod { listen: wish.listen, ..(*pod).clone() };
            self.pods.state().running.insert(name.clone(), Arc::new(pod));
            changed = true;
        }
        Ok(changed)
    }

    /// Stops a pod: its interface and addresses first, then its record, as Kubernetes does.
    pub(crate) async fn remove_pod(&self, name: &PodName) -> anyhow::Result<u64> {
        let pod = self.pods.get(name).with_context(|| format!("there is no pod {name}"))?;
        let host = self.nodes.get(pod.node).context("the node is gone")?;
        let detached = self.pods.plugin.call(Verb::Del, host, &pod.container).await;
        let revision = self.store.records.remove(&name.path()).await?;
        self.listeners.remove(&pod.host);
        self.pods.state().running.remove(name);
        NetNs::remove(Path::new(NETNS_DIR).join(name.netns()))?;
        detached?;
        Ok(revision.unwrap_or(0))
    }

    pub(crate) fn pod_row(&self, pod: &Pod) -> PodRow {
        PodRow {
            namespace: pod.name.namespace.clone(),
            name: pod.name.name.clone(),
            node: self.nodes.get(pod.node).map(|n| n.name().to_owned()).unwrap_or_default(),
            addresses: pod.host.addresses().to_vec(),
            listen: pod.listen.iter().map(ToString::to_string).collect(),
            owner: pod.owner.as_ref().map(ToString::to_string),
        }
    }
}

/// Prefix of the annotations that the agent owns.
const AGENTS_OWN: &str = "cni.projectcalico.org/";

/// What an apply may change of a running pod: labels, annotations but for the agent's, and the specification.
fn adjust(current: &mut Value, wanted: &Value) {
    let kept: Vec<(String, Value)> = current
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
        .map(|a| {
            a.iter().filter(|(k, _)| k.starts_with(AGENTS_OWN)).map(|(k, v)| (k.clone(), v.clone())).collect()
        })
        .unwrap_or_default();
    let mut annotations = wanted.pointer("/metadata/annotations").cloned().unwrap_or_default();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.extend(kept);
    }
    let labels = wanted.pointer("/metadata/labels").cloned().unwrap_or_default();
    if let Some(metadata) = current.get_mut("metadata").and_then(Value::as_object_mut) {
        for (field, value) in [("labels", labels), ("annotations", annotations)] {
            // Order is not meaning: an equal map stays as it is.
            if metadata.get(field) != Some(&value) {
                metadata.insert(field.to_owned(), value);
            }
        }
    }
    if let (Some(fields), Some(spec)) = (current.as_object_mut(), wanted.get("spec"))
        && fields.get("spec") != Some(spec)
    {
        fields.insert("spec".to_owned(), spec.clone());
    }
}

fn uid(object: &Value) -> Option<String> {
    object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
}

/// The pod's object.
fn record(name: &PodName, node: &str, wish: &PodWish) -> Value {
    let mut annotations = wish.annotations.clone();
    if !wish.addresses.is_empty() {
        annotations.insert("cni.projectcalico.org/ipAddrs".to_owned(), json!(wish.addresses).to_string());
    }
    let mut spec = match &wish.spec {
        Value::Object(spec) => spec.clone(),
        _ => serde_json::Map::new(),
    };
    if !spec.contains_key("containers") {
        let ports: Vec<Value> = wish
            .listen
            .iter()
            .map(|l| {
                let mut port = json!({"containerPort": l.port, "protocol": l.protocol.to_ascii_uppercase()});
                if let (Some(fields), Some(name)) = (port.as_object_mut(), l.name.as_deref()) {
                    fields.insert("name".to_owned(), name.into());
                }
                port
            })
            .collect();
        spec.insert("containers".to_owned(), json!([{"name": "main", "image": "lab", "ports": ports}]));
    }
    let account = if wish.service_account.is_empty() { "default" } else { &wish.service_account };
    spec.insert("serviceAccountName".to_owned(), account.into());
    spec.insert("nodeName".to_owned(), node.into());
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name.name,
            "namespace": name.namespace,
            "labels": wish.labels,
            "annotations": annotations,
        },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_parsed() {
        let name: PodName = "shop/web-1.x".parse().unwrap();
        assert_eq!(
            (name.netns().as_str(), name.path().as_str()),
            ("shop.web-1.x", "/tortie/kubernetes/pods/shop/web-1.x")
        );
        for bad in ["web", "/web", "shop/", "a.b/c", "Shop/web", "a/b/c", "../x"] {
            assert!(bad.parse::<PodName>().is_err(), "{bad}");
        }
        for (text, written) in [("80", "80/tcp"), ("53/UDP", "53/udp"), ("http=80/tcp", "http=80/tcp")] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), written);
        }
        for bad in ["", "0/tcp", "80/quic", "x/tcp", "70000/tcp"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_adjusted_pod_keeps_its_addresses() {
        let name: PodName = "a/b".parse().unwrap();
        let wish = PodWish { namespace: "a".into(), name: "b".into(), ..PodWish::default() };
        let mut current = record(&name, "node1", &wish);
        current["metadata"]["uid"] = "u".into();
        current["metadata"]["annotations"]["cni.projectcalico.org/podIP"] = "10.65.0.1/32".into();
        let same = current.clone();
        adjust(&mut current, &record(&name, "node1", &wish));
        assert_eq!(current, same);
        let labels = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
        adjust(&mut current, &record(&name, "node1", &PodWish { labels, ..wish }));
        assert_eq!(current["metadata"]["labels"]["x"], "y");
        assert_eq!(current["metadata"]["uid"], "u");
        assert_eq!(current["metadata"]["annotations"]["cni.projectcalico.org/podIP"], "10.65.0.1/32");
    }

    #[test]
    fn a_record_is_a_pod_on_its_node() {
        let wish = PodWish {
            namespace: "a".into(),
            name: "b".into(),
            listen: vec!["http=80/tcp".parse().unwrap(), "53/udp".parse().unwrap()],
            addresses: vec!["10.65.0.7".parse().unwrap(), "fd65::7".parse().unwrap()],
            ..PodWish::default()
        };
        let record = record(&"a/b".parse().unwrap(), "node2", &wish);
        assert_eq!(record["spec"]["nodeName"], "node2");
        assert_eq!(record["spec"]["serviceAccountName"], "default");
        assert_eq!(
            record["spec"]["containers"][0]["ports"],
            json!([{"containerPort": 80, "protocol": "TCP", "name": "http"}, {"containerPort": 53, "protocol": "UDP"}])
        );
        assert_eq!(
            record["metadata"]["annotations"]["cni.projectcalico.org/ipAddrs"],
            r#"["10.65.0.7","fd65::7"]"#
        );
    }
}
