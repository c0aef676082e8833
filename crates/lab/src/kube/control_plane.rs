//! The control plane of a lab: etcd, kube-apiserver, our kinds, and, for real nodes, controller manager and scheduler.

use super::access::{User, write_secret};
use super::api_server::{self, ApiServer, ETCD, SERVICE_RANGES};
use super::client::Client;
use super::forward;
use crate::datastore::start_etcd;
use crate::dirs::LabDir;
use crate::process::{Process, ProcessSpec};
use crate::spec::Families;
use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use serde_json::Value;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tortie_api::crd::{self, Group};
use tortie_api::document;
use tortie_kernel_net::NetNs;
use tortie_store_kube::{Credentials, KubeConfig, Source};

/// Where the definitions of kinds are created.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Where rights are created.
const RIGHTS: &str = "/apis/rbac.authorization.k8s.io/v1";

/// What users install: the rights in it are those of the lab's agents.
const MANIFEST: &str = include_str!("../../../../deploy/node.yaml");

/// Whose rights they are.
const AGENT: &str = "system:serviceaccount:calico-system:calico-node";

/// How long the API server may take until it serves our kinds.
const ESTABLISH_PATIENCE: Duration = Duration::from_secs(20);

/// Address ranges of pods, where every node has a part of its own.
pub(crate) const CLUSTER_RANGES: [&str; 2] = ["10.244.0.0/16", "fd00:244::/48"];

/// What a control plane is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Name of the lab.
    pub(crate) lab: String,
    /// Kubernetes' programs.
    pub(crate) binaries: PathBuf,
    /// Private files, inside the sandbox only.
    pub(crate) state: PathBuf,
    /// Logs and kubeconfigs.
    pub(crate) dir: PathBuf,
    pub(crate) netns: NetNs,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) families: Families,
    /// Without our kinds.
    pub(crate) bare: bool,
    /// Names of nodes that have a kubelet.
    pub(crate) kubelets: Vec<String>,
    /// Without controller manager and scheduler.
    pub(crate) lean: bool,
}

/// A running control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    pub(crate) etcd: Process,
    pub(crate) server: ApiServer,
    /// With all rights.
    pub(crate) client: Client,
    /// Controller manager and scheduler, if there are any.
    pub(crate) managers: Vec<(&'static str, Process)>,
    lab: String,
    users: Users,
}

#[derive(Debug)]
struct Users {
    admin: User,
    /// The node agent and the CNI plugin.
    agent: User,
    manager: User,
    scheduler: User,
    proxy: User,
    kubelets: Vec<User>,
}

