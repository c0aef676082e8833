//! A list and a burst of changes on a real API server, beside its answers taken raw.

use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_api::crd::Group;
use tortie_store::{Op, Precondition, Store, WatchItem};
use tortie_store_suite::kube::Cluster;

const SETS: usize = 10_000;
const PODS: usize = 500;
const CHANGES: usize = 2_000;
const SETS_PREFIX: &str = "/calico/resources/v3/projectcalico.org/globalnetworksets/";
const PODS_PREFIX: &str = "/tortie/kubernetes/pods/bench/";

/// Prints the table; nothing where these programs are to be left out.
pub(crate) async fn run() {
    let Some(cluster) = Cluster::new(Group::Native, |_| Vec::new()).await else { return };
    let store: Arc<dyn Store> = Arc::new(cluster.store(cluster.config()).await);
    let start = Instant::now();
    fill(&store, SETS, |n| (format!("{SETS_PREFIX}s{n:05}"), set(n, "0"))).await;
    println!(
        "\n{SETS} network sets created by 32 writers        {:>9.1} per second",
        per_second(SETS, start)
    );

    // Once each to warm the server's cache, then measured.
    let raw = || cluster.kubectl(&["get", "--raw", "/apis/projectcalico.org/v3/globalnetworksets"], "");
    raw();
    let start = Instant::now();
    let bytes = raw().len();
    let raw_took = start.elapsed();
    store.list(SETS_PREFIX).await.unwrap();
    let start = Instant::now();
    let list = store.list(SETS_PREFIX).await.unwrap();
    let took = start.elapsed();
    assert_eq!(list.entries.len(), SETS);
    println!(
        "list of {SETS}, {:.1} MB: raw by kubectl {raw_took:>9.0?}, store-kube {took:>9.0?} ({:.2} x)",
        bytes as f64 / 1e6,
        took.as_secs_f64() / raw_took.as_secs_f64()
    );

    let mut watch = store.watch(SETS_PREFIX, list.revision).await.unwrap();
    let start = Instant::now();
    let writer = store.clone();
    let writes = tokio::spawn(async move {
        for n in 0..CHANGES {
            let (key, value) = (format!("{SETS_PREFIX}s{n:05}"), set(n, "1"));
            let put = Op::Put { key, value, when: Precondition::Any, ttl: None };
            writer.commit(vec![put]).await.unwrap();
        }
    });
    let mut seen = 0;
    while seen < CHANGES {
        if let WatchItem::Events(events) = watch.next().await.unwrap() {
            seen += events.len();
        }
    }
    writes.await.unwrap();
    println!(
        "{CHANGES} changes by one writer, all seen             {:>9.1} per second",
        per_second(CHANGES, start)
    );

    cluster.kubectl(&["create", "namespace", "bench"], "");
    cluster.kubectl(&["-n", "bench", "create", "serviceaccount", "default"], "");
    fill(&store, PODS, |n| (format!("{PODS_PREFIX}p{n:05}"), pod(n))).await;
    let raw = cluster.kubectl(&["get", "--raw", "/api/v1/namespaces/bench/pods"], "").len() / PODS;
    let pods = store.list(PODS_PREFIX).await.unwrap();
    assert_eq!(pods.entries.len(), PODS);
    let kept: usize = pods.entries.iter().map(|e| e.key.len() + e.value.len()).sum::<usize>() / PODS;
    assert!(kept <= 4096, "{kept} bytes are kept of a pod");
    println!("a pod: {raw} bytes at the server, {kept} kept here");
}

fn per_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().max(Duration::from_micros(1)).as_secs_f64()
}

async fn fill(store: &Arc<dyn Store>, count: usize, object: fn(usize) -> (String, Bytes)) {
    let writers = (0..32).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in (writer..count).step_by(32) {
                let (key, value) = object(n);
                store
                    .commit(vec![Op::Put { key, value, when: Precondition::Absent, ttl: None }])
                    .await
                    .unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

fn set(n: usize, round: &str) -> Bytes {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
        "metadata": {"name": format!("s{n:05}"), "labels": {"round": round, "team": format!("t{}", n % 50)}},
        "spec": {"nets": [format!("10.{}.{}.0/24", n / 250, n % 250), format!("fd00:{n:x}::/64")]},
    })
    .to_string()
    .into()
}

fn pod(n: usize) -> Bytes {
    let name = format!("p{n:05}");
    let env: Vec<_> =
        (0..20).map(|e| json!({"name": format!("VARIABLE_{e}"), "value": "x".repeat(80)})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "bench", "labels": {"app": "web", "tier": "front"}},
        "spec": {"nodeName": "n1", "containers": [
            {"name": "web", "image": "registry.example/web:1", "env": env, "ports": [{"name": "http", "containerPort": 80}]},
        ]},
    })
    .to_string()
    .into()
}
