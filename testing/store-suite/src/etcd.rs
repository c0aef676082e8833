//! A real etcd as a subject.

use crate::served::scratch;
use crate::{Faults, PATIENCE, Subject, soon};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tortie_store::{BoxFuture, Store, StoreError};
use tortie_store_etcd::{EtcdConfig, EtcdStore};

/// An etcd of one member on the loopback interface, with its data in a temporary directory. It ends with this value.
pub struct Etcd {
    directory: tempfile::TempDir,
    scheme: &'static str,
    client_port: u16,
    peer_port: u16,
    name: String,
    /// All members, as etcd's `--initial-cluster` wants them.
    cluster: String,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Etcd {
    /// Starts an etcd with its usual settings, and waits until it answers.
    pub async fn new() -> Arc<Self> {
        let etcd = Self::launched("http", |_| Vec::new());
        etcd.store_with(etcd.config()).await;
        Arc::new(etcd)
    }

    /// Starts an etcd with more arguments, made from its directory; does not wait for it.
    pub fn launched(scheme: &'static str, arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = scratch();
        let arguments = arguments(directory.path());
        let (client_port, peer_port, name) = (free_port(), free_port(), "m0".to_owned());
        let cluster = member(&name, peer_port);
        let etcd = Self {
            directory,
            scheme,
            client_port,
            peer_port,
            name,
            cluster,
            arguments,
            child: Mutex::default(),
        };
        etcd.launch();
        etcd
    }

    /// Starts a cluster of so many members; does not wait for it.
    pub fn cluster(members: usize) -> Vec<Self> {
        let ports: Vec<u16> = (0..members).map(|_| free_port()).collect();
        let names: Vec<String> = (0..members).map(|n| format!("m{n}")).collect();
        let cluster: Vec<String> = names.iter().zip(&ports).map(|(name, port)| member(name, *port)).collect();
        let launch = |(name, peer_port): (String, u16)| {
            let etcd = Self {
                directory: scratch(),
                scheme: "http",
                client_port: free_port(),
                peer_port,
                name,
                cluster: cluster.join(","),
                arguments: Vec::new(),
                child: Mutex::default(),
            };
            etcd.launch();
            etcd
        };
        names.into_iter().zip(ports).map(launch).collect()
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A user's settings: a dead etcd is given up on soon, but one on a busy machine may take its time.
    pub fn config(&self) -> EtcdConfig {
        EtcdConfig {
            patience: Duration::from_millis(300),
            attempt_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(30),
            ..EtcdConfig::new([self.endpoint()])
        }
    }

    /// A user, connected as soon as etcd answers.
    pub async fn store_with(&self, config: EtcdConfig) -> EtcdStore {
        let start = Instant::now();
        loop {
            match EtcdStore::connect(config.clone()).await {
                Ok(store) => return store,
                Err(error) => {
                    let ended =
                        self.child.lock().unwrap().as_mut().and_then(|child| child.try_wait().unwrap());
                    let failed = ended.is_some() || !error.is_transient() || start.elapsed() > PATIENCE;
                    assert!(!failed, "etcd does not answer: {error}\n{}", self.log());
                }
            }
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it on the data that it has.
    pub fn launch(&self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.directory().join("log")).unwrap();
        let peers = format!("http://127.0.0.1:{}", self.peer_port);
        let child = Command::new("etcd")
            .current_dir(self.directory())
            .args(["--data-dir=data", "--log-level=warn", "--logger=zap", "--name", &self.name])
            // On one machine an election need not take its time.
            .args(["--heartbeat-interval=30", "--election-timeout=300"])
            .args(["--listen-client-urls", &self.endpoint(), "--advertise-client-urls", &self.endpoint()])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &self.cluster])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start etcd ({error}): apt-get install etcd-server"));
        *self.child.lock().unwrap() = Some(child);
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.directory().join("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn member(name: &str, peer_port: u16) -> String {
    format!("{name}=http://127.0.0.1:{peer_port}")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An etcd as a subject.
pub async fn subject() -> Subject {
    let etcd = Etcd::new().await;
    let store = etcd.store_with(etcd.config()).await;
    let faults = EtcdFaults { etcd: etcd.clone(), store: store.clone() };
    Subject { store: Arc::new(store), faults: Box::new(faults), alone: true, keep: Box::new(etcd) }
}

struct EtcdFaults {
    etcd: Arc<Etcd>,
    store: EtcdStore,
}

impl Faults for EtcdFaults {
    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.store.compact(revision))
    }

    fn another(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Arc::new(self.etcd.store_with(self.etcd.config()).await) as Arc<dyn Store> })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.etcd.kill() })
    }

    fn start(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.etcd.launch();
            self.etcd.store_with(self.etcd.config()).await;
            let up = async { while self.store.get("/any").await.is_err() {} };
            soon("a new connection", up).await;
        })
    }
}
