//! A user who may read some kinds and not others.

use super::shared;
use serde_json::{Value, json};
use tortie_store::{Store, StoreError, Watch, WatchItem};
use tortie_store_kube::{Group, KubeConfig, KubeStore, Source};
use tortie_store_suite::kube::Cluster;
use tortie_store_suite::{put, soon};
use tortie_sync::View;

const TIERS: &str = "/calico/resources/v3/projectcalico.org/tiers/";
const SETS: &str = "/calico/resources/v3/projectcalico.org/globalnetworksets/";

fn wanted(key: &str) -> bool {
    [TIERS, SETS].iter().any(|prefix| key.starts_with(prefix))
}

fn somebody(cluster: &Cluster) -> KubeConfig {
    let mut config = cluster.config();
    config.credentials.token = Some(Source::Data(b"nobody-token".to_vec()));
    config.wanted = Some(wanted);
    config
}

/// Lets the user read these kinds, and no others.
fn permit(cluster: &Cluster, plurals: &[&str]) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "some"},
        "rules": [
            {"apiGroups": ["crd.projectcalico.org"], "resources": plurals, "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "some"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "some"},
        "subjects": [{"kind": "User", "name": "nobody"}],
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]});
    cluster.kubectl(&["apply", "-f", "-"], &list.to_string());
}

fn object(kind: &str, name: &str) -> String {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": {}})
        .to_string()
}

/// A list that leaves out exactly these.
async fn listed(store: &KubeStore, unread: &[&str]) -> tortie_store::List {
    soon("a list", async {
        loop {
            // A rule takes a moment to be in force.
            match store.list("/").await {
                Ok(list) if list.unread == unread => return list,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

async fn next_key(watch: &mut Box<dyn Watch>) -> Result<String, StoreError> {
    loop {
        match watch.next().await? {
            WatchItem::Events(events) => return Ok(events[0].key().to_string()),
            WatchItem::Progress(_) => {}
        }
    }
}

#[tokio::test]
async fn what_may_be_read_is_followed_and_the_rest_is_said_and_noticed_when_it_may() {
    let Some(cluster) = shared().await else { return };
    let admin = cluster.store(cluster.config()).await;
    admin.commit(vec![put(&format!("{SETS}kept"), object("GlobalNetworkSet", "kept"))]).await.unwrap();
    permit(&cluster, &["tiers"]);
    let store = KubeStore::connect(somebody(&cluster)).await.unwrap();
    let list = listed(&store, &[SETS]).await;
    assert!(list.entries.iter().all(|entry| entry.key.starts_with(TIERS)));
    // By itself, or by its own prefix, it is refused.
    assert!(matches!(store.list(SETS).await, Err(StoreError::Denied { .. })));

    let mut watch = store.watch("/", list.revision).await.unwrap();
    admin.commit(vec![put(&format!("{TIERS}seen"), object("Tier", "seen"))]).await.unwrap();
    assert_eq!(soon("a change", next_key(&mut watch)).await.unwrap(), format!("{TIERS}seen"));

    permit(&cluster, &["tiers", "globalnetworksets"]);
    let end = soon("the end of the watch", next_key(&mut watch)).await.unwrap_err();
    assert!(end.to_string().contains("may be read now"), "{end}");
    let list = listed(&store, &[]).await;
    let kept = format!("{SETS}kept");
    assert!(list.entries.iter().any(|entry| *entry.key == *kept));
    let mut view = View::new(store.is_ordered());
    let revision = list.revision;
    view.snapshot(list);

    // To a kind that is not installed the server says "forbidden" too.
    let mut elsewhere = somebody(&cluster);
    elsewhere.group = Some(Group::V3);
    let list = listed(&KubeStore::connect(elsewhere).await.unwrap(), &[]).await;
    assert_eq!(list.entries, []);

    // Taken away again: what is known stays, and the rest is followed.
    permit(&cluster, &["tiers"]);
    let refused = listed(&store, &[SETS]).await;
    let mut watch = store.watch("/", revision).await.unwrap();
    assert!(view.snapshot(refused).iter().all(|delta| !delta.key.starts_with(SETS)));
    admin.commit(vec![put(&format!("{TIERS}later"), object("Tier", "later"))]).await.unwrap();
    assert_eq!(soon("a change", next_key(&mut watch)).await.unwrap(), format!("{TIERS}later"));
}

#[tokio::test]
async fn kubernetes_is_asked_what_is_no_key() {
    let Some(cluster) = shared().await else { return };
    let store = KubeStore::connect(somebody(&cluster)).await.unwrap();
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let answer = store.ask("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await.unwrap();
    assert!(answer.pointer("/status/resourceRules").is_some_and(Value::is_array), "{answer}");
    assert_eq!(store.read("/apis/no.such.group/v1").await.unwrap(), None);
    let group = store.read("/apis/crd.projectcalico.org/v1").await.unwrap().unwrap();
    assert!(group["resources"].as_array().unwrap().iter().any(|r| r["name"] == "ippools"));
    let networks = admin_networks(&cluster).await;
    assert_eq!(networks.pointer("/items/0/spec/cidrs/0").and_then(Value::as_str), Some("10.96.0.0/16"));
}

/// The networks of Services, which the server makes an object of a moment after its start.
async fn admin_networks(cluster: &Cluster) -> Value {
    let admin = cluster.store(cluster.config()).await;
    soon("the ServiceCIDR", async {
        loop {
            let list = admin.read("/apis/networking.k8s.io/v1/servicecidrs").await.unwrap().unwrap();
            if list["items"].as_array().is_some_and(|items| !items.is_empty()) {
                return list;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}
