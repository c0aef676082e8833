//! The lab's datastore: a process, and the way to it.

use crate::dirs::LabDir;
use crate::fabric::{HOME, Plan};
use crate::kube::access::write_secret;
use crate::kube::control_plane::{self, ControlPlane};
use crate::kube::network;
use crate::node::{StoreAddress, last_lines};
use crate::process::{Process, ProcessSpec};
use crate::records::Records;
use crate::sandbox::{ARG0, SELF, STATE_DIR};
use crate::seed;
use crate::spec::{Datastore as Kind, LabSpec};
use anyhow::{Context as _, anyhow};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_kernel_net::NetNs;
use tortie_net::Family;
use tortie_store::EmbeddedClient;
use tortie_store_etcd::{EtcdConfig, EtcdStore};
use tortie_store_kube::{Group, KubeConfig, KubeStore};

/// How long the process may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running datastore.
#[derive(Debug)]
pub(crate) struct Datastore {
    pub(crate) process: Process,
    /// What it cannot do without.
    pub(crate) beside: Vec<(&'static str, Process)>,
    pub(crate) records: Records,
    /// The control plane, if the datastore is Kubernetes.
    pub(crate) control: Option<Arc<ControlPlane>>,
    /// How the nodes reach it.
    pub(crate) address: StoreAddress,
    /// The kubeconfig of all rights, for commands inside.
    admin: Option<PathBuf>,
}

impl Datastore {
    /// Variables of a user's command, over those of an agent.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        self.admin.iter().map(|config| ("KUBECONFIG".to_owned(), config.display().to_string())).collect()
    }

