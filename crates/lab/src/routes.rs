//! The router's way to pods where nobody tells it by BGP: a route for each block, as a cloud's route table has them. The nodes
//! do not use it among themselves; hosts outside and the API server do.

use crate::fabric::Fabric;
use crate::records::Records;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tortie_kernel_net::{Netlink, Route};
use tortie_model::Key;
use tortie_net::{Cidr, Family};
use tortie_store::{Event, WatchItem};

/// Where it is written which block belongs to which node.
const AFFINITIES: &str = "/calico/ipam/v2/host/";

/// Between two tries, where the datastore does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows the blocks for as long as the lab lives.
pub(crate) fn spawn(fabric: Arc<Fabric>, records: Records) {
    tokio::spawn(async move {
        let mut made = BTreeMap::new();
        loop {
            if let Err(error) = follow(&fabric, &records, &mut made).await {
                tracing::debug!("the router's routes to pods: {error:#}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
}

async fn follow(
    fabric: &Arc<Fabric>,
    records: &Records,
    made: &mut BTreeMap<Cidr, IpAddr>,
) -> anyhow::Result<()> {
    let (entries, revision) = records.list(AFFINITIES).await?;
    let mut paths: BTreeSet<String> = entries.iter().map(|e| e.key.to_string()).collect();
    let mut watch = records.watch(AFFINITIES, revision).await?;
    loop {
        let wanted = routes(fabric, &paths);
        if wanted != *made {
            let (fabric, old, new) = (Arc::clone(fabric), made.clone(), wanted.clone());
            tokio::task::spawn_blocking(move || change(&fabric, &old, &new)).await??;
            *made = wanted;
        }
        let WatchItem::Events(events) = watch.next().await? else { continue };
        for event in events {
            match event {
                Event::Put(entry) => paths.insert(entry.key.to_string()),
                Event::Delete { key, .. } => paths.remove(&*key),
            };
        }
    }
}

/// Each block and the address of its node.
fn routes(fabric: &Fabric, paths: &BTreeSet<String>) -> BTreeMap<Cidr, IpAddr> {
    let way = |path: &String| {
        let Some(Key::BlockAffinity { cidr, host, affinity_type }) = Key::from_path(path) else {
            return None;
        };
        if affinity_type != "host" {
            return None;
        }
        let (net, _) = fabric.nodes().find(|(net, _)| net.name == host)?;
        let own = net.addresses.iter().map(|a| a.addr).find(|a| Family::of(*a) == cidr.family())?;
        Some((cidr, own))
    };
    paths.iter().filter_map(way).collect()
}

fn change(fabric: &Fabric, old: &BTreeMap<Cidr, IpAddr>, new: &BTreeMap<Cidr, IpAddr>) -> anyhow::Result<()> {
    let netlink = Netlink::open_in(fabric.router())?;
    for (block, via) in old {
        if !new.contains_key(block) {
            netlink.delete_route(&Route::via(*block, *via, None))?;
        }
    }
    for (block, via) in new {
        netlink.replace_route(&Route::via(*block, *via, None))?;
    }
    Ok(())
}
