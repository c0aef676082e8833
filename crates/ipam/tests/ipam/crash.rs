//! A node that dies at any write. Every write of a story is tried, once undone and once done but unheard.

use crate::lab::{Death, Lab, Mortal, Piecewise, handle, ip, pod};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tortie_ipam::{AssignRequest, HandleId, Ipam};
use tortie_store::Store;

/// What the container runtime knows: containers whose ADD succeeded and whose DEL was not asked for.
type Runtime = BTreeMap<HandleId, Vec<IpAddr>>;

async fn cluster() -> Lab {
    let four = json!({"cidr": "10.0.0.0/29", "blockSize": 31});
    let six = json!({"cidr": "fd00::/125", "blockSize": 127});
    let lab = Lab::with(&[("v4", four), ("v6", six)], &["n1", "n2"]).await;
    // The other node owns two blocks of each family, one of them empty and old enough to be reclaimed.
    let other = lab.ipam("n2");
    for name in ["other-a", "other-b", "other-c"] {
        other.assign(pod("n2", name)).await.unwrap();
    }
    other.release_by_handle(&handle("other-c")).await.unwrap();
    lab.pass(120);
    lab
}

/// Claims, fills, wants, reclaims, borrows, releases: every kind of write that a node makes.
async fn story(ipam: &Ipam, runtime: &mut Runtime) -> Result<(), Box<dyn std::error::Error>> {
    let mut add = async |name: &str, wanted: Vec<IpAddr>| -> Result<(), Box<dyn std::error::Error>> {
        let request = AssignRequest { wanted, ..pod("n1", name) };
        let addresses = ipam.assign(request).await?;
        runtime.insert(handle(name), addresses);
        Ok(())
    };
    for name in ["a", "b", "c", "d", "e", "f"] {
        add(name, Vec::new()).await?;
    }
    runtime.remove(&handle("b"));
    ipam.release_by_handle(&handle("b")).await?;
    runtime.remove(&handle("e"));
    runtime.remove(&handle("f"));
    ipam.release_by_handle(&handle("e")).await?;
    ipam.release_by_handle(&handle("f")).await?;
    let mark = ipam.mark().await?;
    ipam.reconcile(mark, runtime.keys().cloned().collect()).await?;
    ipam.release_empty_blocks().await?;
    Ok(())
}

async fn live_through(death: Death, piecewise: bool) -> bool {
    let lab = cluster().await;
    let mut runtime = Runtime::new();
    let (store, mortal): (Arc<dyn Store>, _) = if piecewise {
        let mortal = Arc::new(Mortal::new(lab.store.clone(), death));
        (Arc::new(Piecewise(Shared(mortal.clone()))), mortal)
    } else {
        let mortal = Arc::new(Mortal::new(lab.store.clone(), death));
        (mortal.clone(), mortal)
    };
    let finished = story(&lab.ipam_over(store, "n1"), &mut runtime).await.is_ok();
    let context = || format!("{death:?} piecewise={piecewise} {:?}", mortal.log.lock().unwrap());

    // The node comes back. The runtime repeats the requests whose answers it never got, or forgets about them.
    let ipam = lab.ipam("n1");
    for (handle, addresses) in &runtime {
        let again = AssignRequest { handle: handle.clone(), ..pod("n1", "again") };
        assert_eq!(ipam.assign(again).await.unwrap(), *addresses, "{}", context());
    }
    let live: BTreeSet<HandleId> = runtime.keys().cloned().collect();
    for _ in 0..2 {
        let mark = ipam.mark().await.unwrap();
        ipam.reconcile(mark, live.clone()).await.unwrap();
    }
    let other = lab.ipam("n2");
    for _ in 0..2 {
        let mark = other.mark().await.unwrap();
        other.reconcile(mark, [handle("other-a"), handle("other-b")].into()).await.unwrap();
    }
    let stored = lab.stored().await;
    let mut held = stored.held();
    for name in ["other-a", "other-b"] {
        assert_eq!(held.remove(&handle(name)).map(|h| h.len()), Some(2), "{}", context());
    }
    let want: BTreeMap<HandleId, BTreeSet<IpAddr>> =
        runtime.into_iter().map(|(h, a)| (h, a.into_iter().collect())).collect();
    assert_eq!(held, want, "no leak and no loss: {}", context());
    stored.assert_tidy();

    // And everything still works: each free address can be assigned, by either node.
    let free = 8 - stored.held().len();
    for n in 0..free {
        let (node, ipam) = if n % 2 == 0 { ("n1", &ipam) } else { ("n2", &other) };
        ipam.assign(pod(node, &format!("later-{n}"))).await.unwrap_or_else(|e| panic!("{e}: {}", context()));
    }
    lab.stored().await.assert_tidy();
    finished
}

/// Tries every write until the story survives.
async fn every_death(kind: fn(usize) -> Death, piecewise: bool) {
    let mut deaths = 0;
    while !live_through(kind(deaths + 1), piecewise).await {
        deaths += 1;
        assert!(deaths < 500, "the story ends");
    }
    assert!(deaths > 20, "only {deaths} writes in the story");
}

#[tokio::test]
async fn undone_at_any_write() {
    every_death(Death::Before, false).await;
}

#[tokio::test]
async fn done_but_unheard_at_any_write() {
    every_death(Death::After, false).await;
}

#[tokio::test]
async fn undone_at_any_write_without_transactions() {
    every_death(Death::Before, true).await;
}

#[tokio::test]
async fn done_but_unheard_at_any_write_without_transactions() {
    every_death(Death::After, true).await;
}

#[tokio::test]
async fn an_unanswered_request_may_be_repeated_or_dropped() {
    for n in 1.. {
        let lab = cluster().await;
        let mortal = Arc::new(Mortal::new(lab.store.clone(), Death::After(n)));
        let request = || AssignRequest { wanted: vec![ip("fd00::5")], ..pod("n1", "a") };
        let first = lab.ipam_over(mortal, "n1").assign(request()).await;
        let ipam = lab.ipam("n1");
        let again = ipam.assign(request()).await.unwrap();
        let stored = lab.stored().await;
        assert_eq!(stored.held()[&handle("a")], again.iter().copied().collect());
        assert_eq!(stored.handles.len(), 3);
        ipam.release_by_handle(&handle("a")).await.unwrap();
        assert_eq!(lab.stored().await.handles.len(), 2);
        if first.is_ok() {
            assert!(n > 5, "{n} writes");
            break;
        }
    }
}

/// A shared store as a store.
struct Shared<S>(Arc<S>);

impl<S: Store> Store for Shared<S> {
    fn get<'a>(
        &'a self,
        key: &'a str,
    ) -> tortie_store::BoxFuture<'a, Result<Option<tortie_store::Entry>, tortie_store::StoreError>> {
        self.0.get(key)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
    ) -> tortie_store::BoxFuture<'a, Result<tortie_store::List, tortie_store::StoreError>> {
        self.0.list(prefix)
    }

    fn commit(
        &self,
        ops: Vec<tortie_store::Op>,
    ) -> tortie_store::BoxFuture<'_, Result<u64, tortie_store::StoreError>> {
        self.0.commit(ops)
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> tortie_store::BoxFuture<'a, Result<Box<dyn tortie_store::Watch>, tortie_store::StoreError>> {
        self.0.watch(prefix, revision)
    }
}
