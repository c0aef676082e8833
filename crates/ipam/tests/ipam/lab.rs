//! A datastore with pools and nodes, stores that fail on purpose, and the invariants of what is stored.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tortie_ipam::{AssignRequest, HandleId, Ipam, Settings};
use tortie_model::value::{AllocationBlock, BlockAffinity, IpamHandle};
use tortie_net::Cidr;
use tortie_store::{
    BoxFuture, Durability, Engine, EngineConfig, Entry, List, Op, Precondition, Store, StoreError, Watch,
};

pub(crate) const RESOURCES: &str = "/calico/resources/v3/projectcalico.org";

/// A cluster's datastore and its clock.
pub(crate) struct Lab {
    pub(crate) store: Engine,
    seconds: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            EngineConfig { durability: Durability::Process, ..EngineConfig::new(dir.path().join("store")) };
        Self {
            store: Engine::open(config).unwrap(),
            seconds: Arc::new(AtomicU64::new(1_800_000_000)),
            _dir: dir,
        }
    }

    /// A cluster with pools `(name, spec)` and nodes without labels.
    pub(crate) async fn with(pools: &[(&str, Value)], nodes: &[&str]) -> Self {
        let lab = Self::new();
        for (name, spec) in pools {
            lab.pool(name, spec.clone()).await;
        }
        for node in nodes {
            lab.node(node, json!({})).await;
        }
        lab
    }

    pub(crate) async fn put(&self, key: &str, value: Value) {
        let value = serde_json::to_vec(&value).unwrap().into();
        let op = Op::Put { key: key.to_owned(), value, when: Precondition::Any, ttl: None };
        self.store.commit(vec![op]).await.unwrap();
    }

    pub(crate) async fn pool(&self, name: &str, spec: Value) {
        let pool = json!({"kind": "IPPool", "metadata": {"name": name}, "spec": spec});
        self.put(&format!("{RESOURCES}/ippools/{name}"), pool).await;
    }

    pub(crate) async fn node(&self, name: &str, labels: Value) {
        let node = json!({"kind": "Node", "metadata": {"name": name, "labels": labels}});
        self.put(&format!("{RESOURCES}/nodes/{name}"), node).await;
    }

    pub(crate) async fn config(&self, config: Value) {
        self.put("/calico/ipam/v2/config", config).await;
    }

    pub(crate) fn ipam(&self, node: &str) -> Ipam {
        self.ipam_over(Arc::new(self.store.clone()), node)
    }

    pub(crate) fn ipam_over(&self, store: Arc<dyn Store>, node: &str) -> Ipam {
        let seconds = self.seconds.clone();
        // Each look at the clock is a later nanosecond, as in life.
        let ticks = AtomicU64::new(0);
        let clock = Arc::new(move || {
            let nanoseconds = ticks.fetch_add(1, Ordering::Relaxed);
            let whole = Duration::from_secs(seconds.load(Ordering::Relaxed));
            SystemTime::UNIX_EPOCH + whole + Duration::from_nanos(nanoseconds)
        });
        Ipam::with_settings(store, Settings { node: node.to_owned(), clock })
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Everything that is stored about addresses.
    pub(crate) async fn stored(&self) -> Stored {
        let list = self.store.list("/calico/ipam/v2/").await.unwrap();
        let mut stored = Stored::default();
        for Entry { key, value, .. } in list.entries {
            let cidr = || key.rsplit_once('/').unwrap().1.replacen('-', "/", 1).parse::<Cidr>().unwrap();
            if key.starts_with("/calico/ipam/v2/assignment/") {
                stored.blocks.insert(cidr(), serde_json::from_slice(&value).unwrap());
            } else if let Some(handle) = key.strip_prefix("/calico/ipam/v2/handle/") {
                stored.handles.insert(HandleId::new(handle), serde_json::from_slice(&value).unwrap());
            } else if let Some(rest) = key.strip_prefix("/calico/ipam/v2/host/") {
                let node = rest.split('/').next().unwrap().to_owned();
                stored.affinities.insert((node, cidr()), serde_json::from_slice(&value).unwrap());
            }
        }
        stored
    }
}

/// What is stored about addresses.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) blocks: BTreeMap<Cidr, AllocationBlock>,
    pub(crate) handles: BTreeMap<HandleId, IpamHandle>,
    pub(crate) affinities: BTreeMap<(String, Cidr), BlockAffinity>,
}

