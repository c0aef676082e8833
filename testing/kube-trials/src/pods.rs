//! Pods: what they are to be, and what has become of them.

use crate::cluster::output;
use crate::context::Context;
use crate::wait;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Listens, answers, and has a shell with curl, nc, ip and the like.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";

/// The port of [`PodSpec::server`].
pub const PORT: u16 = 8080;

/// How long a pod may take to become Ready, or to go.
pub const PATIENCE: Duration = wait::seconds(60);

/// A pod to be.
#[derive(Clone, Debug)]
pub struct PodSpec<'a> {
    cx: &'a Context,
    manifest: Value,
}

impl<'a> PodSpec<'a> {
    pub(crate) fn new(cx: &'a Context, name: &str) -> Self {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": cx.namespace, "labels": {"name": name}},
            "spec": {
                "nodeName": cx.cluster.node_name(1),
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{
                    "name": "main",
                    "image": AGNHOST,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["pause"],
                }],
            },
        });
        Self { cx, manifest }
    }

    /// Sets a field, by its JSON pointer; parents must exist but for the last.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        if let Some((parent, field)) = pointer.rsplit_once('/')
            && let Some(object) = self.manifest.pointer_mut(parent).and_then(Value::as_object_mut)
        {
            object.insert(field.replace("~1", "/").replace("~0", "~"), value);
        }
        self
    }

    /// Puts it onto a node, from 1.
    #[must_use]
    pub fn on(self, node: usize) -> Self {
        let name = self.cx.cluster.node_name(node);
        self.with("/spec/nodeName", json!(name))
    }

    /// Leaves the choice of a node to the scheduler.
    #[must_use]
    pub fn anywhere(mut self) -> Self {
        if let Some(spec) = self.manifest.pointer_mut("/spec").and_then(Value::as_object_mut) {
            spec.remove("nodeName");
        }
        self
    }

    /// Gives it a label.
    #[must_use]
    pub fn label(self, name: &str, value: &str) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        self.with(&format!("/metadata/labels/{name}"), json!(value))
    }

    /// Makes it answer HTTP on [`PORT`], and UDP on 8081, and Ready once it does.
    #[must_use]
    pub fn server(self) -> Self {
        self.with("/spec/containers/0/args", json!(["netexec", format!("--http-port={PORT}")])).with(
            "/spec/containers/0/readinessProbe",
            json!({"httpGet": {"path": "/hostname", "port": PORT}, "periodSeconds": 1, "failureThreshold": 30}),
        )
    }

    /// Makes it run a shell script.
    #[must_use]
    pub fn script(self, script: &str) -> Self {
        self.with("/spec/containers/0/command", json!(["/bin/sh", "-c", script]))
    }

    /// The pod as the API gets it.
    pub fn manifest(&self) -> &Value {
        &self.manifest
    }

    /// Creates it and waits until it is Ready.
    pub fn start(&self) -> Result<Pod> {
        let mut all = start_all(self.cx, std::slice::from_ref(self))?;
        all.pop().context("one pod was started")
    }

    /// Creates it and does not wait.
    pub fn create(&self) -> Result<()> {
        self.cx.cluster.apply(&self.manifest)
    }

    fn name(&self) -> &str {
        self.manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Creates pods together and waits until all are Ready.
pub fn start_all(cx: &Context, specs: &[PodSpec<'_>]) -> Result<Vec<Pod>> {
    cx.cluster.apply(&specs.iter().map(|s| s.manifest.clone()).collect())?;
    specs.iter().map(|spec| Pod::ready(cx, spec.name())).collect()
}

/// A pod that is Ready.
#[derive(Clone, Debug)]
pub struct Pod {
    cx: Context,
    /// Its name; the namespace is the trial's.
    pub name: String,
    /// Tells it from others of its name.
    pub uid: String,
    /// The number of its node.
    pub node: usize,
    /// Its addresses, in the order of the pod's status.
    pub ips: Vec<IpAddr>,
}

impl Pod {
    /// Waits until the pod of this name is Ready.
    pub fn ready(cx: &Context, name: &str) -> Result<Self> {
        wait::until(&format!("pod {name} to be Ready"), PATIENCE, || {
            let object = get(cx, name)?.with_context(|| format!("there is no pod {name}"))?;
            if !is_ready(&object) {
                bail!("{}", state(cx, &object));
            }
            Self::of(cx, &object).map(Some)
        })
    }

    /// A pod as the API knows it.
    pub fn of(cx: &Context, object: &Value) -> Result<Self> {
        let text = |pointer: &str| {
            let found = object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            found.with_context(|| format!("the pod has no {pointer}"))
        };
        let ips = object.pointer("/status/podIPs").and_then(Value::as_array);
        let ips = ips.into_iter().flatten().filter_map(|ip| ip.get("ip")?.as_str()?.parse().ok()).collect();
        let node = text("/spec/nodeName")?;
        let node = node.trim_start_matches("node").parse().with_context(|| format!("node {node:?}"))?;
        let (name, uid) = (text("/metadata/name")?, text("/metadata/uid")?);
        Ok(Self { cx: cx.clone(), name, uid, node, ips })
    }

    /// Where its server listens: an address of each family.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ips.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect()
    }

    /// Runs a program in it, by way of the kubelet; answers what it prints.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let mut arguments = vec!["exec", &self.name, "--"];
        arguments.extend(command);
        self.cx.kubectl(&arguments)
    }

    /// Connects to an address once, from the pod's network; answers whether it could.
    pub fn reaches(&self, to: SocketAddr) -> Result<bool> {
        let own = std::env::current_exe().context("this program has no path")?;
        let script = format!("exec {} prober once {to}", own.display());
        let command = self.command(&script)?;
        let out = output(&format!("{} to {to}", self.name), command, None)?;
        match out.status.code() {
            Some(0) => Ok(true),
            Some(4) => Ok(false),
            _ => Err(anyhow!("{}", String::from_utf8_lossy(&out.stderr).trim().to_owned()))
                .with_context(|| format!("{} to {to} was not tried", self.name)),
        }
    }

    /// Checks that it reaches the server of another pod, or that it does not, on every address of it.
    pub fn must_reach(&self, other: &Self, expected: bool) -> Result<()> {
        for to in other.addresses() {
            let reached = self.reaches(to)?;
            let word = if reached { "reaches" } else { "does not reach" };
            ensure!(reached == expected, "{} {word} {} at {to}", self.name, other.name);
        }
        Ok(())
    }

    /// A shell script of the node in the pod's network namespace. It needs nothing of the container runtime.
    pub fn command(&self, script: &str) -> Result<std::process::Command> {
        let find = format!("grep -l -s pod{} /proc/[0-9]*/cgroup | head -n 1", self.uid);
        let found = self.cx.cluster.sh(self.node, &find)?;
        let process = found.trim().strip_suffix("/cgroup");
        let process = process.with_context(|| format!("pod {} has no process", self.name))?;
        let node = self.cx.cluster.node_name(self.node);
        let net = format!("--net={process}/ns/net");
        Ok(self.cx.cluster.lab_command(&["exec", &node, "--", "nsenter", &net, "sh", "-c", script]))
    }

    /// Deletes it as users do and waits until it is gone.
    pub fn delete(&self) -> Result<()> {
        self.cx.kubectl(&["delete", "pod", &self.name, "--wait=false"])?;
        wait::until_true(&format!("pod {} to be gone", self.name), PATIENCE, || {
            let now = get(&self.cx, &self.name)?;
            Ok(now.is_none_or(|pod| pod.pointer("/metadata/uid").and_then(Value::as_str) != Some(&self.uid)))
        })
    }
}

