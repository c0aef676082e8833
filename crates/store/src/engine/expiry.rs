//! When which key ends.
//!
//! Deadlines count on the monotonic clock while the store runs, so that a step of the wall clock ends nothing early;
//! the wall clock is used only to carry them over a restart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Default)]
pub(super) struct Expiry {
    by_key: HashMap<Arc<str>, Instant>,
    by_time: BTreeSet<(Instant, Arc<str>)>,
}

impl Expiry {
    pub(super) fn set(&mut self, key: Arc<str>, deadline: Instant) {
        self.clear(&key);
        self.by_time.insert((deadline, key.clone()));
        self.by_key.insert(key, deadline);
    }

    /// Forgets the deadline of a key; true if it had one.
    pub(super) fn clear(&mut self, key: &Arc<str>) -> bool {
        let Some(deadline) = self.by_key.remove(key) else { return false };
        self.by_time.remove(&(deadline, key.clone()))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Keys whose time is over, oldest first, at most `limit`.
    pub(super) fn due(&self, now: Instant, limit: usize) -> Vec<Arc<str>> {
        let due = self.by_time.iter().take_while(|(deadline, _)| *deadline <= now);
        due.take(limit).map(|(_, key)| key.clone()).collect()
    }
}

/// Milliseconds since 1970.
pub(super) fn wall_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is left of a stored deadline: never more than the whole time, however the wall clock was set meanwhile.
pub(super) fn remaining(deadline_wall: u64, ttl: u64, now_wall: u64) -> Duration {
    Duration::from_millis(deadline_wall.saturating_sub(now_wall).min(ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_deadline_replaces_the_old_one() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        let mut expiry = Expiry::default();
        expiry.set("/a".into(), soon);
        expiry.set("/b".into(), soon);
        expiry.set("/a".into(), late);
        assert_eq!(expiry.next(), Some(soon));
        assert_eq!(expiry.due(soon, 9), ["/b".into()]);
        assert!(expiry.clear(&"/b".into()));
        assert!(!expiry.clear(&"/b".into()));
        assert_eq!(expiry.next(), Some(late));
        assert!(expiry.has("/a") && !expiry.has("/b"));
    }

    #[test]
    fn a_restart_neither_lengthens_nor_revives() {
        assert_eq!(remaining(10_000, 5_000, 7_000), Duration::from_secs(3));
        assert_eq!(remaining(10_000, 5_000, 60_000), Duration::ZERO);
        // The wall clock was set back by an hour.
        assert_eq!(remaining(10_000_000, 5_000, 1_000), Duration::from_secs(5));
    }
}
