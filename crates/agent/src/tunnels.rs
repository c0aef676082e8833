//! Addresses of this node's VXLAN interfaces: taken from IPAM while a pool asks for tunnels, given back when none does.
//!
//! An assignment that is repeated under the same handle answers the same address, so there is no state here: what
//! IPAM holds is the truth, and the Node is brought to agree with it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_causes::chain;
use tortie_cluster::set_vxlan_address;
use tortie_ipam::{AllowedUse, AssignRequest, Counts, HandleId, Ipam, PoolRef};
use tortie_net::{Cidr, Family};
use tortie_store::Store;

/// Pause before a failure is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Starts the task. `pools` are those that ask for VXLAN; `None` until the datastore has been read.
pub(crate) fn spawn(
    store: Arc<dyn Store>,
    ipam: Ipam,
    node: String,
    mut pools: watch::Receiver<Option<BTreeSet<Cidr>>>,
) {
    tokio::spawn(async move {
        loop {
            let now = pools.borrow_and_update().clone();
            let mut again = false;
            for family in Family::ALL {
                let Some(pools) = &now else { break };
                let pools: Vec<Cidr> = pools.iter().copied().filter(|p| p.family() == family).collect();
                if let Err(problem) = reconcile(&*store, &ipam, &node, family, &pools).await {
                    tracing::warn!(%family, problem, "no tunnel address; trying again");
                    again = true;
                }
            }
            tokio::select! {
                changed = pools.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if again => {}
            }
        }
    });
}

async fn reconcile(
    store: &dyn Store,
    ipam: &Ipam,
    node: &str,
    family: Family,
    pools: &[Cidr],
) -> Result<(), String> {
    let address = match pools {
        [] => {
            // Told first: an address that is given back may be a pod's a moment later.
            tell(store, node, family, None).await?;
            ipam.release_by_handle(&handle(node, family)).await.map_err(|e| chain(&e))?;
            return Ok(());
        }
        pools => match assign(ipam, node, family, pools).await? {
            address if pools.iter().any(|pool| pool.contains(address)) => address,
            _ => {
                // Its pool is gone or asks for tunnels no more.
                tell(store, node, family, None).await?;
                ipam.release_by_handle(&handle(node, family)).await.map_err(|e| chain(&e))?;
                assign(ipam, node, family, pools).await?
            }
        },
    };
    tell(store, node, family, Some(address)).await
}

async fn tell(store: &dyn Store, node: &str, family: Family, address: Option<IpAddr>) -> Result<(), String> {
    let changed = set_vxlan_address(store, node, family, address).await.map_err(|e| chain(&e))?;
    if changed {
        tracing::info!(%family, ?address, "tunnel address of this node");
    }
    Ok(())
}

async fn assign(ipam: &Ipam, node: &str, family: Family, pools: &[Cidr]) -> Result<IpAddr, String> {
    let request = request(node, family, pools);
    let assigned = ipam.assign(request).await.map_err(|e| chain(&e))?;
    assigned.first().copied().ok_or_else(|| "IPAM answered without an address".to_owned())
}

fn request(node: &str, family: Family, pools: &[Cidr]) -> AssignRequest {
    let counts = match family {
        Family::V4 => Counts { v4: 1, v6: 0 },
        Family::V6 => Counts { v4: 0, v6: 1 },
    };
    let kind = match family {
        Family::V4 => "vxlanTunnelAddress",
        Family::V6 => "vxlanV6TunnelAddress",
    };
    let attrs = [("node", node), ("type", kind)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    AssignRequest {
        handle: handle(node, family),
        attrs: attrs.into(),
        counts,
        wanted: Vec::new(),
        pools: pools.iter().map(|pool| PoolRef::Cidr(*pool)).collect(),
        namespace_labels: None,
        intended_use: AllowedUse::Tunnel,
        max_blocks: None,
    }
}

/// Calico's handles, so that its tools attribute the addresses.
fn handle(node: &str, family: Family) -> HandleId {
    match family {
        Family::V4 => format!("vxlan-tunnel-addr-{node}"),
        Family::V6 => format!("vxlan-v6-tunnel-addr-{node}"),
    }
    .as_str()
    .into()
}
