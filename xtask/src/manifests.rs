//! `cargo xtask manifests`: what operators apply, each file whole: the node's objects and the definitions of the kinds.

use crate::{say, tasks};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The node's objects, written by hand.
const NODE: &str = "deploy/node.yaml";

/// Where in it the definitions belong.
const DEFINITIONS: &str = "# Here come the definitions of the kinds.";

/// Files with the group of their definitions.
const FILES: [(&str, &str); 2] =
    [("deploy/tortie.yaml", "projectcalico.org"), ("deploy/tortie-crd-v1.yaml", "crd.projectcalico.org")];

/// Writes the files, with the definitions that the product gives.
pub(crate) fn write() -> Result<()> {
    let tortie = tasks::build(false)?;
    for (file, text) in render(Path::new(""), &|group| definitions(&tortie, group))? {
        fs::write(file, text).with_context(|| format!("cannot write {file}"))?;
        say(file);
    }
    Ok(())
}

fn definitions(tortie: &str, group: &str) -> Result<String> {
    let out = Command::new(tortie).args(["crds", "--group", group]).output();
    let out = out.with_context(|| format!("{tortie} cannot be run"))?;
    if !out.status.success() {
        bail!("tortie crds --group {group}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    String::from_utf8(out.stdout).context("definitions are text")
}

/// The files' texts.
fn render(root: &Path, definitions: &dyn Fn(&str) -> Result<String>) -> Result<Vec<(&'static str, String)>> {
    let node = fs::read_to_string(root.join(NODE)).with_context(|| format!("cannot read {NODE}"))?;
    let (before, after) =
        node.split_once(DEFINITIONS).with_context(|| format!("{NODE}: no {DEFINITIONS:?}"))?;
    let policy = definitions("policy.networking.k8s.io")?;
    let of = |(file, group): (&'static str, &str)| {
        let grouped =
            |text: &str| if group == "projectcalico.org" { text.to_owned() } else { in_storage_group(text) };
        let head = "# Made by `cargo xtask manifests` of deploy/node.yaml and `tortie crds`; changes belong there.\n";
        let kinds = definitions(group)?;
        // Each definition begins with a separator, which takes the place of the one before them.
        let before = grouped(before);
        Ok((
            file,
            format!(
                "{head}{}{kinds}{policy}{}",
                before.trim_end_matches("---\n"),
                grouped(after).trim_start_matches('\n')
            ),
        ))
    };
    FILES.into_iter().map(of).collect()
}

/// The node's objects for a cluster that keeps its objects in `crd.projectcalico.org/v1`.
fn in_storage_group(node: &str) -> String {
    node.replace("\"projectcalico.org/v3\"", "\"crd.projectcalico.org/v1\"")
        .replace("[projectcalico.org]", "[crd.projectcalico.org]")
        .replace("ipamconfigurations", "ipamconfigs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use tortie_api::crd::{self, Group};

    #[test]
    fn the_files_are_what_they_are_made_of() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let definitions = |name: &str| {
            let group = Group::ALL.into_iter().find(|group| group.name() == name).unwrap();
            Ok(crd::manifests(group).iter().fold(String::new(), |mut text, manifest| {
                write!(text, "---\n{}", tortie_api::document::to_yaml(manifest)).unwrap();
                text
            }))
        };
        for (file, text) in render(root, &definitions).unwrap() {
            let there = fs::read_to_string(root.join(file)).unwrap_or_default();
            assert!(there == text, "{file} is not what it is made of: run `cargo xtask manifests`");
        }
    }

    #[test]
    fn the_namespace_goes_first_and_rights_go_last() {
        let node = include_str!("../../deploy/node.yaml");
        let kinds: Vec<&str> = node.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
        let wanted =
            ["Namespace", "ServiceAccount", "ConfigMap", "DaemonSet", "ClusterRole", "ClusterRoleBinding"];
        assert_eq!(kinds, wanted);
        let definitions = node.find(DEFINITIONS).unwrap();
        assert!(node.find("kind: DaemonSet").unwrap() < definitions);
        assert!(definitions < node.find("kind: ClusterRole").unwrap());
    }

    #[test]
    fn both_groups_have_the_same_rules() {
        let node = include_str!("../../deploy/node.yaml");
        let storage = in_storage_group(node);
        assert!(!storage.contains("[projectcalico.org]") && !storage.contains("\"projectcalico.org/v3\""));
        assert!(storage.contains("ipamconfigs") && storage.contains("\"crd.projectcalico.org/v1\""));
        assert_eq!(storage.lines().count(), node.lines().count());
    }
}
