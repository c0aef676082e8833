//! Pods of real nodes that the lab did not start: kubectl's and controllers'. They are seen as they are, their ports are their own
//! programs', and they come and go as they like.

use crate::lab::Lab;
use crate::pods::{Pod, PodName};
use crate::sandbox::NETNS_DIR;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tortie_kernel_net::NetNs;
use tortie_net::Protocol;
use tortie_probe::Host;
use tortie_scenario::{Listen, ObjectId};

/// A pod as the API knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    uid: String,
    /// Name of its node, if it runs there with all its containers and a network of its own.
    node: Option<String>,
    /// Ports that its containers name, of protocols with connections: whether others are open, nobody can tell from outside.
    listen: Vec<Listen>,
    owner: Option<ObjectId>,
}

impl Seen {
    fn of(pod: &Value) -> Self {
        let text =
            |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let hosted = pod.pointer("/spec/hostNetwork").is_some_and(|h| h == true);
        let leaving = pod.pointer("/metadata/deletionTimestamp").is_some();
        let runs = !hosted && !leaving && super::pods::running(pod).is_some();
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let ports = containers.into_iter().flatten().filter_map(|c| c.get("ports")?.as_array()).flatten();
        Self {
            uid: text("/metadata/uid"),
            node: runs.then(|| text("/spec/nodeName")),
            listen: ports.filter_map(port).collect(),
            owner: pod.pointer("/metadata/ownerReferences/0").map(|owner| {
                let text =
                    |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                let version = text("apiVersion");
                ObjectId {
                    group: version.split_once('/').map_or("", |(group, _)| group).to_owned(),
                    kind: text("kind"),
                    namespace: self::text(pod, "/metadata/namespace"),
                    name: text("name"),
                }
            }),
        }
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn port(port: &Value) -> Option<Listen> {
    let protocol: Protocol = match port.get("protocol").and_then(Value::as_str) {
        None => Protocol::TCP,
        Some(word) => word.parse().ok()?,
    };
    Some(Listen {
        port: port.get("containerPort")?.as_u64()?.try_into().ok()?,
        protocol,
        name: port.get("name").and_then(Value::as_str).map(str::to_owned),
    })
    .filter(|listen| [Protocol::TCP, Protocol::SCTP].contains(&listen.protocol))
}

impl Lab {
    /// Brings the list of pods up to date with the API, where others than the lab start and stop pods.
    pub(crate) async fn look_at_pods(&self) -> anyhow::Result<()> {
        let (Some(control), Some(_)) = (&self.store.control, &self.spec.kubelets) else { return Ok(()) };
        // Not the datastore's records: those have only what agents look at.
        let list = control.client.get("/api/v1/pods").await?.unwrap_or_default();
        let mut seen = BTreeMap::new();
        for object in list.get("items").and_then(Value::as_array).into_iter().flatten() {
            let name: PodName =
                format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
                    .parse()?;
            seen.insert(name, Seen::of(object));
        }
        for pod in self.pods.all() {
            let same = |s: &Seen| s.uid == pod.container.uid && (!pod.foreign || s.node.is_some());
            if !seen.get(&pod.name).is_some_and(same) {
                self.listeners.remove(&pod.host);
                self.pods.forget(&pod.name);
                NetNs::remove(Path::new(NETNS_DIR).join(pod.name.netns()))?;
            }
        }
        for (name, seen) in seen {
            let node = self.nodes.iter().position(|n| seen.node.as_deref() == Some(n.name()));
            if let Some(node) = node.filter(|_| !self.pods.is_known(&name)) {
                // It may go while it is looked at.
                if let Err(error) = self.adopt(name.clone(), node, seen).await {
                    tracing::info!("pod {name} is left alone: {error:#}");
                }
            }
        }
        Ok(())
    }

    async fn adopt(&self, name: PodName, node: usize, seen: Seen) -> anyhow::Result<()> {
        let running = self.meet_pod(&name, node, seen.uid).await?;
        let host = Host::new(name.to_string(), running.netns, running.addresses);
        let pod = Pod {
            name,
            node,
            container: running.container,
            host,
            listen: seen.listen,
            owner: seen.owner,
            foreign: true,
        };
        self.pods.adopt(Arc::new(pod));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_counts_while_it_runs_with_a_network_of_its_own() {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "web-1", "uid": "u",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}]},
            "spec": {"nodeName": "node1", "containers": [{"ports": [
                {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 70000},
            ]}]},
            "status": {"podIPs": [{"ip": "10.65.0.1"}], "containerStatuses": [{"ready": true}]},
        });
        let seen = Seen::of(&pod);
        assert_eq!((seen.uid.as_str(), seen.node.as_deref()), ("u", Some("node1")));
        assert_eq!(seen.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["80/tcp"]);
        assert_eq!(seen.owner.unwrap().to_string(), "ReplicaSet shop/web");
        let mut hosted = pod.clone();
        hosted["spec"]["hostNetwork"] = true.into();
        let mut leaving = pod.clone();
        leaving["metadata"]["deletionTimestamp"] = "2020".into();
        let mut starting = pod;
        starting["status"]["containerStatuses"][0]["ready"] = false.into();
        for other in [hosted, leaving, starting] {
            assert_eq!(Seen::of(&other).node, None, "{other}");
        }
    }
}
