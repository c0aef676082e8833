//! Where a lab keeps its files, and the lock that says whether it lives.
//!
//! A lab's directory holds a `lock` that its supervisor keeps locked (`flock`) for as long as any process of the
//! sandbox lives. A directory whose lock is free is a leftover of a crash: the next command removes it. The lock file
//! goes last and only while it is held, so that two commands never fight over a name.

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest name of a lab: socket paths below its directory must fit into 107 bytes.
const MAX_NAME: usize = 24;

/// The directory of one lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabDir {
    name: String,
    path: PathBuf,
}

impl LabDir {
    /// The directory of the lab `name` of the calling user.
    pub(crate) fn of(name: &str) -> anyhow::Result<Self> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), path: base()?.join(name) })
    }

    /// The directory at `path`, as a process inside the sandbox was told by the one that started it.
    pub(crate) fn at(name: &str, path: &Path) -> Self {
        Self { name: name.to_owned(), path: path.to_owned() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Files of a node, the router or the store.
    pub(crate) fn of_part(&self, part: &str) -> PathBuf {
        self.path.join(part)
    }

    /// What the lock says.
    pub(crate) fn state(&self) -> anyhow::Result<DirState> {
        match File::open(self.lock_path()) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Ok(if self.path.exists() { DirState::Leftover } else { DirState::Absent })
            }
            Err(e) => Err(e).with_context(|| format!("cannot open {}", self.lock_path().display())),
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(DirState::Leftover),
                Err(TryLockError::WouldBlock) => Ok(DirState::Alive),
                Err(TryLockError::Error(e)) => {
                    Err(e).with_context(|| format!("cannot lock {}", self.lock_path().display()))
                }
            },
        }
    }

    /// Takes the name: an empty directory with a held lock; `None` if a lab lives there.
    pub(crate) fn claim(&self) -> anyhow::Result<Option<Claim>> {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.path)
                .with_context(|| format!("cannot create {}", self.path.display()))?;
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(self.lock_path());
            let lock = match lock {
                // Another command removed the directory in between.
                Err(e) if e.kind() == ErrorKind::NotFound && Instant::now() < deadline => continue,
                other => other.with_context(|| format!("cannot create {}", self.lock_path().display()))?,
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => {
                    return Err(e).with_context(|| format!("cannot lock {}", self.lock_path().display()));
                }
            }
            // The file that we locked may have been unlinked by the command that cleaned up before us.
            let ours = lock.metadata().ok().map(|m| m.ino());
            let named = fs::metadata(self.lock_path()).ok().map(|m| m.ino());
            if ours.is_none() || ours != named {
                if Instant::now() >= deadline {
                    bail!(
                        "{} keeps changing under our hands; is another `lab up` running?",
                        self.path.display()
                    );
                }
                continue;
            }
            let claim = Claim { dir: self.clone(), lock };
            claim.empty()?;
            return Ok(Some(claim));
        }
    }

    /// Removes what a crash left behind; true if there was something.
    pub(crate) fn clean(&self) -> anyhow::Result<bool> {
        if !self.path.exists() {
            return Ok(false);
        }
        match self.claim()? {
            Some(claim) => {
                crate::kube::cgroups::remove(&self.name)?;
                claim.remove().map(|()| true)
            }
            None => Ok(false),
        }
    }

    /// Removes everything; called by process 1 of the sandbox as its last act. Its descriptor of the lock file is inherited: the lock
    /// goes with it.
    pub(crate) fn remove_as_owner(&self) -> anyhow::Result<()> {
        remove_contents(&self.path)?;
        remove_shell(&self.path)
    }
}

/// What a lab's directory tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirState {
    /// No such lab.
    Absent,
    /// A crash left it.
    Leftover,
    /// Its supervisor lives.
    Alive,
}

/// A held name. Dropping it closes the lock's descriptor; the lock itself goes with the last copy of it.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: LabDir,
    lock: File,
}

impl Claim {
    /// The lock's file, to be inherited by the sandbox.
    pub(crate) fn file(&self) -> anyhow::Result<File> {
        self.lock.try_clone().context("cannot duplicate the lock's descriptor")
    }

    fn empty(&self) -> anyhow::Result<()> {
        remove_contents(&self.dir.path)
    }

