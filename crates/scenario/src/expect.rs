//! Lines of expectation, and what they come to among the pods that exist.

use crate::plan::{Expected, Outside, Peer, Probe, ProbePort};
use crate::pod::{Listen, Pod};
use std::collections::BTreeMap;
use std::str::FromStr;
use tortie_api::document::Position;
use tortie_net::{Family, Protocol};

/// Who exists when a step's expectations are checked.
pub(crate) struct Cast<'a> {
    pub(crate) pods: &'a [Pod],
    pub(crate) nodes: usize,
    pub(crate) outside: &'a [Outside],
    pub(crate) families: &'a [Family],
}

/// `VERDICT FROM -> TO[:PORT[/PROTOCOL]] [ipv4|ipv6]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) expected: Expected,
    pub(crate) from: Peers,
    pub(crate) to: Peers,
    pub(crate) port: PortChoice,
    pub(crate) family: Option<Family>,
}

/// One side of a line: names and exclusions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peers {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    AllPods,
    /// Namespace and name, each perhaps with `*`.
    Pod(String, String),
    PodsOf(usize),
    /// `None`: every node.
    Node(Option<usize>),
    Outside(String),
}

/// Which ports of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortChoice {
    Every,
    Number(u16, Option<Protocol>),
    Name(String),
    Icmp,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("expected `VERDICT FROM -> TO[:PORT[/PROTOCOL]] [ipv4|ipv6]`, found {0:?}")]
    Form(String),
    #[error("unknown verdict {0:?}, expected allow, deny, reject or skip")]
    Verdict(String),
    #[error("unknown family {0:?}, expected ipv4 or ipv6")]
    Family(String),
    #[error(
        "{0:?} names nobody: expected namespace/pod (with * for any text), *, pods@N, node:N or outside:NAME"
    )]
    Pattern(String),
    #[error("{0:?} is no port: expected a number, NUMBER/PROTOCOL, the name of a port, or icmp")]
    Port(String),
    #[error("the source {0:?} has a port; ports belong to the destination")]
    SourcePort(String),
    #[error(
        "only the last of several destinations carries the port, which then is that of all; write a line for each port"
    )]
    SeveralPorts,
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let form = || LineError::Form(text.to_owned());
        let (left, right) = text.split_once("->").ok_or_else(form)?;
        let (word, from) = left.trim().split_once(char::is_whitespace).ok_or_else(form)?;
        let expected = verdict(word)?;
        let right = right.trim();
        let (to, family) = match right.rsplit_once(char::is_whitespace) {
            // A blank after a comma or an exclamation mark belongs to the list.
            Some((to, last)) if !to.trim_end().ends_with([',', '!']) => (to.trim_end(), Some(last)),
            _ => (right, None),
        };
        let family = match family {
            None => None,
            Some("ipv4" | "[ipv4]") => Some(Family::V4),
            Some("ipv6" | "[ipv6]") => Some(Family::V6),
            Some(other) => return Err(LineError::Family(other.to_owned())),
        };
        let (from, port) = Peers::parse(from)?;
        if port != PortChoice::Every {
            return Err(LineError::SourcePort(left.trim().to_owned()));
        }
        let (to, port) = Peers::parse(to)?;
        Ok(Self { expected, from, to, port, family })
    }
}

fn verdict(text: &str) -> Result<Expected, LineError> {
    match text {
        "allow" => Ok(Expected::Allow),
        "deny" => Ok(Expected::Deny),
        "reject" => Ok(Expected::Reject),
        "skip" => Ok(Expected::Skip),
        _ => Err(LineError::Verdict(text.to_owned())),
    }
}

