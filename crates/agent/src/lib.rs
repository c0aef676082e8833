//! The node agent: policy, routes to workloads, BIRD's configuration, the CNI server, status. Wiring only.
//!
//! `docs/design/agent.md` is its contract.

mod addresses;
mod attach;
mod attachers;
mod bird;
mod condition;
mod config;
mod connections;
mod current;
mod engine;
mod front;
mod journal;
mod leave;
mod listeners;
mod machine;
mod metrics;
mod problems;
mod reconcile;
mod routing;
mod service;
mod socket;
mod startup;
mod takeover;
mod tunnels;

pub use config::{Config, Datastore, Start, TABLE};

use crate::attachers::Attachers;
use crate::current::Current;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tortie_cluster::NodeSettings;
use tortie_ipam::Ipam;
use tortie_kernel_net::{Netlink, sysctl};
use tortie_runtime::{Health, Registry, logging, shutdown};
use tortie_store::{ClientConfig, EmbeddedClient, Store, StoreError};
use tortie_store_etcd::{Credentials, EtcdConfig, EtcdStore, TlsFiles};
use tortie_store_kube::KubeStore;
use tortie_sync::{FeedConfig, Relist};

/// Who may read this may read the rest, for all that a wait is worth.
const FIRST_READ: &str = "/calico/resources/v3/projectcalico.org/clusterinformations/default";

/// How long the next definition of a kind may take to come.
const DEFINITIONS: Duration = Duration::from_secs(2);

/// `tortie agent`: everything is set by the environment.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print every setting with its environment variable, default and meaning, and exit
    #[arg(long)]
    help_settings: bool,

    /// File of Felix's parameters [default: /etc/calico/felix.cfg, if it is there]
    #[arg(long)]
    config_file: Option<PathBuf>,
}

/// The configuration is wrong; every problem on a line.
#[derive(Debug, thiserror::Error)]
#[error("the agent's configuration is wrong:\n{0:#}")]
pub struct ConfigError(anyhow::Error);

