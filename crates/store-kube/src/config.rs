//! How to reach the API server, checked before anything is connected.

use crate::kubeconfig;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a pod finds what it needs to reach its API server.
const POD_SECRETS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Authorities that the host trusts, by distribution.
const HOST_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Names of the settings in Calico's configuration file, with their variables.
pub const SETTINGS: [(&str, &str); 11] = [
    ("kubeconfig", "KUBECONFIG"),
    ("k8sAPIEndpoint", "K8S_API_ENDPOINT"),
    ("k8sKeyFile", "K8S_KEY_FILE"),
    ("k8sCertFile", "K8S_CERT_FILE"),
    ("k8sCAFile", "K8S_CA_FILE"),
    ("k8sAPIToken", "K8S_API_TOKEN"),
    ("k8sInsecureSkipTLSVerify", "K8S_INSECURE_SKIP_TLS_VERIFY"),
    ("k8sCurrentContext", "K8S_CURRENT_CONTEXT"),
    ("k8sClientQPS", "K8S_CLIENT_QPS"),
    ("k8sClientBurst", "K8S_CLIENT_BURST"),
    ("calicoAPIGroup", "CALICO_API_GROUP"),
];

/// Where the objects of Calico's kinds are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `crd.projectcalico.org/v1`: the metadata of users is packed into an annotation.
    V1,
    /// `projectcalico.org/v3`: objects as users write them.
    V3,
}

impl Group {
    /// Group and version.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "crd.projectcalico.org/v1",
            Self::V3 => "projectcalico.org/v3",
        }
    }

    /// The group without its version.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "crd.projectcalico.org",
            Self::V3 => "projectcalico.org",
        }
    }
}

/// Bytes in a file, which may change, or given directly.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A file; read again when it changes.
    File(PathBuf),
    /// The bytes themselves; never printed.
    Data(Vec<u8>),
}

/// Who we are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Bearer token.
    pub token: Option<Source>,
    /// Certificate and key.
    pub identity: Option<(Source, Source)>,
    /// Name and password; never printed.
    pub basic: Option<(String, String)>,
}

/// How to reach the API server.
#[derive(Clone, Debug)]
pub struct KubeConfig {
    /// `https://host:port`, perhaps with a path.
    pub server: String,
    /// Authorities that its certificate may come from; none are the host's.
    pub authorities: Option<Source>,
    /// Take any certificate.
    pub insecure: bool,
    /// Name that its certificate must have, if not the host of `server`.
    pub server_name: Option<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// Where Calico's objects are; none asks the server.
    pub group: Option<Group>,
    /// Requests per second in the long run; 0 is no limit.
    pub qps: f64,
    /// Requests at once after a rest.
    pub burst: u32,
    /// Limit of one attempt, and of one page of a list.
    pub attempt_timeout: Duration,
    /// Limit of a whole call.
    pub timeout: Duration,
    /// How long a server that refuses connections is tried again.
    pub patience: Duration,
    /// Objects per page of a list.
    pub page: u32,
    /// Ask for streams instead of pages, where the server has them.
    pub streaming: bool,
    /// How often a kind that is not installed is looked for.
    pub absent_interval: Duration,
    /// Which keys belong to the whole key space as this user sees it; none are all. A kind without such keys is neither
    /// listed nor watched unless it is asked for by its own prefix, so that rights are needed only for what is read.
    pub wanted: Option<fn(&str) -> bool>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing says where the server is.
    #[error(
        "nothing says where the API server of Kubernetes is; set KUBECONFIG or K8S_API_ENDPOINT, or run in a pod"
    )]
    Nowhere,
    /// A URL that is none.
    #[error("API server {server:?} is not understood; write https://host:port")]
    Server {
        /// As given.
        server: String,
    },
    /// A file cannot be read.
    #[error("cannot read the {what} from {path}")]
    File {
        /// What the file is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A kubeconfig that is none.
    #[error("kubeconfig {path} is not understood: {reason}")]
    Kubeconfig {
        /// Where.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A name in a kubeconfig that names nothing.
    #[error("kubeconfig {path} has no {what} {name:?}")]
    Missing {
        /// Where.
        path: String,
        /// `context`, `cluster`, `user`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Something that a kubeconfig may say and this program cannot do.
    #[error("kubeconfig {path}: {what} cannot be used by this program; {instead}")]
    Unsupported {
        /// Where.
        path: String,
        /// What.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// A setting with a value that it cannot have.
    #[error("{name} is {value:?}; expected {expected}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// As given.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Certificates or keys that cannot be used.
    #[error("the {what} cannot be used: {reason}")]
    Tls {
        /// Which.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl KubeConfig {
    /// The usual settings for a server.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            authorities: None,
            insecure: false,
            server_name: None,
            credentials: Credentials::default(),
            group: None,
            qps: 50.0,
            burst: 100,
            attempt_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
            patience: Duration::from_secs(1),
            page: 500,
            streaming: true,
            absent_interval: Duration::from_secs(30),
            wanted: None,
        }
    }

    /// From Calico's settings, by their names in [`SETTINGS`], and from the variables that Kubernetes sets in a pod
    /// (`KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT`). Reads files and connects to nothing.
    pub fn load(setting: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let given = |name: &str| setting(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let file = |name: &str| given(name).map(|path| Source::File(path.into()));
        let mut config = match (given("kubeconfigInline"), given("kubeconfig"), given("k8sAPIEndpoint")) {
            (Some(text), _, _) => kubeconfig::from_text(&text, given("k8sCurrentContext").as_deref())?,
            (_, Some(paths), _) => kubeconfig::from_files(&paths, given("k8sCurrentContext").as_deref())?,
            (_, _, Some(server)) => Self::new(server),
            _ => Self::in_pod(Path::new(POD_SECRETS), &given)?,
        };
        if let Some(server) = given("k8sAPIEndpoint") {
            config.server = server;
        }
        if let Some(authorities) = file("k8sCAFile") {
            config.authorities = Some(authorities);
        }
        if let Some(identity) = file("k8sCertFile").zip(file("k8sKeyFile")) {
            config.credentials.identity = Some(identity);
        }
        if let Some(token) = given("k8sAPIToken") {
            config.credentials.token = Some(Source::Data(token.into_bytes()));
        }
        if let Some(value) = given("k8sInsecureSkipTLSVerify") {
            config.insecure = match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "t" => true,
                "false" | "0" | "f" => false,
                _ => {
                    let (name, expected) = ("K8S_INSECURE_SKIP_TLS_VERIFY", "true or false");
                    return Err(ConfigError::Setting { name, value, expected });
                }
            };
        }
        if let Some(value) = given("k8sClientQPS") {
            let wrong =
                ConfigError::Setting { name: "K8S_CLIENT_QPS", value: value.clone(), expected: "a number" };
            config.qps = value.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0).ok_or(wrong)?;
        }
        if let Some(value) = given("k8sClientBurst") {
            let wrong =
                ConfigError::Setting { name: "K8S_CLIENT_BURST", value: value.clone(), expected: "a number" };
            config.burst = value.parse().ok().ok_or(wrong)?;
        }
        // Whatever is not the native group is the other one, as Calico reads it.
        config.group = given("calicoAPIGroup")
            .map(|group| if group.eq_ignore_ascii_case(Group::V3.as_str()) { Group::V3 } else { Group::V1 });
        config.check()?;
        Ok(config)
    }

    /// As [`KubeConfig::load`], from Calico's variables.
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::load(&|name| {
            let known = SETTINGS.iter().find(|(setting, _)| *setting == name);
            variable(known.map_or(name, |(_, variable)| variable))
        })
    }

    fn in_pod(secrets: &Path, given: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let (host, port) = given("KUBERNETES_SERVICE_HOST")
            .zip(given("KUBERNETES_SERVICE_PORT"))
            .ok_or(ConfigError::Nowhere)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let mut config = Self::new(format!("https://{host}:{port}"));
        config.authorities = Some(Source::File(secrets.join("ca.crt")));
        config.credentials.token = Some(Source::File(secrets.join("token")));
        Ok(config)
    }

    /// Finds what is wrong without connecting.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = || ConfigError::Server { server: self.server.clone() };
        let uri: hyper::Uri = self.server.parse().map_err(|_| wrong())?;
        match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => crate::tls::client_config(self).map(drop),
            (Some("http"), Some(_)) => Ok(()),
            _ => Err(wrong()),
        }
    }

    /// Authorities to trust.
    pub(crate) fn trusted(&self) -> Option<Source> {
        self.authorities.clone().or_else(|| {
            HOST_AUTHORITIES.iter().map(Path::new).find(|p| p.exists()).map(|p| Source::File(p.into()))
        })
    }
}

