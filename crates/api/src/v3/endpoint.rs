//! Endpoints of hosts and workloads.

use crate::IntOrString;
use serde::{Deserialize, Serialize};

kind! {
    HostEndpoint = "HostEndpoint": HostEndpointSpec;
    WorkloadEndpoint = "WorkloadEndpoint": WorkloadEndpointSpec;
    LiveMigration = "LiveMigration": LiveMigrationSpec;
}

body! {
    /// An interface of a host.
    pub struct HostEndpointSpec {
        /// The node.
        node: String,
        /// Interface, or `*` for all.
        interface_name: String,
        /// Addresses by which to find the interface.
        #[serde(rename = "expectedIPs")]
        expected_ips: Vec<String>,
        /// Profiles in order.
        profiles: Vec<String>,
        /// Named ports.
        ports: Vec<EndpointPort>,
    }
}

/// A port of an endpoint, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Name that rules refer to.
    #[serde(default)]
    pub name: String,
    /// Protocol.
    pub protocol: IntOrString,
    /// Number.
    #[serde(default)]
    pub port: u16,
}

body! {
    /// The interface of a workload.
    pub struct WorkloadEndpointSpec {
        /// `k8s`, `cni`, `openstack`, ...
        orchestrator: String,
        /// Name of the workload, where it is no pod.
        workload: String,
        /// The node.
        node: String,
        /// The container.
        #[serde(rename = "containerID")]
        container_id: String,
        /// The pod.
        pod: String,
        /// Interface inside the workload, usually `eth0`.
        endpoint: String,
        /// The service account.
        service_account_name: String,
        /// Addresses as CIDRs.
        ip_networks: Vec<String>,
        /// Floating addresses.
        #[serde(rename = "ipNATs")]
        ip_nats: Vec<IpNat>,
        /// Gateway.
        ipv4_gateway: String,
        /// Gateway.
        ipv6_gateway: String,
        /// Profiles in order.
        profiles: Vec<String>,
        /// Interface on the host.
        interface_name: String,
        /// Hardware address.
        mac: String,
        /// Named and host ports.
        ports: Vec<WorkloadEndpointPort>,
        /// Sources that the workload may use besides its own addresses.
        allow_spoofed_source_prefixes: Vec<String>,
        /// Limits.
        qos_controls: Option<QosControls>,
    }
}

/// A port of a workload. Every field is always written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadEndpointPort {
    /// Name that rules refer to.
    #[serde(default)]
    pub name: String,
    /// Protocol.
    pub protocol: IntOrString,
    /// Number.
    #[serde(default)]
    pub port: u16,
    /// Port of the host that leads here, or 0.
    #[serde(default)]
    pub host_port: u16,
    /// Address of the host that leads here.
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
}

/// An address and the one it is known by outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpNat {
    /// The workload's own address.
    #[serde(rename = "internalIP")]
    pub internal_ip: String,
    /// The address outside.
    #[serde(rename = "externalIP")]
    pub external_ip: String,
}

body! {
    /// Limits. Zero is none.
    #[expect(missing_docs, reason = "a limit per field")]
    pub struct QosControls {
        ingress_bandwidth: i64,
        ingress_burst: i64,
        ingress_peakrate: i64,
        ingress_minburst: i64,
        egress_bandwidth: i64,
        egress_burst: i64,
        egress_peakrate: i64,
        egress_minburst: i64,
        ingress_packet_rate: i64,
        ingress_packet_burst: i64,
        egress_packet_rate: i64,
        egress_packet_burst: i64,
        ingress_max_connections: i64,
        egress_max_connections: i64,
        dscp: Option<IntOrString>,
    }
}

body! {
    /// A workload on its way from one node to another.
    pub struct LiveMigrationSpec {
        /// Where it comes from.
        source: Option<serde_json::Value>,
        /// Where it goes.
        target: Option<serde_json::Value>,
    }
}
