//! Who peers with whom, from the view of one node.
//!
//! Four sources, in this order: peerings of all nodes, peerings of some nodes, the reverse of peerings whose other end
//! is this node, the mesh. What exists already for an address and port is not made again.

use crate::{Input, NextHopMode, Node, Peer, PeerNodes, PeerTarget, Problem, SecretRef, SourceAddress};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use tortie_net::Family;

/// Where a session comes from; the beginning of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionKind {
    /// The mesh of nodes.
    Mesh,
    /// A peering of all nodes.
    Global,
    /// A peering of some nodes.
    Node,
}

/// A BGP session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where it comes from.
    pub kind: SessionKind,
    /// The peer.
    pub peer: IpAddr,
    /// Its port, if it is not 179.
    pub port: Option<u16>,
    /// Its AS.
    pub peer_as: u32,
    /// Our AS.
    pub local_as: u32,
    /// Our address; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
    /// Wait for the peer to connect.
    pub passive: bool,
    /// TCP-MD5 password.
    pub password: Option<String>,
    /// Seconds that routes stay while the peer restarts.
    pub restart_seconds: Option<u32>,
    /// Seconds between keepalives.
    pub keepalive_seconds: Option<u32>,
    /// Times our AS may stand in a received path.
    pub allowed_local_as: u32,
    /// Hops to the peer, checked by TTL.
    pub ttl_security: Option<u8>,
    /// What to do with next hops; `KeepExternal` is resolved.
    pub next_hop: NextHopMode,
    /// The peer is a client of our route reflector cluster.
    pub reflector_cluster: Option<Ipv4Addr>,
    /// Gateway by which the peer is reached.
    pub reachable_by: Option<IpAddr>,
    /// Filters in order; they exist.
    pub filters: Vec<String>,
}

impl Session {
    /// BIRD's name of it: `Mesh_10_0_0_2`, `Global_fd00__2_port_180`.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            SessionKind::Mesh => "Mesh",
            SessionKind::Global => "Global",
            SessionKind::Node => "Node",
        };
        let address = self.peer.to_string().replace(['.', ':'], "_");
        match self.port.filter(|_| self.kind != SessionKind::Mesh) {
            Some(port) => format!("{kind}_{address}_port_{port}"),
            None => format!("{kind}_{address}"),
        }
    }

    /// Its family: that of its addresses, and of the routes it carries.
    pub fn family(&self) -> Family {
        Family::of(self.peer)
    }

    /// Both ends are in one AS.
    pub fn is_internal(&self) -> bool {
        self.peer_as == self.local_as
    }
}

/// The sessions of this node in order of their names, and what could not be had.
pub fn sessions(input: &Input) -> (Vec<Session>, Vec<Problem>) {
    let mut builder = Builder {
        input,
        own: input.own(),
        sessions: Vec::new(),
        explicit: BTreeSet::new(),
        problems: Vec::new(),
    };
    for global in [true, false] {
        for (name, peer) in &input.peers {
            let is_global = peer.nodes == PeerNodes::All;
            if is_global == global && peer.nodes.contain(&input.node, &builder.own) {
                builder.forward(name, peer, if global { SessionKind::Global } else { SessionKind::Node });
            }
        }
    }
    for (name, peer) in input.peers.iter().filter(|(_, p)| p.reverse) {
        builder.reverse(name, peer);
    }
    builder.mesh();
    let Builder { mut sessions, mut problems, .. } = builder;
    sessions.sort_by_key(Session::name);
    problems.sort();
    problems.dedup();
    (sessions, problems)
}

struct Builder<'a> {
    input: &'a Input,
    own: Node,
    sessions: Vec<Session>,
    /// Addresses and ports that have a session already.
    explicit: BTreeSet<(IpAddr, Option<u16>)>,
    problems: Vec<Problem>,
}

/// The other end of a session.
struct Remote {
    address: IpAddr,
    port: Option<u16>,
    as_number: u32,
    reflector_cluster: Option<Ipv4Addr>,
    /// An address that a peering names and that happens to be a node's.
    is_named_node: bool,
}

