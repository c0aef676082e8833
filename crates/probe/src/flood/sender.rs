//! The sending thread of a flood.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use socket2::{SockAddr, SockFilter, Socket};
use tortie_net::Family;

use super::{SocketKey, nonce};
use crate::packet::{self, FLOOD_MARK};
use crate::{Flow, Host, Proto, socket};

/// How long the sender rests between bursts.
const TICK: Duration = Duration::from_millis(1);
/// After a pause that was not ours (a busy machine), at most this many packets are caught up with at once.
const LONGEST_BURST: u64 = 1000;
/// SYN segments come from these ports in turn, so that each is a new connection to a firewall.
const FIRST_PORT: u16 = 12_000;
const PORTS: u32 = 20_000;

#[derive(Clone)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn now(&self, thread: &Thread) {
        self.0.store(true, Ordering::Release);
        thread.unpark();
    }
}

/// What was sent.
pub(super) struct Sent {
    pub(super) by_flow: Vec<u64>,
    pub(super) refused: u64,
}

pub(super) struct Sender {
    run: u64,
    lanes: Vec<Lane>,
    sockets: Vec<Socket>,
    rate: u32,
}

/// A flow, ready to be sent.
struct Lane {
    flow: Flow,
    /// Which socket.
    socket: usize,
    to: SockAddr,
    sequence: u32,
}

/// Source ports of UDP floods, below the range from which the kernel gives ports to probes.
const FLOOD_PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A socket that only sends: whatever comes back is not even queued.
pub(super) fn open(host: &Host, family: Family, proto: Proto) -> io::Result<Socket> {
    const RETURN: u16 = 0x06;
    let socket = match proto {
        Proto::Udp => socket::open(family, proto)?,
        _ => socket::open_raw(family, proto)?,
    };
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
    if proto == Proto::Udp {
        bind_apart(&socket, family)?;
    }
    if let (Proto::Tcp, Some(address)) = (proto, host.address(family)) {
        // The checksum of our segments holds for this source only.
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    Ok(socket)
}

/// Binds a UDP socket to a port that no probe ever has: a flood must not ride on a connection that was allowed before.
fn bind_apart(socket: &Socket, family: Family) -> io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let any = tortie_net::Cidr::any(family).addr();
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..64 {
        let port =
            FLOOD_PORTS.start + (NEXT.fetch_add(1, Ordering::Relaxed) % FLOOD_PORTS.len() as u32) as u16;
        match socket.bind(&SocketAddr::new(any, port).into()) {
            Ok(()) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

impl Sender {
    pub(super) fn new(
        run: u64,
        flows: &[Flow],
        opened: HashMap<SocketKey, (Host, Socket)>,
        rate: u32,
    ) -> Self {
        let (keys, sockets): (Vec<_>, Vec<_>) =
            opened.into_iter().map(|(key, (_, socket))| (key, socket)).unzip();
        let position: HashMap<SocketKey, usize> = keys.into_iter().zip(0..).collect();
        let lanes = flows.iter().filter_map(|flow| {
            let key = (flow.from.namespace().id(), Family::of(flow.addr), flow.proto);
            // A raw socket takes no port.
            let port = if flow.proto == Proto::Udp { flow.port } else { 0 };
            let to = SocketAddr::new(flow.addr, port).into();
            Some(Lane { flow: flow.clone(), socket: *position.get(&key)?, to, sequence: 0 })
        });
        Self { run, lanes: lanes.collect(), sockets, rate }
    }

    pub(super) fn spawn(self) -> io::Result<(Stop, JoinHandle<Sent>)> {
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop.0);
        let thread = thread::Builder::new().name("probe-flood".into()).spawn(move || self.work(&stopped))?;
        Ok((stop, thread))
    }

    fn work(mut self, stopped: &AtomicBool) -> Sent {
        let mut sent = Sent { by_flow: vec![0; self.lanes.len()], refused: 0 };
        if self.lanes.is_empty() {
            return sent;
        }
        let start = Instant::now();
        let (mut done, mut next) = (0_u64, 0);
        while !stopped.load(Ordering::Acquire) {
            let due = (start.elapsed().as_secs_f64() * f64::from(self.rate)) as u64;
            done = done.max(due.saturating_sub(LONGEST_BURST));
            while done < due {
                match self.send(next) {
                    Ok(()) => sent.by_flow[next] += 1,
                    Err(_) => sent.refused += 1,
                }
                next = (next + 1) % self.lanes.len();
                done += 1;
            }
            thread::park_timeout(TICK);
        }
        sent
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let lane = &mut self.lanes[index];
        lane.sequence = lane.sequence.wrapping_add(1);
        let nonce = nonce(self.run, index, lane.sequence);
        let socket = &self.sockets[lane.socket];
        let family = Family::of(lane.flow.addr);
        match lane.flow.proto {
            Proto::Icmp => socket.send_to(&packet::echo_request(family, FLOOD_MARK, nonce), &lane.to)?,
            Proto::Tcp => {
                let from = lane.flow.from.address(family).ok_or(io::ErrorKind::AddrNotAvailable)?;
                let from_port = FIRST_PORT + (lane.sequence % PORTS) as u16;
                socket
                    .send_to(&packet::syn(from, lane.flow.addr, from_port, lane.flow.port, nonce), &lane.to)?
            }
            Proto::Udp | Proto::Sctp => socket.send_to(&packet::payload(FLOOD_MARK, nonce), &lane.to)?,
        };
        Ok(())
    }
}
