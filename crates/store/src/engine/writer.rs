//! The one thread that writes.
//!
//! Per round it takes all jobs that wait, applies them one after the other in one transaction of the file, commits, and
//! only then answers and makes the changes known. If the file fails, nothing of the round has happened, and the store
//! refuses all further writes until it is opened anew: what the file has then is what was acknowledged, and perhaps
//! some writes whose callers were told that the outcome is unknown.

use super::expiry::{Expiry, millis, wall_now};
use super::queue::{Job, Reply, Taken};
use super::tables::{COMPACTED, DATA, LOG, META, Position, TTL};
use super::{Shared, entry};
use crate::port::{Entry, Event, Op, Precondition, StoreError};
use redb::{ReadableTable, Table, WriteTransaction};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Watches are told about progress at most this often, so that a burst of writes does not wake everyone each time.
const PROGRESS_EVERY: Duration = Duration::from_millis(20);
/// The log may be so much longer than it should be.
const TRIM_TOGETHER: u64 = 64;
/// Keys that end in one round, at most; the others follow in the next.
const MAX_EXPIRED: usize = 256;

pub(super) struct Writer {
    shared: Arc<Shared>,
    position: Position,
    expiry: Expiry,
    /// Changes to keep in the log.
    keep: u64,
    idle_progress: Duration,
    last_progress: Instant,
    /// Something was published after the last progress.
    progress_due: bool,
}

/// A round's answers, given once the file has it all.
type Answers = Vec<(Reply, Result<u64, StoreError>)>;

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        position: Position,
        expiry: Expiry,
        keep: u64,
        idle_progress: Duration,
    ) -> Self {
        let last_progress = Instant::now();
        Self { shared, position, expiry, keep, idle_progress, last_progress, progress_due: false }
    }

    pub(super) fn run(mut self) {
        let _ended = Ended(self.shared.clone());
        loop {
            let outcome = match self.shared.queue.take(self.next_wakeup()) {
                Taken::Closed => return,
                Taken::Nothing => self.round(Vec::new()),
                Taken::Jobs(jobs) => self.round(jobs),
            };
            if outcome.is_err() {
                return;
            }
            self.report_progress();
        }
    }

    fn next_wakeup(&self) -> Instant {
        let wait = if self.progress_due { PROGRESS_EVERY } else { self.idle_progress };
        let report = self.last_progress + wait;
        self.expiry.next().map_or(report, |expiry| expiry.min(report))
    }

    fn report_progress(&mut self) {
        let since = self.last_progress.elapsed();
        let idle = since >= self.idle_progress;
        if idle || self.progress_due && since >= PROGRESS_EVERY {
            self.shared.history.progress(idle);
            self.last_progress = Instant::now();
            self.progress_due = false;
        }
    }

    fn round(&mut self, jobs: Vec<Job>) -> Result<(), redb::Error> {
        let expired = self.expiry.due(Instant::now(), MAX_EXPIRED);
        if jobs.is_empty() && expired.is_empty() {
            return Ok(());
        }
        let mut answers = Answers::with_capacity(jobs.len());
        match self.write(jobs, expired, &mut answers) {
            Ok(events) => {
                if !events.is_empty() {
                    self.shared.history.publish(events, self.position.revision);
                    self.progress_due = true;
                }
                for (reply, answer) in answers {
                    reply(answer);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(path = %self.shared.path.display(), %error, "the store cannot write any more");
                let reason = format!("the file cannot be written any more: {error}");
                let _ = self.shared.failure.set(reason);
                for (reply, _) in answers {
                    reply(Err(self.shared.unavailable("commit", format!("{error}; the outcome is unknown"))));
                }
                Err(error)
            }
        }
    }

    /// One transaction of the file. On success, `self` agrees with the file.
    fn write(
        &mut self,
        jobs: Vec<Job>,
        expired: Vec<Arc<str>>,
        answers: &mut Answers,
    ) -> Result<Vec<Event>, redb::Error> {
        let txn = match self.shared.db.begin_write() {
            Ok(txn) => txn,
            Err(error) => {
                let error = redb::Error::from(error);
                for job in jobs {
                    job.refuse(self.shared.unavailable("commit", error.to_string()));
                }
                return Err(error);
            }
        };
        let before = self.position;
        let mut round = Round::new(&txn, self.position, &mut self.expiry)?;
        let mut commits = 0;
        let mut failure = None;
        for job in jobs {
            // After a failure the others are only answered.
            let (reply, answer) = match job {
                Job::Commit { reply, .. } | Job::Compact { reply, .. } if failure.is_some() => {
                    (reply, Ok(Ok(0)))
                }
                Job::Commit { ops, reply } => (reply, round.commit(ops)),
                Job::Compact { revision, reply } => (reply, round.compact(revision).map(Ok)),
            };
            let answer = answer.unwrap_or_else(|error| {
                failure = Some(error);
                Ok(0)
            });
            match &answer {
                Ok(_) => commits += 1,
                Err(_) => drop(self.shared.counters.conflicts.fetch_add(1, Ordering::Relaxed)),
            }
            answers.push((reply, answer));
        }
        if let Some(error) = failure {
            return Err(error);
        }
        round.expire(expired)?;
        round.trim(self.keep)?;
        let (position, events, compacted) = round.end();
        if position.revision == before.revision && !compacted {
            txn.abort()?;
        } else {
            txn.commit()?;
            self.shared.counters.batches.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.counters.commits.fetch_add(commits, Ordering::Relaxed);
        self.position = position;
        Ok(events)
    }
}

/// Refuses all that waits when the thread ends, for whatever reason.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.queue.close();
        let reason = self.0.failure.get().map_or("the store is closed", String::as_str);
        while let Taken::Jobs(jobs) = self.0.queue.take(Instant::now()) {
            for job in jobs {
                job.refuse(self.0.unavailable("commit", reason));
            }
        }
        self.0.ended.send_replace(true);
    }
}

