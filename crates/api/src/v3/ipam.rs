//! Pools, reservations and the state of address management.

use crate::meta::{StringMap, null_as_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

kind! {
    IpPool = "IPPool": IpPoolSpec;
    IpReservation = "IPReservation": IpReservationSpec;
    IpamConfiguration = "IPAMConfiguration": IpamConfigurationSpec;
    IpamConfig = "IPAMConfig": IpamConfigSpec;
    IpamBlock = "IPAMBlock": IpamBlockSpec;
    BlockAffinity = "BlockAffinity": BlockAffinitySpec;
    IpamHandle = "IPAMHandle": IpamHandleSpec;
}

/// Addresses for workloads, tunnels and services. `cidr` is always written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpPoolSpec {
    /// The pool's prefix.
    #[serde(deserialize_with = "null_as_default")]
    pub cidr: String,
    /// The optional parts.
    #[serde(flatten)]
    pub options: IpPoolOptions,
}

impl std::ops::Deref for IpPoolSpec {
    type Target = IpPoolOptions;
    fn deref(&self) -> &IpPoolOptions {
        &self.options
    }
}

impl std::ops::DerefMut for IpPoolSpec {
    fn deref_mut(&mut self) -> &mut IpPoolOptions {
        &mut self.options
    }
}

body! {
    /// How a pool is used.
    pub struct IpPoolOptions {
        /// `Never`, `Always`, `CrossSubnet`.
        vxlan_mode: String,
        /// `Never`, `Always`, `CrossSubnet`.
        ipip_mode: String,
        /// NAT of traffic that leaves the pools.
        nat_outgoing: bool,
        /// No new addresses.
        disabled: bool,
        /// Not told to BGP peers.
        #[serde(rename = "disableBGPExport")]
        disable_bgp_export: bool,
        /// Prefix length of blocks; 0 is 26 or 122.
        block_size: i64,
        /// Nodes that use it; empty is all.
        node_selector: String,
        /// Namespaces that use it; empty is all.
        namespace_selector: String,
        /// `Workload`, `Tunnel`, `LoadBalancer`.
        allowed_uses: Vec<String>,
        /// `Automatic`, `Manual`.
        assignment_mode: Option<String>,
    }
}

body! {
    /// Addresses that are never assigned by themselves.
    pub struct IpReservationSpec {
        /// The addresses.
        #[serde(rename = "reservedCIDRs")]
        reserved_cidrs: Vec<String>,
    }
}

fn yes() -> bool {
    true
}

/// Settings of address management.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamConfigurationSpec {
    /// Never borrow from other nodes' blocks.
    #[serde(default)]
    pub strict_affinity: bool,
    /// Blocks per node; 0 is the default.
    #[serde(default, skip_serializing_if = "crate::meta::is_default")]
    pub max_blocks_per_host: i32,
    /// Claim blocks on demand.
    #[serde(default = "yes")]
    pub auto_allocate_blocks: bool,
    /// `Enabled`, `Disabled`.
    #[serde(default, rename = "kubeVirtVMAddressPersistence", skip_serializing_if = "Option::is_none")]
    pub kubevirt_vm_address_persistence: Option<String>,
    /// Seconds before a released address is used again.
    #[serde(default, skip_serializing_if = "crate::meta::is_default")]
    pub ip_cooldown_seconds: i32,
    /// Fields that are not named above.
    #[serde(flatten)]
    pub other: crate::Map,
}

/// The older form of [`IpamConfigurationSpec`], under a kind of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IpamConfigSpec(pub IpamConfigurationSpec);

/// A block of addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpamBlockSpec {
    /// The block's prefix.
    pub cidr: String,
    /// `host:<node>` or `virtual:<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// RFC 3339 time of the claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_claim_time: Option<String>,
    /// Per ordinal: index of its attributes, or none.
    #[serde(deserialize_with = "null_as_default")]
    pub allocations: Vec<Option<usize>>,
    /// Free ordinals, oldest first.
    #[serde(deserialize_with = "null_as_default")]
    pub unallocated: Vec<usize>,
    /// Attributes of allocations.
    #[serde(deserialize_with = "null_as_default")]
    pub attributes: Vec<AllocationAttribute>,
    /// Grows with each write.
    pub sequence_number: u64,
    /// Ordinal to the sequence number of its allocation.
    #[serde(deserialize_with = "null_as_default")]
    pub sequence_number_for_allocation: BTreeMap<String, u64>,
    /// First step of a deletion.
    pub deleted: bool,
    /// Unused; required by old readers.
    pub strict_affinity: bool,
}

/// What allocations of a block share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AllocationAttribute {
    /// Handle of the owner.
    #[serde(rename = "handle_id", skip_serializing_if = "Option::is_none")]
    pub handle_id: Option<String>,
    /// Attributes of the owner.
    #[serde(
        rename = "secondary",
        skip_serializing_if = "crate::meta::is_default",
        deserialize_with = "null_as_default"
    )]
    pub active_owner_attrs: StringMap,
    /// Another owner during a migration.
    #[serde(skip_serializing_if = "crate::meta::is_default", deserialize_with = "null_as_default")]
    pub alternate_owner_attrs: StringMap,
    /// RFC 3339 time of a release that cools down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
}

/// A node's claim on a block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockAffinitySpec {
    /// `pending`, `confirmed`, `pendingDeletion`.
    pub state: String,
    /// The node.
    pub node: String,
    /// `host` or `virtual`; empty is `host`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub affinity_type: String,
    /// The block.
    pub cidr: String,
    /// First step of a deletion; text in the oldest form.
    #[serde(deserialize_with = "bool_or_text")]
    pub deleted: bool,
}

/// Where a handle holds addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamHandleSpec {
    /// The handle.
    #[serde(rename = "handleID")]
    pub handle_id: String,
    /// Block to number of addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub block: BTreeMap<String, i64>,
    /// First step of a deletion.
    #[serde(deserialize_with = "bool_or_text")]
    pub deleted: bool,
}

fn bool_or_text<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(match serde_json::Value::deserialize(d)? {
        serde_json::Value::Bool(b) => b,
        serde_json::Value::String(text) => text == "true",
        _ => false,
    })
}
