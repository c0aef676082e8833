//! What is to be done, step by step.

use super::*;
use crate::{Fault, ObjectId, Operation, Plan, node_addresses, outside_addresses, pods_of};
use expect_test::expect;
use serde_json::json;

fn told(operation: &Operation) -> String {
    match operation {
        Operation::Apply(object) => format!("apply {} at {}", object.id, object.path),
        Operation::Delete { id, path } => format!("delete {id} at {path}"),
        Operation::AddPod(pod) => {
            let listen: Vec<String> = pod.listen.iter().map(ToString::to_string).collect();
            format!(
                "add {} on {} as {} listening on {}",
                pod.full_name(),
                pod.node,
                pod.account(),
                listen.join(" ")
            )
        }
        Operation::ChangePod(pod) => format!("change {} to {:?}", pod.full_name(), pod.labels),
        Operation::DeletePod(name) => format!("stop {name}"),
        Operation::Fault(fault) => format!("fault {fault}"),
    }
}

fn tell(plan: &Plan) -> String {
    let mut text = as_lines(plan.setup.iter().map(told));
    for step in &plan.steps {
        text += &as_lines([format!("-- {}", step.name)]);
        text += &as_lines(step.operations.iter().map(told));
    }
    text
}

#[test]
fn operations_in_their_order() {
    let plan = plan(
        "scenario: v1
name: x
pods:
- {name: a/one, listen: [80/tcp], serviceAccount: robot}
- {name: a/fixed, node: 3, listen: [80/tcp]}
- {name: a/two, listen: [80/tcp]}
namespaces:
- {name: empty, labels: {a: b}}
objects:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop}
  spec: {replicas: 3, template: {metadata: {labels: {app: web}}, spec: {containers: [{ports: [{containerPort: 8080, name: http}]}]}}}
- {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: later}, spec: {podSelector: {}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: later}}
steps:
- name: change
  apply:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, namespace: shop}
    spec: {replicas: 2, template: {metadata: {labels: {app: www}}, spec: {containers: [{ports: [{containerPort: 8080, name: http}]}]}}}
  setLabels:
    a/one: {x: z}
    namespace:empty: {}
  addPods: [{name: new/three}]
  deletePods: [a/two]
  fault: kill-agent 2
  expect: [deny * -> *]
- name: remove
  delete:
  - {kind: Namespace, name: a}
  - {kind: Deployment, namespace: shop, name: web}
  - {kind: NetworkPolicy, namespace: later, name: p}
  expect: [deny node:1 -> new/three:icmp]