impl Stored {
    /// Who has which addresses, according to the blocks.
    pub(crate) fn held(&self) -> BTreeMap<HandleId, BTreeSet<IpAddr>> {
        let mut held: BTreeMap<HandleId, BTreeSet<IpAddr>> = BTreeMap::new();
        for data in self.blocks.values() {
            let block = tortie_blocks::Block::from_stored(data.clone()).unwrap();
            assert_eq!(block.as_stored(), data, "the stored block needed no repair");
            for allocation in block.allocations().filter(|a| !a.is_cooling()) {
                let new = held.entry(allocation.handle().unwrap()).or_default().insert(allocation.addr);
                assert!(new, "{} is in two blocks", allocation.addr);
            }
        }
        held
    }

    /// Nothing is half done: handles say exactly what blocks say, and affinities match blocks.
    pub(crate) fn assert_tidy(&self) {
        let mut counted: BTreeMap<HandleId, BTreeMap<String, u32>> = BTreeMap::new();
        for (handle, addresses) in self.held() {
            for addr in addresses {
                let block = self.blocks.keys().find(|c| c.contains(addr)).unwrap();
                *counted.entry(handle.clone()).or_default().entry(block.to_string()).or_default() += 1;
            }
        }
        let recorded: BTreeMap<HandleId, BTreeMap<String, u32>> =
            self.handles.iter().map(|(id, h)| (id.clone(), h.block.clone())).collect();
        assert_eq!(recorded, counted, "handles (left) and blocks (right) agree");
        for ((node, cidr), affinity) in &self.affinities {
            assert_eq!(affinity.state, "confirmed", "{cidr} of {node}");
            let owner = self.blocks.get(cidr).and_then(|b| b.affinity.clone());
            assert_eq!(owner, Some(format!("host:{node}")), "{cidr}");
        }
        for (cidr, block) in &self.blocks {
            if let Some(owner) = block.affinity.as_deref().and_then(|a| a.strip_prefix("host:")) {
                assert!(
                    self.affinities.contains_key(&(owner.to_owned(), *cidr)),
                    "{cidr} has an affinity of {owner}"
                );
            }
            let meets = self.blocks.keys().filter(|other| other.overlaps(*cidr)).count();
            assert_eq!(meets, 1, "{cidr} overlaps another block");
        }
    }

    pub(crate) fn blocks_of(&self, node: &str) -> Vec<Cidr> {
        self.affinities.keys().filter(|(n, _)| n == node).map(|(_, c)| *c).collect()
    }
}

pub(crate) fn handle(pod: &str) -> HandleId {
    HandleId::of_container("k8s-pod-network", pod)
}

/// A request of a pod on a node.
pub(crate) fn pod(node: &str, name: &str) -> AssignRequest {
    AssignRequest::for_pod(handle(name), node, "default", name)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Applies the writes of a commit one by one, as a store without transactions does.
pub(crate) struct Piecewise<S>(pub(crate) S);

impl<S: Store> Store for Piecewise<S> {
    fn has_transactions(&self) -> bool {
        false
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.0.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        self.0.list(prefix)
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut revision = 0;
            for op in ops {
                revision = self.0.commit(vec![op]).await?;
            }
            Ok(revision)
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        self.0.watch(prefix, revision)
    }
}

/// When a [`Mortal`] store dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The n-th commit is not done.
    Before(usize),
    /// The n-th commit is done, but nobody learns of it.
    After(usize),
    /// Never.
    Never,
}

/// A store that dies at a chosen commit and never answers well again: for its user the same as dying itself.
pub(crate) struct Mortal<S> {
    store: S,
    death: Death,
    pub(crate) commits: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    pub(crate) log: Mutex<Vec<String>>,
}

impl<S> Mortal<S> {
    pub(crate) fn new(store: S, death: Death) -> Self {
        Self { store, death, commits: AtomicUsize::new(0), reads: AtomicUsize::new(0), log: Mutex::default() }
    }

    pub(crate) fn is_dead(&self) -> bool {
        let done = self.commits.load(Ordering::SeqCst);
        match self.death {
            Death::Before(n) | Death::After(n) => done >= n,
            Death::Never => false,
        }
    }

    fn check(&self, doing: &str) -> Result<(), StoreError> {
        if self.is_dead() { Err(dead(doing)) } else { Ok(()) }
    }
}

fn dead(doing: &str) -> StoreError {
    StoreError::Unavailable {
        endpoint: "test".to_owned(),
        doing: doing.to_owned(),
        reason: "dead".to_owned(),
    }
}

impl<S: Store> Store for Mortal<S> {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            self.check(key)?;
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.store.get(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            self.check(prefix)?;
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.store.list(prefix).await
        })
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            self.check("commit")?;
            let n = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
            self.log.lock().unwrap().extend(ops.iter().map(|op| op.key().to_owned()));
            if self.death == Death::Before(n) {
                return Err(dead("commit"));
            }
            let result = self.store.commit(ops).await;
            if self.death == Death::After(n) { Err(dead("commit")) } else { result }
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        self.store.watch(prefix, revision)
    }
}