/// The tables of one transaction, and what becomes of the position. The tables that few commits need are opened by
/// those: each one costs some of a commit's time.
struct Round<'txn> {
    txn: &'txn WriteTransaction,
    data: Table<'txn, &'static str, (u64, &'static [u8])>,
    log: Table<'txn, (u64, u32), (&'static str, Option<&'static [u8]>)>,
    ttl: Option<Table<'txn, &'static str, (u64, u64)>>,
    expiry: &'txn mut Expiry,
    position: Position,
    events: Vec<Event>,
    compacted: bool,
    /// Number of the next change within the revision being made.
    seq: u32,
}

impl<'txn> Round<'txn> {
    fn new(
        txn: &'txn WriteTransaction,
        position: Position,
        expiry: &'txn mut Expiry,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            txn,
            data: txn.open_table(DATA)?,
            log: txn.open_table(LOG)?,
            ttl: None,
            expiry,
            position,
            events: Vec::new(),
            compacted: false,
            seq: 0,
        })
    }

    /// Lets go of the tables, so that the transaction can be ended.
    fn end(self) -> (Position, Vec<Event>, bool) {
        (self.position, self.events, self.compacted)
    }

    /// All of one commit or nothing: conditions first, so that a refusal leaves no trace in the shared transaction.
    fn commit(&mut self, ops: Vec<Op>) -> Result<Result<u64, StoreError>, redb::Error> {
        for op in &ops {
            if let Some(conflict) = self.conflict(op)? {
                return Ok(Err(conflict));
            }
        }
        self.seq = 0;
        for op in ops {
            match op {
                Op::Put { key, value, ttl, .. } => {
                    let key: Arc<str> = key.into();
                    let revision = self.position.revision + 1;
                    self.data.insert(&*key, (revision, &*value))?;
                    self.set_ttl(&key, ttl)?;
                    self.record(Event::Put(Entry { key, value, revision }))?;
                }
                Op::Delete { key, .. } => self.delete(key.into())?,
            }
        }
        Ok(Ok(self.end_revision()))
    }

    fn conflict(&self, op: &Op) -> Result<Option<StoreError>, redb::Error> {
        let expected = match op.when() {
            Precondition::Any => return Ok(None),
            Precondition::Absent => 0,
            Precondition::Revision(revision) => revision,
        };
        let key = op.key();
        let found = self.data.get(key)?;
        let actual = found.as_ref().map_or(0, |guard| guard.value().0);
        if actual == expected {
            return Ok(None);
        }
        let current = found.map(|guard| entry(key, guard.value()));
        Ok(Some(StoreError::Conflict { key: key.to_owned(), current }))
    }

    fn delete(&mut self, key: Arc<str>) -> Result<(), redb::Error> {
        if self.data.remove(&*key)?.is_none() {
            return Ok(());
        }
        self.set_ttl(&key, None)?;
        self.record(Event::Delete { key, revision: self.position.revision + 1 })
    }

    fn set_ttl(&mut self, key: &Arc<str>, ttl: Option<Duration>) -> Result<(), redb::Error> {
        let known = self.expiry.clear(key);
        if ttl.is_none() && !known {
            return Ok(());
        }
        let table = match &mut self.ttl {
            Some(table) => table,
            closed => closed.insert(self.txn.open_table(TTL)?),
        };
        if let Some(ttl) = ttl {
            let ttl_millis = millis(ttl).max(1);
            table.insert(&**key, (wall_now().saturating_add(ttl_millis), ttl_millis))?;
            self.expiry.set(key.clone(), Instant::now() + ttl);
        } else {
            table.remove(&**key)?;
        }
        Ok(())
    }

    fn record(&mut self, event: Event) -> Result<(), redb::Error> {
        let value = match &event {
            Event::Put(entry) => Some(&*entry.value),
            Event::Delete { .. } => None,
        };
        self.log.insert((event.revision(), self.seq), (&**event.key(), value))?;
        self.seq += 1;
        self.position.log_len += 1;
        self.events.push(event);
        Ok(())
    }

    /// The revision is used up only if something changed.
    fn end_revision(&mut self) -> u64 {
        self.position.revision += u64::from(self.seq > 0);
        self.position.revision
    }

    fn expire(&mut self, keys: Vec<Arc<str>>) -> Result<(), redb::Error> {
        self.seq = 0;
        for key in keys {
            // A commit of this round may have written it again.
            let still_due = self.expiry.has(&key) && !self.events.iter().any(|event| *event.key() == key);
            if still_due {
                self.delete(key)?;
            }
        }
        self.end_revision();
        Ok(())
    }

    /// Keeps the log at its size, a little at a time, so that no single round pays for many.
    fn trim(&mut self, keep: u64) -> Result<(), redb::Error> {
        if self.position.log_len <= keep + TRIM_TOGETHER.min(keep / 16) {
            return Ok(());
        }
        let surplus = self.position.log_len - keep;
        let last = self.log.range::<(u64, u32)>(..)?.nth(surplus as usize - 1).transpose()?;
        match last.map(|(key, _)| key.value().0) {
            Some(revision) => self.compact(revision).map(|_| ()),
            None => Ok(()),
        }
    }

    fn compact(&mut self, revision: u64) -> Result<u64, redb::Error> {
        let revision = revision.min(self.position.revision);
        if revision <= self.position.compacted {
            return Ok(self.position.revision);
        }
        while self.log.first()?.is_some_and(|(key, _)| key.value().0 <= revision) {
            self.log.pop_first()?;
            self.position.log_len -= 1;
        }
        self.txn.open_table(META)?.insert(COMPACTED, revision)?;
        self.position.compacted = revision;
        self.compacted = true;
        Ok(self.position.revision)
    }
}