impl Users {
    fn new(kubelets: &[String]) -> anyhow::Result<Self> {
        let node = |name: &String| User::new(format!("system:node:{name}"), &["system:nodes"]);
        Ok(Self {
            admin: User::admin()?,
            agent: User::new(AGENT, &["system:serviceaccounts"])?,
            manager: User::new("system:kube-controller-manager", &[])?,
            scheduler: User::new("system:kube-scheduler", &[])?,
            proxy: User::new("system:kube-proxy", &[])?,
            kubelets: kubelets.iter().map(node).collect::<anyhow::Result<_>>()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &User> {
        [&self.admin, &self.agent, &self.manager, &self.scheduler, &self.proxy]
            .into_iter()
            .chain(&self.kubelets)
    }
}

impl ControlPlane {
    /// Starts everything and waits until our kinds are served.
    pub(crate) async fn start(plan: &Plan) -> anyhow::Result<Self> {
        for dir in [&plan.dir, &plan.state] {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let users = Users::new(&plan.kubelets)?;
        let (etcd, _) = start_etcd(&plan.dir, plan.netns.clone(), ETCD).await?;
        let server_plan = api_server::Plan {
            binaries: plan.binaries.clone(),
            state: plan.state.clone(),
            logs: plan.dir.clone(),
            netns: plan.netns.clone(),
            addresses: plan.addresses.clone(),
            families: plan.families,
            lean: plan.lean,
        };
        let all: Vec<User> = users.all().cloned().collect();
        let server = ApiServer::start(&server_plan, &all).await?;
        let client = Client::new(server.address, users.admin.token(), &server.certificates.authority)?;
        server.wait_ready(|| client.is_ready()).await?;
        let mut control = Self { etcd, server, client, managers: Vec::new(), lab: plan.lab.clone(), users };
        if !plan.lean {
            control.start_managers(plan).await?;
        }
        if plan.bare {
            return Ok(control);
        }
        control.define_kinds().await.context("the API server does not take the definitions of our kinds")?;
        control.grant_rights().await.context("the API server does not take the agents' rights")?;
        Ok(control)
    }

    /// Lets the host in through a socket of its own, and writes the kubeconfig for it into the lab's directory.
    pub(crate) fn open(&self, entrance: TcpListener, dir: &LabDir) -> anyhow::Result<()> {
        let address = entrance.local_addr().context("the entrance has no address")?;
        let config = self.admin_config(&format!("https://{address}"));
        write_secret(&admin_config_path(dir.path()), &config)?;
        forward::spawn(entrance, self.server.address)
    }

    /// The kubeconfig of all rights, for a server at `url`.
    pub(crate) fn admin_config(&self, url: &str) -> String {
        self.config(&self.users.admin, url)
    }

    /// How the lab itself reaches the API server.
    pub(crate) fn store_config(&self) -> KubeConfig {
        KubeConfig {
            authorities: Some(Source::Data(self.server.certificates.authority.clone().into_bytes())),
            credentials: Credentials {
                token: Some(Source::Data(self.users.admin.token().as_bytes().to_vec())),
                ..Credentials::default()
            },
            ..KubeConfig::new(self.server.url())
        }
    }

    /// The kubeconfig of the agents.
    pub(crate) fn agent_config(&self) -> String {
        self.config(&self.users.agent, &self.server.url())
    }

    pub(crate) fn proxy_config(&self) -> String {
        self.config(&self.users.proxy, &self.server.url())
    }

    /// The kubeconfig of a node's kubelet.
    pub(crate) fn kubelet_config(&self, node: &str) -> anyhow::Result<String> {
        let name = format!("system:node:{node}");
        let user = self.users.kubelets.iter().find(|u| u.name == name).context("the node has no user")?;
        Ok(self.config(user, &self.server.url()))
    }

    fn config(&self, user: &User, url: &str) -> String {
        user.kubeconfig(&self.lab, url, &self.server.certificates.authority)
    }

    async fn start_managers(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let services = plan.families.texts(&SERVICE_RANGES).join(",");
        let file = |name: &str| plan.state.join(name).display().to_string();
        let manager = vec![
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--service-account-private-key-file={}", file("account.key")),
            "--use-service-account-credentials".to_owned(),
            format!("--service-cluster-ip-range={services}"),
        ];
        let users = [self.users.manager.clone(), self.users.scheduler.clone()];
        let programs = [("kube-controller-manager", manager), ("kube-scheduler", Vec::new())];
        for ((program, extra), user) in programs.into_iter().zip(users) {
            let config = plan.state.join(format!("{program}.kubeconfig"));
            write_secret(&config, &self.config(&user, &self.server.url()))?;
            let config = config.display().to_string();
            let common = [
                format!("--kubeconfig={config}"),
                format!("--authentication-kubeconfig={config}"),
                format!("--authorization-kubeconfig={config}"),
                format!("--cert-dir={}", plan.state.display()),
                "--leader-elect=false".to_owned(),
                "--profiling=false".to_owned(),
            ];
            let process = Process::start(ProcessSpec {
                title: program.to_owned(),
                program: plan.binaries.join(program),
                arg0: None,
                args: common.into_iter().chain(extra).collect(),
                env: Vec::new(),
                netns: plan.netns.clone(),
                log: plan.dir.join(format!("{program}.log")),
            })
            .await?;
            self.managers.push((program, process));
        }
        Ok(())
    }

    /// Gives the agents the rights that users give them, and no others.
    async fn grant_rights(&self) -> anyhow::Result<()> {
        let manifest = document::read("deploy/node.yaml", MANIFEST);
        let mut granted = 0;
        for object in manifest.documents.iter().map(|d| &d.value) {
            let path = match object.get("kind").and_then(Value::as_str) {
                Some("ClusterRole") => format!("{RIGHTS}/clusterroles"),
                Some("ClusterRoleBinding") => format!("{RIGHTS}/clusterrolebindings"),
                _ => continue,
            };
            self.client.create(&path, object).await?;
            granted += 1;
        }
        anyhow::ensure!(granted == 2, "the manifest has no role and its binding");
        Ok(())
    }

    /// Creates the definitions of our kinds and waits until they are served.
    async fn define_kinds(&self) -> anyhow::Result<()> {
        let kinds: Vec<Value> = [Group::Native, Group::Policy].into_iter().flat_map(crd::manifests).collect();
        try_join_all(kinds.iter().map(|kind| self.client.create(DEFINITIONS, kind))).await?;
        let deadline = Instant::now() + ESTABLISH_PATIENCE;
        for kind in &kinds {
            let name = kind.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let path = format!("{DEFINITIONS}/{name}");
            while !self.client.get(&path).await?.is_some_and(|d| is_established(&d)) {
                if Instant::now() >= deadline {
                    bail!("{name} is not served after {} s", ESTABLISH_PATIENCE.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| {
        all.iter().any(|c| {
            c.get("type").is_some_and(|t| t == "Established") && c.get("status").is_some_and(|s| s == "True")
        })
    })
}

/// The kubeconfig that `lab kubeconfig` prints, in the lab's directory.
pub(crate) fn admin_config_path(lab: &Path) -> PathBuf {
    lab.join("kubeconfig")
}
