//! kube-apiserver and its etcd: the least that makes a Kubernetes API, or all that real nodes need.

use super::access::{User, token_file, write_secret};
use super::certs::Certificates;
use crate::node::last_lines;
use crate::process::{Process, ProcessSpec};
use crate::spec::Families;
use anyhow::{Context as _, anyhow};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tortie_kernel_net::NetNs;

/// Port of the API server.
pub(crate) const PORT: u16 = 6443;

/// Addresses of Services, of both families.
pub(crate) const SERVICE_RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:96::/112"];

/// Where the API server listens for its own etcd.
pub(crate) const ETCD: &str = "http://127.0.0.1:2379";

/// How long the API server may take until it answers.
const PATIENCE: Duration = Duration::from_mins(1);

/// What an API server is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Kubernetes' programs.
    pub(crate) binaries: PathBuf,
    /// Private files: certificates and tokens.
    pub(crate) state: PathBuf,
    /// Logs.
    pub(crate) logs: PathBuf,
    pub(crate) netns: NetNs,
    /// The first one is told to everybody.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) families: Families,
    /// Without admission plugins that wait for a controller manager.
    pub(crate) lean: bool,
}

/// A running API server.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) process: Process,
    pub(crate) certificates: Certificates,
    /// Where it listens inside the sandbox.
    pub(crate) address: SocketAddr,
    pub(crate) log: PathBuf,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Starts the process; etcd must run.
    pub(crate) async fn start(plan: &Plan, users: &[User]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.state)
            .with_context(|| format!("cannot create {}", plan.state.display()))?;
        let certificates =
            Certificates::make(&with_loopback(&plan.addresses)).context("cannot make certificates")?;
        certificates.write(&plan.state)?;
        write_secret(&plan.state.join("tokens.csv"), &token_file(users))?;
        let first = *plan.addresses.first().context("the API server has no address")?;
        let log = plan.logs.join("kube-apiserver.log");
        let process = Process::start(ProcessSpec {
            title: "kube-apiserver".to_owned(),
            program: plan.binaries.join("kube-apiserver"),
            arg0: None,
            args: arguments(plan, first),
            env: Vec::new(),
            netns: plan.netns.clone(),
            log: log.clone(),
        })
        .await?;
        Ok(Self { process, certificates, address: SocketAddr::new(first, PORT), log })
    }

    /// The URL inside the sandbox.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Waits until `ready` answers true.
    pub(crate) async fn wait_ready<F>(&self, mut ready: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match ready().await {
                Ok(true) => return Ok(()),
                Ok(false) => anyhow!("it says that it is not ready"),
                Err(e) => e,
            };
            if Instant::now() >= deadline {
                let words = last_lines(&self.log, 5);
                return Err(last.context(format!(
                    "kube-apiserver is not ready after {} s:\n  {words}",
                    PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn with_loopback(addresses: &[IpAddr]) -> Vec<IpAddr> {
    // The host comes in by its own loopback interface, pods by the first address of the services.
    let others = ["127.0.0.1", "::1", "10.96.0.1", "fd00:96::1"];
    addresses.iter().copied().chain(others.iter().filter_map(|a| a.parse().ok())).collect()
}

fn arguments(plan: &Plan, advertised: IpAddr) -> Vec<String> {
    let file = |name: &str| plan.state.join(name).display().to_string();
    let flag = |name: &str, value: &str| format!("--{name}={value}");
    let mut all = vec![
        flag("etcd-servers", ETCD),
        flag("secure-port", &PORT.to_string()),
        flag("bind-address", "::"),
        flag("advertise-address", &advertised.to_string()),
        flag("tls-cert-file", &file("server.crt")),
        flag("tls-private-key-file", &file("server.key")),
        flag("cert-dir", &plan.state.display().to_string()),
        flag("token-auth-file", &file("tokens.csv")),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        flag("service-account-key-file", &file("account.pub")),
        flag("service-account-signing-key-file", &file("account.key")),
        flag("service-cluster-ip-range", &plan.families.texts(&SERVICE_RANGES).join(",")),
        flag("authorization-mode", "Node,RBAC"),
        flag("allow-privileged", "true"),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("profiling", "false"),
        flag("v", "1"),
    ];
    if plan.lean {
        all.push(flag("disable-admission-plugins", "ServiceAccount,TaintNodesByCondition"));
    }
    all
}
