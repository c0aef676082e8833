//! The tables of the older `iptables` (`iptables-legacy`): what chains they have, and taking chains of one owner away.
//!
//! Such a table is one block of bytes that is read and replaced as a whole. Between the two nobody else may write:
//! everybody who does holds a lock on `/run/xtables.lock`, and so do we. Source of the formats:
//! `linux/netfilter_ipv4/ip_tables.h`, `linux/netfilter_ipv6/ip6_tables.h`.

mod blob;

use blob::{Blob, Layout};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use tortie_net::Family;

/// Where `iptables` takes its lock.
pub const LOCK: &str = "/run/xtables.lock";

const SO_SET_REPLACE: libc::c_int = 64;
const SO_GET_INFO: libc::c_int = 64;
const SO_GET_ENTRIES: libc::c_int = 65;
const NAME: usize = 32;
const INFO: usize = 84;
/// Header of what is read: name and size, padded for the entries.
const ENTRIES: usize = 40;
/// Header of what is written.
const REPLACE: usize = 96;
/// Room for one packet counter and one byte counter.
const COUNTER: usize = 16;

/// A table of the older `iptables` cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// The kernel gives no socket.
    #[error("cannot open a socket to talk about iptables")]
    Socket(#[source] Errno),
    /// The kernel does not show the table.
    #[error("cannot read the iptables-legacy table {table}")]
    Read {
        /// Its name.
        table: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The kernel does not take the table.
    #[error("cannot write the iptables-legacy table {table}")]
    Write {
        /// Its name.
        table: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The bytes are not what the kernel's headers say.
    #[error("the iptables-legacy table {table} has a form that is not understood")]
    Malformed {
        /// Its name.
        table: String,
    },
    /// Somebody else is writing.
    #[error("another program holds {LOCK}")]
    Locked,
    /// The lock cannot be taken.
    #[error("cannot lock {LOCK}: is the host's /run/xtables.lock mounted?")]
    Lock(#[source] std::io::Error),
}

/// A chain that is somebody's, and whether packets that are forwarded get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyTable {
    /// The family of its packets.
    pub family: Family,
    /// `filter`, `nat`, `mangle`, `raw`.
    pub name: String,
    /// Names of the chains that were asked for.
    pub chains: Vec<String>,
    /// What a hook does with packets that reach its end is to drop them: only that of forwarded packets is looked at.
    pub forward_drops: bool,
}

/// The tables that exist, with those of their chains that `is_theirs` recognises. A table that does not exist is not
/// made by looking at it.
pub fn tables(is_theirs: &dyn Fn(&str) -> bool) -> Result<Vec<LegacyTable>, LegacyError> {
    let mut found = Vec::new();
    for family in Family::ALL {
        for name in names(family) {
            let blob = read(family, &name)?.1;
            let chains = blob.chains().map(str::to_owned).filter(|c| is_theirs(c)).collect();
            found.push(LegacyTable { family, forward_drops: blob.forward_drops(), chains, name });
        }
    }
    Ok(found)
}

/// Takes the chains that `is_theirs` recognises out of a table, with all rules that jump to them and those whose comment
/// `is_marked` recognises. Answers how many rules went. Packet counters of the others start again.
pub fn remove(
    family: Family,
    table: &str,
    is_theirs: &dyn Fn(&str) -> bool,
    is_marked: &dyn Fn(&str) -> bool,
) -> Result<usize, LegacyError> {
    let _lock = lock(Path::new(LOCK))?;
    let (socket, blob) = read(family, table)?;
    let Some((less, removed)) = blob.without(is_theirs, is_marked) else { return Ok(0) };
    write(&socket, family, table, &blob, &less)?;
    Ok(removed)
}

/// Names of the tables that exist.
fn names(family: Family) -> Vec<String> {
    let file = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    // A kernel without the older iptables has no such file.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn lock(path: &Path) -> Result<nix::fcntl::Flock<std::fs::File>, LegacyError> {
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(LegacyError::Lock)?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        match errno {
            Errno::EWOULDBLOCK => LegacyError::Locked,
            errno => LegacyError::Lock(errno.into()),
        }
    })
}

fn read(family: Family, table: &str) -> Result<(OwnedFd, Blob), LegacyError> {
    let failed = |source| LegacyError::Read { table: table.to_owned(), source };
    let malformed = || LegacyError::Malformed { table: table.to_owned() };
    let socket = open(family).map_err(LegacyError::Socket)?;
    let mut info = vec![0; INFO];
    put_name(&mut info, table);
    get(&socket, family, SO_GET_INFO, &mut info).map_err(failed)?;
    let layout = Layout::read(&info).ok_or_else(malformed)?;
    let mut entries = vec![0; ENTRIES + layout.size as usize];
    put_name(&mut entries, table);
    if let Some(place) = entries.get_mut(NAME..NAME + 4) {
        place.copy_from_slice(&layout.size.to_ne_bytes());
    }
    get(&socket, family, SO_GET_ENTRIES, &mut entries).map_err(failed)?;
    let bytes = entries.split_off(ENTRIES);
    let blob = Blob::parse(family, layout, &bytes).ok_or_else(malformed)?;
    Ok((socket, blob))
}

/// Any socket of the family will do.
fn open(family: Family) -> Result<OwnedFd, Errno> {
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

fn put_name(buffer: &mut [u8], name: &str) {
    let bytes = name.as_bytes().iter().take(NAME - 1);
    for (place, byte) in buffer.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

fn level(family: Family) -> libc::c_int {
    match family {
        Family::V4 => libc::IPPROTO_IP,
        Family::V6 => libc::IPPROTO_IPV6,
    }
}

fn get(socket: &OwnedFd, family: Family, option: libc::c_int, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(|_| Errno::EMSGSIZE)?;
    #[expect(unsafe_code, reason = "an option whose length depends on its content")]
    // SAFETY: the kernel writes at most `length` bytes into the buffer, which has that many.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level(family),
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(code).map(drop)
}

fn write(socket: &OwnedFd, family: Family, table: &str, old: &Blob, new: &Blob) -> Result<(), LegacyError> {
    // The kernel hands the counters of the old rules back, and refuses if there are not as many as it thinks.
    let mut counters = vec![0_u8; old.len() * COUNTER];
    let mut message = vec![0_u8; REPLACE];
    put_name(&mut message, table);
    new.put_header(&mut message, old.len());
    let address = counters.as_mut_ptr() as usize;
    if let Some(place) = message.get_mut(88..96) {
        place.copy_from_slice(&address.to_ne_bytes());
    }
    message.extend(new.bytes());
    let length = libc::socklen_t::try_from(message.len()).unwrap_or(libc::socklen_t::MAX);
    #[expect(unsafe_code, reason = "an option that carries a pointer to memory that the kernel fills")]
    // SAFETY: the kernel reads `length` bytes of the message and writes one counter for each of the old rules, for
    // which the vector has room; both live until the call returns.
    let code = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level(family), SO_SET_REPLACE, message.as_ptr().cast(), length)
    };
    drop(counters);
    Errno::result(code).map(drop).map_err(|source| LegacyError::Write { table: table.to_owned(), source })
}
