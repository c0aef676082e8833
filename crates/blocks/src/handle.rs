//! Handles: which blocks hold addresses of one owner.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use tortie_model::value::IpamHandle;
use tortie_net::{Cidr, Family};

/// Name of a handle: `<network>.<container id>` for pods, `vxlan-tunnel-addr-<node>` for a node's tunnel, ...
///
/// Everything from a carriage return on is dropped: old imports from `host-local` left such names behind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HandleId(Arc<str>);

impl HandleId {
    /// The handle with this name.
    pub fn new(name: &str) -> Self {
        Self(Self::clean(name).into())
    }

    /// The handle of a container on a network, as the CNI plugin names it.
    pub fn of_container(network: &str, container_id: &str) -> Self {
        Self::new(&format!("{network}.{container_id}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the name can be stored: it becomes the last part of a path.
    pub fn is_storable(&self) -> bool {
        !self.0.is_empty() && !self.0.contains('/') && !self.0.chars().any(char::is_control)
    }

    /// True if `stored`, a name found in a block, means this handle.
    pub fn is(&self, stored: &str) -> bool {
        Self::clean(stored) == self.as_str()
    }

    fn clean(name: &str) -> &str {
        name.split('\r').next().unwrap_or_default()
    }
}

impl fmt::Display for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl From<&str> for HandleId {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// Sets the number of addresses that a handle holds in a block; zero removes the block.
pub fn count_in_block(handle: &mut IpamHandle, block: Cidr, count: usize) {
    if count == 0 {
        handle.block.remove(&block.to_string());
    } else {
        handle.block.insert(block.to_string(), u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// Number of addresses of a family that the handle claims to hold. May exceed what the blocks say: handles are
/// written before blocks.
pub fn held_count(handle: &IpamHandle, family: Family) -> u32 {
    handle
        .block
        .iter()
        .filter(|(block, _)| block.parse::<Cidr>().is_ok_and(|b| b.family() == family))
        .fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// True if the handle names no block, so that the object may go.
pub fn is_handle_empty(handle: &IpamHandle) -> bool {
    handle.block.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_follows_a_carriage_return() {
        assert_eq!(HandleId::new("k8s-pod-network.ab\r\neth0").as_str(), "k8s-pod-network.ab");
        assert!(HandleId::of_container("net", "c1").is("net.c1\r\nx"));
        assert!(!HandleId::of_container("net", "c1").is("net.c11"));
    }

    #[test]
    fn names_that_can_be_stored() {
        let storable = |name: &str| HandleId::new(name).is_storable();
        assert!(storable("k8s-pod-network.ab") && storable("vxlan-tunnel-addr-n1"));
        assert!(!storable("") && !storable("a/b") && !storable("a\nb"));
    }

    #[test]
    fn counts() {
        let mut handle = IpamHandle::default();
        let (v4, v6) = ("10.0.0.0/26".parse().unwrap(), "fd00::/122".parse().unwrap());
        count_in_block(&mut handle, v4, 2);
        count_in_block(&mut handle, v6, 1);
        assert_eq!(
            serde_json::to_string(&handle).unwrap(),
            r#"{"block":{"10.0.0.0/26":2,"fd00::/122":1},"deleted":false}"#
        );
        assert_eq!((held_count(&handle, Family::V4), held_count(&handle, Family::V6)), (2, 1));
        count_in_block(&mut handle, v4, 0);
        count_in_block(&mut handle, v6, 0);
        assert!(is_handle_empty(&handle));
    }
}
