//! `cargo xtask manifests`: what operators apply, each file whole (the node's objects and the definitions of the kinds), and what of
//! the Helm chart says the same.

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

/// The chart's definitions, one file for each group.
const GROUPS: [(&str, &str); 3] = [
    ("charts/tortie/definitions/projectcalico.org.yaml", "projectcalico.org"),
    ("charts/tortie/definitions/crd.projectcalico.org.yaml", "crd.projectcalico.org"),
    ("charts/tortie/definitions/policy.networking.k8s.io.yaml", "policy.networking.k8s.io"),
];

/// The chart's template of the node's objects.
const TEMPLATE: &str = "charts/tortie/templates/node.yaml";

/// What of the node's objects depends on the chart's values.
const VALUES: [(&str, &str); 8] = [
    (
        "image: localhost/tortie/node:0.1.0",
        "image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}",
    ),
    ("imagePullPolicy: IfNotPresent", "imagePullPolicy: {{ .Values.image.pullPolicy }}"),
    ("calico_backend: \"bird\"", "calico_backend: {{ .Values.backend | quote }}"),
    ("veth_mtu: \"0\"", "veth_mtu: {{ .Values.mtu | quote }}"),
    ("\"projectcalico.org/v3\"", "{{ .Values.apiGroup | quote }}"),
    ("[projectcalico.org]", "[{{ .Values.apiGroup | splitList \"/\" | first }}]"),
    (
        "ipamconfigurations",
        "{{ if eq .Values.apiGroup \"crd.projectcalico.org/v1\" }}ipamconfigs{{ else }}ipamconfigurations{{ end }}",
    ),
    (
        "            - name: IP\n              value: autodetect\n",
        "            {{- range $name, $value := .Values.env }}\n            - name: {{ $name }}\n              value: {{ $value | quote }}\n            {{- end }}\n",
    ),
];

/// Writes the files, with the definitions that the product gives.
pub(crate) fn write() -> Result<()> {
    let tortie = tasks::build(false)?;
    for (file, text) in render(Path::new(""), &|group| definitions(&tortie, group))? {
        if let Some(directory) = Path::new(file).parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
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
    let mut files = FILES.into_iter().map(of).collect::<Result<Vec<_>>>()?;
    for (file, group) in GROUPS {
        files.push((
            file,
            format!("# Made by `cargo xtask manifests` of `tortie crds`.\n{}", definitions(group)?),
        ));
    }
    files.push((TEMPLATE, template(&node)?));
    Ok(files)
}

/// The node's objects as the chart's template.
fn template(node: &str) -> Result<String> {
    if node.contains("{{") {
        bail!("{NODE}: {{{{ means something to Helm");
    }
    let mut text = format!("# Made by `cargo xtask manifests` of {NODE}; changes belong there.\n{node}");
    for (from, to) in VALUES {
        if !text.contains(from) {
            bail!("{NODE} has no {from:?}, which the chart's values replace");
        }
        text = text.replace(from, to);
    }
    Ok(text)
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

    /// What Helm makes of the template, as far as we use its language: every expression has one value.
    fn helm(template: &str, values: &serde_json::Value, chart: &serde_json::Value) -> String {
        let value = |path: &str| values.pointer(path).unwrap_or_else(|| panic!("values.yaml has no {path}"));
        let text = |path: &str| value(path).as_str().map_or_else(|| value(path).to_string(), str::to_owned);
        let group = text("/apiGroup");
        let tag = match text("/image/tag").as_str() {
            "" => chart["appVersion"].as_str().unwrap().to_owned(),
            tag => tag.to_owned(),
        };
        let environment =
            value("/env").as_object().unwrap().iter().fold(String::new(), |all, (name, value)| {
                // Quoted, as every variable must be; the manifest leaves that out where nothing else could be meant.
                all + &format!(
                    "\n            - name: {name}\n              value: {}",
                    value.as_str().unwrap()
                )
            });
        let kind = if group == "crd.projectcalico.org/v1" { "ipamconfigs" } else { "ipamconfigurations" };
        let rendered = [
            format!("image: {}:{tag}", text("/image/repository")),
            format!("imagePullPolicy: {}", text("/image/pullPolicy")),
            format!("calico_backend: {:?}", text("/backend")),
            format!("veth_mtu: {:?}", text("/mtu")),
            format!("{group:?}"),
            format!("[{}]", group.split('/').next().unwrap()),
            kind.to_owned(),
            // `{{-` takes the white space before it.
            format!("{}\n", environment.trim_start_matches('\n')),
        ];
        let mut text = template.to_owned();
        for ((_, expression), rendered) in VALUES.into_iter().zip(rendered) {
            text = text.replace(expression, &rendered);
        }
        assert!(!text.contains("{{"), "{text}");
        text
    }

    fn yaml(text: &str) -> serde_json::Value {
        tortie_api::document::parse("-", text).unwrap().remove(0).value
    }

    #[test]
    fn the_charts_defaults_are_the_manifest() {
        let node = include_str!("../../deploy/node.yaml");
        let chart = yaml(include_str!("../../charts/tortie/Chart.yaml"));
        let mut values = yaml(include_str!("../../charts/tortie/values.yaml"));
        let template = template(node).unwrap();
        let body = |text: &str| text.split_once('\n').unwrap().1.to_owned();
        assert_eq!(body(&helm(&template, &values, &chart)), node);
        values["apiGroup"] = "crd.projectcalico.org/v1".into();
        assert_eq!(body(&helm(&template, &values, &chart)), in_storage_group(node));
        assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
        assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
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
