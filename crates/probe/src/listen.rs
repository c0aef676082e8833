//! The answering side: every listener says who it is, then echoes.
//!
//! TCP (and SCTP): the identity line, then everything that arrives. UDP: the identity line followed by the datagram.
//! ICMP echo requests are the kernel's business.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::epoll::EpollFlags;
use slab::Slab;
use tortie_kernel_net::{NetNsError, NetNsId};

use crate::poller::{Events, Poller, READ};
use crate::{Host, Proto, packet, socket};

/// How many datagrams or connections one listener may handle before others have their turn.
const TURN: usize = 64;

/// Listeners of many hosts, served by one thread. Dropping closes them all.
pub struct Listeners {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    poller: Poller,
    entries: Mutex<Slab<Entry>>,
    stop: AtomicBool,
}

struct Entry {
    /// Whose it is; the namespace as well, because a host may be made anew under its old name.
    host: Host,
    port: u16,
    proto: Proto,
    kind: Kind,
}

enum Kind {
    Stream(TcpListener),
    Datagram(UdpSocket),
    Connection { stream: TcpStream, unsent: Vec<u8>, waits_to_write: bool },
}

/// A listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The serving thread could not be started.
    #[error("cannot start serving listeners")]
    Start(#[source] io::Error),
    /// The host's namespace could not be entered.
    #[error("cannot listen on {host}")]
    Enter {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: NetNsError,
    },
    /// The kernel knows no such protocol.
    #[error("cannot listen on {host} port {port}: this kernel has no {proto}")]
    Unsupported {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// The protocol.
        proto: Proto,
    },
    /// The socket could not be made or bound.
    #[error("cannot listen on {host}, {address} {proto}")]
    Bind {
        /// The host.
        host: String,
        /// Address and port.
        address: SocketAddr,
        /// The protocol.
        proto: Proto,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket could not be watched.
    #[error("cannot watch a listener of {host}")]
    Watch {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Listeners {
    /// No listeners yet. Raises the limit of open files.
    pub fn new() -> Result<Self, ListenError> {
        socket::raise_file_limit();
        let shared = Arc::new(Shared {
            poller: Poller::new().map_err(ListenError::Start)?,
            entries: Mutex::new(Slab::new()),
            stop: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("probe-listeners".into())
            .spawn(move || serving.serve())
            .map_err(ListenError::Start)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Listens on a port of a host, on all its addresses of both families. [`Proto::Icmp`] needs no listener.
    pub fn add(&self, host: &Host, port: u16, proto: Proto) -> Result<(), ListenError> {
        self.add_all(&[(host.clone(), port, proto)])
    }

    /// Listens on many ports; enters each host's namespace once. In case of an error none of them listens.
    pub fn add_all(&self, wanted: &[(Host, u16, Proto)]) -> Result<(), ListenError> {
        let mut by_namespace: HashMap<NetNsId, Vec<&(Host, u16, Proto)>> = HashMap::new();
        for listener in wanted.iter().filter(|(_, _, proto)| *proto != Proto::Icmp) {
            by_namespace.entry(listener.0.namespace().id()).or_default().push(listener);
        }
        let mut opened = Vec::new();
        for group in by_namespace.into_values() {
            let Some((host, _, _)) = group.first() else { continue };
            let entries = host.namespace().run(|| -> Result<Vec<_>, ListenError> {
                let mut entries = Vec::new();
                for (host, port, proto) in &group {
                    for address in host.addresses() {
                        entries.push(open(host, *address, *port, *proto)?);
                    }
                }
                Ok(entries)
            });
            opened
                .extend(entries.map_err(|source| ListenError::Enter { host: host.name().into(), source })??);
        }
        let mut keys = Vec::with_capacity(opened.len());
        let mut table = self.shared.entries();
        for entry in opened {
            let host = entry.host.name().to_owned();
            match self.shared.insert(&mut table, entry) {
                Ok(key) => keys.push(key),
                Err(source) => {
                    for key in keys {
                        table.try_remove(key);
                    }
                    return Err(ListenError::Watch { host, source });
                }
            }
        }
        Ok(())
    }

    /// Closes all listeners of a host, and the connections that they accepted.
    pub fn remove(&self, host: &Host) {
        self.remove_if(|entry| {
            entry.host.namespace() == host.namespace() && entry.host.name() == host.name()
        });
    }

    /// Closes the listeners on one port of a host, and the connections that they accepted.
    pub fn remove_port(&self, host: &Host, port: u16, proto: Proto) {
        self.remove_if(|entry| {
            entry.host.namespace() == host.namespace()
                && entry.host.name() == host.name()
                && (entry.port, entry.proto) == (port, proto)
        });
    }

    fn remove_if(&self, gone: impl Fn(&Entry) -> bool) {
        self.shared.entries().retain(|_, entry| !gone(entry));
    }

    /// How many sockets listen.
    pub fn len(&self) -> usize {
        self.shared
            .entries()
            .iter()
            .filter(|(_, entry)| !matches!(entry.kind, Kind::Connection { .. }))
            .count()
    }

    /// Whether nothing listens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.poller.wake();
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported on its own.
            let _ = thread.join();
        }
    }
}

/// In the host's namespace.
fn open(host: &Host, address: IpAddr, port: u16, proto: Proto) -> Result<Entry, ListenError> {
    let socket = socket::open_server(address, port, proto).map_err(|source| {
        if source.raw_os_error() == Some(nix::libc::EPROTONOSUPPORT) {
            return ListenError::Unsupported { host: host.name().into(), port, proto };
        }
        let address = SocketAddr::new(address, port);
        ListenError::Bind { host: host.name().into(), address, proto, source }
    })?;
    let kind = match proto {
        Proto::Udp | Proto::Icmp => Kind::Datagram(socket.into()),
        Proto::Tcp | Proto::Sctp => Kind::Stream(socket.into()),
    };
    Ok(Entry { host: host.clone(), port, proto, kind })
}

impl Shared {
    fn entries(&self) -> MutexGuard<'_, Slab<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, table: &mut Slab<Entry>, entry: Entry) -> io::Result<usize> {
        let slot = table.vacant_entry();
        let key = slot.key();
        self.poller.add(&entry, key as u64, READ)?;
        slot.insert(entry);
        Ok(key)
    }

    fn serve(&self) {
        let mut events = Events::new();
        let mut buffer = vec![0; 64 * 1024];
        while !self.stop.load(Ordering::Acquire) {
            let happened = match self.poller.wait(&mut events, None) {
                Ok(happened) => happened,
                Err(error) => {
                    tracing::error!(%error, "listeners stop: cannot wait for packets");
                    return;
                }
            };
            let mut table = self.entries();
            let mut starved = false;
            for (token, _) in happened {
                starved |= self.serve_one(&mut table, token as usize, &mut buffer);
            }
            drop(table);
            if starved {
                // A connection that cannot be accepted for want of files stays ready: give others time to finish.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// True if the process has too many files open.
    fn serve_one(&self, table: &mut Slab<Entry>, key: usize, buffer: &mut [u8]) -> bool {
        // An event of an entry that is gone; a successor in its slot finds nothing to do.
        let Some(entry) = table.get_mut(key) else { return false };
        match &mut entry.kind {
            Kind::Datagram(socket) => {
                answer_datagrams(socket, packet::identity(entry.host.name(), entry.port).as_bytes(), buffer);
                false
            }
            Kind::Connection { .. } => {
                if !echo(&self.poller, key, entry, buffer) {
                    table.remove(key);
                }
                false
            }
            Kind::Stream(listener) => {
                let (accepted, starved) = accept(listener);
                let (host, port, proto) = (entry.host.clone(), entry.port, entry.proto);
                let identity = packet::identity(host.name(), port);
                for mut stream in accepted {
                    // The first bytes of a connection always fit into its buffer.
                    if stream.write_all(identity.as_bytes()).is_ok() {
                        let kind = Kind::Connection { stream, unsent: Vec::new(), waits_to_write: false };
                        let entry = Entry { host: host.clone(), port, proto, kind };
                        if let Err(error) = self.insert(table, entry) {
                            tracing::warn!(%error, %host, port, "cannot serve a connection");
                        }
                    }
                }
                starved
            }
        }
    }
}

fn accept(listener: &TcpListener) -> (Vec<TcpStream>, bool) {
    let mut accepted = Vec::new();
    while accepted.len() < TURN {
        match listener.accept() {
            Ok((stream, _)) => {
                let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
                // SCTP knows no TCP_NODELAY.
                if ready.is_ok() || stream.set_nonblocking(true).is_ok() {
                    accepted.push(stream);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                let starved = matches!(e.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE));
                return (accepted, starved);
            }
        }
    }
    (accepted, false)
}

fn answer_datagrams(socket: &UdpSocket, identity: &[u8], buffer: &mut [u8]) {
    let start = identity.len();
    buffer[..start].copy_from_slice(identity);
    for _ in 0..TURN {
        match socket.recv_from(&mut buffer[start..]) {
            // An answer that cannot be sent is a lost packet: whoever asks, asks again.
            Ok((length, from)) => drop(socket.send_to(&buffer[..start + length], from)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Sends back what a connection sent. False if it is over.
fn echo(poller: &Poller, key: usize, entry: &mut Entry, buffer: &mut [u8]) -> bool {
    let Kind::Connection { stream, unsent, waits_to_write } = &mut entry.kind else { return true };
    while !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(written) => drop(unsent.drain(..written)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    for _ in 0..TURN {
        match stream.read(buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let sent = match stream.write(&buffer[..length]) {
                    Ok(sent) => sent,
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
                    Err(_) => return false,
                };
                if sent < length {
                    unsent.extend_from_slice(&buffer[sent..length]);
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    // Reading pauses while the other side does not take its echo.
    let waits = !unsent.is_empty();
    if waits != *waits_to_write {
        *waits_to_write = waits;
        let interest = if waits { EpollFlags::EPOLLOUT } else { READ };
        return poller.change(&*stream, key as u64, interest).is_ok();
    }
    true
}

impl AsFd for Entry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Stream(socket) => socket.as_fd(),
            Kind::Datagram(socket) => socket.as_fd(),
            Kind::Connection { stream, .. } => stream.as_fd(),
        }
    }
}
