//! The agent's settings: one table, in Calico's names.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tortie_causes::chain;
use tortie_cluster::felix::{Host as _, Problem, Sources};
use tortie_cluster::{CALICO_VERSION, Identity, NodeSpec, PoolWish};
use tortie_kernel_net::sysctl;
use tortie_runtime::felix::ThisMachine;
use tortie_runtime::logging::Format;
use tortie_runtime::{Setting, Settings};
use tortie_store_kube::KubeConfig;

/// Every setting of the agent.
pub const TABLE: &[Setting] = &[
    setting(
        "NodeName",
        Some("NODENAME"),
        "",
        "Name of this node; else the nodename file, else the host's name in lower case.",
    ),
    setting(
        "DatastoreType",
        Some("DATASTORE_TYPE"),
        "",
        "`embedded`, `etcdv3` or `kubernetes`; empty: etcdv3 if ETCD_ENDPOINTS is set.",
    ),
    setting(
        "StoreSocket",
        Some("TORTIE_STORE_SOCKET"),
        "/var/run/calico/store.sock",
        "Socket of the embedded store.",
    ),
    setting("EtcdEndpoints", Some("ETCD_ENDPOINTS"), "", "Comma separated URLs of etcd."),
    setting("EtcdUsername", Some("ETCD_USERNAME"), "", "User of etcd."),
    setting("EtcdPassword", Some("ETCD_PASSWORD"), "", "Password of etcd."),
    setting("EtcdCaFile", Some("ETCD_CA_CERT_FILE"), "", "CA certificate of etcd, PEM."),
    setting("EtcdCertFile", Some("ETCD_CERT_FILE"), "", "Client certificate for etcd, PEM."),
    setting("EtcdKeyFile", Some("ETCD_KEY_FILE"), "", "Client key for etcd, PEM."),
    variable("KUBECONFIG", "kubeconfig of the cluster; empty: as a pod of it."),
    variable("K8S_API_ENDPOINT", "URL of the API server, if not that of the kubeconfig."),
    variable("K8S_CA_FILE", "Its CA certificate, PEM."),
    variable("K8S_CERT_FILE", "Client certificate for it, PEM."),
    variable("K8S_KEY_FILE", "Client key for it, PEM."),
    variable("K8S_API_TOKEN", "Bearer token for it."),
    variable("K8S_INSECURE_SKIP_TLS_VERIFY", "`true`: take any certificate from it."),
    variable("K8S_CURRENT_CONTEXT", "Context of the kubeconfig, if not its current one."),
    variable("K8S_CLIENT_QPS", "Requests a second to it in the long run; 0: no limit; empty: 50."),
    variable("K8S_CLIENT_BURST", "Requests at once after a rest; empty: 100."),
    variable(
        "CALICO_API_GROUP",
        "`projectcalico.org/v3` or `crd.projectcalico.org/v1`; empty: asked of the server.",
    ),
    variable("KUBERNETES_SERVICE_HOST", "Address of the API server, as Kubernetes tells every pod."),
    variable("KUBERNETES_SERVICE_PORT", "Its port."),
    setting(
        "KubernetesObjects",
        Some("TORTIE_KUBERNETES_OBJECTS"),
        "",
        "`store`: Kubernetes objects live in the store, also with etcd (the lab).",
    ),
    setting("RunDir", Some("TORTIE_RUN_DIR"), "/var/run/calico", "Sockets: agent.sock, bird.ctl."),
    setting(
        "LibDir",
        Some("TORTIE_LIB_DIR"),
        "/var/lib/calico",
        "State that outlives a boot: nodename, mtu, cni-del.",
    ),
    setting(
        "ProcSys",
        Some("TORTIE_PROC_SYS"),
        sysctl::USUAL_ROOT,
        "Where sysctls are written; for containers, whose own `/proc/sys` is read-only.",
    ),
    setting(
        "BirdConfig",
        Some("TORTIE_BIRD_CONFIG"),
        "/etc/calico/confd/config/bird.cfg",
        "BIRD's configuration file, written by the agent.",
    ),
    setting("Networking", Some("CALICO_NETWORKING_BACKEND"), "bird", "`bird`, `vxlan` or `none`."),
    setting("LogFormat", Some("TORTIE_LOG_FORMAT"), "text", "`text` or `json`."),
    setting(
        "MTU",
        Some("CNI_MTU"),
        "0",
        "MTU of workload interfaces; 0: that of the host's interface with the node's address.",
    ),
    variable(
        "IP",
        "Address of the node: one, with or without its subnet, `autodetect` or `none`; empty: as stored, else found.",
    ),
    variable("IP6", "The same for IPv6; empty: none, unless one is stored."),
    variable(
        "IP_AUTODETECTION_METHOD",
        "`first-found`, `can-reach=HOST`, `interface=REGEX,..`, `skip-interface=REGEX,..`, `cidr=CIDR,..` or `kubernetes-internal-ip`.",
    ),
    variable("IP6_AUTODETECTION_METHOD", "The same for IPv6."),
    setting(
        "AutodetectPollInterval",
        Some("AUTODETECT_POLL_INTERVAL"),
        "60s",
        "How often the node's addresses are looked at again.",
    ),
    variable("DISABLE_NODE_IP_CHECK", "`true`: do not ask whether another node has the address."),
    variable("AS", "AS number of the node; empty: that of the cluster."),
    variable("CALICO_K8S_NODE_REF", "Name of the node in Kubernetes, if it is another."),
    variable(
        "CLUSTER_TYPE",
        "Words about the cluster, with commas between; ClusterInformation collects them.",
    ),
    variable("NO_DEFAULT_POOLS", "`true`: make no pools."),
    variable(
        "CALICO_IPV4POOL_CIDR",
        "Network of the IPv4 pool that is made if there is none; `none`: make none.",
    ),
    variable("CALICO_IPV4POOL_BLOCK_SIZE", "Its block size, 20 to 32; 26 if empty."),
    variable("CALICO_IPV4POOL_IPIP", "Its IP-in-IP mode: `Never`, `CrossSubnet` or `Always`."),
    variable("CALICO_IPV4POOL_VXLAN", "Its VXLAN mode: the same words."),
    variable(
        "CALICO_IPV4POOL_NAT_OUTGOING",
        "Whether its addresses are hidden from the world outside; `true` if empty.",
    ),
    variable("CALICO_IPV4POOL_NODE_SELECTOR", "Which nodes take blocks of it."),
    variable("CALICO_IPV4POOL_DISABLE_BGP_EXPORT", "`true`: do not tell BGP peers of it."),
    variable(
        "CALICO_IPV6POOL_CIDR",
        "The same for IPv6; a network of the cluster's own is chosen if it is empty.",
    ),
    variable("CALICO_IPV6POOL_BLOCK_SIZE", "116 to 128; 122 if empty."),
    variable("CALICO_IPV6POOL_VXLAN", "Its VXLAN mode."),
    variable("CALICO_IPV6POOL_NAT_OUTGOING", "`false` if empty."),
    variable("CALICO_IPV6POOL_NODE_SELECTOR", "Which nodes take blocks of it."),
    variable("CALICO_IPV6POOL_DISABLE_BGP_EXPORT", "`true`: do not tell BGP peers of it."),
    variable(
        "CALICO_NODENAME_FILE",
        "Where the node's name is written down; else `nodename` in the state directory.",
    ),
    variable(
        "POD_NAMESPACE",
        "Namespace of this pod: when it is deleted, the product is removed from the node.",
    ),
    variable("POD_SERVICE_ACCOUNT", "This pod's service account: the same."),
    variable(
        "TORTIE_CNI_NET_DIR",
        "Where the node's CNI configurations are mounted; empty: they are not looked at.",
    ),
    variable("TORTIE_CNI_BIN_DIR", "Where the node's CNI executables are mounted."),
    variable("HOSTNAME", "Name of this node, if neither NODENAME nor the nodename file gives one."),
];

