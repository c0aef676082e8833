//! Keys and values as the conformance port writes them: `{"type": .., "fields": ..}`.

use serde_json::{Map, Value, json};
use std::net::IpAddr;
use tortie_model::key::{bgp_peer_path, parse_bgp_peer_path};
use tortie_model::{Key, PolicyId, PolicyKind, ResourceKey, WorkloadId};
use tortie_net::Cidr;

/// A key, or the path of a peer, which is a key only to who lists peers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tagged {
    Key(Key),
    Peer { node: Option<String>, peer: IpAddr, port: u16 },
}

/// Why there is no key.
pub(super) enum NoKey {
    /// Something is missing or malformed.
    Bad(String),
    /// The type is not known here.
    Unknown(String),
}

/// A tagged thing.
pub(super) fn tagged(kind: &str, fields: Value) -> Value {
    json!({"type": kind, "fields": fields})
}

/// Type and fields of a tagged thing.
pub(super) fn split(value: &Value) -> (&str, &Value) {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    (kind, value.get("fields").unwrap_or(&Value::Null))
}

/// A text field; empty if absent.
pub(super) fn field<'v>(fields: &'v Value, name: &str) -> &'v str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Tagged {
    /// The path; `None` if a part of the key is missing.
    pub(super) fn to_path(&self) -> Option<String> {
        match self {
            Self::Key(key) => key.to_path(),
            Self::Peer { node, peer, port } => Some(bgp_peer_path(node.as_deref(), *peer, *port)),
        }
    }

    /// The peer of a path.
    pub(super) fn peer_from_path(path: &str) -> Option<Self> {
        let (node, peer, port) = parse_bgp_peer_path(path)?;
        Some(Self::Peer { node: node.map(str::to_owned), peer, port })
    }

    /// Reads a tagged key.
    pub(super) fn read(value: &Value) -> Result<Self, NoKey> {
        let (kind, fields) = split(value);
        let text = |name: &str| field(fields, name).to_owned();
        let cidr = || -> Result<Cidr, NoKey> {
            field(fields, "CIDR").parse().map_err(|e| NoKey::Bad(format!("CIDR: {e}")))
        };
        let workload = || WorkloadId {
            host: text("Hostname"),
            orchestrator: text("OrchestratorID"),
            workload: text("WorkloadID"),
            endpoint: text("EndpointID"),
        };
        Ok(Self::Key(match kind {
            "ResourceKey" => Key::Resource(ResourceKey {
                kind: text("Kind"),
                namespace: text("Namespace"),
                name: text("Name"),
            }),
            "PolicyKey" | "LegacyPolicyKey" => {
                let kind = PolicyKind::from_name(field(fields, "Kind"))
                    .ok_or_else(|| NoKey::Bad(format!("{:?} is no kind of policy", field(fields, "Kind"))))?;
                Key::Policy(PolicyId { kind, namespace: text("Namespace"), name: text("Name") })
            }
            "TierKey" => Key::Tier(text("Name")),
            "ProfileRulesKey" => Key::ProfileRules(text("Name")),
            "ProfileLabelsKey" => Key::ProfileLabels(text("Name")),
            "WorkloadEndpointKey" => Key::WorkloadEndpoint(workload()),
            "HostEndpointKey" => Key::HostEndpoint { host: text("Hostname"), id: text("EndpointID") },
            "NetworkSetKey" => Key::NetworkSet(text("Name")),
            "IPPoolKey" => Key::IpPool(cidr()?),
            "BlockKey" => Key::Block(cidr()?),
            "BlockAffinityKey" => {
                Key::BlockAffinity { host: text("Host"), affinity_type: text("AffinityType"), cidr: cidr()? }
            }
            "GlobalConfigKey" => Key::GlobalConfig(text("Name")),
            "HostConfigKey" => Key::HostConfig { host: text("Hostname"), name: text("Name") },
            "NodeBGPConfigKey" => Key::BgpNodeConfig { node: text("Nodename"), name: text("Name") },
            "ReadyFlagKey" => Key::ReadyFlag,
            "WireguardKey" => Key::Wireguard(text("NodeName")),
            "GlobalBGPPeerKey" | "NodeBGPPeerKey" => {
                let peer: IpAddr = field(fields, "PeerIP").parse().map_err(|_| {
                    NoKey::Bad(format!("PeerIP: {:?} is no address", field(fields, "PeerIP")))
                })?;
                let port = fields.get("Port").and_then(Value::as_u64).unwrap_or_default();
                let port = u16::try_from(port).map_err(|_| NoKey::Bad(format!("Port: {port} is no port")))?;
                let node = (kind == "NodeBGPPeerKey").then(|| text("Nodename"));
                if node.as_ref().is_some_and(String::is_empty) {
                    return Err(NoKey::Bad("Nodename is missing".to_owned()));
                }
                return Ok(Self::Peer { node, peer: peer.to_canonical(), port });
            }
            "ActiveStatusReportKey" => {
                Key::AgentStatus { region: text("RegionString"), host: text("Hostname") }
            }
            "LastStatusReportKey" => {
                Key::LastAgentStatus { region: text("RegionString"), host: text("Hostname") }
            }
            "WorkloadEndpointStatusKey" => {
                Key::WorkloadStatus { region: text("RegionString"), id: workload() }
            }
            "HostEndpointStatusKey" => {
                Key::HostEndpointStatus { host: text("Hostname"), id: text("EndpointID") }
            }
            "GlobalBGPConfigKey" => Key::BgpGlobalConfig(text("Name")),
            "IPAMHandleKey" => Key::IpamHandle(text("HandleID")),
            "IPAMConfigKey" => Key::IpamConfig,
            other => return Err(NoKey::Unknown(other.to_owned())),
        }))
    }

    /// The tagged form.
    pub(super) fn write(&self) -> Value {
        let key = match self {
            Self::Key(key) => key,
            Self::Peer { node, peer, port } => {
                let mut fields = json!({"PeerIP": peer.to_string(), "Port": port});
                return match node {
                    Some(node) => {
                        fields["Nodename"] = json!(node);
                        tagged("NodeBGPPeerKey", fields)
                    }
                    None => tagged("GlobalBGPPeerKey", fields),
                };
            }
        };
        write_key(key)
    }
}

