//! Assigning to a batch of requests: plan in memory, write once, and again after a lost race.

use crate::datastore::{Versioned, put, put_block};
use crate::facts::Facts;
use crate::plan::{Plan, Shortage};
use crate::writer::{Lost, PendingAssign, RETRIES, Writer};
use crate::{AssignError, DatastoreError, HandleId, keys};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use tortie_blocks::Block;
use tortie_model::value::IpamHandle;
use tortie_net::Cidr;
use tortie_store::{Op, Precondition};

/// Rounds of planning for one batch: each either serves a request, makes room, or loses a race.
const ROUNDS: usize = 10 * RETRIES;

/// Requests that are served together.
#[derive(Default)]
struct Batch {
    waiting: Vec<PendingAssign>,
    /// Handles that were read because of this batch.
    looked_up: HashSet<HandleId>,
    races: usize,
    /// Everything was read anew, so what is impossible is so.
    distrusted: bool,
}

/// What a plan says about the requests of a batch, by position.
#[derive(Default)]
struct Outcome {
    placed: Vec<(usize, Vec<IpAddr>)>,
    short: Vec<(usize, Shortage)>,
    blocks: BTreeMap<Cidr, Block>,
    handles: BTreeMap<HandleId, IpamHandle>,
}

impl Writer {
    /// Serves all requests of a batch. Each has another handle.
    pub(crate) async fn assign_batch(&mut self, batch: Vec<PendingAssign>) {
        for pending in &batch {
            self.assigned += 1;
            self.recent.insert(pending.query.handle.clone(), self.assigned);
        }
        let mut batch = Batch { waiting: batch, ..Batch::default() };
        for _ in 0..ROUNDS {
            if batch.waiting.is_empty() {
                return;
            }
            if let Err(lost) = self.round(&mut batch).await {
                // What was written is unknown.
                self.distrust();
                for pending in &batch.waiting {
                    self.cache.handles.remove(&pending.query.handle);
                }
                return fail(batch.waiting, &lost.into());
            }
        }
        fail(batch.waiting, &AssignError::Contention { key: keys::HANDLES.to_owned(), attempts: ROUNDS });
    }

    /// Plans and writes once, or makes room for the next plan.
    async fn round(&mut self, batch: &mut Batch) -> Result<(), Lost> {
        let facts = self.facts().await?;
        self.own_blocks().await?;
        self.cache.collect(self.now(), facts.config.ip_cooldown_seconds);
        let Outcome { placed, short, blocks, handles } = self.plan(&batch.waiting, &facts);
        if placed.is_empty() {
            return self.relieve(batch, &facts, short).await;
        }
        let Some(key) = self.write(blocks, handles).await? else {
            answer(&mut batch.waiting, placed);
            return Ok(());
        };
        batch.races += 1;
        if batch.races > RETRIES {
            return Err(Lost::Contention { key, attempts: batch.races });
        }
        Ok(self.after_lost_race(batch, &key).await?)
    }

    /// Gets what a request lacks, or refuses it: no request can be placed as it is.
    async fn relieve(
        &mut self,
        batch: &mut Batch,
        facts: &Facts,
        short: Vec<(usize, Shortage)>,
    ) -> Result<(), Lost> {
        // A repeated request may hold already what cannot be had any more.
        if self.look_up_handles(batch).await? {
            return Ok(());
        }
        let Some((position, shortage)) = short.first() else { return Ok(()) };
        let max_blocks = batch.waiting.get(*position).and_then(|p| p.query.max_blocks);
        let relieved = match shortage {
            Shortage::Failed(error) => Err(error.clone()),
            Shortage::Block { addr } => self.load_block_of(facts, *addr).await,
            Shortage::Room { family, pools } => self.make_room(facts, *family, pools, max_blocks).await,
        };
        let error = match relieved {
            Ok(()) => return Ok(()),
            Err(AssignError::Datastore(error)) => return Err(Lost::Datastore(error)),
            Err(error) => error,
        };
        // What makes it impossible may be out of date.
        if !batch.distrusted && self.distrust() {
            batch.distrusted = true;
            return Ok(());
        }
        // Those who want the same room share the answer.
        let same_room = |at: usize| short.iter().any(|(n, s)| *n == at && s.is_same_room(shortage));
        let (refused, others) =
            std::mem::take(&mut batch.waiting).into_iter().enumerate().partition::<Vec<_>, _>(
                |(at, pending)| at == position || (pending.query.max_blocks == max_blocks && same_room(*at)),
            );
        batch.waiting.extend(others.into_iter().map(|(_, pending)| pending));
        for (_, pending) in refused {
            self.refuse(pending, error.clone()).await;
        }
        Ok(())
    }

