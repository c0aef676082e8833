//! datastore migrate export: all that makes a cluster, as one file.

use super::file::{IpamPart, MigrationFile};
use super::rename::NodeNames;
use super::{KINDS, demand_lock, movable};
use crate::client::{Client, metadata_mut, text};
use crate::commands::{Common, Failure, Outcome, Surroundings};
use serde_json::{Value, json};
use tortie_api::document::to_yaml;
use tortie_api::v3;
use tortie_causes::chain;
use tortie_model::{Key, Value as ModelValue};

/// Where address management is.
const IPAM: &str = "/calico/ipam/v2/";
/// Settings whose values older versions took in any case.
const ACTIONS: [&str; 4] = [
    "defaultEndpointToHostAction",
    "iptablesFilterAllowAction",
    "iptablesMangleAllowAction",
    "iptablesFilterDenyAction",
];

/// Writes the file to the standard output. Out of Kubernetes only if told so: to move between its two API groups.
pub(crate) async fn run(any_datastore: bool, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    let hint = "Run the `calicoctl datastore migrate lock` command in order to begin migration";
    demand_lock(&client, hint).await?;
    let datastore = common.datastore_type(world)?;
    if datastore == "kubernetes" && !any_datastore {
        return Err(Failure::new(format!(
            "invalid datastore type: {datastore} to export from for datastore migration. Datastore type must be etcdv3"
        )));
    }
    let file = collect(&client).await?;
    // Nothing is written before everything was read: half a file looks like a whole one.
    world.out.write_all(file.render()?.as_bytes())?;
    Ok(())
}

/// Reads everything.
async fn collect(client: &Client) -> Outcome<MigrationFile> {
    let mut names = NodeNames::default();
    let mut objects = String::new();
    for kind in KINDS {
        let listed = movable(client, kind).await?;
        let mut items = listed.items;
        for item in &mut items {
            forget_cluster(item);
            match kind {
                "Node" => names.adopt(item).map_err(|node| {
                    Failure::new(format!(
                        "node {node} missing a 'k8s' orchestrator reference. Unable to export data unless every node \
                         has a 'k8s' orchestrator reference (spec.orchRefs: [{{orchestrator: k8s, nodeName: ...}}])"
                    ))
                })?,
                "BGPConfiguration" => names.settings(item),
                "FelixConfiguration" => {
                    names.settings(item);
                    fold_actions(item);
                }
                _ => {}
            }
        }
        let list = json!({
            "kind": format!("{kind}List"),
            "apiVersion": v3::API_VERSION,
            "metadata": {"resourceVersion": listed.revision.to_string()},
            "items": items,
        });
        objects.push_str(&to_yaml(&list));
        objects.push_str("---\n");
    }
    let cluster = client.cluster_information().await?.unwrap_or_default();
    Ok(MigrationFile { objects, cluster, ipam: addresses(client, &names).await? })
}

async fn addresses(client: &Client, names: &NodeNames) -> Outcome<IpamPart> {
    let mut part = IpamPart::default();
    for entry in client.store().list(IPAM).await?.entries {
        let Some(key) = Key::from_path(&entry.key) else { continue };
        let value = ModelValue::parse(&key, &entry.value)
            .map_err(|error| Failure::new(format!("{} cannot be read: {}", entry.key, chain(&error))))?;
        if let Some(pair) = names.pair(&key, value) {
            part.add(&key, pair);
        }
    }
    Ok(part)
}

/// Takes away what the old datastore knows about an object.
fn forget_cluster(object: &mut Value) {
    let local =
        ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    metadata_mut(object).retain(|key, _| !local.contains(&key.as_str()));
}

/// `ACCEPT` is written `Accept` now.
fn fold_actions(settings: &mut Value) {
    for name in ACTIONS {
        let folded = match text(settings, &format!("/spec/{name}")) {
            "" => continue,
            action => {
                let mut letters = action.chars();
                let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
                first + &letters.as_str().to_lowercase()
            }
        };
        settings["spec"][name] = folded.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_folded() {
        let mut settings =
            json!({"spec": {"iptablesFilterAllowAction": "ACCEPT", "defaultEndpointToHostAction": "drop"}});
        fold_actions(&mut settings);
        assert_eq!(
            settings["spec"],
            json!({"iptablesFilterAllowAction": "Accept", "defaultEndpointToHostAction": "Drop"})
        );
    }
}
