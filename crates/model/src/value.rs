//! Values of the model: Calico's "v1" JSON, as Felix receives it.

mod codec;
mod protocol;

pub use codec::ValueParseError;
pub use protocol::WrittenProtocol;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tortie_net::{Cidr, Mac, Port};

/// Labels or annotations.
pub type StringMap = BTreeMap<String, String>;

fn is_false(b: &bool) -> bool {
    !*b
}

fn null_as_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

/// A value of the model. Large values are shared.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Under `Key::WorkloadEndpoint`.
    WorkloadEndpoint(Arc<WorkloadEndpoint>),
    /// Under `Key::HostEndpoint`.
    HostEndpoint(Arc<HostEndpoint>),
    /// Under `Key::Policy`.
    Policy(Arc<Policy>),
    /// Under `Key::Tier`.
    Tier(Tier),
    /// Under `Key::ProfileRules`.
    ProfileRules(Arc<ProfileRules>),
    /// Under `Key::ProfileLabels`.
    ProfileLabels(Arc<StringMap>),
    /// Under `Key::NetworkSet`.
    NetworkSet(Arc<NetworkSet>),
    /// Under `Key::IpPool`.
    IpPool(Arc<IpPool>),
    /// Under `Key::Block`.
    Block(Arc<AllocationBlock>),
    /// Under `Key::BlockAffinity`.
    BlockAffinity(BlockAffinity),
    /// Under `Key::IpamHandle`.
    IpamHandle(IpamHandle),
    /// Under `Key::IpamConfig`.
    IpamConfig(IpamConfig),
    /// Under `Key::GlobalConfig` and `Key::HostConfig`: the raw text.
    Config(String),
    /// Under `Key::ReadyFlag`.
    Ready(bool),
    /// Under `Key::Wireguard`.
    Wireguard(Wireguard),
    /// Under `Key::Resource`: the whole object as JSON. Also reports of status.
    Resource(Arc<serde_json::Value>),
}

/// WireGuard of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wireguard {
    /// Address of the IPv4 tunnel.
    #[serde(rename = "interfaceIPv4Addr", skip_serializing_if = "Option::is_none")]
    pub interface_ipv4_addr: Option<IpAddr>,
    /// Key of the IPv4 tunnel.
    #[serde(rename = "publicKey", skip_serializing_if = "String::is_empty")]
    pub public_key: String,
    /// Address of the IPv6 tunnel.
    #[serde(rename = "interfaceIPv6Addr", skip_serializing_if = "Option::is_none")]
    pub interface_ipv6_addr: Option<IpAddr>,
    /// Key of the IPv6 tunnel.
    #[serde(rename = "publicKeyV6", skip_serializing_if = "String::is_empty")]
    pub public_key_v6: String,
}

/// One port of an endpoint, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Name that rules refer to.
    pub name: String,
    /// Its protocol.
    pub protocol: WrittenProtocol,
    /// Its number.
    pub port: u16,
}

/// A one-to-one NAT of an endpoint (floating IP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpNat {
    /// The endpoint's own address.
    pub int_ip: IpAddr,
    /// The address seen outside.
    pub ext_ip: IpAddr,
}

/// A workload endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadEndpoint {
    /// `active`, or another word for an endpoint that is administratively down.
    pub state: String,
    /// Host side interface, `cali…`.
    pub name: String,
    /// Container id.
    pub active_instance_id: String,
    /// Address of the workload's interface.
    pub mac: Option<Mac>,
    /// Profiles in order.
    #[serde(deserialize_with = "null_as_default")]
    pub profile_ids: Vec<String>,
    /// IPv4 addresses as /32.
    #[serde(deserialize_with = "null_as_default")]
    pub ipv4_nets: Vec<Cidr>,
    /// IPv6 addresses as /128.
    #[serde(deserialize_with = "null_as_default")]
    pub ipv6_nets: Vec<Cidr>,
    /// IPv4 floating IPs.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub ipv4_nat: Vec<IpNat>,
    /// IPv6 floating IPs.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub ipv6_nat: Vec<IpNat>,
    /// Own labels, without those inherited from profiles.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: StringMap,
    /// IPv4 gateway, unused by Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<IpAddr>,
    /// IPv6 gateway, unused by Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<IpAddr>,
    /// Named ports.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub ports: Vec<EndpointPort>,
    /// `generateName` of the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generate_name: String,
    /// Source prefixes the endpoint may use besides its own addresses.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub allow_spoofed_source_ips: Vec<Cidr>,
    /// Annotations that the dataplane reads.
    #[serde(skip_serializing_if = "StringMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: StringMap,
    /// Bandwidth, packet rate and connection limits.
    #[serde(rename = "qosControls", skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<serde_json::Value>,
}

impl WorkloadEndpoint {
    /// All addresses, IPv4 first.
    pub fn nets(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.ipv4_nets.iter().chain(&self.ipv6_nets).copied()
    }
}