impl PortChoice {
    pub(crate) fn parse(text: &str) -> Result<Self, LineError> {
        let err = || LineError::Port(text.to_owned());
        if text == "icmp" {
            return Ok(Self::Icmp);
        }
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, Some(protocol)),
            None => (text, None),
        };
        if port.bytes().all(|b| b.is_ascii_digit()) {
            let number = port.parse().ok().filter(|p| *p > 0).ok_or_else(err)?;
            let protocol = protocol.map(|p| p.parse::<Protocol>().map_err(|_| err())).transpose()?;
            return if protocol.is_none_or(Protocol::has_ports) {
                Ok(Self::Number(number, protocol))
            } else {
                Err(err())
            };
        }
        let named = port.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if named && protocol.is_none() { Ok(Self::Name(port.to_owned())) } else { Err(err()) }
    }

    /// Those of the ports that are meant.
    fn of(&self, listen: &[Listen]) -> Vec<ProbePort> {
        let meant = |l: &&Listen| match self {
            Self::Every => true,
            Self::Number(port, protocol) => l.port == *port && protocol.is_none_or(|p| p == l.protocol),
            Self::Name(name) => l.name.as_ref() == Some(name),
            Self::Icmp => false,
        };
        match self {
            Self::Icmp => vec![ProbePort::Icmp],
            _ => listen.iter().filter(meant).map(|l| ProbePort::Port(l.port, l.protocol)).collect(),
        }
    }
}

impl Peers {
    /// A list of peers, and the port after the last.
    fn parse(text: &str) -> Result<(Self, PortChoice), LineError> {
        let mut peers = Self { include: Vec::new(), exclude: Vec::new() };
        let mut port = PortChoice::Every;
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        let last = items.len() - 1;
        for (i, item) in items.into_iter().enumerate() {
            let (list, name) = match item.strip_prefix('!') {
                Some(name) => (&mut peers.exclude, name.trim()),
                None => (&mut peers.include, item),
            };
            let (pattern, own_port) = Pattern::parse(name)?;
            list.push(pattern);
            if let Some(own_port) = own_port {
                if i < last {
                    return Err(LineError::SeveralPorts);
                }
                port = PortChoice::parse(own_port)?;
            }
        }
        if peers.include.is_empty() {
            peers.include.push(Pattern::AllPods);
        }
        Ok((peers, port))
    }

    /// Exactly this peer.
    pub(crate) fn exactly(text: &str) -> Result<Self, LineError> {
        match Self::parse(text)? {
            (peers, PortChoice::Every) if peers.include.len() == 1 && peers.exclude.is_empty() => Ok(peers),
            _ => Err(LineError::Pattern(text.to_owned())),
        }
    }

    fn contains(&self, peer: &Candidate<'_>) -> bool {
        self.include.iter().any(|p| p.matches(peer)) && !self.exclude.iter().any(|p| p.matches(peer))
    }

    /// True if the peer is called by its full name.
    fn names_in_full(&self, pod: &Pod) -> bool {
        let full =
            |p: &Pattern| matches!(p, Pattern::Pod(ns, name) if *ns == pod.namespace && *name == pod.name);
        self.include.iter().any(full)
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<(Self, Option<&str>), LineError> {
        let err = || LineError::Pattern(text.to_owned());
        if let Some(rest) = text.strip_prefix("node:") {
            let (node, port) = split_port(rest);
            let node = if node == "*" { None } else { Some(node.parse().map_err(|_| err())?) };
            return Ok((Self::Node(node), port));
        }
        if let Some(rest) = text.strip_prefix("outside:") {
            let (name, port) = split_port(rest);
            return if name.is_empty() { Err(err()) } else { Ok((Self::Outside(name.to_owned()), port)) };
        }
        let (name, port) = split_port(text);
        if let Some(node) = name.strip_prefix("pods@") {
            return Ok((Self::PodsOf(node.parse().map_err(|_| err())?), port));
        }
        if name == "*" {
            return Ok((Self::AllPods, port));
        }
        let fine = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'*'))
        };
        match name.split_once('/') {
            Some((namespace, pod)) if fine(namespace) && fine(pod) => {
                Ok((Self::Pod(namespace.to_owned(), pod.to_owned()), port))
            }
            _ => Err(err()),
        }
    }

    fn matches(&self, peer: &Candidate<'_>) -> bool {
        match (self, peer) {
            (Self::AllPods, Candidate::Pod(_)) => true,
            (Self::Pod(namespace, name), Candidate::Pod(pod)) => {
                glob(namespace, &pod.namespace) && glob(name, &pod.name)
            }
            (Self::PodsOf(node), Candidate::Pod(pod)) => pod.node == *node,
            (Self::Node(wanted), Candidate::Node(number)) => wanted.is_none_or(|w| w == *number),
            (Self::Outside(name), Candidate::Outside(host)) => glob(name, &host.name),
            _ => false,
        }
    }
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)))
}

