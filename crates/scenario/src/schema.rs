//! The format of scenario files as a JSON schema, for editors.

use serde_json::{Value, json};

/// The JSON schema (draft 2020-12) of a scenario file.
pub fn schema() -> Value {
    let pod_name = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
    let fault = "^(kill-agent|restart-agent|kill-bird|cut|heal) (node)?[0-9]+$|^kill-store$";
    let addresses = json!({"type": "array", "maxItems": 2, "items": {"type": "string"},
        "description": "at most one of each family"});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenario",
        "description": "A cluster, objects, steps, and after each step who reaches whom",
        "type": "object",
        "additionalProperties": false,
        "required": ["scenario", "name", "steps"],
        "properties": {
            "scenario": {"const": "v1"},
            "name": {"type": "string", "minLength": 1},
            "about": {"type": "string"},
            "nodes": {"type": "integer", "minimum": 1, "maximum": 200, "default": 3},
            "families": {"$ref": "#/$defs/families"},
            "pools": {"type": "array", "minItems": 1, "items": {"type": "string"}, "description": "CIDRs of pods"},
            "pods": {"type": "array", "items": {"$ref": "#/$defs/pod"}},
            "namespaces": {"type": "array", "items": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "properties": {"name": {"type": "string"}, "labels": {"$ref": "#/$defs/labels"}},
            }},
            "outside": {"type": "array", "items": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "description": "a host beyond the router",
                "properties": {
                    "name": {"type": "string"}, "listen": {"$ref": "#/$defs/listen"}, "addresses": addresses.clone(),
                },
            }},
            "objects": {"$ref": "#/$defs/objects"},
            "steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
        },
        "$defs": {
            "families": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"enum": [4, 6]},
                "default": [4, 6]},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "listen": {"type": "array", "items": {
                "type": ["string", "integer"],
                "pattern": "^([^=]+=)?[0-9]+(/([tT][cC][pP]|[uU][dD][pP]|[sS][cC][tT][pP]))?$",
                "examples": ["80/tcp", "53/udp", "http=80/tcp"],
            }},
            "pod": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": pod_name, "description": "namespace/pod"},
                    "node": {"type": "integer", "minimum": 1, "description": "default: round robin in file order"},
                    "labels": {"$ref": "#/$defs/labels"},
                    "serviceAccount": {"type": "string", "default": "default"},
                    "listen": {"$ref": "#/$defs/listen"},
                    "annotations": {"$ref": "#/$defs/labels"},
                    "addresses": addresses,
                },
            },
            "objects": {"type": "array", "description": "documents, or paths of files and directories",
                "items": {"anyOf": [
                    {"type": "string"},
                    {"type": "object", "required": ["apiVersion", "kind", "metadata"],
                        "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                            "metadata": {"type": "object", "required": ["name"]}}},
                ]}},
            "step": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "oneOf": [{"required": ["expect"]}, {"required": ["matrix"]}],
                "properties": {
                    "name": {"type": "string"},
                    "apply": {"$ref": "#/$defs/objects"},
                    "delete": {"type": "array", "items": {
                        "type": "object", "additionalProperties": false, "required": ["kind", "name"],
                        "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                            "namespace": {"type": "string"}, "name": {"type": "string"}},
                    }},
                    "setLabels": {"type": "object", "additionalProperties": {"$ref": "#/$defs/labels"},
                        "description": "namespace/pod or namespace:NAME to all of its labels"},
                    "addPods": {"type": "array", "items": {"$ref": "#/$defs/pod"}},
                    "deletePods": {"type": "array", "items": {"type": "string", "pattern": pod_name}},
                    "fault": {"type": "string", "pattern": fault},
                    "expect": {"type": "array", "items": {
                        "type": "string", "pattern": "^(allow|deny|reject|skip)\\s.+->.+",
                        "description": "VERDICT FROM -> TO[:PORT[/PROTOCOL]] [ipv4|ipv6]; the last line that matches decides",
                    }},
                    "matrix": {"anyOf": [
                        {"$ref": "#/$defs/matrix"},
                        {"type": "array", "items": {"$ref": "#/$defs/matrix"}},
                    ]},
                },
            },
            "matrix": {
                "type": "object", "additionalProperties": false, "required": ["table"],
                "properties": {
                    "port": {"anyOf": [{"type": ["string", "integer"]},
                        {"type": "array", "items": {"type": ["string", "integer"]}}]},
                    "families": {"$ref": "#/$defs/families"},
                    "table": {"type": "string", "description": ". allow, x deny, - skip; rows are sources"},
                },
            },
        },
    })
}
