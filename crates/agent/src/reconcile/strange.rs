//! Addresses that pods have and no block knows of: of a network plugin that was here before us, or that other nodes still
//! have. They may lie in a pool of ours, and nobody else may get them.

use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use tortie_ipam::{Foreign, Ipam};
use tortie_net::Cidr;
use tortie_store::{Store, StoreError};

/// Under this name IPAM is told.
const SOURCE: &str = "pods of others";
const NODES: &str = "/tortie/kubernetes/nodes/";

/// Keeps IPAM from giving the addresses away. A plugin that takes a node's addresses from its `podCIDR` gives out the
/// rest of it next: then those networks are left alone, on all nodes.
pub(super) async fn set_aside(
    store: &dyn Store,
    ipam: &Ipam,
    unrecorded: &[IpAddr],
) -> Result<(), StoreError> {
    let networks = if unrecorded.is_empty() { BTreeSet::new() } else { node_networks(store).await? };
    let foreign = foreign(unrecorded, networks);
    if !unrecorded.is_empty() {
        tracing::debug!(?foreign, "pods have addresses that no block knows of");
    }
    ipam.set_foreign(SOURCE, foreign);
    Ok(())
}

fn foreign(unrecorded: &[IpAddr], networks: BTreeSet<Cidr>) -> Foreign {
    let used = unrecorded.iter().any(|address| networks.iter().any(|network| network.contains(*address)));
    let mut foreign = Foreign { networks: Vec::new(), addresses: unrecorded.to_vec() };
    if used {
        foreign.networks.extend(networks);
    }
    // A block in which there is one such address would take the route to it.
    foreign.networks.extend(unrecorded.iter().map(|address| Cidr::host(*address)));
    foreign
}

async fn node_networks(store: &dyn Store) -> Result<BTreeSet<Cidr>, StoreError> {
    let nodes = store.list(NODES).await?;
    let nodes = nodes.entries.iter().filter_map(|e| serde_json::from_slice::<Value>(&e.value).ok());
    Ok(nodes.flat_map(|node| networks_of(&node)).collect())
}

fn networks_of(node: &Value) -> Vec<Cidr> {
    let text = |value: &Value| value.as_str()?.parse().ok();
    let all = node.pointer("/spec/podCIDRs").and_then(Value::as_array).into_iter().flatten();
    let first = node.pointer("/spec/podCIDR");
    all.chain(first).filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn networks(texts: &[&str]) -> BTreeSet<Cidr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn told(foreign: &Foreign) -> Vec<String> {
        foreign.networks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_nodes_give_out_by_themselves_is_left_alone_as_a_whole() {
        let nodes = networks(&["10.244.0.0/24", "10.244.1.0/24"]);
        let pod = "10.244.1.7".parse().unwrap();
        assert_eq!(
            told(&foreign(&[pod], nodes.clone())),
            ["10.244.0.0/24", "10.244.1.0/24", "10.244.1.7/32"]
        );
        let elsewhere: IpAddr = "10.65.0.7".parse().unwrap();
        let one = foreign(&[elsewhere], nodes.clone());
        assert_eq!((told(&one), one.addresses), (vec!["10.65.0.7/32".to_owned()], vec![elsewhere]));
        assert_eq!(foreign(&[], nodes), Foreign::default());
    }

    #[test]
    fn a_nodes_networks() {
        let node =
            json!({"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64", "?"]}});
        assert_eq!(
            networks_of(&node).iter().map(ToString::to_string).collect::<BTreeSet<_>>(),
            BTreeSet::from(["10.244.1.0/24".to_owned(), "fd00:1::/64".to_owned()])
        );
        assert!(networks_of(&json!({})).is_empty());
    }
}
