//! The agent's settings: one table, in Calico's names.

use anyhow::{Result, bail};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use tortie_runtime::logging::{Format, LogLevel};
use tortie_runtime::{Setting, Settings};

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
        "BirdConfig",
        Some("TORTIE_BIRD_CONFIG"),
        "/etc/calico/confd/config/bird.cfg",
        "BIRD's configuration file, written by the agent.",
    ),
    setting("Networking", Some("CALICO_NETWORKING_BACKEND"), "bird", "`bird` or `none`."),
    setting(
        "LogSeverityScreen",
        None,
        "Info",
        "Least severity that is logged: Trace, Debug, Info, Warning, Error, None.",
    ),
    setting("LogFormat", Some("TORTIE_LOG_FORMAT"), "text", "`text` or `json`."),
    setting("HealthEnabled", None, "false", "Serve /liveness and /readiness."),
    setting("HealthHost", None, "localhost", "Address of the health endpoint."),
    setting("HealthPort", None, "9099", "Port of the health endpoint."),
    setting("PrometheusMetricsEnabled", None, "false", "Serve /metrics."),
    setting("PrometheusMetricsHost", None, "", "Address of the metrics endpoint; empty: all."),
    setting("PrometheusMetricsPort", None, "9091", "Port of the metrics endpoint."),
    setting(
        "IPForwarding",
        None,
        "Enabled",
        "`Enabled`: switch IP forwarding on in both families; `Disabled`: leave it.",
    ),
    setting("InterfacePrefix", None, "cali", "Prefix of workload interfaces on the host."),
    setting(
        "DefaultEndpointToHostAction",
        None,
        "Drop",
        "What happens to traffic from a workload to its host that policy allows: Drop, Return or Accept.",
    ),
    setting(
        "NftablesRefreshInterval",
        None,
        "180",
        "Seconds between comparisons of the kernel with what should be there; 0: never.",
    ),
    setting(
        "DataplaneWatchdogTimeout",
        None,
        "90",
        "Seconds of silence of the engine after which the agent is not alive.",
    ),
    setting(
        "MTU",
        Some("CNI_MTU"),
        "0",
        "MTU of workload interfaces; 0: that of the host's interface with the node's address.",
    ),
];

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
    /// BIRD's configuration file, unless routing is somebody else's.
    pub bird_config: Option<PathBuf>,
    /// Log level and form.
    pub log: (LogLevel, Format),
    /// Address of the health endpoint.
    pub health: Option<SocketAddr>,
    /// Address of the metrics endpoint.
    pub metrics: Option<SocketAddr>,
    /// Prefix of workload interfaces.
    pub interface_prefix: String,
    /// Workload to host: `Drop`, `Return`, `Accept`.
    pub endpoint_to_host: String,
    /// Seconds between comparisons with the kernel.
    pub refresh_seconds: u64,
    /// Seconds of silence that count as death.
    pub watchdog_seconds: u64,
    /// MTU of workload interfaces; 0: detect.
    pub mtu: u32,
    /// All settings with their provenance.
    pub settings: Settings,
}

impl Config {
    /// From the process's environment. All problems at once.
    pub fn load() -> Result<Self> {
        Self::parse(Settings::from_process(TABLE))
    }

