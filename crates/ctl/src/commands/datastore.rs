//! datastore: locks it for a migration, writes its contents to a file, reads them into another datastore, and gives
//! policies with old names their present ones.

pub(crate) mod export;
mod file;
pub(crate) mod import;
pub(crate) mod names;
mod rename;

use super::{Common, Failure, Outcome, Surroundings};
use crate::client::{Client, ClientError};
use serde_json::json;
use tortie_api::v3;
use tortie_causes::chain;

/// Kinds that move, in the order in which they are written: what others name stands before them.
const KINDS: [&str; 17] = [
    "IPPool",
    "BGPPeer",
    "Tier",
    "GlobalNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "KubeControllersConfiguration",
    "NetworkPolicy",
    "StagedNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "NetworkSet",
    "Node",
    "BGPConfiguration",
    "FelixConfiguration",
    "IPReservation",
    "BGPFilter",
];

/// Policies whose names begin so mirror those of Kubernetes and do not move.
const CONVERTED_PREFIX: &str = "knp.default.";

/// Tells components that the datastore must not be used.
pub(crate) async fn lock(common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    client.ensure_initialized().await?;
    client.set_ready(false).await?;
    writeln!(world.out, "Datastore locked.")?;
    Ok(())
}

/// Tells components that the datastore may be used again.
pub(crate) async fn unlock(common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    client.set_ready(true).await.map_err(|error| {
        Failure::new(format!("error retrieving ClusterInformation for unlocking: {}", chain(&error)))
    })?;
    writeln!(world.out, "Datastore unlocked.")?;
    Ok(())
}

/// Refuses to go on, with a hint, while components may write.
async fn demand_lock(client: &Client, hint: &str) -> Outcome {
    let failed = |told: String| Failure::new(format!("error while checking if datastore was locked: {told}"));
    let missing = "error retrieving ClusterInformation: nothing was written to this datastore yet";
    match client.cluster_information().await.map_err(|e| failed(chain(&e)))? {
        None => Err(failed(missing.to_owned())),
        Some(information) if information["spec"]["datastoreReady"] == json!(false) => Ok(()),
        Some(_) => Err(Failure::new(format!("datastore is not locked. {hint}"))),
    }
}

fn kind(name: &str) -> &'static v3::ResourceType {
    v3::by_kind(name).expect("a kind of the table")
}

/// All objects of a kind that move.
async fn movable(client: &Client, name: &str) -> Result<crate::client::Listed, ClientError> {
    let mut listed = client.list(kind(name), None).await?;
    if name == "NetworkPolicy" {
        listed
            .items
            .retain(|item| !crate::client::text(item, "/metadata/name").starts_with(CONVERTED_PREFIX));
    }
    Ok(listed)
}
