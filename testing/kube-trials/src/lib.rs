//! Trials on real clusters: what only a real kubelet, containerd and kube-proxy can show.
//!
//! To add a trial: write `src/trials/<name>.rs` with
//! `pub(crate) const TRIAL: Trial = Trial { name, about, shape: Shape::LEAN, run };`, name it in the table of [`trials`], and run
//! `cargo xtask kube trials <name>`. `run` gets a [`Context`]: a cluster of that shape and a namespace of its own. Pods:
//! `cx.pod("a").server().on(1).start()?` waits for Ready; [`probe::Probe`] connects again and again, or holds a connection, and
//! counts failures; `cx.cluster.sh(1, "..")` runs on a node, `cx.cluster.kubectl(..)` and `get`/`apply` speak to the API;
//! [`wait::until`] polls and says what it waited for. `ensure!` what must hold; an error is a failed trial. Trials of the same
//! shape share a cluster, one after the other; pods and NetworkPolicies of the namespace are removed after each. A trial that
//! changes anything else for good has a shape with `own: true`, and a cluster of its own. No sleep to wait, both families always.

pub mod ask;
pub mod cluster;
pub mod context;
pub mod leaks;
pub mod plugin;
pub mod pods;
pub mod probe;
pub mod prober;
pub mod run;
pub mod trials;
pub mod wait;

pub use cluster::{Cluster, Shape};
pub use context::Context;

/// Something to find out on a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub about: &'static str,
    /// The cluster it needs.
    pub shape: Shape,
    /// Finds out.
    pub run: fn(&mut Context) -> anyhow::Result<()>,
}

/// A line for the person who runs the trials.
#[expect(clippy::print_stderr, reason = "the one place where trials talk")]
pub fn say(text: &str) {
    eprintln!("{text}");
}
