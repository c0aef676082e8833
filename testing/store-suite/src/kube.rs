//! A real API server of Kubernetes, on a real etcd, as a subject.
//!
//! The programs come from `KUBEBUILDER_ASSETS`, or from the cache that `cargo xtask kube` fills. Where they are missing
//! a test fails and says so, unless `TORTIE_SKIP_KUBE=1` is set.

mod dressed;

use crate::etcd::free_port;
use crate::served::scratch;
use crate::{Faults, PATIENCE, Subject};
use dressed::Dressed;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tortie_api::crd;
use tortie_store::{BoxFuture, Op, Precondition, Store, StoreError};
use tortie_store_etcd::{EtcdConfig, EtcdStore};
use tortie_store_kube::{KubeConfig, KubeStore};

/// The directory of kube-apiserver and kubectl; nothing if the tests are to be skipped.
pub fn programs() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = given("TORTIE_CACHE")
        .or_else(|| Some(given("XDG_CACHE_HOME")?.join("tortie")))
        .or_else(|| Some(given("HOME")?.join(".cache/tortie")));
    let directory = given("KUBEBUILDER_ASSETS").or_else(|| Some(cache?.join("kube/current")));
    let directory = directory.unwrap_or_default();
    if directory.join("kube-apiserver").is_file() && directory.join("kubectl").is_file() {
        return Some(directory);
    }
    let skipped = std::env::var_os("TORTIE_SKIP_KUBE").is_some_and(|value| value == "1");
    let here = directory.display();
    assert!(
        skipped,
        "there is no kube-apiserver with kubectl in {here}: run `cargo xtask kube`, or set KUBEBUILDER_ASSETS \
         (TORTIE_SKIP_KUBE=1 leaves these tests out)"
    );
    None
}

/// A process that ends with this value, and with this process, however that ends.
struct Guarded(Child);

