//! Taking and giving up blocks: Calico's protocol, in which nodes of both kinds may compete.
//!
//! Taking: affinity `pending`, block created, affinity `confirmed`. Giving up: affinity `pendingDeletion`, block
//! deleted, affinity deleted. The block decides: who creates it owns it. Each step is one compare-and-swap, so that a
//! crash leaves a state which the next attempt recognises.

use crate::DatastoreError;
use crate::datastore::{Versioned, delete, is_confirmed, put_affinity, put_block, state};
use crate::keys;
use crate::writer::{Lost, RETRIES, Writer};
use tortie_blocks::{Block, Owner, Timestamp};
use tortie_net::Cidr;
use tortie_store::Precondition;

/// What became of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The block is ours and in the cache.
    Ours,
    /// Somebody else has it.
    Taken,
}

impl Writer {
    /// Makes a block ours, or learns that it is not.
    pub(crate) async fn claim(&mut self, cidr: Cidr) -> Result<Claim, Lost> {
        for _ in 0..RETRIES {
            let Some((affinity, confirmed)) = self.announce(cidr).await? else { continue };
            let Some(block) = self.create_or_adopt(cidr, confirmed).await? else { continue };
            let Some(block) = block else {
                tracing::debug!(%cidr, "block belongs to another");
                // Losing this race too only means that somebody else cleaned up.
                self.datastore.write(delete(keys::affinity(&self.owner, cidr), affinity)).await?;
                self.cache.unconfirmed.remove(&cidr);
                return Ok(Claim::Taken);
            };
            if !confirmed && !self.confirm(cidr, affinity).await? {
                continue;
            }
            tracing::info!(%cidr, "claimed block");
            self.cache.unconfirmed.remove(&cidr);
            self.cache.visited.remove(&cidr);
            self.cache.own.insert(cidr, block);
            return Ok(Claim::Ours);
        }
        Err(Lost::Contention { key: keys::block(cidr), attempts: RETRIES })
    }

    /// Writes our affinity as pending, unless it is confirmed already; answers its revision and whether it is.
    /// `None` after a lost race.
    async fn announce(&self, cidr: Cidr) -> Result<Option<(u64, bool)>, DatastoreError> {
        let pending = |when| put_affinity(&self.owner, cidr, state::PENDING, when);
        if let Some(revision) = self.datastore.write(pending(Precondition::Absent)).await? {
            return Ok(Some((revision, false)));
        }
        let Some(found) = self.datastore.affinity(&self.owner, cidr).await? else { return Ok(None) };
        if is_confirmed(&found.value) && !found.value.deleted {
            return Ok(Some((found.revision, true)));
        }
        let written = self.datastore.write(pending(Precondition::Revision(found.revision))).await?;
        Ok(written.map(|revision| (revision, false)))
    }

    /// Creates the block, or finds out whose it is: `Some(None)` if not ours. `None` after a lost race.
    async fn create_or_adopt(
        &self,
        cidr: Cidr,
        confirmed: bool,
    ) -> Result<Option<Option<Versioned<Block>>>, DatastoreError> {
        let malformed = |e: tortie_blocks::BlockError| DatastoreError::Malformed {
            key: keys::block(cidr),
            what: "block",
            reason: e.to_string(),
        };
        let value = Block::new(cidr, &self.owner, self.nanoseconds(), self.now()).map_err(malformed)?;
        let create = put_block(&value, Precondition::Absent);
        if let Some(revision) = self.datastore.write(create).await? {
            return Ok(Some(Some(Versioned { value, revision })));
        }
        let Some(mut found) = self.datastore.block(cidr).await? else { return Ok(None) };
        if found.value.owner().as_ref() != Some(&self.owner) {
            return Ok(Some(None));
        }
        if !confirmed {
            // Somebody may be about to give the block up for us; a new revision makes that fail.
            found.value.count_write();
            let rewrite = put_block(&found.value, Precondition::Revision(found.revision));
            let Some(revision) = self.datastore.write(rewrite).await? else { return Ok(None) };
            found.revision = revision;
        }
        Ok(Some(Some(found)))
    }

