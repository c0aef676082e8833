//! What address management holds against what is used, leaks, and pools that are cut.

use crate::bench::{Bench, on_each};
use serde_json::{Value, json};

const BLOCK: &str = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30";

/// A block of four: the first address is used by a pod, the second leaked, the third cools down.
fn fill(b: &Bench) {
    let allocation = |handle: &str| json!({"handle_id": handle, "secondary": {"node": "n1", "namespace": "shop", "pod": handle}});
    let mut cooling = json!({"handle_id": null, "secondary": {}});
    cooling["releasedAt"] = "2020-01-01T00:00:00Z".into();
    b.put(
        BLOCK,
        &json!({
            "cidr": "10.0.0.0/30", "affinity": "host:n1", "allocations": [0, 1, 2, null], "unallocated": [3],
            "attributes": [allocation("live"), allocation("gone"), cooling],
            "sequenceNumber": 7, "sequenceNumberForAllocation": {"0": 5, "1": 6}, "deleted": false,
        }),
    );
    for handle in ["live", "gone"] {
        b.put(
            &format!("/calico/ipam/v2/handle/{handle}"),
            &json!({"block": {"10.0.0.0/30": 1}, "deleted": false}),
        );
    }
    b.put("/calico/ipam/v2/handle/empty", &json!({"block": {}, "deleted": false}));
    b.put(
        "/tortie/kubernetes/pods/shop/live",
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "live", "namespace": "shop",
            "annotations": {"cni.projectcalico.org/podIPs": "10.0.0.0/32,fd00::1/128"}}}),
    );
    b.ok(
        "create -f -",
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/24, blockSize: 30}\n",
    );
}

#[test]
fn leaks_are_reported_and_released() {
    on_each(|b| {
        fill(b);
        b.ok("datastore migrate lock", "");
        let report = b.directory().join("report.json");
        let report = report.to_str().unwrap();
        let told = b.ok(&format!("ipam check --show-problem-ips -o {report}"), "");
        for line in [
            "Found 1 IPAM blocks.\n",
            "IPAM blocks record 3 allocations.\n",
            "  10.0.0.1 leaked; attrs Main:gone Extra:namespace=shop,node=n1,pod=gone\n",
            "  n1 has 3 allocations\n",
            "Found 0 invalid IPAMBlocks.\n",
            "Found 1 IPs that are allocated in IPAM but not actually in use.\n",
            "  fd00::1 in use by Pod(shop/live) is not in any active IP pool.\n",
            "Found 1 handles with no matching IPs (and 2 handles with matches).\n",
            "Check complete; found 3 problems.\n",
        ] {
            assert!(told.contains(line), "{}: {line}: {told}", b.name);
        }
        let stored: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        assert_eq!(stored["allocations"]["10.0.0.1"][0]["inUse"], false);
        assert_eq!(stored["allocations"]["10.0.0.0"][0]["owners"], json!(["Pod(shop/live)"]));
        assert_eq!(stored["leakedHandles"][0]["ID"], "empty");

        let told = b.ok(&format!("ipam release --from-report {report}"), "");
        assert!(told.contains("Released 1 IPs successfully\n"), "{told}");
        assert!(told.contains("Released 1 handles; 0 skipped; 0 errors.\n"), "{told}");
        let block = b.stored(BLOCK).unwrap();
        assert_eq!(
            (&block["allocations"][0], &block["allocations"][1]),
            (&json!(0), &Value::Null),
            "{block}"
        );
        assert!(
            b.stored("/calico/ipam/v2/handle/gone").is_none()
                && b.stored("/calico/ipam/v2/handle/live").is_some()
        );
        assert!(
            b.ok("ipam check", "")
                .contains("Found 0 IPs that are allocated in IPAM but not actually in use.\n")
        );
    });
}

