//! What goes with an object that is deleted: the affinities of a pool or a node, the endpoints and peers of a node.

use super::initialize::kind;
use super::{Client, ClientError, ObjectName, part_mut, text};
use serde_json::Value;
use std::net::IpAddr;
use tortie_api::v3::ResourceType;
use tortie_blocks::Block;
use tortie_model::Key;
use tortie_net::Cidr;
use tortie_store::{Op, Precondition, StoreError};

/// Where affinities of nodes are.
const AFFINITIES: &str = "/calico/ipam/v2/host/";
/// Attempts against other writers of a block.
const ATTEMPTS: usize = 20;

impl Client {
    /// Does what must happen before the deletion. True if the object itself was written.
    pub(super) async fn before_delete(
        &self,
        of: &ResourceType,
        id: &ObjectName,
        resource_version: &str,
    ) -> Result<bool, ClientError> {
        match of.kind {
            "IPPool" => self.before_pool(of, id, resource_version).await,
            "Node" => self.before_node(id).await.map(|()| false),
            _ => Ok(false),
        }
    }

    /// Stops assignment from a pool, and gives up the claims of nodes to its blocks.
    async fn before_pool(
        &self,
        of: &ResourceType,
        id: &ObjectName,
        resource_version: &str,
    ) -> Result<bool, ClientError> {
        let mut pool = self.get(of, "", &id.name).await?;
        let changed = pool.pointer("/spec/disabled") != Some(&Value::Bool(true));
        if changed {
            part_mut(&mut pool, "spec").insert("disabled".to_owned(), true.into());
            if !resource_version.is_empty() {
                super::metadata_mut(&mut pool).insert("resourceVersion".to_owned(), resource_version.into());
            }
            self.update(of, pool.clone()).await?;
        }
        if let Ok(cidr) = text(&pool, "/spec/cidr").parse::<Cidr>() {
            self.release_affinities(|_, block| cidr.covers(block)).await?;
        }
        Ok(changed)
    }

    async fn before_node(&self, id: &ObjectName) -> Result<(), ClientError> {
        let node = id.name.as_str();
        for ip in self.addresses_of(node).await? {
            self.release_address(ip).await?;
        }
        for (of, field) in [("WorkloadEndpoint", "/spec/node"), ("BGPPeer", "/spec/node")] {
            let of = kind(of);
            for object in self.list(of, None).await?.items {
                if text(&object, field) == node {
                    let (namespace, name) =
                        (text(&object, "/metadata/namespace"), text(&object, "/metadata/name"));
                    self.remove(of, namespace, name).await?;
                }
            }
        }
        self.release_affinities(|host, _| host == node).await?;
        let host = format!("{AFFINITIES}{node}");
        self.store.commit(vec![Op::Delete { key: host, when: Precondition::Any }]).await?;
        let own = format!("node.{node}");
        self.remove(kind("FelixConfiguration"), "", &own).await?;
        self.remove(kind("BGPConfiguration"), "", &own).await
    }

    /// Addresses of a node's workloads and tunnels.
    async fn addresses_of(&self, node: &str) -> Result<Vec<IpAddr>, ClientError> {
        let mut texts = Vec::new();
        for endpoint in self.list(kind("WorkloadEndpoint"), None).await?.items {
            if text(&endpoint, "/spec/node") == node {
                let networks = endpoint["spec"]["ipNetworks"].as_array().into_iter().flatten();
                texts.extend(networks.filter_map(|n| n.as_str().map(str::to_owned)));
            }
        }
        match self.get(kind("Node"), "", node).await {
            Ok(node) => {
                let tunnels = [
                    "/spec/bgp/ipv4IPIPTunnelAddr",
                    "/spec/ipv4VXLANTunnelAddr",
                    "/spec/ipv6VXLANTunnelAddr",
                    "/spec/wireguard/interfaceIPv4Address",
                    "/spec/wireguard/interfaceIPv6Address",
                ];
                texts.extend(tunnels.iter().map(|field| text(&node, field).to_owned()));
            }
            Err(ClientError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(texts.iter().filter_map(|t| t.split('/').next()?.parse().ok()).collect())
    }

    async fn remove(&self, of: &ResourceType, namespace: &str, name: &str) -> Result<(), ClientError> {
        let key = of.path(namespace, name);
        self.store.commit(vec![Op::Delete { key, when: Precondition::Any }]).await?;
        Ok(())
    }

    /// Ends claims of nodes to blocks. A block with addresses in use stays, without an owner.
    async fn release_affinities(&self, chosen: impl Fn(&str, Cidr) -> bool) -> Result<(), ClientError> {
        for entry in self.store.list(AFFINITIES).await?.entries {
            if let Some(Key::BlockAffinity { host, cidr, .. }) = Key::from_path(&entry.key)
                && chosen(&host, cidr)
            {
                self.release_block(&entry.key, &host, cidr).await?;
            }
        }
        Ok(())
    }

    async fn release_block(&self, affinity: &str, host: &str, cidr: Cidr) -> Result<(), ClientError> {
        let Some(block_key) = Key::Block(cidr).to_path() else { return Ok(()) };
        for attempt in 1.. {
            let mut ops = vec![Op::Delete { key: affinity.to_owned(), when: Precondition::Any }];
            if let Some(entry) = self.store.get(&block_key).await? {
                let corrupt = |reason: String| ClientError::Corrupt { key: block_key.clone(), reason };
                let data = serde_json::from_slice(&entry.value).map_err(|e| corrupt(e.to_string()))?;
                let mut block = Block::from_stored(data).map_err(|e| corrupt(e.to_string()))?;
                let owner = format!("host:{host}");
                let owned = block.as_stored().affinity.as_deref() == Some(owner.as_str());
                let (key, when) = (block_key.clone(), Precondition::Revision(entry.revision));
                if owned && block.is_empty() {
                    ops.push(Op::Delete { key, when });
                } else if owned {
                    block.disown();
                    block.count_write();
                    let value = serde_json::to_vec(block.as_stored()).map_err(|e| corrupt(e.to_string()))?;
                    ops.push(Op::Put { key, value: value.into(), when, ttl: None });
                }
            }
            match self.store.commit(ops).await {
                Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => {}
                done => return done.map(drop).map_err(ClientError::from),
            }
        }
        Ok(())
    }
}
