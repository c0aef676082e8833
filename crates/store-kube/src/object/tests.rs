//! Objects that Calico wrote, and objects for Calico.

use super::*;
use crate::kinds::kinds;
use serde_json::json;

const UID: &str = "41cb1fde-57e0-42b8-9b32-0a93f96ff1b5";

fn kind(group: Group, key: &str) -> (Kind, Place) {
    kinds(group).into_iter().find_map(|kind| kind.place(key).map(|place| (kind, place))).unwrap()
}

fn read(kind: &Kind, object: Value) -> (String, Value) {
    match decode(kind, object).unwrap() {
        Seen::Entry(key, value) => (key, serde_json::from_slice(&value).unwrap()),
        other => panic!("{other:?}"),
    }
}

const V3: &str = "/calico/resources/v3/projectcalico.org";

#[test]
fn custom_resources_round_trip() {
    let key = format!("{V3}/networkpolicies/ns/allow");
    let value = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": "allow", "namespace": "ns", "labels": {"a": "1"}},
        "spec": {"tier": "default", "selector": "all()", "types": ["Ingress"]},
    });
    for group in [Group::V1, Group::V3] {
        let (kind, place) = kind(group, &key);
        let mut object = encode(&kind, &place, &key, value.to_string().as_bytes(), Some(7)).unwrap();
        assert_eq!(object["apiVersion"], group.as_str());
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        let packed = object["metadata"]["annotations"].get(metadata::METADATA).is_some();
        assert_eq!(packed, group == Group::V1);
        object["metadata"]["uid"] = UID.into();
        let (read_key, read) = read(&kind, object);
        let mut expected = value.clone();
        let uid = match group {
            Group::V1 => tortie_model::convert::k8s::converted_uid(UID).unwrap(),
            Group::V3 => UID.to_owned(),
        };
        expected["metadata"]["uid"] = uid.into();
        assert_eq!((read_key, read), (key.clone(), expected));
    }
}

