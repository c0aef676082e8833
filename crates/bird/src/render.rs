//! The text of `bird.cfg`.
//!
//! Rules of the content:
//! * to peers go this node's blocks, and other routes inside pools that are exported (borrowed addresses; what a route
//!   reflector passes on); nothing else, above all no default route that another peer told;
//! * to the kernel go routes learnt by BGP, and a blackhole for each own block, so that an unused address of the block
//!   does not wander to the default route; more specific routes to workloads win over it;
//! * from the kernel come all routes (the default route among them), so that next hops in other subnets resolve.

use crate::input::{Input, Node, PeerTarget};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use tortie_net::{Cidr, Family};

/// One session of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    name: String,
    local: IpAddr,
    peer: IpAddr,
    port: Option<u16>,
    local_as: u32,
    peer_as: u32,
    keep_next_hop: bool,
    /// The peer is a client of this reflector.
    reflector: Option<Ipv4Addr>,
    passive: bool,
}

/// The configuration of one node.
pub fn render(input: &Input) -> String {
    let mut text = String::from(
        "# Written by the node agent from the datastore. Changes made here are overwritten.\n\n",
    );
    let own = input.nodes.get(&input.node).cloned().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "log stderr {{ info, remote, warning, error, auth, fatal, bug }};");
    let _ = writeln!(text, "router id {};", router_id(&input.node, &own));
    let _ = writeln!(text, "timeformat protocol iso long;\n");
    let _ = writeln!(text, "protocol device {{\n  scan time 2;\n}}\n");
    let _ = writeln!(
        text,
        "protocol direct {{\n  ipv4;\n  ipv6;\n  interface -\"{}*\", -\"kube-ipvs*\", \"*\";\n}}\n",
        input.interface_prefix
    );
    for family in Family::ALL {
        tables(&mut text, input, family);
    }
    let sessions = sessions(input, &own);
    if !sessions.is_empty() {
        let _ = writeln!(
            text,
            "template bgp calico {{\n  connect delay time 1;\n  connect retry time 2;\n  error wait time 2, 10;\n  error forget time 30;\n  graceful restart on;\n}}\n"
        );
    }
    for session in sessions.values() {
        text.push_str(&session.render(input.listen_port));
    }
    text
}

/// A number that differs between nodes: the IPv4 address, or a hash of the name where there is none.
fn router_id(name: &str, node: &Node) -> Ipv4Addr {
    match node.ipv4 {
        Some(IpAddr::V4(address)) => address,
        _ => {
            // FNV-1a; never 0.0.0.0, which BIRD refuses.
            let hash =
                name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
            Ipv4Addr::from(hash.max(1))
        }
    }
}

/// Static blocks, filters and the kernel of one family.
fn tables(text: &mut String, input: &Input, family: Family) {
    let v = family.version();
    let blocks: Vec<Cidr> = input.blocks.iter().copied().filter(|b| b.family() == family).collect();
    let _ = writeln!(text, "protocol static blocks{v} {{\n  ipv{v};");
    for block in &blocks {
        let _ = writeln!(text, "  route {block} blackhole;");
    }
    let _ = writeln!(text, "}}\n\nfilter to_peers{v} {{");
    for block in &blocks {
        let _ = writeln!(text, "  if net = {block} then {};", verdict(exported(input, *block)));
        let _ = writeln!(text, "  if net ~ [ {block}+ ] then reject;");
    }
    for pool in input.pools.iter().filter(|p| p.cidr.family() == family) {
        let _ = writeln!(text, "  if net ~ [ {}+ ] then {};", pool.cidr, verdict(pool.export));
    }
    let _ = writeln!(text, "  reject;\n}}\n\nfilter to_kernel{v} {{");
    let _ = writeln!(text, "  if source = RTS_BGP then accept;");
    let _ = writeln!(text, "  if source = RTS_STATIC then accept;\n  reject;\n}}\n");
    let _ = writeln!(text, "protocol kernel kernel{v} {{");
    let _ = writeln!(text, "  learn;\n  persist;\n  scan time 2;\n  merge paths on;\n  graceful restart;");
    let _ = writeln!(text, "  ipv{v} {{\n    import all;\n    export filter to_kernel{v};\n  }};\n}}\n");
}

fn exported(input: &Input, block: Cidr) -> bool {
    input.pools.iter().any(|p| p.export && p.cidr.covers(block))
}

fn verdict(accept: bool) -> &'static str {
    if accept { "accept" } else { "reject" }
}

