//! The thread that keeps flows busy.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc;
use socket2::Socket;

use super::{HeldFlow, HoldReport, INTERVAL};
use crate::icmp::next_report;
use crate::packet::{self, Nonce, PAYLOAD, PROBE_MARK};
use crate::poller::{Events, Poller, READ};
use crate::run::run_number;
use crate::{Flow, Proto};

/// How long the last answers may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
const BUFFER: usize = 4096;

#[derive(Clone)]
pub(super) struct Stop(Arc<Shared>);

impl Stop {
    pub(super) fn now(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.poller.wake();
    }
}

struct Shared {
    poller: Poller,
    stop: AtomicBool,
}

/// Starts the thread and waits until all flows have been answered once, or the time is up.
pub(super) fn spawn(
    flows: Vec<(Flow, Socket)>,
    timeout: Duration,
) -> io::Result<(Stop, JoinHandle<io::Result<HoldReport>>)> {
    let shared = Arc::new(Shared { poller: Poller::new()?, stop: AtomicBool::new(false) });
    let run = run_number();
    let mut lines = Vec::with_capacity(flows.len());
    for (index, (flow, socket)) in flows.into_iter().enumerate() {
        lines.push(Line::open(&shared.poller, run, index, flow, socket)?);
    }
    let (ready, all_ready) = sync_channel(1);
    let stop = Stop(Arc::clone(&shared));
    let thread =
        thread::Builder::new().name("probe-hold".into()).spawn(move || work(&shared, lines, &ready))?;
    // An error means that the thread has ended, which stopping will report.
    let _ = all_ready.recv_timeout(timeout);
    Ok((stop, thread))
}

fn work(shared: &Shared, mut lines: Vec<Line>, ready: &SyncSender<()>) -> io::Result<HoldReport> {
    let mut events = Events::new();
    let mut buffer = vec![0; BUFFER];
    let started = Instant::now();
    let mut next = started;
    let mut waiting_for_ready = true;
    while !shared.stop.load(Ordering::Acquire) {
        if waiting_for_ready && lines.iter().all(Line::is_settled) {
            waiting_for_ready = false;
            let _ = ready.try_send(());
        }
        if Instant::now() >= next {
            lines.iter_mut().for_each(Line::send);
            // A pause that was not ours is not caught up with.
            next = (next + INTERVAL).max(Instant::now());
        }
        let wait = next.saturating_duration_since(Instant::now());
        read(&shared.poller, &mut events, &mut lines, &mut buffer, wait)?;
    }
    let stopped = Instant::now();
    let deadline = stopped + LAST_ANSWERS;
    while Instant::now() < deadline && !lines.iter().all(Line::is_complete) {
        read(&shared.poller, &mut events, &mut lines, &mut buffer, deadline - Instant::now())?;
    }
    let flows = lines.into_iter().map(|line| line.finish(stopped)).collect();
    Ok(HoldReport { flows, lasted: stopped - started })
}

fn read(
    poller: &Poller,
    events: &mut Events,
    lines: &mut [Line],
    buffer: &mut [u8],
    wait: Duration,
) -> io::Result<()> {
    for (token, _) in poller.wait(events, Some(wait))? {
        if let Some(line) = lines.get_mut(token as usize) {
            line.on_ready(buffer);
        }
    }
    Ok(())
}

/// One held flow.
struct Line {
    held: HeldFlow,
    /// Gone when the flow is broken.
    socket: Option<Socket>,
    run: u64,
    /// The upper half of the numbers of this flow's messages.
    base: u64,
    /// The end of a message for which there was no room.
    unsent: Vec<u8>,
    /// The beginning of a message of which the rest has not come.
    partial: Vec<u8>,
    /// Whether the identity line of a stream has been read.
    introduced: bool,
    last_answer: Option<Instant>,
}

