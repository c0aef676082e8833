//! ADD, DEL and CHECK of one pod: the transaction of `docs/design/agent.md`.

mod collect;
pub(crate) mod owner;

use crate::addresses;
use crate::config::Config;
use crate::connections::Connections;
use crate::engine::Handle;
use crate::metrics::Metrics;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tortie_agent_api::{ApiError, Attachment, CniArgs, code};
use tortie_causes::chain;
use tortie_ipam::{Facts, HandleId, Ipam};
use tortie_kernel_net::pod::{self, PodSpec};
use tortie_kernel_net::{AddressFilter, NetNs, Netlink};
use tortie_model::names;
use tortie_store::{Entry, Op, Precondition, Store, StoreError};

/// Annotations that record a pod's addresses, as Calico writes them.
const POD_IP: &str = "cni.projectcalico.org/podIP";
const POD_IPS: &str = "cni.projectcalico.org/podIPs";
const CONTAINER_ID: &str = "cni.projectcalico.org/containerID";

/// How often a lost compare-and-swap on the pod's record is tried again.
const RECORD_TRIES: usize = 16;

/// An interface that is being made.
type Preparing = tokio::task::JoinHandle<Result<pod::Pair, pod::AttachError>>;

/// Attaches and detaches pods.
pub(crate) struct Attacher {
    parts: Parts,
    /// One lock per pod: ADD and DEL of the same pod do not overlap.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What an [`Attacher`] is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ipam: Ipam,
    pub(crate) engine: Handle,
    pub(crate) connections: Connections,
    pub(crate) host: Arc<Netlink>,
    pub(crate) mtu: u32,
    pub(crate) metrics: Metrics,
}

