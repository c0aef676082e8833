//! patch: changes some fields of an object.

use super::{Common, Failure, Outcome, Scope, Surroundings, named};
use crate::client::{Client, ClientError};
use crate::resources::Resource;
use serde_json::{Map, Value};
use tortie_api::document;
use tortie_causes::chain;

/// Attempts against other writers.
const ATTEMPTS: usize = 5;

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) patch: String,
    pub(crate) form: String,
    pub(crate) scope: Scope,
}

/// A patch, understood.
enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let client = common.client(world).await?;
    let mut resources = named(&options.kind, std::slice::from_ref(&options.name))?;
    let Some(mut resource) = resources.pop() else { return Ok(()) };
    let kind = resource.kind.kind;
    let done = match options.scope.apply(&mut resource) {
        Ok(()) => apply(&client, &resource, options).await,
        Err(problem) => Err(problem),
    };
    match done {
        Ok(()) => {
            writeln!(world.out, "Successfully patched 1 '{kind}' resource")?;
            Ok(())
        }
        Err(error) => Err(Failure::new(format!("Failed to patch '{kind}' resource: {error}"))),
    }
}

async fn apply(client: &Client, resource: &Resource, options: &Options) -> Result<(), String> {
    let patch = Patch::parse(&options.form, &options.patch)?;
    let (kind, namespace, name) = (resource.kind, resource.namespace(), resource.name());
    for attempt in 1.. {
        let original = client.get(kind, namespace, name).await.map_err(|e| chain(&e))?;
        let patched = patch.apply(original.clone())?;
        for field in ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace"] {
            if original.pointer(field) != patched.pointer(field) {
                return Err(format!("the patch changes {}, which identifies the object", &field[1..]));
            }
        }
        match client.update(kind, patched).await {
            Err(ClientError::Conflict { .. }) if attempt < ATTEMPTS => {}
            done => return done.map(drop).map_err(|e| chain(&e)),
        }
    }
    Ok(())
}

impl Patch {
    /// A form that is not known is taken as strategic, as Calico's client does.
    fn parse(form: &str, text: &str) -> Result<Self, String> {
        let wrong = |e: &dyn std::fmt::Display| format!("the patch cannot be understood: {e}");
        if form == "json" {
            return serde_json::from_str(text).map(Self::Json).map_err(|e| wrong(&e));
        }
        let documents = document::parse("patch", text).map_err(|e| wrong(&e))?;
        let [document] = documents.as_slice() else {
            return Err(wrong(&"one object is needed, as '{\"spec\": {\"order\": 10}}'"));
        };
        let value = document.value.clone();
        Ok(if form == "merge" { Self::Merge(value) } else { Self::Strategic(value) })
    }

    fn apply(&self, mut object: Value) -> Result<Value, String> {
        match self {
            Self::Json(patch) => {
                json_patch::patch(&mut object, patch)
                    .map_err(|e| format!("the patch does not apply: {e}"))?;
            }
            Self::Merge(patch) => json_patch::merge(&mut object, patch),
            Self::Strategic(patch) => strategic(&mut object, patch),
        }
        Ok(object)
    }
}

/// Kubernetes' strategic merge for types without merge keys: objects merge, lists are replaced, directives are obeyed.
fn strategic(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *object = without_directives(patch).into();
            return;
        }
        Some("delete") => {
            *object = Map::new().into();
            return;
        }
        _ => {}
    }
    if !object.is_object() {
        *object = Map::new().into();
    }
    let Some(fields) = object.as_object_mut() else { return };
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        fields.retain(|key, _| kept.iter().any(|k| k == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (fields.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
        } else if value.is_null() {
            fields.shift_remove(key);
        } else if key == "finalizers" {
            // The one list that merges.
            let items = fields.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
            if let (Value::Array(items), Value::Array(more)) = (items, value) {
                let fresh: Vec<Value> = more.iter().filter(|m| !items.contains(m)).cloned().collect();
                items.extend(fresh);
            }
        } else {
            strategic(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch.iter().filter(|(key, _)| !key.starts_with('$')).map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(form: &str, object: Value, patch: &str) -> Value {
        Patch::parse(form, patch).unwrap().apply(object).unwrap()
    }

    #[test]
    fn three_forms() {
        let object = || json!({"spec": {"nets": ["a", "b"], "x": {"y": 1, "z": 2}, "order": 1}});
        assert_eq!(
            patched("strategic", object(), r#"{"spec": {"x": {"y": 5}, "nets": ["c"], "order": null}}"#),
            json!({"spec": {"nets": ["c"], "x": {"y": 5, "z": 2}}})
        );
        assert_eq!(
            patched("merge", object(), r#"{"spec": {"x": null, "nets": ["c"]}}"#),
            json!({"spec": {"nets": ["c"], "order": 1}})
        );
        assert_eq!(
            patched(
                "json",
                object(),
                r#"[{"op": "add", "path": "/spec/nets/-", "value": "c"}, {"op": "remove", "path": "/spec/x"}]"#
            ),
            json!({"spec": {"nets": ["a", "b", "c"], "order": 1}})
        );
        assert!(Patch::parse("json", "{}").is_err());
        assert!(Patch::parse("strategic", "{").is_err());
    }

    #[test]
    fn directives_are_obeyed() {
        let object = || json!({"spec": {"nets": ["a", "b"], "x": {"y": 1, "z": 2}}});
        assert_eq!(
            patched("", object(), r#"{"spec": {"x": {"$patch": "replace", "w": 1}}}"#),
            json!({"spec": {"nets": ["a", "b"], "x": {"w": 1}}})
        );
        assert_eq!(
            patched(
                "",
                object(),
                r#"{"spec": {"$deleteFromPrimitiveList/nets": ["a"], "$retainKeys": ["nets"]}}"#
            ),
            json!({"spec": {"nets": ["b"]}})
        );
    }
}
