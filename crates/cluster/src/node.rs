//! The start of a node: its addresses, its Node, the default pools and settings.

mod plan;

pub use plan::{NodeSpec, SpecError};

use crate::detect::Machine;
use crate::initialize::{Identity, cluster_information, ensure_initialized, is_ready};
use crate::object::{ObjectError, Place, edit, part, text};
use crate::pools::{PoolSpec, PoolWish};
use plan::{Plan, clear, conflicts, plan};
use serde_json::{Value, json};
use std::net::IpAddr;
use tortie_api::v3;
use tortie_net::Family;
use tortie_store::{Store, StoreError};

/// What kubeadm leaves behind.
const KUBEADM: &str = "/tortie/kubernetes/configmaps/kube-system/kubeadm-config";

/// Why a node cannot work yet. It may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Somebody has locked the datastore.
    #[error(
        "the datastore is locked: ClusterInformation(default) says datastoreReady=false; `calicoctl datastore migrate unlock` ends that"
    )]
    Locked,
    /// No address.
    #[error(
        "no {family} address for this node ({reason}); set {variable}, or another {variable}_AUTODETECTION_METHOD"
    )]
    NoAddress {
        /// The family.
        family: Family,
        /// The environment variable that gives one.
        variable: &'static str,
        /// Why none was found.
        reason: String,
    },
    /// Another node has the address.
    #[error(
        "node {other} has this node's address {address}; give one of them another, or delete Node({other}) if it is gone"
    )]
    Conflict {
        /// The other node.
        other: String,
        /// The address.
        address: IpAddr,
    },
    /// The machine does not tell what must be known.
    #[error("cannot look at this host's interfaces ({reason})")]
    Machine {
        /// Why not.
        reason: String,
    },
    /// The datastore, or what is in it.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// What became of a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The node's addresses with their subnets, as stored.
    pub addresses: Vec<String>,
    /// What is odd, but stops nothing.
    pub notes: Vec<String>,
}

/// Makes what a node needs: cluster information and tiers, its own Node with its addresses, default pools, default
/// settings. May be repeated at any time, and writes differences only.
pub async fn prepare_node(
    store: &dyn Store,
    spec: &NodeSpec,
    pools: &PoolWish,
    identity: &Identity,
    machine: &dyn Machine,
) -> Result<Prepared, NodeError> {
    if !is_ready(cluster_information(store).await?.as_ref()) {
        return Err(NodeError::Locked);
    }
    let kubeadm = kubeadm(store).await;
    let mut identity = identity.clone();
    if kubeadm.is_some() {
        identity.cluster_type.push_str(",kubeadm");
    }
    ensure_initialized(store, &identity).await?;
    let prepared = prepare_object(store, spec, machine).await?;
    let subnets = kubeadm.as_deref().map(pod_subnets).unwrap_or_default();
    make_pools(store, pools, &subnets, machine).await?;
    make_settings(store, spec).await?;
    Ok(prepared)
}

/// Looks at the node's addresses again, and writes them if they have changed.
pub async fn refresh_node(
    store: &dyn Store,
    spec: &NodeSpec,
    machine: &dyn Machine,
) -> Result<Prepared, NodeError> {
    if !is_ready(cluster_information(store).await?.as_ref()) {
        return Err(NodeError::Locked);
    }
    prepare_object(store, spec, machine).await
}