#[test]
fn policies_have_the_names_that_users_gave() {
    let (kind, _) = kind(Group::V1, &format!("{V3}/globalnetworkpolicies/x"));
    let object = |name: &str, packed: Option<&str>, tier: &str| {
        let mut object = json!({"metadata": {"name": name}, "spec": {"tier": tier}});
        if let Some(packed) = packed {
            object["metadata"]["annotations"] = json!({metadata::METADATA: packed});
        }
        object
    };
    let cases = [
        ("default.p", Some(r#"{"creationTimestamp":null}"#), "default", "p"),
        ("default.p", Some(r#"{"creationTimestamp":null}"#), "", "p"),
        ("default.p", Some(r#"{"name":"default.p"}"#), "default", "default.p"),
        ("default.p", Some(r#"{"creationTimestamp":null}"#), "infra", "default.p"),
        ("infra.p", Some(r#"{"creationTimestamp":null}"#), "infra", "infra.p"),
        ("default.p", None, "default", "default.p"),
    ];
    for (name, packed, tier, expected) in cases {
        let (key, value) = read(&kind, object(name, packed, tier));
        assert_eq!(key, format!("{V3}/globalnetworkpolicies/{expected}"), "{name} {packed:?} {tier}");
        assert_eq!(value["metadata"]["name"], expected);
    }
    let place = Place { namespace: String::new(), name: "p".to_owned() };
    assert_eq!(old_place(&kind, &place).unwrap().name, "default.p");
}

#[test]
fn blocks_are_the_same_in_both_layouts() {
    let key = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.64-30";
    let value = json!({
        "cidr": "10.0.0.64/30", "affinity": "host:n1", "affinity_claim_time": "2026-01-02T03:04:05Z",
        "allocations": [0, null, null, null], "unallocated": [1, 2, 3],
        "attributes": [{"handle_id": "h", "secondary": {"pod": "p"}}],
        "sequenceNumber": 1789000000000000001_u64, "sequenceNumberForAllocation": {"0": 1789000000000000000_u64}, "deleted": false,
    });
    for group in [Group::V1, Group::V3] {
        let (kind, place) = kind(group, key);
        let object = encode(&kind, &place, key, value.to_string().as_bytes(), None).unwrap();
        assert_eq!(object["metadata"]["name"], "10-0-0-64-30");
        assert_eq!(object["spec"]["affinityClaimTime"], "2026-01-02T03:04:05Z");
        assert_eq!(object["spec"]["strictAffinity"], false);
        assert_eq!(read(&kind, object.clone()), (key.to_owned(), value.clone()));
        let mut deleted = object;
        deleted["spec"]["deleted"] = true.into();
        assert_eq!(decode(&kind, deleted).unwrap(), Seen::Gone(key.to_owned()));
    }
    let (kind, place) = kind(Group::V1, key);
    let old = json!({"cidr": "10.0.0.64/30", "hostAffinity": "n1", "affinity": null, "allocations": null});
    let object = encode(&kind, &place, key, old.to_string().as_bytes(), None).unwrap();
    assert_eq!(
        (&object["spec"]["affinity"], &object["spec"]["allocations"]),
        (&json!("host:n1"), &json!([]))
    );
}

#[test]
fn affinities_say_deleted_as_their_group_does() {
    let key = "/calico/ipam/v2/virtual/load-balancer/ipv6/block/fd00::40-122";
    for (group, deleted) in [(Group::V1, json!("false")), (Group::V3, json!(false))] {
        let (kind, place) = kind(group, key);
        let value = json!({"state": "confirmed", "deleted": false});
        let object = encode(&kind, &place, key, value.to_string().as_bytes(), None).unwrap();
        assert_eq!(
            object["spec"],
            json!({"state": "confirmed", "node": "load-balancer", "type": "virtual", "cidr": "fd00::40/122", "deleted": deleted})
        );
        assert_eq!(object["metadata"]["labels"]["projectcalico.org/ip-version"], "6");
        assert_eq!(read(&kind, object), (key.to_owned(), value));
    }
    let (kind, _) = kind(Group::V1, key);
    let untyped =
        json!({"spec": {"state": "confirmed", "node": "n1", "cidr": "10.0.0.0/26", "deleted": "true"}});
    let expected = Seen::Gone("/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26".to_owned());
    assert_eq!(decode(&kind, untyped).unwrap(), expected);
}

#[test]
fn handles_keep_their_capitals() {
    let key = "/calico/ipam/v2/handle/Net.C1";
    let (kind, place) = kind(Group::V1, key);
    let value = json!({"block": {"10.0.0.0/26": 2}, "deleted": false});
    let object = encode(&kind, &place, key, value.to_string().as_bytes(), None).unwrap();
    assert_eq!(object["metadata"]["name"], "net.c1");
    assert_eq!(object["spec"]["handleID"], "Net.C1");
    assert_eq!(read(&kind, object), (key.to_owned(), value));
}

#[test]
fn settings_of_address_management_have_two_faces() {
    let (kind_v2, place) = kind(Group::V1, "/calico/ipam/v2/config");
    let value = json!({"auto_allocate_blocks": true, "maxBlocksPerHost": 4});
    let object =
        encode(&kind_v2, &place, "/calico/ipam/v2/config", value.to_string().as_bytes(), None).unwrap();
    assert_eq!(object["kind"], "IPAMConfig");
    assert_eq!(
        object["spec"],
        json!({"strictAffinity": false, "autoAllocateBlocks": true, "maxBlocksPerHost": 4})
    );
    let (kind_v3, _) = kind(Group::V1, &format!("{V3}/ipamconfigurations/default"));
    let (key, shown) = read(&kind_v3, object);
    assert_eq!(key, format!("{V3}/ipamconfigurations/default"));
    assert_eq!(
        (&shown["kind"], &shown["spec"]["maxBlocksPerHost"]),
        (&json!("IPAMConfiguration"), &json!(4))
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let key = format!("{V3}/networksets/ns/a");
    let (kind, place) = kind(Group::V1, &key);
    let put = |value: Value| encode(&kind, &place, &key, value.to_string().as_bytes(), None).unwrap_err();
    assert!(matches!(put(json!([])), EncodeError::Json(_)));
    assert!(put(json!({"metadata": {"name": "b"}})).to_string().contains("\"b\""));
    assert!(put(json!({"metadata": {"name": "a", "namespace": "x"}})).to_string().contains("namespace"));
    for object in [json!(7), json!({}), json!({"metadata": {"name": "a", "namespace": "ns"}, "spec": []})] {
        assert!(decode(&kind, object.clone()).is_err(), "{object}");
    }
}
