//! What assignment depends on and does not write: pools, reservations, settings, the node's labels.
//!
//! They are read once and again only after a watch saw a change, so that an assignment costs no read. While a watch
//! is down they are read for every batch.

use crate::datastore::{Datastore, parse};
use crate::{DatastoreError, PoolRef, keys};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tortie_blocks::{Overlap, Pool, Reservations, overlapping_pools};
use tortie_model::value::{IpamConfig, StringMap};
use tortie_net::{Cidr, Family};
use tortie_store::{Store, StoreError, WatchItem};

/// Blocks per node and family unless configured.
const DEFAULT_MAX_BLOCKS: usize = 20;

/// Rest after a watch failed.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// Pools, reservations, settings and labels.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Usable pool objects by name, enabled or not.
    pub pools: Vec<Pool>,
    /// Labels of the node.
    pub node_labels: StringMap,
    /// The node has an object.
    pub node_known: bool,
    /// The settings.
    pub config: IpamConfig,
    /// Addresses that are not assigned by themselves.
    pub reserved: Reservations,
    /// Networks of others: no block that touches them is claimed.
    pub foreign: Reservations,
    /// Pools that share addresses.
    pub overlaps: Vec<Overlap>,
    /// Objects that are ignored, and why.
    pub problems: Vec<String>,
}

/// Addresses of others that a pool may hold by mistake: those of Services and of the nodes' networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Networks. A block's route would take the packets for them, so no block that touches them is claimed; blocks that
    /// a node has already are used on.
    pub networks: Vec<Cidr>,
    /// Addresses that somebody has. No pod gets one unless it asks for it by name.
    pub addresses: Vec<IpAddr>,
}

impl Facts {
    /// Reads everything.
    pub(crate) async fn load(
        datastore: &Datastore,
        node: &str,
        foreign: &Foreign,
    ) -> Result<Self, DatastoreError> {
        let node_key = keys::node(node);
        let (pools, reservations, config, node) = tokio::try_join!(
            datastore.list(keys::POOLS),
            datastore.list(keys::RESERVATIONS),
            datastore.get(keys::CONFIG),
            datastore.get(&node_key),
        )?;
        let mut facts = Self::default();
        for entry in &pools {
            let pool = parse::<serde_json::Value>(entry, "IPPool").map_err(|e| e.to_string());
            match pool.and_then(|p| Pool::from_v3(&p).map_err(|e| e.to_string())) {
                Ok(pool) => facts.pools.push(pool),
                Err(problem) => facts.problems.push(problem),
            }
        }
        facts.pools.sort_by(|a, b| a.name.cmp(&b.name));
        facts.overlaps = overlapping_pools(&facts.pools);
        facts.problems.extend(facts.overlaps.iter().map(ToString::to_string));
        let mut reserved: Vec<Cidr> = foreign.addresses.iter().map(|address| Cidr::host(*address)).collect();
        for entry in &reservations {
            match parse::<serde_json::Value>(entry, "IPReservation") {
                Ok(object) => reserved.extend(reserved_cidrs(&object, &mut facts.problems)),
                Err(error) => facts.problems.push(error.to_string()),
            }
        }
        facts.reserved = reserved.into_iter().collect();
        facts.foreign = foreign.networks.iter().copied().collect();
        facts.config =
            config.map(|entry| parse(&entry, "IPAM configuration")).transpose()?.unwrap_or_default();
        if let Some(entry) = node {
            facts.node_known = true;
            match parse::<serde_json::Value>(&entry, "Node") {
                Ok(object) => facts.node_labels = labels(&object),
                Err(error) => facts.problems.push(error.to_string()),
            }
        }
        for problem in &facts.problems {
            tracing::warn!(problem, "IPAM ignores an object or part of it");
        }
        Ok(facts)
    }

    /// What no new block is made of.
    pub(crate) fn closed(&self) -> Reservations {
        self.reserved.iter().chain(self.foreign.iter()).collect()
    }

    /// The first enabled pool that an address or block lies in.
    pub(crate) fn pool_of(&self, prefix: Cidr) -> Option<&Pool> {
        self.pools.iter().find(|p| p.enabled && p.cidr.covers(prefix))
    }

    /// The pools of a family among those asked for, as prefixes; `Err` is a name that does not exist.
    pub(crate) fn resolve(&self, wanted: &[PoolRef], family: Family) -> Result<Vec<Cidr>, PoolRef> {
        let mut cidrs = Vec::new();
        for pool in wanted {
            let cidr = match pool {
                PoolRef::Cidr(cidr) => *cidr,
                PoolRef::Name(name) => {
                    self.pools.iter().find(|p| p.name == *name).ok_or_else(|| pool.clone())?.cidr
                }
            };
            if cidr.family() == family {
                cidrs.push(cidr);
            }
        }
        Ok(cidrs)
    }

    /// Blocks that a node may own per family: the smaller of the cluster's limit and that of a request.
    pub(crate) fn max_blocks(&self, request: Option<usize>) -> usize {
        let global = Some(self.config.max_blocks_per_host as usize).filter(|n| *n > 0);
        match (global, request.filter(|n| *n > 0)) {
            (Some(a), Some(b)) => a.min(b),
            (Some(n), None) | (None, Some(n)) => n,
            (None, None) => DEFAULT_MAX_BLOCKS,
        }
    }
}

