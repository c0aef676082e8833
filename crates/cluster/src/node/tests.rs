//! A node's start on a real embedded store.

use super::*;
use crate::detect::tests::{Fake, machine};
use std::sync::Arc;
use tortie_store::{Durability, Engine, EngineConfig, Op, Precondition};

struct Cluster {
    store: Arc<Engine>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store.redb");
        let config = EngineConfig { durability: Durability::Process, ..EngineConfig::new(file) };
        let engine = Engine::open(config).unwrap();
        Self { store: Arc::new(engine), _directory: directory }
    }

    async fn start_on(
        &self,
        name: &str,
        variables: &[(&str, &str)],
        machine: &Fake,
    ) -> Result<Prepared, NodeError> {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let spec = NodeSpec::from_environment(name, &get).unwrap();
        let pools = PoolWish::from_environment(&get).unwrap();
        let identity = Identity { version: "v9".to_owned(), cluster_type: "k8s".to_owned() };
        prepare_node(&*self.store, &spec, &pools, &identity, machine).await
    }

    async fn start(&self, name: &str, variables: &[(&str, &str)]) -> Result<Prepared, NodeError> {
        self.start_on(name, variables, &machine()).await
    }

    async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let kind = v3::by_kind(kind).unwrap();
        crate::object::get(&*self.store, kind, name).await.unwrap().map(|(value, _)| value)
    }

    async fn put(&self, kind: &str, name: &str, object: &Value) {
        let key = v3::by_kind(kind).unwrap().path("", name);
        let value = object.to_string().into();
        self.store.commit(vec![Op::Put { key, value, when: Precondition::Any, ttl: None }]).await.unwrap();
    }

    async fn revision(&self) -> u64 {
        self.store.list("/none").await.unwrap().revision
    }
}

const BOTH: [(&str, &str); 2] = [("IP", "autodetect"), ("IP6", "autodetect")];

#[tokio::test]
async fn a_fresh_cluster_has_all_that_a_node_needs_and_a_restart_writes_nothing() {
    let cluster = Cluster::new();
    let done = cluster
        .start("n1", &[&BOTH[..], &[("AS", "64513"), ("CALICO_K8S_NODE_REF", "k1")]].concat())
        .await
        .unwrap();
    assert_eq!(done.addresses, ["10.1.0.9/24", "fd00:1::9/64"]);
    let node = cluster.get("Node", "n1").await.unwrap();
    assert_eq!(
        node["spec"]["bgp"],
        json!({"ipv4Address": "10.1.0.9/24", "ipv6Address": "fd00:1::9/64", "asNumber": 64513})
    );
    assert_eq!(node["spec"]["orchRefs"], json!([{"nodeName": "k1", "orchestrator": "k8s"}]));
    assert_eq!(node["spec"]["interfaces"][1]["name"], "eth1");
    assert!(
        !text(&node, "/metadata/uid").is_empty() && !text(&node, "/metadata/creationTimestamp").is_empty()
    );
    for (kind, name) in [
        ("ClusterInformation", "default"),
        ("Tier", "default"),
        ("Tier", "kube-admin"),
        ("Tier", "kube-baseline"),
        ("IPPool", "default-ipv4-ippool"),
        ("IPPool", "default-ipv6-ippool"),
        ("FelixConfiguration", "default"),
        ("FelixConfiguration", "node.n1"),
        ("BGPConfiguration", "default"),
        ("IPAMConfiguration", "default"),
    ] {
        let object = cluster.get(kind, name).await;
        let problems =
            tortie_api::validate::validate_value(&object.unwrap(), tortie_api::validate::Options::ALL);
        assert_eq!(problems, [], "{kind}({name})");
    }
    let information = cluster.get("ClusterInformation", "default").await.unwrap();
    assert_eq!(
        (text(&information, "/spec/calicoVersion"), text(&information, "/spec/clusterType")),
        ("v9", "k8s")
    );
    let revision = cluster.revision().await;
    cluster
        .start("n1", &[&BOTH[..], &[("AS", "64513"), ("CALICO_K8S_NODE_REF", "k1")]].concat())
        .await
        .unwrap();
    assert_eq!(cluster.revision().await, revision);
    // What a user wrote into the Node stays.
    let mut edited = cluster.get("Node", "n1").await.unwrap();
    edited["metadata"]["labels"] = json!({"zone": "a"});
    edited["spec"]["bgp"]["routeReflectorClusterID"] = json!("244.0.0.1");
    cluster.put("Node", "n1", &edited).await;
    cluster.start("n1", &[("IP", "10.1.0.9"), ("IP6", "none")]).await.unwrap();
    let now = cluster.get("Node", "n1").await.unwrap();
    assert_eq!(
        (&now["metadata"]["labels"]["zone"], &now["spec"]["bgp"]),
        (&json!("a"), &edited["spec"]["bgp"])
    );
}

#[tokio::test]
async fn many_nodes_that_start_at_once_agree() {
    let cluster = Arc::new(Cluster::new());
    let starts: Vec<_> = (0..16)
        .map(|n| {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                let (v4, v6) = (format!("10.2.0.{n}/24"), format!("fd00:2::{n}/64"));
                cluster.start(&format!("n{n}"), &[("IP", v4.as_str()), ("IP6", v6.as_str())]).await.unwrap();
                cluster.get("ClusterInformation", "default").await.unwrap()["spec"]["clusterGUID"].clone()
            })
        })
        .collect();
    let mut guids = Vec::new();
    for start in starts {
        guids.push(start.await.unwrap());
    }
    guids.dedup();
    assert_eq!(guids.len(), 1, "one cluster, one identity");
    let pools = cluster.store.list(&v3::by_kind("IPPool").unwrap().list_prefix(None)).await.unwrap();
    assert_eq!(pools.entries.len(), 2);
}

