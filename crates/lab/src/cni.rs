//! Calls the CNI plugin as a container runtime does: a configuration list on disk, arguments in the environment, the plugin's
//! configuration on stdin, its result on stdout.

use crate::control::name_flag;
use crate::node::Node;
use crate::process::{PATH, in_netns};
use crate::sandbox::{NETNS_DIR, STATE_DIR};
use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Name of the network, and first part of IPAM handles, as in Calico's manifests.
const NETWORK: &str = "k8s-pod-network";

const VERSION: &str = "1.0.0";

/// Interface inside a pod.
pub(crate) const IFNAME: &str = "eth0";

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The plugin, installed where a runtime would look for it.
#[derive(Debug)]
pub(crate) struct Plugin {
    bin_dir: PathBuf,
    /// Name of the lab.
    lab: String,
}

/// What a runtime tells the plugin about a container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    /// Name of its network namespace.
    pub(crate) netns: String,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
        }
    }
}

impl Plugin {
    /// Puts the plugin under its Calico names into a directory of its own.
    pub(crate) fn install(plugin: &Path, lab: &str) -> anyhow::Result<Self> {
        let bin_dir = Path::new(STATE_DIR).join("cni-bin");
        fs::create_dir_all(&bin_dir).with_context(|| format!("cannot create {}", bin_dir.display()))?;
        for name in ["calico", "calico-ipam"] {
            let link = bin_dir.join(name);
            std::os::unix::fs::symlink(plugin, &link)
                .with_context(|| format!("cannot create {}", link.display()))?;
        }
        Ok(Self { bin_dir, lab: lab.to_owned() })
    }

    /// Writes the configuration list of a node.
    pub(crate) fn configure(node: &Node) -> anyhow::Result<()> {
        let path = list_path(node);
        let dir = path.parent().context("the list has a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let list = configuration(&node.agent_socket(), &node.cni_journal());
        fs::write(&path, serde_json::to_vec_pretty(&list)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Calls the plugin; answers the addresses of an ADD.
    pub(crate) async fn call(
        &self,
        verb: Verb,
        node: &Node,
        container: &Container,
    ) -> anyhow::Result<Vec<IpAddr>> {
        let subject = || {
            format!(
                "CNI {} of pod {}/{} on {}",
                verb.as_str(),
                container.namespace,
                container.pod,
                node.name()
            )
        };
        let (plugin, config) = first_plugin(&list_path(node)).with_context(subject)?;
        let mut command = Command::new(self.bin_dir.join(plugin));
        command
            .env_clear()
            .env("PATH", PATH)
            .env("CNI_COMMAND", verb.as_str())
            .env("CNI_CONTAINERID", &container.id)
            .env("CNI_NETNS", Path::new(NETNS_DIR).join(&container.netns))
            .env("CNI_IFNAME", IFNAME)
            .env("CNI_PATH", &self.bin_dir)
            .env("CNI_ARGS", arguments(container))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = in_netns(&node.netns, move || command.spawn())
            .await?
            .with_context(|| format!("cannot execute the plugin {}", self.bin_dir.display()))
            .with_context(subject)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin may answer without reading.
            let _ = stdin.write_all(&config).await;
        }
        let output = match tokio::time::timeout(PATIENCE, child.wait_with_output()).await {
            Ok(output) => output.with_context(subject)?,
            Err(_) => bail!("{}: no answer for {} s; {}", subject(), PATIENCE.as_secs(), node.last_words()),
        };
        addresses(verb, &output, &in_lab(&self.lab, node.name())).with_context(subject)
    }
}

fn list_path(node: &Node) -> PathBuf {
    node.cni_dir().join("net.d/10-calico.conflist")
}

pub(crate) fn configuration(socket: &Path, journal: &Path) -> Value {
    json!({
        "name": NETWORK,
        "cniVersion": VERSION,
        "plugins": [{
            "type": "calico",
            "ipam": {"type": "calico-ipam"},
            "policy": {"type": "k8s"},
            "agent_socket": socket,
            "journal_dir": journal,
        }],
    })
}

/// What a runtime makes of a list: the plugin's name, and its own configuration with name and version.
fn first_plugin(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let list: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let mut config =
        list.pointer("/plugins/0").cloned().with_context(|| format!("{} has no plugins", path.display()))?;
    let name = config.get("type").and_then(Value::as_str).context("the first plugin has no type")?.to_owned();
    if let Some(fields) = config.as_object_mut() {
        for field in ["name", "cniVersion"] {
            fields.insert(field.to_owned(), list.get(field).cloned().unwrap_or_default());
        }
    }
    Ok((name, serde_json::to_vec(&config)?))
}

fn arguments(container: &Container) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        container.namespace, container.pod, container.id, container.uid
    )
}

