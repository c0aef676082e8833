//! Where built things lie: a directory for each set of sources, compiler and flags, outside the tree.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The directory of everything that this project caches for the calling user.
pub(crate) fn root() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if let Some(own) = absolute("TORTIE_CACHE") {
        return Ok(own);
    }
    if let Some(base) = absolute("XDG_CACHE_HOME") {
        return Ok(base.join("tortie"));
    }
    let home = absolute("HOME")
        .context("neither TORTIE_CACHE, XDG_CACHE_HOME nor HOME is set to an absolute path")?;
    Ok(home.join(".cache/tortie"))
}

/// A directory of the cache that one process at a time fills.
pub(crate) struct Shelf {
    dir: PathBuf,
    /// Freed with the process, however it ends.
    _lock: File,
}

impl Shelf {
    /// The directory `kind`/`key`, made and locked; waits for another process that fills it.
    pub(crate) fn open(kind: &str, key: &str) -> Result<Self> {
        let dir = root()?.join(kind).join(key);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(".lock");
        let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        if lock.try_lock().is_err() {
            crate::say(&format!("waiting for another process that fills {}", dir.display()));
            lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.dir.join(name).is_file()
    }

    /// Puts a file onto the shelf: `make` writes it elsewhere, then it appears under its name, whole or not at all.
    pub(crate) fn put(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let unfinished = self.dir.join(format!(".{name}.new"));
        make(&unfinished)?;
        let finished = self.dir.join(name);
        fs::rename(&unfinished, &finished).with_context(|| format!("cannot write {}", finished.display()))
    }

    /// Makes `kind`/current lead here: what other programs look for.
    pub(crate) fn publish(&self) -> Result<()> {
        let key = self.dir.file_name().context("a shelf has a key")?;
        let current = self.dir.with_file_name("current");
        let fresh = self.dir.with_file_name(format!(".current.{}", std::process::id()));
        std::os::unix::fs::symlink(key, &fresh)
            .with_context(|| format!("cannot create {}", fresh.display()))?;
        fs::rename(&fresh, &current).with_context(|| format!("cannot write {}", current.display()))
    }
}
