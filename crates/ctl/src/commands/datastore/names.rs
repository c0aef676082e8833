//! datastore migrate-policy-names: policies of the default tier lose the prefix that older versions stored before
//! their names.

use super::kind;
use crate::client::{note_name, text};
use crate::commands::{Common, Failure, Outcome, Surroundings};
use serde_json::Value;
use std::sync::Arc;
use tortie_api::v3::{self, DEFAULT_TIER};
use tortie_model::{Key, Value as ModelValue};
use tortie_store::{Entry, Op, Precondition, Store, StoreError};

/// Kinds that had such names.
const KINDS: [&str; 4] =
    ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"];

/// Renames all of them.
pub(crate) async fn run(common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    let mut migrated = 0;
    for name in KINDS {
        let kind = kind(name);
        for entry in client.store().list(&kind.list_prefix(None)).await?.entries {
            let Some((of, namespace, stored)) = v3::parse_path(&entry.key) else { continue };
            if of.kind != kind.kind {
                continue;
            }
            let Some(policy) = as_named_now(&entry) else { continue };
            let present = text(&policy, "/metadata/name");
            if present == stored {
                continue;
            }
            rename(client.store(), &entry, kind.path(namespace, present), &policy).await.map_err(
                |error| {
                    Failure::new(format!(
                        "rename {name} {stored} to {present}: {}",
                        tortie_causes::chain(&error)
                    ))
                },
            )?;
            migrated += 1;
        }
    }
    writeln!(world.out, "Policy name migration complete, migrated {migrated} policies.")?;
    Ok(())
}

/// A policy of the default tier with the name that its user knows.
fn as_named_now(entry: &Entry) -> Option<Value> {
    let key = Key::from_path(&entry.key)?;
    let ModelValue::Resource(policy) = ModelValue::parse(&key, &entry.value).ok()? else { return None };
    let tier = text(&policy, "/spec/tier");
    let in_default = tier.is_empty() || tier == DEFAULT_TIER;
    (in_default && !text(&policy, "/metadata/name").is_empty()).then(|| policy.as_ref().clone())
}

/// Moves an entry. One that is there already under the new name stays as it is.
async fn rename(store: &Arc<dyn Store>, entry: &Entry, to: String, policy: &Value) -> Result<(), StoreError> {
    let mut policy = policy.clone();
    note_name(&mut policy);
    let value = policy.to_string().into();
    let put = Op::Put { key: to.clone(), value, when: Precondition::Absent, ttl: None };
    let delete = Op::Delete { key: entry.key.to_string(), when: Precondition::Revision(entry.revision) };
    match store.commit(vec![put, delete.clone()]).await {
        Err(StoreError::Conflict { key, .. }) if key == to => store.commit(vec![delete]).await.map(drop),
        done => done.map(drop),
    }
}