/// Creates pods together and does not wait.
pub fn create_all(cx: &Context, specs: &[PodSpec<'_>]) -> Result<()> {
    cx.cluster.apply(&specs.iter().map(|s| s.manifest.clone()).collect())
}

/// The pod of this name, if there is one.
pub fn get(cx: &Context, name: &str) -> Result<Option<Value>> {
    cx.cluster.get(&["pod", name, "-n", &cx.namespace])
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| {
        c.get("type").and_then(Value::as_str) == Some("Ready")
            && c.get("status").and_then(Value::as_str) == Some("True")
    })
}

/// What there is to say of a pod that is not Ready.
fn state(cx: &Context, pod: &Value) -> String {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut all = vec![text("/status/phase").to_owned()];
    let waiting = text("/status/containerStatuses/0/state/waiting/reason");
    all.extend((!waiting.is_empty()).then(|| waiting.to_owned()));
    all.extend(events(cx, text("/metadata/name")).unwrap_or_default().pop());
    all.join(", ")
}

/// The messages of a pod's events, as `kubectl describe` shows them, the oldest first.
pub fn events(cx: &Context, pod: &str) -> Result<Vec<String>> {
    let selector = format!("involvedObject.name={pod}");
    let list = cx.cluster.list(&[
        "events",
        "-n",
        &cx.namespace,
        "--field-selector",
        &selector,
        "--sort-by=.lastTimestamp",
    ])?;
    Ok(list.iter().filter_map(|e| e.get("message")?.as_str().map(str::to_owned)).collect())
}
