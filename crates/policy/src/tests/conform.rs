//! The conformance port's entry.

use crate::conform::policy_semantics;
use serde_json::{Value as Json, json};

/// A TCP packet `10.1.1.1:999 -> 10.1.1.2:80` and a policy.
fn request(policy: Json) -> Json {
    json!({"id": "r", "op": "policy", "kind": "workload", "ip_version": 4, "policy": policy,
        "ipsets": {"s:a": ["10.1.1.0/24"], "s:b": ["10.1.1.2"], "s:empty": [],
            "n:http": ["10.1.1.2/32,tcp:80", "10.1.1.1,tcp:999"], "n:udp": ["10.1.1.2/32,udp:80"]},
        "packet": {"proto": 6, "src": "10.1.1.1", "sport": 999, "dst": "10.1.1.2", "dport": 80}})
}

fn tier(end: &str, rules: Json) -> Json {
    json!({"name": "t", "end_action": end, "end_rule_id": 90, "policies": [{"name": "p", "rules": rules}]})
}

fn verdict(request: Json) -> String {
    let answer = policy_semantics(request.clone());
    assert_eq!(answer["id"], request["id"]);
    answer["verdict"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// True if the rule matches the packet of [`request`].
fn rule_matches(rule: &Json) -> bool {
    let mut rule = rule.clone();
    rule["action"] = json!("Allow");
    verdict(request(json!({"tiers": [tier("deny", json!([rule]))]}))) == "allow"
}

#[test]
fn each_match() {
    for (rule, wanted) in [
        (json!({}), true),
        (json!({"protocol": {"name": "tcp"}}), true),
        (json!({"protocol": {"name": "TCP"}}), true),
        (json!({"protocol": {"number": 6}}), true),
        (json!({"protocol": {"name": "udp"}}), false),
        (json!({"notProtocol": {"name": "tcp"}}), false),
        (json!({"notProtocol": {"number": 17}}), true),
        (json!({"ipVersion": "IPV4"}), true),
        (json!({"ipVersion": 6}), false),
        (json!({"srcNet": ["10.1.1.1/32"]}), true),
        (json!({"srcNet": ["10.9.0.0/16", "10.1.0.0/16"]}), true),
        (json!({"srcNet": ["10.9.0.0/16"]}), false),
        (json!({"srcNet": ["fd00::/8"]}), false),
        (json!({"notSrcNet": ["fd00::/8"]}), false),
        (json!({"notSrcNet": ["10.9.0.0/16"]}), true),
        (json!({"notDstNet": ["10.1.0.0/16", "10.9.0.0/16"]}), false),
        (json!({"srcIpSetIds": ["s:a"]}), true),
        (json!({"srcIpSetIds": ["s:a", "s:b"]}), false),
        (json!({"dstIpSetIds": ["s:a", "s:b"]}), true),
        (json!({"notDstIpSetIds": ["s:empty", "s:b"]}), false),
        (json!({"srcIpSetIds": ["s:unknown"]}), false),
        (json!({"notSrcIpSetIds": ["s:unknown"]}), true),
        (json!({"dstPorts": [{"first": 80, "last": 80}]}), true),
        (json!({"dstPorts": [{"last": 79}, {"first": 81, "last": 90}]}), false),
        (json!({"srcPorts": [{"first": 900, "last": 1000}]}), true),
        (json!({"notSrcPorts": [{"first": 900, "last": 1000}]}), false),
        (json!({"dstNamedPortIpSetIds": ["n:http"]}), true),
        (json!({"dstNamedPortIpSetIds": ["n:udp"]}), false),
        (json!({"dstNamedPortIpSetIds": ["n:udp"], "dstPorts": [{"first": 80, "last": 80}]}), true),
        (json!({"srcNamedPortIpSetIds": ["n:http"]}), true),
        (json!({"notDstNamedPortIpSetIds": ["n:http"]}), false),
        (json!({"dstIpPortSetIds": ["n:http"]}), true),
        (json!({"dstIpPortSetIds": ["n:udp"]}), false),
        (json!({"protocol": {"name": "icmp"}}), false),
    ] {
        assert_eq!(rule_matches(&rule), wanted, "{rule}");
    }
}

#[test]
fn icmp_by_field_or_by_port() {
    for packet in [
        json!({"proto": 1, "src": "10.1.1.1", "dst": "10.1.1.2", "icmp": {"type": 3, "code": 1}}),
        json!({"proto": 1, "src": "10.1.1.1", "dst": "10.1.1.2", "dport": 259}),
    ] {
        for (rule, wanted) in [
            (json!({"icmpType": 3}), true),
            (json!({"icmpType": 4}), false),
            (json!({"icmpTypeCode": {"type": 3, "code": 1}}), true),
            (json!({"icmpTypeCode": {"type": 3}}), false),
            (json!({"notIcmpType": 3}), false),
            (json!({"notIcmpTypeCode": {"type": 3, "code": 2}}), true),
        ] {
            let mut allow = rule.clone();
            allow["action"] = json!("allow");
            let mut request = request(json!({"tiers": [tier("deny", json!([allow]))]}));
            request["packet"] = packet.clone();
            assert_eq!(verdict(request) == "allow", wanted, "{rule} {packet}");
        }
    }
}

#[test]
fn tiers_profiles_and_what_matched() {
    let profile = |rules: Json| json!([{"name": "prof", "rules": rules}]);
    for (policy, wanted, matches) in [
        (json!({"noProfileMatchID": 7}), "deny", json!([7])),
        (
            json!({"profiles": profile(json!([{"action": "log", "$matchId": 1}, {"action": "allow", "$matchId": 2}]))}),
            "allow",
            json!([2]),
        ),
        (json!({"profiles": profile(json!([{"action": "Pass", "$matchId": 2}]))}), "deny", json!([2])),
        (
            json!({"tiers": [tier("deny", json!([{"action": "next-tier", "$matchId": 1}])),
                tier("deny", json!([{"action": "Allow", "$matchId": 2}]))]}),
            "allow",
            json!([1, 2]),
        ),
        (
            json!({"tiers": [tier("deny", json!([]))], "profiles": profile(json!([{"action": "allow"}]))}),
            "deny",
            json!([90]),
        ),
        (
            json!({"tiers": [tier("pass", json!([]))], "profiles": profile(json!([{"action": "allow", "$matchId": 3}]))}),
            "allow",
            json!([90, 3]),
        ),
        (json!({"tiers": [{"name": "t", "end_action": "deny", "end_rule_id": 5}]}), "deny", json!([5])),
    ] {
        let answer = policy_semantics(request(policy.clone()));
        assert_eq!((&answer["verdict"], &answer["matches"]), (&json!(wanted), &matches), "{policy}");
    }
}

#[test]
fn stages_of_the_host() {
    let allow = || json!([tier("deny", json!([{"action": "allow"}]))]);
    let deny = || json!([tier("deny", json!([{"action": "deny"}]))]);
    let pass = || json!([tier("pass", json!([]))]);
    for (policy, to_host, wanted) in [
        (json!({"hostPreDnatTiers": deny(), "tiers": allow()}), false, "deny"),
        (json!({"hostPreDnatTiers": allow(), "hostForwardTiers": deny(), "tiers": allow()}), false, "allow"),
        (json!({"hostPreDnatTiers": pass(), "hostForwardTiers": deny(), "tiers": allow()}), false, "deny"),
        (json!({"hostForwardTiers": pass(), "tiers": allow()}), false, "allow"),
        (json!({"hostForwardTiers": allow(), "tiers": deny()}), false, "deny"),
        (json!({"hostNormalTiers": deny(), "tiers": allow()}), false, "allow"),
        (json!({"hostNormalTiers": deny(), "tiers": allow()}), true, "deny"),
        (json!({"hostNormalTiers": pass(), "tiers": allow()}), true, "deny"),
        (
            json!({"hostNormalTiers": pass(), "hostProfiles": [{"rules": [{"action": "allow"}]}], "tiers": allow()}),
            true,
            "allow",
        ),
        (
            json!({"hostNormalTiers": deny(), "suppressNormalHostPolicy": true, "tiers": allow()}),
            true,
            "allow",
        ),
        (
            json!({"hostForwardTiers": deny(), "suppressNormalHostPolicy": true, "tiers": allow()}),
            false,
            "deny",
        ),
        (json!({"forHostInterface": true}), false, "allow"),
        (json!({"forXDP": true, "hostNormalTiers": pass()}), false, "no-match"),
        (json!({"forXDP": true, "hostNormalTiers": deny()}), false, "deny"),
    ] {
        let mut request = request(policy.clone());
        request["packet"]["to_host"] = json!(to_host);
        assert_eq!(verdict(request), wanted, "{policy} {to_host}");
    }
}

#[test]
fn only_pre_dnat_policy_and_xdp_see_the_destination_before_nat() {
    let to_service = || {
        json!([tier(
            "pass",
            json!([{"action": "deny", "dstNet": ["10.96.0.1/32"],
        "dstPorts": [{"first": 443, "last": 443}]}])
        )])
    };
    for (policy, wanted) in [
        (json!({"hostPreDnatTiers": to_service(), "forHostInterface": true}), "deny"),
        (json!({"hostForwardTiers": to_service(), "forHostInterface": true}), "allow"),
        (json!({"hostNormalTiers": to_service(), "forXDP": true}), "deny"),
    ] {
        let mut request = request(policy.clone());
        request["packet"]["pre_nat"] = json!({"dst": "10.96.0.1", "dport": 443});
        assert_eq!(verdict(request), wanted, "{policy}");
    }
}

#[test]
fn bad_requests_are_errors() {
    for bad in [
        json!({"id": 1, "op": "other"}),
        json!({"id": 1, "op": "policy"}),
        json!({"id": 1, "op": "policy", "ip_version": 5, "policy": {}, "packet": {"proto": 6, "src": "::1", "dst": "::1"}}),
        json!({"id": 1, "op": "policy", "ip_version": 4, "policy": {}, "packet": {"proto": 6, "src": "x", "dst": "::1"}}),
        json!({"id": 1, "op": "policy", "ip_version": 4, "policy": {}, "ipsets": {"a": ["10.0.0.1,tcp"]},
            "packet": {"proto": 6, "src": "10.0.0.1", "dst": "10.0.0.2"}}),
        json!([]),
    ] {
        assert!(policy_semantics(bad.clone())["error"].is_string(), "{bad}");
    }
}