/// A setting that has the name of its variable, and nothing as its default.
const fn variable(name: &'static str, doc: &'static str) -> Setting {
    setting(name, Some(name), "", doc)
}

const fn setting(
    name: &'static str,
    env: Option<&'static str>,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, env, default, doc }
}

/// Which datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datastore {
    /// The embedded store behind a socket.
    Embedded {
        /// Its socket.
        socket: PathBuf,
    },
    /// etcd v3.
    Etcd {
        /// URLs.
        endpoints: Vec<String>,
    },
    /// The API server of the cluster; see [`kubernetes`].
    Kubernetes,
}

/// What the node's start makes.
#[derive(Clone, Debug)]
pub struct Start {
    /// The node.
    pub node: NodeSpec,
    /// Default pools.
    pub pools: PoolWish,
    /// What is said about the cluster.
    pub identity: Identity,
    /// How often addresses are looked at.
    pub poll: Duration,
}

/// The agent's configuration, parsed and checked. Nothing has been opened yet.
#[derive(Clone, Debug)]
pub struct Config {
    /// Node name.
    pub node: String,
    /// Datastore.
    pub datastore: Datastore,
    /// Prefix that is read from the datastore.
    pub root: String,
    /// Directory of sockets.
    pub run_dir: PathBuf,
    /// Directory of state.
    pub lib_dir: PathBuf,
    /// Where sysctls are written.
    pub proc_sys: PathBuf,
    /// BIRD's configuration file, unless routing is somebody else's.
    pub bird_config: Option<PathBuf>,
    /// Form of log lines.
    pub log_format: Format,
    /// Felix's parameters, as far as environment and file say.
    pub felix: tortie_cluster::felix::Config,
    /// What was wrong with them.
    pub felix_problems: Vec<Problem>,
    /// Environment and file, to which the datastore's settings are added.
    pub local: Sources,
    /// Prefix of workload interfaces.
    pub interface_prefix: String,
    /// What the node's start makes.
    pub start: Start,
    /// MTU of workload interfaces; 0: detect.
    pub mtu: u32,
    /// All settings with their provenance.
    pub settings: Settings,
}

