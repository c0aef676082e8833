//! The lab's datastore: a process, and the way to it.

use crate::dirs::LabDir;
use crate::fabric::{HOME, Plan};
use crate::node::{StoreAddress, last_lines};
use crate::process::{Process, ProcessSpec};
use crate::records::Records;
use crate::sandbox::{ARG0, SELF, STATE_DIR};
use crate::spec::{Datastore as Kind, LabSpec};
use anyhow::{Context as _, anyhow};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_kernel_net::NetNs;
use tortie_net::Family;
use tortie_store::EmbeddedClient;
use tortie_store_etcd::{EtcdConfig, EtcdStore};

/// How long the process may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running datastore.
#[derive(Debug)]
pub(crate) struct Datastore {
    pub(crate) process: Process,
    pub(crate) records: Records,
    /// How the nodes reach it.
    pub(crate) address: StoreAddress,
}

impl Datastore {
    /// Starts the process and waits until it answers.
    pub(crate) async fn start(spec: &LabSpec, dir: &LabDir, plan: &Plan) -> anyhow::Result<Self> {
        let part = dir.of_part("store");
        std::fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        let home = NetNs::current()?;
        match spec.datastore {
            Kind::Embedded => embedded(&part, home).await,
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
    Ok(Datastore { process, records: Records::new(Arc::new(client)), address: StoreAddress::Socket(socket) })
}

/// A real etcd, of one member.
async fn etcd(part: &Path, home: NetNs, addr: IpAddr) -> anyhow::Result<Datastore> {
    let log = part.join("etcd.log");
    let (client, peer) = (format!("http://{addr}:2379"), "http://127.0.0.1:2380");
    let data = Path::new(STATE_DIR).join("etcd").display().to_string();
    let process = Process::start(ProcessSpec {
        title: "etcd".to_owned(),
        program: "etcd".into(),
        arg0: None,
        args: [
            ["--name", "lab"],
            ["--data-dir", &data],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
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
        match EtcdStore::connect(EtcdConfig::new([client.as_str()])).await {
            Ok(store) => break store,
            Err(e) if Instant::now() >= deadline => {
                let words = last_lines(&log, 5);
                return Err(anyhow!(e).context(format!("etcd did not start:\n  {words}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    Ok(Datastore { process, records: Records::new(Arc::new(store)), address: StoreAddress::Etcd(client) })
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
