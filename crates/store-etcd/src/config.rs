//! How to reach etcd, checked before anything is connected.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// Members, as `http://host:port`, `https://host:port` or `unix:/path`; all of one cluster.
    pub endpoints: Vec<String>,
    /// Needed for `https`.
    pub tls: Option<TlsFiles>,
    /// Needed if the cluster has authentication enabled.
    pub credentials: Option<Credentials>,
    /// Limit of one attempt at one member.
    pub attempt_timeout: Duration,
    /// Limit of a whole call.
    pub timeout: Duration,
    /// How long members that refuse connections are tried again.
    pub patience: Duration,
    /// Keys per page of a list.
    pub page: u32,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name.
    pub user: String,
    /// Password; never printed.
    pub password: String,
}

/// Files for TLS, in PEM; read again for every new connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authority that etcd's certificate must come from.
    pub ca: PathBuf,
    /// Own certificate and its key, if etcd asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name that etcd's certificate must have, if not the host of the endpoint.
    pub server_name: Option<String>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No endpoint at all.
    #[error("no etcd endpoint is given; set one like http://127.0.0.1:2379")]
    NoEndpoint,
    /// An endpoint that is none.
    #[error(
        "etcd endpoint {endpoint:?} is not understood ({reason}); write http://host:port, https://host:port or unix:/path"
    )]
    Endpoint {
        /// As given.
        endpoint: String,
        /// Why not.
        reason: String,
    },
    /// `https` without files.
    #[error("etcd endpoint {endpoint} uses https, but no CA certificate is given")]
    NoTls {
        /// The endpoint.
        endpoint: String,
    },
    /// A file cannot be read.
    #[error("cannot read the {what} for etcd from {path}")]
    File {
        /// What the file is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file has something else in it.
    #[error("there is no {what} in {path}; the files for etcd must be PEM")]
    Content {
        /// What the file should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The files do not go together.
    #[error(
        "the TLS files for etcd cannot be used ({reason}); they must be PEM, and the key must belong to the certificate"
    )]
    Tls {
        /// Why not.
        reason: String,
    },
}

impl EtcdConfig {
    /// The usual settings for these members.
    pub fn new<T: Into<String>>(endpoints: impl IntoIterator<Item = T>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            credentials: None,
            attempt_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(6),
            patience: Duration::from_secs(1),
            page: 1000,
        }
    }

    /// The usual settings for a list of members with commas between, as in `ETCD_ENDPOINTS`.
    pub fn parse(endpoints: &str) -> Self {
        Self::new(endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty()))
    }

    /// Finds what is wrong without connecting.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        self.endpoints.iter().try_for_each(|endpoint| self.endpoint(endpoint).map(drop))
    }

    /// A member ready to be connected to.
    pub(crate) fn endpoint(&self, given: &str) -> Result<Endpoint, ConfigError> {
        let not_understood = |reason: &str| {
            let (endpoint, reason) = (given.to_owned(), reason.to_owned());
            ConfigError::Endpoint { endpoint, reason }
        };
        let endpoint =
            Endpoint::from_shared(given.to_owned()).map_err(|_| not_understood("it is not a URL"))?;
        let endpoint = endpoint
            .connect_timeout(self.attempt_timeout)
            // etcd ends connections that ask more often than every five seconds.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            // Many watches share a connection: one that is not read must not use up the others' share of it.
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(64 << 20);
        if given.starts_with("unix:") {
            return Ok(endpoint);
        }
        match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
            (_, None) => Err(not_understood("it has no host")),
            (Some("http"), _) => Ok(endpoint),
            (Some("https"), _) => {
                let Some(files) = &self.tls else {
                    return Err(ConfigError::NoTls { endpoint: given.to_owned() });
                };
                let tls = files.read()?;
                endpoint
                    .tls_config(tls)
                    .map_err(|error| ConfigError::Tls { reason: tortie_causes::chain(&error) })
            }
            _ => Err(not_understood("it is neither http, https nor unix")),
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<ClientTlsConfig, ConfigError> {
        let read = |what, mark: &[u8], path: &Path| {
            let content = std::fs::read(path).map_err(|source| ConfigError::File {
                what,
                path: path.into(),
                source,
            })?;
            // Without this check a wrong file shows itself only by a connection that is not trusted.
            if !content.windows(mark.len()).any(|window| window == mark) {
                return Err(ConfigError::Content { what, path: path.into() });
            }
            Ok(content)
        };
        let ca = read("CA certificate", b"-----BEGIN CERTIFICATE-----", &self.ca)?;
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        if let Some((certificate, key)) = &self.identity {
            let certificate = read("certificate", b"-----BEGIN CERTIFICATE-----", certificate)?;
            let key = read("key", b"PRIVATE KEY-----", key)?;
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        Ok(tls)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_split_and_checked() {
        let config = EtcdConfig::parse(" http://a:2379, https://[fd00::1]:2379 ,,unix:/run/etcd.sock");
        assert_eq!(config.endpoints, ["http://a:2379", "https://[fd00::1]:2379", "unix:/run/etcd.sock"]);
        assert!(matches!(config.check(), Err(ConfigError::NoTls { endpoint }) if endpoint.contains("fd00")));
        assert!(matches!(EtcdConfig::parse(",").check(), Err(ConfigError::NoEndpoint)));
        assert!(EtcdConfig::parse("http://10.0.0.1:2379,http://[fd00::1]:2379").check().is_ok());
        for wrong in ["etcd.example", "ftp://etcd:21", "http//etcd:2379", "http://"] {
            let error = EtcdConfig::new([wrong]).check().unwrap_err();
            assert!(matches!(error, ConfigError::Endpoint { .. }), "{wrong}: {error}");
        }
    }

    #[test]
    fn missing_and_wrong_tls_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let files = TlsFiles { ca: ca.clone(), ..TlsFiles::default() };
        let config = EtcdConfig { tls: Some(files), ..EtcdConfig::new(["https://etcd:2379"]) };
        assert!(config.check().unwrap_err().to_string().contains("ca.pem"));
        std::fs::write(&ca, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(matches!(config.check(), Err(ConfigError::Content { path, .. }) if path == ca));
    }

    #[test]
    fn a_password_is_never_printed() {
        let credentials = Credentials { user: "calico".to_owned(), password: "hunter2".to_owned() };
        let config = EtcdConfig { credentials: Some(credentials), ..EtcdConfig::new(["http://etcd:2379"]) };
        let printed = format!("{config:?}");
        assert!(printed.contains("calico") && !printed.contains("hunter2"), "{printed}");
    }
}
