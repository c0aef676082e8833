//! Pods.

use super::{namespace_profile_name, qos, service_account_profile_name};
use crate::convert::Problems;
use crate::convert::wep_name::WepName;
use crate::names;
use tortie_api::k8s::{Container, Pod};
use tortie_api::v3::{
    IpNat, LABEL_NAMESPACE, LABEL_ORCHESTRATOR, LABEL_SERVICE_ACCOUNT, WorkloadEndpoint,
    WorkloadEndpointPort, WorkloadEndpointSpec,
};
use tortie_net::{Cidr, Family};

/// Address, written by whoever set up the pod; empty once it is taken down.
const POD_IP: &str = "cni.projectcalico.org/podIP";
/// Addresses, separated by commas.
const POD_IPS: &str = "cni.projectcalico.org/podIPs";
/// Addresses, written by Amazon's plugin.
const AWS_POD_IPS: &str = "vpc.amazonaws.com/pod-ips";
const CONTAINER_ID: &str = "cni.projectcalico.org/containerID";
const FLOATING_IPS: &str = "cni.projectcalico.org/floatingIPs";
const ALLOWED_SOURCES: &str = "cni.projectcalico.org/allowedSourcePrefixes";
/// Passed on to the endpoint.
const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// Label values end here; longer names of service accounts are in the spec only.
const MAX_LABEL_VALUE: usize = 63;

/// True if the pod uses its node's network.
pub fn is_host_networked(pod: &Pod) -> bool {
    pod.spec.host_network
}

/// True if the pod has a node.
pub fn is_scheduled(pod: &Pod) -> bool {
    !pod.spec.node_name.is_empty()
}

/// True if the pod can be an endpoint, be it without address yet.
pub fn is_valid_endpoint(pod: &Pod) -> bool {
    !is_host_networked(pod) && is_scheduled(pod)
}

/// True if the pod says that it has an address.
pub fn has_address(pod: &Pod) -> bool {
    let annotated = |name| pod.metadata.annotation(name).is_some_and(|text| !text.is_empty());
    !pod.status.pod_ip.is_empty() || annotated(POD_IP) || annotated(AWS_POD_IPS)
}

/// True if the pod is an endpoint with an address.
pub fn is_ready(pod: &Pod) -> bool {
    is_valid_endpoint(pod) && has_address(pod)
}

/// True if the pod no longer owns its addresses.
pub fn is_finished(pod: &Pod) -> bool {
    let taken_down = |name| pod.metadata.annotation(name) == Some("");
    let deleting = pod.metadata.deletion_timestamp.is_some();
    (deleting && (taken_down(POD_IP) || taken_down(AWS_POD_IPS)))
        || matches!(pod.status.phase.as_str(), "Failed" | "Succeeded" | "Completed")
}

/// Addresses of a pod: from its status, else from annotations. An address that is none is fatal.
pub fn pod_addresses(pod: &Pod, problems: &mut Problems) -> Vec<Cidr> {
    let annotation = |name| pod.metadata.annotation(name).filter(|text| !text.is_empty());
    let (field, texts): (String, Vec<&str>) = if !pod.status.pod_ips.is_empty() {
        ("status.podIPs".to_owned(), pod.status.pod_ips.iter().map(|p| p.ip.as_str()).collect())
    } else if !pod.status.pod_ip.is_empty() {
        ("status.podIP".to_owned(), vec![pod.status.pod_ip.as_str()])
    } else {
        let source =
            [POD_IPS, POD_IP, AWS_POD_IPS].into_iter().find_map(|name| annotation(name).map(|t| (name, t)));
        match source {
            Some((name, text)) if name == POD_IP => (format!("metadata.annotations[{name}]"), vec![text]),
            Some((name, text)) => (format!("metadata.annotations[{name}]"), text.split(',').collect()),
            None => return Vec::new(),
        }
    };
    let mut addresses = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(error) => problems.fatal(&field, format!("{error}")),
        }
    }
    addresses
}