impl Source {
    /// The bytes as they are now.
    pub(crate) fn read(&self, what: &'static str) -> Result<Vec<u8>, ConfigError> {
        match self {
            Self::Data(bytes) => Ok(bytes.clone()),
            Self::File(path) => {
                std::fs::read(path).map_err(|source| ConfigError::File { what, path: path.clone(), source })
            }
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Data(_) => f.write_str("Data(..)"),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.basic.as_ref().map(|(user, _)| user);
        f.debug_struct("Credentials")
            .field("token", &self.token)
            .field("identity", &self.identity)
            .field("user", &user)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)]) -> Result<KubeConfig, ConfigError> {
        KubeConfig::load(&|name| {
            settings.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn settings_choose_the_server() {
        assert!(matches!(of(&[]), Err(ConfigError::Nowhere)));
        let config = of(&[
            ("k8sAPIEndpoint", "http://127.0.0.1:8080"),
            ("k8sAPIToken", "secret"),
            ("k8sClientQPS", "7.5"),
            ("calicoAPIGroup", "projectcalico.org/v3"),
        ])
        .unwrap();
        assert_eq!(
            (config.server.as_str(), config.qps, config.group),
            ("http://127.0.0.1:8080", 7.5, Some(Group::V3))
        );
        assert!(!format!("{config:?}").contains("secret"));
        for (name, value) in [("k8sAPIEndpoint", "host:1"), ("k8sAPIEndpoint", "ftp://host")] {
            assert!(matches!(of(&[(name, value)]), Err(ConfigError::Server { .. })), "{value}");
        }
        let wrong =
            [("k8sClientQPS", "many"), ("k8sClientBurst", "-1"), ("k8sInsecureSkipTLSVerify", "perhaps")];
        for (name, value) in wrong {
            let error = of(&[("k8sAPIEndpoint", "http://h"), (name, value)]).unwrap_err();
            assert!(error.to_string().contains(value), "{error}");
        }
    }

    #[test]
    fn a_pod_knows_its_server() {
        let pod = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
            _ => None,
        };
        let config = KubeConfig::in_pod(Path::new("/secrets"), &pod).unwrap();
        assert_eq!(config.server, "https://[fd00::1]:443");
        assert_eq!(config.credentials.token, Some(Source::File("/secrets/token".into())));
        assert_eq!(config.authorities, Some(Source::File("/secrets/ca.crt".into())));
    }
}
