//! Paths in the datastore: Calico's.

use crate::HandleId;
use tortie_blocks::Owner;
use tortie_net::{Cidr, Family};

/// Address pools.
pub(crate) const POOLS: &str = "/calico/resources/v3/projectcalico.org/ippools/";
/// Reservations.
pub(crate) const RESERVATIONS: &str = "/calico/resources/v3/projectcalico.org/ipreservations/";
/// The settings of IPAM.
pub(crate) const CONFIG: &str = "/calico/ipam/v2/config";
/// Handles.
pub(crate) const HANDLES: &str = "/calico/ipam/v2/handle/";

/// The object of a node.
pub(crate) fn node(name: &str) -> String {
    format!("/calico/resources/v3/projectcalico.org/nodes/{name}")
}

/// A handle.
pub(crate) fn handle(id: &HandleId) -> String {
    format!("{HANDLES}{id}")
}

/// The handle of a path.
pub(crate) fn parse_handle(path: &str) -> Option<HandleId> {
    path.strip_prefix(HANDLES).filter(|id| !id.is_empty() && !id.contains('/')).map(HandleId::new)
}

/// All blocks of a family.
pub(crate) fn blocks(family: Family) -> String {
    format!("/calico/ipam/v2/assignment/ipv{}/block/", family.version())
}

/// A block.
pub(crate) fn block(cidr: Cidr) -> String {
    format!("{}{}", blocks(cidr.family()), dashed(cidr))
}

/// The block of a path.
pub(crate) fn parse_block(path: &str) -> Option<Cidr> {
    let family = Family::ALL.into_iter().find(|f| path.starts_with(&blocks(*f)))?;
    parse_dashed(path.strip_prefix(&blocks(family))?).filter(|c| c.family() == family)
}

/// All affinities of an owner.
pub(crate) fn affinities(owner: &Owner) -> String {
    format!("/calico/ipam/v2/{}/{}/", owner.kind(), owner.name())
}

/// An affinity.
pub(crate) fn affinity(owner: &Owner, cidr: Cidr) -> String {
    format!("{}ipv{}/block/{}", affinities(owner), cidr.family().version(), dashed(cidr))
}

/// The block of an affinity's path.
pub(crate) fn parse_affinity(owner: &Owner, path: &str) -> Option<Cidr> {
    let rest = path.strip_prefix(&affinities(owner))?;
    let (family, cidr) = rest.split_once("/block/")?;
    let cidr = parse_dashed(cidr)?;
    (family == format!("ipv{}", cidr.family().version())).then_some(cidr)
}

fn dashed(cidr: Cidr) -> String {
    cidr.to_string().replacen('/', "-", 1)
}

fn parse_dashed(text: &str) -> Option<Cidr> {
    let (addr, len) = text.split_once('-')?;
    Cidr::new(addr.parse().ok()?, len.parse().ok()?)
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
        assert_eq!(handle(&HandleId::new("net.c1")), "/calico/ipam/v2/handle/net.c1");
        for cidr in [v4, v6] {
            assert_eq!(parse_block(&block(cidr)), Some(cidr));
            assert_eq!(parse_affinity(&owner, &affinity(&owner, cidr)), Some(cidr));
        }
        assert_eq!(parse_handle("/calico/ipam/v2/handle/net.c1"), Some(HandleId::new("net.c1")));
        for bad in [
            "/calico/ipam/v2/assignment/ipv4/block/fd00::40-122",
            "/calico/ipam/v2/assignment/ipv4/block/x",
            "",
        ] {
            assert_eq!(parse_block(bad), None);
        }
    }
}
