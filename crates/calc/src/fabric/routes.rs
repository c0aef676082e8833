//! Routes: what is known of each prefix, and what follows from the prefixes around it.

use super::FabricUpdate;
use super::node::Node;
use crate::told::Told;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::{BitOr, BitOrAssign, Bound};
use std::sync::Arc;
use tortie_model::value::IpPool;
use tortie_net::{Cidr, Family};

/// What is known about a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// What is there.
    pub kinds: RouteKinds,
    /// Kind of the pool around it.
    pub pool: PoolKind,
    /// The node where it is.
    pub node: Option<Arc<str>>,
    /// That node's address of the destination's family.
    pub node_address: Option<IpAddr>,
    /// The pool encapsulates only across subnets, and the node is in this node's subnet.
    pub same_subnet: bool,
    /// Traffic from here to outside the pools is translated.
    pub nat_outgoing: bool,
    /// A workload of this node has this address.
    pub local_workload: bool,
    /// The tunnels whose address this is.
    pub tunnels: Tunnels,
    /// The address is of a block of another node.
    pub borrowed: bool,
}

/// A set of kinds of destinations. The bits are those of Calico's API; none means a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKinds(pub u8);

#[expect(missing_docs, reason = "the names say it")]
impl RouteKinds {
    pub const REMOTE_WORKLOAD: Self = Self(1);
    pub const REMOTE_HOST: Self = Self(2);
    pub const LOCAL_WORKLOAD: Self = Self(4);
    pub const LOCAL_HOST: Self = Self(8);
    pub const REMOTE_TUNNEL: Self = Self(16);
    pub const LOCAL_TUNNEL: Self = Self(32);

    /// True if all of `other` are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for RouteKinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for RouteKinds {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// How packets of a pool travel between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolKind {
    /// Not in a pool for workloads.
    #[default]
    None,
    /// As they are.
    NoEncap,
    /// In VXLAN.
    Vxlan,
    /// In IP in IP.
    Ipip,
}

/// Tunnels that share an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tunnels {
    /// IP in IP.
    pub ipip: bool,
    /// VXLAN.
    pub vxlan: bool,
    /// WireGuard.
    pub wireguard: bool,
}

/// All of a pool that the fabric reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolFacts {
    kind: PoolKind,
    nat_outgoing: bool,
    cross_subnet: bool,
    pub(super) ipip: bool,
    pub(super) vxlan: bool,
}

impl PoolFacts {
    pub(super) fn new(pool: &IpPool) -> Self {
        let (ipip, vxlan) = (!pool.ipip_mode.is_empty(), !pool.vxlan_mode.is_empty());
        // Addresses of services are not where workloads are.
        let for_services = pool.allowed_uses == ["LoadBalancer"];
        let kind = match (for_services, vxlan, ipip) {
            (true, ..) => PoolKind::None,
            (_, true, _) => PoolKind::Vxlan,
            (_, _, true) => PoolKind::Ipip,
            _ => PoolKind::NoEncap,
        };
        let cross_subnet = [&pool.ipip_mode, &pool.vxlan_mode].into_iter().any(|mode| mode == "cross-subnet");
        Self { kind, nat_outgoing: pool.masquerade, cross_subnet, ipip, vxlan }
    }
}

/// What an address is of. The order decides which counts, should there be several on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RefKind {
    Workload,
    Wireguard,
    Ipip,
    Vxlan,
}

/// What is known of one prefix. Lists are sorted, so that it does not matter what was known first.
#[derive(Debug, Default)]
struct Facts {
    pool: Option<PoolFacts>,
    /// By the block that says so; more than one is a mistake of someone's.
    blocks: SmallVec<[(Cidr, Arc<str>); 1]>,
    /// Nodes whose own address it is.
    hosts: SmallVec<[Arc<str>; 1]>,
    /// With how often each was said.
    refs: SmallVec<[(Arc<str>, RefKind, u32); 1]>,
}

impl Facts {
    fn is_empty(&self) -> bool {
        self.pool.is_none() && self.blocks.is_empty() && self.hosts.is_empty() && self.refs.is_empty()
    }
}

/// All prefixes that something is known of.
#[derive(Debug)]
pub(super) struct Routes {
    this_node: Arc<str>,
    facts: BTreeMap<Cidr, Facts>,
    /// How many prefixes of each length there are, by family.
    lengths: BTreeMap<(Family, u8), u32>,
    /// Prefixes whose facts name a node, and how often.
    by_node: BTreeMap<(Arc<str>, Cidr), u32>,
    dirty: BTreeSet<Cidr>,
    all_dirty: bool,
    told: Told<Cidr, Route>,
}

