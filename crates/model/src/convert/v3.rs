//! projectcalico.org/v3 objects to keys and values of the model.
//!
//! Each function is pure: object in, value out. What cannot be converted is named in [`Problems`]; a fatal problem
//! means that the value must not be used.

mod config;
mod endpoint;
mod node;
mod policy;
mod pool;
mod rule;
mod settings;
#[cfg(test)]
mod tests;

pub use config::{ConfigScope, cluster_information, felix_configuration, felix_parameters};
pub use endpoint::{host_endpoint, workload_endpoint, workload_key};
pub use node::{bgp_node, felix_node, pod_cidr_block, pod_cidrs};
pub use policy::{
    global_network_policy, global_network_set, network_policy, network_set, profile,
    staged_global_network_policy, staged_kubernetes_network_policy, staged_network_policy, tier,
};
pub use pool::ip_pool;
pub use rule::{normalize_nets, rule, rules};
pub use settings::{FELIX, Form, Setting};
