//! Sysctls under `/proc/sys`.
//!
//! `/proc/sys/net` shows the namespace of the calling thread: call these inside [`crate::NetNs::run`].
//! That holds for every place where it is mounted, so that a container whose own `/proc/sys` is read-only can be given another.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where it is usually mounted.
pub const USUAL_ROOT: &str = "/proc/sys";

/// Where it is mounted for this process, if elsewhere.
static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Makes sysctls of the whole process lie below this directory. Only the first call counts.
pub fn set_root(root: &Path) {
    ROOT.get_or_init(|| root.to_owned());
}

/// A sysctl could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Reading failed.
    #[error("cannot read the sysctl {name}")]
    Get {
        /// The sysctl, such as `net/ipv4/ip_forward`.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot set the sysctl {name} to {value}")]
    Set {
        /// The sysctl, such as `net/ipv4/ip_forward`.
        name: String,
        /// The wanted value.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SysctlError {
    /// Whether there is no such sysctl: no such interface, or a kernel without the feature.
    pub fn is_missing(&self) -> bool {
        let (Self::Get { source, .. } | Self::Set { source, .. }) = self;
        source.kind() == io::ErrorKind::NotFound
    }
}

fn path(name: &str) -> PathBuf {
    ROOT.get().map_or(Path::new(USUAL_ROOT), PathBuf::as_path).join(name)
}

/// Sets a sysctl, named by its path below `/proc/sys`: `net/ipv4/conf/eth0/proxy_arp`.
pub fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    let write =
        || -> io::Result<()> { OpenOptions::new().write(true).open(path(name))?.write_all(value.as_bytes()) };
    write().map_err(|source| SysctlError::Set { name: name.into(), value: value.into(), source })
}

/// The value of a sysctl, without the line end.
pub fn get(name: &str) -> Result<String, SysctlError> {
    match fs::read_to_string(path(name)) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(SysctlError::Get { name: name.into(), source }),
    }
}