impl Routes {
    pub(super) fn new(this_node: Arc<str>) -> Self {
        Self {
            this_node,
            facts: BTreeMap::new(),
            lengths: BTreeMap::new(),
            by_node: BTreeMap::new(),
            dirty: BTreeSet::new(),
            all_dirty: false,
            told: Told::default(),
        }
    }

    pub(super) fn set_pool(&mut self, cidr: Cidr, pool: Option<PoolFacts>) {
        self.change(cidr, |facts| facts.pool = pool);
    }

    pub(super) fn add_block(&mut self, dst: Cidr, block: Cidr, node: &Arc<str>) {
        self.mention(node, dst);
        self.change(dst, |facts| {
            facts.blocks.push((block, node.clone()));
            facts.blocks.sort();
        });
    }

    pub(super) fn remove_block(&mut self, dst: Cidr, block: Cidr, node: &Arc<str>) {
        self.forget(node, dst);
        self.change(dst, |facts| facts.blocks.retain(|(b, n)| (*b, &*n) != (block, node)));
    }

    pub(super) fn add_host(&mut self, dst: Cidr, node: &Arc<str>) {
        self.mention(node, dst);
        self.change(dst, |facts| {
            facts.hosts.push(node.clone());
            facts.hosts.sort();
        });
    }

    pub(super) fn remove_host(&mut self, dst: Cidr, node: &Arc<str>) {
        self.forget(node, dst);
        self.change(dst, |facts| {
            if let Some(at) = facts.hosts.iter().position(|n| n == node) {
                facts.hosts.remove(at);
            }
        });
    }

    pub(super) fn add_ref(&mut self, dst: Cidr, node: &Arc<str>, kind: RefKind) {
        self.mention(node, dst);
        self.change(dst, |facts| match facts.refs.iter_mut().find(|(n, k, _)| (n, *k) == (node, kind)) {
            Some((.., count)) => *count += 1,
            None => {
                facts.refs.push((node.clone(), kind, 1));
                facts.refs.sort();
            }
        });
    }

    pub(super) fn remove_ref(&mut self, dst: Cidr, node: &Arc<str>, kind: RefKind) {
        self.forget(node, dst);
        self.change(dst, |facts| {
            for (_, _, count) in facts.refs.iter_mut().filter(|(n, k, _)| (n, *k) == (node, kind)) {
                *count -= 1;
            }
            facts.refs.retain(|(.., count)| *count > 0);
        });
    }

    /// A node changed: so may all routes to it, and if it is this one, all routes.
    pub(super) fn touch_node(&mut self, node: &Arc<str>) {
        if *node == self.this_node {
            self.all_dirty = true;
            return;
        }
        let from = (node.clone(), Cidr::any(Family::V4));
        let mentioned =
            self.by_node.range(from..).map(|((n, cidr), _)| (n, *cidr)).take_while(|(n, _)| *n == node);
        let cidrs: Vec<_> = mentioned.map(|(_, cidr)| cidr).collect();
        for cidr in cidrs {
            self.touch(cidr);
        }
    }

    /// Tells new, changed and gone routes.
    pub(super) fn flush(
        &mut self,
        nodes: &BTreeMap<Arc<str>, Node>,
        out: &mut Vec<FabricUpdate>,
        removals: &mut Vec<FabricUpdate>,
    ) {
        let mut dirty = std::mem::take(&mut self.dirty);
        if std::mem::take(&mut self.all_dirty) {
            dirty.extend(self.facts.keys());
        }
        for dst in dirty {
            // Nobody can be sent a packet there.
            let known = self.facts.contains_key(&dst) && !(dst.is_host() && dst.addr().is_unspecified());
            let route = known.then(|| self.route(dst, nodes));
            match self.told.tell(&dst, route) {
                Some(Some(route)) => out.push(FabricUpdate::Route(dst, route)),
                Some(None) => removals.push(FabricUpdate::RouteRemove(dst)),
                None => {}
            }
        }
    }

    // === facts ===

    fn change(&mut self, cidr: Cidr, change: impl FnOnce(&mut Facts)) {
        let count = self.lengths.entry((cidr.family(), cidr.len())).or_default();
        let facts = self.facts.entry(cidr).or_insert_with(|| {
            *count += 1;
            Facts::default()
        });
        change(facts);
        if facts.is_empty() {
            self.facts.remove(&cidr);
            *count -= 1;
        }
        if *count == 0 {
            self.lengths.remove(&(cidr.family(), cidr.len()));
        }
        self.touch(cidr);
    }

    /// Marks a prefix, and all in it: what is known of it is also known of them.
    fn touch(&mut self, cidr: Cidr) {
        self.dirty.insert(cidr);
        if !cidr.is_host() {
            let inside = (Bound::Excluded(cidr), Bound::Included(Cidr::host(cidr.last())));
            self.dirty.extend(self.facts.range(inside).map(|(inner, _)| *inner));
        }
    }