/// True if `text` fits `pattern`, in which `*` is any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).filter_map(|i| tail.get(i..)).any(|tail| glob(rest, tail))),
    }
}

/// Somebody whom a pattern may match.
enum Candidate<'a> {
    Pod(&'a Pod),
    Node(usize),
    Outside(&'a Outside),
}

impl Candidate<'_> {
    fn peer(&self) -> Peer {
        match self {
            Self::Pod(pod) => Peer::Pod(pod.full_name()),
            Self::Node(number) => Peer::Node(*number),
            Self::Outside(host) => Peer::Outside(host.name.clone()),
        }
    }

    fn has_family(&self, family: Family) -> bool {
        match self {
            Self::Pod(pod) => pod.has_family(family),
            Self::Node(_) => true,
            Self::Outside(host) => host.addresses.iter().any(|a| Family::of(*a) == family),
        }
    }

    /// The ports that a choice means here. Nobody knows what a node listens on: a port must be given.
    fn ports(&self, choice: &PortChoice) -> Vec<ProbePort> {
        match (self, choice) {
            (Self::Pod(pod), _) => choice.of(&pod.listen),
            (Self::Outside(host), _) => choice.of(&host.listen),
            (Self::Node(_), PortChoice::Number(port, protocol)) => {
                vec![ProbePort::Port(*port, protocol.unwrap_or(Protocol::TCP))]
            }
            (Self::Node(_), PortChoice::Icmp) => vec![ProbePort::Icmp],
            (Self::Node(_), PortChoice::Every | PortChoice::Name(_)) => Vec::new(),
        }
    }
}

/// Why a line comes to nothing.
pub(crate) enum Pointless {
    /// It names somebody who is not there.
    Nobody(String),
    /// Those it names have nothing to probe.
    Nothing(String),
}

impl Pointless {
    pub(crate) fn into_message(self) -> String {
        match self {
            Self::Nobody(message) | Self::Nothing(message) => message,
        }
    }
}

/// Source, destination (places in the cast), port, family.
type Slot = (usize, usize, ProbePort, Family);

/// Collects what lines come to; a later line overrides earlier ones.
pub(crate) struct Expectations<'a> {
    cast: &'a Cast<'a>,
    candidates: Vec<Candidate<'a>>,
    slots: BTreeMap<Slot, (Expected, Position)>,
}

impl<'a> Expectations<'a> {
    pub(crate) fn new(cast: &'a Cast<'a>) -> Self {
        let pods = cast.pods.iter().map(Candidate::Pod);
        let nodes = (1..=cast.nodes).map(Candidate::Node);
        let outside = cast.outside.iter().map(Candidate::Outside);
        Self { cast, candidates: pods.chain(nodes).chain(outside).collect(), slots: BTreeMap::new() }
    }

    /// Adds a line; answers what makes it pointless.
    pub(crate) fn add(&mut self, line: &Line, position: Position) -> Result<(), Pointless> {
        let select = |peers: &Peers| -> Vec<usize> {
            (0..).zip(&self.candidates).filter(|(_, c)| peers.contains(c)).map(|(i, _)| i).collect()
        };
        let (sources, destinations) = (select(&line.from), select(&line.to));
        if let Some(stranger) = self.stranger(&line.from).or_else(|| self.stranger(&line.to)) {
            return Err(Pointless::Nobody(stranger));
        }
        for (side, found) in [("source", &sources), ("destination", &destinations)] {
            if found.is_empty() {
                return Err(Pointless::Nobody(format!("the {side} names nobody who is there in this step")));
            }
        }
        let (mut pairs, mut probes) = (0, 0);
        for from in &sources {
            for to in &destinations {
                let (Some(a), Some(b)) = (self.candidates.get(*from), self.candidates.get(*to)) else {
                    continue;
                };
                if !is_pair(line, a, b) {
                    continue;
                }
                pairs += 1;
                for port in b.ports(&line.port) {
                    for family in self.cast.families {
                        let meant = line.family.is_none_or(|f| f == *family);
                        if meant && a.has_family(*family) && b.has_family(*family) {
                            self.slots.insert((*from, *to, port, *family), (line.expected, position));
                            probes += 1;
                        }
                    }
                }
            }
        }
        match (pairs, probes) {
            (0, _) => Err(Pointless::Nothing("the line names no pair of two different pods".to_owned())),
            (_, 0) => Err(Pointless::Nothing(self.why_no_probe(line, &destinations))),
            _ => Ok(()),
        }
    }

