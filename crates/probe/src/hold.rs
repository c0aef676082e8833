//! Allowed flows that must not be interrupted.
//!
//! Each flow keeps one TCP connection, or one UDP socket, and sends a numbered message again and again; the listener echoes
//! it. What is reported is what an application would have noticed: resets, losses, and the longest time without an answer.

mod worker;

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::Socket;
use tortie_kernel_net::NetNsError;
use tortie_net::Family;

use crate::{Flow, Proto, socket};
use worker::Stop;

/// How often each flow sends.
const INTERVAL: Duration = Duration::from_millis(20);

/// Flows that are being held. Dropping ends them without a report.
pub struct Hold {
    worker: Option<(Stop, JoinHandle<io::Result<HoldReport>>)>,
}

/// How the flows fared.
#[derive(Clone, Debug)]
pub struct HoldReport {
    /// In the order in which the flows were given.
    pub flows: Vec<HeldFlow>,
    /// How long they were held.
    pub lasted: Duration,
}

/// How one flow fared.
#[derive(Clone, Debug)]
pub struct HeldFlow {
    /// The flow.
    pub flow: Flow,
    /// How many messages were sent.
    pub sent: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// The longest time without an answer; up to about the interval of 20 ms is normal.
    pub longest_gap: Duration,
    /// Why it ended early: it could not be opened, or was reset or closed.
    pub broken: Option<String>,
}

/// Flows could not be opened or watched.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// A namespace could not be entered.
    #[error("cannot hold {flow}")]
    Enter {
        /// The flow.
        flow: String,
        /// Why.
        #[source]
        source: NetNsError,
    },
    /// No socket.
    #[error("cannot hold {flow}")]
    Socket {
        /// The flow.
        flow: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Only TCP, UDP and SCTP flows can be held.
    #[error("cannot hold {flow}: echo requests make no connection")]
    Unsupported {
        /// The flow.
        flow: String,
    },
    /// No thread or no epoll.
    #[error("cannot hold flows")]
    Start(#[source] io::Error),
    /// Watching broke off.
    #[error("cannot watch the held flows")]
    Watch(#[source] io::Error),
    /// The watching thread died.
    #[error("the thread that holds the flows panicked")]
    Thread,
}

impl HoldReport {
    /// The flows that an application would have noticed something about: broken, messages lost, or a gap longer than this.
    pub fn disturbed(&self, tolerated_gap: Duration) -> impl Iterator<Item = &HeldFlow> {
        self.flows.iter().filter(move |flow| {
            flow.broken.is_some() || flow.answered < flow.sent || flow.longest_gap > tolerated_gap
        })
    }
}

impl Hold {
    /// Opens all flows and keeps them busy. Returns when all of them have been answered once, or after the time-out: those that
    /// could not be opened until then are reported as broken.
    pub fn start(flows: &[Flow], timeout: Duration) -> Result<Self, HoldError> {
        socket::raise_file_limit();
        let opened = flows.iter().map(open).collect::<Result<Vec<Socket>, HoldError>>()?;
        let held = flows.iter().cloned().zip(opened).collect();
        Ok(Self { worker: Some(worker::spawn(held, timeout).map_err(HoldError::Start)?) })
    }

    /// Stops sending, waits a moment for the last answers, closes the flows and reports.
    pub fn stop(mut self) -> Result<HoldReport, HoldError> {
        let found = self.halt().ok_or(HoldError::Thread)?;
        found.map_err(HoldError::Watch)
    }

    fn halt(&mut self) -> Option<io::Result<HoldReport>> {
        let (stop, thread) = self.worker.take()?;
        stop.now();
        thread.join().ok()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.halt();
    }
}

fn open(flow: &Flow) -> Result<Socket, HoldError> {
    if flow.proto == Proto::Icmp {
        return Err(HoldError::Unsupported { flow: flow.to_string() });
    }
    let opened = flow.from.namespace().run(|| socket::open_client(Family::of(flow.addr), flow.proto));
    let opened = opened.map_err(|source| HoldError::Enter { flow: flow.to_string(), source })?;
    opened.map_err(|source| HoldError::Socket { flow: flow.to_string(), source })
}
