//! The pods that a workload asks for. Pure.

use crate::objects::ObjectId;
use crate::pods::{Listen, PodName, PodWish};
use anyhow::Context as _;
use serde_json::Value;
use tortie_api::k8s;

/// Pods of a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob. Those of a Pod have its name, others
/// `name-N` from 0; those of a DaemonSet are one on each node.
pub(crate) fn pods(id: &ObjectId, object: &Value, nodes: usize) -> anyhow::Result<Vec<PodWish>> {
    if id.kind == "Pod" {
        let pod: k8s::Pod = serde_json::from_value(object.clone()).context("this is no pod")?;
        let node = pod.spec.node_name.strip_prefix("node").and_then(|n| n.parse().ok());
        let spec = object.get("spec").cloned().unwrap_or_default();
        return Ok(vec![PodWish { node, ..wish(id, &id.name, &pod.metadata, &pod.spec, spec) }]);
    }
    let workload = k8s::Workload::from_value(object).with_context(|| format!("this is no {}", id.kind))?;
    let template =
        if id.kind == "CronJob" { "/spec/jobTemplate/spec/template/spec" } else { "/spec/template/spec" };
    let spec = object.pointer(template).cloned().unwrap_or_default();
    let meta = &workload.spec.template.metadata;
    let each_node = id.kind == "DaemonSet";
    let count = workload.pods(u32::try_from(nodes).unwrap_or(u32::MAX));
    Ok((0..count as usize)
        .map(|i| PodWish {
            node: each_node.then_some(i + 1),
            ..wish(id, &format!("{}-{i}", id.name), meta, &workload.spec.template.spec, spec.clone())
        })
        .collect())
}

fn wish(id: &ObjectId, name: &str, meta: &k8s::Meta, spec: &k8s::PodSpec, raw: Value) -> PodWish {
    let ports = spec.containers.iter().flat_map(|c| &c.ports);
    let listen = ports.filter_map(|p| {
        Some(Listen {
            name: Some(p.name.clone()).filter(|n| !n.is_empty()),
            port: u16::try_from(p.container_port).ok().filter(|p| *p > 0)?,
            protocol: if p.protocol.is_empty() { "tcp".to_owned() } else { p.protocol.to_ascii_lowercase() },
        })
    });
    PodWish {
        namespace: id.namespace.clone(),
        name: name.to_owned(),
        node: None,
        labels: meta.labels.clone(),
        annotations: meta.annotations.clone(),
        service_account: spec.service_account_name.clone(),
        listen: listen.collect(),
        addresses: Vec::new(),
        owner: Some(id.clone()),
        spec: raw,
    }
}

impl PodWish {
    pub(crate) fn pod_name(&self) -> anyhow::Result<PodName> {
        format!("{}/{}", self.namespace, self.name).parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id(kind: &str) -> ObjectId {
        ObjectId { kind: kind.into(), namespace: "shop".into(), name: "web".into() }
    }

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"serviceAccountName": "w", "containers": [
                {"name": "a", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]},
                {"name": "b", "ports": [{"containerPort": 9090}]},
            ]},
        })
    }

    #[test]
    fn replicas_listen_on_the_ports_of_their_containers() {
        let object = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2, "template": template()}});
        let pods = pods(&id("Deployment"), &object, 3).unwrap();
        let names: Vec<&str> = pods.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["web-0", "web-1"]);
        let listen: Vec<String> = pods[0].listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["http=80/tcp", "53/udp", "9090/tcp"]);
        assert_eq!((pods[0].labels["app"].as_str(), pods[0].service_account.as_str()), ("web", "w"));
        assert_eq!(pods[0].node, None);
    }

    #[test]
    fn a_daemon_set_is_on_every_node_and_a_cron_job_is_a_job() {
        let object =
            json!({"kind": "DaemonSet", "metadata": {"name": "web"}, "spec": {"template": template()}});
        let nodes: Vec<Option<usize>> =
            pods(&id("DaemonSet"), &object, 3).unwrap().iter().map(|p| p.node).collect();
        assert_eq!(nodes, [Some(1), Some(2), Some(3)]);
        let object = json!({"kind": "CronJob", "metadata": {"name": "web"},
            "spec": {"jobTemplate": {"spec": {"parallelism": 2, "template": template()}}}});
        let pods = pods(&id("CronJob"), &object, 3).unwrap();
        assert_eq!(pods.len(), 2);
        assert!(pods[1].spec["containers"].is_array());
    }

    #[test]
    fn a_pod_keeps_its_name_and_node() {
        let mut object = json!({"kind": "Pod", "metadata": {"name": "web", "labels": {"a": "b"}}, "spec": template()["spec"]});
        object["spec"]["nodeName"] = "node2".into();
        let pods = pods(&id("Pod"), &object, 3).unwrap();
        assert_eq!((pods.len(), pods[0].name.as_str(), pods[0].node), (1, "web", Some(2)));
    }
}