impl Builder<'_> {
    /// Every node with every other, but for route reflectors.
    fn mesh(&mut self) {
        let configuration = &self.input.configuration;
        if !configuration.mesh || self.own.reflector_cluster.is_some() {
            return;
        }
        let secret = configuration.mesh_password.as_ref();
        let password = match self.password("BGPConfiguration default", "nodeMeshPassword", secret) {
            Ok(password) => password,
            Err(problem) => return self.problems.push(problem),
        };
        let others = self.input.nodes.iter().filter(|(name, _)| **name != self.input.node);
        for (_, node) in others.filter(|(_, n)| n.reflector_cluster.is_none()) {
            for family in Family::ALL {
                let (Some(own), Some(peer)) = (self.own.address(family), node.address(family)) else {
                    continue;
                };
                if own == peer || self.explicit.iter().any(|(address, _)| *address == peer) {
                    continue;
                }
                self.sessions.push(Session {
                    kind: SessionKind::Mesh,
                    peer,
                    port: self.input.port_of(node),
                    peer_as: self.input.as_of(node),
                    local_as: self.input.as_of(&self.own),
                    source: Some(own),
                    passive: is_passive(own, peer),
                    password: password.clone(),
                    restart_seconds: configuration.mesh_restart_seconds,
                    keepalive_seconds: None,
                    allowed_local_as: 0,
                    ttl_security: None,
                    next_hop: NextHopMode::Auto,
                    reflector_cluster: None,
                    reachable_by: None,
                    filters: Vec::new(),
                });
            }
        }
    }

    /// Sessions of a peering whose near end is this node.
    fn forward(&mut self, name: &str, peer: &Peer, kind: SessionKind) {
        match &peer.target {
            PeerTarget::Nodes(selector) => {
                let nodes: Vec<&Node> =
                    self.input.nodes.values().filter(|n| selector.evaluate(&n.labels)).collect();
                for node in nodes {
                    for remote in self.remotes_of(node, Family::ALL) {
                        self.add(name, peer, kind, &remote);
                    }
                }
            }
            PeerTarget::Address { address, port, as_number } => {
                let configured = self.input.configuration.as_number;
                let as_number = if *as_number == 0 { configured } else { *as_number };
                let is_named_node = self.input.nodes.values().any(|n| n.addresses().any(|a| a == *address));
                let node = self.nodes_at(*address, *port, as_number).next();
                let port = port.or_else(|| node.and_then(|(_, n)| self.input.port_of(n)));
                let remote =
                    Remote { address: *address, port, as_number, reflector_cluster: None, is_named_node };
                self.add(name, peer, kind, &remote);
            }
        }
    }

    /// Sessions of a peering whose far end is this node: back to the nodes of its near end.
    fn reverse(&mut self, name: &str, peer: &Peer) {
        let families: &[Family] = match &peer.target {
            PeerTarget::Nodes(selector) if selector.evaluate(&self.own.labels) => &Family::ALL,
            PeerTarget::Address { address, port, as_number } => {
                let configured = self.input.configuration.as_number;
                let as_number = if *as_number == 0 { configured } else { *as_number };
                let is_own = self.nodes_at(*address, *port, as_number).any(|(n, _)| *n == self.input.node);
                if !is_own {
                    return;
                }
                if address.is_ipv4() { &[Family::V4] } else { &[Family::V6] }
            }
            PeerTarget::Nodes(_) => return,
        };
        let nodes = self.input.nodes.iter().filter(|(n, node)| peer.nodes.contain(n, node));
        let remotes: Vec<Remote> =
            nodes.flat_map(|(_, node)| self.remotes_of(node, families.iter().copied())).collect();
        for remote in remotes {
            self.add(name, peer, SessionKind::Node, &remote);
        }
    }

    fn remotes_of(&self, node: &Node, families: impl IntoIterator<Item = Family>) -> Vec<Remote> {
        let addresses = families.into_iter().filter_map(|family| node.address(family));
        addresses
            .map(|address| Remote {
                address,
                port: self.input.port_of(node),
                as_number: self.input.as_of(node),
                reflector_cluster: node.reflector_cluster,
                is_named_node: false,
            })
            .collect()
    }

    /// Nodes with this address and AS, and this port if one is given.
    fn nodes_at(
        &self,
        address: IpAddr,
        port: Option<u16>,
        as_number: u32,
    ) -> impl Iterator<Item = (&String, &Node)> {
        self.input.nodes.iter().filter(move |(_, node)| {
            let listens = self.input.port_of(node);
            node.addresses().any(|a| a == address)
                && self.input.as_of(node) == as_number
                && port.is_none_or(|p| listens.is_none_or(|l| l == p))
        })
    }

    fn add(&mut self, name: &str, peer: &Peer, kind: SessionKind, remote: &Remote) {
        let family = Family::of(remote.address);
        let own = self.own.address(family);
        // Sessions of a family that the node has not got could never come up.
        let Some(own) = own.filter(|own| *own != remote.address) else { return };
        let password = match self.password(&format!("BGPPeer {name}"), "password", peer.password.as_ref()) {
            Ok(password) => password,
            Err(problem) => return self.problems.push(problem),
        };
        if !self.explicit.insert((remote.address, remote.port)) {
            return;
        }
        let local_as = peer.local_as.unwrap_or_else(|| self.input.as_of(&self.own));
        let internal = remote.as_number == local_as;
        let reachable_by = peer.reachable_by.filter(|by| Family::of(*by) == family);
        let is_client = internal && self.own.reflector_cluster != remote.reflector_cluster;
        let filters = self.filters(name, peer);
        self.sessions.push(Session {
            kind,
            peer: remote.address,
            port: remote.port,
            peer_as: remote.as_number,
            local_as,
            source: (peer.source == SourceAddress::NodeIp).then_some(own),
            passive: kind == SessionKind::Global && remote.is_named_node && is_passive(own, remote.address),
            password,
            restart_seconds: peer.restart_seconds,
            keepalive_seconds: peer.keepalive_seconds,
            allowed_local_as: peer.allowed_local_as,
            ttl_security: peer.ttl_security,
            next_hop: match peer.next_hop {
                NextHopMode::KeepExternal if internal => NextHopMode::Auto,
                NextHopMode::KeepExternal => NextHopMode::Keep,
                other => other,
            },
            reflector_cluster: self.own.reflector_cluster.filter(|_| is_client),
            reachable_by,
            filters,
        });
    }

    /// The password that a secret holds. A session that needs one which is not there is better down than open.
    fn password(
        &self,
        object: &str,
        field: &str,
        secret: Option<&SecretRef>,
    ) -> Result<Option<String>, Problem> {
        let Some(secret) = secret else { return Ok(None) };
        let SecretRef { name, key } = secret;
        let problem = match self.input.secrets.get(secret) {
            Some(password) if is_writable(password) => return Ok(Some(password.clone())),
            Some(_) => format!("key {key} of secret {name} cannot be written in BIRD's configuration"),
            None => format!("secret {name} has no key {key}"),
        };
        let reason = format!("spec.{field}: {problem}; its sessions are down until that is changed");
        Err(Problem { object: object.to_owned(), reason })
    }

    fn filters(&mut self, name: &str, peer: &Peer) -> Vec<String> {
        let (known, missing): (Vec<String>, Vec<String>) =
            peer.filters.iter().cloned().partition(|f| self.input.filters.contains_key(f));
        for filter in missing {
            let reason = format!("spec.filters: there is no BGPFilter {filter}; it is left out");
            self.problems.push(Problem { object: format!("BGPPeer {name}"), reason });
        }
        known
    }
}

/// Of two nodes only one connects, so that no two connections meet: the one whose address is higher as text.
fn is_passive(own: IpAddr, peer: IpAddr) -> bool {
    peer.to_string() > own.to_string()
}

/// True if BIRD's language can express the text: it knows no escapes.
pub(crate) fn is_writable(text: &str) -> bool {
    !text.is_empty() && !text.contains(['"', '\n', '\r', '\0'])
}

#[cfg(test)]
mod tests;