impl Attacher {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, locks: Mutex::default() }
    }

    /// CNI ADD.
    pub(crate) async fn add(&self, args: &CniArgs, netns: Option<OwnedFd>) -> Result<Attachment, ApiError> {
        let started = Instant::now();
        let outcome = self.locked_add(args, netns).await;
        match &outcome {
            Ok(made) => {
                self.parts.metrics.add.observe(started.elapsed());
                tracing::info!(pod = %pod_name(args), container = %args.container_id, interface = %made.host_interface,
                    ips = ?made.ips, ms = started.elapsed().as_secs_f64() * 1e3, "pod attached");
            }
            Err(error) => {
                self.parts.metrics.add_failures.inc();
                tracing::warn!(pod = %pod_name(args), container = %args.container_id, error = %error.message, "pod not attached");
            }
        }
        outcome
    }

    async fn locked_add(&self, args: &CniArgs, netns: Option<OwnedFd>) -> Result<Attachment, ApiError> {
        check_ipam(args)?;
        let path = pod_path(args)?;
        let netns = namespace(args, "ADD", netns)?;
        let lock = self.lock(&path);
        let _held = lock.lock().await;

        // The datastore is asked once for all that the request for addresses needs.
        let namespace = format!("/tortie/kubernetes/namespaces/{}", args.namespace);
        let (entry, namespace, facts) =
            tokio::join!(self.pod(&path, args), self.parts.store.get(&namespace), self.parts.ipam.facts());
        let entry = entry?;
        let pod = object(&entry, args)?;
        if let Some(other) =
            pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|n| *n != self.parts.config.node)
        {
            return Err(fail(
                code::INVALID_ENVIRONMENT,
                format!(
                    "{} is scheduled to node {other}, but ADD came to node {}",
                    subject(args),
                    self.parts.config.node
                ),
                "NODENAME of this agent and the kubelet's node name must be the same",
            ));
        }
        let namespace: Option<Value> =
            namespace.map_err(|e| datastore(args, &e))?.and_then(|e| serde_json::from_slice(&e.value).ok());
        let facts =
            facts.map_err(|e| fail(code::DATASTORE, format!("{}: {}", subject(args), chain(&e)), ""))?;
        let netns = Arc::new(netns);
        // The interface of a new pod is made while its addresses are found: it needs none to exist, and down it
        // carries nothing. That of a pod with a container on record is left alone until the record is ours.
        let pair = annotation(&pod, CONTAINER_ID).is_none().then(|| self.prepare(args, &netns));
        let ips = match self.assign(args, &pod, namespace.as_ref(), &facts).await {
            Ok(ips) => ips,
            Err(error) => {
                self.discard(args, pair).await;
                return Err(error);
            }
        };
        match self.finish_add(args, &path, entry, &ips, netns, pair).await {
            Ok(made) => Ok(made),
            Err(error) => {
                self.undo(args, &path).await;
                Err(error)
            }
        }
    }

    /// The pod's interface as far as it is known before its addresses.
    fn spec(&self, args: &CniArgs) -> PodSpec {
        let mtu = if args.mtu > 0 { args.mtu } else { self.parts.mtu };
        let mut spec = PodSpec::new(self.host_name(args), args.ifname.clone(), mtu, Vec::new());
        spec.alias = Some(owner::alias(&args.namespace, &args.pod, &args.container_id));
        spec
    }

    fn host_name(&self, args: &CniArgs) -> String {
        names::veth(&self.parts.config.interface_prefix, &args.namespace, &args.pod)
    }

    fn prepare(&self, args: &CniArgs, netns: &Arc<NetNs>) -> Preparing {
        let (host, netns, spec) = (self.parts.host.clone(), netns.clone(), self.spec(args));
        tokio::task::spawn_blocking(move || pod::prepare(&host, &netns, &spec))
    }

    /// Takes away an interface that was made for nothing.
    async fn discard(&self, args: &CniArgs, pair: Option<Preparing>) {
        let Some(pair) = pair else { return };
        if let Ok(Ok(_)) = pair.await
            && let Err(error) = self.remove_interface(args, true).await
        {
            tracing::warn!(pod = %pod_name(args), error = %error.message, "an interface without addresses is left; the next attempt replaces it");
        }
    }

    /// Store first, then kernel; the interface is set up while the policy is applied.
    async fn finish_add(
        &self,
        args: &CniArgs,
        path: &str,
        entry: Entry,
        ips: &[IpAddr],
        netns: Arc<NetNs>,
        pair: Option<Preparing>,
    ) -> Result<Attachment, ApiError> {
        let taken = self.parts.connections.take(&args.container_id, ips);
        let record = self.record(args, path, entry, |annotations| {
            let with_length = |ip: &IpAddr| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
            let all: Vec<String> = ips.iter().map(with_length).collect();
            annotations.insert(POD_IP.to_owned(), json!(all.first().cloned().unwrap_or_default()));
            annotations.insert(POD_IPS.to_owned(), json!(all.join(",")));
            annotations.insert(CONTAINER_ID.to_owned(), json!(args.container_id));
        });
        let made = async {
            match pair {
                Some(pair) => Some(pair.await),
                None => None,
            }
        };
        // Both to the end, whatever becomes of the other: what is half made cannot be undone.
        let (record, made) = tokio::join!(record, made);
        let (value, revision) = record?;
        let spec = self.spec(args).with_addresses(ips.to_vec());
        // The engine learns of the endpoint before its interface and routes can appear.
        let policy = self.parts.engine.ahead(path.to_owned(), Some(value), revision).await;
        // Connections of whoever had the addresses before are not this pod's.
        taken.clean().await.map_err(|e| {
            fail(code::TRY_AGAIN, format!("{}: {e}", subject(args)), "see the agent's log; it keeps trying")
        })?;
        let host = self.parts.host.clone();
        let broken = |e: &dyn std::error::Error| broken(args, e);
        let made = match made {
            Some(made) => made,
            None => self.prepare(args, &netns).await,
        };
        let pair = made.map_err(|e| broken(&e))?.map_err(|e| broken(&e))?;
        let link = {
            let spec = spec.clone();
            tokio::task::spawn_blocking(move || pod::configure(&host, &netns, &spec, &pair))
        };
        let (link, policy) = tokio::join!(link, policy);
        policy.map_err(|e| {
            fail(
                code::KERNEL,
                format!("policy of {} could not be put into the kernel: {e}", subject(args)),
                "see `tortie node status` and the agent's log",
            )
        })?;
        let link = link.map_err(|e| broken(&e))?.map_err(|e| broken(&e))?;
        Ok(Attachment {
            host_interface: spec.host_name,
            host_mac: pod::HOST_MAC.to_string(),
            pod_mac: link.pod_mac.to_string(),
            ips: ips.to_vec(),
            mtu: spec.mtu,
        })
    }

    async fn undo(&self, args: &CniArgs, path: &str) {
        if let Err(error) = self.detach(args, path).await {
            tracing::warn!(pod = %pod_name(args), error = %error.message, "a failed ADD could not be undone completely; reconciliation will finish it");
        }
    }

    /// CNI DEL.
    pub(crate) async fn del(&self, args: &CniArgs) -> Result<(), ApiError> {
        let path = pod_path(args)?;
        let lock = self.lock(&path);
        let _held = lock.lock().await;
        let done = self.detach(args, &path).await;
        match &done {
            Ok(()) => tracing::info!(pod = %pod_name(args), container = %args.container_id, "pod detached"),
            Err(error) => {
                tracing::warn!(pod = %pod_name(args), error = %error.message, "pod not detached completely");
            }
        }
        done
    }

    /// Takes away what there is of a container; goes on after an error and reports the first.
    async fn detach(&self, args: &CniArgs, path: &str) -> Result<(), ApiError> {
        let mut first: Option<ApiError> = None;
        let mut note = |error: ApiError| {
            first.get_or_insert(error);
        };
        // A younger container of the same pod owns interface and record; then only the addresses are ours.
        let ours = match self.clear_record(args, path).await {
            Ok(ours) => ours,
            Err(error) => {
                note(error);
                true
            }
        };
        if let Err(error) = self.remove_interface(args, ours).await {
            note(error);
        }
        match self.parts.ipam.release_by_handle(&handle(args)).await {
            Ok(released) => self.parts.connections.release(&args.container_id, &released),
            Err(e) => note(fail(
                code::DATASTORE,
                format!("addresses of {} are not released: {}", subject(args), chain(&e)),
                "reconciliation releases them later",
            )),
        }
        first.map_or(Ok(()), Err)
    }

    /// Removes the container's interface. Whose an interface is says its description; if that says nothing, `recorded` decides.
    async fn remove_interface(&self, args: &CniArgs, recorded: bool) -> Result<(), ApiError> {
        let (host, name, container) =
            (self.parts.host.clone(), self.host_name(args), args.container_id.clone());
        let removed =
            tokio::task::spawn_blocking(move || owner::remove(&host, &name, &container, recorded)).await;
        removed.map_err(|e| broken(args, &e))?.map_err(|e| broken(args, &e))?;
        Ok(())
    }

    /// Empties the pod's record if it belongs to this container; answers whether the interface may be removed.
    async fn clear_record(&self, args: &CniArgs, path: &str) -> Result<bool, ApiError> {
        let Some(entry) = self.parts.store.get(path).await.map_err(|e| datastore(args, &e))? else {
            return Ok(true);
        };
        let pod = object(&entry, args)?;
        let recorded = annotation(&pod, CONTAINER_ID);
        if recorded.is_some_and(|id| id != args.container_id) {
            return Ok(false);
        }
        if recorded.is_none() {
            return Ok(true);
        }
        let (value, revision) = self
            .record(args, path, entry, |annotations| {
                annotations.insert(POD_IP.to_owned(), json!(""));
                annotations.insert(POD_IPS.to_owned(), json!(""));
            })
            .await?;
        self.parts.engine.ahead(path.to_owned(), Some(value), revision).await.await.map_err(|e| {
            fail(code::KERNEL, format!("policy of {} is not removed: {e}", subject(args)), "")
        })?;
        Ok(true)
    }

    /// CNI CHECK.
    pub(crate) async fn check(&self, args: &CniArgs, netns: Option<OwnedFd>) -> Result<(), ApiError> {
        let path = pod_path(args)?;
        let netns = namespace(args, "CHECK", netns)?;
        let lock = self.lock(&path);
        let _held = lock.lock().await;
        let entry = self.pod(&path, args).await?;
        let pod = object(&entry, args)?;
        if annotation(&pod, CONTAINER_ID) != Some(args.container_id.as_str()) {
            return Err(fail(
                code::UNKNOWN_CONTAINER,
                format!("{} is not attached with container {}", subject(args), args.container_id),
                "its record names another container",
            ));
        }
        let mut missing = Vec::new();
        let ips = recorded_ips(&pod);
        if let Some(lost) = args.previous.iter().find(|ip| !ips.contains(ip)) {
            missing.push(format!("its record does not have the address {lost} that it was given"));
        }
        let (host, spec) = (self.parts.host.clone(), self.spec(args).with_addresses(ips));
        let name = spec.host_name.clone();
        let seen = tokio::task::spawn_blocking(move || pod::inspect(&host, &netns, &spec)).await;
        missing.extend(seen.map_err(|e| broken(args, &e))?.map_err(|e| broken(args, &e))?);
        let status = self.parts.engine.status().await.unwrap_or_default();
        match status.endpoints.iter().find(|e| e.interface == name) {
            Some(endpoint) if endpoint.state == "up" => {}
            Some(endpoint) => missing.push(format!("its policy on {name} is in state {}", endpoint.state)),
            None => missing.push("the agent has no policy for it".to_owned()),
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(fail(
            code::KERNEL,
            format!("{}: {}", subject(args), missing.join("; ")),
            "the agent's log may say more; a new sandbox of the pod gets a new interface",
        ))
    }

    async fn assign(
        &self,
        args: &CniArgs,
        pod: &Value,
        namespace: Option<&Value>,
        facts: &Facts,
    ) -> Result<Vec<IpAddr>, ApiError> {
        let context = addresses::Context {
            pod,
            namespace,
            node: &self.parts.config.node,
            available: addresses::available(facts),
        };
        let request = addresses::request(args, handle(args), &context)
            .map_err(|reason| fail(code::INVALID_CONFIG, format!("{}: {reason}", subject(args)), ""))?;
        self.parts.ipam.assign(request).await.map_err(|e| {
            fail(
                code::IPAM,
                format!("no address for {}: {}", subject(args), chain(&e)),
                "see the pools with `tortie ctl get ippools`",
            )
        })
    }

    /// Changes the annotations of the pod's record by compare-and-swap; answers the new value and its revision.
    async fn record(
        &self,
        args: &CniArgs,
        path: &str,
        mut entry: Entry,
        change: impl Fn(&mut serde_json::Map<String, Value>),
    ) -> Result<(Bytes, u64), ApiError> {
        for _ in 0..RECORD_TRIES {
            let mut pod = object(&entry, args)?;
            let metadata = pod.as_object_mut().map(|o| o.entry("metadata").or_insert_with(|| json!({})));
            let annotations = metadata
                .and_then(Value::as_object_mut)
                .map(|m| m.entry("annotations").or_insert_with(|| json!({})))
                .map(|a| {
                    if a.is_null() {
                        *a = json!({});
                    }
                    a
                })
                .and_then(Value::as_object_mut)
                .ok_or_else(|| {
                    fail(code::DATASTORE, format!("the record of {} is not an object", subject(args)), path)
                })?;
            change(annotations);
            let value = Bytes::from(pod.to_string());
            let op = Op::Put {
                key: path.to_owned(),
                value: value.clone(),
                when: Precondition::Revision(entry.revision),
                ttl: None,
            };
            match self.parts.store.commit(vec![op]).await {
                Ok(revision) => return Ok((value, revision)),
                Err(StoreError::Conflict { .. }) => entry = self.pod(path, args).await?,
                Err(e) => return Err(datastore(args, &e)),
            }
        }
        Err(fail(
            code::TRY_AGAIN,
            format!("the record of {} keeps changing", subject(args)),
            "somebody else writes it in a loop",
        ))
    }

    async fn pod(&self, path: &str, args: &CniArgs) -> Result<Entry, ApiError> {
        self.parts.store.get(path).await.map_err(|e| datastore(args, &e))?.ok_or_else(|| {
            fail(code::TRY_AGAIN, format!("{} is not in the datastore", subject(args)), "it was deleted meanwhile, or the agent reads another datastore than the one it was created in")
        })
    }

    fn lock(&self, path: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > 1024 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(path.to_owned()).or_default().clone()
    }
}

