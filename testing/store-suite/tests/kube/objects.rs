//! What is written is what kubectl shows, and the other way round.

use super::shared;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tortie_api::crd::Group;
use tortie_store::{Event, Op, Precondition, Store, StoreError, Watch, WatchItem};
use tortie_store_suite::kube::Cluster;
use tortie_store_suite::{delete, put_when, soon};

const V3: &str = "/calico/resources/v3/projectcalico.org";

fn put(key: &str, value: &Value, when: Precondition) -> Vec<Op> {
    vec![put_when(key, value.to_string(), when)]
}

async fn value(store: &dyn Store, key: &str) -> (Value, u64) {
    let entry = store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is not there"));
    (serde_json::from_slice(&entry.value).unwrap(), entry.revision)
}

fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name, "labels": {"team": "red", "projectcalico.org/tier": "default"}, "annotations": {"note": "n"}},
        "spec": {"tier": "default", "selector": "all()", "types": ["Ingress"], "ingress": [{"action": "Allow"}]},
    })
}

/// So many changes under a prefix, whatever else happens there.
async fn changes(watch: &mut Box<dyn Watch>, wanted: &[String]) -> Vec<Event> {
    let mut seen = Vec::<Event>::new();
    let collect = async {
        let all = |seen: &[Event]| wanted.iter().all(|key| seen.iter().any(|e| &**e.key() == key.as_str()));
        while !all(&seen) {
            if let WatchItem::Events(events) = watch.next().await.unwrap() {
                seen.extend(events.into_iter().filter(|e| wanted.iter().any(|key| **key == **e.key())));
            }
        }
    };
    soon("the changes", collect).await;
    seen
}

