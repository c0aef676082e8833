//! Definitions of Calico's kinds that are missing, older, or of the other group.

use std::time::Instant;
use tortie_api::crd;
use tortie_store_kube::{Definitions, Group, KubeStore, Lacking};
use tortie_store_suite::PATIENCE;
use tortie_store_suite::kube::Cluster;

/// What is lacking, as soon as it is this: the server publishes changes a moment later.
async fn until(store: &KubeStore, before: &Definitions, want: &[Lacking]) -> Definitions {
    let start = Instant::now();
    loop {
        let now = store.definitions(Some(before)).await.unwrap();
        if now.lacking == want {
            return now;
        }
        assert!(start.elapsed() < PATIENCE, "{:?}", now.lacking);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn what_is_lacking_is_named() {
    let Some(cluster) = Cluster::new(crd::Group::Native, |_| Vec::new()).await else { return };
    let with = |group| {
        let mut config = cluster.config();
        config.group = Some(group);
        config
    };
    let store = cluster.store(with(Group::V3)).await;
    let complete = until(&store, &Definitions::default(), &[]).await;
    assert_eq!(store.definitions(Some(&complete)).await.unwrap(), complete);

    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/assignmentMode";
    let patch = format!("[{{\"op\": \"remove\", \"path\": {field:?}}}]");
    cluster.kubectl(&["patch", "crd", "ippools.projectcalico.org", "--type=json", "-p", &patch], "");
    let fields = Lacking::Fields {
        definition: "ippools.projectcalico.org".to_owned(),
        fields: vec!["spec.assignmentMode".to_owned()],
    };
    let older = until(&store, &complete, std::slice::from_ref(&fields)).await;
    cluster.kubectl(&["delete", "crd", "tiers.projectcalico.org"], "");
    let kind = Lacking::Kind { definition: "tiers.projectcalico.org".to_owned() };
    until(&store, &older, &[kind, fields]).await;

    let elsewhere = cluster.store(with(Group::V1)).await;
    let group = Lacking::Group { group: "crd.projectcalico.org/v1", other: Some("projectcalico.org/v3") };
    until(&elsewhere, &Definitions::default(), &[group]).await;
}
