//! Which datastore: a configuration file, or the environment, as Calico's client reads them. Connects to nothing.

use serde_json::{Map, Value};
use std::path::PathBuf;
use tortie_api::document;
use tortie_store_etcd::{Credentials, EtcdConfig, TlsFiles};
use tortie_store_kube::KubeConfig;

/// Where the file is if nobody says.
pub const DEFAULT_FILE: &str = "/etc/calico/calicoctl.cfg";
/// Where the embedded store is if nobody says.
const DEFAULT_STORE_SOCKET: &str = "/var/run/calico/store.sock";

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A datastore that can be connected to.
#[derive(Clone, Debug)]
pub enum Datastore {
    /// The embedded store behind a socket.
    Embedded {
        /// The socket.
        socket: PathBuf,
    },
    /// etcd v3.
    Etcd(Box<EtcdConfig>),
    /// The API server of a Kubernetes cluster.
    Kubernetes(Box<KubeConfig>),
}

impl Datastore {
    /// What `DATASTORE_TYPE` calls it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Embedded { .. } => "embedded",
            Self::Etcd(_) => "etcdv3",
            Self::Kubernetes(_) => "kubernetes",
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("Error reading config file: {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("invalid config file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting is wrong.
    #[error("invalid configuration: {0}")]
    Setting(String),
}

/// Settings by their names in a file, with the variable of each. No variable: secrets that stand in files only.
const SETTINGS: [(&str, Option<&str>); 26] = [
    ("datastoreType", Some("DATASTORE_TYPE")),
    ("storeSocket", Some("TORTIE_STORE_SOCKET")),
    ("etcdEndpoints", Some("ETCD_ENDPOINTS")),
    ("etcdDiscoverySrv", Some("ETCD_DISCOVERY_SRV")),
    ("etcdUsername", Some("ETCD_USERNAME")),
    ("etcdPassword", Some("ETCD_PASSWORD")),
    ("etcdKeyFile", Some("ETCD_KEY_FILE")),
    ("etcdCertFile", Some("ETCD_CERT_FILE")),
    ("etcdCACertFile", Some("ETCD_CA_CERT_FILE")),
    ("etcdKey", None),
    ("etcdCert", None),
    ("etcdCACert", None),
    ("kubeconfig", Some("KUBECONFIG")),
    ("kubeconfigInline", None),
    ("k8sAPIEndpoint", Some("K8S_API_ENDPOINT")),
    ("k8sKeyFile", Some("K8S_KEY_FILE")),
    ("k8sCertFile", Some("K8S_CERT_FILE")),
    ("k8sCAFile", Some("K8S_CA_FILE")),
    ("k8sAPIToken", None),
    ("k8sInsecureSkipTLSVerify", Some("K8S_INSECURE_SKIP_TLS_VERIFY")),
    ("k8sDisableNodePoll", Some("K8S_DISABLE_NODE_POLL")),
    ("usePodCIDR", Some("USE_POD_CIDR")),
    ("k8sClientQPS", Some("K8S_CLIENT_QPS")),
    ("k8sClientBurst", Some("K8S_CLIENT_BURST")),
    ("k8sCurrentContext", Some("K8S_CURRENT_CONTEXT")),
    ("calicoAPIGroup", Some("CALICO_API_GROUP")),
];

/// Reads the file that is named, or the usual one if it is there, or else the environment.
pub fn load(file: Option<&str>, environment: Environment<'_>) -> Result<Datastore, ConfigError> {
    let path = file.filter(|f| !f.is_empty()).unwrap_or(DEFAULT_FILE);
    let settings = match std::fs::read_to_string(path) {
        Ok(content) => from_file(path, &content)?,
        Err(_) if path == DEFAULT_FILE => from_environment(environment),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    datastore(&settings)
}

fn from_environment(environment: Environment<'_>) -> Map<String, Value> {
    let mut settings = Map::new();
    for (name, variable) in SETTINGS {
        let Some(variable) = variable else { continue };
        // A prefixed variable wins even when it is empty.
        if let Some(value) = environment(&format!("CALICO_{variable}")).or_else(|| environment(variable)) {
            settings.insert(name.to_owned(), value.into());
        }
    }
    // Set in every pod.
    for name in ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
        settings.extend(environment(name).map(|value| (name.to_owned(), value.into())));
    }
    settings
}

fn from_file(path: &str, content: &str) -> Result<Map<String, Value>, ConfigError> {
    let wrong = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let documents = document::parse(path, content).map_err(|e| wrong(e.to_string()))?;
    let [document] = documents.as_slice() else {
        return Err(wrong(format!("it holds {} documents, one is needed", documents.len())));
    };
    if document.api_version() != tortie_api::v3::API_VERSION {
        let version = document.api_version();
        return Err(wrong(format!("unknown apiVersion '{version}'; write {}", tortie_api::v3::API_VERSION)));
    }
    if document.kind() != "CalicoAPIConfig" {
        return Err(wrong(format!("expected kind 'CalicoAPIConfig', got '{}'", document.kind())));
    }
    let top = document.value.as_object().into_iter().flatten().map(|(key, _)| key);
    if let Some(key) = top.clone().find(|k| !["apiVersion", "kind", "metadata", "spec"].contains(&k.as_str()))
    {
        return Err(wrong(format!("{key} is no field here")));
    }
    let spec = document.value["spec"].as_object().cloned().unwrap_or_default();
    match spec.keys().find(|key| SETTINGS.iter().all(|(name, _)| name != key)) {
        Some(key) => Err(wrong(format!("spec.{key} is no field here"))),
        None => Ok(spec),
    }
}

fn datastore(settings: &Map<String, Value>) -> Result<Datastore, ConfigError> {
    let text = |name: &str| match settings.get(name) {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        _ => String::new(),
    };
    let endpoints = text("etcdEndpoints");
    let kind = match text("datastoreType") {
        given if !given.is_empty() => given,
        _ if !endpoints.is_empty() => "etcdv3".to_owned(),
        _ if !text("storeSocket").is_empty() => "embedded".to_owned(),
        _ => "kubernetes".to_owned(),
    };
    match kind.as_str() {
        "embedded" => {
            let socket = Some(text("storeSocket")).filter(|s| !s.is_empty());
            Ok(Datastore::Embedded {
                socket: socket.unwrap_or_else(|| DEFAULT_STORE_SOCKET.to_owned()).into(),
            })
        }
        "etcdv3" => etcd(&endpoints, &text).map(|config| Datastore::Etcd(Box::new(config))),
        "kubernetes" => {
            let setting = |name: &str| Some(text(name)).filter(|value| !value.is_empty());
            let config = KubeConfig::load(&setting);
            let config = config.map_err(|error| ConfigError::Setting(kubernetes_problem(&error)))?;
            Ok(Datastore::Kubernetes(Box::new(config)))
        }
        other => Err(ConfigError::Setting(format!(
            "datastore type {other:?} is unknown; expected etcdv3, embedded or kubernetes"
        ))),
    }
}

fn kubernetes_problem(error: &tortie_store_kube::ConfigError) -> String {
    let told = tortie_causes::chain(error);
    match error {
        tortie_store_kube::ConfigError::Nowhere => format!(
            "{told}; for another datastore set DATASTORE_TYPE to etcdv3 (with ETCD_ENDPOINTS) or embedded (with \
             TORTIE_STORE_SOCKET)"
        ),
        _ => told,
    }
}

fn etcd(endpoints: &str, text: &dyn Fn(&str) -> String) -> Result<EtcdConfig, ConfigError> {
    if !text("etcdDiscoverySrv").is_empty() {
        let reason = "discovery of etcd by SRV records is not available; list the members in ETCD_ENDPOINTS";
        return Err(ConfigError::Setting(reason.to_owned()));
    }
    if ["etcdKey", "etcdCert", "etcdCACert"].iter().any(|name| !text(name).is_empty()) {
        let reason = "certificates inside the file cannot be used by this version; name files in etcdCACertFile, \
                      etcdCertFile and etcdKeyFile";
        return Err(ConfigError::Setting(reason.to_owned()));
    }
    let mut config = EtcdConfig::parse(endpoints);
    let file = |name: &str| Some(text(name)).filter(|t| !t.is_empty()).map(PathBuf::from);
    config.tls = file("etcdCACertFile").map(|ca| TlsFiles {
        ca,
        identity: file("etcdCertFile").zip(file("etcdKeyFile")),
        server_name: None,
    });
    let (user, password) = (text("etcdUsername"), text("etcdPassword"));
    if !user.is_empty() && !password.is_empty() {
        config.credentials = Some(Credentials { user, password });
    }
    config.check().map_err(|e| ConfigError::Setting(e.to_string()))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn of(variables: &[(&str, &str)]) -> Result<Datastore, ConfigError> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        datastore(&from_environment(&find))
    }