#[tokio::test]
async fn custom_resources_are_calicos() {
    let Some(cluster) = shared().await else { return };
    let store = cluster.store(cluster.config()).await;
    let key = format!("{V3}/globalnetworkpolicies/allow-all");
    let revision = store.commit(put(&key, &policy("allow-all"), Precondition::Absent)).await.unwrap();
    let shown = cluster.shown(&["globalnetworkpolicies.crd.projectcalico.org", "allow-all"]);
    let packed = shown["metadata"]["annotations"]["projectcalico.org/metadata"].as_str().unwrap();
    assert_eq!(
        packed,
        r#"{"name":"allow-all","creationTimestamp":null,"labels":{"projectcalico.org/tier":"default","team":"red"},"annotations":{"note":"n"}}"#
    );
    assert_eq!(shown["metadata"]["labels"], json!({"projectcalico.org/tier": "default"}));
    assert_eq!(shown["metadata"]["resourceVersion"], revision.to_string());

    let (read, read_revision) = value(&store, &key).await;
    assert_eq!(read_revision, revision);
    assert_eq!((&read["spec"], &read["metadata"]["labels"]["team"]), (&policy("x")["spec"], &json!("red")));
    assert_ne!(read["metadata"]["uid"], shown["metadata"]["uid"]);
    assert_eq!(read["metadata"]["creationTimestamp"], shown["metadata"]["creationTimestamp"]);

    let mut watch = store.watch(&key, revision).await.unwrap();
    let patch = r#"{"spec":{"selector":"has(x)"}}"#;
    let name = ["globalnetworkpolicies.crd.projectcalico.org", "allow-all"];
    cluster.kubectl(&["patch", name[0], name[1], "--type=merge", "-p", patch], "");
    let seen = changes(&mut watch, std::slice::from_ref(&key)).await;
    assert!(matches!(&seen[..], [Event::Put(entry)] if entry.value.windows(6).any(|w| w == b"has(x)")));
    let stale = store.commit(put(&key, &policy("allow-all"), Precondition::Revision(revision))).await;
    assert!(matches!(stale, Err(StoreError::Conflict { current: Some(_), .. })), "{stale:?}");
    // What was read can be written, with all that it says of itself.
    let (read, revision) = value(&store, &key).await;
    store.commit(put(&key, &read, Precondition::Revision(revision))).await.unwrap();
    store.commit(vec![delete(&key)]).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
    let wrong = json!({"metadata": {"name": "p"}, "spec": {"types": "no list"}});
    let refused =
        store.commit(put(&format!("{V3}/globalnetworkpolicies/p"), &wrong, Precondition::Any)).await;
    assert!(
        matches!(&refused, Err(StoreError::Invalid { reason, .. }) if reason.contains("types")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn old_names_and_broken_metadata_are_survived() {
    let Some(cluster) = shared().await else { return };
    let store = cluster.store(cluster.config()).await;
    let start = store.list(&format!("{V3}/globalnetworkpolicies/")).await.unwrap().revision;
    let mut watch = store.watch(&format!("{V3}/globalnetworkpolicies/"), start).await.unwrap();
    let object = |name: &str, packed: &str| {
        json!({
            "apiVersion": "crd.projectcalico.org/v1", "kind": "GlobalNetworkPolicy",
            "metadata": {"name": name, "annotations": {"projectcalico.org/metadata": packed}}, "spec": {"tier": "default"},
        })
        .to_string()
    };
    cluster.kubectl(&["create", "-f", "-"], &object("broken", "{"));
    cluster.kubectl(&["create", "-f", "-"], &object("default.elder", r#"{"creationTimestamp":null}"#));
    let key = format!("{V3}/globalnetworkpolicies/elder");
    let seen = changes(&mut watch, std::slice::from_ref(&key)).await;
    assert!(matches!(&seen[..], [Event::Put(_)]), "{seen:?}");
    let listed = store.list(&format!("{V3}/globalnetworkpolicies/")).await.unwrap().entries;
    assert!(listed.iter().any(|e| *e.key == *key) && !listed.iter().any(|e| e.key.ends_with("broken")));
    let error = store.get(&format!("{V3}/globalnetworkpolicies/broken")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { reason, .. } if reason.contains("metadata")), "{error}");

    let (read, revision) = value(&store, &key).await;
    assert_eq!(read["metadata"]["name"], "elder");
    store.commit(put(&key, &read, Precondition::Revision(revision))).await.unwrap();
    let (_, revision) = value(&store, &key).await;
    store
        .commit(vec![Op::Delete { key: key.clone(), when: Precondition::Revision(revision) }])
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
}

#[tokio::test]
async fn address_management_has_calicos_objects() {
    let Some(cluster) = shared().await else { return };
    let store = cluster.store(cluster.config()).await;
    let block = "/calico/ipam/v2/assignment/ipv4/block/10.7.0.64-30";
    let affinity = "/calico/ipam/v2/host/Node.1/ipv6/block/fd07::40-122";
    let handle = "/calico/ipam/v2/handle/Net.C1";
    let config = "/calico/ipam/v2/config";
    let values = [
        (
            block,
            json!({
                "cidr": "10.7.0.64/30", "affinity": "host:Node.1", "allocations": [0, null, null, null], "unallocated": [1, 2, 3],
                "attributes": [{"handle_id": "Net.C1", "secondary": {"pod": "p"}}],
                "sequenceNumber": 1_789_000_000_000_000_001_u64, "sequenceNumberForAllocation": {"0": 7}, "deleted": false,
            }),
        ),
        (affinity, json!({"state": "pending", "deleted": false})),
        (handle, json!({"block": {"10.7.0.64/30": 1}, "deleted": false})),
        (config, json!({"strict_affinity": true, "auto_allocate_blocks": true, "maxBlocksPerHost": 4})),
    ];
    for (key, object) in &values {
        let refused = *key == affinity;
        let outcome = store.commit(put(key, object, Precondition::Absent)).await;
        // Names of nodes have no capital letters in Kubernetes.
        assert_eq!(outcome.is_err(), refused, "{key}: {outcome:?}");
        if !refused {
            assert_eq!(value(&store, key).await.0, *object, "{key}");
        }
    }
    let affinity = "/calico/ipam/v2/host/node.1/ipv6/block/fd07::40-122";
    store.commit(put(affinity, &values[1].1, Precondition::Absent)).await.unwrap();
    let shown = cluster.shown(&["blockaffinities.crd.projectcalico.org", "node.1-fd07--40-122"]);
    assert_eq!((&shown["spec"]["deleted"], &shown["spec"]["node"]), (&json!("false"), &json!("node.1")));
    assert_eq!(shown["metadata"]["labels"]["projectcalico.org/affinity-type"], "host");
    let shown = cluster.shown(&["ipamhandles.crd.projectcalico.org", "net.c1"]);
    assert_eq!(shown["spec"]["handleID"], "Net.C1");
    let keys: Vec<_> = store.list("/calico/ipam/v2/host/node.1/").await.unwrap().entries;
    assert_eq!(keys.iter().map(|e| &*e.key).collect::<Vec<_>>(), [affinity]);

    let (_, revision) = value(&store, &format!("{V3}/ipamconfigurations/default")).await;
    let settings = json!({"metadata": {"name": "default"}, "spec": {"strictAffinity": false, "autoAllocateBlocks": true}});
    let key = format!("{V3}/ipamconfigurations/default");
    store.commit(put(&key, &settings, Precondition::Revision(revision))).await.unwrap();
    let expected = json!({"strict_affinity": false, "auto_allocate_blocks": true});
    assert_eq!(value(&store, config).await.0, expected);

    // As Calico deletes: first a mark, then the object.
    let mark = r#"{"spec":{"deleted":true}}"#;
    cluster.kubectl(
        &["patch", "ipamblocks.crd.projectcalico.org", "10-7-0-64-30", "--type=merge", "-p", mark],
        "",
    );
    assert_eq!(store.get(block).await.unwrap(), None);
    assert!(store.list("/calico/ipam/v2/assignment/").await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn nodes_are_annotations() {
    let Some(cluster) = shared().await else { return };
    let store = cluster.store(cluster.config()).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"disk": "ssd"}}, "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}});
    cluster.kubectl(&["create", "-f", "-"], &node.to_string());
    let key = format!("{V3}/nodes/n1");
    let (mut calico, revision) = value(&store, &key).await;
    assert_eq!(
        (&calico["status"]["podCIDRs"], &calico["metadata"]["labels"]["disk"]),
        (&json!(["10.1.0.0/24"]), &json!("ssd"))
    );
    calico["spec"]["bgp"] = json!({"ipv4Address": "10.0.0.1/24", "asNumber": 64512});
    let next = store.commit(put(&key, &calico, Precondition::Revision(revision))).await.unwrap();
    let shown = cluster.shown(&["node", "n1"]);
    assert_eq!(shown["metadata"]["annotations"]["projectcalico.org/IPv4Address"], "10.0.0.1/24");
    assert_eq!(shown["metadata"]["annotations"]["projectcalico.org/ASNumber"], "64512");
    assert_eq!(
        (&shown["metadata"]["labels"]["disk"], &shown["spec"]["podCIDR"]),
        (&json!("ssd"), &json!("10.1.0.0/24"))
    );
    assert!(shown["metadata"]["annotations"].get("projectcalico.org/labels").is_none());
    let (read, revision) = value(&store, &key).await;
    assert_eq!((revision, &read["spec"]["bgp"]["asNumber"]), (next, &json!(64512)));
    for op in [put(&key, &read, Precondition::Revision(1)), put(&key, &read, Precondition::Absent)] {
        assert!(matches!(store.commit(op).await, Err(StoreError::Conflict { current: Some(_), .. })));
    }
    let none = store.commit(put(&format!("{V3}/nodes/n9"), &json!({"spec": {}}), Precondition::Any)).await;
    assert!(
        matches!(&none, Err(StoreError::Invalid { reason, .. }) if reason.contains("kubelet")),
        "{none:?}"
    );
    let gone = store.commit(vec![delete(&key)]).await;
    assert!(
        matches!(&gone, Err(StoreError::Invalid { reason, .. }) if reason.contains("kubectl")),
        "{gone:?}"
    );
}

#[tokio::test]
async fn pods_keep_what_is_not_read() {
    let Some(cluster) = shared().await else { return };
    let store = cluster.store(cluster.config()).await;
    let namespace = cluster.namespace(&store).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace},
        "spec": {"nodeName": "n7", "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "B"}], "ports": [{"containerPort": 80}]}]},
    });
    cluster.kubectl(&["create", "-f", "-"], &pod.to_string());
    let before = cluster.shown(&["pod", "-n", &namespace, "p"]);
    let key = format!("/tortie/kubernetes/pods/{namespace}/p");
    let (mut read, revision) = value(&store, &key).await;
    assert!(read["spec"]["containers"][0].get("env").is_none() && read.to_string().len() < 4096, "{read}");
    read["metadata"]["annotations"] = json!({"cni.projectcalico.org/podIP": "10.0.0.2/32"});
    read["status"]["podIP"] = json!("10.0.0.2");
    read["status"]["podIPs"] = json!([{"ip": "10.0.0.2"}]);
    let next = store.commit(put(&key, &read, Precondition::Revision(revision))).await.unwrap();
    let after = cluster.shown(&["pod", "-n", &namespace, "p"]);
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["annotations"], read["metadata"]["annotations"]);
    assert_eq!(after["status"]["podIPs"], read["status"]["podIPs"]);
    assert_eq!(after["metadata"]["resourceVersion"], next.to_string());
    assert_eq!(
        store.commit(put(&key, &read, Precondition::Revision(next))).await.unwrap(),
        next,
        "nothing to write"
    );
    let stale = store.commit(put(&key, &read, Precondition::Revision(revision))).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");

    let v3 = |rest: &str| format!("{V3}/{rest}");
    let endpoint = v3(&format!("workloadendpoints/{namespace}/n7-k8s-p-eth0"));
    assert_eq!(value(&store, &endpoint).await.0["spec"]["ipNetworks"], json!(["10.0.0.2/32"]));
    let profile = v3(&format!("profiles/kns.{namespace}"));
    assert_eq!(value(&store, &profile).await.0["kind"], "Profile");
    let listed = store.list(&v3("profiles/")).await.unwrap().entries;
    assert!(listed.iter().any(|entry| *entry.key == *profile));
    let refused = store.commit(vec![delete(&profile)]).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert!(store.list("/").await.unwrap().entries.iter().all(|entry| !entry.key.contains("/profiles/")));

    // Everything else that is native can be made, changed and removed.
    let policy = format!("/tortie/kubernetes/networkpolicies/{namespace}/np");
    let spec = json!({"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress"]});
    let mut object = json!({"metadata": {"name": "np", "namespace": namespace}, "spec": spec});
    let revision = store.commit(put(&policy, &object, Precondition::Absent)).await.unwrap();
    object["spec"]["podSelector"] = json!({});
    store.commit(put(&policy, &object, Precondition::Revision(revision))).await.unwrap();
    assert_eq!(cluster.shown(&["networkpolicy", "-n", &namespace, "np"])["spec"]["podSelector"], json!({}));
    store.commit(vec![delete(&policy)]).await.unwrap();
    assert_eq!(store.get(&policy).await.unwrap(), None);
    let listed = store.list(&format!("/tortie/kubernetes/pods/{namespace}/")).await.unwrap();
    assert_eq!(listed.entries.len(), 1);
}

