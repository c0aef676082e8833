//! The port's calls.

use crate::config::EtcdConfig;
use crate::messages::{
    CompactionRequest, CompactionResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnResponse, path,
};
use crate::pool::{Pool, Repeat};
use crate::watching::EtcdWatch;
use crate::{range, txn, version};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tortie_store::{BoxFuture, Entry, List, Op, Precondition, Store, StoreError, Watch};

/// A list whose revision is compacted away while its pages are read starts again, this often.
const LIST_ATTEMPTS: usize = 3;

/// etcd. Clones share the connections.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    pool: Arc<Pool>,
    /// Version of the member that was connected to.
    version: Arc<str>,
    /// Highest revision that any answer has shown.
    latest: Arc<watch::Sender<u64>>,
}

impl EtcdStore {
    /// Connects to the first member that answers.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        let name = format!("etcd {}", config.endpoints.join(","));
        let pool = Pool::new(config).map_err(|config_error| StoreError::Invalid {
            doing: format!("configuration of {name}"),
            reason: tortie_causes::chain(&config_error),
        })?;
        let status: StatusResponse =
            pool.unary("connect", path::STATUS, Repeat::Freely, StatusRequest {}).await?;
        tracing::debug!(version = status.version, "connected to {}", pool.name());
        let latest = range::of_header(status.header.as_ref());
        Ok(Self {
            pool: Arc::new(pool),
            version: status.version.into(),
            latest: Arc::new(watch::Sender::new(latest)),
        })
    }

    /// Version of the member that was connected to, as `3.4.23`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Forgets the history up to `revision`: watches cannot start before it any more.
    pub async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        let request = CompactionRequest { revision: range::signed(revision), physical: false };
        let doing = format!("compact to revision {revision}");
        let done: Result<CompactionResponse, _> =
            self.pool.unary(&doing, path::COMPACT, Repeat::Freely, request).await;
        match done {
            // Somebody else was quicker.
            Ok(_) | Err(StoreError::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn range(&self, doing: &str, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let answer: RangeResponse = self.pool.unary(doing, path::RANGE, Repeat::Freely, request).await?;
        self.saw(range::of_header(answer.header.as_ref()));
        Ok(answer)
    }

    /// All pages at the revision of the first; nothing if that was compacted away meanwhile.
    async fn pages(&self, doing: &str, prefix: &str) -> Result<Option<List>, StoreError> {
        let (mut key, range_end) = range::of_prefix(prefix);
        let mut list = List { entries: Vec::new(), revision: 0, unread: Vec::new() };
        loop {
            let request = RangeRequest {
                key,
                range_end: range_end.clone(),
                limit: i64::from(self.pool.config().page.max(1)),
                revision: range::signed(list.revision),
                keys_only: false,
            };
            let page = match self.range(doing, request).await {
                Ok(page) => page,
                Err(StoreError::Compacted { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            if list.revision == 0 {
                list.revision = range::of_header(page.header.as_ref());
            }
            let next = page.kvs.last().map(|kv| range::after(&kv.key));
            list.entries.extend(page.kvs.into_iter().filter_map(range::entry));
            match next {
                Some(next) if page.more => key = next,
                _ => return Ok(Some(list)),
            }
        }
    }

    /// Leases for the times to live of a commit, by seconds.
    async fn leases(&self, ops: &[Op]) -> Result<BTreeMap<i64, i64>, StoreError> {
        let mut leases = BTreeMap::new();
        for op in ops {
            let Op::Put { ttl: Some(ttl), .. } = op else { continue };
            let seconds = txn::lease_seconds(*ttl);
            if leases.contains_key(&seconds) {
                continue;
            }
            let doing = format!("lease for {}", op.key());
            let request = LeaseGrantRequest { ttl: seconds };
            // A lease that nobody knows of ends by itself.
            let lease: LeaseGrantResponse =
                self.pool.unary(&doing, path::LEASE_GRANT, Repeat::Freely, request).await?;
            leases.insert(seconds, lease.id);
        }
        Ok(leases)
    }

    /// Leases that hold nothing need not wait for their end.
    fn revoke(&self, leases: BTreeMap<i64, i64>) {
        for id in leases.into_values() {
            let pool = self.pool.clone();
            tokio::spawn(async move {
                let request = LeaseRevokeRequest { id };
                let revoked: Result<LeaseRevokeResponse, _> =
                    pool.unary("revoke a lease", path::LEASE_REVOKE, Repeat::Freely, request).await;
                if let Err(error) = revoked {
                    tracing::debug!(%error, "a lease was left to end by itself");
                }
            });
        }
    }

    async fn transaction(&self, ops: Vec<Op>) -> Result<u64, StoreError> {
        Op::check(&ops)?;
        let leases = self.leases(&ops).await?;
        let conditions: Vec<(String, Precondition)> =
            ops.iter().map(|op| (op.key().to_owned(), op.when())).collect();
        let doing = match &conditions[..] {
            [] => "commit of nothing".to_owned(),
            [(key, _)] => format!("commit of {key}"),
            [(key, _), more @ ..] => format!("commit of {key} and {} more", more.len()),
        };
        let lease = |ttl| leases.get(&txn::lease_seconds(ttl)).copied().unwrap_or(0);
        let request = txn::request(ops, lease);
        let answer: TxnResponse =
            match self.pool.unary(&doing, path::TXN, Repeat::OnlyIfNotSent, request).await {
                Ok(answer) => answer,
                Err(error) => {
                    // If the outcome is unknown, the keys may hang on the leases.
                    if !error.is_transient() {
                        self.revoke(leases);
                    }
                    return Err(error);
                }
            };
        let revision = range::of_header(answer.header.as_ref());
        self.saw(revision);
        if answer.succeeded {
            return Ok(revision);
        }
        self.revoke(leases);
        Err(txn::conflict(&conditions, answer.responses).unwrap_or_else(|| StoreError::Corrupt {
            endpoint: self.pool.name().to_owned(),
            reason: format!("{doing} was refused although all its conditions are true"),
        }))
    }

    /// Notes a revision that an answer has shown.
    fn saw(&self, revision: u64) {
        self.latest.send_if_modified(|latest| {
            let newer = revision > *latest;
            *latest = revision.max(*latest);
            newer
        });
    }
}

// === impl Store ===

impl Store for EtcdStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move {
            if key.is_empty() {
                return Ok(None);
            }
            let request =
                RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..RangeRequest::default() };
            let answer = self.range(&format!("get {key}"), request).await?;
            Ok(answer.kvs.into_iter().next().and_then(range::entry))
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            let doing = format!("list {prefix}");
            for _ in 0..LIST_ATTEMPTS {
                if let Some(list) = self.pages(&doing, prefix).await? {
                    return Ok(list);
                }
            }
            Err(StoreError::Unavailable {
                endpoint: self.pool.name().to_owned(),
                doing,
                reason: format!(
                    "its revision was compacted away {LIST_ATTEMPTS} times while pages were read"
                ),
            })
        })
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.transaction(ops))
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let asks_for_progress = version::has_true_progress(&self.version);
            let (mut watch, shown) =
                EtcdWatch::start(self.pool.clone(), self.latest.clone(), asks_for_progress, prefix, revision)
                    .await?;
            if shown < revision {
                // The member may only be behind the others; if the whole cluster is, the caller's revision is from
                // another life of it.
                let (key, range_end) = range::of_prefix(prefix);
                let request = RangeRequest { key, range_end, limit: 1, revision: 0, keys_only: true };
                let answer = self.range(&format!("watch {prefix}"), request).await?;
                let present = range::of_header(answer.header.as_ref());
                if present < revision {
                    return Err(StoreError::Compacted { requested: revision, oldest: present });
                }
            }
            watch.first_report(shown);
            Ok(Box::new(watch) as Box<dyn Watch>)
        })
    }
}
