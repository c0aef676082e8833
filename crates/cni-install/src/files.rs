//! Files that appear whole or not at all: written beside their place, then renamed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What an installation did to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Written,
    UpToDate,
    Kept,
}

/// A file operation that failed, with its path.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}: {source}", path = path.display())]
pub(crate) struct FileError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { doing, path, source }
}

/// Copies an executable, keeping its mode. The old one may be running: it is replaced, not written to.
pub(crate) fn copy(from: &Path, to: &Path, overwrite: bool) -> Result<Outcome, FileError> {
    let source = fs::read(from).map_err(at("cannot read", from))?;
    let mode = fs::metadata(from).map_err(at("cannot read", from))?.permissions().mode() & 0o777;
    if let Ok(there) = fs::metadata(to) {
        if !overwrite {
            return Ok(Outcome::Kept);
        }
        if there.permissions().mode() & 0o777 == mode && same(to, &source) {
            return Ok(Outcome::UpToDate);
        }
    }
    write(to, &source, mode)?;
    Ok(Outcome::Written)
}

/// Writes a whole file with this mode, on disk before it gets its name.
pub(crate) fn write(to: &Path, contents: &[u8], mode: u32) -> Result<(), FileError> {
    let mut beside = to.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let put = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        // The mode of an earlier attempt's leftover, and the umask, do not count.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, to)
    };
    put().map_err(|source| {
        // It may not exist; the failure that matters is being reported.
        let _ = fs::remove_file(&beside);
        FileError { doing: "cannot write", path: to.to_owned(), source }
    })
}

/// Gives a file another name in the same directory.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(at("cannot rename", from))
}

/// True if a file can be made in this directory.
pub(crate) fn writable(dir: &Path) -> bool {
    let trial = dir.join(".tortie-write-test");
    let made = File::create(&trial).is_ok();
    if made {
        // A leftover of zero bytes under a name of our own harms nobody.
        let _ = fs::remove_file(&trial);
    }
    made
}

fn same(path: &Path, contents: &[u8]) -> bool {
    let mut there = Vec::with_capacity(contents.len());
    File::open(path).and_then(|mut f| f.read_to_end(&mut there)).is_ok() && there == contents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_once_and_repairs_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        write(&from, b"program", 0o755).unwrap();
        assert_eq!(copy(&from, &to, true).unwrap(), Outcome::Written);
        assert_eq!(copy(&from, &to, true).unwrap(), Outcome::UpToDate);
        fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(copy(&from, &to, true).unwrap(), Outcome::Written);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
        write(&from, b"newer", 0o755).unwrap();
        assert_eq!(copy(&from, &to, false).unwrap(), Outcome::Kept);
        assert_eq!(fs::read(&to).unwrap(), b"program");
        assert_eq!(copy(&from, &to, true).unwrap(), Outcome::Written);
        assert_eq!(fs::read(&to).unwrap(), b"newer");
        assert!(!dir.path().join("to.tmp").exists());
    }

    #[test]
    fn a_failure_names_the_path_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("taken");
        fs::create_dir_all(to.join("inside")).unwrap();
        let error = write(&to, b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert!(!dir.path().join("taken.tmp").exists());
        assert!(copy(&dir.path().join("absent"), &to, true).unwrap_err().to_string().contains("absent"));
    }
}
