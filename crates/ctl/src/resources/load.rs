//! Files, directories and standard input to objects.

use super::{Resource, kind_of};
use std::io::Read;
use std::path::{Path, PathBuf};
use tortie_api::document::{self, Document};
use tortie_api::v3;
use tortie_api::validate::{self, Problem};

/// How the message of an unknown field begins.
const NO_FIELD: &str = "is no field here";
/// Fields of a Node's status.
const NODE_STATUS: [&str; 3] = ["wireguardPublicKey", "wireguardPublicKeyV6", "podCIDRs"];
/// Fields that every object has.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// Fields of metadata that people write.
const METADATA: [&str; 7] =
    ["name", "namespace", "labels", "annotations", "uid", "resourceVersion", "creationTimestamp"];
/// Deepest nesting of a kind's fields.
const MAX_DEPTH: usize = 12;

/// What a file argument held.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// In the order of the files and in them.
    pub resources: Vec<Resource>,
}

/// Why a file argument cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{0}")]
    Content(String),
    /// A file holds nothing.
    #[error("no resources specified in file {0}")]
    EmptyFile(String),
    /// A directory holds nothing.
    #[error("no resources specified in directory {0}")]
    EmptyDirectory(String),
}

/// Loads all objects of a file, of the files of a directory (and those below it), or of standard input (`-`).
pub fn load(
    argument: &str,
    recursive: bool,
    allow_empty: bool,
    stdin: &mut dyn Read,
) -> Result<Loaded, LoadError> {
    let unreadable = |path: &str, source| LoadError::Read { path: path.to_owned(), source };
    let mut loaded = Loaded::default();
    let files = if argument != "-" && Path::new(argument).is_dir() {
        let mut files = Vec::new();
        documents_below(Path::new(argument), recursive, &mut files).map_err(|e| unreadable(argument, e))?;
        files
    } else {
        vec![PathBuf::from(argument)]
    };
    for file in files {
        let name = file.display().to_string();
        let mut text = String::new();
        if argument == "-" {
            stdin.read_to_string(&mut text).map_err(|e| unreadable("standard input", e))?;
        } else {
            text = std::fs::read_to_string(&file).map_err(|e| unreadable(&name, e))?;
        }
        let resources = parse(&name, &text)?;
        if resources.is_empty() && !allow_empty {
            return Err(LoadError::EmptyFile(name));
        }
        loaded.resources.extend(resources);
    }
    if loaded.resources.is_empty() && !allow_empty {
        return Err(LoadError::EmptyDirectory(argument.to_owned()));
    }
    Ok(loaded)
}

