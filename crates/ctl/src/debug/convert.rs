//! `tortie debug convert`: documents to keys and values of the model, as nodes see them.

use anyhow::{Context, Result};
use serde_json::json;
use std::io::{Read, Write};
use std::process::ExitCode;
use tortie_api::document::Document;
use tortie_api::{document, k8s, v3};
use tortie_model::convert::{Converter, Options};

/// Converts the documents of a file (`-`: of `input`), one JSON object a line; what is wrong goes to `err`.
pub(super) fn run(
    file: &str,
    input: &mut impl Read,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<ExitCode> {
    let mut text = String::new();
    if file == "-" {
        input.read_to_string(&mut text).context("read stdin")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    }
    let read = document::read(file, &text);
    let mut good = read.errors.is_empty();
    for error in &read.errors {
        writeln!(err, "{error}")?;
    }
    let mut converter = Converter::new(Options { fill_defaults: true, ..Options::default() });
    for document in &read.documents {
        let Some(path) = path_of(document) else {
            let kind = document.kind();
            let version = document.api_version();
            writeln!(
                err,
                "{file}:{}: {kind:?} of {version:?} is not converted: it is no kind that nodes read",
                document.position()
            )?;
            good = false;
            continue;
        };
        let bytes = serde_json::to_vec(&document.value).context("write JSON")?;
        let (changes, diagnostics) = converter.entry(&path, Some(&bytes));
        for change in changes {
            let value = change.value.as_ref().map(tortie_model::Value::to_json);
            // What the model has beyond Calico's has no path.
            let key = change.key.to_path().unwrap_or_else(|| format!("{:?}", change.key));
            serde_json::to_writer(&mut *out, &json!({"key": key, "value": value})).context("write JSON")?;
            writeln!(out)?;
        }
        for diagnostic in diagnostics {
            let at = document.locate(&diagnostic.field);
            let place =
                if diagnostic.field.is_empty() { String::new() } else { format!(" {}:", diagnostic.field) };
            writeln!(err, "{file}:{at}: {}:{place} {}", diagnostic.object, diagnostic.message)?;
            good = false;
        }
    }
    out.flush()?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a document would stand in a datastore without Kubernetes.
fn path_of(document: &Document) -> Option<String> {
    let version = document.api_version();
    let kind = if version.starts_with(v3::GROUP) {
        v3::by_kind(document.kind())?
    } else {
        k8s::RESOURCES.iter().find(|k| k.kind == document.kind() && k.api_version == version)?
    };
    let namespace = match document.namespace() {
        "" if kind.namespaced => "default",
        namespace => namespace,
    };
    Some(kind.path(namespace, document.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn convert(text: &str) -> (Vec<Value>, String, bool) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run("-", &mut text.as_bytes(), &mut out, &mut err).unwrap();
        let lines = String::from_utf8(out).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines, String::from_utf8(err).unwrap(), status == ExitCode::SUCCESS)
    }

    #[test]
    fn both_network_policies_are_told_apart() {
        let (lines, err, good) = convert(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: shop}\nspec: {podSelector: {}}\n---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: b}\nspec: {selector: all()}\n",
        );
        assert_eq!((err.as_str(), good), ("", true));
        let keys: Vec<&str> = lines.iter().filter_map(|l| l["key"].as_str()).collect();
        assert!(keys[0].contains("KubernetesNetworkPolicy") && keys[0].contains("/shop/"), "{keys:?}");
        assert!(keys[1].contains("NetworkPolicy") && keys[1].contains("default"), "{keys:?}");
        assert!(lines[1]["value"].is_object());
    }

    #[test]
    fn a_pod_becomes_an_endpoint() {
        let (lines, err, good) = convert(
            r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}},
                "spec": {"nodeName": "node-1"}, "status": {"phase": "Running", "podIP": "10.0.0.1"}}"#,
        );
        assert_eq!((err.as_str(), good), ("", true));
        assert_eq!(lines[0]["value"]["labels"]["a"], "b");
    }

    #[test]
    fn what_cannot_be_converted_is_told_with_its_place() {
        let (lines, err, good) = convert(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\napiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 3}\n",
        );
        assert!(!good && err.contains("-:1:1") && err.contains("Secret"), "{err}");
        assert_eq!(lines.len(), 1, "the rest is converted");
    }
}
