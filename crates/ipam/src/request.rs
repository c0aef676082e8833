//! What callers ask for.

use crate::{AllowedUse, HandleId};
use std::fmt;
use std::net::IpAddr;
use tortie_blocks::Holder;
use tortie_model::value::StringMap;
use tortie_net::{Cidr, Family};

/// Number of addresses per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// IPv4 addresses.
    pub v4: usize,
    /// IPv6 addresses.
    pub v6: usize,
}

impl Counts {
    /// One of each family.
    pub const DUAL: Self = Self { v4: 1, v6: 1 };

    /// The number for a family.
    pub fn of(self, family: Family) -> usize {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// A pool by its name or its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolRef {
    /// By name.
    Name(String),
    /// By prefix.
    Cidr(Cidr),
}

impl From<&str> for PoolRef {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(cidr) if text.contains('/') => Self::Cidr(cidr),
            _ => Self::Name(text.to_owned()),
        }
    }
}

impl fmt::Display for PoolRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Cidr(cidr) => write!(f, "{cidr}"),
        }
    }
}

/// A wish for addresses.
#[derive(Clone, Debug)]
pub struct AssignRequest {
    /// Under which the addresses are found and released: `<network>.<container id>`.
    pub handle: HandleId,
    /// Attributes of the owner, stored beside the addresses. Reconciliation needs `node` and `pod`.
    pub attrs: StringMap,
    /// Addresses to choose. A family with `wanted` addresses gets these instead.
    pub counts: Counts,
    /// Particular addresses; reserved ones are allowed.
    pub wanted: Vec<IpAddr>,
    /// Pools to choose from, whatever their selectors say. Of a family without one here, all suitable pools are used.
    pub pools: Vec<PoolRef>,
    /// Labels of the pod's namespace, for the pools' `namespaceSelector`.
    pub namespace_labels: Option<StringMap>,
    /// What the addresses are for.
    pub intended_use: AllowedUse,
    /// Blocks that the node may own per family; the smaller of this and the cluster's setting counts.
    pub max_blocks: Option<usize>,
}

impl AssignRequest {
    /// One address of each family for a pod.
    pub fn for_pod(handle: HandleId, node: &str, namespace: &str, pod: &str) -> Self {
        let attrs = [("namespace", namespace), ("node", node), ("pod", pod)];
        Self {
            handle,
            attrs: attrs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            counts: Counts::DUAL,
            wanted: Vec::new(),
            pools: Vec::new(),
            namespace_labels: None,
            intended_use: AllowedUse::Workload,
            max_blocks: None,
        }
    }

    pub(crate) fn wanted_of(&self, family: Family) -> Vec<IpAddr> {
        let mut wanted: Vec<IpAddr> = Vec::new();
        for addr in self.wanted.iter().copied().filter(|a| Family::of(*a) == family) {
            if !wanted.contains(&addr) {
                wanted.push(addr);
            }
        }
        wanted
    }

    pub(crate) fn holder(&self) -> Holder {
        Holder { handle: Some(self.handle.clone()), attrs: self.attrs.clone() }
    }
}
