//! A node's addresses of tunnels, as its object tells the others.

use crate::object::{self, ObjectError, part};
use serde_json::Value;
use std::net::IpAddr;
use tortie_net::Family;
use tortie_store::Store;

/// A tunnel address could not be told.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The node has no object.
    #[error("Node({node}) does not exist, so nobody can be told its tunnel address")]
    NoNode {
        /// The node.
        node: String,
    },
    /// The object could not be read or written.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Writes the address of a node's VXLAN interface to its object, or takes it away. Answers whether that was a change.
pub async fn set_vxlan_address(
    store: &dyn Store,
    node: &str,
    family: Family,
    address: Option<IpAddr>,
) -> Result<bool, TunnelError> {
    object::edit(store, "Node", node, |stored| {
        let Some(stored) = stored else { return Err(TunnelError::NoNode { node: node.to_owned() }) };
        Ok(with_vxlan_address(stored, family, address))
    })
    .await
}

fn with_vxlan_address(stored: &Value, family: Family, address: Option<IpAddr>) -> Option<Value> {
    let field = match family {
        Family::V4 => "ipv4VXLANTunnelAddr",
        Family::V6 => "ipv6VXLANTunnelAddr",
    };
    let mut node = stored.clone();
    let spec = part(&mut node, "spec");
    match address {
        Some(address) => spec.insert(field.to_owned(), address.to_string().into()),
        None => spec.remove(field),
    };
    (node != *stored).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_change_is_written() {
        let node = json!({"metadata": {"name": "n1"}, "spec": {"bgp": {"ipv4Address": "10.0.0.1/24"}}});
        let told = with_vxlan_address(&node, Family::V4, Some("10.244.0.1".parse().unwrap())).unwrap();
        assert_eq!(told.pointer("/spec/ipv4VXLANTunnelAddr"), Some(&json!("10.244.0.1")));
        assert_eq!(told.pointer("/spec/bgp"), node.pointer("/spec/bgp"));
        assert_eq!(with_vxlan_address(&told, Family::V4, Some("10.244.0.1".parse().unwrap())), None);
        assert_eq!(with_vxlan_address(&told, Family::V6, None), None);
        assert_eq!(with_vxlan_address(&told, Family::V4, None), Some(node));
        let bare = json!({"metadata": {"name": "n1"}});
        let told = with_vxlan_address(&bare, Family::V6, Some("fd00::1".parse().unwrap())).unwrap();
        assert_eq!(told.pointer("/spec/ipv6VXLANTunnelAddr"), Some(&json!("fd00::1")));
    }
}
