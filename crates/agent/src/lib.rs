//! The node agent: policy, routes to workloads, BIRD's configuration, the CNI server, status. Wiring only.
//!
//! `docs/design/agent.md` is its contract.

mod addresses;
mod attach;
mod bird;
mod config;
mod connections;
mod engine;
mod journal;
mod metrics;
mod reconcile;
mod routing;
mod service;
mod socket;

pub use config::{Config, Datastore, TABLE};

use anyhow::{Context, Result};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tortie_ipam::Ipam;
use tortie_kernel_net::{Netlink, sysctl};
use tortie_runtime::{Health, Registry, http, logging, shutdown};
use tortie_store::{ClientConfig, EmbeddedClient, Store};
use tortie_store_etcd::{Credentials, EtcdConfig, EtcdStore, TlsFiles};
use tortie_sync::FeedConfig;

/// `tortie agent`: everything is set by the environment.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print every setting with its environment variable, default and meaning, and exit
    #[arg(long)]
    help_settings: bool,
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
    let config = Arc::new(Config::load().map_err(ConfigError)?);
    logging::init(config.log.0, config.log.1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(config))?;
    // Nothing in the kernel is taken down: the next start adopts it.
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Arc<Config>) -> Result<()> {
    tracing::info!(node = %config.node, version = env!("CARGO_PKG_VERSION"), datastore = ?config.datastore, "agent starts");
    let registry = Registry::default();
    let health = Health::default();
    listen(&config, &registry, &health).await?;

    let store = connect(&config).await?;
    let feed = tortie_sync::spawn(
        store.clone(),
        FeedConfig { prefix: config.root.clone(), ..FeedConfig::default() },
    );
    let (bird, bird_config) = watch::channel(None);
    let (synced, in_sync) = watch::channel(false);
    let metrics = metrics::Metrics::new(&registry);
    let connections =
        connections::Connections::spawn(&config.node).context("start the thread that forgets connections")?;
    let engine = engine::spawn(engine::Parts {
        config: config.clone(),
        connections: connections.clone(),
        feed,
        health: health.register("engine", Some(Duration::from_secs(config.watchdog_seconds))),
        metrics: metrics.clone(),
        bird,
        synced,
    })?;
    if let Some(path) = &config.bird_config {
        bird::spawn(path.clone(), config.run_dir.join("bird.ctl"), bird_config);
    }
    forward(&config);
    let host = Arc::new(Netlink::open().context("talk to the kernel about interfaces")?);
    let mtu = attach::workload_mtu(&config, &host)?;
    let ipam = Ipam::new(store.clone(), config.node.clone());
    let attacher = Arc::new(attach::Attacher::new(attach::Parts {
        config: config.clone(),
        store: store.clone(),
        ipam: ipam.clone(),
        engine: engine.clone(),
        connections,
        host,
        mtu,
        metrics,
    }));
    reconcile::spawn(config.clone(), store, ipam.clone(), attacher.clone(), in_sync.clone());
    let service = service::Service { config: config.clone(), attacher, engine, in_sync, ipam };
    socket::serve(&config.run_dir.join("agent.sock"), Arc::new(service))?;

    let signal = shutdown::signalled().await?;
    tracing::info!(signal, "agent stops; the kernel keeps policy and routes");
    Ok(())
}

/// Probes and metrics answer before anything else is up.
async fn listen(config: &Config, registry: &Registry, health: &Health) -> Result<()> {
    if let Some(address) = config.health {
        let health = health.clone();
        let handler: http::Handler = Arc::new(move |path| {
            let problems = match path {
                "/liveness" => health.dead(),
                "/readiness" => health.unready(),
                _ => return None,
            };
            let healthy = problems.is_empty();
            Some(if healthy { (204, String::new()) } else { (503, problems.join("\n") + "\n") })
        });
        http::spawn(address, "health", handler).await?;
    }
    if let Some(address) = config.metrics {
        let registry = registry.clone();
        let handler: http::Handler =
            Arc::new(move |path| (path == "/metrics").then(|| (200, registry.expose())));
        http::spawn(address, "metrics", handler).await?;
    }
    Ok(())
}

/// A node with workloads routes; without it nothing works, so it is set rather than hoped for.
fn forward(config: &Config) {
    if config.settings.text("IPForwarding").eq_ignore_ascii_case("Disabled") {
        return;
    }
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

async fn connect(config: &Config) -> Result<Arc<dyn Store>> {
    Ok(match &config.datastore {
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
    })
}
