//! Hosts, and what is sent between them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tortie_kernel_net::NetNs;
use tortie_net::Family;

/// A machine or pod: a namespace with a name and addresses. Clones share everything.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    name: String,
    namespace: NetNs,
    addresses: Vec<IpAddr>,
}

impl Host {
    /// A host. The name identifies it in answers: it must be unique and without white space.
    pub fn new(name: impl Into<String>, namespace: NetNs, addresses: Vec<IpAddr>) -> Self {
        Self(Arc::new(Inner { name: name.into(), namespace, addresses }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &NetNs {
        &self.0.namespace
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.0.addresses
    }

    /// Its first address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.0.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.0.name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

/// What kind of packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// A TCP connection.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An SCTP association; see [`crate::sctp_supported`].
    Sctp,
    /// An ICMP or ICMPv6 echo request; the port is ignored.
    Icmp,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
        })
    }
}

/// Packets from one host to another.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Who sends.
    pub from: Host,
    /// Who would receive.
    pub to: Host,
    /// The destination address: one of the receiver's, or one that is translated to it.
    pub addr: IpAddr,
    /// The destination port as the receiver sees it.
    pub port: u16,
    /// What is sent.
    pub proto: Proto,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_flow(f, &self.from, self.to.name(), self.addr, self.port, self.proto)
    }
}

fn write_flow(
    f: &mut fmt::Formatter<'_>,
    from: &Host,
    to: &str,
    addr: IpAddr,
    port: u16,
    proto: Proto,
) -> fmt::Result {
    match proto {
        Proto::Icmp => write!(f, "{from} -> {to} {addr} icmp"),
        _ => write!(f, "{from} -> {to} {} {proto}", SocketAddr::new(addr, port)),
    }
}

/// Who is right to answer a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// Anybody.
    Anybody,
    /// The host of this name.
    Host(Arc<str>),
    /// A program that does not say who it is, such as a web server: a connection is an answer. For protocols with connections only.
    Stranger,
    /// Any host of these names, such as the backends of a service.
    OneOf(Arc<[String]>),
}

impl Answerer {
    /// Whether the host of this name is right.
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Anybody | Self::Stranger => true,
            Self::Host(expected) => **expected == *name,
            Self::OneOf(expected) => expected.iter().any(|e| e == name),
        }
    }
}

impl fmt::Display for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("anybody"),
            Self::Stranger => f.write_str("a stranger"),
            Self::Host(name) => f.write_str(name),
            Self::OneOf(names) => write!(f, "one of {}", names.join(", ")),
        }
    }
}

/// What the caller expects of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// The right answer.
    Allow,
    /// No answer: silence or refusal.
    Deny,
    /// An active refusal. Kernels send few ICMP errors per second to one destination: where refusals are compared, lift the
    /// limit (`net.ipv4.icmp_ratemask=0`, `net.ipv6.icmp.ratelimit=0`) on the machines that refuse.
    Reject,
}

/// One question: does this reach its destination?
#[derive(Clone, Debug)]
pub struct Probe {
    /// Who asks.
    pub from: Host,
    /// The destination address.
    pub addr: IpAddr,
    /// The destination port.
    pub port: u16,
    /// What is sent.
    pub proto: Proto,
    /// Who is right to answer. Not checked for [`Proto::Icmp`], which the kernel answers.
    pub answerer: Answerer,
    /// What the caller expects. Decides how often the probe is repeated, never what it finds.
    pub expect: Option<Expect>,
}

impl Probe {
    /// A probe of `to`, without expectation.
    pub fn new(from: &Host, to: &Host, addr: IpAddr, port: u16, proto: Proto) -> Self {
        Self {
            from: from.clone(),
            addr,
            port,
            proto,
            answerer: Answerer::Host(to.name().into()),
            expect: None,
        }
    }

    /// The same with an expectation.
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expect = Some(expect);
        self
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_flow(f, &self.from, &self.answerer.to_string(), self.addr, self.port, self.proto)
    }
}
