//! Paths in the datastore: Calico's, as `tortie_model` makes them.
//!
//! A name that can have no path (an empty one) gives the empty path, which every datastore refuses.

use crate::HandleId;
use tortie_blocks::Owner;
use tortie_model::key::{Key, ResourceKey, affinities_prefix, blocks_prefix};
use tortie_net::{Cidr, Family};

/// Address pools.
pub(crate) const POOLS: &str = "/calico/resources/v3/projectcalico.org/ippools/";
/// Reservations.
pub(crate) const RESERVATIONS: &str = "/calico/resources/v3/projectcalico.org/ipreservations/";
/// Handles.
pub(crate) const HANDLES: &str = "/calico/ipam/v2/handle/";
/// The settings of IPAM.
pub(crate) const CONFIG: &str = "/calico/ipam/v2/config";

/// The object of a node.
pub(crate) fn node(name: &str) -> String {
    let key = ResourceKey { kind: "Node".to_owned(), namespace: String::new(), name: name.to_owned() };
    Key::Resource(key).to_path().unwrap_or_default()
}

/// A handle.
pub(crate) fn handle(id: &HandleId) -> String {
    Key::IpamHandle(id.to_string()).to_path().unwrap_or_default()
}

/// The handle of a path.
pub(crate) fn parse_handle(path: &str) -> Option<HandleId> {
    match Key::from_path(path)? {
        Key::IpamHandle(id) => Some(HandleId::new(&id)),
        _ => None,
    }
}

/// All blocks of a family.
pub(crate) fn blocks(family: Family) -> String {
    blocks_prefix(family)
}

/// A block.
pub(crate) fn block(cidr: Cidr) -> String {
    Key::Block(cidr).to_path().unwrap_or_default()
}

/// The block of a path.
pub(crate) fn parse_block(path: &str) -> Option<Cidr> {
    match Key::from_path(path)? {
        Key::Block(cidr) => Some(cidr),
        _ => None,
    }
}

/// All affinities of a node.
pub(crate) fn affinities(node: &str) -> String {
    affinities_prefix(node)
}

/// An affinity.
pub(crate) fn affinity(owner: &Owner, cidr: Cidr) -> String {
    let (host, affinity_type) = (owner.name().to_owned(), owner.kind().to_owned());
    Key::BlockAffinity { host, affinity_type, cidr }.to_path().unwrap_or_default()
}

/// The block of an affinity's path.
pub(crate) fn parse_affinity(path: &str) -> Option<Cidr> {
    match Key::from_path(path)? {
        Key::BlockAffinity { cidr, .. } => Some(cidr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_calicos() {
        let (v4, v6): (Cidr, Cidr) = ("10.0.0.64/26".parse().unwrap(), "fd00::40/122".parse().unwrap());
        let owner = Owner::Host("n1".to_owned());
        assert_eq!(block(v4), "/calico/ipam/v2/assignment/ipv4/block/10.0.0.64-26");
        assert_eq!(block(v6), "/calico/ipam/v2/assignment/ipv6/block/fd00::40-122");
        assert_eq!(affinity(&owner, v6), "/calico/ipam/v2/host/n1/ipv6/block/fd00::40-122");
        assert_eq!(
            affinity(&Owner::Virtual("load-balancer".to_owned()), v4),
            "/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.0.0.64-26"
        );
        assert_eq!(handle(&HandleId::new("net.c1")), "/calico/ipam/v2/handle/net.c1");
        assert_eq!(node("n1"), "/calico/resources/v3/projectcalico.org/nodes/n1");
        for cidr in [v4, v6] {
            assert!(block(cidr).starts_with(&blocks(cidr.family())));
            assert!(affinity(&owner, cidr).starts_with(&affinities("n1")));
            assert_eq!(parse_block(&block(cidr)), Some(cidr));
            assert_eq!(parse_affinity(&affinity(&owner, cidr)), Some(cidr));
            assert_eq!((parse_block(&affinity(&owner, cidr)), parse_affinity(&block(cidr))), (None, None));
        }
        assert!(handle(&HandleId::new("net.c1")).starts_with(HANDLES));
        assert_eq!(parse_handle("/calico/ipam/v2/handle/net.c1"), Some(HandleId::new("net.c1")));
        assert_eq!(handle(&HandleId::new("")), "");
        assert_eq!(Key::IpamConfig.to_path().as_deref(), Some(CONFIG));
    }
}