impl Guarded {
    fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let script = r#""$@" & pid=$!; cat >/dev/null; kill -9 $pid; wait $pid"#;
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// An API server with its etcd, on the loopback interface.
pub struct Cluster {
    programs: PathBuf,
    directory: tempfile::TempDir,
    port: u16,
    etcd_port: u16,
    arguments: Vec<String>,
    // Ended in this order.
    server: Mutex<Option<Guarded>>,
    _etcd: Guarded,
    subjects: AtomicU32,
}

impl Cluster {
    /// As [`Cluster::empty`], with the definitions of a group of Calico's kinds.
    pub async fn new(group: crd::Group, arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Arc<Self>> {
        let cluster = Self::empty(arguments).await?;
        cluster.install(group);
        Some(cluster)
    }

    /// Starts both, with more arguments for the API server, made from its directory; waits until it answers. Nothing if
    /// these tests are to be skipped.
    pub async fn empty(arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Arc<Self>> {
        let programs = programs()?;
        let directory = scratch();
        let arguments = arguments(directory.path());
        let (port, etcd_port, peer_port) = (free_port(), free_port(), free_port());
        let (client, peer) =
            (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{peer_port}"));
        let data = directory.path().join("etcd").display().to_string();
        let etcd: Vec<String> = [
            ("--data-dir", &*data),
            ("--log-level", "warn"),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
        ]
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
        let etcd = Guarded::start(Path::new("etcd"), &etcd, &directory.path().join("etcd.log"));
        let cluster = Self {
            programs,
            directory,
            port,
            etcd_port,
            arguments,
            server: Mutex::default(),
            _etcd: etcd,
            subjects: AtomicU32::new(0),
        };
        cluster.prepare();
        cluster.launch(&[]);
        cluster.store(cluster.config()).await;
        Some(Arc::new(cluster))
    }

    fn prepare(&self) {
        let file = |name: &str| self.directory.path().join(name);
        let tokens = "admin-token,admin,1,\"system:masters\"\nnobody-token,nobody,2\n";
        std::fs::write(file("tokens.csv"), tokens).unwrap();
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
            .arg(file("accounts.key"))
            .stderr(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "cannot make a key: apt-get install openssl");
        let kubeconfig = format!(
            "current-context: test\nclusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{}', \
             certificate-authority: pki/apiserver.crt}}}}]\nusers: [{{name: u, user: {{token: admin-token}}}}]\n\
             contexts: [{{name: test, context: {{cluster: c, user: u}}}}]\n",
            self.port
        );
        std::fs::write(file("kubeconfig"), kubeconfig).unwrap();
    }

    /// Starts the API server, with yet more arguments; does not wait for it.
    pub fn launch(&self, more: &[String]) {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", file("pki")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("accounts.key")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned(),
            "--v=0".to_owned(),
        ];
        arguments.extend_from_slice(&self.arguments);
        arguments.extend_from_slice(more);
        let program = self.programs.join("kube-apiserver");
        let log = self.directory.path().join("apiserver.log");
        *self.server.lock().unwrap() = Some(Guarded::start(&program, &arguments, &log));
    }

    /// Kills the API server (SIGKILL); etcd stays.
    pub fn kill(&self) {
        drop(self.server.lock().unwrap().take());
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The administrator's settings, by the kubeconfig.
    pub fn config(&self) -> KubeConfig {
        let file = self.directory.path().join("kubeconfig").display().to_string();
        // The certificate is made by the server when it starts first.
        let certificate = self.directory.path().join("pki/apiserver.crt");
        let start = Instant::now();
        while !certificate.exists() {
            assert!(start.elapsed() < PATIENCE, "the API server does not start\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut config = KubeConfig::load(&|name| (name == "kubeconfig").then(|| file.clone())).unwrap();
        config.qps = 0.0;
        config.attempt_timeout = Duration::from_secs(20);
        config.timeout = Duration::from_secs(30);
        config.patience = Duration::from_millis(300);
        config.absent_interval = Duration::from_millis(200);
        config
    }

    /// A user, connected as soon as the server is ready.
    pub async fn store(&self, config: KubeConfig) -> KubeStore {
        let start = Instant::now();
        loop {
            let error = match KubeStore::connect(config.clone()).await {
                // Ready only when its own first objects are there.
                Ok(store) => match store.get("/tortie/kubernetes/namespaces/kube-system").await {
                    Ok(Some(_)) => return store,
                    other => format!("{other:?}"),
                },
                Err(error) => error.to_string(),
            };
            assert!(start.elapsed() < PATIENCE, "the API server does not answer: {error}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn install(&self, group: crd::Group) {
        let groups = [group, crd::Group::Policy];
        let manifests: Vec<_> = groups.into_iter().flat_map(crd::manifests).collect();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        self.kubectl(&["create", "--validate=false", "-f", "-"], &list.to_string());
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
    }

    /// What kubectl says; it must succeed.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(self.programs.join("kubectl"))
            .arg(format!("--kubeconfig={}", self.directory.path().join("kubeconfig").display()))
            .arg(format!("--cache-dir={}", self.directory.path().join("kubectl").display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {told}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// As kubectl shows an object.
    pub fn shown(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.kubectl(&[&["get", "-o", "json"][..], arguments].concat(), "");
        serde_json::from_str(&text).unwrap()
    }

    /// Makes etcd forget its history up to now.
    pub async fn compact(&self) -> Result<(), StoreError> {
        let endpoint = format!("http://127.0.0.1:{}", self.etcd_port);
        let etcd = EtcdStore::connect(EtcdConfig::new([endpoint])).await?;
        let revision = etcd.list("/nothing/here").await?.revision;
        etcd.compact(revision).await
    }

    /// A namespace that no other test has.
    pub async fn namespace(&self, store: &dyn Store) -> String {
        let name = format!("subject-{}", self.subjects.fetch_add(1, Ordering::Relaxed));
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let put = Op::Put {
            key: format!("/tortie/kubernetes/namespaces/{name}"),
            value: value.to_string().into(),
            when: Precondition::Absent,
            ttl: None,
        };
        store.commit(vec![put]).await.unwrap();
        name
    }

    /// This cluster as a subject, in a namespace of its own.
    pub async fn subject(self: Arc<Self>) -> Subject {
        let store = self.store(self.config()).await;
        let namespace = self.namespace(&store).await;
        let dressed: Arc<dyn Store> = Arc::new(Dressed::new(Arc::new(store), &namespace));
        let faults = KubeFaults { cluster: self.clone(), namespace, dressed: dressed.clone() };
        Subject { store: dressed, faults: Box::new(faults), alone: false, keep: Box::new(self) }
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("apiserver.log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }
}

struct KubeFaults {
    cluster: Arc<Cluster>,
    namespace: String,
    dressed: Arc<dyn Store>,
}

impl Faults for KubeFaults {
    fn compact(&self, _: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.cluster.compact())
    }

    fn another(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async {
            let store = Arc::new(self.cluster.store(self.cluster.config()).await);
            Arc::new(Dressed::new(store, &self.namespace)) as Arc<dyn Store>
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.cluster.kill() })
    }

    fn start(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.cluster.launch(&[]);
            self.cluster.store(self.cluster.config()).await;
            let up = async { while self.dressed.get("/any").await.is_err() {} };
            crate::soon("a new connection", up).await;
        })
    }
}