",
    );
    expect![[r#"
        apply Namespace empty at /tortie/kubernetes/namespaces/empty
        apply Namespace a at /tortie/kubernetes/namespaces/a
        apply ServiceAccount a/default at /tortie/kubernetes/serviceaccounts/a/default
        apply ServiceAccount a/robot at /tortie/kubernetes/serviceaccounts/a/robot
        apply Namespace later at /tortie/kubernetes/namespaces/later
        apply Namespace shop at /tortie/kubernetes/namespaces/shop
        apply ServiceAccount shop/default at /tortie/kubernetes/serviceaccounts/shop/default
        apply NetworkPolicy later/p at /tortie/kubernetes/networkpolicies/later/p
        add a/one on 1 as robot listening on 80/tcp
        add a/fixed on 3 as default listening on 80/tcp
        add a/two on 2 as default listening on 80/tcp
        add shop/web-0 on 3 as default listening on http=8080/tcp
        add shop/web-1 on 1 as default listening on http=8080/tcp
        add shop/web-2 on 2 as default listening on http=8080/tcp
        -- change
        apply Namespace empty at /tortie/kubernetes/namespaces/empty
        apply Namespace new at /tortie/kubernetes/namespaces/new
        apply ServiceAccount new/default at /tortie/kubernetes/serviceaccounts/new/default
        stop shop/web-2
        change shop/web-0 to {"app": "www"}
        change shop/web-1 to {"app": "www"}
        change a/one to {"x": "z"}
        add new/three on 3 as default listening on 
        stop a/two
        fault kill-agent 2
        -- remove
        stop a/one
        stop a/fixed
        delete ServiceAccount a/default at /tortie/kubernetes/serviceaccounts/a/default
        delete ServiceAccount a/robot at /tortie/kubernetes/serviceaccounts/a/robot
        delete Namespace a at /tortie/kubernetes/namespaces/a
        delete NetworkPolicy later/p at /tortie/kubernetes/networkpolicies/later/p
        stop shop/web-0
        stop shop/web-1
    "#]]
    .assert_eq(&tell(&plan));
    assert_eq!(plan.skipped.len(), 1);
    let Operation::Fault(fault) = plan.steps[0].operations.last().unwrap() else {
        panic!("the fault is last")
    };
    assert_eq!(*fault, Fault::KillAgent(2));
    let namespaces: Vec<_> = plan
        .setup
        .iter()
        .filter_map(|o| match o {
            Operation::Apply(o) if o.id.kind == "Namespace" => {
                Some(o.value["metadata"]["labels"].to_string())
            }
            _ => None,
        })
        .collect();
    assert_eq!(namespaces[0], r#"{"a":"b","kubernetes.io/metadata.name":"empty"}"#);
}

#[test]
fn workloads_ask_for_pods() {
    let id = |group: &str, kind: &str| ObjectId {
        group: group.into(),
        kind: kind.into(),
        namespace: "n".into(),
        name: "w".into(),
    };
    let template = json!({"metadata": {"labels": {"app": "w"}}, "spec": {"serviceAccountName": "s", "containers": [
        {"ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]},
        {"ports": [{"containerPort": 9}, {"containerPort": 0}, {"containerPort": 99999}]}, {}]}});
    let names = |group: &str, kind: &str, object: serde_json::Value| -> Vec<String> {
        let mut object = object;
        object["kind"] = json!(kind);
        pods_of(&id(group, kind), &object, 3)
            .unwrap()
            .iter()
            .map(|p| format!("{}@{}", p.full_name(), p.node))
            .collect()
    };
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        assert_eq!(
            names("apps", kind, json!({"spec": {"replicas": 2, "template": template}})),
            ["n/w-0@0", "n/w-1@0"]
        );
        assert_eq!(names("apps", kind, json!({"spec": {"template": template}})), ["n/w-0@0"]);
        assert!(names("apps", kind, json!({"spec": {"replicas": 0, "template": template}})).is_empty());
    }
    assert_eq!(
        names("apps", "DaemonSet", json!({"spec": {"template": template}})),
        ["n/w-0@1", "n/w-1@2", "n/w-2@3"]
    );
    assert_eq!(
        names("batch", "Job", json!({"spec": {"parallelism": 2, "template": template}})),
        ["n/w-0@0", "n/w-1@0"]
    );
    let cron = json!({"spec": {"jobTemplate": {"spec": {"template": template}}}});
    assert_eq!(names("batch", "CronJob", cron), ["n/w-0@0"]);
    let mut pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": template["spec"]});
    pod["spec"]["nodeName"] = json!("node2");
    assert_eq!(names("", "Pod", pod.clone()), ["n/w@2"]);
    pod["spec"]["hostNetwork"] = json!(true);
    assert!(names("", "Pod", pod).is_empty());
    let object = json!({"kind": "Job", "spec": {"template": template}});
    let pods = pods_of(&id("batch", "Job"), &object, 3).unwrap();
    let listen: Vec<String> = pods[0].listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["http=80/tcp", "53/udp", "9/tcp"]);
    assert_eq!((pods[0].account(), pods[0].labels["app"].as_str()), ("s", "w"));
    let written = pods[0].to_object("node1");
    assert_eq!(
        written["spec"]["containers"], template["spec"]["containers"],
        "a manifest's containers are kept"
    );
    assert!(
        pods_of(&id("apps", "Deployment"), &json!({"kind": "Deployment", "spec": {"replicas": "x"}}), 3)
            .is_err()
    );
}

#[test]
fn a_short_pod_is_written_as_kubernetes_would() {
    let plan = plan(
        "scenario: v1
name: x
pods: [{name: a/one, labels: {l: v}, listen: [http=80/tcp, 53/udp], addresses: ['fd65::7', 10.65.0.7]}]
steps: [{name: s, expect: [allow node:1 -> *]}]
",
    );
    let Some(Operation::AddPod(pod)) = plan.setup.last() else { panic!("the pod is last") };
    let object = pod.to_object("node1");
    assert_eq!(
        object,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "one", "namespace": "a", "labels": {"l": "v"},
                "annotations": {"cni.projectcalico.org/ipAddrs": "[\"10.65.0.7\",\"fd65::7\"]"}},
            "spec": {"containers": [{"name": "main", "image": "lab", "ports": [
                {"containerPort": 80, "protocol": "TCP", "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]}],
                "serviceAccountName": "default", "nodeName": "node1"},
        })
    );
}

#[test]
fn addresses_are_those_of_the_lab() {
    let text = |a: [std::net::IpAddr; 2]| a.map(|a| a.to_string());
    assert_eq!(text(node_addresses(2, 3)), ["172.31.1.12", "fd00:31:1::12"]);
    assert_eq!(text(node_addresses(3, 3)), ["172.31.2.13", "fd00:31:2::13"]);
    assert_eq!(text(outside_addresses(0)), ["203.0.113.2", "2001:db8:113::2"]);
    assert_eq!(text(outside_addresses(8)), ["203.0.113.10", "2001:db8:113::10"]);
}

#[test]
fn faults_are_written_as_they_are_read() {
    for text in ["kill-agent 2", "restart-agent 1", "kill-bird 3", "cut 1", "heal 1", "kill-store"] {
        assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
    }
    assert_eq!("cut node3".parse::<Fault>().unwrap(), Fault::Cut(3));
    for bad in ["", "kill-agent", "kill-agent x", "explode 1", "kill-store 1"] {
        assert!(bad.parse::<Fault>().is_err(), "{bad}");
    }
}
