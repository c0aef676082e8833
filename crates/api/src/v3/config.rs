//! Settings of the cluster and of components.

use crate::Map;
use serde::{Deserialize, Serialize};

kind! {
    ClusterInformation = "ClusterInformation": ClusterInformationSpec;
    FelixConfiguration = "FelixConfiguration": FelixConfigurationSpec;
    KubeControllersConfiguration = "KubeControllersConfiguration": KubeControllersConfigurationSpec;
}

body! {
    /// What the cluster is.
    pub struct ClusterInformationSpec {
        /// Identity of the cluster.
        #[serde(rename = "clusterGUID")]
        cluster_guid: String,
        /// Comma separated.
        cluster_type: String,
        /// Version that last wrote.
        calico_version: String,
        /// False stops writers during a migration.
        datastore_ready: Option<bool>,
        /// Edition.
        variant: String,
    }
}

/// Settings of the agent, by their JSON names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FelixConfigurationSpec(pub Map);

body! {
    /// Settings of the controllers.
    pub struct KubeControllersConfigurationSpec {
        /// Log level.
        log_severity_screen: String,
        /// `Enabled`, `Disabled`.
        health_checks: String,
        /// How often to compact etcd.
        #[serde(rename = "etcdV3CompactionPeriod")]
        etcd_v3_compaction_period: Option<String>,
        /// Port of metrics.
        prometheus_metrics_port: Option<i64>,
        /// Controllers and their settings.
        controllers: Map,
        /// Port of profiles.
        debug_profile_port: Option<i32>,
    }
}