    /// Writes what every lab starts with.
    pub(crate) async fn fill(&self, plan: &Plan, spec: &LabSpec) -> anyhow::Result<()> {
        let seeds = seed::objects(plan, spec);
        let Some(control) = &self.control else {
            self.records.create_all(&seeds).await?;
            return Ok(());
        };
        for node in &plan.nodes {
            if spec.kubelets.is_some() {
                let mut ranges = network::node_ranges(node.number);
                ranges.retain(|r| spec.families.has(r.family()));
                control.client.expect_node(&node.name, &ranges).await?;
            } else {
                control.client.register_node(node, spec.families).await?;
            }
        }
        if spec.kubelets.as_ref().is_some_and(|k| k.bare) {
            return Ok(());
        }
        // Some of it the API server makes itself.
        for (path, object) in &seeds {
            self.records.put(path, object).await?;
        }
        Ok(())
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn start(spec: &LabSpec, dir: &LabDir, plan: &Plan) -> anyhow::Result<Self> {
        let part = dir.of_part("store");
        std::fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        let home = NetNs::current()?;
        match spec.datastore {
            Kind::Embedded => embedded(&part, home).await,
            Kind::Kubernetes => kubernetes(spec, &part, plan, home).await,
            Kind::Etcd => etcd(&part, home, plan.home.host(Family::V4, HOME).addr).await,
        }
    }
}

async fn embedded(part: &Path, home: NetNs) -> anyhow::Result<Datastore> {
    let socket = part.join("store.sock");
    let file = Path::new(STATE_DIR).join("store.redb");
    let log = part.join("store.log");
    let text = |p: &Path| p.display().to_string();
    let process = Process::start(ProcessSpec {
        title: "store".to_owned(),
        program: SELF.into(),
        arg0: Some(ARG0.to_owned()),
        // The file is on a tmpfs: there is no disk to wait for.
        args: ["store", "serve", "--no-sync", "--path", &text(&file), "--socket", &text(&socket)]
            .map(str::to_owned)
            .to_vec(),
        env: Vec::new(),
        netns: home,
        log: log.clone(),
    })
    .await?;
    wait_for(&socket, &log).await?;
    let client = EmbeddedClient::connect(&socket).await.context("the store does not answer")?;
    Ok(Datastore {
        process,
        beside: Vec::new(),
        records: Records::new(Arc::new(client)),
        control: None,
        address: StoreAddress::Socket(socket),
        admin: None,
    })
}

/// A real etcd, of one member, for the nodes.
async fn etcd(part: &Path, home: NetNs, addr: IpAddr) -> anyhow::Result<Datastore> {
    let client = format!("http://{addr}:2379");
    let (process, store) = start_etcd(part, home, &client).await?;
    Ok(Datastore {
        process,
        beside: Vec::new(),
        records: Records::new(Arc::new(store)),
        control: None,
        address: StoreAddress::Etcd(client),
        admin: None,
    })
}

/// A real kube-apiserver on a real etcd.
async fn kubernetes(spec: &LabSpec, part: &Path, plan: &Plan, home: NetNs) -> anyhow::Result<Datastore> {
    let binaries = spec.kube_bin.clone().context("nobody said where Kubernetes' programs are")?;
    let control = ControlPlane::start(&control_plane::Plan {
        lab: spec.name.clone(),
        binaries,
        state: Path::new(STATE_DIR).join("kubernetes"),
        dir: part.to_owned(),
        netns: home,
        addresses: spec.families.all().map(|f| plan.home.host(f, HOME).addr).collect(),
        families: spec.families,
        bare: spec.kubelets.as_ref().is_some_and(|k| k.bare),
        kubelets: match spec.kubelets {
            Some(_) => plan.nodes.iter().map(|n| n.name.clone()).collect(),
            None => Vec::new(),
        },
        lean: spec.kubelets.as_ref().is_none_or(|k| k.lean),
    })
    .await?;
    let config = part.join("agent.kubeconfig");
    write_secret(&config, &control.agent_config())?;
    let admin = part.join("admin.kubeconfig");
    write_secret(&admin, &control.admin_config(&control.server.url()))?;
    // The lab's own requests need no manners: nobody else is on this machine's API server.
    let access = KubeConfig {
        qps: 0.0,
        // Where kinds are installed later, they are these, and soon seen.
        group: Some(Group::V3),
        absent_interval: Duration::from_secs(1),
        ..control.store_config()
    };
    let store = KubeStore::connect(access).await.context("cannot speak to the API server as a datastore")?;
    Ok(Datastore {
        process: control.server.process.clone(),
        beside: [("store/etcd", control.etcd.clone())].into_iter().chain(control.managers.clone()).collect(),
        records: Records::with_marker(Arc::new(store), &seed::kubernetes("Namespace", "", "default")),
        address: StoreAddress::Kubernetes(config),
        admin: Some(admin),
        control: Some(Arc::new(control)),
    })
}

/// Starts an etcd that listens on a URL, and waits until it answers.
pub(crate) async fn start_etcd(
    part: &Path,
    home: NetNs,
    client: &str,
) -> anyhow::Result<(Process, EtcdStore)> {
    let log = part.join("etcd.log");
    let peer = "http://127.0.0.1:2380";
    let data = Path::new(STATE_DIR).join("etcd").display().to_string();
    let process = Process::start(ProcessSpec {
        title: "etcd".to_owned(),
        program: "etcd".into(),
        arg0: None,
        args: [
            ["--name", "lab"],
            ["--data-dir", &data],
            ["--listen-client-urls", client],
            ["--advertise-client-urls", client],
            ["--listen-peer-urls", peer],
            ["--initial-advertise-peer-urls", peer],
            ["--initial-cluster", &format!("lab={peer}")],
            ["--log-level", "warn"],
            ["--logger", "zap"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect(),
        env: Vec::new(),
        netns: home,
        log: log.clone(),
    })
    .await
    .context("is the package etcd-server installed?")?;
    let deadline = Instant::now() + PATIENCE;
    let store = loop {
        match EtcdStore::connect(EtcdConfig::new([client])).await {
            Ok(store) => break store,
            Err(e) if Instant::now() >= deadline => {
                let words = last_lines(&log, 5);
                return Err(anyhow!(e).context(format!("etcd did not start:\n  {words}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    Ok((process, store))
}

/// Waits until a socket appears.
async fn wait_for(socket: &Path, log: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::UnixStream::connect(socket).await.is_err() {
        if Instant::now() >= deadline {
            let words = last_lines(log, 5);
            return Err(anyhow!("it does not listen on {}:\n  {words}", socket.display())
                .context("the store did not start"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