/// In the order of their names, files and directories mixed.
fn documents_below(directory: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut paths =
        std::fs::read_dir(directory)?.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if recursive {
                documents_below(&path, recursive, files)?;
            }
            continue;
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        if matches!(extension.as_str(), "yaml" | "yml" | "json") {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads all documents of a text. Every document must be of a kind that can be handled.
pub(crate) fn parse(name: &str, text: &str) -> Result<Vec<Resource>, LoadError> {
    let text = list_as_document(text);
    let documents = document::parse(name, &text).map_err(|e| LoadError::Content(e.to_string()))?;
    let mut resources = Vec::new();
    let mut problems = Vec::new();
    for document in documents {
        match resource(document) {
            Ok(resource) => resources.push(resource),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(resources) } else { Err(LoadError::Content(problems.join("\n"))) }
}

fn resource(document: Document) -> Result<Resource, String> {
    let (kind, version) = (document.kind(), document.api_version());
    let known = v3::by_kind(kind).filter(|k| version == v3::API_VERSION && kind_of(k.kind).is_some());
    let Some(kind) = known else {
        let hint = match kind_of(kind) {
            Some(known) if known.kind != kind || version != v3::API_VERSION => {
                format!("; did you mean {} of {}?", known.kind, v3::API_VERSION)
            }
            _ => String::new(),
        };
        return Err(format!(
            "{}:{}: unknown resource type ({kind}) and/or version ({version}){hint}",
            document.source,
            document.position()
        ));
    };
    let mut value = document.value.clone();
    fold_case(kind.kind, &mut value);
    let strangers = strangers(kind.kind, &value);
    let told: Vec<String> = strangers
        .iter()
        .map(|Problem { path, message }| {
            let place = format!("{}:{}", document.source, document.locate(path));
            let name = path.rsplit('.').next().unwrap_or(path);
            format!(
                "field in document is not recognized or is in the wrong location: {name}\n\
                 {place}: {document}: {path} {message}"
            )
        })
        .collect();
    match super::canonical(value.clone()) {
        _ if !told.is_empty() => Err(told.join("\n")),
        // What is no value of the kind at all spoils the file as well.
        Err(error) => Err(mistyped(&document, &value, &error)),
        Ok(_) => Ok(Resource { kind, value }),
    }
}

/// Tells values of the wrong type, with their places if they can be found.
fn mistyped(document: &Document, value: &serde_json::Value, error: &serde_json::Error) -> String {
    let options = validate::Options { schema: false, client: false };
    let problems = validate::validate_value(value, options);
    if problems.is_empty() {
        return format!("{}:{}: {document}: {error}", document.source, document.position());
    }
    let told = problems.iter().map(|problem| {
        format!("{}:{}: {document}: {problem}", document.source, document.locate(&problem.path))
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Fields that nobody knows: a mistake in the text, so nothing of the file is used.
fn strangers(kind: &str, value: &serde_json::Value) -> Vec<Problem> {
    let options = validate::Options { schema: false, client: true };
    let mut problems = validate::validate_value(value, options);
    problems.retain(|problem| problem.message.starts_with(NO_FIELD));
    if kind == "Node"
        && let Some(status) = value.get("status").and_then(serde_json::Value::as_object)
    {
        // A node of Kubernetes has much more of it.
        for key in status.keys().filter(|key| !NODE_STATUS.contains(&key.as_str())) {
            let message = format!("{NO_FIELD}: a Node of Calico is not one of Kubernetes; remove it");
            problems.push(Problem { path: format!("status.{key}"), message });
        }
    }
    problems
}

/// Calico takes keys in any case. Each round finds what the renaming in the round before has uncovered.
fn fold_case(kind: &str, value: &mut serde_json::Value) {
    fold_names(value, &TOP);
    if let Some(metadata) = value.get_mut("metadata") {
        fold_names(metadata, &METADATA);
    }
    for _ in 0..MAX_DEPTH {
        let mut renamed = false;
        for problem in strangers(kind, value) {
            let known = problem.message.split('"').nth(1).unwrap_or("");
            let name = problem.path.rsplit('.').next().unwrap_or("");
            if !known.is_empty() && known.eq_ignore_ascii_case(name) {
                renamed |= rename(value, &problem.path, known);
            }
        }
        if !renamed {
            return;
        }
    }
}

/// Gives the fields of an object that are meant by another case their names.
fn fold_names(object: &mut serde_json::Value, names: &[&str]) {
    let Some(fields) = object.as_object_mut() else { return };
    let odd: Vec<String> = fields.keys().filter(|key| !names.contains(&key.as_str())).cloned().collect();
    for key in odd {
        let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(&key)) else { continue };
        if let Some(field) = fields.shift_remove(&key) {
            fields.entry(*name).or_insert(field);
        }
    }
}

/// Gives a field another name. A field that has it already wins.
fn rename(value: &mut serde_json::Value, path: &str, to: &str) -> bool {
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    let Some((parent, name)) = pointer.rsplit_once('/') else { return false };
    let Some(parent) = value.pointer_mut(parent).and_then(serde_json::Value::as_object_mut) else {
        return false;
    };
    match parent.shift_remove(name) {
        Some(field) => {
            parent.entry(to).or_insert(field);
            true
        }
        None => false,
    }
}

/// `get` prints several objects as a bare list; it can be read again.
fn list_as_document(text: &str) -> String {
    let mut lines = text.lines().map(str::trim_end);
    let first = lines.find(|l| !l.is_empty() && !l.starts_with('#') && *l != "---").unwrap_or("");
    if first.starts_with('[') {
        return format!("{{\"kind\": \"List\", \"items\": {text}}}");
    }
    if first == "-" || first.starts_with("- ") {
        let body = text.trim_start_matches(|c: char| c.is_whitespace()).trim_start_matches("---");
        return format!("kind: List\nitems:\n{body}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse("t", text).unwrap().iter().map(|r| format!("{} {}", r.kind.kind, r.name())).collect()
    }

    #[test]
    fn documents_lists_and_bare_lists_are_objects() {
        let tier = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\n";
        assert_eq!(
            names(&format!("{tier}---\n{}", tier.replace("name: a", "name: b"))),
            ["Tier a", "Tier b"]
        );
        let json = r#"[{"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "a"}}]"#;
        assert_eq!(names(json), ["Tier a"]);
        let bare = "- apiVersion: projectcalico.org/v3\n  kind: Tier\n  metadata:\n    name: a\n";
        assert_eq!(names(bare), ["Tier a"]);
        assert_eq!(names(&format!("---\n{bare}")), ["Tier a"]);
        let typed = "apiVersion: projectcalico.org/v3\nkind: TierList\nitems:\n- metadata: {name: a}\n";
        assert_eq!(names(typed), ["Tier a"]);
        assert_eq!(names("# nothing\n---\n"), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_field_spoils_the_file() {
        let tier = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: a}\nspec:\n  ordr: 5\n";
        let error = parse("f.yaml", tier).unwrap_err().to_string();
        assert!(error.starts_with("field in document is not recognized"), "{error}");
        assert!(error.contains("f.yaml:5:3: Tier a: spec.ordr is no field here; did you mean"), "{error}");
        let typed = tier.replace("ordr: 5", "order: [5]");
        let error = parse("f.yaml", &typed).unwrap_err().to_string();
        assert!(error.contains("f.yaml:5:3: Tier a: spec.order"), "{error}");
    }

    #[test]
    fn keys_are_taken_in_any_case() {
        let policy = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec:\n  \
                      Ingress:\n  - Action: Allow\n    Source: {NETS: [10.0.0.0/8]}\n";
        let resources = parse("f.yaml", policy).unwrap();
        let expected = serde_json::json!([{"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}}]);
        assert_eq!(resources[0].value["spec"]["ingress"], expected);
    }

    #[test]
    fn unknown_kinds_and_versions_are_named_with_their_place() {
        let error = parse("f.yaml", "\napiVersion: v1\nkind: NetworkPolicy\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "f.yaml:2:1: unknown resource type (NetworkPolicy) and/or version (v1); did you mean NetworkPolicy of projectcalico.org/v3?"
        );
        assert!(parse("f", "apiVersion: projectcalico.org/v3\nkind: Teir\n").is_err());
    }
}