/// The network namespace that came with a question.
fn namespace(args: &CniArgs, verb: &str, netns: Option<OwnedFd>) -> Result<NetNs, ApiError> {
    let netns = netns.ok_or_else(|| {
        fail(
            code::INVALID_ENVIRONMENT,
            format!("{verb} of {} came without a network namespace", subject(args)),
            "plugin and agent are of different versions",
        )
    })?;
    NetNs::from_fd(netns).map_err(|e| {
        fail(
            code::UNKNOWN_CONTAINER,
            format!("{}: {}: {e}", subject(args), args.netns),
            "the container is gone",
        )
    })
}

/// The addresses that a pod's record names.
fn recorded_ips(pod: &Value) -> Vec<IpAddr> {
    let text = annotation(pod, POD_IPS).unwrap_or_default();
    text.split(',').filter_map(|ip| ip.split('/').next()?.parse().ok()).collect()
}

fn pod_path(args: &CniArgs) -> Result<String, ApiError> {
    for (name, value) in [("K8S_POD_NAMESPACE", &args.namespace), ("K8S_POD_NAME", &args.pod)] {
        if value.is_empty() || value.contains('/') {
            return Err(fail(
                code::INVALID_ENVIRONMENT,
                format!("CNI_ARGS: {name} is {value:?}"),
                "the container runtime sets it for pods; other orchestrators are not supported yet",
            ));
        }
    }
    Ok(format!("/tortie/kubernetes/pods/{}/{}", args.namespace, args.pod))
}

