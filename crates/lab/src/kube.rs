//! A real Kubernetes API in the lab: etcd and kube-apiserver, inside the sandbox like everything else.
//!
//! The lab finds the binaries, it does not build them: `cargo xtask kube binaries` does.

pub(crate) mod access;
pub(crate) mod adopt;
pub(crate) mod api_server;
pub(crate) mod binaries;
pub(crate) mod certs;
pub(crate) mod cgroups;
pub(crate) mod client;
pub(crate) mod control_plane;
pub(crate) mod forward;
pub(crate) mod kubelets;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod objects;
pub(crate) mod pods;
pub(crate) mod power;
pub(crate) mod space;
