//! Which pools of pod addresses can work, and which addresses are in them: the same answer for files and for a running lab.

use crate::address::FABRIC;
use std::net::IpAddr;
use tortie_net::{Cidr, Family};

/// Why a text is no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolParseError {
    /// No range at all.
    #[error(
        "{text:?} is no range of addresses: write an address, a slash and a length, as 10.65.0.0/16 or fd65::/64"
    )]
    NoCidr {
        /// What was written.
        text: String,
    },
    /// An address that is not the first of its range.
    #[error("{text} has bits beyond its length: did you mean {meant}?")]
    HostBits {
        /// What was written.
        text: String,
        /// The range that it is in.
        meant: Cidr,
    },
}

/// Why a pool cannot work in a lab.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Nodes and outside hosts are there.
    #[error("pool {pool} overlaps {own}, which the lab itself uses: choose another")]
    Fabric {
        /// The pool.
        pool: Cidr,
        /// The lab's own range.
        own: Cidr,
    },
    /// An address would have two homes.
    #[error("pool {pool} overlaps pool {other}: give each family pools of their own")]
    Overlap {
        /// The pool.
        pool: Cidr,
        /// One before it.
        other: Cidr,
    },
    /// No pod can have such an address.
    #[error("pool {pool} cannot be given to pods: choose a private {} range, as 10.65.0.0/16 or fd65::/64", pool.family())]
    Special {
        /// The pool.
        pool: Cidr,
    },
    /// A node takes addresses by the block.
    #[error("pool {pool} is smaller than one block: use /{widest} or wider")]
    Small {
        /// The pool.
        pool: Cidr,
        /// Length of a block's prefix.
        widest: u8,
    },
}

/// Reads a pool: a range, written as its first address.
pub fn parse_pool(text: &str) -> Result<Cidr, PoolParseError> {
    let no_cidr = || PoolParseError::NoCidr { text: text.to_owned() };
    let (first, _) = text.split_once('/').ok_or_else(no_cidr)?;
    let (first, pool): (IpAddr, Cidr) =
        (first.parse().map_err(|_| no_cidr())?, text.parse().map_err(|_| no_cidr())?);
    if pool.addr() != first {
        return Err(PoolParseError::HostBits { text: text.to_owned(), meant: pool });
    }
    Ok(pool)
}

/// The lab's own ranges.
pub fn fabric() -> impl Iterator<Item = Cidr> {
    FABRIC.iter().filter_map(|own| own.parse().ok())
}

/// What is wrong with pools, by their positions: each must hold a block and keep clear of the others and of the lab.
pub fn check_pools(pools: &[Cidr]) -> Vec<(usize, PoolError)> {
    let mut found = Vec::new();
    for (i, &pool) in pools.iter().enumerate() {
        let own = fabric().find(|own| own.overlaps(pool));
        let other = pools.iter().take(i).copied().find(|other| other.overlaps(pool));
        let widest = if pool.family() == Family::V4 { 26 } else { 122 };
        let error = if is_special(pool) {
            PoolError::Special { pool }
        } else if let Some(own) = own {
            PoolError::Fabric { pool, own }
        } else if let Some(other) = other {
            PoolError::Overlap { pool, other }
        } else if pool.len() > widest {
            PoolError::Small { pool, widest }
        } else {
            continue;
        };
        found.push((i, error));
    }
    found
}

fn is_special(pool: Cidr) -> bool {
    let first = pool.addr();
    let local = match first {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.to_ipv4_mapped().is_some(),
    };
    local || first.is_loopback() || first.is_multicast() || pool.is_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_with_what_was_meant() {
        assert_eq!(parse_pool("10.0.0.0/16").unwrap().to_string(), "10.0.0.0/16");
        assert_eq!(parse_pool("FD00::/64").unwrap().to_string(), "fd00::/64");
        for (text, meant) in [("10.65.1.0/16", "10.65.0.0/16"), ("fd65::1/64", "fd65::/64")] {
            let error = parse_pool(text).unwrap_err().to_string();
            assert_eq!(error, format!("{text} has bits beyond its length: did you mean {meant}?"));
        }
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "/8", "x/8", "10.0.0.0/8/8"] {
            assert!(matches!(parse_pool(bad), Err(PoolParseError::NoCidr { .. })), "{bad}");
        }
    }

    #[test]
    fn pools_hold_a_block_and_overlap_nothing() {
        let check = |list: &[&str]| -> Vec<usize> {
            let pools: Vec<Cidr> = list.iter().map(|p| parse_pool(p).unwrap()).collect();
            check_pools(&pools).into_iter().map(|(i, _)| i).collect()
        };
        assert!(check(&["10.0.0.0/16", "fd00::/64"]).is_empty());
        assert!(check(&crate::DEFAULT_POOLS).is_empty());
        assert!(check(&["10.0.0.0/26", "10.0.0.64/26", "fd00::/122"]).is_empty());
        assert_eq!(check(&["10.0.0.0/16", "10.0.1.0/24"]), [1]);
        for bad in [
            "10.0.0.0/27",
            "fd00::/123",
            "172.31.0.0/16",
            "203.0.113.0/26",
            "169.254.0.0/16",
            "127.0.0.0/8",
            "224.0.0.0/8",
            "0.0.0.0/0",
            "::ffff:0:0/112",
            "fe80::/64",
        ] {
            assert_eq!(check(&[bad]), [0], "{bad}");
        }
    }
}
