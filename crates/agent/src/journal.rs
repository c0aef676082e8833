//! DELs that the plugin wrote down while there was no agent.

use std::path::{Path, PathBuf};
use tortie_agent_api::CniArgs;

/// The directory below the state directory.
pub(crate) const DIRECTORY: &str = "cni-del";

/// All remembered DELs with their files. What cannot be read is reported and left alone.
pub(crate) fn read(dir: &Path) -> Vec<(PathBuf, CniArgs)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.filter_map(|e| e.ok().map(|e| e.path())) {
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let parsed = std::fs::read(&path)
            .map_err(|e| e.to_string())
            .and_then(|bytes| serde_json::from_slice::<CniArgs>(&bytes).map_err(|e| e.to_string()));
        match parsed {
            Ok(args) => found.push((path, args)),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a remembered DEL cannot be read"),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_plugin_writes_and_skips_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("absent")).is_empty());
        let args = CniArgs { container_id: "c1".into(), ..CniArgs::default() };
        std::fs::write(dir.path().join("c1-eth0.json"), serde_json::to_vec(&args).unwrap()).unwrap();
        std::fs::write(dir.path().join("broken.json"), "{").unwrap();
        std::fs::write(dir.path().join(".c2-eth0.json.77"), "{}").unwrap();
        let found = read(dir.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, args);
    }
}
