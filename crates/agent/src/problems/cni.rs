//! The directory in which the container runtime finds its network, and the executables that it names.
//!
//! The agent sees the node's directories by mounts, and reads only. Looked at every few seconds: it is a handful of
//! small files, and a watch on a directory that is not there, or that is replaced, tells nothing.

use crate::problems::{Name, Problem, Problems};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOURCE: &str = "cni";

const INTERVAL: Duration = Duration::from_secs(5);

/// Nobody's configuration is longer than that.
const LONGEST: u64 = 1 << 20;

const REINSTALL: &str = "delete this node's calico-node pod: its init container installs it again";

/// Where the directories of the node are, as this process sees them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) net: PathBuf,
    pub(crate) bin: PathBuf,
}

/// What is in the directory of configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Files that a runtime would read, by name; without a text if it cannot be read.
    files: Vec<(String, Option<String>)>,
    /// Executables.
    plugins: BTreeSet<String>,
}

/// Starts the task.
pub(crate) fn spawn(places: Places, problems: Problems, quiet: impl Fn() -> bool + Send + 'static) {
    tokio::spawn(async move {
        let mut look = tokio::time::interval(INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let found = if quiet() { Vec::new() } else { judge(&places.net, see(&places).as_ref()) };
            problems.replace(SOURCE, found);
        }
    });
}

/// Whether a name is one that a runtime reads.
fn is_configuration(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "conf" || e == "conflist" || e == "json")
}

/// Nothing if there is no such directory.
fn see(places: &Places) -> Option<Seen> {
    // A mount outlives the directory; one that was removed has no name any more.
    std::fs::metadata(&places.net).ok().filter(|directory| directory.nlink() > 0)?;
    let mut files: Vec<(String, Option<String>)> = std::fs::read_dir(&places.net)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let small = std::fs::metadata(entry.path()).is_ok_and(|m| m.len() <= LONGEST);
            let text = || std::fs::read_to_string(entry.path()).ok();
            is_configuration(&name).then(|| (name, small.then(text).flatten()))
        })
        .collect();
    files.sort();
    let plugins = std::fs::read_dir(&places.bin).map(|entries| {
        let executable = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        entries
            .flatten()
            .filter(|entry| executable(&entry.path()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    });
    Some(Seen { files, plugins: plugins.unwrap_or_default() })
}

/// The executables that a configuration names; nothing if it is none.
fn plugins(text: &str) -> Option<Vec<String>> {
    let document: Value = serde_json::from_str(text).ok()?;
    let list = document.get("plugins").and_then(Value::as_array);
    let single = document.get("type").map(|_| std::slice::from_ref(&document));
    let mut names = Vec::new();
    for plugin in list.map(Vec::as_slice).or(single)? {
        names.push(plugin.get("type")?.as_str()?.to_owned());
        names.extend(plugin.pointer("/ipam/type").and_then(Value::as_str).map(str::to_owned));
    }
    (!names.is_empty()).then_some(names)
}

fn is_ours(text: &str) -> bool {
    plugins(text).is_some_and(|names| names.iter().any(|name| name == "calico"))
}

/// A network that passes pods on to others', ours among them.
fn is_meta(text: &str) -> bool {
    plugins(text).is_some_and(|names| names.iter().any(|name| name == "multus" || name == "multus-shim"))
}

/// As the node has it, where its files are mounted under `/host`.
fn on_node(path: &Path) -> PathBuf {
    path.strip_prefix("/host").map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest))
}

