//! A Kubernetes API server as a datastore.
//!
//! The keys are the same as in every other store; this crate knows which object of the API each of them is:
//!
//! * custom resources of `crd.projectcalico.org/v1` (metadata packed as Calico packs it) or `projectcalico.org/v3`;
//! * address management's blocks, affinities, handles and settings;
//! * Calico's nodes in the annotations of Kubernetes' nodes;
//! * Kubernetes' own objects, pruned on reading and patched on writing.
//!
//! HTTP is spoken directly, so that bytes become slim values without a full copy in between. No call hangs. Must not
//! cache objects, and must not judge them: that is the readers' business.

mod api;
mod config;
mod connect;
mod definitions;
mod derived;
mod failure;
mod kinds;
mod kubeconfig;
mod lines;
mod metadata;
mod names;
mod native;
mod node;
mod object;
mod positions;
mod read;
mod store;
mod tls;
mod watching;
mod write;

pub use config::{ConfigError, Credentials, Group, KubeConfig, SETTINGS, Source};
pub use definitions::{Definitions, Lacking};
pub use store::KubeStore;
