//! get: objects as a table, YAML, JSON, chosen columns, or through a template.

use super::crud::Selection;
use super::{Common, Failure, Outcome, Scope, Surroundings};
use crate::client::{Client, ClientError, Listed, metadata_mut, text};
use crate::resources::Resource;
use crate::resources::columns::{Columns, cell, table};
use crate::template::Template;
use serde_json::{Value, json};
use std::fmt::Write as _;
use tortie_api::document::to_yaml;
use tortie_api::v3::{self, ResourceType};
use tortie_causes::chain;

/// The AS number of a cluster that sets none.
const DEFAULT_AS_NUMBER: &str = "64512";

/// Options of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) selection: Selection,
    pub(crate) scope: Scope,
    pub(crate) output: String,
    pub(crate) export: bool,
}

/// The form of the result.
enum Form {
    Yaml,
    Json,
    Table { wide: bool },
    Columns(Vec<String>),
    Template(Template),
}

/// A result: an object, or a list of a kind.
struct Found {
    kind: &'static ResourceType,
    value: Value,
    is_list: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, common: &Common, world: &mut Surroundings<'_>) -> Outcome {
    let form = Form::parse(&options.output)?;
    if options.selection.filename.is_none() && options.selection.kind.is_none() {
        return Err(Failure::new("a resource kind, or a file (-f), must be given"));
    }
    let client = common.client(world).await?;
    let resources = options.selection.resources(world).map_err(|failure| match failure {
        Failure::Message(told) if options.selection.filename.is_none() => {
            Failure::new(format!("failed to get resources: {told}"))
        }
        other => other,
    })?;
    let named = !options.selection.names.is_empty();
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for mut resource in resources {
        if let Err(problem) = options.scope.apply(&mut resource) {
            errors.push(problem);
            continue;
        }
        match one(&client, &resource).await {
            Ok(mut object) => {
                if options.export && named {
                    export(&mut object.value);
                }
                found.push(object);
            }
            Err(error) => errors.push(error),
        }
    }
    let with_namespace = options.scope.all_namespaces || options.scope.namespace.is_some();
    let as_number = as_number(&client, &found).await;
    let text = form.render(&found, with_namespace, &as_number)?;
    world.out.write_all(text.as_bytes())?;
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

async fn one(client: &Client, resource: &Resource) -> Result<Found, String> {
    let (kind, namespace, name) = (resource.kind, resource.namespace(), resource.name());
    if !name.is_empty() {
        if kind.namespaced && namespace.is_empty() {
            return Err(
                "cannot use --all-namespaces flag for getting a single resource; use -n NAMESPACE".to_owned()
            );
        }
        let value = client.get(kind, namespace, name).await.map_err(|e| chain(&e))?;
        return Ok(Found { kind, value, is_list: false });
    }
    let Listed { items, revision } =
        client.list(kind, Some(namespace).filter(|n| !n.is_empty())).await.map_err(|e| chain(&e))?;
    let value = json!({
        "kind": format!("{}List", kind.kind),
        "apiVersion": v3::API_VERSION,
        "metadata": {"resourceVersion": revision.to_string()},
        "items": items,
    });
    Ok(Found { kind, value, is_list: true })
}

/// Leaves out what belongs to this cluster.
fn export(object: &mut Value) {
    let local = ["namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"];
    metadata_mut(object)
        .retain(|key, _| !local.contains(&key.as_str()) && key != "deletionGracePeriodSeconds");
}

/// The cluster's AS number, asked for only when nodes are shown.
async fn as_number(client: &Client, found: &[Found]) -> String {
    if !found.iter().any(|f| f.kind.kind == "Node") {
        return DEFAULT_AS_NUMBER.to_owned();
    }
    let Some(kind) = v3::by_kind("BGPConfiguration") else { return String::new() };
    match client.get(kind, "", "default").await {
        Ok(configuration) => match &configuration["spec"]["asNumber"] {
            Value::Null => DEFAULT_AS_NUMBER.to_owned(),
            number => number.to_string(),
        },
        Err(ClientError::NotFound(_)) => DEFAULT_AS_NUMBER.to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

impl Form {
    fn parse(text: &str) -> Outcome<Self> {
        let (name, argument) = text.split_once('=').unwrap_or((text, ""));
        let need = |what: &str| {
            if argument.is_empty() {
                Err(Failure::new(format!("need to specify {what}, as -o {name}=...")))
            } else {
                Ok(argument)
            }
        };
        Ok(match (text, name) {
            ("yaml" | "yml", _) => Self::Yaml,
            ("json", _) => Self::Json,
            ("ps", _) => Self::Table { wide: false },
            ("wide", _) => Self::Table { wide: true },
            (_, "custom-columns") => {
                Self::Columns(need("at least one column")?.split(',').map(str::to_owned).collect())
            }
            (_, "go-template") => Self::Template(Template::parse(need("a template")?)?),
            (_, "go-template-file") => {
                let file = need("a template file")?;
                let text = std::fs::read_to_string(file)
                    .map_err(|e| Failure::new(format!("cannot read the template {file}: {e}")))?;
                Self::Template(Template::parse(&text)?)
            }
            _ => {
                return Err(Failure::new(format!(
                    "unrecognized output format '{text}'; expected ps, wide, yaml, json, custom-columns=, go-template= or go-template-file="
                )));
            }
        })
    }

    fn render(&self, found: &[Found], with_namespace: bool, as_number: &str) -> Outcome<String> {
        Ok(match self {
            Self::Yaml => to_yaml(&together(found)),
            Self::Json => format!("{:#}\n", together(found)),
            Self::Table { wide } => {
                let mut text = String::new();
                for object in found {
                    let Some(columns) = Columns::of(object.kind) else { continue };
                    let headings = if *wide { columns.wide } else { columns.narrow };
                    let _ = writeln!(text, "{}", object.table(headings, with_namespace, as_number));
                }
                text
            }
            Self::Columns(headings) => {
                let mut text = String::new();
                let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
                for object in found {
                    let known = Columns::of(object.kind).map(|c| c.all(object.kind)).unwrap_or_default();
                    if let Some(unknown) = headings.iter().find(|h| !known.contains(h)) {
                        let valid = known.join(", ");
                        return Err(Failure::new(format!(
                            "unknown heading {unknown}, valid values are: {valid}"
                        )));
                    }
                    let _ = writeln!(text, "{}", object.table(&headings, with_namespace, as_number));
                }
                text
            }
            Self::Template(template) => {
                let objects: Vec<Value> = found.iter().map(|f| f.value.clone()).collect();
                template.render(&objects.into(), as_number)?
            }
        })
    }
}

/// One result stands for itself, several stand in a list.
fn together(found: &[Found]) -> Value {
    match found {
        [] => Value::Null,
        [one] => one.value.clone(),
        several => several.iter().map(|f| f.value.clone()).collect(),
    }
}

impl Found {
    fn table(&self, headings: &[&str], with_namespace: bool, as_number: &str) -> String {
        let mut headings = headings.to_vec();
        if with_namespace && self.kind.namespaced {
            headings.insert(0, "NAMESPACE");
        }
        let row = |object: &Value| {
            headings.iter().map(|h| cell(self.kind.kind, h, object, as_number)).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = match self.value["items"].as_array() {
            Some(items) if self.is_list => items.iter().map(row).collect(),
            _ => vec![row(&self.value)],
        };
        debug_assert!(self.is_list || !text(&self.value, "/metadata/name").is_empty());
        table(&headings, &rows)
    }
}
