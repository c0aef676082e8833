//! Pods of the lab: a network namespace each, attached by the CNI plugin, listening on their ports.

use crate::cni::{Container, Plugin, Verb};
use crate::lab::Lab;
use crate::objects;
use crate::sandbox::NETNS_DIR;
use crate::seed;
use crate::{fabric, kube};
use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use tortie_kernel_net::NetNs;
use tortie_net::Protocol;
use tortie_probe::{Host, Proto, sctp_supported};
use tortie_scenario::{Listen, ObjectId, Pod as Wish};

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
        // What a file may be called, with room for a hash: the two names together may be longer.
        const MOST: usize = 255 - 17;
        let whole = format!("{}.{}", self.namespace, self.name);
        match whole.get(..MOST) {
            Some(beginning) => {
                let mut hasher = DefaultHasher::new();
                whole.hash(&mut hasher);
                format!("{beginning}-{:016x}", hasher.finish())
            }
            None => whole,
        }
    }

    /// Path of its record.
    pub(crate) fn path(&self) -> String {
        seed::kubernetes("Pod", &self.namespace, &self.name)
    }

    pub(crate) fn id(&self) -> ObjectId {
        ObjectId {
            group: String::new(),
            kind: "Pod".to_owned(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// The protocol to probe a port with; `None` if the kernel does not speak it.
pub(crate) fn proto(listen: &Listen) -> Option<Proto> {
    match listen.protocol {
        Protocol::TCP => Some(Proto::Tcp),
        Protocol::UDP => Some(Proto::Udp),
        Protocol::SCTP if sctp_supported() => Some(Proto::Sctp),
        _ => None,
    }
}

/// The name of a pod that somebody wants.
pub(crate) fn name_of(wish: &Wish) -> anyhow::Result<PodName> {
    wish.full_name().parse()
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
    /// Somebody else's: programs of its own answer on its ports.
    pub(crate) foreign: bool,
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

    pub(crate) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.state().running.values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &PodName) -> Option<Arc<Pod>> {
        self.state().running.get(name).cloned()
    }

    /// True for pods that run or are being started.
    pub(crate) fn is_known(&self, name: &PodName) -> bool {
        let state = self.state();
        state.running.contains_key(name) || state.starting.contains_key(name)
    }

    pub(crate) fn adopt(&self, pod: Arc<Pod>) {
        self.state().running.insert(pod.name.clone(), pod);
    }

    pub(crate) fn forget(&self, name: &PodName) {
        self.state().running.remove(name);
    }

    pub(crate) fn len(&self) -> usize {
        self.state().running.len()
    }

    pub(crate) fn on_node(&self, index: usize) -> usize {
        self.state().running.values().filter(|p| p.node == index).count()
    }

    /// Takes a name and a node for a pod that is about to start.
    fn reserve(&self, name: &PodName, wanted: usize, nodes: usize) -> anyhow::Result<usize> {
        let mut state = self.state();
        if state.running.contains_key(name) || state.starting.contains_key(name) {
            bail!("there is a pod {name} already");
        }
        let load = |index: usize| {
            state.running.values().filter(|p| p.node == index).count()
                + state.starting.values().filter(|n| **n == index).count()
        };
        let node = match wanted {
            0 => (0..nodes).min_by_key(|i| load(*i)).context("the lab has no nodes")?,
            number if number <= nodes => number - 1,
            number => bail!("pod {name}: there is no node {number}, the lab has {nodes}"),
        };
        state.starting.insert(name.clone(), node);
        Ok(node)
    }
}

impl Lab {
    /// Starts a pod as a kubelet would; answers when the plugin has and its ports are open.
    pub(crate) async fn add_pod(&self, mut wish: Wish) -> anyhow::Result<Arc<Pod>> {
        let name = name_of(&wish)?;
        wish.addresses = self.spec.families.of(wish.addresses);
        let node = self.pods.reserve(&name, wish.node, self.nodes.len())?;
        let started = self.start_pod(&name, node, wish).await;
        let mut state = self.pods.state();
        state.starting.remove(&name);
        let pod = Arc::new(started.with_context(|| format!("cannot start pod {name}"))?);
        state.running.insert(name, Arc::clone(&pod));
        Ok(pod)
    }

    async fn start_pod(&self, name: &PodName, node: usize, wish: Wish) -> anyhow::Result<Pod> {
        let host = self.nodes.get(node).context("the node is gone")?;
        for (path, object) in
            [seed::namespace(&name.namespace), seed::service_account(&name.namespace, wish.account())]
        {
            self.store.records.ensure(&path, &object).await?;
        }
        let mut record = wish.to_object(host.name());
        if self.spec.kubelets.is_some() {
            record = kube::pods::runnable(&record);
        }
        self.store.records.put(&name.path(), &record).await?;
        let uid = self.store.records.get(&name.path()).await?.and_then(|o| uid(&o)).unwrap_or_default();
        if self.spec.kubelets.is_some() {
            let met = self.meet(name, node, uid, &wish).await;
            if met.is_err() {
                let _ = self.forget_pod(name).await;
                let _ = NetNs::remove(Path::new(NETNS_DIR).join(name.netns()));
            }
            return met;
        }
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
            let _ = self.forget_pod(name).await;
        }
        attached
    }

    async fn attach(
        &self,
        name: &PodName,
        node: usize,
        container: &Container,
        wish: &Wish,
    ) -> anyhow::Result<Pod> {
        let host = self.nodes.get(node).context("the node is gone")?;
        let netns_name = name.netns();
        let netns = tokio::task::spawn_blocking(move || fabric::namespace(&netns_name, false))
            .await
            .map_err(|e| anyhow!("{e}"))??;
        let addresses = self.pods.plugin.call(Verb::Add, host, container).await?;
        if let Some(control) = &self.store.control {
            let own = host.addresses()[0];
            control.client.pod_runs(&name.namespace, &name.name, own, &addresses).await?;
        }
        self.open(name, node, container.clone(), Host::new(name.to_string(), netns, addresses), wish)
    }

    /// Waits for a kubelet to run the pod.
    async fn meet(&self, name: &PodName, node: usize, uid: String, wish: &Wish) -> anyhow::Result<Pod> {
        let running = self.meet_pod(name, node, uid).await?;
        let host = Host::new(name.to_string(), running.netns, running.addresses);
        self.open(name, node, running.container, host, wish)
    }

    /// A pod with its ports open.
    fn open(
        &self,
        name: &PodName,
        node: usize,
        container: Container,
        host: Host,
        wish: &Wish,
    ) -> anyhow::Result<Pod> {
        self.listen(&host, &wish.listen)?;
        let (listen, owner) = (wish.listen.clone(), wish.owner.clone());
        Ok(Pod { name: name.clone(), node, container, host, listen, owner, foreign: false })
    }

    /// Opens ports of a pod or an outside host. What the kernel cannot speak is left out.
    pub(crate) fn listen(&self, host: &Host, ports: &[Listen]) -> anyhow::Result<()> {
        let wanted: Vec<(Host, u16, Proto)> =
            ports.iter().filter_map(|l| Some((host.clone(), l.port, proto(l)?))).collect();
        Ok(self.listeners.add_all(&wanted)?)
    }

    /// Gives a running pod the labels, annotations and ports of a wish; true if something changed.
    pub(crate) async fn adjust_pod(&self, name: &PodName, wish: Wish) -> anyhow::Result<bool> {
        let pod = self.pods.get(name).with_context(|| format!("there is no pod {name}"))?;
        let host = self.nodes.get(pod.node).context("the node is gone")?;
        let mut wanted = wish.to_object(host.name());
        if self.store.control.is_some()
            && let Some(fields) = wanted.as_object_mut()
        {
            // Kubernetes lets nobody change what a running pod is made of.
            fields.remove("spec");
        }
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
        let detached = match self.spec.kubelets {
            // Its kubelet does, when the record is marked as deleted.
            Some(_) => Ok(Vec::new()),
            None => self.pods.plugin.call(Verb::Del, host, &pod.container).await,
        };
        let revision = self.forget_pod(name).await?;
        self.listeners.remove(&pod.host);
        self.pods.state().running.remove(name);
        NetNs::remove(Path::new(NETNS_DIR).join(name.netns()))?;
        detached?;
        Ok(revision.unwrap_or(0))
    }

    /// Removes a pod's record, as the kubelet does when nothing of the pod is left; or has a kubelet do so.
    async fn forget_pod(&self, name: &PodName) -> anyhow::Result<Option<u64>> {
        let Some(control) = &self.store.control else { return self.store.records.remove(&name.path()).await };
        match self.spec.kubelets {
            Some(_) => control.client.end_pod(name).await?,
            None => control.client.pod_is_gone(&name.namespace, &name.name).await?,
        }
        Ok(Some(self.store.records.revision().await?))
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
pub(crate) fn adjust(current: &mut Value, wanted: &Value) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        let name: PodName = "shop/web-1.x".parse().unwrap();
        assert_eq!(
            (name.netns().as_str(), name.path().as_str()),
            ("shop.web-1.x", "/tortie/kubernetes/pods/shop/web-1.x")
        );
        for bad in ["web", "/web", "shop/", "a.b/c", "Shop/web", "a/b/c", "../x"] {
            assert!(bad.parse::<PodName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_adjusted_pod_keeps_its_addresses() {
        let wish = Wish { namespace: "a".into(), name: "b".into(), ..Wish::default() };
        let mut current = wish.to_object("node1");
        current["metadata"]["uid"] = "u".into();
        current["metadata"]["annotations"]["cni.projectcalico.org/podIP"] = "10.65.0.1/32".into();
        let same = current.clone();
        adjust(&mut current, &wish.to_object("node1"));
        assert_eq!(current, same);
        let labels = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
        adjust(&mut current, &Wish { labels, ..wish }.to_object("node1"));
        assert_eq!(current["metadata"]["labels"]["x"], "y");
        assert_eq!(current["metadata"]["uid"], "u");
        assert_eq!(current["metadata"]["annotations"]["cni.projectcalico.org/podIP"], "10.65.0.1/32");
    }
}