#[derive(Deserialize)]
struct PluginError {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct PluginResult {
    #[serde(default)]
    ips: Vec<PluginAddress>,
}

#[derive(Deserialize)]
struct PluginAddress {
    address: String,
}

/// How a user of a lab, who is outside of it, runs what an agent advises on its node.
fn in_lab(lab: &str, node: &str) -> String {
    format!("`tortie lab exec{} {node} -- tortie ", name_flag(lab))
}

/// The addresses of a result. Commands that an error advises begin with `tortie` where the agent is; `tortie` is what to write
/// instead where the user is.
fn addresses(verb: Verb, output: &Output, tortie: &str) -> anyhow::Result<Vec<IpAddr>> {
    if !output.status.success() {
        return Err(match serde_json::from_slice::<PluginError>(&output.stdout) {
            Ok(error) if error.details.is_empty() => anyhow!("{} (CNI error {})", error.msg, error.code),
            Ok(error) => {
                let details = error.details.replace("`tortie ", tortie);
                anyhow!("{} (CNI error {}): {details}", error.msg, error.code)
            }
            Err(_) => {
                let said = String::from_utf8_lossy(&output.stderr);
                anyhow!(
                    "the plugin failed ({}) without an error in CNI's form: {}",
                    output.status,
                    said.trim()
                )
            }
        });
    }
    if verb == Verb::Del {
        return Ok(Vec::new());
    }
    let result: PluginResult = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("the plugin's result makes no sense: {}", String::from_utf8_lossy(&output.stdout))
    })?;
    let parse = |a: &PluginAddress| {
        a.address
            .split('/')
            .next()
            .and_then(|addr| addr.parse().ok())
            .with_context(|| format!("the plugin's result has an address {:?}", a.address))
    };
    result.ips.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    fn output(code: i32, stdout: &str) -> Output {
        Output { status: ExitStatus::from_raw(code << 8), stdout: stdout.into(), stderr: b"boo".to_vec() }
    }

    #[test]
    fn the_plugin_gets_its_part_of_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("10-calico.conflist");
        fs::write(&path, configuration(Path::new("/a.sock"), Path::new("/j")).to_string()).unwrap();
        let (name, config) = first_plugin(&path).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(name, "calico");
        assert_eq!(config["name"], NETWORK);
        assert_eq!(config["cniVersion"], VERSION);
        assert_eq!(config["agent_socket"], "/a.sock");
        assert!(config.get("plugins").is_none());
    }

    #[test]
    fn results_and_errors_are_read() {
        let ok = output(
            0,
            r#"{"cniVersion":"1.0.0","ips":[{"address":"10.65.0.1/32"},{"address":"fd65::1/128"}]}"#,
        );
        let ips: Vec<String> =
            addresses(Verb::Add, &ok, "").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.65.0.1", "fd65::1"]);
        assert!(addresses(Verb::Del, &output(0, ""), "").unwrap().is_empty());
        let error = addresses(
            Verb::Add,
            &output(1, r#"{"code":11,"msg":"agent is away","details":"try again"}"#),
            "",
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "agent is away (CNI error 11): try again");
        let told = output(1, r#"{"code":101,"msg":"no address","details":"see `tortie ctl get ippools`"}"#);
        assert_eq!(
            addresses(Verb::Add, &told, &in_lab("x", "node2")).unwrap_err().to_string(),
            "no address (CNI error 101): see `tortie lab exec --name x node2 -- tortie ctl get ippools`"
        );
        let error = addresses(Verb::Add, &output(2, ""), "").unwrap_err();
        assert!(error.to_string().contains("boo"));
    }
}