    #[test]
    fn the_environment_chooses_a_datastore() {
        let etcd = of(&[("ETCD_ENDPOINTS", "http://a:1,http://b:2")]).unwrap();
        assert!(
            matches!(&etcd, Datastore::Etcd(c) if c.endpoints == ["http://a:1", "http://b:2"]),
            "{etcd:?}"
        );
        let prefixed =
            of(&[("CALICO_DATASTORE_TYPE", "etcdv3"), ("CALICO_ETCD_ENDPOINTS", "http://a:1")]).unwrap();
        assert!(matches!(prefixed, Datastore::Etcd(_)));
        let both = of(&[("ETCD_ENDPOINTS", "http://a:1"), ("CALICO_ETCD_ENDPOINTS", "http://b:1")]).unwrap();
        assert!(matches!(&both, Datastore::Etcd(c) if c.endpoints == ["http://b:1"]), "{both:?}");
        let embedded = of(&[("DATASTORE_TYPE", "embedded"), ("TORTIE_STORE_SOCKET", "/s")]).unwrap();
        assert!(matches!(&embedded, Datastore::Embedded { socket } if socket == Path::new("/s")));
        assert!(matches!(of(&[]), Err(ConfigError::Setting(m)) if m.contains("DATASTORE_TYPE")));
        assert!(
            matches!(of(&[("DATASTORE_TYPE", "consul")]), Err(ConfigError::Setting(m)) if m.contains("consul"))
        );
    }

    #[test]
    fn files_are_read_strictly() {
        let read = |text: &str| from_file("f", text).map_err(|e| e.to_string());
        let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec:\n";
        let settings =
            read(&format!("{head}  datastoreType: etcdv3\n  etcdEndpoints: http://a:1\n")).unwrap();
        assert!(matches!(datastore(&settings), Ok(Datastore::Etcd(_))));
        assert!(
            read(&format!("{head}  etcdEndpoint: http://a:1\n")).unwrap_err().contains("spec.etcdEndpoint")
        );
        assert!(read("apiVersion: v1\nkind: CalicoAPIConfig\n").unwrap_err().contains("apiVersion 'v1'"));
        assert!(read("apiVersion: projectcalico.org/v3\nkind: Node\n").unwrap_err().contains("'Node'"));
    }
}
