//! What waits for the writing thread.

use crate::port::{Op, StoreError};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Jobs that may wait; more are refused rather than kept.
const MAX_WAITING: usize = 16_384;
/// Jobs that share one transaction of the file, at most.
const MAX_BATCH: usize = 512;

/// Called once, on the writer's thread.
pub(super) type Reply = Box<dyn FnOnce(Result<u64, StoreError>) + Send>;

pub(super) enum Job {
    Commit { ops: Vec<Op>, reply: Reply },
    Compact { revision: u64, reply: Reply },
}

impl Job {
    pub(super) fn refuse(self, error: StoreError) {
        match self {
            Self::Commit { reply, .. } | Self::Compact { reply, .. } => reply(Err(error)),
        }
    }
}

/// What the writer finds.
pub(super) enum Taken {
    Jobs(Vec<Job>),
    /// The time is over and nothing waits.
    Nothing,
    /// No job will ever come.
    Closed,
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    /// Adds a job, or gives it back with the reason.
    pub(super) fn push(&self, job: Job) -> Result<(), (Job, &'static str)> {
        let mut inner = self.lock();
        if inner.closed {
            return Err((job, "the store is closed"));
        }
        if inner.jobs.len() >= MAX_WAITING {
            return Err((job, "too many writes are waiting"));
        }
        inner.jobs.push_back(job);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for jobs until `deadline`; what was pushed before [`close`](Self::close) is still given out.
    pub(super) fn take(&self, deadline: Instant) -> Taken {
        let mut inner = self.lock();
        loop {
            if !inner.jobs.is_empty() {
                let count = inner.jobs.len().min(MAX_BATCH);
                return Taken::Jobs(inner.jobs.drain(..count).collect());
            }
            if inner.closed {
                return Taken::Closed;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return Taken::Nothing;
            };
            (inner, _) = self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.lock().jobs.len()).finish()
    }
}
