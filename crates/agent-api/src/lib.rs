//! The agent's local socket: what the CNI plugin, the CLI and the lab ask the agent of this node.
//!
//! Transport: a `SOCK_STREAM` unix socket, by default [`DEFAULT_SOCKET`]. Each direction carries frames: a little
//! endian `u32` length (at most [`MAX_FRAME`]), then that many bytes of JSON. One [`Request`], one [`Response`], in
//! order, any number per connection. The first byte of a frame may carry one descriptor (`SCM_RIGHTS`): the pod's
//! network namespace, so that the agent needs no view of the runtime's mounts.
//!
//! The agent checks `SO_PEERCRED`: root (or its own user) may do everything, others may ask for status only.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::IpAddr;

/// Where the agent listens unless told otherwise (`TORTIE_RUN_DIR` moves the directory).
pub const DEFAULT_SOCKET: &str = "/var/run/calico/agent.sock";

/// Longest frame in bytes.
pub const MAX_FRAME: usize = 4 << 20;

/// A question to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// CNI ADD: give the pod an address, an interface, routes and its policy; answer when all are in the kernel.
    Add(CniArgs),
    /// CNI DEL: take it all away; success also if there is nothing.
    Del(CniArgs),
    /// CNI CHECK: is what ADD made still there?
    Check(CniArgs),
    /// CNI STATUS: could an ADD succeed now?
    CniStatus,
    /// CNI GC: forget attachments that are not in this list of `containerID/ifname`.
    Gc {
        /// Valid attachments.
        valid: Vec<String>,
        /// The network's `name`.
        #[serde(default)]
        network: String,
    },
    /// State of the agent, for people and tests.
    NodeStatus,
    /// Answer as soon as the kernel enforces everything up to this datastore revision, or the time is over.
    WaitEnforced {
        /// Datastore revision.
        revision: u64,
        /// Milliseconds to wait at most.
        timeout_ms: u64,
        /// Also wait until routes to all known blocks are in the kernel.
        #[serde(default)]
        routes: bool,
    },
}

/// Arguments of ADD, DEL and CHECK: CNI's environment and the part of the network configuration that the agent needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CniArgs {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`, for messages; the descriptor travels beside the frame.
    pub netns: String,
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub pod: String,
    /// `K8S_POD_UID`, if the runtime gives it.
    pub pod_uid: String,
    /// `IP` of `CNI_ARGS`: wanted addresses.
    pub ips: Vec<IpAddr>,
    /// Addresses of the result of ADD, as the runtime remembers it (CHECK).
    pub previous: Vec<IpAddr>,
    /// The network's `name`.
    pub network: String,
    /// `mtu` of the configuration; 0 = the agent decides.
    pub mtu: u32,
    /// `ipam` section, verbatim.
    pub ipam: serde_json::Value,
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Response {
    /// ADD succeeded.
    Added(Attachment),
    /// Done; nothing to tell.
    Ok,
    /// State of the agent.
    NodeStatus(Box<NodeStatus>),
    /// Answer to `WaitEnforced`.
    Enforced {
        /// True if reached within the time.
        reached: bool,
        /// Revision that the kernel enforces.
        revision: u64,
        /// Blocks without a route, when routes were asked for.
        missing_routes: Vec<String>,
    },
    /// It did not work.
    Error(ApiError),
}

/// An error, in CNI's terms so that the plugin only passes it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// CNI error code: 1-99 by the specification, from 100 our own.
    pub code: u32,
    /// What failed, naming the object and the field.
    pub message: String,
    /// Likely cause and what to do.
    #[serde(default)]
    pub details: String,
}

/// CNI error codes (CNI specification 1.1, "Error") and ours.
pub mod code {
    /// Unsupported field in network configuration.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// Container unknown or does not exist.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// Invalid necessary environment variables.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// I/O failure.
    pub const IO: u32 = 5;
    /// Failed to decode content.
    pub const DECODE: u32 = 6;
    /// Invalid network configuration.
    pub const INVALID_CONFIG: u32 = 7;
    /// Try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// The plugin is not available (STATUS).
    pub const NOT_AVAILABLE: u32 = 50;
    /// The plugin is not available, and pods that run may have limited connectivity (STATUS).
    pub const LIMITED: u32 = 51;
    /// Ours: no address could be assigned.
    pub const IPAM: u32 = 101;
    /// Ours: the kernel refused.
    pub const KERNEL: u32 = 102;
    /// Ours: the datastore refused or is away.
    pub const DATASTORE: u32 = 103;
}

