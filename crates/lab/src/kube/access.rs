//! Who may speak to the API server: users with tokens, and kubeconfig files that carry them.

use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A user of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<&'static str>,
    token: String,
}

impl User {
    /// A user with a token of its own.
    pub(crate) fn new(name: impl Into<String>, groups: &[&'static str]) -> anyhow::Result<Self> {
        let token = format!("{}{}", crate::objects::new_uid()?, crate::objects::new_uid()?).replace('-', "");
        Ok(Self { name: name.into(), groups: groups.to_vec(), token })
    }

    /// Who may do everything.
    pub(crate) fn admin() -> anyhow::Result<Self> {
        Self::new("admin", &["system:masters"])
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A kubeconfig with which this user reaches `server`, a URL.
    pub(crate) fn kubeconfig(&self, lab: &str, server: &str, authority: &str) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": lab,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": BASE64_STANDARD.encode(authority),
                },
            }],
            "users": [{"name": self.name, "user": {"token": self.token}}],
            "contexts": [{"name": lab, "context": {"cluster": lab, "user": self.name}}],
            "current-context": lab,
        });
        yaml(&config)
    }
}

/// JSON is YAML; a line per field reads better.
fn yaml(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// The file of `--token-auth-file`: token, name, uid, groups.
pub(crate) fn token_file<'a>(users: impl IntoIterator<Item = &'a User>) -> String {
    users.into_iter().fold(String::new(), |mut text, user| {
        let _ = writeln!(text, "{},{},{},\"{}\"", user.token, user.name, user.name, user.groups.join(","));
        text
    })
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .with_context(|| format!("cannot create {}", unfinished.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", unfinished.display()))?;
    std::fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_the_token_in_its_kubeconfig() {
        let users = [User::admin().unwrap(), User::new("system:node:node1", &["system:nodes"]).unwrap()];
        let file = token_file(&users);
        let config: Value = serde_json::from_str(&users[0].kubeconfig("a", "https://h:1", "PEM")).unwrap();
        let token = config["users"][0]["user"]["token"].as_str().unwrap();
        assert_eq!(file.lines().next().unwrap(), format!("{token},admin,admin,\"system:masters\""));
        assert_ne!(users[0].token, users[1].token);
    }
}
