//! One try of one probe: its socket, and what its socket says.

use std::io::{self, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::libc;
use socket2::Socket;
use tortie_net::Family;

use crate::icmp::{IcmpError, next_report};
use crate::packet::{self, Nonce, PROBE_MARK};
use crate::{Answerer, Probe, Proto, Rejection, Verdict};

/// A datagram or echo request is sent this often within the time-out, all in its first half.
const SENDS: u32 = 3;
/// An identity line is shorter than this.
const LONGEST_IDENTITY: usize = 1024;

pub(super) struct Flight<'p> {
    probe: &'p Probe,
    socket: Socket,
    nonce: Nonce,
    started: Instant,
    deadline: Instant,
    sends_left: u32,
    resend_every: Duration,
    /// What came of the identity line, for streams.
    received: Vec<u8>,
}

impl<'p> Flight<'p> {
    /// Sends the first packet. The error is a verdict already.
    pub(super) fn start(
        probe: &'p Probe,
        socket: Socket,
        nonce: Nonce,
        timeout: Duration,
    ) -> Result<Self, (Verdict, Duration)> {
        let started = Instant::now();
        let mut flight = Self {
            probe,
            socket,
            nonce,
            started,
            deadline: started + timeout,
            sends_left: SENDS,
            resend_every: timeout / (2 * (SENDS - 1)),
            received: Vec::new(),
        };
        match flight.launch() {
            None => Ok(flight),
            Some(verdict) => Err((verdict, flight.age())),
        }
    }

    fn launch(&mut self) -> Option<Verdict> {
        let port = if self.probe.proto == Proto::Icmp { 0 } else { self.probe.port };
        let address = SocketAddr::new(self.probe.addr, port);
        match self.socket.connect(&address.into()) {
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => None,
            Err(e) => Some(self.classify(&e)),
            Ok(()) if matches!(self.probe.proto, Proto::Tcp | Proto::Sctp) => None,
            Ok(()) => self.send(),
        }
    }

    fn send(&mut self) -> Option<Verdict> {
        self.sends_left = self.sends_left.saturating_sub(1);
        let sent = match self.probe.proto {
            Proto::Udp => self.socket.write(&packet::payload(PROBE_MARK, self.nonce)),
            _ => self.socket.write(&packet::echo_request(self.family(), PROBE_MARK, self.nonce)),
        };
        match sent {
            Ok(_) => None,
            // No room at the moment: as good as lost on the way.
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => None,
            Err(e) => Some(self.classify(&e)),
        }
    }

    fn family(&self) -> Family {
        Family::of(self.probe.addr)
    }

    /// How long it has been on its way.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// When [`Flight::on_time`] wants to be called.
    pub(super) fn next_time(&self) -> Instant {
        if self.sends_left == 0 || matches!(self.probe.proto, Proto::Tcp | Proto::Sctp) {
            return self.deadline;
        }
        let sent = SENDS - self.sends_left;
        self.deadline.min(self.started + self.resend_every * sent)
    }

    /// Sends again, or gives up.
    pub(super) fn on_time(&mut self, now: Instant) -> Option<Verdict> {
        if now < self.deadline {
            return self.send();
        }
        // A stream that is connected has got packets through, whatever came after.
        let connected =
            matches!(self.probe.proto, Proto::Tcp | Proto::Sctp) && self.socket.peer_addr().is_ok();
        Some(match connected {
            true if self.probe.answerer == Answerer::Stranger => Verdict::Allowed,
            true => Verdict::WrongAnswer("connected, but nothing came".into()),
            false => Verdict::Denied,
        })
    }

    /// Reads what there is.
    pub(super) fn on_ready(&mut self, buffer: &mut [u8]) -> Option<Verdict> {
        loop {
            match self.socket.read(buffer) {
                Ok(length) => {
                    let data = buffer.get(..length).unwrap_or_default();
                    let verdict = match self.probe.proto {
                        Proto::Tcp | Proto::Sctp => self.on_stream(data),
                        Proto::Udp => self.on_datagram(data),
                        Proto::Icmp => {
                            let reply = packet::parse_echo_reply(self.family(), PROBE_MARK, data);
                            (reply == Some(self.nonce)).then_some(Verdict::Allowed)
                        }
                    };
                    if verdict.is_some() {
                        return verdict;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return self.on_report(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Some(self.classify(&e)),
            }
        }
    }

    fn on_stream(&mut self, data: &[u8]) -> Option<Verdict> {
        if self.probe.answerer == Answerer::Stranger {
            return Some(Verdict::Allowed);
        }
        if data.is_empty() || self.received.len() > LONGEST_IDENTITY {
            return Some(Verdict::WrongAnswer("connected, but no identity came".into()));
        }
        self.received.extend_from_slice(data);
        let received = mem::take(&mut self.received);
        let verdict = self.judge(&received);
        self.received = received;
        verdict
    }

    /// Identity line and our own payload. Anything else is no answer to this try.
    fn on_datagram(&mut self, data: &[u8]) -> Option<Verdict> {
        let end = data.iter().position(|b| *b == b'\n')?;
        let nonce = packet::parse_payload(PROBE_MARK, data.get(end + 1..)?)?;
        if nonce == self.nonce { self.judge(data) } else { None }
    }

    fn judge(&self, identity: &[u8]) -> Option<Verdict> {
        let host = packet::parse_identity(identity)?;
        let right = self.probe.answerer == Answerer::Anybody || self.probe.answerer.accepts(host);
        Some(if right { Verdict::Allowed } else { Verdict::WrongAnswer(host.to_owned()) })
    }

    /// An ICMP error that did not end the socket.
    fn on_report(&mut self) -> Option<Verdict> {
        let report = next_report(&self.socket)?;
        // The own kernel reports that it cannot find a neighbour: nobody refused anything.
        let by_ourselves = report.sender.is_some_and(|sender| self.probe.from.addresses().contains(&sender));
        Some(if by_ourselves { Verdict::Denied } else { Verdict::Rejected(Rejection::Icmp(report.error)) })
    }

    fn classify(&mut self, error: &io::Error) -> Verdict {
        if let Some(verdict) = self.on_report() {
            return verdict;
        }
        let icmp = |kind_v4: (u8, u8), kind_v6: (u8, u8)| {
            let (kind, code) = if self.family() == Family::V4 { kind_v4 } else { kind_v6 };
            Verdict::Rejected(Rejection::Icmp(IcmpError { family: self.family(), kind, code }))
        };
        match (error.raw_os_error(), self.probe.proto) {
            (Some(libc::ECONNREFUSED), Proto::Tcp) => Verdict::Rejected(Rejection::TcpReset),
            (Some(libc::ECONNREFUSED), Proto::Sctp) => Verdict::Rejected(Rejection::SctpAbort),
            (Some(libc::ECONNREFUSED), _) => icmp((3, 3), (1, 4)),
            (Some(libc::ECONNRESET | libc::EPIPE), _) if self.probe.answerer == Answerer::Stranger => {
                Verdict::Allowed
            }
            (Some(libc::ECONNRESET | libc::EPIPE), _) => Verdict::WrongAnswer("connected, then reset".into()),
            // The own firewall drops, nobody answers, no neighbour answers: silence.
            (Some(libc::EPERM | libc::ETIMEDOUT | libc::EHOSTUNREACH), _) => Verdict::Denied,
            _ => Verdict::Error(error.to_string()),
        }
    }
}

impl AsFd for Flight<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