fn judge(directory: &Path, seen: Option<&Seen>) -> Vec<Problem> {
    let directory = on_node(directory);
    let object = format!("directory {}", directory.display());
    let Some(seen) = seen else {
        let message = "the node's directory of CNI configurations is not there: no new pod gets a network";
        let fix = "mount the directory that the container runtime reads as cni-net-dir, and delete this node's calico-node pod";
        return vec![Problem::new(Name::CniDirectoryMissing, object, message).fix(fix)];
    };
    let text = |(_, text): &(String, Option<String>)| text.clone().unwrap_or_default();
    let ours = seen.files.iter().position(|file| is_ours(&text(file)));
    let Some(position) = ours else {
        // Somebody has written over ours, or ours is gone.
        let spoilt = seen.files.iter().find(|(name, _)| name.contains("calico"));
        return vec![match spoilt {
            Some((name, _)) => Problem::new(
                Name::CniConfigurationInvalid,
                format!("file {}", directory.join(name).display()),
                "it is no CNI configuration that names the plugin calico: no new pod gets this network",
            )
            .fix(REINSTALL),
            None => Problem::new(
                Name::CniConfigurationMissing,
                object,
                "none of its files names the plugin calico: no new pod gets this network",
            )
            .fix(REINSTALL),
        }];
    };
    let mut found = Vec::new();
    let Some(own) = seen.files.get(position) else { return found };
    let path = |name: &str| format!("file {}", directory.join(name).display());
    for first in seen.files.iter().take(position) {
        let message = match plugins(&text(first)) {
            _ if is_meta(&text(first)) => break,
            Some(names) => format!(
                "another network's configuration ({}) comes before ours, {}: new pods get that network",
                names.join(", "),
                own.0
            ),
            None => format!(
                "what cannot be read as a CNI configuration comes before ours, {}: runtimes stop at it, and no new pod starts",
                own.0
            ),
        };
        found.push(
            Problem::new(
                Name::CniConfigurationShadowed,
                path(&first.0),
                message,
            )
            .fix("remove the other network, or its file if it is a leftover; or choose an earlier CNI_CONF_NAME for ours"),
        );
    }
    for plugin in plugins(&text(own)).unwrap_or_default() {
        if !seen.plugins.contains(&plugin) {
            let fix = if plugin.starts_with("calico") {
                REINSTALL
            } else {
                "install it on the node (Debian: containernetworking-plugins), or take it out of CNI_NETWORK_CONFIG"
            };
            found.push(
                Problem::new(
                    Name::CniPluginMissing,
                    format!("plugin {plugin}"),
                    format!(
                        "{} names it, and it is not among the node's CNI executables: no new pod starts",
                        own.0
                    ),
                )
                .fix(fix),
            );
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found.dedup_by(|later, first| later.key == first.key);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const OURS: &str = r#"{"name": "k8s-pod-network", "plugins": [
        {"type": "calico", "ipam": {"type": "calico-ipam"}}, {"type": "portmap"}]}"#;
    const OTHERS: &str = r#"{"name": "other", "type": "bridge", "ipam": {"type": "host-local"}}"#;

    struct Node(tempfile::TempDir);

    impl Node {
        fn new() -> Self {
            let node = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(node.net()).unwrap();
            fs::create_dir_all(node.bin()).unwrap();
            for name in ["calico", "calico-ipam", "portmap"] {
                node.plugin(name);
            }
            node
        }

        fn net(&self) -> PathBuf {
            self.0.path().join("net.d")
        }

        fn bin(&self) -> PathBuf {
            self.0.path().join("bin")
        }

        fn file(&self, name: &str, text: &str) {
            fs::write(self.net().join(name), text).unwrap();
        }

        fn plugin(&self, name: &str) {
            let path = self.bin().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        /// Names and objects of what is wrong, without the way to the directory.
        fn wrong(&self) -> Vec<String> {
            let places = Places { net: self.net(), bin: self.bin() };
            let short = |object: &str| object.replace(&self.0.path().display().to_string(), "");
            judge(&places.net, see(&places).as_ref())
                .iter()
                .map(|p| format!("{} {}", p.key.name.as_str(), short(&p.key.object)))
                .collect()
        }
    }

    #[test]
    fn each_state_of_the_directory_has_its_problem() {
        let node = Node::new();
        assert_eq!(node.wrong(), ["CniConfigurationMissing directory /net.d"]);
        node.file("10-calico.conflist", OURS);
        node.file("calico-kubeconfig", "no configuration");
        node.file("87-later.conflist", OTHERS);
        assert_eq!(node.wrong(), Vec::<String>::new());
        node.file("05-other.conf", OTHERS);
        node.file("06-broken.conflist", "{");
        assert_eq!(
            node.wrong(),
            [
                "CniConfigurationShadowed file /net.d/05-other.conf",
                "CniConfigurationShadowed file /net.d/06-broken.conflist"
            ]
        );
        fs::remove_file(node.net().join("05-other.conf")).unwrap();
        fs::remove_file(node.net().join("06-broken.conflist")).unwrap();
        node.file("00-multus.conf", r#"{"type": "multus", "clusterNetwork": "k8s-pod-network"}"#);
        assert_eq!(node.wrong(), Vec::<String>::new(), "a network of networks is meant");
        fs::remove_file(node.bin().join("portmap")).unwrap();
        fs::set_permissions(node.bin().join("calico"), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(node.wrong(), ["CniPluginMissing plugin calico", "CniPluginMissing plugin portmap"]);
        node.file("10-calico.conflist", r#"{"plugins": [{"type": "bridge"}]}"#);
        assert_eq!(node.wrong(), ["CniConfigurationInvalid file /net.d/10-calico.conflist"]);
        fs::remove_dir_all(node.net()).unwrap();
        assert_eq!(node.wrong(), ["CniDirectoryMissing directory /net.d"]);
    }
}
