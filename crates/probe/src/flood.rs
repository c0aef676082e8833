//! Forbidden packets without pause, and the proof that not one arrived.
//!
//! Each packet carries a number that tells its flow. Sending: UDP datagrams, TCP SYN segments and echo requests, from a raw
//! socket per sending host, at a given rate over all flows. Arrival is observed where it cannot be overlooked: at
//! the destination's IP layer (see [`crate::sniff`]), so that a packet counts even if nobody listens on its port or the answer
//! is dropped on its way back.

mod receiver;
mod sender;

use std::collections::HashMap;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::Socket;
use tortie_kernel_net::{NetNsError, NetNsId};
use tortie_net::Family;

use crate::packet::Nonce;
use crate::run::run_number;
use crate::{Flow, Host, Proto, sniff};
use receiver::{Arrivals, Receiver};
use sender::{Sender, Sent};

/// A running flood. Dropping stops it without a report.
pub struct Flood {
    flows: Vec<Flow>,
    started: Instant,
    sender: Option<(sender::Stop, JoinHandle<Sent>)>,
    receiver: Option<(receiver::Stop, JoinHandle<io::Result<Arrivals>>)>,
}

/// What a flood did.
#[derive(Clone, Debug)]
pub struct FloodReport {
    /// How many packets the kernel took, over all flows.
    pub sent: u64,
    /// How many packets of each flow the kernel took, in the order of the flows.
    pub sent_by_flow: Vec<u64>,
    /// How many packets the sending hosts' kernels refused, such as for want of a route or by the host's own firewall.
    pub refused: u64,
    /// The flows of which packets arrived. Empty is what one hopes for.
    pub arrived: Vec<Arrival>,
    /// From start to stop.
    pub lasted: Duration,
}

/// Packets of a flow that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The flow.
    pub flow: Flow,
    /// Its position among the flows.
    pub index: usize,
    /// How many packets.
    pub packets: u64,
    /// At which hosts.
    pub at: Vec<String>,
    /// When the first arrived, from the start of the flood.
    pub first: Duration,
    /// When the last arrived, from the start of the flood.
    pub last: Duration,
}

/// A flood could not be started or observed.
#[derive(Debug, thiserror::Error)]
pub enum FloodError {
    /// A namespace could not be entered.
    #[error("cannot flood: host {host} is not accessible")]
    Enter {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: NetNsError,
    },
    /// A host lacks what a flow needs.
    #[error("cannot flood {flow}: {reason}")]
    Flow {
        /// The flow.
        flow: String,
        /// What is missing.
        reason: &'static str,
    },
    /// No raw socket.
    #[error("cannot flood: no raw {proto} socket on host {host}, it takes CAP_NET_RAW")]
    Socket {
        /// The host.
        host: String,
        /// The protocol.
        proto: Proto,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No thread or no epoll.
    #[error("cannot flood")]
    Start(#[source] io::Error),
    /// The observation broke off: that nothing was seen proves nothing.
    #[error("cannot observe the arrivals of a flood")]
    Observe(#[source] io::Error),
    /// A thread of the flood died.
    #[error("a thread of the flood panicked")]
    Thread,
}

/// A socket is needed per namespace, family and protocol.
type SocketKey = (NetNsId, Family, Proto);

/// Opens a socket for each key, entering each namespace as often as it has keys.
fn open_sockets<'h>(
    wanted: impl Iterator<Item = (&'h Host, Family, Proto)>,
    open: impl Fn(&Host, Family, Proto) -> io::Result<Socket> + Sync,
) -> Result<HashMap<SocketKey, (Host, Socket)>, FloodError> {
    let mut sockets = HashMap::new();
    for (host, family, proto) in wanted {
        let key = (host.namespace().id(), family, proto);
        if sockets.contains_key(&key) {
            continue;
        }
        let opened = host.namespace().run(|| open(host, family, proto));
        let opened = opened.map_err(|source| FloodError::Enter { host: host.name().into(), source })?;
        let socket =
            opened.map_err(|source| FloodError::Socket { host: host.name().into(), proto, source })?;
        sockets.insert(key, (host.clone(), socket));
    }
    Ok(sockets)
}

impl Flood {
    /// Starts to send packets of all flows in turn, `rate` per second in total.
    pub fn start(flows: &[Flow], rate: u32) -> Result<Self, FloodError> {
        for flow in flows {
            check(flow)?;
        }
        let run = run_number();
        let observed = flows.iter().map(|flow| (&flow.to, Family::of(flow.addr), flow.proto));
        let sniffers = open_sockets(observed, |_, family, proto| sniff::open(family, proto))?;
        let senders = flows.iter().map(|flow| (&flow.from, Family::of(flow.addr), flow.proto));
        let sockets = open_sockets(senders, sender::open)?;
        let receiver = Receiver::new(run, flows.len(), sniffers).map_err(FloodError::Start)?;
        let sender = Sender::new(run, flows, sockets, rate);
        let started = Instant::now();
        // The eyes are open before the first packet is sent.
        let receiver = receiver.spawn().map_err(FloodError::Start)?;
        let mut flood = Self { flows: flows.to_vec(), started, sender: None, receiver: Some(receiver) };
        flood.sender = Some(sender.spawn().map_err(FloodError::Start)?);
        Ok(flood)
    }

    /// Stops sending, waits for what is on its way, and reports.
    pub fn stop(mut self) -> Result<FloodReport, FloodError> {
        let (sent, arrivals) = self.halt().ok_or(FloodError::Thread)?;
        let arrivals = arrivals.map_err(FloodError::Observe)?;
        let arrived =
            arrivals.into_iter().zip(&self.flows).enumerate().filter_map(|(index, (seen, flow))| {
                let seen = seen?;
                Some(Arrival {
                    flow: flow.clone(),
                    index,
                    packets: seen.packets,
                    at: seen.at,
                    first: seen.first.saturating_duration_since(self.started),
                    last: seen.last.saturating_duration_since(self.started),
                })
            });
        Ok(FloodReport {
            sent: sent.by_flow.iter().sum(),
            refused: sent.refused,
            arrived: arrived.collect(),
            sent_by_flow: sent.by_flow,
            lasted: self.started.elapsed(),
        })
    }

    /// First the sender, then the receiver. `None` if a thread panicked (or there is nothing to stop any more).
    fn halt(&mut self) -> Option<(Sent, io::Result<Arrivals>)> {
        let sent = self.sender.take().and_then(|(stop, thread)| {
            stop.now(thread.thread());
            thread.join().ok()
        });
        let arrivals = self.receiver.take().and_then(|(stop, thread)| {
            stop.now();
            thread.join().ok()
        });
        Some((sent?, arrivals?))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.halt();
    }
}

fn check(flow: &Flow) -> Result<(), FloodError> {
    let fail = |reason| Err(FloodError::Flow { flow: flow.to_string(), reason });
    if sniff::payload_offset(flow.proto).is_none() {
        return fail("floods know tcp, udp and icmp only");
    }
    if flow.proto == Proto::Tcp && flow.from.address(Family::of(flow.addr)).is_none() {
        return fail("the sender has no address of the family");
    }
    Ok(())
}

/// Flow and sequence number in one number.
fn nonce(run: u64, flow: usize, sequence: u32) -> Nonce {
    Nonce { run, number: (flow as u64) << 32 | u64::from(sequence) }
}

fn flow_of(nonce: Nonce) -> usize {
    (nonce.number >> 32) as usize
}
