//! What the stored form makes of empty, absent and oddly typed values, and who minds.

use super::*;

#[test]
fn empty_text_is_absent_unless_it_means_something() {
    // Told apart from an absent one, so the enumeration applies.
    judge("IPPool", json!({"cidr": "10.0.0.0/16", "assignmentMode": ""}), Schema, "spec.assignmentMode");
    judge("Tier", json!({"order": 1, "defaultAction": ""}), Form, "spec.defaultAction");
    judge("BGPPeer", json!({"nextHopMode": ""}), Schema, "spec.nextHopMode");
    // Nothing but another way to leave the field out.
    judge("IPPool", json!({"cidr": "10.0.0.0/16", "ipipMode": "", "nodeSelector": ""}), Nobody, "");
    judge("BGPConfiguration", json!({"listenPort": 0, "logSeverityScreen": ""}), Nobody, "");
    judge("BGPPeer", json!({"asNumber": 0, "peerSelector": "has(a)"}), Nobody, "");
    // No duration, no protocol.
    judge("BGPPeer", json!({"keepaliveTime": ""}), Form, "spec.keepaliveTime");
    judge(
        "GlobalNetworkPolicy",
        json!({"ingress": [{"action": "Allow", "protocol": ""}]}),
        Form,
        "spec.ingress[0].protocol",
    );
    judge(
        "GlobalNetworkPolicy",
        json!({"ingress": [{"action": "Allow", "protocol": 0}]}),
        Form,
        "spec.ingress[0].protocol",
    );
}

#[test]
fn empty_values_of_the_wrong_type_are_no_values() {
    for (kind, spec, path) in [
        ("IPReservation", json!({"reservedCIDRs": ""}), "spec.reservedCIDRs"),
        ("FelixConfiguration", json!({"istioAmbientMode": []}), "spec.istioAmbientMode"),
        (
            "BGPConfiguration",
            json!({"nodeMeshPassword": {"secretKeyRef": []}}),
            "spec.nodeMeshPassword.secretKeyRef",
        ),
        ("IPAMConfiguration", json!({"ipCooldownSeconds": 4_294_967_296_u64}), "spec.ipCooldownSeconds"),
        (
            "BlockAffinity",
            json!({"state": "", "node": "n", "cidr": "10.0.0.0/26", "deleted": "true"}),
            "spec.deleted",
        ),
        (
            "KubeControllersConfiguration",
            json!({"debugProfilePort": 2_147_483_648_u64}),
            "spec.debugProfilePort",
        ),
    ] {
        judge(kind, spec, Form, path);
    }
    let mut labelled = thing("NetworkSet", json!({}));
    labelled["metadata"]["labels"] = json!([]);
    assert_eq!(paths(&labelled, FORM), ["metadata.labels"]);
    labelled["metadata"]["labels"] = json!({"a": 1});
    assert_eq!(paths(&labelled, FORM), ["metadata.labels[a]"]);
    labelled["metadata"]["labels"] = json!({"a": null});
    assert_eq!(paths(&labelled, FORM), [""; 0]);
}

#[test]
fn null_among_items_is_an_empty_item() {
    judge("GlobalNetworkSet", json!({"nets": [null]}), Client, "spec.nets[0]");
    judge("GlobalNetworkSet", json!({"nets": [""]}), Client, "spec.nets[0]");
    judge(
        "GlobalNetworkPolicy",
        json!({"ingress": [{"action": "Allow", "source": {"notNets": [null]}}]}),
        Form,
        "spec.ingress[0].source.notNets[0]",
    );
    judge("GlobalNetworkPolicy", json!({"ingress": [null]}), Schema, "spec.ingress[0].action");
    judge("BGPConfiguration", json!({"serviceExternalIPs": [null]}), Nobody, "");
}

#[test]
fn absent_fields_are_empty_ones() {
    // An empty one is no node's name, but nobody looks until an API server does.
    judge("BlockAffinity", json!({"state": "confirmed", "cidr": "10.0.0.0/26"}), Client, "spec.node");
    judge("BlockAffinity", json!({"state": "confirmed", "node": "n"}), Schema, "spec.cidr");
    judge(
        "BGPPeer",
        json!({"password": {"secretKeyRef": {"name": "s"}}}),
        Client,
        "spec.password.secretKeyRef.key",
    );
    let mut filter = json!({"importV4": [{"action": "Accept", "communities": {}}]});
    judge("BGPFilter", filter.clone(), Form, "spec.importV4[0].communities.values");
    filter["importV4"][0]["communities"] = json!({"values": []});
    judge("BGPFilter", filter, Schema, "spec.importV4[0].communities.values");
    judge(
        "BGPConfiguration",
        json!({"prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": []}]}),
        Client,
        "spec.prefixAdvertisements[0].communities",
    );
}

