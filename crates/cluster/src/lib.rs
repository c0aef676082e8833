//! What a cluster holds before anything else, and what a node must know before it can work.
//!
//! * [`ensure_initialized`]: information about the cluster and its tiers; every client makes what is missing;
//! * [`prepare_node`]: a node's start: its addresses, its Node, the default pools, the default settings;
//! * [`NodeSettings`]: the settings of one node, out of its environment, its file and the datastore's objects;
//! * [`set_vxlan_address`]: what others must know of this node's end of tunnels;
//! * [`Networks`]: pools that hold addresses of Services, nodes or other pools.
//!
//! Objects have Calico's names and forms, so that its own components find them, and find nothing left to do. All is
//! written by compare-and-swap, and everything may be repeated: what is there stays. Nothing here asks the machine:
//! that is the caller's, through [`Machine`].

mod detect;
mod initialize;
mod node;
mod object;
mod overlap;
mod pools;
mod settings;
mod tunnel;

pub use detect::{Interface, InterfaceAddress, Machine, Method, MethodError};
pub use initialize::{
    CALICO_VERSION, CLUSTER, Identity, TIERS, cluster_information, ensure_initialized, is_ready, new_uid,
};
pub use node::{NodeError, NodeSpec, Prepared, SpecError, network_condition, prepare_node, refresh_node};
pub use object::{ObjectError, now};
pub use overlap::{ForeignAddresses, Networks, Overlapping, Owner, host_networks, service_networks};
pub use pools::{PoolError, PoolSpec, PoolWish};
pub use settings::NodeSettings;
/// Felix's parameters, which [`NodeSettings`] settles.
pub use tortie_felix_config as felix;
pub use tunnel::{TunnelError, set_vxlan_address};
