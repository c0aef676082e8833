//! One test per command.

use crate::bench::{Bench, on_each, run_in};
use serde_json::{Value, json};

const PREFIX: &str = "/calico/resources/v3/projectcalico.org";

fn policy(name: &str, namespace: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  order: 10\n  selector: app == 'web'\n  ingress:\n  - action: Allow\n    protocol: TCP\n    \
         destination: {{ports: [80, '90:100']}}\n"
    )
}

fn global_set(name: &str, nets: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: {name}}}\nspec: {{nets: [{nets}]}}\n"
    )
}

fn pool(name: &str, cidr: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}}}\n"
    )
}

fn metadata(object: &Value, field: &str) -> String {
    object["metadata"][field].as_str().unwrap_or("").to_owned()
}

#[test]
fn create_writes_what_calico_writes() {
    on_each(|b| {
        let told = b.ok("create -f -", &policy("web", "shop"));
        assert_eq!(told, "Successfully created 1 'NetworkPolicy' resource(s)\n");
        let mut stored = b.stored(&format!("{PREFIX}/networkpolicies/shop/web")).unwrap();
        let (uid, created) = (metadata(&stored, "uid"), metadata(&stored, "creationTimestamp"));
        assert!(uid.len() == 36 && created.ends_with('Z'), "{stored}");
        for field in ["uid", "creationTimestamp"] {
            stored["metadata"].as_object_mut().unwrap().remove(field);
        }
        let expected = json!({
            "kind": "NetworkPolicy", "apiVersion": "projectcalico.org/v3",
            "metadata": {
                "name": "web", "namespace": "shop",
                "labels": {"projectcalico.org/tier": "default"},
                "annotations": {"projectcalico.org/metadata": "{\"name\":\"web\"}"},
            },
            "spec": {
                "tier": "default", "order": 10, "selector": "app == 'web'", "types": ["Ingress"],
                "ingress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, "90:100"]}}],
            },
        });
        assert_eq!(stored, expected);
        let text = stored.to_string();
        assert!(
            text.starts_with(r#"{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"#),
            "{text}"
        );
        let keys = b.keys();
        assert_eq!(
            keys,
            [
                format!("{PREFIX}/clusterinformations/default"),
                format!("{PREFIX}/networkpolicies/shop/web"),
                format!("{PREFIX}/tiers/default"),
                format!("{PREFIX}/tiers/kube-admin"),
                format!("{PREFIX}/tiers/kube-baseline"),
            ]
        );
        let cluster = b.stored(&keys[0]).unwrap();
        assert_eq!(cluster["spec"]["datastoreReady"], json!(true));
        assert_eq!(cluster["spec"]["clusterGUID"].as_str().unwrap().len(), 32);
        let tier = b.stored(&keys[4]).unwrap();
        assert_eq!(tier["spec"], json!({"order": 10_000_000, "defaultAction": "Pass"}));

        b.fails("create -f -", &policy("web", "shop"), "already exists: NetworkPolicy(shop/web)");
        b.ok("create -f - --skip-exists", &policy("web", "shop"));
        b.fails(
            "create -f -",
            &policy("web", "shop").replace("metadata: {", "metadata: {resourceVersion: '5', "),
            "resourceVersion",
        );
        let lost = policy("lost", "shop").replace("order: 10", "tier: nowhere");
        b.fails("create -f -", &lost, "does not exist: Tier(nowhere)");
    });
}

#[test]
fn some_of_many_succeed() {
    on_each(|b| {
        let text = format!(
            "{}---\n{}---\n{}",
            global_set("a", "10.0.0.0/8"),
            global_set("b", "x"),
            global_set("c", "'fd00::/8'")
        );
        let done = b.fails("create -f -", &text, "GlobalNetworkSet(b)");
        assert_eq!(done.out, "Partial success: created the first 2 out of 3 'GlobalNetworkSet' resources:\n");
        assert_eq!(b.ok("get gnetsets -o custom-columns=NAME", ""), "NAME   \na      \nc      \n\n");
        b.fails("create -f -", &global_set("d", "x"), "spec.nets[0]");
        b.fails("create -f -", "kind: Nothing\n", "unknown resource type (Nothing)");
        b.fails("create -f -", "", "no resources specified in file -");
        assert_eq!(b.ok("create -f - --skip-empty", ""), "No resources specified\n");
        b.fails("create", "", "-f");
    });
}

#[test]
fn apply_creates_then_updates_and_keeps_identity() {
    on_each(|b| {
        let key = format!("{PREFIX}/globalnetworksets/a");
        b.ok("apply -f -", &global_set("a", "10.0.0.0/8"));
        let first = b.stored(&key).unwrap();
        let told = b.ok("apply -f -", &global_set("a", "10.1.0.0/16"));
        assert_eq!(told, "Successfully applied 1 'GlobalNetworkSet' resource(s)\n");
        let second = b.stored(&key).unwrap();
        assert_eq!(second["spec"]["nets"], json!(["10.1.0.0/16"]));
        assert_eq!(metadata(&first, "uid"), metadata(&second, "uid"));
        assert_eq!(metadata(&first, "creationTimestamp"), metadata(&second, "creationTimestamp"));
        // What get prints can be applied, until somebody else writes.
        let yaml = b.ok("get gns a -o yaml", "");
        b.ok("apply -f -", &yaml);
        b.fails("apply -f -", &yaml, "out of date");
        b.fails(
            "apply -f -",
            "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\n",
            "not supported",
        );
    });
}

#[test]
fn replace_needs_something_to_replace() {
    on_each(|b| {
        b.fails("replace -f -", &global_set("a", "10.0.0.0/8"), "does not exist: GlobalNetworkSet(a)");
        b.ok("create -f -", &global_set("a", "10.0.0.0/8"));
        let told = b.ok("replace -f -", &global_set("a", "10.2.0.0/16"));
        assert_eq!(told, "Successfully replaced 1 'GlobalNetworkSet' resource(s)\n");
    });
}

#[test]
fn delete_by_name_and_by_file() {
    on_each(|b| {
        for name in ["a", "b", "c"] {
            b.ok("create -f -", &global_set(name, "10.0.0.0/8"));
        }
        assert_eq!(b.ok("delete gnetsets a", ""), "Successfully deleted 1 'GlobalNetworkSet' resource(s)\n");
        let done = b.fails("delete globalnetworkset a b", "", "does not exist: GlobalNetworkSet(a)");
        assert_eq!(done.out, "Successfully deleted 1 'GlobalNetworkSet' resource(s)\n");
        b.ok("delete -f -", &global_set("c", "10.0.0.0/8"));
        b.ok("delete -f - --skip-not-exists", &global_set("c", "10.0.0.0/8"));
        b.ok("delete gnetsets c -s", "");
        b.fails("delete tier default", "", "not supported");
        b.fails("delete clusterinfo default", "", "not supported");
        b.fails("delete profile projectcalico-default-allow", "", "not supported");
        b.fails("delete nonsense a", "", "resource type 'nonsense' is not supported");

        b.ok(
            "create -f -",
            "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 5}\n",
        );
        b.ok("create -f -", &policy("in-t", "shop").replace("order: 10", "tier: t"));
        b.fails("delete tier t", "", "NetworkPolicy(shop/in-t)");
        b.ok("delete np in-t -n shop", "");
        b.ok("delete tier t", "");
    });
}

#[test]
fn get_prints_tables() {
    on_each(|b| {
        b.ok("create -f -", &format!("{}---\n{}", policy("web", "shop"), policy("db", "store")));
        assert_eq!(
            b.ok("get tiers", ""),
            "NAME            ORDER   \nkube-admin      1000    \ndefault         1e+06   \nkube-baseline   1e+07   \n\n"
        );
        assert_eq!(
            b.ok("get networkPolicy -A -o wide", ""),
            "NAMESPACE   NAME   TIER      ORDER   SELECTOR       \n\
             shop        web    default   10      app == 'web'   \n\
             store       db     default   10      app == 'web'   \n\n"
        );
        assert_eq!(b.ok("get np", ""), "NAME   TIER   \n\n");
        assert_eq!(b.ok("get np -a -o custom-columns=NAME", "").lines().count(), 4);
        let done = b.fails("get np web nothing -n shop", "", "does not exist: NetworkPolicy(shop/nothing)");
        assert_eq!(done.out, "NAMESPACE   NAME   TIER      \nshop        web    default   \n\n");
        b.fails("get np web -A", "", "single resource");
        b.fails("get tier -n shop", "", "Tier is not namespaced");
        b.fails("get np -A -n shop", "", "cannot use both");
        b.fails(
            "get np -o custom-columns=COLOUR",
            "",
            "unknown heading COLOUR, valid values are: NAME, TIER",
        );
        b.fails("get np -o nonsense", "", "unrecognized output format 'nonsense'");
        b.fails("get", "", "kind");
        assert_eq!(
            b.ok("get profile", ""),
            "NAME                          \nprojectcalico-default-allow   \n\n"
        );
        assert!(b.ok("get clusterinfo", "").contains("true"));
        // Every kind has a table, also where there is nothing.
        for kind in [
            "bgpf",
            "bgpp",
            "bgpconfig",
            "nodestatus",
            "felixconfig",
            "hep",
            "ipamconfig",
            "ipp",
            "reservation",
            "kubecontrollersconfig",
            "netsets",
            "no",
            "sgnp",
            "sknp",
            "snp",
            "wep",
        ] {
            assert!(b.ok(&format!("get {kind} -o wide"), "").starts_with(|c: char| c.is_ascii_uppercase()));
        }
    });
}

#[test]
fn get_prints_yaml_json_and_templates() {
    on_each(|b| {
        b.ok(
            "create -f -",
            &format!("{}---\n{}", global_set("a", "10.0.0.0/8"), global_set("b", "'fd00::/64'")),
        );
        let json = |line: &str| serde_json::from_str::<Value>(&b.ok(line, "")).unwrap();
        let list = json("get gns -o json");
        assert_eq!(
            (list["kind"].as_str(), list["items"].as_array().map(Vec::len)),
            (Some("GlobalNetworkSetList"), Some(2))
        );
        assert!(list["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(json("get gns a -o json")["metadata"]["name"], "a");
        assert_eq!(json("get gns a b -o json").as_array().unwrap().len(), 2);
        let exported = json("get gns a -o json --export");
        assert_eq!(exported["metadata"], json!({"name": "a"}));
        assert_eq!(
            json("get gns -o json --export")["items"][0]["metadata"]["uid"],
            list["items"][0]["metadata"]["uid"]
        );
        assert_eq!(
            b.ok("get gns a -o yaml --export", ""),
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata:\n  name: a\nspec:\n  nets:\n  - 10.0.0.0/8\n"
        );
        let names = "'-o=go-template={{range .}}{{range .Items}}{{.ObjectMeta.Name}},{{end}}{{end}}'";
        assert_eq!(b.ok(&format!("get gns {names}"), ""), "a,b,");
        assert_eq!(b.ok("get gns -o 'go-template={{range .items}}{{.metadata.name}} {{end}}'", ""), "a b ");
        let file = b.directory().join("t");
        std::fs::write(&file, "{{range .items}}{{join .spec.nets \" \"}};{{end}}").unwrap();
        assert_eq!(
            b.ok(&format!("get gns -o go-template-file={}", file.display()), ""),
            "10.0.0.0/8;fd00::/64;"
        );
        b.fails("get gns -o 'go-template={{range}'", "", "template");
        assert_eq!(
            b.ok("get -f - -o custom-columns=NETS", &global_set("b", "10.9.0.0/16")),
            "NETS        \nfd00::/64   \n\n"
        );
    });
}

#[test]
fn patch_in_three_forms() {
    on_each(|b| {
        b.ok("create -f -", &pool("p", "10.0.0.0/16"));
        let told = b.ok(r#"patch ippool p -p '{"spec": {"natOutgoing": true}}'"#, "");
        assert_eq!(told, "Successfully patched 1 'IPPool' resource\n");
        b.ok(
            r#"patch ippool p -t json -p '[{"op": "replace", "path": "/spec/natOutgoing", "value": false}]'"#,
            "",
        );
        b.ok(r#"patch ippool p --type merge --patch '{"metadata": {"labels": {"x": "y"}}, "spec": {"disabled": true}}'"#, "");
        let stored = b.stored(&format!("{PREFIX}/ippools/p")).unwrap();
        assert_eq!(stored["metadata"]["labels"], json!({"x": "y"}));
        assert_eq!(
            stored["spec"],
            json!({
                "cidr": "10.0.0.0/16", "vxlanMode": "Never", "ipipMode": "Never", "disabled": true,
                "blockSize": 26, "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"],
                "assignmentMode": "Automatic",
            })
        );
        b.fails(r#"patch ippool p -p '{"spec": {"cidr": "10.1.0.0/16"}}'"#, "", "spec.cidr");
        b.fails(r#"patch ippool p -p '{"spec": {"colour": "red"}}'"#, "", "colour");
        b.fails(r#"patch ippool p -p '{"metadata": {"name": "q"}}'"#, "", "identifies");
        b.fails("patch ippool none -p '{}'", "", "does not exist: IPPool(none)");
        b.fails("patch ippool p -p '{'", "", "cannot be understood");
    });
}

#[test]
fn label_sets_overwrites_and_removes() {
    on_each(|b| {
        b.ok("create -f -", "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1}\nspec: {bgp: {ipv4Address: 10.0.0.1/24}}\n");
        assert_eq!(b.ok("label nodes n1 rack=1", ""), "Successfully set label rack on nodes n1\n");
        assert_eq!(b.ok("label nodes n1 rack=1", ""), "Successfully updated label rack on nodes n1\n");
        b.fails("label nodes n1 rack=2", "", "--overwrite");
        b.ok("label nodes n1 rack=2 --overwrite", "");
        assert_eq!(
            b.stored(&format!("{PREFIX}/nodes/n1")).unwrap()["metadata"]["labels"],
            json!({"rack": "2"})
        );
        assert_eq!(
            b.ok("label nodes n1 rack --remove", ""),
            "Successfully removed label rack from nodes n1\n"
        );
        b.fails("label nodes n1 rack --remove", "", "key rack does not exist");
        b.fails("label nodes n1 rack", "", "invalid label rack");
        b.fails("label nodes n2 a=b", "", "failed to get nodes n2");
        b.fails("label nodes n1 a=//", "", "label not changed");
        assert_eq!(
            b.ok("get node -o wide", ""),
            "NAME   ASN       IPV4          IPV6   \nn1     (64512)   10.0.0.1/24          \n\n"
        );
    });
}

#[test]
fn validate_needs_no_datastore() {
    let nothing = |_: &str| None;
    let done = run_in(&nothing, "validate -f - -c /not/there", &policy("a", "b"));
    assert_eq!(
        (done.status, done.out.as_str()),
        (0, "Successfully validated 1 'NetworkPolicy' resource(s)\n"),
        "{done:?}"
    );
    let wrong = policy("a", "b").replace("action: Allow", "action: Maybe").replace("TCP", "XYZ");
    let done = run_in(&nothing, "validate -f -", &wrong);
    assert!(done.status == 1 && done.out.is_empty(), "{done:?}");
    for part in ["spec.ingress[0].action", "spec.ingress[0].protocol"] {
        assert!(done.err.contains(part), "{part}: {}", done.err);
    }
    let twice = policy("a", "b").replace("order: 10", "order: 10\n  order: 11");
    let done = run_in(&nothing, "validate -f -", &twice);
    assert!(done.status == 1 && done.err.contains("failed to execute command"), "{done:?}");
}

#[test]
fn directories_are_read_in_order() {
    let b = Bench::embedded();
    let dir = b.directory().join("d");
    std::fs::create_dir_all(dir.join("below")).unwrap();
    std::fs::write(dir.join("a.yaml"), global_set("a", "10.0.0.0/8")).unwrap();
    std::fs::write(
        dir.join("b.json"),
        r#"[{"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet", "metadata": {"name": "b"}}]"#,
    )
    .unwrap();
    std::fs::write(dir.join("notes.txt"), "not an object").unwrap();
    std::fs::write(dir.join("below/c.yml"), global_set("c", "10.0.0.0/8")).unwrap();
    let told = b.ok(&format!("create -f {}", dir.display()), "");
    assert_eq!(told, "Successfully created 2 'GlobalNetworkSet' resource(s)\n");
    let told = b.ok(&format!("apply -R -f {}", dir.display()), "");
    assert_eq!(told, "Successfully applied 3 'GlobalNetworkSet' resource(s)\n");
    let none = b.directory().join("none");
    std::fs::create_dir(&none).unwrap();
    b.fails(&format!("create -f {}", none.display()), "", "no resources specified in directory");
    b.fails("create -f /not/there.yaml", "", "/not/there.yaml");
}

#[test]
fn pools_do_not_overlap_and_give_blocks_back() {
    on_each(|b| {
        b.ok("create -f -", &pool("four", "10.0.0.0/16").replace("cidr", "CIDR"));
        b.ok("create -f -", &pool("six", "'fd00:0:0::/64'"));
        b.fails("create -f -", &pool("other", "10.0.5.0/24"), "overlaps with IPPool(four)");
        assert_eq!(
            b.ok("get ipp -o wide", "").lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>(),
            ["six", "fd00::/64", "false", "Never", "Never", "false", "false", "all()", "Automatic"]
        );
        let block = |cidr: &str, used: bool| {
            let (allocations, attributes) = if used {
                (json!([0, null]), json!([{"handle_id": "h", "secondary": {"pod": "p", "node": "n1"}}]))
            } else {
                (json!([null, null]), json!([]))
            };
            let mut all = allocations.as_array().unwrap().clone();
            all.resize(64, Value::Null);
            let unallocated: Vec<usize> = (usize::from(used)..64).collect();
            json!({"cidr": cidr, "affinity": "host:n1", "allocations": all, "unallocated": unallocated,
                "attributes": attributes, "sequenceNumber": 5, "deleted": false})
        };
        for (cidr, used) in [("10.0.0.0/26", true), ("10.0.0.64/26", false)] {
            let key = cidr.replace('/', "-");
            b.put(&format!("/calico/ipam/v2/assignment/ipv4/block/{key}"), &block(cidr, used));
            b.put(&format!("/calico/ipam/v2/host/n1/ipv4/block/{key}"), &json!({"state": "confirmed"}));
        }
        assert_eq!(
            b.ok("ipam show --show-blocks", ""),
            "+----------+--------------+------------+------------+--------------+-------------------+\n\
             | GROUPING | CIDR         | IPS TOTAL  | IPS IN USE | IPS RESERVED | IPS FREE          |\n\
             +----------+--------------+------------+------------+--------------+-------------------+\n\
             | IP Pool  | 10.0.0.0/16  |      65536 |     1 (0%) |       0 (0%) |      65535 (100%) |\n\
             | Block    | 10.0.0.0/26  |         64 |     1 (2%) |       0 (0%) |          63 (98%) |\n\
             | Block    | 10.0.0.64/26 |         64 |     0 (0%) |       0 (0%) |         64 (100%) |\n\
             | IP Pool  | fd00::/64    | 1.8447e+19 |     0 (0%) |       0 (0%) | 1.8447e+19 (100%) |\n\
             +----------+--------------+------------+------------+--------------+-------------------+\n"
        );
        let told = b.ok("ipam show --ip 10.0.0.0", "");
        assert!(
            told.contains("IP 10.0.0.0 is in use\nHandle ID: h\n") && told.contains("  pod: p\n"),
            "{told}"
        );
        assert_eq!(b.ok("ipam show --ip=10.0.0.1", ""), "10.0.0.1 is not assigned\n");
        let bad = b.run("ipam show --ip nonsense");
        assert!(bad.status == 1 && bad.out.contains("nonsense") && bad.err.is_empty(), "{bad:?}");
        assert!(
            b.ok("ipam show --show-configuration", "").contains("| MaxBlocksPerHost             | 0       |")
        );

        b.ok("delete ippool four", "");
        let left: Vec<String> = b.keys().into_iter().filter(|k| k.contains("/ipam/")).collect();
        assert_eq!(left, ["/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26"]);
        let block = b.stored(&left[0]).unwrap();
        assert!(block["affinity"].is_null() && block["allocations"][0] == json!(0), "{block}");
    });
}

#[test]
fn lock_and_version() {
    on_each(|b| {
        b.fails("version", "", "unable to retrieve Cluster Version or Type");
        assert_eq!(b.ok("datastore migrate lock", ""), "Datastore locked.\n");
        let cluster = format!("{PREFIX}/clusterinformations/default");
        assert_eq!(b.stored(&cluster).unwrap()["spec"]["datastoreReady"], json!(false));
        b.ok("create -f -", &global_set("a", "10.0.0.0/8"));
        assert_eq!(b.stored(&cluster).unwrap()["spec"]["datastoreReady"], json!(false));
        assert_eq!(b.ok("datastore migrate unlock", ""), "Datastore unlocked.\n");
        assert_eq!(b.stored(&cluster).unwrap()["spec"]["datastoreReady"], json!(true));
        let told = b.ok("version", "");
        assert!(told.contains("Cluster Version:   unknown\nCluster Type:      unknown\n"), "{told}");
        assert!(!b.ok("version --client", "").contains("Cluster"));

        let mut information = b.stored(&cluster).unwrap();
        information["spec"]["calicoVersion"] = "v3.1.0".into();
        b.put(&cluster, &information);
        b.fails("get tiers", "", "version mismatch");
        b.fails("apply -f -", &global_set("a", "10.0.0.0/8"), "version mismatch");
        b.ok("get tiers --allow-version-mismatch", "");
        assert!(b.ok("version", "").contains("v3.1.0"));
    });
}

#[test]
fn nodes_take_what_is_theirs_with_them() {
    on_each(|b| {
        for name in ["n1", "n2"] {
            b.ok("create -f -", &format!("apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {{name: {name}}}\n---\n\
                 apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {{name: node.{name}}}\n---\n\
                 apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {{name: of-{name}}}\nspec: {{node: {name}, peerIP: 10.0.0.9, asNumber: 64513}}\n"));
            b.put(
                &format!("/calico/ipam/v2/host/{name}/ipv4/block/10.0.0.0-26"),
                &json!({"state": "confirmed"}),
            );
        }
        b.ok("delete node n1", "");
        let keys = b.keys();
        assert!(!keys.iter().any(|k| k.contains("n1")), "{keys:?}");
        assert_eq!(keys.iter().filter(|k| k.contains("n2")).count(), 4, "{keys:?}");
        b.fails(
            "create -f -",
            "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n3}\nstatus: {conditions: []}\n",
            "wrong location: conditions",
        );
    });
}

#[test]
fn addresses_are_released_and_settings_changed() {
    on_each(|b| {
        let mut allocations = vec![Value::Null; 64];
        allocations[..3].fill(json!(0));
        let unallocated: Vec<usize> = (3..64).collect();
        let key = "/calico/ipam/v2/assignment/ipv6/block/fd00::-122";
        let handle = "/calico/ipam/v2/handle/h";
        b.put(
            key,
            &json!({"cidr": "fd00::/122", "affinity": "host:n1", "allocations": allocations,
                "unallocated": unallocated, "attributes": [{"handle_id": "h"}], "sequenceNumber": 5}),
        );
        b.put(handle, &json!({"block": {"fd00::/122": 3}, "deleted": false}));
        assert_eq!(b.ok("ipam release --ip=fd00::1", ""), "Successfully released IP address fd00::1\n");
        let block = b.stored(key).unwrap();
        assert_eq!((&block["allocations"][1], &block["allocations"][2]), (&Value::Null, &json!(0)));
        assert_eq!(block["unallocated"].as_array().unwrap().last(), Some(&json!(1)));
        assert_eq!(b.stored(handle).unwrap()["block"], json!({"fd00::/122": 2}));
        b.fails("ipam release --ip=fd00::1", "", "is not assigned");
        b.fails("ipam release --ip=10.0.0.1", "", "is not assigned");
        b.fails("ipam release", "", "--ip");
        // A node that goes takes the addresses of its tunnels with it; those of others stay.
        let node = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1}\nspec: {ipv6VXLANTunnelAddr: 'fd00::2'}\n";
        b.ok("create -f -", node);
        b.ok("delete node n1", "");
        assert_eq!(b.stored(handle).unwrap()["block"], json!({"fd00::/122": 1}));
        b.ok("ipam release --ip=fd00::", "");
        assert_eq!(b.stored(handle), None);

        b.fails("ipam configure", "", "at least one");
        b.fails("ipam configure --max-blocks-per-host=5", "", "requires StrictAffinity");
        b.fails("ipam configure --strictaffinity=maybe", "", "true or false");
        assert_eq!(
            b.ok("ipam configure --strictaffinity=true --max-blocks-per-host=5 --ip-cooldown-seconds=60", ""),
            "Successfully set StrictAffinity to: true\nSuccessfully set MaxBlocksPerHost to: 5\nSuccessfully set IPCooldownSeconds to: 60\n"
        );
        let stored = b.stored("/calico/ipam/v2/config").unwrap();
        assert_eq!(
            stored,
            json!({"strict_affinity": true, "auto_allocate_blocks": true, "maxBlocksPerHost": 5,
                "kubeVirtVMAddressPersistence": "Enabled", "ipCooldownSeconds": 60})
        );
        assert_eq!(b.ok("get ipamconfig", "").lines().count(), 2);
    });
}

#[test]
fn an_unusable_datastore_is_told_on_stdout() {
    let nowhere = |name: &str| (name == "ETCD_ENDPOINTS").then(|| "http://127.0.0.1:1".to_owned());
    let done = run_in(&nowhere, "get tiers", "");
    assert!(done.status == 1 && done.err.is_empty(), "{done:?}");
    assert!(
        done.out.starts_with("Failed to create Calico API client: ") && done.out.contains("127.0.0.1:1"),
        "{done:?}"
    );
    let done = run_in(&|_| None, "get tiers", "");
    assert!(done.status == 1 && done.out.contains("DATASTORE_TYPE"), "{done:?}");
    let done = run_in(&|_| None, "get tiers -c /not/there", "");
    assert!(done.status == 1 && done.out.contains("Error reading config file: /not/there"), "{done:?}");
    let done = run_in(&|_| None, "", "");
    assert!(done.status == 0 && done.out.contains("Usage"), "{done:?}");
    assert_eq!(run_in(&|_| None, "datastore migrate", "").status, 0);
    assert_eq!(run_in(&|_| None, "get --nonsense", "").status, 1);
}

#[test]
fn a_selector_finds_pods_by_what_they_inherit() {
    on_each(|b| {
        let named = |kind: &str, name: &str, labels: &Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": labels}});
        b.put("/tortie/kubernetes/namespaces/shop", &named("Namespace", "shop", &json!({"team": "red"})));
        let mut pod = named("Pod", "web", &json!({"app": "web"}));
        pod["metadata"]["namespace"] = "shop".into();
        pod["metadata"]["annotations"] = json!({"cni.projectcalico.org/podIPs": "10.65.0.7/32"});
        pod["spec"] = json!({"nodeName": "n1", "containers": []});
        pod["status"] = json!({"phase": "Running"});
        b.put("/tortie/kubernetes/pods/shop/web", &pod);
        b.ok("create -f -", &global_set("office", "10.0.0.0/8"));
        let told = b.ok("selector check --live 'pcns.team == \"red\" && app == \"web\"'", "");
        assert!(told.contains("shop/web") && told.contains("n1") && !told.contains("office"), "{told}");
        let told = b.ok("selector check --live 'pcns.team == \"blue\"'", "");
        assert!(!told.contains("shop/web"), "{told}");
        assert!(b.ok("selector check --live all()", "").contains("office"));
    });
}
