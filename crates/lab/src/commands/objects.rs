//! `lab apply` and `lab delete`.

use super::Context;
use crate::apply::{Action, Applied, Outcome};
use crate::args::{Output, OutputArg};
use crate::objects::{self, Meaning};
use crate::request::Request;
use crate::table::{self, Table};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tortie_api::document;
use tortie_scenario::document_object;

pub(crate) fn apply(
    context: &Context,
    files: &[PathBuf],
    wait: bool,
    output: OutputArg,
) -> anyhow::Result<ExitCode> {
    let documents = read(files, true)?;
    report(context, &Request::Apply { documents, wait }, false, output)
}

pub(crate) fn delete(
    context: &Context,
    files: &[PathBuf],
    object: &[String],
    output: OutputArg,
) -> anyhow::Result<ExitCode> {
    let documents = match object {
        [kind, name] => match objects::by_name(kind, name).map_err(|e| anyhow::anyhow!("{e}"))? {
            Meaning::Stored { object, .. } | Meaning::Workload { object, .. } => vec![object],
            Meaning::Skipped { id, reason } => bail!("{id}: {reason}"),
        },
        _ => {
            // What was made last goes first.
            let mut documents = read(files, false)?;
            documents.reverse();
            documents
        }
    };
    report(context, &Request::Delete { documents }, !object.is_empty(), output)
}

fn report(
    context: &Context,
    request: &Request,
    by_name: bool,
    output: OutputArg,
) -> anyhow::Result<ExitCode> {
    context.interrupts.leave(&context.dir);
    let applied: Applied = context.ask(request)?;
    // Asked for by name, an object that is not there is a mistake.
    let missing = by_name && applied.outcomes.iter().any(|o| o.result == Action::Absent);
    table::emit(output.output, &applied, |a| render(&a.outcomes))?;
    if output.output == Output::Table {
        context.terminal.progress(&summary(&applied.outcomes));
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn render(outcomes: &[Outcome]) -> String {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME", "RESULT", "DETAIL"]);
    for o in outcomes {
        table.add([
            o.kind.clone(),
            o.namespace.clone(),
            o.name.clone(),
            o.result.as_str().to_owned(),
            o.detail.clone(),
        ]);
    }
    table.to_string()
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut counts = BTreeMap::new();
    for o in outcomes {
        *counts.entry(o.result).or_insert(0) += 1;
    }
    let words: Vec<String> =
        counts.into_iter().map(|(action, n)| format!("{n} {}", action.as_str())).collect();
    if words.is_empty() { "nothing to do".to_owned() } else { words.join(", ") }
}

/// Every document of the files, in order; all errors at once, with those of the objects themselves if they are to be judged.
fn read(files: &[PathBuf], judge: bool) -> anyhow::Result<Vec<Value>> {
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in texts(files)? {
        let parsed = document::read(&name, &text);
        problems.extend(parsed.errors.iter().map(ToString::to_string));
        if judge {
            let found = parsed.documents.iter().filter_map(|d| document_object(d).err());
            problems.extend(found.flatten().map(|p| p.to_string()));
        }
        documents.extend(parsed.documents.into_iter().map(|d| d.value));
    }
    if !problems.is_empty() {
        bail!("nothing was done:\n  {}", problems.join("\n  "));
    }
    if documents.is_empty() {
        bail!(
            "there is no object in {}",
            files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(documents)
}

/// Names and contents of files; directories are read in the order of their names, not deeper.
fn texts(files: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            texts.push(("-".to_owned(), text));
        } else if file.is_dir() {
            for path in manifests(file)? {
                texts.push(text(&path)?);
            }
        } else {
            texts.push(text(file)?);
        }
    }
    Ok(texts)
}

fn text(path: &Path) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path.display().to_string(), text))
}

/// YAML and JSON files of a directory.
pub(crate) fn manifests(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|x| e == *x)))
        .collect();
    paths.sort();
    if paths.is_empty() {
        bail!("there is no .yaml, .yml or .json file in {}", dir.display());
    }
    Ok(paths)
}
