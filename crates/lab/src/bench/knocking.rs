//! Attempts to connect, one after the other without a pause, from which it is seen when a change of policy took effect.
//!
//! Each attempt is a new connection to a port on which nobody listens: the kernel of the pod refuses it at once if it gets
//! there. An attempt is told by when it was made, so an answer that comes late is no later effect.

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket, sockopt,
};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tortie_kernel_net::NetNs;

/// Between two attempts to reach the same address.
pub(super) const INTERVAL: Duration = Duration::from_millis(2);

/// How long an answer is waited for: shorter than the kernel's own second attempt.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the attempts found.
#[derive(Debug, Default)]
struct Found {
    targets: Vec<SocketAddr>,
    /// For each target, when the attempts that were answered were made.
    answered: Vec<Vec<Instant>>,
}

/// A thread that makes attempts until this is dropped.
pub(super) struct Knocking {
    found: Arc<Mutex<Found>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// An attempt that was not answered yet.
struct Attempt {
    socket: OwnedFd,
    target: usize,
    to: SocketAddr,
    made: Instant,
}

impl Knocking {
    /// Begins, from a namespace, with nobody to reach.
    pub(super) fn start(from: &NetNs) -> anyhow::Result<Self> {
        let (found, stop) = (Arc::<Mutex<Found>>::default(), Arc::<AtomicBool>::default());
        let (shared, ending, from) = (found.clone(), stop.clone(), from.clone());
        let thread = std::thread::Builder::new()
            .name("knocking".to_owned())
            .spawn(move || {
                if let Err(error) = from.run(|| knock(&shared, &ending)) {
                    tracing::error!("{error}");
                }
            })
            .context("cannot start a thread")?;
        Ok(Self { found, stop, thread: Some(thread) })
    }

    /// Reaches for these from here on.
    pub(super) fn aim(&self, targets: Vec<SocketAddr>) {
        let mut found = lock(&self.found);
        found.answered = vec![Vec::new(); targets.len()];
        found.targets = targets;
    }

    /// Forgets what was found up to now.
    pub(super) fn forget(&self) {
        lock(&self.found).answered.iter_mut().for_each(Vec::clear);
    }

    /// When the first attempt was made that reached the last of all targets to be reached; `None` while one of them
    /// was not.
    pub(super) fn all_reached(&self) -> Option<Instant> {
        let found = lock(&self.found);
        let firsts: Option<Vec<Instant>> = found.answered.iter().map(|a| a.iter().min().copied()).collect();
        firsts?.into_iter().max()
    }

    /// When the last attempt was made that reached any target.
    pub(super) fn last_reached(&self) -> Option<Instant> {
        lock(&self.found).answered.iter().flatten().max().copied()
    }
}

impl Drop for Knocking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(found: &Mutex<Found>) -> MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

fn knock(found: &Mutex<Found>, stop: &AtomicBool) {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now >= next {
            next = now + INTERVAL;
            let targets = lock(found).targets.clone();
            attempts.extend(targets.iter().enumerate().filter_map(|(n, to)| attempt(n, *to)));
        }
        let left = next.saturating_duration_since(Instant::now()).as_millis() as u16;
        answers(&mut attempts, PollTimeout::from(left.min(2)), found);
        attempts.retain(|a| a.made.elapsed() < PATIENCE);
    }
}

/// An attempt under way. One that cannot even be begun is one without an answer.
fn attempt(target: usize, to: SocketAddr) -> Option<Attempt> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None).ok()?;
    let made = Instant::now();
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Err(Errno::EINPROGRESS) => Some(Attempt { socket, target, to, made }),
        _ => None,
    }
}

/// Takes the attempts out that came to an end.
fn answers(attempts: &mut Vec<Attempt>, limit: PollTimeout, found: &Mutex<Found>) {
    let mut polled: Vec<PollFd> =
        attempts.iter().map(|a| PollFd::new(a.socket.as_fd(), PollFlags::POLLOUT)).collect();
    if poll(&mut polled, limit).is_err() {
        return;
    }
    let ended: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(false)).collect();
    drop(polled);
    let mut ended = ended.into_iter();
    let mut found = lock(found);
    attempts.retain(|attempt| {
        if !ended.next().unwrap_or(false) {
            return true;
        }
        let refused = getsockopt(&attempt.socket, sockopt::SocketError).unwrap_or(0);
        let there = refused == 0 || Errno::from_raw(refused) == Errno::ECONNREFUSED;
        // Targets may have changed since.
        if there
            && found.targets.get(attempt.target) == Some(&attempt.to)
            && let Some(answered) = found.answered.get_mut(attempt.target)
        {
            answered.push(attempt.made);
        }
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_is_seen_and_what_does_not_is_not() {
        // Making namespaces takes root; the lab itself runs inside its sandbox.
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let namespace = NetNs::create_unnamed().unwrap();
        let knocking = Knocking::start(&namespace).unwrap();
        let begun = Instant::now();
        let targets: Vec<SocketAddr> = ["127.0.0.1:9", "[::1]:9"].map(|t| t.parse().unwrap()).to_vec();
        knocking.aim(targets.clone());
        assert_eq!((knocking.all_reached(), knocking.last_reached()), (None, None));
        let netlink = tortie_kernel_net::Netlink::open_in(&namespace).unwrap();
        netlink.set_link("lo", &tortie_kernel_net::LinkChange::up()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let reached = loop {
            if let Some(reached) = knocking.all_reached() {
                break reached;
            }
            assert!(Instant::now() < deadline, "a namespace does not answer itself");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(reached > begun);
        // Nobody has this address, and there is no way to it.
        knocking.aim(vec![targets[0], "192.0.2.1:9".parse().unwrap()]);
        while knocking.last_reached().is_none() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(knocking.all_reached(), None);
    }
}
