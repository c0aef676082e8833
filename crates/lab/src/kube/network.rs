//! What gives pods of real nodes their network: files of the CNI, and routes where nobody else makes them.

use crate::fabric::Fabric;
use crate::spec::Families;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tortie_kernel_net::{Netlink, Route};
use tortie_net::{Cidr, Family};

/// Where Debian keeps the CNI project's plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// The pods' addresses of a node with a bridge.
pub(crate) fn node_ranges(number: usize) -> Vec<Cidr> {
    let v4 = format!("10.244.{number}.0/24");
    let v6 = format!("fd00:244:0:{number:x}::/64");
    [v4, v6].iter().filter_map(|text| text.parse().ok()).collect()
}

/// Files for `/opt/cni/bin` and their names there.
pub(crate) fn plugins(own: Option<&Path>) -> Vec<(PathBuf, String)> {
    let project = ["loopback", "portmap", "bandwidth", "bridge", "host-local"];
    let mut all: Vec<(PathBuf, String)> =
        project.iter().map(|name| (Path::new(PLUGINS).join(name), (*name).to_owned())).collect();
    for name in ["calico", "calico-ipam"] {
        all.extend(own.map(|path| (path.to_owned(), name.to_owned())));
    }
    all
}

/// The configuration list of a node with a bridge.
pub(crate) fn bridge(number: usize, families: Families) -> Value {
    let ranges = node_ranges(number).into_iter().filter(|range| families.has(range.family()));
    let ranges: Vec<Value> = ranges.map(|range| json!([{"subnet": range}])).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "lab-bridge",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "isDefaultGateway": true,
                "hairpinMode": true,
                "ipMasq": false,
                "ipam": {"type": "host-local", "ranges": ranges},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "bandwidth", "capabilities": {"bandwidth": true}},
        ],
    })
}

/// The same plugins after the node's own first one, as in Calico's manifests.
pub(crate) fn with_portmap(mut list: Value) -> Value {
    if let Some(plugins) = list.get_mut("plugins").and_then(Value::as_array_mut) {
        plugins.push(json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}));
        plugins.push(json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}));
    }
    list
}

/// The ways to the nodes' bridges, on the router.
pub(crate) fn route_bridges(fabric: &Fabric) -> anyhow::Result<()> {
    let netlink = Netlink::open_in(fabric.router())?;
    for (node, _) in fabric.nodes() {
        for range in node_ranges(node.number) {
            let family = range.family();
            let via = node.addresses.iter().map(|a| a.addr).find(|a| Family::of(*a) == family);
            let via = via.with_context(|| format!("{} has no {family} address", node.name))?;
            netlink.replace_route(&Route::via(range, via, None))?;
        }
    }
    Ok(())
}
