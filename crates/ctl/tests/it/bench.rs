//! A datastore to run commands against.

use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tortie_ctl::Surroundings;
use tortie_store::{EmbeddedClient, ServeConfig, Store};
use tortie_store_suite::etcd::Etcd;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) status: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A datastore with nothing in it, and the variables that name it.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    variables: Vec<(String, String)>,
    store: Arc<dyn Store>,
    runtime: Option<tokio::runtime::Runtime>,
    etcd: Option<Arc<Etcd>>,
    directory: tempfile::TempDir,
}

/// Runs a test on every kind of datastore.
pub(crate) fn on_each(test: impl Fn(&Bench)) {
    test(&Bench::embedded());
    test(&Bench::etcd());
}

impl Bench {
    /// The embedded store, served by this process.
    pub(crate) fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let config = ServeConfig::new(directory.path().join("store"), &socket);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.spawn(async { tortie_store::serve(config, std::future::pending()).await.unwrap() });
        let store = runtime.block_on(async {
            loop {
                if let Ok(client) = EmbeddedClient::connect(&socket).await {
                    return client;
                }
            }
        });
        let variables = [("DATASTORE_TYPE", "embedded"), ("TORTIE_STORE_SOCKET", socket.to_str().unwrap())];
        Self::with("embedded", &variables, Arc::new(store), runtime, None, directory)
    }

    /// A real etcd.
    pub(crate) fn etcd() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // A port that was free may be taken by another test before etcd listens on it.
        let start = || std::panic::catch_unwind(|| runtime.block_on(Etcd::new())).ok();
        let etcd = (0..5).find_map(|_| start()).unwrap();
        let store = runtime.block_on(etcd.store_with(etcd.config()));
        let endpoint = etcd.endpoint();
        let variables = [("ETCD_ENDPOINTS", endpoint.as_str())];
        let directory = tempfile::tempdir().unwrap();
        Self::with("etcd", &variables, Arc::new(store), runtime, Some(etcd), directory)
    }

    fn with(
        name: &'static str,
        variables: &[(&str, &str)],
        store: Arc<dyn Store>,
        runtime: tokio::runtime::Runtime,
        etcd: Option<Arc<Etcd>>,
        directory: tempfile::TempDir,
    ) -> Self {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { name, variables, store, runtime: Some(runtime), etcd, directory }
    }

    /// A directory of the test's own.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs `calicoctl` with arguments, split at spaces outside single quotes.
    pub(crate) fn run(&self, line: &str) -> Done {
        self.run_with(line, "")
    }

    /// Runs with standard input.
    pub(crate) fn run_with(&self, line: &str, stdin: &str) -> Done {
        let find = |name: &str| self.variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        run_in(&find, line, stdin)
    }

    /// Runs and expects success; answers stdout.
    pub(crate) fn ok(&self, line: &str, stdin: &str) -> String {
        let done = self.run_with(line, stdin);
        assert_eq!((done.status, done.err.as_str()), (0, ""), "{}: {line}: {done:?}", self.name);
        done.out
    }

    /// Runs and expects failure with this text on stderr.
    pub(crate) fn fails(&self, line: &str, stdin: &str, told: &str) -> Done {
        let done = self.run_with(line, stdin);
        assert!(done.status == 1 && done.err.contains(told), "{}: {line}: {done:?}", self.name);
        done
    }

    /// What is stored under a key.
    pub(crate) fn stored(&self, key: &str) -> Option<Value> {
        let entry = self.block_on(async { self.store.get(key).await.unwrap() })?;
        Some(serde_json::from_slice(&entry.value).unwrap())
    }

    /// Stores a value as another program would.
    pub(crate) fn put(&self, key: &str, value: &Value) {
        let op = tortie_store::Op::Put {
            key: key.to_owned(),
            value: value.to_string().into(),
            when: tortie_store::Precondition::Any,
            ttl: None,
        };
        self.block_on(async { self.store.commit(vec![op]).await.unwrap() });
    }

    /// All keys.
    pub(crate) fn keys(&self) -> Vec<String> {
        let list = self.block_on(async { self.store.list("/").await.unwrap() });
        list.entries.iter().map(|e| e.key.to_string()).collect()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.etcd.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs with any environment.
pub(crate) fn run_in(environment: &dyn Fn(&str) -> Option<String>, line: &str, stdin: &str) -> Done {
    let mut arguments = vec!["calicoctl".to_owned()];
    for (i, part) in line.split('\'').enumerate() {
        if i % 2 == 1 {
            arguments.push(part.to_owned());
        } else {
            arguments.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = tortie_ctl::calicoctl::run(
        &arguments,
        &mut Surroundings { environment, stdin: &mut stdin.as_bytes(), out: &mut out, err: &mut err },
    );
    Done { status, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}
