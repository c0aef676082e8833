//! What callers see: addresses, errors, blocks.

use crate::lab::{Death, Lab, Mortal, handle, ip, pod};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tortie_ipam::{AssignError, AssignRequest, Counts, Foreign, Ipam, Release};
use tortie_net::Family;

async fn dual(nodes: &[&str]) -> Lab {
    Lab::with(&[("v4", json!({"cidr": "10.0.0.0/16"})), ("v6", json!({"cidr": "fd00::/48"}))], nodes).await
}

/// A pool of four addresses in blocks of two, in both families.
async fn tiny(nodes: &[&str]) -> Lab {
    let four = json!({"cidr": "10.0.0.0/30", "blockSize": 31});
    let six = json!({"cidr": "fd00::/126", "blockSize": 127});
    Lab::with(&[("v4", four), ("v6", six)], nodes).await
}

async fn error(ipam: &Ipam, request: AssignRequest) -> String {
    ipam.assign(request).await.unwrap_err().to_string()
}

#[tokio::test]
async fn one_address_of_each_family_and_back() {
    let lab = dual(&["n1"]).await;
    let ipam = lab.ipam("n1");
    let addresses = ipam.assign(pod("n1", "a")).await.unwrap();
    assert_eq!(addresses.iter().map(|a| Family::of(*a)).collect::<Vec<_>>(), Family::ALL);
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert_eq!(stored.blocks_of("n1").len(), 2);
    assert_eq!(stored.held()[&handle("a")], addresses.iter().copied().collect());
    let attribute = &stored.blocks.values().next().unwrap().attributes[0];
    assert_eq!(
        serde_json::to_value(attribute).unwrap(),
        json!({"handle_id": "k8s-pod-network.a", "secondary": {"namespace": "default", "node": "n1", "pod": "a"}})
    );
    assert_eq!(ipam.release_by_handle(&handle("a")).await.unwrap(), addresses);
    assert_eq!(ipam.release_by_handle(&handle("a")).await.unwrap(), Vec::<IpAddr>::new());
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert!(stored.held().is_empty() && stored.handles.is_empty());
}

#[tokio::test]
async fn repeating_a_request_repeats_the_answer() {
    let lab = dual(&["n1"]).await;
    let ipam = lab.ipam("n1");
    let first = ipam.assign(pod("n1", "a")).await.unwrap();
    assert_eq!(ipam.assign(pod("n1", "a")).await.unwrap(), first);
    let restarted = lab.ipam("n1");
    assert_eq!(restarted.assign(pod("n1", "a")).await.unwrap(), first);
    assert_ne!(restarted.assign(pod("n1", "b")).await.unwrap(), first);
    assert_eq!(restarted.release_by_handle(&handle("a")).await.unwrap(), first);
    lab.stored().await.assert_tidy();
}

#[tokio::test]
async fn requests_together_are_one_write() {
    let lab = dual(&["n1"]).await;
    let store = Arc::new(Mortal::new(lab.store.clone(), Death::Never));
    let ipam = lab.ipam_over(store.clone(), "n1");
    ipam.assign(pod("n1", "first")).await.unwrap();
    let before = lab.store.status().unwrap().commits;
    let requests = (0..30).map(|n| {
        let ipam = ipam.clone();
        async move { ipam.assign(pod("n1", &format!("p{n}"))).await.unwrap() }
    });
    let mut tasks: tokio::task::JoinSet<Vec<IpAddr>> = requests.collect();
    let mut all = BTreeSet::new();
    while let Some(addresses) = tasks.join_next().await {
        all.extend(addresses.unwrap());
    }
    assert_eq!(all.len(), 60);
    let commits = lab.store.status().unwrap().commits - before;
    assert!(commits <= 3, "{commits} commits for 30 requests");
    lab.stored().await.assert_tidy();
}

