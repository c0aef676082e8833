//! Metrics in the Prometheus text format (0.0.4), with names as Calico spells them.
//!
//! Handles are cheap to clone and lock-free to update; only exposition takes a lock.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A summary of durations: count and sum in seconds, and a histogram over fixed bounds.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramState>);

#[derive(Debug)]
struct HistogramState {
    bounds: &'static [f64],
    buckets: Vec<AtomicU64>,
    count: AtomicU64,
    nanos: AtomicU64,
}

/// Bounds in seconds from 100 microseconds to 10 seconds.
pub const LATENCY_BOUNDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

impl Histogram {
    /// Records one duration.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = self.0.bounds.iter().position(|b| seconds <= *b);
        if let Some(bucket) = at.and_then(|i| self.0.buckets.get(i)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

#[derive(Debug)]
struct Registered {
    name: &'static str,
    labels: String,
    help: &'static str,
    metric: Metric,
}

/// The metrics of one process. Passed in, never global.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Vec<Registered>>>);

impl Registry {
    /// A counter.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::default();
        self.add(name, &[], help, Metric::Counter(counter.clone()));
        counter
    }

    /// A gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.gauge_with(name, &[], help)
    }

    /// A gauge with labels.
    pub fn gauge_with(&self, name: &'static str, labels: &[(&str, &str)], help: &'static str) -> Gauge {
        let gauge = Gauge::default();
        self.add(name, labels, help, Metric::Gauge(gauge.clone()));
        gauge
    }

    /// A histogram of durations over [`LATENCY_BOUNDS`].
    pub fn latency(&self, name: &'static str, help: &'static str) -> Histogram {
        let histogram = Histogram(Arc::new(HistogramState {
            bounds: LATENCY_BOUNDS,
            buckets: LATENCY_BOUNDS.iter().map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
        }));
        self.add(name, &[], help, Metric::Histogram(histogram.clone()));
        histogram
    }

    fn add(&self, name: &'static str, labels: &[(&str, &str)], help: &'static str, metric: Metric) {
        let labels = labels
            .iter()
            .map(|(k, v)| {
                format!("{k}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
            })
            .collect::<Vec<_>>()
            .join(",");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Registered { name, labels, help, metric });
    }

    /// The text that Prometheus scrapes.
    pub fn expose(&self) -> String {
        let mut text = String::new();
        let mut metrics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.sort_by(|a, b| (a.name, &a.labels).cmp(&(b.name, &b.labels)));
        let mut last = "";
        for m in metrics.iter() {
            if m.name != last {
                let kind = match m.metric {
                    Metric::Counter(_) => "counter",
                    Metric::Gauge(_) => "gauge",
                    Metric::Histogram(_) => "histogram",
                };
                let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", m.name, m.help, m.name);
                last = m.name;
            }
            m.expose(&mut text);
        }
        text
    }
}

impl Registered {
    fn expose(&self, text: &mut String) {
        let braced = if self.labels.is_empty() { String::new() } else { format!("{{{}}}", self.labels) };
        let name = self.name;
        // Writing to a String cannot fail.
        let _ = match &self.metric {
            Metric::Counter(c) => writeln!(text, "{name}{braced} {}", c.get()),
            Metric::Gauge(g) => writeln!(text, "{name}{braced} {}", g.get()),
            Metric::Histogram(Histogram(h)) => {
                let mut below = 0;
                for (bound, bucket) in h.bounds.iter().zip(&h.buckets) {
                    below += bucket.load(Ordering::Relaxed);
                    let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
                }
                let count = h.count.load(Ordering::Relaxed);
                let sum = Duration::from_nanos(h.nanos.load(Ordering::Relaxed)).as_secs_f64();
                writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}")
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposition() {
        let registry = Registry::default();
        registry.counter("felix_b", "B.").add(3);
        registry.gauge_with("felix_a", &[("node", "n\"1")], "A.").set(1.5);
        let h = registry.latency("felix_c_seconds", "C.");
        h.observe(Duration::from_micros(200));
        h.observe(Duration::from_mins(1));
        let text = registry.expose();
        for want in [
            "# TYPE felix_a gauge\nfelix_a{node=\"n\\\"1\"} 1.5\n",
            "# TYPE felix_b counter\nfelix_b 3\n",
            "felix_c_seconds_bucket{le=\"0.0001\"} 0\nfelix_c_seconds_bucket{le=\"0.00025\"} 1\n",
            "felix_c_seconds_bucket{le=\"+Inf\"} 2\nfelix_c_seconds_sum 60.0002\nfelix_c_seconds_count 2\n",
        ] {
            assert!(text.contains(want), "{want}\nnot in\n{text}");
        }
    }
}