fn labels(object: &serde_json::Value) -> StringMap {
    let labels = object.pointer("/metadata/labels").and_then(serde_json::Value::as_object);
    let pair = |(k, v): (&String, &serde_json::Value)| Some((k.clone(), v.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(pair).collect()
}

/// The prefixes of an `IPReservation`; those that cannot be parsed are reported.
fn reserved_cidrs(object: &serde_json::Value, problems: &mut Vec<String>) -> BTreeSet<Cidr> {
    let name = object.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or_default();
    let list = object.pointer("/spec/reservedCIDRs").and_then(serde_json::Value::as_array);
    let texts = list.into_iter().flatten().filter_map(serde_json::Value::as_str).map(str::trim);
    texts
        .filter(|text| !text.is_empty())
        .filter_map(|text| {
            let parsed = text.parse().map_err(|e| format!("IPReservation {name}: spec.reservedCIDRs: {e}"));
            parsed.map_err(|problem| problems.push(problem)).ok()
        })
        .collect()
}

/// Tells whether what was read is still what is true.
///
/// Two counters, one for facts and one for the node's affinities, move with every change and with every gap in
/// watching. A counter is only worth something while all its watches stand.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    facts: Topic,
    ownership: Topic,
}

#[derive(Debug, Default)]
struct Topic {
    changes: AtomicU64,
    /// Watches that do not stand.
    down: AtomicU64,
}

/// A moment of a topic; none while a watch is down, so that it equals no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Topic {
    fn now(&self) -> Option<Moment> {
        // The order matters: a watch that comes up counts a change before it leaves `down`.
        let down = self.down.load(Ordering::SeqCst);
        let moment = Moment(self.changes.load(Ordering::SeqCst));
        (down == 0).then_some(moment)
    }
}

impl Freshness {
    /// Starts watching; ends when the set of tasks is dropped.
    pub(crate) fn watch(store: Arc<dyn Store>, node: &str) -> (Arc<Self>, JoinSet<()>) {
        let fresh = Arc::new(Self::default());
        let mut tasks = JoinSet::new();
        let prefixes = [
            (false, keys::POOLS.to_owned()),
            (false, keys::RESERVATIONS.to_owned()),
            (false, keys::CONFIG.to_owned()),
            (false, keys::node(node)),
            (true, keys::affinities(node)),
        ];
        for (ownership, prefix) in prefixes {
            fresh.topic(ownership).down.fetch_add(1, Ordering::SeqCst);
            let (fresh, store) = (fresh.clone(), store.clone());
            tasks.spawn(async move { fresh.follow(&*store, ownership, &prefix).await });
        }
        (fresh, tasks)
    }

    pub(crate) fn facts(&self) -> Option<Moment> {
        self.facts.now()
    }

    pub(crate) fn ownership(&self) -> Option<Moment> {
        self.ownership.now()
    }

    fn topic(&self, ownership: bool) -> &Topic {
        if ownership { &self.ownership } else { &self.facts }
    }

    async fn follow(&self, store: &dyn Store, ownership: bool, prefix: &str) {
        let topic = self.topic(ownership);
        loop {
            let mut up = false;
            if let Err(error) = Self::follow_once(store, prefix, topic, &mut up).await {
                tracing::debug!(prefix, %error, "watch ended");
            }
            if up {
                topic.down.fetch_add(1, Ordering::SeqCst);
            }
            tokio::time::sleep(WATCH_RETRY).await;
        }
    }

    async fn follow_once(
        store: &dyn Store,
        prefix: &str,
        topic: &Topic,
        up: &mut bool,
    ) -> Result<(), StoreError> {
        let revision = store.list(prefix).await?.revision;
        let mut watch = store.watch(prefix, revision).await?;
        topic.changes.fetch_add(1, Ordering::SeqCst);
        topic.down.fetch_sub(1, Ordering::SeqCst);
        *up = true;
        loop {
            if let WatchItem::Events(_) = watch.next().await? {
                topic.changes.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reservations_report_what_they_ignore() {
        let mut problems = Vec::new();
        let object = json!({"metadata": {"name": "r"}, "spec": {"reservedCIDRs": ["10.0.0.1", " fd00::/64 ", "", "x"]}});
        let found: Vec<String> =
            reserved_cidrs(&object, &mut problems).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1/32", "fd00::/64"]);
        assert_eq!(problems, ["IPReservation r: spec.reservedCIDRs: \"x\" is not an IP address or CIDR"]);
    }

    #[test]
    fn the_smaller_limit_counts() {
        let mut facts = Facts::default();
        assert_eq!(
            (facts.max_blocks(None), facts.max_blocks(Some(3)), facts.max_blocks(Some(0))),
            (20, 3, 20)
        );
        facts.config.max_blocks_per_host = 5;
        assert_eq!((facts.max_blocks(None), facts.max_blocks(Some(3)), facts.max_blocks(Some(9))), (5, 3, 5));
    }

    #[test]
    fn a_topic_with_a_watch_down_has_no_moment() {
        let topic = Topic::default();
        let first = topic.now();
        assert!(first.is_some());
        topic.down.fetch_add(1, Ordering::SeqCst);
        assert_eq!(topic.now(), None);
        topic.changes.fetch_add(1, Ordering::SeqCst);
        topic.down.fetch_sub(1, Ordering::SeqCst);
        assert!(topic.now().is_some_and(|m| Some(m) != first));
    }
}