    /// From given settings.
    pub fn parse(settings: Settings) -> Result<Self> {
        let mut problems: Vec<String> = Vec::new();
        let datastore = datastore(&settings).unwrap_or_else(|p| {
            problems.push(p);
            Datastore::Etcd { endpoints: Vec::new() }
        });
        let mut check = Check { settings: &settings, problems: &mut problems };
        let log = (check.get("LogSeverityScreen"), check.get("LogFormat"));
        let health = check.address("HealthEnabled", "HealthHost", "HealthPort");
        let metrics =
            check.address("PrometheusMetricsEnabled", "PrometheusMetricsHost", "PrometheusMetricsPort");
        let refresh_seconds = check.get("NftablesRefreshInterval").unwrap_or(180);
        let watchdog_seconds = check.get("DataplaneWatchdogTimeout").unwrap_or(90);
        let mtu = check.get("MTU").unwrap_or(0);
        let endpoint_to_host = check.one_of("DefaultEndpointToHostAction", &["Drop", "Return", "Accept"]);
        let networking = check.one_of("Networking", &["bird", "none"]);
        let lib_dir = PathBuf::from(settings.text("LibDir"));
        let node = node_name(&settings, &lib_dir);
        if node.is_empty() {
            problems.push("NODENAME is not set and the host has no name".to_owned());
        }
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
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
            bird_config: (networking == "bird").then(|| settings.text("BirdConfig").into()),
            log: (
                log.0.unwrap_or(LogLevel(tracing::level_filters::LevelFilter::INFO)),
                log.1.unwrap_or_default(),
            ),
            health,
            metrics,
            interface_prefix: settings.text("InterfacePrefix").split(',').next().unwrap_or("cali").to_owned(),
            endpoint_to_host,
            refresh_seconds,
            watchdog_seconds,
            mtu,
            settings,
        })
    }
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

    fn one_of(&mut self, name: &'static str, words: &[&str]) -> String {
        let text = self.settings.text(name);
        match words.iter().find(|w| w.eq_ignore_ascii_case(text)) {
            Some(word) => (*word).to_owned(),
            None => {
                self.problems
                    .push(self.settings.error(name, format!("expected {}", words.join(", "))).to_string());
                String::new()
            }
        }
    }

    fn address(
        &mut self,
        enabled: &'static str,
        host: &'static str,
        port: &'static str,
    ) -> Option<SocketAddr> {
        let on = self.settings.flag(enabled).map_err(|e| self.problems.push(e.to_string())).ok()?;
        let port: u16 = self.get(port)?;
        let ip: IpAddr = match self.settings.text(host) {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            "" => IpAddr::from([0u16; 8]),
            _ => self.get(host)?,
        };
        on.then_some(SocketAddr::new(ip, port))
    }
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
        "kubernetes" => {
            Err("DATASTORE_TYPE=kubernetes is not available in this version: use etcdv3 or embedded"
                .to_owned())
        }
        "" => {
            Err("no datastore is configured: set DATASTORE_TYPE (embedded, etcdv3) and its address"
                .to_owned())
        }
        other => Err(format!("DATASTORE_TYPE {other:?} is unknown: expected embedded or etcdv3")),
    }
}

/// `NODENAME`, else what an earlier start wrote, else the host's name.
fn node_name(settings: &Settings, lib_dir: &std::path::Path) -> String {
    let given = settings.text("NodeName");
    if !given.is_empty() {
        return given.to_owned();
    }
    if let Ok(text) = std::fs::read_to_string(lib_dir.join("nodename")) {
        return text.trim().to_owned();
    }
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .unwrap_or_default()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config> {
        Config::parse(Settings::load(TABLE, pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))))
    }

    #[test]
    fn defaults_and_overrides() {
        let c = parse(&[("NODENAME", "n1"), ("DATASTORE_TYPE", "embedded"), ("FELIX_HEALTHENABLED", "true")])
            .unwrap();
        assert_eq!((c.node.as_str(), c.root.as_str(), c.interface_prefix.as_str()), ("n1", "/", "cali"));
        assert_eq!(c.health.unwrap().to_string(), "127.0.0.1:9099");
        assert_eq!(c.metrics, None);
        let c = parse(&[("NODENAME", "n1"), ("ETCD_ENDPOINTS", "http://a:1, http://b:2")]).unwrap();
        assert_eq!(
            c.datastore,
            Datastore::Etcd { endpoints: vec!["http://a:1".into(), "http://b:2".into()] }
        );
        assert_eq!(c.root, "/calico/");
    }

    #[test]
    fn all_problems_at_once() {
        let error = parse(&[
            ("NODENAME", "n1"),
            ("DATASTORE_TYPE", "mongodb"),
            ("FELIX_HEALTHPORT", "x"),
            ("FELIX_DEFAULTENDPOINTTOHOSTACTION", "Explode"),
        ])
        .unwrap_err()
        .to_string();
        for want in ["mongodb", "HealthPort", "DefaultEndpointToHostAction"] {
            assert!(error.contains(want), "{want} not in {error}");
        }
    }
}
