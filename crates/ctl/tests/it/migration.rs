//! A datastore moves into another one, and old names of policies go.

use crate::bench::{Bench, on_each};
use serde_json::{Value, json};

const V3: &str = "/calico/resources/v3/projectcalico.org";

/// A cluster whose node has another name in Kubernetes.
fn fill(b: &Bench) {
    b.ok(
        "create -f -",
        "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: old}\n\
         spec: {orchRefs: [{orchestrator: k8s, nodeName: new}]}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: ops}\nspec: {order: 7}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: ops.web, namespace: shop}\n\
         spec: {tier: ops, selector: all(), ingress: [{action: Allow, source: {nets: ['fd00::/8']}}]}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: StagedNetworkPolicy\nmetadata: {name: web, namespace: shop}\n\
         spec: {selector: all()}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: node.old}\n\
         spec: {logSeverityScreen: Info}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: six}\nspec: {cidr: 'fd00:1::/64', blockSize: 127}\n",
    );
    b.put(
        "/calico/ipam/v2/assignment/ipv6/block/fd00:1::-127",
        &json!({
            "cidr": "fd00:1::/127", "affinity": "host:old", "allocations": [0, null], "unallocated": [1],
            "attributes": [{"handle_id": "vxlan-v6-tunnel-addr-old", "secondary": {"node": "old"}}],
            "sequenceNumber": 1, "sequenceNumberForAllocation": {"0": 0}, "deleted": false,
        }),
    );
    b.put(
        "/calico/ipam/v2/host/old/ipv6/block/fd00:1::-127",
        &json!({"state": "confirmed", "deleted": false}),
    );
    b.put(
        "/calico/ipam/v2/handle/vxlan-v6-tunnel-addr-old",
        &json!({"block": {"fd00:1::/127": 1}, "deleted": false}),
    );
    b.put(
        &format!("{V3}/networkpolicies/shop/knp.default.theirs"),
        &json!({"kind": "NetworkPolicy", "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": "knp.default.theirs", "namespace": "shop"}, "spec": {"selector": "all()"}}),
    );
}

#[test]
fn an_export_is_what_an_import_takes() {
    on_each(|from| {
        fill(from);
        from.fails(
            "datastore migrate export",
            "",
            "datastore is not locked. Run the `calicoctl datastore migrate lock`",
        );
        from.ok("datastore migrate lock", "");
        let file = from.ok("datastore migrate export", "");
        on_each(|to| {
            to.ok("datastore migrate import --dry-run --any-datastore -f -", &file);
            assert_eq!(to.keys(), Vec::<String>::new());
            let report = to.directory().join("report.json");
            let told = to.ok(
                &format!("datastore migrate import --any-datastore -f - --report {}", report.display()),
                &file,
            );
            assert!(told.starts_with("Datastore locked.\nSuccessfully applied 9 resource(s)\n"), "{told}");
            assert!(told.contains("Importing IPAM resources\n"), "{told}");
            let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
            assert_eq!(report["IPAM handles"], json!({"found": 1, "written": 1, "skipped": 0, "errors": []}));
            let id =
                |b: &Bench| b.stored(&format!("{V3}/clusterinformations/default")).unwrap()["spec"].clone();
            assert_eq!(id(from), id(to));
            let mut keys = to.keys();
            keys.retain(|key| !key.contains("/tiers/") && !key.contains("/clusterinformations/"));
            assert_eq!(
                keys,
                [
                    "/calico/ipam/v2/assignment/ipv6/block/fd00:1::-127".to_owned(),
                    "/calico/ipam/v2/handle/vxlan-v6-tunnel-addr-new".to_owned(),
                    "/calico/ipam/v2/host/new/ipv6/block/fd00:1::-127".to_owned(),
                    format!("{V3}/felixconfigurations/node.new"),
                    format!("{V3}/ippools/six"),
                    format!("{V3}/networkpolicies/shop/ops.web"),
                    format!("{V3}/nodes/new"),
                    format!("{V3}/stagednetworkpolicies/shop/web"),
                ]
            );
            let block = to.stored("/calico/ipam/v2/assignment/ipv6/block/fd00:1::-127").unwrap();
            assert_eq!(
                (&block["affinity"], &block["attributes"][0]["secondary"]["node"]),
                (&json!("host:new"), &json!("new"))
            );
            to.fails(
                "datastore migrate import --any-datastore -f -",
                &file,
                "datastore already has Calico resources",
            );
            to.ok("datastore migrate import --any-datastore --resume -f -", &file);
        });
    });
}

#[test]
fn what_cannot_be_moved_is_told() {
    on_each(|b| {
        b.fails("datastore migrate export", "", "error while checking if datastore was locked");
        b.ok(
            "create -f -",
            "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: lone}\nspec: {}\n",
        );
        b.ok("datastore migrate lock", "");
        let done =
            b.fails("datastore migrate export", "", "node lone missing a 'k8s' orchestrator reference");
        assert_eq!(done.out, "");
        b.fails("datastore migrate import --any-datastore -f -", "nothing\n", "improperly formatted");
        b.fails(
            "datastore migrate import --any-datastore -f /not/there",
            "",
            "error while reading migration file",
        );
    });
    let etcd = Bench::etcd();
    etcd.fails("datastore migrate import -f x", "", "invalid datastore type: etcdv3 to import to");
    etcd.fails("datastore migrate unlock", "", "error retrieving ClusterInformation for unlocking");
}

#[test]
fn policies_lose_their_old_names() {
    on_each(|b| {
        let policy = |name: &str| {
            json!({"kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3",
                "metadata": {"name": name}, "spec": {"selector": "all()"}})
        };
        let key = |name: &str| format!("{V3}/globalnetworkpolicies/{name}");
        b.put(&key("default.old"), &policy("default.old"));
        b.put(&key("new"), &policy("new"));
        let told = b.ok("datastore migrate-policy-names", "");
        assert_eq!(told, "Policy name migration complete, migrated 1 policies.\n");
        assert_eq!(b.keys(), [key("new"), key("old")]);
        let moved = b.stored(&key("old")).unwrap();
        assert_eq!(
            moved["metadata"]["annotations"]["projectcalico.org/metadata"],
            json!("{\"name\":\"old\"}")
        );
        assert!(b.ok("datastore migrate-policy-names", "").ends_with("migrated 0 policies.\n"));
    });
}
