//! The asking side: many probes at once, repeated until they can be believed.

mod engine;
mod flight;

pub(crate) use engine::run_number;

use std::time::Duration;

use crate::{Expect, Outcome, Probe, Verdict, socket};

/// How probes are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the first try waits for an answer.
    pub timeout: Duration,
    /// How long the last try waits.
    pub max_timeout: Duration,
    /// How many probes may be in flight at once, over all threads.
    pub in_flight: usize,
    /// How many threads probe.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(300),
            max_timeout: Duration::from_secs(3),
            in_flight: 4096,
            threads: std::thread::available_parallelism().map_or(2, usize::from).min(4),
        }
    }
}

/// Probing as such is impossible.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No epoll.
    #[error("cannot wait for answers to probes")]
    Poll(#[source] std::io::Error),
    /// A probing thread died.
    #[error("a probing thread panicked")]
    Thread,
}

/// Makes probes and returns what they found, in the order of the probes.
///
/// What one try finds is believed if it is as expected, with two exceptions. Silence or refusal must be found twice. And what
/// is not as expected is repeated with growing time-outs, up to [`Options::max_timeout`], until it is as expected: then
/// packets were merely slow (the outcome says that it [wavered](Outcome::wavered)), or the last time-out has passed.
/// Without expectation, silence is asked a second time with a longer time-out.
pub fn run(probes: &[Probe], options: &Options) -> Result<Vec<Outcome>, RunError> {
    socket::raise_file_limit();
    let mut courses: Vec<Course> = probes.iter().map(|probe| Course::new(probe.expect, options)).collect();
    let mut open: Vec<usize> = (0..probes.len()).collect();
    while !open.is_empty() {
        let tries: Vec<engine::Try<'_>> = open
            .iter()
            .map(|&index| engine::Try { probe: &probes[index], timeout: courses[index].timeout })
            .collect();
        let found = engine::run(&tries, options)?;
        open = open
            .into_iter()
            .zip(found)
            .filter_map(|(index, (verdict, took))| courses[index].step(verdict, took).then_some(index))
            .collect();
    }
    Ok(courses.into_iter().map(Course::finish).collect())
}

/// The tries of one probe: what is known, and whether another try is needed.
#[derive(Clone, Debug)]
struct Course {
    expect: Option<Expect>,
    timeout: Duration,
    max_timeout: Duration,
    verdict: Verdict,
    tries: u32,
    wavered: bool,
    /// How many tries in a row found silence or a refusal.
    denials: u32,
    took: Duration,
}

impl Course {
    fn new(expect: Option<Expect>, options: &Options) -> Self {
        Self {
            expect,
            timeout: options.timeout,
            max_timeout: options.max_timeout.max(options.timeout),
            verdict: Verdict::Denied,
            tries: 0,
            wavered: false,
            denials: 0,
            took: Duration::ZERO,
        }
    }

    /// Takes in what a try found. True if there has to be another.
    fn step(&mut self, verdict: Verdict, took: Duration) -> bool {
        let denied = is_denial(&verdict);
        self.wavered |= self.tries > 0 && denied != is_denial(&self.verdict);
        // Kernels send few ICMP errors per second: silence does not contradict the refusal before it.
        if !(self.denials > 0 && verdict == Verdict::Denied) {
            self.verdict = verdict;
        }
        self.denials = if denied { self.denials + 1 } else { 0 };
        self.tries += 1;
        self.took = took;
        let as_expected = self.expect.is_none_or(|expect| self.verdict.meets(expect));
        if as_expected && (!denied || self.denials >= 2) {
            return false;
        }
        if !as_expected || self.expect.is_none() {
            if self.timeout >= self.max_timeout && self.tries > 1 {
                return false;
            }
            self.timeout = (self.timeout * 3).min(self.max_timeout);
        }
        true
    }

    fn finish(self) -> Outcome {
        Outcome { verdict: self.verdict, tries: self.tries, wavered: self.wavered, took: self.took }
    }
}

fn is_denial(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Denied | Verdict::Rejected(_))
}

#[cfg(test)]
mod tests;
