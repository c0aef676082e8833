//! Something that goes on while a trial breaks things: connections made again and again, or one that is held.

use crate::pods::Pod;
use crate::wait;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Milliseconds since the probe's start at which it was over.
    pub at: u64,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// A program in the network namespace of a pod that tries every 100 ms until it is stopped.
#[derive(Debug)]
pub struct Probe {
    title: String,
    child: Child,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    reader: Option<JoinHandle<()>>,
}

impl Probe {
    /// New connections, one after the other.
    pub fn connect(from: &Pod, to: SocketAddr) -> Result<Self> {
        Self::start("connect", from, to)
    }

    /// One connection to a [`server`](crate::pods::PodSpec::server), on which questions are answered; if it breaks, that is a
    /// failure, and another one is made.
    pub fn hold(from: &Pod, to: SocketAddr) -> Result<Self> {
        let probe = Self::start("hold", from, to)?;
        wait::until_true(&format!("a connection of {} to {to}", from.name), wait::seconds(20), || {
            Ok(probe.attempts().iter().any(|a| a.failure.is_none()))
        })?;
        Ok(probe)
    }

    /// Both kinds from one pod to all addresses of another.
    pub fn all(from: &Pod, to: &Pod) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for address in to.addresses() {
            all.push(Self::connect(from, address)?);
            all.push(Self::hold(from, address)?);
        }
        Ok(all)
    }

    fn start(kind: &str, from: &Pod, to: SocketAddr) -> Result<Self> {
        let own = std::env::current_exe().context("this program has no path")?;
        let mut child = from
            .command(&format!("exec {} prober {kind} {to}", own.display()))?
            // It ends when this does, however this ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("tortie cannot be run")?;
        let out = BufReader::new(child.stdout.take().context("no pipe")?);
        let attempts: Arc<Mutex<Vec<Attempt>>> = Arc::default();
        let seen = attempts.clone();
        let reader = std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(attempt) = parse(&line) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
                }
            }
        });
        let title = format!("{kind} from {} to {to}", from.name);
        Ok(Self { title, child, attempts, reader: Some(reader) })
    }

    /// All attempts so far.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for so many more attempts: what was broken before is in them.
    pub fn wait_for_more(&self, count: usize) -> Result<()> {
        let before = self.attempts().len();
        let patience = Duration::from_secs(30);
        wait::until_true(&format!("{count} more attempts: {}", self.title), patience, || {
            Ok(self.attempts().len() >= before + count)
        })
    }

    /// Ends it; an error unless it tried, and never failed.
    pub fn must_not_fail(self) -> Result<()> {
        let title = self.title.clone();
        let attempts = self.stop();
        let failed: Vec<&Attempt> = attempts.iter().filter(|a| a.failure.is_some()).collect();
        ensure!(!attempts.is_empty(), "{title}: nothing was tried");
        let first = failed.first().and_then(|a| Some(format!("at {} ms: {}", a.at, a.failure.as_ref()?)));
        ensure!(
            failed.is_empty(),
            "{title}: {} of {} attempts failed, the first {}",
            failed.len(),
            attempts.len(),
            first.unwrap_or_default()
        );
        Ok(())
    }

    /// Ends it; an error unless it tried, and always failed.
    pub fn must_fail(self) -> Result<()> {
        let title = self.title.clone();
        let attempts = self.stop();
        let passed = attempts.iter().filter(|a| a.failure.is_none()).count();
        ensure!(!attempts.is_empty(), "{title}: nothing was tried");
        ensure!(passed == 0, "{title}: {passed} of {} attempts succeeded", attempts.len());
        Ok(())
    }

    /// Ends it; answers all attempts.
    pub fn stop(mut self) -> Vec<Attempt> {
        self.end();
        self.attempts()
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end();
    }
}

fn parse(line: &str) -> Option<Attempt> {
    let value: Value = serde_json::from_str(line).ok()?;
    let failure = value.get("failure").and_then(Value::as_str).map(str::to_owned);
    Some(Attempt { at: value.get("at")?.as_u64()?, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_lines() {
        let failed = parse(r#"{"at": 7, "failure": "refused"}"#).unwrap();
        assert_eq!(failed, Attempt { at: 7, failure: Some("refused".to_owned()) });
        assert_eq!(parse(r#"{"at": 8}"#).unwrap().failure, None);
        assert_eq!(parse("nonsense"), None);
    }
}
