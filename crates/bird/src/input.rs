//! What a configuration is made of.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use tortie_net::{Cidr, Family};
use tortie_selector::Selector;

/// Everything that one node's configuration depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name of this node.
    pub node: String,
    /// All nodes, this one among them, by name.
    pub nodes: BTreeMap<String, Node>,
    /// Configured peers, by name of the BGPPeer.
    pub peers: BTreeMap<String, Peer>,
    /// Pools.
    pub pools: Vec<Pool>,
    /// Blocks of this node.
    pub blocks: Vec<Cidr>,
    /// Every node peers with every other (`nodeToNodeMeshEnabled`).
    pub mesh: bool,
    /// AS number of nodes that have none of their own.
    pub default_as: u32,
    /// TCP port of BGP.
    pub listen_port: u16,
    /// Prefix of workload interfaces.
    pub interface_prefix: String,
}

/// A node as BGP sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Labels, for selectors of peers.
    pub labels: BTreeMap<String, String>,
    /// IPv4 address.
    pub ipv4: Option<IpAddr>,
    /// IPv6 address.
    pub ipv6: Option<IpAddr>,
    /// Own AS number.
    pub as_number: Option<u32>,
    /// Makes the node a route reflector: it leaves the mesh.
    pub reflector_cluster: Option<Ipv4Addr>,
}

impl Node {
    /// The node's address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }
}

/// A configured peering.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// This node only.
    pub node: Option<String>,
    /// Nodes with these labels; with neither, all nodes.
    pub node_selector: Option<Selector>,
    /// Whom to peer with.
    pub target: PeerTarget,
    /// Leave next hops as they are.
    pub keep_next_hop: bool,
}

/// The other side of a peering.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerTarget {
    /// A router.
    Address {
        /// Its address.
        address: IpAddr,
        /// Its port, if not 179.
        port: Option<u16>,
        /// Its AS number.
        as_number: u32,
    },
    /// Nodes with these labels.
    Nodes(Selector),
}

/// A pool as BGP sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The pool.
    pub cidr: Cidr,
    /// Routes in it may be told to peers.
    pub export: bool,
}
