//! kubeconfig files: which server, and as whom.
//!
//! Several files are read as one: of clusters, users and contexts with the same name the first counts, and so does the
//! first file that names a context. Must not run programs: `exec` and `auth-provider` are refused.

use crate::config::{ConfigError, KubeConfig, Source};
use base64::Engine as _;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    clusters: Option<Vec<Named>>,
    users: Option<Vec<Named>>,
    contexts: Option<Vec<Named>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Option<Cluster>,
    user: Option<User>,
    context: Option<Context>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(..)")
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

/// Everything by its name; paths are relative to the file that they stand in.
#[derive(Default)]
struct Merged {
    path: String,
    current: Option<String>,
    clusters: HashMap<String, (PathBuf, Cluster)>,
    users: HashMap<String, (PathBuf, User)>,
    contexts: HashMap<String, Context>,
}

/// From the files of `KUBECONFIG`, with colons between; files of a longer list may be missing.
pub(crate) fn from_files(paths: &str, context: Option<&str>) -> Result<KubeConfig, ConfigError> {
    let list: Vec<&Path> = paths.split(':').filter(|p| !p.is_empty()).map(Path::new).collect();
    let mut merged = Merged { path: paths.to_owned(), ..Merged::default() };
    for path in &list {
        match std::fs::read_to_string(path) {
            Ok(text) => merged.add(path, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && list.len() > 1 => {}
            Err(source) => {
                let (what, path) = ("kubeconfig", path.to_path_buf());
                return Err(ConfigError::File { what, path, source });
            }
        }
    }
    merged.choose(context)
}

/// From the text of a file.
pub(crate) fn from_text(text: &str, context: Option<&str>) -> Result<KubeConfig, ConfigError> {
    let mut merged = Merged { path: "in the configuration".to_owned(), ..Merged::default() };
    merged.add(Path::new("."), text)?;
    merged.choose(context)
}

impl Merged {
    fn add(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| ConfigError::Kubeconfig {
            path: path.display().to_string(),
            // The message may quote the file, and the file holds secrets.
            reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
        })?;
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.current = self.current.take().or(file.current_context.filter(|c| !c.is_empty()));
        for named in file.clusters.unwrap_or_default() {
            let cluster = named.cluster.unwrap_or_default();
            self.clusters.entry(named.name).or_insert((directory.clone(), cluster));
        }
        for named in file.users.unwrap_or_default() {
            let user = named.user.unwrap_or_default();
            self.users.entry(named.name).or_insert((directory.clone(), user));
        }
        for named in file.contexts.unwrap_or_default() {
            self.contexts.entry(named.name).or_insert(named.context.unwrap_or_default());
        }
        Ok(())
    }

    fn choose(mut self, context: Option<&str>) -> Result<KubeConfig, ConfigError> {
        let name = context.map(str::to_owned).or(self.current.take()).unwrap_or_default();
        let missing =
            |what, name: &str| ConfigError::Missing { path: self.path.clone(), what, name: name.to_owned() };
        let context = self.contexts.get(&name).ok_or_else(|| missing("context", &name))?;
        let (directory, cluster) =
            self.clusters.get(&context.cluster).ok_or_else(|| missing("cluster", &context.cluster))?;
        let mut config = KubeConfig::new(&cluster.server);
        if cluster.proxy_url.as_ref().is_some_and(|proxy| !proxy.is_empty()) {
            return Err(self.unsupported("proxy-url".to_owned(), "reach the API server directly"));
        }
        config.authorities = self.source(
            directory,
            ("certificate-authority-data", &cluster.certificate_authority_data),
            &cluster.certificate_authority,
        )?;
        config.insecure = cluster.insecure_skip_tls_verify.unwrap_or(false);
        config.server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
        if !context.user.is_empty() {
            let (directory, user) =
                self.users.get(&context.user).ok_or_else(|| missing("user", &context.user))?;
            self.identify(&mut config, directory, user, &context.user)?;
        }
        Ok(config)
    }

    fn identify(
        &self,
        config: &mut KubeConfig,
        directory: &Path,
        user: &User,
        name: &str,
    ) -> Result<(), ConfigError> {
        let instead = "use a token (`kubectl create token`) or a client certificate";
        if user.exec.is_some() {
            return Err(self.unsupported(format!("the credential plugin (exec) of user {name:?}"), instead));
        }
        if user.auth_provider.is_some() {
            return Err(self.unsupported(format!("the auth-provider of user {name:?}"), instead));
        }
        if user.impersonate.is_some() {
            return Err(self.unsupported(format!("the impersonation (as) of user {name:?}"), instead));
        }
        let certificate = self.source(
            directory,
            ("client-certificate-data", &user.client_certificate_data),
            &user.client_certificate,
        )?;
        let key = self.source(directory, ("client-key-data", &user.client_key_data), &user.client_key)?;
        config.credentials.identity = certificate.zip(key);
        let file = user.token_file.as_ref().filter(|f| !f.is_empty());
        config.credentials.token = match (&user.token, file) {
            (_, Some(file)) => Some(Source::File(directory.join(file))),
            (Some(token), None) if !token.is_empty() => Some(Source::Data(token.clone().into_bytes())),
            _ => None,
        };
        config.credentials.basic = user.username.clone().zip(user.password.clone());
        Ok(())
    }

    /// Data in the file counts before a file that it names.
    fn source(
        &self,
        directory: &Path,
        (field, data): (&str, &Option<String>),
        file: &Option<String>,
    ) -> Result<Option<Source>, ConfigError> {
        if let Some(data) = data.as_ref().filter(|d| !d.is_empty()) {
            let decoded = base64::engine::general_purpose::STANDARD.decode(data.trim());
            let bytes = decoded.map_err(|error| ConfigError::Kubeconfig {
                path: self.path.clone(),
                reason: format!("{field} is not base64: {error}"),
            })?;
            return Ok(Some(Source::Data(bytes)));
        }
        Ok(file.as_ref().filter(|f| !f.is_empty()).map(|f| Source::File(directory.join(f))))
    }

    fn unsupported(&self, what: String, instead: &'static str) -> ConfigError {
        ConfigError::Unsupported { path: self.path.clone(), what, instead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: &str = "
apiVersion: v1
kind: Config
current-context: home
preferences: {}
clusters:
- name: here
  cluster: {server: 'https://10.0.0.1:6443', certificate-authority: pki/ca.crt, tls-server-name: kubernetes}
contexts:
- {name: home, context: {cluster: here, user: admin, namespace: shop}}
- {name: plugin, context: {cluster: here, user: cloud}}
- {name: broken, context: {cluster: there, user: admin}}
users:
- {name: admin, user: {client-certificate: admin.crt, client-key-data: a2V5, tokenFile: token}}
- {name: cloud, user: {exec: {command: cloud-auth}}}
";

    #[test]
    fn files_are_merged_and_paths_are_relative() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        std::fs::write(&first, ADMIN).unwrap();
        let other =
            "current-context: other\nclusters: [{name: here, cluster: {server: 'https://nowhere'}}]\n";
        std::fs::write(&second, other).unwrap();
        let paths = format!("{}:{}:/no/such/file", first.display(), second.display());
        let config = from_files(&paths, None).unwrap();
        assert_eq!(config.server, "https://10.0.0.1:6443");
        assert_eq!(config.authorities, Some(Source::File(dir.path().join("pki/ca.crt"))));
        assert_eq!(config.server_name.as_deref(), Some("kubernetes"));
        let (certificate, key) = config.credentials.identity.unwrap();
        assert_eq!(certificate, Source::File(dir.path().join("admin.crt")));
        assert_eq!(key, Source::Data(b"key".to_vec()));
        assert_eq!(config.credentials.token, Some(Source::File(dir.path().join("token"))));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let error = |text: &str, context| from_text(text, context).unwrap_err().to_string();
        assert!(error(ADMIN, Some("plugin")).contains("exec"));
        assert!(error(ADMIN, Some("broken")).contains("no cluster \"there\""));
        assert!(error(ADMIN, Some("none")).contains("no context \"none\""));
        assert!(error("clusters: 7", None).contains("not understood"));
        let data = ADMIN.replace("client-key-data: a2V5", "client-key-data: '?'");
        assert!(error(&data, None).contains("client-key-data is not base64"));
        assert!(matches!(from_files("/no/such/file", None), Err(ConfigError::File { .. })));
    }
}