/// Runs the agent until it is told to stop.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.help_settings {
        use std::io::Write as _;
        std::io::stdout().write_all(tortie_runtime::settings::document(TABLE).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = Arc::new(Config::load(args.config_file.as_deref()).map_err(ConfigError)?);
    let current = Current::new(config.felix.clone(), &config.felix_problems, false);
    logging::init(current.log_level(), config.log_format);
    sysctl::set_root(&config.proc_sys);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(config, current))?;
    // Nothing in the kernel is taken down: the next start adopts it.
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Arc<Config>, first: Current) -> Result<()> {
    tracing::info!(node = %config.node, version = env!("CARGO_PKG_VERSION"), datastore = ?config.datastore, "agent starts");
    let registry = Registry::default();
    let health = Health::default();
    let watchdog = first.watchdog();
    let (told, current) = watch::channel(Arc::new(first));
    listeners::start(current.clone(), &registry, &health).await?;
    let problems = problems::Problems::new(&registry);
    let front = front::Front::open(&config, &problems)?;
    let (store, kube) = connect_patiently(&config, &problems).await?;
    let relist = Relist::default();
    let (prefix, again) = (config.root.clone(), relist.clone());
    let feed = FeedConfig { prefix, set: tortie_sync::AGENT, relist: again, ..FeedConfig::default() };
    let (watcher, removal) = leave::Watcher::new(&config);
    let node = health.register("node", None);
    let started = startup::spawn(config.clone(), store.clone(), current.clone(), removal.clone(), node);
    // Registered before anything may keep it from starting: until then this node is not ready.
    let engine_health = health.register("engine", None);
    if kube.is_some() && leave::was_removed(&config.lib_dir) {
        let restored = leave::restore(store.clone(), &config.node, started.clone());
        if !unless_signalled(restored).await? {
            return Ok(());
        }
    }
    engine_health.set_timeout(watchdog);
    let feed = tortie_sync::spawn(store.clone(), feed);
    let (bird, bird_config) = watch::channel(None);
    let (synced, in_sync) = watch::channel(false);
    let (tunnelled, tunnel_pools) = watch::channel(None);
    let metrics = metrics::Metrics::new(&registry);
    let (collected, networks) = watch::channel(tortie_cluster::Networks::default());
    let connections =
        connections::Connections::spawn(&config.node).context("start the thread that forgets connections")?;
    let engine = engine::spawn(engine::Parts {
        config: config.clone(),
        connections: connections.clone(),
        feed,
        relist,
        ordered: store.is_ordered(),
        settings: NodeSettings::new(&config.node, config.local.clone()),
        current: told,
        health: engine_health,
        metrics: metrics.clone(),
        bird,
        synced,
        tunnelled,
        problems: problems.clone(),
        watcher,
        networks: collected,
        guarded: takeover::is_guarded(),
    })?;
    if let Some(path) = &config.bird_config {
        bird::spawn(path.clone(), config.run_dir.join("bird.ctl"), bird_config);
    }
    forward(current.clone());
    let host = Arc::new(Netlink::open().context("talk to the kernel about interfaces")?);
    let mtu = attach::workload_mtu(&config, &host)?;
    let ipam = Ipam::new(store.clone(), config.node.clone());
    let attachers = attachers(
        attach::Parts {
            config: config.clone(),
            store: store.clone(),
            ipam: ipam.clone(),
            engine: engine.clone(),
            connections,
            host: host.clone(),
            mtu,
            metrics,
        },
        current.clone(),
    );
    problems::watch_all(&problems, &config, kube.as_ref(), &started, &removal);
    problems::pools::spawn(kube.clone(), ipam.clone(), problems.clone(), networks);
    tunnels::spawn(store.clone(), ipam.clone(), config.node.clone(), tunnel_pools);
    let (ours, leaves) = (attachers.clone(), removal.clone());
    let compared = reconcile::spawn(config.clone(), store, ipam.clone(), ours, leaves, in_sync.clone());
    let kube = kube.filter(|_| config.start.node.networking);
    if let Some(kube) = &kube {
        condition::spawn(kube.clone(), config.clone(), in_sync.clone(), started.clone());
    }
    let leaving = leave::Leaving::new(config.clone(), removal.clone(), engine.clone(), host, kube.as_ref());
    // Before pods are attached, what another agent left is removed, which drops the packets of those that it does not
    // know; and it is known which addresses pods have that nobody recorded.
    let settled = takeover::spawn(problems.clone(), in_sync, compared);
    let shown = problems.watch();
    front.lead_to(service::Service {
        config: config.clone(),
        attachers,
        current,
        started,
        engine,
        in_sync: settled,
        ipam,
        shown,
        removal,
    });

    stop(leaving, kube.as_deref(), &config).await
}

/// Waits for the signal to stop, and stops: with everything left as it is, or with the product.
async fn stop(mut leaving: leave::Leaving, kube: Option<&KubeStore>, config: &Config) -> Result<()> {
    let signal = shutdown::signalled().await?;
    if leaving.is_removal().await {
        tracing::info!(signal, "agent stops, and the product goes with it");
        leaving.leave().await;
        return Ok(());
    }
    tracing::info!(signal, "agent stops; the kernel keeps policy and routes");
    if let Some(kube) = kube {
        condition::stopped(kube, config).await;
    }
    Ok(())
}

/// Does something that may take long, unless the agent is told to stop: then false.
async fn unless_signalled(work: impl Future<Output = ()>) -> Result<bool> {
    tokio::select! {
        () = work => Ok(true),
        signal = shutdown::signalled() => {
            tracing::info!(signal = signal?, "agent stops before it has begun");
            Ok(false)
        }
    }
}

/// Whoever attaches pods, anew for each prefix of interfaces.
fn attachers(parts: attach::Parts, current: watch::Receiver<Arc<Current>>) -> Arc<Attachers> {
    let config = parts.config.clone();
    let make = move |config: Arc<Config>| attach::Attacher::new(attach::Parts { config, ..parts.clone() });
    Arc::new(Attachers::new(config, current, Box::new(make)))
}