/// A host endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostEndpoint {
    /// Interface, `*` for all, or empty to find it by address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Expected IPv4 addresses.
    #[serde(
        rename = "expected_ipv4_addrs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub expected_ipv4_addrs: Vec<IpAddr>,
    /// Expected IPv6 addresses.
    #[serde(
        rename = "expected_ipv6_addrs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub expected_ipv6_addrs: Vec<IpAddr>,
    /// Own labels.
    #[serde(skip_serializing_if = "StringMap::is_empty", deserialize_with = "null_as_default")]
    pub labels: StringMap,
    /// Profiles in order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub profile_ids: Vec<String>,
    /// Named ports.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub ports: Vec<EndpointPort>,
    /// Limits.
    #[serde(rename = "qosControls", skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<serde_json::Value>,
}

/// A policy. Its selector already contains namespace and service account conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Namespace of the object, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Tier; empty means `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// Order; `None` sorts last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// Ingress rules.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub inbound_rules: Vec<Rule>,
    /// Egress rules.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub outbound_rules: Vec<Rule>,
    /// Which endpoints it applies to.
    pub selector: String,
    /// Raw-table policy.
    #[serde(rename = "untracked", skip_serializing_if = "is_false")]
    pub do_not_track: bool,
    /// Free-form.
    #[serde(skip_serializing_if = "StringMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: StringMap,
    /// Applied before destination NAT.
    #[serde(skip_serializing_if = "is_false")]
    pub pre_dnat: bool,
    /// Applied to forwarded traffic of host endpoints.
    #[serde(skip_serializing_if = "is_false")]
    pub apply_on_forward: bool,
    /// `ingress` and/or `egress`, in lower case. Empty means both.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub types: Vec<String>,
    /// `AssumeNeededOnEveryNode`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub performance_hints: Vec<String>,
    /// `Set`, `Delete`, ... of a staged policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged_action: Option<String>,
}

impl Policy {
    /// True if the policy has an opinion about traffic to the endpoint.
    pub fn applies_ingress(&self) -> bool {
        self.types.is_empty() || self.types.iter().any(|t| t.eq_ignore_ascii_case("ingress"))
    }

    /// True if the policy has an opinion about traffic from the endpoint.
    pub fn applies_egress(&self) -> bool {
        self.types.is_empty() || self.types.iter().any(|t| t.eq_ignore_ascii_case("egress"))
    }

    /// The tier's name, with the default filled in.
    pub fn tier_name(&self) -> &str {
        if self.tier.is_empty() { "default" } else { &self.tier }
    }
}

/// L7 match of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpMatch {
    /// Any of these methods.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub methods: Vec<String>,
    /// Any of these paths: `{"exact": …}` or `{"prefix": …}`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub paths: Vec<serde_json::Value>,
}

/// Metadata of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleMetadata {
    /// Free-form.
    #[serde(skip_serializing_if = "StringMap::is_empty", deserialize_with = "null_as_default")]
    pub annotations: StringMap,
}

/// A rule. All fields that are present must match; lists match if any element does; `not_` lists if none does.
///
/// JSON names carry `!` for negation. `action` is `allow`, `deny`, `log`, `next-tier` (also `pass`); empty is allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "one field per match; names are the upstream JSON names")]
pub struct Rule {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<WrittenProtocol>,
    #[serde(rename = "!protocol", skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<WrittenProtocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<i64>,
    #[serde(rename = "!icmp_type", skip_serializing_if = "Option::is_none")]
    pub not_icmp_type: Option<i64>,
    #[serde(rename = "!icmp_code", skip_serializing_if = "Option::is_none")]
    pub not_icmp_code: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub src_nets: Vec<Cidr>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub src_selector: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub src_ports: Vec<Port>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub src_service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub src_service_ns: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dst_selector: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub dst_nets: Vec<Cidr>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub dst_ports: Vec<Port>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dst_service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dst_service_ns: String,
    #[serde(
        rename = "!src_nets",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub not_src_nets: Vec<Cidr>,
    #[serde(rename = "!src_selector", skip_serializing_if = "String::is_empty")]
    pub not_src_selector: String,
    #[serde(
        rename = "!src_ports",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub not_src_ports: Vec<Port>,
    #[serde(rename = "!dst_selector", skip_serializing_if = "String::is_empty")]
    pub not_dst_selector: String,
    #[serde(
        rename = "!dst_nets",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub not_dst_nets: Vec<Cidr>,
    #[serde(
        rename = "!dst_ports",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub not_dst_ports: Vec<Port>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orig_src_selector: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orig_src_namespace_selector: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orig_dst_selector: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orig_dst_namespace_selector: String,
    #[serde(rename = "!orig_src_selector", skip_serializing_if = "String::is_empty")]
    pub not_orig_src_selector: String,
    #[serde(rename = "!orig_dst_selector", skip_serializing_if = "String::is_empty")]
    pub not_orig_dst_selector: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub orig_src_service_acct_names: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orig_src_service_acct_selector: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub orig_dst_service_acct_names: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orig_dst_service_acct_selector: String,
    #[serde(rename = "http", skip_serializing_if = "Option::is_none")]
    pub http_match: Option<HttpMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RuleMetadata>,
}

