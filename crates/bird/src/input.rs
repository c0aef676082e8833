//! What routing depends on.

use crate::Filter;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tortie_net::{Cidr, Family};
use tortie_selector::Selector;

/// Calico's default AS number.
pub(crate) const DEFAULT_AS: u32 = 64512;

/// Metric of routes that nothing makes more or less important.
pub(crate) const DEFAULT_PRIORITY: u32 = 1024;

/// Everything that one node's BIRD must know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// Name of this node.
    pub node: String,
    /// All nodes by name, this one included.
    pub nodes: BTreeMap<String, Node>,
    /// All peerings by name.
    pub peers: BTreeMap<String, Peer>,
    /// All filters by name.
    pub filters: BTreeMap<String, Filter>,
    /// All pools.
    pub pools: Vec<Pool>,
    /// Networks of others that pools hold by mistake: nodes', Services'.
    pub foreign: Vec<Cidr>,
    /// Blocks whose affinity to this node is confirmed.
    pub blocks: Vec<Cidr>,
    /// Service addresses that this node tells its peers of.
    pub advertised: Vec<Cidr>,
    /// Cluster-wide settings, with this node's exceptions.
    pub configuration: Configuration,
    /// Secrets that peerings refer to.
    pub secrets: BTreeMap<SecretRef, String>,
    /// How to identify this node to BGP.
    pub router_id: RouterId,
    /// Prefixes of workload interfaces, several with commas; empty is `cali`.
    pub interface_prefix: String,
}

/// A node as BGP sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Address of its IPv4 sessions.
    pub ipv4: Option<Ipv4Addr>,
    /// Address of its IPv6 sessions.
    pub ipv6: Option<Ipv6Addr>,
    /// Its AS, if it is not the cluster's.
    pub as_number: Option<u32>,
    /// Makes it a route reflector.
    pub reflector_cluster: Option<Ipv4Addr>,
    /// Its port, if it is not the cluster's.
    pub listen_port: Option<u16>,
}

/// Who peers with whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// This end.
    pub nodes: PeerNodes,
    /// The other end.
    pub target: PeerTarget,
    /// AS to use towards the peer instead of the node's.
    pub local_as: Option<u32>,
    /// Address to speak from.
    pub source: SourceAddress,
    /// What to do with next hops.
    pub next_hop: NextHopMode,
    /// TCP-MD5 password.
    pub password: Option<SecretRef>,
    /// Seconds that routes stay while the peer restarts.
    pub restart_seconds: Option<u32>,
    /// Seconds between keepalives.
    pub keepalive_seconds: Option<u32>,
    /// Times the own AS may stand in a received path.
    pub allowed_local_as: u32,
    /// Hops to the peer, checked by TTL.
    pub ttl_security: Option<u8>,
    /// Gateway by which the peer is reached.
    pub reachable_by: Option<IpAddr>,
    /// Filters in order.
    pub filters: Vec<String>,
    /// Nodes on the other end peer back by themselves.
    pub reverse: bool,
}

/// The nodes at this end of a peering.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PeerNodes {
    /// Every node.
    #[default]
    All,
    /// The node of this name.
    Node(String),
    /// Nodes with such labels.
    Selected(Selector),
}

/// The other end of a peering.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerTarget {
    /// An address.
    Address {
        /// The address.
        address: IpAddr,
        /// Its port, if it is not 179 (or, for a node, the node's).
        port: Option<u16>,
        /// Its AS; 0 means the cluster's.
        as_number: u32,
    },
    /// Nodes with such labels, over each family that both ends have.
    Nodes(Selector),
}

/// Where a session's packets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceAddress {
    /// The node's BGP address.
    #[default]
    NodeIp,
    /// Whatever the kernel chooses.
    Any,
}

/// What a session does with next hops of the routes it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextHopMode {
    /// BGP's rules.
    #[default]
    Auto,
    /// Always this node.
    Own,
    /// Never this node.
    Keep,
    /// Never this node, if the peer is in another AS (`keepOriginalNextHop`).
    KeepExternal,
}

/// A key of a secret in the system's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// Name of the secret.
    pub name: String,
    /// Key within it.
    pub key: String,
}

/// How packets of a pool travel between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encapsulation {
    /// As they are.
    #[default]
    None,
    /// In IP.
    Ipip,
    /// In VXLAN.
    Vxlan,
}

/// A pool as BGP sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its prefix.
    pub cidr: Cidr,
    /// Told to peers.
    pub export: bool,
    /// How its packets travel.
    pub encapsulation: Encapsulation,
}

impl Pool {
    /// A pool without encapsulation, told to peers.
    pub fn new(cidr: Cidr) -> Self {
        Self { cidr, export: true, encapsulation: Encapsulation::None }
    }
}

/// Which pools' routes to other nodes BIRD writes to the kernel; others are the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRoutes {
    /// Those of pools with IP in IP.
    pub ipip: bool,
    /// Those of pools without encapsulation.
    pub unencapsulated: bool,
}

impl Default for ClusterRoutes {
    fn default() -> Self {
        Self { ipip: false, unencapsulated: true }
    }
}

/// Metric of ordinary routes per family; lower ones are more important.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// IPv4.
    pub v4: u32,
    /// IPv6.
    pub v6: u32,
}

impl Default for Priorities {
    fn default() -> Self {
        Self { v4: DEFAULT_PRIORITY, v6: DEFAULT_PRIORITY }
    }
}

