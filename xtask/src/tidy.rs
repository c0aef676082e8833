//! The rules of the house that a machine can check.

use crate::say;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_FILE: usize = 1000;
const MAX_FUNCTION: usize = 100;
const MAX_DEPENDENCIES: usize = 10;
const MAX_DEPENDENCIES_F4: usize = 17;

/// Not on the floors of pure values and pure calculation.
const EFFECTS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::process",
    "std::env",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::TcpListener",
    "SystemTime::now",
    "Instant::now",
    "netlink_sys",
];

/// Checks everything; all findings at once.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let table = Table::read(&root.join("crates/README.md"))?;
    let mut findings = Vec::new();
    check_floors(root, &table, &mut findings)?;
    for file in sources(root)? {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        check_file(&name, &text, &table, &mut findings);
    }
    for required in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "docs/glossary.md",
        ".ci/run",
    ] {
        if !root.join(required).exists() {
            findings.push(format!("{required} is missing"));
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        say(finding);
    }
    bail!("{} findings", findings.len())
}

/// The table of crates: name to (floor, position).
struct Table(BTreeMap<String, (u8, usize)>);

impl Table {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut crates = BTreeMap::new();
        for (position, line) in text.lines().enumerate() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, floor, name, what, _] = cells[..] else { continue };
            if let Some(floor) = floor.strip_prefix('F').and_then(|f| f.parse().ok()) {
                if what.is_empty() {
                    bail!("{}: {name} has no description", path.display());
                }
                crates.insert(name.to_owned(), (floor, position));
            }
        }
        Ok(Self(crates))
    }
}

fn check_floors(root: &Path, table: &Table, findings: &mut Vec<String>) -> Result<()> {
    let mut present = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let dir = entry?.path();
        let Ok(manifest) = fs::read_to_string(dir.join("Cargo.toml")) else { continue };
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        present.push(name.clone());
        let Some(&(floor, position)) = table.0.get(&name) else {
            findings.push(format!("crates/{name}: not in crates/README.md"));
            continue;
        };
        let internal = dependencies(&manifest);
        let limit = if floor >= 4 { MAX_DEPENDENCIES_F4 } else { MAX_DEPENDENCIES };
        if internal.len() > limit {
            findings
                .push(format!("crates/{name}: {} internal dependencies, at most {limit}", internal.len()));
        }
        for dependency in internal {
            match table.0.get(&dependency) {
                Some(&(lower, _)) if lower < floor => {}
                Some(&(same, above)) if same == floor && floor < 4 && above < position => {}
                _ => findings.push(format!("crates/{name} (F{floor}) must not depend on {dependency}")),
            }
        }
    }
    for name in table.0.keys().filter(|n| !present.contains(n)) {
        findings.push(format!("crates/README.md: {name} does not exist"));
    }
    Ok(())
}

/// Internal dependencies of the `[dependencies]` section.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[").find(|s| s.starts_with("dependencies]")).unwrap_or_default();
    section
        .lines()
        .filter_map(|l| l.strip_prefix("tortie-"))
        .map(|l| l.split(['.', ' ', '=']).next().unwrap_or_default().to_owned())
        .collect()
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs: Vec<PathBuf> =
        ["crates", "bin", "testing", "xtask", "fuzz"].iter().map(|d| root.join(d)).collect();
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(name: &str, text: &str, table: &Table, findings: &mut Vec<String>) {
    if !text.starts_with("//!") {
        findings.push(format!("{name}: does not begin with //! (what it is for, and what it must not do)"));
    }
    if name.ends_with("/mod.rs") && !name.contains("/tests/") {
        findings.push(format!("{name}: foo.rs + foo/, not mod.rs"));
    }
    let lines = text.lines().count();
    if lines > MAX_FILE && !text.contains("tidy: table") {
        findings.push(format!("{name}: {lines} lines, at most {MAX_FILE}"));
    }
    if text.contains(concat!("#[", "ignore")) {
        findings.push(format!("{name}: a test must not be ignored"));
    }
    check_functions(name, text, findings);
    let floor = name
        .strip_prefix("crates/")
        .and_then(|n| n.split('/').next())
        .and_then(|c| table.0.get(c))
        .map(|c| c.0);
    let product = name.contains("/src/") && !name.contains("tests");
    if product && floor.is_some_and(|f| f <= 1) {
        let body = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in body.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(effect) = EFFECTS.iter().find(|e| code.contains(*e)) {
                findings.push(format!("{name}:{}: {effect} on a pure floor", number + 1));
            }
        }
    }
}

/// Functions by indentation: rustfmt makes that exact.
fn check_functions(name: &str, text: &str, findings: &mut Vec<String>) {
    let mut open: Option<(usize, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        if open.is_none() && is_function(code) && !code.ends_with(';') && !code.ends_with('}') {
            open = Some((number, indent, code.to_owned()));
        } else if let Some((start, at, signature)) = &open
            && indent == *at
            && code.starts_with('}')
        {
            let length = number - start + 1;
            if length > MAX_FUNCTION {
                findings.push(format!(
                    "{name}:{}: {length} lines, at most {MAX_FUNCTION}: {signature}",
                    start + 1
                ));
            }
            open = None;
        }
    }
}

fn is_function(code: &str) -> bool {
    let words = code.split('(').next().unwrap_or_default();
    words.split_whitespace().rev().nth(1) == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table([("net".to_owned(), (0, 1)), ("lab".to_owned(), (4, 2))].into())
    }

    fn findings(name: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check_file(name, text, &table(), &mut findings);
        findings
    }

    #[test]
    fn finds_what_it_should() {
        assert!(findings("crates/net/src/lib.rs", "//! Fine.\nfn a() {}\n").is_empty());
        assert_eq!(findings("crates/net/src/lib.rs", "fn a() {}\n").len(), 1);
        assert_eq!(findings("crates/net/src/lib.rs", "//! x\nuse std::fs;\n").len(), 1);
        assert!(findings("crates/lab/src/lib.rs", "//! x\nuse std::fs;\n").is_empty());
        let long = format!("//! x\nfn long() {{\n{}}}\n", "    a();\n".repeat(100));
        assert_eq!(findings("crates/lab/src/lib.rs", &long).len(), 1);
        assert_eq!(findings("crates/lab/src/a.rs", &format!("//! x\n{}", "\n".repeat(1001))).len(), 1);
    }

    #[test]
    fn reads_dependencies() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\ntortie-net.workspace = true\nserde.workspace = true\n\n[dev-dependencies]\ntortie-lab.workspace = true\n";
        assert_eq!(dependencies(manifest), ["net"]);
    }
}