/// All sessions of this node by name; a configured peering replaces the mesh's session with the same address.
fn sessions(input: &Input, own: &Node) -> BTreeMap<String, Session> {
    let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
    let local_as = own.as_number.unwrap_or(input.default_as);
    for family in Family::ALL {
        let Some(local) = own.address(family) else { continue };
        let mut configured = configured_peers(input, own, family, local, local_as);
        if input.mesh && own.reflector_cluster.is_none() {
            for (name, node) in &input.nodes {
                let Some(peer) = node.address(family) else { continue };
                let known = configured.iter().any(|s| s.peer == peer && s.port.is_none());
                if *name == input.node || peer == local || node.reflector_cluster.is_some() || known {
                    continue;
                }
                configured.push(Session {
                    name: protocol_name("Mesh", peer, None),
                    local,
                    peer,
                    port: None,
                    local_as,
                    peer_as: node.as_number.unwrap_or(input.default_as),
                    keep_next_hop: false,
                    reflector: None,
                    // One side connects: two sessions that collide cost seconds.
                    passive: local > peer,
                });
            }
        }
        for session in configured {
            sessions.entry(session.name.clone()).or_insert(session);
        }
    }
    sessions
}

fn configured_peers(input: &Input, own: &Node, family: Family, local: IpAddr, local_as: u32) -> Vec<Session> {
    let mut found: Vec<Session> = Vec::new();
    for peer in input.peers.values() {
        let applies = match (&peer.node, &peer.node_selector) {
            (Some(node), _) => *node == input.node,
            (None, Some(selector)) => selector.evaluate(&own.labels),
            (None, None) => true,
        };
        let prefix = if peer.node.is_some() || peer.node_selector.is_some() { "Node" } else { "Global" };
        // Peerings with nodes by selector are mutual: this node also answers those that select it.
        match &peer.target {
            PeerTarget::Address { address, port, as_number } => {
                if applies && Family::of(*address) == family && *address != local {
                    found.push(Session {
                        name: protocol_name(prefix, *address, *port),
                        local,
                        peer: *address,
                        port: *port,
                        local_as,
                        peer_as: *as_number,
                        keep_next_hop: peer.keep_next_hop,
                        reflector: own.reflector_cluster.filter(|_| *as_number == local_as),
                        passive: false,
                    });
                }
            }
            PeerTarget::Nodes(targets) => {
                for (name, node) in &input.nodes {
                    let Some(address) = node.address(family) else { continue };
                    let selected = applies && targets.evaluate(&node.labels);
                    let selects = targets.evaluate(&own.labels) && selects(peer, name, node);
                    if *name == input.node || !(selected || selects) {
                        continue;
                    }
                    let peer_as = node.as_number.unwrap_or(input.default_as);
                    let same = node.reflector_cluster == own.reflector_cluster;
                    found.push(Session {
                        name: protocol_name("Node", address, None),
                        local,
                        peer: address,
                        port: None,
                        local_as,
                        peer_as,
                        keep_next_hop: peer.keep_next_hop,
                        reflector: own.reflector_cluster.filter(|_| peer_as == local_as && !same),
                        passive: local > address,
                    });
                }
            }
        }
    }
    found
}

/// True if `peer` applies to the node called `name`.
fn selects(peer: &crate::input::Peer, name: &str, node: &Node) -> bool {
    match (&peer.node, &peer.node_selector) {
        (Some(only), _) => only == name,
        (None, Some(selector)) => selector.evaluate(&node.labels),
        (None, None) => true,
    }
}

fn protocol_name(prefix: &str, peer: IpAddr, port: Option<u16>) -> String {
    let address = peer.to_string().replace(['.', ':'], "_");
    match port {
        Some(port) => format!("{prefix}_{address}_port_{port}"),
        None => format!("{prefix}_{address}"),
    }
}

impl Session {
    fn render(&self, listen_port: u16) -> String {
        let v = if self.peer.is_ipv4() { 4 } else { 6 };
        let mut text = String::new();
        let _ = writeln!(text, "protocol bgp {} from calico {{", self.name);
        let own_port = if listen_port == 179 { String::new() } else { format!(" port {listen_port}") };
        let _ = writeln!(text, "  local {}{own_port} as {};", self.local, self.local_as);
        let port = match self.port {
            Some(port) => format!(" port {port}"),
            None if listen_port != 179 => format!(" port {listen_port}"),
            None => String::new(),
        };
        let _ = writeln!(text, "  neighbor {}{port} as {};", self.peer, self.peer_as);
        let _ = writeln!(text, "  multihop;");
        if self.passive {
            let _ = writeln!(text, "  passive on;");
        }
        if let Some(cluster) = self.reflector {
            let _ = writeln!(text, "  rr client;\n  rr cluster id {cluster};");
        }
        let _ =
            writeln!(text, "  ipv{v} {{\n    import all;\n    export filter to_peers{v};\n    add paths on;");
        let _ = writeln!(text, "    gateway recursive;");
        if self.keep_next_hop {
            let _ = writeln!(text, "    next hop keep;");
        }
        let _ = writeln!(text, "  }};\n}}\n");
        text
    }
}

#[cfg(test)]
mod tests;