/// Both ways to list show the same, also while others write.
#[tokio::test]
async fn pages_and_streams_are_the_same_list() {
    let Some(cluster) = shared().await else { return };
    let store = cluster.store(cluster.config()).await;
    let namespace = cluster.namespace(&store).await;
    let prefix = format!("{V3}/networksets/{namespace}/");
    let writer = {
        let (store, prefix) = (store.clone(), prefix.clone());
        tokio::spawn(async move {
            for n in 0..60 {
                let set = json!({"metadata": {"name": format!("s{}", n % 20)}, "spec": {"nets": [format!("10.0.0.{n}/32")]}});
                store.commit(put(&format!("{prefix}s{}", n % 20), &set, Precondition::Any)).await.unwrap();
            }
        })
    };
    let mut config = cluster.config();
    (config.streaming, config.page) = (false, 7);
    let paged = cluster.store(config).await;
    let mut compared = 0;
    while compared == 0 || !writer.is_finished() {
        let (a, b) = (store.list(&prefix).await.unwrap(), paged.list(&prefix).await.unwrap());
        // The second list is a later one; what did not change in between is equal.
        let same = |entry: &&tortie_store::Entry| entry.revision <= a.revision;
        for entry in b.entries.iter().filter(same) {
            assert!(a.entries.contains(entry), "{entry:?} is in pages only");
        }
        compared += 1;
    }
    writer.await.unwrap();
    assert_eq!(store.list(&prefix).await.unwrap().entries, paged.list(&prefix).await.unwrap().entries);
    assert_eq!(store.list(&prefix).await.unwrap().entries.len(), 20);
}

