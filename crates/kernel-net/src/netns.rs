//! Network namespaces: make, open, enter, remove.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::fstat;

use crate::pool;

/// The namespace of the calling thread (`/proc/self` would be that of the main thread).
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by an open descriptor. Clones share the descriptor.
#[derive(Clone)]
pub struct NetNs {
    fd: Arc<OwnedFd>,
    id: NetNsId,
}

/// What identifies a namespace for as long as it exists: device and inode of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetNsId {
    device: u64,
    inode: u64,
}

/// An operation on a namespace failed.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// The namespace of the calling thread could not be opened.
    #[error("cannot open the network namespace of this thread, is /proc mounted")]
    Current(#[source] io::Error),
    /// There is no namespace at a path.
    #[error("cannot open the network namespace {}", path.display())]
    Open {
        /// Where it was expected.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A descriptor cannot be examined.
    #[error("cannot identify the network namespace behind a file descriptor")]
    Identify(#[source] io::Error),
    /// No new namespace could be made.
    #[error("cannot create a network namespace, it takes CAP_SYS_ADMIN")]
    Create(#[source] io::Error),
    /// A namespace could not be bound to a path.
    #[error("cannot bind the network namespace to {}", path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A namespace could not be taken off its path.
    #[error("cannot remove the network namespace {}", path.display())]
    Remove {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The namespace could not be entered.
    #[error("cannot enter the network namespace {id}, it takes CAP_SYS_ADMIN")]
    Enter {
        /// Which one.
        id: NetNsId,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NetNs {
    /// The namespace in which the calling thread is.
    pub fn current() -> Result<Self, NetNsError> {
        let file = File::open(OF_THIS_THREAD).map_err(NetNsError::Current)?;
        Self::from_fd(file.into())
    }

    /// The namespace bound at a path, such as `/var/run/netns/x` or `/proc/<pid>/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetNsError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| NetNsError::Open { path: path.into(), source })?;
        Self::from_fd(file.into())
    }

    /// Takes over a descriptor of a namespace.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NetNsError> {
        let stat = fstat(&fd).map_err(|e| NetNsError::Identify(e.into()))?;
        Ok(Self { fd: Arc::new(fd), id: NetNsId { device: stat.st_dev, inode: stat.st_ino } })
    }

    /// A new namespace that lives as long as somebody holds it; the caller stays where it is.
    pub fn create_unnamed() -> Result<Self, NetNsError> {
        let file = pool::run_in(None, || -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open(OF_THIS_THREAD)
        });
        let file = file.and_then(|inner| inner).map_err(NetNsError::Create)?;
        Self::from_fd(file.into())
    }

    /// A new namespace bound at a path, so that it outlives this process; the caller stays where it is.
    ///
    /// Directories on the way are made. Whatever file is at the path must not be in use as a namespace.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, NetNsError> {
        let new = Self::create_unnamed()?;
        new.bind(path)?;
        Ok(new)
    }

    /// Binds the namespace to one more path, under the same conditions as [`NetNs::create`]; [`NetNs::remove`] takes it off.
    pub fn bind(&self, path: impl AsRef<Path>) -> Result<(), NetNsError> {
        let path = path.as_ref();
        self.mount(path).map_err(|source| NetNsError::Bind { path: path.into(), source })
    }

    fn mount(&self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        File::create_new(path)?;
        // Through /proc, because mount() takes a path; the descriptor is one of this process, not of this thread alone.
        let source = format!("/proc/self/fd/{}", self.as_raw_fd());
        let none = None::<&str>;
        mount(Some(source.as_str()), path, none, MsFlags::MS_BIND, none).map_err(|errno| {
            let _ = fs::remove_file(path);
            io::Error::from(errno)
        })
    }

    /// Takes the namespace at a path off it. A path that does not exist is no error.
    ///
    /// The namespace itself disappears when nobody is in it and nobody holds it any more.
    pub fn remove(path: impl AsRef<Path>) -> Result<(), NetNsError> {
        let path = path.as_ref();
        let fail = |source: io::Error| NetNsError::Remove { path: path.into(), source };
        match umount2(path, MntFlags::MNT_DETACH) {
            // Not a mount point: a left-over of an interrupted creation.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(fail(errno.into())),
        }
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(fail(e)),
        }
    }

    /// Runs a closure inside this namespace on a worker thread and waits for it. The caller's thread stays where it is.
    ///
    /// Sockets opened by the closure belong to this namespace for ever and may be returned and used anywhere. A panic of the
    /// closure is passed on to the caller. Costs two thread switches and two `setns`: some ten microseconds.
    pub fn run<R: Send>(&self, job: impl FnOnce() -> R + Send) -> Result<R, NetNsError> {
        pool::run_in(Some(self.fd.as_fd()), job).map_err(|source| NetNsError::Enter { id: self.id, source })
    }

    /// The identity of the namespace.
    pub fn id(&self) -> NetNsId {
        self.id
    }
}

impl PartialEq for NetNs {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for NetNs {}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for NetNs {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl fmt::Debug for NetNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetNs({})", self.id)
    }
}

impl fmt::Display for NetNsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}
