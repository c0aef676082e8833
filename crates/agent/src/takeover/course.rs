//! When leftovers are removed, and when not any more: a value without clock or kernel.
//!
//! What was removed and is there again was put there by somebody who runs. He would do it again and again, and every
//! round costs packets nothing but the node work: so each further removal waits longer.

use std::time::Duration;

/// Between two looks soon after a removal.
const SOON: Duration = Duration::from_secs(10);
/// Between two looks when nothing has been there for long.
const SELDOM: Duration = Duration::from_mins(5);
/// The kernel lets go of a set a moment after the rule that names it.
const MOMENT: Duration = Duration::from_millis(500);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
/// For so long after a removal everything may come back: Felix looks at its rules every 90 seconds.
const WATCHED: Duration = Duration::from_mins(4);
/// Pause before the second removal of what came back; doubles.
const BACK_OFF: Duration = Duration::from_mins(1);
const LONGEST_BACK_OFF: Duration = Duration::from_mins(16);

/// What a look showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Clean,
    /// Only what has no effect on packets.
    Rubbish,
    /// What decides about packets.
    Filters,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Remove it.
    Remove,
    /// Look again after this time.
    Wait(Duration),
}

/// How a takeover has gone so far. Times are since some origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// When something was removed the last time.
    removed: Option<Duration>,
    /// Everything that decides about packets was gone after that.
    clean: bool,
    /// How often it was there again.
    returns: u32,
}

impl Course {
    /// Takes the result of a look.
    pub(super) fn saw(&mut self, now: Duration, seen: Seen) -> Step {
        let since = self.removed.map(|at| now.saturating_sub(at));
        match seen {
            Seen::Clean => {
                self.clean = true;
                match since {
                    Some(since) if since < WATCHED.max(self.pause()) => Step::Wait(SOON),
                    _ => {
                        self.returns = 0;
                        Step::Wait(SELDOM)
                    }
                }
            }
            Seen::Rubbish => {
                self.clean = true;
                Step::Remove
            }
            Seen::Filters => {
                if self.clean && self.removed.is_some() {
                    self.returns += 1;
                }
                self.clean = false;
                match since {
                    Some(since) if self.returns > 0 && since < self.pause() => {
                        Step::Wait(self.pause().saturating_sub(since).min(SOON))
                    }
                    _ => Step::Remove,
                }
            }
        }
    }

    /// Takes the result of a removal; answers when to look again.
    pub(super) fn removed(&mut self, now: Duration, failed: bool, busy: bool) -> Duration {
        self.removed = Some(now);
        self.clean = !failed;
        match (failed, busy) {
            (true, _) => RETRY,
            (false, true) => MOMENT,
            (false, false) => SOON,
        }
    }

    /// Whether somebody else runs who puts it back.
    pub(super) fn is_contested(&self) -> bool {
        self.returns > 0
    }

    /// Least time between two removals.
    fn pause(&self) -> Duration {
        match self.returns {
            // Once may be a restart that was under way.
            0 | 1 => Duration::ZERO,
            more => (BACK_OFF * 2_u32.saturating_pow(more - 2)).min(LONGEST_BACK_OFF),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_is_looked_at_seldom() {
        assert_eq!(Course::default().saw(at(0), Seen::Clean), Step::Wait(SELDOM));
    }

    #[test]
    fn what_is_removed_once_is_watched_for_a_while() {
        let mut course = Course::default();
        assert_eq!(course.saw(at(0), Seen::Filters), Step::Remove);
        course.removed(at(0), false, true);
        assert_eq!(course.saw(at(1), Seen::Rubbish), Step::Remove, "a set that was busy");
        course.removed(at(1), false, false);
        assert_eq!(course.saw(at(2), Seen::Clean), Step::Wait(SOON));
        assert_eq!(course.saw(at(300), Seen::Clean), Step::Wait(SELDOM));
        assert!(!course.is_contested());
    }

    #[test]
    fn a_failure_is_no_return() {
        let mut course = Course::default();
        for second in 0..10 {
            assert_eq!(course.saw(at(second), Seen::Filters), Step::Remove);
            assert_eq!(course.removed(at(second), true, false), RETRY);
        }
        assert!(!course.is_contested());
    }

    #[test]
    fn nobody_is_fought() {
        let (mut course, mut removals, mut now) = (Course::default(), 0, 0);
        // Somebody puts everything back within a second, for an hour.
        while now < 3600 {
            match course.saw(at(now), Seen::Filters) {
                Step::Remove => {
                    removals += 1;
                    course.removed(at(now), false, false);
                    assert_eq!(course.saw(at(now), Seen::Clean), Step::Wait(SOON));
                    now += 1;
                }
                Step::Wait(pause) => now += pause.as_secs().max(1),
            }
        }
        assert!((3..12).contains(&removals), "{removals}");
        assert!(course.is_contested());
        // Then he is gone.
        assert_eq!(course.saw(at(now + 3600), Seen::Clean), Step::Wait(SELDOM));
        assert!(!course.is_contested());
    }
}
