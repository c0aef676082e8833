//! The CNI plugin, called on a node as a container runtime calls it.

use crate::cluster::{Cluster, output};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Where the runtime's library writes down the results of ADDs.
const RESULTS: &str = "/var/lib/cni/results";

/// The plugin of a node, with the configuration that it finds there.
#[derive(Debug)]
pub struct Plugin<'a> {
    cluster: &'a Cluster,
    node: usize,
    config: Value,
}

/// What the plugin answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It succeeded.
    Done(Value),
    /// Its error's code and words.
    Failed(u64, String),
}

/// An attachment as the runtime remembers it.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_ARGS`.
    pub arguments: String,
    /// What ADD answered.
    pub result: Value,
}

impl Attachment {
    /// The name of the interface on the node.
    pub fn host_interface(&self) -> &str {
        let name = self.result.pointer("/interfaces/0/name");
        name.and_then(Value::as_str).unwrap_or_default()
    }

    /// The pod's addresses.
    pub fn addresses(&self) -> Vec<String> {
        let ips = self.result.get("ips").and_then(Value::as_array);
        let texts = ips.into_iter().flatten().filter_map(|ip| ip.get("address")?.as_str()?.split('/').next());
        texts.map(str::to_owned).collect()
    }
}

impl<'a> Plugin<'a> {
    /// Reads the node's configuration.
    pub fn of(cluster: &'a Cluster, node: usize) -> Result<Self> {
        let list: Value = serde_json::from_str(&cluster.sh(node, "cat /etc/cni/net.d/*.conflist")?)
            .context("the node's network configuration is no JSON")?;
        let mut config = list.pointer("/plugins/0").cloned().context("the configuration has no plugins")?;
        config["name"] = list.get("name").cloned().unwrap_or_default();
        config["cniVersion"] = json!("1.1.0");
        Ok(Self { cluster, node, config })
    }

    /// All attachments that the runtime of the node remembers.
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        let all =
            self.cluster.sh(self.node, &format!("cat {RESULTS}/k8s-pod-network-* 2>/dev/null || true"))?;
        let mut found = Vec::new();
        for value in serde_json::Deserializer::from_str(&all).into_iter::<Value>() {
            let value = value.context("the runtime's results are no JSON")?;
            let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let pairs = value.get("cniArgs").and_then(Value::as_array).cloned().unwrap_or_default();
            let pair = |pair: &Value| Some(format!("{}={}", pair.get(0)?.as_str()?, pair.get(1)?.as_str()?));
            found.push(Attachment {
                container: text("/containerId").to_owned(),
                netns: text("/result/interfaces/1/sandbox").to_owned(),
                arguments: pairs.iter().filter_map(pair).collect::<Vec<_>>().join(";"),
                result: value.get("result").cloned().unwrap_or_default(),
            });
        }
        Ok(found)
    }

    /// The attachment of a pod.
    pub fn attachment(&self, pod: &str) -> Result<Attachment> {
        let word = format!("K8S_POD_NAME={pod}");
        let found = self.attachments()?.into_iter().find(|a| a.arguments.split(';').any(|pair| pair == word));
        found.with_context(|| format!("the runtime remembers no attachment of {pod}"))
    }

    /// Asks for something that concerns one attachment; `first` is run before, by the same shell.
    pub fn ask(&self, verb: &str, about: &Attachment, first: &str) -> Result<Answer> {
        let env = format!(
            "CNI_CONTAINERID={} CNI_NETNS={} CNI_IFNAME=eth0 CNI_ARGS='{}'",
            about.container, about.netns, about.arguments
        );
        let more = if verb == "ADD" { json!({}) } else { json!({"prevResult": about.result}) };
        self.run(verb, &env, first, &more)
    }

    /// STATUS.
    pub fn status(&self) -> Result<Answer> {
        self.run("STATUS", "", "", &json!({}))
    }

    /// GC, with this value of the list of attachments, or without any.
    pub fn collect(&self, valid: Option<&[Attachment]>) -> Result<Answer> {
        let list = |valid: &[Attachment]| -> Value {
            valid.iter().map(|a| json!({"containerID": a.container, "ifname": "eth0"})).collect()
        };
        let more = valid.map_or_else(|| json!({}), |valid| json!({"cni.dev/valid-attachments": list(valid)}));
        self.run("GC", "", "", &more)
    }

    fn run(&self, verb: &str, env: &str, first: &str, more: &Value) -> Result<Answer> {
        let mut config = self.config.clone();
        for (name, value) in more.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let first = if first.is_empty() { String::new() } else { format!("{first}; ") };
        let script =
            format!("{first}{env} CNI_COMMAND={verb} CNI_PATH=/opt/cni/bin exec /opt/cni/bin/calico");
        let node = self.cluster.node_name(self.node);
        let command = self.cluster.lab_command(&["exec", &node, "--", "sh", "-c", &script]);
        let out = output(verb, command, Some(&config.to_string()))?;
        let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        let answer = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str::<Value>(&text) };
        let Ok(answer) = answer else {
            bail!("{verb}: the plugin says {text:?} {}", String::from_utf8_lossy(&out.stderr))
        };
        if out.status.success() {
            return Ok(Answer::Done(answer));
        }
        let code = answer.get("code").and_then(Value::as_u64);
        let word = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let words = format!("{}; {}", word("msg"), word("details"));
        let code = code.with_context(|| {
            format!("{verb} fails without a code: {text} {}", String::from_utf8_lossy(&out.stderr))
        })?;
        Ok(Answer::Failed(code, words))
    }
}
