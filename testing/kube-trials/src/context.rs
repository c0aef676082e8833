//! What a trial works with.

use crate::cluster::Cluster;
use crate::pods::PodSpec;
use crate::{say, wait};
use anyhow::Result;
use serde_json::json;
use std::sync::Arc;

/// A cluster and a namespace in it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The trial's own.
    pub namespace: String,
}

impl Context {
    /// Makes the namespace.
    pub fn new(cluster: Arc<Cluster>, trial: &str) -> Result<Self> {
        let namespace = format!("trial-{trial}");
        let cx = Self { cluster, namespace };
        let objects = json!([
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cx.namespace}},
            // Controllers make it, later; pods are refused until then.
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": cx.namespace}},
        ]);
        // Or just now, in between kubectl's look and its write.
        wait::until(&format!("the namespace {}", cx.namespace), wait::seconds(20), || {
            cx.cluster.apply(&objects).map(Some)
        })?;
        Ok(cx)
    }

    /// Says what the trial is about to do.
    pub fn say(&self, text: &str) {
        say(&format!("    {text}"));
    }

    /// A pod to be.
    pub fn pod(&self, name: &str) -> PodSpec<'_> {
        PodSpec::new(self, name)
    }

    /// `kubectl` in the trial's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", &self.namespace];
        all.extend(arguments);
        self.cluster.kubectl(&all)
    }

    /// Removes pods and policies of the namespace, and waits until they are gone.
    pub fn clean(&self) -> Result<()> {
        self.kubectl(&["delete", "pods,networkpolicies", "--all", "--wait=false", "--ignore-not-found"])?;
        wait::until_true("the trial's pods to be gone", wait::seconds(60), || {
            Ok(self.cluster.list(&["pods", "-n", &self.namespace])?.is_empty())
        })
    }
}