    fn plan(&self, batch: &[PendingAssign], facts: &Facts) -> Outcome {
        let mut outcome = Outcome::default();
        let mut plan = Plan::new(self.owner.name(), facts, &self.cache);
        for (position, pending) in batch.iter().enumerate() {
            match plan.place(&pending.query) {
                Ok(addresses) => outcome.placed.push((position, addresses)),
                Err(shortage) => outcome.short.push((position, shortage)),
            }
        }
        (outcome.blocks, outcome.handles) = (plan.blocks, plan.handles);
        outcome
    }

    /// Writes handles, then blocks: on a store without transactions a handle may then claim addresses that it has
    /// not, which is harmless, but never hold one that it does not know of. Answers the key of a lost race.
    async fn write(
        &mut self,
        mut blocks: BTreeMap<Cidr, Block>,
        handles: BTreeMap<HandleId, IpamHandle>,
    ) -> Result<Option<String>, DatastoreError> {
        let mut ops: Vec<Op> = Vec::with_capacity(blocks.len() + handles.len());
        for (handle, record) in &handles {
            let known = self.cache.handles.get(handle).map(|h| Precondition::Revision(h.revision));
            ops.push(put(keys::handle(handle), record, known.unwrap_or(Precondition::Absent)));
        }
        blocks.retain(|cidr, _| self.cache.block(*cidr).is_some());
        for (cidr, block) in &mut blocks {
            let revision = self.cache.block(*cidr).map(|known| known.revision).unwrap_or_default();
            block.count_write();
            ops.push(put_block(block, Precondition::Revision(revision)));
        }
        let written = self.datastore.commit(ops).await?;
        let mut revisions = written.revisions.into_iter();
        for ((handle, value), revision) in handles.into_iter().zip(revisions.by_ref()) {
            self.cache.handles.insert(handle, Versioned { value, revision });
        }
        for ((cidr, block), revision) in blocks.into_iter().zip(revisions) {
            tracing::debug!(%cidr, revision, "wrote block");
            self.cache.wrote_block(block, revision);
        }
        Ok(written.lost)
    }

    /// Reads what somebody else changed. If a handle exists that we took for new, others of the batch may too: this
    /// is what happens when requests are repeated after a restart.
    async fn after_lost_race(&mut self, batch: &mut Batch, key: &str) -> Result<(), DatastoreError> {
        tracing::debug!(key, "lost a race");
        match keys::parse_handle(key) {
            None => self.reload(key).await,
            Some(handle) => {
                self.cache.handles.remove(&handle);
                batch.looked_up.remove(&handle);
                self.look_up_handles(batch).await.map(drop)
            }
        }
    }

    /// Reads the handles of a batch that are not known, once; true if that brought any to light.
    async fn look_up_handles(&mut self, batch: &mut Batch) -> Result<bool, DatastoreError> {
        let mut found = false;
        for pending in std::mem::take(&mut batch.waiting) {
            let handle = &pending.query.handle;
            if self.cache.handles.contains_key(handle) || !batch.looked_up.insert(handle.clone()) {
                batch.waiting.push(pending);
                continue;
            }
            match self.reload_handle(handle).await {
                Ok(()) => {
                    found |= self.cache.handles.contains_key(handle);
                    batch.waiting.push(pending);
                }
                // One handle that cannot be read is no reason to fail the others.
                Err(error @ DatastoreError::Malformed { .. }) => {
                    found = true;
                    pending.answer(Err(error.into()));
                }
                Err(error) => {
                    batch.waiting.push(pending);
                    return Err(error);
                }
            }
        }
        Ok(found)
    }

    /// Answers with an error, and releases what an earlier attempt of the same request has got in another family.
    async fn refuse(&mut self, pending: PendingAssign, error: AssignError) {
        let handle = &pending.query.handle;
        if self.cache.handles.contains_key(handle)
            && let Err(cleanup) = self.release_handle(handle).await
        {
            tracing::warn!(%handle, error = %crate::ReleaseError::from(cleanup), "a refused request keeps addresses until its handle is released");
        }
        self.recent.remove(handle);
        pending.answer(Err(error));
    }
}

fn answer(batch: &mut Vec<PendingAssign>, placed: Vec<(usize, Vec<IpAddr>)>) {
    let mut answers: BTreeMap<usize, Vec<IpAddr>> = placed.into_iter().collect();
    let waiting = std::mem::take(batch);
    for (position, pending) in waiting.into_iter().enumerate() {
        match answers.remove(&position) {
            Some(addresses) => pending.answer(Ok(addresses)),
            None => batch.push(pending),
        }
    }
}

fn fail(batch: Vec<PendingAssign>, error: &AssignError) {
    for pending in batch {
        pending.answer(Err(error.clone()));
    }
}
