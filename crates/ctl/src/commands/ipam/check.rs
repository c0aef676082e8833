//! ipam check: compares what address management holds with what nodes and workloads use.

use super::{items, read_blocks};
use crate::client::{self, Client};
use crate::commands::{CALICO_VERSION, Common, Failure, Outcome, Surroundings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tortie_api::k8s;
use tortie_net::Cidr;

/// Where all handles are.
const HANDLES: &str = "/calico/ipam/v2/handle/";

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) all: bool,
    pub(crate) problems: bool,
    pub(crate) report: Option<String>,
}

/// What `ipam release --from-report` reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) version: String,
    #[serde(rename = "clusterGUID")]
    pub(crate) cluster_guid: String,
    pub(crate) datastore_locked: bool,
    pub(crate) cluster_information_revision: String,
    pub(crate) cluster_type: String,
    /// By address.
    pub(crate) allocations: BTreeMap<String, Vec<Allocation>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) leaked_handles: Vec<Leak>,
}

/// An allocated address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Allocation {
    pub(crate) ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sequence_number: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pod: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    node: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    purpose: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    creation_timestamp: String,
    pub(crate) in_use: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    borrowed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cooling_down: bool,
    owners: Vec<String>,
}

/// A handle without addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Leak {
    pub(crate) id: String,
    pub(crate) revision: String,
}

/// Who uses which address.
type Owners = BTreeMap<IpAddr, Vec<String>>;

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    let information = client.cluster_information().await?.unwrap_or_default();
    writeln!(world.out, "Checking IPAM for inconsistencies...\n")?;
    let owners = owners(&client, world).await?;
    let (mut report, used_handles) = allocations(&client, &owners, world).await?;
    CALICO_VERSION.clone_into(&mut report.version);
    report.cluster_guid = client::text(&information, "/spec/clusterGUID").to_owned();
    report.cluster_type = client::text(&information, "/spec/clusterType").to_owned();
    report.cluster_information_revision = client::text(&information, "/metadata/resourceVersion").to_owned();
    report.datastore_locked = information["spec"]["datastoreReady"] == serde_json::json!(false);
    let verbose = options.all || options.problems;
    let mut problems = leaked(&report, options, verbose, world)?;
    problems += unallocated(&client, &report, &owners, verbose, world).await?;
    problems += handles(&client, &mut report, &used_handles, verbose, world).await?;
    writeln!(world.out, "Check complete; found {problems} problems.")?;
    if let Some(file) = options.report.as_deref().filter(|file| !file.is_empty()) {
        let text = serde_json::to_vec_pretty(&report)?;
        std::fs::write(file, text).map_err(|e| Failure::new(format!("write the report to {file}: {e}")))?;
    }
    Ok(())
}

/// Addresses of nodes' tunnels, endpoints and pods.
async fn owners(client: &Client, world: &mut Surroundings<'_>) -> Outcome<Owners> {
    let mut owners = Owners::new();
    let mut add = |text: &str, owner: &str| {
        let bare = text.split('/').next().unwrap_or(text);
        let Ok(ip) = bare.parse::<IpAddr>() else { return 0 };
        let owners = owners.entry(ip).or_default();
        if !owners.iter().any(|o| o == owner) {
            owners.push(owner.to_owned());
        }
        1
    };
    let mut tunnels = 0;
    for node in items(client, "Node").await? {
        let owner = format!("Node({})", client::text(&node, "/metadata/name"));
        for path in [
            "/spec/bgp/ipv4IPIPTunnelAddr",
            "/spec/ipv4VXLANTunnelAddr",
            "/spec/ipv6VXLANTunnelAddr",
            "/spec/wireguard/interfaceIPv4Address",
            "/spec/wireguard/interfaceIPv6Address",
        ] {
            tunnels += add(client::text(&node, path), &owner);
        }
    }
    writeln!(world.out, "Found {tunnels} node tunnel IPs.")?;
    let mut workloads = 0;
    for endpoint in items(client, "WorkloadEndpoint").await? {
        let owner = owner("Workload", &endpoint);
        for network in endpoint["spec"]["ipNetworks"].as_array().into_iter().flatten() {
            workloads += add(network.as_str().unwrap_or(""), &owner);
        }
    }
    for entry in client.store().list(&format!("{}pods/", k8s::PATH_PREFIX)).await?.entries {
        let Ok(pod) = serde_json::from_slice::<Value>(&entry.value) else { continue };
        let listed = &pod["metadata"]["annotations"];
        let texts =
            ["cni.projectcalico.org/podIPs", "cni.projectcalico.org/podIP"].map(|key| listed[key].as_str());
        let text = texts.into_iter().flatten().find(|text| !text.is_empty()).unwrap_or("");
        for ip in text.split(',') {
            workloads += add(ip, &owner("Pod", &pod));
        }
    }
    writeln!(world.out, "Found {workloads} workload IPs.")?;
    writeln!(world.out, "Workloads and nodes are using {} IPs.\n", owners.len())?;
    Ok(owners)
}

fn owner(what: &str, object: &Value) -> String {
    format!(
        "{what}({}/{})",
        client::text(object, "/metadata/namespace"),
        client::text(object, "/metadata/name")
    )
}