/// A tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tier {
    /// Order; `None` sorts last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// `Deny` (also when empty) or `Pass`.
    #[serde(rename = "defaultAction", skip_serializing_if = "String::is_empty")]
    pub default_action: String,
}

/// Rules of a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfileRules {
    /// Ingress rules.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub inbound_rules: Vec<Rule>,
    /// Egress rules.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub outbound_rules: Vec<Rule>,
}

/// A network set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSet {
    /// Its CIDRs.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub nets: Vec<Cidr>,
    /// Own labels.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: StringMap,
    /// Profiles to inherit labels from.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub profile_ids: Vec<String>,
}

/// An address pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IpPool {
    /// The pool's prefix.
    pub cidr: Cidr,
    /// `tunl0` or empty.
    #[serde(default, rename = "ipip")]
    pub ipip_interface: String,
    /// `always`, `cross-subnet` or empty.
    #[serde(default)]
    pub ipip_mode: String,
    /// `always`, `cross-subnet` or empty.
    #[serde(default)]
    pub vxlan_mode: String,
    /// NAT of traffic that leaves the pools.
    #[serde(default)]
    pub masquerade: bool,
    /// Addresses may be assigned.
    #[serde(default)]
    pub ipam: bool,
    /// No new addresses.
    #[serde(default)]
    pub disabled: bool,
    /// Not exported to BGP peers.
    #[serde(default, rename = "disableBGPExport")]
    pub disable_bgp_export: bool,
    /// `Automatic` or `Manual`.
    #[serde(default)]
    pub assignment_mode: String,
    /// `Workload`, `Tunnel`, `LoadBalancer`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub allowed_uses: Vec<String>,
}

/// An IPAM block (`libcalico-go/lib/backend/model/block.go`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocationBlock {
    /// The block's prefix.
    pub cidr: Cidr,
    /// `host:<node>`, `virtual:<name>`, or none.
    pub affinity: Option<String>,
    /// RFC 3339 time of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_claim_time: Option<String>,
    /// Per ordinal: index into `attributes`, or none when free.
    #[serde(default, deserialize_with = "null_as_default")]
    pub allocations: Vec<Option<usize>>,
    /// Free ordinals, oldest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub unallocated: Vec<usize>,
    /// Attributes of allocations.
    #[serde(default, deserialize_with = "null_as_default")]
    pub attributes: Vec<AllocationAttribute>,
    /// Incremented with each write.
    #[serde(default, rename = "sequenceNumber")]
    pub sequence_number: u64,
    /// Ordinal (as text) to the sequence number of its allocation.
    #[serde(default, rename = "sequenceNumberForAllocation", deserialize_with = "null_as_default")]
    pub sequence_number_for_allocation: BTreeMap<String, u64>,
    /// First step of a deletion.
    #[serde(default)]
    pub deleted: bool,
    /// Deprecated form of `affinity`.
    #[serde(default, rename = "hostAffinity", skip_serializing_if = "Option::is_none")]
    pub host_affinity: Option<String>,
}

/// Attributes shared by allocations of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationAttribute {
    /// Handle of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle_id: Option<String>,
    /// Owner's attributes: `pod`, `namespace`, `node`, `type`, ...
    #[serde(
        default,
        rename = "secondary",
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub active_owner_attrs: StringMap,
    /// Other owner during live migration.
    #[serde(
        default,
        rename = "alternateOwnerAttrs",
        skip_serializing_if = "StringMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub alternate_owner_attrs: StringMap,
    /// RFC 3339 time of a release that is cooling down.
    #[serde(default, rename = "releasedAt", skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
}

/// State of a block affinity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockAffinity {
    /// `pending`, `confirmed`, `pendingDeletion`; empty in old data, where it means confirmed.
    pub state: String,
    /// First step of a deletion.
    pub deleted: bool,
}

/// Blocks in which a handle holds addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamHandle {
    /// Block CIDR to number of addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub block: BTreeMap<String, u32>,
    /// First step of a deletion.
    pub deleted: bool,
}

/// IPAM's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    /// Never borrow from other nodes' blocks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict_affinity: bool,
    /// Claim blocks on demand.
    #[serde(default, skip_serializing_if = "is_false")]
    pub auto_allocate_blocks: bool,
    /// Limit of blocks per node; 0 is the default of 20.
    #[serde(default, rename = "maxBlocksPerHost", skip_serializing_if = "is_zero")]
    pub max_blocks_per_host: u32,
    /// `Enabled` or `Disabled`.
    #[serde(default, rename = "kubeVirtVMAddressPersistence", skip_serializing_if = "Option::is_none")]
    pub kubevirt_vm_address_persistence: Option<String>,
    /// Seconds before a released address is used again.
    #[serde(default, rename = "ipCooldownSeconds", skip_serializing_if = "is_zero")]
    pub ip_cooldown_seconds: u32,
}

impl Default for IpamConfig {
    fn default() -> Self {
        Self {
            strict_affinity: false,
            auto_allocate_blocks: true,
            max_blocks_per_host: 0,
            kubevirt_vm_address_persistence: None,
            ip_cooldown_seconds: 0,
        }
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
