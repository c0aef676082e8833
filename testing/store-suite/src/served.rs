//! The embedded store in a process of its own, as a subject.

use crate::{Faults, Subject, soon};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tortie_store::{BoxFuture, ClientConfig, EmbeddedClient, Store, StoreError};

/// A store process in a temporary directory. It ends with this value, and with this process.
pub struct Served {
    program: PathBuf,
    directory: tempfile::TempDir,
    child: Mutex<Option<Child>>,
}

impl Served {
    /// Starts `program` (this crate's `tortie-store-suite-server`) and waits until it answers.
    pub async fn new(program: impl Into<PathBuf>) -> Arc<Self> {
        let served = Self { program: program.into(), directory: scratch(), child: Mutex::default() };
        served.launch();
        served.client().await;
        Arc::new(served)
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("store.sock")
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("store.redb")
    }

    /// A user, connected.
    pub async fn client(&self) -> EmbeddedClient {
        loop {
            let config =
                ClientConfig { call_timeout: Duration::from_secs(20), ..ClientConfig::new(self.socket()) };
            match EmbeddedClient::connect_with(config).await {
                Ok(client) => return client,
                Err(error) => {
                    let ended =
                        self.child.lock().unwrap().as_mut().and_then(|child| child.try_wait().unwrap());
                    assert_eq!(ended, None, "the store process ended: {error}");
                }
            }
        }
    }

    fn launch(&self) {
        let child = Command::new(&self.program)
            .args([self.file(), self.socket()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        *self.child.lock().unwrap() = Some(child);
    }

    fn kill_now(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill_now();
    }
}

/// A store process as a subject.
pub async fn subject(program: &str) -> Subject {
    let served = Served::new(program).await;
    let config = ClientConfig {
        connect_timeout: Duration::from_millis(300),
        // The machine may be busy.
        call_timeout: Duration::from_secs(20),
        ..ClientConfig::new(served.socket())
    };
    let store = EmbeddedClient::connect_with(config).await.unwrap();
    let faults = ServedFaults { served: served.clone(), client: store.clone() };
    Subject { store: Arc::new(store), faults: Box::new(faults), alone: true, keep: Box::new(served) }
}

struct ServedFaults {
    served: Arc<Served>,
    client: EmbeddedClient,
}

impl Faults for ServedFaults {
    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.client.compact(revision))
    }

    fn another(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Arc::new(self.served.client().await) as Arc<dyn Store> })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.served.kill_now() })
    }

    fn start(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.served.launch();
            soon("the start of the store", self.served.client()).await;
            // The client under test has found it again too.
            let up = async { while self.client.status().await.is_err() {} };
            soon("a new connection", up).await;
        })
    }
}

/// A temporary directory, in memory where there is such a place: the tests are not about the disk.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix("tortie-store-").tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).unwrap()
}
