//! A real node: containerd, kubelet and kube-proxy in namespaces of their own.

use super::access::write_secret;
use super::cgroups;
use super::control_plane::ControlPlane;
use super::space::SpaceSpec;
use crate::fabric::NodeNet;
use crate::process::{Process, ProcessSpec};
use crate::sandbox::{ARG0, SELF, STATE_DIR};
use crate::spec::{Families, ProxyMode};
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tortie_kernel_net::NetNs;
use tortie_net::Cidr;

/// What every node of a lab has in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) lab: String,
    /// Kubernetes' programs.
    pub(crate) binaries: PathBuf,
    /// Address ranges of all pods.
    pub(crate) pods: Vec<Cidr>,
    /// Files for `/opt/cni/bin`: where they are, and their names there.
    pub(crate) plugins: Vec<(PathBuf, String)>,
    /// Name and text of the configuration list in `/etc/cni/net.d`, if it is written before the first pod.
    pub(crate) network: Option<(String, String)>,
    pub(crate) families: Families,
    /// Run kube-proxy, in this mode.
    pub(crate) proxy: Option<ProxyMode>,
}

/// A real node's processes.
#[derive(Debug)]
pub(crate) struct KubeNode {
    pub(crate) space: SpaceSpec,
    pub(crate) processes: Vec<(&'static str, Process)>,
    dir: PathBuf,
    netns: NetNs,
}

impl KubeNode {
    /// Makes the node's namespaces; `dir` is for logs.
    pub(crate) async fn make(
        net: &NodeNet,
        netns: &NetNs,
        dir: &Path,
        labs: &Path,
        common: &Common,
    ) -> anyhow::Result<Self> {
        let data = Path::new(STATE_DIR).join("nodes").join(&net.name);
        std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        cgroups::make(&common.lab, &net.name)?;
        copy_images(&data.join("containerd")).await?;
        let space = SpaceSpec { node: net.name.clone(), labs: labs.to_owned(), data };
        let process = Process::start(ProcessSpec {
            title: format!("namespaces of {}", net.name),
            program: SELF.into(),
            arg0: Some(ARG0.to_owned()),
            args: space.node_arguments()?,
            env: Vec::new(),
            netns: netns.clone(),
            log: dir.join("node.log"),
        })
        .await?;
        Ok(Self { space, processes: vec![("node", process)], dir: dir.to_owned(), netns: netns.clone() })
    }

    /// A process in the node's namespaces.
    pub(crate) fn inside(&self, title: &str, program: &Path, args: &[String], log: &str) -> ProcessSpec {
        ProcessSpec {
            title: title.to_owned(),
            program: SELF.into(),
            arg0: Some(ARG0.to_owned()),
            args: self.space.enter_arguments(program, args),
            env: Vec::new(),
            netns: self.netns.clone(),
            log: self.dir.join(log),
        }
    }

    /// Starts containerd, kubelet and kube-proxy.
    pub(crate) async fn start(
        &mut self,
        net: &NodeNet,
        control: &ControlPlane,
        common: &Common,
    ) -> anyhow::Result<()> {
        let file = |name: &str| self.space.data.join(name);
        let text = |name: &str| file(name).display().to_string();
        write_secret(&file("containerd.toml"), CONTAINERD)?;
        write_secret(&file("kubelet.kubeconfig"), &control.kubelet_config(&net.name)?)?;
        let dns = common.families.texts(&DNS);
        write_secret(&file("kubelet.yaml"), &kubelet(&common.lab, &net.name, &dns).to_string())?;
        write_secret(&file("proxy.kubeconfig"), &control.proxy_config())?;
        write_secret(&file("proxy.yaml"), &proxy(&net.name, common, &text("proxy.kubeconfig")).to_string())?;
        // Plugins first: the runtime reads the configuration as soon as it is there.
        self.furnish(common).await?;

        let addresses = common.families.of(net.addresses.map(|a| a.addr));
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let kubelet = vec![
            format!("--config={}", text("kubelet.yaml")),
            format!("--kubeconfig={}", text("kubelet.kubeconfig")),
            format!("--hostname-override={}", net.name),
            format!("--node-ip={}", addresses.join(",")),
        ];
        let containerd = ["-c".to_owned(), text("containerd.toml")];
        let title = |what: &str| format!("{what} of {}", net.name);
        let program = |name: &str| common.binaries.join(name);
        let mut specs = vec![
            (
                "containerd",
                self.inside(&title("containerd"), Path::new("containerd"), &containerd, "containerd.log"),
            ),
            ("kubelet", self.inside(&title("kubelet"), &program("kubelet"), &kubelet, "kubelet.log")),
        ];
        if common.proxy.is_some() {
            let config = [format!("--config={}", text("proxy.yaml"))];
            let spec = self.inside(&title("kube-proxy"), &program("kube-proxy"), &config, "kube-proxy.log");
            specs.push(("kube-proxy", spec));
        }
        for (name, spec) in specs {
            self.processes.push((name, Process::start(spec).await?));
        }
        Ok(())
    }

