//! Opening the file: creation that cannot be half done, refusal of what is not ours, and the choice whether to sync.
//!
//! It must never start an empty store where data was before: an empty or shortened file is an error.

use super::{Durability, OpenError, tables};
use redb::backends::FileBackend;
use redb::{BackendError, Database, DatabaseError, StorageBackend};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// First bytes of every file of redb.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

/// The database at `path`, made if there is no file.
pub(super) fn open(path: &Path, durability: Durability, cache_bytes: usize) -> Result<Database, OpenError> {
    match header(path) {
        Ok(header) => check_header(path, &header)?,
        Err(error) if error.kind() == ErrorKind::NotFound => match create(path, 1) {
            // Another process was quicker; whose store it is will be seen when it is opened.
            Err(OpenError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        },
        Err(source) => return Err(OpenError::Io { doing: "read", path: path.into(), source }),
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|source| OpenError::Io {
        doing: "open",
        path: path.into(),
        source,
    })?;
    let db = open_database(path, file, durability, cache_bytes)?;
    tables::check_format(&db, path)?;
    Ok(db)
}

/// Makes an empty store at `path`, whose counter stands at `revision`; fails if something is there.
fn create(path: &Path, revision: u64) -> Result<(), OpenError> {
    create_with(path, |db| tables::initialise(db, revision))
}

/// Makes a store at `path`, filled by `fill`; fails if something is there.
///
/// Everything is made under another name first: whoever is killed half-way leaves no file that looks like a store.
pub(crate) fn create_with(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), redb::Error>,
) -> Result<(), OpenError> {
    let io_error = |doing| move |source| OpenError::Io { doing, path: path.to_path_buf(), source };
    let temporary = temporary_name(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(io_error("create"))?;
    let filled = open_database(&temporary, file, Durability::Disk, 1 << 20).and_then(|db| {
        fill(&db).map_err(|source| OpenError::Database { path: path.into(), source: Box::new(source) })
    });
    // A hard link, unlike a rename, never replaces a file that another process put there meanwhile.
    let linked = filled.and_then(|()| std::fs::hard_link(&temporary, path).map_err(io_error("create")));
    std::fs::remove_file(&temporary).map_err(io_error("clean up"))?;
    linked?;
    sync_directory(path).map_err(io_error("sync the directory of"))
}

fn temporary_name(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{}.{count}.new", std::process::id()));
    name.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut header)?;
    Ok(header)
}

fn check_header(path: &Path, header: &[u8]) -> Result<(), OpenError> {
    if header.is_empty() {
        return Err(OpenError::Empty { path: path.into() });
    }
    if header != MAGIC {
        return Err(OpenError::Foreign { path: path.into() });
    }
    Ok(())
}

/// Opens and verifies every checksum, so that damage is found here and not by a later reader.
fn open_database(
    path: &Path,
    file: File,
    durability: Durability,
    cache_bytes: usize,
) -> Result<Database, OpenError> {
    let backend = SyncChoice { file: FileBackend::new(file).map_err(|e| refused(path, e))?, durability };
    let mut builder = redb::Builder::new();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
    // redb asserts some properties of its file instead of returning an error; a damaged file must not end the process.
    match catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend))) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(refused(path, error)),
        Err(_) => Err(OpenError::Damaged { path: path.into(), reason: "its structure is broken".to_owned() }),
    }
}

fn refused(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_path_buf();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path },
        DatabaseError::UpgradeRequired(version) => {
            OpenError::Format { path, found: format!("redb file format {version}") }
        }
        DatabaseError::Storage(redb::StorageError::Corrupted(reason)) => OpenError::Damaged { path, reason },
        DatabaseError::Storage(redb::StorageError::Io(source))
            if matches!(source.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) =>
        {
            OpenError::Damaged { path, reason: source.to_string() }
        }
        DatabaseError::Storage(redb::StorageError::Io(source)) => {
            OpenError::Io { doing: "open", path, source }
        }
        other => OpenError::Database { path, source: Box::new(other.into()) },
    }
}

/// A file whose syncs may be left out.
///
/// Without syncs an acknowledged write is in the page cache: the death of the process, however sudden, cannot lose it;
/// the death of the machine can.
#[derive(Debug)]
struct SyncChoice {
    file: FileBackend,
    durability: Durability,
}

impl StorageBackend for SyncChoice {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.durability {
            Durability::Disk => self.file.sync_data(),
            Durability::Process => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
