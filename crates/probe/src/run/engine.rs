//! One try of each of many probes, on a few threads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use slab::Slab;
use socket2::Socket;
use tortie_net::Family;

use super::flight::Flight;
use super::{Options, RunError};
use crate::packet::Nonce;
use crate::poller::{Events, Poller, READ};
use crate::{Probe, Verdict, socket};

/// How many tries are started before answers are looked at again: a thread that only starts answers nobody.
const START_AT_ONCE: usize = 64;
/// The longest datagram of interest.
const BUFFER: usize = 2048;

pub(super) struct Try<'p> {
    pub(super) probe: &'p Probe,
    pub(super) timeout: Duration,
}

type Found = (Verdict, Duration);

/// A number that no other run in any process of this machine uses.
pub(crate) fn run_number() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) << 32 | COUNTER.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn run(tries: &[Try<'_>], options: &Options) -> Result<Vec<Found>, RunError> {
    // Neighbours in this order share a namespace, so that it is entered once for many sockets.
    let mut order: Vec<usize> = (0..tries.len()).collect();
    order.sort_by_key(|&index| tries.get(index).map(|t| t.probe.from.namespace().id()));
    let threads = options.threads.clamp(1, tries.len().div_ceil(START_AT_ONCE).max(1));
    let limit = (options.in_flight / threads).max(1);
    let shares = order.chunks(order.len().div_ceil(threads).max(1));
    let results = std::thread::scope(|scope| {
        let workers: Vec<_> = shares
            .map(|share| scope.spawn(move || Worker::new(tries, share, limit).and_then(Worker::run)))
            .collect();
        workers.into_iter().map(|worker| worker.join().map_err(|_| RunError::Thread)).collect::<Vec<_>>()
    });
    let mut found = vec![(Verdict::Denied, Duration::ZERO); tries.len()];
    for result in results {
        for (index, result) in result?.map_err(RunError::Poll)? {
            found[index] = result;
        }
    }
    Ok(found)
}

struct Worker<'a> {
    tries: &'a [Try<'a>],
    pending: VecDeque<usize>,
    limit: usize,
    run: u64,
    started: u64,
    poller: Poller,
    flights: Slab<(usize, u64, Flight<'a>)>,
    /// When which flight wants attention; the serial number tells a flight from its predecessor in the same slot.
    timers: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    found: Vec<(usize, Found)>,
}

impl<'a> Worker<'a> {
    fn new(tries: &'a [Try<'a>], share: &[usize], limit: usize) -> io::Result<Self> {
        Ok(Self {
            tries,
            pending: share.iter().copied().collect(),
            limit,
            run: run_number(),
            started: 0,
            poller: Poller::new()?,
            flights: Slab::new(),
            timers: BinaryHeap::new(),
            found: Vec::with_capacity(share.len()),
        })
    }

    fn run(mut self) -> io::Result<Vec<(usize, Found)>> {
        let mut events = Events::new();
        let mut buffer = vec![0; BUFFER];
        while !self.pending.is_empty() || !self.flights.is_empty() {
            let room = self.limit.saturating_sub(self.flights.len());
            if !self.pending.is_empty() && (room >= START_AT_ONCE.min(self.limit) || self.flights.is_empty())
            {
                self.start_some(room.clamp(1, START_AT_ONCE))?;
            }
            let more =
                !self.pending.is_empty() && self.flights.len() + START_AT_ONCE.min(self.limit) <= self.limit;
            let wait = if more {
                Duration::ZERO
            } else {
                let next = self.timers.peek().map(|Reverse((at, _, _))| *at);
                next.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
            };
            for (token, _) in self.poller.wait(&mut events, Some(wait))? {
                let key = token as usize;
                if let Some((_, _, flight)) = self.flights.get_mut(key)
                    && let Some(verdict) = flight.on_ready(&mut buffer)
                {
                    self.land(key, verdict);
                }
            }
            self.on_time(&mut buffer);
        }
        Ok(self.found)
    }

    fn land(&mut self, key: usize, verdict: Verdict) {
        if let Some((index, _, flight)) = self.flights.try_remove(key) {
            self.found.push((index, (verdict, flight.age())));
        }
    }

    fn on_time(&mut self, buffer: &mut [u8]) {
        let now = Instant::now();
        while let Some(Reverse((at, key, serial))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some((_, current, flight)) = self.flights.get_mut(key) else { continue };
            if *current != serial {
                continue;
            }
            // What has arrived counts, however late we look at it.
            match flight.on_ready(buffer).or_else(|| flight.on_time(now)) {
                Some(verdict) => self.land(key, verdict),
                None => {
                    let next = flight.next_time();
                    self.timers.push(Reverse((next, key, serial)));
                }
            }
        }
    }

    /// Starts the next tries, as many as there is room for and as come from one namespace.
    fn start_some(&mut self, room: usize) -> io::Result<()> {
        let Some(first) = self.pending.front().map(|&index| self.tries[index].probe) else { return Ok(()) };
        let namespace = first.from.namespace();
        let group: Vec<usize> = self
            .pending
            .iter()
            .copied()
            .take(room)
            .take_while(|&index| self.tries[index].probe.from.namespace() == namespace)
            .collect();
        let tries = self.tries;
        let sockets = namespace.run(|| {
            let open = |index: &usize| {
                let probe = tries[*index].probe;
                socket::open_client(Family::of(probe.addr), probe.proto)
            };
            group.iter().map(open).collect::<Vec<io::Result<Socket>>>()
        });
        match sockets {
            Ok(sockets) => {
                for (index, socket) in group.into_iter().zip(sockets) {
                    match socket {
                        Err(e) if is_out_of_files(&e) && !self.flights.is_empty() => {
                            // Those that are on their way will make room.
                            self.limit = self.flights.len();
                            return Ok(());
                        }
                        socket => self.start(index, socket)?,
                    }
                    self.pending.pop_front();
                }
            }
            Err(error) => {
                for index in group {
                    self.found.push((index, (Verdict::Error(error.to_string()), Duration::ZERO)));
                    self.pending.pop_front();
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize, socket: io::Result<Socket>) -> io::Result<()> {
        let Try { probe, timeout } = self.tries[index];
        self.started += 1;
        let serial = self.started;
        let nonce = Nonce { run: self.run, number: serial };
        let flight = match socket {
            Err(error) => Err((Verdict::Error(no_socket(probe, &error)), Duration::ZERO)),
            Ok(socket) => Flight::start(probe, socket, nonce, timeout),
        };
        match flight {
            Err(found) => self.found.push((index, found)),
            Ok(flight) => {
                let slot = self.flights.vacant_entry();
                self.poller.add(&flight, slot.key() as u64, READ)?;
                self.timers.push(Reverse((flight.next_time(), slot.key(), serial)));
                slot.insert((index, serial, flight));
            }
        }
        Ok(())
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn no_socket(probe: &Probe, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => format!("this kernel has no {}", probe.proto),
        _ => format!("no {} socket: {error}", probe.proto),
    }
}