async fn allocations(
    client: &Client,
    owners: &Owners,
    world: &mut Surroundings<'_>,
) -> Outcome<(Report, BTreeSet<String>)> {
    let (mut report, mut handles) = (Report::default(), BTreeSet::new());
    let blocks = read_blocks(client).await?;
    writeln!(world.out, "Found {} IPAM blocks.", blocks.len())?;
    let mut count = 0;
    for block in &blocks {
        let affinity = block.owner().map_or_else(|| "<none>".to_owned(), |owner| owner.to_string());
        writeln!(world.out, " IPAM block {} affinity={affinity}", block.cidr())?;
        for allocation in block.allocations() {
            count += 1;
            let handle = allocation.attribute.handle_id.clone().unwrap_or_default();
            let attr = |name: &str| allocation.attr(name).unwrap_or("").to_owned();
            let users = owners.get(&allocation.addr).cloned().unwrap_or_default();
            if !handle.is_empty() {
                handles.insert(handle.to_lowercase());
            }
            let node = attr("node");
            report.allocations.entry(allocation.addr.to_string()).or_default().push(Allocation {
                ip: allocation.addr.to_string(),
                handle,
                sequence_number: Some(allocation.sequence).filter(|n| *n > 0),
                pod: attr("pod"),
                namespace: attr("namespace"),
                borrowed: !node.is_empty() && block.owner().is_some_and(|owner| owner.name() != node),
                node,
                purpose: attr("type"),
                creation_timestamp: attr("timestamp"),
                in_use: !users.is_empty(),
                cooling_down: allocation.is_cooling(),
                owners: users,
            });
        }
    }
    writeln!(world.out, "IPAM blocks record {count} allocations.\n")?;
    Ok((report, handles))
}

fn leaked(report: &Report, options: &Options, verbose: bool, world: &mut Surroundings<'_>) -> Outcome<usize> {
    writeln!(world.out, "Scanning for IPs that are allocated but not actually in use...")?;
    let mut count = 0;
    for allocation in report.allocations.values().flatten() {
        let Allocation { ip, handle, namespace, pod, node, purpose, .. } = allocation;
        let leaked = !allocation.in_use && !allocation.cooling_down;
        count += usize::from(leaked);
        let what = if leaked { "leaked" } else { "in use" };
        if (leaked && verbose) || options.all {
            let pod = if pod.is_empty() { purpose.clone() } else { format!("{namespace}/{pod}") };
            writeln!(world.out, "  {ip} {what}; handle {handle:?}, {pod} on {node:?}")?;
        }
    }
    writeln!(world.out, "Found {count} IPs that are allocated in IPAM but not actually in use.")?;
    Ok(count)
}

async fn unallocated(
    client: &Client,
    report: &Report,
    owners: &Owners,
    verbose: bool,
    world: &mut Surroundings<'_>,
) -> Outcome<usize> {
    writeln!(
        world.out,
        "Scanning for IPs that are in use by a workload or node but not allocated in IPAM..."
    )?;
    let pools = items(client, "IPPool").await?;
    let active = pools.iter().filter(|pool| pool["spec"]["disabled"] != serde_json::json!(true));
    let pools: Vec<Cidr> = active.filter_map(|pool| client::text(pool, "/spec/cidr").parse().ok()).collect();
    let (mut outside, mut missing) = (0, 0);
    for (ip, users) in owners.iter().filter(|(ip, _)| !report.allocations.contains_key(&ip.to_string())) {
        let within = pools.iter().any(|pool| pool.contains(*ip));
        *(if within { &mut missing } else { &mut outside }) += 1;
        if verbose {
            let where_ = if within {
                "in active IPAM pool but has no IPAM allocation"
            } else {
                "is not in any active IP pool"
            };
            writeln!(world.out, "  {ip} in use by {} {where_}.", users.join(", "))?;
        }
    }
    writeln!(world.out, "Found {outside} in-use IPs that are not in active IP pools.")?;
    writeln!(
        world.out,
        "Found {missing} in-use IPs that are in active IP pools but have no corresponding IPAM allocation.\n"
    )?;
    Ok(outside + missing)
}

async fn handles(
    client: &Client,
    report: &mut Report,
    used: &BTreeSet<String>,
    verbose: bool,
    world: &mut Surroundings<'_>,
) -> Outcome<usize> {
    writeln!(world.out, "Scanning for IPAM handles with no matching IPs...")?;
    let mut known = BTreeSet::new();
    for entry in client.store().list(HANDLES).await?.entries {
        let id = entry.key.strip_prefix(HANDLES).unwrap_or(&entry.key).to_owned();
        if !used.contains(&id.to_lowercase()) {
            if verbose {
                writeln!(world.out, "  {id} doesn't have any active IPs.")?;
            }
            report.leaked_handles.push(Leak { id: id.clone(), revision: entry.revision.to_string() });
        }
        known.insert(id.to_lowercase());
    }
    let leaked = report.leaked_handles.len();
    let good = known.len() - leaked;
    writeln!(world.out, "Found {leaked} handles with no matching IPs (and {good} handles with matches).")?;
    writeln!(world.out, "Scanning for IPs with missing handle...")?;
    let missing: Vec<&String> = used.difference(&known).collect();
    for id in missing.iter().filter(|_| verbose) {
        writeln!(world.out, "  {id} is in use in a block but doesn't exist.")?;
    }
    writeln!(
        world.out,
        "Found {} handles mentioned in blocks with no matching handle resource.",
        missing.len()
    )?;
    Ok(leaked)
}