#[test]
fn kinds_without_a_definition_have_no_schema() {
    judge("Profile", json!({"ingress": [{"action": "Maybe"}]}), Client, "spec.ingress[0].action");
    judge(
        "Profile",
        json!({"ingress": [{"action": "Allow", "protocol": "x"}]}),
        Form,
        "spec.ingress[0].protocol",
    );
    judge(
        "WorkloadEndpoint",
        json!({"interfaceName": "cali1", "qosControls": {"dscp": "x"}}),
        Client,
        "spec.qosControls.dscp",
    );
    judge(
        "WorkloadEndpoint",
        json!({"interfaceName": "cali1", "qosControls": {"ingressBandwidth": "1G"}}),
        Form,
        "spec.qosControls.ingressBandwidth",
    );
}

#[test]
fn addresses_in_odd_forms() {
    // The API server reads the leading zero, nothing else does.
    judge("GlobalNetworkSet", json!({"nets": ["010.0.0.1/8"]}), Form, "spec.nets[0]");
    judge(
        "BlockAffinity",
        json!({"state": "confirmed", "node": "n", "cidr": "010.0.0.0/26"}),
        Client,
        "spec.cidr",
    );
    judge("IPPool", json!({"cidr": "::ffff:10.0.0.0/112"}), Schema, "spec.cidr");
    judge("Node", json!({"vxlanTunnelMACAddr": "eeeeeeeeeeee"}), Nobody, "");
    judge("Node", json!({"vxlanTunnelMACAddr": "eeeeeeeeeee"}), Form, "spec.vxlanTunnelMACAddr");
    judge("Node", json!({"bgp": {"unknown": 1}}), Form, "spec.bgp");
}

#[test]
fn staged_deletions_hold_nothing() {
    judge("StagedNetworkPolicy", json!({"stagedAction": "Delete", "ingress": []}), Form, "spec");
    judge("StagedNetworkPolicy", json!({"stagedAction": "Delete", "order": 0}), Form, "spec");
    judge("StagedGlobalNetworkPolicy", json!({"stagedAction": "Delete", "doNotTrack": false}), Nobody, "");
    judge("StagedKubernetesNetworkPolicy", json!({"stagedAction": "Delete", "podSelector": {}}), Nobody, "");
    judge(
        "StagedKubernetesNetworkPolicy",
        json!({"policyTypes": ["a", "b", "c"]}),
        Schema,
        "spec.policyTypes",
    );
    judge(
        "StagedKubernetesNetworkPolicy",
        json!({"ingress": [{"ports": [{}, {"protocol": "ICMP"}]}]}),
        Client,
        "spec.ingress[0].ports[1].protocol",
    );
}

#[test]
fn status_is_judged_where_it_has_a_table() {
    let mut tier = thing("Tier", json!({"order": 1}));
    tier["status"] = json!({"conditions": [{"type": "Ready", "status": "Maybe", "reason": "a b", "message": "", "lastTransitionTime": "now"}]});
    assert_eq!(paths(&tier, FORM), ["status.conditions[0].lastTransitionTime"]);
    tier["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-31T12:00:00.5+01:00");
    assert_eq!(paths(&tier, FORM), [""; 0]);
    assert_eq!(paths(&tier, SCHEMA), ["status.conditions[0].reason", "status.conditions[0].status"]);
}

#[test]
fn the_stored_form() {
    let stored = |kind: &str, spec: Value| as_stored(&thing(kind, spec))["spec"].clone();
    assert_eq!(
        stored(
            "BGPPeer",
            json!({"asNumber": "1.1", "keepaliveTime": "90s", "nextHopMode": "", "node": "", "unknown": 1})
        ),
        json!({"asNumber": 65537, "keepaliveTime": "1m30s", "nextHopMode": ""})
    );
    // An absent switch is off for a typed client, and so is not filled in.
    assert_eq!(
        stored("IPAMConfiguration", json!({})),
        json!({"strictAffinity": false, "autoAllocateBlocks": false, "maxBlocksPerHost": 0})
    );
    assert_eq!(
        stored(
            "Profile",
            json!({"ingress": [{"protocol": "6", "destination": {"ports": ["80:80", "1:2"]}}]})
        ),
        json!({"ingress": [{"action": "", "protocol": 6, "destination": {"ports": [80, "1:2"]}}]})
    );
}
