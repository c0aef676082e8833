//! The lab's datastore: a process, and the way to it.

use crate::dirs::LabDir;
use crate::node::{StoreAddress, last_lines};
use crate::process::{Process, ProcessSpec};
use crate::records::Records;
use crate::sandbox::{ARG0, SELF, STATE_DIR};
use crate::spec::{Datastore as Kind, LabSpec};
use anyhow::{Context as _, anyhow};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_kernel_net::NetNs;
use tortie_store::EmbeddedClient;

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
    pub(crate) async fn start(spec: &LabSpec, dir: &LabDir) -> anyhow::Result<Self> {
        let part = dir.of_part("store");
        std::fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        let home = NetNs::current()?;
        match spec.datastore {
            Kind::Embedded => embedded(&part, home).await,
            Kind::Etcd => Err(anyhow!("etcd is not built yet")),
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

/// Waits until a socket appears.
async fn wait_for(socket: &Path, log: &PathBuf) -> anyhow::Result<()> {
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
