//! Who uses which address: tunnels of nodes, load balancers of services, endpoints, pods.

use super::super::items;
use crate::client::{Client, text};
use crate::commands::{Outcome, Surroundings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tortie_api::k8s;

/// Fields of a Node with addresses of its own out of pools.
const TUNNELS: [&str; 5] = [
    "/spec/ipv4VXLANTunnelAddr",
    "/spec/ipv6VXLANTunnelAddr",
    "/spec/wireguard/interfaceIPv4Address",
    "/spec/wireguard/interfaceIPv6Address",
    "/spec/bgp/ipv4IPIPTunnelAddr",
];
/// Annotations of a pod with its addresses; the first that is there counts.
const POD_ADDRESSES: [&str; 2] = ["cni.projectcalico.org/podIPs", "cni.projectcalico.org/podIP"];
/// Class of the balancers that are Calico's.
const BALANCER_CLASS: &str = "calico";
/// Annotations with which a service asks for an address of Calico's.
const BALANCER_WISHES: [&str; 3] =
    ["projectcalico.org/ipv4pools", "projectcalico.org/ipv6pools", "projectcalico.org/loadBalancerIPs"];

/// Users by address.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<IpAddr, Vec<String>>);

impl Owners {
    /// Number of addresses.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Users of an address.
    pub(super) fn of(&self, ip: IpAddr) -> &[String] {
        self.0.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// Addresses with their users.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpAddr, &Vec<String>)> {
        self.0.iter()
    }

    /// Notes a user.
    pub(super) fn add(
        &mut self,
        ip: IpAddr,
        owner: &str,
        tell: bool,
        world: &mut Surroundings<'_>,
    ) -> Outcome {
        if tell {
            writeln!(world.out, "  {ip} belongs to {owner}")?;
        }
        let owners = self.0.entry(ip).or_default();
        if !owners.iter().any(|o| o == owner) {
            owners.push(owner.to_owned());
        }
        Ok(())
    }

    /// As [`Owners::add`], for an address in text, with a prefix length perhaps; answers how many there were.
    fn add_text(
        &mut self,
        address: &str,
        owner: &str,
        tell: bool,
        world: &mut Surroundings<'_>,
    ) -> Outcome<usize> {
        let bare = address.split('/').next().unwrap_or(address).trim();
        let Ok(ip) = bare.parse() else { return Ok(0) };
        self.add(ip, owner, tell, world)?;
        Ok(1)
    }

    /// Addresses of nodes' tunnels.
    pub(super) async fn nodes(
        &mut self,
        client: &Client,
        tell: bool,
        world: &mut Surroundings<'_>,
    ) -> Outcome<usize> {
        let mut count = 0;
        for node in items(client, "Node").await? {
            let owner = format!("Node({})", text(&node, "/metadata/name"));
            for field in TUNNELS {
                count += self.add_text(text(&node, field), &owner, tell, world)?;
            }
        }
        Ok(count)
    }

    /// Addresses of services that Calico balances; answers how many services.
    pub(super) fn balancers(
        &mut self,
        services: &[Value],
        settings: &Value,
        tell: bool,
        world: &mut Surroundings<'_>,
    ) -> Outcome<usize> {
        let mut count = 0;
        for service in services.iter().filter(|service| is_balanced(service, text(settings, "/assignIPs"))) {
            count += 1;
            let points = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
            for point in points.into_iter().flatten() {
                self.add_text(text(point, "/ip"), text(service, "/metadata/name"), tell, world)?;
            }
        }
        Ok(count)
    }

    /// Addresses of endpoints and pods.
    pub(super) async fn workloads(
        &mut self,
        client: &Client,
        tell: bool,
        world: &mut Surroundings<'_>,
    ) -> Outcome<usize> {
        let mut count = 0;
        for endpoint in items(client, "WorkloadEndpoint").await? {
            let owner = name("Workload", &endpoint);
            for network in endpoint["spec"]["ipNetworks"].as_array().into_iter().flatten() {
                count += self.add_text(network.as_str().unwrap_or(""), &owner, tell, world)?;
            }
        }
        for pod in objects(client, "pods").await? {
            let noted = &pod["metadata"]["annotations"];
            let noted = POD_ADDRESSES.iter().filter_map(|key| noted[*key].as_str()).find(|t| !t.is_empty());
            for ip in noted.unwrap_or("").split(',') {
                count += self.add_text(ip, &name("Pod", &pod), tell, world)?;
            }
        }
        Ok(count)
    }
}

fn name(what: &str, object: &Value) -> String {
    format!("{what}({}/{})", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

/// True if Calico gives the service its address.
fn is_balanced(service: &Value, assign: &str) -> bool {
    if text(service, "/spec/type") != "LoadBalancer" {
        return false;
    }
    let class = service.pointer("/spec/loadBalancerClass").and_then(Value::as_str);
    let ours_or_any = class.is_none_or(|class| class == BALANCER_CLASS);
    if assign != "RequestedServicesOnly" {
        return ours_or_any;
    }
    let annotations = &service["metadata"]["annotations"];
    let asks =
        BALANCER_WISHES.iter().any(|key| annotations[*key].as_str().is_some_and(|text| !text.is_empty()))
            || !text(service, "/spec/loadBalancerIP").is_empty();
    class == Some(BALANCER_CLASS) || (asks && ours_or_any)
}

/// Services of the cluster: those in the datastore, or those of Kubernetes if its configuration is named.
pub(super) async fn services(
    client: &Client,
    _kubeconfig: Option<&str>,
    _world: &mut Surroundings<'_>,
) -> Outcome<Vec<Value>> {
    objects(client, "services").await
}

/// Kubernetes objects in the datastore.
async fn objects(client: &Client, plural: &str) -> Outcome<Vec<Value>> {
    let list = client.store().list(&format!("{}{plural}/", k8s::PATH_PREFIX)).await?;
    Ok(list.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_are_balanced_by_class_and_wish() {
        let service = |class: Value, annotations: Value| json!({"metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer", "loadBalancerClass": class}});
        let wish = || json!({"projectcalico.org/ipv6pools": "[\"a\"]"});
        for (class, annotations, all, requested) in [
            (json!(null), json!({}), true, false),
            (json!("calico"), json!({}), true, true),
            (json!("other"), json!({}), false, false),
            (json!(null), wish(), true, true),
            (json!("other"), wish(), false, false),
        ] {
            let service = service(class, annotations);
            assert_eq!(is_balanced(&service, "AllServices"), all, "{service}");
            assert_eq!(is_balanced(&service, "RequestedServicesOnly"), requested, "{service}");
        }
        assert!(!is_balanced(
            &json!({"spec": {"type": "ClusterIP", "loadBalancerClass": "calico"}}),
            "AllServices"
        ));
    }
}
