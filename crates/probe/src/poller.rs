//! epoll with a waker.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

pub(crate) const READ: EpollFlags = EpollFlags::EPOLLIN;

/// The token of the waker's own events.
const WAKE: u64 = u64::MAX;
const BATCH: usize = 512;

pub(crate) struct Poller {
    epoll: Epoll,
    waker: EventFd,
}

/// Room for the events of one wait.
pub(crate) struct Events(Vec<EpollEvent>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(vec![EpollEvent::empty(); BATCH])
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let waker = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&waker, EpollEvent::new(READ, WAKE))?;
        Ok(Self { epoll, waker })
    }

    /// Watches a descriptor until it is closed.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: EpollFlags) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(interest, token))?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: u64, interest: EpollFlags) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(interest, token))?)
    }

    /// Makes the present or next wait return at once.
    pub(crate) fn wake(&self) {
        // Only a counter at its maximum refuses, and then the waiter is awake.
        let _ = self.waker.write(1);
    }

    /// Waits, and returns tokens with what happened. An interruption looks like nothing happened.
    pub(crate) fn wait<'e>(
        &self,
        events: &'e mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = (u64, EpollFlags)> + use<'e>> {
        // Rounded up, so that the last fraction of a millisecond does not spin.
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            EpollTimeout::try_from(timeout + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX)
        });
        let count = match self.epoll.wait(&mut events.0, timeout) {
            Err(Errno::EINTR) => 0,
            count => count?,
        };
        let happened = events.0.get(..count).unwrap_or_default();
        if happened.iter().any(|event| event.data() == WAKE) {
            let _ = self.waker.read();
        }
        Ok(happened.iter().map(|event| (event.data(), event.events())).filter(|(token, _)| *token != WAKE))
    }
}