/// The endpoint of a pod; `None`, with a problem, if the pod cannot have one. A finished pod has no addresses.
///
/// `interface_prefix` begins the name of the interface on the host, see [`names::veth`].
pub fn pod_to_workload_endpoint(
    pod: &Pod,
    interface_prefix: &str,
    problems: &mut Problems,
) -> Option<WorkloadEndpoint> {
    let (metadata, spec) = (&pod.metadata, &pod.spec);
    let name = WepName {
        node: spec.node_name.clone(),
        orchestrator: "k8s".to_owned(),
        workload: metadata.name.clone(),
        endpoint: "eth0".to_owned(),
    };
    let name = match name.to_name() {
        Ok(name) => name,
        Err(error) => {
            let field = if error.part == "node" { "spec.nodeName" } else { "metadata.name" };
            problems.fatal(field, error.to_string());
            return None;
        }
    };
    let account = spec.service_account_name.as_str();
    let mut profiles = vec![namespace_profile_name(&metadata.namespace)];
    if !account.is_empty() {
        profiles.push(service_account_profile_name(&metadata.namespace, account));
    }
    let mut addresses = pod_addresses(pod, problems);
    if is_finished(pod) {
        addresses.clear();
    }
    let mut labels = metadata.labels.clone();
    labels.insert(LABEL_NAMESPACE.to_owned(), metadata.namespace.clone());
    labels.insert(LABEL_ORCHESTRATOR.to_owned(), "k8s".to_owned());
    if !account.is_empty() && account.len() < MAX_LABEL_VALUE {
        labels.insert(LABEL_SERVICE_ACCOUNT.to_owned(), account.to_owned());
    }
    let mut ports = Vec::new();
    container_ports(&spec.containers, "spec.containers", &mut ports, problems);
    container_ports(&spec.init_containers, "spec.initContainers", &mut ports, problems);
    let mut endpoint = WorkloadEndpoint::with_spec(
        &metadata.namespace,
        &name,
        WorkloadEndpointSpec {
            orchestrator: "k8s".to_owned(),
            node: spec.node_name.clone(),
            pod: metadata.name.clone(),
            container_id: metadata.annotation(CONTAINER_ID).unwrap_or_default().to_owned(),
            endpoint: "eth0".to_owned(),
            interface_name: names::veth(interface_prefix, &metadata.namespace, &metadata.name),
            profiles,
            ip_nats: floating_ips(pod, &addresses, problems),
            ip_networks: addresses.iter().map(ToString::to_string).collect(),
            ports,
            service_account_name: account.to_owned(),
            allow_spoofed_source_prefixes: allowed_sources(pod, problems),
            qos_controls: qos::controls(&metadata.annotations, problems),
            ..WorkloadEndpointSpec::default()
        },
    );
    endpoint.metadata.labels = labels;
    endpoint.metadata.generate_name.clone_from(&metadata.generate_name);
    endpoint.metadata.uid.clone_from(&metadata.uid);
    endpoint.metadata.creation_timestamp.clone_from(&metadata.creation_timestamp);
    if let Some(status) = metadata.annotation(NETWORK_STATUS) {
        endpoint.metadata.annotations.insert(NETWORK_STATUS.to_owned(), status.to_owned());
    }
    Some(endpoint)
}

/// Ports that have a name or a port of the host.
fn container_ports(
    containers: &[Container],
    field: &str,
    ports: &mut Vec<WorkloadEndpointPort>,
    problems: &mut Problems,
) {
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.ports.iter().enumerate() {
            let field = format!("{field}[{i}].ports[{j}]");
            if port.container_port == 0 || (port.host_port == 0 && port.name.is_empty()) {
                continue;
            }
            let protocol = match port.protocol.as_str() {
                "" | "TCP" => "TCP",
                "UDP" => "UDP",
                "SCTP" => "SCTP",
                other => {
                    problems.dropped(
                        &format!("{field}.protocol"),
                        format!("{other:?} is not TCP, UDP or SCTP; the port is left out"),
                    );
                    continue;
                }
            };
            let (Ok(number), Ok(host_port)) =
                (u16::try_from(port.container_port), u16::try_from(port.host_port))
            else {
                problems.dropped(&field, "a port is not between 1 and 65535; it is left out".to_owned());
                continue;
            };
            ports.push(WorkloadEndpointPort {
                name: port.name.clone(),
                protocol: protocol.into(),
                port: number,
                host_port,
                host_ip: port.host_ip.clone(),
            });
        }
    }
}

/// A JSON list of texts in an annotation; what is none is fatal.
fn json_list(pod: &Pod, annotation: &str, problems: &mut Problems) -> Vec<String> {
    let Some(text) = pod.metadata.annotation(annotation) else { return Vec::new() };
    serde_json::from_str(text).unwrap_or_else(|error| {
        let field = format!("metadata.annotations[{annotation}]");
        problems.fatal(&field, format!("not a JSON list of texts: {error}"));
        Vec::new()
    })
}

/// Floating addresses, each to the pod's address of its family.
fn floating_ips(pod: &Pod, addresses: &[Cidr], problems: &mut Problems) -> Vec<IpNat> {
    if addresses.is_empty() {
        return Vec::new();
    }
    let external = json_list(pod, FLOATING_IPS, problems);
    if !external.is_empty()
        && let Some(prefix) = addresses.iter().find(|a| !a.is_host())
    {
        problems.fatal("status.podIPs", format!("{prefix} is a whole prefix, not one address"));
        return Vec::new();
    }
    let own = |family| addresses.iter().rfind(|a| a.family() == family).map(|a| a.addr().to_string());
    let (v4, v6) = (own(Family::V4), own(Family::V6));
    external
        .into_iter()
        .filter_map(|external_ip| {
            let internal_ip = if external_ip.contains(':') { v6.clone() } else { v4.clone() }?;
            Some(IpNat { internal_ip, external_ip })
        })
        .collect()
}

fn allowed_sources(pod: &Pod, problems: &mut Problems) -> Vec<String> {
    if pod.metadata.annotation(ALLOWED_SOURCES) == Some("") {
        return Vec::new();
    }
    let mut prefixes = Vec::new();
    for text in json_list(pod, ALLOWED_SOURCES, problems) {
        let prefix = if text.contains('/') { text.parse::<Cidr>().ok() } else { None };
        match prefix {
            Some(prefix) => prefixes.push(prefix.to_string()),
            None => problems.fatal(
                &format!("metadata.annotations[{ALLOWED_SOURCES}]"),
                format!("{text:?} is not a CIDR"),
            ),
        }
    }
    prefixes
}
