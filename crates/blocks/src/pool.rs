//! Address pools, as far as assignment cares.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use tortie_net::{Cidr, Family};
use tortie_selector::{ParseError, Selector};

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AllowedUse {
    /// Pods.
    Workload,
    /// Tunnel devices of nodes.
    Tunnel,
    /// Services of type LoadBalancer.
    LoadBalancer,
}

impl AllowedUse {
    /// As in a pool's `allowedUses`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "Workload",
            Self::Tunnel => "Tunnel",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

impl fmt::Display for AllowedUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AllowedUse {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Workload, Self::Tunnel, Self::LoadBalancer].into_iter().find(|u| u.as_str() == text).ok_or(())
    }
}

/// A selector as written in a pool, and what it means. One that cannot be parsed matches nothing.
#[derive(Clone, Debug)]
pub struct PoolSelector {
    /// As written; empty selects everything.
    pub text: String,
    /// Its meaning.
    pub parsed: Result<Selector, ParseError>,
}

impl PoolSelector {
    /// Parses a selector.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), parsed: Selector::parse(text) }
    }
}

/// An address pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its prefix.
    pub cidr: Cidr,
    /// Prefix length of its blocks.
    pub block_len: u8,
    /// May hand out addresses: not disabled, not being deleted, not declared unfit by the pool controller.
    pub enabled: bool,
    /// Used without being asked for by name.
    pub automatic: bool,
    /// Nodes that may use it.
    pub node_selector: PoolSelector,
    /// Namespaces whose pods may use it.
    pub namespace_selector: PoolSelector,
    /// What its addresses may be used for.
    pub allowed_uses: Vec<AllowedUse>,
}

/// Why an `IPPool` object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It is no such object at all.
    #[error("IPPool {name}: {reason}")]
    Malformed {
        /// Name, if it could be read.
        name: String,
        /// What is wrong with the JSON.
        reason: String,
    },
    /// `cidr` is no prefix.
    #[error("IPPool {name}: spec.cidr {cidr:?} is not a CIDR")]
    Cidr {
        /// Name of the pool.
        name: String,
        /// The text.
        cidr: String,
    },
    /// `blockSize` does not suit the prefix.
    #[error("IPPool {name}: spec.blockSize {block_size} does not fit into {cidr}; it must be a prefix length from {shortest} to {longest}", longest = cidr.family().bits(), shortest = shortest_block(*cidr))]
    BlockSize {
        /// Name of the pool.
        name: String,
        /// Its prefix.
        cidr: Cidr,
        /// The value.
        block_size: i64,
    },
}

/// Blocks of more than 4,096 addresses are refused, as Calico's validation does.
fn shortest_block(pool: Cidr) -> u8 {
    pool.len().max(pool.family().bits() - 12)
}

/// Length of blocks when a pool does not say: 64 addresses.
fn default_block_len(family: Family) -> u8 {
    family.bits() - 6
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    cidr: String,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    block_size: Option<i64>,
    #[serde(default)]
    node_selector: Option<String>,
    #[serde(default)]
    namespace_selector: Option<String>,
    #[serde(default)]
    assignment_mode: Option<String>,
    #[serde(default)]
    allowed_uses: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
}

impl Pool {
    /// A pool from the JSON of a projectcalico.org/v3 `IPPool`.
    pub fn from_v3(object: &serde_json::Value) -> Result<Self, PoolError> {
        let name_of = || {
            let name = object.pointer("/metadata/name").and_then(serde_json::Value::as_str);
            name.unwrap_or("without a name").to_owned()
        };
        let Object { metadata, spec, status } = Object::deserialize(object)
            .map_err(|e| PoolError::Malformed { name: name_of(), reason: e.to_string() })?;
        let name = metadata.name;
        let cidr: Cidr = match spec.cidr.parse() {
            Ok(cidr) if spec.cidr.contains('/') => cidr,
            _ => return Err(PoolError::Cidr { name, cidr: spec.cidr }),
        };
        let block_len = match spec.block_size.unwrap_or_default() {
            0 => default_block_len(cidr.family()).max(cidr.len()),
            size => match u8::try_from(size) {
                Ok(len) if (shortest_block(cidr)..=cidr.family().bits()).contains(&len) => len,
                _ => return Err(PoolError::BlockSize { name, cidr, block_size: size }),
            },
        };
        let fit = status.and_then(|s| s.conditions).unwrap_or_default();
        let unfit = fit.iter().any(|c| c.kind == "Allocatable" && c.status == "False");
        let uses: Vec<AllowedUse> =
            spec.allowed_uses.iter().flatten().filter_map(|u| u.parse().ok()).collect();
        let unspecified = spec.allowed_uses.is_none_or(|u| u.is_empty());
        Ok(Self {
            name,
            cidr,
            block_len,
            enabled: !spec.disabled && metadata.deletion_timestamp.is_none() && !unfit,
            automatic: spec.assignment_mode.is_none_or(|m| m != "Manual"),
            node_selector: PoolSelector::new(&spec.node_selector.unwrap_or_default()),
            namespace_selector: PoolSelector::new(&spec.namespace_selector.unwrap_or_default()),
            allowed_uses: if unspecified { vec![AllowedUse::Workload, AllowedUse::Tunnel] } else { uses },
        })
    }

