//! Network configurations of others in the directory that the container runtime reads: which there are, which one the
//! runtime takes, and what becomes of them.
//!
//! The runtime (libcni) takes the first file by name of those that end in `.conf`, `.conflist` or `.json`.

use crate::files::{self, FileError};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::Path;
use tracing::{info, warn};

/// What is appended to the name of a file that is moved aside, so that no runtime reads it.
const ASIDE: &str = ".aside-by-tortie";
/// Where Calico's plugin has its credential.
const CREDENTIAL: &str = "calico-kubeconfig";

/// What to do with configurations of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Say what they mean.
    Report,
    /// Give them names that no runtime reads, until `uninstall`.
    Move,
    /// Do not install beside one.
    Refuse,
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "" | "report" => Ok(Self::Report),
            "move" => Ok(Self::Move),
            "refuse" => Ok(Self::Refuse),
            _ => Err("expected report, move or refuse".to_owned()),
        }
    }
}

/// Whose a configuration is, by the types in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Calico's plugin with Calico's addresses.
    Calico,
    /// Calico's plugin with addresses from the node's podCIDR: flannel carries the packets between nodes.
    Canal,
    /// Calico's plugin with the addresses of another one.
    CalicoWith(String),
    /// flannel, which delegates to `bridge`.
    Flannel,
    /// Another plugin, by its type.
    Other(String),
    /// No configuration that a runtime could read.
    Unreadable(String),
}

impl Kind {
    /// From the text of a file.
    pub(crate) fn of(text: &str) -> Self {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return Self::Unreadable(error.to_string()),
        };
        let first = value.pointer("/plugins/0").unwrap_or(&value);
        let text = |path: &str| first.pointer(path).and_then(Value::as_str).unwrap_or_default();
        match (text("/type"), text("/ipam/type")) {
            ("", _) => Self::Unreadable("it names no plugin".to_owned()),
            ("calico", "calico-ipam" | "") => Self::Calico,
            ("calico", "host-local") => Self::Canal,
            ("calico", other) => Self::CalicoWith(other.to_owned()),
            ("flannel", _) => Self::Flannel,
            (other, _) => Self::Other(other.to_owned()),
        }
    }

    /// What it means for the pods that run, once ours is taken.
    fn consequence(&self) -> &'static str {
        match self {
            Self::Calico => "its pods are taken over as they are, with their addresses",
            Self::Canal => {
                "its pods keep running and keep their policy, but reach other nodes only as long as flannel runs; their \
                 addresses are given to nobody else. Restart them to bring them into this network"
            }
            Self::CalicoWith(_) => {
                "its pods keep running and keep their policy; their addresses are given to nobody else. Restart them to \
                 bring them into this network"
            }
            Self::Flannel | Self::Other(_) => {
                "its pods keep their interfaces, but no policy applies to them, and they are reached only as long as that \
                 network runs; their addresses are given to nobody else. Restart them to bring them into this network"
            }
            Self::Unreadable(_) => "some runtimes start no pod at all while it is there",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calico => f.write_str("calico (with calico-ipam)"),
            Self::Canal => f.write_str("canal (calico with host-local)"),
            Self::CalicoWith(ipam) => write!(f, "calico (with {ipam})"),
            Self::Flannel => f.write_str("flannel"),
            Self::Other(kind) => f.write_str(kind),
            Self::Unreadable(why) => write!(f, "unreadable ({why})"),
        }
    }
}

/// A configuration in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) file: String,
    pub(crate) kind: Kind,
}

/// Another network is what the runtime takes, or would take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OthersError {
    /// Told not to install beside others.
    #[error(
        "{file} in the CNI configuration directory belongs to another network, {kind}, and TORTIE_OTHER_CNI=refuse: nothing \
         was written. Remove that network first, or set TORTIE_OTHER_CNI to move (its files are put aside until \
         `tortie cni uninstall`) or report"
    )]
    Refused { file: String, kind: Kind },
    /// A file cannot be moved.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a runtime may read, in its order.
pub(crate) fn find(dir: &Path) -> Vec<Found> {
    let mut names: Vec<String> = names(dir).into_iter().filter(|name| is_candidate(name)).collect();
    names.sort();
    let found = |file: String| {
        let kind = match fs::read_to_string(dir.join(&file)) {
            Ok(text) => Kind::of(&text),
            Err(error) => Kind::Unreadable(error.to_string()),
        };
        Found { file, kind }
    };
    names.into_iter().map(found).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn is_candidate(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|e| e == "conf" || e == "conflist" || e == "json")
}