#[tokio::test]
async fn an_address_of_another_node_is_not_taken() {
    let cluster = Cluster::new();
    for (family, variable) in [(Family::V4, "IP"), (Family::V6, "IP6")] {
        let address = if family == Family::V4 { "10.0.0.9/24" } else { "fd00::9/64" };
        let (first, second) = (format!("first-{family}"), format!("second-{family}"));
        let only = |value: &'static str| {
            [("IP", "none"), ("IP6", "none")].map(|(n, v)| (n, if n == variable { value } else { v }))
        };
        cluster.start(&first, &only(address)).await.unwrap();
        let error = cluster.start(&second, &only(address)).await.unwrap_err();
        assert!(
            matches!(&error, NodeError::Conflict { other, address } if *other == first && Family::of(*address) == family),
            "{error}"
        );
        assert_eq!(cluster.get("Node", &second).await, None, "nothing is written");
        // Whoever looks for its address, and finds one that is taken, gives its old one free.
        let method =
            if family == Family::V4 { "IP_AUTODETECTION_METHOD" } else { "IP6_AUTODETECTION_METHOD" };
        let mut detect = only("autodetect").to_vec();
        detect.push((method, "interface=eth1"));
        cluster.start(&second, &detect).await.unwrap();
        *detect.last_mut().unwrap() = (method, "interface=eth0");
        cluster.start(&second, &detect).await.unwrap_err();
        let node = cluster.get("Node", &second).await.unwrap();
        assert_eq!(plan::address(&node, family), "");
        let unchecked = [&only(address)[..], &[("DISABLE_NODE_IP_CHECK", "true")]].concat();
        cluster.start(&second, &unchecked).await.unwrap();
        let key = v3::by_kind("Node").unwrap().path("", &first);
        let gone = Op::Delete { key, when: Precondition::Any };
        cluster.store.commit(vec![gone]).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_written_while_the_datastore_is_locked() {
    let cluster = Cluster::new();
    let kind = v3::by_kind("ClusterInformation").unwrap();
    let mut locked = crate::object::new(kind, "default", json!({"datastoreReady": false}));
    cluster.put("ClusterInformation", "default", &locked).await;
    let revision = cluster.revision().await;
    assert!(matches!(cluster.start("n1", &BOTH).await, Err(NodeError::Locked)));
    assert_eq!(cluster.revision().await, revision);
    locked["spec"]["datastoreReady"] = true.into();
    cluster.put("ClusterInformation", "default", &locked).await;
    cluster.start("n1", &BOTH).await.unwrap();
}

#[tokio::test]
async fn what_cannot_work_is_named() {
    let cluster = Cluster::new();
    let nothing = Fake { interfaces: vec![("lo", &["127.0.0.1/8", "::1/128"])], reach: "" };
    let error = cluster.start_on("n1", &[], &nothing).await.unwrap_err().to_string();
    assert!(error.contains("IP_AUTODETECTION_METHOD") && error.contains("lo"), "{error}");
    let error = cluster.start_on("n1", &[("IP", "none"), ("IP6", "autodetect")], &nothing).await.unwrap_err();
    assert!(error.to_string().contains("set IP6, "), "{error}");
    assert!(matches!(cluster.start("n1", &[("IP", "none")]).await, Err(NodeError::NoAddress { .. })));
    let done = cluster.start("n1", &[("IP", "192.0.2.1")]).await.unwrap();
    assert_eq!(done.addresses, ["192.0.2.1/32"]);
    assert!(
        done.notes.iter().any(|n| n.contains("192.0.2.1 from IP is on no interface")),
        "{:?}",
        done.notes
    );
    // Policy alone needs no addresses.
    let done = cluster.start_on("n2", &[("CALICO_NETWORKING_BACKEND", "none")], &nothing).await.unwrap();
    assert_eq!(done.addresses, Vec::<String>::new());
    let wrong = |variables: &'static [(&'static str, &'static str)]| {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        NodeSpec::from_environment("n", &get).unwrap_err().len()
    };
    assert_eq!(wrong(&[("IP", "fd00::1"), ("IP6", "10.0.0.1"), ("AS", "x")]), 3);
    assert_eq!(wrong(&[("IP", "autodetect"), ("IP_AUTODETECTION_METHOD", "guess")]), 1);
    cluster.put("Node", "n3", &json!("nonsense")).await;
    assert!(matches!(cluster.start("n3", &BOTH).await, Err(NodeError::Object(ObjectError::Corrupt { .. }))));
}

#[test]
fn the_subnets_that_kubeadm_was_given_are_found() {
    let text =
        "networking:\n  dnsDomain: cluster.local\n  podSubnet: 10.244.0.0/16,fd44::/56\n  serviceSubnet: x\n";
    assert_eq!(pod_subnets(text), ["10.244.0.0/16", "fd44::/56"]);
    assert!(pod_subnets("kind: ClusterConfiguration").is_empty());
}
