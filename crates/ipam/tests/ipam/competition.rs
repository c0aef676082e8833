//! Nodes that want the same addresses at the same time.

use crate::lab::{Lab, Piecewise, handle, pod};
use serde_json::json;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use tortie_ipam::{AssignError, Ipam};
use tortie_store::Store;

const NODES: usize = 8;
const TASKS: usize = 64;

/// Pools with exactly one address of each family per task, in blocks of four.
async fn exact() -> Lab {
    let four = json!({"cidr": "10.0.0.0/23", "blockSize": 30});
    let six = json!({"cidr": "fd00::/119", "blockSize": 126});
    Lab::with(&[("v4", four), ("v6", six)], &[]).await
}

fn nodes(lab: &Lab, store: &Arc<dyn Store>) -> Vec<(String, Ipam)> {
    (0..NODES)
        .map(|n| {
            let name = format!("n{n}");
            let ipam = lab.ipam_over(store.clone(), &name);
            (name, ipam)
        })
        .collect()
}

async fn stores(lab: &Lab) -> [Arc<dyn Store>; 2] {
    [Arc::new(lab.store.clone()), Arc::new(Piecewise(lab.store.clone()))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_address_of_a_pool_is_found() {
    for which in 0..2 {
        let lab = exact().await;
        lab.config(json!({"auto_allocate_blocks": true, "maxBlocksPerHost": 1000})).await;
        let store = stores(&lab).await[which].clone();
        let mut tasks = JoinSet::new();
        for (node, ipam) in nodes(&lab, &store) {
            for n in 0..TASKS {
                let (node, ipam) = (node.clone(), ipam.clone());
                tasks.spawn(
                    async move { (node.clone(), ipam.assign(pod(&node, &format!("{node}-{n}"))).await) },
                );
            }
        }
        let mut owners: HashMap<IpAddr, String> = HashMap::new();
        while let Some(joined) = tasks.join_next().await {
            let (node, answer) = joined.unwrap();
            for addr in answer.unwrap() {
                assert_eq!(owners.insert(addr, node.clone()), None, "{addr} twice");
            }
        }
        assert_eq!(owners.len(), 2 * NODES * TASKS);
        let stored = lab.stored().await;
        assert_eq!(stored.held().len(), NODES * TASKS);
        stored.assert_tidy();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_and_going() {
    for which in 0..2 {
        let lab = exact().await;
        let store = stores(&lab).await[which].clone();
        let holders: Arc<Mutex<HashMap<IpAddr, String>>> = Arc::default();
        let mut tasks = JoinSet::new();
        for (node, ipam) in nodes(&lab, &store) {
            for n in 0..TASKS {
                let (node, ipam, holders) = (node.clone(), ipam.clone(), holders.clone());
                tasks.spawn(async move { come_and_go(&node, &ipam, n, &holders).await });
            }
        }
        let mut refused = 0;
        while let Some(joined) = tasks.join_next().await {
            refused += joined.unwrap();
        }
        assert!(refused < NODES * TASKS * 3, "somebody got addresses");
        let stored = lab.stored().await;
        assert!(stored.held().is_empty());
        stored.assert_tidy();
    }
}

/// Three lives of a pod; answers how often there was no address for it.
async fn come_and_go(node: &str, ipam: &Ipam, n: usize, holders: &Mutex<HashMap<IpAddr, String>>) -> usize {
    let mut refused = 0;
    for life in 0..3 {
        let name = format!("{node}-{n}-{life}");
        match ipam.assign(pod(node, &name)).await {
            Ok(addresses) => {
                for addr in &addresses {
                    assert_eq!(holders.lock().unwrap().insert(*addr, name.clone()), None, "{addr} twice");
                }
                tokio::task::yield_now().await;
                for addr in &addresses {
                    holders.lock().unwrap().remove(addr);
                }
                assert_eq!(ipam.release_by_handle(&handle(&name)).await.unwrap(), addresses);
            }
            Err(
                AssignError::Full { .. } | AssignError::BlockLimit { .. } | AssignError::Contention { .. },
            ) => {
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    refused
}