/// The Node. Its addresses are checked against those of the others.
async fn prepare_object(
    store: &dyn Store,
    spec: &NodeSpec,
    machine: &dyn Machine,
) -> Result<Prepared, NodeError> {
    let internal = internal_addresses(store, spec).await;
    // First what it would be: an address that another node has must not be written.
    let stored = crate::object::get(store, node_kind(), &spec.name).await?.map(|(stored, _)| stored);
    let Plan { object: wanted, moved, notes } = match plan(stored.as_ref(), spec, machine, &internal) {
        Err(error @ NodeError::NoAddress { family, .. }) => {
            // What was found earlier is no longer true.
            forget(store, spec, &[family]).await?;
            return Err(error);
        }
        other => other?,
    };
    if moved && spec.check_conflicts {
        let others = all_nodes(store).await?;
        let found = conflicts(&wanted, &spec.name, &others);
        if let Some((other, address)) = found.first() {
            let families: Vec<Family> = found.iter().map(|(_, a)| Family::of(*a)).collect();
            forget(store, spec, &families).await?;
            return Err(NodeError::Conflict { other: other.clone(), address: *address });
        }
    }
    let mut done = Prepared { notes, ..Prepared::default() };
    edit(store, "Node", &spec.name, |stored| {
        let Plan { object, .. } = plan(stored, spec, machine, &internal)?;
        done.addresses = Family::ALL.iter().map(|f| plan::address(&object, *f).to_owned()).collect();
        done.addresses.retain(|a| !a.is_empty());
        Ok::<_, NodeError>(Some(object).filter(|object| stored != Some(object)))
    })
    .await?;
    Ok(done)
}

/// Removes addresses that were found by looking, and no longer hold.
async fn forget(store: &dyn Store, spec: &NodeSpec, families: &[Family]) -> Result<(), ObjectError> {
    let families: Vec<Family> = families.iter().copied().filter(|f| spec.is_detected(*f)).collect();
    edit(store, "Node", &spec.name, |stored| {
        Ok::<_, ObjectError>(stored.and_then(|stored| clear(stored, &families)))
    })
    .await
    .map(drop)
}

/// The condition by which a Kubernetes node tells whether pods have a network there; with the reasons that Calico gives,
/// which other tools look for.
pub fn network_condition(unavailable: bool) -> Value {
    let (status, reason, message) = if unavailable {
        ("True", "CalicoIsDown", "Calico is shutting down on this node")
    } else {
        ("False", "CalicoIsUp", "Calico is running on this node")
    };
    let now = crate::now();
    json!({
        "type": "NetworkUnavailable",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
        "lastHeartbeatTime": now,
    })
}

fn node_kind() -> &'static v3::ResourceType {
    v3::by_kind("Node").expect("a kind of the table")
}

async fn all_nodes(store: &dyn Store) -> Result<Vec<Value>, ObjectError> {
    let list = store.list(&node_kind().list_prefix(None)).await;
    let list =
        list.map_err(|source| ObjectError::Store { doing: "read", object: "all Nodes".to_owned(), source })?;
    // A Node that cannot be read conflicts with nothing; the agents report it.
    Ok(list.entries.iter().filter_map(|e| serde_json::from_slice(&e.value).ok()).collect())
}

/// `InternalIP` addresses of the Kubernetes node, if there is one.
async fn internal_addresses(store: &dyn Store, spec: &NodeSpec) -> Vec<IpAddr> {
    let Some(kind) = tortie_api::k8s::by_kind("Node") else { return Vec::new() };
    let node = store.get(&kind.path("", spec.kubernetes_name())).await.ok().flatten();
    let node: Option<Value> = node.and_then(|e| serde_json::from_slice(&e.value).ok());
    let listed = node.as_ref().and_then(|n| n.pointer("/status/addresses")?.as_array());
    listed
        .into_iter()
        .flatten()
        .filter(|a| text(a, "/type") == "InternalIP")
        .filter_map(|a| text(a, "/address").parse().ok())
        .collect()
}

/// kubeadm's configuration, if the cluster was made by it and we may read it.
async fn kubeadm(store: &dyn Store) -> Option<String> {
    let entry = store.get(KUBEADM).await.ok().flatten()?;
    let map: Value = serde_json::from_slice(&entry.value).ok()?;
    let data = map.get("data")?.as_object()?;
    Some(data.values().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
}

/// `podSubnet: a,b` of kubeadm's configuration.
fn pod_subnets(configuration: &str) -> Vec<String> {
    let line = configuration.lines().find_map(|l| l.trim().strip_prefix("podSubnet:"));
    line.unwrap_or("").split(',').map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).collect()
}

