//! Everything that can be wrong with a file is said at once, with its place.

use super::*;
use expect_test::expect;

#[test]
fn all_problems_of_a_file_are_listed() {
    let text = "scenario: v2
nmae: x
nodes: 0
families: [4, 5]
pools: [10.0.0.0/33]
pods:
- {name: a/one, node: 9, label: {a: b}, listen: [80/tcp, 80/tcp, http=x]}
- {name: one, labels: {num: 1}}
- {name: a/one}
outside:
- {name: world, addresses: [1.2.3.4, 1.2.3.5, x]}
namespaces:
- {name: Prod}
objects:
- nowhere.yaml
- {kind: NetworkPolicy, metadata: {name: p}}
- apiVersion: projectcalico.org/v3
  kind: NetworkPolicie
  metadata: {name: p}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: p, namespace: a}
  spec:
    podSelector: {}
    ingress:
    - from:
      - ipBlock: {cidr: 10.0.0.0/99}
steps:
- name: one
  expect:
  - allow * -> *
  - permit a/one -> a/two
  - allow a/one => a/two
  - allow nobody -> *
  fault: explode
";
    expect![[r#"
        s.yaml:1:1: this is not a version of scenarios that is known here; known is v1
        s.yaml:1:1: a scenario lacks the field "name"
        s.yaml:2:1: a scenario has no field "nmae"; did you mean "name"?
        s.yaml:3:1: nodes must be a number from 1 to 200, found 0
        s.yaml:4:15: a family is 4 or 6
        s.yaml:5:1: there is no ipv4 pool, but ipv4 is to be probed; say families: or add one
        s.yaml:5:9: pools[0]: "10.0.0.0/33" is no range of addresses: write an address, a slash and a length, as 10.65.0.0/16 or fd65::/64
        s.yaml:7:17: pods[0].node must be a number from 1 to 3, found 9
        s.yaml:7:26: pods[0] has no field "label"; did you mean "labels"?
        s.yaml:7:58: 80/tcp is there twice
        s.yaml:7:66: pods[0].listen[2]: "http=x" is no port to listen on: expected 80/tcp, 53/udp, 9/sctp or http=80/tcp
        s.yaml:8:4: a pod is named namespace/name, of a-z, 0-9 and -: at most 63 and 253 characters
        s.yaml:8:24: pods[1].labels.num must be text: write "1"
        s.yaml:9:3: there is a pod a/one already
        s.yaml:11:38: there is a second ipv4 address
        s.yaml:11:47: outside[0].addresses[2]: invalid IP address syntax
        s.yaml:13:3: "Prod" is no name of a namespace
        s.yaml:15:3: nowhere.yaml: no such file or directory
        s.yaml:16:3: the object lacks apiVersion
        s.yaml:18:3: projectcalico.org/v3 has no kind NetworkPolicie
        s.yaml:27:19: NetworkPolicy a/p: spec.ingress[0].from[0].ipBlock.cidr: "10.0.0.0/99" is no CIDR; write an address, a slash and a length, as 10.0.0.0/8 or fd00::/8
        s.yaml:31:5: the line names no pair of two different pods
        s.yaml:32:5: steps[0].expect[1]: unknown verdict "permit", expected allow, deny, reject or skip
        s.yaml:33:5: steps[0].expect[2]: expected `VERDICT FROM -> TO[:PORT[/PROTOCOL]] [ipv4|ipv6]`, found "allow a/one => a/two"
        s.yaml:34:5: steps[0].expect[3]: "nobody" names nobody: expected namespace/pod (with * for any text), *, pods@N, node:N or outside:NAME
        s.yaml:35:3: steps[0].fault: "explode" is no fault: expected kill-agent N, restart-agent N, kill-bird N, cut N, heal N, kill-store or restart-node N
    "#]]
    .assert_eq(&problems(text));
}

/// A file with two pods, `a/one` that listens on 80/tcp and 53/udp and `a/two` that does on http=80/tcp, one outside
/// host, and one step with these lines.
fn with_lines(lines: &[&str]) -> String {
    let lines: String = as_lines(lines.iter().map(|l| format!("  - {l}")));
    format!(
        "scenario: v1\nname: x\npods:\n- {{name: a/one, listen: [80/tcp, 53/udp]}}\n- {{name: a/two, listen: [http=80/tcp]}}\n\
         outside:\n- {{name: world, listen: [443/tcp]}}\nsteps:\n- name: s\n  expect:\n{lines}"
    )
}

#[test]
fn lines_that_mean_nothing_are_errors() {
    for (line, message) in [
        ("allow a/three -> *", "there is no pod a/three in this step"),
        ("allow a/one, b/* -> *", "there is no pod b/* in this step"),
        ("allow *, !a/three -> *", "there is no pod a/three in this step"),
        ("allow pods@3 -> *", "there is no pod on node 3 in this step"),
        ("allow node:4 -> *", "there is no node 4: the scenario has 3"),
        ("allow outside:moon -> *", "there is no outside host moon"),
        ("allow *, !a/* -> *", "the source names nobody who is there in this step"),
        ("allow a/one -> a/o*", "the line names no pair of two different pods"),
        ("allow * -> *:81", "nobody the line names listens on port 81"),
        ("allow * -> *:53/tcp", "nobody the line names listens on 53/tcp"),
        ("allow * -> a/one:http", "nobody the line names has a port called http"),
        ("allow * -> node:1", "a node listens on no declared port: name one by its number, or icmp"),
        ("allow * -> node:1:http", "a node listens on no declared port: name one by its number, or icmp"),
    ] {
        let found = problems(&with_lines(&["allow * -> *", line]));
        assert_eq!(found, format!("s.yaml:12:5: {message}\n"), "{line}");
    }
    for (line, message) in [
        ("allow a/one:80 -> *", "ports belong to the destination"),
        ("allow * -> a/one:80, a/two:80", "only the last of several destinations carries the port"),
        ("allow * -> * ipv5", "unknown family"),
        ("allow * -> *:0", "is no port"),
        ("allow * -> *:80/icmp", "is no port"),
        ("allow * -> *:80/http", "is no port"),
        ("allow * -> *:a_b", "is no port"),
        ("allow * -> a", "names nobody"),
        ("allow * -> a/b/c", "names nobody"),
        ("allow * -> pods@x", "names nobody"),
        ("'allow * -> node:'", "names nobody"),
        ("'allow * -> outside:'", "names nobody"),
        ("allow -> *", "expected `VERDICT"),
        ("ALLOW * -> *", "unknown verdict"),
    ] {
        let found = problems(&with_lines(&["allow * -> *", line]));
        assert!(found.starts_with("s.yaml:12:5: ") && found.contains(message), "{line}: {found}");
    }
}

#[test]
fn expectations_are_total() {
    expect![["
        s.yaml:10:3: nothing says what becomes of a/one -> a/two:80/tcp ipv6, a/two -> a/one:80/tcp ipv4, a/two -> a/one:80/tcp ipv6, and 2 more; a first line like `deny * -> *` speaks of all pods
    "]]
    .assert_eq(&problems(&with_lines(&["allow a/one -> a/two ipv4"])));
    expect![["
        s.yaml:10:3: nothing says what becomes of a/two -> a/one:53/udp ipv6; a first line like `deny * -> *` speaks of all pods
    "]]
    .assert_eq(&problems(&with_lines(&["allow * -> *:80", "skip a/two -> a/one:53 ipv4"])));
    assert_eq!(problems(&with_lines(&["skip * -> *"])), "");
}

#[test]
fn a_step_must_expect_something() {
    let step = |rest: &str| {
        format!("scenario: v1\nname: x\npods: [{{name: a/a, listen: [1/tcp]}}]\nsteps:\n- name: s\n{rest}")
    };
    expect![["
        s.yaml:5:3: the step expects nothing: give it expect or matrix
    "]]
    .assert_eq(&problems(&step("")));
    expect![["
        s.yaml:7:3: a step has either expect or matrix
    "]]
    .assert_eq(&problems(&step("  expect: [allow node:1 -> *]\n  matrix: {table: x}\n")));
    assert_eq!(
        problems("scenario: v1\nname: x\nsteps: []\n"),
        "s.yaml:3:1: a scenario needs at least one step\n"
    );
    assert_eq!(problems(""), "s.yaml:1:1: the file holds no scenario\n");
    let two = problems("scenario: v1\nname: x\nsteps: []\n---\na: b\n");
    assert!(two.contains("s.yaml:5:1: a file holds one scenario"), "{two}");
}

#[test]
fn steps_may_only_touch_what_is_there() {
    let text = "scenario: v1
name: x
pods: [{name: a/one, listen: [80/tcp]}]
steps:
- name: s
  delete:
  - {kind: NetworkPolicy, namespace: a, name: p}
  - {kind: NetworkPolicy, name: q, uid: x}
  - {namespace: a, name: p}
  setLabels:
    a/two: {}
    namespace:b: {}
  addPods:
  - {name: a/one}
  deletePods: [a/three]
  fault: cut 4
  expect: [allow node:1 -> *]
- name: both
  apply:
  - {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, spec: {order: 1}}
  - {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, spec: {order: 2}}
  delete:
  - {kind: Tier, name: t}
  expect: [allow node:1 -> *]
";
    expect![[r#"
        s.yaml:7:5: there is no NetworkPolicy a/p to delete
        s.yaml:8:5: there is no NetworkPolicy q to delete
        s.yaml:8:36: steps[0].delete[1] has no field "uid"; known are apiVersion, kind, namespace, name
        s.yaml:9:5: steps[0].delete[2] lacks the field "kind"
        s.yaml:11:5: there is no pod a/two in this step; a namespace is namespace:NAME
        s.yaml:12:5: there is no namespace b
        s.yaml:14:5: there is a pod a/one already
        s.yaml:15:16: there is no pod a/three in this step
        s.yaml:16:3: there is no node 4: the scenario has 3
        s.yaml:21:63: Tier t is there twice
        s.yaml:23:5: Tier t is applied and deleted in the same step; make two of it
    "#]]
    .assert_eq(&problems(text));
}

#[test]
fn files_that_are_referred_to_have_their_own_places() {
    let text = "scenario: v1
name: x
pods: [{name: a/one, listen: [80/tcp]}]
objects: [dir]
steps: [{name: s, expect: [allow node:1 -> *]}]
";
    let policy = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec:
  podSelector:
    matchExpressions:
    - {key: app, operator: Isnt, values: [a]}
";
    let files = [("dir/a.yaml", "a: [\n"), ("dir/b.yaml", policy), ("dir/c.yaml", "- list\n")];
    let found = list(&load("s.yaml", text, &with_files(&files)).unwrap_err());
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 3, "{found}");
    assert!(lines[0].starts_with("dir/a.yaml:"), "{found}");
    assert!(lines[1].starts_with("dir/b.yaml:7:") && lines[1].contains("Isnt"), "{found}");
    assert!(lines[2].starts_with("dir/c.yaml:1:1: "), "{found}");
}

#[test]
fn tables_are_checked() {
    let step = |table: &str| {
        format!(
            "scenario: v1\nname: x\npods: [{{name: a/a, listen: [1/tcp]}}, {{name: a/b, listen: [1/tcp]}}]\nsteps:\n\
             - name: s\n  matrix:\n    table: |\n{table}"
        )
    };
    let good = "           a/a a/b\n      a/a  -   .\n      a/b  x   -\n";
    assert_eq!(problems(&step(good)), "");
    for (table, message) in [
        (
            "      a/a a/b\n      a/a - .\n      a/b x\n",
            "line 3 of the table: a/b has 1 cells, the header has 2 columns",
        ),
        ("      a/a a/b\n      a/a - .\n      a/b y -\n", "line 3 of the table: \"y\" is no cell"),
        ("      a/a a/c\n      a/a - .\n      a/b x -\n", "there is no pod a/c in this step"),
        (
            "      a/a a/b\n      a/a - .\n",
            "nothing says what becomes of a/b -> a/a:1/tcp ipv4, a/b -> a/a:1/tcp ipv6; ",
        ),
        ("      a/c\n      a/a .\n", "there is no pod a/c in this step"),
        ("      a/a a/b:1\n      a/a - .\n      a/b x -\n", "\"a/b:1\" names nobody"),
    ] {
        let found = problems(&step(table));
        assert!(found.contains(message), "{table}: {found}");
    }
}

/// A file with a pod and these objects, at column 3.
fn with_objects(objects: &str) -> String {
    format!(
        "scenario: v1\nname: x\npods: [{{name: a/one, listen: [80/tcp]}}]\nsteps: [{{name: s, expect: [allow node:1 -> *]}}]\nobjects:\n{objects}"
    )
}

#[test]
fn wrong_types_name_object_field_expected_and_found() {
    expect![[r#"
        s.yaml:10:33: NetworkPolicy a/p: spec.podSelector.matchLabels[app] is the number 5; put it in quotes to make it text
        s.yaml:12:7: NetworkPolicy a/p: spec.ingress[0].from is an object; write a list
        s.yaml:13:16: NetworkPolicy a/p: spec.ingress[0].ports[0].port is the boolean true; write a whole number or a name
        s.yaml:18:5: NetworkPolicy a/q: spec.order is the text "abc", but a number is needed
        s.yaml:19:45: NetworkPolicy a/q: spec.ingress[0].destination.ports is 80, but a list is needed
        s.yaml:20:61: metadata.name of the object must be text, found a list
        s.yaml:21:52: Pod default/pp: metadata.labels is a list; write an object
        s.yaml:21:73: Pod default/pp: spec.hostNetwork is the text "no way"; write true or false
        s.yaml:22:71: Deployment default/d: spec.replicas is the text "two"; write a whole number
        s.yaml:23:71: Deployment default/e: spec.replicas: -1 is no number of pods; write 0 or more
        s.yaml:23:96: Deployment default/e: spec.template.spec is the number 1; write an object
        s.yaml:24:63: Service default/s: spec.ports is the number 80; write a list
        s.yaml:24:85: Service default/s: spec.selector[a] is the number 1; put it in quotes to make it text
        s.yaml:25:20: kind of the object must be text, found a list
        s.yaml:26:81: IPPool po: spec.cidr is a list, but text is needed
    "#]]
    .assert_eq(&problems(&with_objects(
        "\
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: p, namespace: a}
  spec:
    podSelector: {matchLabels: {app: 5}}
    ingress:
    - from: {podSelector: {}}
      ports: [{port: true}]
- apiVersion: projectcalico.org/v3
  kind: NetworkPolicy
  metadata: {name: q, namespace: a}
  spec:
    order: abc
    ingress: [{action: Allow, destination: {ports: 80}}]
- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: [q]}, spec: x}
- {apiVersion: v1, kind: Pod, metadata: {name: pp, labels: [a]}, spec: {hostNetwork: no way}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {replicas: two}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: e}, spec: {replicas: -1, template: {spec: 1}}}
- {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: 80, selector: {a: 1}}}
- {apiVersion: v1, kind: [x], metadata: {name: s}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: po}, spec: {cidr: [10.0.0.0/8]}}
",
    )));
}

#[test]
fn addresses_are_of_a_pool_and_pools_are_written_as_they_are() {
    let text = "scenario: v1
name: x
pools: [10.1.0.0/24, 'fd01::1/64', 172.31.2.0/26, 10.1.0.64/26, fd02::/64]
pods:
- {name: a/in, addresses: [10.1.0.7, 'fd02::7']}
- {name: a/out, addresses: [10.9.0.7]}
- {name: a/late, addresses: [10.3.0.7]}
objects:
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: more}, spec: {cidr: 10.3.0.0/24}}
- apiVersion: v1
  kind: Pod
  metadata: {name: own, namespace: a, annotations: {cni.projectcalico.org/ipAddrs: '[\"10.9.0.8\"]'}}
- apiVersion: v1
  kind: Pod
  metadata: {name: wrong, namespace: a, annotations: {cni.projectcalico.org/ipAddrs: 10.1.0.9}}
steps: [{name: s, expect: [skip * -> *]}]
";
    expect![[r#"
        s.yaml:3:22: pools[1]: fd01::1/64 has bits beyond its length: did you mean fd01::/64?
        s.yaml:3:36: pools[2]: pool 172.31.2.0/26 overlaps 172.31.2.0/24, which the lab itself uses: choose another
        s.yaml:3:51: pools[3]: pool 10.1.0.64/26 overlaps pool 10.1.0.0/24: give each family pools of their own
        s.yaml:6:17: pod a/out wants 10.9.0.7, which is in no pool: choose one of 10.1.0.0/24 or 172.31.2.0/26 or 10.1.0.64/26 or 10.3.0.0/24, or add a pool
        s.yaml:12:53: pod a/own wants 10.9.0.8, which is in no pool: choose one of 10.1.0.0/24 or 172.31.2.0/26 or 10.1.0.64/26 or 10.3.0.0/24, or add a pool
        s.yaml:15:55: Pod a/wrong: metadata.annotations[cni.projectcalico.org/ipAddrs] is "10.1.0.9"; write a JSON list of at most one address of each family, as ["10.65.0.7", "fd65::7"]
        s.yaml:16:28: nobody the line names listens on any port
    "#]]
    .assert_eq(&problems(text));
}

#[test]
fn names_of_pods_are_as_long_as_those_of_kubernetes() {
    let with = |last: usize| {
        let label = "x".repeat(63);
        let name = [label.as_str(), &label, &label, &"x".repeat(last)].join(".");
        problems(&format!(
            "scenario: v1\nname: x\npods: [{{name: a/{name}, listen: [80/tcp]}}]\nsteps: [{{name: s, expect: [allow node:1 -> *]}}]"
        ))
    };
    assert_eq!(with(60), "");
    assert!(with(63).starts_with("s.yaml:3:9: a pod is named"), "{}", with(63));
}
