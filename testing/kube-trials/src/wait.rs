//! Waiting: look again and again, up to a deadline, and say what was waited for.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often it is looked.
const PACE: Duration = Duration::from_millis(100);

/// Looks until there is something, which it answers. An error is "not yet" as well: servers are restarted on purpose here. After
/// `patience` the last one is told.
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let last = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            let why = last.map(|e| format!(": {e:#}")).unwrap_or_default();
            bail!("waited {} s in vain for {what}{why}", patience.as_secs());
        }
        std::thread::sleep(PACE);
    }
}

/// The same for what is true or not.
pub fn until_true(what: &str, patience: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, patience, || Ok(look()?.then_some(())))
}

/// Seconds, for short.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn says_what_it_waited_for_and_the_last_reason() {
        let mut left = 2;
        let found = until("three", seconds(5), || {
            left -= 1;
            if left == 0 { Ok(Some(3)) } else { Err(anyhow!("not yet")) }
        });
        assert_eq!(found.unwrap(), 3);
        let error = until_true("the sun", Duration::ZERO, || Err(anyhow!("it is night"))).unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s in vain for the sun: it is night");
    }
}