impl Config {
    /// From the process's environment and a file of Felix's parameters. All problems at once.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let local = tortie_runtime::felix::local_sources(file)?;
        Self::parse(Settings::from_process(TABLE), local)
    }

    /// From given settings.
    pub fn parse(settings: Settings, local: Sources) -> Result<Self> {
        let mut problems: Vec<String> = Vec::new();
        let datastore = datastore(&settings).unwrap_or_else(|p| {
            problems.push(p);
            Datastore::Etcd { endpoints: Vec::new() }
        });
        let mut check = Check { settings: &settings, problems: &mut problems };
        let log_format = check.get("LogFormat");
        let mtu = check.get("MTU").unwrap_or(0);
        let networking = check.networking();
        let poll = check.duration("AutodetectPollInterval");
        let (felix, felix_problems) = tortie_cluster::felix::Config::resolve(&local, &ThisMachine);
        let fatal = felix_problems.iter().filter(|problem| problem.is_fatal());
        problems.extend(fatal.map(|problem| chain(problem)));
        let lib_dir = PathBuf::from(settings.text("LibDir"));
        let node = node_name(&settings, &lib_dir);
        if node.is_empty() {
            problems.push("NODENAME is not set and the host has no name".to_owned());
        }
        let start = start(&node, &settings, poll, &mut problems);
        let Some(start) = start.filter(|_| problems.is_empty()) else {
            bail!("{}", problems.join("\n"));
        };
        let interface_prefix = felix.interface_prefixes().next().unwrap_or("cali").to_owned();
        let in_store = settings.text("KubernetesObjects").eq_ignore_ascii_case("store");
        Ok(Self {
            node,
            root: match &datastore {
                Datastore::Etcd { .. } if !in_store => "/calico/".to_owned(),
                _ => "/".to_owned(),
            },
            datastore,
            run_dir: settings.text("RunDir").into(),
            lib_dir,
            proc_sys: settings.text("ProcSys").into(),
            bird_config: (networking == "bird").then(|| settings.text("BirdConfig").into()),
            log_format: log_format.unwrap_or_default(),
            interface_prefix,
            felix,
            felix_problems,
            local,
            start,
            mtu,
            settings,
        })
    }

    /// Where the node's name is written down.
    pub(crate) fn name_file(&self) -> PathBuf {
        name_file(&self.settings, &self.lib_dir)
    }
}

