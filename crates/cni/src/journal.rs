//! DELs that the agent could not take: one small file each, read by the agent when it starts.

use std::fs;
use std::io;
use std::path::Path;
use tortie_agent_api::CniArgs;

/// Writes the DEL down, durably and atomically. A second DEL of the same attachment replaces the first.
pub(crate) fn remember(dir: &Path, args: &CniArgs) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let name = format!("{}-{}.json", args.container_id, args.ifname);
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let bytes = serde_json::to_vec(args)?;
    fs::write(&temporary, bytes)?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, dir.join(name))
}
