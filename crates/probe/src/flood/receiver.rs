//! The observing thread of a flood.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::Socket;
use tortie_net::Family;

use super::{SocketKey, flow_of};
use crate::packet::{self, FLOOD_MARK, Nonce};
use crate::poller::{Events, Poller, READ};
use crate::{Host, Proto, sniff};

/// After the last packet was sent, silence of this length means that none is on its way any more.
const SETTLE: Duration = Duration::from_millis(100);
/// The end of patience with packets that keep arriving after the last was sent.
const LONGEST_SETTLE: Duration = Duration::from_secs(2);
const BUFFER: usize = 2048;

/// What arrived of each flow.
pub(super) type Arrivals = Vec<Option<Seen>>;

/// What was seen of one flow.
pub(super) struct Seen {
    pub(super) packets: u64,
    /// The hosts at which packets arrived.
    pub(super) at: Vec<String>,
    pub(super) first: Instant,
    pub(super) last: Instant,
}

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

pub(super) struct Receiver {
    run: u64,
    shared: Arc<Shared>,
    sniffers: Vec<Sniffer>,
    seen: Arrivals,
}

struct Sniffer {
    host: Host,
    family: Family,
    proto: Proto,
    socket: Socket,
}

impl Receiver {
    pub(super) fn new(
        run: u64,
        flows: usize,
        opened: HashMap<SocketKey, (Host, Socket)>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let mut sniffers = Vec::with_capacity(opened.len());
        for ((_, family, proto), (host, socket)) in opened {
            poller.add(&socket, sniffers.len() as u64, READ)?;
            sniffers.push(Sniffer { host, family, proto, socket });
        }
        let shared = Arc::new(Shared { poller, stop: AtomicBool::new(false) });
        let seen = std::iter::repeat_with(|| None).take(flows).collect();
        Ok(Self { run, shared, sniffers, seen })
    }

    pub(super) fn spawn(self) -> io::Result<(Stop, JoinHandle<io::Result<Arrivals>>)> {
        let stop = Stop(Arc::clone(&self.shared));
        let thread = thread::Builder::new().name("probe-arrivals".into()).spawn(move || self.work())?;
        Ok((stop, thread))
    }

    fn work(mut self) -> io::Result<Arrivals> {
        let shared = Arc::clone(&self.shared);
        let mut events = Events::new();
        let mut buffer = vec![0; BUFFER];
        let mut end_of_patience = None;
        loop {
            let stopping = shared.stop.load(Ordering::Acquire);
            if stopping
                && *end_of_patience.get_or_insert_with(|| Instant::now() + LONGEST_SETTLE) <= Instant::now()
            {
                return Ok(self.seen);
            }
            let mut arrived = false;
            for (token, _) in shared.poller.wait(&mut events, stopping.then_some(SETTLE))? {
                arrived |= self.read(token as usize, &mut buffer)?;
            }
            if stopping && !arrived {
                return Ok(self.seen);
            }
        }
    }

    /// True if there was a packet.
    fn read(&mut self, token: usize, buffer: &mut [u8]) -> io::Result<bool> {
        let mut arrived = false;
        let Some(sniffer) = self.sniffers.get_mut(token) else { return Ok(false) };
        loop {
            match sniffer.socket.read(buffer) {
                Ok(length) => {
                    arrived = true;
                    let packet = buffer.get(..length).unwrap_or_default();
                    if let Some(nonce) = sniffer.nonce(packet).filter(|nonce| nonce.run == self.run) {
                        note(&mut self.seen, nonce, &sniffer.host);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(arrived),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Sniffer {
    fn nonce(&self, packet: &[u8]) -> Option<Nonce> {
        let offset = sniff::payload_offset(self.proto)?;
        packet::parse_payload(FLOOD_MARK, packet::transport_part(self.family, packet)?.get(offset..)?)
    }
}

fn note(seen: &mut Arrivals, nonce: Nonce, host: &Host) {
    let now = Instant::now();
    let Some(entry) = seen.get_mut(flow_of(nonce)) else { return };
    let entry = entry.get_or_insert_with(|| Seen { packets: 0, at: Vec::new(), first: now, last: now });
    entry.packets += 1;
    entry.last = now;
    if !entry.at.iter().any(|name| name == host.name()) {
        entry.at.push(host.name().to_owned());
    }
}