    /// The block of this pool that an address belongs to.
    pub fn block_of(&self, addr: std::net::IpAddr) -> Option<Cidr> {
        self.cidr.contains(addr).then(|| Cidr::new(addr, self.block_len)).flatten()
    }
}

/// Two pools that share addresses. The one whose name comes first wins where they meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "IPPool {second} ({second_cidr}) overlaps IPPool {first} ({first_cidr}); one address must belong to one pool: change or delete one of them"
)]
pub struct Overlap {
    /// The pool whose name comes first.
    pub first: String,
    /// Its prefix.
    pub first_cidr: Cidr,
    /// The other.
    pub second: String,
    /// Its prefix.
    pub second_cidr: Cidr,
}

/// Every pair of overlapping pools.
pub fn overlapping_pools(pools: &[Pool]) -> Vec<Overlap> {
    let mut sorted: Vec<&Pool> = pools.iter().collect();
    sorted.sort_by(|a, b| (a.cidr, &a.name).cmp(&(b.cidr, &b.name)));
    let mut found = Vec::new();
    // Prefixes nest or are apart: those around the current one form a stack.
    let mut around: Vec<&Pool> = Vec::new();
    for pool in sorted {
        around.retain(|outer| outer.cidr.covers(pool.cidr));
        for outer in &around {
            let (first, second) = if outer.name <= pool.name { (*outer, pool) } else { (pool, *outer) };
            found.push(Overlap {
                first: first.name.clone(),
                first_cidr: first.cidr,
                second: second.name.clone(),
                second_cidr: second.cidr,
            });
        }
        around.push(pool);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pool(name: &str, spec: serde_json::Value) -> Result<Pool, PoolError> {
        Pool::from_v3(
            &json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name}, "spec": spec}),
        )
    }

    #[test]
    fn defaults() {
        let v4 = pool("p", json!({"cidr": "10.0.0.0/16"})).unwrap();
        assert_eq!((v4.block_len, v4.enabled, v4.automatic), (26, true, true));
        assert_eq!(v4.allowed_uses, [AllowedUse::Workload, AllowedUse::Tunnel]);
        assert_eq!(pool("p", json!({"cidr": "fd00::/48"})).unwrap().block_len, 122);
        assert_eq!(pool("p", json!({"cidr": "10.0.0.0/30"})).unwrap().block_len, 30);
    }

    #[test]
    fn reasons_not_to_use_a_pool() {
        let disabled = pool("p", json!({"cidr": "10.0.0.0/16", "disabled": true})).unwrap();
        assert!(!disabled.enabled);
        let deleted = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"cidr": "10.0.0.0/16"}});
        assert!(!Pool::from_v3(&deleted).unwrap().enabled);
        let unfit = json!({"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16"}, "status": {"conditions": [{"type": "Allocatable", "status": "False"}]}});
        assert!(!Pool::from_v3(&unfit).unwrap().enabled);
    }

    #[test]
    fn errors_name_pool_and_field() {
        for (spec, want) in [
            (json!({"cidr": "10.0.0/16"}), "IPPool p: spec.cidr \"10.0.0/16\" is not a CIDR"),
            (json!({"cidr": "10.0.0.1"}), "IPPool p: spec.cidr \"10.0.0.1\" is not a CIDR"),
            (
                json!({"cidr": "10.0.0.0/24", "blockSize": 20}),
                "IPPool p: spec.blockSize 20 does not fit into 10.0.0.0/24; it must be a prefix length from 24 to 32",
            ),
            (
                json!({"cidr": "fd00::/48", "blockSize": 64}),
                "IPPool p: spec.blockSize 64 does not fit into fd00::/48; it must be a prefix length from 116 to 128",
            ),
            (json!({}), "IPPool p: missing field `cidr`"),
        ] {
            assert_eq!(pool("p", spec).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn overlaps_are_found_in_pairs() {
        let pools: Vec<Pool> = [
            ("b", "10.0.0.0/8"),
            ("a", "10.1.0.0/16"),
            ("c", "10.1.2.0/24"),
            ("d", "11.0.0.0/8"),
            ("e", "fd00::/8"),
        ]
        .map(|(name, cidr)| pool(name, json!({"cidr": cidr})).unwrap())
        .into();
        let pairs: Vec<(String, String)> =
            overlapping_pools(&pools).into_iter().map(|o| (o.first, o.second)).collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(pairs, [pair("a", "b"), pair("b", "c"), pair("a", "c")]);
    }
}