/// The tagged form of a key.
pub(super) fn write_key(key: &Key) -> Value {
    let name = |name: &str| json!({"Name": name});
    let workload = |id: &WorkloadId| {
        let WorkloadId { host, orchestrator, workload, endpoint } = id;
        json!({"Hostname": host, "OrchestratorID": orchestrator, "WorkloadID": workload, "EndpointID": endpoint})
    };
    let cidr = |cidr: &Cidr| json!({"CIDR": cidr.to_string()});
    match key {
        Key::Resource(ResourceKey { kind, namespace, name }) => {
            tagged("ResourceKey", json!({"Kind": kind, "Name": name, "Namespace": namespace}))
        }
        Key::Policy(PolicyId { kind, namespace, name }) => {
            tagged("PolicyKey", json!({"Kind": kind.as_str(), "Namespace": namespace, "Name": name}))
        }
        Key::Tier(tier) => tagged("TierKey", name(tier)),
        Key::ProfileRules(profile) => tagged("ProfileRulesKey", name(profile)),
        Key::ProfileLabels(profile) => tagged("ProfileLabelsKey", name(profile)),
        Key::WorkloadEndpoint(id) => tagged("WorkloadEndpointKey", workload(id)),
        Key::HostEndpoint { host, id } => {
            tagged("HostEndpointKey", json!({"Hostname": host, "EndpointID": id}))
        }
        Key::NetworkSet(set) => tagged("NetworkSetKey", name(set)),
        Key::IpPool(pool) => tagged("IPPoolKey", cidr(pool)),
        Key::Block(block) => tagged("BlockKey", cidr(block)),
        Key::BlockAffinity { host, affinity_type, cidr } => tagged(
            "BlockAffinityKey",
            json!({"CIDR": cidr.to_string(), "Host": host, "AffinityType": affinity_type}),
        ),
        Key::GlobalConfig(parameter) => tagged("GlobalConfigKey", name(parameter)),
        Key::HostConfig { host, name } => tagged("HostConfigKey", json!({"Hostname": host, "Name": name})),
        Key::BgpNodeConfig { node, name } => {
            tagged("NodeBGPConfigKey", json!({"Nodename": node, "Name": name}))
        }
        Key::ReadyFlag => tagged("ReadyFlagKey", Value::Object(Map::new())),
        Key::Wireguard(node) => tagged("WireguardKey", json!({"NodeName": node})),
        Key::AgentStatus { region, host } => {
            tagged("ActiveStatusReportKey", json!({"Hostname": host, "RegionString": region}))
        }
        Key::LastAgentStatus { region, host } => {
            tagged("LastStatusReportKey", json!({"Hostname": host, "RegionString": region}))
        }
        Key::WorkloadStatus { region, id } => {
            let mut fields = workload(id);
            fields["RegionString"] = json!(region);
            tagged("WorkloadEndpointStatusKey", fields)
        }
        Key::HostEndpointStatus { host, id } => {
            tagged("HostEndpointStatusKey", json!({"Hostname": host, "EndpointID": id}))
        }
        Key::IpamHandle(id) => tagged("IPAMHandleKey", json!({"HandleID": id})),
        Key::BgpGlobalConfig(parameter) => tagged("GlobalBGPConfigKey", name(parameter)),
        Key::IpamConfig => tagged("IPAMConfigKey", Value::Object(Map::new())),
    }
}