/// What the node's start makes; nothing if the environment is wrong.
fn start(node: &str, settings: &Settings, poll: Duration, problems: &mut Vec<String>) -> Option<Start> {
    let get = |name: &str| settings.variable(name).map(str::to_owned);
    let spec = NodeSpec::from_environment(node, &get);
    let spec = spec.map_err(|wrong| problems.extend(wrong.iter().map(|w| chain(w)))).ok();
    let pools = PoolWish::from_environment(&get);
    let pools = pools.map_err(|wrong| problems.extend(wrong.iter().map(|w| chain(w)))).ok();
    let mut cluster_type = get("CLUSTER_TYPE").unwrap_or_default();
    if get("DATASTORE_TYPE").as_deref() == Some("kubernetes") {
        cluster_type.push_str(",kdd");
    }
    let identity = Identity { version: CALICO_VERSION.to_owned(), cluster_type };
    Some(Start { node: spec?, pools: pools?, identity, poll })
}

struct Check<'a> {
    settings: &'a Settings,
    problems: &'a mut Vec<String>,
}

impl Check<'_> {
    fn get<T: std::str::FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        self.settings.get(name).map_err(|e| self.problems.push(e.to_string())).ok()
    }

    /// `vxlan` routes without BGP; BIRD may run all the same.
    fn networking(&mut self) -> String {
        let text = self.settings.text("Networking").to_ascii_lowercase();
        if !["bird", "vxlan", "none"].contains(&text.as_str()) {
            let expected = "expected bird, vxlan or none".to_owned();
            self.problems.push(self.settings.error("Networking", expected).to_string());
        }
        text
    }

    /// A duration as Go writes it; never nothing.
    fn duration(&mut self, name: &'static str) -> Duration {
        let text = self.settings.text(name);
        let parsed = tortie_runtime::settings::duration(text).filter(|d| !d.is_zero());
        parsed.unwrap_or_else(|| {
            let expected = "expected a time like 60s or 1m30s".to_owned();
            self.problems.push(self.settings.error(name, expected).to_string());
            Duration::from_mins(1)
        })
    }
}

/// How to reach the API server of the cluster.
pub(crate) fn kubernetes(settings: &Settings) -> Result<KubeConfig, tortie_store_kube::ConfigError> {
    KubeConfig::from_environment(&|name| settings.variable(name).map(str::to_owned))
}

fn datastore(settings: &Settings) -> Result<Datastore, String> {
    let endpoints: Vec<String> = settings
        .text("EtcdEndpoints")
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty())
        .map(str::to_owned)
        .collect();
    match settings.text("DatastoreType").to_ascii_lowercase().as_str() {
        "embedded" => Ok(Datastore::Embedded { socket: settings.text("StoreSocket").into() }),
        "etcdv3" | "" if !endpoints.is_empty() => Ok(Datastore::Etcd { endpoints }),
        "etcdv3" => {
            Err("DATASTORE_TYPE is etcdv3, but ETCD_ENDPOINTS is not set (for example http://127.0.0.1:2379)"
                .to_owned())
        }
        "kubernetes" => match kubernetes(settings) {
            Ok(_) => Ok(Datastore::Kubernetes),
            Err(error) => Err(chain(&error)),
        },
        "" => Err(
            "no datastore is configured: set DATASTORE_TYPE (kubernetes, embedded, etcdv3) and its address"
                .to_owned(),
        ),
        other => Err(format!("DATASTORE_TYPE {other:?} is unknown: expected kubernetes, embedded or etcdv3")),
    }
}