/// What ADD made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// Host side interface.
    pub host_interface: String,
    /// Its MAC address.
    pub host_mac: String,
    /// MAC address inside the pod.
    pub pod_mac: String,
    /// Addresses, one per family at most.
    pub ips: Vec<IpAddr>,
    /// MTU of the interface.
    pub mtu: u32,
}

/// State of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// Node name.
    pub node: String,
    /// Version of the agent.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since start.
    pub uptime_seconds: u64,
    /// `wait-for-datastore`, `resync`, `in-sync`.
    pub sync: String,
    /// Datastore revision up to which everything has been read.
    pub revision: u64,
    /// Datastore revision up to which the kernel enforces everything.
    pub enforced_revision: u64,
    /// True if the kernel equals the desired state.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Local workloads.
    pub endpoints: Vec<EndpointStatus>,
    /// Active policies: name to the datastore revision at which it last changed.
    pub policies: BTreeMap<String, u64>,
    /// BGP sessions by BIRD's protocol name.
    pub bgp: Vec<BgpSession>,
    /// Blocks of other nodes without a route in the kernel.
    pub missing_routes: Vec<String>,
    /// Addresses the node is known by.
    pub addresses: Vec<String>,
    /// Problems with objects that degrade these objects only: `object: message`.
    pub warnings: Vec<String>,
    /// What is wrong on this node and in its cluster, worst first.
    pub problems: Vec<Problem>,
    /// How many more problems there are than are told.
    pub problems_left_off: usize,
}

/// Something that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem, stable: `PoolOverlapsServices`.
    pub name: String,
    /// `warning`: something does not work, or will not; `notice`: something is not as it was written, and nothing is
    /// lost by that.
    pub severity: String,
    /// What it is about: `IPPool default-ipv4-ippool`.
    pub object: String,
    /// Which field of it, if it is one.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
    /// Since when (RFC 3339, UTC).
    pub since: String,
}

/// One local workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointStatus {
    /// `namespace/pod`.
    pub workload: String,
    /// Host side interface.
    pub interface: String,
    /// Addresses.
    pub addresses: Vec<String>,
    /// `up`, `down`, `error`.
    pub state: String,
    /// Names of the policies that apply, in order.
    pub policies: Vec<String>,
}

/// One BGP session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BgpSession {
    /// BIRD's name of the protocol, e.g. `Mesh_10_0_0_2`.
    pub name: String,
    /// Peer address.
    pub peer: String,
    /// BIRD's state: `up`, `start`, `down`.
    pub state: String,
    /// Further words, e.g. `Established`.
    pub info: String,
    /// Since when, as BIRD prints it.
    pub since: String,
}

/// Writes one frame.
pub fn write_frame<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode_frame(message)?)
}

/// The bytes of one frame.
pub fn encode_frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let len = bytes.len() - 4;
    if len > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("frame of {len} bytes")));
    }
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(bytes)
}

/// Reads one frame; `None` at a clean end of the stream.
pub fn read_frame<T: for<'de> Deserialize<'de>>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read(&mut len)? {
        0 => return Ok(None),
        n => from.read_exact(&mut len[n..])?,
    }
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {len} bytes is too long")));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip() {
        let mut bytes = Vec::new();
        let ask = Request::WaitEnforced { revision: 7, timeout_ms: 100, routes: true };
        write_frame(&mut bytes, &ask).unwrap();
        write_frame(&mut bytes, &Request::NodeStatus).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(read_frame::<Request>(&mut from).unwrap(), Some(ask));
        assert_eq!(read_frame::<Request>(&mut from).unwrap(), Some(Request::NodeStatus));
        assert_eq!(read_frame::<Request>(&mut from).unwrap(), None);
        assert!(read_frame::<Request>(&mut [255u8, 255, 255, 255].as_slice()).is_err());
    }
}