/// Before ours is written: says what is there, and refuses if told so.
pub(crate) fn before(dir: &Path, ours: &str, policy: Policy) -> Result<(), OthersError> {
    let found = find(dir);
    // Our own file of an earlier start is no news; one of Calico's by the same name has a credential beside it.
    let news = |active: &&Found| active.file != ours || dir.join(CREDENTIAL).exists();
    if let Some(active) = found.first().filter(news) {
        info!(file = active.file, network = %active.kind, consequence = active.kind.consequence(), "the runtime takes this network configuration until now");
    }
    let other = found.into_iter().find(|f| f.file != ours && f.kind != Kind::Calico);
    match other {
        Some(Found { file, kind }) if policy == Policy::Refuse => Err(OthersError::Refused { file, kind }),
        _ => Ok(()),
    }
}

/// After ours is written: Calico's own goes, with its credential; others are moved aside, or it is said what they mean.
pub(crate) fn after(dir: &Path, ours: &str, policy: Policy) -> Result<(), OthersError> {
    for Found { file, kind } in find(dir).into_iter().filter(|f| f.file != ours) {
        if kind == Kind::Calico {
            remove(dir, &file, "network configuration of Calico removed: ours takes its place");
        } else if policy == Policy::Move {
            let aside = format!("{file}{ASIDE}");
            files::rename(&dir.join(&file), &dir.join(&aside))?;
            info!(file, network = %kind, now = aside, consequence = kind.consequence(), "network configuration of another network moved aside; `tortie cni uninstall` brings it back");
        } else if file.as_str() < ours {
            warn!(
                winner = file, network = %kind, ours,
                "the runtime takes the first file by name, so new pods get another network and no policy; remove that \
                 network or its file, set TORTIE_OTHER_CNI=move, or choose an earlier CNI_CONF_NAME"
            );
        } else {
            warn!(
                file, network = %kind, ours, consequence = kind.consequence(),
                "another network's configuration is there; the runtime takes ours, which comes first by name. Should ours go \
                 away, pods would silently get the other network: remove it, or set TORTIE_OTHER_CNI=move"
            );
        }
    }
    if dir.join(CREDENTIAL).exists() {
        remove(dir, CREDENTIAL, "credential of Calico's plugin removed: ours needs none on the node");
    }
    Ok(())
}

/// What was moved aside gets its name back, unless there is a new file of that name.
pub(crate) fn restore(dir: &Path) -> Result<(), FileError> {
    for name in names(dir) {
        let Some(before) = name.strip_suffix(ASIDE) else { continue };
        if dir.join(before).exists() {
            warn!(file = name, "not brought back: there is a new {before}");
            continue;
        }
        files::rename(&dir.join(&name), &dir.join(before))?;
        info!(file = before, "network configuration of another network brought back");
    }
    Ok(())
}

fn remove(dir: &Path, file: &str, done: &'static str) {
    match fs::remove_file(dir.join(file)) {
        Ok(()) => info!(file, "{done}"),
        Err(error) => warn!(file, %error, "a file of Calico's plugin cannot be removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_it_is_stands_in_it() {
        let list = |plugin: &str| format!(r#"{{"name": "n", "plugins": [{plugin}, {{"type": "portmap"}}]}}"#);
        for (text, kind) in [
            (list(r#"{"type": "calico", "ipam": {"type": "calico-ipam"}}"#), Kind::Calico),
            (
                list(r#"{"type": "calico", "ipam": {"type": "host-local", "subnet": "usePodCidr"}}"#),
                Kind::Canal,
            ),
            (
                list(r#"{"type": "calico", "ipam": {"type": "whereabouts"}}"#),
                Kind::CalicoWith("whereabouts".to_owned()),
            ),
            (
                list(r#"{"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}}"#),
                Kind::Flannel,
            ),
            (
                r#"{"type": "bridge", "ipam": {"type": "host-local"}}"#.to_owned(),
                Kind::Other("bridge".to_owned()),
            ),
            (list(r#"{"type": "cilium-cni"}"#), Kind::Other("cilium-cni".to_owned())),
            (r#"{"plugins": []}"#.to_owned(), Kind::Unreadable("it names no plugin".to_owned())),
        ] {
            assert_eq!(Kind::of(&text), kind, "{text}");
            assert!(!kind.to_string().is_empty() && !kind.consequence().is_empty());
        }
        assert!(matches!(Kind::of("{"), Kind::Unreadable(_)));
    }

    #[test]
    fn policies_are_words() {
        assert_eq!("".parse(), Ok(Policy::Report));
        assert_eq!("Move".parse(), Ok(Policy::Move));
        assert_eq!("refuse".parse(), Ok(Policy::Refuse));
        assert!("perhaps".parse::<Policy>().unwrap_err().contains("refuse"));
    }
}
