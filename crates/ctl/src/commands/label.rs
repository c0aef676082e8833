//! label: sets or removes one label of an object.

use super::{Common, Failure, Outcome, Scope, Surroundings, named};
use crate::client::{ClientError, metadata_mut};
use serde_json::{Map, Value};
use tortie_causes::chain;

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) overwrite: bool,
    pub(crate) remove: bool,
    pub(crate) scope: Scope,
}

/// Attempts against other writers.
const ATTEMPTS: usize = 5;

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let (kind, name) = (&options.kind, &options.name);
    let (key, value) = match options.label.split_once('=') {
        _ if options.remove => (options.label.as_str(), ""),
        Some(pair) => pair,
        None => {
            let label = &options.label;
            return Err(Failure::new(format!("invalid label {label}; write key=value, or use --remove")));
        }
    };
    let client = common.client(world).await?;
    let mut resources = named(kind, std::slice::from_ref(name))?;
    let Some(mut resource) = resources.pop() else { return Ok(()) };
    let failed = |told: String| Failure::new(format!("failed to get {kind} {name}, error {told}"));
    options.scope.apply(&mut resource).map_err(failed)?;
    for attempt in 1.. {
        let mut object = client
            .get(resource.kind, resource.namespace(), resource.name())
            .await
            .map_err(|e| failed(chain(&e)))?;
        let labels = metadata_mut(&mut object).entry("labels").or_insert_with(|| Map::new().into());
        let Some(labels) = labels.as_object_mut() else { return Ok(()) };
        let done = change(labels, key, value, options)
            .map_err(|problem| problem.replace("{object}", &format!("{kind} {name}")))
            .map_err(Failure::new)?;
        match client.update(resource.kind, object).await {
            Ok(_) => {
                writeln!(world.out, "Successfully {done} {kind} {name}")?;
                return Ok(());
            }
            Err(ClientError::Conflict { .. }) if attempt < ATTEMPTS => {}
            Err(error) => {
                let told = chain(&error);
                return Err(Failure::new(format!(
                    "failed to update {kind} {name}, label not changed: {told}"
                )));
            }
        }
    }
    Ok(())
}

/// Changes labels; answers what was done to them.
fn change(
    labels: &mut Map<String, Value>,
    key: &str,
    value: &str,
    options: &Options,
) -> Result<String, String> {
    if options.remove {
        return match labels.shift_remove(key) {
            Some(_) => Ok(format!("removed label {key} from")),
            None => Err(format!("cannot remove label of {{object}}, key {key} does not exist")),
        };
    }
    match labels.get(key) {
        Some(old) if !options.overwrite && old.as_str() != Some(value) => Err(format!(
            "failed to update label of {{object}}, key {key} is already present. please use '--overwrite' to set a new value"
        )),
        old => {
            let verb = if old.is_some() { "updated" } else { "set" };
            labels.insert(key.to_owned(), value.into());
            Ok(format!("{verb} label {key} on"))
        }
    }
}