impl Priorities {
    /// That of a family.
    pub fn of(self, family: Family) -> u32 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// How much BIRD says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogSeverity {
    /// Everything.
    Debug,
    /// Sessions coming and going.
    #[default]
    Info,
    /// Warnings.
    Warning,
    /// Errors.
    Error,
    /// What ends the daemon.
    Fatal,
}

/// Where BIRD listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindMode {
    /// On all addresses.
    #[default]
    Any,
    /// On the node's BGP addresses.
    NodeIp,
}

/// A community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// `asn:value`.
    Standard(u16, u16),
    /// `asn:value:value`.
    Large(u32, u32, u32),
}

impl Community {
    /// Parses `aa:nn` or `aa:nn:mm`.
    pub fn parse(text: &str) -> Option<Self> {
        match *text.split(':').collect::<Vec<_>>().as_slice() {
            [a, b] => Some(Self::Standard(a.parse().ok()?, b.parse().ok()?)),
            [a, b, c] => Some(Self::Large(a.parse().ok()?, b.parse().ok()?, c.parse().ok()?)),
            _ => None,
        }
    }

    /// The attribute that carries it.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Self::Standard(..) => "bgp_community",
            Self::Large(..) => "bgp_large_community",
        }
    }
}

/// As BIRD writes it: `(aa, nn)`.
impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(a, b) => write!(f, "({a}, {b})"),
            Self::Large(a, b, c) => write!(f, "({a}, {b}, {c})"),
        }
    }
}

/// Communities that routes of a prefix carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixCommunities {
    /// The prefix.
    pub cidr: Cidr,
    /// The communities.
    pub communities: Vec<Community>,
}

/// Cluster-wide settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Every node peers with every other.
    pub mesh: bool,
    /// The cluster's AS.
    pub as_number: u32,
    /// The cluster's port, if it is not 179.
    pub listen_port: Option<u16>,
    /// Where to listen.
    pub bind: BindMode,
    /// How much to say.
    pub log: LogSeverity,
    /// Password of mesh sessions.
    pub mesh_password: Option<SecretRef>,
    /// Seconds that routes of the mesh stay while a node restarts.
    pub mesh_restart_seconds: Option<u32>,
    /// Communities to add, in order.
    pub communities: Vec<PrefixCommunities>,
    /// Interfaces, with `*` perhaps, whose addresses do not matter.
    pub ignored_interfaces: Vec<String>,
    /// Metric of ordinary routes.
    pub priorities: Priorities,
    /// What BIRD writes to the kernel.
    pub cluster_routes: ClusterRoutes,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            mesh: true,
            as_number: DEFAULT_AS,
            listen_port: None,
            bind: BindMode::Any,
            log: LogSeverity::Info,
            mesh_password: None,
            mesh_restart_seconds: None,
            communities: Vec::new(),
            ignored_interfaces: Vec::new(),
            priorities: Priorities::default(),
            cluster_routes: ClusterRoutes::default(),
        }
    }
}

/// How a node is identified to BGP (`CALICO_ROUTER_ID`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterId {
    /// Its IPv4 address; without one, as [`RouterId::Hash`].
    #[default]
    NodeIp,
    /// From its name.
    Hash,
    /// Given.
    Given(Ipv4Addr),
}

impl Node {
    /// Its address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ipv4.map(IpAddr::V4),
            Family::V6 => self.ipv6.map(IpAddr::V6),
        }
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        Family::ALL.into_iter().filter_map(|f| self.address(f))
    }
}

impl PeerNodes {
    /// True if the node is at this end.
    pub fn contain(&self, name: &str, node: &Node) -> bool {
        match self {
            Self::All => true,
            Self::Node(wanted) => wanted == name,
            Self::Selected(selector) => selector.evaluate(&node.labels),
        }
    }
}

impl Peer {
    /// A peering of all nodes with something, with all options as they are by default.
    pub fn new(target: PeerTarget) -> Self {
        Self {
            nodes: PeerNodes::All,
            target,
            local_as: None,
            source: SourceAddress::NodeIp,
            next_hop: NextHopMode::Auto,
            password: None,
            restart_seconds: None,
            keepalive_seconds: None,
            allowed_local_as: 0,
            ttl_security: None,
            reachable_by: None,
            filters: Vec::new(),
            reverse: true,
        }
    }
}

impl Input {
    /// This node; without an object it has no addresses and so no sessions.
    pub fn own(&self) -> Node {
        self.nodes.get(&self.node).cloned().unwrap_or_default()
    }

    /// The AS of a node.
    pub(crate) fn as_of(&self, node: &Node) -> u32 {
        node.as_number.unwrap_or(self.configuration.as_number)
    }

    /// The port of a node, if any was configured.
    pub(crate) fn port_of(&self, node: &Node) -> Option<u16> {
        node.listen_port.or(self.configuration.listen_port)
    }

    /// The identity of this node.
    pub fn router_id(&self) -> Ipv4Addr {
        use sha2::{Digest, Sha256};
        let hash = || {
            let digest = Sha256::digest(&self.node);
            let [a, b, c, d] = digest.first_chunk().copied().unwrap_or([0, 0, 0, 1]);
            Ipv4Addr::new(a, b, c, d)
        };
        match self.router_id {
            RouterId::Given(id) => id,
            RouterId::Hash => hash(),
            RouterId::NodeIp => self.own().ipv4.unwrap_or_else(hash),
        }
    }
}