impl Line {
    fn open(poller: &Poller, run: u64, index: usize, flow: Flow, socket: Socket) -> io::Result<Self> {
        let address = SocketAddr::new(flow.addr, flow.port);
        let connected = socket.connect(&address.into());
        poller.add(&socket, index as u64, READ)?;
        let held = HeldFlow { flow, sent: 0, answered: 0, longest_gap: Duration::ZERO, broken: None };
        let mut line = Self {
            held,
            socket: Some(socket),
            run,
            base: (index as u64) << 32,
            unsent: Vec::new(),
            partial: Vec::new(),
            introduced: false,
            last_answer: None,
        };
        if let Err(error) = connected
            && error.raw_os_error() != Some(libc::EINPROGRESS)
        {
            line.broke(format!("cannot be opened: {error}"));
        }
        Ok(line)
    }

    fn is_stream(&self) -> bool {
        self.held.flow.proto != Proto::Udp
    }

    fn is_settled(&self) -> bool {
        self.held.answered > 0 || self.held.broken.is_some()
    }

    fn is_complete(&self) -> bool {
        self.held.answered >= self.held.sent || self.held.broken.is_some()
    }

    fn broke(&mut self, why: String) {
        self.held.broken.get_or_insert(why);
        self.socket = None;
    }

    fn send(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        // A stream sends when it is open, and one message after the other.
        let stream = self.held.flow.proto != Proto::Udp;
        if stream && !self.introduced {
            return;
        }
        if self.unsent.is_empty() {
            let nonce = Nonce { run: self.run, number: self.base | (self.held.sent & 0xffff_ffff) };
            self.unsent.extend_from_slice(&packet::payload(PROBE_MARK, nonce));
            self.held.sent += 1;
        }
        match socket.write(&self.unsent) {
            Ok(written) => drop(self.unsent.drain(..written)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) if stream => self.broke(e.to_string()),
            // A datagram that the kernel does not take is lost.
            Err(_) => {}
        }
        if !stream {
            self.unsent.clear();
        }
    }

    fn on_ready(&mut self, buffer: &mut [u8]) {
        let stream = self.is_stream();
        while let Some(socket) = &mut self.socket {
            match socket.read(buffer) {
                Ok(0) if stream => return self.broke("closed by the other side".into()),
                Ok(length) => {
                    let data = buffer.get(..length).unwrap_or_default();
                    if stream { self.on_stream(data) } else { self.on_datagram(data) }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // An unread report would make the socket ready for ever.
                    while next_report(&*socket).is_some() {}
                    return;
                }
                Err(e) if stream => return self.broke(e.to_string()),
                // A refused datagram is lost; the next may get through.
                Err(_) => {}
            }
        }
    }

    fn on_stream(&mut self, data: &[u8]) {
        self.partial.extend_from_slice(data);
        if !self.introduced {
            let Some(end) = self.partial.iter().position(|b| *b == b'\n') else { return };
            self.partial.drain(..=end);
            self.introduced = true;
        }
        let whole = self.partial.len() / PAYLOAD * PAYLOAD;
        let messages: Vec<u8> = self.partial.drain(..whole).collect();
        for message in messages.chunks(PAYLOAD) {
            self.on_message(message);
        }
    }

    fn on_datagram(&mut self, data: &[u8]) {
        if let Some(end) = data.iter().position(|b| *b == b'\n') {
            self.on_message(data.get(end + 1..).unwrap_or_default());
        }
    }

    fn on_message(&mut self, message: &[u8]) {
        let Some(nonce) = packet::parse_payload(PROBE_MARK, message) else { return };
        if nonce.run != self.run || nonce.number & !0xffff_ffff != self.base {
            return;
        }
        let now = Instant::now();
        self.held.answered += 1;
        self.gap_until(now);
        self.last_answer = Some(now);
    }

    fn gap_until(&mut self, now: Instant) {
        if let Some(last) = self.last_answer {
            self.held.longest_gap = self.held.longest_gap.max(now.saturating_duration_since(last));
        }
    }

    fn finish(mut self, stopped: Instant) -> HeldFlow {
        self.gap_until(stopped);
        if self.held.answered == 0 && self.held.broken.is_none() {
            self.held.broken = Some("cannot be opened: no answer".into());
        }
        self.held
    }
}
