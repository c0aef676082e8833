//! The file that says that a node's network was removed, and what is left of it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use tortie_net::Cidr;

/// Its name in the directory of state.
const NAME: &str = "removed";

/// What is left of a removed network. Written by the agent, read by the plugin and by the next agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mark {
    /// What told the agent, for people: `namespace calico-system is being deleted`.
    pub reason: String,
    /// When (RFC 3339).
    pub since: String,
    /// No agent runs any more: whoever sees the last pod go takes everything away.
    pub ended: bool,
    /// Prefix of workload interfaces.
    pub interface_prefix: String,
    /// Workload interfaces of other names.
    pub interfaces: BTreeSet<String>,
    /// Pools and blocks: routes within these are ours if BIRD or the agent made them.
    pub networks: BTreeSet<Cidr>,
    /// Containers that the plugin has detached since.
    pub detached: BTreeSet<String>,
    /// Pools whose addresses are hidden from the world outside.
    pub masqueraded: BTreeSet<Cidr>,
}

/// Held while the mark is read, acted upon and changed.
#[derive(Debug)]
pub struct MarkLock(#[expect(dead_code, reason = "the lock goes with the descriptor")] std::fs::File);

/// The mark cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}", path = path.display())]
pub struct MarkError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Mark {
    /// Reads the mark of a directory of state; `None` if the network is not removed. A mark that cannot be understood
    /// is one all the same: it says that there was a removal, and nothing of what is left.
    pub fn read(directory: &Path) -> Result<Option<Self>, MarkError> {
        let path = directory.join(NAME);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MarkError { doing: "read", path, source }),
        }
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, directory: &Path) -> Result<(), MarkError> {
        let path = directory.join(NAME);
        let put = || -> io::Result<()> {
            std::fs::create_dir_all(directory)?;
            let beside = directory.join(format!(".{NAME}.{}", std::process::id()));
            std::fs::write(&beside, serde_json::to_vec(self)?)?;
            std::fs::File::open(&beside)?.sync_all()?;
            std::fs::rename(&beside, &path)
        };
        put().map_err(|source| MarkError { doing: "write", path: path.clone(), source })
    }

    /// Whoever changes what others decide by holds this as long as it takes: the plugin is called for several pods at once.
    pub fn lock(directory: &Path) -> Result<MarkLock, MarkError> {
        let path = directory.to_owned();
        let lock = std::fs::File::open(directory).and_then(|directory| directory.lock().map(|()| directory));
        lock.map(MarkLock).map_err(|source| MarkError { doing: "lock", path, source })
    }

    /// Takes it away: the network is there again, or nothing is left of it. True if there was one.
    pub fn clear(directory: &Path) -> Result<bool, MarkError> {
        let path = directory.join(NAME);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(MarkError { doing: "remove", path, source }),
        }
    }

    /// Whether an interface of this name is a workload's.
    pub fn is_workload(&self, interface: &str) -> bool {
        let prefix = if self.interface_prefix.is_empty() { "cali" } else { &self.interface_prefix };
        interface.starts_with(prefix) || self.interfaces.contains(interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_read_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("calico");
        assert_eq!(Mark::read(&lib).unwrap(), None);
        let mark = Mark {
            reason: "namespace calico-system is being deleted".to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            ended: true,
            interface_prefix: "cali".to_owned(),
            interfaces: ["veth7".to_owned()].into(),
            networks: ["10.65.0.0/16", "fd65::/48"].map(|c| c.parse().unwrap()).into(),
            detached: ["c1".to_owned()].into(),
            masqueraded: ["10.65.0.0/16".parse().unwrap()].into(),
        };
        mark.write(&lib).unwrap();
        assert_eq!(Mark::read(&lib).unwrap(), Some(mark.clone()));
        for (interface, workload) in
            [("cali1", true), ("veth7", true), ("veth8", false), ("vxlan.calico", false)]
        {
            assert_eq!(mark.is_workload(interface), workload, "{interface}");
        }
        assert!(Mark::clear(&lib).unwrap());
        assert!(!Mark::clear(&lib).unwrap());
        assert_eq!(std::fs::read_dir(&lib).unwrap().count(), 0);
    }

    #[test]
    fn a_mark_that_nobody_understands_is_a_mark() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        let mark = Mark::read(dir.path()).unwrap().unwrap();
        assert!(!mark.ended && mark.is_workload("cali1"));
    }
}