#[test]
fn reports_need_the_lock_and_their_cluster() {
    on_each(|b| {
        fill(b);
        let report = b.directory().join("report.json");
        let report = report.to_str().unwrap();
        b.ok(&format!("ipam check -o {report}"), "");
        b.fails(&format!("ipam release --from-report {report}"), "", "data store is not locked");
        let mut other: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        other["clusterGUID"] = "other".into();
        std::fs::write(report, other.to_string()).unwrap();
        b.fails(&format!("ipam release --force --from-report {report}"), "", "mismatched cluster GUID");
    });
}

#[test]
fn a_pool_is_split_while_locked() {
    on_each(|b| {
        fill(b);
        b.fails("ipam split 4 --name p", "", "datastore is not locked");
        b.ok("datastore migrate lock", "");
        b.fails("ipam split 3 --name p", "", "not a valid power of 2");
        b.fails("ipam split 4 --name q", "", "unable to find IP pool with name q");
        b.fails("ipam split 4", "", "no name or CIDR provided");
        let told = b.ok("ipam split 2 --cidr 10.0.0.0/24", "");
        assert!(told.starts_with("IP Pool p was successfully split into 2 smaller pools."), "{told}");
        assert!(told.contains("Created split-p-1 with CIDR 10.0.0.128/25.\n"), "{told}");
        let pools = b.ok("get ippool -o json", "");
        let pools: Value = serde_json::from_str(&pools).unwrap();
        let names: Vec<&str> = pools["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|p| p["metadata"]["name"].as_str())
            .collect();
        assert_eq!(names, ["split-p-0", "split-p-1"]);
        assert_eq!(pools["items"][0]["spec"]["blockSize"], 30);
    });
}

#[test]
fn balanced_services_use_addresses_and_broken_blocks_are_told() {
    on_each(|b| {
        fill(b);
        b.ok(
            "create -f -",
            "apiVersion: projectcalico.org/v3\nkind: KubeControllersConfiguration\nmetadata: {name: default}\n\
             spec: {controllers: {loadBalancer: {assignIPs: AllServices}}}\n",
        );
        b.put(
            "/tortie/kubernetes/services/shop/web",
            &json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}}),
        );
        b.put(
            "/calico/ipam/v2/assignment/ipv6/block/fd00::-127",
            &json!({"cidr": "fd00::/127", "affinity": null, "allocations": [null, null], "unallocated": [0, 0],
                "attributes": []}),
        );
        let told = b.ok("ipam check --show-all-ips", "");
        for line in [
            " IPAM block fd00::/127 affinity=<none>:\n",
            "Found 1 service load balancer(s).\n",
            "  10.0.0.1 belongs to web\n",
            "Found 0 IPs that are allocated in IPAM but not actually in use.\n",
            "  IPAMBlock fd00::/127 is invalid: ordinal 0 appears more than once in Unallocated array\n",
        ] {
            assert!(told.contains(line), "{}: {line}: {told}", b.name);
        }
    });
}

#[test]
fn borrowed_addresses_are_listed() {
    on_each(|b| {
        fill(b);
        let mut block = b.stored(BLOCK).unwrap();
        block["affinity"] = "host:n2".into();
        b.put(BLOCK, &block);
        let told = b.ok("ipam show --show-borrowed", "");
        assert!(
            told.contains("| 10.0.0.0 | n1             | 10.0.0.0/30 | n2          | pod  | shop/live    |"),
            "{told}"
        );
        assert!(
            told.contains("Note: found 1 IP allocations without an explicit node association."),
            "{told}"
        );
    });
}

#[test]
fn blocks_outlive_their_pool() {
    on_each(|b| {
        fill(b);
        let with = b.ok("ipam show --show-blocks", "");
        assert_eq!(with.matches("10.0.0.0/30").count(), 1, "{with}");
        b.ok("delete ippool p", "");
        let without = b.ok("ipam show --show-blocks", "");
        assert!(without.contains("10.0.0.0/30") && !without.contains("10.0.0.0/24"), "{without}");
        assert!(!b.ok("ipam show", "").contains("10.0.0.0/30"));
    });
}
