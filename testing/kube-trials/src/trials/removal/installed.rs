//! The product as users install and remove it: an image on every node, and a manifest.

use crate::{Context, wait};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What of the manifest an operator changes before the first start: pools within the cluster's ranges, both families.
const ENVIRONMENT: &str = r"            - name: IP
              value: autodetect
            - name: IP6
              value: autodetect
            - name: CALICO_IPV4POOL_CIDR
              value: 10.244.0.0/16
            - name: CALICO_IPV6POOL_CIDR
              value: fd00:244::/64
            - name: CALICO_IPV6POOL_NAT_OUTGOING
              value: 'true'
";

/// How the nodes are to reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trials) enum Backend {
    Bgp,
    Vxlan,
}

/// A manifest of the repository, changed as operators do, in a file.
#[derive(Debug)]
pub(in crate::trials) struct Manifest {
    file: PathBuf,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Manifest {
    pub(in crate::trials) fn write(cx: &Context, name: &str, backend: Backend) -> Result<Self> {
        let path = repository().join("deploy").join(name);
        let mut text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut replace = |from: &str, to: &str| {
            ensure!(text.contains(from), "{name} has no {from:?}");
            text = text.replacen(from, to, 1);
            Ok(())
        };
        replace("            - name: IP\n              value: autodetect\n", ENVIRONMENT)?;
        if backend == Backend::Vxlan {
            replace("calico_backend: \"bird\"", "calico_backend: \"vxlan\"")?;
            let always = |family: &str| {
                format!("            - name: CALICO_{family}POOL_VXLAN\n              value: Always\n")
            };
            let before = "            - name: CALICO_IPV6POOL_NAT_OUTGOING\n";
            replace(before, &format!("{}{}{before}", always("IPV4"), always("IPV6")))?;
        }
        let file = cx.cluster.output().join(format!("{}-{name}", cx.namespace));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { file })
    }

    fn path(&self) -> String {
        self.file.display().to_string()
    }

    /// `kubectl apply -f`, and every node's agent is ready.
    pub(in crate::trials) fn apply(&self, cx: &Context) -> Result<()> {
        cx.cluster.kubectl(&["apply", "-f", &self.path()])?;
        Self::rolled_out(cx)
    }

    pub(in crate::trials) fn rolled_out(cx: &Context) -> Result<()> {
        let status = ["-n", "calico-system", "rollout", "status", "ds/calico-node", "--timeout=80s"];
        if let Err(error) = cx.cluster.kubectl(&status) {
            let logs = ["-n", "calico-system", "logs", "ds/calico-node", "-c", "calico-node", "--tail=30"];
            bail!("{error:#}\n{}", cx.cluster.kubectl(&logs).unwrap_or_default());
        }
        Ok(())
    }

    /// `kubectl delete -f`, which must not stumble over anything.
    pub(in crate::trials) fn delete(&self, cx: &Context) -> Result<()> {
        let told = cx.cluster.kubectl(&["delete", "-f", &self.path()])?;
        ensure!(told.contains("\"calico-system\" deleted"), "{told}");
        let left = cx.cluster.kubectl(&["get", "crds", "-o", "name"])?;
        ensure!(!left.contains("projectcalico.org"), "there are still {left}");
        wait::until_true("the namespace to be gone", wait::seconds(60), || {
            Ok(cx.cluster.get(&["namespace", "calico-system"])?.is_none())
        })
    }
}

/// Brings the image of the programs that were just built onto every node.
pub(in crate::trials) fn import(cx: &Context) -> Result<()> {
    let programs = cx.cluster.lab_command(&[]);
    let programs = Path::new(programs.get_program()).parent().context("tortie is in no directory")?;
    let status = Command::new("cargo")
        .args(["run", "--quiet", "-p", "xtask", "--", "image", "--programs"])
        .arg(programs)
        .current_dir(repository())
        .status()
        .context("cargo cannot be run")?;
    ensure!(status.success(), "the image cannot be made: {status}");
    let target = programs.parent().context("programs are in no target directory")?;
    let archive = target.join("tortie-node-trial.tar").display().to_string();
    for node in 1..=cx.cluster.shape.nodes {
        cx.cluster.sh(node, &format!("ctr --namespace k8s.io images import {archive}"))?;
    }
    Ok(())
}
