//! What pods leave behind: addresses, handles, interfaces, routes and chains, compared with the pods that there are.

use crate::{Cluster, wait};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How long the last of it may take to go.
const PATIENCE: std::time::Duration = wait::seconds(40);

/// A pod that has a network of its own.
#[derive(Debug)]
struct Owner {
    /// `namespace/name`.
    name: String,
    node: String,
    ips: BTreeSet<String>,
    container: String,
}

impl Owner {
    /// True if the handle is that of its container.
    fn holds(&self, handle: &str) -> bool {
        !self.container.is_empty() && handle.ends_with(&self.container)
    }
}

/// Waits until there is nothing but what living pods have, and all of that.
pub fn none(cluster: &Cluster) -> Result<()> {
    wait::until_true("nothing but what pods have", PATIENCE, || {
        let found = find(cluster)?;
        if !found.is_empty() {
            bail!("{}", found.join("; "));
        }
        Ok(true)
    })
}

/// Everything that is there for nobody, or missing for somebody.
pub fn find(cluster: &Cluster) -> Result<Vec<String>> {
    let owners = owners(cluster)?;
    let mut found = Vec::new();
    addresses(cluster, &owners, &mut found)?;
    for node in 1..=cluster.shape.nodes {
        kernel(cluster, node, &owners, &mut found)?;
    }
    Ok(found)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Pods that hold addresses: neither on their node's network, nor at their end.
fn owners(cluster: &Cluster) -> Result<Vec<Owner>> {
    let pods = cluster.list(&["pods", "-A"])?;
    let own = pods.iter().filter(|pod| {
        let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        let host = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
        !ended && !host && !text(pod, "/spec/nodeName").is_empty()
    });
    Ok(own
        .map(|pod| {
            let ips = text(pod, "/metadata/annotations/cni.projectcalico.org~1podIPs");
            let ips = ips.split(',').filter_map(|ip| ip.split('/').next());
            Owner {
                name: format!("{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name")),
                node: text(pod, "/spec/nodeName").to_owned(),
                ips: ips.filter(|ip| !ip.is_empty()).map(str::to_owned).collect(),
                container: text(pod, "/metadata/annotations/cni.projectcalico.org~1containerID").to_owned(),
            }
        })
        .collect())
}

/// Compares blocks and handles with pods.
fn addresses(cluster: &Cluster, owners: &[Owner], found: &mut Vec<String>) -> Result<()> {
    let mut held: BTreeSet<(String, String)> = BTreeSet::new();
    for block in cluster.list(&["ipamblocks"])? {
        let Some(spec) = block.get("spec") else { continue };
        let (cidr, list) = (text(spec, "/cidr"), |name: &str| spec.get(name).and_then(Value::as_array));
        let attributes: Vec<&Value> = list("attributes").into_iter().flatten().collect();
        for (ordinal, index) in list("allocations").into_iter().flatten().enumerate() {
            let Some(attribute) = index.as_u64().and_then(|i| attributes.get(i as usize)) else { continue };
            let pod = text(attribute, "/secondary/pod");
            // Released, and not yet for others; or a node's own.
            let cooling = attribute.pointer("/secondary/releasedAt").is_some();
            if pod.is_empty() || cooling {
                continue;
            }
            let name = format!("{}/{pod}", text(attribute, "/secondary/namespace"));
            let handle = text(attribute, "/handle_id").to_owned();
            let known = owners.iter().any(|o| o.name == name && o.holds(&handle));
            if !known {
                found.push(format!("address {ordinal} of block {cidr} is held for {name} by {handle}"));
            }
            held.insert((handle, cidr.to_owned()));
        }
    }
    for owner in owners {
        let blocks = held.iter().filter(|(handle, _)| owner.holds(handle)).count();
        if blocks != owner.ips.len() || owner.ips.len() != 2 {
            found.push(format!("{} has {:?}, and addresses in {blocks} blocks", owner.name, owner.ips));
        }
    }
    for handle in cluster.list(&["ipamhandles"])? {
        let id = text(&handle, "/spec/handleID").to_owned();
        let of_pod = id.starts_with("k8s-pod-network.");
        if of_pod && !owners.iter().any(|o| o.holds(&id)) {
            found.push(format!("handle {id} is nobody's"));
        }
    }
    Ok(())
}

/// Compares a node's interfaces, routes and chains with its pods.
fn kernel(cluster: &Cluster, node: usize, owners: &[Owner], found: &mut Vec<String>) -> Result<()> {
    let name = cluster.node_name(node);
    let owners: Vec<&Owner> = owners.iter().filter(|o| o.node == name).collect();
    let json = |script: &str| -> Result<Vec<Value>> {
        let text = cluster.sh(node, script)?;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_str(&text).with_context(|| format!("{name}: {script}: no JSON"))
    };
    // The description says whose an interface is.
    let links = json("ip -j -d link show type veth")?;
    let mut mine = BTreeMap::new();
    for link in links.iter().filter(|l| text(l, "/ifname").starts_with("cali")) {
        let (interface, alias) = (text(link, "/ifname"), text(link, "/ifalias"));
        match owners.iter().find(|o| alias == format!("{} {}", o.name, o.container)) {
            Some(owner) => {
                mine.insert(interface.to_owned(), *owner);
            }
            None => found.push(format!("{name}: interface {interface} of {alias:?} is nobody's")),
        }
    }
    for owner in owners.iter().filter(|o| !mine.values().any(|m| m.name == o.name)) {
        found.push(format!("{name}: {} has no interface", owner.name));
    }
    let mut routed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let routes: Vec<Value> = ["ip -j route show table all", "ip -j -6 route show table all"]
        .iter()
        .map(|script| json(script))
        .collect::<Result<Vec<_>>>()?
        .concat();
    for route in routes.iter().filter(|r| text(r, "/dev").starts_with("cali")) {
        let (dst, dev) = (text(route, "/dst"), text(route, "/dev"));
        let kernels =
            text(route, "/protocol") == "kernel" || dst.starts_with("fe80") || dst.starts_with("ff00");
        if kernels {
            continue;
        }
        match mine.get_key_value(dev) {
            Some((interface, owner)) if owner.ips.contains(dst) => {
                routed.entry(interface.as_str()).or_default().insert(dst.to_owned());
            }
            _ => found.push(format!("{name}: the route to {dst} by {dev} is nobody's")),
        }
    }
    for (interface, owner) in &mine {
        let routed = routed.get(interface.as_str()).cloned().unwrap_or_default();
        if routed != owner.ips {
            found.push(format!("{name}: {} has {:?}, routed are {routed:?}", owner.name, owner.ips));
        }
    }
    let chains = cluster.sh(node, "nft list chains | grep -o -E 'chain cali-[tf]w-[^ ]+' | sort -u")?;
    let of_workloads: BTreeSet<&str> =
        chains.lines().filter_map(|c| c.get("chain cali-tw-".len()..)).collect();
    for interface in &of_workloads {
        if !mine.contains_key(*interface) {
            found.push(format!("{name}: chains of {interface} are nobody's"));
        }
    }
    for (interface, owner) in mine.iter().filter(|(i, _)| !of_workloads.contains(i.as_str())) {
        found.push(format!("{name}: {} has no chains for {interface}", owner.name));
    }
    Ok(())
}