/// What the server has forgotten, with all that the other tests write, is listed.
async fn relist(store: &dyn Store, error: StoreError, revision: &mut u64, seen: &mut BTreeSet<String>) {
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    let list = store.list("/").await.unwrap();
    *revision = list.revision;
    seen.extend(list.entries.iter().map(|entry| entry.key.to_string()));
}

async fn begin(store: &dyn Store, revision: &mut u64, seen: &mut BTreeSet<String>) -> Box<dyn Watch> {
    loop {
        match store.watch("/", *revision).await {
            Ok(watch) => return watch,
            Err(error) => relist(store, error, revision, seen).await,
        }
    }
}

/// One item of changes, or of a list in their stead.
async fn step(
    store: &dyn Store,
    watch: &mut Box<dyn Watch>,
    revision: &mut u64,
    seen: &mut BTreeSet<String>,
) {
    loop {
        match watch.next().await {
            Ok(WatchItem::Progress(_)) => {}
            Ok(WatchItem::Events(events)) => {
                *revision = events.last().unwrap().revision();
                seen.extend(events.iter().map(|event| event.key().to_string()));
                return;
            }
            Err(error) => {
                relist(store, error, revision, seen).await;
                *watch = begin(store, revision, seen).await;
                return;
            }
        }
    }
}