    fn mention(&mut self, node: &Arc<str>, cidr: Cidr) {
        *self.by_node.entry((node.clone(), cidr)).or_default() += 1;
    }

    fn forget(&mut self, node: &Arc<str>, cidr: Cidr) {
        let key = (node.clone(), cidr);
        match self.by_node.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.by_node.remove(&key);
            }
        }
    }

    /// What is known of a prefix and of those around it, the largest first.
    fn path(&self, dst: Cidr) -> impl Iterator<Item = (Cidr, &Facts)> + '_ {
        let lengths = self.lengths.range((dst.family(), 0)..=(dst.family(), dst.len()));
        lengths.filter_map(move |((_, len), _)| {
            let around = Cidr::new(dst.addr(), *len)?;
            Some((around, self.facts.get(&around)?))
        })
    }

    fn route(&self, dst: Cidr, nodes: &BTreeMap<Arc<str>, Node>) -> Route {
        let mut route = Route::default();
        let mut cross_subnet = false;
        let mut block: Option<Block> = None;
        let (mut is_host, mut is_tunnel) = (false, false);
        for (cidr, facts) in self.path(dst) {
            if let Some(pool) = &facts.pool {
                if pool.kind != PoolKind::None {
                    route.pool = pool.kind;
                }
                route.nat_outgoing |= pool.nat_outgoing;
                cross_subnet |= pool.cross_subnet;
            }
            if let Some((_, node)) = facts.blocks.first() {
                let seen =
                    block.get_or_insert_with(|| Block { node, kinds: RouteKinds::default(), exact: false });
                route.borrowed |= seen.node != node;
                seen.kinds |= self.pick(node, RouteKinds::LOCAL_WORKLOAD, RouteKinds::REMOTE_WORKLOAD);
                seen.exact |= cidr == dst;
                route.node = Some(node.clone());
            }
            if let Some(node) = facts.hosts.first() {
                is_host = true;
                route.kinds |= self.pick(node, RouteKinds::LOCAL_HOST, RouteKinds::REMOTE_HOST);
                route.node = Some(node.clone());
            }
            if let Some((node, kind, _)) = facts.refs.first() {
                route.node = Some(node.clone());
                route.borrowed |= block.as_ref().is_some_and(|block| block.node != node);
                if *kind == RefKind::Workload {
                    route.local_workload |= *node == self.this_node;
                    route.kinds |= self.pick(node, RouteKinds::LOCAL_WORKLOAD, RouteKinds::REMOTE_WORKLOAD);
                } else {
                    is_tunnel = true;
                    route.kinds |= self.pick(node, RouteKinds::LOCAL_TUNNEL, RouteKinds::REMOTE_TUNNEL);
                    let tunnels = facts.refs.iter().filter(|(n, ..)| n == node).map(|(_, kind, _)| *kind);
                    route.tunnels = tunnels.collect();
                }
            }
        }
        // Hosts have routes of their own. A tunnel's address inside a block is no workload either; one that is a whole
        // block must be reachable as if it were.
        if let Some(block) = block
            && !is_host
            && (block.exact || !is_tunnel)
        {
            route.kinds |= block.kinds;
        }
        let node = route.node.as_ref().and_then(|name| nodes.get(name));
        route.node_address = node.and_then(|node| node.interface(dst.family())).map(|(addr, _)| addr);
        let subnet =
            nodes.get(&self.this_node).and_then(|node| node.interface(dst.family())).map(|(_, cidr)| cidr);
        let in_subnet =
            route.node_address.is_some_and(|addr| subnet.is_some_and(|subnet| subnet.contains(addr)));
        route.same_subnet = cross_subnet && in_subnet;
        route
    }

    fn pick(&self, node: &Arc<str>, local: RouteKinds, remote: RouteKinds) -> RouteKinds {
        if *node == self.this_node { local } else { remote }
    }
}

/// What blocks around a destination say.
struct Block<'a> {
    /// The node of the outermost.
    node: &'a Arc<str>,
    kinds: RouteKinds,
    /// One is the destination itself.
    exact: bool,
}

impl FromIterator<RefKind> for Tunnels {
    fn from_iter<T: IntoIterator<Item = RefKind>>(kinds: T) -> Self {
        let mut tunnels = Self::default();
        for kind in kinds {
            match kind {
                RefKind::Workload => {}
                RefKind::Wireguard => tunnels.wireguard = true,
                RefKind::Ipip => tunnels.ipip = true,
                RefKind::Vxlan => tunnels.vxlan = true,
            }
        }
        tunnels
    }
}
