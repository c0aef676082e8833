//! CNI's environment and network configuration.

use serde::{Deserialize, Deserializer};
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use tortie_agent_api::{ApiError, CniArgs, DEFAULT_SOCKET, code};

/// What the runtime wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

/// One parsed invocation.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) verb: Verb,
    pub(crate) version: String,
    pub(crate) socket: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) conf_dir: PathBuf,
    pub(crate) args: CniArgs,
    /// The attachments that GC leaves alone.
    pub(crate) valid: Vec<String>,
}

/// The fields of the network configuration that the plugin reads. The rest is Calico's and unused here (datastore,
/// credentials, log files belong to the agent).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NetConf {
    #[serde(rename = "cniVersion")]
    cni_version: String,
    name: String,
    mtu: u32,
    ipam: serde_json::Value,
    agent_socket: String,
    journal_dir: String,
    conf_dir: String,
    /// Absent or not makes a difference, the difference between an error and the end of every pod's network.
    #[serde(rename = "cni.dev/valid-attachments", deserialize_with = "given")]
    valid: Option<Vec<ValidAttachment>>,
    /// As an older specification called it by mistake.
    #[serde(rename = "cni.dev/attachments", deserialize_with = "given")]
    attachments: Option<Vec<ValidAttachment>>,
    #[serde(rename = "prevResult")]
    previous: serde_json::Value,
}

/// A list that is null is an empty one: so Go writes it.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<ValidAttachment>>, D::Error> {
    Ok(Some(Option::deserialize(from)?.unwrap_or_default()))
}

impl NetConf {
    /// The addresses of the result of ADD, in any version's form.
    fn previous(&self) -> Vec<IpAddr> {
        let list = self.previous.get("ips").and_then(serde_json::Value::as_array);
        let texts = list.into_iter().flatten().filter_map(|ip| ip.get("address"));
        let old = ["/ip4/ip", "/ip6/ip"].into_iter().filter_map(|pointer| self.previous.pointer(pointer));
        texts.chain(old).filter_map(|text| text.as_str()?.split('/').next()?.parse().ok()).collect()
    }
}

#[derive(Debug, Deserialize)]
struct ValidAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

type Failure = (String, ApiError);