/// The handle of a container's addresses, as Calico names it.
pub(crate) fn handle(args: &CniArgs) -> HandleId {
    handle_of(&args.network, &args.container_id)
}

fn handle_of(network: &str, container: &str) -> HandleId {
    HandleId::of_container(if network.is_empty() { "k8s-pod-network" } else { network }, container)
}

fn check_ipam(args: &CniArgs) -> Result<(), ApiError> {
    match args.ipam.get("type").and_then(Value::as_str) {
        None | Some("calico-ipam" | "tortie") => Ok(()),
        Some(other) => Err(fail(
            code::UNSUPPORTED_FIELD,
            format!("network configuration: ipam.type {other:?} is not supported"),
            "expected calico-ipam",
        )),
    }
}

fn object(entry: &Entry, args: &CniArgs) -> Result<Value, ApiError> {
    serde_json::from_slice(&entry.value).map_err(|e| {
        fail(code::DATASTORE, format!("the record of {} cannot be read: {e}", subject(args)), &entry.key)
    })
}

fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("annotations")?.get(name)?.as_str().filter(|v| !v.is_empty())
}

fn pod_name(args: &CniArgs) -> String {
    format!("{}/{}", args.namespace, args.pod)
}

fn subject(args: &CniArgs) -> String {
    format!("pod {}", pod_name(args))
}

fn fail(code: u32, message: String, details: &str) -> ApiError {
    ApiError { code, message, details: details.to_owned() }
}

fn broken(args: &CniArgs, error: &dyn std::error::Error) -> ApiError {
    fail(code::KERNEL, format!("interface of {}: {}", subject(args), chain(error)), "")
}

fn datastore(args: &CniArgs, error: &StoreError) -> ApiError {
    fail(
        code::DATASTORE,
        format!("{}: {}", subject(args), chain(error)),
        "ADD and DEL need the datastore; pods that run are not affected",
    )
}

/// MTU of workload interfaces: as configured, else the smallest of the host's interfaces with a global address.
pub(crate) fn workload_mtu(config: &Config, netlink: &Netlink) -> anyhow::Result<u32> {
    if config.mtu > 0 {
        return Ok(config.mtu);
    }
    let addressed: Vec<_> =
        netlink.addresses(AddressFilter::default())?.into_iter().map(|a| a.link).collect();
    let smallest = netlink
        .links()?
        .into_iter()
        .filter(|l| {
            !l.is_loopback() && !l.name.starts_with(&config.interface_prefix) && addressed.contains(&l.index)
        })
        .map(|l| l.mtu)
        .min();
    Ok(smallest.unwrap_or(1500))
}
