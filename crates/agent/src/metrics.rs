//! The agent's metrics, in Felix's names.

use tortie_runtime::metrics::{Counter, Gauge, Histogram, Registry};

/// Handles of the metrics that the engine keeps.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) endpoints: Gauge,
    pub(crate) policies: Gauge,
    pub(crate) resync_state: Gauge,
    pub(crate) resyncs: Counter,
    pub(crate) failures: Counter,
    pub(crate) apply: Histogram,
    pub(crate) add: Histogram,
    pub(crate) add_failures: Counter,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            endpoints: registry
                .gauge("felix_active_local_endpoints", "Number of active endpoints on this host."),
            policies: registry.gauge("felix_cluster_num_policies", "Number of policies in the cluster."),
            resync_state: registry
                .gauge("felix_resync_state", "0 waiting for the datastore, 1 resync in progress, 2 in sync."),
            resyncs: registry
                .counter("felix_resyncs_started", "Number of times the datastore was read completely."),
            failures: registry.counter(
                "felix_int_dataplane_failures",
                "Number of times the dataplane could not be brought up to date.",
            ),
            apply: registry.latency(
                "felix_int_dataplane_apply_time_seconds",
                "Time to calculate and apply one batch of changes.",
            ),
            add: registry.latency("tortie_cni_add_seconds", "Time to serve one CNI ADD."),
            add_failures: registry.counter("tortie_cni_add_failures", "Number of CNI ADDs that failed."),
        }
    }
}