    /// Installs plugins and their configuration, as an agent's installer does on a node.
    async fn furnish(&self, common: &Common) -> anyhow::Result<()> {
        let mut script = String::from("set -e; mkdir -p /opt/cni/bin /etc/cni/net.d; ");
        for (from, name) in &common.plugins {
            script += &format!("cp {} /opt/cni/bin/{name}; chmod 755 /opt/cni/bin/{name}; ", from.display());
        }
        if let Some((name, text)) = &common.network {
            let staged = self.space.data.join(name);
            write_secret(&staged, text)?;
            script += &format!("cp {} /etc/cni/net.d/{name}; ", staged.display());
        }
        self.run(&script).await
    }

    /// Runs a shell script in the node.
    pub(crate) async fn run(&self, script: &str) -> anyhow::Result<()> {
        let arguments =
            self.space.enter_arguments(Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()]);
        let netns = self.netns.clone();
        let spawned = crate::process::in_netns(&netns, move || {
            tokio::process::Command::new(SELF)
                .arg0(ARG0)
                .args(arguments)
                .env("PATH", crate::process::PATH)
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
        })
        .await??;
        let output = spawned.wait_with_output().await?;
        if output.status.success() {
            return Ok(());
        }
        Err(anyhow!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned()))
            .with_context(|| format!("on {}: {script}", self.space.node))
    }
}

/// Where the lab's copy of the unpacked images lies: one for all nodes.
pub(crate) fn images_dir() -> PathBuf {
    Path::new(STATE_DIR).join("images")
}

/// The databases of containerd: what nodes change. All else is shared by hard links.
const DATABASES: [&str; 2] =
    ["io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db"];

/// A node's images: hard links to the lab's.
async fn copy_images(to: &Path) -> anyhow::Result<()> {
    let (from, to) = (images_dir(), to.to_owned());
    copy(&["-al"], &from, &to).await?;
    for database in DATABASES {
        let (from, to) = (from.join(database), to.join(database));
        if from.is_file() {
            std::fs::remove_file(&to).with_context(|| format!("cannot remove {}", to.display()))?;
            copy(&["-a"], &from, &to).await?;
        }
    }
    Ok(())
}

/// Copies with all that a container's file system has: owners, times, links, extended attributes.
pub(crate) async fn copy(how: &[&str], from: &Path, to: &Path) -> anyhow::Result<()> {
    let output = tokio::process::Command::new("cp").args(how).arg(from).arg(to).output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(anyhow!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// containerd's configuration. Without `restrict_oom_score_adj` no pod starts where CAP_SYS_RESOURCE is missing.
const CONTAINERD: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[metrics]
  address = "127.0.0.1:1338"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10.1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#;

/// Where pods look for names.
const DNS: [&str; 2] = ["10.96.0.10", "fd00:96::a"];

fn kubelet(lab: &str, node: &str, dns: &[&str]) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups::node_root(lab, node),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": dns.get(..1),
        "clusterDomain": "cluster.local",
        "imageGCHighThresholdPercent": 100,
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "nodeStatusUpdateFrequency": "4s",
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "1%",
        },
    })
}

fn proxy(node: &str, common: &Common, kubeconfig: &str) -> Value {
    let ranges: Vec<String> = common.pods.iter().map(ToString::to_string).collect();
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": common.proxy.unwrap_or_default().as_str(),
        "hostnameOverride": node,
        "clusterCIDR": ranges.join(","),
        "clientConnection": {"kubeconfig": kubeconfig},
        "oomScoreAdj": 0,
        // No sysctl is written.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}
