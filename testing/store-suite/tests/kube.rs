//! A real API server of Kubernetes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "kube/access.rs"]
mod access;
#[path = "kube/definitions.rs"]
mod definitions;
#[path = "kube/objects.rs"]
mod objects;
#[path = "kube/permissions.rs"]
mod permissions;

use std::sync::Arc;
use tokio::sync::OnceCell;
use tortie_api::crd::Group;
use tortie_store_suite::kube::Cluster;
use tortie_store_suite::{Subject, plain_conformance, plain_survival};

/// One API server for all tests that leave it alive.
async fn shared() -> Option<Arc<Cluster>> {
    static SHARED: OnceCell<Option<Arc<Cluster>>> = OnceCell::const_new();
    SHARED.get_or_init(|| Cluster::new(Group::Storage, |_| Vec::new())).await.clone()
}

async fn shared_subject() -> Option<Subject> {
    Some(shared().await?.subject().await)
}

async fn own_subject() -> Option<Subject> {
    Some(Cluster::new(Group::Storage, |_| Vec::new()).await?.subject().await)
}

plain_conformance!(shared_subject);
plain_survival!(own_subject);
