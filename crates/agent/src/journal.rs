//! DELs that the plugin wrote down while there was no agent, and the agent itself while it had no datastore.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tortie_agent_api::CniArgs;

/// The directory below the state directory.
pub(crate) const DIRECTORY: &str = "cni-del";

/// Writes a DEL down as the plugin does. A second one of the same attachment replaces the first.
pub(crate) fn remember(dir: &Path, args: &CniArgs) -> io::Result<()> {
    let name = format!("{}-{}.json", args.container_id, args.ifname);
    if name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a file")));
    }
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, serde_json::to_vec(args)?)?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, dir.join(name))
}

/// All remembered DELs with their files. What cannot be read is reported and left alone.
pub(crate) fn read(dir: &Path) -> Vec<(PathBuf, CniArgs)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.filter_map(|e| e.ok().map(|e| e.path())) {
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let parsed = fs::read(&path)
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
    fn reads_what_it_writes_and_writes_no_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("state/cni-del");
        let args = CniArgs { container_id: "c1".into(), ifname: "eth0".into(), ..CniArgs::default() };
        remember(&place, &args).unwrap();
        remember(&place, &args).unwrap();
        assert_eq!(read(&place), [(place.join("c1-eth0.json"), args.clone())]);
        assert!(remember(&place, &CniArgs { container_id: "../c2".into(), ..args }).is_err());
    }

    #[test]
    fn reads_what_the_plugin_writes_and_skips_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("absent")).is_empty());
        let args = CniArgs { container_id: "c1".into(), ..CniArgs::default() };
        fs::write(dir.path().join("c1-eth0.json"), serde_json::to_vec(&args).unwrap()).unwrap();
        fs::write(dir.path().join("broken.json"), "{").unwrap();
        fs::write(dir.path().join(".c2-eth0.json.77"), "{}").unwrap();
        let found = read(dir.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, args);
    }
}
