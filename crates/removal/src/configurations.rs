//! The network configurations of a node: which are ours, and whether somebody else's is there.

use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// The type by which a configuration names our plugin.
const OUR_TYPE: &str = "calico";

/// The directory cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the network configurations in {path}", path = path.display())]
pub struct ListError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What the runtime chooses from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configurations {
    /// Files that call our plugin.
    pub ours: Vec<PathBuf>,
    /// Files that call other plugins.
    pub others: Vec<PathBuf>,
}

impl Configurations {
    /// Reads the directory. One that is not there holds none; a file that is no configuration is none.
    pub fn read(directory: &Path) -> Result<Self, ListError> {
        let failed = |source| ListError { path: directory.to_owned(), source };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(failed(source)),
        };
        let mut found = Self::default();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            // The extensions that libcni takes.
            let taken = path.extension().is_some_and(|e| e == "conf" || e == "conflist" || e == "json");
            let value: Option<Value> =
                taken.then(|| serde_json::from_slice(&std::fs::read(&path).ok()?).ok()).flatten();
            match value.map(|value| calls(&value)) {
                Some(Some(true)) => found.ours.push(path),
                Some(Some(false)) => found.others.push(path),
                _ => {}
            }
        }
        found.ours.sort();
        found.others.sort();
        Ok(found)
    }
}

/// Whether a configuration calls our plugin; `None` if it calls none at all.
fn calls(configuration: &Value) -> Option<bool> {
    let kind = |plugin: &Value| plugin.get("type").and_then(Value::as_str).map(|kind| kind == OUR_TYPE);
    match configuration.get("plugins").and_then(Value::as_array) {
        Some(plugins) => plugins.iter().filter_map(kind).reduce(|a, b| a || b),
        None => kind(configuration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_others() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert_eq!(Configurations::read(&absent).unwrap(), Configurations::default());
        for (name, text) in [
            ("10-calico.conflist", r#"{"plugins": [{"type": "calico"}, {"type": "portmap"}]}"#),
            ("10-flannel.conflist", r#"{"plugins": [{"type": "flannel"}, {"type": "portmap"}]}"#),
            ("99-old.conf", r#"{"type": "bridge"}"#),
            ("20-broken.conf", "{"),
            ("30-empty.conflist", r#"{"plugins": []}"#),
            ("10-aside.conflist.bak", r#"{"plugins": [{"type": "bridge"}]}"#),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let found = Configurations::read(dir.path()).unwrap();
        assert_eq!(found.ours, [dir.path().join("10-calico.conflist")]);
        assert_eq!(found.others, ["10-flannel.conflist", "99-old.conf"].map(|n| dir.path().join(n)));
    }
}