    async fn confirm(&self, cidr: Cidr, pending: u64) -> Result<bool, DatastoreError> {
        let when = Precondition::Revision(pending);
        let confirm = put_affinity(&self.owner, cidr, state::CONFIRMED, when);
        if self.datastore.write(confirm).await?.is_some() {
            return Ok(true);
        }
        let found = self.datastore.affinity(&self.owner, cidr).await?;
        Ok(found.is_some_and(|a| is_confirmed(&a.value)))
    }

    /// Gives up an empty block of any owner, if nobody has changed it since it was read. False if somebody has.
    pub(crate) async fn give_up(
        &mut self,
        owner: &Owner,
        block: &Versioned<Block>,
    ) -> Result<bool, DatastoreError> {
        let cidr = block.value.cidr();
        let affinity = self.datastore.affinity(owner, cidr).await?;
        let mut marked = None;
        if let Some(affinity) = &affinity {
            let when = Precondition::Revision(affinity.revision);
            marked = self.datastore.write(put_affinity(owner, cidr, state::PENDING_DELETION, when)).await?;
            if marked.is_none() {
                return Ok(false);
            }
        }
        let given_up = self.datastore.write(delete(keys::block(cidr), block.revision)).await?.is_some();
        if let (Some(marked), Some(affinity)) = (marked, &affinity) {
            let end = if given_up {
                delete(keys::affinity(owner, cidr), marked)
            } else {
                let when = Precondition::Revision(marked);
                put_affinity(owner, cidr, &affinity.value.state, when)
            };
            // A lost race means that the owner was quicker to repair its affinity.
            self.datastore.write(end).await?;
        }
        if given_up {
            tracing::info!(%cidr, %owner, "gave up empty block");
            self.cache.forget_block(cidr);
        }
        Ok(given_up)
    }

    /// Brings the cache of own blocks up to the node's affinities, repairing what a crash left half done.
    pub(crate) async fn load_own(&mut self) -> Result<(), Lost> {
        let affinities = self.datastore.affinities(&self.owner).await?;
        let listed: Vec<Cidr> = affinities.iter().map(|(cidr, _)| *cidr).collect();
        self.cache.own.retain(|cidr, _| listed.contains(cidr));
        self.cache.unconfirmed.clear();
        for (cidr, affinity) in affinities {
            let confirmed = is_confirmed(&affinity.value);
            if confirmed && self.cache.own.contains_key(&cidr) {
                continue;
            }
            self.cache.own.remove(&cidr);
            let block = match self.datastore.block(cidr).await {
                Err(error @ DatastoreError::Malformed { .. }) => {
                    tracing::warn!(%error, "block of this node is not used");
                    continue;
                }
                other => other?,
            };
            let leaving = affinity.value.state == state::PENDING_DELETION;
            match block {
                Some(block) if block.value.owner().as_ref() != Some(&self.owner) => {
                    tracing::info!(%cidr, "removing stale affinity: the block belongs to another");
                    self.datastore
                        .write(delete(keys::affinity(&self.owner, cidr), affinity.revision))
                        .await?;
                }
                Some(block) if confirmed => {
                    self.cache.own.insert(cidr, block);
                }
                // Somebody may be reclaiming it right now: it is theirs unless we come to need it.
                Some(block) if leaving && block.value.is_empty() => {
                    self.cache.unconfirmed.insert(cidr);
                }
                Some(_) => {
                    self.claim(cidr).await?;
                }
                None if leaving => {
                    self.datastore
                        .write(delete(keys::affinity(&self.owner, cidr), affinity.revision))
                        .await?;
                }
                None => {
                    self.cache.unconfirmed.insert(cidr);
                }
            }
        }
        Ok(())
    }

    /// True if a block was claimed long enough ago that its owner had the chance to use it.
    pub(crate) fn is_ripe(&self, block: &Block) -> bool {
        /// Seconds after a claim in which nobody else reclaims an empty block.
        const MIN_RECLAIM_AGE: i64 = 60;
        let claimed = block.claimed_at().unwrap_or(Timestamp(i64::MIN / 2));
        self.now().seconds_since(claimed) >= MIN_RECLAIM_AGE
    }
}