    /// Removes the directory.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        self.empty()?;
        remove_shell(&self.dir.path)
    }
}

/// Names of all directories of the calling user, living or left over, sorted.
pub(crate) fn all() -> anyhow::Result<Vec<LabDir>> {
    let base = base()?;
    let entries = match fs::read_dir(&base) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", base.display())),
    };
    let mut labs: Vec<LabDir> = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            check_name(&name).ok()?;
            Some(LabDir { name, path: e.path() })
        })
        .collect();
    labs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(labs)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fine) || name.starts_with('-') {
        bail!("{name:?} is no name for a lab: 1 to {MAX_NAME} of a-z, 0-9 and -, not beginning with -");
    }
    Ok(())
}

/// The directory of all labs of the calling user.
fn base() -> anyhow::Result<PathBuf> {
    let uid = geteuid();
    if uid.is_root() {
        return Ok(PathBuf::from("/run/tortie/lab"));
    }
    let own = |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == uid.as_raw());
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && dir.is_absolute()
        && own(&dir)
    {
        return Ok(dir.join("tortie/lab"));
    }
    let dir = PathBuf::from(format!("/run/user/{uid}"));
    if own(&dir) {
        return Ok(dir.join("tortie/lab"));
    }
    // No session manager: a directory of our own, which must be ours alone.
    let dir = PathBuf::from(format!("/tmp/tortie-{uid}"));
    match fs::DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).with_context(|| format!("cannot create {}", dir.display())),
    }
    let meta = fs::symlink_metadata(&dir).with_context(|| format!("cannot inspect {}", dir.display()))?;
    if !meta.is_dir() || meta.uid() != uid.as_raw() || meta.mode() & 0o077 != 0 {
        bail!(
            "{} must be a directory that only you may enter; set XDG_RUNTIME_DIR to another one",
            dir.display()
        );
    }
    Ok(dir.join("lab"))
}

/// Removes all but the lock.
fn remove_contents(dir: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", dir.display())),
    };
    for entry in entries.flatten() {
        if entry.file_name() == "lock" {
            continue;
        }
        let path = entry.path();
        let gone = if entry.file_type().is_ok_and(|t| t.is_dir()) {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match gone {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes the lock and the directory itself.
fn remove_shell(dir: &Path) -> anyhow::Result<()> {
    for gone in [fs::remove_file(dir.join("lock")), fs::remove_dir(dir)] {
        match gone {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {}", dir.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(dir: &tempfile::TempDir) -> LabDir {
        LabDir::at("x", &dir.path().join("x"))
    }

    #[test]
    fn a_held_name_is_alive_and_a_free_one_is_a_leftover() {
        let temp = tempfile::tempdir().unwrap();
        let lab = lab(&temp);
        assert_eq!(lab.state().unwrap(), DirState::Absent);
        let claim = lab.claim().unwrap().unwrap();
        assert_eq!(lab.state().unwrap(), DirState::Alive);
        assert!(lab.claim().unwrap().is_none(), "a name is held once");
        assert!(!lab.clean().unwrap(), "the living are not cleaned away");
        drop(claim);
        assert_eq!(lab.state().unwrap(), DirState::Leftover);
        fs::create_dir(lab.path().join("node1")).unwrap();
        assert!(lab.clean().unwrap());
        assert_eq!(lab.state().unwrap(), DirState::Absent);
        assert!(!lab.path().exists());
    }

    #[test]
    fn a_handed_over_lock_lives_as_long_as_its_other_descriptor() {
        let temp = tempfile::tempdir().unwrap();
        let lab = lab(&temp);
        let claim = lab.claim().unwrap().unwrap();
        let inherited = claim.file().unwrap();
        drop(claim);
        assert_eq!(lab.state().unwrap(), DirState::Alive);
        drop(inherited);
        assert_eq!(lab.state().unwrap(), DirState::Leftover);
    }

    #[test]
    fn names_fit_into_socket_paths() {
        for good in ["lab", "a", "run-123", "0"] {
            check_name(good).unwrap();
        }
        for bad in ["", "-a", "A", "a/b", "..", "a b", &"x".repeat(MAX_NAME + 1)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
