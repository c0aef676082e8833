//! A kind as a CustomResourceDefinition.

use super::Group;
use super::table::{Catalogue, Facet, Kind, Node, Rule, Shape};
use crate::Map;
use serde_json::{Value, json};

/// The manifest of a kind in a group.
pub(super) fn render(catalogue: &Catalogue, kind: &Kind, group: Group) -> Value {
    // Storage is for programs: nobody lists it by a short name.
    let for_users = group != Group::Storage;
    let mut names = json!({
        "kind": kind.name,
        "listKind": format!("{}List", kind.name),
        "plural": kind.plural,
        "singular": kind.singular,
    });
    if for_users && !kind.short.is_empty() {
        names["shortNames"] = json!(kind.short);
    }
    let mut version = json!({
        "name": group.version(),
        "served": true,
        "storage": true,
        "schema": {"openAPIV3Schema": object_schema(catalogue, kind, group)},
    });
    if for_users && !kind.columns.is_empty() {
        let column = |c: &super::table::Column| json!({"name": c.title, "type": c.shape, "jsonPath": c.path});
        version["additionalPrinterColumns"] = kind.columns.iter().map(column).collect();
    }
    if for_users && !kind.selectable.is_empty() {
        version["selectableFields"] = kind.selectable.iter().map(|path| json!({"jsonPath": path})).collect();
    }
    if kind.parts.iter().any(|part| part.name == "status") {
        version["subresources"] = json!({"status": {}});
    } else if for_users && kind.subresources {
        version["subresources"] = json!({});
    }
    let mut metadata = json!({"name": format!("{}.{}", kind.plural, group.name())});
    if !kind.annotations.is_empty() {
        let annotations: Map = kind.annotations.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        metadata["annotations"] = Value::Object(annotations);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": group.name(),
            "names": names,
            "scope": kind.scope,
            "versions": [version],
        },
    })
}

fn object_schema(catalogue: &Catalogue, kind: &Kind, group: Group) -> Value {
    let parts = catalogue.head.iter().chain(&kind.parts);
    let mut properties: Map = parts.map(|part| (part.name.clone(), schema(catalogue, part, group))).collect();
    // The API server refuses to be told anything about metadata, even what it is for.
    properties.insert("metadata".to_owned(), json!({"type": "object"}));
    let mut whole = json!({"description": kind.text, "type": "object", "properties": properties});
    if group != Group::Storage || kind.strict {
        whole["required"] = json!(["metadata", "spec"]);
    }
    if !kind.rules.is_empty() {
        whole["x-kubernetes-validations"] = kind.rules.iter().map(rule).collect();
    }
    whole
}

fn rule(rule: &Rule) -> Value {
    let mut out = json!({"rule": rule.expression, "message": rule.message});
    if let Some(reason) = &rule.reason {
        out["reason"] = json!(reason);
    }
    out
}

fn schema(catalogue: &Catalogue, node: &Node, group: Group) -> Value {
    let body = catalogue.body(node);
    let mut out = Map::new();
    if !node.text.is_empty() {
        out.insert("description".to_owned(), json!(node.text));
    }
    let shape = match &body.shape {
        Shape::Text => "string",
        Shape::Boolean => "boolean",
        Shape::Integer(format) => {
            out.extend(format.map(|format| ("format".to_owned(), json!(format))));
            "integer"
        }
        Shape::Number => "number",
        Shape::Port => {
            out.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
            out.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
            ""
        }
        Shape::List(item) => {
            out.insert("items".to_owned(), schema(catalogue, item, group));
            "array"
        }
        Shape::Map(item) => {
            out.insert("additionalProperties".to_owned(), schema(catalogue, item, group));
            "object"
        }
        Shape::Object | Shape::Shared(_) => "object",
    };
    if !shape.is_empty() {
        out.insert("type".to_owned(), json!(shape));
    }
    for facet in body.facets.iter().chain(node.facets.iter().filter(|_| !std::ptr::eq(node, body))) {
        add_facet(catalogue, &body.shape, facet, &mut out);
    }
    let fields: Vec<&Node> = body.fields.iter().filter(|f| f.only.is_none_or(|only| only == group)).collect();
    if !fields.is_empty() {
        let properties: Map = fields.iter().map(|f| (f.name.clone(), schema(catalogue, f, group))).collect();
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name.as_str()).collect();
    if !required.is_empty() {
        out.insert("required".to_owned(), json!(required));
    }
    if !body.rules.is_empty() {
        out.insert("x-kubernetes-validations".to_owned(), body.rules.iter().map(rule).collect());
    }
    Value::Object(out)
}

fn add_facet(catalogue: &Catalogue, shape: &Shape, facet: &Facet, out: &mut Map) {
    let (least, most) = match shape {
        Shape::Text => ("minLength", "maxLength"),
        Shape::List(_) => ("minItems", "maxItems"),
        Shape::Object | Shape::Map(_) | Shape::Shared(_) => ("minProperties", "maxProperties"),
        _ => ("minimum", "maximum"),
    };
    let together = match shape {
        Shape::List(_) => "x-kubernetes-list-type",
        _ => "x-kubernetes-map-type",
    };
    let (key, value) = match facet {
        Facet::Min(n) => (least, json!(n)),
        Facet::Max(n) => (most, json!(n)),
        Facet::OneOf(lists) => match &lists[..] {
            [words] => ("enum", enumeration(shape, words)),
            lists => {
                let all = lists.iter().map(|words| json!({"enum": enumeration(shape, words)}));
                ("allOf", all.collect())
            }
        },
        Facet::Pattern(name) => ("pattern", json!(catalogue.patterns.get(name))),
        Facet::Format(name) => ("format", json!(name)),
        Facet::Default(value) => ("default", value.clone()),
        Facet::Nullable => ("nullable", json!(true)),
        Facet::Atomic => (together, json!("atomic")),
        Facet::Set => (together, json!("set")),
        Facet::By(keys) => {
            out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
            (together, json!("map"))
        }
    };
    out.insert(key.to_owned(), value);
}

/// The words of an enumeration, as numbers where the field is one.
fn enumeration(shape: &Shape, words: &[String]) -> Value {
    let value = |word: &String| match shape {
        Shape::Integer(_) => word.parse::<i64>().map_or_else(|_| json!(word), |n| json!(n)),
        _ => json!(word),
    };
    words.iter().map(value).collect()
}