fn name_file(settings: &Settings, lib_dir: &Path) -> PathBuf {
    match settings.text("CALICO_NODENAME_FILE") {
        "" => lib_dir.join("nodename"),
        file => file.into(),
    }
}

/// `NODENAME`, else what an earlier start wrote, else `HOSTNAME`, else the host's name.
fn node_name(settings: &Settings, lib_dir: &Path) -> String {
    let written = || std::fs::read_to_string(name_file(settings, lib_dir)).unwrap_or_default();
    let candidates: [&dyn Fn() -> String; 4] = [
        &|| settings.text("NodeName").trim().to_owned(),
        &|| written().trim().to_owned(),
        &|| settings.text("HOSTNAME").trim().to_lowercase(),
        &|| ThisMachine.name(),
    ];
    candidates.iter().map(|candidate| candidate()).find(|name| !name.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config> {
        let mut local = Sources::new();
        let felix = tortie_cluster::felix::from_environment(pairs.iter().copied());
        local.set(tortie_cluster::felix::Source::Environment, felix);
        let owned = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::parse(Settings::load(TABLE, owned), local)
    }

    #[test]
    fn defaults_and_overrides() {
        let c = parse(&[
            ("NODENAME", "n1"),
            ("DATASTORE_TYPE", "embedded"),
            ("FELIX_HEALTHENABLED", "true"),
            ("AUTODETECT_POLL_INTERVAL", "1m30s"),
        ])
        .unwrap();
        assert_eq!((c.node.as_str(), c.root.as_str(), c.interface_prefix.as_str()), ("n1", "/", "cali"));
        assert!(c.felix.health_enabled() && c.felix_problems.is_empty());
        assert_eq!(c.start.poll, Duration::from_secs(90));
        let c = parse(&[("NODENAME", "n1"), ("ETCD_ENDPOINTS", "http://a:1, http://b:2")]).unwrap();
        assert_eq!(
            c.datastore,
            Datastore::Etcd { endpoints: vec!["http://a:1".into(), "http://b:2".into()] }
        );
        assert_eq!(c.root, "/calico/");
    }

    #[test]
    fn the_node_has_the_name_that_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let lib = directory.path().display().to_string();
        let base =
            [("DATASTORE_TYPE", "embedded"), ("TORTIE_LIB_DIR", lib.as_str()), ("HOSTNAME", "Host.Example")];
        assert_eq!(parse(&base).unwrap().node, "host.example");
        std::fs::write(directory.path().join("nodename"), "before").unwrap();
        assert_eq!(parse(&base).unwrap().node, "before");
        assert_eq!(parse(&[&base[..], &[("NODENAME", "now")]].concat()).unwrap().node, "now");
    }

    #[test]
    fn all_problems_at_once() {
        let error = parse(&[
            ("NODENAME", "n1"),
            ("DATASTORE_TYPE", "mongodb"),
            ("FELIX_INTERFACEPREFIX", "much too long for an interface"),
            ("IP6", "10.0.0.1"),
            ("CALICO_IPV4POOL_CIDR", "ten"),
            ("AUTODETECT_POLL_INTERVAL", "soon"),
        ])
        .unwrap_err()
        .to_string();
        for want in ["mongodb", "InterfacePrefix", "IP6", "CALICO_IPV4POOL_CIDR", "AutodetectPollInterval"] {
            assert!(error.contains(want), "{want} not in {error}");
        }
        // Felix lives with its default where it can.
        let lenient =
            parse(&[("NODENAME", "n1"), ("DATASTORE_TYPE", "embedded"), ("FELIX_HEALTHPORT", "x")]).unwrap();
        assert_eq!((lenient.felix.health_port(), lenient.felix_problems.len()), (9099, 1));
    }
}
