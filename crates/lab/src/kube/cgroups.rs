//! Control groups of a lab's nodes: one directory per lab in every hierarchy, with one per node in it.
//!
//! They are the one thing of a lab that does not end with its last process: process 1 of the sandbox removes them, and, if it was
//! killed itself, the next command.

use anyhow::Context as _;
use nix::unistd::geteuid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where hierarchies are mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// How long the kernel may take to let go of a group whose last process has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// The group of a lab, from the root of a hierarchy.
fn group(lab: &str) -> String {
    format!("tortie-lab-{lab}")
}

/// What a kubelet takes as its root.
pub(crate) fn node_root(lab: &str, node: &str) -> String {
    format!("/{}/{node}", group(lab))
}

/// True if this is the second version, with one hierarchy for everything.
pub(crate) fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").is_file()
}

/// The mounted hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(ROOT);
    if unified() {
        return vec![root];
    }
    let Ok(entries) = fs::read_dir(&root) else { return Vec::new() };
    let directory = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    entries
        .flatten()
        .map(|e| e.path())
        // Beside controllers of the first version, the second may be there without any: the runtime uses it too.
        .filter(|path| directory(path) && path.join("cgroup.procs").is_file())
        .collect()
}

/// Makes the group of a node in every hierarchy.
pub(crate) fn make(lab: &str, node: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies() {
        let lab = hierarchy.join(group(lab));
        let node = lab.join(node);
        fs::create_dir_all(&lab).with_context(|| format!("cannot create {}", lab.display()))?;
        // Groups below inherit processors and memory only if told to; without any nothing can run in them.
        inherit_cpuset(&hierarchy, &lab)?;
        if unified() {
            let all = fs::read_to_string(hierarchy.join("cgroup.controllers")).unwrap_or_default();
            for controller in all.split_whitespace() {
                let _ = fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"));
                let _ = fs::write(lab.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        fs::create_dir_all(&node).with_context(|| format!("cannot create {}", node.display()))?;
    }
    Ok(())
}

fn inherit_cpuset(from: &Path, to: &Path) -> anyhow::Result<()> {
    if unified() || !from.join("cpuset.cpus").is_file() {
        return Ok(());
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value =
            fs::read(from.join(file)).with_context(|| format!("cannot read {file} of {}", from.display()))?;
        fs::write(to.join(file), value)
            .with_context(|| format!("cannot write {file} of {}", to.display()))?;
    }
    let clone = to.join("cgroup.clone_children");
    fs::write(&clone, "1").with_context(|| format!("cannot write {}", clone.display()))
}

/// Removes the groups of a lab whose processes have ended; true if there were any.
pub(crate) fn remove(lab: &str) -> anyhow::Result<bool> {
    // Nobody else could have made any.
    if !geteuid().is_root() {
        return Ok(false);
    }
    let groups: Vec<PathBuf> =
        hierarchies().into_iter().map(|h| h.join(group(lab))).filter(|g| g.is_dir()).collect();
    remove_all(&groups)?;
    Ok(!groups.is_empty())
}

/// Makes a node's groups anew, without those that its pods left: a kubelet that finds them looks for their containers one by one.
pub(crate) fn renew(lab: &str, node: &str) -> anyhow::Result<()> {
    let groups: Vec<PathBuf> =
        hierarchies().into_iter().map(|h| h.join(group(lab)).join(node)).filter(|g| g.is_dir()).collect();
    remove_all(&groups)?;
    make(lab, node)
}

fn remove_all(groups: &[PathBuf]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for group in groups {
        while let Err(error) = remove_tree(group) {
            if Instant::now() >= deadline {
                return Err(error).with_context(|| format!("cannot remove {}", group.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Depth first: a group with groups in it cannot be removed, its files cannot and need not be.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