/// A node with workloads routes; without it nothing works, so it is set rather than hoped for.
fn forward(mut current: watch::Receiver<Arc<Current>>) {
    tokio::spawn(async move {
        let mut done = false;
        loop {
            if !done && current.borrow_and_update().felix.ip_forwarding() == "Enabled" {
                done = true;
                switch_forwarding_on();
            }
            if current.changed().await.is_err() {
                return;
            }
        }
    });
}

fn switch_forwarding_on() {
    for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        match sysctl::get(name) {
            Ok(value) if value.trim() == "1" => {}
            Ok(_) => {
                if let Err(error) = sysctl::set(name, "1") {
                    tracing::warn!(%error, "forwarding is off and cannot be switched on: workloads reach nothing beyond this node");
                }
            }
            // A kernel without the family.
            Err(error) => tracing::debug!(%error, "forwarding cannot be read"),
        }
    }
}

/// A datastore that is away at the start may come back; one that refuses us will not by itself.
async fn connect_patiently(
    config: &Config,
    problems: &problems::Problems,
) -> Result<(Arc<dyn Store>, Option<Arc<KubeStore>>)> {
    loop {
        let error = match connect(config).await {
            Ok(connected) => {
                problems.replace("connect", Vec::new());
                return Ok(connected);
            }
            Err(error) => error,
        };
        if !error.downcast_ref::<StoreError>().is_some_and(StoreError::is_transient) {
            return Err(error);
        }
        problems.replace("connect", vec![problems::unreachable(format!("no datastore yet: {error:#}"))]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits for the kinds, and for the right to read them, as long as more of it appears: who applies a manifest starts us before
/// all of it is there. A kind that is missing afterwards is read as empty.
async fn definitions(kube: &KubeStore) {
    let mut known = usize::MAX;
    let mut deadline = Instant::now() + DEFINITIONS;
    // Whoever reads next tells the error.
    while let Ok(mut missing) = kube.unserved().await {
        if missing.is_empty() {
            if !matches!(kube.get(FIRST_READ).await, Err(StoreError::Denied { .. })) {
                return;
            }
            missing.push("the right to read them");
        }
        if missing.len() < known {
            known = missing.len();
            deadline = Instant::now() + DEFINITIONS;
        }
        if Instant::now() >= deadline {
            tracing::warn!(missing = %missing.join(", "), "something is missing in the cluster: apply the manifest of this version");
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The datastore, and the same as what it is where more is asked of Kubernetes than of any datastore.
async fn connect(config: &Config) -> Result<(Arc<dyn Store>, Option<Arc<KubeStore>>)> {
    let store: Arc<dyn Store> = match &config.datastore {
        Datastore::Embedded { socket } => Arc::new(EmbeddedClient::start(ClientConfig::new(socket))),
        Datastore::Etcd { endpoints } => {
            let text = |name| Some(config.settings.text(name).to_owned()).filter(|t| !t.is_empty());
            let mut etcd = EtcdConfig::new(endpoints.iter().cloned());
            etcd.tls = text("EtcdCaFile").map(|ca| TlsFiles {
                ca: ca.into(),
                identity: text("EtcdCertFile").zip(text("EtcdKeyFile")).map(|(c, k)| (c.into(), k.into())),
                server_name: None,
            });
            etcd.credentials = text("EtcdUsername")
                .zip(text("EtcdPassword"))
                .map(|(user, password)| Credentials { user, password });
            Arc::new(EtcdStore::connect(etcd).await.context("connect to etcd")?)
        }
        Datastore::Kubernetes => {
            let mut kube = config::kubernetes(&config.settings)?;
            // Nobody needs to let us read more.
            kube.wanted = Some(|key| tortie_sync::AGENT.covers(key));
            let connected = KubeStore::connect(kube).await;
            let kube = Arc::new(connected.context("connect to the API server of Kubernetes")?);
            definitions(&kube).await;
            return Ok((kube.clone(), Some(kube)));
        }
    };
    Ok((store, None))
}