    /// A name in a list that is nobody's.
    fn stranger(&self, peers: &Peers) -> Option<String> {
        let unknown = |p: &&Pattern| !self.candidates.iter().any(|c| p.matches(c));
        peers.include.iter().chain(&peers.exclude).find(unknown).map(|pattern| match pattern {
            Pattern::Pod(namespace, name) => format!("there is no pod {namespace}/{name} in this step"),
            Pattern::PodsOf(node) => format!("there is no pod on node {node} in this step"),
            Pattern::Node(Some(node)) => {
                format!("there is no node {node}: the scenario has {}", self.cast.nodes)
            }
            Pattern::Outside(name) => format!("there is no outside host {name}"),
            Pattern::Node(None) | Pattern::AllPods => "there are no pods in this step".to_owned(),
        })
    }

    fn why_no_probe(&self, line: &Line, destinations: &[usize]) -> String {
        let to_node =
            destinations.iter().any(|i| matches!(self.candidates.get(*i), Some(Candidate::Node(_))));
        match &line.port {
            PortChoice::Every | PortChoice::Name(_) if to_node => {
                "a node listens on no declared port: name one by its number, or icmp".to_owned()
            }
            PortChoice::Number(port, Some(protocol)) => {
                format!("nobody the line names listens on {}", ProbePort::Port(*port, *protocol))
            }
            PortChoice::Number(port, None) => format!("nobody the line names listens on port {port}"),
            PortChoice::Name(name) => format!("nobody the line names has a port called {name}"),
            PortChoice::Every | PortChoice::Icmp if line.family.is_some() => {
                "the line's family is not probed between those it names".to_owned()
            }
            PortChoice::Every => "nobody the line names listens on any port".to_owned(),
            PortChoice::Icmp => "those whom the line names share no family".to_owned(),
        }
    }

    /// Every pair of distinct pods, port and family of which no line speaks.
    pub(crate) fn missing(&self) -> Vec<String> {
        let pods = || (0..).zip(&self.candidates).filter(|(_, c)| matches!(c, Candidate::Pod(_)));
        let mut missing = Vec::new();
        for (from, a) in pods() {
            for (to, b) in pods().filter(|(to, _)| *to != from) {
                for port in b.ports(&PortChoice::Every) {
                    let families =
                        self.cast.families.iter().filter(|f| a.has_family(**f) && b.has_family(**f));
                    for family in families {
                        if !self.slots.contains_key(&(from, to, port, *family)) {
                            missing.push(format!("{} -> {}:{port} {family}", a.peer(), b.peer()));
                        }
                    }
                }
            }
        }
        missing
    }

    pub(crate) fn into_probes(self) -> Vec<Probe> {
        let candidates = &self.candidates;
        let probe = |((from, to, port, family), (expected, line)): (Slot, (Expected, Position))| {
            let (from, to) = (candidates.get(from)?.peer(), candidates.get(to)?.peer());
            Some(Probe { from, to, port, family, expected, line })
        };
        self.slots.into_iter().filter_map(probe).collect()
    }
}

/// True if a line speaks of the two: a pod and itself only if it names both by their full name.
fn is_pair(line: &Line, from: &Candidate<'_>, to: &Candidate<'_>) -> bool {
    match (from, to) {
        (Candidate::Pod(a), Candidate::Pod(b)) if a.namespace == b.namespace && a.name == b.name => {
            line.from.names_in_full(a) && line.to.names_in_full(b)
        }
        (Candidate::Node(a), Candidate::Node(b)) => a != b,
        (Candidate::Outside(a), Candidate::Outside(b)) => a.name != b.name,
        _ => true,
    }
}