impl Invocation {
    /// Reads environment and stdin. An error comes with the CNI version to answer in.
    pub(crate) fn parse(env: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Result<Self, Failure> {
        let get = |name: &str| env(name).filter(|v| !v.is_empty());
        let command = get("CNI_COMMAND").unwrap_or_default();
        let verb = match command.as_str() {
            "ADD" => Verb::Add,
            "DEL" => Verb::Del,
            "CHECK" => Verb::Check,
            "STATUS" => Verb::Status,
            "GC" => Verb::Gc,
            "VERSION" => Verb::Version,
            "" => {
                return Err(environment(
                    "1.0.0",
                    "CNI_COMMAND is not set",
                    "this is a CNI plugin: a container runtime calls it",
                ));
            }
            other => {
                let message = format!("CNI_COMMAND {other:?} is unknown");
                return Err(environment(
                    "1.0.0",
                    &message,
                    "expected ADD, DEL, CHECK, STATUS, GC or VERSION",
                ));
            }
        };
        let conf: NetConf = match serde_json::from_slice(stdin) {
            Ok(conf) => conf,
            Err(_) if verb == Verb::Version => NetConf::default(),
            Err(e) => {
                return Err((
                    "1.0.0".to_owned(),
                    ApiError {
                        code: code::DECODE,
                        message: format!("network configuration on stdin: {e}"),
                        details: "look at the .conflist file in the runtime's CNI configuration directory"
                            .to_owned(),
                    },
                ));
            }
        };
        let version = if conf.cni_version.is_empty() { "0.2.0".to_owned() } else { conf.cni_version.clone() };
        if verb != Verb::Version && !crate::VERSIONS.contains(&version.as_str()) {
            return Err((
                "1.0.0".to_owned(),
                ApiError {
                    code: 1,
                    message: format!("cniVersion {version:?} is not supported"),
                    details: format!("supported: {}", crate::VERSIONS.join(", ")),
                },
            ));
        }
        let fail = |code: u32, message: &str, details: &str| {
            let error = ApiError { code, message: message.to_owned(), details: details.to_owned() };
            Err((version.clone(), error))
        };
        let previous = conf.previous();
        if verb == Verb::Check && conf.previous.is_null() {
            return fail(
                code::INVALID_CONFIG,
                "CHECK: the network configuration has no prevResult",
                "the container runtime must pass what ADD answered (CNI specification, section 4)",
            );
        }
        let valid = match conf.valid.or(conf.attachments) {
            None if verb == Verb::Gc => {
                return fail(
                    code::INVALID_CONFIG,
                    "GC: the network configuration has no cni.dev/valid-attachments",
                    "without it every pod's network would go; the container runtime must pass the list (CNI specification, section 2)",
                );
            }
            valid => valid.unwrap_or_default(),
        };
        let mut call = Self {
            verb,
            socket: if conf.agent_socket.is_empty() {
                DEFAULT_SOCKET.into()
            } else {
                conf.agent_socket.into()
            },
            journal: if conf.journal_dir.is_empty() {
                "/var/lib/calico/cni-del".into()
            } else {
                conf.journal_dir.into()
            },
            conf_dir: if conf.conf_dir.is_empty() { "/etc/cni/net.d".into() } else { conf.conf_dir.into() },
            args: CniArgs {
                network: conf.name,
                mtu: conf.mtu,
                ipam: conf.ipam,
                previous,
                ..CniArgs::default()
            },
            valid: valid.into_iter().map(|a| format!("{}/{}", a.container_id, a.ifname)).collect(),
            version,
        };
        if matches!(verb, Verb::Add | Verb::Del | Verb::Check) {
            call.read_attachment(get)?;
        }
        Ok(call)
    }

    fn read_attachment(&mut self, get: impl Fn(&str) -> Option<String>) -> Result<(), Failure> {
        let version = self.version.clone();
        let need = |name: &str| {
            get(name).ok_or_else(|| {
                environment(
                    &version,
                    &format!("{name} is not set"),
                    "the container runtime must set it (CNI specification, section 2)",
                )
            })
        };
        let args = &mut self.args;
        args.container_id = need("CNI_CONTAINERID")?;
        args.ifname = need("CNI_IFNAME")?;
        if !valid_container_id(&args.container_id) {
            let message = format!("CNI_CONTAINERID {:?} is not valid", args.container_id);
            return Err(environment(
                &version,
                &message,
                "it must start with a letter or digit, then letters, digits, '_', '.', '-'",
            ));
        }
        if args.ifname.len() > 15
            || args.ifname.contains(['/', ':'])
            || args.ifname.contains(char::is_whitespace)
            || matches!(args.ifname.as_str(), "." | "..")
        {
            let message = format!("CNI_IFNAME {:?} is not the name of an interface", args.ifname);
            return Err(environment(
                &version,
                &message,
                "1 to 15 characters without '/', ':' and white space",
            ));
        }
        args.netns = match self.verb {
            Verb::Del => get("CNI_NETNS").unwrap_or_default(),
            _ => need("CNI_NETNS")?,
        };
        for (key, value) in
            get("CNI_ARGS").iter().flat_map(|a| a.split(';')).filter_map(|pair| pair.split_once('='))
        {
            match key {
                "K8S_POD_NAMESPACE" => value.clone_into(&mut args.namespace),
                "K8S_POD_NAME" => value.clone_into(&mut args.pod),
                "K8S_POD_UID" => value.clone_into(&mut args.pod_uid),
                "IP" => {
                    for text in value.split(',') {
                        let ip: IpAddr = text.parse().map_err(|_| {
                            environment(&version, &format!("CNI_ARGS: IP={text:?} is not an address"), "")
                        })?;
                        args.ips.push(ip);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The pod's network namespace; `None` when the runtime names none (DEL).
    pub(crate) fn open_netns(&self) -> Result<Option<File>, ApiError> {
        if self.args.netns.is_empty() {
            return Ok(None);
        }
        File::open(&self.args.netns).map(Some).map_err(|e| ApiError {
            code: code::UNKNOWN_CONTAINER,
            message: format!(
                "{}: network namespace CNI_NETNS={} cannot be opened: {e}",
                self.subject(),
                self.args.netns
            ),
            details: "the container is gone, or the runtime's namespace directory is not visible here"
                .to_owned(),
        })
    }

    /// The pod, for messages.
    pub(crate) fn subject(&self) -> String {
        if self.args.pod.is_empty() {
            format!("container {}", self.args.container_id)
        } else {
            format!("pod {}/{}", self.args.namespace, self.args.pod)
        }
    }
}

fn environment(version: &str, message: &str, details: &str) -> Failure {
    let error = ApiError {
        code: code::INVALID_ENVIRONMENT,
        message: message.to_owned(),
        details: details.to_owned(),
    };
    (version.to_owned(), error)
}

fn valid_container_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
