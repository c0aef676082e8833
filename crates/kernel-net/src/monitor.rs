//! Changes to the network configuration, whoever made them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::channel::{Channel, Messages, Received};
use crate::{Address, Link, Neighbour, Route, Rule, TransportError};

/// What a [`Monitor`] listens to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Interfaces.
    pub links: bool,
    /// Addresses, both families.
    pub addresses: bool,
    /// Routes, both families.
    pub routes: bool,
    /// Neighbour entries.
    pub neighbours: bool,
    /// Policy rules, both families.
    pub rules: bool,
}

impl Groups {
    /// Everything.
    pub const ALL: Self = Self { links: true, addresses: true, routes: true, neighbours: true, rules: true };

    /// The kernel's `RTNLGRP_*` numbers.
    fn numbers(self) -> Vec<u32> {
        let table: [(bool, &[u32]); 5] = [
            (self.links, &[1]),
            (self.addresses, &[5, 9]),
            (self.routes, &[7, 11]),
            (self.neighbours, &[3]),
            (self.rules, &[8, 19]),
        ];
        table.iter().filter(|(wanted, _)| *wanted).flat_map(|(_, numbers)| numbers.iter().copied()).collect()
    }
}

/// Whether something appeared (or changed), or disappeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is there, new or changed.
    Set,
    /// It is gone.
    Gone,
}

/// A change of the network configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of an interface.
    Link(Change, Link),
    /// Of an address.
    Address(Change, Address),
    /// Of a route.
    Route(Change, Route),
    /// Of a neighbour entry.
    Neighbour(Change, Neighbour),
    /// Of a policy rule.
    Rule(Change, Rule),
    /// Events were lost: only a new listing tells the state.
    Overrun,
}

/// Listening failed.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// No socket, or no membership in the groups.
    #[error("cannot listen to changes of the network configuration")]
    Open(#[source] io::Error),
    /// Waiting failed.
    #[error("cannot wait for changes of the network configuration")]
    Wait(#[source] io::Error),
    /// Receiving failed.
    #[error(transparent)]
    Receive(TransportError),
}

/// A subscription to the changes in one namespace.
///
/// Read with [`Monitor::next`], or wait for its descriptor to become readable and read until nothing is left.
pub struct Monitor {
    channel: Channel,
    pending: VecDeque<Event>,
}

impl Monitor {
    /// Subscribes in the namespace of the calling thread; may be moved to any other thread afterwards.
    pub fn open(groups: Groups) -> Result<Self, MonitorError> {
        let channel = Channel::open(&groups.numbers()).map_err(MonitorError::Open)?;
        channel.set_non_blocking().map_err(MonitorError::Open)?;
        Ok(Self { channel, pending: VecDeque::new() })
    }

    /// The next event that is there already.
    pub fn try_next(&mut self) -> Result<Option<Event>, MonitorError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            match self.channel.receive() {
                Ok(datagram) => self.pending.extend(Messages(datagram).filter_map(decode)),
                Err(TransportError::Overrun) => return Ok(Some(Event::Overrun)),
                Err(TransportError::Receive(e)) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(MonitorError::Receive(e)),
            }
        }
    }

    /// Waits for the next event; `None` if there is none within the time (without one, waits for ever).
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, MonitorError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            let left = match deadline {
                None => PollTimeout::NONE,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    // Rounded up, so that the last fraction of a millisecond does not spin.
                    PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
                }
            };
            match poll(&mut [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)], left) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(MonitorError::Wait(errno.into())),
            }
        }
    }
}

fn decode(message: Received<'_>) -> Option<Event> {
    // RTM_* come in fours: new, delete, get, set.
    let change = match message.kind & 3 {
        0 => Change::Set,
        1 => Change::Gone,
        _ => return None,
    };
    let payload = message.payload;
    match message.kind & !3 {
        16 => Link::decode(payload).map(|link| Event::Link(change, link)),
        20 => Address::decode(payload).map(|address| Event::Address(change, address)),
        24 => Route::decode(payload).map(|route| Event::Route(change, route)),
        28 => Neighbour::decode(payload).map(|neighbour| Event::Neighbour(change, neighbour)),
        32 => Rule::decode(payload).map(|rule| Event::Rule(change, rule)),
        _ => None,
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