async fn make_pools(
    store: &dyn Store,
    wish: &PoolWish,
    subnets: &[String],
    machine: &dyn Machine,
) -> Result<(), NodeError> {
    if wish.is_nothing() {
        return Ok(());
    }
    let kind = v3::by_kind("IPPool").expect("a kind of the table");
    let list = store.list(&kind.list_prefix(None)).await.map_err(|source| ObjectError::Store {
        doing: "read",
        object: "all IPPools".to_owned(),
        source,
    })?;
    let present: Vec<Family> = list
        .entries
        .iter()
        .filter_map(|e| serde_json::from_slice::<Value>(&e.value).ok())
        .filter_map(|pool| text(&pool, "/spec/cidr").parse::<tortie_net::Cidr>().ok())
        .map(|cidr| cidr.family())
        .collect();
    for family in Family::ALL.into_iter().filter(|f| !present.contains(f)) {
        let wanted = wish.pool(family, subnets, machine).map_err(|reason| NodeError::Machine { reason })?;
        let Some(PoolSpec { name, object }) = wanted else { continue };
        let made = edit(store, "IPPool", name, |stored| {
            Ok::<_, ObjectError>(stored.is_none().then(|| object.clone()))
        })
        .await?;
        if made {
            tracing::info!(pool = name, cidr = text(&object, "/spec/cidr"), "default pool made");
        }
    }
    Ok(())
}

/// The objects that Calico's nodes make, so that users find something to edit.
async fn make_settings(store: &dyn Store, spec: &NodeSpec) -> Result<(), ObjectError> {
    let set = |stored: Option<&Value>, fresh: Value, fields: &[(&str, &str)]| {
        let mut object = stored.cloned().unwrap_or(fresh);
        let settings = part(&mut object, "spec");
        for (field, value) in fields {
            if settings.get(*field).is_none_or(|v| v.is_null() || v == "") {
                settings.insert((*field).to_owned(), (*value).into());
            }
        }
        Some(object).filter(|object| stored != Some(object))
    };
    let cluster = Place::new("FelixConfiguration", "default");
    let fresh = cluster.object(json!({
        "bpfConnectTimeLoadBalancing": "TCP",
        "bpfHostNetworkedNATWithoutCTLB": "Enabled",
        "floatingIPs": "Disabled",
    }));
    let fields = [("logSeverityScreen", "Info"), ("reportingInterval", "0s")];
    cluster.edit(store, |stored| Ok(set(stored, fresh.clone(), &fields))).await?;
    if !spec.kubernetes {
        // Workloads reach their own node, as Calico's nodes have it outside of Kubernetes' datastore.
        let name = format!("node.{}", spec.name);
        let kind = v3::by_kind("FelixConfiguration").expect("a kind of the table");
        let fresh = crate::object::new(kind, &name, json!({}));
        let fields = [("defaultEndpointToHostAction", "Return")];
        edit(store, kind.kind, &name, |stored| Ok::<_, ObjectError>(set(stored, fresh.clone(), &fields)))
            .await?;
    }
    let optional = [
        ("BGPConfiguration", json!({})),
        (
            "IPAMConfiguration",
            json!({
                "strictAffinity": false,
                "maxBlocksPerHost": 0,
                "autoAllocateBlocks": true,
                "kubeVirtVMAddressPersistence": "Enabled",
            }),
        ),
    ];
    for (kind, spec) in optional {
        match Place::new(kind, "default").create(store, spec).await {
            // Nothing depends on these being there.
            Err(ObjectError::Store {
                source: error @ (StoreError::Denied { .. } | StoreError::Invalid { .. }),
                ..
            }) => {
                tracing::warn!(kind, %error, "default settings cannot be made");
            }
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
