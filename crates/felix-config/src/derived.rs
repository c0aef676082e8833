//! What several parameters say together: checks across them, and facts drawn from them.

use crate::{Config, TableRange};
use std::fmt;

/// Parameters that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// The node has no name.
    #[error("FelixHostname is empty and the machine has no name: set FelixHostname")]
    NoHostname,
    /// No etcd to speak to.
    #[error(
        "the datastore is etcdv3, but EtcdEndpoints is empty, and so is EtcdScheme or EtcdAddr: set EtcdEndpoints"
    )]
    NoEtcd,
    /// TLS to Typha is half configured.
    #[error(
        "TLS to Typha is incomplete: set TyphaKeyFile, TyphaCertFile, TyphaCAFile and one of TyphaCN and TyphaURISAN, or none of them"
    )]
    TyphaTls,
}

/// Who runs the Kubernetes cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Nobody known.
    None,
    /// Amazon.
    Eks,
    /// Google.
    Gke,
    /// Microsoft.
    Aks,
    /// Red Hat.
    OpenShift,
    /// Docker.
    DockerEnterprise,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Eks => "EKS",
            Self::Gke => "GKE",
            Self::Aks => "AKS",
            Self::OpenShift => "OpenShift",
            Self::DockerEnterprise => "DockerEnterprise",
        })
    }
}

/// The tables that may be used where no range was chosen.
const DEFAULT_TABLES: TableRange = TableRange { first: 1, last: 250 };

impl Config {
    /// Whether the parameters go together; every contradiction.
    pub fn check(&self) -> Vec<Inconsistency> {
        let mut found = Vec::new();
        if self.felix_hostname().is_empty() {
            found.push(Inconsistency::NoHostname);
        }
        let server = !self.etcd_scheme().is_empty() && !self.etcd_addr().is_empty();
        if self.datastore_type() == "etcdv3" && self.etcd_endpoints().is_empty() && !server {
            found.push(Inconsistency::NoEtcd);
        }
        let files = [self.typha_key_file(), self.typha_cert_file(), self.typha_ca_file()];
        let names = [self.typha_cn(), self.typha_uri_san()];
        let some = files.iter().chain(&names).any(|text| !text.is_empty());
        let complete = files.iter().all(|text| !text.is_empty()) && names.iter().any(|text| !text.is_empty());
        if some && !complete {
            found.push(Inconsistency::TyphaTls);
        }
        found
    }

    /// Beginnings of the names of workloads' interfaces.
    pub fn interface_prefixes(&self) -> impl Iterator<Item = &str> {
        self.interface_prefix().split(',')
    }

    /// Whether this node serves OpenStack: the cluster says so, or parameters are set that only OpenStack needs.
    pub fn openstack_active(&self) -> bool {
        self.cluster_type().to_lowercase().contains("openstack")
            || !matches!(self.metadata_addr(), "" | "127.0.0.1")
            || !matches!(self.metadata_port(), 0 | 8775)
            || self.interface_prefixes().any(|prefix| prefix == "tap")
    }

    /// Who runs the Kubernetes cluster: the first word of `ClusterType` that names a provider.
    pub fn kubernetes_provider(&self) -> Provider {
        self.cluster_type()
            .split(',')
            .find_map(|word| {
                Some(match word.to_lowercase().as_str() {
                    // An empty word says "nobody", and ends the search.
                    "" => Provider::None,
                    "eks" | "ecs" => Provider::Eks,
                    "gke" => Provider::Gke,
                    "aks" => Provider::Aks,
                    "openshift" => Provider::OpenShift,
                    "dockerenterprise" => Provider::DockerEnterprise,
                    _ => return None,
                })
            })
            .unwrap_or(Provider::None)
    }

    /// Whether routes to other nodes' pods in IP-in-IP pools are programmed here and not by BGP.
    pub fn programs_ipip_cluster_routes(&self) -> bool {
        matches!(self.program_cluster_routes(), "Enabled" | "EnabledIPIPOnly")
    }

    /// Whether routes to other nodes' pods in pools without encapsulation are programmed here and not by BGP.
    pub fn programs_unencapsulated_cluster_routes(&self) -> bool {
        matches!(self.program_cluster_routes(), "Enabled" | "EnabledNoEncapOnly")
    }

    /// The routing tables that may be used: `RouteTableRanges`, else the older `RouteTableRange`, else 1 to 250.
    pub fn route_tables(&self) -> Vec<TableRange> {
        if !self.route_table_ranges().is_empty() {
            return self.route_table_ranges().to_vec();
        }
        let range = self.route_table_range();
        vec![if range == TableRange::default() { DEFAULT_TABLES } else { range }]
    }
}