/// The first lives of a node's pods read pools, settings and blocks, and start watches. Then nothing is read any more.
#[tokio::test]
async fn a_pods_life_is_two_writes_and_no_read() {
    let lab = dual(&["n1"]).await;
    let store = Arc::new(Mortal::new(lab.store.clone(), Death::Never));
    let ipam = lab.ipam_over(store.clone(), "n1");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let before = (store.commits.load(Ordering::SeqCst), store.reads.load(Ordering::SeqCst));
        ipam.assign(pod("n1", "a")).await.unwrap();
        ipam.release_by_handle(&handle("a")).await.unwrap();
        let after = (store.commits.load(Ordering::SeqCst), store.reads.load(Ordering::SeqCst));
        if (after.0 - before.0, after.1 - before.1) == (2, 0) {
            return;
        }
        assert!(Instant::now() < deadline, "{} commits and {} reads", after.0 - before.0, after.1 - before.1);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn blocks_fill_up_before_new_ones_are_claimed_and_then_others_lend() {
    let lab = tiny(&["n1", "n2"]).await;
    let (one, two) = (lab.ipam("n1"), lab.ipam("n2"));
    for name in ["a", "b", "c"] {
        one.assign(pod("n1", name)).await.unwrap();
    }
    assert_eq!(lab.stored().await.blocks_of("n1").len(), 4);
    // All blocks are the other node's: the last address is borrowed.
    two.assign(pod("n2", "d")).await.unwrap();
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert_eq!((stored.blocks_of("n2").len(), stored.held().len()), (0, 4));
    assert_eq!(
        error(&two, pod("n2", "e")).await,
        "no free address of family ipv4: IPPool v4 (10.0.0.0/30): 4 of 4 addresses in use in 2 blocks, 0 reserved, 0 available; add an IPPool or delete pods"
    );
    // The lender sees what was borrowed.
    one.release_by_handle(&handle("a")).await.unwrap();
    one.assign(pod("n1", "f")).await.unwrap();
    two.release_by_handle(&handle("d")).await.unwrap();
    one.assign(pod("n1", "g")).await.unwrap();
    lab.stored().await.assert_tidy();
}

#[tokio::test]
async fn a_family_that_fails_takes_nothing_of_the_other() {
    let lab = Lab::with(&[("v4", json!({"cidr": "10.0.0.0/24"}))], &["n1"]).await;
    let ipam = lab.ipam("n1");
    assert_eq!(
        error(&ipam, pod("n1", "a")).await,
        "there is no enabled IPPool of family ipv6 with blocks of /128 or larger"
    );
    assert!(lab.stored().await.held().is_empty());
    lab.pool("v6", json!({"cidr": "fd00::/127", "blockSize": 127})).await;
    for name in ["a", "b"] {
        ipam.assign(pod("n1", name)).await.unwrap();
    }
    assert!(matches!(ipam.assign(pod("n1", "c")).await, Err(AssignError::Full { family: Family::V6, .. })));
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert_eq!(stored.held().len(), 2);
}

#[tokio::test]
async fn strict_affinity_and_limits() {
    let lab = tiny(&["n1", "n2"]).await;
    lab.config(json!({"strict_affinity": true, "auto_allocate_blocks": true, "maxBlocksPerHost": 1})).await;
    let (one, two) = (lab.ipam("n1"), lab.ipam("n2"));
    for name in ["a", "b"] {
        one.assign(pod("n1", name)).await.unwrap();
    }
    assert_eq!(
        error(&one, pod("n1", "c")).await,
        "node n1 has no free address of family ipv4 and owns 1 blocks already, the most that maxBlocksPerHost allows"
    );
    lab.config(json!({"strict_affinity": true, "auto_allocate_blocks": true})).await;
    one.assign(pod("n1", "c")).await.unwrap();
    let full = error(&two, pod("n2", "d")).await;
    assert!(full.starts_with("no free address of family ipv4 in blocks of this node, and strictAffinity forbids borrowing: IPPool v4"), "{full}");
    lab.config(json!({"strict_affinity": true})).await;
    assert_eq!(
        error(&two, pod("n2", "d")).await,
        "node n2 has no free address of family ipv4, and claiming blocks is disabled (autoAllocateBlocks of the IPAM configuration)"
    );
    lab.stored().await.assert_tidy();
}

#[tokio::test]
async fn empty_blocks_of_others_are_reclaimed_when_they_are_ripe() {
    let lab = tiny(&["n1", "n2"]).await;
    lab.config(json!({"strict_affinity": true, "auto_allocate_blocks": true})).await;
    let (one, two) = (lab.ipam("n1"), lab.ipam("n2"));
    for name in ["a", "b", "c"] {
        one.assign(pod("n1", name)).await.unwrap();
    }
    one.release_by_handle(&handle("c")).await.unwrap();
    assert!(matches!(two.assign(pod("n2", "d")).await, Err(AssignError::Full { .. })));
    lab.pass(61);
    two.assign(pod("n2", "d")).await.unwrap();
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert_eq!((stored.blocks_of("n1").len(), stored.blocks_of("n2").len()), (2, 2));
    // The node that lost its block notices.
    assert!(matches!(one.assign(pod("n1", "e")).await, Err(AssignError::Full { .. })));
    lab.stored().await.assert_tidy();
}

#[tokio::test]
async fn wanted_addresses() {
    let lab = dual(&["n1", "n2"]).await;
    lab.pool("lb", json!({"cidr": "10.9.0.0/24", "allowedUses": ["LoadBalancer"]})).await;
    let (one, two) = (lab.ipam("n1"), lab.ipam("n2"));
    let want = |node: &str, name: &str, addresses: &[&str]| AssignRequest {
        wanted: addresses.iter().map(|a| ip(a)).collect(),
        ..pod(node, name)
    };
    let exact = one.assign(want("n1", "a", &["10.0.7.7", "fd00::77"])).await.unwrap();
    assert_eq!(exact, [ip("10.0.7.7"), ip("fd00::77")]);
    assert_eq!(one.assign(want("n1", "a", &["10.0.7.7", "fd00::77"])).await.unwrap(), exact);
    assert_eq!(
        error(&two, want("n2", "b", &["10.0.7.7"])).await,
        "the requested address 10.0.7.7 is taken by pod default/a on node n1 (handle k8s-pod-network.a)"
    );
    assert_eq!(
        error(&two, want("n2", "b", &["10.7.0.1"])).await,
        "the requested address 10.7.0.1 is not in an enabled IPPool"
    );
    assert_eq!(
        error(&two, want("n2", "b", &["10.9.0.1"])).await,
        "the requested address 10.9.0.1 is in IPPool lb, whose allowedUses do not include Workload"
    );
    // In a block of the other node, with the other family chosen freely.
    let borrowed = two.assign(want("n2", "b", &["10.0.7.8"])).await.unwrap();
    assert_eq!((borrowed[0], borrowed.len()), (ip("10.0.7.8"), 2));
    lab.config(json!({"strict_affinity": true, "auto_allocate_blocks": true})).await;
    // The writer hears of it through its watch; what it grants may be based on settings a moment old.
    let heard = async {
        while !two.facts().await.unwrap().config.strict_affinity {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap();
    assert_eq!(
        error(&two, want("n2", "c", &["10.0.7.9"])).await,
        "the requested address 10.0.7.9 is in block 10.0.7.0/26 of host:n1, and strictAffinity forbids borrowing it"
    );
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert_eq!(stored.held().len(), 2);
    two.release_by_handle(&handle("b")).await.unwrap();
    lab.stored().await.assert_tidy();
}

#[tokio::test]
async fn pools_are_chosen_by_selectors_and_wishes() {
    let lab = Lab::with(&[], &[]).await;
    lab.pool("a", json!({"cidr": "10.1.0.0/16", "nodeSelector": "zone == 'a'"})).await;
    lab.pool("blue", json!({"cidr": "10.2.0.0/16", "namespaceSelector": "team == 'blue'"})).await;
    lab.pool("manual", json!({"cidr": "10.3.0.0/16", "assignmentMode": "Manual"})).await;
    let v4 = |name: &str| AssignRequest { counts: Counts { v4: 1, v6: 0 }, ..pod("n1", name) };
    let ipam = lab.ipam("n1");
    assert_eq!(
        error(&ipam, v4("p")).await,
        "no IPPool of family ipv4 may be used on node n1 (which has no Node object, so no labels): \
         IPPool a (10.1.0.0/16): nodeSelector \"zone == 'a'\" does not match the node's labels; \
         IPPool blue (10.2.0.0/16): namespaceSelector \"team == 'blue'\" does not match the namespace's labels; \
         IPPool manual (10.3.0.0/16): assignmentMode is Manual, so it must be asked for"
    );
    lab.node("n1", json!({"zone": "a"})).await;
    assert!(ipam.assign(v4("p")).await.unwrap()[0].to_string().starts_with("10.1."));
    let blue = AssignRequest {
        namespace_labels: Some([("team".to_owned(), "blue".to_owned())].into()),
        pools: vec!["manual".into()],
        ..v4("q")
    };
    assert!(ipam.assign(blue.clone()).await.unwrap()[0].to_string().starts_with("10.3."));
    lab.node("n1", json!({})).await;
    let blue = AssignRequest { pools: Vec::new(), ..AssignRequest { handle: handle("r"), ..blue } };
    // Labels are seen through a watch: a moment later.
    let got = ipam.assign(blue).await.unwrap()[0].to_string();
    assert!(got.starts_with("10.1.") || got.starts_with("10.2."), "{got}");
    assert_eq!(
        error(&ipam, AssignRequest { pools: vec!["nope".into()], ..v4("s") }).await,
        "the requested IPPool nope does not exist (there are: a; blue; manual)"
    );
}

#[tokio::test]
async fn a_pool_that_leaves_the_node_takes_its_empty_blocks_along() {
    let lab = Lab::with(&[("p", json!({"cidr": "10.0.0.0/16", "nodeSelector": "zone == 'a'"}))], &[]).await;
    lab.node("n1", json!({"zone": "a"})).await;
    let v4 = |name: &str| AssignRequest { counts: Counts { v4: 1, v6: 0 }, ..pod("n1", name) };
    lab.ipam("n1").assign(v4("p")).await.unwrap();
    lab.node("n1", json!({"zone": "b"})).await;
    lab.ipam("n1").release_by_handle(&handle("p")).await.unwrap();
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert!(stored.blocks.is_empty());
}

/// The blocks that a node has, as text.
async fn blocks_of(lab: &Lab, node: &str) -> Vec<String> {
    lab.stored().await.blocks_of(node).iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn blocks_are_not_claimed_in_networks_of_others() {
    let lab = tiny(&["n1"]).await;
    let ipam = lab.ipam("n1");
    let networks = ["10.0.0.0/31", "fd00::2/127"].map(|n| n.parse().unwrap()).to_vec();
    ipam.set_foreign("test", Foreign { networks, addresses: vec![ip("10.0.0.2")] });
    let addresses = ipam.assign(pod("n1", "a")).await.unwrap();
    assert_eq!(blocks_of(&lab, "n1").await, ["10.0.0.2/31", "fd00::/127"]);
    assert_eq!(addresses[0], ip("10.0.0.3"), "10.0.0.2 is somebody's");
    let full = error(&ipam, pod("n1", "b")).await;
    assert!(full.contains("no free address of family ipv4"), "{full}");
    // A part of a block is enough; what the node has already is used on.
    let everything = ["10.0.0.0/8", "fd00::/16"].map(|n| n.parse().unwrap()).to_vec();
    ipam.set_foreign("test", Foreign { networks: everything, addresses: Vec::new() });
    assert_eq!(ipam.assign(pod("n1", "b")).await.unwrap()[0], ip("10.0.0.2"));
    let full = error(&ipam, pod("n1", "c")).await;
    assert!(full.contains("no free address"), "{full}");
    // Over again.
    ipam.set_foreign("test", Foreign::default());
    ipam.assign(pod("n1", "c")).await.unwrap();
    assert_eq!(blocks_of(&lab, "n1").await.len(), 4);
}

#[tokio::test]
async fn reserved_addresses_are_left_out() {
    let lab = tiny(&["n1"]).await;
    let reservation = json!({"metadata": {"name": "r"}, "spec": {"reservedCIDRs": ["10.0.0.0/31", "10.0.0.2", "fd00::/127"]}});
    lab.put("/calico/resources/v3/projectcalico.org/ipreservations/r", reservation).await;
    let ipam = lab.ipam("n1");
    let addresses = ipam.assign(pod("n1", "a")).await.unwrap();
    assert_eq!(addresses[0], ip("10.0.0.3"));
    let full = error(&ipam, pod("n1", "b")).await;
    assert!(full.contains("1 of 4 addresses in use in 1 blocks, 3 reserved, 0 available"), "{full}");
    assert!(ipam.usage().await.unwrap().iter().all(|u| u.capacity == 4));
}

#[tokio::test]
async fn cooldown_delays_use() {
    let lab = Lab::with(&[("v4", json!({"cidr": "10.0.0.0/31", "blockSize": 31}))], &["n1"]).await;
    lab.config(json!({"auto_allocate_blocks": true, "ipCooldownSeconds": 30})).await;
    let v4 = |name: &str| AssignRequest { counts: Counts { v4: 1, v6: 0 }, ..pod("n1", name) };
    let ipam = lab.ipam("n1");
    for name in ["a", "b"] {
        ipam.assign(v4(name)).await.unwrap();
    }
    ipam.release_by_handle(&handle("a")).await.unwrap();
    assert!(matches!(ipam.assign(v4("c")).await, Err(AssignError::Full { .. })));
    lab.pass(31);
    ipam.assign(v4("c")).await.unwrap();
    ipam.release_by_handle(&handle("b")).await.unwrap();
    lab.pass(31);
    // Without any assignment, reconciliation writes down that the address is free.
    let mark = ipam.mark().await.unwrap();
    ipam.reconcile(mark, [handle("c")].into()).await.unwrap();
    let stored = lab.stored().await;
    assert_eq!(stored.blocks.values().next().unwrap().unallocated.len(), 1);
}

#[tokio::test]
async fn release_of_single_addresses() {
    let lab = dual(&["n1", "n2"]).await;
    let (one, two) = (lab.ipam("n1"), lab.ipam("n2"));
    let addresses = one.assign(pod("n1", "a")).await.unwrap();
    let release =
        |addr, handle: Option<&str>, sequence| Release { addr, handle: handle.map(Into::into), sequence };
    let refused =
        two.release_ips(vec![release(addresses[0], Some("k8s-pod-network.b"), None)]).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to handle"), "{refused}");
    assert!(two.release_ips(vec![release(addresses[0], None, Some(1))]).await.is_err());
    let free =
        two.release_ips(vec![release(addresses[0], None, None), release(ip("10.0.200.1"), None, None)]).await;
    assert_eq!(free.unwrap(), [ip("10.0.200.1")]);
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert_eq!(stored.held()[&handle("a")], [addresses[1]].into());
    // The owner repairs what was taken from its pod when it asks again.
    assert_eq!(one.assign(pod("n1", "a")).await.unwrap().len(), 2);
    lab.stored().await.assert_tidy();
}

#[tokio::test]
async fn reconcile_releases_what_is_gone_and_nothing_else() {
    let lab = dual(&["n1", "n2"]).await;
    let (one, two) = (lab.ipam("n1"), lab.ipam("n2"));
    for name in ["live", "gone"] {
        one.assign(pod("n1", name)).await.unwrap();
    }
    two.assign(pod("n2", "other")).await.unwrap();
    let tunnel = [("node", "n1"), ("type", "vxlanTunnelAddress")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    one.assign(AssignRequest { attrs: tunnel.into(), ..pod("n1", "tunnel") }).await.unwrap();
    let mark = one.mark().await.unwrap();
    one.assign(pod("n1", "new")).await.unwrap();
    let done = one.reconcile(mark, [handle("live")].into()).await.unwrap();
    assert_eq!(done.released.keys().cloned().collect::<Vec<_>>(), [handle("gone")]);
    let stored = lab.stored().await;
    stored.assert_tidy();
    let left: Vec<_> = stored.held().into_keys().collect();
    assert_eq!(left, [handle("live"), handle("new"), handle("other"), handle("tunnel")]);
    // Later the new one is gone too, if it is not said to live.
    let mark = one.mark().await.unwrap();
    let done = one.reconcile(mark, [handle("live")].into()).await.unwrap();
    assert_eq!(done.released.keys().cloned().collect::<Vec<_>>(), [handle("new")]);
}

/// Pods that were there before us: nobody knows by which container they have their addresses.
#[tokio::test]
async fn an_address_in_use_keeps_its_handle() {
    let lab = tiny(&["n1"]).await;
    let ipam = lab.ipam("n1");
    let kept = ipam.assign(pod("n1", "kept")).await.unwrap();
    ipam.assign(pod("n1", "gone")).await.unwrap();
    let mark = ipam.mark().await.unwrap();
    let in_use = kept.first().copied().into_iter().collect();
    let done = ipam.reconcile_sparing(mark, [].into(), in_use).await.unwrap();
    assert_eq!(done.released.keys().cloned().collect::<Vec<_>>(), [handle("gone")]);
    assert!(done.unrecorded.is_empty());
    let left: Vec<_> = lab.stored().await.held().into_keys().collect();
    assert_eq!(left, [handle("kept")], "with all its addresses");
    let strange = ip("10.99.0.7");
    let mark = ipam.mark().await.unwrap();
    let done = ipam.reconcile_sparing(mark, [handle("kept")].into(), [strange].into()).await.unwrap();
    assert_eq!(done.unrecorded, [strange]);
    assert_eq!(ipam.assign(pod("n1", "kept")).await.unwrap(), kept);
}

#[tokio::test]
async fn empty_blocks_are_given_back_when_told() {
    let lab = tiny(&["n1"]).await;
    let ipam = lab.ipam("n1");
    for name in ["a", "b", "c"] {
        ipam.assign(pod("n1", name)).await.unwrap();
    }
    ipam.release_by_handle(&handle("c")).await.unwrap();
    let released = ipam.release_empty_blocks().await.unwrap();
    assert_eq!(released.len(), 2);
    let stored = lab.stored().await;
    stored.assert_tidy();
    assert_eq!(stored.blocks.len(), 2);
    ipam.assign(pod("n1", "d")).await.unwrap();
    lab.stored().await.assert_tidy();
}

#[tokio::test]
async fn bad_objects_harm_nobody_else() {
    let lab = dual(&["n1"]).await;
    lab.pool("broken", json!({"cidr": "10.0.0/8"})).await;
    lab.pool("overlap", json!({"cidr": "10.0.128.0/17", "disabled": true})).await;
    lab.put(
        "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26",
        json!({"cidr": "10.0.0.0/26", "allocations": [7]}),
    )
    .await;
    lab.put("/calico/ipam/v2/handle/k8s-pod-network.bad", json!([1])).await;
    let ipam = lab.ipam("n1");
    ipam.assign(pod("n1", "a")).await.unwrap();
    let bad = error(&ipam, pod("n1", "bad")).await;
    assert!(bad.starts_with("/calico/ipam/v2/handle/k8s-pod-network.bad holds no valid handle"), "{bad}");
    ipam.assign(pod("n1", "b")).await.unwrap();
    let problems = ipam.facts().await.unwrap().problems.join("\n");
    assert!(
        problems.contains("IPPool broken: spec.cidr") && problems.contains("IPPool v4 (10.0.0.0/16)"),
        "{problems}"
    );
}

#[tokio::test]
async fn handles_must_be_names() {
    let lab = dual(&["n1"]).await;
    let ipam = lab.ipam("n1");
    for bad in ["", "a/b"] {
        let request = AssignRequest { handle: bad.into(), ..pod("n1", "a") };
        assert!(matches!(ipam.assign(request).await, Err(AssignError::Handle { .. })), "{bad}");
        assert!(ipam.release_by_handle(&bad.into()).await.is_err(), "{bad}");
    }
    assert!(lab.stored().await.handles.is_empty());
}

#[tokio::test]
async fn a_changed_block_size_makes_no_overlaps() {
    let lab = Lab::with(&[("p", json!({"cidr": "10.0.0.0/28", "blockSize": 30}))], &["n1"]).await;
    let v4 = |name: &str| AssignRequest { counts: Counts { v4: 1, v6: 0 }, ..pod("n1", name) };
    let ipam = lab.ipam("n1");
    ipam.assign(v4("a")).await.unwrap();
    lab.pool("p", json!({"cidr": "10.0.0.0/28", "blockSize": 29})).await;
    let ipam = lab.ipam("n1");
    for n in 0..11 {
        ipam.assign(v4(&format!("p{n}"))).await.unwrap();
    }
    // Four addresses beside the old block stay out of reach of the new size.
    assert!(matches!(ipam.assign(v4("z")).await, Err(AssignError::Full { .. })));
    lab.stored().await.assert_tidy();
    let wanted: Vec<IpAddr> = lab.stored().await.held()[&handle("a")].iter().copied().collect();
    let taken = error(&ipam, AssignRequest { wanted, ..v4("y") }).await;
    assert!(taken.contains("is taken by pod default/a"), "{taken}");
}

#[tokio::test]
async fn a_datastore_that_is_away_is_said_so_and_forgotten() {
    let lab = dual(&["n1"]).await;
    let ipam = lab.ipam_over(Arc::new(Mortal::new(lab.store.clone(), Death::Before(1))), "n1");
    let error = ipam.assign(pod("n1", "a")).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        "cannot write /calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26"
            .replace("10.0.0.0-26", &block_in(&error.to_string()))
    );
    assert!(lab.stored().await.blocks.is_empty());
}

/// The last segment of a path in a message.
fn block_in(message: &str) -> String {
    message.rsplit('/').next().unwrap_or_default().to_owned()
}