/// One watch over everything; it breaks off in between and goes on from what was delivered last.
#[tokio::test]
async fn a_watch_over_all_kinds_misses_nothing() {
    let Some(cluster) = shared().await else { return };
    let store = cluster.store(cluster.config()).await;
    let namespace = cluster.namespace(&store).await;
    let mut revision = store.list("/").await.unwrap().revision;
    let mut expected = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for round in 0..4 {
        let name = format!("all-{round}");
        let set = |kind: &str| json!({"kind": kind, "metadata": {"name": name}, "spec": {}});
        let handle = format!("/calico/ipam/v2/handle/{name}");
        let objects = [
            (format!("{V3}/networksets/{namespace}/{name}"), set("NetworkSet")),
            (format!("{V3}/globalnetworksets/{name}"), set("GlobalNetworkSet")),
            (handle, json!({"block": {}})),
            (format!("/tortie/kubernetes/serviceaccounts/{namespace}/{name}"), set("ServiceAccount")),
        ];
        let mut watch = begin(&store, &mut revision, &mut seen).await;
        for (key, object) in &objects {
            expected.insert(key.clone());
            store.commit(put(key, object, Precondition::Absent)).await.unwrap();
        }
        // One item only: the other kinds are still on their way when this watch is dropped.
        soon("a change", step(&store, &mut watch, &mut revision, &mut seen)).await;
    }
    let mut watch = begin(&store, &mut revision, &mut seen).await;
    let rest = async {
        while !expected.is_subset(&seen) {
            step(&store, &mut watch, &mut revision, &mut seen).await;
        }
    };
    soon("the other changes", rest).await;
    let listed: BTreeSet<String> =
        store.list("/").await.unwrap().entries.iter().map(|e| e.key.to_string()).collect();
    assert!(expected.is_subset(&listed));
}

/// `projectcalico.org/v3` as the group that stores; and kinds that come and go.
#[tokio::test]
async fn the_native_group_is_found_and_kinds_may_be_installed_later() {
    let Some(cluster) = Cluster::new(Group::Native, |_| Vec::new()).await else { return };
    let store = cluster.store(cluster.config()).await;
    assert_eq!(store.group(), tortie_store_kube::Group::V3);
    let key = format!("{V3}/globalnetworkpolicies/allow-all");
    store.commit(put(&key, &policy("allow-all"), Precondition::Absent)).await.unwrap();
    let shown = cluster.shown(&["globalnetworkpolicies.projectcalico.org", "allow-all"]);
    let (read, _) = value(&store, &key).await;
    assert_eq!(read["metadata"]["uid"], shown["metadata"]["uid"]);
    assert_eq!(shown["metadata"]["labels"]["team"], "red");
    assert_eq!(shown["metadata"]["annotations"], json!({"note": "n"}));

    let name = "clusternetworkpolicies.policy.networking.k8s.io";
    let definition = cluster.kubectl(&["get", "crd", name, "-o", "json"], "");
    let prefix = "/tortie/kubernetes/";
    let revision = store.list(prefix).await.unwrap().revision;
    let mut watch = store.watch(prefix, revision).await.unwrap();
    cluster.kubectl(&["delete", "crd", name], "");
    let lost = async { while watch.next().await.is_ok() {} };
    soon("the end of the watch", lost).await;
    let listed = async { while store.list(prefix).await.is_err() {} };
    soon("a list without the kind", listed).await;
    let revision = store.list(prefix).await.unwrap().revision;
    let mut watch = store.watch(prefix, revision).await.unwrap();
    let object = json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "c"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}});
    let key = format!("{prefix}clusternetworkpolicies/c");
    let refused = store.commit(put(&key, &object, Precondition::Absent)).await;
    assert!(
        matches!(&refused, Err(StoreError::Invalid { reason, .. }) if reason.contains("CustomResourceDefinition")),
        "{refused:?}"
    );
    cluster.kubectl(&["create", "--validate=false", "-f", "-"], &definition);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", name, "--timeout=60s"], "");
    let made = async { while store.commit(put(&key, &object, Precondition::Absent)).await.is_err() {} };
    soon("an object of the new kind", made).await;
    changes(&mut watch, &[key]).await;
}
