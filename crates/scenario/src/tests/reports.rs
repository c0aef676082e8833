//! Testing without a cluster, and what is told of it.

use super::*;
use crate::{Addressing, Expected, Format, Observed, Operation, Report, ScenarioReport, schema, test};
use expect_test::expect;
use std::collections::BTreeSet;
use std::time::Duration;

const TEXT: &str = "scenario: v1
name: a & b
families: [4]
pods:
- {name: a/one, listen: [80/tcp]}
- {name: a/two, listen: [80/tcp]}
objects:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: deny, namespace: a}
  spec: {podSelector: {}}
steps:
- name: wrong
  expect:
  - deny * -> *
  - allow a/one -> a/two
- name: right
  expect:
  - deny a/one -> a/two
  - reject a/two -> a/one
  - skip a/one -> a/two
";

fn report() -> Report {
    let scenario = test(&plan(TEXT), &|| Duration::from_millis(1500));
    let broken = ScenarioReport::unreadable("t.yaml", read("scenario: v1\n").unwrap_err());
    Report { scenarios: vec![scenario, broken] }
}

#[test]
fn as_a_table() {
    expect![[r#"
        a & b  (s.yaml)
          STEP    PROBES  DIFFERENCES       TIME
          wrong        2            1     0.0 ms
            a/one -> a/two:80/tcp ipv4: expected allow (line 16), got deny
              deny by ingress of a/two (default deny of tier default: selected by KubernetesNetworkPolicy a/deny; no rule matched)
          right        1            0     0.0 ms

        (t.yaml)
          error: s.yaml:1:1: a scenario lacks the field "name"
          error: s.yaml:1:1: a scenario lacks the field "steps"

        2 scenarios, 3 probes: 1 difference, 1 could not be executed
    "#]].assert_eq(&report().render(Format::Table));
}

#[test]
fn as_json() {
    expect![[r#"
        {
          "exitStatus": 2,
          "scenarios": [
            {
              "file": "s.yaml",
              "name": "a & b",
              "exitStatus": 1,
              "probes": 3,
              "differences": 1,
              "seconds": 0.0,
              "steps": [
                {
                  "name": "wrong",
                  "line": 13,
                  "probes": 2,
                  "skipped": 0,
                  "seconds": 0.0,
                  "differences": [
                    {
                      "from": "a/one",
                      "to": "a/two",
                      "port": "80/tcp",
                      "family": "ipv4",
                      "expected": "allow",
                      "actual": "deny",
                      "line": 16,
                      "reason": "deny by ingress of a/two (default deny of tier default: selected by KubernetesNetworkPolicy a/deny; no rule matched)"
                    }
                  ]
                },
                {
                  "name": "right",
                  "line": 17,
                  "probes": 1,
                  "skipped": 1,
                  "seconds": 0.0,
                  "differences": []
                }
              ],
              "problems": [],
              "error": null
            },
            {
              "file": "t.yaml",
              "name": "",
              "exitStatus": 2,
              "probes": 0,
              "differences": 0,
              "seconds": 0.0,
              "steps": [],
              "problems": [
                {
                  "file": "s.yaml",
                  "line": 1,
                  "column": 1,
                  "message": "a scenario lacks the field \"name\""
                },
                {
                  "file": "s.yaml",
                  "line": 1,
                  "column": 1,
                  "message": "a scenario lacks the field \"steps\""
                }
              ],
              "error": null
            }
          ]
        }
    "#]].assert_eq(&report().render(Format::Json));
}

#[test]
fn as_junit() {
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites>
          <testsuite name="a &amp; b" file="s.yaml" tests="2" failures="1" errors="0" time="0.000">
            <testcase classname="a &amp; b" name="wrong" time="0.000">
              <failure message="1 difference of 2 probes">a/one -&gt; a/two:80/tcp ipv4: expected allow (line 16), got deny: deny by ingress of a/two (default deny of tier default: selected by KubernetesNetworkPolicy a/deny; no rule matched)
        </failure>
            </testcase>
            <testcase classname="a &amp; b" name="right" time="0.000"/>
          </testsuite>
          <testsuite name="t.yaml" file="t.yaml" tests="1" failures="0" errors="1" time="0.000">
            <testcase classname="t.yaml" name="execution">
              <error message="it could not be executed">s.yaml:1:1: a scenario lacks the field &quot;name&quot;
        s.yaml:1:1: a scenario lacks the field &quot;steps&quot;</error>
            </testcase>
          </testsuite>
        </testsuites>
    "#]].assert_eq(&report().render(Format::Junit));
}

#[test]
fn exit_status_is_the_worst() {
    let Report { scenarios } = report();
    let [differs, broken] = scenarios.try_into().unwrap();
    let status = |scenarios: &[&ScenarioReport]| {
        Report { scenarios: scenarios.iter().map(|s| (*s).clone()).collect() }.exit_status()
    };
    let fine = ScenarioReport { steps: vec![differs.steps[1].clone()], ..differs.clone() };
    let failed = ScenarioReport { error: Some("no lab".into()), ..fine.clone() };
    assert_eq!(status(&[]), 0);
    assert_eq!(status(&[&fine]), 0);
    assert_eq!(status(&[&fine, &differs]), 1);
    assert_eq!(status(&[&broken, &differs]), 2);
    assert_eq!(status(&[&failed]), 2);
}

#[test]
fn what_satisfies_what() {
    use Expected::{Allow, Deny, Reject, Skip};
    for (expected, accepted) in [
        (Allow, [true, false, false]),
        (Deny, [false, true, true]),
        (Reject, [false, false, true]),
        (Skip, [true, true, true]),
    ] {
        let observed = [Observed::Allow, Observed::Deny, Observed::Reject];
        assert_eq!(observed.map(|o| expected.accepts(o)), accepted, "{expected}");
    }
}

#[test]
fn pods_get_different_addresses_of_their_pools() {
    let plan = plan(
        "scenario: v1
name: x
pools: [10.1.0.0/24, fd01::/112]
pods:
- {name: a/a, node: 1}
- {name: a/b, node: 1}
- {name: a/c, node: 3, addresses: [10.1.0.66]}
- {name: a/d, node: 1}
steps: [{name: s, expect: [allow node:1 -> a/a:icmp]}]
",
    );
    let mut addressing = Addressing::new(&plan.pools);
    let mut seen = BTreeSet::new();
    addressing.reserve(["10.1.0.66".parse().unwrap()]);
    for operation in &plan.setup {
        let Operation::AddPod(pod) = operation else { continue };
        let addresses = addressing.assign(pod);
        assert_eq!(addresses.len(), if pod.addresses.is_empty() { 2 } else { 1 });
        for addr in &addresses {
            assert!(plan.pools.iter().any(|p| p.contains(*addr)), "{addr}");
            assert!(seen.insert(*addr), "{addr} twice");
        }
        if pod.name == "d" {
            addressing.release(&addresses);
            assert_eq!(addressing.assign(pod), addresses);
        }
    }
}

#[test]
fn the_schema_knows_the_fields() {
    let schema = schema();
    let names = |pointer: &str| -> BTreeSet<String> {
        schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let set = |fields: &[&str]| fields.iter().map(|f| (*f).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names("/properties"), set(&crate::planner::FIELDS));
    assert_eq!(names("/$defs/step/properties"), set(&crate::planner::STEP_FIELDS));
    assert_eq!(names("/$defs/pod/properties"), set(&crate::file::POD_FIELDS));
    // Every reference leads somewhere.
    let text = schema.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|r| r.split('"').next()) {
        assert!(schema.pointer(reference).is_some(), "{reference}");
    }
}
